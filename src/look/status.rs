//! The status of a run, from its events.

use super::message::{RunState, SettingsMessage, StatusMessage};
use crate::train::{Event, StepRow};

impl StatusMessage {
    /// Updates the status from an event of the run.
    pub fn follow(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { first_step, end, .. } => {
                (self.state, self.step, self.end) = (RunState::Running, *first_step, *end);
            }
            Event::Progress(progress) => {
                (self.step, self.end, self.epoch) = (progress.step, progress.end, progress.epoch);
                (self.loss, self.training_accuracy) = (progress.loss, progress.accuracy);
                self.validation_accuracy = progress.validation_accuracy;
                self.images_per_second = progress.images_per_second;
            }
            Event::Step(row) => self.follow_row(row),
            // Progress is reported at intervals, but a pause must show its exact step.
            Event::Weights { step, .. } => self.step = self.step.max(*step),
            Event::Changed { settings, end, .. } => {
                (self.settings, self.end) = (SettingsMessage::of(settings), *end);
            }
            Event::Trained { step, .. } => (self.state, self.step) = (RunState::Testing, *step),
            Event::FirstStep | Event::Epoch(..) | Event::Best { .. } | Event::Checkpoint(_) | Event::Refused { .. } => {
            }
        }
    }

    /// Updates the status from a row of statistics, also for a finished run.
    pub fn follow_row(&mut self, row: &StepRow) {
        (self.step, self.epoch) = (self.step.max(row.step), row.epoch);
        (self.examples_seen, self.train_seconds) = (row.examples_seen, row.train_seconds);
        (self.loss, self.training_accuracy) = (Some(row.classification_loss), Some(row.training_accuracy));
        self.validation_accuracy = row.validation_accuracy;
        self.images_per_second = row.images_per_second;
    }
}
