//! Everything that decides how a network is trained, resolved: a network's own recipe, overridden by flags.

use super::course::{Moment, Part};
use super::{Schedule, convnetjs};
use crate::error::{Error, Result};
use crate::evaluate::check_crops;
use crate::kernels::batch::Header;
use crate::kernels::optimizer::{Epsilon, Rule};
use crate::net::{Augmentation, Layer, Network, Node, Recipe, ScheduleName, TrainerName};
use crate::program::MAX_BATCH;
use serde::{Deserialize, Serialize};

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    Epochs(u64),
    Steps(u64),
}

/// Passes over the training set where neither the recipe nor the user says.
const DEFAULT_EPOCHS: u64 = 3;
const DEFAULT_BATCH: usize = 20;

/// An update rule with all its constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Trainer {
    Sgd { learning_rate: f64 },
    Momentum { learning_rate: f64, momentum: f64 },
    Nesterov { learning_rate: f64, momentum: f64 },
    Adagrad { learning_rate: f64, epsilon: f64 },
    Windowgrad { learning_rate: f64, rho: f64, epsilon: f64 },
    Adadelta { learning_rate: f64, rho: f64, epsilon: f64 },
    Adam { learning_rate: f64, beta1: f64, beta2: f64, epsilon: f64 },
    AdamW { learning_rate: f64, beta1: f64, beta2: f64, epsilon: f64 },
}

impl Trainer {
    fn new(name: TrainerName, recipe: &Recipe) -> Trainer {
        let or = |value: Option<f64>, default: f64| value.unwrap_or(default);
        // PyTorch's defaults, but for the rate of nesterov and momentum, which PyTorch leaves open.
        let rate = |default: f64| or(recipe.learning_rate, default);
        let momentum = or(recipe.momentum, 0.9);
        let epsilon = |default: f64| or(recipe.epsilon, default);
        let [beta1, beta2] = [or(recipe.beta1, 0.9), or(recipe.beta2, 0.999)];
        match name {
            TrainerName::Sgd => Trainer::Sgd { learning_rate: rate(0.01) },
            TrainerName::Momentum => Trainer::Momentum { learning_rate: rate(0.01), momentum },
            TrainerName::Nesterov => Trainer::Nesterov { learning_rate: rate(0.01), momentum },
            TrainerName::Adagrad => Trainer::Adagrad { learning_rate: rate(0.01), epsilon: epsilon(1e-10) },
            TrainerName::Windowgrad => {
                let rho = or(recipe.rho, 0.99);
                Trainer::Windowgrad { learning_rate: rate(0.01), rho, epsilon: epsilon(1e-8) }
            }
            TrainerName::Adadelta => {
                let rho = or(recipe.rho, 0.95);
                Trainer::Adadelta { learning_rate: rate(1.0), rho, epsilon: epsilon(1e-6) }
            }
            TrainerName::Adam => Trainer::Adam { learning_rate: rate(1e-3), beta1, beta2, epsilon: epsilon(1e-8) },
            TrainerName::AdamW => Trainer::AdamW { learning_rate: rate(1e-3), beta1, beta2, epsilon: epsilon(1e-8) },
        }
    }

    /// As descriptions and options name it.
    pub fn kind(&self) -> TrainerName {
        match self {
            Trainer::Sgd { .. } => TrainerName::Sgd,
            Trainer::Momentum { .. } => TrainerName::Momentum,
            Trainer::Nesterov { .. } => TrainerName::Nesterov,
            Trainer::Adagrad { .. } => TrainerName::Adagrad,
            Trainer::Windowgrad { .. } => TrainerName::Windowgrad,
            Trainer::Adadelta { .. } => TrainerName::Adadelta,
            Trainer::Adam { .. } => TrainerName::Adam,
            Trainer::AdamW { .. } => TrainerName::AdamW,
        }
    }

