//! The memory that a program needs, whether a device can hold it, and the largest batch that fits.
//!
//! On a GPU this is its buffers. On the host it includes what operations keep besides, such as packed weights, the
//! working memory of each thread, and the caller's own needs, such as checkpoints.

use super::lower::size_obstacle;
use super::{Options, Program, TrainingStep};
use crate::error::{Error, Result};
use crate::kernels::{Adapter, BufferId, Extent, Op};
use crate::machine::mib;
use crate::net::Network;

/// How a program is computed on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// One naive operation after another.
    Naive,
    /// With packed weights, on this many threads.
    Fast { threads: usize },
    /// By a graphics driver on the processor, with this adapter's variants and copies of the buffers that they read
    /// from textures.
    Software(Adapter),
}

/// The limits of a device, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest storage buffer binding.
    pub max_binding: u64,
    /// The largest buffer.
    pub max_buffer: u64,
    /// All memory together, if the device reports it.
    pub memory: Option<u64>,
    /// How the host computes; `None` if another device does.
    pub host: Option<Host>,
    /// The facts that decide between a GPU's variants.
    pub adapter: Option<Adapter>,
    /// The memory needed besides the program, for any batch.
    pub beside: u64,
    /// The additional memory that a step needs, depending on its batch.
    pub along: fn(&TrainingStep) -> u64,
}

impl Limits {
    /// These limits with more memory needed besides the program.
    pub fn beside(self, bytes: u64) -> Limits {
        Limits { beside: self.beside.saturating_add(bytes), ..self }
    }

    /// These limits after more memory is freed.
    pub fn freed(self, bytes: u64) -> Limits {
        Limits { memory: self.memory.map(|memory| memory.saturating_add(bytes)), ..self }
    }
}

/// The working memory of a thread: im2col blocks and panels of matrix products.
const THREAD: u64 = 1 << 20;
/// A software driver's memory besides buffers: compiled shaders and staging.
const DRIVER: u64 = 32 << 20;

impl Program {
    /// The bytes of all buffers.
    pub fn memory(&self) -> u64 {
        self.roots().map(|(_, bytes)| bytes).sum()
    }

    /// The bytes of the largest buffer.
    pub fn largest_buffer(&self) -> u64 {
        self.roots().map(|(_, bytes)| bytes).max().unwrap_or(0)
    }

    /// Every buffer that owns memory, with its size in bytes, largest first: the memory plan.
    pub fn memory_plan(&self) -> Vec<(&str, u64)> {
        let mut plan: Vec<_> = self.roots().collect();
        plan.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        plan
    }

    /// The bytes of working memory besides the buffers.
    fn working(&self, host: Host) -> u64 {
        let bytes = |id: &BufferId| 4 * self.buffer(*id).len as u64;
        let ops = || self.instructions.iter().map(|instruction| &instruction.op);
        match host {
            // Sums in f64.
            Host::Naive => ops().flat_map(|op| &op.outputs).map(|id| 2 * bytes(id)).max().unwrap_or(0),
            Host::Software(adapter) => DRIVER + self.in_textures(adapter) + 4 * self.scratch_words(adapter) as u64,
            Host::Fast { threads } => {
                let prepared = || ops().filter(|op| op.prepare().is_some());
                let whole = |op: &Op| -> u64 {
                    let inputs = op.inputs.iter().zip(op.operation.inputs);
                    inputs.filter(|(_, operand)| operand.extent == Extent::Whole).map(|(id, _)| bytes(id)).sum()
                };
                let example = |op: &Op| -> u64 {
                    let all = op.inputs.iter().chain(&op.outputs).map(bytes).sum::<u64>();
                    all.saturating_sub(whole(op)) / self.examples.unwrap_or(1) as u64
                };
                // Padded images, and im2col rows that are no longer than one.
                let thread = THREAD + 2 * prepared().map(example).max().unwrap_or(0);
                prepared().map(whole).sum::<u64>() + threads as u64 * thread
            }
        }
    }

    /// The bytes of copies in textures.
    fn in_textures(&self, adapter: Adapter) -> u64 {
        let reads = self.instructions.iter().map(|instruction| &instruction.op);
        let reads = reads.flat_map(|op| op.chosen(adapter).textures.iter().map(|t| (op.input(t.input), t.texel)));
        let images: std::collections::BTreeSet<_> = reads.collect();
        images.into_iter().map(|(id, _)| 4 * self.buffer(id).len as u64).sum()
    }

    /// The number of words of scratch for an adapter's variants, enough for each of them.
    pub fn scratch_words(&self, adapter: Adapter) -> usize {
        let ops = self.instructions.iter().map(|instruction| &instruction.op);
        ops.map(|op| op.chosen(adapter).scratch_words(op)).max().unwrap_or(0)
    }

    fn roots(&self) -> impl Iterator<Item = (&str, u64)> {
        let own = self.buffers.iter().filter(|b| b.parent.is_none());
        own.map(|b| (b.name.as_str(), 4 * (b.len as u64 + b.guard as u64)))
    }
}

