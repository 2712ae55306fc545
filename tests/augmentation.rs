//! Augmented batches as the executors gather them: varied in training, unchanged in evaluation.

mod common;

use common::golden::{self, Golden};
use common::rig::{self, Examples, devices, network, parameters, reals, step_inputs};
use glassnet::exec::Device;
use glassnet::kernels::batch::{Header, Place};
use glassnet::net::{Augmentation, Network};
use glassnet::program::{Options, Stage};

const LAYERS: &str = r#"
layers = [
    { type = "input", height = 12, width = 10, channels = 2, crop = true },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]
"#;
const TABLE: &str = "[augmentation]\nrotation = 20\nscale = 0.2\nshear = 10\nshift = 1.5\nelastic = 2\n";
/// Augmentations that need no sampling.
const WHOLE: &str = "[augmentation]\npad = 3\nflip = [0, 2]\nerase = 0.5\n";

fn augmented() -> Network {
    network(&format!("{LAYERS}{TABLE}pad = 2\nflip = [1]\nerase = 0.5\n"))
}

fn in_whole_pixels() -> Network {
    network(&format!("{LAYERS}{WHOLE}"))
}

/// The input of the first layer in one step.
fn batch(device: &Device, network: &Network, header: Header) -> Vec<f32> {
    batch_of(&Examples::noise([14, 14, 2], 50, network.classes()), &[3, 1, 4, 15, 9, 3], 8, device, network, header)
}

/// The input of the first layer for these examples, in a batch that may be larger than their number.
fn batch_of(
    examples: &Examples,
    indices: &[u32],
    batch: usize,
    device: &Device,
    network: &Network,
    header: Header,
) -> Vec<f32> {
    let options = Options::evaluation(batch, examples.source());
    let (lowered, mut executor) = rig::executor(device, network, &options, examples, &parameters(network, 1));
    let inputs = step_inputs(&lowered, header, examples, indices);
    rig::run_to(&mut *executor, &lowered, Stage::Batch, &inputs);
    let input = lowered.nodes[0].activation;
    reals(&mut *executor, input)
}

fn training(step: u32, seed: u32) -> Header {
    Header { step, seed, training: true, ..Header::evaluation(0) }
}

#[test]
fn evaluation_gets_the_same_bits_with_and_without_augmentation() {
    for device in devices() {
        let networks = [augmented(), in_whole_pixels(), network(LAYERS)];
        let batches = networks.map(|network| batch(&device, &network, Header::evaluation(0)));
        assert!(batches[0] == batches[2] && batches[1] == batches[2], "on {}", device.info());
    }
}

#[test]
fn training_examples_vary_with_step_seed_and_row() {
    for device in devices() {
        // The input is as large as the images, so no crop varies anything.
        let whole = LAYERS.replace("height = 12", "height = 14").replace("width = 10", "width = 14");
        let network = network(&format!("{whole}{TABLE}"));
        let first = batch(&device, &network, training(1, 1));
        assert_eq!(first, batch(&device, &network, training(1, 1)));
        let row = 14 * 14 * 2;
        assert_ne!(first[..row], first[5 * row..6 * row], "the same example twice, on {}", device.info());
        for (step, seed) in [(2, 1), (1, 2)] {
            assert_ne!(first, batch(&device, &network, training(step, seed)), "step {step}, seed {seed}");
        }
        let plain = batch(&device, &self::network(&whole), training(1, 1));
        assert_ne!(first, plain, "on {}", device.info());
        assert_eq!(plain, batch(&device, &self::network(&whole), training(2, 2)), "nothing else varies");
        // Six of eight rows hold examples.
        assert!(first[6 * row..].iter().all(|v| *v == 0.0), "on {}", device.info());
    }
}

#[test]
fn every_executor_draws_the_same() {
    let header = training(5, 9);
    for (network, most) in [(augmented(), 1e-4), (in_whole_pixels(), 2e-7)] {
        let truth = batch(&Device::Reference, &network, header);
        for device in devices() {
            let values = batch(&device, &network, header);
            let worst = truth.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < most, "{worst} on {}", device.info());
        }
    }
}

#[test]
fn evaluation_looks_at_the_crop_in_the_place_that_it_is_given() {
    let examples = Examples::noise([14, 14, 2], 50, 3);
    for device in devices() {
        let place = Place { row: 1, column: 9, mirrored: true };
        let values = batch(&device, &in_whole_pixels(), Header { place: Some(place), ..Header::evaluation(0) });
        // The first row's example, number 3, with three pixels of padding.
        for (i, value) in values[..12 * 10 * 2].iter().enumerate() {
            let (y, x, channel) = (i / 20 + 1, 9 - i / 2 % 10 + 9, i % 2);
            let inside = (3..17).contains(&y) && (3..17).contains(&x);
            let byte = if inside { examples.pixels[((3 * 14 + y - 3) * 14 + x - 3) * 2 + channel] } else { 0 };
            let expected = f32::from(byte) / 255.0 - 0.5;
            assert!((value - expected).abs() < 2e-7, "value {i} is {value}, not {expected}, on {}", device.info());
        }
    }
}

/// One part of an augmentation, or none, or all of it, as `make_golden.py` names them.
fn part(name: &str, all: Augmentation) -> Augmentation {
    let none = Augmentation::default();
    match name {
        "crop" => none,
        "rotation" => Augmentation { rotation: all.rotation, ..none },
        "scale" => Augmentation { scale: all.scale, ..none },
        "shear" => Augmentation { shear: all.shear, ..none },
        "shift" => Augmentation { shift: all.shift, ..none },
        "pad" => Augmentation { pad: all.pad, ..none },
        "flip" => Augmentation { flip: all.flip, ..none },
        "all" => all,
        other => panic!("{other} is no part"),
    }
}

#[test]
fn pytorchs_grid_samples_are_the_examples_of_every_executor() {
    let (golden, full) = (Golden::open("augmented"), golden::network("augmented"));
    let examples = golden.examples();
    let indices: Vec<u32> = (0..examples.labels.len() as u32).collect();
    let header = training(golden.scalar("step") as u32, golden.scalar("seed") as u32);
    for device in devices() {
        for name in ["crop", "rotation", "scale", "shear", "shift", "pad", "flip", "all"] {
            let network = Network { augmentation: part(name, full.augmentation), ..full.clone() };
            let values = batch_of(&examples, &indices, indices.len(), &device, &network, header);
            let expected = golden.values(name);
            assert_eq!(values.len(), expected.len());
            let worst = values.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            println!("{name}: {worst:e} on {}", device.info());
            assert!(worst <= 1e-5, "{name}: off by {worst:e} on {}", device.info());
        }
    }
}
