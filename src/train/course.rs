//! The course of a run: which examples each step has, where the run ends, and how far it has come, whatever the batch
//! sizes and whichever update the optimizer began at.

use super::control::{Change, Changeable};
use super::metrics::ChangeRow;
use super::settings::{Length, Settings};
use crate::data::Sampler;
use crate::error::{Error, Result};

/// The position of a step in its run: what its header needs besides the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Counted from 0 over the whole run.
    pub step: u64,
    /// The position that the schedule uses.
    pub progress: Span,
    /// Updates since the optimizer began, this one included.
    pub updates: u64,
    /// The sum of the batch sizes of these updates.
    pub examples: u64,
}

/// The part of the run that a step covers. The unit is a step, or an example if steps differ in size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub width: u64,
    pub end: u64,
}

/// The examples of each step, and the end of the run.
#[derive(Debug, Clone)]
pub struct Course {
    pub sampler: Sampler,
    length: Length,
    /// Updates made before the optimizer began: 0, or where weights were loaded.
    began: u64,
}

impl Course {
    /// The course of a run from its beginning, over these training examples.
    pub fn new(indices: Vec<u32>, settings: &Settings) -> Course {
        let sampler = Sampler::new(indices, settings.batch_size, settings.seed);
        Course { sampler, length: settings.length, began: 0 }
    }

    /// The number of training examples, without those held out.
    pub fn examples(&self) -> usize {
        self.sampler.examples()
    }

    /// The course of a run that began with `settings` and was then changed by `changes`, in order; also its present
    /// settings.
    ///
    /// # Errors
    /// [`Error::Model`] if such a run is impossible, because the rows are damaged or belong to another run.
    pub fn replay(indices: Vec<u32>, settings: &Settings, changes: &[ChangeRow]) -> Result<(Course, Settings)> {
        let (mut course, mut settings) = (Course::new(indices, settings), settings.clone());
        let mut last = 0;
        for row in changes {
            let refuse = |why: String| {
                Error::Model(format!("the checkpoint's change at step {} cannot be repeated: {why}", row.step))
            };
            if row.step < last {
                return Err(refuse(format!("one at step {last} comes before it")));
            }
            last = row.step;
            if row.what == "weights" {
                course.began = row.step;
                continue;
            }
            let change = row.change().map_err(|error| refuse(error.to_string()))?;
            settings = settings.changed(&change).map_err(|error| refuse(error.to_string()))?;
            course.change(row.step, &change);
        }
        Ok((course, settings))
    }

    /// Records a change after `step` updates, not before an earlier one.
    pub(super) fn change(&mut self, step: u64, change: &Change) {
        match change {
            Change::Set(Changeable::BatchSize, size) => self.sampler.change_batch(step, *size as usize),
            Change::Set(..) => {}
            Change::Weights { .. } => self.began = step,
        }
    }

    /// The step after the last one.
    pub fn end(&self) -> u64 {
        match self.length {
            Length::Epochs(epochs) => self.sampler.steps_of(epochs),
            Length::Steps(steps) => steps,
        }
    }

    /// The end for a run that has made `done` steps; an end before that is an error.
    pub fn end_after(&self, done: u64) -> Result<u64> {
        let end = self.end();
        if done <= end {
            return Ok(end);
        }
        Err(Error::PastEnd { step: done, end })
    }

    /// Whether the last of `done` steps completed an epoch.
    pub fn ends_epoch(&self, done: u64) -> bool {
        done > 0 && self.sampler.place(done).1 == 0
    }

    /// The number of epochs that `done` steps have begun.
    pub fn epochs_begun(&self, done: u64) -> u64 {
        let (epochs, offset) = self.sampler.place(done);
        epochs + u64::from(offset > 0)
    }

