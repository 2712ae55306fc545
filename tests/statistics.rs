//! Layer statistics compared with values computed directly from the same step's tensors, on every executor.

mod common;

use common::rig::{Examples, devices, executor, load_decay, network, parameters, reals, step_inputs, words};
use glassnet::exec::{Device, Executor, write_reals};
use glassnet::kernels::Tensor;
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{self, Rule};
use glassnet::kernels::statistics::Summary;
use glassnet::net::{Activation, Layer, Network};
use glassnet::program::{NodeTensors, Options, Quantity, Stage, StepStatistics, TrainingStep};

/// A batch of five with three examples. Both kinds of ReLU layer, the first with dying channels.
const LAYERS: &str = r#"layers = [
    { type = "input", height = 8, width = 9, channels = 2 },
    { type = "conv", filters = 6, kernel = 3, pad = 1, activation = "relu" },
    { type = "max-pool", size = 2, stride = 2 },
    { type = "fc", outputs = 11, activation = "relu" },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;
const BATCH: usize = 5;
const VALID: usize = 3;

/// A step that has run on one device without being ended: the weights before and after the update are both available.
struct Step {
    what: &'static str,
    network: Network,
    lowered: TrainingStep,
    executor: Box<dyn Executor>,
}

impl Step {
    fn run(device: &Device) -> Step {
        let mut step = Step::prepare(device);
        step.stages();
        step
    }

    fn prepare(device: &Device) -> Step {
        let network = network(LAYERS);
        let examples = Examples::noise([8, 9, 2], 7, network.classes());
        let options = Options::training(BATCH, examples.source(), Rule::new(&optimizer::MOMENTUM));
        let mut values = parameters(&network, 4);
        // Channels 1 and 4 of the first ReLU never fire.
        values[0].bias[1] = -50.0;
        values[0].bias[4] = -50.0;
        let (lowered, mut executor) = executor(device, &network, &options, &examples, &values);
        load_decay(&mut *executor, &lowered, 1e-3, 1e-2);
        let header = Header { learning_rate: 0.1, ..Header::evaluation(0) };
        let inputs = step_inputs(&lowered, header, &examples, &[6, 0, 3]);
        executor.begin_step(&inputs).expect("the step begins");
        Step { what: device.info().executor.as_str(), network, lowered, executor }
    }

    fn stages(&mut self) {
        let range = self.lowered.stages(Stage::Batch, Stage::Statistics);
        self.executor.run(range).expect("the stages run");
    }

    fn decoded(&mut self) -> StepStatistics {
        let plan = self.lowered.statistics.clone();
        let (counts, values) = (words(&mut *self.executor, plan.counts.id), words(&mut *self.executor, plan.values.id));
        plan.decode(&counts, &values)
    }

    fn reals(&mut self, tensor: Tensor) -> Vec<f64> {
        reals(&mut *self.executor, tensor).into_iter().map(f64::from).collect()
    }

    /// Writes `value` into one place of a tensor.
    fn plant(&mut self, tensor: Tensor, index: usize, value: f32) {
        let mut values = reals(&mut *self.executor, tensor);
        values[index] = value;
        write_reals(&mut *self.executor, tensor.id, &values).expect("the tensor is written");
    }

    fn node(&self, name: &str) -> (usize, NodeTensors) {
        let at = self.network.nodes.iter().position(|n| n.name == name).expect("a layer of this name");
        (at, self.lowered.nodes[at])
    }
}

fn tensor(node: &NodeTensors, quantity: Quantity) -> Option<Tensor> {
    let parameters = node.parameters;
    match quantity {
        Quantity::Activation => Some(node.activation),
        Quantity::ActivationGradient => node.activation_gradient,
        Quantity::Weight => parameters.map(|p| p.weight),
        Quantity::WeightGradient => parameters.and_then(|p| p.weight_gradient),
        Quantity::Bias => parameters.map(|p| p.bias),
        Quantity::BiasGradient => parameters.and_then(|p| p.bias_gradient),
    }
}

