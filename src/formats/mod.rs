//! Files that other programs also read, and atomic writing.
//!
//! Models and checkpoints are safetensors files with weights in PyTorch's order ([`layout`]). Their metadata contains
//! the network description, so one file suffices to evaluate or to resume. Models can also be read from and written to
//! ConvNetJS snapshots (`convnetjs.rs`).

mod convnetjs;
mod file;
mod format;
pub mod layout;
mod made;
mod model;
pub mod onnx;
mod pytorch;
mod safetensors;
#[cfg(not(target_arch = "wasm32"))]
mod target;

pub use convnetjs::CONVNETJS;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use file::TEMPORARY_SUFFIX;
pub use file::{atomic_write, remove_temporary_files};
pub use format::{FORMATS, Format};
pub use made::MadeFolders;
pub use model::{Checkpoint, Model, SAFETENSORS, load_checkpoint, load_extra, load_model, save_checkpoint, save_model};
pub use safetensors::tensor_bytes;
#[cfg(not(target_arch = "wasm32"))]
pub use target::Target;
