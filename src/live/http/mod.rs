//! The server: who may connect, who may ask, and the page's files.

mod assets;
mod guard;
mod listener;
mod room;
pub(super) mod server;

pub(super) use guard::Guard;
