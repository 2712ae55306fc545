//! A run that is ready to be trained: everything that the training loop needs, and the folder that it fills.

use super::event::Wait;
use super::launch::Base;
use super::run::train;
use super::{
    BEST, ChangeRow, Command, Course, Event, MODEL, Observer, Outcome, RunConfig, RunFolder, Settings, State, Summary,
};
use crate::Result;
use crate::data::Dataset;
use crate::exec::Device;
use serde_json::Value;
use std::sync::Arc;
use web_time::Instant;

/// A run that is ready to be trained, with its folder locked.
#[derive(Debug)]
pub struct Run {
    pub config: RunConfig,
    /// The settings at the beginning of the run.
    pub settings: Settings,
    /// The current settings, with all changes so far.
    pub now: Settings,
    pub dataset: Arc<Dataset>,
    pub device: Device,
    pub folder: RunFolder,
    /// The state that a resumed run continues from; `None` for a new run.
    pub state: Option<State>,
    pub course: Course,
    /// The start of [`Summary::first_step_seconds`]; by default the time when the run was prepared.
    pub timed_from: Option<Instant>,
    /// Whether the summary is saved.
    pub ended: bool,
    /// Whether settings were changed during training, now or before the run was resumed.
    pub changed: bool,
    first_step_seconds: Option<f64>,
    reached: (u64, f64),
}

impl Run {
    pub(super) fn new(
        config: RunConfig,
        settings: Settings,
        dataset: Arc<Dataset>,
        device: Device,
        folder: RunFolder,
        course: Course,
    ) -> Run {
        Run {
            config,
            now: settings.clone(),
            settings,
            dataset,
            device,
            folder,
            state: None,
            course,
            timed_from: Some(Instant::now()),
            ended: false,
            changed: false,
            first_step_seconds: None,
            reached: (0, 0.0),
        }
    }

    /// Trains to the end, or until `observer` stops the run. Rows, checkpoints and the model are written to the folder
    /// before `observer` receives them.
    ///
    /// # Errors
    /// Those of [`train`](super::train()), and [`Error::Io`](crate::Error::Io) if a file cannot be written.
    pub async fn train(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        let state = self.state.take();
        if let Some(state) = &state {
            (self.reached, self.changed) = ((state.step, state.train_seconds), !state.changes.is_empty());
        }
        let (device, dataset, settings) = (self.device.clone(), self.dataset.clone(), self.settings.clone());
        let mut recorder = Recorder { run: self, observer };
        let outcome = train(&device, &dataset, &settings, state, &mut recorder).await?;
        self.reached = (outcome.state.step, outcome.state.train_seconds);
        Ok(outcome)
    }

    /// Writes the summary of a finished run.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the file cannot be written.
    pub fn save_summary(&mut self, outcome: &Outcome) -> Result<Summary> {
        let Outcome { state, validation, test, examples_seen, images_per_second, stopped_early, .. } = outcome;
        let summary = Summary {
            test_accuracy: test.accuracy,
            test_loss: test.loss,
            test_crops: self.settings.test_crops,
            validation_accuracy: validation.validation_accuracy,
            validation_loss: validation.validation_loss,
            examples_seen: *examples_seen,
            steps: state.step,
            train_seconds: state.train_seconds,
            images_per_second: *images_per_second,
            first_step_seconds: self.first_step_seconds,
            best: state.best,
            stopped_early: *stopped_early,
            changes: state.changes.len() as u64,
            device: self.device.info().to_string(),
            dataset: self.dataset.name.to_string(),
            network: self.settings.network.name.clone(),
            optimizer: self.settings.optimizer.name().into(),
            ema: self.settings.network.training.ema,
            seed: self.settings.seed,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        self.folder.save_summary(&summary)?;
        self.ended = true;
        Ok(summary)
    }

    /// The configuration, data and device of this run, for a [`NextRun`](super::NextRun).
    pub fn base(&self) -> Base {
        Base { config: self.config.clone(), dataset: self.dataset.clone(), device: self.device.clone() }
    }

    /// Adds the row that says which run followed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the row cannot be written.
    pub fn append_next(&mut self, next: &Run) -> Result<()> {
        let (step, train_seconds) = self.reached;
        let to = next.folder.path().display().to_string().into();
        self.folder.append_change(&ChangeRow { step, train_seconds, what: "network".into(), from: Value::Null, to })
    }

    /// Writes an event to the folder.
    fn record(&mut self, event: &Event<'_>) -> Result<()> {
        let provenance = || self.dataset.provenance();
        match event {
            Event::FirstStep => {
                self.first_step_seconds = self.timed_from.map(|from| from.elapsed().as_secs_f64());
                Ok(())
            }
            Event::Step(row) => self.folder.append_step(row),
            Event::Epoch(row, _) => self.folder.append_epoch(row),
            Event::Best { step, weights } => {
                self.folder.save_weights(BEST, &self.settings, &provenance(), *step, weights)
            }
            Event::Checkpoint(state) => {
                self.reached = (state.step, state.train_seconds);
                self.folder.save_checkpoint(&self.settings, &provenance(), state)
            }
            Event::Changed { row, .. } => {
                self.changed = true;
                self.folder.append_change(row)
            }
            Event::Trained { step, weights } => {
                self.folder.save_weights(MODEL, &self.settings, &provenance(), *step, weights)
            }
            Event::Started { .. } | Event::Progress(_) | Event::Weights { .. } | Event::Refused { .. } => Ok(()),
        }
    }
}

/// An observer that writes the run's folder, then passes every event on.
struct Recorder<'a> {
    run: &'a mut Run,
    observer: &'a mut dyn Observer,
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        self.run.record(event)?;
        self.observer.event(event)
    }

    fn should_stop(&self) -> bool {
        self.observer.should_stop()
    }

    fn command(&mut self, step: u64) -> Option<Command> {
        self.observer.command(step)
    }

    fn wait(&mut self) -> Wait<'_> {
        self.observer.wait()
    }

    fn give_way(&mut self) -> Option<Wait<'_>> {
        self.observer.give_way()
    }

    fn measure_next(&mut self) -> bool {
        self.observer.measure_next()
    }
}
