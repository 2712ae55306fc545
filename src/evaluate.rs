//! Runs a network over examples: counts what it got right, or tells what it makes of each.
//!
//! Images are cropped in the centre. Losses and predictions `[N]` are read back for every batch and summed on the host
//! in f64, so that the result does not depend on the batch size.

use crate::data::Examples;
use crate::error::{Error, Result};
use crate::exec::{Capture, Device, upload_examples, upload_parameters};
use crate::kernels::BufferId;
use crate::kernels::batch::Header;
use crate::net::{Network, Parameters, Shape};
use crate::program::{Options, Program, Source, Stage, largest_batch};

/// How well a network does on some examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The mean of the network's loss: with softmax the cross-entropy, in nats; weight decay not included.
    pub loss: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// Number of correct predictions.
    pub correct: u64,
    /// Number of examples.
    pub examples: u64,
    /// `confusion[label][prediction]`: number of examples.
    pub confusion: Vec<Vec<u64>>,
    /// Predicted class of each example, in their order.
    pub predictions: Vec<u32>,
}

/// Evaluates all of `examples`, `batch` at a time, or fewer where the device cannot hold as many.
///
/// # Errors
/// [`Error::Data`] where the examples do not fit the network, [`Error::TooLarge`] where not even one fits the device,
/// [`Error::Model`] where the weights make losses that are not finite, [`Error::Device`] where the device fails.
///
/// # Panics
/// When `batch` is 0, or the parameters are not those of the network.
pub async fn evaluate(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    batch: usize,
) -> Result<Evaluation> {
    let mut tally = Tally::new(examples);
    let outputs = |program: &Program| vec![program.outputs.losses.id, program.outputs.predictions.id];
    forward(device, network, parameters, examples, batch, &outputs, &mut |capture| tally.add(capture)).await?;
    tally.finish()
}

/// What the last layer gives for each example, `[N][classes]`: with softmax probabilities, else scores, and where the
/// network learns numbers, one. Labels do not matter.
///
/// # Errors
/// As [`evaluate`].
///
/// # Panics
/// As [`evaluate`].
pub async fn scores(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    batch: usize,
) -> Result<Vec<Vec<f32>>> {
    let classes = network.classes();
    let mut scores = vec![Vec::new(); examples.len()];
    let outputs = |program: &Program| program.nodes.last().map(|node| node.activation.id).into_iter().collect();
    forward(device, network, parameters, examples, batch, &outputs, &mut |capture| {
        let rows = capture.buffers.iter().flat_map(|buffer| buffer.chunks_exact(classes));
        for (target, row) in scores[capture.tag as usize..].iter_mut().zip(rows) {
            *target = row.iter().map(|bits| f32::from_bits(*bits)).collect();
        }
    })
    .await?;
    let finite = scores.iter().all(|row| row.len() == classes && row.iter().all(|score| score.is_finite()));
    if finite { Ok(scores) } else { Err(not_finite()) }
}

/// Runs all of `examples` forward in batches. What `outputs` chooses is read back; a capture's tag is the index of its
/// first example.
async fn forward(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    batch: usize,
    outputs: &dyn Fn(&Program) -> Vec<BufferId>,
    take: &mut dyn FnMut(&Capture),
) -> Result<()> {
    assert!(batch > 0, "a batch of no examples");
    let [height, width, channels] = examples.shape;
    network.check_fits(Shape::new(height, width, channels), examples.classes)?;
    let source = Source { height, width, channels, examples: examples.len() };
    let limits = device.limits();
    let batch = batch.min(examples.len().max(1));
    let options = Options { max_binding: limits.max_binding, ..Options::evaluation(batch, source) };
    let program = fitting_program(device, network, &options)?;
    let (batch, outputs) = (program.batch, outputs(&program));
    let stages = program.stages(Stage::Batch, Stage::Forward);

    let mut executor = device.executor(program).await?;
    upload_parameters(&mut *executor, parameters)?;
    upload_examples(&mut *executor, examples)?;
    for start in (0..examples.len()).step_by(batch) {
        let end = examples.len().min(start + batch);
        let indices: Vec<u32> = (start as u32..end as u32).collect();
        let labels: Vec<u32> = examples.labels[start..end].iter().map(|label| u32::from(*label)).collect();
        let header = Header::evaluation((end - start) as u32);
        let words = executor.program().input_words(header, &indices, &labels);
        executor.begin_step(&words)?;
        executor.run(stages.clone())?;
        executor.capture(start as u64, &outputs)?;
        executor.end_step(false).await?;
        executor.captured()?.iter().for_each(&mut *take);
    }
    executor.finish().await?;
    executor.captured()?.iter().for_each(take);
    Ok(())
}

