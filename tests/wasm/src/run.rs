//! The code that runs in the browser, and natively for comparison.

use glassnet::Result;
use glassnet::data::{Dataset, DatasetName, Examples, Origin};
use glassnet::exec::{Device, check::run_case};
use glassnet::look::message::{Part, ShownMessage};
use glassnet::look::{Lens, Subject, Weights};
use glassnet::net::{Network, Recipe};
use glassnet::train::{Event, Observer, Settings};
use pollster::block_on;
use std::sync::Arc;

const NETWORK: &str = r#"name = "small"
layers = [
    { type = "input", height = 12, width = 12, channels = 1, crop = true },
    { type = "conv", filters = 4, kernel = 3, pad = 1, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "conv", filters = 8, kernel = 3 },
    { type = "batch-norm" },
    { type = "relu" },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

/// The number of cases, then a line for each that fails on the processor.
#[allow(dead_code)]
pub fn kernel_cases() -> String {
    let cases = glassnet::kernels::cases();
    let mut lines = vec![cases.len().to_string()];
    for case in &cases {
        match block_on(run_case(&Device::Cpu, case)) {
            Ok(outcomes) => {
                let failures = outcomes.into_iter().filter_map(|one| Some(format!("{}: {}", one.case, one.failure?)));
                lines.extend(failures);
            }
            Err(error) => lines.push(format!("{}: {error}", case.name)),
        }
    }
    lines.join("\n")
}

struct Nobody;

impl Observer for Nobody {
    fn event(&mut self, _: &Event<'_>) -> Result<()> {
        Ok(())
    }

    fn should_stop(&self) -> bool {
        false
    }
}

/// Bars whose direction and position determine the class.
fn examples(count: usize) -> Examples {
    let (mut pixels, labels) = (vec![0; count * 256], (0..count).map(|i| (i % 10) as _).collect());
    for (i, image) in pixels.chunks_exact_mut(256).enumerate() {
        let (class, noise) = (i % 10, i / 10 * 37);
        for (at, pixel) in image.iter_mut().enumerate() {
            let across = if class < 5 { at % 16 } else { at / 16 };
            let bar = across / 3 == class % 5;
            *pixel = (if bar { 200 } else { 20 }) + ((at * 7 + noise) % 50) as u8;
        }
    }
    Examples { shape: [16, 16, 1], classes: 10, pixels, labels, numbers: vec![] }
}

/// Trains some steps on the processor, and looks into the network. Returns loss and accuracy of the test, the sum of
/// the weights' magnitudes, the loss of one example, and a view's loss, best score and share of right answers.
pub fn train() -> Vec<f64> {
    let network = Network::from_toml(NETWORK, "small.toml").expect("a network");
    let overrides = Recipe { steps: Some(30), batch_size: Some(10), ..Recipe::default() };
    let settings = Settings::resolve(network, &overrides).expect("settings");
    let (train, test) = (examples(200), examples(50));
    let data = Dataset {
        name: DatasetName::Synthetic,
        train,
        test,
        origin: Origin::Synthetic { fallback_reason: None },
        held_out: Default::default(),
    };
    let outcome =
        block_on(glassnet::train::train(&Device::Cpu, &data, &settings, None, &mut Nobody)).expect("it trains");
    let weights = &outcome.weights;
    let inspected = block_on(glassnet::inspect::inspect(&Device::Cpu, &settings.network, weights, &data.test, 3));
    let magnitude = weights.iter().flat_map(|p| &p.weight).map(|w| f64::from(w.abs())).sum();
    let mut figures = vec![outcome.test.loss, outcome.test.accuracy, magnitude];
    figures.push(f64::from(inspected.expect("it is inspected").loss));
    let weights = Weights { step: outcome.state.step, parameters: Arc::new(outcome.weights) };
    let subject = Subject { settings, dataset: Arc::new(data), trains: false };
    let mut lens = block_on(Lens::new(Arc::new(subject))).expect("a lens");
    let (view, test) = block_on(lens.view(&weights, ShownMessage { split: Part::Test, index: 3 })).expect("a view");
    figures.extend([f64::from(view.loss.expect("it has a label")), f64::from(view.top[0].score), test.accuracy]);
    figures
}
