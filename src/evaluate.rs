//! Runs a network over examples and returns either their evaluation or the scores of each.
//!
//! Images are cropped at the centre, or scores are averaged over several crops. Losses and predictions `[N]`, or scores
//! `[N][classes]`, are read back for every batch and summed on the host in f64, so the result does not depend on the
//! batch size.

mod crops;

pub use crops::{check_crops, crops};

use crate::data::Examples;
use crate::error::{Error, Result};
use crate::exec::{Capture, Device, upload_examples, upload_parameters};
use crate::kernels::BufferId;
use crate::kernels::batch::{Header, Place};
use crate::net::{Layer, Network, Parameters, Shape};
use crate::program::{Options, Source, Stage, TrainingStep, largest_batch};

/// The loss and accuracy of a network on some examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The mean of the network's loss; for softmax the cross-entropy, in nats. Excludes weight decay.
    pub loss: f64,
    /// The share of correct predictions.
    pub accuracy: f64,
    /// The number of correct predictions.
    pub correct: u64,
    /// The number of examples.
    pub examples: u64,
    /// `confusion[label][prediction]`: number of examples.
    pub confusion: Vec<Vec<u64>>,
    /// The predicted class of each example, in the examples' order.
    pub predictions: Vec<u32>,
    /// The network's loss for each example, in the examples' order.
    pub losses: Vec<f64>,
}

/// Evaluates all of `examples` in batches of `batch`, or of fewer if the device cannot hold as many.
///
/// # Errors
/// [`Error::Data`] if the examples do not fit the network, [`Error::TooLarge`] if not even one fits the device,
/// [`Error::Model`] if the weights give a loss that is not finite, [`Error::Device`] if the device fails.
///
/// # Panics
/// If `batch` is 0, or if the parameters are not those of the network.
pub async fn evaluate(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    batch: usize,
) -> Result<Evaluation> {
    evaluate_crops(device, network, parameters, examples, batch, 1).await
}

/// Evaluates all of `examples` by the mean over each image's first `count` [`crops`]. For softmax this is the mean of
/// the probabilities, and the loss is -ln of the label's; otherwise it is the mean of the scores, from which the loss
/// layer's formula gives the loss. A single crop is the same as [`evaluate`].
///
/// # Errors
/// Those of [`evaluate`], and [`Error::Setting`] if there are fewer crops than `count`.
///
/// # Panics
/// Those of [`evaluate`].
pub async fn evaluate_crops(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    batch: usize,
    count: usize,
) -> Result<Evaluation> {
    let pass = Pass::new(device, network, parameters, examples, batch, count)?;
    if count > 1 {
        return judge(network, examples, &pass.mean_scores().await?);
    }
    let mut tally = Tally::new(examples);
    let outputs = |step: &TrainingStep| vec![step.outputs.losses.id, step.outputs.predictions.id];
    pass.forward(&outputs, &mut |capture| tally.add(capture)).await?;
    tally.finish()
}

/// The last layer's output for each example, `[N][classes]`: probabilities for softmax, otherwise scores (a single one
/// if the network learns numbers). They are averaged over the image's first `count` [`crops`]. Labels are ignored.
///
/// # Errors
/// Those of [`evaluate_crops`].
///
/// # Panics
/// Those of [`evaluate`].
pub async fn scores(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    batch: usize,
    count: usize,
) -> Result<Vec<Vec<f32>>> {
    let means = Pass::new(device, network, parameters, examples, batch, count)?.mean_scores().await?;
    Ok(means.into_iter().map(|row| row.into_iter().map(|score| score as f32).collect()).collect())
}

/// A pass of a network over examples.
struct Pass<'a> {
    device: &'a Device,
    network: &'a Network,
    parameters: &'a [Parameters],
    examples: &'a Examples,
    batch: usize,
    crops: Vec<Option<Place>>,
}

