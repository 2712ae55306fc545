//! PyTorch's numbers on every executor: activations, gradients, losses, and ten updates with each optimizer.
//! `tests/golden/README.md` describes the files.

mod common;

use common::golden::{Golden, network};
use common::rig::{self, devices, executor, load_decay, reals, run_to, step_inputs};
use glassnet::data::Examples;
use glassnet::evaluate::{evaluate_crops, scores};
use glassnet::exec::{Device, Executor};
use glassnet::formats::layout::{pytorch_shape, to_pytorch};
use glassnet::inspect::Inspector;
use glassnet::kernels::Tensor;
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{self, Rule};
use glassnet::net::Network;
use glassnet::program::{Options, Stage, TrainingStep};
use pollster::block_on;

/// The seed of `make_golden.py`.
const SEED: u32 = 7;

/// The largest error relative to a tensor's largest value. PyTorch in f32 deviates by up to 7e-7 from these values,
/// which it computed in f64; ten times that allows for other orders of summation. Every mistake tried in a formula or
/// an update rule (the README lists them) exceeds it.
const SHARE: f64 = 1e-5;

/// Compares every value with PyTorch's; written so that a NaN fails.
fn compare(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let allowed = SHARE * want.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    assert!(allowed > 0.0, "{what} is all zeros and proves nothing");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= allowed, "{what} [{i}]: {got:e} instead of {want:e}, {allowed:.1e} allowed");
    }
}

/// One forward and backward pass on a device, to be read.
struct Pass {
    what: String,
    network: Network,
    golden: Golden,
    lowered: TrainingStep,
    executor: Box<dyn Executor>,
}

impl Pass {
    fn run(name: &str, device: &Device) -> Pass {
        let (network, golden) = (network(name), Golden::open(name));
        let examples = golden.examples();
        let batch = examples.labels.len();
        let options = Options::inspection(batch, examples.source());
        let (lowered, mut executor) = executor(device, &network, &options, &examples, &golden.parameters(&network));
        let indices: Vec<u32> = (0..batch as u32).collect();
        let inputs = step_inputs(&lowered, Header::evaluation(0), &examples, &indices);
        run_to(&mut *executor, &lowered, Stage::Unfused, &inputs);
        Pass { what: format!("{name} on {}", device.info().executor), network, golden, lowered, executor }
    }

    fn compare(&mut self, name: &str, tensor: Tensor, arrange: impl Fn(&[f32]) -> Vec<f32>) {
        let got: Vec<f64> = arrange(&reals(&mut *self.executor, tensor)).into_iter().map(f64::from).collect();
        compare(&format!("{}: {name}", self.what), &got, &self.golden.values(name));
    }
}

fn for_each_pass(name: &str, check: impl Fn(&mut Pass)) {
    for device in devices() {
        check(&mut Pass::run(name, &device));
    }
}

fn activations_and_their_gradients(name: &str) {
    for_each_pass(name, |pass| {
        for (i, node) in pass.network.nodes.clone().iter().enumerate() {
            let tensors = pass.lowered.nodes[i];
            let gradient = tensors.activation_gradient.expect("inspection plans every gradient");
            pass.compare(&format!("{}.activation", node.name), tensors.activation, <[f32]>::to_vec);
            pass.compare(&format!("{}.activation_gradient", node.name), gradient, <[f32]>::to_vec);
        }
    });
}

fn parameter_gradients_in_pytorchs_order(name: &str) {
    for_each_pass(name, |pass| {
        for (i, node) in pass.network.nodes.clone().iter().enumerate() {
            let Some(p) = pass.lowered.nodes[i].parameters else { continue };
            let weight = p.weight_gradient.expect("planned with backward");
            let bias = p.bias_gradient.expect("planned with backward");
            let shape = pass.golden.get(&format!("{}.weight_gradient", node.name)).0;
            assert_eq!(Some(shape), pytorch_shape(node));
            pass.compare(&format!("{}.weight_gradient", node.name), weight, |values| to_pytorch(node, values));
            pass.compare(&format!("{}.bias_gradient", node.name), bias, <[f32]>::to_vec);
        }
    });
}

fn mean_loss(name: &str) {
    for_each_pass(name, |pass| {
        let (loss, batch) = (pass.lowered.outputs.loss, pass.lowered.batch);
        pass.compare("loss", loss, |sum| vec![sum[0] / batch as f32]);
    });
}

/// The optimizers of `make_golden.py`. Its `l1` is SGD's.
fn rule(optimizer: &str) -> Rule {
    match optimizer {
        "adadelta" => Rule::new(&optimizer::ADADELTA).with("epsilon", 1e-8),
        "adam" => Rule::new(&optimizer::ADAM),
        "adamw" | "l1_adamw" => Rule::new(&optimizer::ADAMW),
        "momentum" | "clipped" | "averaged" => Rule::new(&optimizer::MOMENTUM),
        "nesterov" => Rule::new(&optimizer::NESTEROV),
        "adagrad" => Rule::new(&optimizer::ADAGRAD),
        "windowgrad" => Rule::new(&optimizer::WINDOWGRAD).with("rho", 0.9),
        "sgd" | "l1" => Rule::new(&optimizer::SGD),
        other => panic!("{other} is no optimizer"),
    }
}

