//! What a run leaves: its folder's files, event files, the report; and what is said of it at its end.

use super::interrupt::Interrupt;
use super::live::{self, Watched};
use super::options;
use super::output::{Output, note, unless_hung_up};
use super::train_view::View;
use glassnet::data::Dataset;
use glassnet::exec::Device;
use glassnet::live::Live;
use glassnet::report::tensorboard::Events;
use glassnet::report::{self, History};
use glassnet::train::{self, Event, Observer, Outcome, RunConfig, RunFolder, Settings, State, Summary};
use glassnet::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Event files for TensorBoard, with what the run has behind it.
pub(super) fn begin_events(folder: &RunFolder, config: &RunConfig, step: u64) -> Result<Events> {
    let history = History::read(&folder.path().join("metrics.jsonl"))?;
    Events::begin(folder.path(), step, &history, &super::report::as_toml(config)?)
}

/// Shows what happens and writes it down.
pub(super) struct Reporter<'a> {
    pub view: View,
    pub folder: RunFolder,
    pub config: &'a RunConfig,
    /// Those that the run began with, and those that it has come to.
    pub settings: &'a Settings,
    pub now: &'a Settings,
    pub dataset: &'a Arc<Dataset>,
    pub device: &'a Device,
    /// Whether this is the program's first run, whose beginning is the program's.
    pub first: bool,
    pub first_step_seconds: Option<f64>,
    pub events: Option<Events>,
    /// Whether to write a report at the end.
    pub report: bool,
    /// Whether the summary is saved: only the report and the event files may be missing.
    pub ended: bool,
    /// Whether settings were changed while it trained, now or in an earlier session.
    pub changed: bool,
    /// The last step that is known of, and the training time until then.
    pub reached: (u64, f64),
    pub interrupt: &'a Interrupt,
    pub output: Output,
}

impl Observer for Reporter<'_> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::FirstStep if self.first => {
                self.first_step_seconds = Some(super::since_launch().as_secs_f64());
            }
            Event::Step(row) => self.folder.append_step(row)?,
            Event::Epoch(row, _) => self.folder.append_epoch(row)?,
            Event::Best { step, weights } => {
                self.folder.save_best(self.settings, &self.dataset.provenance(), *step, weights)?
            }
            Event::Checkpoint(state) => {
                self.reached = (state.step, state.train_seconds);
                self.folder.save_checkpoint(self.settings, &self.dataset.provenance(), state)?;
            }
            Event::Changed { row, .. } => {
                self.changed = true;
                self.folder.append_change(row)?;
            }
            Event::Trained { step, weights } => {
                self.folder.save_model(self.settings, &self.dataset.provenance(), *step, weights)?
            }
            _ => {}
        }
        if let Some(events) = &mut self.events {
            match event {
                Event::Step(row) => events.step(row)?,
                Event::Epoch(row, _) => events.epoch(row)?,
                Event::Changed { row, .. } => events.change(row)?,
                _ => {}
            }
        }
        self.view.show(event)
    }

    fn should_stop(&self) -> bool {
        self.interrupt.stops()
    }
}

impl Reporter<'_> {
    /// Trains to the end, or to where it is stopped; says how to go on from there.
    pub fn train(&mut self, live: Option<&Live>, state: Option<State>) -> Result<ExitCode> {
        let (settings, dataset, device) = (self.settings, self.dataset, self.device);
        if let Some(live) = live {
            live::begin(live, self.now, self.output, dataset, device, self.folder.path(), state.as_ref());
        }
        // From here on the page hears of every error.
        let step = state.as_ref().map(|state| state.step);
        let introduced = self.view.introduce(dataset, &device.info(), self.folder.path(), step);
        let result = introduced.and_then(|()| match live {
            None => pollster::block_on(train::train(device, dataset, settings, state, self)),
            Some(live) => {
                let mut watched = Watched { reporter: self, live };
                pollster::block_on(train::train(device, dataset, settings, state, &mut watched))
            }
        });
        self.view.clear();
        let finished = result.and_then(|outcome| self.finish(&outcome).map(|()| outcome));
        if let Some(live) = live {
            live::end(live, &finished);
        }
        match finished {
            Ok(_) => options::stand_in_reminder(dataset, self.output).map(|()| ExitCode::SUCCESS),
            Err(error) => self.explain(error),
        }
    }

    /// Writes the summary, then the report, and tells of both; the model is safe whatever becomes of them.
    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        self.reached = (outcome.state.step, outcome.state.train_seconds);
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
        let report = self.write_report(outcome, &summary);
        let written = report.as_ref().ok().and_then(Option::as_deref);
        // All is saved: a reader who has gone makes no failure of it.
        unless_hung_up(self.view.conclude(&summary, self.folder.path(), written, self.output))?;
        report.map(|_| ())
    }

    /// Writes what is wanted besides the model; returns where the report is.
    fn write_report(&mut self, outcome: &Outcome, summary: &Summary) -> Result<Option<PathBuf>> {
        if let Some(events) = &mut self.events {
            events.test(summary)?;
        }
        if !self.report {
            return Ok(None);
        }
        let folder = self.folder.path();
        let history = History::read(&folder.join("metrics.jsonl"))?;
        let run = report::Run {
            folder,
            config: self.config,
            settings: self.settings,
            dataset: self.dataset,
            history: &history,
            summary: Some(summary),
            step: outcome.state.step,
            weights: &outcome.weights,
        };
        let path = folder.join(super::report::FILE);
        let report =
            super::report::write(self.device, run, Some(outcome.test.clone()), &super::report::own_page(folder)?)?;
        if let Some(events) = &mut self.events {
            super::report::pictures(events, &report)?;
        }
        Ok(Some(path))
    }

    /// Says what is left after an error, and how to go on.
    fn explain(&self, error: Error) -> Result<ExitCode> {
        let path = self.folder.path().display();
        let Some(step) = self.folder.checkpoint_step().filter(|_| !self.folder.is_gone()) else { return Err(error) };
        if matches!(error, Error::Interrupted) {
            note(format_args!(
                "stopped; the checkpoint of step {step} is saved. Continue with: glassnet train --resume {path}"
            ));
            return Ok(ExitCode::from(130));
        }
        if self.ended {
            let again = if self.events.is_some() { " --tensorboard" } else { "" };
            note(format_args!(
                "the run has come to its end, and its model is saved; make the report again with: glassnet report {path}{again}"
            ));
            return Err(error);
        }
        note(format_args!("the last good checkpoint, of step {step}, is in {path}"));
        match error {
            Error::NonFinite { .. } => {
                note(format_args!("glassnet report {path} shows the curves and the layers until then"));
                if self.changed {
                    note(format_args!(
                        "settings were changed while it trained; glassnet train --resume {path} --live --paused goes on \
                         from there, paused, so that they can be changed again"
                    ));
                }
            }
            _ => note(format_args!("continue with: glassnet train --resume {path}")),
        }
        Err(error)
    }
}
