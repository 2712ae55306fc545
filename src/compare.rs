//! Side-by-side trainings: networks × optimizers × seeds on the same data, each with its curves and its test.
//!
//! One run follows another, so that each has the device to itself. With the same seed, all runs see the same examples
//! in the same order, and contestants with the same network begin with the same weights. A run whose loss is no longer
//! finite is a finding; the others continue.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::crops;
use crate::exec::Device;
use crate::net::{Network, OptimizerName, Recipe, Shape};
use crate::train::{self, Course, EpochRow, Event, Observer, OptimizerSettings, Schedule, Settings, StepRow};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The most contestants that a picture can distinguish.
pub const MOST_CONTESTANTS: usize = 12;
/// The most runs: contestants times seeds.
pub const MOST_RUNS: usize = 48;
/// The default number of points of a curve.
const POINTS: u64 = 100;

/// An optimizer with an optional learning rate: `adam`, `sgd:0.1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerChoice {
    pub name: OptimizerName,
    pub learning_rate: Option<f64>,
}

impl FromStr for OptimizerChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<OptimizerChoice> {
        let (name, rate) = text.split_once(':').map_or((text, None), |(name, rate)| (name, Some(rate)));
        let learning_rate = rate.map(|rate| {
            let (rate, text) = (rate.trim(), crate::text::cut(text));
            let shown = crate::text::cut(rate);
            let refuse =
                |_| Error::Settings(format!("`{shown}` in `{text}` is not a learning rate; write it as in sgd:0.1"));
            rate.parse().map_err(refuse)
        });
        Ok(OptimizerChoice { name: name.parse()?, learning_rate: learning_rate.transpose()? })
    }
}

impl fmt::Display for OptimizerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match self.learning_rate {
            Some(rate) if (1e-6..1e6).contains(&rate.abs()) => write!(f, ":{rate}"),
            Some(rate) => write!(f, ":{rate:e}"),
            None => Ok(()),
        }
    }
}

/// The contestants: all combinations of these lists.
#[derive(Debug, Clone)]
pub struct Field {
    /// At least one, with different names.
    pub networks: Vec<Network>,
    /// Empty for each network's own.
    pub optimizers: Vec<OptimizerChoice>,
    /// At least one.
    pub seeds: Vec<u64>,
    /// Settings for all contestants. Optimizer and seed are ignored here, and a learning rate is only allowed if all
    /// have the same optimizer. Rows of statistics are the points of the curves, by default a hundredth of the run
    /// apart.
    pub given: Recipe,
}

/// All runs on one data set.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub version: String,
    pub device: String,
    pub dataset: String,
    pub train_examples: usize,
    pub validation_examples: usize,
    pub test_examples: usize,
    pub seeds: Vec<u64>,
    pub contestants: Vec<Contestant>,
}

/// One way to train one network.
#[derive(Debug, Clone, Serialize)]
pub struct Contestant {
    /// The name that distinguishes it from the others, such as `adam` or `fast-mnist sgd:0.1`.
    pub name: String,
    pub network: String,
    pub parameters: usize,
    pub optimizer: OptimizerSettings,
    pub schedule: Schedule,
    /// The other settings: `batch_size`, `l2_decay` and so on.
    #[serde(flatten)]
    pub training: toml::Table,
    /// The number of updates in a complete run.
    pub steps: u64,
    /// Steps between two points.
    pub every: u64,
    /// The network's TOML, including how it is trained.
    pub description: String,
    /// In the order of the seeds; fewer if the comparison was stopped.
    pub runs: Vec<RunResult>,
    /// Results over the completed runs, if there are at least two.
    pub over_seeds: Option<OverSeeds>,
    #[serde(skip)]
    pub settings: Settings,
}

/// One seed of a contestant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunResult {
    pub seed: u64,
    /// The number of updates; if the run diverged, up to its last point.
    pub steps: u64,
    pub examples_seen: u64,
    /// The training loss of the last point.
    pub train_loss: Option<f64>,
    /// Accuracy over the whole held-out tenth, at the end.
    pub validation_accuracy: Option<f64>,
    pub validation_loss: Option<f64>,
    /// `None` if the run diverged.
    pub test_accuracy: Option<f64>,
    pub test_loss: Option<f64>,
    /// The time in the training loop, as in `summary.json`.
    pub train_seconds: f64,
    pub images_per_second: Option<f64>,
    /// Where and how the loss or the weights ceased to be finite.
    pub diverged: Option<String>,
    pub points: Vec<Point>,
    pub epochs: Vec<EpochRow>,
}

