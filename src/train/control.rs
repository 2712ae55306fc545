//! Changes to a run while it trains: they are checked here, carried out between two steps by the loop, recorded as
//! rows, and repeated from these rows when the run is resumed.

use super::metrics::ChangeRow;
use super::settings::{Settings, check_effect};
use crate::error::{Error, Result};
use crate::net::{Parameters, Recipe, Rule, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A setting that can change while a run trains. Those that a device may refuse come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changeable {
    /// Examples per update; the epoch continues at the same position in the same order.
    BatchSize,
    /// The momentum of the optimizers momentum and nesterov.
    Momentum,
    /// The base rate, which the schedule multiplies; 0 freezes weights and biases, and the optimizers momentum and
    /// nesterov then begin with a velocity of 0 again.
    LearningRate,
    /// λ in λ·Σ|w|.
    L1Decay,
    /// λ in λ/2·Σw².
    L2Decay,
}

impl Changeable {
    /// Every changeable setting, with the name of [`Recipe`]'s field.
    pub const ALL: [(Changeable, &'static str); 5] = [
        (Changeable::BatchSize, "batch_size"),
        (Changeable::Momentum, "momentum"),
        (Changeable::LearningRate, "learning_rate"),
        (Changeable::L1Decay, "l1_decay"),
        (Changeable::L2Decay, "l2_decay"),
    ];

    pub fn name(self) -> &'static str {
        Changeable::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// The value in `settings`; `None` if the optimizer has none.
    pub fn of(self, settings: &Settings) -> Option<Value> {
        Some(match self {
            Changeable::BatchSize => settings.batch_size.into(),
            Changeable::Momentum => settings.optimizer.momentum()?.into(),
            Changeable::LearningRate => settings.optimizer.learning_rate().into(),
            Changeable::L1Decay => settings.l1_decay.into(),
            Changeable::L2Decay => settings.l2_decay.into(),
        })
    }
}

/// A change to a run while it trains.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Set(Changeable, f64),
    /// Weights of the same network from another source; the optimizer, and the moving average if one is kept, start
    /// again.
    Weights {
        parameters: Vec<Parameters>,
        /// Their source, for the row that records the change.
        source: String,
    },
}

/// An observer's request between two steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Change(Change),
    /// Provide the weights; an [`Event::Weights`](super::Event::Weights) follows.
    Weights,
    /// Provide the weights, stop the clock, and call [`Observer::wait`](super::Observer::wait) before continuing.
    Pause,
}

impl Change {
    /// The name in rows.
    pub fn what(&self) -> &'static str {
        match self {
            Change::Set(setting, _) => setting.name(),
            Change::Weights { .. } => "weights",
        }
    }

    /// The row of this change, made after `step` updates.
    pub(super) fn row(&self, step: u64, train_seconds: f64, before: &Settings, after: &Settings) -> ChangeRow {
        let (from, to) = match self {
            Change::Set(setting, _) => (json!(setting.of(before)), json!(setting.of(after))),
            Change::Weights { source, .. } => (json!(null), json!({ "source": source })),
        };
        ChangeRow { step, train_seconds, what: self.what().into(), from, to }
    }

    /// Whether the program must be lowered again.
    pub(super) fn rebuilds(&self) -> bool {
        matches!(self, Change::Set(Changeable::Momentum | Changeable::BatchSize, _))
    }
}

impl ChangeRow {
    /// The change that the row records, except for weights, which are in the checkpoint.
    pub(super) fn change(&self) -> Result<Change> {
        let setting = Changeable::ALL.iter().find(|(_, name)| *name == self.what);
        let change = setting.zip(self.to.as_f64()).map(|((setting, _), value)| Change::Set(*setting, value));
        change.ok_or_else(|| Error::Model(format!("{} to {} is not a change of a run", self.what, self.to)))
    }
}

impl Settings {
    /// The settings after `change`. The network's own recipe stays what the run began with, and so do
    /// `config.toml` and the model's file.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value that no training can use, [`Error::NoEffect`] for one that this optimizer does
    /// not have; [`Error::Model`] for weights of another network.
    pub fn changed(&self, change: &Change) -> Result<Settings> {
        let mut settings = self.clone();
        match change {
            // Turns -0 into 0.
            Change::Set(setting, value) => settings.set(*setting, value + 0.0)?,
            Change::Weights { parameters, source } => self.check_weights(parameters, source)?,
        }
        Ok(settings)
    }

