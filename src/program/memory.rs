//! What a program takes in memory, whether a device can hold it, and the largest batch that it could.

use super::{Options, Program};
use crate::error::{Error, Result};
use crate::net::Network;

/// What a device can hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One storage buffer binding.
    pub max_binding: u64,
    /// One buffer.
    pub max_buffer: u64,
    /// All buffers together, where the device tells.
    pub memory: Option<u64>,
}

impl Limits {
    /// WebGPU's defaults.
    pub const WEBGPU: Limits = Limits { max_binding: 128 << 20, max_buffer: 256 << 20, memory: None };
}

impl Program {
    /// Bytes of all buffers.
    pub fn memory(&self) -> u64 {
        self.roots().map(|(_, bytes)| bytes).sum()
    }

    /// Every buffer that owns memory, with its size in bytes, largest first: the memory plan.
    pub fn memory_plan(&self) -> Vec<(&str, u64)> {
        let mut plan: Vec<_> = self.roots().collect();
        plan.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        plan
    }

    fn roots(&self) -> impl Iterator<Item = (&str, u64)> {
        let own = self.buffers.iter().filter(|b| b.parent.is_none());
        own.map(|b| (b.name.as_str(), 4 * (b.len + b.guard) as u64))
    }

    /// The first reason why `limits` cannot hold this program.
    fn obstacle(&self, limits: &Limits) -> Option<String> {
        let most = limits.max_binding.min(limits.max_buffer);
        if let Some((name, bytes)) = self.roots().find(|(_, bytes)| *bytes > most) {
            return Some(format!("{name} needs {} and one buffer may have {}", mib(bytes), mib(most)));
        }
        let memory = limits.memory?;
        (self.memory() > memory).then(|| format!("{} are needed and {} are free", mib(self.memory()), mib(memory)))
    }

    /// An error with the figure and the largest batch size that would fit, where this program does not.
    pub fn check_limits(&self, network: &Network, options: &Options, limits: &Limits) -> Result<()> {
        let Some(obstacle) = self.obstacle(limits) else { return Ok(()) };
        let remedy = match largest_batch(network, options, limits) {
            Some(batch) => format!("the largest batch size that fits is {batch}"),
            None => "not even a batch of 1 fits: the network or the data set is too large for this device".into(),
        };
        Err(Error::TooLarge(format!("batch size {} does not fit: {obstacle}; {remedy}", options.batch)))
    }
}

/// The largest batch size up to `options.batch` whose program fits.
pub fn largest_batch(network: &Network, options: &Options, limits: &Limits) -> Option<usize> {
    let fits = |batch: usize| {
        let program = Program::lower(network, &Options { batch, ..*options });
        program.is_ok_and(|p| p.obstacle(limits).is_none())
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

/// Bytes for people.
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
