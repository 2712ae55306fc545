//! The resolved training settings: given values take precedence over the network's own recipe.

use super::course::{Moment, Span};
use super::{Best, Schedule, State, convnetjs};
use crate::error::{Error, Result};
use crate::kernels::batch::Header;
use crate::kernels::optimizer::{ADADELTA, OPTIMIZERS, Rule};
use crate::net::{Augmentation, Layer, Network, Node, OF_OPTIMIZER, OF_SCHEDULE, OptimizerName, Recipe, ScheduleName};
use crate::program::{Choices, Options, Source};
use crate::text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    Epochs(u64),
    Steps(u64),
}

impl Length {
    /// The length that is given, if one is.
    pub fn of(given: &Recipe) -> Option<Length> {
        given.epochs.map(Length::Epochs).or(given.steps.map(Length::Steps))
    }

    /// The length as a recipe.
    pub fn given(self) -> Recipe {
        match self {
            Length::Epochs(epochs) => Recipe { epochs: Some(epochs), ..Recipe::default() },
            Length::Steps(steps) => Recipe { steps: Some(steps), ..Recipe::default() },
        }
    }
}

/// Passes over the training set if neither the recipe nor the user sets them.
const DEFAULT_EPOCHS: u64 = 3;
const DEFAULT_BATCH: usize = 20;

/// An update rule with all its constants, and the learning rate before the schedule's factor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "OptimizerTable", try_from = "OptimizerTable")]
pub struct OptimizerSettings {
    learning_rate: f64,
    rule: Rule,
}

/// An optimizer in a file.
#[derive(Serialize, Deserialize)]
struct OptimizerTable {
    name: String,
    learning_rate: f64,
    #[serde(flatten)]
    constants: BTreeMap<String, f64>,
}

impl From<OptimizerSettings> for OptimizerTable {
    fn from(OptimizerSettings { learning_rate, rule }: OptimizerSettings) -> OptimizerTable {
        let constants = rule.constants().map(|(name, value)| (name.to_string(), value)).collect();
        OptimizerTable { name: rule.optimizer.name.to_string(), learning_rate, constants }
    }
}

impl TryFrom<OptimizerTable> for OptimizerSettings {
    type Error = String;

    fn try_from(
        OptimizerTable { name, learning_rate, constants }: OptimizerTable,
    ) -> std::result::Result<OptimizerSettings, String> {
        let known = OPTIMIZERS.into_iter().find(|optimizer| optimizer.name == name);
        let optimizer = known.ok_or_else(|| {
            // As serde says it of an enum.
            let known: Vec<String> = OPTIMIZERS.iter().map(|optimizer| format!("`{optimizer}`")).collect();
            format!("unknown variant `{}`, expected one of {}", crate::text::cut(&name), known.join(", "))
        })?;
        let mut rule = Rule::new(optimizer);
        if let Some((missing, _)) = optimizer.constants.iter().find(|(own, _)| !constants.contains_key(*own)) {
            return Err(format!("missing field `{missing}` of {name}"));
        }
        match constants.into_iter().find(|(name, value)| !rule.set(name, *value)) {
            Some((other, _)) => Err(format!("unknown field `{}` of {name}", crate::text::cut(other))),
            None => Ok(OptimizerSettings { learning_rate, rule }),
        }
    }
}

impl OptimizerSettings {
    /// A rule at a learning rate.
    pub fn of(rule: Rule, learning_rate: f64) -> OptimizerSettings {
        OptimizerSettings { learning_rate, rule }
    }

    /// The optimizer of this name, with the recipe's constants where it has some.
    fn new(name: OptimizerName, recipe: &Recipe) -> OptimizerSettings {
        let mut rule = Rule::new(name);
        for (constant, value) in recipe.constants() {
            value.map(|value| rule.set(constant, value));
        }
        OptimizerSettings { learning_rate: recipe.learning_rate.unwrap_or(name.learning_rate), rule }
    }

