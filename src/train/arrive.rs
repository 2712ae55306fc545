//! Handles the results of queued steps: adds losses to the windows and assembles rows of statistics.

use super::event::{Event, Progress};
use super::metrics::{Phases, StepRow};
use super::run::TrainingLoop;
use super::session::Kind;
use super::settings::Settings;
use crate::error::Result;
use crate::exec::{Capture, Timings};
use crate::program::StepStatistics;

/// A row of statistics whose parts are still arriving.
#[derive(Debug, Default)]
pub(super) struct PendingRow {
    /// Validation batches that have not arrived yet.
    pub window_batches: usize,
    pub timings: Option<Timings>,
    pub statistics: Option<StepStatistics>,
    pub valid: u64,
}

/// Validation examples that one row of statistics adds to the window.
const WINDOW_EXAMPLES: usize = 200;
/// The shortest training time between two progress events, in seconds.
const PROGRESS_INTERVAL: f64 = 0.1;

impl TrainingLoop<'_> {
    /// The validation examples whose turn it is after `step`: rows visit the validation set in order.
    pub fn window_indices(&self, step: u64) -> Vec<u32> {
        let count = WINDOW_EXAMPLES.min(self.validation.len());
        // Every row advances by its examples. Steps between rows are multiples of `stats_every`, except at an epoch's
        // end.
        let rows = (step + 1).div_ceil(self.settings.stats_every) + self.course.sampler.epoch_at(step);
        let first = rows as usize % self.validation.len() * count;
        (0..count).map(|i| self.validation[(first + i) % self.validation.len()]).collect()
    }

    /// Handles the results that have arrived, and reports progress at intervals.
    pub async fn collect(&mut self) -> Result<()> {
        for capture in self.session.executor.captured()? {
            self.handle(capture).await?;
        }
        let ((step, shown_seconds), train_seconds) = (self.shown, self.stopwatch.elapsed());
        let seconds = train_seconds - shown_seconds;
        if seconds >= PROGRESS_INTERVAL && self.arrived > step {
            let examples = self.examples_seen(self.arrived) - self.examples_seen(step);
            let progress = Progress {
                step: self.arrived,
                end: self.end,
                epoch: self.course.sampler.epoch_at(self.arrived - 1),
                loss: self.windows.training.loss(),
                accuracy: self.windows.training.accuracy(),
                validation_accuracy: self.windows.validation.accuracy(),
                images_per_second: examples as f64 / seconds,
            };
            self.shown = (self.arrived, train_seconds);
            self.observer.event(&Event::Progress(progress))?;
        }
        Ok(())
    }

    async fn handle(&mut self, capture: Capture) -> Result<()> {
        let (kind, step) = Kind::of(capture.tag);
        match kind {
            Kind::Timing => {
                if let Some(row) = self.pending.get_mut(&step) {
                    row.timings = capture.timings;
                }
            }
            Kind::Statistics => {
                let plan = &self.session.step.statistics;
                let statistics = plan.decode(&capture.buffers[0], &capture.buffers[1]);
                if statistics.first_non_finite().is_some() {
                    return Err(self.explain_non_finite(step).await?);
                }
                self.clean = step + 1;
                if let Some(row) = self.pending.get_mut(&step) {
                    row.statistics = Some(statistics);
                }
            }
            Kind::Step | Kind::Window | Kind::Validation => {
                let loss = f64::from(f32::from_bits(capture.buffers[0][0]));
                let correct = u64::from(capture.buffers[1][0]);
                self.handle_loss(kind, step, loss, correct).await?;
            }
        }
        self.emit_row(step)
    }

    async fn handle_loss(&mut self, kind: Kind, step: u64, loss: f64, correct: u64) -> Result<()> {
        match kind {
            Kind::Step => {
                if !loss.is_finite() {
                    return Err(self.explain_non_finite(step).await?);
                }
                let examples = self.examples_seen(step + 1) - self.examples_seen(step);
                self.windows.training.push(examples, loss, correct);
                self.arrived = step + 1;
                if step == self.first {
                    self.observer.event(&Event::FirstStep)?;
                }
            }
            Kind::Window => {
                if let Some(row) = self.pending.get_mut(&step) {
                    let count = WINDOW_EXAMPLES.min(self.validation.len());
                    let batches = count.div_ceil(self.settings.batch_size);
                    let last = row.window_batches == 1;
                    let examples =
                        if last { count - (batches - 1) * self.settings.batch_size } else { self.settings.batch_size };
                    row.window_batches -= 1;
                    self.windows.validation.push(examples as u64, loss, correct);
                }
            }
            _ => {
                self.whole.0 += loss;
                self.whole.1 += correct;
            }
        }
        Ok(())
    }

    /// Emits the row of `step` once all its parts have arrived.
    fn emit_row(&mut self, step: u64) -> Result<()> {
        let complete = |row: &PendingRow| row.window_batches == 0 && row.statistics.is_some();
        if !self.pending.get(&step).is_some_and(complete) {
            return Ok(());
        }
        let Some(PendingRow { timings, statistics, valid, .. }) = self.pending.remove(&step) else { return Ok(()) };
        let statistics = statistics.unwrap_or_default();
        let train_seconds = self.stopwatch.elapsed();
        let (marked_step, marked_seconds) = self.row_mark;
        let examples = self.examples_seen(step + 1) - self.examples_seen(marked_step);
        self.row_mark = (step + 1, train_seconds);
        let (training, validation) = (&self.windows.training, &self.windows.validation);
        let row = StepRow {
            step: step + 1,
            epoch: self.course.sampler.epoch_at(step),
            examples_seen: self.examples_seen(step + 1),
            learning_rate: self.settings.learning_rate(self.course.moment(step).progress),
            classification_loss: training.loss().unwrap_or_default(),
            weight_decay_loss: {
                let Settings { network, l1_decay, l2_decay, .. } = &self.settings;
                statistics.decay_loss(network, *l1_decay, *l2_decay)
            },
            training_accuracy: training.accuracy().unwrap_or_default(),
            validation_accuracy: validation.accuracy(),
            validation_loss: validation.loss(),
            averaged: self.settings.network.training.ema.is_some(),
            train_seconds,
            images_per_second: examples as f64 / (train_seconds - marked_seconds).max(1e-9),
            time_per_example: timings.map(|t| phases(&t, valid)),
            layers: statistics.layers,
        };
        self.observer.event(&Event::Step(&row))?;
        self.last_row = Some(row);
        Ok(())
    }
}

fn phases(timings: &Timings, examples: u64) -> Phases {
    let per_example = |i: usize| timings.nanoseconds.get(i).copied().unwrap_or(0.0) / examples.max(1) as f64;
    Phases { clock: timings.clock, forward_ns: per_example(0), backward_ns: per_example(1), update_ns: per_example(2) }
}