    fn set(&mut self, setting: Changeable, value: f64) -> Result<()> {
        let rule = match setting {
            Changeable::LearningRate => Rule::PositiveOrZero,
            _ => Recipe::rule(setting.name()),
        };
        rule.check(setting.name(), value)?;
        match setting {
            Changeable::BatchSize => self.batch_size = value as usize,
            Changeable::Momentum => {
                if !self.optimizer.rule_mut().set("momentum", value) {
                    check_effect("momentum", self.optimizer.kind(), self.schedule.name())?;
                }
            }
            Changeable::LearningRate => *self.optimizer.learning_rate_mut() = value,
            Changeable::L1Decay => self.l1_decay = value,
            Changeable::L2Decay => self.l2_decay = value,
        }
        self.check()
    }

    /// Refuses weights whose numbers do not match this network, and weights that are not finite.
    fn check_weights(&self, parameters: &[Parameters], source: &str) -> Result<()> {
        let refuse = |why: String| {
            Err(Error::Model(format!(
                "the weights of {source} cannot be used: {why}; load weights of the same network"
            )))
        };
        let shapes = self.network.parameters();
        if shapes.len() != parameters.len() {
            let (there, here) = (parameters.len(), shapes.len());
            return refuse(format!("{there} layers have weights there, but {here} here"));
        }
        for (shape, values) in shapes.iter().zip(parameters) {
            let (here, there) = (&shape.layer, &values.layer);
            if here != there {
                return refuse(format!("a layer is named {there} there, but {here} here"));
            }
            let tensors = [
                ("weights", &values.weight, shape.weight.iter().product()),
                ("biases", &values.bias, shape.bias),
                ("running means", &values.running_mean, shape.running),
                ("running variances", &values.running_variance, shape.running),
            ];
            for (what, values, wanted) in tensors {
                if values.len() != wanted {
                    let found = values.len();
                    return refuse(format!("layer {here} has {found} {what} there, but {wanted} here"));
                }
                if values.iter().any(|value| !value.is_finite()) {
                    return refuse(format!("the {what} of layer {here} are not all finite"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Changeable::{BatchSize, L1Decay, L2Decay, LearningRate, Momentum};
    use super::*;
    use crate::kernels::optimizer::{NESTEROV, Rule};
    use crate::net::{MAX_BATCH, Network};
    use crate::train::OptimizerSettings;

    fn settings(how: &str, optimizer: &str) -> Settings {
        let exact = (how == "exact").then_some(true);
        let optimizer = Some(optimizer.parse().expect("an optimizer"));
        let given = Recipe { optimizer, convnetjs_exact: exact, ..Recipe::default() };
        Settings::resolve(Network::preset("convnetjs-mnist").expect("a preset"), &given).expect("valid")
    }

    fn refusal(settings: &Settings, change: &Change) -> String {
        settings.changed(change).expect_err("senseless").to_string()
    }

    #[test]
    fn a_change_changes_what_it_names_and_nothing_else() {
        let before = settings("", "nesterov");
        let of = |change: Change| before.changed(&change).expect("it can be");
        let optimizer = |rate, momentum| OptimizerSettings::of(Rule::new(&NESTEROV).with("momentum", momentum), rate);
        assert_eq!(of(Change::Set(LearningRate, 0.0)), Settings { optimizer: optimizer(0.0, 0.9), ..before.clone() });
        assert_eq!(of(Change::Set(LearningRate, 0.5)), Settings { optimizer: optimizer(0.5, 0.9), ..before.clone() });
        assert_eq!(of(Change::Set(Momentum, 0.25)), Settings { optimizer: optimizer(0.01, 0.25), ..before.clone() });
        assert_eq!(of(Change::Set(BatchSize, 7.0)), Settings { batch_size: 7, ..before.clone() });
        assert_eq!(of(Change::Set(L1Decay, 0.25)), Settings { l1_decay: 0.25, ..before.clone() });
        assert_eq!(of(Change::Set(L2Decay, 0.0)), Settings { l2_decay: 0.0, ..before.clone() });
        // The change after a rate of 0 is checked separately.
        let frozen = of(Change::Set(LearningRate, 0.0));
        assert_eq!(frozen.changed(&Change::Set(BatchSize, 3.0)).expect("it can be").batch_size, 3);
    }

    #[test]
    fn senseless_changes_are_refused_in_words_of_a_page() {
        let plain = settings("", "sgd");
        for (rate, shown) in [(-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (1e39, "1e39"), (1e-39, "1e-39")]
        {
            let expected = format!("learning rate must be 0 or a number from 1.2e-38 to 3.4e38, got {shown}");
            assert_eq!(refusal(&plain, &Change::Set(LearningRate, rate)), expected);
        }
        let refused = refusal(&plain, &Change::Set(Momentum, 0.5));
        assert_eq!(
            refused,
            "momentum has no effect on the optimizer sgd; use optimizer momentum or nesterov, or leave it out"
        );
        let nesterov = settings("", "nesterov");
        for momentum in [-0.1, 1.0, f64::NAN] {
            assert!(
                refusal(&nesterov, &Change::Set(Momentum, momentum)).contains("must be a number from 0 to 0.9999999")
            );
        }
        for size in [0.0, 1.5, MAX_BATCH as f64 + 1.0, f64::NAN] {
            let expected = "batch size must be a whole number from 1 to 65535, got ";
            assert!(refusal(&plain, &Change::Set(BatchSize, size)).starts_with(expected));
        }
        for decay in [-0.1, f64::NAN, 1e39] {
            assert!(refusal(&plain, &Change::Set(L1Decay, decay)).contains("l1 decay must be"));
            assert!(refusal(&plain, &Change::Set(L2Decay, decay)).contains("l2 decay must be"));
        }
        let exact = settings("exact", "adadelta");
        assert!(refusal(&exact, &Change::Set(LearningRate, 0.5)).contains("must be 1 for ConvNetJS's adadelta"));
        assert!(exact.changed(&Change::Set(LearningRate, 1.0)).is_ok());
        assert!(settings("exact", "sgd").changed(&Change::Set(LearningRate, 0.5)).is_ok());
    }

    #[test]
    fn a_batch_of_one_value_is_refused_where_it_would_be_normalised() {
        let toml = r#"
            layers = [
                { type = "input", height = 4, width = 4, channels = 1 },
                { type = "fc", outputs = 6 },
                { type = "batch-norm" },
                { type = "fc", outputs = 3 },
                { type = "softmax" },
            ]
        "#;
        let network = Network::from_toml(toml, "test").expect("valid");
        let settings = Settings::resolve(network, &Recipe::default()).expect("valid");
        assert!(refusal(&settings, &Change::Set(BatchSize, 1.0)).contains("at least 2 for layer norm1"));
        assert!(settings.changed(&Change::Set(BatchSize, 2.0)).is_ok());
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let settings = settings("", "sgd");
        let own = settings.network.initial_parameters(5);
        let message = |edit: &dyn Fn(&mut Vec<Parameters>)| {
            let mut parameters = own.clone();
            edit(&mut parameters);
            refusal(&settings, &Change::Weights { parameters, source: "there".into() })
        };
        assert!(message(&|p| p.truncate(1)).contains("1 layers have weights there, but 3 here"));
        assert!(message(&|p| p[0].layer = "other".into()).contains("named other there, but conv1 here"));
        assert!(message(&|p| p[1].bias.truncate(3)).contains("layer conv2 has 3 biases there, but 16 here"));
        assert!(message(&|p| p[2].running_mean.push(0.0)).contains("layer fc1 has 1 running means there, but 0 here"));
        assert!(message(&|p| p[2].weight[9] = f32::NAN).contains("the weights of layer fc1 are not all finite"));
        assert!(settings.changed(&Change::Weights { parameters: own.clone(), source: "there".into() }).is_ok());
    }

    #[test]
    fn a_row_tells_of_the_change_it_was_made_of() {
        let before = settings("", "nesterov");
        let changes = [
            Change::Set(LearningRate, 0.1 + 0.2),
            Change::Set(Momentum, 0.3),
            Change::Set(BatchSize, 33.0),
            Change::Set(L1Decay, 1e-7),
            Change::Set(L2Decay, 1.0 / 3.0),
        ];
        for change in changes {
            let after = before.changed(&change).expect("it can be");
            let row = change.row(4, 1.5, &before, &after);
            let text = serde_json::to_string(&row).expect("plain data");
            let read: ChangeRow = serde_json::from_str(&text).expect("its own words");
            assert_eq!((&read, read.change().expect("a change")), (&row, change));
        }
        let odd = ChangeRow { what: "batch_size".into(), to: json!("many"), ..ChangeRow::default() };
        assert!(odd.change().is_err_and(|error| error.to_string().contains("batch_size to \"many\" is not a change")));
    }
}
