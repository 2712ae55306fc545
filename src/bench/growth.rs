//! Growth curves: images per second and memory over the batch size and over the network's width.
//!
//! At every size all devices take turns to measure whole steps. A size is left out, with the reason, if a device cannot
//! hold it or if its step would take too long; this is estimated from the previous step and the operations of both.

use super::Spread;
use super::measure::seconds_per_step;
use super::workload::{Runner, Workload};
use crate::error::{Error, Result};
use crate::exec::{Device, ExecutorKind};
use crate::net::Recipe;
use crate::net::{Layer, Network};
use crate::program::TrainingStep;
use crate::train::{Settings, Tuner};
use serde::Serialize;
use std::time::Duration;

/// The sizes to measure, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowthSettings {
    pub batch_sizes: Vec<usize>,
    /// Factors on channel counts, at the network's own batch size.
    pub widths: Vec<usize>,
    /// The most rounds per device and size; fewer if steps are long.
    pub rounds: usize,
    /// The intended duration of a round.
    pub round: Duration,
    /// The longest step that is still measured.
    pub longest_step: Duration,
}

impl Default for GrowthSettings {
    fn default() -> GrowthSettings {
        GrowthSettings {
            batch_sizes: vec![1, 4, 16, 64, 256, 1024, 4096],
            widths: vec![1, 2, 4, 8],
            rounds: 3,
            round: Duration::from_millis(200),
            longest_step: Duration::from_secs(4),
        }
    }
}

/// Both curves of every device.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// The unchanged network, with the smallest batch first.
    pub by_batch_size: Vec<GrowthPoint>,
    /// The network with more channels in convolutions and outputs in hidden layers, the narrowest first.
    pub by_width: Vec<GrowthPoint>,
    /// Examples per step in `by_width`.
    pub width_batch_size: usize,
}

/// One size.
#[derive(Debug, Clone, Serialize)]
pub struct GrowthPoint {
    /// Examples per step, or the factor on the widths.
    pub size: usize,
    /// Weights and biases; `None` if such a network is not possible.
    pub parameters: Option<usize>,
    /// In the order of the devices.
    pub results: Vec<GrowthResult>,
}

/// One device at one size.
#[derive(Debug, Clone, Serialize)]
pub struct GrowthResult {
    /// `cpu`, `gpu` or `reference`.
    pub device: ExecutorKind,
    pub images_per_second: Option<Spread>,
    /// All buffers and their copies in textures, in bytes.
    pub memory_bytes: Option<u64>,
    /// Why nothing was measured.
    pub left_out: Option<String>,
}

/// Measures both curves. `progress` receives every size before it is measured, such as `batch size 16`.
///
/// # Errors
/// Those that would occur on every device: an impossible batch size, or a network whose data cannot be drawn.
pub async fn growth(
    network: &Network,
    devices: &[Device],
    settings: &GrowthSettings,
    progress: &mut dyn FnMut(&str),
) -> Result<Growth> {
    let training = Settings::resolve(network.clone(), &Recipe::default())?;
    let width_batch_size = training.batch_size;
    let mut curve = Curve::new(devices, settings, Workload::new(training.clone(), Tuner::OFF));
    let mut by_batch_size = Vec::with_capacity(settings.batch_sizes.len());
    for &size in &settings.batch_sizes {
        progress(&format!("batch size {size}"));
        by_batch_size.push(curve.point(size, Ok(network.clone()), size).await?);
    }
    let mut curve = Curve::new(devices, settings, Workload::new(training, Tuner::OFF));
    let mut by_width = Vec::with_capacity(settings.widths.len());
    for &size in &settings.widths {
        progress(&format!("width x{size}"));
        by_width.push(curve.point(size, widened(network, size), width_batch_size).await?);
    }
    Ok(Growth { by_batch_size, by_width, width_batch_size })
}

/// Whether the network has layers that can become wider: any with weights before the last one.
pub fn widens(network: &Network) -> bool {
    network.parameters().len() > 1
}

/// The network with `factor` times the channels in every layer with weights except the last, whose outputs are the
/// classes.
fn widened(network: &Network, factor: usize) -> Result<Network> {
    let mut layers: Vec<(Layer, f32)> = network.nodes.iter().map(|node| (node.layer, node.bias_init)).collect();
    let last = network.parameters().last().map(|shape| shape.node);
    for (i, (layer, _)) in layers.iter_mut().enumerate().filter(|(i, _)| Some(*i) != last) {
        match layer {
            Layer::Conv { filters: channels, .. } | Layer::Fc { outputs: channels } => {
                *channels = channels.checked_mul(factor).ok_or_else(|| {
                    Error::Network(format!("layer {}: {factor} times its width is too large", network.nodes[i].name))
                })?;
            }
            // Maxout and layers without weights follow the layer before them.
            _ => {}
        }
    }
    let mut wide = Network::from_layers(&network.name, &layers, network.initializer)?;
    wide.nodes.iter_mut().zip(&network.nodes).for_each(|(wide, node)| wide.factors = node.factors);
    let Network { crop, augmentation, .. } = *network;
    Ok(Network { crop, augmentation, training: network.training.clone(), ..wide })
}

/// One curve: devices at growing sizes.
struct Curve<'a> {
    devices: &'a [Device],
    settings: &'a GrowthSettings,
    workload: Workload,
    /// Seconds and operations of the last measured step, by device.
    last: Vec<Option<(f64, u64)>>,
}

