//! The executor that callers use: every call to wgpu passes through here, and its panics become errors.

use super::context::{Gpu, drop_contained};
use super::executor::Engine;
use crate::error::Result;
use crate::exec::{Capture, DeviceInfo, Executor, Pending, Submitting};
use crate::kernels::BufferId;
use crate::program::Program;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Runs a program's WGSL kernels. After the device is lost, every call returns the same [`crate::Error::Device`].
#[derive(Debug)]
pub struct GpuExecutor {
    gpu: Gpu,
    engine: ManuallyDrop<Engine>,
}

impl GpuExecutor {
    /// Allocates all buffers and compiles all pipelines.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if memory runs out, the driver refuses a kernel, or the device is lost.
    pub async fn new(gpu: &Gpu, program: Arc<Program>) -> Result<GpuExecutor> {
        let engine = gpu.contain_future(Engine::new(gpu, program)).await?;
        Ok(GpuExecutor { gpu: gpu.clone(), engine: ManuallyDrop::new(engine) })
    }

    /// Changes the intended time of a submission on the device. Work is cut into submissions of about this length; a
    /// single dispatch stays whole.
    pub fn set_submission_time(&mut self, time: Duration) {
        self.engine.set_submission_time(time);
    }

    /// Fills a whole buffer with these words again and again, by copies on the device.
    ///
    /// # Errors
    /// Those of [`Executor::write`].
    pub(super) fn repeat(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.repeat(buffer, words))
    }
}

impl Drop for GpuExecutor {
    fn drop(&mut self) {
        // SAFETY: nothing uses the engine after this.
        let engine = unsafe { ManuallyDrop::take(&mut self.engine) };
        drop_contained(engine);
    }
}

impl Executor for GpuExecutor {
    fn device(&self) -> &DeviceInfo {
        self.gpu.info()
    }

    fn program(&self) -> &Program {
        self.engine.program()
    }

    fn memory(&self) -> u64 {
        self.engine.memory()
    }

    fn kernel(&self, instruction: usize) -> &'static str {
        self.engine.kernel(instruction)
    }

    fn dispatches(&self, instructions: Range<usize>) -> usize {
        self.engine.dispatches(instructions)
    }

    fn frees(&self) -> u64 {
        if self.gpu.on_host() { self.engine.memory() } else { 0 }
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.write(buffer, words))
    }

    fn copy(&mut self, from: BufferId, to: BufferId) -> Result<()> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.copy(from, to))
    }

    fn begin_step(&mut self, words: &[u32]) -> Result<()> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.begin_step(words))
    }

    fn run(&mut self, instructions: Range<usize>) -> Result<()> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.run(instructions))
    }

    fn run_timed(&mut self, tag: u64, ranges: &[Range<usize>]) -> Pending<'_, ()> {
        let GpuExecutor { gpu, engine } = self;
        let ranges = ranges.to_vec();
        Box::pin(gpu.contain_future(async move { engine.run_timed(tag, &ranges).await }))
    }

    fn capture(&mut self, tag: u64, buffers: &[BufferId]) -> Result<()> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.capture(tag, buffers))
    }

    fn end_step(&mut self, update: bool) -> Pending<'_, ()> {
        let GpuExecutor { gpu, engine } = self;
        Box::pin(gpu.contain_future(async move { engine.end_step(update).await }))
    }

    fn captured(&mut self) -> Result<Vec<Capture>> {
        let GpuExecutor { gpu, engine } = self;
        gpu.contain(|| engine.captured())
    }

    fn finish(&mut self) -> Pending<'_, ()> {
        let GpuExecutor { gpu, engine } = self;
        Box::pin(gpu.contain_future(async move { engine.finish().await }))
    }

    fn waited(&self) -> Duration {
        self.engine.waited()
    }

    fn submitting(&self) -> Submitting {
        self.engine.submitting()
    }

    fn read(&mut self, buffer: BufferId) -> Pending<'_, Vec<u32>> {
        let GpuExecutor { gpu, engine } = self;
        Box::pin(gpu.contain_future(async move { engine.read(buffer).await }))
    }
}
