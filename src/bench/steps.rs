//! Whole training steps of one device, round by round, for comparisons with other contestants in turns.

use super::measure::seconds_per_step;
use super::workload::{Runner, Workload};
use crate::error::Result;
use crate::exec::{Device, Submitting};
use crate::net::Network;
use crate::net::Recipe;
use crate::train::{Settings, Tuner};
use std::time::Duration;
use web_time::Instant;

/// The host's time for some steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostTime {
    /// From the first step to the end of the last one on the device.
    pub all: Duration,
    /// Choosing the batch and queueing its inputs.
    pub begin: Duration,
    /// Recording the commands.
    pub record: Duration,
    /// Ending the steps: submissions, and waits for the device.
    pub end: Duration,
    /// The part of `end` that was waiting.
    pub waited: Duration,
    /// Taking results that have arrived.
    pub collect: Duration,
    /// Submissions, mostly in `end`.
    pub submitting: Submitting,
}

/// A device that trains on random images.
pub struct Steps {
    runner: Runner,
}

impl Steps {
    /// Lowers the network, allocates and fills.
    ///
    /// # Errors
    /// Those of [`run`](super::run), and an error if the device cannot hold the network.
    pub async fn new(device: &Device, network: &Network, batch: usize) -> Result<Steps> {
        let workload = Workload::new(Settings::resolve(network.clone(), &Recipe::default())?, Tuner::OFF);
        Ok(Steps { runner: workload.runner(device, network, batch).await? })
    }

    /// Images per second over at least `round`, with the device idle before and after. Only the last measurement
    /// counts, which is about half of the round.
    pub async fn round(&mut self, round: Duration) -> Result<f64> {
        Ok(self.runner.batch() as f64 / seconds_per_step(&mut self.runner, round).await?)
    }
    /// The number of dispatches in a step.
    pub fn dispatches(&self) -> usize {
        self.runner.executor.dispatches(self.runner.instructions.clone())
    }

    /// The host's time for this number of steps, queued as in training: every step's loss and number of correct
    /// predictions are read back.
    pub async fn host_time(&mut self, steps: usize) -> Result<HostTime> {
        let outputs = self.runner.lowered.outputs;
        let results = [outputs.loss.id, outputs.correct.id];
        self.runner.executor.finish().await?;
        let (waited, before) = (self.runner.executor.waited(), self.runner.executor.submitting());
        let mut time = HostTime::default();
        let begin = Instant::now();
        for step in 0..steps {
            let start = Instant::now();
            self.runner.begin_step()?;
            let begun = Instant::now();
            let executor = self.runner.executor.as_mut();
            executor.run(self.runner.instructions.clone())?;
            executor.capture(step as u64, &results)?;
            let recorded = Instant::now();
            executor.end_step(true).await?;
            let ended = Instant::now();
            executor.captured()?;
            time.begin += begun - start;
            time.record += recorded - begun;
            time.end += ended - recorded;
            time.collect += ended.elapsed();
        }
        time.waited = self.runner.executor.waited() - waited;
        self.runner.executor.finish().await?;
        self.runner.executor.captured()?;
        time.all = begin.elapsed();
        let after = self.runner.executor.submitting();
        time.submitting = Submitting {
            submissions: after.submissions - before.submissions,
            inputs: after.inputs - before.inputs,
            finish: after.finish - before.finish,
            submit: after.submit - before.submit,
        };
        Ok(time)
    }
}