/// One point of the curves, after `step` updates: the sliding windows of [`StepRow`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub step: u64,
    pub examples_seen: u64,
    /// Mean loss over the last 1,000 training examples.
    pub train_loss: f64,
    pub train_accuracy: f64,
    /// The loss over the last 2,000 validation examples; each point evaluates 200.
    pub validation_loss: Option<f64>,
    pub validation_accuracy: Option<f64>,
    pub train_seconds: f64,
}

/// Means and standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverSeeds {
    pub runs: usize,
    pub train_loss: Moments,
    pub validation_accuracy: Moments,
    pub test_accuracy: Moments,
    pub test_loss: Moments,
}

/// The mean and the sample standard deviation, with n − 1 in the denominator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moments {
    pub mean: f64,
    pub standard_deviation: f64,
}

impl Moments {
    /// `None` for fewer than two values.
    pub fn of(values: &[f64]) -> Option<Moments> {
        if values.len() < 2 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Moments { mean, standard_deviation: (squares / (values.len() - 1) as f64).sqrt() })
    }
}

impl Field {
    /// Refuses duplicates and too many entries.
    fn check(&self) -> Result<()> {
        let twice = |what: &str, names: Vec<String>| {
            let repeated = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
            let refuse = |(_, name)| Err(Error::Settings(format!("the {what} {name} is given twice; give it once")));
            repeated.map_or(Ok(()), refuse)
        };
        twice("network", self.networks.iter().map(|network| network.name.clone()).collect())?;
        twice("optimizer", self.optimizers.iter().map(|optimizer| optimizer.to_string()).collect())?;
        twice("seed", self.seeds.iter().map(|seed| seed.to_string()).collect())?;
        let contestants = self.networks.len() * self.optimizers.len().max(1);
        let runs = contestants * self.seeds.len();
        for (what, count, most) in [("contestants", contestants, MOST_CONTESTANTS), ("runs", runs, MOST_RUNS)] {
            if count > most {
                return Err(Error::Settings(format!(
                    "{count} {what} exceed the limit of {most}; compare fewer at a time"
                )));
            }
        }
        Ok(())
    }

    /// Every contestant's resolved settings.
    ///
    /// # Errors
    /// [`Error::Settings`] for duplicates, for more than [`MOST_CONTESTANTS`] or [`MOST_RUNS`], and for one learning
    /// rate with different optimizers; those of [`Settings::resolve`].
    pub fn settings(&self) -> Result<Vec<(String, Settings)>> {
        self.check()?;
        if let Some(choice) = self.optimizers.iter().find(|choice| choice.learning_rate.is_some())
            && self.given.learning_rate.is_some()
        {
            return Err(Error::Settings(format!(
                "{choice} has its own learning rate, so a learning rate for all has no effect on it; leave one of the two out"
            )));
        }
        let choices = || self.optimizers.iter().map(Some).chain(self.optimizers.is_empty().then_some(None));
        let mut resolved: Vec<(String, Settings)> = Vec::new();
        for network in &self.networks {
            for choice in choices() {
                let given = Recipe {
                    optimizer: choice.map(|choice| choice.name),
                    learning_rate: choice.and_then(|choice| choice.learning_rate).or(self.given.learning_rate),
                    ..self.given.clone()
                };
                let settings = Settings::resolve(network.clone(), &given)?;
                let optimizer = choice.map_or(settings.optimizer.name().to_string(), OptimizerChoice::to_string);
                let name = match (self.networks.len(), choice) {
                    (1, _) => optimizer,
                    (_, None) => network.name.clone(),
                    (_, Some(_)) => format!("{} {optimizer}", network.name),
                };
                // For example sgd and sgd:0.01, which is its default rate.
                if let Some((twin, _)) = resolved.iter().find(|(_, other)| *other == settings) {
                    return Err(Error::Settings(format!(
                        "{twin} and {name} are the same training; leave one of them out"
                    )));
                }
                resolved.push((name, settings));
            }
        }
        let kinds = resolved.iter().map(|(_, settings)| settings.optimizer.kind());
        if self.given.learning_rate.is_some()
            && let Some(other) = kinds.clone().find(|kind| *kind != resolved[0].1.optimizer.kind())
        {
            return Err(Error::Settings(format!(
                "one learning rate cannot serve both {} and {other}; give each of the optimizers its own, as in sgd:0.1,adam:0.001",
                resolved[0].1.optimizer.kind()
            )));
        }
        Ok(resolved)
    }
}

