//! Executors: three ways to run the same program.
//!
//! `reference` is naive and the standard for the others; `cpu` is fast on the host's cores; `gpu` runs the WGSL
//! kernels. A step is queued (`begin_step`, `run`, `capture`, `end_step`); nothing waits for the device unless it must.

pub mod check;
mod choice;
pub mod gpu;
mod host;
pub mod lockstep;
mod memory;
mod pieces;
mod self_check;
mod transfer;

pub use choice::{Automatic, DeviceChoice, automatic};
pub use host::{HostExecutor, Reference64};
pub use self_check::self_check;
pub use transfer::{upload_examples, upload_parameters};

use crate::error::Result;
use crate::kernels::{BufferId, Precision};
use crate::program::{Host, Limits, Program};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A result that may have to wait for the device. `pollster::block_on` drives it on native platforms.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// The ways to run a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// Naive loops on one core.
    Reference,
    /// All cores of the processor.
    Cpu,
    /// The WGSL kernels.
    Gpu,
}

impl ExecutorKind {
    pub const ALL: [ExecutorKind; 3] = [ExecutorKind::Reference, ExecutorKind::Cpu, ExecutorKind::Gpu];

    /// The name in reports and files.
    pub fn as_str(self) -> &'static str {
        match self {
            ExecutorKind::Reference => "reference",
            ExecutorKind::Cpu => "cpu",
            ExecutorKind::Gpu => "gpu",
        }
    }

    /// The kind for a word in a file.
    pub fn named(word: &str) -> Option<ExecutorKind> {
        ExecutorKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl std::fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A description of the hardware of an executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    pub executor: ExecutorKind,
    /// The adapter or processor.
    pub name: String,
    /// Driver and its version; empty on the host.
    pub driver: String,
    /// The graphics interface, such as `vulkan`; `host` on the host.
    pub backend: String,
    /// Threads of the host executor; 0 on a GPU.
    pub threads: usize,
    /// The precision of products; always f32 on the host.
    pub precision: Precision,
}

impl std::fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.executor {
            ExecutorKind::Gpu if self.precision == Precision::F32 => {
                write!(f, "gpu: {} ({}, {})", self.name, self.backend, self.driver)
            }
            ExecutorKind::Gpu => {
                write!(f, "gpu: {} ({}, {}) in {}", self.name, self.backend, self.driver, self.precision)
            }
            host => write!(f, "{host}: {} ({} threads)", self.name, self.threads),
        }
    }
}

/// How a duration was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// Timestamps that the GPU wrote at the boundaries of its passes.
    GpuTimestamps,
    /// The host's clock around work that it waited for.
    WallClock,
}

/// Durations of the ranges of one [`Executor::run_timed`].
#[derive(Debug, Clone, PartialEq)]
pub struct Timings {
    pub clock: Clock,
    pub nanoseconds: Vec<f64>,
}

/// Copies of buffers and timings, in the order of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// The tag given to [`Executor::capture`] or [`Executor::run_timed`].
    pub tag: u64,
    /// The captured buffers' words.
    pub buffers: Vec<Vec<u32>>,
    pub timings: Option<Timings>,
}

/// The host's time for submissions, in all so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Submitting {
    pub submissions: u64,
    /// Writing the inputs of their steps.
    pub inputs: Duration,
    /// Turning recorded commands into the driver's.
    pub finish: Duration,
    /// Handing them to the driver.
    pub submit: Duration,
}

/// Runs a program. Buffers keep their contents between steps; they are initially zero.
pub trait Executor {
    /// The hardware that it runs on.
    fn device(&self) -> &DeviceInfo;

    /// The program that it runs.
    fn program(&self) -> &Program;

    /// The bytes of memory that it holds.
    fn memory(&self) -> u64 {
        self.program().memory()
    }