impl Pass<'_> {
    fn new<'a>(
        device: &'a Device,
        network: &'a Network,
        parameters: &'a [Parameters],
        examples: &'a Examples,
        batch: usize,
        count: usize,
    ) -> Result<Pass<'a>> {
        assert!(batch > 0, "a batch of no examples");
        let [height, width, channels] = examples.shape;
        network.check_fits(Shape::new(height, width, channels), examples.classes)?;
        let crops = crops(network, [height, width], count)?;
        Ok(Pass { device, network, parameters, examples, batch, crops })
    }

    /// The last layer's values for each example, averaged over the crops. Crops arrive in order, so the sums are
    /// reproducible.
    async fn mean_scores(&self) -> Result<Vec<Vec<f64>>> {
        let (classes, crops) = (self.network.classes(), self.crops.len() as f64);
        // Starts at -0, because adding 0 would remove the sign of a single crop's -0.
        let mut sums = vec![vec![-0.0; classes]; self.examples.len()];
        let outputs = |step: &TrainingStep| step.nodes.last().map(|node| node.activation.id).into_iter().collect();
        self.forward(&outputs, &mut |capture| {
            let rows = capture.buffers.iter().flat_map(|buffer| buffer.chunks_exact(classes));
            for (sums, row) in sums[capture.tag as usize..].iter_mut().zip(rows) {
                sums.iter_mut().zip(row).for_each(|(sum, bits)| *sum += f64::from(f32::from_bits(*bits)));
            }
        })
        .await?;
        sums.iter_mut().flatten().for_each(|sum| *sum /= crops);
        if sums.iter().flatten().all(|mean| mean.is_finite()) { Ok(sums) } else { Err(not_finite()) }
    }

    /// Runs all crops of all examples forward in batches. The buffers that `outputs` chooses are read back; a capture's
    /// tag is the index of its first example.
    async fn forward(
        &self,
        outputs: &dyn Fn(&TrainingStep) -> Vec<BufferId>,
        take: &mut dyn FnMut(&Capture),
    ) -> Result<()> {
        let Pass { device, network, parameters, examples, batch, .. } = *self;
        let [height, width, channels] = examples.shape;
        let source = Source { height, width, channels, examples: examples.len() };
        let limits = device.limits();
        let batch = batch.min(examples.len().max(1));
        let options = Options::evaluation(batch, source).on(&limits);
        let step = fitting_step(device, network, &options)?;
        let (batch, outputs) = (step.batch, outputs(&step));
        let stages = step.stages(Stage::Batch, Stage::Forward);

        let mut executor = device.executor(step.program.clone()).await?;
        upload_parameters(&mut *executor, &step, parameters)?;
        upload_examples(&mut *executor, &step, examples)?;
        for start in (0..examples.len()).step_by(batch) {
            let end = examples.len().min(start + batch);
            let indices: Vec<u32> = (start as u32..end as u32).collect();
            let labels: Vec<u32> = examples.labels[start..end].iter().map(|label| u32::from(*label)).collect();
            for place in &self.crops {
                let header = Header { place: *place, ..Header::evaluation((end - start) as u32) };
                let words = step.input_words(header, &indices, &labels);
                executor.begin_step(&words)?;
                executor.run(stages.clone())?;
                executor.capture(start as u64, &outputs)?;
                executor.end_step(false).await?;
                executor.captured()?.iter().for_each(&mut *take);
            }
        }
        executor.finish().await?;
        executor.captured()?.iter().for_each(take);
        Ok(())
    }
}

/// The training step at the largest batch size that the device can hold, up to that of `options`.
fn fitting_step(device: &Device, network: &Network, options: &Options) -> Result<TrainingStep> {
    let limits = device.limits();
    let lower = |batch: usize| {
        let options = Options { batch, ..*options };
        TrainingStep::lower_within(network, &options, &limits)
    };
    lower(options.batch).or_else(|error| match largest_batch(network, options, &limits) {
        Some(batch) => lower(batch),
        None => Err(error),
    })
}

fn not_finite() -> Error {
    Error::Model(
        "the model's loss is not finite because its weights are too large; use an older checkpoint, or train with a lower \
         learning rate"
            .into(),
    )
}

/// Collects the batches' results, in any order of arrival.
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

    /// Adds a capture, whose tag is the index of its first example; rows beyond the last example are masked.
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
        let losses = self.losses.iter().map(|loss| f64::from(*loss));
        Evaluation::of(self.examples, losses, self.predictions)
    }
}

/// Evaluates averaged scores.
fn judge(network: &Network, examples: &Examples, scores: &[Vec<f64>]) -> Result<Evaluation> {
    let layer = network.nodes.last().map(|node| node.layer);
    let labels = examples.labels.iter().map(|label| usize::from(*label));
    if network.learns_numbers() {
        let distance = |score: f64, class: usize| (score - f64::from(examples.number(class))).abs();
        let losses = scores.iter().zip(labels).map(|(scores, label)| 0.5 * distance(scores[0], label).powi(2));
        let nearest = |scores: &Vec<f64>| first_largest(examples.classes, |class| -distance(scores[0], class));
        return Evaluation::of(examples, losses, scores.iter().map(nearest).collect());
    }
    let losses = scores.iter().zip(labels).map(|(scores, label)| loss(layer, scores, label));
    let largest = |scores: &Vec<f64>| first_largest(scores.len(), |class| scores[class]);
    Evaluation::of(examples, losses, scores.iter().map(largest).collect())
}