/// The program at the largest batch size up to that of `options` that the device holds.
fn fitting_program(device: &Device, network: &Network, options: &Options) -> Result<Program> {
    let limits = device.limits();
    let lower = |batch: usize| {
        let options = Options { batch, ..*options };
        let program = Program::lower(network, &options)?;
        program.check_limits(network, &options, &limits).map(|()| program)
    };
    lower(options.batch).or_else(|error| match largest_batch(network, options, &limits) {
        Some(batch) => lower(batch),
        None => Err(error),
    })
}

fn not_finite() -> Error {
    Error::Model(
        "the model's weights are so large that its loss is not finite; take an older checkpoint, or train with a lower \
         learning rate"
            .into(),
    )
}

/// Collects the batches' results, in whatever order they arrive.
struct Tally<'a> {
    examples: &'a Examples,
    losses: Vec<f32>,
    predictions: Vec<u32>,
}

impl<'a> Tally<'a> {
    fn new(examples: &'a Examples) -> Tally<'a> {
        let count = examples.len();
        Tally { examples, losses: vec![f32::NAN; count], predictions: vec![0; count] }
    }

    /// A capture's tag is the index of its first example; rows beyond the last example are masked.
    fn add(&mut self, capture: &Capture) {
        let [losses, predictions] = &capture.buffers[..] else { return };
        let start = capture.tag as usize;
        for (target, loss) in self.losses[start..].iter_mut().zip(losses) {
            *target = f32::from_bits(*loss);
        }
        for (target, prediction) in self.predictions[start..].iter_mut().zip(predictions) {
            *target = *prediction;
        }
    }

    fn finish(self) -> Result<Evaluation> {
        let Tally { examples, losses, predictions } = self;
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / examples.len() as f64;
        if !loss.is_finite() {
            return Err(not_finite());
        }
        let mut confusion = vec![vec![0; examples.classes]; examples.classes];
        for (label, prediction) in examples.labels.iter().zip(&predictions) {
            let row = &mut confusion[usize::from(*label)];
            let cell = row.get_mut(*prediction as usize);
            *cell.ok_or_else(|| Error::Device(format!("the device predicted class {prediction}, which is none")))? += 1;
        }
        let correct = confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
        let accuracy = correct as f64 / examples.len() as f64;
        Ok(Evaluation { loss, accuracy, correct, examples: examples.len() as u64, confusion, predictions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize) -> Examples {
        let pixels = (0..count * 784).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let labels = (0..count).map(|i| (i % 10) as u8).collect();
        Examples { shape: [28, 28, 1], classes: 10, pixels, labels, numbers: vec![] }
    }

    fn run(batch: usize, examples: &Examples) -> Result<Evaluation> {
        let network = Network::preset("convnetjs-mnist")?;
        let parameters = network.initial_parameters(1);
        pollster::block_on(evaluate(&Device::Cpu, &network, &parameters, examples, batch))
    }

    #[test]
    fn the_batch_size_changes_nothing() {
        let examples = noise(23);
        let [one, some, all] = [1, 7, 1000].map(|batch| run(batch, &examples).expect("it evaluates"));
        assert_eq!((&one.predictions, one.correct), (&all.predictions, all.correct));
        assert!((one.loss - all.loss).abs() < 1e-6 && (some.loss - all.loss).abs() < 1e-6);
    }

    #[test]
    fn the_confusion_matrix_counts_labels_by_row() {
        let examples = noise(23);
        let evaluation = run(5, &examples).expect("it evaluates");
        let rows: Vec<u64> = evaluation.confusion.iter().map(|row| row.iter().sum()).collect();
        assert_eq!(rows, [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
        let diagonal: u64 = (0..10).map(|class| evaluation.confusion[class][class]).sum();
        assert_eq!((evaluation.correct, evaluation.examples), (diagonal, 23));
        assert!((evaluation.accuracy - diagonal as f64 / 23.0).abs() < 1e-12);
    }

    #[test]
    fn no_examples_are_an_error() {
        let message = run(5, &noise(0)).expect_err("there is nothing to evaluate").to_string();
        assert!(message.contains("no examples"), "{message}");
    }
}