    /// The optimizer, as descriptions and options name it.
    pub fn kind(&self) -> OptimizerName {
        self.rule.optimizer
    }

    pub fn name(&self) -> &'static str {
        self.rule.optimizer.name
    }

    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    pub(super) fn learning_rate_mut(&mut self) -> &mut f64 {
        &mut self.learning_rate
    }

    pub(super) fn rule_mut(&mut self) -> &mut Rule {
        &mut self.rule
    }

    /// Enters the optimizer into a recipe.
    fn record(&self, recipe: &mut Recipe) {
        (recipe.optimizer, recipe.learning_rate) = (Some(self.kind()), Some(self.learning_rate));
        for (name, value) in self.rule.constants() {
            *recipe.constant_mut(name) = Some(value);
        }
    }

    /// Of momentum and nesterov.
    pub fn momentum(&self) -> Option<f64> {
        self.rule.constant("momentum")
    }

    /// The kernel's rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// 1 - beta^t of both of Adam's moments at update `t`, counted from 1; 1 for the optimizers without.
    pub fn corrections(&self, t: u64) -> [f64; 2] {
        self.rule.corrections(t)
    }
}

/// Everything that determines how a network is trained. The network's own [`Recipe`] has every setting as resolved when
/// the run began; the other fields belong to the run, or can change during training.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub network: Network,
    pub optimizer: OptimizerSettings,
    pub schedule: Schedule,
    pub batch_size: usize,
    pub length: Length,
    /// λ in λ·Σ|w|, over weights, not biases.
    pub l1_decay: f64,
    /// λ in λ/2·Σw².
    pub l2_decay: f64,
    /// The number of crops of each test image that its scores are averaged over.
    pub test_crops: usize,
    pub seed: u64,
    /// Steps between two rows of statistics.
    pub stats_every: u64,
    /// Steps between two checkpoints; the end of an epoch adds one.
    pub checkpoint_every: u64,
    /// The variants of a GPU's operations. Validation uses them too, because it runs the training step's program.
    pub kernels: Choices,
}

impl Settings {
    /// Takes the kernels of a run's state unless there are others.
    pub(super) fn keep_kernels(&mut self, state: &State) {
        if self.kernels.is_empty() {
            self.kernels.clone_from(&state.kernels);
        }
    }

    /// Whether a run of `epochs` whole epochs ends here because its validation loss has not fallen for `patience` of
    /// them.
    pub fn stops_early(&self, epochs: u64, best: Option<Best>) -> bool {
        let waited = best.map(|best| epochs.saturating_sub(best.epoch));
        self.network.training.patience.zip(waited).is_some_and(|(patience, waited)| waited >= patience)
    }

