//! The events of a run, the state needed to resume it, and its outcome.

use super::control::{Change, Command};
use super::metrics::{Best, ChangeRow, EpochRow, StepRow};
use super::{Settings, Windows};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::net::Parameters;
use crate::program::Choices;
use std::pin::Pin;

/// A future that the loop awaits. A native one may block its thread; in a browser it must let the page run.
pub type Wait<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Everything needed to resume a run.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The number of updates.
    pub step: u64,
    pub parameters: Vec<Parameters>,
    /// The optimizer's flat state, as the device holds it.
    pub optimizer: Vec<f32>,
    /// The flat moving average of the parameters, in the device's layout; empty if none is kept.
    pub average: Vec<f32>,
    pub windows: Windows,
    pub best: Option<Best>,
    /// The changes since the run began, in order.
    pub changes: Vec<ChangeRow>,
    /// The variants that a GPU computed it with; empty in checkpoints of older versions.
    pub kernels: Choices,
    /// Training time so far.
    pub train_seconds: f64,
}

/// The progress of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub step: u64,
    /// The step after the last one.
    pub end: u64,
    /// The epoch of the last step, from 0.
    pub epoch: u64,
    pub loss: Option<f64>,
    pub accuracy: Option<f64>,
    pub validation_accuracy: Option<f64>,
    pub images_per_second: f64,
}

/// An event of a run.
#[derive(Debug)]
pub enum Event<'a> {
    Started {
        first_step: u64,
        end: u64,
        steps_per_epoch: u64,
        train_examples: usize,
        validation_examples: usize,
    },
    /// The results of this session's first step have arrived.
    FirstStep,
    Progress(Progress),
    Step(&'a StepRow),
    /// The end of an epoch, with the last row of statistics for a table.
    Epoch(&'a EpochRow, Option<&'a StepRow>),
    /// The validation loss is lower than at any earlier epoch's end, with these weights after so many updates.
    Best {
        step: u64,
        weights: &'a [Parameters],
    },
    Checkpoint(&'a State),
    /// The weights that evaluation uses (the moving average if one is kept), at an observer's request.
    Weights {
        step: u64,
        weights: &'a [Parameters],
    },
    /// A change that has taken effect and is in a checkpoint, with the settings as they are now.
    Changed {
        row: &'a ChangeRow,
        settings: &'a Settings,
        /// The step after the last one.
        end: u64,
    },
    /// A change that is impossible; the run continues unchanged.
    Refused {
        change: &'a Change,
        why: &'a Error,
    },
    /// Training is over, and this is the model; the test comes next and may still fail.
    Trained {
        step: u64,
        weights: &'a [Parameters],
    },
}

/// Receives the events of a run; an error ends it.
pub trait Observer {
    fn event(&mut self, event: &Event<'_>) -> Result<()>;

    /// Called between steps; true ends the run after a checkpoint.
    fn should_stop(&self) -> bool;

    /// Called before each step, after `step` updates, repeatedly until it returns `None`. In a pause, `None` ends the
    /// pause. To make a single step, return `None` once, and [`Command::Pause`] the next time.
    fn command(&mut self, step: u64) -> Option<Command> {
        let _ = step;
        None
    }

    /// Called in a pause; the future is ready when there may be a command, or when the run should stop. This time is
    /// not training time.
    fn wait(&mut self) -> Wait<'_> {
        Box::pin(std::future::ready(()))
    }

    /// Called before each step; the loop awaits the returned future, so that a page in a browser can run. This time is
    /// training time.
    fn give_way(&mut self) -> Option<Wait<'_>> {
        None
    }

    /// Called before each step: true makes it a row of statistics in addition to the regular ones. Such a row adds
    /// nothing to the validation window, so the run continues as if nobody had watched.
    fn measure_next(&mut self) -> bool {
        false
    }
}

/// The outcome of a finished run.
#[derive(Debug)]
pub struct Outcome {
    pub state: State,
    /// The weights that validation and the test used: the parameters, or their moving average if one is kept.
    pub weights: Vec<Parameters>,
    pub validation: EpochRow,
    pub test: Evaluation,
    pub examples_seen: u64,
    /// Training examples per second in this session; 0 if it made no step.
    pub images_per_second: f64,
    /// Whether it ended early because the validation loss no longer fell.
    pub stopped_early: bool,
}
