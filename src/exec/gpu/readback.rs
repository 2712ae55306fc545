//! Reads back without stalling, through staging buffers that are mapped when their submission is done.

use super::failure::lost;
use crate::error::{Error, Result};
use crate::exec::{Capture, Clock, Timings};
use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};
use std::cell::Cell;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use web_time::Instant;

/// The contents of a region of a staging buffer.
#[derive(Debug)]
pub(super) struct Region {
    pub tag: u64,
    /// The start and length of each buffer, in words.
    pub buffers: Vec<(usize, usize)>,
    /// The start and number of timed ranges of two 64-bit ticks each.
    pub ticks: Option<(usize, usize)>,
}

/// One submission in progress.
#[derive(Debug)]
pub(super) struct Flight {
    pub index: wgpu::SubmissionIndex,
    /// Present if something is read back.
    pub staging: Option<wgpu::Buffer>,
    /// The words at the front of the staging buffer that were written.
    words: usize,
    pub regions: Vec<Region>,
    /// The submission's estimated cost; see [`super::pace`].
    pub cost: f64,
    pub submitted: Instant,
    /// The last moment at which it was known not to be done.
    pub pending: Instant,
    /// Fires when the submission is done and its staging buffer, if it copied something, is mapped.
    ended: OneshotReceiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    /// Set once the signal was received; a second receive would find an empty channel.
    done: Cell<bool>,
}

impl Flight {
    /// Follows the last submission to `queue`, which began at `submitted` and writes `words` at the front of `staging`.
    pub fn new(
        queue: &wgpu::Queue,
        index: wgpu::SubmissionIndex,
        submitted: Instant,
        staging: Option<wgpu::Buffer>,
        words: usize,
        regions: Vec<Region>,
        cost: f64,
    ) -> Flight {
        let (sender, ended) = oneshot_channel();
        // If the receiver is gone, the signal is no longer wanted.
        match &staging {
            Some(staging) if !regions.is_empty() => {
                let end = 4 * words as u64;
                staging.map_async(wgpu::MapMode::Read, ..end, move |result| drop(sender.send(result)));
            }
            // A buffer that the submission does not use would be mapped at once, which would not show that the
            // submission is done.
            _ => queue.on_submitted_work_done(move || drop(sender.send(Ok(())))),
        }
        let (pending, done) = (submitted, Cell::new(false));
        Flight { index, staging, words, regions, cost, submitted, pending, ended, done }
    }

    /// Whether the submission is done; never waits.
    pub fn is_done(&self) -> Result<bool> {
        if self.done.get() {
            return Ok(true);
        }
        let mut receive = std::pin::pin!(self.ended.receive());
        match receive.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(false),
            Poll::Ready(result) => {
                finished(result)?;
                self.done.set(true);
                Ok(true)
            }
        }
    }

    /// Notes that the submission is known to be done.
    pub fn mark_done(&self) {
        self.done.set(true);
    }

    /// Waits for the submission. On native platforms the device must have been polled to its end before.
    pub async fn done(&self) -> Result<()> {
        if !self.done.get() {
            finished(self.ended.receive().await)?;
            self.done.set(true);
        }
        Ok(())
    }

    /// Copies the captures from the mapped buffer. `period` is the length of a tick in nanoseconds.
    pub fn captures(&mut self, period: f64) -> Result<Vec<Capture>> {
        let Some(staging) = self.staging.as_ref().filter(|_| !self.regions.is_empty()) else { return Ok(Vec::new()) };
        let failed = |e| Error::Device(format!("readback failed: {e:?}"));
        let view = staging.get_mapped_range(..4 * self.words as u64).map_err(failed)?;
        let words = |at: usize, len: usize| -> Vec<u32> { bytemuck::pod_collect_to_vec(&view[4 * at..4 * (at + len)]) };
        let captures = self.regions.drain(..).map(|region| {
            let buffers = region.buffers.iter().map(|&(at, len)| words(at, len)).collect();
            let timings = region.ticks.and_then(|(at, count)| timings(&words(at, 4 * count), period));
            Capture { tag: region.tag, buffers, timings }
        });
        let captures = captures.collect();
        drop(view);
        staging.unmap();
        Ok(captures)
    }
}

fn finished(result: Option<std::result::Result<(), wgpu::BufferAsyncError>>) -> Result<()> {
    match result {
        Some(Ok(())) => Ok(()),
        _ => Err(Error::Device(lost("while it was read back"))),
    }
}

/// Durations from pairs of ticks; `None` if the driver left a pair unwritten or out of order. Other equal ticks mean a
/// duration below the clock's resolution, which browsers make coarse: 0.
fn timings(words: &[u32], period: f64) -> Option<Timings> {
    let ticks: Vec<u64> =
        words.as_chunks().0.iter().map(|[low, high]| u64::from(*low) | u64::from(*high) << 32).collect();
    let (pairs, _) = ticks.as_chunks();
    if pairs.contains(&[0, 0]) || !ticks.is_sorted() {
        return None;
    }
    let nanoseconds = pairs.iter().map(|[start, end]| (end - start) as f64 * period).collect();
    Some(Timings { clock: Clock::GpuTimestamps, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::timings;

    fn words(ticks: &[u64]) -> Vec<u32> {
        ticks.iter().flat_map(|t| [*t as u32, (*t >> 32) as u32]).collect()
    }

    #[test]
    fn ticks_in_order_become_durations() {
        let read = timings(&words(&[5, 15, 1 << 33, (1 << 33) + 4]), 2.0).expect("in order");
        assert_eq!(read.nanoseconds, [20.0, 8.0]);
    }

    #[test]
    fn zero_or_disordered_ticks_are_refused() {
        for ticks in [&[0, 0][..], &[0, 0, 0, 0], &[0, 0, 5, 9], &[9, 7], &[9, 0], &[10, 20, 15, 30], &[10, 20, 0, 0]] {
            assert_eq!(timings(&words(ticks), 1.0), None, "{ticks:?}");
        }
    }

    #[test]
    fn equal_ticks_are_below_the_clocks_resolution() {
        let read = timings(&words(&[7, 7, 7, 9, 9, 9]), 2.0).expect("in order");
        assert_eq!(read.nanoseconds, [0.0, 4.0, 0.0]);
        assert_eq!(timings(&words(&[0, 9]), 1.0).expect("a clock may begin at 0").nanoseconds, [9.0]);
    }
}
