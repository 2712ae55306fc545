//! The server: limits on connections, access checks, and the page's files.

mod assets;
mod guard;
mod listener;
mod room;
pub(super) mod server;

pub(super) use guard::Guard;