    pub fn name(&self) -> &'static str {
        TrainerName::ALL.iter().find(|(name, _)| *name == self.kind()).map_or("", |(_, text)| text)
    }

    pub fn learning_rate(&self) -> f64 {
        let mut own = *self;
        *own.learning_rate_mut()
    }

    pub(super) fn learning_rate_mut(&mut self) -> &mut f64 {
        match self {
            Trainer::Sgd { learning_rate }
            | Trainer::Momentum { learning_rate, .. }
            | Trainer::Nesterov { learning_rate, .. }
            | Trainer::Adagrad { learning_rate, .. }
            | Trainer::Windowgrad { learning_rate, .. }
            | Trainer::Adadelta { learning_rate, .. }
            | Trainer::Adam { learning_rate, .. }
            | Trainer::AdamW { learning_rate, .. } => learning_rate,
        }
    }

    /// Its constants beside the learning rate, by the names that descriptions and options use.
    pub fn constants(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Trainer::Sgd { .. } => Vec::new(),
            Trainer::Momentum { momentum, .. } | Trainer::Nesterov { momentum, .. } => vec![("momentum", momentum)],
            Trainer::Adagrad { epsilon, .. } => vec![("epsilon", epsilon)],
            Trainer::Windowgrad { rho, epsilon, .. } | Trainer::Adadelta { rho, epsilon, .. } => {
                vec![("rho", rho), ("epsilon", epsilon)]
            }
            Trainer::Adam { beta1, beta2, epsilon, .. } | Trainer::AdamW { beta1, beta2, epsilon, .. } => {
                vec![("beta1", beta1), ("beta2", beta2), ("epsilon", epsilon)]
            }
        }
    }

    /// Of momentum and nesterov.
    pub fn momentum(&self) -> Option<f64> {
        match *self {
            Trainer::Momentum { momentum, .. } | Trainer::Nesterov { momentum, .. } => Some(momentum),
            _ => None,
        }
    }

    /// The kernel's rule.
    pub fn rule(&self) -> Rule {
        match *self {
            Trainer::Sgd { .. } => Rule::Sgd,
            Trainer::Momentum { momentum, .. } => Rule::Momentum { momentum },
            Trainer::Nesterov { momentum, .. } => Rule::Nesterov { momentum },
            Trainer::Adagrad { epsilon, .. } => Rule::Adagrad { epsilon: Epsilon::Beside(epsilon) },
            Trainer::Windowgrad { rho, epsilon, .. } => Rule::Windowgrad { rho, epsilon: Epsilon::Beside(epsilon) },
            Trainer::Adadelta { rho, epsilon, .. } => Rule::Adadelta { rho, epsilon },
            Trainer::Adam { beta1, beta2, epsilon, .. } => Rule::Adam { beta1, beta2, epsilon },
            Trainer::AdamW { beta1, beta2, epsilon, .. } => Rule::AdamW { beta1, beta2, epsilon },
        }
    }

    /// Adam's 1 - beta^t for both moments at update `t`, counted from 1; 1 for the other trainers.
    pub fn corrections(&self, t: u64) -> [f64; 2] {
        match *self {
            Trainer::Adam { beta1, beta2, .. } | Trainer::AdamW { beta1, beta2, .. } => {
                [beta1, beta2].map(|beta| 1.0 - beta.powf(t as f64))
            }
            _ => [1.0, 1.0],
        }
    }
}

/// Everything that decides how a network is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub network: Network,
    pub trainer: Trainer,
    pub schedule: Schedule,
    pub batch_size: usize,
    pub length: Length,
    /// λ in λ·Σ|w|, over weights, not biases.
    pub l1_decay: f64,
    /// λ in λ/2·Σw².
    pub l2_decay: f64,
    /// The largest norm that an update leaves the gradient of all parameters.
    pub clip_norm: Option<f64>,
    /// Epochs without a lower validation loss after which the run ends before its length.
    pub patience: Option<u64>,
    /// The decay of the moving average of the weights, which validation, the test and the model then use.
    pub ema: Option<f64>,
    /// ConvNetJS's arithmetic, as in [`Recipe::convnetjs_exact`]; its decay is divided by the batch size.
    pub convnetjs_exact: bool,
    /// Crops of each test image that its scores are the mean of.
    pub test_crops: usize,
    pub seed: u64,
    /// Steps between two rows of statistics.
    pub stats_every: u64,
    /// Steps between two checkpoints; the end of an epoch is one too.
    pub checkpoint_every: u64,
}