impl TrainingStep {
    /// The bytes that an executor of the step's program uses: its buffers, and on the host its working memory.
    pub fn footprint(&self, host: Option<Host>) -> u64 {
        // Before the first step, the data set is packed chunk by chunk, and weights are drawn and joined.
        let packed = self.chunks.iter().map(|chunk| 4 * chunk.len as u64).max().unwrap_or(0);
        let uploaded = packed.max(8 * self.parameters.len as u64);
        let host = host.map_or(0, |host| match host {
            // wgpu keeps a copy of all uploaded data until the first step, when the textures already exist.
            Host::Software(_) => {
                self.program.working(host) + self.chunks.iter().map(|c| 4 * c.len as u64).sum::<u64>() + uploaded
            }
            _ => self.program.working(host).max(uploaded),
        });
        self.program.memory() + host
    }

    /// The bytes that checkpoints use on the host: the last good state, a newer one, the bytes of its file, and the
    /// weights by layer.
    pub fn checkpoints(&self) -> u64 {
        let Some(trainable) = self.trainable else { return 0 };
        // In 64 bits, because a `usize` could wrap on a 32-bit host.
        let parameters = self.parameters.len as u64;
        let rest: u64 =
            [trainable.state, trainable.average].into_iter().flatten().map(|tensor| tensor.len as u64).sum();
        4 * (3 * (parameters + rest) + 3 * parameters)
    }

    /// The first reason why `limits` cannot hold this step.
    fn obstacle(&self, limits: &Limits) -> Option<String> {
        let most = limits.max_binding.min(limits.max_buffer);
        let scratch = limits.adapter.map_or(0, |adapter| 4 * self.program.scratch_words(adapter) as u64);
        let scratch = std::iter::once(("the scratch of its kernels", scratch));
        if let Some((name, bytes)) = self.program.roots().chain(scratch).find(|(_, bytes)| *bytes > most) {
            return Some(format!("{name} needs {} and one buffer may have {}", mib(bytes), mib(most)));
        }
        let memory = limits.memory?;
        let needed = (self.footprint(limits.host) + (limits.along)(self)).saturating_add(limits.beside);
        (needed > memory).then(|| format!("{} are needed and {} are free", mib(needed), mib(memory)))
    }

    /// Lowers `network` for a device with these limits.
    ///
    /// # Errors
    /// [`Error::TooLarge`] with the needed size and the largest batch size that fits; otherwise those of
    /// [`TrainingStep::lower`].
    pub fn lower_within(network: &Network, options: &Options, limits: &Limits) -> Result<TrainingStep> {
        let step = TrainingStep::lower_sized(network, options, limits)?;
        step.check_limits(network, options, limits)?;
        Ok(step)
    }

    /// Lowers `network` without checking the limits; only refuses tensors that cannot be indexed.
    pub(crate) fn lower_sized(network: &Network, options: &Options, limits: &Limits) -> Result<TrainingStep> {
        match size_obstacle(network, options)? {
            Some(obstacle) => Err(too_large(network, options, limits, &obstacle)),
            None => TrainingStep::lower(network, options),
        }
    }

    /// Checks that the device can hold this step.
    ///
    /// # Errors
    /// [`Error::TooLarge`] with the needed size and the largest batch size that fits.
    pub fn check_limits(&self, network: &Network, options: &Options, limits: &Limits) -> Result<()> {
        match self.obstacle(limits) {
            Some(obstacle) => Err(too_large(network, options, limits, &obstacle)),
            None => Ok(()),
        }
    }
}

fn too_large(network: &Network, options: &Options, limits: &Limits, obstacle: &str) -> Error {
    let remedy = match largest_batch(network, options, limits) {
        Some(batch) => format!("the largest batch size that fits is {batch}"),
        None => format!("not even a batch of 1 fits{}", hardest(network, options)),
    };
    Error::TooLarge(format!("batch size {} does not fit: {obstacle}; {remedy}", options.batch))
}