impl Comparison {
    /// The comparison without its runs.
    ///
    /// # Errors
    /// Those of [`Field::settings`]; [`Error::Network`] or [`Error::Data`] if the data does not fit a network.
    pub fn new(field: &Field, dataset: &Dataset, device: &Device) -> Result<Comparison> {
        let parts = dataset.split();
        let [height, width, channels] = dataset.train.shape;
        let contestant = |(name, mut settings): (String, Settings)| {
            settings.network.check_fits(Shape::new(height, width, channels), dataset.train.classes)?;
            train::check_split(&parts, dataset, &settings.network)?;
            crops(&settings.network, [height, width], settings.test_crops)?;
            let steps = Course::new(parts.train.clone(), &settings).end();
            settings.stats_every = field.given.stats_every.unwrap_or(steps / POINTS).max(1);
            Ok(Contestant {
                name,
                network: settings.network.name.clone(),
                parameters: settings.network.parameter_count(),
                optimizer: settings.optimizer,
                schedule: settings.schedule,
                training: settings.training(),
                steps,
                every: settings.stats_every,
                description: settings.network.to_toml(),
                runs: Vec::new(),
                over_seeds: None,
                settings,
            })
        };
        Ok(Comparison {
            version: env!("CARGO_PKG_VERSION").into(),
            device: device.info().to_string(),
            dataset: dataset.name.to_string(),
            train_examples: parts.train.len(),
            validation_examples: parts.validation.len(),
            test_examples: dataset.test.len(),
            seeds: field.seeds.clone(),
            contestants: field.settings()?.into_iter().map(contestant).collect::<Result<_>>()?,
        })
    }

    /// The number of runs in the complete comparison.
    pub fn total(&self) -> usize {
        self.contestants.len() * self.seeds.len()
    }

    /// The runs so far.
    pub fn runs(&self) -> impl Iterator<Item = (&Contestant, &RunResult)> {
        self.contestants.iter().flat_map(|contestant| contestant.runs.iter().map(move |run| (contestant, run)))
    }

    /// Trains all runs: every contestant with the first seed, then with the next. `begin` makes each run's observer
    /// from its name.
    ///
    /// # Errors
    /// Those of [`train::train`], except for a run that diverges, which is not an error. Earlier runs are kept.
    pub async fn train<O: Observer>(
        &mut self,
        device: &Device,
        dataset: &Dataset,
        mut begin: impl FnMut(&str) -> O,
    ) -> Result<()> {
        for seed in self.seeds.clone() {
            for contestant in &mut self.contestants {
                let settings = Settings { seed, ..contestant.settings.clone() };
                let mut observer = begin(&format!("{}, seed {seed}", contestant.name));
                contestant.runs.push(run(device, dataset, &settings, &mut observer).await?);
                contestant.over_seeds = OverSeeds::of(&contestant.runs);
            }
        }
        Ok(())
    }
}

impl OverSeeds {
    fn of(runs: &[RunResult]) -> Option<OverSeeds> {
        let ended: Vec<&RunResult> = runs.iter().filter(|run| run.diverged.is_none()).collect();
        let moments = |value: fn(&RunResult) -> Option<f64>| {
            Moments::of(&ended.iter().filter_map(|run| value(run)).collect::<Vec<f64>>())
        };
        Some(OverSeeds {
            runs: ended.len(),
            train_loss: moments(|run| run.train_loss)?,
            validation_accuracy: moments(|run| run.validation_accuracy)?,
            test_accuracy: moments(|run| run.test_accuracy)?,
            test_loss: moments(|run| run.test_loss)?,
        })
    }
}

/// Keeps a run's rows and passes on all events.
struct Recorder<'a> {
    points: Vec<Point>,
    epochs: Vec<EpochRow>,
    trained: bool,
    observer: &'a mut dyn Observer,
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Step(row) => self.points.push(Point::of(row)),
            Event::Epoch(row, _) => self.epochs.push((*row).clone()),
            Event::Trained { .. } => self.trained = true,
            _ => {}
        }
        self.observer.event(event)
    }

    fn should_stop(&self) -> bool {
        self.observer.should_stop()
    }
}

impl Point {
    fn of(row: &StepRow) -> Point {
        Point {
            step: row.step,
            examples_seen: row.examples_seen,
            train_loss: row.classification_loss,
            train_accuracy: row.training_accuracy,
            // Validation may overflow one step before training does.
            validation_loss: row.validation_loss.filter(|loss| loss.is_finite()),
            validation_accuracy: row.validation_accuracy,
            train_seconds: row.train_seconds,
        }
    }
}

