//! The live page: a server that shows a run and accepts requests, on threads beside the run.
//!
//! The run writes to a board and reads requests from it, a viewer's thread computes views of the network
//! ([`look`](crate::look)), and a server's thread sends the newest messages. None of them waits for another, except a
//! paused run. `docs/live.md` describes the messages.

mod address;
mod board;
mod host;
mod http;
mod requests;
#[cfg(test)]
mod tests;
mod viewer;

pub use address::{RunningPage, running_page};
pub use board::Resolve;
pub use host::Live;