/// What the user says over a network's recipe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub trainer: Option<TrainerName>,
    pub batch_size: Option<usize>,
    pub length: Option<Length>,
    pub learning_rate: Option<f64>,
    pub schedule: Option<ScheduleName>,
    pub warm_up: Option<f64>,
    pub momentum: Option<f64>,
    /// Of windowgrad and adadelta.
    pub rho: Option<f64>,
    /// Of the adaptive trainers.
    pub epsilon: Option<f64>,
    /// Of adam and adamw, as `beta2`.
    pub beta1: Option<f64>,
    pub beta2: Option<f64>,
    pub l1_decay: Option<f64>,
    pub l2_decay: Option<f64>,
    pub clip_norm: Option<f64>,
    pub patience: Option<u64>,
    pub ema: Option<f64>,
    pub convnetjs_exact: bool,
    /// Training examples as they are, but for crops, whatever the network's description says.
    pub no_augmentation: bool,
    pub test_crops: Option<usize>,
    pub seed: Option<u64>,
    pub stats_every: Option<u64>,
    pub checkpoint_every: Option<u64>,
}

impl Settings {
    /// The network's recipe, overridden. A recipe's constants belong to its own trainer: with another trainer its
    /// defaults hold.
    pub fn resolve(mut network: Network, overrides: &Overrides) -> Result<Settings> {
        let recipe = network.training.clone();
        let own = recipe.trainer.unwrap_or(TrainerName::Adadelta);
        let name = overrides.trainer.unwrap_or(own);
        let mut constants = if name == own { recipe.clone() } else { Recipe::default() };
        constants.learning_rate = overrides.learning_rate.or(constants.learning_rate);
        for (constant, own, given) in [
            ("momentum", &mut constants.momentum, overrides.momentum),
            ("rho", &mut constants.rho, overrides.rho),
            ("epsilon", &mut constants.epsilon, overrides.epsilon),
            ("beta1", &mut constants.beta1, overrides.beta1),
            ("beta2", &mut constants.beta2, overrides.beta2),
        ] {
            if given.is_some() && !name.constants().contains(&constant) {
                return Err(no_effect(constant, name));
            }
            *own = given.or(*own);
        }
        let convnetjs_exact = overrides.convnetjs_exact || recipe.convnetjs_exact;
        if convnetjs_exact {
            constants = convnetjs::constants(name, constants)?;
        }
        let trainer = Trainer::new(name, &constants);
        let schedule = overrides.schedule.or(recipe.schedule).unwrap_or(ScheduleName::Constant);
        // The recipe's shares belong to its own schedule.
        let own = recipe.schedule.is_none_or(|own| own == schedule);
        let shares = if own { recipe.clone() } else { Recipe::default() };
        let schedule = Schedule::new(schedule, &Recipe { warm_up: overrides.warm_up.or(shares.warm_up), ..shares });
        let epochs = recipe.epochs.map_or(DEFAULT_EPOCHS, |e| e as u64);
        let batch_size = overrides.batch_size.or(recipe.batch_size).unwrap_or(DEFAULT_BATCH);
        // A recipe of ours has decays that nobody divides by the batch size.
        let times = if convnetjs_exact && !recipe.convnetjs_exact { batch_size as f64 } else { 1.0 };
        let decay = |given: Option<f64>, own: Option<f64>| given.or(own.map(|own| own * times)).unwrap_or(0.0);
        let settings = Settings {
            trainer,
            schedule,
            batch_size,
            length: overrides.length.unwrap_or(Length::Epochs(epochs)),
            l1_decay: decay(overrides.l1_decay, recipe.l1_decay),
            l2_decay: decay(overrides.l2_decay, recipe.l2_decay),
            clip_norm: overrides.clip_norm.or(recipe.clip_norm),
            patience: overrides.patience.or(recipe.patience.map(|epochs| epochs as u64)),
            ema: overrides.ema.or(recipe.ema),
            convnetjs_exact,
            test_crops: overrides.test_crops.unwrap_or(1),
            seed: overrides.seed.unwrap_or(1),
            stats_every: overrides.stats_every.unwrap_or(100),
            checkpoint_every: overrides.checkpoint_every.unwrap_or(1000),
            network: {
                network.training = recorded(&recipe, name, &trainer);
                if overrides.no_augmentation {
                    network.augmentation = Augmentation::default();
                }
                network
            },
        };
        settings.check()?;
        Ok(settings.with_recorded_recipe())
    }

