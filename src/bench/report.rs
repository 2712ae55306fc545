//! The report of a benchmark, in units that can be compared across batch sizes. One JSON document contains all of it.

use super::growth::Growth;
use super::measure::{HostRound, Subject};
use super::peaks::{PeakShare, Peaks};
use super::summary::{Crossover, Spread, crossover};
use super::workload::SEED;
use super::{Absence, Seat, Settings};
use crate::error::Result;
use crate::exec::{Clock, Device, DeviceInfo, ExecutorKind};
use crate::net::Network;
use crate::program::{Instruction, Purpose, Stage};
use serde::Serialize;

/// The deviation between rounds above which the report warns.
const RESTLESS: f64 = 0.2;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub network: String,
    /// Weights and biases.
    pub parameters: usize,
    pub optimizer: String,
    pub machine: Machine,
    pub method: Method,
    pub devices: Vec<DeviceReport>,
    /// By batch size, the smallest first.
    pub batches: Vec<BatchReport>,
    pub gpu_wins: Crossover,
    /// [`Report::gpu_wins`] as a sentence.
    pub verdict: String,
    /// Growth curves over batch size and width, if requested.
    pub growth: Option<Growth>,
    /// Notes for the reader, such as that a device was left out.
    pub notes: Vec<String>,
}

impl Report {
    /// The reason if the run failed: a device failed at a batch size, or no batch size fits it.
    pub fn failure(&self) -> Option<String> {
        let all = || self.batches.iter().flat_map(|batch| batch.results.iter().map(move |result| (batch, result)));
        let empty =
            |device: ExecutorKind| all().all(|(_, result)| result.device != device || result.measured.is_none());
        let failed = all().find(|(_, result)| result.failed);
        let (batch, result) = failed.or_else(|| all().find(|(_, result)| empty(result.device)))?;
        let reason = result.unavailable.as_deref().unwrap_or_default();
        Some(format!("batch size {} was not measured on {}: {reason}", batch.batch_size, result.device))
    }
}

/// The host.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cpu: String,
    /// The CPU executor's threads.
    pub threads: usize,
    pub os: &'static str,
    pub arch: &'static str,
}

/// The method of measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Method {
    /// The most rounds.
    pub rounds: usize,
    /// The intended duration of one measurement in a round.
    pub round_seconds: f64,
    /// Random images in the data set.
    pub examples: usize,
    pub seed: u64,
}

/// One device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    #[serde(flatten)]
    pub info: DeviceInfo,
    /// Whether it is a GPU that computes on the processor.
    pub software: bool,
    /// Peaks of the device, measured before everything else.
    pub peaks: Peaks,
}

/// One batch size.
#[derive(Debug, Clone, Serialize)]
pub struct BatchReport {
    pub batch_size: usize,
    /// In the order of [`Report::devices`].
    pub results: Vec<DeviceResult>,
    /// The CPU's median step divided by the GPU's, if both ran.
    pub speed_up: Option<f64>,
}

/// One device at one batch size.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceResult {
    /// `cpu`, `gpu` or `reference`.
    pub device: ExecutorKind,
    /// Why nothing was measured.
    pub unavailable: Option<String>,
    /// If nothing was measured: whether the device failed; otherwise the batch is too large for it.
    #[serde(skip)]
    pub failed: bool,
    pub measured: Option<Measured>,
}

/// The measurements of one device at one batch size.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub rounds: usize,
    /// All buffers and their copies in textures, in bytes.
    pub memory_bytes: u64,
    /// `None` if the clock gave nothing usable.
    pub step: Option<StepFigures>,
    /// The clock of everything below.
    pub clock: Option<Clock>,
    /// The sum of all operations divided by a whole step; near 1 if timing them separately costs little.
    pub operations_over_step: Option<f64>,
    pub stages: Vec<StageFigures>,
    pub layers: Vec<LayerFigures>,
    /// In the order in which they run.
    pub operations: Vec<OperationFigures>,
    /// Reasons to distrust a figure.
    pub warnings: Vec<String>,
}