async fn run(
    device: &Device,
    dataset: &Dataset,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<RunResult> {
    let mut recorder = Recorder { points: Vec::new(), epochs: Vec::new(), trained: false, observer };
    let result = train::train(device, dataset, settings, None, &mut recorder).await;
    let Recorder { points, epochs, trained, .. } = recorder;
    let last = points.last();
    let mut run = RunResult {
        seed: settings.seed,
        steps: last.map_or(0, |point| point.step),
        examples_seen: last.map_or(0, |point| point.examples_seen),
        train_loss: last.map(|point| point.train_loss),
        validation_accuracy: None,
        validation_loss: None,
        test_accuracy: None,
        test_loss: None,
        train_seconds: last.map_or(0.0, |point| point.train_seconds),
        images_per_second: None,
        diverged: None,
        points,
        epochs,
    };
    match result {
        Ok(outcome) => {
            run.steps = outcome.state.step;
            run.examples_seen = outcome.examples_seen;
            run.validation_accuracy = Some(outcome.validation.validation_accuracy);
            run.validation_loss = Some(outcome.validation.validation_loss).filter(|loss| loss.is_finite());
            run.test_accuracy = Some(outcome.test.accuracy);
            run.test_loss = Some(outcome.test.loss);
            run.train_seconds = outcome.state.train_seconds;
            run.images_per_second = Some(outcome.images_per_second);
        }
        Err(error @ Error::NonFinite { .. }) => run.diverged = Some(error.to_string()),
        // The weights are finite but too large for the test.
        Err(Error::Model(message)) if trained => run.diverged = Some(message),
        Err(error) => return Err(error),
    }
    Ok(run)
}

/// Values by the number of examples seen, for every run with a point there.
pub fn curve(runs: &[&RunResult], value: impl Fn(&Point) -> Option<f64>) -> BTreeMap<u64, Vec<f64>> {
    let mut curve: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for point in runs.iter().flat_map(|run| &run.points) {
        if let Some(value) = value(point) {
            curve.entry(point.examples_seen).or_default().push(value);
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(optimizers: &[&str], seeds: &[u64]) -> Field {
        Field {
            networks: vec![Network::preset("convnetjs-mnist").expect("a preset")],
            optimizers: optimizers.iter().map(|text| text.parse().expect("an optimizer")).collect(),
            seeds: seeds.to_vec(),
            given: Recipe::default(),
        }
    }

    fn refusal(field: Field) -> String {
        field.settings().expect_err("it is refused").to_string()
    }

    #[test]
    fn an_optimizer_may_bring_its_learning_rate() {
        let settings = field(&["sgd:0.5", "adam"], &[1]).settings().expect("valid");
        let rates: Vec<(&str, f64)> = settings.iter().map(|(n, s)| (n.as_str(), s.optimizer.learning_rate())).collect();
        assert_eq!(rates, [("sgd:0.5", 0.5), ("adam", 0.001)]);
        assert!("sgd:fast".parse::<OptimizerChoice>().is_err_and(|error| error.to_string().contains("`fast`")));
    }

    #[test]
    fn without_optimizers_each_network_has_its_own() {
        let mut field = field(&[], &[1]);
        field.networks.push(Network::preset("fast-mnist").expect("a preset"));
        let names: Vec<String> = field.settings().expect("valid").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["convnetjs-mnist", "fast-mnist"]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert_eq!(refusal(field(&["sgd", "adam", "sgd"], &[1])), "the optimizer sgd is given twice; give it once");
        let same = refusal(field(&["adam", "sgd", "sgd:0.01"], &[1]));
        assert_eq!(same, "sgd and sgd:0.01 are the same training; leave one of them out");
        assert_eq!(refusal(field(&[], &[3, 3])), "the seed 3 is given twice; give it once");
        let rates: Vec<String> = (1..=13).map(|i| format!("sgd:{i}")).collect();
        assert!(
            refusal(field(&rates.iter().map(String::as_str).collect::<Vec<_>>(), &[1]))
                .contains("exceed the limit of 12")
        );
        assert!(refusal(field(&[], &(0..49).collect::<Vec<_>>())).contains("49 runs exceed the limit of 48"));
        let mut mixed = field(&["sgd", "adam"], &[1]);
        mixed.given.learning_rate = Some(0.1);
        assert!(refusal(mixed).contains("give each of the optimizers its own"));
        let mut twice = field(&["sgd:0.2", "adam:0.001"], &[1]);
        twice.given.learning_rate = Some(0.1);
        assert!(refusal(twice).contains("sgd:0.2 has its own learning rate"));
    }

    #[test]
    fn moments_are_those_of_a_sample() {
        let moments = Moments::of(&[1.0, 2.0, 3.0]).expect("three values");
        assert_eq!((moments.mean, moments.standard_deviation), (2.0, 1.0));
        assert_eq!(Moments::of(&[1.0]), None);
    }
}
