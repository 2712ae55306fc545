//! Measures the cost of each layer forward and backward, on the run's device, with its batch size and weights.
//!
//! Every operation of a training step is timed separately, as far as the device's clock allows. The whole step and its
//! phases are timed as training runs them. Weights stay unchanged, because no step ends with an update.

use crate::data::{Dataset, Sampler};
use crate::error::Result;
use crate::exec::{Clock, Device, Executor, write_reals};
use crate::net::{Network, Parameters};
use crate::program::{Stage, TrainingStep};
use crate::train::{Session, Settings};
use std::ops::Range;
use std::time::Duration;
use web_time::Instant;

/// The most warm-up rounds, which are not counted because pipelines and caches are cold.
const WARM_UP: usize = 2;
/// The least and the most rounds that count.
const ROUNDS: [usize; 2] = [3, 25];
/// The time after which no optional round begins; a single round of this length suffices as warm-up.
const BUDGET: Duration = Duration::from_millis(400);
/// The most timed ranges of an executor at once.
const RANGES: usize = 512;
/// Tags of captures: a whole step, its phases, then single operations by index.
const WHOLE: u64 = 0;
const PHASES: u64 = 1;
const OPERATIONS: u64 = 2;

/// Lower quartiles over several steps, in nanoseconds per step; for several operations, the sum of their quartiles.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTimes {
    pub clock: Clock,
    /// The number of steps measured.
    pub rounds: usize,
    /// Examples per step.
    pub batch: usize,
    /// The layers in the order of the network.
    pub layers: Vec<LayerTime>,
    /// The update of all weights.
    pub update: f64,
    /// Operations that belong to no layer, such as the sum of the losses.
    pub others: f64,
    /// All single operations together.
    pub sum: f64,
    /// Forward including the gathering of the batch, backward and update, each as a whole.
    pub phases: [f64; 3],
    /// A whole step.
    pub whole: f64,
}

/// One layer; the input's forward pass gathers, crops and varies the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    pub layer: String,
    /// The layer whose operations also compute this one, if it has none of its own.
    pub computed_by: Option<String>,
    /// `None` if there is no operation.
    pub forward: Option<f64>,
    pub backward: Option<f64>,
}

/// The times of one round.
#[derive(Debug, Clone, Default)]
struct Round {
    whole: f64,
    phases: [f64; 3],
    operations: Vec<f64>,
}

/// Measures training steps of `settings` on `dataset` from these weights. `None` if the device's clock gives nothing
/// usable.
///
/// # Errors
/// Those of [`Session::new`], and [`Error::Device`](crate::Error::Device) if the device fails.
pub async fn measure(
    device: &Device,
    settings: &Settings,
    dataset: &Dataset,
    weights: &[Parameters],
) -> Result<Option<LayerTimes>> {
    let examples = &dataset.train;
    let mut session = Session::new(device, settings, examples).await?;
    let flat = session.flat(weights);
    let Session { step, executor, .. } = &mut session;
    let executor = executor.as_mut();
    write_reals(executor, step.parameters.id, &flat)?;
    let mut sampler = Sampler::new(dataset.split().train, settings.batch_size, settings.seed);
    let indices = sampler.batch_at(0).to_vec();
    let labels: Vec<u32> = indices.iter().map(|i| u32::from(examples.labels[*i as usize])).collect();
    let header = settings.header(0, u64::MAX, indices.len());
    let words = step.input_words(header, &indices, &labels);

    let (mut rounds, mut clock) = (Vec::new(), None);
    let mut begin = Instant::now();
    for _ in 0..WARM_UP {
        clock = Some(round(executor, step, &words).await?.0);
        if begin.elapsed() >= BUDGET {
            break;
        }
    }
    begin = Instant::now();
    while rounds.len() < ROUNDS[0] || (rounds.len() < ROUNDS[1] && begin.elapsed() < BUDGET) {
        let (found, round) = round(executor, step, &words).await?;
        // A device may find its own clock unusable; earlier times then do not count.
        if clock != Some(found) {
            (clock, rounds) = (Some(found), Vec::new());
        }
        rounds.push(round);
    }
    Ok(clock.and_then(|clock| summary(&settings.network, step, clock, &rounds, indices.len())))
}

/// Runs one step in each of the three ways.
async fn round(executor: &mut dyn Executor, step: &TrainingStep, words: &[u32]) -> Result<(Clock, Round)> {
    let all = step.stages(Stage::Batch, Stage::Update);
    let phases = [step.stages(Stage::Batch, Stage::Forward), step.stage(Stage::Backward), step.stage(Stage::Update)];
    let single: Vec<Range<usize>> = all.clone().map(|i| i..i + 1).collect();
    let mut ways: Vec<(u64, &[Range<usize>])> = vec![(WHOLE, std::slice::from_ref(&all)), (PHASES, &phases)];
    ways.extend(single.chunks(RANGES).enumerate().map(|(i, part)| (OPERATIONS + (i * RANGES) as u64, part)));
    executor.begin_step(words)?;
    for (tag, ranges) in ways {
        executor.finish().await?;
        executor.run_timed(tag, ranges).await?;
    }
    executor.end_step(false).await?;
    executor.finish().await?;
    let mut round = Round { operations: vec![f64::NAN; single.len()], ..Round::default() };
    let mut clock = Clock::GpuTimestamps;
    for capture in executor.captured()? {
        let Some(timings) = capture.timings else { continue };
        if timings.clock == Clock::WallClock {
            clock = Clock::WallClock;
        }
        let times = &timings.nanoseconds;
        match capture.tag {
            WHOLE => round.whole = times.first().copied().unwrap_or(f64::NAN),
            PHASES => round.phases.iter_mut().zip(times).for_each(|(to, from)| *to = *from),
            tag => {
                let places = round.operations.iter_mut().skip((tag - OPERATIONS) as usize);
                places.zip(times).for_each(|(to, from)| *to = *from);
            }
        }
    }
    Ok((clock, round))
}

