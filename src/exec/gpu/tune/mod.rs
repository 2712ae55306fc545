//! Chooses variants by their times on this device.
//!
//! The variants of an operation that fit take turns on random inputs of its shape ([`race`]), on as many examples as say
//! something about the whole batch. The one that is chosen must agree with the reference on a few examples. Operations
//! with the most work come first, and none is begun that would not be finished in time; a later start continues with
//! those that were not reached.

mod job;
mod race;
mod speeds;
mod verdict;

use super::context::Gpu;
use crate::error::Result;
use crate::kernels::{Adapter, Op, Variant};
use crate::program::{Choices, TrainingStep};
use job::{Job, jobs};
use serde::{Deserialize, Serialize};
use speeds::{Speeds, TimeLimit};
use std::fmt;
use std::time::Duration;
use verdict::{Verdict, winner};
use web_time::Instant;

/// How long tuning may take. A dispatch, a compilation or a check that has begun is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub time: Duration,
    /// Whether what is known is measured again, as far as the time allows.
    pub again: bool,
}

impl Budget {
    /// The budget for every start of a new run.
    pub const QUICK: Budget = Budget { time: Duration::from_secs(2), again: false };
    /// The budget for users who asked for it.
    pub const FULL: Budget = Budget { time: Duration::from_secs(120), again: true };

    /// The intended seconds of one run of a kernel: far longer than a clock's errors, and short enough for many.
    fn run(&self) -> f64 {
        (self.time.as_secs_f64() / 1000.0).clamp(1e-3, 20e-3)
    }
}

/// The variants of an operation that are considered.
pub type Candidates<'a> = &'a dyn Fn(&Op, Adapter) -> Vec<&'static Variant>;

/// All variants that fit.
pub fn fitting(op: &Op, adapter: Adapter) -> Vec<&'static Variant> {
    op.variants(adapter).collect()
}

/// The result for one operation of one shape, which holds for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub operation: String,
    /// By [`Op::shape`].
    pub shape: String,
    /// A checksum of everything that the candidates run.
    pub candidates: String,
    /// The name of the variant to use.
    pub variant: String,
}

/// The variants for a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuned {
    /// The variants of every operation that has several.
    pub choices: Choices,
    /// What was measured now.
    pub found: Vec<Found>,
    /// The number of operations whose result was known and not measured again.
    pub known: usize,
    /// The number of operations whose variant is not the default.
    pub changed: usize,
    /// The number of operations without a result that the time was too short for.
    pub unreached: usize,
    /// Variants that are wrong, and operations that the device refused, with the reasons.
    pub problems: Vec<String>,
    pub took: Duration,
}

impl Tuned {
    /// Whether anything was measured, or known from earlier, or failed.
    pub fn is_news(&self) -> bool {
        self.known > 0 || self.unreached > 0 || !self.found.is_empty() || !self.problems.is_empty()
    }
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuned { found, known, changed, unreached, problems, took, .. } = self;
        let (found, took) = (found.len(), took.as_secs_f64());
        write!(f, "tuned kernels in {took:.1} s: {found} operations timed, {known} known, {changed} not the default")?;
        if *unreached > 0 {
            write!(
                f,
                "; {unreached} keep their defaults for lack of time; --tune full takes up to \
                 {} s for all, and --tune off skips them",
                Budget::FULL.time.as_secs()
            )?;
        }
        problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// Chooses variants for what a training step always runs, within `budget`. Operations that only statistics need keep their
/// defaults.
///
/// # Errors
/// [`Error::Device`](crate::error::Error::Device) if the device is lost. An operation that it refuses, or that it has no
/// right kernel for, keeps its default, which is one of [`Tuned::problems`].
pub async fn tune(
    gpu: &Gpu,
    step: &TrainingStep,
    budget: Budget,
    known: &[Found],
    candidates: Candidates<'_>,
) -> Result<Tuned> {
    gpu.contain_future(async {
        let clock = TimeLimit::new(budget.time);
        let mut tuned = Tuned { choices: Choices::of(&step.program, gpu.adapter()), ..Tuned::default() };
        let mut speeds = Speeds::new(gpu.adapter(), budget);
        let mut waiting = Vec::new();
        for mut job in jobs(step, gpu.adapter(), candidates, &mut tuned.problems) {
            job.known = job.result(known);
            match job.known {
                Some(variant) if !budget.again => tuned.knew(&job, variant),
                _ => waiting.push(job),
            }
        }
        waiting.iter_mut().for_each(|job| job.find_sizes(gpu.adapter()));
        let mut missed = false;
        // After a job that took too long, the cheapest one makes sure that a start has a result at all.
        while let Some(job) = next(&mut waiting, &clock, &speeds, missed && tuned.found.is_empty()) {
            let (start, expected) = (Instant::now(), speeds.job(&job));
            let before = tuned.problems.len();
            let verdict = winner(gpu, &job, &clock.for_one(), &mut speeds, &mut tuned.problems).await;
            let (name, took) = (job.op.operation.name, start.elapsed().as_secs_f64());
            log::debug!("{name} of {} took {took:.3} s, {expected:.3} s expected", job.op.shape());
            match verdict {
                Ok(Verdict::Chosen(variant)) => {
                    tuned.found.push(job.found(variant));
                    tuned.choose(&job, variant);
                    speeds.learn(expected, took);
                }
                Ok(Verdict::NoTime) => {
                    missed = true;
                    tuned.missed(&job);
                }
                Ok(Verdict::NoneRight(problem)) => {
                    // One line says it all. The device passed its self-check, so this is no reason to stop.
                    tuned.problems.truncate(before);
                    tuned.problems.push(format!(
                        "no kernel of {name} agrees with the reference on {}, and the default {} is used: {problem}; check \
                         every kernel with `glassnet check`",
                        gpu.summary().name,
                        job.candidates[0].name
                    ));
                }
                Err(error) => {
                    gpu.check()?;
                    tuned.problems.push(format!("{name} keeps its default: {error}"));
                }
            }
        }
        waiting.iter().for_each(|job| tuned.missed(job));
        tuned.took = clock.elapsed();
        Ok(tuned)
    })
    .await
}

impl Tuned {
    fn choose(&mut self, job: &Job<'_>, variant: &'static Variant) {
        self.changed += usize::from(variant.name != job.candidates[0].name);
        self.choices.set(job.op, variant.name);
    }

