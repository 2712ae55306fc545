//! What `--convnetjs-exact` changes in the settings: ConvNetJS's arithmetic where it differs from what is right, or from
//! PyTorch, by its `convnet_trainers.js`.
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
//! Nesterov is the same in other words: with its v, which is ours with the sign changed, w + momentum*v - (1 + momentum)*v'
//! is w - momentum*v' - lr*g.

use super::{Schedule, Trainer};
use crate::error::{Error, Result};
use crate::net::{Recipe, ScheduleName, TrainerName};

/// The constants of a trainer with ConvNetJS's defaults for those that nobody gave.
pub(super) fn constants(name: TrainerName, given: Recipe) -> Result<Recipe> {
    if name == TrainerName::AdamW {
        return Err(refused("ConvNetJS has no adamw: take another --trainer"));
    }
    let default = if name == TrainerName::Adadelta { 1.0 } else { 0.01 };
    Ok(Recipe {
        learning_rate: given.learning_rate.or(Some(default)),
        rho: given.rho.or(Some(0.95)),
        // That of the version on npm, 0.3.0, which learns much better with it; later ones have 1e-8 here too.
        epsilon: given.epsilon.or(Some(if name == TrainerName::Adadelta { 1e-6 } else { 1e-8 })),
        ..given
    })
}

/// Refuses what ConvNetJS's trainers would not heed.
pub(super) fn check(trainer: &Trainer, schedule: &Schedule) -> Result<()> {
    match trainer {
        Trainer::AdamW { .. } => Err(refused("ConvNetJS has no adamw: take another --trainer")),
        Trainer::Adadelta { learning_rate, .. } if *learning_rate != 1.0 => {
            Err(refused("ConvNetJS's adadelta has no learning rate: leave out --learning-rate"))
        }
        Trainer::Adadelta { .. } if schedule.name() != ScheduleName::Constant => Err(refused(
            "ConvNetJS's adadelta has no learning rate that a schedule could change: take --schedule constant",
        )),
        _ => Ok(()),
    }
}

/// What Adam's moments are divided by after `k` examples, so that they are multiplied by 1 - beta^k.
pub(super) fn corrections(trainer: &Trainer, k: u64) -> [f64; 2] {
    trainer.corrections(k).map(|correction| 1.0 / correction)
}

fn refused(why: &str) -> Error {
    Error::Settings(format!("--convnetjs-exact: {why}, or train without it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Network;
    use crate::train::{Overrides, Settings};

    fn resolve(preset: &str, overrides: Overrides) -> Result<Settings> {
        let overrides = Overrides { convnetjs_exact: true, ..overrides };
        Settings::resolve(Network::preset(preset).expect("a preset"), &overrides)
    }

    fn with(trainer: &str) -> Overrides {
        Overrides { trainer: Some(trainer.parse().expect("a trainer")), ..Overrides::default() }
    }

    #[test]
    fn the_presets_decay_is_that_of_convnetjss_page_and_divided_by_the_batch_size_again() {
        for (preset, page) in [("convnetjs-mnist", 0.001), ("convnetjs-cifar10", 0.0001)] {
            let settings = resolve(preset, Overrides::default()).expect("valid");
            assert!((settings.l2_decay - page).abs() < 1e-12, "{}", settings.l2_decay);
            let default = Settings::resolve(Network::preset(preset).expect("a preset"), &Overrides::default());
            assert_eq!(settings.decay(), default.expect("valid").decay());
        }
        let given = Overrides { l2_decay: Some(0.1), batch_size: Some(50), ..Overrides::default() };
        assert_eq!(resolve("convnetjs-mnist", given).expect("valid").decay(), [0.0, 0.002]);
    }

    #[test]
    fn what_was_recorded_resolves_to_itself() {
        let settings = resolve("convnetjs-mnist", with("adagrad")).expect("valid");
        let network = Network::from_toml(&settings.network.to_toml(), "recorded").expect("valid");
        assert!(network.training.convnetjs_exact);
        assert_eq!(Settings::resolve(network, &Overrides::default()).expect("valid"), settings);
    }

    #[test]
    fn constants_are_those_of_convnetjs_unless_given() {
        let trainer = |name| resolve("fast-mnist", with(name)).expect("valid").trainer;
        assert_eq!(trainer("windowgrad"), Trainer::Windowgrad { learning_rate: 0.01, rho: 0.95, epsilon: 1e-8 });
        assert_eq!(trainer("adagrad"), Trainer::Adagrad { learning_rate: 0.01, epsilon: 1e-8 });
        assert_eq!(trainer("momentum"), Trainer::Momentum { learning_rate: 0.01, momentum: 0.9 });
        let given = Overrides { learning_rate: Some(0.5), ..with("adam") };
        assert_eq!(resolve("convnetjs-mnist", given).expect("valid").trainer.learning_rate(), 0.5);
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
        let message = |overrides| resolve("convnetjs-mnist", overrides).expect_err("refused").to_string();
        assert!(message(with("adamw")).contains("ConvNetJS has no adamw"));
        let rate = Overrides { learning_rate: Some(0.5), ..Overrides::default() };
        assert!(message(rate).contains("leave out --learning-rate"));
        let schedule = Overrides { schedule: Some(ScheduleName::Cosine), ..Overrides::default() };
        assert!(message(schedule).contains("--schedule constant"));
    }
}