    fn with_recorded_recipe(mut self) -> Settings {
        let training = &mut self.network.training;
        self.schedule.record(training);
        training.batch_size = Some(self.batch_size);
        (training.l1_decay, training.l2_decay) = (Some(self.l1_decay), Some(self.l2_decay));
        training.clip_norm = self.clip_norm;
        training.patience = self.patience.map(|epochs| epochs as usize);
        training.ema = self.ema;
        training.convnetjs_exact = self.convnetjs_exact;
        self
    }

    /// Refuses what no training can use.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Settings(what));
        let rate = self.trainer.learning_rate();
        if !Settings::is_rate(rate) {
            return refuse(format!("--learning-rate {rate:?} is not a number above 1.2e-38 and below 3.4e38"));
        }
        if let Some(layer) = self.lonely_layer() {
            return refuse(format!(
                "--batch-size 1: layer {layer} would normalise each value by itself alone, so that nothing is left of it; take \
                 at least 2 examples"
            ));
        }
        for (name, value) in [("--l1-decay", self.l1_decay), ("--l2-decay", self.l2_decay)] {
            if !Settings::is_decay(value) {
                return refuse(format!("{name} {value:?} is not a number of at least 0 and below 3.4e38"));
            }
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && (norm as f32).is_normal() && norm > 0.0)
        {
            return refuse(format!("--clip-norm {norm:e} is not a number above 1.2e-38 and below 3.4e38"));
        }
        if let Some(decay) = self.ema
            && !((0.0..1.0).contains(&decay) && (decay as f32) < 1.0)
        {
            return refuse(format!("--ema {decay} is not at least 0 and below 1, by 1e-7 or more"));
        }
        self.schedule.check()?;
        if self.convnetjs_exact {
            convnetjs::check(&self.trainer, &self.schedule)?;
        }
        check_crops(self.test_crops)?;
        for (name, value) in self.trainer.constants() {
            let (legal, rule) = match name {
                "epsilon" => (Settings::is_rate(value), "a number above 1.2e-38 and below 3.4e38"),
                _ => (Settings::is_momentum(value), "at least 0 and below 1, by 1e-7 or more"),
            };
            if !legal {
                return refuse(format!("--{name} {value:?} is not {rule}"));
            }
        }
        if !(1..=MAX_BATCH).contains(&self.batch_size) {
            return refuse(format!("--batch-size {} is not within 1 to {MAX_BATCH}", self.batch_size));
        }
        for (name, value) in [
            ("--stats-every", self.stats_every),
            ("--checkpoint-every", self.checkpoint_every),
            ("--patience", self.patience.unwrap_or(1)),
            match self.length {
                Length::Epochs(epochs) => ("--epochs", epochs),
                Length::Steps(steps) => ("--steps", steps),
            },
        ] {
            if value == 0 {
                return refuse(format!("{name} must be at least 1"));
            }
        }
        Ok(())
    }

    /// A learning rate that moves weights: kernels compute in f32.
    pub(super) fn is_rate(rate: f64) -> bool {
        (rate as f32).is_normal() && rate > 0.0
    }

    pub(super) fn is_momentum(momentum: f64) -> bool {
        // 0.99999999 is 1 in f32.
        (0.0..1.0).contains(&momentum) && (momentum as f32) < 1.0
    }

    pub(super) fn is_decay(decay: f64) -> bool {
        (decay as f32).is_finite() && decay >= 0.0
    }

    /// The layer that would normalise over a single value, at this batch size.
    pub(super) fn lonely_layer(&self) -> Option<&str> {
        let alone = |node: &&Node| {
            matches!(node.layer, Layer::BatchNorm { .. }) && self.batch_size * node.input.height * node.input.width == 1
        };
        self.network.nodes.iter().find(alone).map(|node| node.name.as_str())
    }

    /// The kernel's rule.
    pub fn rule(&self) -> Rule {
        let rule = self.trainer.rule();
        if self.convnetjs_exact { rule.as_convnetjs() } else { rule }
    }

    /// The factors of L1 and L2 decay in an update, as the kernel takes them.
    pub fn decay(&self) -> [f32; 2] {
        let divisor = if self.convnetjs_exact { self.batch_size as f64 } else { 1.0 };
        [self.l1_decay, self.l2_decay].map(|decay| (decay / divisor) as f32)
    }

    /// The learning rate of a step that stands there in its run.
    pub(super) fn learning_rate(&self, Part { from, width, end }: Part) -> f64 {
        self.trainer.learning_rate() * self.schedule.factor_of(from, width, end)
    }

    /// The header of training step `step` (from 0), with `valid` examples, of a run that ends before step `end` and has
    /// had these settings all along.
    pub fn header(&self, step: u64, end: u64, valid: usize) -> Header {
        let (updates, progress) = (step + 1, Part { from: step, width: 1, end });
        self.header_at(&Moment { step, progress, updates, examples: updates * self.batch_size as u64 }, valid)
    }

    /// The header of a training step, wherever it stands.
    pub(super) fn header_at(&self, moment: &Moment, valid: usize) -> Header {
        let [correction1, correction2] = if self.convnetjs_exact {
            convnetjs::corrections(&self.trainer, moment.examples)
        } else {
            self.trainer.corrections(moment.updates)
        };
        Header {
            step: moment.step as u32,
            valid: valid as u32,
            // The device's draws have 32 bits of seed.
            seed: (self.seed ^ self.seed >> 32) as u32,
            training: true,
            place: None,
            learning_rate: self.learning_rate(moment.progress) as f32,
            correction1: correction1 as f32,
            correction2: correction2 as f32,
        }
    }
}

