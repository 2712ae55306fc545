//! Training settings, each declared once with its help, option, type and rule. A description's `[training]` table, a
//! command's options and the settings that a run records are all this one struct.

use super::value::{Rule, Value};
use crate::kernels::optimizer::{OPTIMIZERS, Optimizer};
#[cfg(not(target_arch = "wasm32"))]
use crate::words::{number, whole};
use crate::{Error, Result};
use serde::{Deserialize, Deserializer};
use std::fmt::{self, Write};
use std::str::FromStr;

/// The largest batch: one row of a dispatch's workgroups.
pub const MAX_BATCH: usize = 65_535;
/// The most crops of a test image; each crop costs a forward pass over all examples.
pub const MAX_CROPS: usize = 100;

/// The rule that turns a gradient into a weight update.
pub type OptimizerName = &'static Optimizer;

impl FromStr for &'static Optimizer {
    type Err = Error;

    fn from_str(name: &str) -> Result<OptimizerName> {
        let own = OPTIMIZERS.map(|optimizer| (optimizer, optimizer.name));
        let elsewhere = OPTIMIZERS.into_iter().flat_map(|one| one.aliases.iter().map(move |alias| (one, *alias)));
        super::by_name("optimizer", name, &own, &elsewhere.collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for &'static Optimizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<OptimizerName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ScheduleName {
    /// The learning rate stays constant.
    Constant,
    /// The learning rate falls by a factor at regular intervals.
    Step,
    /// The learning rate falls along half a cosine wave.
    Cosine,
    /// The learning rate rises along half a cosine wave, then falls along another.
    OneCycle,
}

impl ScheduleName {
    /// Every schedule with its name in descriptions and options.
    pub const ALL: [(ScheduleName, &str); 4] = [
        (ScheduleName::Constant, "constant"),
        (ScheduleName::Step, "step"),
        (ScheduleName::Cosine, "cosine"),
        (ScheduleName::OneCycle, "one-cycle"),
    ];

    /// The names in PyTorch and Keras.
    const ELSEWHERE: [(ScheduleName, &str); 6] = [
        (ScheduleName::Constant, "none"),
        (ScheduleName::Step, "step-lr"),
        (ScheduleName::Cosine, "cosine-annealing"),
        (ScheduleName::Cosine, "cosine-annealing-lr"),
        (ScheduleName::Cosine, "cosine-decay"),
        (ScheduleName::OneCycle, "one-cycle-lr"),
    ];

    /// The schedule's constants, by the names of [`Recipe`]'s settings.
    pub fn constants(self) -> &'static [&'static str] {
        match self {
            ScheduleName::Constant => &["warm_up"],
            ScheduleName::Step => &["warm_up", "step_every", "step_factor"],
            ScheduleName::Cosine | ScheduleName::OneCycle => &["warm_up", "final_rate"],
        }
    }
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

/// The settings that belong to an optimizer, besides its name.
pub(crate) const OF_OPTIMIZER: [&str; 6] = ["learning_rate", "momentum", "rho", "epsilon", "beta1", "beta2"];
/// The settings that belong to a schedule, besides its name.
pub(crate) const OF_SCHEDULE: [&str; 4] = ["warm_up", "final_rate", "step_every", "step_factor"];

/// Declares [`Recipe`] and the functions that visit all its fields. Each field has its help, its option, its type and
/// its rule. Fields after `of a run` are not part of a description.
macro_rules! settings {
    (
        $(#[$outer:meta])* pub struct $name:ident {
            $($(#[doc = $doc:tt])+ #[arg($($arg:tt)*)] $(#[serde($($serde:tt)*)])? $field:ident: $type:ident = $rule:expr,)*
            of a run:
            $($(#[doc = $run_doc:tt])+ #[arg($($run_arg:tt)*)] $run:ident: $run_type:ident = $run_rule:expr,)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(not(target_arch = "wasm32"), derive(clap::Args))]
        #[allow(rustdoc::broken_intra_doc_links, reason = "`--help` also shows the fields' texts")]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[cfg_attr(not(target_arch = "wasm32"), arg($($arg)*))]
                $(#[serde($($serde)*)])?
                pub $field: Option<$type>,
            )*
            $(
                $(#[doc = $run_doc])+
                #[cfg_attr(not(target_arch = "wasm32"), arg($($run_arg)*))]
                #[serde(skip)]
                pub $run: Option<$run_type>,
            )*
        }

        impl $name {
            /// The name and rule of every setting.
            pub const RULES: &[(&'static str, Rule)] =
                &[$((stringify!($field), $rule),)* $((stringify!($run), $run_rule),)*];

            /// These settings, with missing ones taken from `others`.
            pub fn or(self, others: $name) -> $name {
                $name { $($field: self.$field.or(others.$field),)* $($run: self.$run.or(others.$run),)* }
            }

            /// The settings whose names `keep` accepts.
            pub fn only(self, keep: impl Fn(&str) -> bool) -> $name {
                $name {
                    $($field: self.$field.filter(|_| keep(stringify!($field))),)*
                    $($run: self.$run.filter(|_| keep(stringify!($run))),)*
                }
            }

            /// The settings that a description may have.
            pub fn described(self) -> $name {
                $name { $($run: None,)* ..self }
            }

            /// Every setting that has a value, with its name.
            pub fn given(&self) -> impl Iterator<Item = (&'static str, Value)> {
                let all = [
                    $((stringify!($field), self.$field.map(Value::from)),)*
                    $((stringify!($run), self.$run.map(Value::from)),)*
                ];
                all.into_iter().filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}

settings! {
    /// Training settings, each of which may be absent: those that a description recommends, or those that a user gives.
    pub struct Recipe {
        /// The rule that turns gradients into updates.
        #[arg(skip)]
        #[serde(alias = "trainer")]
        optimizer: OptimizerName = Rule::Any,
        /// Passes over the training set [default: the network's own, else 3]
        #[arg(long, value_name = "N", conflicts_with = "steps", value_parser = whole::<u64>)]
        epochs: u64 = Rule::Count(u64::MAX),
        /// Examples per update [default: the network's own, else 20]
        #[arg(long, value_name = "N", aliases = ["batch", "batchsize", "bs"], value_parser = whole::<usize>)]
        batch_size: usize = Rule::Count(MAX_BATCH as u64),
        /// The learning rate, before the schedule's factor
        #[arg(long, value_name = "X", alias = "lr", value_parser = number)]
        learning_rate: f64 = Rule::Positive,
        /// How the learning rate changes over the run: constant, step, cosine or one-cycle [default: the network's own,
        /// else constant]
        #[arg(long, value_name = "NAME", aliases = ["scheduler", "lr-schedule", "lr-scheduler"])]
        schedule: ScheduleName = Rule::Any,
        /// Share of the run during which the learning rate rises [default: the network's own, else 0.3 for one-cycle, 0
        /// for the others]
        #[arg(long, value_name = "SHARE", alias = "warmup", value_parser = number)]
        warm_up: f64 = Rule::Share,
        /// For cosine and one-cycle: factor on the learning rate at the end of the run [default: the network's own,
        /// else 0]
        #[arg(long, value_name = "X", value_parser = number)]
        final_rate: f64 = Rule::Share,
        /// For the schedule step: share of the run between two falls of the learning rate [default: the network's own,
        /// else a third]
        #[arg(long, value_name = "SHARE", value_parser = number)]
        step_every: f64 = Rule::AboveZero,
        /// For the schedule step: factor on the learning rate at each fall [default: the network's own, else 0.1]
        #[arg(long, value_name = "X", value_parser = number)]
        step_factor: f64 = Rule::AboveZero,
        /// Share of the velocity that each update keeps
        #[arg(long, value_name = "X", value_parser = number)]
        momentum: f64 = Rule::BelowOne,
        /// Share of the running means that each update keeps
        #[arg(long, value_name = "X", value_parser = number)]
        rho: f64 = Rule::BelowOne,
        /// Small number that keeps denominators away from 0
        #[arg(long, value_name = "X", value_parser = number)]
        epsilon: f64 = Rule::Positive,
        /// Share of the running mean of gradients that each update keeps
        #[arg(long, value_name = "X", value_parser = number)]
        beta1: f64 = Rule::BelowOne,
        /// Share of the running mean of squared gradients that each update keeps
        #[arg(long, value_name = "X", value_parser = number)]
        beta2: f64 = Rule::BelowOne,
        /// Factor of the sum of |w| over all weights, without biases, in the loss [default: the network's own, else 0]
        #[arg(long, value_name = "X", alias = "l1", value_parser = number)]
        l1_decay: f64 = Rule::NotNegative,
        /// Factor of half the sum of w² over all weights, without biases, in the loss: PyTorch's weight_decay [default:
        /// the network's own, else 0]
        #[arg(long, value_name = "X", visible_alias = "weight-decay", aliases = ["l2", "wd"], value_parser = number)]
        l2_decay: f64 = Rule::NotNegative,
        /// Largest norm of an update's gradient over all parameters; a larger gradient is scaled down to it [default:
        /// the network's own, else none]
        #[arg(long, value_name = "X", aliases = ["clip", "clip-grad", "clip-grad-norm"], value_parser = number)]
        clip_norm: f64 = Rule::Positive,
        /// End the run when the validation loss has not fallen for this many epochs [default: the network's own, else
        /// never]
        #[arg(long, value_name = "EPOCHS", value_parser = whole::<u64>)]
        patience: u64 = Rule::Count(u64::MAX),
        /// Keep a moving average of the weights with this decay, such as 0.999, and use it for validation, the test and
        /// the model [default: the network's own, else none]
        #[arg(long, value_name = "DECAY", value_parser = number)]
        ema: f64 = Rule::BelowOne,
        /// Reproduce ConvNetJS's errors (its decay, its adam, its dropout), so that its runs can be compared
        #[arg(long, num_args = 0, default_missing_value = "true")]
        convnetjs_exact: bool = Rule::Any,

        of a run:
        /// Number of weight updates, instead of whole epochs
        #[arg(long, value_name = "N", aliases = ["iterations", "iters", "max-steps"], value_parser = whole::<u64>)]
        steps: u64 = Rule::Count(u64::MAX),
        /// Seed of initial weights, the order of examples, crops, augmentation and dropout.
        #[arg(skip)]
        seed: u64 = Rule::Any,
        /// Train without the augmentation that the network's [augmentation] table describes; crops remain
        #[arg(long, num_args = 0, default_missing_value = "true")]
        no_augmentation: bool = Rule::Any,
        /// Average the scores of this many crops of each image in the final test: the centre, the corners, then others
        /// in between, each followed by its mirror image if [augmentation] lets every class be flipped [default: 1]
        #[arg(long, value_name = "N", value_parser = whole::<usize>)]
        test_crops: usize = Rule::Count(MAX_CROPS as u64),
        /// Steps between two rows of statistics, which are also the points of a comparison's curves; each epoch's end
        /// adds one [default: 100, or a hundredth of the run in a comparison]
        #[arg(long, value_name = "STEPS", visible_alias = "every", value_parser = whole::<u64>)]
        stats_every: u64 = Rule::Count(u64::MAX),
        /// Steps between two checkpoints; each epoch's end adds one [default: 1000]
        #[arg(long, value_name = "STEPS", value_parser = whole::<u64>)]
        checkpoint_every: u64 = Rule::Count(u64::MAX),
    }
}

impl Recipe {
    /// The settings that are constants of optimizers, by name.
    pub(crate) fn constants(&self) -> [(&'static str, Option<f64>); 5] {
        let Recipe { momentum, rho, epsilon, beta1, beta2, .. } = *self;
        [("momentum", momentum), ("rho", rho), ("epsilon", epsilon), ("beta1", beta1), ("beta2", beta2)]
    }

    /// The setting that holds the optimizers' constant `name`.
    pub(crate) fn constant_mut(&mut self, name: &str) -> &mut Option<f64> {
        match name {
            "momentum" => &mut self.momentum,
            "rho" => &mut self.rho,
            "beta1" => &mut self.beta1,
            "beta2" => &mut self.beta2,
            "epsilon" => &mut self.epsilon,
            other => unreachable!("no setting is called {other}"),
        }
    }

    /// The rule of the setting `name`.
    pub fn rule(name: &str) -> Rule {
        Recipe::RULES.iter().find(|(known, _)| *known == name).map_or(Rule::Any, |(_, rule)| *rule)
    }

    /// Checks every value against its rule.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value that breaks its rule.
    pub fn check(&self) -> Result<()> {
        self.given().try_for_each(|(name, value)| Recipe::rule(name).check(name, value))
    }

    /// Whether the setting `name` belongs to the optimizer or the schedule.
    pub(crate) fn is_part(name: &str) -> bool {
        OF_OPTIMIZER.contains(&name) || OF_SCHEDULE.contains(&name)
    }

    /// Whether to use ConvNetJS's arithmetic where it differs: in updates, and in dropout also during evaluation.
    pub fn is_exact(&self) -> bool {
        self.convnetjs_exact == Some(true)
    }

    /// The `[training]` table, or an empty string if every setting is absent.
    pub(super) fn to_toml(&self) -> String {
        let mut lines = String::new();
        for (name, value) in self.clone().described().given() {
            // Writing to a String cannot fail.
            let _ = match value {
                Value::Word(word) => writeln!(lines, "{name} = \"{word}\""),
                Value::Number(number) => writeln!(lines, "{name} = {number:?}"),
                whole_or_flag => writeln!(lines, "{name} = {whole_or_flag}"),
            };
        }
        if lines.is_empty() { lines } else { format!("\n[training]\n{lines}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_of_an_optimizer_is_a_setting() {
        for (name, value) in OPTIMIZERS.iter().flat_map(|optimizer| optimizer.constants) {
            let mut recipe = Recipe::default();
            *recipe.constant_mut(name) = Some(*value);
            assert!(OF_OPTIMIZER.contains(name) && recipe.constants().contains(&(*name, Some(*value))), "{name}");
        }
    }

    #[test]
    fn values_that_cannot_train_are_refused() {
        let none = Recipe::default;
        for (recipe, expected) in [
            (Recipe { batch_size: Some(0), ..none() }, "batch size must be a whole number from 1 to 65535, got 0"),
            (Recipe { epochs: Some(0), ..none() }, "epochs must be a whole number >= 1, got 0"),
            (
                Recipe { learning_rate: Some(-1.0), ..none() },
                "learning rate must be a number from 1.2e-38 to 3.4e38, got -1",
            ),
            (Recipe { l2_decay: Some(f64::NAN), ..none() }, "l2 decay must be a number from 0 to 3.4e38, got NaN"),
            (Recipe { momentum: Some(1.0), ..none() }, "momentum must be a number from 0 to 0.9999999, got 1"),
            (Recipe { epsilon: Some(0.0), ..none() }, "epsilon must be a number from 1.2e-38 to 3.4e38, got 0"),
            (
                Recipe { beta2: Some(0.999_999_99), ..none() },
                "beta2 must be a number from 0 to 0.9999999, got 0.99999999",
            ),
        ] {
            assert_eq!(recipe.check().map_err(|error| error.to_string()), Err(expected.into()));
        }
    }

    #[test]
    fn an_empty_recipe_writes_nothing() {
        assert_eq!(Recipe::default().to_toml(), "");
        assert_eq!(Recipe { seed: Some(3), ..Recipe::default() }.to_toml(), "", "a seed is no part of a description");
    }
}
