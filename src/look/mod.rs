//! Looking into a run: what it says of itself, its rows, its status, and views of the network at work on an example.
//!
//! Nothing here knows of HTTP or threads, so a page that runs the kernels itself can use it as the server does
//! ([`live`](crate::live)). The caller feeds it the run's [`Event`](crate::train::Event)s and asks for messages:
//! [`Introduction::message`] when the run begins, [`PageRows`] and [`StatusMessage`](message::StatusMessage) while it goes on,
//! and [`Lens::view`] with weights that the run handed out.

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

/// What is looked into: a run's network and data.
#[derive(Debug, Clone)]
pub struct Subject {
    pub settings: Settings,
    pub dataset: Arc<Dataset>,
    /// Whether it is being trained, so that it can be changed.
    pub trains: bool,
}
