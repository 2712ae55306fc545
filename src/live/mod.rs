//! The live page: a server that shows a run and takes requests, on threads beside the run.
//!
//! A board that the run writes to and asks what to do, a viewer's thread that looks into the network ([`look`](crate::look)),
//! a server's thread that hands on what is newest. None of them waits for another, except that a paused run waits.
//! `docs/live.md` has the messages.

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