    /// The position of step `step`.
    pub(super) fn moment(&self, step: u64) -> Moment {
        let progress = match self.length {
            Length::Epochs(epochs) if self.sampler.batch_changed_before(step) => {
                let (from, to) = (self.sampler.examples_seen(step), self.sampler.examples_seen(step + 1));
                Span { from, width: to - from, end: epochs.saturating_mul(self.sampler.examples() as u64) }
            }
            _ => Span { from: step, width: 1, end: self.end() },
        };
        let examples = self.sampler.whole_batches(step + 1) - self.sampler.whole_batches(self.began);
        Moment { step, progress, updates: step + 1 - self.began, examples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Network;
    use crate::net::Recipe;
    use serde_json::json;

    fn settings(length: Length) -> Settings {
        let given = Recipe { batch_size: Some(10), ..Recipe::default() }.or(length.given());
        Settings::resolve(Network::preset("convnetjs-mnist").expect("a preset"), &given).expect("valid")
    }

    fn row(step: u64, what: &str, to: serde_json::Value) -> ChangeRow {
        ChangeRow { step, what: what.into(), to, ..ChangeRow::default() }
    }

    fn replay(length: Length, rows: &[ChangeRow]) -> Result<(Course, Settings)> {
        Course::replay((0..100).collect(), &settings(length), rows)
    }

    #[test]
    fn without_changes_a_step_is_what_it_counts() {
        for (length, end) in [(Length::Epochs(3), 30), (Length::Steps(25), 25)] {
            let (course, _) = replay(length, &[]).expect("valid");
            assert_eq!(course.end(), end);
            for step in 0..end {
                let (updates, examples) = (step + 1, 10 * (step + 1));
                let progress = Span { from: step, width: 1, end };
                assert_eq!(course.moment(step), Moment { step, progress, updates, examples });
            }
            assert_eq!([0, 1, 10, 19, 20].map(|done| course.ends_epoch(done)), [false, false, true, false, true]);
            assert_eq!([0, 1, 10, 11].map(|done| course.epochs_begun(done)), [0, 1, 1, 2]);
        }
    }

    #[test]
    fn a_schedule_goes_on_where_it_was_when_the_batch_size_changes() {
        let rows = [row(15, "batch_size", json!(25))];
        let (course, settings) = replay(Length::Epochs(3), &rows).expect("valid");
        // A pass and a half in 15 steps, the other half in 2, a pass in 4.
        assert_eq!((settings.batch_size, course.end()), (25, 21));
        let of = |step| {
            let Span { from, width, end } = course.moment(step).progress;
            (from, width, end)
        };
        assert_eq!([15, 16, 17, 20].map(of), [(150, 25, 300), (175, 25, 300), (200, 25, 300), (275, 25, 300)]);
        assert_eq!([17, 18, 21].map(|done| course.ends_epoch(done)), [true, false, true]);
        let (course, _) = replay(Length::Steps(40), &rows).expect("valid");
        assert_eq!((course.end(), course.moment(15).progress), (40, Span { from: 15, width: 1, end: 40 }));
    }

    #[test]
    fn the_optimizer_counts_from_where_weights_were_loaded() {
        let rows = [row(4, "batch_size", json!(20)), row(6, "weights", json!({ "source": "a file" }))];
        let (course, _) = replay(Length::Steps(40), &rows).expect("valid");
        let counted = |step| (course.moment(step).updates, course.moment(step).examples);
        assert_eq!([6, 7].map(counted), [(1, 20), (2, 40)]);
    }

    #[test]
    fn rows_that_no_run_writes_are_refused() {
        let backwards = [row(5, "l1_decay", json!(0.5)), row(4, "l2_decay", json!(0.5))];
        let odd = [vec![row(3, "batch_size", json!("many"))], vec![row(3, "momentum", json!(0.5))], backwards.to_vec()];
        for rows in odd {
            let message = replay(Length::Steps(9), &rows).expect_err("no run is so").to_string();
            assert!(message.contains("cannot be repeated"), "{message}");
        }
    }
}
