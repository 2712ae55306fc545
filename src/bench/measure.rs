//! Measures one device at one batch size: a warm-up, then one round at a time, so that devices can take turns.

use super::Settings;
use super::workload::Runner;
use crate::error::{Error, Result};
use crate::exec::{Clock, ExecutorKind, read_reals};
use crate::kernels::conv;
use std::time::Duration;
use web_time::Instant;

/// The most timed ranges of one [`crate::exec::Executor::run_timed`]; a longer program needs several.
const RANGES: usize = 512;

/// Mean nanoseconds of every operation over one round's steps.
type OperationRound = Vec<f64>;

/// The host's seconds per step in one round, without waiting for the device, and the submissions' part of them.
#[derive(Debug, Clone, Copy)]
pub struct HostRound {
    pub all: f64,
    pub inputs: f64,
    pub finish: f64,
    pub submit: f64,
}

/// A runner with its measurements so far.
pub struct Subject {
    pub runner: Runner,
    /// The number of rounds that fit the time for one device.
    pub rounds: usize,
    /// Steps per round, for whole steps and for single operations.
    pub steps: usize,
    pub timed_steps: usize,
    /// Seconds per step, by round.
    pub step_seconds: Vec<f64>,
    /// The host's time, by round.
    pub host: Vec<HostRound>,
    /// How operations were timed; the same in all rounds.
    pub clock: Option<Clock>,
    pub operations: Vec<OperationRound>,
}

impl Subject {
    /// Warms up (pipelines, caches, the length of submissions) and chooses how many steps a round takes.
    pub async fn new(mut runner: Runner, settings: &Settings) -> Result<Subject> {
        let per_step = seconds_per_step(&mut runner, settings.round).await?;
        let mut subject = Subject {
            runner,
            rounds: 1,
            steps: steps_in(settings.round, per_step),
            timed_steps: 1,
            step_seconds: Vec::new(),
            host: Vec::new(),
            clock: None,
            operations: Vec::new(),
        };
        // The first round finds out whether the clock is usable; the second is as long as all that follow.
        subject.operations_round().await?;
        let start = Instant::now();
        subject.operations_round().await?;
        let per_timed_step = start.elapsed().as_secs_f64();
        subject.timed_steps = steps_in(settings.round, per_timed_step);
        subject.operations.clear();
        let per_round = subject.steps as f64 * per_step + subject.timed_steps as f64 * per_timed_step;
        let affordable = settings.budget.as_secs_f64() / per_round;
        subject.rounds = (affordable as usize).clamp(1, settings.rounds);
        Ok(subject)
    }

    /// Measures one round of whole steps and one of single operations.
    pub async fn round(&mut self) -> Result<()> {
        self.steps_round().await?;
        self.operations_round().await
    }

    async fn steps_round(&mut self) -> Result<()> {
        self.runner.executor.finish().await?;
        let (waited, before) = (self.runner.executor.waited(), self.runner.executor.submitting());
        let start = Instant::now();
        for _ in 0..self.steps {
            self.runner.step().await?;
        }
        self.runner.executor.finish().await?;
        let taken = start.elapsed();
        let host = taken.saturating_sub(self.runner.executor.waited() - waited);
        let after = self.runner.executor.submitting();
        let per_step = |time: Duration| time.as_secs_f64() / self.steps as f64;
        self.step_seconds.push(per_step(taken));
        self.host.push(HostRound {
            all: per_step(host),
            inputs: per_step(after.inputs - before.inputs),
            finish: per_step(after.finish - before.finish),
            submit: per_step(after.submit - before.submit),
        });
        Ok(())
    }

    async fn operations_round(&mut self) -> Result<()> {
        let mut means = Means::new(self.runner.instructions.len(), self.clock);
        self.runner.executor.finish().await?;
        for _ in 0..self.timed_steps {
            self.runner.begin_step()?;
            let instructions = self.runner.instructions.clone();
            let ranges: Vec<_> = instructions.map(|i| i..i + 1).collect();
            for (part, ranges) in ranges.chunks(RANGES).enumerate() {
                self.runner.executor.run_timed((part * RANGES) as u64, ranges).await?;
            }
            self.runner.executor.end_step(true).await?;
            means.add(&mut self.runner)?;
        }
        self.runner.executor.finish().await?;
        means.add(&mut self.runner)?;
        if means.clock != self.clock {
            self.operations.clear();
            self.clock = means.clock;
        }
        self.operations.extend(means.finish());
        Ok(())
    }

