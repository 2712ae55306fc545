//! What changes a run while it goes on: checked here, carried out between two steps by the loop, written down as rows, and
//! made again from these rows when the run is resumed.

use super::metrics::ChangeRow;
use super::settings::{Settings, Trainer};
use crate::error::{Error, Result};
use crate::net::Parameters;
use crate::program::MAX_BATCH;
use serde_json::{Value, json};

/// What changes a run while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The base rate, which the schedule multiplies; 0 freezes weights and biases, and the trainers momentum and nesterov
    /// then begin with a velocity of 0 again.
    LearningRate(f64),
    /// Of the trainers momentum and nesterov.
    Momentum(f64),
    /// Examples of one update; the epoch goes on at the same place of the same order.
    BatchSize(usize),
    /// λ in λ·Σ|w|.
    L1Decay(f64),
    /// λ in λ/2·Σw².
    L2Decay(f64),
    /// Weights of the same network, from elsewhere; the optimiser, and the moving average where one is kept, begin anew.
    Weights {
        parameters: Vec<Parameters>,
        /// Where they come from, for the row that tells of it.
        source: String,
    },
}

/// What an observer asks for between two steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Change(Change),
    /// Hand the weights out: an [`Event::Weights`](super::Event::Weights) follows.
    Weights,
    /// Hand the weights out, stop the clock, and call [`Observer::wait`](super::Observer::wait) before going on.
    Pause,
}

impl Change {
    /// As rows name it.
    pub fn what(&self) -> &'static str {
        match self {
            Change::LearningRate(_) => "learning_rate",
            Change::Momentum(_) => "momentum",
            Change::BatchSize(_) => "batch_size",
            Change::L1Decay(_) => "l1_decay",
            Change::L2Decay(_) => "l2_decay",
            Change::Weights { .. } => "weights",
        }
    }

    /// The row of this change, made after `step` updates.
    pub(super) fn row(&self, step: u64, train_seconds: f64, before: &Settings, after: &Settings) -> ChangeRow {
        let (from, to) = match self {
            Change::Weights { source, .. } => (Value::Null, json!({ "source": source })),
            _ => (self.value(before), self.value(after)),
        };
        ChangeRow { step, train_seconds, what: self.what().into(), from, to }
    }

    /// What the settings say about that which changes.
    fn value(&self, settings: &Settings) -> Value {
        match self {
            Change::LearningRate(_) => json!(settings.trainer.learning_rate()),
            Change::Momentum(_) => json!(settings.trainer.momentum()),
            Change::BatchSize(_) => json!(settings.batch_size),
            Change::L1Decay(_) => json!(settings.l1_decay),
            Change::L2Decay(_) => json!(settings.l2_decay),
            Change::Weights { .. } => Value::Null,
        }
    }

    /// Whether the program has to be lowered again.
    pub(super) fn rebuilds(&self) -> bool {
        matches!(self, Change::Momentum(_) | Change::BatchSize(_))
    }
}

impl ChangeRow {
    /// The change that the row tells of, but for weights, which are those of the checkpoint.
    pub(super) fn change(&self) -> Result<Change> {
        let real = self.to.as_f64();
        let change = match self.what.as_str() {
            "learning_rate" => real.map(Change::LearningRate),
            "momentum" => real.map(Change::Momentum),
            "batch_size" => self.to.as_u64().and_then(|size| usize::try_from(size).ok()).map(Change::BatchSize),
            "l1_decay" => real.map(Change::L1Decay),
            "l2_decay" => real.map(Change::L2Decay),
            _ => None,
        };
        change.ok_or_else(|| Error::Model(format!("{} to {} is no change of a run", self.what, self.to)))
    }
}

impl Settings {
    /// The settings after `change`. The network's own recipe stays what the run began with, and so do
    /// `config.toml` and the model's file.
    ///
    /// # Errors
    /// [`Error::Settings`] for a value that no training can use, or that this trainer does not have; [`Error::Model`] for
    /// weights of another network.
    pub fn changed(&self, change: &Change) -> Result<Settings> {
        let mut settings = self.clone();
        match change {
            Change::LearningRate(rate) => settings.change_rate(*rate)?,
            Change::Momentum(momentum) => settings.change_momentum(*momentum)?,
            Change::BatchSize(size) => settings.change_batch(*size)?,
            Change::L1Decay(decay) => settings.l1_decay = checked_decay("L1 decay", *decay)?,
            Change::L2Decay(decay) => settings.l2_decay = checked_decay("L2 decay", *decay)?,
            Change::Weights { parameters, source } => self.check_weights(parameters, source)?,
        }
        Ok(settings)
    }

