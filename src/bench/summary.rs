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

/// Where the GPU is faster than the CPU, and by what factor; a factor is the CPU's step time over the GPU's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Crossover {
    /// At every batch size that was compared.
    Always { batch_size: usize, least: f64, most: f64 },
    /// From this batch size on, among those that were compared.
    From { batch_size: usize, least: f64, most: f64 },
    /// At some batch sizes, but not at the largest, where the factor is `last`.
    Sometimes { batch_size: usize, best: f64, largest: usize, last: f64 },
    /// At no batch size; the GPU came closest at `batch_size`.
    Never { batch_size: usize, best: f64, largest: usize },
    /// No batch size ran on both.
    NotCompared,
}

/// The crossover from batch sizes and the GPU's speed-up over the CPU, if both ran.
pub fn crossover(speed_ups: &[(usize, Option<f64>)]) -> Crossover {
    let mut compared: Vec<(usize, f64)> = speed_ups.iter().filter_map(|(b, s)| s.map(|s| (*b, s))).collect();
    compared.sort_by_key(|(batch_size, _)| *batch_size);
    let highest = compared.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    let (Some(&(largest, last)), Some((at, best))) = (compared.last(), highest) else {
        return Crossover::NotCompared;
    };
    let losses = compared.iter().rposition(|(_, speed_up)| *speed_up <= 1.0).map_or(0, |at| at + 1);
    let Some(&(batch_size, _)) = compared.get(losses) else {
        return match best > 1.0 {
            true => Crossover::Sometimes { batch_size: at, best, largest, last },
            false => Crossover::Never { batch_size: at, best, largest },
        };
    };
    let wins = compared[losses..].iter().map(|(_, speed_up)| *speed_up);
    let (least, most) = (wins.clone().fold(f64::INFINITY, f64::min), wins.fold(0.0, f64::max));
    match losses {
        0 => Crossover::Always { batch_size, least, most },
        _ => Crossover::From { batch_size, least, most },
    }
}

impl Crossover {
    /// The verdict as a sentence, given the batch sizes that were compared.
    pub fn sentence(&self, compared: usize) -> String {
        match *self {
            Crossover::Always { batch_size, least, most } if compared == 1 => {
                format!("The GPU is {} times faster than the CPU at batch {batch_size}.", range(least, most))
            }
            Crossover::Always { least, most, .. } => {
                format!("The GPU is faster than the CPU at every batch size measured: {} times.", range(least, most))
            }
            Crossover::From { batch_size, least, most } => {
                format!("The GPU is {} times faster than the CPU from batch {batch_size} on.", range(least, most))
            }
            Crossover::Sometimes { batch_size, best, largest, last } => format!(
                "The GPU is at best {} times faster than the CPU, at batch {batch_size}, but not at batch {largest}: \
                 {} times as fast.",
                factor(best),
                factor(last)
            ),
            Crossover::Never { batch_size, best, .. } if compared == 1 => {
                format!("The GPU is not faster than the CPU at batch {batch_size}: {} times as fast.", factor(best))
            }
            Crossover::Never { batch_size, best, largest } => format!(
                "The GPU is never faster than the CPU up to batch {largest}: at best {} times as fast, at batch \
                 {batch_size}.",
                factor(best)
            ),
            Crossover::NotCompared => "There is no comparison of GPU and CPU: only one of them ran.".into(),
        }
    }
}

/// A factor with two digits, or more if it is large; rounded down, so that a loss never reads as 1.
fn factor(ratio: f64) -> String {
    let steps: f64 = match ratio {
        r if r >= 10.0 => 1.0,
        r if r >= 1.1 => 10.0,
        r if r >= 0.1 => 100.0,
        _ => 1000.0,
    };
    // A tenth is no binary fraction; without the margin 3.2 would become 3.1.
    ((ratio * steps + 1e-9).floor() / steps).to_string()
}

/// Two factors as `1.5 to 7`, or one if they read the same.
fn range(least: f64, most: f64) -> String {
    let (least, most) = (factor(least), factor(most));
    if least == most { least } else { format!("{least} to {most}") }
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

    fn of(speed_ups: &[f64]) -> Crossover {
        let sized: Vec<_> = speed_ups.iter().zip([1, 20, 128, 512]).map(|(s, b)| (b, Some(*s))).collect();
        crossover(&sized)
    }

    #[test]
    fn the_gpu_wins_from_the_batch_size_after_its_last_defeat() {
        assert_eq!(of(&[0.1, 0.9, 1.5, 3.0]), Crossover::From { batch_size: 128, least: 1.5, most: 3.0 });
        assert_eq!(of(&[1.5, 0.9, 0.8, 3.0]), Crossover::From { batch_size: 512, least: 3.0, most: 3.0 });
        assert_eq!(of(&[1.1, 1.4, 1.3, 1.2]), Crossover::Always { batch_size: 1, least: 1.1, most: 1.4 });
        let sometimes = Crossover::Sometimes { batch_size: 20, best: 2.5, largest: 512, last: 1.0 };
        assert_eq!(of(&[2.0, 2.5, 2.0, 1.0]), sometimes);
        assert_eq!(of(&[0.1, 0.4, 0.3, 0.2]), Crossover::Never { batch_size: 20, best: 0.4, largest: 512 });
    }

    #[test]
    fn batch_sizes_that_only_one_device_ran_are_left_out() {
        assert_eq!(crossover(&[(1, None), (8, None)]), Crossover::NotCompared);
        let from = Crossover::From { batch_size: 20, least: 2.0, most: 2.0 };
        assert_eq!(crossover(&[(512, None), (20, Some(2.0)), (1, Some(0.5))]), from);
    }

    #[test]
    fn a_verdict_is_a_sentence_with_a_factor() {
        let said = |speed_ups: &[f64]| of(speed_ups).sentence(speed_ups.len());
        let from = "The GPU is 3.2 times faster than the CPU from batch 512 on.";
        assert_eq!(said(&[0.1, 0.5, 0.9, 3.2]), from);
        let growing = "The GPU is 1.5 to 12 times faster than the CPU from batch 128 on.";
        assert_eq!(said(&[0.1, 0.5, 1.5, 12.3]), growing);
        let always = "The GPU is faster than the CPU at every batch size measured: 1.5 to 7 times.";
        assert_eq!(said(&[1.5, 2.0, 6.0, 7.0]), always);
        let never = "The GPU is never faster than the CPU up to batch 512: at best 0.4 times as fast, at batch 512.";
        assert_eq!(said(&[0.01, 0.1, 0.2, 0.4]), never);
        let lost =
            "The GPU is at best 2.5 times faster than the CPU, at batch 20, but not at batch 512: 0.7 times as fast.";
        assert_eq!(said(&[1.0, 2.5, 2.0, 0.7]), lost);
        assert_eq!(said(&[3.0]), "The GPU is 3 times faster than the CPU at batch 1.");
        assert_eq!(said(&[0.999]), "The GPU is not faster than the CPU at batch 1: 0.99 times as fast.");
        assert_eq!(said(&[]), "There is no comparison of GPU and CPU: only one of them ran.");
    }

    #[test]
    fn a_factor_has_two_digits_and_a_loss_never_reads_as_one() {
        let factors = [0.0123, 0.9999, 1.0, 1.04, 3.2, 7.0, 9.99, 12.7, 257.0].map(factor);
        assert_eq!(factors, ["0.012", "0.99", "1", "1.04", "3.2", "7", "9.9", "12", "257"]);
    }
}
