//! One executor with its data: uploads it once, then runs training steps and validation batches.

use super::Settings;
use crate::data::Examples;
use crate::error::Result;
use crate::exec::{Device, Executor, read_reals, upload_examples, write_reals};
use crate::kernels::Tensor;
use crate::kernels::batch::Header;
use crate::net::{Network, Parameters, Shape};
use crate::program::{Limits, Options, Source, Stage, TrainingStep};
use std::sync::Arc;

/// The kinds of captures, in the low bits of a capture's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Loss and correct predictions of a training step.
    Step,
    /// Phase timings of a training step.
    Timing,
    /// Layer statistics of a training step.
    Statistics,
    /// Loss and correct predictions of a batch of the validation window.
    Window,
    /// Loss and correct predictions of a batch of a whole validation pass.
    Validation,
}

const KINDS: [Kind; 5] = [Kind::Step, Kind::Timing, Kind::Statistics, Kind::Window, Kind::Validation];

impl Kind {
    pub fn tag(self, step: u64) -> u64 {
        step * 8 + self as u64
    }

    pub fn of(tag: u64) -> (Kind, u64) {
        (KINDS[(tag % 8) as usize % KINDS.len()], tag / 8)
    }
}

/// Weights, optimizer state and moving average on the host, flat, as the device holds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub parameters: Vec<f32>,
    pub state: Vec<f32>,
    /// Empty if none is kept.
    pub average: Vec<f32>,
}

impl Snapshot {
    /// Whether every value is finite.
    pub fn is_finite(&self) -> bool {
        self.parameters.iter().chain(&self.state).chain(&self.average).all(|v| v.is_finite())
    }
}

/// The training step for `settings` with its recorded kernels, its options, and the limits of the device.
pub(super) fn plan(
    device: &Device,
    settings: &Settings,
    examples: &Examples,
) -> Result<(TrainingStep, Options, Limits)> {
    let [height, width, channels] = examples.shape;
    settings.network.check_fits(Shape::new(height, width, channels), examples.classes)?;
    let source = Source { height, width, channels, examples: examples.len() };
    let limits = device.limits();
    let options = settings.options(source).on(&limits);
    let mut step = TrainingStep::lower_sized(&settings.network, &options, &limits)?;
    if let (Device::Gpu(gpu), false) = (device, settings.kernels.is_empty()) {
        settings.kernels.apply(Arc::make_mut(&mut step.program), gpu.adapter());
    }
    // On a device these take the host's memory, and the device's is weighed.
    let beside = step.checkpoints() + ORDER * examples.len() as u64;
    let limits = if limits.host.is_some() { limits.beside(beside) } else { limits };
    Ok((step, options, limits))
}

/// Bytes per example of labels and of the order of examples.
const ORDER: u64 = 16;

/// An executor with a training set on it.
pub struct Session {
    pub step: TrainingStep,
    pub executor: Box<dyn Executor>,
    labels: Vec<u32>,
    batch: usize,
}

impl Session {
    /// Lowers the network for training, checks the memory plan, allocates, uploads `examples`.
    pub async fn new(device: &Device, settings: &Settings, examples: &Examples) -> Result<Session> {
        let (step, options, limits) = plan(device, settings, examples)?;
        for (name, bytes) in step.program.memory_plan() {
            log::debug!("memory plan: {bytes:>12} bytes  {name}");
        }
        let footprint = step.footprint(limits.host);
        log::debug!("memory plan: {:>12} bytes in all, {footprint} with working memory", step.program.memory());
        log::debug!("memory plan: {:>12} bytes of checkpoints and the order of examples", limits.beside);
        step.check_limits(&settings.network, &options, &limits)?;
        let mut executor = device.executor(step.program.clone()).await?;
        upload_examples(executor.as_mut(), &step, examples)?;
        let labels = examples.labels.iter().map(|l| u32::from(*l)).collect();
        let mut session = Session { step, executor, labels, batch: settings.batch_size };
        session.set_decay(settings.decay())?;
        Ok(session)
    }

    /// Checks that a session with `settings` fits once this one is dropped.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) with the largest batch size that fits; otherwise those of
    /// [`Session::new`].
    pub(super) fn check_successor(&self, device: &Device, settings: &Settings, examples: &Examples) -> Result<()> {
        let (step, options, limits) = plan(device, settings, examples)?;
        // What belongs to the run stays as it is.
        let limits = Limits { beside: 0, ..limits }.freed(self.executor.frees());
        step.check_limits(&settings.network, &options, &limits)
    }