    /// Puts what is `given` over the network's recipe, with defaults for the rest. A recipe's constants belong to its
    /// own optimizer and its own schedule; another one has its defaults.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::NoEffect`] for what no training can use.
    pub fn resolve(mut network: Network, given: &Recipe) -> Result<Settings> {
        let described = network.training.clone();
        let name = given.optimizer.or(described.optimizer).unwrap_or(&ADADELTA);
        let schedule = given.schedule.or(described.schedule).unwrap_or(ScheduleName::Constant);
        given.given().try_for_each(|(setting, _)| check_effect(setting, name, schedule))?;
        let own_optimizer = name == described.optimizer.unwrap_or(&ADADELTA);
        let own_schedule = described.schedule.is_none_or(|own| own == schedule);
        let kept = described.clone().only(|setting| {
            (own_optimizer || !OF_OPTIMIZER.contains(&setting)) && (own_schedule || !OF_SCHEDULE.contains(&setting))
        });
        let mut recipe = given.clone().or(kept);
        recipe.check()?;
        if recipe.is_exact() {
            recipe = convnetjs::constants(name, recipe);
        }
        let optimizer = OptimizerSettings::new(name, &recipe);
        let schedule = Schedule::new(schedule, &recipe);
        let batch_size = recipe.batch_size.unwrap_or(DEFAULT_BATCH);
        // Decays in Glassnet's recipes are not meant to be divided by the batch size.
        let times = if recipe.is_exact() && !described.is_exact() { batch_size as f64 } else { 1.0 };
        let decay = |given: Option<f64>, own: Option<f64>| given.or(own.map(|own| own * times)).unwrap_or(0.0);
        let [l1_decay, l2_decay] =
            [decay(given.l1_decay, described.l1_decay), decay(given.l2_decay, described.l2_decay)];
        let length = Length::of(given).or(Length::of(&described)).unwrap_or(Length::Epochs(DEFAULT_EPOCHS));
        if recipe.no_augmentation == Some(true) {
            network.augmentation = Augmentation::default();
        }
        // The values that are really used, so that a model file records how it was trained.
        let (l1, l2) = (Some(l1_decay), Some(l2_decay));
        let used = Recipe { batch_size: Some(batch_size), l1_decay: l1, l2_decay: l2, ..recipe.clone().described() };
        network.training = used.only(|setting| !Recipe::is_part(setting));
        network.training.epochs = described.epochs;
        optimizer.record(&mut network.training);
        schedule.record(&mut network.training);
        let settings = Settings {
            network,
            optimizer,
            schedule,
            batch_size,
            length,
            l1_decay,
            l2_decay,
            test_crops: recipe.test_crops.unwrap_or(1),
            seed: recipe.seed.unwrap_or(1),
            stats_every: recipe.stats_every.unwrap_or(100),
            checkpoint_every: recipe.checkpoint_every.unwrap_or(1000),
            kernels: Choices::default(),
        };
        settings.check()?;
        Ok(settings)
    }

    /// The settings that belong to the run and not to its network, as they would be given to another run.
    pub fn of_run(&self) -> Recipe {
        Recipe {
            test_crops: Some(self.test_crops),
            seed: Some(self.seed),
            stats_every: Some(self.stats_every),
            checkpoint_every: Some(self.checkpoint_every),
            ..self.length.given()
        }
    }

    /// Refuses what ConvNetJS cannot do if the run uses its arithmetic, and a batch in which a layer would normalise
    /// over a single value.
    pub(super) fn check(&self) -> Result<()> {
        if self.network.training.is_exact() {
            convnetjs::check(&self.optimizer, &self.schedule)?;
        }
        let alone = |node: &&Node| {
            matches!(node.layer, Layer::BatchNorm { .. }) && self.batch_size * node.input.height * node.input.width == 1
        };
        match self.network.nodes.iter().find(alone) {
            Some(Node { name, .. }) => Err(Error::Setting {
                name: "batch_size",
                value: self.batch_size.to_string(),
                rule: format!("at least 2 for layer {name}, which normalises each value over the batch"),
            }),
            None => Ok(()),
        }
    }

    /// The options for lowering a program for this training, on examples from `source`.
    pub fn options(&self, source: Source) -> Options {
        let Recipe { clip_norm, ema, .. } = self.network.training;
        let clip_norm = clip_norm.map(|norm| norm as f32);
        Options { clip_norm, ema, ..Options::training(self.batch_size, source, self.rule()) }
    }

    /// The kernel's rule.
    pub fn rule(&self) -> Rule {
        let rule = self.optimizer.rule();
        if self.network.training.is_exact() { rule.as_convnetjs() } else { rule }
    }

    /// The factors of L1 and L2 decay in an update, for the kernel.
    pub fn decay(&self) -> [f32; 2] {
        let divisor = if self.network.training.is_exact() { self.batch_size as f64 } else { 1.0 };
        [self.l1_decay, self.l2_decay].map(|decay| (decay / divisor) as f32)
    }

    /// The learning rate of a step at this position in its run.
    pub(super) fn learning_rate(&self, Span { from, width, end }: Span) -> f64 {
        self.optimizer.learning_rate() * self.schedule.factor_of(from, width, end)
    }

