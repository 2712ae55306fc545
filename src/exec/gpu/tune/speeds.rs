//! How long the parts of tuning take: the time that is left, and estimates.

use super::Budget;
use super::job::{Job, REFERENCE_FLOPS, Size};
use crate::exec::gpu::pace;
use crate::kernels::{Adapter, Op};
use std::time::Duration;
use web_time::Instant;

/// The most bytes of an operation that is timed, if its batch can be reduced so far: more than caches hold.
pub(super) const MOST_BYTES: u64 = 128 << 20;
/// The rounds that there must be time for when a race begins.
const LEAST_ROUNDS: usize = 2;

/// The time that is left.
pub(super) struct TimeLimit {
    begin: Instant,
    budget: Duration,
}

impl TimeLimit {
    pub fn new(budget: Duration) -> TimeLimit {
        TimeLimit { begin: Instant::now(), budget }
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Whether more than half of the time is left.
    pub fn is_early(&self) -> bool {
        self.elapsed() < self.budget / 2
    }

    /// The limit of one job that begins now: half of the time, so that no job can take all of it.
    pub fn for_one(&self) -> TimeLimit {
        TimeLimit { begin: self.begin, budget: self.budget.min(self.begin.elapsed() + self.budget / 2) }
    }

    pub fn is_over(&self) -> bool {
        self.has_no(0.0)
    }

    /// Whether so many seconds are more than what is left.
    pub fn has_no(&self, seconds: f64) -> bool {
        self.begin.elapsed().as_secs_f64() + seconds >= self.budget.as_secs_f64()
    }
}

/// Kernels that are compiled at the same time.
pub(super) fn compiled_together() -> usize {
    if cfg!(target_arch = "wasm32") { 1 } else { rayon::current_num_threads() }
}

/// What the parts of tuning take here, first guessed, then learned.
#[derive(Debug)]
pub(super) struct Speeds {
    /// The intended seconds of one run of a kernel.
    run: f64,
    /// Seconds for a second on the slow device of [`pace`].
    pub device: f64,
    /// Seconds of compiling as many kernels as are compiled together.
    compile: f64,
    /// Seconds per floating-point operation of the reference.
    reference: f64,
    /// The real seconds of a job for an expected one.
    job: f64,
}

impl Speeds {
    pub fn new(adapter: Adapter, budget: Budget) -> Speeds {
        let (device, compile) = if adapter.software { (1.0, 0.2) } else { (0.1, 0.05) };
        Speeds { run: budget.run(), device, compile, reference: 2e-9, job: 1.0 }
    }

    /// The size that a job is timed at: the largest one whose run is not longer than intended, otherwise the smallest.
    pub fn size<'a>(&self, job: &'a Job<'_>) -> &'a Size {
        let is_short =
            |size: &&Size| pace::cost(size.op.work) * self.device <= self.run && size.op.work.bytes <= MOST_BYTES;
        job.sizes.iter().rev().find(is_short).unwrap_or(&job.sizes[0])
    }

    /// The seconds of a job.
    pub fn job(&self, job: &Job<'_>) -> f64 {
        /// Seconds of allocating and filling buffers.
        const BUFFERS: f64 = 5e-3;
        let (size, count) = (self.size(job), job.candidates.len());
        // The check has a pipeline too.
        let compiling = ((count + 1).div_ceil(compiled_together())) as f64 * self.compile;
        let runs = (1 + (1 + LEAST_ROUNDS) * count) as f64 * pace::cost(size.op.work) * self.device;
        (BUFFERS + compiling + runs + self.check(job)) * self.job
    }

    pub fn learn(&mut self, expected: f64, took: f64) {
        self.job = (self.job * (took / expected.max(1e-6)).clamp(0.25, 4.0).sqrt()).clamp(0.25, 4.0);
    }

    /// The seconds of a check by the reference.
    pub fn check(&self, job: &Job<'_>) -> f64 {
        self.reference * job.check.op.work.flops as f64
    }

    /// Learns from the seconds of a check; a small one says little.
    pub fn checked(&mut self, op: &Op, seconds: f64) {
        if op.work.flops > REFERENCE_FLOPS / 4 {
            self.reference = seconds / op.work.flops as f64;
        }
    }

    /// Learns from seconds of compiling; a kernel that is known already takes none.
    pub fn compiled(&mut self, seconds: f64) {
        if seconds > 1e-3 {
            self.compile = (self.compile + seconds) / 2.0;
        }
    }

    /// Learns from a run of an operation.
    pub fn ran(&mut self, op: &Op, nanoseconds: f64) {
        if nanoseconds > 0.0 && nanoseconds.is_finite() {
            self.device = nanoseconds * 1e-9 / pace::cost(op.work);
        }
    }
}
