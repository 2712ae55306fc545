//! The live page: what a run tells, as messages for a page, and a server that shows the page and takes its requests.
//!
//! `docs/live.md` has the messages; they compile for a browser too, the server does not.

pub mod message;

#[cfg(not(target_arch = "wasm32"))]
mod serve;

#[cfg(not(target_arch = "wasm32"))]
pub use serve::{Introduction, Live, RunningPage, Subject, running_page};