/// The first class with the largest value, as in the loss layers.
fn first_largest(classes: usize, value: impl Fn(usize) -> f64) -> u32 {
    (0..classes).rev().max_by(|a, b| value(*a).total_cmp(&value(*b))).unwrap_or(0) as u32
}

/// The loss of an example's averaged scores, by the loss layer's formula.
fn loss(layer: Option<Layer>, scores: &[f64], label: usize) -> f64 {
    let others = scores.iter().enumerate().filter(|(class, _)| *class != label);
    match layer {
        // A probability too small for f32 becomes 0; the loss stays finite in that case.
        Some(Layer::Softmax { .. }) => -scores[label].max(f64::from(f32::MIN_POSITIVE)).ln(),
        Some(Layer::Hinge) => others.map(|(_, score)| (score - scores[label] + 1.0).max(0.0)).sum(),
        Some(Layer::Mse { .. }) => {
            0.5 * ((scores[label] - 1.0).powi(2) + others.map(|(_, score)| score * score).sum::<f64>())
        }
        _ => unreachable!("the last layer is a loss"),
    }
}

impl Evaluation {
    fn of(examples: &Examples, losses: impl Iterator<Item = f64>, predictions: Vec<u32>) -> Result<Evaluation> {
        let losses: Vec<f64> = losses.collect();
        let loss = losses.iter().sum::<f64>() / examples.len() as f64;
        if !loss.is_finite() {
            return Err(not_finite());
        }
        let mut confusion = vec![vec![0; examples.classes]; examples.classes];
        for (label, prediction) in examples.labels.iter().zip(&predictions) {
            let row = &mut confusion[usize::from(*label)];
            let cell = row.get_mut(*prediction as usize);
            *cell.ok_or_else(|| {
                Error::Device(format!("the device predicted class {prediction}, which does not exist"))
            })? += 1;
        }
        let correct = confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
        let accuracy = correct as f64 / examples.len() as f64;
        Ok(Evaluation { loss, accuracy, correct, examples: examples.len() as u64, confusion, predictions, losses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Targets;

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
    fn averaged_numbers_mean_the_nearest_class_and_of_equally_near_ones_the_first() {
        let layers = [
            (Layer::Input { height: 1, width: 1, channels: 1 }, 0.0),
            (Layer::Fc { outputs: 1 }, 0.0),
            (Layer::Mse { targets: Targets::Number }, 0.0),
        ];
        let network = Network::from_layers("numbers", &layers, Default::default()).expect("legal");
        let numbers = vec![10.0, 20.0, 40.0];
        let examples = Examples { shape: [1, 1, 1], classes: 3, pixels: vec![0; 3], labels: vec![0, 1, 1], numbers };
        let evaluation = judge(&network, &examples, &[vec![14.0], vec![31.0], vec![30.0]]).expect("finite");
        assert_eq!(evaluation.predictions, [0, 2, 1]);
        assert_eq!((evaluation.loss, evaluation.correct), ((8.0 + 60.5 + 50.0) / 3.0, 2));
    }

    #[test]
    fn no_examples_are_an_error() {
        let message = run(5, &noise(0)).expect_err("there is nothing to evaluate").to_string();
        assert!(message.contains("no examples"), "{message}");
    }

    /// A network with this loss, whose images are larger than its input and may be flipped.
    fn cropping(loss: &str) -> Network {
        let text = format!(
            "layers = [{{ type = \"input\", height = 24, width = 25, channels = 1, crop = true }}, \
             {{ type = \"fc\", outputs = 10 }}, {{ type = \"{loss}\" }}]\n[augmentation]\npad = 1\nflip = true"
        );
        Network::from_toml(&text, "small").expect("valid")
    }

    #[test]
    fn the_loss_of_a_single_crops_scores_is_the_layers_own() {
        let examples = noise(11);
        for loss in ["softmax", "hinge", "mse"] {
            let network = cropping(loss);
            let parameters = network.initial_parameters(1);
            pollster::block_on(async {
                let pass = Pass::new(&Device::Cpu, &network, &parameters, &examples, 4, 1)?;
                let own = evaluate(&Device::Cpu, &network, &parameters, &examples, 4).await?;
                let judged = judge(&network, &examples, &pass.mean_scores().await?)?;
                assert!((own.loss - judged.loss).abs() < 1e-5 * own.loss, "{loss}: {} and {}", own.loss, judged.loss);
                assert_eq!((own.predictions, own.confusion), (judged.predictions, judged.confusion), "{loss}");
                Ok::<_, Error>(())
            })
            .expect("it evaluates");
        }
    }

    /// The pixels of a crop, as separate examples.
    fn cut(examples: &Examples, place: Place, pad: i64) -> Examples {
        let mut pixels = Vec::new();
        for image in examples.pixels.chunks_exact(784) {
            for (y, x) in (0..24).flat_map(|y| (0..25).map(move |x| (y, x))) {
                let x = if place.mirrored { 24 - x } else { x };
                let (y, x) = (y + i64::from(place.row) - pad, x + i64::from(place.column) - pad);
                let inside = (0..28).contains(&y) && (0..28).contains(&x);
                pixels.push(if inside { image[(y * 28 + x) as usize] } else { 0 });
            }
        }
        Examples { shape: [24, 25, 1], pixels, ..examples.clone() }
    }

    #[test]
    fn scores_are_the_mean_of_those_of_the_crops() {
        let (network, examples) = (cropping("softmax"), noise(9));
        let parameters = network.initial_parameters(2);
        let run = |examples: &Examples, count: usize| {
            pollster::block_on(scores(&Device::Cpu, &network, &parameters, examples, 4, count)).expect("scores")
        };
        let mut mean = vec![vec![0.0; 10]; 9];
        for place in crops(&network, [28, 28], 12).expect("as many").into_iter().flatten() {
            for (mean, row) in mean.iter_mut().zip(run(&cut(&examples, place, 1), 1)) {
                mean.iter_mut().zip(row).for_each(|(mean, score)| *mean += score / 12.0);
            }
        }
        for (mean, row) in mean.iter().zip(run(&examples, 12)) {
            assert!(mean.iter().zip(&row).all(|(a, b)| (a - b).abs() < 1e-6), "{mean:?} and {row:?}");
        }
    }

    #[test]
    fn several_crops_do_not_depend_on_the_batch_size_and_judge_by_averaged_probabilities() {
        let (network, examples) = (cropping("softmax"), noise(23));
        let parameters = network.initial_parameters(1);
        let run = |batch: usize| {
            let evaluation = evaluate_crops(&Device::Cpu, &network, &parameters, &examples, batch, 10);
            pollster::block_on(evaluation).expect("it evaluates")
        };
        let [one, all] = [1, 100].map(run);
        assert!(one.predictions == all.predictions && (one.loss - all.loss).abs() < 1e-6);
        let scores = pollster::block_on(scores(&Device::Cpu, &network, &parameters, &examples, 100, 10));
        let scores = scores.expect("scores");
        let terms = scores.iter().zip(&examples.labels).map(|(p, label)| -f64::from(p[usize::from(*label)]).ln());
        assert!((terms.sum::<f64>() / 23.0 - all.loss).abs() < 1e-6);
    }

    #[test]
    fn a_probability_of_zero_has_a_finite_loss_and_ties_go_to_the_first_class() {
        let network = cropping("softmax");
        let examples = Examples { labels: vec![3], ..noise(1) };
        let mut scores = vec![0.0; 10];
        (scores[2], scores[6]) = (0.5, 0.5);
        let evaluation = judge(&network, &examples, &[scores]).expect("finite");
        assert!((evaluation.loss - 87.3).abs() < 0.1 && evaluation.predictions == [2], "{evaluation:?}");
    }

    #[test]
    fn a_network_that_takes_images_whole_has_one_crop() {
        let mut network = cropping("softmax");
        network.augmentation = Default::default();
        let parameters = network.initial_parameters(1);
        let examples = cut(&noise(3), Place { row: 0, column: 0, mirrored: false }, 0);
        let evaluation = evaluate_crops(&Device::Cpu, &network, &parameters, &examples, 3, 5);
        let message = pollster::block_on(evaluation).expect_err("one crop only").to_string();
        assert!(message.contains("test crops must be 1 for network small"), "{message}");
    }
}