    fn knew(&mut self, job: &Job<'_>, variant: &'static Variant) {
        self.known += 1;
        self.choose(job, variant);
    }

    /// Uses an earlier result, or the default.
    fn missed(&mut self, job: &Job<'_>) {
        match job.known {
            Some(variant) => self.knew(job, variant),
            None => self.unreached += 1,
        }
    }
}

/// Takes the first job that can be finished in time, or the cheapest one if that is wanted or none of them can.
fn next<'a>(waiting: &mut Vec<Job<'a>>, clock: &TimeLimit, speeds: &Speeds, cheapest: bool) -> Option<Job<'a>> {
    if clock.is_over() {
        return None;
    }
    let first = waiting.iter().position(|job| !cheapest && !clock.has_no(speeds.job(job)));
    let seconds = |at: &usize| speeds.job(&waiting[*at]);
    let at = first.or_else(|| (0..waiting.len()).min_by(|a, b| seconds(a).total_cmp(&seconds(b))))?;
    // What is cheapest may still not fit; it is begun only while there is much time.
    let is_early = cheapest || clock.is_early();
    (first.is_some() || is_early).then(|| waiting.remove(at))
}

#[cfg(test)]
mod tests {
    use super::job::REFERENCE_FLOPS;
    use super::speeds::MOST_BYTES;
    use super::*;
    use crate::kernels::optimizer::{ADADELTA, Rule};
    use crate::net::{Network, PRESETS};
    use crate::program::{DeviceClass, Options, Source};

    fn step(network: &Network, batch: usize, adapter: Adapter) -> TrainingStep {
        let class = if adapter.software { DeviceClass::Processor } else { DeviceClass::Hardware };
        let options = Options::training(batch, Source::usual(network, 200), Rule::new(&ADADELTA));
        TrainingStep::lower(network, &Options { class, ..options }).expect("it lowers")
    }

    fn sized(step: &TrainingStep, adapter: Adapter) -> Vec<Job<'_>> {
        let mut jobs = jobs(step, adapter, &fitting, &mut Vec::new());
        jobs.iter_mut().for_each(|job| job.find_sizes(adapter));
        jobs
    }

    #[test]
    fn every_candidate_supports_every_size_that_it_is_timed_or_checked_at() {
        for ((preset, _), adapter) in
            PRESETS.iter().flat_map(|preset| Adapter::all().map(move |adapter| (preset, adapter)))
        {
            let network = Network::preset(preset).expect("a preset");
            for batch in [1, 20, 52, 512, 4096] {
                let step = step(&network, batch, adapter);
                for job in sized(&step, adapter) {
                    for size in job.sizes.iter().chain([&job.check]) {
                        let fits = |variant: &&'static Variant| variant.fits(&size.op, adapter);
                        let (name, shape) = (job.op.operation.name, job.op.shape());
                        assert!(job.candidates.iter().all(fits), "{name} of {shape} on {}", size.examples);
                    }
                }
            }
        }
    }

    #[test]
    fn a_check_by_the_reference_does_not_grow_with_the_batch() {
        let network = Network::preset("vgg-mnist").expect("a preset");
        let checked = |batch| -> Vec<u64> {
            let step = step(&network, batch, Adapter::HARDWARE);
            sized(&step, Adapter::HARDWARE).iter().map(|job| job.check.op.work.flops).collect()
        };
        let (few, many) = (checked(64), checked(4096));
        let most = |flops: &[u64]| flops.iter().copied().max().unwrap_or(0);
        assert!(most(&many) <= 2 * most(&few).max(REFERENCE_FLOPS), "{few:?} {many:?}");
    }

    #[test]
    fn a_slow_device_is_asked_for_fewer_examples() {
        let network = Network::preset("vgg-mnist").expect("a preset");
        let step = step(&network, 4096, Adapter::HARDWARE);
        let jobs = sized(&step, Adapter::HARDWARE);
        let on = |device: f64| {
            let mut speeds = Speeds::new(Adapter::HARDWARE, Budget::QUICK);
            speeds.device = device;
            jobs.iter().map(|job| speeds.size(job).examples).collect::<Vec<_>>()
        };
        let (fast, slow) = (on(1e-4), on(1.0));
        assert!(slow.iter().zip(&fast).all(|(slow, fast)| slow <= fast), "{slow:?} {fast:?}");
        assert!(slow[0] < 4096, "{slow:?}");
        let whole = jobs.iter().map(|job| job.whole.op.work.bytes);
        let timed = |speeds: &Speeds, job: &Job<'_>| speeds.size(job).op.work.bytes;
        let mut speeds = Speeds::new(Adapter::HARDWARE, Budget::FULL);
        speeds.device = 1e-9;
        assert!(jobs.iter().zip(whole).all(|(job, whole)| timed(&speeds, job) <= whole.min(MOST_BYTES)));
    }
}
