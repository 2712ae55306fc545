//! The timed work: training steps over random images that are drawn once, from a fixed seed.
//!
//! Images are noise with a brighter band whose place shows the class, so that there is something to learn. On noise
//! alone units die within seconds, and the processor's convolutions, which skip zero gradients, would seem faster than
//! they are in training. The band of every fifth image is at a random place, so that the loss stays above zero.
//!
//! Every batch is full, because a partial one would cost as much for fewer examples.

use crate::data::Examples;
use crate::error::Result;
use crate::exec::{Device, Executor, upload_examples, upload_parameters, write_reals};
use crate::net::Network;
use crate::program::{Options, Source, Stage, TrainingStep};
use crate::train::{Settings, Tuner};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use std::ops::Range;
use std::sync::Arc;

/// The seed of images, labels, order and initial weights.
pub const SEED: u64 = 1;
/// Images in the data set: more than a processor's first caches hold, but few enough to be drawn at once.
const EXAMPLES: usize = 4096;
/// The most bytes of the data set; networks with large inputs get fewer examples.
const DATA_BYTES: usize = 64 << 20;
/// Larger than any data set here.
const PRIME: u64 = 2_654_435_761;

/// Random images with random labels.
#[derive(Debug)]
pub struct Workload {
    pub examples: Examples,
    settings: Settings,
    tuner: Tuner,
}

impl Workload {
    /// Draws as many images as the timing of `network` needs.
    pub fn new(settings: Settings, tuner: Tuner) -> Workload {
        let network = &settings.network;
        let shape = Source::usual(network, EXAMPLES).shape();
        let bytes = shape.iter().product::<usize>();
        let count = (DATA_BYTES / bytes).clamp(1, EXAMPLES);
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut pixels = vec![0; count * bytes];
        random.fill_bytes(&mut pixels);
        let classes = network.example_classes();
        // Labels are bytes; a network with more classes is timed on the first 256.
        let classes_drawn = classes.clamp(1, 256);
        let labels: Vec<u8> = (0..count).map(|_| (random.next_u32() as usize % classes_drawn) as u8).collect();
        let band = bytes.div_ceil(classes_drawn);
        for (i, (image, label)) in pixels.chunks_exact_mut(bytes).zip(&labels).enumerate() {
            let place = if i % 5 == 0 { random.next_u32() as usize % classes_drawn } else { usize::from(*label) };
            image.iter_mut().for_each(|pixel| *pixel /= 2);
            image.iter_mut().skip(place * band).take(band).for_each(|pixel| *pixel += 128);
        }
        Workload { examples: Examples { shape, classes, pixels, labels, numbers: Vec::new() }, settings, tuner }
    }

    /// The source of batches.
    fn source(&self) -> Source {
        let [height, width, channels] = self.examples.shape;
        Source { height, width, channels, examples: self.examples.len() }
    }

    /// The options for training with batches of `batch` examples.
    pub fn options(&self, batch: usize) -> Options {
        Options::training(batch, self.source(), self.settings.rule())
    }

    /// The executor of `device`, filled and ready to step.
    pub async fn runner(&self, device: &Device, network: &Network, batch: usize) -> Result<Runner> {
        let limits = device.limits();
        let mut lowered = TrainingStep::lower_within(network, &self.options(batch).on(&limits), &limits)?;
        if let Device::Gpu(gpu) = device {
            let tuned = self.tuner.tune(device, &lowered).await?;
            tuned.problems.iter().for_each(|problem| log::warn!("{problem}"));
            tuned.choices.apply(Arc::make_mut(&mut lowered.program), gpu.adapter());
        }
        let mut executor = device.executor(lowered.program.clone()).await?;
        self.fill(network, &lowered, executor.as_mut())?;
        let instructions = lowered.stages(Stage::Batch, Stage::Update);
        let labels = self.examples.labels.iter().map(|label| u32::from(*label)).collect();
        Ok(Runner { lowered, executor, instructions, labels, settings: self.settings.clone(), step: 0 })
    }

    /// Writes images, initial weights, decay and rates.
    fn fill(&self, network: &Network, step: &TrainingStep, executor: &mut dyn Executor) -> Result<()> {
        upload_examples(executor, step, &self.examples)?;
        upload_parameters(executor, step, &network.initial_parameters(SEED))?;
        let Some(factors) = step.trainable.map(|t| t.factors) else { return Ok(()) };
        let values = step.block_factors(self.settings.l1_decay as f32, self.settings.l2_decay as f32);
        write_reals(executor, factors.id, &values)
    }
}

/// An executor that trains, step by step.
pub struct Runner {
    pub lowered: TrainingStep,
    pub executor: Box<dyn Executor>,
    /// The instructions from gather to update.
    pub instructions: Range<usize>,
    labels: Vec<u32>,
    settings: Settings,
    step: u64,
}

impl Runner {
    /// Examples per step.
    pub fn batch(&self) -> usize {
        self.lowered.batch
    }

    /// Queues the inputs of the next step, prepared on the host as in training.
    pub fn begin_step(&mut self) -> Result<()> {
        let batch = self.batch();
        let first = self.step * batch as u64;
        let examples = self.labels.len() as u64;
        // The prime does not divide any data set's size, so every example gets its turn, in an order that caches cannot
        // follow.
        let indices: Vec<u32> = (0..batch as u64).map(|i| ((first + i) % examples * PRIME % examples) as u32).collect();
        let labels: Vec<u32> = indices.iter().map(|i| self.labels[*i as usize]).collect();
        let header = self.settings.header(self.step, u64::MAX, batch);
        self.step += 1;
        let words = self.lowered.input_words(header, &indices, &labels);
        self.executor.begin_step(&words)
    }

    /// Queues one step.
    pub async fn step(&mut self) -> Result<()> {
        self.begin_step()?;
        self.executor.run(self.instructions.clone())?;
        self.executor.end_step(true).await
    }
}