    fn change_rate(&mut self, rate: f64) -> Result<()> {
        if rate != 0.0 && !Settings::is_rate(rate) {
            return refuse(format!(
                "learning rate {rate:?} is not a number of at least 0 and below 3.4e38, or it is so small that it is lost: \
                 give 0, which freezes the weights, or more than 1.2e-38"
            ));
        }
        if self.convnetjs_exact && matches!(self.trainer, Trainer::Adadelta { .. }) && rate != 1.0 {
            return refuse(
                "ConvNetJS's adadelta has no learning rate, and this run computes as ConvNetJS does: leave it at 1"
                    .into(),
            );
        }
        // A rate of -0 is 0.
        *self.trainer.learning_rate_mut() = if rate == 0.0 { 0.0 } else { rate };
        Ok(())
    }

    fn change_momentum(&mut self, to: f64) -> Result<()> {
        let name = self.trainer.name();
        let (Trainer::Momentum { momentum, .. } | Trainer::Nesterov { momentum, .. }) = &mut self.trainer else {
            return refuse(format!(
                "the trainer {name} has no momentum: only runs with the trainer momentum or nesterov can change it"
            ));
        };
        if !Settings::is_momentum(to) {
            return refuse(format!("momentum {to} is not at least 0 and below 1, by 1e-7 or more"));
        }
        *momentum = to;
        Ok(())
    }

    fn change_batch(&mut self, size: usize) -> Result<()> {
        if !(1..=MAX_BATCH).contains(&size) {
            return refuse(format!("batch size {size} is not within 1 to {MAX_BATCH}"));
        }
        self.batch_size = size;
        match self.lonely_layer() {
            Some(layer) => refuse(format!(
                "batch size 1: layer {layer} would normalise each value by itself alone, so that nothing is left of it; \
                 take at least 2 examples"
            )),
            None => Ok(()),
        }
    }

    /// Refuses weights that are not those of this network, as far as their numbers tell, and those that are not finite.
    fn check_weights(&self, parameters: &[Parameters], source: &str) -> Result<()> {
        let refuse = |why: String| {
            Err(Error::Model(format!("the weights of {source} cannot be taken: {why}; load those of the same network")))
        };
        let shapes = self.network.parameters();
        if shapes.len() != parameters.len() {
            let (there, here) = (parameters.len(), shapes.len());
            return refuse(format!("{there} layers have weights there, and {here} here"));
        }
        for (shape, values) in shapes.iter().zip(parameters) {
            let (here, there) = (&shape.layer, &values.layer);
            if here != there {
                return refuse(format!("a layer is named {there} there, and {here} here"));
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
                    return refuse(format!("layer {here} has {found} {what} there, and {wanted} here"));
                }
                if values.iter().any(|value| !value.is_finite()) {
                    return refuse(format!("the {what} of layer {here} are not all finite"));
                }
            }
        }
        Ok(())
    }
}

