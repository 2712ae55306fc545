//! Training: settings, the loop, sliding windows, checkpoints, the run folder.
//!
//! [`Launch`] prepares a run: a new one, a resumed one, or one that follows another. [`train()`] drives an executor
//! step by step and reports [`Event`]s, which reporters turn into terminal lines and files. Nothing here depends on
//! GPUs.

mod arrive;
mod commands;
mod control;
mod convnetjs;
mod course;
mod data;
mod event;
mod folder;
mod latest;
mod launch;
mod metrics;
mod nonfinite;
mod notice;
mod path_text;
mod place;
mod prepared;
mod recorded;
mod rows;
mod run;
mod schedule;
mod session;
mod settings;
mod stopwatch;
mod tuning;
mod windows;

pub use control::{Change, Changeable, Command};
pub use course::Course;
pub use data::{DataChoice, DataSource, Notify, in_channels, other_classes};
pub use event::{Event, Observer, Outcome, Progress, State, Wait};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use folder::LIVE_FILE;
pub use folder::{BEST, MODEL, RunConfig, RunFolder};
pub use latest::LatestWeights;
pub use launch::{Base, EndedRun, Launch, Launched, NewRun, NextRun, ResumedRun, default_folder, settings_for};
pub use metrics::{Best, ChangeRow, EpochRow, Phases, StepRow, Summary};
pub use notice::{Notice, stood_in_for};
pub use prepared::Run;
pub use recorded::{RecordedData, check_dataset};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use rows::MOST_ROWS;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use rows::bytes as row_bytes;
pub use rows::utf8 as utf8_rows;
pub use rows::{Damage, RowText, Rows};
pub(crate) use run::check_split;
pub use run::{split_for, train};
pub use schedule::Schedule;
pub use session::Session;
pub use settings::{Length, OptimizerSettings, Settings};
pub use tuning::{Effort, Tuner};
pub use windows::{Window, Windows};
