//! The training loop. It queues steps ahead of the device and handles what comes back as it arrives.
//!
//! Step `s` (from 0) trains on `Sampler::batch_at(s)` with draws seeded by (seed, s): all state is weights, their moving
//! average, optimiser state, `s` and the windows, so a run that continues from a checkpoint ends with the same bits.

use super::event::{Event, Observer, Outcome, Progress, State};
use super::metrics::{Best, EpochRow, Phases, StepRow};
use super::nonfinite;
use super::session::{Kind, Session, Snapshot};
use super::{Settings, Windows};
use crate::data::{Dataset, Sampler, split};
use crate::error::{Error, Result};
use crate::evaluate::{crops, evaluate_crops};
use crate::exec::{Capture, Device, Timings};
use crate::program::{Stage, StepStatistics};
use std::collections::BTreeMap;
use std::ops::Range;
use web_time::{Duration, Instant};

/// Time in the training loop, with the pauses left out.
#[derive(Debug)]
struct Stopwatch {
    before: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    fn elapsed(&self) -> f64 {
        (self.before + self.since.map_or(Duration::ZERO, |s| s.elapsed())).as_secs_f64()
    }

    fn pause(&mut self) {
        self.before += self.since.take().map_or(Duration::ZERO, |s| s.elapsed());
    }

    fn go_on(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }
}

/// A row of statistics whose parts are still arriving.
#[derive(Debug, Default)]
struct PendingRow {
    /// Validation batches still to come.
    window_batches: usize,
    timings: Option<Timings>,
    statistics: Option<StepStatistics>,
    valid: u64,
}

/// Validation examples that one row of statistics adds to the window.
const WINDOW_EXAMPLES: usize = 200;
/// The shortest time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Trains from the beginning, or from `resume`, to the end of `settings.length`; tests once, at the end.
pub async fn train(
    device: &Device,
    dataset: &Dataset,
    settings: &Settings,
    resume: Option<State>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    // Before a run goes all the way to a test that cannot be made.
    let [height, width, _] = dataset.test.shape;
    crops(&settings.network, [height, width], settings.test_crops)?;
    let mut session = Session::new(device, settings, &dataset.train).await?;
    let parts = split(dataset.train.len());
    if parts.validation.is_empty() || parts.train.is_empty() {
        return Err(Error::Data(format!("{} training examples are too few to hold some out", dataset.train.len())));
    }
    let begins = resume.is_none();
    let state = resume.unwrap_or_else(|| first_state(&session, settings));
    if state.optimizer.len() != session.state_len() {
        return Err(Error::Model("the checkpoint's optimiser state is not that of this trainer".into()));
    }
    if state.average.len() != session.average_len() {
        return Err(Error::Model("the checkpoint's average of the weights is not that of this run".into()));
    }
    let parameters = session.flat(&state.parameters);
    let good = Snapshot { parameters, state: state.optimizer, average: state.average };
    session.restore(&good)?;
    let train_examples = parts.train.len();
    let sampler = Sampler::new(parts.train, settings.batch_size, settings.seed);
    let run = Run {
        session,
        settings,
        end: settings.end_after(state.step, sampler.steps_per_epoch())?,
        sampler,
        train_examples,
        validation: parts.validation,
        observer,
        windows: state.windows,
        best: state.best,
        stopwatch: Stopwatch { before: Duration::from_secs_f64(state.train_seconds), since: None },
        pending: BTreeMap::new(),
        whole: (0.0, 0, 0),
        last_row: None,
        good: (state.step, good),
        clean: state.step,
        first: state.step,
        arrived: state.step,
        shown: (state.step, Instant::now()),
        row_mark: (state.step, state.train_seconds),
    };
    run.train(device, dataset, state.step, begins).await
}

/// Before the first update.
fn first_state(session: &Session, settings: &Settings) -> State {
    let parameters = settings.network.initial_parameters(settings.seed);
    let average = if session.average_len() > 0 { session.flat(&parameters) } else { Vec::new() };
    State {
        step: 0,
        parameters,
        optimizer: vec![0.0; session.state_len()],
        average,
        windows: Windows::default(),
        best: None,
        train_seconds: 0.0,
    }
}

struct Run<'a> {
    session: Session,
    settings: &'a Settings,
    sampler: Sampler,
    /// The step after the last one.
    end: u64,
    train_examples: usize,
    validation: Vec<u32>,
    observer: &'a mut dyn Observer,
    windows: Windows,
    best: Option<Best>,
    stopwatch: Stopwatch,
    /// By step.
    pending: BTreeMap<u64, PendingRow>,
    /// A whole validation pass so far: sum of losses, correct predictions, examples.
    whole: (f64, u64, u64),
    last_row: Option<StepRow>,
    /// The last checkpoint's step and contents.
    good: (u64, Snapshot),
    /// The last step whose statistics held nothing but finite values.
    clean: u64,
    /// Updates made before this session.
    first: u64,
    /// Updates whose results have come back.
    arrived: u64,
    /// Step and time of the last progress event.
    shown: (u64, Instant),
    /// Step and training time of the last row.
    row_mark: (u64, f64),
}

