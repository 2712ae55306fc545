//! Times the driver's own copy from buffer to buffer, which is the fastest way through memory on some adapters.

use super::context::{Gpu, Scopes};
use super::failure::describe;
use crate::error::{Error, Result};
use std::time::Duration;
use web_time::Instant;

/// Copies per submission, so that the cost of submitting is small.
const COPIES: usize = 4;
/// Longer than any copy takes, so that a driver that hangs becomes an error.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Gpu {
    /// Seconds per copy of `bytes` (a multiple of 4) between two buffers, by the host's clock, in each of several
    /// rounds.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot hold the buffers or does not finish.
    pub async fn time_copy(&self, bytes: u64, rounds: usize) -> Result<Vec<f64>> {
        self.contain_future(self.copy(bytes, rounds)).await
    }

    async fn copy(&self, bytes: u64, rounds: usize) -> Result<Vec<f64>> {
        if cfg!(target_arch = "wasm32") {
            return Err(Error::Device("a browser's queue cannot be waited for".into()));
        }
        let device = self.device();
        let scopes = Scopes::push(device);
        let buffer = |label, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let from = buffer("copied from", wgpu::BufferUsages::COPY_SRC);
        let to = buffer("copied to", wgpu::BufferUsages::COPY_DST);
        if let Some(error) = scopes.pop().await {
            return Err(Error::Device(describe(&error, &format!("two buffers of {bytes} bytes"))));
        }
        self.check()?;
        let mut seconds = Vec::with_capacity(rounds);
        // The first copy touches the memory.
        for round in 0..=rounds {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("copies") });
            for _ in 0..COPIES {
                encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
            }
            let start = Instant::now();
            let index = self.queue().submit([encoder.finish()]);
            let poll = wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(TIMEOUT) };
            let waited = device.poll(poll);
            self.check()?;
            waited.map_err(|e| Error::Device(format!("the copy did not end in {} s: {e}", TIMEOUT.as_secs())))?;
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64() / COPIES as f64);
            }
        }
        Ok(seconds)
    }
}