/// Whole steps, timed with the host's clock.
#[derive(Debug, Clone, Serialize)]
pub struct StepFigures {
    /// Steps per round.
    pub steps: usize,
    pub milliseconds: Spread,
    pub us_per_example: f64,
    pub images_per_second: Spread,
    /// 10^9 floating-point operations per second, by the operations' definition: a multiply-add counts as two, and work
    /// that a kernel repeats counts once.
    pub gflops: f64,
    /// How close the step comes to the device's peaks.
    pub of_peak: Option<PeakShare>,
    /// Operations per step.
    pub dispatches: usize,
    /// Host time per step without waiting for the device: writing inputs, recording operations, finishing and
    /// submitting commands. `None` on the host, which computes at that time.
    pub host_us: Option<Spread>,
    /// The parts of `host_us` that are submissions.
    pub host_parts: Option<HostParts>,
    /// The share of `gflops` that was not computed; as in [`PassFigures`].
    pub skipped: Option<f64>,
}

/// Medians of the parts of the host's time per step that are submissions, in microseconds. The rest is choosing the
/// batch and recording operations.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HostParts {
    /// Writing the steps' inputs.
    pub inputs_us: f64,
    /// Turning recorded commands into the driver's.
    pub finish_us: f64,
    /// Handing them to the driver.
    pub submit_us: f64,
}

impl HostParts {
    fn of(rounds: &[HostRound]) -> HostParts {
        // A part may take no measurable time, so these are no samples for `Spread`.
        let median = |part: fn(&HostRound) -> f64| {
            let mut parts: Vec<f64> = rounds.iter().map(part).collect();
            parts.sort_by(f64::total_cmp);
            parts.get(parts.len() / 2).map_or(0.0, |seconds| seconds * 1e6)
        };
        HostParts {
            inputs_us: median(|round| round.inputs),
            finish_us: median(|round| round.finish),
            submit_us: median(|round| round.submit),
        }
    }
}

/// The sum over some operations of a step.
#[derive(Debug, Clone, Serialize)]
pub struct PassFigures {
    pub us_per_step: Spread,
    pub us_per_example: f64,
    /// Share of the time of all operations, from 0 to 1.
    pub share: f64,
    /// As in [`StepFigures`].
    pub gflops: f64,
    /// 10^9 bytes per second; all inputs and outputs are counted once.
    pub gigabytes_per_second: f64,
    /// How close they come to the device's peaks.
    pub of_peak: Option<PeakShare>,
    /// The share of the arithmetic in `gflops` and `of_peak` that was not computed, because it multiplies gradients of
    /// zero, from 0 to 1. `None` if nothing was skipped.
    pub skipped: Option<f64>,
}

/// One stage of a step.
#[derive(Debug, Clone, Serialize)]
pub struct StageFigures {
    pub stage: Stage,
    #[serde(flatten)]
    pub figures: PassFigures,
}

/// One layer. The input's forward pass gathers, crops and normalises; the last one's includes the sum of the losses.
#[derive(Debug, Clone, Serialize)]
pub struct LayerFigures {
    pub layer: String,
    /// The layer whose operations also compute this one, if it has none of its own.
    pub computed_by: Option<String>,
    /// Height, width and channels of its output.
    pub output: [usize; 3],
    /// `None` if there is nothing to do.
    pub forward: Option<PassFigures>,
    pub backward: Option<PassFigures>,
    /// Forward and backward together.
    pub both: Option<PassFigures>,
}

/// One operation.
#[derive(Debug, Clone, Serialize)]
pub struct OperationFigures {
    /// Layer and direction, such as `conv1.forward`.
    pub operation: String,
    /// The variant that ran on a GPU; on other devices the operation's own name.
    pub kernel: &'static str,
    pub stage: Stage,
    #[serde(flatten)]
    pub figures: PassFigures,
}

/// Assembles the report of a run.
pub(super) fn report(
    network: &Network,
    optimizer: &str,
    examples: usize,
    settings: &Settings,
    devices: &[Device],
    peaks: Vec<Peaks>,
    batches: Vec<BatchReport>,
) -> Report {
    let describe = |(device, peaks): (&Device, Peaks)| DeviceReport {
        info: device.info(),
        software: matches!(device, Device::Gpu(gpu) if gpu.summary().software),
        peaks,
    };
    let host = Device::Cpu.info();
    let speed_ups: Vec<_> = batches.iter().map(|b| (b.batch_size, b.speed_up)).collect();
    let gpu_wins = crossover(&speed_ups);
    Report {
        version: env!("CARGO_PKG_VERSION"),
        network: network.name.clone(),
        parameters: network.parameter_count(),
        optimizer: optimizer.to_string(),
        machine: Machine {
            cpu: host.name,
            threads: host.threads,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        },
        method: Method { rounds: settings.rounds, round_seconds: settings.round.as_secs_f64(), examples, seed: SEED },
        devices: devices.iter().zip(peaks).map(describe).collect(),
        batches,
        verdict: gpu_wins.sentence(speed_ups.iter().filter(|(_, speed_up)| speed_up.is_some()).count()),
        gpu_wins,
        growth: None,
        notes: Vec::new(),
    }
}