const QUANTITIES: [Quantity; 6] = [
    Quantity::Activation,
    Quantity::ActivationGradient,
    Quantity::Weight,
    Quantity::WeightGradient,
    Quantity::Bias,
    Quantity::BiasGradient,
];

/// The part of a tensor that belongs to examples: all of a parameter, the valid rows of an activation.
fn valid_part(quantity: Quantity, values: &[f64]) -> &[f64] {
    match quantity {
        Quantity::Activation | Quantity::ActivationGradient => &values[..values.len() / BATCH * VALID],
        _ => values,
    }
}

/// Sums of a few thousand f32 values round to about 1e-6 of the sum of magnitudes.
fn assert_near(what: &str, got: f32, want: f64, scale: f64) {
    assert!((f64::from(got) - want).abs() <= 1e-5 * scale, "{what}: {got:e} instead of {want:e}");
}

/// Two passes over the values, as in a textbook.
fn assert_summarises(what: &str, summary: &Summary, values: &[f64]) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    let magnitude = values.iter().map(|v| v.abs()).sum::<f64>();
    let squares = values.iter().map(|v| v * v).sum::<f64>();
    let zeros = values.iter().filter(|v| **v == 0.0).count() as u64;
    assert_eq!((summary.count, summary.non_finite, summary.zeros), (values.len() as u64, 0, zeros), "{what}: counts");
    assert_eq!(f64::from(summary.min), values.iter().copied().fold(f64::INFINITY, f64::min), "{what}: min");
    assert_eq!(f64::from(summary.max), values.iter().copied().fold(f64::NEG_INFINITY, f64::max), "{what}: max");
    assert_near(&format!("{what}: mean"), summary.mean, mean, magnitude / count);
    assert_near(&format!("{what}: std"), summary.std, std, (squares / count).sqrt());
    assert_near(&format!("{what}: sum of magnitudes"), summary.abs_sum, magnitude, magnitude);
    assert_near(&format!("{what}: sum of squares"), summary.square_sum, squares, squares);
}

#[test]
fn every_summary_is_that_of_its_tensors_valid_part() {
    for device in devices() {
        let mut step = Step::run(&device);
        let statistics = step.decoded();
        for (i, layer) in statistics.layers.iter().enumerate() {
            assert_eq!(layer.layer, step.network.nodes[i].name);
            let node = step.lowered.nodes[i];
            for quantity in QUANTITIES {
                let what = format!("{} {} on {}", layer.layer, quantity.name(), step.what);
                let tensor = tensor(&node, quantity);
                assert_eq!(layer.get(quantity).is_some(), tensor.is_some(), "{what}");
                if let Some((summary, tensor)) = layer.get(quantity).zip(tensor) {
                    let values = step.reals(tensor);
                    assert_summarises(&what, summary, valid_part(quantity, &values));
                }
            }
            assert_eq!(layer.non_finite, 0);
        }
    }
}

#[test]
fn dead_units_are_the_channels_that_fire_for_no_valid_example() {
    for device in devices() {
        let mut step = Step::run(&device);
        let statistics = step.decoded();
        for (i, layer) in statistics.layers.iter().enumerate() {
            let node = step.network.nodes[i].clone();
            let expected = (node.layer == Layer::Activation(Activation::Relu)).then(|| {
                let (values, channels) = (step.reals(step.lowered.nodes[i].activation), node.output.channels);
                let valid = valid_part(Quantity::Activation, &values);
                let dead = |c: &usize| valid.iter().skip(*c).step_by(channels).all(|v| *v <= 0.0);
                (0..channels).filter(dead).count() as f32 / channels as f32
            });
            assert_eq!(layer.dead_units, expected, "{} on {}", layer.layer, step.what);
        }
        let relu1 = statistics.layers[step.node("relu1").0].dead_units;
        assert!(relu1 >= Some(2.0 / 6.0), "two channels were killed on {}: {relu1:?}", step.what);
    }
}

