//! Views into a run: its introduction, its rows, its status, and the network at work on an example.
//!
//! Nothing here depends on HTTP or threads, so a page that runs the kernels itself can use it as the server does
//! ([`live`](crate::live)). The caller passes on the run's [`Event`](crate::train::Event)s and requests messages:
//! [`Introduction::message`] when the run begins, [`PageRows`] and [`StatusMessage`](message::StatusMessage) while it
//! trains, and [`Lens::view`] with weights from the run.

mod introduction;
mod lens;
pub mod message;
mod rows;
mod status;
mod weights;

pub use introduction::Introduction;
pub use lens::Lens;
pub use rows::{MOST_NEWS, PageRows};
pub use weights::{Weights, change_of_file};

use crate::data::Dataset;
use crate::train::Settings;
use std::sync::Arc;

/// The subject of views: a run's network and data.
#[derive(Debug, Clone)]
pub struct Subject {
    pub settings: Settings,
    pub dataset: Arc<Dataset>,
    /// Whether the network is being trained, so that settings can be changed.
    pub trains: bool,
}
