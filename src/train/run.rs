//! The training loop. It queues steps ahead of the device and handles what comes back as it arrives.
//!
//! Step `s` (from 0) trains on `Sampler::batch_at(s)` with draws seeded by (seed, s): all state is weights, their
//! moving average, optimizer state, `s`, the windows and what was changed on the way, so a run that continues from a
//! checkpoint ends with the same bits.

use super::arrive::PendingRow;
use super::course::Course;
use super::event::{Event, Observer, Outcome, State};
use super::metrics::{Best, ChangeRow, EpochRow, StepRow};
use super::nonfinite;
use super::session::{Kind, Session, Snapshot};
use super::stopwatch::Stopwatch;
use super::{Settings, Windows};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::evaluate::{crops, evaluate_crops};
use crate::exec::Device;
use crate::net::Network;
use crate::program::Stage;
use std::collections::BTreeMap;
use std::ops::Range;

/// Trains from the beginning, or from `resume`, to the end of `settings.length`; tests once, at the end. `settings` are
/// those that the run began with; later changes are in the state.
pub async fn train(
    device: &Device,
    dataset: &Dataset,
    settings: &Settings,
    resume: Option<State>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    // Checked before the run, which would otherwise reach a test that cannot be made.
    let [height, width, _] = dataset.test.shape;
    crops(&settings.network, [height, width], settings.test_crops)?;
    let parts = split_for(dataset, &settings.network)?;
    let changes = resume.as_ref().map_or(Vec::new(), |state| state.changes.clone());
    if let (Some(state), Some(last)) = (&resume, changes.last())
        && last.step > state.step
    {
        return Err(Error::Model(format!("the checkpoint of step {} has a change at step {}", state.step, last.step)));
    }
    let (course, mut settings) = Course::replay(parts.train, settings, &changes)?;
    if let Some(state) = &resume {
        settings.keep_kernels(state);
    }
    let mut session = Session::new(device, &settings, &dataset.train).await?;
    let begins = resume.is_none();
    let state = resume.unwrap_or_else(|| first_state(&session, &settings));
    if state.optimizer.len() != session.state_len() {
        return Err(Error::Model("the checkpoint's optimizer state is not that of this optimizer".into()));
    }
    if state.average.len() != session.average_len() {
        return Err(Error::Model("the checkpoint's average of the weights is not that of this run".into()));
    }
    let parameters = session.flat(&state.parameters);
    let good = Snapshot { parameters, state: state.optimizer, average: state.average };
    session.restore(&good)?;
    let stopwatch = Stopwatch::at(state.train_seconds);
    let begin = (state.step, stopwatch.elapsed());
    let training = TrainingLoop {
        device,
        dataset,
        session,
        settings,
        end: course.end_after(state.step)?,
        course,
        changes,
        validation: parts.validation,
        observer,
        windows: state.windows,
        best: state.best,
        stopwatch,
        pending: BTreeMap::new(),
        whole: (0.0, 0, 0),
        last_row: None,
        good: (state.step, good),
        clean: state.step,
        first: state.step,
        arrived: state.step,
        shown: begin,
        row_mark: begin,
    };
    training.run(state.step, begins).await
}

/// The examples that `network` is trained on and those for validation.
///
/// # Errors
/// [`Error::Data`] if none can be held out because no class has two training examples. A network that learns numbers
/// may be validated on numbers that it was not trained on.
pub fn split_for(dataset: &Dataset, network: &Network) -> Result<Split> {
    let parts = dataset.split();
    check_split(&parts, dataset, network)?;
    Ok(parts)
}

/// Checks that `network` can be trained and validated with these parts of `dataset`; errors are those of [`split_for`].
pub(crate) fn check_split(parts: &Split, dataset: &Dataset, network: &Network) -> Result<()> {
    if parts.validation.is_empty() || !(parts.untrained.is_empty() || network.learns_numbers()) {
        return Err(Error::Data(format!(
            "no class has two training examples ({} in all), so none can be held out for validation; add examples",
            dataset.train.len()
        )));
    }
    Ok(())
}

/// The state before the first update.
fn first_state(session: &Session, settings: &Settings) -> State {
    let parameters = settings.network.initial_parameters(settings.seed);
    let Snapshot { state, average, .. } = session.fresh(&parameters);
    State {
        step: 0,
        parameters,
        optimizer: state,
        average,
        windows: Windows::default(),
        best: None,
        changes: Vec::new(),
        kernels: settings.kernels.clone(),
        train_seconds: 0.0,
    }
}

