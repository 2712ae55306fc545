//! The live page: what a run tells, as messages for a page, and a server that shows the page and takes its requests.
//!
//! The run's thread writes to a board and asks it what to do; a viewer's thread looks into the network; a server's thread
//! hands on what is newest. None of them waits for another, but a run for one that paused it. `docs/live.md` has the
//! messages.

pub mod message;

#[cfg(not(target_arch = "wasm32"))]
mod assets;
#[cfg(not(target_arch = "wasm32"))]
mod board;
#[cfg(not(target_arch = "wasm32"))]
mod guard;
#[cfg(not(target_arch = "wasm32"))]
mod host;
#[cfg(not(target_arch = "wasm32"))]
mod introduction;
#[cfg(not(target_arch = "wasm32"))]
mod requests;
#[cfg(not(target_arch = "wasm32"))]
mod rows;
#[cfg(not(target_arch = "wasm32"))]
mod server;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
#[cfg(not(target_arch = "wasm32"))]
mod viewer;

#[cfg(not(target_arch = "wasm32"))]
pub use board::Subject;
#[cfg(not(target_arch = "wasm32"))]
pub use host::Live;
#[cfg(not(target_arch = "wasm32"))]
pub use introduction::Introduction;
