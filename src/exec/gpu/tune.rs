//! Chooses variants by their times on this device.
//!
//! The variants of an operation that fit take turns on random inputs of its shape ([`Race`]), on as many examples as say
//! something about the whole batch. The one that is chosen must agree with the reference on a few examples. Operations
//! with the most work come first, and none is begun that would not be finished in time; a later start continues with
//! those that were not reached.

use super::contain::contain;
use super::context::Gpu;
use super::pace;
use super::race::Race;
use crate::error::Result;
use crate::exec::check::fault;
use crate::exec::lockstep::undecided;
use crate::kernels::sample::{reduced, represents, sample};
use crate::kernels::{Adapter, Op, Variant};
use crate::program::{Choices, Stage, TrainingStep};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::Duration;
use web_time::Instant;

/// Floating-point operations and bytes of the reference per check, if the batch can be reduced so far: some ten
/// milliseconds.
const REFERENCE_FLOPS: u64 = 8_000_000;
const REFERENCE_BYTES: u64 = 8_000_000;
/// The most bytes of an operation that is timed, if its batch can be reduced so far: more than caches hold.
const MOST_BYTES: u64 = 128 << 20;
/// The rounds that there must be time for when a race begins.
const LEAST_ROUNDS: usize = 2;

/// How long tuning may take. A dispatch, a compilation or a check that has begun is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub time: Duration,
    /// Whether what is known is measured again, as far as the time allows.
    pub again: bool,
}

impl Budget {
    /// For every start of a new run.
    pub const QUICK: Budget = Budget { time: Duration::from_secs(2), again: false };
    /// For users who asked for it.
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
    /// For every operation that has several.
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
    gpu.contain_future(tune_contained(gpu, step, budget, known, candidates)).await
}

