//! The changes of [`Recipe::convnetjs_exact`] to the settings: ConvNetJS's arithmetic, from its `convnet_trainers.js`,
//! where it is wrong or differs from PyTorch.
//!
//! | what | there | here, by default |
//! |---|---|---|
//! | decay | divided by the batch size | as it is |
//! | L1 decay of a weight that is 0 | that of a negative one | none |
//! | Adam | moments times 1 - beta^k, k counting examples | divided by it, counting updates |
//! | Adagrad, Windowgrad | epsilon in the root | beside it |
//! | Adadelta | no learning rate | one |
//! | dropout | training does not scale, evaluation multiplies by the rate | training divides by 1 - rate |
//!
//! Nesterov is the same in other words: with its v, which is ours with the sign changed, w + momentum*v - (1 +
//! momentum)*v' is w - momentum*v' - lr*g.

use super::{OptimizerSettings, Schedule};
use crate::error::{Error, Result};
use crate::kernels::optimizer::ADADELTA;
use crate::net::{OptimizerName, Recipe, ScheduleName};

/// The optimizers that ConvNetJS has; momentum is its sgd with one.
const THERE: [&str; 7] = ["sgd", "momentum", "nesterov", "adagrad", "windowgrad", "adadelta", "adam"];

/// The constants of an optimizer, with ConvNetJS's defaults for those that are not given.
pub(super) fn constants(name: OptimizerName, given: Recipe) -> Recipe {
    let default = if *name == ADADELTA { 1.0 } else { 0.01 };
    Recipe {
        learning_rate: given.learning_rate.or(Some(default)),
        rho: given.rho.or(Some(0.95)),
        // That of the version on npm, 0.3.0, which learns much better with it; later ones have 1e-8 here too.
        epsilon: given.epsilon.or(Some(if *name == ADADELTA { 1e-6 } else { 1e-8 })),
        ..given
    }
}

/// Refuses settings that ConvNetJS's optimizers would ignore.
pub(super) fn check(optimizer: &OptimizerSettings, schedule: &Schedule) -> Result<()> {
    let refuse = |name, value: &dyn ToString, rule: &str| {
        let rule = format!("{rule} where the run computes exactly as ConvNetJS does");
        Err(Error::Setting { name, value: value.to_string(), rule })
    };
    let (optimizer, rate) = (optimizer.kind(), optimizer.learning_rate());
    if !THERE.contains(&optimizer.name) {
        refuse("optimizer", &optimizer, "one that ConvNetJS has")
    } else if *optimizer == ADADELTA && rate != 1.0 {
        refuse("learning_rate", &rate, "1 for ConvNetJS's adadelta")
    } else if *optimizer == ADADELTA && schedule.name() != ScheduleName::Constant {
        refuse("schedule", &schedule.name(), "constant for ConvNetJS's adadelta")
    } else {
        Ok(())
    }
}

/// What Adam's moments are divided by after `k` examples, so that they are multiplied by 1 - beta^k.
pub(super) fn corrections(optimizer: &OptimizerSettings, k: u64) -> [f64; 2] {
    optimizer.corrections(k).map(|correction| 1.0 / correction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::optimizer::{ADAGRAD, MOMENTUM, Rule, WINDOWGRAD};
    use crate::net::Network;
    use crate::train::Settings;

    fn resolve(preset: &str, given: Recipe) -> Result<Settings> {
        let given = Recipe { convnetjs_exact: Some(true), ..given };
        Settings::resolve(Network::preset(preset).expect("a preset"), &given)
    }

    fn with(optimizer: &str) -> Recipe {
        Recipe { optimizer: Some(optimizer.parse().expect("an optimizer")), ..Recipe::default() }
    }

    #[test]
    fn the_presets_decay_is_that_of_convnetjss_page_and_divided_by_the_batch_size_again() {
        for (preset, page) in [("convnetjs-mnist", 0.001), ("convnetjs-cifar10", 0.0001)] {
            let settings = resolve(preset, Recipe::default()).expect("valid");
            assert!((settings.l2_decay - page).abs() < 1e-12, "{}", settings.l2_decay);
            let default = Settings::resolve(Network::preset(preset).expect("a preset"), &Recipe::default());
            assert_eq!(settings.decay(), default.expect("valid").decay());
        }
        let given = Recipe { l2_decay: Some(0.1), batch_size: Some(50), ..Recipe::default() };
        assert_eq!(resolve("convnetjs-mnist", given).expect("valid").decay(), [0.0, 0.002]);
    }

    #[test]
    fn what_was_recorded_resolves_to_itself() {
        let settings = resolve("convnetjs-mnist", with("adagrad")).expect("valid");
        let network = Network::from_toml(&settings.network.to_toml(), "recorded").expect("valid");
        assert!(network.training.is_exact());
        assert_eq!(Settings::resolve(network, &Recipe::default()).expect("valid"), settings);
    }

    #[test]
    fn constants_are_those_of_convnetjs_unless_given() {
        let optimizer = |name| resolve("fast-mnist", with(name)).expect("valid").optimizer;
        assert_eq!(optimizer("windowgrad"), OptimizerSettings::of(Rule::new(&WINDOWGRAD).with("rho", 0.95), 0.01));
        assert_eq!(optimizer("adagrad"), OptimizerSettings::of(Rule::new(&ADAGRAD).with("epsilon", 1e-8), 0.01));
        assert_eq!(optimizer("momentum"), OptimizerSettings::of(Rule::new(&MOMENTUM), 0.01));
        let given = Recipe { learning_rate: Some(0.5), ..with("adam") };
        assert_eq!(resolve("convnetjs-mnist", given).expect("valid").optimizer.learning_rate(), 0.5);
    }

    #[test]
    fn adam_multiplies_by_its_corrections_and_counts_examples() {
        let settings = resolve("convnetjs-mnist", with("adam")).expect("valid");
        let header = settings.header(1, 10, 20);
        let [multiplied1, multiplied2] = [header.correction1, header.correction2].map(|c| 1.0 / f64::from(c));
        assert!((multiplied1 - (1.0 - 0.9f64.powi(40))).abs() < 1e-6, "{multiplied1}");
        assert!((multiplied2 - (1.0 - 0.999f64.powi(40))).abs() < 1e-8, "{multiplied2}");
    }

    #[test]
    fn what_convnetjs_does_not_have_is_refused() {
        let message = |given| resolve("convnetjs-mnist", given).expect_err("refused").to_string();
        let exact = "where the run computes exactly as ConvNetJS does, got";
        assert_eq!(message(with("adamw")), format!("optimizer must be one that ConvNetJS has {exact} adamw"));
        let rate = Recipe { learning_rate: Some(0.5), ..Recipe::default() };
        assert_eq!(message(rate), format!("learning rate must be 1 for ConvNetJS's adadelta {exact} 0.5"));
        let schedule = Recipe { schedule: Some(ScheduleName::Cosine), ..Recipe::default() };
        assert_eq!(message(schedule), format!("schedule must be constant for ConvNetJS's adadelta {exact} cosine"));
    }
}
