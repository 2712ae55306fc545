//! A board that the run writes to and asks what to do, a viewer's thread that looks into the network, a server's thread
//! that hands on what is newest. None of them waits for another, but a run for who paused it.

mod address;
mod assets;
mod board;
mod guard;
mod host;
mod introduction;
mod listener;
mod requests;
mod room;
mod rows;
mod server;
#[cfg(test)]
mod tests;
mod viewer;

pub use address::{RunningPage, running_page};
pub use board::Subject;
pub use host::Live;
pub use introduction::Introduction;
