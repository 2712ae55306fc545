//! The GPU through wgpu: adapters and the device (`context`), the queue and its buffers (`executor`), copies of buffers in
//! textures, readback, the driver's copy (`copy`).

mod adapters;
mod context;
mod copy;
mod executor;
mod readback;
mod textures;

pub use adapters::{AdapterSummary, Choice, list_adapters};
pub use context::{Gpu, Reads, RuntimeChecks};
pub use executor::GpuExecutor;
