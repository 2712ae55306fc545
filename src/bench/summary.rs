//! Summarises samples: medians with their range, rates that never divide by zero, and the batch size at which the GPU
//! becomes faster.

use serde::Serialize;

/// The median of some rounds and their range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// The median and range of samples; `None` if there are none, or if one is not positive and finite: a clock that
    /// stood still or ran backwards makes a round unusable.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let usable = |sample: &f64| *sample > 0.0 && sample.is_finite();
        if samples.is_empty() || !samples.iter().all(usable) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, min: sorted[0], max: sorted[sorted.len() - 1] })
    }

    /// Converts the values to another unit.
    pub fn scaled(self, factor: f64) -> Spread {
        Spread { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }

    /// The rate of `amount` per duration; the longest duration gives the smallest rate.
    pub fn rate(self, amount: f64) -> Spread {
        Spread { median: amount / self.median, min: amount / self.max, max: amount / self.min }
    }

    /// Half the range as a share of the median.
    pub fn deviation(&self) -> f64 {
        (self.max - self.min) / (2.0 * self.median)
    }
}

/// A ratio of speeds as text: `3.40x`, or below 1 `37 times slower`.
pub fn times(ratio: f64) -> String {
    if ratio >= 1.0 {
        return format!("{ratio:.2}x");
    }
    let slower = 1.0 / ratio;
    let decimals = if slower >= 10.0 { 0 } else { 2 };
    format!("{slower:.decimals$} times slower")
}

/// The batch size from which on the GPU is faster than the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Crossover {
    /// From this batch size on, among those that were compared.
    From { batch_size: usize },
    /// Not even at the largest batch size that was compared.
    Never,
    /// No batch size ran on both.
    NotCompared,
}

/// The crossover from batch sizes and the GPU's speed-up over the CPU, if both ran.
pub fn crossover(speed_ups: &[(usize, Option<f64>)]) -> Crossover {
    let mut compared: Vec<(usize, f64)> = speed_ups.iter().filter_map(|(b, s)| s.map(|s| (*b, s))).collect();
    compared.sort_by_key(|(batch_size, _)| *batch_size);
    if compared.is_empty() {
        return Crossover::NotCompared;
    }
    let wins = compared.iter().rev().take_while(|(_, speed_up)| *speed_up > 1.0);
    wins.last().map_or(Crossover::Never, |&(batch_size, _)| Crossover::From { batch_size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_count_is_the_middle_and_of_an_even_one_the_mean_of_two() {
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0, 4.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of(&[5.0]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
    }

    #[test]
    fn a_duration_that_cannot_be_is_no_sample() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Spread::of(&[1.0, bad, 3.0]), None, "{bad}");
        }
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_ratio_below_one_says_how_many_times_slower() {
        assert_eq!(
            [3.4, 1.0, 0.02685, 0.5, 0.98].map(times),
            ["3.40x", "1.00x", "37 times slower", "2.00 times slower", "1.02 times slower"]
        );
    }

    #[test]
    fn the_longest_duration_makes_the_smallest_rate() {
        let durations = Spread { median: 2.0, min: 1.0, max: 4.0 };
        assert_eq!(durations.rate(8.0), Spread { median: 4.0, min: 2.0, max: 8.0 });
    }

    #[test]
    fn the_gpu_wins_from_the_batch_size_after_its_last_defeat() {
        let from = |speed_ups: &[f64]| {
            let sized: Vec<_> = speed_ups.iter().zip([1, 20, 128, 512]).map(|(s, b)| (b, Some(*s))).collect();
            crossover(&sized)
        };
        assert_eq!(from(&[0.1, 0.9, 1.5, 3.0]), Crossover::From { batch_size: 128 });
        assert_eq!(from(&[1.5, 0.9, 0.8, 3.0]), Crossover::From { batch_size: 512 });
        assert_eq!(from(&[1.1, 1.2, 1.3, 1.4]), Crossover::From { batch_size: 1 });
        assert_eq!(from(&[2.0, 2.0, 2.0, 1.0]), Crossover::Never);
    }

    #[test]
    fn batch_sizes_that_only_one_device_ran_are_left_out() {
        assert_eq!(crossover(&[(1, None), (8, None)]), Crossover::NotCompared);
        assert_eq!(crossover(&[(512, None), (20, Some(2.0)), (1, Some(0.5))]), Crossover::From { batch_size: 20 });
    }
}