    /// The header of training step `step` (from 0), with `valid` examples, of a run that ends before step `end` and has
    /// always had these settings.
    pub fn header(&self, step: u64, end: u64, valid: usize) -> Header {
        let (updates, progress) = (step + 1, Span { from: step, width: 1, end });
        self.header_at(&Moment { step, progress, updates, examples: updates * self.batch_size as u64 }, valid)
    }

    /// The header of a training step at any position.
    pub(super) fn header_at(&self, moment: &Moment, valid: usize) -> Header {
        let [correction1, correction2] = if self.network.training.is_exact() {
            convnetjs::corrections(&self.optimizer, moment.examples)
        } else {
            self.optimizer.corrections(moment.updates)
        };
        Header {
            step: moment.step as u32,
            valid: valid as u32,
            // The device's draws have a seed of 32 bits.
            seed: (self.seed ^ self.seed >> 32) as u32,
            training: true,
            place: None,
            learning_rate: self.learning_rate(moment.progress) as f32,
            correction1: correction1 as f32,
            correction2: correction2 as f32,
            part: None,
        }
    }
}

/// Refuses the setting `name` where it is a constant of other optimizers or other schedules.
pub(super) fn check_effect(name: &'static str, optimizer: OptimizerName, schedule: ScheduleName) -> Result<()> {
    let optimizers = OPTIMIZERS.into_iter().filter(|optimizer| optimizer.has(name));
    let schedules = ScheduleName::ALL.iter().filter(|(other, _)| other.constants().contains(&name));
    let having: [Vec<&str>; 2] =
        [optimizers.map(|optimizer| optimizer.name).collect(), schedules.map(|(_, text)| *text).collect()];
    for ((of, chosen), having) in
        [("optimizer", optimizer.to_string()), ("schedule", schedule.to_string())].into_iter().zip(having)
    {
        if !having.is_empty() && !having.contains(&&chosen[..]) {
            let having = text::joined(&having, "or");
            return Err(Error::NoEffect { name, of, chosen, having });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::optimizer::{ADAM, MOMENTUM};

    fn resolve(given: Recipe) -> Result<Settings> {
        Settings::resolve(Network::preset("convnetjs-mnist").expect("a preset"), &given)
    }

    #[test]
    fn the_default_preset_trains_as_convnetjs_does() {
        let settings = resolve(Recipe::default()).expect("the preset's own settings are valid");
        assert_eq!(settings.optimizer, OptimizerSettings::of(Rule::new(&ADADELTA), 1.0));
        assert_eq!((settings.batch_size, settings.l2_decay, settings.l1_decay), (20, 5e-5, 0.0));
    }

    #[test]
    fn another_optimizer_takes_its_own_constants_and_keeps_the_rest() {
        let settings = resolve(Recipe { optimizer: Some(&ADAM), ..Recipe::default() });
        let settings = settings.expect("valid");
        assert_eq!(settings.optimizer, OptimizerSettings::of(Rule::new(&ADAM), 1e-3));
        assert_eq!(settings.l2_decay, 5e-5);
        assert_eq!(settings.network.training.optimizer, Some(&ADAM));
    }

    #[test]
    fn senseless_numbers_are_refused_by_name() {
        let refused = |given: Recipe, name: &str, value: &str| match resolve(given).expect_err("senseless") {
            Error::Setting { name: found, value: quoted, .. } => assert_eq!((found, &quoted[..]), (name, value)),
            other => panic!("{other}"),
        };
        let none = Recipe::default;
        for (rate, value) in [(0.0, "0"), (-1.0, "-1"), (1e39, "1e39"), (1e-39, "1e-39"), (f64::NAN, "NaN")] {
            refused(Recipe { learning_rate: Some(rate), ..none() }, "learning_rate", value);
            refused(Recipe { clip_norm: Some(rate), ..none() }, "clip_norm", value);
            refused(Recipe { epsilon: Some(rate), ..none() }, "epsilon", value);
        }
        for (part, value) in [(-0.1, "-0.1"), (1.0, "1"), (0.999_999_99, "0.99999999"), (f64::NAN, "NaN")] {
            refused(Recipe { ema: Some(part), ..none() }, "ema", value);
            refused(Recipe { rho: Some(part), ..none() }, "rho", value);
            let optimizer = Some(&MOMENTUM);
            refused(Recipe { optimizer, momentum: Some(part), ..none() }, "momentum", value);
        }
        refused(Recipe { l1_decay: Some(1e39), ..none() }, "l1_decay", "1e39");
        refused(Recipe { l2_decay: Some(-1.0), ..none() }, "l2_decay", "-1");
        refused(Recipe { warm_up: Some(1.5), ..none() }, "warm_up", "1.5");
        refused(Recipe { batch_size: Some(0), ..none() }, "batch_size", "0");
        refused(Recipe { steps: Some(0), ..none() }, "steps", "0");
        refused(Recipe { test_crops: Some(101), ..none() }, "test_crops", "101");
    }

    #[test]
    fn a_constant_goes_to_the_optimizers_that_have_it_and_others_refuse_it() {
        let given = |constant: &str, value| {
            let is = |name: &str| (name == constant).then_some(value);
            let [momentum, rho, epsilon] = ["momentum", "rho", "epsilon"].map(is);
            Recipe { momentum, rho, epsilon, beta1: is("beta1"), beta2: is("beta2"), ..Recipe::default() }
        };
        for name in OPTIMIZERS {
            let text = name.name;
            for constant in ["momentum", "rho", "epsilon", "beta1", "beta2"] {
                let resolved = resolve(Recipe { optimizer: Some(name), ..given(constant, 0.25) });
                let own = name.has(constant);
                match resolved {
                    Ok(settings) => {
                        assert!(settings.optimizer.rule().constant(constant) == Some(0.25), "{text} {constant}");
                        // And a run folder's description brings it back.
                        let network = Network::from_toml(&settings.network.to_toml(), "recorded").expect("valid");
                        let again = Settings::resolve(network, &Recipe::default()).expect("valid");
                        assert_eq!(again.optimizer, settings.optimizer);
                    }
                    Err(refused) => {
                        assert!(!own, "{refused}");
                        let expected = format!("{constant} has no effect on the optimizer {text}; use optimizer ");
                        assert!(refused.to_string().contains(&expected), "{refused}");
                    }
                }
            }
        }
        let refused = resolve(given("beta1", 0.5)).expect_err("adadelta has none").to_string();
        assert!(refused.contains("use optimizer adam"), "{refused}");
        let refused = resolve(Recipe { final_rate: Some(0.5), ..Recipe::default() }).expect_err("constant has none");
        let expected =
            "final rate has no effect on the schedule constant; use schedule cosine or one-cycle, or leave it out";
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn augmentation_can_be_switched_off_and_the_network_then_says_so() {
        let mut network = Network::preset("convnetjs-mnist").expect("a preset");
        network.augmentation.rotation = 10.0;
        let kept = Settings::resolve(network.clone(), &Recipe::default()).expect("valid");
        assert_eq!(kept.network.augmentation, network.augmentation);
        let off = Recipe { no_augmentation: Some(true), ..Recipe::default() };
        let settings = Settings::resolve(network, &off).expect("valid");
        assert!(settings.network.augmentation.is_none());
        assert!(!settings.network.to_toml().contains("[augmentation]"));
    }

    #[test]
    fn adams_corrections_count_updates_from_one() {
        let adam = OptimizerSettings::of(Rule::new(&ADAM), 1e-3);
        let [c1, c2] = adam.corrections(1);
        assert!((c1 - 0.1).abs() < 1e-7 && (c2 - 0.001).abs() < 1e-9);
        assert!((adam.corrections(2)[0] - 0.19).abs() < 1e-7);
    }
}