    /// Runs one more step and finds the share of gradients that each operation skips because they are zero; `None` for
    /// those that skip none. Only the `cpu` executor skips any.
    pub async fn skipped_zeros(&mut self) -> Result<Vec<Option<f64>>> {
        let instructions = self.runner.instructions.clone();
        let mut skipped = vec![None; instructions.len()];
        if self.runner.executor.device().executor != ExecutorKind::Cpu {
            return Ok(skipped);
        }
        self.runner.begin_step()?;
        for (skipped, instruction) in skipped.iter_mut().zip(instructions) {
            let op = &self.runner.lowered.program.instructions[instruction].op;
            if let Some(gradient) = conv::sparse_gradient(op) {
                // Read before the operation runs, because later ones may reuse its memory.
                let mut values = read_reals(self.runner.executor.as_mut(), gradient).await?;
                values.truncate(self.runner.lowered.program.buffer(gradient).len);
                *skipped = conv::skipped_zeros(op, &values);
            }
            self.runner.executor.run(instruction..instruction + 1)?;
        }
        self.runner.executor.end_step(true).await?;
        Ok(skipped)
    }

    /// Whether the loss is finite; arithmetic on infinities and NaN may be faster or slower than training.
    pub async fn loss_is_finite(&mut self) -> Result<bool> {
        let loss = self.runner.lowered.outputs.loss.id;
        Ok(read_reals(self.runner.executor.as_mut(), loss).await?.iter().all(|v| v.is_finite()))
    }
}

/// Seconds per step after the warm-up.
pub(super) async fn seconds_per_step(runner: &mut Runner, at_least: Duration) -> Result<f64> {
    // The first step may still compile, allocate and fetch, so it is not measured.
    runner.step().await?;
    runner.executor.finish().await?;
    let begin = Instant::now();
    let mut steps = 1;
    loop {
        let start = Instant::now();
        for _ in 0..steps {
            runner.step().await?;
        }
        runner.executor.finish().await?;
        let taken = start.elapsed();
        if begin.elapsed() >= at_least {
            return Ok(taken.as_secs_f64() / steps as f64);
        }
        steps *= 2;
    }
}

/// The number of steps of `per_step` seconds that fill `round`.
fn steps_in(round: Duration, per_step: f64) -> usize {
    // With a clock too coarse to see a step, the number would be almost endless.
    (round.as_secs_f64() / per_step.max(1e-7)).ceil().max(1.0) as usize
}

/// Sums durations by operation, over the steps of a round.
struct Means {
    clock: Option<Clock>,
    nanoseconds: Vec<f64>,
    counts: Vec<usize>,
}

impl Means {
    fn new(operations: usize, clock: Option<Clock>) -> Means {
        Means { clock, nanoseconds: vec![0.0; operations], counts: vec![0; operations] }
    }

    /// Adds the executor's captures. If its clock changes, earlier captures are dropped.
    fn add(&mut self, runner: &mut Runner) -> Result<()> {
        for capture in runner.executor.captured()? {
            let Some(timings) = capture.timings else { continue };
            if self.clock != Some(timings.clock) {
                *self = Means::new(self.counts.len(), Some(timings.clock));
            }
            let first = usize::try_from(capture.tag).map_err(|_| Error::Device("an unexpected capture".into()))?;
            for (i, nanoseconds) in timings.nanoseconds.iter().enumerate() {
                self.nanoseconds[first + i] += nanoseconds;
                self.counts[first + i] += 1;
            }
        }
        Ok(())
    }

    /// The means, if every operation was timed at least once.
    fn finish(self) -> Option<OperationRound> {
        let mean = |(sum, count): (f64, usize)| (count > 0).then(|| sum / count as f64);
        self.nanoseconds.into_iter().zip(self.counts).map(mean).collect()
    }
}