fn checked_decay(name: &str, decay: f64) -> Result<f64> {
    match Settings::is_decay(decay) {
        true => Ok(if decay == 0.0 { 0.0 } else { decay }),
        false => refuse(format!("{name} {decay:?} is not a number of at least 0 and below 3.4e38")),
    }
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::Settings(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Network;
    use crate::train::Overrides;

    fn settings(overrides: &str, trainer: &str) -> Settings {
        let mut overrides = Overrides { convnetjs_exact: overrides == "exact", ..Overrides::default() };
        overrides.trainer = Some(trainer.parse().expect("a trainer"));
        Settings::resolve(Network::preset("convnetjs-mnist").expect("a preset"), &overrides).expect("valid")
    }

    fn refusal(settings: &Settings, change: &Change) -> String {
        let message = settings.changed(change).expect_err("senseless").to_string();
        assert!(!message.contains("--"), "no flag means anything here: {message}");
        message
    }

    #[test]
    fn a_change_changes_what_it_names_and_nothing_else() {
        let before = settings("", "nesterov");
        let of = |change: Change| before.changed(&change).expect("it can be");
        let trainer = |learning_rate, momentum| Trainer::Nesterov { learning_rate, momentum };
        assert_eq!(of(Change::LearningRate(0.0)), Settings { trainer: trainer(0.0, 0.9), ..before.clone() });
        assert_eq!(of(Change::LearningRate(0.5)), Settings { trainer: trainer(0.5, 0.9), ..before.clone() });
        assert_eq!(of(Change::Momentum(0.25)), Settings { trainer: trainer(0.01, 0.25), ..before.clone() });
        assert_eq!(of(Change::BatchSize(7)), Settings { batch_size: 7, ..before.clone() });
        assert_eq!(of(Change::L1Decay(0.25)), Settings { l1_decay: 0.25, ..before.clone() });
        assert_eq!(of(Change::L2Decay(0.0)), Settings { l2_decay: 0.0, ..before.clone() });
        // What comes after a rate of 0 is checked by itself.
        let frozen = of(Change::LearningRate(0.0));
        assert_eq!(frozen.changed(&Change::BatchSize(3)).expect("it can be").batch_size, 3);
    }

    #[test]
    fn senseless_changes_are_refused_in_words_of_a_page() {
        let plain = settings("", "sgd");
        for rate in [-1.0, f64::NAN, f64::INFINITY, 1e39, 1e-39] {
            assert!(refusal(&plain, &Change::LearningRate(rate)).contains("is not a number of at least 0"));
        }
        assert!(refusal(&plain, &Change::Momentum(0.5)).contains("the trainer sgd has no momentum"));
        let nesterov = settings("", "nesterov");
        for momentum in [-0.1, 1.0, f64::NAN] {
            assert!(refusal(&nesterov, &Change::Momentum(momentum)).contains("is not at least 0 and below 1"));
        }
        for size in [0, MAX_BATCH + 1] {
            assert!(refusal(&plain, &Change::BatchSize(size)).contains("is not within 1 to"));
        }
        for decay in [-0.1, f64::NAN, 1e39] {
            assert!(refusal(&plain, &Change::L1Decay(decay)).contains("L1 decay"));
            assert!(refusal(&plain, &Change::L2Decay(decay)).contains("L2 decay"));
        }
        let exact = settings("exact", "adadelta");
        assert!(refusal(&exact, &Change::LearningRate(0.5)).contains("ConvNetJS's adadelta has no learning rate"));
        assert!(exact.changed(&Change::LearningRate(1.0)).is_ok());
        assert!(settings("exact", "sgd").changed(&Change::LearningRate(0.5)).is_ok());
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
        let settings = Settings::resolve(network, &Overrides::default()).expect("valid");
        assert!(refusal(&settings, &Change::BatchSize(1)).contains("would normalise each value by itself alone"));
        assert!(settings.changed(&Change::BatchSize(2)).is_ok());
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
        assert!(message(&|p| p.truncate(1)).contains("1 layers have weights there, and 3 here"));
        assert!(message(&|p| p[0].layer = "other".into()).contains("named other there, and conv1 here"));
        assert!(message(&|p| p[1].bias.truncate(3)).contains("layer conv2 has 3 biases there, and 16 here"));
        assert!(message(&|p| p[2].running_mean.push(0.0)).contains("layer fc1 has 1 running means there, and 0 here"));
        assert!(message(&|p| p[2].weight[9] = f32::NAN).contains("the weights of layer fc1 are not all finite"));
        assert!(settings.changed(&Change::Weights { parameters: own.clone(), source: "there".into() }).is_ok());
    }

    #[test]
    fn a_row_tells_of_the_change_it_was_made_of() {
        let before = settings("", "nesterov");
        let changes = [
            Change::LearningRate(0.1 + 0.2),
            Change::Momentum(0.3),
            Change::BatchSize(33),
            Change::L1Decay(1e-7),
            Change::L2Decay(1.0 / 3.0),
        ];
        for change in changes {
            let after = before.changed(&change).expect("it can be");
            let row = change.row(4, 1.5, &before, &after);
            let text = serde_json::to_string(&row).expect("plain data");
            let read: ChangeRow = serde_json::from_str(&text).expect("its own words");
            assert_eq!((&read, read.change().expect("a change")), (&row, change));
        }
        let odd = ChangeRow { what: "batch_size".into(), to: json!(-1), ..ChangeRow::default() };
        assert!(odd.change().is_err_and(|error| error.to_string().contains("batch_size to -1 is no change")));
    }
}