    /// The name of the kernel that computes an instruction: a GPU's variant, or on the host the operation.
    fn kernel(&self, instruction: usize) -> &'static str {
        self.program().instructions[instruction].op.operation.name
    }

    /// The number of dispatches for these instructions when they run one after another; on the host, one function call
    /// per instruction.
    fn dispatches(&self, instructions: Range<usize>) -> usize {
        instructions.len()
    }

    /// The least number of bytes of the host's memory that are free after the executor is dropped.
    fn frees(&self) -> u64 {
        0
    }

    /// Overwrites a whole buffer before all work that is queued later.
    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<()>;

    /// Queues a copy of one whole buffer into another of the same length; both own their memory.
    fn copy(&mut self, from: BufferId, to: BufferId) -> Result<()>;

    /// Queues a step's inputs, the words of [`Program::inputs`].
    ///
    /// # Panics
    /// If the program has no inputs, or another number of words.
    fn begin_step(&mut self, words: &[u32]) -> Result<()>;

    /// Queues instructions.
    fn run(&mut self, instructions: Range<usize>) -> Result<()>;

    /// Queues ranges of instructions, each timed; the durations come as a [`Capture`] with `tag`. A device without
    /// usable timestamps waits before and after each range and uses the host's clock.
    fn run_timed(&mut self, tag: u64, ranges: &[Range<usize>]) -> Pending<'_, ()>;

    /// Queues a copy of these buffers; [`Executor::captured`] returns them.
    fn capture(&mut self, tag: u64, buffers: &[BufferId]) -> Result<()>;

    /// Ends a step; with `update`, the pairs in [`Program::swaps`] exchange their contents. Submits queued work to the
    /// device from time to time, and waits only if too much of it is in progress.
    fn end_step(&mut self, update: bool) -> Pending<'_, ()>;

    /// The captures that have arrived, oldest first; never waits.
    fn captured(&mut self) -> Result<Vec<Capture>>;

    /// Waits until all queued work is done.
    fn finish(&mut self) -> Pending<'_, ()>;

    /// The total time for which the host has waited for the device.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// The host's time for submissions to a device.
    fn submitting(&self) -> Submitting {
        Submitting::default()
    }

    /// Reads a whole buffer, including its guard, after everything queued.
    fn read(&mut self, buffer: BufferId) -> Pending<'_, Vec<u32>>;
}

/// Reads a buffer of reals.
pub async fn read_reals(executor: &mut dyn Executor, buffer: BufferId) -> Result<Vec<f32>> {
    Ok(executor.read(buffer).await?.into_iter().map(f32::from_bits).collect())
}

/// Writes a buffer of reals.
pub fn write_reals(executor: &mut dyn Executor, buffer: BufferId, values: &[f32]) -> Result<()> {
    executor.write(buffer, bytemuck::cast_slice(values))
}

/// The durations of these ranges of instructions, on an idle device. `None` if the device's clock proves unusable; the
/// executor then uses the host's.
///
/// # Errors
/// Those of the device.
pub async fn timed(executor: &mut dyn Executor, ranges: &[Range<usize>]) -> Result<Option<Timings>> {
    executor.finish().await?;
    executor.run_timed(0, ranges).await?;
    executor.finish().await?;
    Ok(executor.captured()?.into_iter().find_map(|capture| capture.timings))
}

/// The device of an executor.
#[derive(Debug, Clone)]
pub enum Device {
    Reference,
    Cpu,
    Gpu(gpu::Gpu),
}

impl Device {
    /// The limits of this device.
    pub fn limits(&self) -> Limits {
        match self {
            Device::Gpu(gpu) => gpu.memory_limits(),
            Device::Cpu => host::limits(Host::Fast { threads: rayon::current_num_threads() }),
            Device::Reference => host::limits(Host::Naive),
        }
    }

    pub fn info(&self) -> DeviceInfo {
        match self {
            Device::Reference => host::info(ExecutorKind::Reference),
            Device::Cpu => host::info(ExecutorKind::Cpu),
            Device::Gpu(gpu) => gpu.info().clone(),
        }
    }

    /// Allocates everything that `program` needs.
    pub async fn executor(&self, program: impl Into<Arc<Program>>) -> Result<Box<dyn Executor>> {
        let program = program.into();
        Ok(match self {
            Device::Reference => Box::new(HostExecutor::reference(program)?),
            Device::Cpu => Box::new(HostExecutor::cpu(program)?),
            Device::Gpu(gpu) => Box::new(gpu::GpuExecutor::new(gpu, program).await?),
        })
    }
}