/// The largest batch size up to `options.batch` whose step fits the limits; `None` if no batch fits.
pub fn largest_batch(network: &Network, options: &Options, limits: &Limits) -> Option<usize> {
    let fits = |batch: usize| {
        let step = TrainingStep::lower(network, &with_batch(options, batch));
        step.is_ok_and(|step| step.obstacle(limits).is_none())
    };
    if !fits(1) {
        return None;
    }
    let (mut low, mut high) = (1, options.batch + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

fn with_batch(options: &Options, batch: usize) -> Options {
    let mut options = Options { batch, ..*options };
    if options.one_batch {
        options.source.examples = batch;
    }
    options
}

/// The part of a network that needs the most memory with a batch of one, and what to do about it.
fn hardest(network: &Network, options: &Options) -> String {
    let Ok(step) = TrainingStep::lower(network, &with_batch(options, 1)) else {
        return ": make the network's layers smaller".into();
    };
    let data: u64 = step.chunks.iter().map(|chunk| 4 * chunk.len as u64).sum();
    // For each weight: itself, its gradient, the optimizer's state, and the next value of everything that is updated.
    let flat = ["parameters", "gradients", "optimizer.state", "average"];
    let flat = step.program.roots().filter(|(name, _)| flat.contains(&name.trim_end_matches(".next")));
    let copies = flat.map(|(_, bytes)| bytes).sum::<u64>() / (4 * step.parameters.len as u64).max(1);
    let weights =
        network.parameters().into_iter().map(|shape| (shape.node, shape.weight_len() as u64 + shape.bias as u64));
    let weights: Vec<(usize, u64)> = weights.collect();
    let layer = |i: usize| {
        let own: u64 = weights.iter().filter(|(node, _)| *node == i).map(|(_, count)| count * copies).sum();
        4 * (own + 2 * network.nodes[i].output.len() as u64)
    };
    let largest = (0..network.nodes.len()).max_by_key(|i| layer(*i)).map(|i| (&network.nodes[i].name, layer(i)));
    match largest {
        Some((name, bytes)) if bytes > data => {
            format!(": layer {name} is the largest, with about {}; make it smaller", mib(bytes))
        }
        _ => format!(": the data set alone takes {}; use fewer or smaller examples", mib(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::optimizer::{ADADELTA, Rule};
    use crate::program::Source;

    const SOURCE: Source = Source { height: 28, width: 28, channels: 1, examples: 100 };

    fn host(memory: u64) -> Limits {
        let host = Some(Host::Fast { threads: 2 });
        let (most, memory) = (8 << 30, Some(memory));
        Limits { max_binding: most, max_buffer: most, memory, host, adapter: None, beside: 0, along: |_| 0 }
    }

    fn training(batch: usize) -> (Network, Options) {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        (network, Options::training(batch, SOURCE, Rule::new(&ADADELTA)))
    }

    #[test]
    fn the_batch_size_that_is_named_fits_and_the_next_does_not() {
        let (network, options) = training(65_535);
        for memory in [8 << 20, 100 << 20, 1 << 30] {
            let limits = host(memory).beside(1 << 20);
            let Err(Error::TooLarge(why)) = TrainingStep::lower_within(&network, &options, &limits) else {
                panic!("65,535 examples in {memory} bytes");
            };
            let largest: usize = why.rsplit(' ').next().expect("a word").parse().expect("a batch size at the end");
            let fits = |batch| TrainingStep::lower_within(&network, &Options { batch, ..options }, &limits).is_ok();
            assert!(fits(largest) && !fits(largest + 1), "{why}");
            // What is freed first counts.
            assert!(TrainingStep::lower_within(&network, &options, &limits.freed(64 << 30)).is_ok());
        }
    }

    #[test]
    fn a_software_gpu_takes_the_hosts_memory_and_more_with_textures() {
        let (network, options) = training(500);
        let step = TrainingStep::lower(&network, &options).expect("it lowers");
        let [buffers, textures] =
            [Adapter::HARDWARE, Adapter::SOFTWARE].map(|adapter| step.footprint(Some(Host::Software(adapter))));
        assert!(step.program.memory() < buffers && buffers < textures, "{buffers} {textures}");
        let limits = Limits { host: Some(Host::Software(Adapter::SOFTWARE)), ..host(textures) };
        assert!(TrainingStep::lower_within(&network, &options, &limits).is_ok());
        assert!(TrainingStep::lower_within(&network, &options, &limits.beside(1)).is_err());
    }

    #[test]
    fn a_network_that_never_fits_names_its_largest_layer() {
        let wide = "layers = [{ type = 'input', height = 28, width = 28, channels = 1 },
            { type = 'conv', filters = 4, kernel = 3 }, { type = 'fc', outputs = 20000 }, { type = 'fc', outputs = 10 },
            { type = 'softmax' }]";
        let network = Network::from_toml(wide, "wide.toml").expect("a network");
        let (_, options) = training(20);
        let Err(Error::TooLarge(why)) = TrainingStep::lower_within(&network, &options, &host(50 << 20)) else {
            panic!("it fits");
        };
        assert!(why.contains("not even a batch of 1 fits: layer fc1 is the largest"), "{why}");
        let (network, _) = training(1);
        let many = Options { source: Source { examples: 100_000, ..SOURCE }, ..options };
        let Err(Error::TooLarge(why)) = TrainingStep::lower_within(&network, &many, &host(50 << 20)) else {
            panic!("it fits");
        };
        assert!(why.contains("the data set alone takes 74.8 MiB"), "{why}");
    }

    #[test]
    fn what_overflows_a_buffers_index_is_told_with_the_batch_that_memory_allows_too() {
        let wide = "layers = [{ type = 'input', height = 28, width = 28, channels = 1 },
            { type = 'conv', filters = 512, kernel = 3, pad = 1 }, { type = 'fc', outputs = 10 }, { type = 'softmax' }]";
        let network = Network::from_toml(wide, "wide.toml").expect("a network");
        let (_, options) = training(65_535);
        let Err(Error::TooLarge(why)) = TrainingStep::lower_within(&network, &options, &host(1 << 30)) else {
            panic!("it fits");
        };
        let largest: usize = why.rsplit(' ').next().expect("a word").parse().expect("a batch size at the end");
        assert!((10..400).contains(&largest), "no more than memory has room for: {why}");
    }
}