#[test]
fn the_update_ratio_is_the_norm_of_the_weights_change_over_their_norm() {
    for device in devices() {
        let mut step = Step::run(&device);
        let statistics = step.decoded();
        for (i, layer) in statistics.layers.iter().enumerate() {
            let parameters = step.lowered.nodes[i].parameters;
            assert_eq!(layer.update_ratio.is_some(), parameters.is_some(), "{}", layer.layer);
            let Some((p, ratio)) = parameters.zip(layer.update_ratio) else { continue };
            let (before, after) = (step.reals(p.weight), step.reals(p.weight_next.expect("a training program")));
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let moved = norm(&mut before.iter().zip(&after).map(|(b, a)| a - b));
            let expected = moved / norm(&mut before.iter().copied());
            assert!(expected > 1e-4, "{} hardly moved, which proves little", layer.layer);
            assert_near(&format!("{} on {}", layer.layer, step.what), ratio, expected, expected);
        }
    }
}

#[test]
fn the_decay_loss_is_over_weights_and_not_over_biases() {
    for device in devices() {
        let mut step = Step::run(&device);
        let (l1, l2) = (0.3, 0.7);
        let nodes = step.lowered.nodes.clone();
        let mut expected = 0.0;
        for p in nodes.iter().filter_map(|n| n.parameters) {
            expected += step.reals(p.weight).iter().map(|w| l2 / 2.0 * w * w + l1 * w.abs()).sum::<f64>();
        }
        let got = step.decoded().decay_loss(&step.network, l1, l2);
        assert_near(step.what, got as f32, expected, expected);
    }
}

#[test]
fn a_healthy_step_has_nothing_non_finite() {
    for device in devices() {
        assert_eq!(Step::run(&device).decoded().first_non_finite(), None, "on {}", device.info().executor);
    }
}

#[test]
fn a_nan_weight_is_named_by_the_first_activation_that_it_spoils() {
    for device in devices() {
        let mut step = Step::prepare(&device);
        let (at, node) = step.node("fc1");
        step.plant(node.parameters.expect("fc1 has weights").weight, 5, f32::NAN);
        step.stages();
        let statistics = step.decoded();
        // Output 5 of fc1, for each valid example.
        let expected = Some(("fc1", Quantity::Activation, VALID as u64));
        assert_eq!(statistics.first_non_finite(), expected, "on {}", step.what);
        assert_eq!(statistics.layers[at].weight.map(|s| s.non_finite), Some(1), "on {}", step.what);
    }
}

#[test]
fn a_non_finite_gradient_is_named_with_its_layer_and_tensor() {
    for device in devices() {
        for (layer, quantity) in [
            ("relu1", Quantity::ActivationGradient),
            ("conv1", Quantity::WeightGradient),
            ("fc2", Quantity::BiasGradient),
            ("fc2", Quantity::Weight),
            ("pool1", Quantity::Activation),
        ] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut step = Step::run(&device);
                let node = step.node(layer).1;
                step.plant(tensor(&node, quantity).expect("the tensor exists"), 1, value);
                let range = step.lowered.stage(Stage::Statistics);
                step.executor.run(range).expect("the statistics run");
                let found = step.decoded();
                assert_eq!(found.first_non_finite(), Some((layer, quantity, 1)), "{value} on {}", step.what);
            }
        }
    }
}

#[test]
fn what_lies_beyond_the_valid_examples_does_not_count() {
    for device in devices() {
        let mut step = Step::run(&device);
        let healthy = step.decoded();
        let (at, node) = step.node("conv1");
        step.plant(node.activation, node.activation.len - 1, f32::NAN);
        let range = step.lowered.stage(Stage::Statistics);
        step.executor.run(range).expect("the statistics run");
        let planted = step.decoded();
        assert_eq!(planted.layers[at].activation, healthy.layers[at].activation, "on {}", step.what);
    }
}