fn summary(network: &Network, step: &TrainingStep, clock: Clock, rounds: &[Round], batch: usize) -> Option<LayerTimes> {
    let sound = |round: &Round| round.whole > 0.0 && round.operations.iter().all(|ns| *ns >= 0.0 && ns.is_finite());
    if rounds.is_empty() || !rounds.iter().all(sound) {
        return None;
    }
    let purposes = &step.purposes[step.stages(Stage::Batch, Stage::Update)];
    // Sums of quartiles, so that layers' shares refer to the same whole, whatever the noise of the machine.
    let single = |place: usize| lower_quartile(rounds.iter().map(|round| round.operations[place]).collect());
    let typical: Vec<f64> = (0..purposes.len()).map(single).collect();
    let of = |chosen: &dyn Fn(Option<usize>, Stage) -> bool| {
        let chosen = purposes.iter().zip(&typical).filter(|(p, _)| chosen(p.node, p.stage));
        chosen.map(|(_, ns)| *ns).reduce(|a, b| a + b)
    };
    let layer = |(node, layer): (usize, &crate::net::Node)| LayerTime {
        layer: layer.name.clone(),
        computed_by: step.fused.iter().find(|(at, _)| *at == node).map(|(_, by)| network.nodes[*by].name.clone()),
        forward: of(&|at, stage| at == Some(node) && matches!(stage, Stage::Batch | Stage::Forward)),
        backward: of(&|at, stage| at == Some(node) && stage == Stage::Backward),
    };
    Some(LayerTimes {
        clock,
        rounds: rounds.len(),
        batch,
        layers: network.nodes.iter().enumerate().map(layer).collect(),
        update: of(&|_, stage| stage == Stage::Update).unwrap_or(0.0),
        others: of(&|node, stage| node.is_none() && stage != Stage::Update).unwrap_or(0.0),
        sum: of(&|_, _| true).unwrap_or(0.0),
        phases: [0, 1, 2].map(|i| lower_quartile(rounds.iter().map(|round| round.phases[i]).collect())),
        whole: lower_quartile(rounds.iter().map(|round| round.whole).collect()),
    })
}

/// The lower quartile, because other work on the machine only ever adds time; 0 if there are no values.
fn lower_quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 4).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetName, Examples, Origin};
    use crate::net::Recipe;

    #[test]
    fn every_layer_has_its_operations_or_says_who_computes_it() {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let settings = Settings::resolve(network, &Recipe::default()).expect("its own settings");
        let (pixels, labels) = (vec![7; 100 * 784], (0..100).map(|i| i % 10).collect());
        let train = Examples { shape: [28, 28, 1], classes: 10, pixels, labels, numbers: vec![] };
        let (name, origin) = (DatasetName::Synthetic, Origin::Synthetic { fallback_reason: None });
        let dataset = Dataset { name, test: train.clone(), train, origin, held_out: Default::default() };
        let weights = settings.network.initial_parameters(1);
        let measured = pollster::block_on(measure(&Device::Cpu, &settings, &dataset, &weights));
        let times = measured.expect("it runs").expect("a clock");
        assert_eq!((times.clock, times.batch), (Clock::WallClock, 20));
        assert!(times.rounds >= ROUNDS[0] && times.whole > 0.0 && times.phases.iter().all(|ns| *ns > 0.0));
        let layer = |name: &str| times.layers.iter().find(|layer| layer.layer == name).expect("the layer");
        assert!(layer("conv1").forward > Some(0.0) && layer("conv2").backward > Some(0.0));
        assert_eq!((layer("relu1").forward, layer("relu1").computed_by.as_deref()), (None, Some("pool1")));
        let own = times.layers.iter().flat_map(|layer| [layer.forward, layer.backward]).flatten().sum::<f64>();
        assert!((own + times.update + times.others - times.sum).abs() < 1e-6 * times.sum, "{times:?}");
    }

    #[test]
    fn a_quarter_of_the_values_lies_below_the_lower_quartile() {
        let of = |values: &[f64]| lower_quartile(values.to_vec());
        assert_eq!([of(&[9.0, 1.0, 2.0, 3.0]), of(&[4.0, 1.0]), of(&[])], [2.0, 1.0, 0.0]);
    }
}