/// The training loop of a run, with its state.
pub(super) struct TrainingLoop<'a> {
    pub device: &'a Device,
    pub dataset: &'a Dataset,
    pub session: Session,
    /// The present settings.
    pub settings: Settings,
    pub course: Course,
    /// The step after the last one.
    pub end: u64,
    /// The changes since the run began.
    pub changes: Vec<ChangeRow>,
    pub validation: Vec<u32>,
    pub observer: &'a mut dyn Observer,
    pub windows: Windows,
    pub best: Option<Best>,
    pub stopwatch: Stopwatch,
    /// By step.
    pub pending: BTreeMap<u64, PendingRow>,
    /// The present validation pass so far: sum of losses, correct predictions, examples.
    pub whole: (f64, u64, u64),
    pub last_row: Option<StepRow>,
    /// The last checkpoint's step and contents.
    pub good: (u64, Snapshot),
    /// The last step whose statistics were all finite.
    pub clean: u64,
    /// The number of updates before this session.
    pub first: u64,
    /// The number of updates whose results have arrived.
    pub arrived: u64,
    /// Step and training time of the last progress event.
    pub shown: (u64, f64),
    /// Step and training time of the last row.
    pub row_mark: (u64, f64),
}

impl TrainingLoop<'_> {
    async fn run(mut self, first: u64, begins: bool) -> Result<Outcome> {
        let before = self.stopwatch.elapsed();
        self.observer.event(&Event::Started {
            first_step: first,
            end: self.end,
            steps_per_epoch: self.course.sampler.steps_per_epoch(),
            train_examples: self.course.sampler.examples(),
            validation_examples: self.validation.len(),
        })?;
        if begins {
            self.checkpoint(0).await?;
        }
        let (mut validation, mut done) = (None, first);
        while done < self.end && !self.stops_early(done) {
            if let Some(turn) = self.observer.give_way() {
                turn.await;
            }
            // Once a step, in nearly all of them for nothing.
            if let Some(command) = self.observer.command(done) {
                self = self.carry_out(done, command).await?;
            }
            self.stopwatch.go_on();
            let step = done;
            done += 1;
            let epoch_ends = self.course.ends_epoch(done) || done == self.end;
            self.step(step, done.is_multiple_of(self.settings.stats_every) || epoch_ends).await?;
            self.collect().await?;
            if epoch_ends {
                validation = Some(self.end_epoch(done).await?);
            }
            if epoch_ends || done.is_multiple_of(self.settings.checkpoint_every) {
                self.checkpoint(done).await?;
            }
            if self.observer.should_stop() && done < self.end {
                return Err(self.stop(done).await?);
            }
        }
        self.stopwatch.pause();
        // A run that was stopped between its last checkpoint and its end already has its row.
        let validation = match validation {
            Some(row) => row,
            None => self.validate(done).await?,
        };
        let snapshot = self.session.snapshot().await?;
        let state = self.state(done, snapshot);
        let weights = self.session.weights(&self.settings.network).await?;
        let (examples_seen, session) = (self.examples_seen(done), self.examples_seen(done) - self.examples_seen(first));
        let images_per_second = session as f64 / (state.train_seconds - before).max(1e-9);
        let TrainingLoop { device, dataset, session, observer, settings, end, .. } = self;
        observer.event(&Event::Trained { step: done, weights: &weights })?;
        // The test has the device's memory to itself.
        drop(session);
        let batch = settings.batch_size.max(100);
        let (network, crops) = (&settings.network, settings.test_crops);
        let test = evaluate_crops(device, network, &weights, &dataset.test, batch, crops).await?;
        Ok(Outcome { state, weights, validation, test, examples_seen, images_per_second, stopped_early: done < end })
    }

    /// Stops the run after a checkpoint; returns the error that ends it.
    pub async fn stop(&mut self, done: u64) -> Result<Error> {
        if self.good.0 != done {
            self.checkpoint(done).await?;
        }
        Ok(Error::Interrupted)
    }

    fn stops_early(&self, done: u64) -> bool {
        let epochs = self.course.sampler.epoch_at(done);
        self.settings.stops_early(epochs, self.best)
    }

    /// Queues training step `step`, with a row of statistics if `regular` is set or the observer asks for one.
    async fn step(&mut self, step: u64, regular: bool) -> Result<()> {
        let measured = self.observer.measure_next() || regular;
        let indices = self.course.sampler.batch_at(step).to_vec();
        let header = self.settings.header_at(&self.course.moment(step), indices.len());
        self.session.begin(header, &indices)?;
        let lowered = &self.session.step;
        let (outputs, counts, values) = (lowered.outputs, lowered.statistics.counts, lowered.statistics.values);
        let stage = |stage| lowered.stage(stage);
        let (batch, statistics) = (stage(Stage::Batch), lowered.stages(Stage::Unfused, Stage::Statistics));
        let phases = [stage(Stage::Forward), stage(Stage::Backward), stage(Stage::Update)];
        let whole = lowered.stages(Stage::Batch, Stage::Update);
        let executor = self.session.executor.as_mut();
        if measured {
            executor.run(batch)?;
            executor.run_timed(Kind::Timing.tag(step), &phases).await?;
        } else {
            executor.run(whole)?;
        }
        executor.capture(Kind::Step.tag(step), &[outputs.loss.id, outputs.correct.id])?;
        if measured {
            executor.run(statistics)?;
            executor.capture(Kind::Statistics.tag(step), &[counts.id, values.id])?;
        }
        executor.end_step(true).await?;
        if measured {
            let indices = if regular { self.window_indices(step) } else { Vec::new() };
            let window_batches = self.session.evaluate(Kind::Window, step, &indices).await?;
            self.pending.insert(step, PendingRow { window_batches, valid: header.valid.into(), ..Default::default() });
        }
        Ok(())
    }

    /// The error for a non-finite value that was found in step `seen`.
    pub async fn explain_non_finite(&mut self, seen: u64) -> Result<Error> {
        let from = self.good.clone();
        // A step's update comes after its statistics.
        let Range { start, end } = self.clean.saturating_sub(1)..seen + 1;
        nonfinite::explain(&mut self.session, &self.settings, &mut self.course, from, start..end).await
    }

    /// Waits for all queued work and handles the results.
    pub async fn drain(&mut self) -> Result<()> {
        self.session.executor.finish().await?;
        self.collect().await
    }

    async fn end_epoch(&mut self, done: u64) -> Result<EpochRow> {
        let row = self.validate(done).await?;
        self.observer.event(&Event::Epoch(&row, self.last_row.as_ref()))?;
        let loss = row.validation_loss;
        if loss.is_finite() && self.best.is_none_or(|best| loss < best.validation_loss) {
            self.best = Some(Best::of(&row));
            let weights = self.session.weights(&self.settings.network).await?;
            self.observer.event(&Event::Best { step: done, weights: &weights })?;
        }
        Ok(row)
    }

    /// Runs the whole validation set.
    async fn validate(&mut self, done: u64) -> Result<EpochRow> {
        self.drain().await?;
        self.stopwatch.pause();
        self.whole = (0.0, 0, self.validation.len() as u64);
        let indices = self.validation.clone();
        self.session.evaluate(Kind::Validation, done, &indices).await?;
        self.drain().await?;
        let (loss, correct, examples) = self.whole;
        Ok(EpochRow {
            step: done,
            epoch: self.course.epochs_begun(done),
            examples_seen: self.examples_seen(done),
            validation_loss: loss / examples as f64,
            validation_accuracy: correct as f64 / examples as f64,
            averaged: self.settings.network.training.ema.is_some(),
            train_seconds: self.stopwatch.elapsed(),
        })
    }

    async fn checkpoint(&mut self, done: u64) -> Result<()> {
        let snapshot = self.sound_snapshot(done).await?;
        self.save(done, snapshot)
    }

    /// Waits for all queued work, stops the clock and copies the state of training, all of it finite.
    pub async fn sound_snapshot(&mut self, done: u64) -> Result<Snapshot> {
        // Rows of statistics that are still pending belong before the checkpoint.
        self.drain().await?;
        self.stopwatch.pause();
        let snapshot = self.session.snapshot().await?;
        match snapshot.is_finite() {
            true => Ok(snapshot),
            false => Err(self.explain_non_finite(done.saturating_sub(1)).await?),
        }
    }

    /// Emits a checkpoint of the session's state.
    pub fn save(&mut self, done: u64, snapshot: Snapshot) -> Result<()> {
        let state = self.state(done, snapshot.clone());
        self.good = (done, snapshot);
        self.observer.event(&Event::Checkpoint(&state))
    }

    fn state(&self, step: u64, snapshot: Snapshot) -> State {
        State {
            step,
            parameters: self.session.parameters(&self.settings.network, &snapshot.parameters),
            optimizer: snapshot.state,
            average: snapshot.average,
            windows: self.windows.clone(),
            best: self.best,
            changes: self.changes.clone(),
            kernels: self.settings.kernels.clone(),
            train_seconds: self.stopwatch.elapsed(),
        }
    }

    /// Training examples seen after `steps` updates.
    pub fn examples_seen(&self, steps: u64) -> u64 {
        self.course.sampler.examples_seen(steps)
    }
}
