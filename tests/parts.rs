//! A batch computed in parts, as on several devices or machines. Each part's header gives its place in the batch, so
//! that random draws and losses are those of the whole batch, and the parts' gradients add up to its gradient.

mod common;

use common::rig::{self, Examples, devices, network, parameters, run_to, step_inputs};
use glassnet::exec::{Device, Reference64};
use glassnet::kernels::Tensor;
use glassnet::kernels::batch::{Header, Part};
use glassnet::net::Network;
use glassnet::program::{Options, Stage, TrainingStep};
use std::ops::Range;

/// The number of rows in the whole batch.
const BATCH: usize = 11;
/// The first row of the second part; the parts have different lengths.
const SECOND: usize = 6;

/// Layers with every kind of random draw: crops, all augmentation, dropout; and label smoothing, which only training
/// has.
const LAYERS: &str = r#"
    layers = [
        { type = "input", height = 12, width = 11, channels = 2, crop = true },
        { type = "conv", filters = 4, kernel = 3, pad = 1, activation = "relu" },
        { type = "max-pool", size = 2 },
        { type = "dropout", rate = 0.25 },
        { type = "fc", outputs = 6, activation = "tanh" },
        { type = "dropout", rate = 0.5 },
        { type = "fc", outputs = 3 },
        LOSS
    ]
    [augmentation]
    rotation = 10
    scale = 0.1
    shift = 1
    elastic = 1.5
    pad = 2
    flip = true
    erase = 0.5
"#;

fn networks() -> [Network; 4] {
    let softmax = LAYERS.replace("LOSS", "{ type = \"softmax\", label_smoothing = 0.1 },");
    let [hinge, mse] = ["hinge", "mse"].map(|loss| LAYERS.replace("LOSS", &format!("{{ type = \"{loss}\" }},")));
    let plain = softmax[..softmax.find("[augmentation]").expect("it varies")].to_string();
    [softmax, hinge, mse, plain].map(|toml| network(&toml))
}

/// The input, losses and gradients of one step.
struct Pass {
    input: Vec<f64>,
    losses: Vec<f64>,
    gradients: Vec<f64>,
}

/// A pass over these rows of the batch. `run` runs a step with the given inputs, and reads the given tensors.
fn pass(
    lowered: &TrainingStep,
    examples: &Examples,
    rows: Range<usize>,
    run: impl FnOnce(&[u32], &[Tensor]) -> Vec<Vec<f64>>,
) -> Pass {
    let part = (rows.len() < BATCH).then_some(Part { first_row: rows.start as u32, global_valid: BATCH as u32 });
    let header = Header { step: 5, seed: 8, training: true, part, ..Header::evaluation(0) };
    let count = rows.len();
    // In reverse, so that no row has the number of its example.
    let indices: Vec<u32> = rows.map(|row| (BATCH - 1 - row) as u32).collect();
    let gradients = lowered.nodes.iter().filter_map(|node| node.parameters);
    let gradients = gradients.flat_map(|p| [p.weight_gradient, p.bias_gradient].into_iter().flatten());
    let tensors: Vec<Tensor> =
        [lowered.nodes[0].activation, lowered.outputs.losses].into_iter().chain(gradients).collect();
    let mut read = run(&step_inputs(lowered, header, examples, &indices), &tensors).into_iter();
    let mut rows = || {
        let mut values = read.next().expect("it is read");
        values.truncate(values.len() / lowered.batch * count);
        values
    };
    Pass { input: rows(), losses: rows(), gradients: read.flatten().collect() }
}

/// Compares the whole batch with its two parts: the same input and losses, and gradients within `tolerance` times the
/// largest one.
fn assert_adds_up(what: &str, tolerance: f64, pass: impl Fn(Range<usize>) -> Pass) {
    let (whole, parts) = (pass(0..BATCH), [pass(0..SECOND), pass(SECOND..BATCH)]);
    let joined = |of: fn(&Pass) -> &Vec<f64>| parts.iter().flat_map(|part| of(part).clone()).collect::<Vec<_>>();
    assert_eq!(whole.input, joined(|pass| &pass.input), "{what}: the input");
    let largest = |values: &[f64]| values.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    let near = |got: &[f64], want: &[f64]| {
        let allowed = tolerance * largest(want);
        got.len() == want.len() && got.iter().zip(want).all(|(got, want)| (got - want).abs() <= allowed)
    };
    assert!(near(&joined(|pass| &pass.losses), &whole.losses), "{what}: the losses");
    let sum: Vec<f64> = parts[0].gradients.iter().zip(&parts[1].gradients).map(|(a, b)| a + b).collect();
    assert!(largest(&whole.gradients) > 0.0 && near(&sum, &whole.gradients), "{what}: the gradients");
}

fn options(examples: &Examples) -> Options {
    Options { backward: true, ..Options::evaluation(BATCH, examples.source()) }
}

fn examples(network: &Network) -> Examples {
    // A little larger than the input, so that crops move.
    Examples::noise([15, 13, 2], BATCH, network.classes())
}

#[test]
fn the_gradients_of_two_parts_add_up_to_those_of_the_batch_in_f64() {
    for network in networks() {
        let examples = examples(&network);
        let lowered = TrainingStep::lower(&network, &options(&examples)).expect("the network lowers");
        assert_adds_up(&format!("f64, {:?}", network.nodes.last().map(|node| &node.layer)), 1e-13, |rows| {
            let mut executor = Reference64::new64(lowered.program.clone()).expect("it fits");
            rig::load(&mut executor, &lowered, &examples, &parameters(&network, 3));
            pass(&lowered, &examples, rows, |inputs, tensors| {
                run_to(&mut executor, &lowered, Stage::Backward, inputs);
                tensors.iter().map(|tensor| executor.values(tensor.id).to_vec()).collect()
            })
        });
    }
}

#[test]
fn the_gradients_of_two_parts_add_up_to_those_of_the_batch_on_every_device() {
    for device in devices() {
        for network in networks() {
            let examples = examples(&network);
            let what = format!("{}, {:?}", device.info().executor, network.nodes.last().map(|node| &node.layer));
            // Sums over eleven examples, in another order.
            assert_adds_up(&what, 2e-6, |rows| one_device(&device, &network, &examples, rows));
        }
    }
}

fn one_device(device: &Device, network: &Network, examples: &Examples, rows: Range<usize>) -> Pass {
    let (lowered, mut executor) = rig::executor(device, network, &options(examples), examples, &parameters(network, 3));
    pass(&lowered, examples, rows, |inputs, tensors| {
        run_to(&mut *executor, &lowered, Stage::Backward, inputs);
        let mut read = |tensor: &Tensor| rig::reals(&mut *executor, *tensor).into_iter().map(f64::from).collect();
        tensors.iter().map(&mut read).collect()
    })
}
