//! Reports on a run: event files, the report, and the messages at its end.

use super::interrupt::Interrupt;
use super::live;
use super::options;
use super::output::{Output, note, unless_hung_up};
use super::report;
use super::train_view::View;
use glassnet::live::Live;
use glassnet::report::tensorboard::Events;
use glassnet::report::{History, ReportedRun};
use glassnet::train::{Command, Event, Observer, Outcome, Run, RunConfig, RunFolder, Summary, Wait};
use glassnet::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// Opens event files for TensorBoard, including a run's earlier rows.
pub(super) fn begin_events(folder: &RunFolder, config: &RunConfig, step: u64) -> Result<Events> {
    let history = History::read(&folder.path().join("metrics.jsonl"))?;
    Events::begin(folder.path(), step, &history, &report::as_toml(config)?)
}

/// Shows events on the terminal and on the live page.
pub(super) struct Reporter<'a> {
    pub view: View,
    pub events: Option<Events>,
    pub live: Option<&'a Live>,
    pub interrupt: &'a Interrupt,
    pub output: Output,
}

impl Observer for Reporter<'_> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        if let Some(events) = &mut self.events {
            match event {
                Event::Step(row) => events.step(row)?,
                Event::Epoch(row, _) => events.epoch(row)?,
                Event::Changed { row, .. } => events.change(row)?,
                _ => {}
            }
        }
        self.view.show(event)?;
        // The folder is written before the page reports it.
        self.live.iter().for_each(|live| live.event(event));
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.interrupt.stops() || self.live.is_some_and(Live::wants_restart)
    }

    fn command(&mut self, _step: u64) -> Option<Command> {
        self.live.and_then(Live::command)
    }

    fn wait(&mut self) -> Wait<'_> {
        // The program has nothing else to do, so the thread may block.
        let (live, interrupt) = (self.live, self.interrupt);
        Box::pin(async move { live.iter().for_each(|live| live.wait(&|| interrupt.stops())) })
    }

    fn measure_next(&mut self) -> bool {
        self.live.is_some_and(Live::measure_next)
    }
}

impl Reporter<'_> {
    /// Trains to the end, or until the run is stopped, and writes the report at the end if `report` is set. After an
    /// error, prints how to continue.
    pub fn train(mut self, run: &mut Run, report: bool) -> Result<ExitCode> {
        if let Some(live) = self.live {
            live::begin(live, run, self.output);
        }
        // From here on the page receives every error.
        let step = run.state.as_ref().map(|state| state.step);
        let introduced = self.view.introduce(&run.dataset, &run.device.info(), run.folder.path(), step);
        let result = introduced.and_then(|()| pollster::block_on(run.train(&mut self)));
        self.view.clear();
        let finished = result.and_then(|outcome| self.finish(run, &outcome, report).map(|()| outcome));
        if let Some(live) = self.live {
            live::end(live, &finished);
        }
        match finished {
            Ok(_) => options::stand_in_reminder(&run.dataset, self.output).map(|()| ExitCode::SUCCESS),
            Err(error) => self.explain(run, error),
        }
    }

    /// Writes the summary, then the report, and prints both. The model is already saved if one of them fails.
    fn finish(&mut self, run: &mut Run, outcome: &Outcome, report: bool) -> Result<()> {
        let summary = run.save_summary(outcome)?;
        let report = self.write_report(run, outcome, &summary, report);
        let written = report.as_ref().ok().and_then(Option::as_deref);
        // Everything is saved, so a reader who has hung up causes no error.
        unless_hung_up(self.view.conclude(&summary, run.folder.path(), written, self.output))?;
        report.map(|_| ())
    }

    /// Completes the event files and writes the report, if requested; returns the report's path.
    fn write_report(
        &mut self,
        run: &Run,
        outcome: &Outcome,
        summary: &Summary,
        report: bool,
    ) -> Result<Option<PathBuf>> {
        if let Some(events) = &mut self.events {
            events.test(summary)?;
        }
        if !report {
            return Ok(None);
        }
        let folder = run.folder.path();
        let history = History::read(&folder.join("metrics.jsonl"))?;
        let reported = ReportedRun {
            folder,
            config: &run.config,
            settings: &run.settings,
            dataset: &run.dataset,
            history: &history,
            summary: Some(summary),
            step: outcome.state.step,
            weights: &outcome.weights,
        };
        let target = report::own_page(folder)?;
        let report = report::write(&run.device, reported, Some(outcome.test.clone()), &target)?;
        if let Some(events) = &mut self.events {
            report::pictures(events, &report)?;
        }
        Ok(Some(folder.join(report::FILE)))
    }

    /// Prints which files remain after an error, and how to continue.
    fn explain(&self, run: &Run, error: Error) -> Result<ExitCode> {
        let path = run.folder.path().display();
        let Some(step) = run.folder.checkpoint_step().filter(|_| !run.folder.is_gone()) else { return Err(error) };
        if matches!(error, Error::Interrupted) {
            note(format_args!(
                "stopped; the checkpoint of step {step} is saved. Continue with: glassnet train --resume {path}"
            ));
            return Ok(ExitCode::from(130));
        }
        if run.ended {
            let option = if self.events.is_some() { " --tensorboard" } else { "" };
            note(format_args!(
                "the run is finished, and its model is saved; write the report again with: glassnet report {path}{option}"
            ));
            return Err(error);
        }
        note(format_args!("the last good checkpoint, of step {step}, is in {path}"));
        match error {
            Error::NonFinite { .. } => {
                note(format_args!("glassnet report {path} shows the curves and the layers until then"));
                if run.changed {
                    note(format_args!(
                        "settings were changed during training; glassnet train --resume {path} --live --paused continues \
                         from the checkpoint in a pause, so that they can be changed again"
                    ));
                }
            }
            _ => note(format_args!("continue with: glassnet train --resume {path}")),
        }
        Err(error)
    }
}