/// Assembles the results of one batch size.
pub(super) async fn batch(
    network: &Network,
    batch_size: usize,
    labels: &[ExecutorKind],
    peaks: &[Peaks],
    seats: Vec<Seat>,
) -> Result<BatchReport> {
    let mut results = Vec::with_capacity(seats.len());
    for ((label, peaks), seat) in labels.iter().zip(peaks).zip(seats) {
        let (measured, unavailable, failed) = match seat {
            Ok(subject) => (Some(measured(network, subject, peaks).await?), None, false),
            Err(Absence { reason, failed }) => (None, Some(reason), failed),
        };
        results.push(DeviceResult { device: *label, unavailable, failed, measured });
    }
    let step = |device: ExecutorKind| {
        let result = results.iter().find(|r| r.device == device)?;
        Some(result.measured.as_ref()?.step.as_ref()?.milliseconds.median)
    };
    let speed_up = step(ExecutorKind::Cpu).zip(step(ExecutorKind::Gpu)).map(|(cpu, gpu)| cpu / gpu);
    Ok(BatchReport { batch_size, results, speed_up })
}

async fn measured(network: &Network, mut subject: Subject, peaks: &Peaks) -> Result<Measured> {
    let finite = subject.loss_is_finite().await?;
    let zeros = subject.skipped_zeros().await?;
    let (lowered, range) = (&subject.runner.lowered, subject.runner.instructions.clone());
    let (instructions, purposes) = (&lowered.program.instructions[range.clone()], &lowered.purposes[range]);
    let on_gpu = subject.runner.executor.device().executor == ExecutorKind::Gpu;
    let mut warnings = Vec::new();
    if !finite {
        warnings.push("the loss is no longer a finite number; lower the learning rate".to_string());
    }
    let mut step = step_figures(&subject, instructions, peaks, on_gpu, &mut warnings);
    let rounds = &subject.operations;
    let kernels = subject.runner.instructions.clone().map(|i| subject.runner.executor.kernel(i)).collect();
    let (fused, batch) = (&lowered.fused[..], lowered.batch);
    let passes = Passes { instructions, purposes, kernels, fused, rounds, zeros, batch, peaks };
    if let Some(step) = &mut step {
        step.skipped = passes.skipped(&|_| true);
    }
    let total = passes.spread(&|_| true).map(|s| s.median);
    if total.is_none() {
        warnings.push("the clock of single operations gave nothing usable; there are no times of layers".to_string());
    }
    let operations_over_step = total.zip(step.as_ref()).map(|(total, s)| total / (s.milliseconds.median * 1e6));
    Ok(Measured {
        rounds: subject.step_seconds.len(),
        memory_bytes: subject.runner.executor.memory(),
        step,
        clock: subject.clock,
        operations_over_step,
        stages: passes.stages(),
        layers: passes.layers(network),
        operations: passes.operations(),
        warnings,
    })
}

fn step_figures(
    subject: &Subject,
    instructions: &[Instruction],
    peaks: &Peaks,
    on_gpu: bool,
    warnings: &mut Vec<String>,
) -> Option<StepFigures> {
    let Some(seconds) = Spread::of(&subject.step_seconds) else {
        warnings.push("the host's clock gave durations of zero or less; there are no times of steps".to_string());
        return None;
    };
    if seconds.deviation() > RESTLESS {
        let percent = 100.0 * seconds.deviation();
        warnings.push(format!("rounds differ by ±{percent:.0} %: something else may be using this machine"));
    }
    let batch = subject.runner.batch() as f64;
    let host: Vec<f64> = subject.host.iter().map(|round| round.all).collect();
    let host_us = Spread::of(&host).filter(|_| on_gpu);
    let flops: u64 = instructions.iter().map(|i| i.op.work.flops).sum();
    Some(StepFigures {
        steps: subject.steps,
        milliseconds: seconds.scaled(1e3),
        us_per_example: seconds.median * 1e6 / batch,
        images_per_second: seconds.rate(batch),
        gflops: flops as f64 / seconds.median / 1e9,
        of_peak: peaks.share(instructions.iter().map(|i| i.op.work), seconds.median * 1e9),
        dispatches: subject.runner.executor.dispatches(subject.runner.instructions.clone()),
        host_us: host_us.map(|s| s.scaled(1e6)),
        host_parts: host_us.map(|_| HostParts::of(&subject.host)),
        skipped: None,
    })
}