    /// Sets the factors of L1 and L2 decay from the next step on.
    pub(super) fn set_decay(&mut self, [l1, l2]: [f32; 2]) -> Result<()> {
        let Some(trainable) = self.step.trainable else { return Ok(()) };
        let factors = self.step.block_factors(l1, l2);
        write_reals(self.executor.as_mut(), trainable.factors.id, &factors)
    }

    fn labels(&self, indices: &[u32]) -> Vec<u32> {
        indices.iter().map(|i| self.labels[*i as usize]).collect()
    }

    /// Queues the inputs of one batch.
    pub(super) fn begin(&mut self, header: Header, indices: &[u32]) -> Result<()> {
        let words = self.step.input_words(header, indices, &self.labels(indices));
        self.executor.begin_step(&words)
    }

    /// Queues the forward passes of these validation examples, in batches; returns the number of batches. Uses the
    /// moving average of the weights if one is kept.
    pub(super) async fn evaluate(&mut self, kind: Kind, step: u64, indices: &[u32]) -> Result<usize> {
        let (stages, outputs) = (self.step.stages(Stage::Batch, Stage::Forward), self.step.outputs);
        let average = self.step.trainable.and_then(|t| Some((t.average?.id, t.parameters_next.id)));
        let parameters = self.step.parameters.id;
        if let Some((average, spare)) = average {
            self.executor.copy(parameters, spare)?;
            self.executor.copy(average, parameters)?;
        }
        for indices in indices.chunks(self.batch) {
            self.begin(Header::evaluation(indices.len() as u32), indices)?;
            self.executor.run(stages.clone())?;
            self.executor.capture(kind.tag(step), &[outputs.loss.id, outputs.correct.id])?;
            self.executor.end_step(false).await?;
        }
        if let Some((_, spare)) = average {
            self.executor.copy(spare, parameters)?;
        }
        Ok(indices.len().div_ceil(self.batch))
    }

    /// Length of the optimizer's flat state.
    pub fn state_len(&self) -> usize {
        self.step.trainable.and_then(|t| t.state).map_or(0, |s| s.len)
    }

    /// The length of the flat moving average; 0 if none is kept.
    pub fn average_len(&self) -> usize {
        self.average().map_or(0, |average| average.len)
    }

    fn average(&self) -> Option<Tensor> {
        self.step.trainable.and_then(|t| t.average)
    }

    /// The length of weights and biases in the flat buffer; running statistics follow them.
    pub fn learned_len(&self) -> usize {
        self.step.trainable.map_or(self.step.parameters.len, |trainable| trainable.gradients.len)
    }

    /// Waits for the device and copies the state of training to the host.
    pub async fn snapshot(&mut self) -> Result<Snapshot> {
        let (parameters, state) = (Some(self.step.parameters), self.step.trainable.and_then(|t| t.state));
        let average = self.average();
        Ok(Snapshot {
            parameters: self.read(parameters).await?,
            state: self.read(state).await?,
            average: self.read(average).await?,
        })
    }

    /// The state of training with these weights and no history.
    pub(super) fn fresh(&self, parameters: &[Parameters]) -> Snapshot {
        let parameters = self.flat(parameters);
        let average = if self.average_len() > 0 { parameters.clone() } else { Vec::new() };
        Snapshot { parameters, state: vec![0.0; self.state_len()], average }
    }

    async fn read(&mut self, tensor: Option<Tensor>) -> Result<Vec<f32>> {
        match tensor {
            Some(tensor) => read_reals(self.executor.as_mut(), tensor.id).await,
            None => Ok(Vec::new()),
        }
    }

    /// Waits for the device and returns the weights that evaluation uses: their moving average if one is kept.
    pub async fn weights(&mut self, network: &Network) -> Result<Vec<Parameters>> {
        let weights = self.average().unwrap_or(self.step.parameters);
        let flat = self.read(Some(weights)).await?;
        Ok(self.parameters(network, &flat))
    }

    /// Writes weights, state and average back.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let (parameters, state) = (Some(self.step.parameters), self.step.trainable.and_then(|t| t.state));
        let average = self.average();
        let Snapshot { parameters: weights, state: values, average: averages } = snapshot;
        for (tensor, values) in [(parameters, weights), (state, values), (average, averages)] {
            if let Some(tensor) = tensor {
                write_reals(self.executor.as_mut(), tensor.id, values)?;
            }
        }
        Ok(())
    }

    /// The flat parameters divided into layers.
    pub fn parameters(&self, network: &Network, flat: &[f32]) -> Vec<Parameters> {
        self.step.split_parameters(network, flat)
    }

    /// The layers' parameters in the device's layout.
    pub fn flat(&self, parameters: &[Parameters]) -> Vec<f32> {
        self.step.join_parameters(parameters)
    }
}
