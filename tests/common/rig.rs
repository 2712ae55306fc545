//! A network on an executor with examples, parameters and decay; runs steps and reads tensors.

use glassnet::exec::{Device, Executor, read_reals, write_reals};
use glassnet::kernels::batch::Header;
use glassnet::kernels::{Adapter, BufferId, Tensor};
use glassnet::net::{Network, Parameters};
use glassnet::program::{Options, Source, Stage, TrainingStep};
use pollster::block_on;

/// Images [N,H,W,C] as bytes, with labels.
#[derive(Clone)]
pub struct Examples {
    pub shape: [usize; 3],
    pub pixels: Vec<u8>,
    pub labels: Vec<u32>,
}

impl Examples {
    /// Noise; constant areas, as in real digits, would tie in every pooling window.
    pub fn noise(shape: [usize; 3], count: usize, classes: usize) -> Examples {
        let mut draw = noise(1);
        let pixels = (0..count * shape.iter().product::<usize>()).map(|_| (draw() * 256.0) as u8).collect();
        let labels = (0..count).map(|_| (draw() * classes as f64) as u32).collect();
        Examples { shape, pixels, labels }
    }

    pub fn source(&self) -> Source {
        let [height, width, channels] = self.shape;
        Source { height, width, channels, examples: self.labels.len() }
    }
}

/// Uniform draws from [0, 1): Vigna's splitmix64.
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A network from its layers in TOML.
pub fn network(toml: &str) -> Network {
    Network::from_toml(toml, "test.toml").expect("a valid network")
}

/// Initial weights, and biases (for batch normalisation all other values too) that all differ, so that none is mistaken
/// for another.
pub fn parameters(network: &Network, seed: u64) -> Vec<Parameters> {
    let mut draw = noise(seed);
    let mut parameters = network.initial_parameters(seed);
    for bias in parameters.iter_mut().flat_map(|p| &mut p.bias) {
        *bias += (draw() * 0.2 - 0.1) as f32;
    }
    // Batch normalisation starts with equal values in every channel.
    for normalised in parameters.iter_mut().filter(|p| !p.running_mean.is_empty()) {
        let values = [&mut normalised.weight, &mut normalised.running_mean, &mut normalised.running_variance];
        values.into_iter().flatten().for_each(|value| *value += (draw() - 0.5) as f32);
    }
    parameters
}

/// `reference`, `cpu`, and, if there is an adapter, `gpu` with the software variants and with the hardware variants.
pub fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Reference, Device::Cpu];
    if let Some(gpu) = super::gpu() {
        devices.extend(Adapter::SORTS.map(|adapter| Device::Gpu(gpu.assuming(adapter))));
    }
    devices
}

/// A training step, and its executor on `device` with examples and parameters written.
pub fn executor(
    device: &Device,
    network: &Network,
    options: &Options,
    examples: &Examples,
    parameters: &[Parameters],
) -> (TrainingStep, Box<dyn Executor>) {
    let lowered = TrainingStep::lower(network, options).expect("the network lowers");
    let mut executor = block_on(device.executor(lowered.program.clone())).expect("the device holds the program");
    load(&mut *executor, &lowered, examples, parameters);
    (lowered, executor)
}

/// Writes the examples, whole ones per chunk, and the parameters.
pub fn load(executor: &mut dyn Executor, lowered: &TrainingStep, examples: &Examples, parameters: &[Parameters]) {
    let bytes = lowered.examples_per_chunk * examples.shape.iter().product::<usize>();
    let mut chunks = examples.pixels.chunks(bytes);
    for chunk in lowered.chunks {
        let mut words = vec![0u32; chunk.len];
        for (i, byte) in chunks.next().unwrap_or(&[]).iter().enumerate() {
            words[i / 4] |= u32::from(*byte) << (8 * (i % 4));
        }
        executor.write(chunk.id, &words).expect("chunks are written");
    }
    let flat = lowered.join_parameters(parameters);
    write_reals(executor, lowered.parameters.id, &flat).expect("parameters are written");
    if let Some(numbers) = lowered.numbers {
        let values: Vec<f32> = (0..numbers.len).map(|label| label as f32).collect();
        write_reals(executor, numbers.id, &values).expect("numbers are written");
    }
}

/// Sets the optimizer's decay.
pub fn load_decay(executor: &mut dyn Executor, lowered: &TrainingStep, l1: f32, l2: f32) {
    let factors = lowered.trainable.expect("a step that trains").factors;
    let blocks = lowered.block_factors(l1, l2);
    write_reals(executor, factors.id, &blocks).expect("decay and rates are written");
}

/// The inputs of a step over the examples of `indices`; the header's count is taken from them.
pub fn step_inputs(lowered: &TrainingStep, header: Header, examples: &Examples, indices: &[u32]) -> Vec<u32> {
    let labels: Vec<u32> = indices.iter().map(|i| examples.labels[*i as usize]).collect();
    lowered.input_words(Header { valid: indices.len() as u32, ..header }, indices, &labels)
}

/// Runs the stages up to `last` on these inputs without ending the step.
pub fn run_to(executor: &mut dyn Executor, lowered: &TrainingStep, last: Stage, inputs: &[u32]) {
    executor.begin_step(inputs).expect("the step begins");
    executor.run(lowered.stages(Stage::Batch, last)).expect("the stages run");
}

/// A tensor's values.
pub fn reals(executor: &mut dyn Executor, tensor: Tensor) -> Vec<f32> {
    block_on(read_reals(executor, tensor.id)).expect("the tensor is read")
}

/// A tensor's words.
pub fn words(executor: &mut dyn Executor, buffer: BufferId) -> Vec<u32> {
    block_on(executor.read(buffer)).expect("the buffer is read")
}
