//! Chooses variants by their times on this device.
//!
//! The variants of an operation that fit take turns on random inputs of its shape. Before one may replace the default, it
//! must agree with the reference on a reduced batch, and with the default on the whole one. Operations with the most work
//! come first, because time is limited; those that are not reached keep their defaults.

use super::context::Gpu;
use super::pace;
use crate::error::{Error, Result};
use crate::exec::check::{compare, fault, most_undecided};
use crate::exec::lockstep::undecided;
use crate::exec::{Device, Executor, timed};
use crate::kernels::sample::{reduced, sample};
use crate::kernels::{Adapter, BufferId, Case, Op, Variant};
use crate::program::{Choices, Instruction, Program};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use web_time::Instant;

/// Rounds in which all variants take turns; the best time of each counts, because disturbances only make it longer.
const ROUNDS: usize = 5;
/// A variant must be so much faster than the default. A closer race is decided by chance, and each outcome has other
/// bits.
const MARGIN: f64 = 1.05;
/// A variant whose first run takes so many times as long as the fastest one's is not timed again.
const HOPELESS: f64 = 4.0;
/// Floating-point operations of the reference per check, if the batch can be reduced so far: some ten milliseconds.
const REFERENCE_FLOPS: u64 = 8_000_000;
/// The reference's floating-point operations per second on a slow processor.
const REFERENCE_RATE: f64 = 2e8;
/// The initial contents of outputs, so that nothing passes for a result that was not written.
const UNWRITTEN: u32 = 0x7fc1_2345;

/// How long tuning may take. A dispatch, a compilation or a check that has begun is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(pub Duration);

impl Budget {
    /// For every start of a new run.
    pub const QUICK: Budget = Budget(Duration::from_secs(2));
    /// For users who asked for it.
    pub const FULL: Budget = Budget(Duration::from_secs(120));
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
    /// The number of operations whose result was known.
    pub known: usize,
    /// The number of operations whose variant is not the default.
    pub changed: usize,
    /// The number of operations that the time was too short for.
    pub unreached: usize,
    /// Variants that were fast and wrong, and operations that the device refused, with the reasons.
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
            write!(f, "; {unreached} keep their defaults for lack of time")?;
        }
        problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// An operation to tune.
struct Job<'a> {
    op: &'a Op,
    outputs: Vec<usize>,
    /// The default first.
    candidates: Vec<&'static Variant>,
    /// Seconds on a slow device, of all operations of this shape.
    cost: f64,
}

/// Chooses variants for `program` within `budget`. What is `known` is not measured again.
///
/// # Errors
/// [`Error::Device`] if the device is lost. What it merely refuses keeps its default.
pub async fn tune(
    gpu: &Gpu,
    program: &Program,
    budget: Budget,
    known: &[Found],
    candidates: Candidates<'_>,
) -> Result<Tuned> {
    let (adapter, begin) = (gpu.adapter(), Instant::now());
    let mut tuned = Tuned { choices: Choices::of(program, adapter), ..Tuned::default() };
    let clock = TimeLimit { begin, budget: budget.0 };
    let examples = program.examples.unwrap_or(1);
    for job in jobs(program, adapter, candidates) {
        let (operation, shape) = (job.op.operation.name.to_string(), job.op.shape());
        let sum = checksum(job.op, &job.candidates);
        let is_this = |found: &&Found| found.operation == operation && found.shape == shape && found.candidates == sum;
        let earlier = known.iter().find(is_this);
        let earlier =
            earlier.and_then(|found| job.candidates.iter().find(|variant| variant.name == found.variant).copied());
        let variant = match earlier {
            Some(variant) => {
                tuned.known += 1;
                variant
            }
            None if clock.is_over() => {
                tuned.unreached += 1;
                continue;
            }
            None => match winner(gpu, &job, examples, &clock, &mut tuned.problems).await {
                Ok(Some(variant)) => {
                    let (candidates, variant_name) = (sum, variant.name.to_string());
                    tuned.found.push(Found { operation, shape, candidates, variant: variant_name });
                    variant
                }
                Ok(None) => {
                    tuned.unreached += 1;
                    continue;
                }
                Err(error) => {
                    gpu.check()?;
                    tuned.problems.push(format!("{operation} keeps its default: {error}"));
                    continue;
                }
            },
        };
        tuned.changed += usize::from(variant.name != job.candidates[0].name);
        tuned.choices.set(job.op, variant.name);
    }
    tuned.took = begin.elapsed();
    Ok(tuned)
}