async fn tune_contained(
    gpu: &Gpu,
    step: &TrainingStep,
    budget: Budget,
    known: &[Found],
    candidates: Candidates<'_>,
) -> Result<Tuned> {
    let clock = TimeLimit { begin: Instant::now(), budget: budget.time };
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
    tuned.took = clock.begin.elapsed();
    Ok(tuned)
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

/// The time that is left.
pub(super) struct TimeLimit {
    begin: Instant,
    budget: Duration,
}

impl TimeLimit {
    /// The limit of one job that begins now: half of the time, so that no job can take all of it.
    fn for_one(&self) -> TimeLimit {
        TimeLimit { begin: self.begin, budget: self.budget.min(self.begin.elapsed() + self.budget / 2) }
    }

    pub fn is_over(&self) -> bool {
        self.has_no(0.0)
    }

    /// Whether so many seconds are more than what is left.
    pub fn has_no(&self, seconds: f64) -> bool {
        self.begin.elapsed().as_secs_f64() + seconds >= self.budget.as_secs_f64()
    }
}

/// Kernels that are compiled at the same time.
fn compiled_together() -> usize {
    if cfg!(target_arch = "wasm32") { 1 } else { rayon::current_num_threads() }
}

/// What the parts of tuning take here, first guessed, then learned.
#[derive(Debug)]
struct Speeds {
    /// The intended seconds of one run of a kernel.
    run: f64,
    /// Seconds for a second on the slow device of [`pace`].
    device: f64,
    /// Seconds of compiling as many kernels as are compiled together.
    compile: f64,
    /// Seconds per floating-point operation of the reference.
    reference: f64,
    /// The real seconds of a job for an expected one.
    job: f64,
}

impl Speeds {
    fn new(adapter: Adapter, budget: Budget) -> Speeds {
        let (device, compile) = if adapter.software { (1.0, 0.2) } else { (0.1, 0.05) };
        Speeds { run: budget.run(), device, compile, reference: 2e-9, job: 1.0 }
    }

    /// The size that a job is timed at: the largest one whose run is not longer than intended, otherwise the smallest.
    fn size<'a>(&self, job: &'a Job<'_>) -> &'a Size {
        let is_short =
            |size: &&Size| pace::cost(size.op.work) * self.device <= self.run && size.op.work.bytes <= MOST_BYTES;
        job.sizes.iter().rev().find(is_short).unwrap_or(&job.sizes[0])
    }

    /// The seconds of a job.
    fn job(&self, job: &Job<'_>) -> f64 {
        /// Seconds of allocating and filling buffers.
        const BUFFERS: f64 = 5e-3;
        let (size, count) = (self.size(job), job.candidates.len());
        // The check has a pipeline too.
        let compiling = ((count + 1).div_ceil(compiled_together())) as f64 * self.compile;
        let runs = (1 + (1 + LEAST_ROUNDS) * count) as f64 * pace::cost(size.op.work) * self.device;
        (BUFFERS + compiling + runs + self.reference * job.check.op.work.flops as f64) * self.job
    }

    fn learn(&mut self, expected: f64, took: f64) {
        self.job = (self.job * (took / expected.max(1e-6)).clamp(0.25, 4.0).sqrt()).clamp(0.25, 4.0);
    }

    /// Learns from seconds of compiling; a kernel that is known already takes none.
    fn compiled(&mut self, seconds: f64) {
        if seconds > 1e-3 {
            self.compile = (self.compile + seconds) / 2.0;
        }
    }

    /// Learns from a run of an operation.
    fn ran(&mut self, op: &Op, nanoseconds: f64) {
        if nanoseconds > 0.0 && nanoseconds.is_finite() {
            self.device = nanoseconds * 1e-9 / pace::cost(op.work);
        }
    }
}

/// An operation on some of the batch's examples.
#[derive(Debug, Clone)]
struct Size {
    op: Op,
    outputs: Vec<usize>,
    examples: usize,
}

impl Size {
    fn on(&self, examples: usize) -> Option<Size> {
        let (op, outputs) = reduced(&self.op, &self.outputs, self.examples, examples)?;
        Some(Size { op, outputs, examples })
    }

    /// As few examples as a check by the reference needs, on which these variants fit; otherwise all.
    fn for_check(&self, variants: &[&'static Variant], adapter: Adapter) -> Size {
        let share = |most: u64, all: u64| most as f64 / all.max(1) as f64;
        let work = self.op.work;
        let share = share(REFERENCE_FLOPS, work.flops).min(share(REFERENCE_BYTES, work.bytes)).min(1.0);
        let wanted = ((self.examples as f64 * share) as usize).max(1);
        let most = (4 * wanted).min(self.examples);
        let few = (wanted..=most).chain((1..wanted).rev()).filter_map(|examples| self.on(examples));
        let fits = |few: &Size| variants.iter().all(|variant| variant.fits(&few.op, adapter));
        few.into_iter().find(fits).unwrap_or_else(|| self.clone())
    }
}

/// An operation to tune.
struct Job<'a> {
    op: &'a Op,
    /// The whole batch.
    whole: Size,
    /// The default first.
    candidates: Vec<&'static Variant>,
    /// The checksum of the candidates.
    sum: String,
    /// Seconds on a slow device, of all operations of this shape.
    cost: f64,
    /// An earlier result.
    known: Option<&'static Variant>,
    /// The sizes whose times say something about the whole batch, the smallest first.
    sizes: Vec<Size>,
    /// The size that is compared with the reference.
    check: Size,
}

impl Job<'_> {
    fn result(&self, known: &[Found]) -> Option<&'static Variant> {
        let is_this =
            |found: &&Found| **found == Found { variant: found.variant.clone(), ..self.found(self.candidates[0]) };
        let found = known.iter().find(is_this)?;
        self.candidates.iter().find(|variant| variant.name == found.variant).copied()
    }

    fn found(&self, variant: &'static Variant) -> Found {
        let (operation, shape) = (self.op.operation.name.to_string(), self.op.shape());
        Found { operation, shape, candidates: self.sum.clone(), variant: variant.name.to_string() }
    }

    fn find_sizes(&mut self, adapter: Adapter) {
        let whole = &self.whole;
        let powers = (0..usize::BITS).map(|bits| 1 << bits).take_while(|size| *size < whole.examples);
        let few = powers.filter_map(|examples| whole.on(examples));
        let represent = |few: &Size| represents(&few.op, &whole.op, &self.candidates, adapter);
        self.sizes = few.filter(represent).chain([whole.clone()]).collect();
        self.check = whole.for_check(&self.candidates, adapter);
    }
}