/// Trains on the ten batches, of which the fifth is partial; compares the losses before each update, and the weights,
/// or their moving average, after the last.
fn successive_losses_and_weights(name: &str, optimizer: &str) {
    let (network, golden) = (network(name), Golden::open(&format!("{name}_training")));
    let (examples, first) = (golden.examples(), Golden::open(name).parameters(&network));
    let sizes = golden.values("batch_sizes");
    let clip_norm = (optimizer == "clipped").then_some(2.2);
    let ema = (optimizer == "averaged").then_some(0.35);
    let options = Options { clip_norm, ema, ..Options::training(4, examples.source(), rule(optimizer)) };
    let scalar = |what: &str| golden.scalar(&format!("{optimizer}.{what}"));
    let (rate, l1, l2) = (scalar("learning_rate"), scalar("l1_decay"), scalar("l2_decay"));
    let (losses, decay_losses) =
        (golden.values(&format!("{optimizer}.losses")), golden.values(&format!("{optimizer}.decay_losses")));
    for device in devices() {
        let what = format!("{name} with {optimizer} on {}", device.info().executor);
        let (lowered, mut executor) = executor(&device, &network, &options, &examples, &first);
        load_decay(&mut *executor, &lowered, l1 as f32, l2 as f32);
        let average = lowered.trainable.and_then(|t| t.average);
        if let Some(average) = average {
            executor.copy(lowered.parameters.id, average.id).expect("the average starts at the weights");
        }
        let plan = &lowered.statistics;
        let mut start = 0;
        for (step, size) in sizes.iter().take(losses.len()).enumerate() {
            let indices: Vec<u32> = (start..start + *size as u32).collect();
            start += *size as u32;
            let correction = |beta: f64| (1.0 - beta.powi(step as i32 + 1)) as f32;
            let header = Header {
                step: step as u32,
                learning_rate: rate as f32,
                correction1: correction(0.9),
                correction2: correction(0.999),
                seed: SEED,
                // By batches if anything is normalised, with dropout and smoothed targets.
                training: true,
                ..Header::evaluation(0)
            };
            let inputs = step_inputs(&lowered, header, &examples, &indices);
            run_to(&mut *executor, &lowered, Stage::Statistics, &inputs);
            let captured = [lowered.outputs.loss.id, plan.counts.id, plan.values.id];
            executor.capture(step as u64, &captured).expect("the figures are captured");
            block_on(executor.end_step(true)).expect("the step ends");
        }
        block_on(executor.finish()).expect("the device finishes");
        if let Some(average) = average {
            executor.copy(average.id, lowered.parameters.id).expect("the average takes the weights' place");
        }

        let captures = executor.captured().expect("every capture arrives");
        assert!(captures.iter().map(|c| c.tag).eq(0..losses.len() as u64), "{what}: captures come in order");
        let mean = |(c, size): (&glassnet::exec::Capture, &f64)| f64::from(f32::from_bits(c.buffers[0][0])) / size;
        compare(&format!("{what}: losses"), &captures.iter().zip(&sizes).map(mean).collect::<Vec<_>>(), &losses);
        let decay =
            |c: &glassnet::exec::Capture| plan.decode(&c.buffers[1], &c.buffers[2]).decay_loss(&network, l1, l2);
        compare(&format!("{what}: decay losses"), &captures.iter().map(decay).collect::<Vec<_>>(), &decay_losses);
        for (node, tensors) in network.nodes.iter().zip(&lowered.nodes) {
            let Some(p) = tensors.parameters else { continue };
            let double = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
            let weight = double(to_pytorch(node, &reals(&mut *executor, p.weight)));
            let bias = double(reals(&mut *executor, p.bias));
            let mut kinds = vec![("weight", weight), ("bias", bias)];
            if let Some(running) = p.running {
                let mut mean = double(reals(&mut *executor, running));
                let variance = mean.split_off(mean.len() / 2);
                kinds.extend([("running_mean", mean), ("running_var", variance)]);
            }
            for (kind, values) in kinds {
                let want = golden.values(&format!("{optimizer}.{}.{kind}", node.name));
                compare(&format!("{what}: {}.{kind}", node.name), &values, &want);
            }
        }
    }
}

