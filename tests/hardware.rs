//! What a training step asks of a hardware GPU, computed from its launches: the number of dispatches, and enough
//! workgroups to fill a large device.

use glassnet::kernels::optimizer::{ADADELTA, Rule};
use glassnet::kernels::sums::MAX_SPLITS;
use glassnet::kernels::{Adapter, Op, conv};
use glassnet::net::{Network, Recipe};
use glassnet::program::{DeviceClass, Options, Source, Stage, TrainingStep};
use glassnet::train::Settings;

/// The compute units of the largest device considered, and the workgroups that each of them needs at least to hide the
/// latency of its memory.
const COMPUTE_UNITS: u32 = 132;
const EACH: u32 = 4;

fn lowered(preset: &str, batch: usize) -> TrainingStep {
    let given = Recipe { batch_size: Some(batch), ..Recipe::default() };
    let settings = Settings::resolve(Network::preset(preset).expect("a preset"), &given).expect("valid settings");
    let source = Source::usual(&settings.network, 60_000);
    let options = Options { class: DeviceClass::Hardware, ..settings.options(source) };
    TrainingStep::lower(&settings.network, &options).expect("it lowers")
}

fn dispatches(op: &Op) -> Vec<glassnet::kernels::Dispatch> {
    op.dispatches(op.chosen(Adapter::HARDWARE))
}

/// A hardware adapter without cooperative matrices, and one with each kind of them.
fn adapters() -> impl Iterator<Item = Adapter> {
    Adapter::all().filter(|adapter| !adapter.software)
}

#[test]
fn a_step_of_the_default_network_has_at_most_twelve_dispatches() {
    for batch in [20, 128, 512] {
        let step = lowered("convnetjs-mnist", batch);
        let range = step.stages(Stage::Batch, Stage::Update);
        let instructions = &step.program.instructions[range];
        let names = || instructions.iter().map(|instruction| instruction.name.as_str()).collect::<Vec<_>>();
        let count: usize = instructions.iter().map(|instruction| dispatches(&instruction.op).len()).sum();
        assert!(count <= 12, "{count} at batch {batch}: {:?}", names());
    }
}

/// With batches of every size, the partial sums of a weight gradient are as many as one operation adds.
#[test]
fn no_batch_has_more_splits_than_a_sum_takes() {
    for batch in 1..=1200 {
        for (input, filters, kernel, pad) in [([24, 24, 1], 8, 5, 2), ([28, 28, 1], 32, 3, 1), ([12, 12, 8], 16, 5, 2)]
        {
            let [height, width, channels] = input;
            let p = conv::Params::new([batch, height, width, channels], filters, [kernel; 2], [1, 1], [pad; 2]);
            let splits = p.for_hardware().splits();
            assert!(splits <= MAX_SPLITS, "{splits} of {input:?} at batch {batch}");
        }
    }
}

/// Every variant of every operation can be dispatched, up to the most inputs of a fully connected layer.
#[test]
fn layers_of_every_width_have_launches() {
    for filters in [600, 766, 1_914, 5_349] {
        let text = format!(
            "layers = [{{ type = 'input', height = 28, width = 28, channels = 1 }},
            {{ type = 'conv', filters = {filters}, kernel = 1, activation = 'relu' }}, {{ type = 'fc', outputs = 10 }},
            {{ type = 'softmax' }}]"
        );
        let network = Network::from_toml(&text, "a test").expect("a network");
        let options = Options::training(1, Source::usual(&network, 100), Rule::new(&ADADELTA));
        let on_hardware = adapters().map(|adapter| (DeviceClass::Hardware, adapter));
        for (class, adapter) in on_hardware.chain([(DeviceClass::Processor, Adapter::SOFTWARE)]) {
            let step = TrainingStep::lower(&network, &Options { class, ..options }).expect("it lowers");
            for op in step.program.instructions.iter().map(|instruction| &instruction.op) {
                // Asserts that every dimension is legal.
                op.variants(adapter).for_each(|variant| drop(op.dispatches(variant)));
            }
        }
    }
}

#[test]
fn convolutions_fill_a_large_gpu() {
    let presets = ["convnetjs-mnist", "vgg-mnist"];
    for (preset, adapter) in presets.into_iter().flat_map(|preset| adapters().map(move |adapter| (preset, adapter))) {
        let step = lowered(preset, 512);
        let mut seen = 0;
        for instruction in &step.program.instructions[step.stages(Stage::Forward, Stage::Backward)] {
            let convolution =
                instruction.name.starts_with("conv") && instruction.op.operation.name.starts_with("conv.");
            if !convolution {
                continue;
            }
            seen += 1;
            let chosen = instruction.op.chosen(adapter);
            for dispatch in instruction.op.dispatches(chosen) {
                let workgroups: u32 = dispatch.launch.workgroups.iter().product();
                assert!(workgroups >= EACH * COMPUTE_UNITS, "{} of {preset}: {workgroups}", chosen.name);
            }
        }
        // Three passes of every convolution, without the input's gradient.
        let convolutions = step.nodes.iter().filter(|node| node.parameters.is_some()).count();
        assert!(seen > convolutions, "{preset}: {seen}");
    }
}