/// The operations of a training step with several candidates, one of each shape, those with the most work first.
fn jobs<'a>(
    step: &'a TrainingStep,
    adapter: Adapter,
    candidates: Candidates<'_>,
    problems: &mut Vec<String>,
) -> Vec<Job<'a>> {
    let mut jobs: Vec<Job<'a>> = Vec::new();
    let program = &step.program;
    let trained = step.stages(Stage::Batch, Stage::Update);
    for op in program.instructions[trained].iter().map(|instruction| &instruction.op) {
        let cost = pace::cost(op.work);
        let is_same = |job: &&mut Job<'_>| {
            std::ptr::eq(job.op.operation, op.operation)
                && (&job.op.params, &job.op.lengths) == (&op.params, &op.lengths)
        };
        if let Some(job) = jobs.iter_mut().find(is_same) {
            job.cost += cost;
            continue;
        }
        let default = op.chosen(adapter);
        let rivals = candidates(op, adapter).into_iter().filter(|variant| variant.name != default.name);
        let candidates: Vec<_> = std::iter::once(default).chain(rivals).collect();
        if candidates.len() < 2 {
            continue;
        }
        // A launch beyond the limits of devices is a panic.
        let sum = match contain(|| checksum(op, &candidates)) {
            Ok(sum) => sum,
            Err(problem) => {
                problems.push(format!("{} keeps its default: {problem}", op.operation.name));
                continue;
            }
        };
        let outputs = op.outputs.iter().map(|id| program.buffer(*id).len).collect();
        let whole = Size { op: op.clone(), outputs, examples: step.batch };
        let (sizes, check) = (vec![whole.clone()], whole.clone());
        jobs.push(Job { op, whole, candidates, sum, cost, known: None, sizes, check });
    }
    jobs.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    jobs
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
    let is_early = cheapest || clock.begin.elapsed() < clock.budget / 2;
    (first.is_some() || is_early).then(|| waiting.remove(at))
}

/// A checksum of the texts, entry points, workgroups and constants of these variants, in hexadecimal.
fn checksum(op: &Op, candidates: &[&'static Variant]) -> String {
    let mut sum = Sha256::new();
    for variant in candidates {
        sum.update(format!("{}\n{}\n{:?}\n", variant.name, variant.source, op.dispatches(variant)));
    }
    sum.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The outcome of a job.
#[derive(Debug)]
enum Verdict {
    Chosen(&'static Variant),
    NoTime,
    /// With the problem of the default.
    NoneRight(String),
}

/// The fastest variant that is right.
async fn winner(
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
        if !checks.is_default_wrong() && checks.found[place].is_none() && clock.has_no(checks.seconds()) {
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

    /// The seconds of a check.
    fn seconds(&self) -> f64 {
        self.speeds.reference * self.job.check.op.work.flops as f64
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
        if op.work.flops > REFERENCE_FLOPS / 4 {
            self.speeds.reference = start.elapsed().as_secs_f64() / op.work.flops as f64;
        }
        if let Some(problem) = &problem {
            let which = if place == 0 { ", the default," } else { "" };
            problems.push(format!("kernel {}{which} computes wrongly, and is not used: {problem}", variant.name));
        }
        let is_right = problem.is_none();
        self.found[place] = Some(problem);
        Ok(is_right)
    }
}

#[cfg(test)]
mod tests {
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
        for ((preset, _), adapter) in PRESETS.iter().flat_map(|preset| Adapter::SORTS.map(|adapter| (preset, adapter)))
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
            let speeds = Speeds { device, ..Speeds::new(Adapter::HARDWARE, Budget::QUICK) };
            jobs.iter().map(|job| speeds.size(job).examples).collect::<Vec<_>>()
        };
        let (fast, slow) = (on(1e-4), on(1.0));
        assert!(slow.iter().zip(&fast).all(|(slow, fast)| slow <= fast), "{slow:?} {fast:?}");
        assert!(slow[0] < 4096, "{slow:?}");
        let whole = jobs.iter().map(|job| job.whole.op.work.bytes);
        let timed = |speeds: &Speeds, job: &Job<'_>| speeds.size(job).op.work.bytes;
        let speeds = Speeds { device: 1e-9, ..Speeds::new(Adapter::HARDWARE, Budget::FULL) };
        assert!(jobs.iter().zip(whole).all(|(job, whole)| timed(&speeds, job) <= whole.min(MOST_BYTES)));
    }
}
