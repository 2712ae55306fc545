//! How much work one submission carries: about 50 ms of the device's time.
//!
//! That is far below the two seconds after which a driver's watchdog ends a submission, and far above the cost of
//! submitting. The time of an operation is estimated from its arithmetic and its memory traffic, as on a slow device;
//! the time that submissions take says by how much this device differs.

use crate::kernels::Work;
use std::time::Duration;

/// The intended time of a submission.
pub(super) const SUBMISSION_TIME: Duration = Duration::from_millis(50);
/// Rates of the slow device, for which the first submissions are sized: operations and bytes per second. Integrated
/// GPUs are several times as fast.
const FLOPS: f64 = 5e9;
const BYTES: f64 = 1e9;
/// The least seconds of a dispatch there.
const DISPATCH: f64 = 20e-6;
/// Shorter submissions tell more about the host than about the device.
const LEAST_MEASURED: f64 = 5e-3;

/// Seconds of one dispatch on the slow device.
pub(super) fn cost(work: Work) -> f64 {
    DISPATCH + work.flops as f64 / FLOPS + work.bytes as f64 / BYTES
}

/// The length of submissions.
#[derive(Debug)]
pub(super) struct Pace {
    /// The intended seconds of a submission.
    budget: f64,
    /// Seconds on this device for a second on the slow one.
    scale: f64,
}

impl Pace {
    pub fn new(budget: Duration) -> Pace {
        Pace { budget: budget.as_secs_f64(), scale: 1.0 }
    }

    /// Whether a submission that carries work of cost `spent` has room for `next`. One without work takes anything.
    pub fn fits(&self, spent: f64, next: f64) -> bool {
        spent == 0.0 || (spent + next) * self.scale <= self.budget
    }

    /// Where work of these costs is cut if it follows work of cost `spent` in the same submission: the indices that
    /// begin a new one.
    pub fn cuts(&self, mut spent: f64, costs: impl IntoIterator<Item = f64>) -> Vec<usize> {
        let mut cuts = Vec::new();
        for (i, cost) in costs.into_iter().enumerate() {
            if !self.fits(spent, cost) {
                cuts.push(i);
                spent = 0.0;
            }
            spent += cost;
        }
        cuts
    }

    /// Learns from a submission of this cost, which took at least `least` and at most `most` seconds; the host does not
    /// see when exactly it ended.
    pub fn measured(&mut self, cost: f64, least: f64, most: f64) {
        let expected = cost * self.scale;
        if expected.max(least) < LEAST_MEASURED || cost <= 0.0 {
            return;
        }
        if expected < least {
            // Too long a submission is a danger, so this is believed at once.
            self.scale = least / cost;
        } else if expected > most {
            // Halfway, so that a single odd measurement has little effect.
            self.scale *= (most.max(1e-6) / expected).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(SUBMISSION_TIME)
    }

    #[test]
    fn work_within_the_budget_stays_together() {
        assert!(pace().cuts(0.0, [0.01; 5]).is_empty());
        assert!(pace().cuts(0.03, [0.01, 0.01]).is_empty());
    }

    #[test]
    fn a_long_step_is_cut_before_the_operation_that_exceeds_the_budget() {
        assert_eq!(pace().cuts(0.0, [0.02; 7]), [2, 4, 6]);
        assert_eq!(pace().cuts(0.045, [0.01, 0.04, 0.01]), [0, 2]);
        // What is too long by itself is alone.
        assert_eq!(pace().cuts(0.0, [3.0, 0.001, 3.0, 3.0]), [1, 2, 3]);
    }

    #[test]
    fn every_operation_is_alone_with_the_least_budget() {
        assert_eq!(Pace::new(Duration::ZERO).cuts(0.0, [1e-6; 4]), [1, 2, 3]);
    }

    #[test]
    fn a_slower_device_is_believed_at_once_and_a_faster_one_by_and_by() {
        let mut pace = pace();
        pace.measured(0.05, 0.5, 0.5);
        assert_eq!(pace.cuts(0.0, [0.0025; 4]), [2]);
        pace.measured(0.005, 0.0005, 0.0005);
        assert!((pace.scale - 1.0).abs() < 1e-9, "{}", pace.scale);
        for _ in 0..40 {
            pace.measured(5.0, 0.05, 0.05);
        }
        assert!((pace.scale - 0.01).abs() < 1e-6, "{}", pace.scale);
    }

    #[test]
    fn a_time_that_the_host_did_not_see_exactly_changes_nothing_within_its_bounds() {
        let mut pace = pace();
        pace.measured(0.05, 0.001, 2.0);
        assert_eq!(pace.scale, 1.0);
        // Nor does one too short to say anything about the device.
        pace.measured(0.0001, 0.001, 0.001);
        assert_eq!(pace.scale, 1.0);
    }
}
