//! The GPU through wgpu: adapters and the device (`context`), a program's buffers (`places`), bind groups and
//! dispatches (`bind`), commands (`executor`), submissions (`submit`) and their length (`pace`), copies of buffers in
//! textures, readback, the driver's copy (`copy`), the choice of variants by their times (`tune`). `contain` contains wgpu's
//! panics; `failure` explains the driver's errors.

mod adapters;
mod bind;
mod contain;
mod context;
mod copy;
mod executor;
mod failure;
mod guarded;
mod pace;
mod places;
mod readback;
mod submit;
mod textures;
mod tune;

pub use adapters::{AdapterSummary, Choice, list_adapters};
pub use contain::is_contained;
pub use context::{Gpu, RuntimeChecks};
pub use guarded::GpuExecutor;
pub use tune::{Budget, Candidates, Found, Tuned, fitting, tune};
