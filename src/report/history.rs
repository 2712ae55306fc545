//! Reads `metrics.jsonl` back into rows.

use crate::error::{Error, Result};
use crate::train::{ChangeRow, Damage, EpochRow, Rows, StepRow, row_bytes};
use serde_json::Value;
use std::path::Path;

/// The recorded rows of a run, in the order of their steps.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Rows of statistics.
    pub steps: Vec<StepRow>,
    /// Passes over the whole validation set.
    pub epochs: Vec<EpochRow>,
    /// Changes made during the run.
    pub changes: Vec<ChangeRow>,
    /// Checkpoints: the number of updates, and the training time in seconds up to then.
    pub checkpoints: Vec<(u64, f64)>,
    /// Lines that are cut off or damaged otherwise.
    pub damage: Damage,
}

impl History {
    /// Changes within the run's first `step` updates, without rows that mark the start of another run.
    pub fn changes_until(&self, step: u64) -> Vec<ChangeRow> {
        self.changes.iter().filter(|change| change.what != "network" && change.step <= step).cloned().collect()
    }

    /// Reads `metrics.jsonl`; a missing file is an empty history. Damaged lines are reported in the log.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    pub fn read(path: &Path) -> Result<History> {
        match row_bytes(path) {
            Ok(bytes) => {
                let history = History::parse(&bytes);
                if let Some(damage) = history.damage.describe() {
                    log::warn!("{}: {damage}", path.display());
                }
                Ok(history)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(History::default()),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Reads rows, one per line, in the order of their steps. Skips a last line that was cut off, rows of unknown
    /// kinds, and lines that are not rows, which [`History::damage`] lists.
    pub fn parse(bytes: &[u8]) -> History {
        let Rows { rows, damage } = Rows::read(bytes);
        let mut history = History { damage, ..History::default() };
        for row in rows {
            let read = serde_json::from_slice(row.text).ok().and_then(|value| history.add(value));
            if read.is_none() {
                history.damage.skipped.push(row.line);
            }
        }
        history.damage.skipped.sort_unstable();
        history
    }

    /// Adds a row; `None` if it cannot be understood.
    fn add(&mut self, row: Value) -> Option<()> {
        match row.get("kind")?.as_str()? {
            "step" => self.steps.push(serde_json::from_value(row).ok()?),
            "epoch" => self.epochs.push(serde_json::from_value(row).ok()?),
            "change" => self.changes.push(serde_json::from_value(row).ok()?),
            "checkpoint" => self.checkpoints.push((row.get("step")?.as_u64()?, row.get("train_seconds")?.as_f64()?)),
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &str = r#"{"kind":"epoch","step":4,"epoch":1,"examples_seen":80,"validation_loss":0.5,"validation_accuracy":0.75,"train_seconds":1.5}"#;

    #[test]
    fn rows_of_other_kinds_and_a_line_that_was_cut_are_left_out() {
        let change = r#"{"kind":"change","step":3,"train_seconds":1.0,"what":"learning_rate","from":0.1,"to":0.01}"#;
        let text = format!(
            "{{\"kind\":\"checkpoint\",\"step\":4,\"train_seconds\":1.0}}\n{change}\n{EPOCH}\n{{\"kind\":\"later\"}}\n{}",
            &EPOCH[..40]
        );
        let history = History::parse(text.as_bytes());
        assert_eq!((history.epochs.len(), history.damage.skipped.len()), (1, 0));
        assert_eq!(history.epochs[0].validation_accuracy, 0.75);
        assert_eq!(history.checkpoints, [(4, 1.0)]);
        assert_eq!((history.changes[0].what.as_str(), history.changes[0].to.as_f64()), ("learning_rate", Some(0.01)));
    }

    #[test]
    fn a_figure_that_overflowed_costs_no_row() {
        let mut text = EPOCH.replace("0.5,", "null,") + "\n";
        text += r#"{"kind":"step","step":5,"epoch":0,"examples_seen":9,"learning_rate":0.1,"classification_loss":null,
            "weight_decay_loss":null,"training_accuracy":0.5,"train_seconds":1.0,"images_per_second":3.0,"layers":[
            {"layer":"a","update_ratio":null,"activation":{"count":3,"non_finite":0,"zeros":0,"min":-1e38,"max":1e38,
            "mean":0.0,"std":null,"abs_sum":null,"square_sum":null},"non_finite":0},{"layer":"b","non_finite":0}]}"#
            .replace('\n', "")
            .as_str();
        let history = History::parse(text.as_bytes());
        assert_eq!((history.epochs.len(), history.steps.len(), history.damage.skipped.len()), (1, 1, 0));
        let (epoch, step) = (&history.epochs[0], &history.steps[0]);
        assert!(epoch.validation_loss.is_nan() && step.classification_loss.is_nan() && step.weight_decay_loss.is_nan());
        let [a, b] = &step.layers[..] else { panic!("two layers") };
        assert!(a.update_ratio.is_some_and(f32::is_nan) && b.update_ratio.is_none());
        let activation = a.activation.expect("a summary");
        assert!(activation.std.is_nan() && activation.square_sum.is_nan() && activation.max == 1e38);
    }

    #[test]
    fn damaged_lines_are_counted() {
        let text = format!("{}\n{EPOCH}\n{{\"kind\":\"epoch\",\"step\":5}}\n\n[1]\n", &EPOCH[..40]);
        let history = History::parse(text.as_bytes());
        assert_eq!((history.epochs.len(), &history.damage.skipped[..]), (1, &[1, 3, 5][..]));
        assert_eq!(History::parse(b"").damage, Damage::default());
    }
}
