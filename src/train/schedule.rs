//! Learning-rate schedules: the factor on the optimizer's learning rate over the course of a run.
//!
//! Everything is in shares of the run, so a schedule means the same for one epoch and for twenty. A run that is resumed
//! with a later end goes on along the schedule of the longer run.

use crate::net::{Recipe, ScheduleName};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate changes. `warm_up` is the share of the run in which it rises; `final_rate` is its factor at
/// the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// 1 after a linear warm-up.
    Constant { warm_up: f64 },
    /// Multiplied by `factor` after every share `every` of the run; a linear warm-up comes before, to 1.
    Step { warm_up: f64, every: f64, factor: f64 },
    /// Half a cosine wave from 1 down to `final_rate`, after a linear warm-up (Loshchilov and Hutter, "SGDR", 2017,
    /// without restarts).
    Cosine { warm_up: f64, final_rate: f64 },
    /// Half a cosine wave up from 1/25 to 1, another down to `final_rate` (Smith and Topin, "Super-convergence", 2018,
    /// in PyTorch's form; momentum stays as it is).
    OneCycle { warm_up: f64, final_rate: f64 },
}

/// The rounding error to allow in products and quotients of shares.
const ROUNDING: f64 = 1e-9;
/// The first factor of a one-cycle schedule.
const CYCLE_START: f64 = 1.0 / 25.0;

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::Constant { warm_up: 0.0 }
    }
}

impl Schedule {
    /// The schedule of this name, with the recipe's values if present.
    pub fn new(name: ScheduleName, recipe: &Recipe) -> Schedule {
        let warm_up = |default: f64| recipe.warm_up.unwrap_or(default);
        let final_rate = recipe.final_rate.unwrap_or(0.0);
        match name {
            ScheduleName::Constant => Schedule::Constant { warm_up: warm_up(0.0) },
            ScheduleName::Step => Schedule::Step {
                warm_up: warm_up(0.0),
                every: recipe.step_every.unwrap_or(1.0 / 3.0),
                factor: recipe.step_factor.unwrap_or(0.1),
            },
            ScheduleName::Cosine => Schedule::Cosine { warm_up: warm_up(0.0), final_rate },
            ScheduleName::OneCycle => Schedule::OneCycle { warm_up: warm_up(0.3), final_rate },
        }
    }

    pub fn name(&self) -> ScheduleName {
        match self {
            Schedule::Constant { .. } => ScheduleName::Constant,
            Schedule::Step { .. } => ScheduleName::Step,
            Schedule::Cosine { .. } => ScheduleName::Cosine,
            Schedule::OneCycle { .. } => ScheduleName::OneCycle,
        }
    }

    /// Writes the schedule into a recipe.
    pub(super) fn record(&self, recipe: &mut Recipe) {
        recipe.schedule = Some(self.name());
        recipe.warm_up = Some(self.warm_up());
        match *self {
            Schedule::Constant { .. } => {}
            Schedule::Step { every, factor, .. } => {
                (recipe.step_every, recipe.step_factor) = (Some(every), Some(factor));
            }
            Schedule::Cosine { final_rate, .. } | Schedule::OneCycle { final_rate, .. } => {
                recipe.final_rate = Some(final_rate);
            }
        }
    }

    fn warm_up(&self) -> f64 {
        match *self {
            Schedule::Constant { warm_up }
            | Schedule::Step { warm_up, .. }
            | Schedule::Cosine { warm_up, .. }
            | Schedule::OneCycle { warm_up, .. } => warm_up,
        }
    }

    /// The factor for update `step` (from 0) of `end`.
    pub fn factor(&self, step: u64, end: u64) -> f64 {
        self.factor_of(step, 1, end)
    }

    /// The factor for an update that begins at `step` of `end` and is `width` long, in whatever unit.
    pub(super) fn factor_of(&self, step: u64, width: u64, end: u64) -> f64 {
        let progress = step as f64 / end.max(1) as f64;
        let warm_up = self.warm_up();
        // Steps of the warm-up. A share such as 0.07 of 100 steps is slightly more than seven in binary.
        let rising = (warm_up * end as f64 * (1.0 - ROUNDING)).ceil();
        if (step as f64) < rising {
            return match self {
                Schedule::OneCycle { .. } => half_wave(CYCLE_START, 1.0, progress / warm_up),
                // The first step already has a factor above 0.
                _ => ((step + width) as f64 / rising).min(1.0),
            };
        }
        let share = ((progress - warm_up) / (1.0 - warm_up)).max(0.0);
        match *self {
            Schedule::Constant { .. } => 1.0,
            Schedule::Step { every, factor, .. } => factor.powf((progress / every * (1.0 + ROUNDING)).floor()),
            Schedule::Cosine { final_rate, .. } | Schedule::OneCycle { final_rate, .. } => {
                half_wave(1.0, final_rate, share)
            }
        }
    }
}

/// From `a` to `b` along half a cosine wave; `share` runs from 0 to 1.
fn half_wave(a: f64, b: f64, share: f64) -> f64 {
    b + (a - b) * (1.0 + (PI * share).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, end: u64) -> Vec<f64> {
        (0..end).map(|step| (schedule.factor(step, end) * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn constant_is_one_after_a_linear_rise() {
        assert_eq!(factors(Schedule::default(), 3), [1.0; 3]);
        assert_eq!(factors(Schedule::Constant { warm_up: 0.5 }, 8), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn steps_fall_at_equal_shares() {
        let schedule = Schedule::Step { warm_up: 0.0, every: 0.25, factor: 0.5 };
        assert_eq!(factors(schedule, 8), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
    }

    #[test]
    fn shares_that_binary_fractions_miss_come_in_time() {
        let falls = factors(Schedule::Step { warm_up: 0.0, every: 0.1, factor: 0.5 }, 10);
        assert_eq!(falls, [1.0, 0.5, 0.25, 0.125, 0.0625, 0.0313, 0.0156, 0.0078, 0.0039, 0.002]);
        let rises = factors(Schedule::Constant { warm_up: 0.07 }, 100);
        assert_eq!(rises[..8], [0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0, 1.0]);
    }

    #[test]
    fn cosine_falls_from_one_to_the_final_rate() {
        let schedule = Schedule::Cosine { warm_up: 0.0, final_rate: 0.2 };
        assert_eq!(factors(schedule, 4), [1.0, 0.8828, 0.6, 0.3172]);
        assert!((schedule.factor(999_999, 1_000_000) - 0.2).abs() < 1e-6);
    }

    /// PyTorch 2.x: `OneCycleLR(max_lr=1, total_steps=11, pct_start=0.3, final_div_factor=inf-like)` has its peak and
    /// its end one step earlier, for it counts from the first to the last step.
    #[test]
    fn one_cycle_rises_to_one_and_falls_to_nothing() {
        let schedule = Schedule::OneCycle { warm_up: 0.3, final_rate: 0.0 };
        assert_eq!(factors(schedule, 10), [0.04, 0.28, 0.76, 1.0, 0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495]);
    }
}
