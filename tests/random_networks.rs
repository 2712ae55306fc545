//! Random networks of any legal stack of layers: a whole training step on every executor, compared with the reference.
//!
//! First operation by operation, so that each is compared separately; then the whole step at once on the processor,
//! where operations run in parts of the batch, bit by bit against the same operations one by one. `PROPTEST_CASES=N`
//! draws N networks.

mod common;

use common::rig::{Examples, devices, executor, load_decay, parameters, run_to, step_inputs, words};
use glassnet::exec::lockstep::lockstep;
use glassnet::exec::{Device, Executor};
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{OPTIMIZERS, Rule};
use glassnet::net::{Activation, Augmentation, Factors, Flip, Initializer, Layer, Network, Targets};
use glassnet::program::{Options, Stage, TrainingStep};
use pollster::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// Numbers that determine one layer. They have no meaning of their own, so that a failure shrinks to few and small
/// numbers.
type Draw = [u8; 8];

/// A training step of a network.
#[derive(Debug)]
struct Step {
    network: Network,
    batch: usize,
    valid: usize,
    rule: Rule,
    clip_norm: Option<f32>,
    ema: Option<f64>,
}

/// A number from `low` to `high`.
fn pick(number: u8, low: usize, high: usize) -> usize {
    low + usize::from(number) % (high - low + 1)
}

fn pair([first, second]: [u8; 2], low: usize, high: usize) -> [usize; 2] {
    [pick(first, low, high), pick(second, low, high)]
}

fn divisor(number: u8, of: usize) -> usize {
    let divisors: Vec<usize> = (1..=of).filter(|d| of.is_multiple_of(*d)).collect();
    divisors[usize::from(number) % divisors.len()]
}

/// The layer that `d` stands for, after `channels` channels; it may not fit there.
fn layer(d: Draw, channels: usize) -> Layer {
    let share = f32::from(d[1]) / 256.0;
    let (size, stride) = (pair([d[1], d[2]], 1, 4), pair([d[3], d[4]], 1, 3));
    // Half of the pads are 0.
    let pad = pair([d[5], d[6]], 0, 5).map(|pad| pad.saturating_sub(3));
    match d[0] % 20 {
        0..4 => {
            let groups = divisor(d[7], channels);
            // Multiples of four use separate kernels.
            let most = if d[7] < 128 { 3 } else { 9 };
            let filters = groups * pick(d[7] / 8, 1, most) * if d[6] < 128 && groups < 4 { 4 } else { 1 };
            let dilation = pair([d[3] / 16, d[4] / 16], 1, 2);
            Layer::Conv { filters, kernel: size, stride, pad, dilation, groups }
        }
        4 => Layer::MaxPool { size, stride, pad },
        5 => Layer::AvgPool { size, stride, pad },
        6 | 7 => Layer::Activation(Activation::Relu),
        8 => Layer::Activation(Activation::LeakyRelu { slope: share.max(0.01) }),
        9 => Layer::Activation(Activation::Sigmoid),
        10 => Layer::Activation(Activation::Tanh),
        11 => Layer::Maxout { group: divisor(d[1], channels) },
        12 => Layer::Lrn { size: pick(d[1], 1, 6), k: 0.5 + share, alpha: share, beta: 0.75 },
        13 => Layer::Dropout { rate: share * 0.9 },
        14 => Layer::GlobalAvgPool,
        16..19 => Layer::Residual { body: pick(d[1], 1, 4), shortcut: pick(d[2], 0, 5).saturating_sub(3) },
        15 => Layer::BatchNorm { epsilon: 0.01 + share, momentum: share },
        _ => Layer::Fc { outputs: pick(d[1], 1, 40) },
    }
}

/// The augmentation of half of the networks; only whole pixels, so that lockstep's tolerances hold.
fn augmentation(d: Draw, network: &Network) -> Augmentation {
    if d[3] < 128 {
        return Augmentation::default();
    }
    let input = network.input_shape();
    let flip = match d[3] % 4 {
        0 => Flip::ALL,
        1 => Flip::default(),
        _ => Flip::of((0..network.classes() as u8).filter(|class| class % 2 == d[3] / 4 % 2)),
    };
    let pad = pick(d[4], 0, input.height.min(input.width) / 2);
    Augmentation { pad, flip, erase: f64::from(d[5] % 5) / 4.0, ..Augmentation::default() }
}

fn rule(number: u8) -> Rule {
    let rule = Rule::new(OPTIMIZERS[usize::from(number) % OPTIMIZERS.len()]);
    // Not too small for the values in a random network.
    match rule.optimizer.name {
        "nesterov" => rule.with("momentum", 0.8),
        "adagrad" => rule.with("epsilon", 1e-8),
        "windowgrad" => rule.with("rho", 0.9),
        "adamw" => rule.with("beta2", 0.99),
        _ => rule,
    }
}

