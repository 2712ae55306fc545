//! The `[training]` table of a description: how its author trains the network. Every entry may be absent, and whoever
//! trains may override each one.

use crate::{Error, Result};
use serde::Deserialize;
use std::fmt::{self, Write};
use std::str::FromStr;

/// The rule that turns a gradient into a weight update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TrainerName {
    /// Stochastic gradient descent.
    Sgd,
    /// Gradient descent with momentum.
    Momentum,
    /// With momentum that looks ahead; Sutskever et al. 2013.
    Nesterov,
    /// Duchi, Hazan and Singer 2011.
    Adagrad,
    /// ConvNetJS's name for Adagrad over a window, which others call RMSprop.
    Windowgrad,
    /// Zeiler 2012.
    Adadelta,
    /// Kingma and Ba 2015.
    Adam,
    /// Loshchilov and Hutter 2019: Adam with decoupled decay.
    AdamW,
}

impl TrainerName {
    /// Every trainer with the name that descriptions and options use.
    pub const ALL: [(TrainerName, &str); 8] = [
        (TrainerName::Sgd, "sgd"),
        (TrainerName::Momentum, "momentum"),
        (TrainerName::Nesterov, "nesterov"),
        (TrainerName::Adagrad, "adagrad"),
        (TrainerName::Windowgrad, "windowgrad"),
        (TrainerName::Adadelta, "adadelta"),
        (TrainerName::Adam, "adam"),
        (TrainerName::AdamW, "adamw"),
    ];

    /// What others call them.
    const ELSEWHERE: [(TrainerName, &str); 3] =
        [(TrainerName::Windowgrad, "rmsprop"), (TrainerName::Nesterov, "nag"), (TrainerName::Momentum, "sgd-momentum")];

    /// Its constants beside the learning rate, by the names of [`Recipe`]'s entries.
    pub fn constants(self) -> &'static [&'static str] {
        match self {
            TrainerName::Sgd => &[],
            TrainerName::Momentum | TrainerName::Nesterov => &["momentum"],
            TrainerName::Adagrad => &["epsilon"],
            TrainerName::Windowgrad | TrainerName::Adadelta => &["rho", "epsilon"],
            TrainerName::Adam | TrainerName::AdamW => &["beta1", "beta2", "epsilon"],
        }
    }
}

impl fmt::Display for TrainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::name_of(*self, &TrainerName::ALL))
    }
}

impl FromStr for TrainerName {
    type Err = Error;

    fn from_str(name: &str) -> Result<TrainerName> {
        super::by_name("trainer", name, &TrainerName::ALL, &TrainerName::ELSEWHERE)
    }
}

impl TryFrom<String> for TrainerName {
    type Error = Error;

    fn try_from(name: String) -> Result<TrainerName> {
        name.parse()
    }
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ScheduleName {
    /// Not at all.
    Constant,
    /// By a factor, now and then.
    Step,
    /// Down along half a cosine wave.
    Cosine,
    /// Up along half a wave, down along another.
    OneCycle,
}

impl ScheduleName {
    /// Every schedule with the name that descriptions and options use.
    pub const ALL: [(ScheduleName, &str); 4] = [
        (ScheduleName::Constant, "constant"),
        (ScheduleName::Step, "step"),
        (ScheduleName::Cosine, "cosine"),
        (ScheduleName::OneCycle, "one-cycle"),
    ];

    /// What PyTorch and Keras call them.
    const ELSEWHERE: [(ScheduleName, &str); 6] = [
        (ScheduleName::Constant, "none"),
        (ScheduleName::Step, "step-lr"),
        (ScheduleName::Cosine, "cosine-annealing"),
        (ScheduleName::Cosine, "cosine-annealing-lr"),
        (ScheduleName::Cosine, "cosine-decay"),
        (ScheduleName::OneCycle, "one-cycle-lr"),
    ];
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::name_of(*self, &ScheduleName::ALL))
    }
}

impl FromStr for ScheduleName {
    type Err = Error;

    fn from_str(name: &str) -> Result<ScheduleName> {
        super::by_name("schedule", name, &ScheduleName::ALL, &ScheduleName::ELSEWHERE)
    }
}

impl TryFrom<String> for ScheduleName {
    type Error = Error;

    fn try_from(name: String) -> Result<ScheduleName> {
        name.parse()
    }
}

/// Settings that a description recommends for training.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub trainer: Option<TrainerName>,
    /// Examples per update.
    pub batch_size: Option<usize>,
    /// Passes over the training set.
    pub epochs: Option<usize>,
    pub learning_rate: Option<f64>,
    pub schedule: Option<ScheduleName>,
    /// Share of the run in which the learning rate rises.
    pub warm_up: Option<f64>,
    /// What is left of the learning rate at the end of `cosine` and `one-cycle`.
    pub final_rate: Option<f64>,
    /// Share of the run after which `step` multiplies the learning rate, again and again.
    pub step_every: Option<f64>,
    /// By what it does.
    pub step_factor: Option<f64>,
    pub momentum: Option<f64>,
    /// Adadelta's decay of both running means, and Windowgrad's of its own.
    pub rho: Option<f64>,
    /// The adaptive trainers' guard against division by zero.
    pub epsilon: Option<f64>,
    /// Adam's decay of the first moment.
    pub beta1: Option<f64>,
    /// Adam's decay of the second moment.
    pub beta2: Option<f64>,
    /// λ in `λ·Σ|w|`, weights only.
    pub l1_decay: Option<f64>,
    /// λ in `λ/2·Σw²`, weights only.
    pub l2_decay: Option<f64>,
    /// The largest norm that an update leaves the gradient of all parameters.
    pub clip_norm: Option<f64>,
    /// Epochs without a lower validation loss after which training ends.
    pub patience: Option<usize>,
    /// The decay of the moving average of the weights that evaluation uses; none, and evaluation uses the weights.
    pub ema: Option<f64>,
    /// ConvNetJS's arithmetic, where it differs, instead of the right one: in updates, and in dropout for evaluation too.
    #[serde(default)]
    pub convnetjs_exact: bool,
}

