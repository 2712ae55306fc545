//! Files that other programs read too, and how they get onto the disk whole.
//!
//! Models and checkpoints are safetensors files with weights in PyTorch's order ([`layout`]); the network description
//! travels in their metadata, so that one file suffices to evaluate or to resume.

mod file;
pub mod layout;
mod model;
mod safetensors;

pub use file::{atomic_write, remove_temporary_files};
pub use model::{Checkpoint, Model, load_checkpoint, load_model, save_checkpoint, save_model};
pub use safetensors::write_tensors;