impl Run<'_> {
    async fn train(mut self, device: &Device, dataset: &Dataset, first: u64, begins: bool) -> Result<Outcome> {
        let steps_per_epoch = self.sampler.steps_per_epoch();
        let end = self.end;
        let before = self.stopwatch.elapsed();
        self.observer.event(Event::Started {
            first_step: first,
            end,
            steps_per_epoch,
            train_examples: self.train_examples,
            validation_examples: self.validation.len(),
        })?;
        if begins {
            self.checkpoint(0).await?;
        }
        let (mut validation, mut done) = (None, first);
        while done < end && !self.stops_early(done) {
            self.stopwatch.go_on();
            let step = done;
            done += 1;
            let epoch_ends = done.is_multiple_of(steps_per_epoch) || done == end;
            self.step(step, done.is_multiple_of(self.settings.stats_every) || epoch_ends).await?;
            self.collect().await?;
            if epoch_ends {
                validation = Some(self.end_epoch(done).await?);
            }
            if epoch_ends || done.is_multiple_of(self.settings.checkpoint_every) {
                self.checkpoint(done).await?;
            }
            if self.observer.should_stop() && done < end {
                self.checkpoint(done).await?;
                return Err(Error::Interrupted);
            }
        }
        self.stopwatch.pause();
        // A run that was stopped between its last checkpoint and its end has its row already.
        let validation = match validation {
            Some(row) => row,
            None => self.validate(done).await?,
        };
        let state = self.state(done).await?;
        let weights = self.session.weights(&self.settings.network).await?;
        let (examples_seen, session) = (self.examples_seen(done), self.examples_seen(done) - self.examples_seen(first));
        let images_per_second = session as f64 / (state.train_seconds - before).max(1e-9);
        let Run { session, observer, settings, .. } = self;
        observer.event(Event::Trained { step: done, weights: &weights })?;
        // The test has the device's memory to itself.
        drop(session);
        let batch = settings.batch_size.max(100);
        let (network, crops) = (&settings.network, settings.test_crops);
        let test = evaluate_crops(device, network, &weights, &dataset.test, batch, crops).await?;
        Ok(Outcome { state, weights, validation, test, examples_seen, images_per_second, stopped_early: done < end })
    }

    /// Whether so many epochs have gone by without a lower validation loss that the run ends here.
    fn stops_early(&self, done: u64) -> bool {
        let epochs = done / self.sampler.steps_per_epoch();
        let waited = self.best.map(|best| epochs.saturating_sub(best.epoch));
        self.settings.patience.zip(waited).is_some_and(|(patience, waited)| waited >= patience)
    }

    /// Queues training step `step`, with a row of statistics where `measured`.
    async fn step(&mut self, step: u64, measured: bool) -> Result<()> {
        let indices = self.sampler.batch_at(step).to_vec();
        let header = self.settings.header(step, self.end, indices.len());
        self.session.begin(header, &indices)?;
        let program = self.session.executor.program();
        let (outputs, counts, values) = (program.outputs, program.statistics.counts, program.statistics.values);
        let stage = |stage| program.stage(stage);
        let (batch, statistics) = (stage(Stage::Batch), program.stages(Stage::Unfused, Stage::Statistics));
        let phases = [stage(Stage::Forward), stage(Stage::Backward), stage(Stage::Update)];
        let whole = program.stages(Stage::Batch, Stage::Update);
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
            let indices = self.window_indices(step);
            let window_batches = self.session.evaluate(Kind::Window, step, &indices).await?;
            self.pending.insert(step, PendingRow { window_batches, valid: header.valid.into(), ..Default::default() });
        }
        Ok(())
    }

    /// The validation examples whose turn it is after `step`: rows visit the validation set in order.
    fn window_indices(&self, step: u64) -> Vec<u32> {
        let count = WINDOW_EXAMPLES.min(self.validation.len());
        // Every row advances by its examples; steps between rows are whole numbers of `stats_every` but at an epoch's end.
        let rows = (step + 1).div_ceil(self.settings.stats_every) + self.sampler.epoch_at(step);
        let first = rows as usize % self.validation.len() * count;
        (0..count).map(|i| self.validation[(first + i) % self.validation.len()]).collect()
    }

    /// Handles what has come back, and shows progress now and then.
    async fn collect(&mut self) -> Result<()> {
        for capture in self.session.executor.captured()? {
            self.handle(capture).await?;
        }
        let (step, at) = self.shown;
        if at.elapsed() >= PROGRESS_INTERVAL && self.arrived > step {
            let examples = self.examples_seen(self.arrived) - self.examples_seen(step);
            let progress = Progress {
                step: self.arrived,
                end: self.end,
                epoch: self.sampler.epoch_at(self.arrived - 1),
                loss: self.windows.training.loss(),
                accuracy: self.windows.training.accuracy(),
                validation_accuracy: self.windows.validation.accuracy(),
                images_per_second: examples as f64 / at.elapsed().as_secs_f64(),
            };
            self.shown = (self.arrived, Instant::now());
            self.observer.event(Event::Progress(progress))?;
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
                let plan = &self.session.executor.program().statistics;
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
                    self.observer.event(Event::FirstStep)?;
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

    /// Emits the row of `step` once all its parts are there.
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
            epoch: self.sampler.epoch_at(step),
            examples_seen: self.examples_seen(step + 1),
            learning_rate: self.settings.learning_rate(step, self.end),
            classification_loss: training.loss().unwrap_or_default(),
            weight_decay_loss: {
                let Settings { network, l1_decay, l2_decay, .. } = &self.settings;
                statistics.decay_loss(network, *l1_decay, *l2_decay)
            },
            training_accuracy: training.accuracy().unwrap_or_default(),
            validation_accuracy: validation.accuracy(),
            validation_loss: validation.loss(),
            averaged: self.settings.ema.is_some(),
            train_seconds,
            images_per_second: examples as f64 / (train_seconds - marked_seconds).max(1e-9),
            time_per_example: timings.map(|t| phases(&t, valid)),
            layers: statistics.layers,
        };
        self.observer.event(Event::Step(&row))?;
        self.last_row = Some(row);
        Ok(())
    }

    /// The error for a non-finite value that showed in step `seen`.
    async fn explain_non_finite(&mut self, seen: u64) -> Result<Error> {
        let from = self.good.clone();
        // The update of a step comes after its figures.
        let Range { start, end } = self.clean.saturating_sub(1)..seen + 1;
        nonfinite::explain(&mut self.session, self.settings, self.end, &mut self.sampler, from, start..end).await
    }

    /// Waits for all that is queued and handles it.
    async fn drain(&mut self) -> Result<()> {
        self.session.executor.finish().await?;
        self.collect().await
    }

    async fn end_epoch(&mut self, done: u64) -> Result<EpochRow> {
        let row = self.validate(done).await?;
        self.observer.event(Event::Epoch(&row, self.last_row.as_ref()))?;
        let loss = row.validation_loss;
        if loss.is_finite() && self.best.is_none_or(|best| loss < best.validation_loss) {
            self.best = Some(Best::of(&row));
            let weights = self.session.weights(&self.settings.network).await?;
            self.observer.event(Event::Best { step: done, weights: &weights })?;
        }
        Ok(row)
    }

    /// The whole validation set.
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
            epoch: done.div_ceil(self.sampler.steps_per_epoch()),
            examples_seen: self.examples_seen(done),
            validation_loss: loss / examples as f64,
            validation_accuracy: correct as f64 / examples as f64,
            averaged: self.settings.ema.is_some(),
            train_seconds: self.stopwatch.elapsed(),
        })
    }

    async fn checkpoint(&mut self, done: u64) -> Result<()> {
        // Rows of statistics still under way belong before the checkpoint.
        self.drain().await?;
        self.stopwatch.pause();
        let snapshot = self.session.snapshot().await?;
        if !snapshot.is_finite() {
            return Err(self.explain_non_finite(done.saturating_sub(1)).await?);
        }
        self.good = (done, snapshot);
        let state = self.state(done).await?;
        self.observer.event(Event::Checkpoint(&state))
    }

    async fn state(&mut self, step: u64) -> Result<State> {
        let Snapshot { parameters, state, average } = self.session.snapshot().await?;
        Ok(State {
            step,
            parameters: self.session.parameters(&self.settings.network, &parameters),
            optimizer: state,
            average,
            windows: self.windows.clone(),
            best: self.best,
            train_seconds: self.stopwatch.elapsed(),
        })
    }

    /// Training examples seen after `steps` updates.
    fn examples_seen(&self, steps: u64) -> u64 {
        let per_epoch = self.sampler.steps_per_epoch();
        let within = (steps % per_epoch) * self.settings.batch_size as u64;
        steps / per_epoch * self.train_examples as u64 + within
    }
}

fn phases(timings: &Timings, examples: u64) -> Phases {
    let per_example = |i: usize| timings.nanoseconds.get(i).copied().unwrap_or(0.0) / examples.max(1) as f64;
    Phases { clock: timings.clock, forward_ns: per_example(0), backward_ns: per_example(1), update_ns: per_example(2) }
}