/// A runner with its seconds per step by round, or the reason why there is none.
type Seat = std::result::Result<(Runner, Vec<f64>), String>;

impl Curve<'_> {
    fn new<'a>(devices: &'a [Device], settings: &'a GrowthSettings, workload: Workload) -> Curve<'a> {
        Curve { devices, settings, workload, last: vec![None; devices.len()] }
    }

    async fn point(&mut self, size: usize, network: Result<Network>, batch: usize) -> Result<GrowthPoint> {
        let lowered = network.and_then(|network| {
            let step = TrainingStep::lower(&network, &self.workload.options(batch))?;
            Ok((network, step.program.instructions.iter().map(|i| i.op.work.flops).sum::<u64>()))
        });
        let (network, flops) = match lowered {
            Ok(both) => both,
            Err(Error::TooLarge(why) | Error::Network(why)) => return Ok(self.left_out(size, &why)),
            Err(error) => return Err(error),
        };
        let mut seats: Vec<Seat> = Vec::with_capacity(self.devices.len());
        for place in 0..self.devices.len() {
            seats.push(self.seat(place, &network, batch, flops).await?);
        }
        for round in 1..self.settings.rounds {
            for seat in &mut seats {
                self.round(seat, round).await?;
            }
        }
        let results = seats.into_iter().enumerate().map(|(place, seat)| self.result(place, batch, flops, seat));
        let results = results.collect();
        Ok(GrowthPoint { size, parameters: Some(network.parameter_count()), results })
    }

    /// Fills and warms up a device, and measures its first round.
    async fn seat(&mut self, place: usize, network: &Network, batch: usize, flops: u64) -> Result<Seat> {
        let longest = self.settings.longest_step.as_secs_f64();
        if let Some((seconds, before)) = self.last[place] {
            let expected = seconds * flops as f64 / before.max(1) as f64;
            if expected > longest {
                let why = format!("a step would take about {expected:.1} s; the limit is {longest} s");
                return Ok(Err(why));
            }
        }
        let runner = self.workload.runner(&self.devices[place], network, batch).await;
        let measured = match runner {
            Ok(mut runner) => seconds_per_step(&mut runner, self.settings.round).await.map(|s| (runner, vec![s])),
            Err(error) => Err(error),
        };
        found(measured)
    }

    async fn round(&self, seat: &mut Seat, round: usize) -> Result<()> {
        let Ok((runner, seconds)) = seat else { return Ok(()) };
        // Slow devices are measured less often; a round has at least two steps.
        let spent = 2.0 * seconds[0] * round as f64;
        if spent > self.settings.longest_step.as_secs_f64() {
            return Ok(());
        }
        match seconds_per_step(runner, self.settings.round).await {
            Ok(more) => seconds.push(more),
            Err(error) => *seat = found(Err(error))?,
        }
        Ok(())
    }

    fn result(&mut self, place: usize, batch: usize, flops: u64, seat: Seat) -> GrowthResult {
        let device = self.devices[place].info().executor;
        let (runner, seconds) = match seat {
            Ok(measured) => measured,
            Err(why) => return GrowthResult::left_out(device, why),
        };
        let Some(spread) = Spread::of(&seconds) else {
            return GrowthResult::left_out(device, "the clock gave durations of zero or less".into());
        };
        self.last[place] = Some((spread.median, flops));
        GrowthResult {
            device,
            images_per_second: Some(spread.rate(batch as f64)),
            memory_bytes: Some(runner.executor.memory()),
            left_out: None,
        }
    }

    fn left_out(&self, size: usize, why: &str) -> GrowthPoint {
        let device = |device: &Device| device.info().executor;
        let results = self.devices.iter().map(|d| GrowthResult::left_out(device(d), why.to_string()));
        GrowthPoint { size, parameters: None, results: results.collect() }
    }
}

impl GrowthResult {
    fn left_out(device: ExecutorKind, why: String) -> GrowthResult {
        GrowthResult { device, images_per_second: None, memory_bytes: None, left_out: Some(why) }
    }
}

/// Turns an error about what a device cannot hold or run into a finding; returns any other error.
fn found(measured: Result<(Runner, Vec<f64>)>) -> Result<Seat> {
    match measured {
        Ok(measured) => Ok(Ok(measured)),
        Err(Error::TooLarge(reason) | Error::Device(reason)) => Ok(Err(reason)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_network_has_more_channels_everywhere_but_in_its_classes() {
        let mut network = Network::preset("vgg-mnist").expect("a preset");
        network.augmentation.rotation = 5.0;
        let wide = widened(&network, 4).expect("four times as wide");
        let outputs: Vec<usize> = wide.parameters().iter().map(|shape| shape.bias).collect();
        assert_eq!(outputs, [128, 128, 256, 256, 512, 10]);
        assert_eq!((wide.crop, wide.classes(), &wide.training), (network.crop, 10, &network.training));
        assert_eq!(wide.augmentation, network.augmentation);
        let single = "layers = [{type = 'input', height = 2, width = 2, channels = 1}, {type = 'fc', outputs = 3}, \
                      {type = 'softmax'}]";
        let single = Network::from_toml(single, "single.toml").expect("a valid network");
        assert!(widens(&network) && !widens(&single));
        assert_eq!(widened(&single, 4).expect("as it is").nodes, single.nodes);
        assert_eq!(widened(&network, 1).expect("as it is").nodes, network.nodes);
        assert!(widened(&network, 1 << 20).is_err());
        assert!(widened(&network, usize::MAX).is_err());
    }
}
