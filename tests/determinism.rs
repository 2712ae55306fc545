//! The same seed on the same device gives the same bits, for any number of threads.

mod common;

use common::rig::{Examples, devices, executor, load_decay, network, parameters, run_to, step_inputs, words};
use glassnet::exec::{Device, Executor};
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{ADADELTA, Rule};
use glassnet::net::Network;
use glassnet::program::{Options, Stage, TrainingStep};
use pollster::block_on;

const BATCH: usize = 20;
const STEPS: u32 = 20;
fn rule() -> Rule {
    Rule::new(&ADADELTA).with("epsilon", 1e-8)
}

/// Bits of every step's loss and statistics, and finally of parameters and optimizer state.
#[derive(PartialEq)]
struct Trace {
    steps: Vec<Vec<Vec<u32>>>,
    parameters: Vec<u32>,
    state: Vec<u32>,
}

/// Most layers and every random draw, with weights large enough that their packing, products and sums are split.
const VARIED: &str = r#"
layers = [
    { type = "input", height = 20, width = 18, channels = 1, crop = true },
    { type = "conv", filters = 32, kernel = 3, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "dropout", rate = 0.25 },
    { type = "conv", filters = 64, kernel = 3, activation = "leaky-relu" },
    { type = "lrn", size = 5, alpha = 0.5 },
    { type = "maxout" },
    { type = "avg-pool", size = 2 },
    { type = "fc", outputs = 150, activation = "tanh" },
    { type = "fc", outputs = 100, activation = "sigmoid" },
    { type = "fc", outputs = 10 },
    { type = "softmax", label_smoothing = 0.1 },
]
[augmentation]
rotation = 10
scale = 0.1
shear = 10
shift = 1
elastic = 2
pad = 2
flip = [0, 3, 4, 8]
erase = 0.5
"#;

fn preset() -> Network {
    Network::preset("convnetjs-mnist").expect("a preset")
}

/// Trains on noise, random crops included; batches at the end are partial.
fn train(network: &Network, device: &Device, seed: u32) -> Trace {
    train_by(network, device, seed, BATCH, in_pieces)
}

/// Trains with another batch size and another way to run a step.
fn train_by(
    network: &Network,
    device: &Device,
    seed: u32,
    batch: usize,
    run: impl Fn(&mut dyn Executor, &TrainingStep, &[u32]),
) -> Trace {
    let examples = Examples::noise([28, 28, 1], 90, network.classes());
    let options = Options::training(batch, examples.source(), rule());
    let (lowered, mut executor) = executor(device, network, &options, &examples, &parameters(network, 3));
    load_decay(&mut *executor, &lowered, 0.0, 5e-5);
    let captured = [lowered.outputs.loss.id, lowered.statistics.counts.id, lowered.statistics.values.id];
    for step in 0..STEPS {
        let first = step * batch as u32 % 90;
        let indices: Vec<u32> = (first..(first + batch as u32).min(90)).collect();
        let header = Header { step, seed, training: true, learning_rate: 1.0, ..Header::evaluation(0) };
        let inputs = step_inputs(&lowered, header, &examples, &indices);
        run(&mut *executor, &lowered, &inputs);
        executor.capture(u64::from(step), &captured).expect("the figures are captured");
        block_on(executor.end_step(true)).expect("the step ends");
    }
    block_on(executor.finish()).expect("the device finishes");
    let steps = executor.captured().expect("the captures arrive").into_iter().map(|c| c.buffers).collect();
    let state = lowered.trainable.and_then(|t| t.state).expect("adadelta has state");
    let (parameters, state) = (words(&mut *executor, lowered.parameters.id), words(&mut *executor, state.id));
    Trace { steps, parameters, state }
}

/// Runs a step as training does.
fn in_pieces(executor: &mut dyn Executor, lowered: &TrainingStep, inputs: &[u32]) {
    run_to(executor, lowered, Stage::Statistics, inputs);
}

/// Compares traces; `assert_eq` would print a million words.
fn assert_same(what: &str, a: &Trace, b: &Trace) {
    assert_eq!((a.steps.len(), b.steps.len()), (STEPS as usize, STEPS as usize), "{what}: steps");
    if let Some(step) = a.steps.iter().zip(&b.steps).position(|(a, b)| a != b) {
        panic!("{what}: step {step} differs");
    }
    assert!(a == b, "{what}: the final state differs");
}

#[test]
fn two_runs_are_bit_identical_on_every_executor() {
    for network in [preset(), network(VARIED)] {
        for device in devices().into_iter().filter(|device| !matches!(device, Device::Reference)) {
            assert_same(device.info().executor.as_str(), &train(&network, &device, 7), &train(&network, &device, 7));
        }
    }
    assert_same("reference", &train(&preset(), &Device::Reference, 7), &train(&preset(), &Device::Reference, 7));
}

#[test]
fn another_seed_crops_otherwise_and_gives_another_result() {
    let parameters = |seed| train(&preset(), &Device::Cpu, seed).parameters;
    assert!(parameters(7) != parameters(8));
}

#[test]
fn training_moves_the_parameters_and_stays_finite() {
    let trace = train(&preset(), &Device::Cpu, 7);
    assert!(trace.steps.first() != trace.steps.last());
    assert!(trace.parameters.iter().chain(&trace.state).all(|word| f32::from_bits(*word).is_finite()));
}

#[test]
fn the_cpu_gives_the_same_bits_with_any_number_of_threads() {
    for network in [preset(), network(VARIED)] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| train(&network, &Device::Cpu, 7))
        };
        let one = with(1);
        for threads in [2, 3, 7] {
            assert_same(&format!("{threads} threads"), &one, &with(threads));
        }
    }
}

#[test]
fn the_cpu_gives_the_same_bits_piece_by_piece_and_operation_by_operation() {
    let one_by_one = |executor: &mut dyn Executor, _: &TrainingStep, inputs: &[u32]| {
        executor.begin_step(inputs).expect("the step begins");
        for i in 0..executor.program().instructions.len() {
            executor.run(i..i + 1).expect("the operation runs");
        }
    };
    // With the second batch size, the last partial sum covers fewer examples than the others.
    for (network, batch) in [(preset(), 20), (network(VARIED), 20), (network(VARIED), 37)] {
        let pieces = train_by(&network, &Device::Cpu, 7, batch, in_pieces);
        let operations = train_by(&network, &Device::Cpu, 7, batch, one_by_one);
        assert_same(&format!("batch size {batch}"), &pieces, &operations);
    }
}

#[test]
fn finish_waits_for_steps_that_copy_nothing_back() {
    let Some(gpu) = common::gpu() else { return };
    let network = preset();
    let examples = Examples::noise([28, 28, 1], 256, network.classes());
    let options = Options::training(256, examples.source(), rule());
    let (lowered, mut executor) =
        executor(&Device::Gpu(gpu.clone()), &network, &options, &examples, &parameters(&network, 3));
    let indices = Vec::from_iter(0..256);
    for round in 0..3 {
        // Each step is long enough to be a submission of its own; finish must wait for the last.
        for _ in 0..3 {
            let inputs = step_inputs(&lowered, Header::evaluation(0), &examples, &indices);
            run_to(&mut *executor, &lowered, Stage::Update, &inputs);
            block_on(executor.end_step(true)).expect("the step ends");
        }
        block_on(executor.finish()).expect("the device finishes");
        assert!(gpu.is_idle(), "round {round}: finish came back while the device was at work");
    }
}