impl Recipe {
    /// Refuses values that no trainer can use.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("batch_size", self.batch_size), ("epochs", self.epochs), ("patience", self.patience)] {
            if value.is_some_and(|value| value == 0 || value > super::MAX_DIMENSION) {
                let value = value.unwrap_or_default();
                return Err(refused(name, &value, &format!("between 1 and {}", super::MAX_DIMENSION)));
            }
        }
        for (name, value) in self.numbers() {
            let Some(value) = value else { continue };
            let (legal, rule) = match name {
                // Kernels compute in f32, where a smaller one is 0 and guards nothing.
                "epsilon" => (value > 0.0 && (value as f32).is_normal(), "above 1.2e-38"),
                "clip_norm" => (value > 0.0 && (value as f32).is_normal(), "above 1.2e-38 and below 3.4e38"),
                "learning_rate" => (value > 0.0 && (value as f32).is_normal(), "above 1.2e-38 and below 3.4e38"),
                "step_every" | "step_factor" => (value > 0.0 && value.is_finite(), "above 0"),
                "l1_decay" | "l2_decay" => (value >= 0.0 && (value as f32).is_finite(), "at least 0 and below 3.4e38"),
                // 0.99999999 is 1 in f32.
                "momentum" | "rho" | "beta1" | "beta2" | "ema" => {
                    ((0.0..1.0).contains(&value) && (value as f32) < 1.0, "at least 0 and below 1, by 1e-7 or more")
                }
                _ => ((0.0..1.0).contains(&value), "at least 0 and below 1"),
            };
            if !legal {
                return Err(refused(name, &value, rule));
            }
        }
        Ok(())
    }

    /// The `[training]` table, or nothing when every entry is absent.
    pub(super) fn to_toml(&self) -> String {
        let mut lines = String::new();
        // Writing to a String cannot fail.
        if let Some(trainer) = self.trainer {
            let _ = writeln!(lines, "trainer = \"{trainer}\"");
        }
        if let Some(schedule) = self.schedule {
            let _ = writeln!(lines, "schedule = \"{schedule}\"");
        }
        for (name, value) in [("batch_size", self.batch_size), ("epochs", self.epochs), ("patience", self.patience)] {
            if let Some(value) = value {
                let _ = writeln!(lines, "{name} = {value}");
            }
        }
        for (name, value) in self.numbers() {
            if let Some(value) = value {
                let _ = writeln!(lines, "{name} = {value:?}");
            }
        }
        if self.convnetjs_exact {
            lines.push_str("convnetjs_exact = true\n");
        }
        if lines.is_empty() { lines } else { format!("\n[training]\n{lines}") }
    }

    fn numbers(&self) -> [(&'static str, Option<f64>); 14] {
        [
            ("learning_rate", self.learning_rate),
            ("warm_up", self.warm_up),
            ("final_rate", self.final_rate),
            ("step_every", self.step_every),
            ("step_factor", self.step_factor),
            ("momentum", self.momentum),
            ("rho", self.rho),
            ("epsilon", self.epsilon),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("l1_decay", self.l1_decay),
            ("l2_decay", self.l2_decay),
            ("clip_norm", self.clip_norm),
            ("ema", self.ema),
        ]
    }
}

fn refused(name: &str, value: &dyn fmt::Display, rule: &str) -> Error {
    Error::Network(format!("[training]: {name} is {value}; it must be {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_train_are_refused() {
        for (recipe, expected) in [
            (Recipe { batch_size: Some(0), ..Recipe::default() }, "batch_size is 0; it must be between 1 and 1048576"),
            (
                Recipe { learning_rate: Some(-1.0), ..Recipe::default() },
                "learning_rate is -1; it must be above 1.2e-38 and below 3.4e38",
            ),
            (
                Recipe { l2_decay: Some(f64::NAN), ..Recipe::default() },
                "l2_decay is NaN; it must be at least 0 and below 3.4e38",
            ),
            (
                Recipe { momentum: Some(1.0), ..Recipe::default() },
                "momentum is 1; it must be at least 0 and below 1, by 1e-7 or more",
            ),
            (Recipe { epsilon: Some(0.0), ..Recipe::default() }, "epsilon is 0; it must be above 1.2e-38"),
            (
                Recipe { beta2: Some(0.999_999_99), ..Recipe::default() },
                "beta2 is 0.99999999; it must be at least 0 and below 1, by 1e-7 or more",
            ),
        ] {
            let message = recipe.check().map_err(|error| error.to_string());
            assert_eq!(message, Err(format!("[training]: {expected}")));
        }
    }

    #[test]
    fn an_empty_recipe_writes_nothing() {
        assert_eq!(Recipe::default().to_toml(), "");
    }
}