/// A legal network; layers that do not fit after the previous ones are left out.
fn step(head: Draw, draws: &[Draw]) -> Step {
    let [height, width, channels] = [pick(head[0], 1, 13), pick(head[1], 1, 13), pick(head[2], 1, 5)];
    let classes = pick(head[3], 2, 11);
    let (loss, outputs) = match head[4] % 5 {
        0 => (Layer::Hinge, classes),
        1 => (Layer::Mse { targets: Targets::OneHot }, classes),
        2 => (Layer::Mse { targets: Targets::Number }, 1),
        3 => (Layer::Softmax { label_smoothing: 0.1 }, classes),
        _ => (Layer::Softmax { label_smoothing: 0.0 }, classes),
    };
    let end = [(Layer::Fc { outputs }, 0.1), (loss, 0.0)];
    let legal = |layers: &[(Layer, f32)]| {
        let layers = [layers, &end[..]].concat();
        Network::from_layers("random", &layers, Initializer::default())
    };
    let mut layers = vec![(Layer::Input { height, width, channels }, 0.0)];
    let mut network = legal(&layers).expect("an input and an fc");
    for draw in draws {
        let channels = network.nodes[layers.len() - 1].output.channels;
        layers.push((layer(*draw, channels), 0.0));
        match legal(&layers) {
            Ok(longer) => network = longer,
            Err(_) => drop(layers.pop()),
        }
    }
    for (node, draw) in network.nodes.iter_mut().zip(draws) {
        let [rate, decay] = [draw[6], draw[7]].map(|number| f32::from(number % 4) / 2.0);
        node.factors = Factors { rate, decay };
    }
    network.augmentation = augmentation(head, &network);
    // Sums over batches of more than 128 have other units.
    let batch = if head[5] < 240 { pick(head[5], 1, 40) } else { pick(head[5], 129, 260) };
    let clip_norm = (head[7] < 64).then_some(0.01 * (1.0 + f32::from(head[7])));
    network.training.convnetjs_exact = Some(head[4] >= 192);
    let rule = if network.training.is_exact() { rule(head[7]).as_convnetjs() } else { rule(head[7]) };
    let ema = (head[6] < 128).then_some(f64::from(head[6]) / 128.0);
    Step { network, batch, valid: pick(head[6], 1, batch), rule, clip_norm, ema }
}

/// The device with everything that a step needs, including state, and the step's inputs.
fn prepared(step: &Step, examples: &Examples, device: &Device) -> (TrainingStep, Box<dyn Executor>, Vec<u32>) {
    let (clip_norm, ema) = (step.clip_norm, step.ema);
    let options = Options { clip_norm, ema, ..Options::training(step.batch, examples.source(), step.rule) };
    let (lowered, mut executor) = executor(device, &step.network, &options, examples, &parameters(&step.network, 5));
    load_decay(&mut *executor, &lowered, 1e-3, 1e-2);
    let trainable = lowered.trainable.expect("a step that trains");
    for tensor in [trainable.state, trainable.average].into_iter().flatten() {
        let values: Vec<u32> = (0..tensor.len).map(|i| (1e-3 * (1 + i % 7) as f32).to_bits()).collect();
        executor.write(tensor.id, &values).expect("the state is written");
    }
    let header = Header {
        step: 2,
        seed: 9,
        training: true,
        learning_rate: 0.05,
        correction1: 0.271,
        correction2: 0.002_997,
        ..Header::evaluation(0)
    };
    let indices: Vec<u32> = (0..step.valid as u32).collect();
    let inputs = step_inputs(&lowered, header, examples, &indices);
    (lowered, executor, inputs)
}

fn examples_of(step: &Step) -> Examples {
    let shape = step.network.input_shape();
    Examples::noise([shape.height, shape.width, shape.channels], step.batch, step.network.example_classes())
}

fn agrees_with_the_reference(step: &Step, devices: &[Device]) -> Result<(), TestCaseError> {
    let examples = examples_of(step);
    for device in devices.iter().filter(|device| !matches!(device, Device::Reference)) {
        let (_, mut first, inputs) = prepared(step, &examples, &Device::Reference);
        let (_, mut second, _) = prepared(step, &examples, device);
        let report = block_on(lockstep(&mut *first, &mut *second, &inputs)).expect("both devices run");
        let what = format!("{} on\n{}", device.info().executor, step.network.to_toml());
        prop_assert!(report.divergence.is_none(), "{:?} with {what}", report.divergence);
        prop_assert_eq!(report.operations, first.program().instructions.len());
    }
    Ok(())
}

fn pieces_change_no_bit(step: &Step) -> Result<(), TestCaseError> {
    let examples = examples_of(step);
    let (lowered, mut whole, inputs) = prepared(step, &examples, &Device::Cpu);
    let (_, mut single, _) = prepared(step, &examples, &Device::Cpu);
    run_to(&mut *whole, &lowered, Stage::Statistics, &inputs);
    single.begin_step(&inputs).expect("the step begins");
    for i in 0..single.program().instructions.len() {
        single.run(i..i + 1).expect("the operation runs");
    }
    for instruction in whole.program().instructions.clone() {
        for output in instruction.op.outputs {
            let same = words(&mut *whole, output) == words(&mut *single, output);
            prop_assert!(same, "{} of\n{}", instruction.name, step.network.to_toml());
        }
    }
    Ok(())
}

#[test]
fn a_training_step_of_any_network_agrees_with_the_reference() {
    let devices = devices();
    // Fixed, so that a failure can be repeated; PROPTEST_CASES and PROPTEST_RNG_SEED choose others.
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64),
        rng_seed: match std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()) {
            Some(seed) => RngSeed::Fixed(seed),
            None => RngSeed::Fixed(1),
        },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let strategy = (any::<Draw>(), vec(any::<Draw>(), 0..10));
    let outcome = TestRunner::new(config).run(&strategy, |(head, draws)| {
        let step = step(head, &draws);
        agrees_with_the_reference(&step, &devices)?;
        pieces_change_no_bit(&step)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
