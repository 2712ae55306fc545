//! Time in the training loop, without validation passes, checkpoints and pauses.

use web_time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Stopwatch {
    before: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    /// A stopped stopwatch that shows `seconds`.
    pub fn at(seconds: f64) -> Stopwatch {
        // An impossible value comes from a damaged file.
        let before = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Stopwatch { before, since: None }
    }

    /// The elapsed time in seconds.
    pub fn elapsed(&self) -> f64 {
        self.before.saturating_add(self.since.map_or(Duration::ZERO, |s| s.elapsed())).as_secs_f64()
    }

    pub fn pause(&mut self) {
        self.before = self.before.saturating_add(self.since.take().map_or(Duration::ZERO, |s| s.elapsed()));
    }

    pub fn go_on(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }
}
