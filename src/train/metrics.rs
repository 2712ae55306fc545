//! What training tells: rows of `metrics.jsonl` and `summary.json`.

use crate::exec::Clock;
use crate::kernels::statistics::{or_nan, some_or_nan};
use crate::program::LayerStatistics;
use crate::text::cut;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Time that one step's phases took, per example of its batch, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    pub clock: Clock,
    pub forward_ns: f64,
    pub backward_ns: f64,
    pub update_ns: f64,
}

/// One row of statistics, after `step` updates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRow {
    pub step: u64,
    /// The epoch that the step belongs to, from 0.
    pub epoch: u64,
    pub examples_seen: u64,
    #[serde(deserialize_with = "or_nan")]
    pub learning_rate: f64,
    /// The mean of the network's loss over the last 1,000 training examples (at least; whole batches).
    #[serde(deserialize_with = "or_nan")]
    pub classification_loss: f64,
    /// l2/2·Σw² + l1·Σ|w| over weights.
    #[serde(deserialize_with = "or_nan")]
    pub weight_decay_loss: f64,
    /// Share of correct predictions over the same examples, each made before the step that learned from it.
    #[serde(deserialize_with = "or_nan")]
    pub training_accuracy: f64,
    /// Over the last 2,000 validation examples, which are visited in turn; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    #[serde(default, deserialize_with = "some_or_nan", skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Whether validation used the moving average of the weights; the statistics of layers are those of the weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub averaged: bool,
    /// Training time so far, over all sessions of the run.
    pub train_seconds: f64,
    /// Training examples a second since the last row.
    #[serde(deserialize_with = "or_nan")]
    pub images_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_per_example: Option<Phases>,
    pub layers: Vec<LayerStatistics>,
}

/// The whole validation set, at an epoch's end and at the run's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    pub step: u64,
    /// Epochs completed; a run that stops inside an epoch says how many were begun.
    pub epoch: u64,
    pub examples_seen: u64,
    #[serde(deserialize_with = "or_nan")]
    pub validation_loss: f64,
    pub validation_accuracy: f64,
    /// As in [`StepRow`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub averaged: bool,
    pub train_seconds: f64,
}

/// A change that was made after `step` updates, while the run went on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeRow {
    pub step: u64,
    /// Training time so far, over all sessions of the run.
    pub train_seconds: f64,
    /// `learning_rate`, `momentum`, `batch_size`, `l1_decay`, `l2_decay` or `weights`; also `network`, where the run ended
    /// because another one was begun with another network.
    pub what: String,
    /// The value before; null for `weights`.
    pub from: Value,
    /// The value since; for `weights` where they come from, `{"source": ...}`.
    pub to: Value,
}

impl fmt::Display for ChangeRow {
    /// As `the learning rate from 0.01 to 0.001 at step 200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChangeRow { step, what, from, to, .. } = self;
        let what = match what.as_str() {
            "l1_decay" => "L1 decay".into(),
            "l2_decay" => "L2 decay".into(),
            other => other.replace('_', " "),
        };
        match to.get("source").and_then(Value::as_str) {
            Some(source) => write!(f, "the {} of {} at step {step}", cut(what), cut(source)),
            None => write!(f, "the {} from {} to {} at step {step}", cut(what), cut(from), cut(to)),
        }
    }
}

/// The epoch's end at which the validation loss was lowest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    /// As in [`EpochRow`].
    pub epoch: u64,
    #[serde(deserialize_with = "or_nan")]
    pub validation_loss: f64,
    pub validation_accuracy: f64,
}

impl Best {
    pub(super) fn of(row: &EpochRow) -> Best {
        let EpochRow { step, epoch, validation_loss, validation_accuracy, .. } = *row;
        Best { step, epoch, validation_loss, validation_accuracy }
    }
}

/// `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub test_accuracy: f64,
    #[serde(deserialize_with = "or_nan")]
    pub test_loss: f64,
    /// Crops of each test image that its scores are the mean of.
    #[serde(default = "super::folder::one_crop")]
    pub test_crops: usize,
    pub validation_accuracy: f64,
    #[serde(deserialize_with = "or_nan")]
    pub validation_loss: f64,
    pub examples_seen: u64,
    pub steps: u64,
    /// Time in the training loop: statistics included; validation passes, checkpoints and the test left out.
    pub train_seconds: f64,
    /// In the run's last session, if it was resumed.
    pub images_per_second: f64,
    /// From the program's launch until the results of the first step were back, in the run's last session.
    #[serde(default)]
    pub first_step_seconds: Option<f64>,
    /// Whose weights are in `best.safetensors`.
    #[serde(default)]
    pub best: Option<Best>,
    /// Whether the run ended before its length because the validation loss had not fallen for so many epochs.
    #[serde(default)]
    pub stopped_early: bool,
    /// Changes made while the run went on, which its first settings do not tell of.
    #[serde(default, skip_serializing_if = "no_changes")]
    pub changes: u64,
    pub device: String,
    pub dataset: String,
    pub network: String,
    #[serde(alias = "trainer")]
    pub optimizer: String,
    /// The decay of the moving average of the weights, where it was that which was validated, tested and saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    pub seed: u64,
    pub version: String,
}

fn no_changes(changes: &u64) -> bool {
    *changes == 0
}
