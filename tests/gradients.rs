//! Compares every gradient with central finite differences of the mean loss, in f64 throughout, on irregular shapes.
//! Unlike comparisons between executors, this also finds errors in the lowering.

mod common;

use common::rig::{Examples, load, load_decay, network, noise, parameters, run_to, step_inputs};
use glassnet::exec::{Executor, Reference64};
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{self, Rule};
use glassnet::kernels::{BufferId, Tensor};
use glassnet::net::Network;
use glassnet::program::{DeviceClass, NodeTensors, Options, Stage, TrainingStep};
use pollster::block_on;

/// Non-square input, kernel, stride and padding, all different from each other.
const STRIDED: &str = r#"
layers = [
    { type = "input", height = 7, width = 10, channels = 2 },
    { type = "conv", filters = 3, kernel = [4, 3], stride = [2, 3], pad = [1, 2], bias = 0.3, activation = "relu" },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// Padding wider than the kernel, so that some outputs only see padding.
const PADDED_BEYOND: &str = r#"
layers = [
    { type = "input", height = 3, width = 4, channels = 1 },
    { type = "conv", filters = 2, kernel = [3, 2], stride = [1, 2], pad = [4, 3] },
    { type = "conv", filters = 3, kernel = [2, 5], stride = [3, 1], pad = [0, 1] },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]"#;

/// Overlapping padded pooling over values of both signs, then pooling that leaves a row over. The convolution between
/// them separates the equal values that overlapping windows pass on.
const POOLED: &str = r#"
layers = [
    { type = "input", height = 9, width = 8, channels = 2 },
    { type = "conv", filters = 3, kernel = [3, 2], pad = [1, 0] },
    { type = "max-pool", size = [3, 4], stride = [2, 1], pad = [1, 2] },
    { type = "relu" },
    { type = "conv", filters = 2, kernel = 2 },
    { type = "max-pool", size = [3, 2], stride = [3, 2] },
    { type = "fc", outputs = 5 },
    { type = "softmax" },
]"#;

/// A ReLU before a pooling whose windows overlap and reach into the padding.
const RECTIFIED: &str = r#"
layers = [
    { type = "input", height = 9, width = 8, channels = 2 },
    { type = "conv", filters = 4, kernel = [3, 2], pad = [1, 0], activation = "relu" },
    { type = "max-pool", size = [3, 4], stride = [2, 1], pad = [1, 2] },
    { type = "fc", outputs = 5 },
    { type = "softmax" },
]"#;

/// Pooling with strides larger than its window, directly on the input.
const SKIPPING_POOL: &str = r#"
layers = [
    { type = "input", height = 8, width = 11, channels = 3 },
    { type = "max-pool", size = [2, 3], stride = [3, 4] },
    { type = "conv", filters = 4, kernel = 1, activation = "relu" },
    { type = "fc", outputs = 2 },
    { type = "softmax" },
]"#;

/// Only fully connected layers.
const DENSE: &str = r#"
layers = [
    { type = "input", height = 3, width = 5, channels = 2 },
    { type = "fc", outputs = 9, activation = "relu" },
    { type = "fc", outputs = 6 },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// The shape of network that people train: two blocks of convolution, ReLU and pooling.
const DEEP: &str = r#"
layers = [
    { type = "input", height = 11, width = 9, channels = 1 },
    { type = "conv", filters = 3, kernel = [5, 3], pad = [2, 1], bias = 0.4, activation = "relu" },
    { type = "max-pool", size = 2, stride = 2 },
    { type = "conv", filters = 4, kernel = 3, stride = [1, 2], pad = 2, bias = 0.4, activation = "relu" },
    { type = "max-pool", size = 3, stride = 2, pad = 1 },
    { type = "fc", outputs = 7, bias = 0.2, activation = "relu" },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]"#;

/// Normalisation over windows of even and odd size, wider than the channels too, and the largest of groups.
const ACROSS_CHANNELS: &str = r#"
layers = [
    { type = "input", height = 5, width = 6, channels = 2 },
    { type = "conv", filters = 6, kernel = 2, activation = "relu" },
    { type = "lrn", size = 4, k = 0.5, alpha = 2.0, beta = 0.75 },
    { type = "conv", filters = 9, kernel = [2, 3] },
    { type = "maxout", group = 3 },
    { type = "lrn", size = 9, alpha = 3.0, beta = 0.5 },
    { type = "fc", outputs = 8 },
    { type = "maxout" },
    { type = "lrn", size = 3, alpha = 1.0 },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// Batch normalisation of a map before and after a ReLU, of the input itself, and of a vector.
const NORMALISED: &str = r#"
layers = [
    { type = "input", height = 5, width = 4, channels = 2 },
    { type = "batch-norm", epsilon = 0.01, bias = 0.2 },
    { type = "conv", filters = 4, kernel = [3, 2], activation = "tanh" },
    { type = "batch-norm", bias = 0.3, activation = "leaky-relu" },
    { type = "fc", outputs = 6 },
    { type = "batch-norm", epsilon = 0.1, activation = "tanh" },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]"#;

/// Residual blocks on the input, with a shortcut, with nested blocks in body and shortcut, and of vectors.
const RESIDUAL: &str = r#"
layers = [
    { type = "input", height = 6, width = 5, channels = 2 },
    { type = "residual", layers = [{ type = "conv", filters = 2, kernel = 3, pad = 1, activation = "tanh" }] },
    { type = "residual", activation = "tanh", layers = [
        { type = "conv", filters = 3, kernel = 3, stride = 2, pad = 1, activation = "tanh" },
        { type = "residual", layers = [
            { type = "residual", layers = [{ type = "sigmoid" }] },
            { type = "conv", filters = 3, kernel = 1 },
        ] },
    ], shortcut = [
        { type = "residual", layers = [{ type = "tanh" }] },
        { type = "conv", filters = 3, kernel = 1, stride = 2 },
    ] },
    { type = "residual", layers = [{ type = "batch-norm", bias = 0.1 }], shortcut = [{ type = "conv", filters = 3, kernel = 1 }] },
    { type = "fc", outputs = 5 },
    { type = "residual", layers = [{ type = "fc", outputs = 5, activation = "tanh" }] },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// Losses other than softmax; the rest is small.
const LOSSES: [(&str, &str); 3] =
    [("outputs = 4", r#""hinge""#), ("outputs = 4", r#""mse""#), ("outputs = 1", r#""mse", targets = "number""#)];

/// Average pooling that overlaps and pads, then over whole channels.
const AVERAGED: &str = r#"
layers = [
    { type = "input", height = 9, width = 8, channels = 2 },
    { type = "avg-pool", size = [3, 4], stride = [2, 1], pad = [1, 2] },
    { type = "conv", filters = 3, kernel = [3, 2], activation = "relu" },
    { type = "avg-pool", size = 2, stride = 3 },
    { type = "conv", filters = 5, kernel = 1 },
    { type = "global-avg-pool" },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// Convolutions with dilation, in groups, and with one channel per filter.
const SPREAD: &str = r#"
layers = [
    { type = "input", height = 7, width = 9, channels = 4 },
    { type = "conv", filters = 6, kernel = [3, 2], stride = [1, 2], pad = [2, 1], dilation = [2, 3], groups = 2, activation = "tanh" },
    { type = "conv", filters = 12, kernel = [2, 3], stride = [2, 1], pad = [0, 2], dilation = [1, 2], groups = 6 },
    { type = "conv", filters = 12, kernel = 2, groups = 12 },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// Every activation that is not a plain ReLU, in maps and in vectors.
const ACTIVATIONS: &str = r#"
layers = [
    { type = "input", height = 6, width = 7, channels = 2 },
    { type = "conv", filters = 3, kernel = 3, activation = "tanh" },
    { type = "conv", filters = 4, kernel = 2, activation = "leaky-relu" },
    { type = "leaky-relu", slope = 0.3 },
    { type = "fc", outputs = 7, activation = "sigmoid" },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]"#;

/// Layers that only affect training: dropout in maps and in vectors, smoothed targets.
const REGULARISED: &str = r#"
layers = [
    { type = "input", height = 6, width = 7, channels = 1 },
    { type = "conv", filters = 4, kernel = 3, bias = 0.4, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "dropout", rate = 0.25 },
    { type = "fc", outputs = 7, bias = 0.2, activation = "relu" },
    { type = "dropout", rate = 0.5 },
    { type = "fc", outputs = 4 },
    { type = "softmax", label_smoothing = 0.2 },
]"#;

const BATCH: usize = 3;

/// The step of the differences. Its square, and the loss's rounding divided by it, are both far below the tolerance.
const H: f64 = 1e-6;
/// The rounding of a loss near 1 divided by `H`, with a margin for sums; a wrong term exceeds 1e-4.
const ABSOLUTE: f64 = 1e-8;
const RELATIVE: f64 = 1e-6;

struct Check {
    network: Network,
    lowered: TrainingStep,
    executor: Reference64,
    valid: usize,
    labels: Vec<u32>,
}

impl Check {
    /// A batch of `valid` examples that has run forward and backward. Not fused, because nothing continues from the
    /// tensors of a layer that another one computes.
    fn new(toml: &str, valid: usize) -> Check {
        Check::lowered(toml, valid, false, Header::evaluation(0))
    }

    fn lowered(toml: &str, valid: usize, fuse: bool, header: Header) -> Check {
        Check::on(DeviceClass::Processor, toml, valid, fuse, header)
    }

    fn on(class: DeviceClass, toml: &str, valid: usize, fuse: bool, header: Header) -> Check {
        let network = network(toml);
        let input = network.input_shape();
        let examples = Examples::noise([input.height, input.width, input.channels], BATCH, network.example_classes());
        let options = Options { fuse, class, ..Options::inspection(BATCH, examples.source()) };
        let lowered = TrainingStep::lower(&network, &options).expect("the network lowers");
        let mut executor = Reference64::new64(lowered.program.clone()).expect("small networks fit");
        load(&mut executor, &lowered, &examples, &parameters(&network, 5));
        let indices: Vec<u32> = (0..valid as u32).collect();
        let inputs = step_inputs(&lowered, header, &examples, &indices);
        run_to(&mut executor, &lowered, Stage::Batch, &inputs);
        let mut check = Check { network, lowered, executor, valid, labels: examples.labels };
        check.part_equal_pixels();
        let range = check.lowered.stages(Stage::Forward, Stage::Unfused);
        check.executor.run(range).expect("the reference runs");
        check
    }

    /// Makes pixels differ, because equal bytes would tie in a pooling window, where there is no derivative.
    fn part_equal_pixels(&mut self) {
        let (input, mut draw) = (self.lowered.nodes[0].activation, noise(9));
        for i in 0..input.len {
            let value = self.executor.values(input.id)[i];
            self.executor.set(input.id, i, value + 1e-3 * draw());
        }
    }

    /// The mean loss after running the forward pass again from the layer after `node`.
    fn loss_from(&mut self, node: usize) -> f64 {
        let (forward, loss) = (self.lowered.stage(Stage::Forward), self.lowered.outputs.loss.id);
        let first = forward.clone().find(|i| self.lowered.purposes[*i].node > Some(node)).unwrap_or(forward.end);
        self.executor.run(first..forward.end).expect("the reference runs");
        self.executor.values(loss)[0] / self.valid as f64
    }

    /// Compares `gradient` with the differences of `loss` around every value of `tensor`.
    ///
    /// At a kink (ReLU at 0, a tie in a pool) the left and right slopes differ, and any value between them is a
    /// gradient; elsewhere they differ by H times the curvature. One rule therefore covers both.
    fn differences(&mut self, what: &str, tensor: Tensor, gradient: &[f64], mut loss: impl FnMut(&mut Check) -> f64) {
        assert_eq!(gradient.len(), tensor.len, "{what}");
        let here = loss(self);
        let mut kinks = 0;
        for (i, gradient) in gradient.iter().enumerate() {
            let value = self.executor.values(tensor.id)[i];
            let mut at = |offset: f64| {
                self.executor.set(tensor.id, i, value + offset);
                loss(self)
            };
            let (above, below) = (at(H), at(-H));
            at(0.0);
            let (right, left) = ((above - here) / H, (here - below) / H);
            let central = (right + left) / 2.0;
            let allowed = (right - left).abs() / 2.0 + ABSOLUTE + RELATIVE * central.abs();
            assert!(
                (gradient - central).abs() <= allowed,
                "{what} [{i}]: gradient {gradient:e}, differences {central:e} (left {left:e}, right {right:e})"
            );
            kinks += usize::from((right - left).abs() > 1e-4);
        }
        assert!(10 * kinks <= tensor.len, "{what}: {kinks} of {} values sit at a kink and prove little", tensor.len);
    }

    fn values(&self, tensor: Option<Tensor>) -> Vec<f64> {
        self.executor.values(tensor.expect("inspection plans every gradient").id).to_vec()
    }

    /// Weights and biases of every layer.
    fn parameters(&mut self) {
        for (i, node) in self.lowered.nodes.clone().iter().enumerate() {
            let Some(p) = node.parameters else { continue };
            let name = self.network.nodes[i].name.clone();
            let (weight, bias) = (self.values(p.weight_gradient), self.values(p.bias_gradient));
            self.differences(&format!("{name}.weight"), p.weight, &weight, |check| check.loss_from(i - 1));
            self.differences(&format!("{name}.bias"), p.bias, &bias, |check| check.loss_from(i - 1));
        }
    }

    /// Activations of every layer, including the input's pixels and the softmax's probabilities.
    fn activations(&mut self) {
        self.activations_to_logits();
        let (probabilities, node) = {
            let last = self.lowered.nodes.last().expect("a network ends in a softmax");
            (last.activation, self.values(last.activation_gradient))
        };
        // No operation uses the probabilities; the loss is computed from the logits.
        let classes = self.network.classes();
        self.differences("softmax", probabilities, &node, |check| {
            check.loss_of_probabilities(probabilities.id, classes)
        });
    }

    fn activations_to_logits(&mut self) {
        let nodes = self.lowered.nodes.clone();
        for (i, node) in nodes[..nodes.len() - 1].iter().enumerate() {
            let (name, gradient) = (self.network.nodes[i].name.clone(), self.values(node.activation_gradient));
            self.differences(&name, node.activation, &gradient, |check| check.loss_from(i));
        }
    }

    /// A logit after running the forward pass again from the layer after `node`.
    fn logit_from(&mut self, node: usize, logit: usize) -> f64 {
        self.loss_from(node);
        self.executor.values(self.lowered.logits().id)[logit]
    }

    /// Gradients of one logit of the batch, by node, from another seed than the loss's.
    fn seeded(&mut self, logit: usize) -> Vec<Vec<f64>> {
        let lowered = &self.lowered;
        let (seed, nodes) = (lowered.seed(), lowered.nodes.clone());
        let stages = [lowered.stages(Stage::Forward, Stage::Forward), lowered.stages(Stage::Backward, Stage::Unfused)];
        self.executor.run(stages[0].clone()).expect("the reference runs");
        (0..seed.len).for_each(|i| self.executor.set(seed.id, i, f64::from(u8::from(i == logit))));
        self.executor.run(stages[1].clone()).expect("the reference runs");
        let kept: Vec<f64> = (0..seed.len).map(|i| f64::from(u8::from(i == logit))).collect();
        assert_eq!(self.values(Some(seed)), kept, "nothing behind the forward pass writes the seed");
        nodes[..nodes.len() - 1].iter().map(|node| self.values(node.activation_gradient)).collect()
    }

    /// The gradients of the second example's last logit; of the nodes up to `last`.
    fn logit(&mut self, last: usize) {
        let logit = 2 * self.network.classes() - 1;
        let gradients = self.seeded(logit);
        for (i, gradient) in gradients.iter().enumerate().take(last + 1) {
            let tensor = self.lowered.nodes[i].activation;
            let name = format!("logit by {}", self.network.nodes[i].name);
            self.differences(&name, tensor, gradient, |check| check.logit_from(i, logit));
        }
    }

    fn loss_of_probabilities(&self, probabilities: BufferId, classes: usize) -> f64 {
        let rows = self.executor.values(probabilities).chunks_exact(classes).take(self.valid);
        rows.zip(&self.labels).map(|(row, label)| -row[*label as usize].ln()).sum::<f64>() / self.valid as f64
    }
}

/// Checks full and partial batches.
fn check(toml: &str) {
    for valid in [BATCH, BATCH - 1] {
        let mut check = Check::new(toml, valid);
        check.parameters();
        check.activations();
    }
}

#[test]
fn strides_and_kernels_unlike_each_other() {
    check(STRIDED);
}

#[test]
fn padding_beyond_the_kernel() {
    check(PADDED_BEYOND);
}

#[test]
fn overlapping_padded_pooling_and_relu() {
    check(POOLED);
}

#[test]
fn relu_before_overlapping_padded_pooling() {
    check(RECTIFIED);
}

#[test]
fn pooling_that_skips_pixels() {
    check(SKIPPING_POOL);
}

#[test]
fn fully_connected_on_fully_connected() {
    check(DENSE);
}

#[test]
fn two_blocks_as_people_train_them() {
    check(DEEP);
}

#[test]
fn losses_of_scores() {
    for (outputs, loss) in LOSSES {
        let toml = DENSE.replace("outputs = 4", outputs).replace("\"softmax\"", loss);
        for valid in [BATCH, BATCH - 1] {
            let mut check = Check::new(&toml, valid);
            check.parameters();
            check.activations_to_logits();
            // The loss layer passes the scores and their gradient on unchanged.
            let nodes = check.lowered.nodes.clone();
            let [scores, end] = nodes[nodes.len() - 2..] else { unreachable!("a loss has a layer before it") };
            assert_eq!(check.values(Some(scores.activation)), check.values(Some(end.activation)));
            assert_eq!(check.values(scores.activation_gradient), check.values(end.activation_gradient));
        }
    }
}

#[test]
fn normalisation_and_maxima_across_channels() {
    check(ACROSS_CHANNELS);
}

#[test]
fn average_pooling_of_windows_and_of_whole_channels() {
    check(AVERAGED);
}

#[test]
fn convolutions_with_taps_apart_and_in_groups() {
    check(SPREAD);
}

#[test]
fn leaky_and_smooth_activations() {
    check(ACTIVATIONS);
}

#[test]
fn dropout_and_smoothed_targets_in_training_and_in_evaluation() {
    let training = |step| Header { step, seed: 3, training: true, ..Header::evaluation(0) };
    let mut losses = Vec::new();
    for header in [training(4), training(5), Header::evaluation(0)] {
        let mut check = Check::lowered(REGULARISED, BATCH, false, header);
        check.parameters();
        check.activations_to_logits();
        losses.push(check.loss_from(0));
    }
    let [one, other, plain] = losses[..] else { unreachable!("three headers") };
    assert!(one != other && one != plain && other != plain, "{losses:?}: what was dropped?");
}

#[test]
fn normalisation_by_the_batch_and_by_running_statistics() {
    let training = Header { training: true, ..Header::evaluation(0) };
    let mut losses = Vec::new();
    for (header, valid) in [(training, BATCH), (training, BATCH - 1), (Header::evaluation(0), BATCH - 1)] {
        let mut check = Check::lowered(NORMALISED, valid, false, header);
        check.parameters();
        check.activations();
        losses.push(check.loss_from(0));
    }
    assert!(losses[1] != losses[2], "{losses:?}: which statistics?");
}

#[test]
fn residual_blocks_in_blocks() {
    check(RESIDUAL);
    // A ReLU before a pooling is not computed by it where a block's sum reads it too.
    let rectified = r#"
    layers = [
        { type = "input", height = 6, width = 4, channels = 2 },
        { type = "conv", filters = 2, kernel = 3, pad = 1, bias = 0.2, activation = "relu" },
        { type = "residual", layers = [{ type = "max-pool", size = 3, stride = 1, pad = 1 }] },
        { type = "conv", filters = 2, kernel = 3, pad = 1, bias = 0.2, activation = "relu" },
        { type = "max-pool", size = 2 },
        { type = "fc", outputs = 4 },
        { type = "softmax" },
    ]"#;
    check(rectified);
    let fused = Check::lowered(rectified, BATCH, true, Header::evaluation(0));
    let names = |(relu, pool): &(usize, usize)| [*relu, *pool].map(|i| fused.network.nodes[i].name.clone());
    assert_eq!(fused.lowered.fused.iter().map(names).collect::<Vec<_>>(), [["relu2", "pool2"]]);
}

#[test]
fn fused_layers_have_the_tensors_of_unfused_ones() {
    for toml in [DEEP, RECTIFIED] {
        let (fused, plain) =
            ([true, false]).map(|fuse| Check::lowered(toml, BATCH, fuse, Header::evaluation(0))).into();
        let (own, other) = (&fused.lowered, &plain.lowered);
        assert!(!own.fused.is_empty() && other.fused.is_empty(), "{toml}");
        for (own, other) in own.nodes.iter().zip(&other.nodes) {
            assert_eq!(fused.values(Some(own.activation)), plain.values(Some(other.activation)));
            assert_eq!(fused.values(own.activation_gradient), plain.values(other.activation_gradient));
        }
        Check::lowered(toml, BATCH, true, Header::evaluation(0)).parameters();
    }
}

/// Everything that a convolution computes on hardware: ReLU and pooling after it, with windows of four and of nine, and
/// outputs that no window has; the ReLU before it; and what it leaves to others: windows that overlap, channels that
/// fill no vector, a ReLU that two layers read.
const FUSIBLE: [&str; 3] = [
    r#"
    layers = [
        { type = "input", height = 11, width = 9, channels = 1 },
        { type = "conv", filters = 4, kernel = 3, pad = 1, bias = 0.1, activation = "relu" },
        { type = "max-pool", size = 2 },
        { type = "conv", filters = 8, kernel = 2, pad = 1, bias = 0.1, activation = "relu" },
        { type = "conv", filters = 4, kernel = 3, pad = 1, bias = 0.1, activation = "relu" },
        { type = "max-pool", size = [1, 4] },
        { type = "fc", outputs = 8, bias = 0.1, activation = "relu" },
        { type = "fc", outputs = 4 },
        { type = "softmax" },
    ]"#,
    r#"
    layers = [
        { type = "input", height = 8, width = 8, channels = 4 },
        { type = "conv", filters = 4, kernel = 3, pad = 1 },
        { type = "batch-norm" },
        { type = "relu" },
        { type = "residual", layers = [
            { type = "conv", filters = 4, kernel = 3, pad = 1, activation = "relu" },
            { type = "conv", filters = 4, kernel = 3, pad = 1 },
        ] },
        { type = "relu" },
        { type = "conv", filters = 8, kernel = 3, stride = 2, pad = 1, bias = 0.1, activation = "relu" },
        { type = "dropout", rate = 0.2 },
        { type = "conv", filters = 3, kernel = 2, bias = 0.1, activation = "relu" },
        { type = "max-pool", size = 2, stride = 1 },
        { type = "fc", outputs = 4 },
        { type = "softmax" },
    ]"#,
    r#"
    layers = [
        { type = "input", height = 10, width = 10, channels = 2 },
        { type = "conv", filters = 8, kernel = 3, bias = 0.1, activation = "relu" },
        { type = "max-pool", size = 3, stride = 2 },
        { type = "conv", filters = 4, kernel = 1, bias = 0.1, activation = "relu" },
        { type = "max-pool", size = 3 },
        { type = "fc", outputs = 6, activation = "relu" },
        { type = "fc", outputs = 3 },
        { type = "hinge" },
    ]"#,
];

#[test]
fn every_class_of_device_has_the_same_tensors() {
    let networks = [DEEP, RECTIFIED, POOLED, ACROSS_CHANNELS, RESIDUAL, AVERAGED, SPREAD, NORMALISED, REGULARISED];
    for toml in networks.into_iter().chain(FUSIBLE) {
        let plain = Check::lowered(toml, BATCH - 1, false, Header::evaluation(0));
        for fuse in [false, true] {
            let own = Check::on(DeviceClass::Hardware, toml, BATCH - 1, fuse, Header::evaluation(0));
            assert!(own.lowered.fused.is_empty() || fuse, "{toml}");
            for (i, (node, other)) in own.lowered.nodes.iter().zip(&plain.lowered.nodes).enumerate() {
                let gradients = |node: &NodeTensors| node.parameters.map(|p| [p.weight_gradient, p.bias_gradient]);
                let tensors = |node: &NodeTensors| {
                    let [weight, bias] = gradients(node).unwrap_or_default();
                    [Some(node.activation), node.activation_gradient, weight, bias].into_iter().flatten()
                };
                for (tensor, expected) in tensors(node).zip(tensors(other)) {
                    let (got, want): (&[f64], &[f64]) = (&own.values(Some(tensor)), &plain.values(Some(expected)));
                    let largest = want.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                    let far = |(got, want): (&f64, &f64)| (got - want).abs() > 1e-12 * largest;
                    assert!(!got.iter().zip(want).any(far), "{} of {toml}, fused: {fuse}", plain.network.nodes[i].name);
                }
            }
        }
    }
}

#[test]
fn a_convolution_on_hardware_computes_its_neighbours() {
    let expected: [&[[&str; 2]]; 3] = [
        &[
            ["relu1", "conv1"],
            ["pool1", "conv1"],
            ["relu2", "conv2"],
            ["relu3", "conv3"],
            ["pool2", "conv3"],
            ["relu4", "fc1"],
        ],
        &[["relu2", "conv2"], ["relu4", "conv4"], ["relu5", "pool1"]],
        &[["relu1", "pool1"], ["relu2", "conv2"], ["pool2", "conv2"], ["relu3", "fc1"]],
    ];
    for (toml, expected) in FUSIBLE.into_iter().zip(expected) {
        let own = Check::on(DeviceClass::Hardware, toml, BATCH, true, Header::evaluation(0));
        let names = |(one, other): &(usize, usize)| [*one, *other].map(|i| own.network.nodes[i].name.clone());
        assert_eq!(own.lowered.fused.iter().map(names).collect::<Vec<_>>(), expected, "{toml}");
    }
}

#[test]
fn gradients_of_a_logit_come_from_another_seed_of_the_same_backward_pass() {
    for toml in [DEEP, POOLED, ACROSS_CHANNELS, RESIDUAL, AVERAGED, SPREAD, NORMALISED, REGULARISED] {
        let mut check = Check::new(toml, BATCH);
        check.logit(check.network.nodes.len() - 2);
    }
    for (outputs, loss) in LOSSES {
        let toml = DENSE.replace("outputs = 4", outputs).replace("\"softmax\"", loss);
        Check::new(&toml, BATCH).logit(0);
    }
    // Also for pixels if a pooling computes the ReLU before it.
    for toml in [DEEP, RECTIFIED] {
        Check::lowered(toml, BATCH, true, Header::evaluation(0)).logit(0);
    }
}

#[test]
fn rows_beyond_the_valid_examples_have_no_gradient() {
    let check = Check::new(DEEP, 1);
    for node in &check.lowered.nodes {
        let gradient = check.values(node.activation_gradient);
        let (valid, beyond) = gradient.split_at(gradient.len() / BATCH);
        assert!(valid.iter().any(|g| *g != 0.0) && beyond.iter().all(|g| *g == 0.0));
    }
}

/// Loss with decay, as its definition says: l2/2 * sum of w² + l1 * sum of |w| over weights, not biases.
fn decayed_loss(executor: &mut Reference64, lowered: &TrainingStep, l1: f64, l2: f64, valid: usize) -> f64 {
    executor.run(lowered.stage(Stage::Forward)).expect("the reference runs");
    let weights = lowered.nodes.iter().filter_map(|n| n.parameters).flat_map(|p| executor.values(p.weight.id));
    let decay: f64 = weights.map(|w| l2 / 2.0 * w * w + l1 * w.abs()).sum();
    executor.values(lowered.outputs.loss.id)[0] / valid as f64 + decay
}

#[test]
fn a_plain_step_descends_the_loss_with_decay_of_weights_and_not_of_biases() {
    // Exact in f32, as the header and the decay store them, and large, so that a missing term is visible.
    let (l1, l2, learning_rate) = (0.125, 0.25, 0.5);
    let network = network(STRIDED);
    let examples = Examples::noise([7, 10, 2], BATCH, network.classes());
    let options = Options::training(BATCH, examples.source(), Rule::new(&optimizer::SGD));
    let lowered = TrainingStep::lower(&network, &options).expect("the network lowers");
    let mut executor = Reference64::new64(lowered.program.clone()).expect("it fits");
    load(&mut executor, &lowered, &examples, &parameters(&network, 5));
    load_decay(&mut executor, &lowered, l1 as f32, l2 as f32);
    let header = Header { learning_rate: learning_rate as f32, ..Header::evaluation(0) };
    let inputs = step_inputs(&lowered, header, &examples, &[0, 1]);
    run_to(&mut executor, &lowered, Stage::Update, &inputs);

    let all = lowered.parameters.id;
    let before = executor.values(all).to_vec();
    block_on(executor.end_step(true)).expect("the step ends");
    let after = executor.values(all).to_vec();
    // The same exchange restores the parameters from before the step.
    block_on(executor.end_step(true)).expect("the step ends");
    lowered.nodes.iter().filter_map(|n| n.parameters).for_each(|p| {
        for tensor in [p.weight, p.bias] {
            let start = lowered.program.root(tensor.id).1;
            for i in start..start + tensor.len {
                let mut loss = |offset: f64| {
                    executor.set(all, i, before[i] + offset);
                    decayed_loss(&mut executor, &lowered, l1, l2, 2)
                };
                let slope = (loss(H) - loss(-H)) / (2.0 * H);
                executor.set(all, i, before[i]);
                let step = after[i] - before[i];
                assert!(
                    (step + learning_rate * slope).abs() <= ABSOLUTE + RELATIVE * slope.abs(),
                    "parameter {i} moved by {step:e}, the slope is {slope:e}"
                );
            }
        }
    });
}
