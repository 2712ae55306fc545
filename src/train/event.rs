//! What a run tells while it goes on, what it needs to go on later, and how it ended.

use super::control::{Change, Command};
use super::metrics::{Best, ChangeRow, EpochRow, StepRow};
use super::{Settings, Windows};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::net::Parameters;

/// Everything that continuing a run needs.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Updates made.
    pub step: u64,
    pub parameters: Vec<Parameters>,
    /// The optimizer's flat state, as the device holds it.
    pub optimizer: Vec<f32>,
    /// The flat moving average of the parameters, as the device holds it; empty where none is kept.
    pub average: Vec<f32>,
    pub windows: Windows,
    pub best: Option<Best>,
    /// What changed since the run began, in order.
    pub changes: Vec<ChangeRow>,
    /// Training time so far.
    pub train_seconds: f64,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub step: u64,
    /// The step after the last one.
    pub end: u64,
    /// Epoch of the last step, from 0.
    pub epoch: u64,
    pub loss: Option<f64>,
    pub accuracy: Option<f64>,
    pub validation_accuracy: Option<f64>,
    pub images_per_second: f64,
}

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    Started {
        first_step: u64,
        end: u64,
        steps_per_epoch: u64,
        train_examples: usize,
        validation_examples: usize,
    },
    /// The results of this session's first step are back.
    FirstStep,
    Progress(Progress),
    Step(&'a StepRow),
    /// The last row of statistics comes along, for a table.
    Epoch(&'a EpochRow, Option<&'a StepRow>),
    /// The validation loss is lower than at any epoch's end before: with these weights, after so many updates.
    Best {
        step: u64,
        weights: &'a [Parameters],
    },
    Checkpoint(&'a State),
    /// The weights that evaluation uses, the moving average where one is kept, as an observer asked.
    Weights {
        step: u64,
        weights: &'a [Parameters],
    },
    /// A change that has taken effect, behind the checkpoint with it; the settings as they are now.
    Changed {
        row: &'a ChangeRow,
        settings: &'a Settings,
        /// The step after the last one.
        end: u64,
    },
    /// A change that cannot be; the run goes on as before.
    Refused {
        change: &'a Change,
        why: &'a Error,
    },
    /// Training is over, and this is the model; the test comes next, and may still fail.
    Trained {
        step: u64,
        weights: &'a [Parameters],
    },
}

/// Receives the events of a run; an error ends it.
pub trait Observer {
    fn event(&mut self, event: &Event<'_>) -> Result<()>;

    /// Asked between steps; true ends the run after a checkpoint.
    fn should_stop(&self) -> bool;

    /// Asked before each step, after `step` updates, again and again until there is nothing more. In a pause, nothing more
    /// ends the pause: to make one step, answer so once, and the next time with [`Command::Pause`].
    fn command(&mut self, step: u64) -> Option<Command> {
        let _ = step;
        None
    }

    /// Called in a pause; returns when there may be a command, or when the run should stop. Its time is not training time.
    fn wait(&mut self) {}

    /// Asked before each step: true makes it a row of statistics besides the regular ones. Such a row adds nothing to the
    /// validation window, so that the run goes on as if it had not been looked at.
    fn measure_next(&mut self) -> bool {
        false
    }
}

/// How a finished run ended.
#[derive(Debug)]
pub struct Outcome {
    pub state: State,
    /// What validation and the test used: the parameters, or their moving average where one is kept.
    pub weights: Vec<Parameters>,
    pub validation: EpochRow,
    pub test: Evaluation,
    pub examples_seen: u64,
    /// Training examples a second in this session of the run; 0 where it made no step.
    pub images_per_second: f64,
    /// Whether it ended before its length, for want of a lower validation loss.
    pub stopped_early: bool,
}
