//! Glassnet trains small convolutional networks with WGSL compute kernels and shows what happens inside them.
//!
//! A network is lowered once to a flat list of operations (the [`program::Program`] of a [`program::TrainingStep`]);
//! three executors run that same list.

pub mod bench;
pub mod compare;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod exec;
pub mod formats;
pub mod inspect;
pub mod kernels;
#[cfg(not(target_arch = "wasm32"))]
pub mod live;
pub mod look;
pub mod machine;
pub mod net;
pub mod pictures;
pub mod program;
mod reading;
#[cfg(not(target_arch = "wasm32"))]
pub mod report;
pub mod terms;
pub mod text;
pub mod train;
pub mod words;

pub use error::{Error, Result};