/// The refusal of a constant that the trainer `name` does not have.
fn no_effect(constant: &str, name: TrainerName) -> Error {
    let having = TrainerName::ALL.iter().filter(|(other, _)| other.constants().contains(&constant));
    let having: Vec<&str> = having.map(|(_, text)| *text).collect();
    let list = match having.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => having.concat(),
    };
    Error::Settings(format!("--{constant} has no effect on the trainer {name}: use --trainer {list}, or leave it out"))
}

/// The recipe that was really used, so that a model file tells how it was trained.
fn recorded(recipe: &Recipe, name: TrainerName, trainer: &Trainer) -> Recipe {
    let mut used = Recipe { epochs: recipe.epochs, trainer: Some(name), ..Recipe::default() };
    used.learning_rate = Some(trainer.learning_rate());
    for (name, value) in trainer.constants() {
        let constant = match name {
            "momentum" => &mut used.momentum,
            "rho" => &mut used.rho,
            "beta1" => &mut used.beta1,
            "beta2" => &mut used.beta2,
            _ => &mut used.epsilon,
        };
        *constant = Some(value);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(overrides: Overrides) -> Result<Settings> {
        Settings::resolve(Network::preset("convnetjs-mnist").expect("a preset"), &overrides)
    }

    #[test]
    fn the_default_preset_trains_as_convnetjs_does() {
        let settings = resolve(Overrides::default()).expect("the preset's own settings are valid");
        assert_eq!(settings.trainer, Trainer::Adadelta { learning_rate: 1.0, rho: 0.95, epsilon: 1e-6 });
        assert_eq!((settings.batch_size, settings.l2_decay, settings.l1_decay), (20, 5e-5, 0.0));
    }

    #[test]
    fn another_trainer_takes_its_own_constants_and_keeps_the_rest() {
        let settings = resolve(Overrides { trainer: Some(TrainerName::Adam), ..Overrides::default() });
        let settings = settings.expect("valid");
        assert_eq!(settings.trainer, Trainer::Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
        assert_eq!(settings.l2_decay, 5e-5);
        assert_eq!(settings.network.training.trainer, Some(TrainerName::Adam));
    }

    #[test]
    fn senseless_numbers_are_refused_by_name() {
        let message = |overrides| resolve(overrides).expect_err("senseless").to_string();
        let base = Overrides::default();
        assert!(message(Overrides { learning_rate: Some(f64::NAN), ..base.clone() }).contains("--learning-rate"));
        for rate in [0.0, -1.0, 1e39, 1e-39, f64::INFINITY] {
            let refused = message(Overrides { learning_rate: Some(rate), ..base.clone() });
            assert!(refused.contains(&format!("--learning-rate {rate:?} is not a number above 1.2e-38")), "{refused}");
        }
        assert!(message(Overrides { l1_decay: Some(1e39), ..base.clone() }).contains("--l1-decay 1e39"));
        assert!(message(Overrides { l2_decay: Some(-1.0), ..base.clone() }).contains("--l2-decay"));
        assert!(message(Overrides { batch_size: Some(0), ..base.clone() }).contains("--batch-size"));
        assert!(message(Overrides { length: Some(Length::Steps(0)), ..base.clone() }).contains("--steps"));
        assert!(
            message(Overrides { test_crops: Some(0), ..base.clone() }).contains("--test-crops 0 is not within 1 to")
        );
        for norm in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60, 1e39] {
            assert!(message(Overrides { clip_norm: Some(norm), ..base.clone() }).contains("--clip-norm"));
        }
        for decay in [-0.1, 1.0, 0.999_999_99, f64::NAN] {
            assert!(message(Overrides { ema: Some(decay), ..base.clone() }).contains("--ema"));
        }
        for momentum in [-0.1, 1.0, 0.999_999_99, f64::NAN] {
            let refused = Overrides { trainer: Some(TrainerName::Momentum), momentum: Some(momentum), ..base.clone() };
            assert!(
                message(refused).contains(&format!("--momentum {momentum:?} is not at least 0 and below 1, by 1e-7"))
            );
            assert!(message(Overrides { rho: Some(momentum), ..base.clone() }).contains("--rho"));
        }
        for epsilon in [0.0, -1e-8, 1e-39, 1e39, f64::NAN, f64::INFINITY] {
            let refused = message(Overrides { epsilon: Some(epsilon), ..base.clone() });
            assert!(refused.contains(&format!("--epsilon {epsilon:?} is not a number above 1.2e-38")), "{refused}");
        }
    }

    #[test]
    fn a_constant_goes_to_the_trainers_that_have_it_and_others_refuse_it() {
        let given = |constant: &str, value| {
            let is = |name: &str| (name == constant).then_some(value);
            let [momentum, rho, epsilon] = ["momentum", "rho", "epsilon"].map(is);
            Overrides { momentum, rho, epsilon, beta1: is("beta1"), beta2: is("beta2"), ..Overrides::default() }
        };
        for (name, text) in TrainerName::ALL {
            for constant in ["momentum", "rho", "epsilon", "beta1", "beta2"] {
                let resolved = resolve(Overrides { trainer: Some(name), ..given(constant, 0.25) });
                let own = Trainer::new(name, &Recipe::default()).constants().iter().any(|(own, _)| *own == constant);
                assert_eq!(name.constants().contains(&constant), own, "{text} {constant}");
                match resolved {
                    Ok(settings) => {
                        assert!(settings.trainer.constants().contains(&(constant, 0.25)), "{text} {constant}");
                        // And a run folder's description brings it back.
                        let network = Network::from_toml(&settings.network.to_toml(), "recorded").expect("valid");
                        let again = Settings::resolve(network, &Overrides::default()).expect("valid");
                        assert_eq!(again.trainer, settings.trainer);
                    }
                    Err(refused) => {
                        assert!(!own, "{refused}");
                        let expected = format!("--{constant} has no effect on the trainer {text}: use --trainer ");
                        assert!(refused.to_string().contains(&expected), "{refused}");
                    }
                }
            }
        }
        let refused = resolve(given("beta1", 0.5)).expect_err("adadelta has none").to_string();
        assert!(refused.contains("use --trainer adam or adamw, or leave it out"), "{refused}");
    }

    #[test]
    fn augmentation_can_be_switched_off_and_the_network_then_says_so() {
        let mut network = Network::preset("convnetjs-mnist").expect("a preset");
        network.augmentation.rotation = 10.0;
        let kept = Settings::resolve(network.clone(), &Overrides::default()).expect("valid");
        assert_eq!(kept.network.augmentation, network.augmentation);
        let off = Overrides { no_augmentation: true, ..Overrides::default() };
        let settings = Settings::resolve(network, &off).expect("valid");
        assert!(settings.network.augmentation.is_none());
        assert!(!settings.network.to_toml().contains("[augmentation]"));
    }

    #[test]
    fn adams_corrections_count_updates_from_one() {
        let adam = Trainer::Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let [c1, c2] = adam.corrections(1);
        assert!((c1 - 0.1).abs() < 1e-7 && (c2 - 0.001).abs() < 1e-9);
        assert!((adam.corrections(2)[0] - 0.19).abs() < 1e-7);
    }
}
