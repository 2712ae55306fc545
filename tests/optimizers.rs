//! Compares two hundred updates on every executor with PyTorch's in f64 (`tests/golden/make_optimizers.py`). Constants
//! mean the decimals that a user wrote, even if 1 minus the constant is what matters.

mod common;

use common::rig::{Examples, devices, executor, load_decay, network, reals};
use glassnet::exec::write_reals;
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{ADADELTA, ADAM, ADAMW, MOMENTUM, NESTEROV, Rule, SGD, WINDOWGRAD};
use glassnet::program::{Options, Stage};
use glassnet::train::OptimizerSettings;
use pollster::block_on;
use serde_json::Value;

/// The largest error relative to the largest value. PyTorch in f32 deviates by up to 6e-7; a constant that is rounded
/// before it is subtracted from 1 causes at least 6e-6.
const SHARE: f64 = 2e-6;

/// Flat parameters: 60 weights, four biases, and the padding of their blocks, which is updated in the same way.
const COUNT: usize = 128;

/// After the warm-up of any moving average here.
const LATE: u32 = 1 << 24;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/optimizers.json")).expect("JSON")
}

/// The gradient of `make_optimizers.py`.
fn gradient(step: u64) -> Vec<f32> {
    let value = |i: u64| {
        let drawn = (((step * COUNT as u64 + i) * 2_654_435_761 + 12_345) % (1 << 32)) >> 8;
        (drawn as f32 - 8_388_608.0) / 16_777_216.0 / (1u32 << (i % 8)) as f32
    };
    (0..COUNT as u64).map(value).collect()
}

/// Compares the parameters, or their moving average, after all updates on every executor with PyTorch's.
fn agree(name: &str, optimizer: OptimizerSettings, ema: Option<f64>) {
    let golden = golden();
    let want: Vec<f64> = golden[name]["values"].as_array().expect(name).iter().map(|v| v.as_f64().unwrap()).collect();
    let net = network(
        "layers = [{ type = 'input', height = 3, width = 5, channels = 1 }, { type = 'fc', outputs = 4 }, { type = 'softmax' }]",
    );
    let examples = Examples::noise([3, 5, 1], 2, 4);
    let options = Options { ema, ..Options::training(2, examples.source(), optimizer.rule()) };
    for device in devices() {
        let (lowered, mut executor) = executor(&device, &net, &options, &examples, &net.initial_parameters(1));
        load_decay(&mut *executor, &lowered, 0.0, 0.0);
        let trainable = lowered.trainable.expect("it trains");
        assert_eq!(lowered.parameters.len, COUNT);
        for tensor in [Some(lowered.parameters), trainable.average, trainable.state].into_iter().flatten() {
            write_reals(&mut *executor, tensor.id, &vec![0.0; tensor.len]).expect("written");
        }
        for step in 0..golden["steps"].as_u64().expect("a number") {
            let [correction1, correction2] = optimizer.corrections(step + 1).map(|correction| correction as f32);
            let learning_rate = optimizer.learning_rate() as f32;
            let header = Header { step: LATE, learning_rate, correction1, correction2, ..Header::evaluation(2) };
            executor.begin_step(&lowered.input_words(header, &[0, 1], &[0, 1])).expect("the step begins");
            write_reals(&mut *executor, trainable.gradients.id, &gradient(step)).expect("written");
            executor.run(lowered.stage(Stage::Update)).expect("the update runs");
            block_on(executor.end_step(true)).expect("the step ends");
        }
        block_on(executor.finish()).expect("the device finishes");
        let got = reals(&mut *executor, trainable.average.unwrap_or(lowered.parameters));
        let largest = want.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
        let off = want.iter().zip(&got).map(|(want, got)| (want - f64::from(*got)).abs()).fold(0.0, f64::max);
        println!("{name} on {}: off by {:.1e}", device.info().executor, off / largest);
        assert!(off <= SHARE * largest, "{name} on {}: off by {:.1e}", device.info(), off / largest);
    }
}

#[test]
fn adam_agrees_with_pytorch_whatever_its_betas() {
    let adam = |beta1, beta2| OptimizerSettings::of(Rule::new(&ADAM).with("beta1", beta1).with("beta2", beta2), 1e-3);
    agree("adam", adam(0.9, 0.999), None);
    agree("adam_slow", adam(0.99, 0.99999), None);
    agree("adam_fast", adam(0.25, 0.4), None);
    agree("adamw", OptimizerSettings::of(Rule::new(&ADAMW), 1e-3), None);
}

#[test]
fn running_means_agree_with_pytorch_whatever_their_rho() {
    for (name, rho) in [("windowgrad", 0.99), ("windowgrad_slow", 0.9999)] {
        agree(name, OptimizerSettings::of(Rule::new(&WINDOWGRAD).with("rho", rho), 1e-3), None);
    }
    for (name, rho) in [("adadelta", 0.95), ("adadelta_slow", 0.9999)] {
        agree(name, OptimizerSettings::of(Rule::new(&ADADELTA).with("rho", rho), 1.0), None);
    }
}

#[test]
fn momentum_agrees_with_pytorch() {
    agree("momentum", OptimizerSettings::of(Rule::new(&MOMENTUM), 0.01), None);
    agree("nesterov", OptimizerSettings::of(Rule::new(&NESTEROV), 0.01), None);
}

#[test]
fn moving_averages_agree_with_pytorch_whatever_their_decay() {
    for decay in [0.2, 0.9999, 0.99999] {
        agree(&format!("ema_{decay}"), OptimizerSettings::of(Rule::new(&SGD), 0.01), Some(decay));
    }
}
