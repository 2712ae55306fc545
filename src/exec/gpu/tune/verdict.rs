//! The verdict on an operation: its variants race, and the one that is chosen must be right.

use super::job::{Job, Size};
use super::race::Race;
use super::speeds::{Speeds, TimeLimit, compiled_together};
use crate::error::Result;
use crate::exec::check::fault;
use crate::exec::gpu::Gpu;
use crate::exec::lockstep::undecided;
use crate::kernels::sample::sample;
use crate::kernels::{Op, Variant};
use web_time::Instant;

/// The outcome of a job.
#[derive(Debug)]
pub(super) enum Verdict {
    Chosen(&'static Variant),
    NoTime,
    /// With the problem of the default.
    NoneRight(String),
}

/// The fastest variant that is right.
pub(super) async fn winner(
    gpu: &Gpu,
    job: &Job<'_>,
    clock: &TimeLimit,
    speeds: &mut Speeds,
    problems: &mut Vec<String>,
) -> Result<Verdict> {
    let candidates = &job.candidates;
    let size = speeds.size(job);
    let Some(mut case) = sample(&size.op, &size.outputs, size.examples) else {
        return Ok(Verdict::Chosen(candidates[0]));
    };
    // Candidates that round their factors agree with the others on rounded ones.
    case.op.variant = candidates.iter().copied().find(|variant| variant.matrices.is_some());
    for few in candidates.chunks(compiled_together()) {
        if clock.has_no(0.0) {
            return Ok(Verdict::NoTime);
        }
        let ops: Vec<Op> = few.iter().map(|variant| Op { variant: Some(*variant), ..case.op.clone() }).collect();
        let start = Instant::now();
        gpu.prepare(ops.iter()).await?;
        speeds.compiled(start.elapsed().as_secs_f64());
    }
    let mut race = Race::new(gpu, &case, candidates).await?;
    let Some(times) = race.times(clock, |first| speeds.ran(&case.op, first)).await? else {
        return Ok(Verdict::NoTime);
    };
    let Some(faster) = times.faster() else { return Ok(Verdict::NoTime) };
    let slower = (1..candidates.len()).filter(|place| !faster.contains(place));
    let order: Vec<usize> = faster.iter().copied().chain([0]).chain(slower).collect();
    let mut checks = Checks { gpu, job, speeds, found: vec![None; candidates.len()] };
    for place in order {
        // If the default is wrong, another one must be found.
        if !checks.is_default_wrong() && checks.found[place].is_none() && clock.has_no(checks.speeds.check(job)) {
            return Ok(Verdict::NoTime);
        }
        if !checks.is_right(place, problems).await? {
            continue;
        }
        let chosen = Verdict::Chosen(candidates[place]);
        if place == 0 || checks.is_default_wrong() {
            return Ok(chosen);
        }
        let Some(difference) = race.difference(place, 0).await? else { return Ok(chosen) };
        // One of them is wrong.
        if !checks.is_right(0, problems).await? {
            return Ok(chosen);
        }
        let (rival, default, examples) = (candidates[place], candidates[0], size.examples);
        let is_unlike = |third: &usize| ![rival.source, default.source].contains(&candidates[*third].source);
        if let Some(third) = (1..candidates.len()).find(is_unlike).filter(|_| !clock.is_over())
            && race.difference(third, place).await?.is_none()
            && race.difference(third, 0).await?.is_some()
        {
            let (rival, default, third) = (rival.name, default.name, candidates[third].name);
            problems.push(format!(
                "kernel {default}, the default, is not used, because on {examples} examples it differs from {rival} and \
                 {third}: {difference}"
            ));
            return Ok(chosen);
        }
        let (rival, default) = (rival.name, default.name);
        problems.push(format!(
            "kernel {rival} is not used, because on {examples} examples it differs from {default}: {difference}"
        ));
    }
    Ok(Verdict::NoneRight(checks.found.swap_remove(0).flatten().unwrap_or_default()))
}

/// Comparisons of an operation's candidates with the reference.
struct Checks<'a, 'b> {
    gpu: &'a Gpu,
    job: &'a Job<'b>,
    speeds: &'a mut Speeds,
    /// The problem of each candidate that was checked, if it has one.
    found: Vec<Option<Option<String>>>,
}

impl Checks<'_, '_> {
    fn is_default_wrong(&self) -> bool {
        matches!(self.found[0], Some(Some(_)))
    }

    /// Whether a candidate agrees with the reference on a few examples; a problem is reported once.
    async fn is_right(&mut self, place: usize, problems: &mut Vec<String>) -> Result<bool> {
        if let Some(problem) = &self.found[place] {
            return Ok(problem.is_none());
        }
        let Size { op, outputs, examples } = &self.job.check;
        let variant = self.job.candidates[place];
        let start = Instant::now();
        let problem = match sample(op, outputs, *examples) {
            Some(mut few) => {
                few.op.variant = Some(variant);
                fault(self.gpu, &few, undecided(op.operation)).await?
            }
            None => None,
        };
        self.speeds.checked(op, start.elapsed().as_secs_f64());
        if let Some(problem) = &problem {
            let which = if place == 0 { ", the default," } else { "" };
            problems.push(format!("kernel {}{which} computes wrongly, and is not used: {problem}", variant.name));
        }
        let is_right = problem.is_none();
        self.found[place] = Some(problem);
        Ok(is_right)
    }
}
