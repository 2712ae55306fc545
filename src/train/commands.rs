//! Carries out an observer's requests between two steps: a pause, the weights, a change.

use super::control::{Change, Changeable, Command};
use super::event::Event;
use super::run::TrainingLoop;
use super::session::{Session, Snapshot};
use super::settings::Settings;
use crate::error::{Error, Result};

impl<'a> TrainingLoop<'a> {
    /// Carries out `command` before step `step`, then the following commands until none is left.
    ///
    /// # Errors
    /// [`Interrupted`](crate::Error::Interrupted) if the run is stopped in a pause.
    pub async fn carry_out(mut self, step: u64, command: Command) -> Result<TrainingLoop<'a>> {
        let (mut next, mut paused) = (Some(command), false);
        while let Some(command) = next {
            match command {
                Command::Change(change) => self = self.change(step, change).await?,
                Command::Weights => self.hand_out(step).await?,
                Command::Pause => {
                    if !paused {
                        self.hand_out(step).await?;
                        self.stopwatch.pause();
                        paused = true;
                    }
                    self.observer.wait().await;
                    if self.observer.should_stop() {
                        return Err(self.stop(step).await?);
                    }
                }
            }
            next = self.observer.command(step);
        }
        Ok(self)
    }

    /// Waits for all queued work, and provides the weights that evaluation uses. This counts as training time, so that
    /// the cost of viewing is visible.
    async fn hand_out(&mut self, step: u64) -> Result<()> {
        self.drain().await?;
        let weights = self.session.weights(&self.settings.network).await?;
        self.observer.event(&Event::Weights { step, weights: &weights })
    }

    /// Makes a change after `step` updates, with a checkpoint that includes it. A run killed before the checkpoint
    /// resumes without the change, a run killed afterwards resumes with it, and all steps since a checkpoint have the
    /// same settings.
    async fn change(mut self, step: u64, change: Change) -> Result<TrainingLoop<'a>> {
        let settings = match self.settings.changed(&change) {
            Ok(settings) => settings,
            Err(why) => {
                self.observer.event(&Event::Refused { change: &change, why: &why })?;
                return Ok(self);
            }
        };
        // Checked before the old session is dropped, so that a change that does not fit has no effect.
        if change.rebuilds()
            && let Err(why) = self
                .session
                .check_successor(self.device, &settings, &self.dataset.train)
                .and_then(|()| self.check_length(&settings))
        {
            self.observer.event(&Event::Refused { change: &change, why: &why })?;
            return Ok(self);
        }
        // A value that is not finite is explained with the settings under which it arose.
        let mut snapshot = self.sound_snapshot(step).await?;
        if change.rebuilds() {
            let (device, examples) = (self.device, &self.dataset.train);
            // The device need not hold both sessions.
            drop(self.session);
            let refused;
            (self.session, refused) = match Session::new(device, &settings, examples).await {
                Ok(session) => (session, None),
                Err(why) => (Session::new(device, &self.settings, examples).await?, Some(why)),
            };
            self.session.restore(&snapshot)?;
            if let Some(why) = refused {
                self.observer.event(&Event::Refused { change: &change, why: &why })?;
                return Ok(self);
            }
        }
        match &change {
            Change::Weights { parameters, .. } => {
                snapshot = self.session.fresh(parameters);
                self.session.restore(&snapshot)?;
            }
            Change::Set(Changeable::L1Decay | Changeable::L2Decay, _) => self.session.set_decay(settings.decay())?,
            // The velocity contains the former rates, and would keep the weights moving.
            Change::Set(Changeable::LearningRate, 0.0) if settings.optimizer.momentum().is_some() => {
                snapshot.state.fill(0.0);
                self.session.restore(&snapshot)?;
            }
            // Each step's header has the rate; the other settings are in the program.
            Change::Set(Changeable::LearningRate | Changeable::Momentum | Changeable::BatchSize, _) => {}
        }
        self.note_change(step, &change, settings, snapshot)?;
        Ok(self)
    }

    /// Refuses a batch larger than the training set; such a step could not be stopped for minutes.
    fn check_length(&self, settings: &Settings) -> Result<()> {
        let (size, most) = (settings.batch_size, self.course.examples());
        if size > most.max(self.settings.batch_size) {
            return Err(Error::Settings(format!(
                "batch size {size} exceeds the training set's {most} examples; use at most {most}"
            )));
        }
        Ok(())
    }

    /// Continues with `settings`, and reports the change.
    fn note_change(&mut self, step: u64, change: &Change, settings: Settings, snapshot: Snapshot) -> Result<()> {
        let row = change.row(step, self.stopwatch.elapsed(), &self.settings, &settings);
        self.settings = settings;
        self.course.change(step, change);
        self.end = self.course.end();
        self.changes.push(row.clone());
        self.save(step, snapshot)?;
        self.observer.event(&Event::Changed { row: &row, settings: &self.settings, end: self.end })
    }
}