/// The time that is left.
struct TimeLimit {
    begin: Instant,
    budget: Duration,
}

impl TimeLimit {
    fn is_over(&self) -> bool {
        self.has_no(0.0)
    }

    /// Whether so many seconds are more than what is left.
    fn has_no(&self, seconds: f64) -> bool {
        self.begin.elapsed().as_secs_f64() + seconds >= self.budget.as_secs_f64()
    }
}

/// The operations with several candidates, one of each shape, those with the most work first.
fn jobs<'a>(program: &'a Program, adapter: Adapter, candidates: Candidates<'_>) -> Vec<Job<'a>> {
    let mut jobs: Vec<Job<'a>> = Vec::new();
    for op in program.instructions.iter().map(|instruction| &instruction.op) {
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
        if candidates.len() > 1 {
            let outputs = op.outputs.iter().map(|id| program.buffer(*id).len).collect();
            jobs.push(Job { op, outputs, candidates, cost });
        }
    }
    jobs.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    jobs
}

/// A checksum of the texts, entry points, workgroups and constants of these variants, in hexadecimal.
fn checksum(op: &Op, candidates: &[&'static Variant]) -> String {
    let mut sum = Sha256::new();
    for variant in candidates {
        sum.update(format!("{}\n{}\n{:?}\n", variant.name, variant.source, op.dispatches(variant)));
    }
    sum.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The fastest variant that is right; `None` if the time ends before.
async fn winner(
    gpu: &Gpu,
    job: &Job<'_>,
    examples: usize,
    clock: &TimeLimit,
    problems: &mut Vec<String>,
) -> Result<Option<&'static Variant>> {
    let Job { op, outputs, candidates, .. } = job;
    let Some(case) = sample(op, outputs, examples) else { return Ok(Some(candidates[0])) };
    let mut race = Race::new(gpu, &case, candidates).await?;
    let Some(nanoseconds) = race.times(clock).await? else { return Ok(None) };
    for rival in faster(&nanoseconds) {
        let variant = candidates[rival];
        let (op, outputs) = reduced(op, outputs, REFERENCE_FLOPS);
        if clock.has_no(op.work.flops as f64 / REFERENCE_RATE) {
            return Ok(None);
        }
        let Some(mut few) = sample(&op, &outputs, examples) else { continue };
        few.op.variant = Some(variant);
        let problem = match fault(gpu, &few, undecided(op.operation)).await? {
            Some(problem) => Some(problem),
            None => race.difference(&case, rival).await?,
        };
        match problem {
            None => return Ok(Some(variant)),
            Some(problem) => {
                problems.push(format!("kernel {} computes wrongly, and is not used: {problem}", variant.name));
            }
        }
    }
    Ok(Some(candidates[0]))
}

/// The places of the variants that are clearly faster than the first one, the fastest first. A time that is not above
/// zero says nothing.
fn faster(nanoseconds: &[f64]) -> Vec<usize> {
    let default = nanoseconds[0];
    let is_faster = |place: &usize| nanoseconds[*place] > 0.0 && nanoseconds[*place] * MARGIN < default;
    let mut places: Vec<usize> = (1..nanoseconds.len()).filter(is_faster).collect();
    places.sort_by(|a, b| nanoseconds[*a].total_cmp(&nanoseconds[*b]));
    places
}

/// One executor with all candidates of an operation on the same buffers.
struct Race {
    executor: Box<dyn Executor>,
    candidates: usize,
}

impl Race {
    async fn new(gpu: &Gpu, case: &Case, candidates: &[&'static Variant]) -> Result<Race> {
        let mut program = Program::of_case(case, None, None);
        let instruction = |variant: &&'static Variant| Instruction {
            name: variant.name.to_string(),
            op: Op { variant: Some(*variant), ..case.op.clone() },
        };
        program.instructions = candidates.iter().map(instruction).collect();
        let mut executor = Device::Gpu(gpu.clone()).executor(program).await?;
        for input in &case.op.inputs {
            executor.write(*input, &case.contents(input.0 as usize))?;
        }
        Ok(Race { executor, candidates: candidates.len() })
    }

    /// The best nanoseconds of each candidate, infinite for those that are left behind; `None` if the time ends before.
    async fn times(&mut self, clock: &TimeLimit) -> Result<Option<Vec<f64>>> {
        let mut best = vec![f64::INFINITY; self.candidates];
        let mut last = None;
        // The default is also run a second time, because the first run of all may wake the device.
        for place in std::iter::once(0).chain(0..self.candidates) {
            if clock.is_over() {
                return Ok(None);
            }
            let ranges = vec![place..place + 1; 1];
            // If the device's clock proves unusable, the host's takes over.
            let timings = match timed(self.executor.as_mut(), &ranges).await? {
                None => timed(self.executor.as_mut(), &ranges).await?,
                timings => timings,
            };
            let timings = timings.ok_or_else(|| Error::Device("the device gave no times".into()))?;
            // Times by different clocks cannot be compared.
            if last.replace(timings.clock).is_some_and(|last| last != timings.clock) {
                best.fill(f64::INFINITY);
            }
            best[place] = timings.nanoseconds.first().copied().unwrap_or(f64::INFINITY);
        }
        let fastest = best.iter().copied().fold(f64::INFINITY, f64::min);
        let stays = |place: &usize| *place == 0 || best[*place] < HOPELESS * fastest.max(1.0);
        let places: Vec<usize> = (0..self.candidates).filter(stays).collect();
        let ranges: Vec<Range<usize>> = places.iter().map(|place| *place..*place + 1).collect();
        let mut best = vec![f64::INFINITY; self.candidates];
        for _ in 0..ROUNDS {
            if clock.is_over() {
                return Ok(None);
            }
            let Some(timings) = timed(self.executor.as_mut(), &ranges).await? else { continue };
            for (place, nanoseconds) in places.iter().zip(timings.nanoseconds) {
                best[*place] = best[*place].min(nanoseconds);
            }
        }
        Ok(Some(best))
    }

    /// What differs between the results of the default and of the candidate at `place`.
    async fn difference(&mut self, case: &Case, place: usize) -> Result<Option<String>> {
        let (want, got) = (self.results(case, 0).await?, self.results(case, place).await?);
        let share = undecided(case.op.operation);
        for (output, (want, got)) in case.op.outputs.iter().zip(want.iter().zip(&got)) {
            let buffer = &case.buffers[output.0 as usize];
            let (difference, _) = compare(buffer.element, got, want, case.tolerance);
            let may_differ = most_undecided(buffer.element, buffer.len, share);
            if let Some(found) = difference.filter(|found| found.count > may_differ) {
                let (index, count, len) = (found.index, found.count, buffer.len);
                let problem = format!("index {index}: {} ({count} of {len} differ)", found.problem);
                return Ok(Some(format!("{problem} from the default on the whole batch")));
            }
        }
        Ok(None)
    }

    async fn results(&mut self, case: &Case, place: usize) -> Result<Vec<Vec<u32>>> {
        let outputs: &[BufferId] = &case.op.outputs;
        for output in outputs {
            self.executor.write(*output, &vec![UNWRITTEN; case.buffers[output.0 as usize].len])?;
        }
        self.executor.run(place..place + 1)?;
        let mut results = Vec::with_capacity(outputs.len());
        for output in outputs {
            results.push(self.executor.read(*output).await?);
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_lead_over_the_default_counts_and_the_fastest_is_first() {
        assert_eq!(faster(&[100.0, 96.0, 100.0, 200.0]), [0; 0]);
        assert_eq!(faster(&[100.0, 90.0, 95.5, 50.0]), [3, 1]);
        assert_eq!(faster(&[100.0]), [0; 0]);
    }

    #[test]
    fn a_time_that_is_none_wins_nothing() {
        assert_eq!(faster(&[100.0, 0.0, -3.0, f64::INFINITY]), [0; 0]);
    }
}
