//! Times whole training steps and single operations on several devices in the same run.
//!
//! Training itself is timed: gather, forward, loss, backward, update, on random images that are drawn once from a fixed
//! seed, with weights that change at every step. Machines get warm, slow down and do other work, so all devices take
//! turns (A, B, A, B, ...), and the result is the median over the rounds with its range. A measurement begins and ends
//! with an idle device. There are two kinds, which never overlap:
//! - whole steps, queued as in training and timed with the host's clock around all of them: images/s and the speed-up;
//! - single operations, each timed separately, with the GPU's own clock if it is usable: the time of each layer.
//!   Between two operations the device waits for the clock, so their sum may exceed a step.
//!
//! Before both, each device's peaks are measured ([`Peaks`]), so that times can be judged and not only compared.

mod growth;
mod measure;
mod peaks;
mod report;
mod steps;
mod summary;
mod workload;

pub use growth::{Growth, GrowthPoint, GrowthResult, GrowthSettings, growth, widens};
pub use peaks::{Bound, Peak, PeakShare, Peaks, peaks, time_case};
pub use report::{
    BatchReport, DeviceReport, DeviceResult, HostParts, LayerFigures, Machine, Measured, Method, OperationFigures,
    PassFigures, Report, StageFigures, StepFigures,
};
pub use steps::{HostTime, Steps};
pub use summary::{Crossover, Spread, crossover, times};
pub use workload::SEED;

use crate::error::{Error, Result};
use crate::exec::{Device, ExecutorKind};
use crate::net::Network;
use crate::program::TrainingStep;
use crate::train::Tuner;
use measure::Subject;
use std::time::Duration;
use workload::Workload;

/// How long and how often to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub batch_sizes: Vec<usize>,
    /// The most rounds per device and batch size.
    pub rounds: usize,
    /// The intended duration of one measurement in a round; a single step may take longer.
    pub round: Duration,
    /// The time for all rounds of one device and batch size; long steps reduce the number of rounds.
    pub budget: Duration,
    /// The intended duration of a repetition of the compute probe; each way of computing has six, after a short one.
    pub probe: Duration,
    /// Chooses a GPU's kernels before they are timed.
    pub tuner: Tuner,
}

impl Settings {
    /// Batch sizes of the default run: a single image, ConvNetJS's batch, and two that fill a GPU.
    pub const BATCH_SIZES: [usize; 4] = [1, 20, 128, 512];
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            batch_sizes: Settings::BATCH_SIZES.to_vec(),
            rounds: 7,
            round: Duration::from_millis(300),
            budget: Duration::from_secs(10),
            probe: Duration::from_millis(10),
            tuner: Tuner::default(),
        }
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub batch_size: usize,
    pub device: ExecutorKind,
    /// Turns taken and turns planned, over all devices and batch sizes; the plan may shrink.
    pub done: usize,
    pub planned: usize,
}

/// A device that takes turns, or the reason why it does not.
type Seat = std::result::Result<Subject, Absence>;

/// Why a device takes no turns.
struct Absence {
    reason: String,
    /// Whether it failed although its limits allow the size.
    failed: bool,
}

/// Times training of `network` on all `devices`, one batch size after another.
///
/// # Errors
/// [`Error::Settings`] and [`Error::Network`] for what no device can lower. What a single device cannot hold or run is
/// part of the report.
pub async fn run(
    network: &Network,
    devices: &[Device],
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    let training = crate::train::Settings::resolve(network.clone(), &Default::default())?;
    let optimizer = training.optimizer.name();
    let workload = Workload::new(training, settings.tuner.clone());
    let mut batch_sizes = settings.batch_sizes.clone();
    batch_sizes.sort_unstable();
    batch_sizes.dedup();
    for batch_size in &batch_sizes {
        check(network, &workload, *batch_size)?;
    }
    let labels: Vec<ExecutorKind> = devices.iter().map(|d| d.info().executor).collect();
    let mut peaks = Vec::with_capacity(devices.len());
    for device in devices {
        peaks.push(peaks::peaks(device, settings.probe).await);
    }
    let mut turns = Turns { labels, done: 0, planned: batch_sizes.len() * devices.len() * (1 + settings.rounds) };
    let mut batches = Vec::with_capacity(batch_sizes.len());
    for batch_size in batch_sizes {
        let mut seats = Vec::with_capacity(devices.len());
        for (place, device) in devices.iter().enumerate() {
            turns.report(batch_size, place, progress);
            let seat = match workload.runner(device, network, batch_size).await {
                Ok(runner) => Subject::new(runner, settings).await,
                Err(error) => Err(error),
            };
            turns.done += 1;
            let rounds = seat.as_ref().map_or(0, |subject| subject.rounds);
            turns.planned -= settings.rounds - rounds;
            seats.push(seated(seat)?);
        }
        take_turns(batch_size, &mut seats, settings.rounds, &mut turns, progress).await?;
        batches.push(report::batch(network, batch_size, &turns.labels, &peaks, seats).await?);
    }
    Ok(report::report(network, optimizer, workload.examples.len(), settings, devices, peaks, batches))
}

/// Measures round by round; in each round all devices take a turn.
async fn take_turns(
    batch_size: usize,
    seats: &mut [Seat],
    rounds: usize,
    turns: &mut Turns,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    for round in 0..rounds {
        for (place, seat) in seats.iter_mut().enumerate() {
            let Ok(subject) = seat else { continue };
            if round >= subject.rounds {
                continue;
            }
            turns.report(batch_size, place, progress);
            turns.done += 1;
            if let Err(error) = subject.round().await {
                turns.planned -= subject.rounds - round - 1;
                *seat = seated(Err(error))?;
            }
        }
    }
    Ok(())
}

/// Checks that some device could run this batch size.
fn check(network: &Network, workload: &Workload, batch_size: usize) -> Result<()> {
    match TrainingStep::lower(network, &workload.options(batch_size)) {
        Err(Error::TooLarge(_)) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Turns an error about what a device cannot hold or run into a finding; returns any other error.
fn seated(subject: Result<Subject>) -> Result<Seat> {
    match subject {
        Ok(subject) => Ok(Ok(subject)),
        Err(Error::TooLarge(reason)) => Ok(Err(Absence { reason, failed: false })),
        Err(Error::Device(reason)) => Ok(Err(Absence { reason, failed: true })),
        Err(error) => Err(error),
    }
}

/// Counts turns for the progress display.
struct Turns {
    /// Labels by device.
    labels: Vec<ExecutorKind>,
    done: usize,
    planned: usize,
}

impl Turns {
    fn report(&self, batch_size: usize, place: usize, progress: &mut dyn FnMut(Progress)) {
        let (device, done, planned) = (self.labels[place], self.done, self.planned);
        progress(Progress { batch_size, device, done, planned });
    }
}