/// A test for each network of the golden files.
macro_rules! on_every_network {
    ($($network:ident)*) => {$(
        mod $network {
            const NAME: &str = stringify!($network);

            #[test]
            fn activations_and_their_gradients() {
                super::activations_and_their_gradients(NAME);
            }

            #[test]
            fn parameter_gradients_in_pytorchs_order() {
                super::parameter_gradients_in_pytorchs_order(NAME);
            }

            #[test]
            fn mean_loss() {
                super::mean_loss(NAME);
            }

            #[test]
            fn ten_updates_with_adadelta() {
                super::successive_losses_and_weights(NAME, "adadelta");
            }

            #[test]
            fn ten_updates_with_adam() {
                super::successive_losses_and_weights(NAME, "adam");
            }

            #[test]
            fn ten_updates_with_adamw() {
                super::successive_losses_and_weights(NAME, "adamw");
            }

            #[test]
            fn ten_updates_with_nesterov() {
                super::successive_losses_and_weights(NAME, "nesterov");
            }

            #[test]
            fn ten_updates_with_adagrad() {
                super::successive_losses_and_weights(NAME, "adagrad");
            }

            #[test]
            fn ten_updates_with_windowgrad() {
                super::successive_losses_and_weights(NAME, "windowgrad");
            }

            #[test]
            fn ten_updates_with_momentum() {
                super::successive_losses_and_weights(NAME, "momentum");
            }

            #[test]
            fn ten_updates_with_sgd() {
                super::successive_losses_and_weights(NAME, "sgd");
            }

            #[test]
            fn ten_updates_with_l1_decay() {
                super::successive_losses_and_weights(NAME, "l1");
            }

            #[test]
            fn ten_updates_with_l1_decay_beside_adamws_step() {
                super::successive_losses_and_weights(NAME, "l1_adamw");
            }
        }
    )*};
}

#[test]
fn ten_updates_whose_gradient_is_clipped() {
    successive_losses_and_weights("spread", "clipped");
}

#[test]
fn the_moving_average_of_the_weights_of_ten_updates() {
    successive_losses_and_weights("spread", "averaged");
}

#[test]
fn the_mean_over_crops_and_its_loss() {
    let (golden, network) = (Golden::open("crops"), Network { crop: true, ..network("convnetjs_mnist") });
    let parameters = Golden::open("convnetjs_mnist").parameters(&network);
    let rig::Examples { shape, pixels, labels } = golden.examples();
    let labels = labels.into_iter().map(|label| label as u8).collect();
    let examples = Examples { shape, classes: 10, pixels, labels, numbers: vec![] };
    for device in devices() {
        let what = format!("five crops on {}", device.info().executor);
        let scores = block_on(scores(&device, &network, &parameters, &examples, 2, 5)).expect("scores");
        let scores: Vec<f64> = scores.into_iter().flatten().map(f64::from).collect();
        compare(&format!("{what}: probabilities"), &scores, &golden.values("probabilities"));
        let evaluation = evaluate_crops(&device, &network, &parameters, &examples, 2, 5);
        let loss = block_on(evaluation).expect("it evaluates").loss;
        compare(&format!("{what}: loss"), &[loss], &golden.values("loss"));
    }
}

on_every_network!(small_a small_b zoo spread blocks hinge mse number dropped convnetjs_mnist);

/// For every image of the networks that are explained, on every device.
#[test]
fn saliency_grad_cam_and_occlusion() {
    let golden = Golden::open("explanations");
    let explained = [
        ("zoo", "maxout1"),
        ("blocks", "residual3"),
        ("hinge", "leaky1"),
        ("mse", "tanh1"),
        ("number", "tanh1"),
        ("convnetjs_mnist", "relu2"),
    ];
    for ((name, layer), device) in explained.into_iter().flat_map(|one| devices().into_iter().map(move |d| (one, d))) {
        let (network, file) = (network(name), Golden::open(name));
        let examples = file.examples();
        let inspector = block_on(Inspector::new(&device, &network, examples.shape, network.example_classes()));
        let mut inspector = inspector.expect("it fits");
        inspector.load(&file.parameters(&network)).expect("the weights are written");
        for (i, image) in examples.pixels.chunks_exact(examples.shape.iter().product()).enumerate() {
            let explanation = block_on(inspector.explain(image, None)).expect("it explains");
            let what = format!("{name} [{i}] on {}", device.info().executor);
            assert_eq!(explanation.class as f64, golden.scalar(&format!("{name}.{i}.winner")), "{what}");
            let grad_cam = explanation.grad_cam.as_ref().expect("it has maps");
            assert_eq!(grad_cam.layer, layer);
            let pairs = [
                ("saliency", &explanation.saliency),
                ("grad_cam", &grad_cam.map),
                ("grad_cam_enlarged", &grad_cam.enlarged),
                ("occlusion", &explanation.occlusion.map),
            ];
            for (key, tensor) in pairs {
                let (shape, want) = golden.get(&format!("{name}.{i}.{key}"));
                assert_eq!(tensor.shape, shape, "{what}: {key}");
                let got: Vec<f64> = tensor.values.iter().map(|value| f64::from(*value)).collect();
                // Occlusion maps are differences of scores; Grad-CAM, a sum of parts, may be zero.
                let floor = match key {
                    "saliency" => 0.0,
                    "occlusion" => f64::from(explanation.score).abs(),
                    _ => 0.01,
                };
                let allowed = SHARE * largest(&want).max(floor);
                for (place, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert!((got - want).abs() <= allowed, "{what}: {key} [{place}]: {got:e} instead of {want:e}");
                }
            }
        }
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}
