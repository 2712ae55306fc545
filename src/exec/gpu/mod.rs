//! The GPU through wgpu: adapters and the device (`context`), the queue and its buffers (`executor`), readback.

mod adapters;
mod context;
mod executor;
mod readback;

pub use adapters::{AdapterSummary, Choice, list_adapters};
pub use context::{Gpu, RuntimeChecks};
pub use executor::GpuExecutor;