/// Durations of single operations, in nanoseconds, by round.
struct Passes<'a> {
    instructions: &'a [Instruction],
    purposes: &'a [Purpose],
    /// The kernel that computed each instruction.
    kernels: Vec<&'static str>,
    /// The pairs of [`TrainingStep::fused`](crate::program::TrainingStep::fused).
    fused: &'a [(usize, usize)],
    rounds: &'a [Vec<f64>],
    /// The share of zero gradients that each instruction skips.
    zeros: Vec<Option<f64>>,
    batch: usize,
    peaks: &'a Peaks,
}

impl Passes<'_> {
    /// Nanoseconds of all chosen operations together; `None` if one of them has no usable time.
    fn spread(&self, chosen: &dyn Fn(usize) -> bool) -> Option<Spread> {
        let mut sums = Vec::with_capacity(self.rounds.len());
        if !(0..self.instructions.len()).any(chosen) {
            return None;
        }
        for round in self.rounds {
            let durations = || round.iter().enumerate().filter(|(i, _)| chosen(*i)).map(|(_, ns)| *ns);
            // An operation may be shorter than the clock's resolution.
            let sound = durations().all(|ns| ns >= 0.0 && ns.is_finite());
            sums.push(if sound { durations().sum() } else { f64::NAN });
        }
        Spread::of(&sums)
    }

    fn figures(&self, chosen: &dyn Fn(usize) -> bool) -> Option<PassFigures> {
        let (nanoseconds, total) = (self.spread(chosen)?, self.spread(&|_| true)?);
        let these = || self.instructions.iter().enumerate().filter(|(i, _)| chosen(*i));
        let work = || these().map(|(_, instruction)| instruction.op.work);
        Some(PassFigures {
            us_per_step: nanoseconds.scaled(1e-3),
            us_per_example: nanoseconds.median * 1e-3 / self.batch as f64,
            share: nanoseconds.median / total.median,
            gflops: work().map(|w| w.flops).sum::<u64>() as f64 / nanoseconds.median,
            gigabytes_per_second: work().map(|w| w.bytes).sum::<u64>() as f64 / nanoseconds.median,
            of_peak: self.peaks.share(work(), nanoseconds.median),
            skipped: self.skipped(chosen),
        })
    }

    /// The share of the chosen operations' arithmetic that was skipped; a backward pass multiplies every gradient by
    /// equally many values.
    fn skipped(&self, chosen: &dyn Fn(usize) -> bool) -> Option<f64> {
        let (mut all, mut skipped) = (0.0, 0.0);
        for (i, instruction) in self.instructions.iter().enumerate().filter(|(i, _)| chosen(*i)) {
            all += instruction.op.work.flops as f64;
            skipped += instruction.op.work.flops as f64 * self.zeros[i].unwrap_or(0.0);
        }
        (skipped > 0.0).then(|| skipped / all)
    }

    fn stages(&self) -> Vec<StageFigures> {
        let of = |stage: Stage| {
            self.figures(&|i| self.purposes[i].stage == stage).map(|figures| StageFigures { stage, figures })
        };
        Stage::ALL.into_iter().filter_map(of).collect()
    }

    fn layers(&self, network: &Network) -> Vec<LayerFigures> {
        let serves = |i: usize, node: usize| self.purposes[i].node == Some(node);
        let of = |(node, layer): (usize, &crate::net::Node)| LayerFigures {
            layer: layer.name.clone(),
            computed_by: self.fused.iter().find(|(at, _)| *at == node).map(|(_, by)| network.nodes[*by].name.clone()),
            output: [layer.output.height, layer.output.width, layer.output.channels],
            forward: self
                .figures(&|i| serves(i, node) && matches!(self.purposes[i].stage, Stage::Batch | Stage::Forward)),
            backward: self.figures(&|i| serves(i, node) && self.purposes[i].stage == Stage::Backward),
            both: self.figures(&|i| serves(i, node)),
        };
        network.nodes.iter().enumerate().map(of).collect()
    }

    fn operations(&self) -> Vec<OperationFigures> {
        let of = |(place, instruction): (usize, &Instruction)| {
            let figures = self.figures(&|i| i == place)?;
            let (operation, kernel) = (instruction.name.clone(), self.kernels[place]);
            Some(OperationFigures { operation, kernel, stage: self.purposes[place].stage, figures })
        };
        self.instructions.iter().enumerate().filter_map(of).collect()
    }
}
