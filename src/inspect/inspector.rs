//! A training step for inspecting single examples, lowered once, with its executor.

use super::{Inspection, NamedTensor};
use crate::data::Examples;
use crate::error::{Error, Result};
use crate::exec::{Device, Executor, read_reals, upload_examples, upload_parameters};
use crate::formats::layout;
use crate::kernels::Tensor;
use crate::kernels::batch::Header;
use crate::net::{Layer, Network, Node, Parameters, Shape};
use crate::program::{Limits, Options, Source, TrainingStep};

/// Inspects any number of examples with one lowering and one allocation.
pub struct Inspector {
    pub(super) device: Device,
    pub(super) network: Network,
    pub(super) step: TrainingStep,
    pub(super) executor: Box<dyn Executor>,
    /// The parameters as loaded.
    pub(super) parameters: Vec<Parameters>,
    /// The images under inspection, with their classes and the numbers that these stand for.
    pub(super) examples: Examples,
}

impl Inspector {
    /// An inspector for images of `shape`, `[H,W,C]`, with `classes` classes. [`Inspector::load`] must be called before
    /// the first inspection.
    ///
    /// # Errors
    /// [`Error::Data`] if the images do not fit the network, [`Error::TooLarge`] if the network does not fit the
    /// device, [`Error::Device`] if the device fails.
    pub async fn new(device: &Device, network: &Network, shape: [usize; 3], classes: usize) -> Result<Inspector> {
        Inspector::for_batches(device, network, shape, classes, 1).await
    }

    /// An inspector for batches of up to `batch` images, see [`Inspector::inspect_batch`].
    ///
    /// # Errors
    /// Those of [`Inspector::new`], and [`Error::Settings`] if no batch may be that large; an [`Error::TooLarge`]
    /// states the largest batch size that fits.
    pub async fn for_batches(
        device: &Device,
        network: &Network,
        shape: [usize; 3],
        classes: usize,
        batch: usize,
    ) -> Result<Inspector> {
        let [height, width, channels] = shape;
        network.check_fits(Shape::new(height, width, channels), classes)?;
        let source = Source { height, width, channels, examples: batch };
        let limits = device.limits();
        let options = Options { one_batch: true, ..Options::inspection(batch, source).on(&limits) };
        // The tensors read back: one tensor of the whole batch at a time, one example of all, weights and their
        // gradients.
        let along = |step: &TrainingStep| {
            let (batch, weights) = (step.batch as u64, step.parameters.len as u64);
            step.program.largest_buffer() + step.program.memory() / batch + 8 * weights
        };
        let step = TrainingStep::lower_within(network, &options, &Limits { along, ..limits })?;
        let executor = device.executor(step.program.clone()).await?;
        let examples = Examples { shape, classes, pixels: Vec::new(), labels: Vec::new(), numbers: Vec::new() };
        let (device, network) = (device.clone(), network.clone());
        Ok(Inspector { device, network, step, executor, parameters: Vec::new(), examples })
    }

    /// Sets the numbers that the classes stand for, as in [`Examples::numbers`], for networks that learn numbers.
    pub fn with_numbers(mut self, numbers: &[f32]) -> Inspector {
        self.examples.numbers = numbers.to_vec();
        self
    }

    /// The network that is inspected.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Uses these weights from now on.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If the parameters are not those of the network.
    pub fn load(&mut self, parameters: &[Parameters]) -> Result<()> {
        self.parameters = parameters.to_vec();
        upload_parameters(&mut *self.executor, &self.step, parameters)
    }

    /// Runs one image of `H*W*C` bytes forward and backward and reads every tensor.
    ///
    /// # Errors
    /// [`Error::Data`] if the image has another size or the class does not exist, [`Error::Device`] if the device
    /// fails.
    pub async fn inspect(&mut self, image: &[u8], label: u8) -> Result<Inspection> {
        self.inspect_batch(image, &[label]).await
    }

    /// Runs images of `H*W*C` bytes each, with their labels, forward and backward and reads every tensor. Scores, loss,
    /// activations and their gradients are those of the first image. All gradients are of the batch's mean loss.
    /// Extremes, means and deviations of layers are of the whole batch.
    ///
    /// # Errors
    /// Those of [`Inspector::inspect`], and [`Error::Data`] for no image or for more images than the inspector was made
    /// for.
    pub async fn inspect_batch(&mut self, images: &[u8], labels: &[u8]) -> Result<Inspection> {
        self.take(images, labels)?;
        let Inspector { step, executor, .. } = self;
        let executor = executor.as_mut();
        let all = 0..step.program.instructions.len();
        let indices: Vec<u32> = (0..labels.len() as u32).collect();
        let classes: Vec<u32> = labels.iter().map(|label| u32::from(*label)).collect();
        let words = step.input_words(Header::evaluation(labels.len() as u32), &indices, &classes);
        executor.begin_step(&words)?;
        executor.run(all)?;
        executor.end_step(false).await?;

        let loss = read_reals(executor, step.outputs.losses.id).await?[0];
        let mean_loss = read_reals(executor, step.outputs.loss.id).await?[0] / labels.len() as f32;
        let counts = executor.read(step.statistics.counts.id).await?;
        let values = executor.read(step.statistics.values.id).await?;
        let layers = step.statistics.decode(&counts, &values).layers;
        let tensors = read_tensors(executor, step, &self.network).await?;
        let last = step.nodes[step.nodes.len() - 1];
        let mut scores = read_reals(executor, last.activation.id).await?;
        scores.truncate(self.network.classes());
        Ok(Inspection { label: usize::from(labels[0]), loss, mean_loss, scores, layers, tensors })
    }

    /// Passes images to the device.
    pub(super) fn take(&mut self, images: &[u8], labels: &[u8]) -> Result<()> {
        let ([height, width, channels], batch) = (self.examples.shape, self.step.batch);
        let size = height * width * channels;
        if images.len() != size * labels.len() {
            return Err(Error::Data(format!(
                "{} images of {height}x{width}x{channels} have {} bytes, got {}",
                labels.len(),
                size * labels.len(),
                images.len()
            )));
        }
        if labels.is_empty() || labels.len() > batch {
            return Err(Error::Data(format!(
                "{} images given; this inspector takes batches of 1 to {batch}",
                labels.len()
            )));
        }
        if let Some(label) = labels.iter().find(|label| usize::from(**label) >= self.examples.classes) {
            return Err(Error::Data(format!("label {label} is not one of the {} classes", self.examples.classes)));
        }
        (self.examples.pixels, self.examples.labels) = (images.to_vec(), labels.to_vec());
        self.examples.pixels.resize(size * batch, 0);
        upload_examples(&mut *self.executor, &self.step, &self.examples)
    }
}

/// Reads all tensors; activations and their gradients are those of the batch's first example.
async fn read_tensors(executor: &mut dyn Executor, step: &TrainingStep, network: &Network) -> Result<Vec<NamedTensor>> {
    let mut tensors = Vec::new();
    let mut flat = false;
    for (node, places) in network.nodes.iter().zip(&step.nodes) {
        flat |= matches!(node.layer, Layer::Fc { .. }) || node.layer.is_loss();
        let activations =
            [("activation", Some(places.activation)), ("activation_gradient", places.activation_gradient)];
        for (what, place) in activations {
            let Some(place) = place else { continue };
            let mut tensor = read(executor, node, what, activation_shape(node.output, flat), place).await?;
            tensor.values.truncate(node.output.len());
            // The rest of the batch needs no memory from here on.
            tensor.values.shrink_to_fit();
            tensors.push(tensor);
        }
        let Some(places) = places.parameters else { continue };
        let weight_shape = layout::pytorch_shape(node).unwrap_or_default();
        for (what, place) in [("weight", Some(places.weight)), ("weight_gradient", places.weight_gradient)] {
            let Some(place) = place else { continue };
            let mut tensor = read(executor, node, what, weight_shape.clone(), place).await?;
            tensor.values = layout::to_pytorch(node, &tensor.values);
            tensors.push(tensor);
        }
        for (what, place) in [("bias", Some(places.bias)), ("bias_gradient", places.bias_gradient)] {
            let Some(place) = place else { continue };
            tensors.push(read(executor, node, what, vec![place.len], place).await?);
        }
        if let Some(running) = places.running {
            let mut mean = read(executor, node, "running_mean", vec![running.len / 2], running).await?;
            let variance = mean.values.split_off(running.len / 2);
            let name = format!("{}.running_var", node.name);
            tensors.extend([mean, NamedTensor { name, shape: vec![variance.len()], values: variance }]);
        }
    }
    Ok(tensors)
}

async fn read(
    executor: &mut dyn Executor,
    node: &Node,
    what: &str,
    shape: Vec<usize>,
    place: Tensor,
) -> Result<NamedTensor> {
    let values = read_reals(executor, place.id).await?;
    Ok(NamedTensor { name: format!("{}.{what}", node.name), shape, values })
}

/// `[C]` for a vector after a fully connected layer, otherwise `[H,W,C]`.
fn activation_shape(shape: Shape, flat: bool) -> Vec<usize> {
    match (shape.height, shape.width, flat) {
        (1, 1, true) => vec![shape.channels],
        (height, width, _) => vec![height, width, shape.channels],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{inspect, inspect_batch};
    use pollster::block_on;

    fn noise(shape: [usize; 3], classes: usize, count: usize) -> Examples {
        let pixels = (0..count * shape.iter().product::<usize>()).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8);
        let labels = (0..count).map(|i| (i % classes) as u8).collect();
        Examples { shape, classes, pixels: pixels.collect(), labels, numbers: Vec::new() }
    }

    #[test]
    fn looking_again_at_other_images_with_other_weights_is_looking_for_the_first_time() {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let examples = noise([28, 28, 1], 10, 3);
        let mut inspector =
            block_on(Inspector::new(&Device::Cpu, &network, examples.shape, examples.classes)).expect("it fits");
        for (index, seed) in [(0, 1), (2, 1), (2, 5), (0, 1)] {
            let parameters = network.initial_parameters(seed);
            inspector.load(&parameters).expect("the weights are written");
            let again = block_on(inspector.inspect(examples.image(index), examples.labels[index])).expect("it looks");
            let first = block_on(inspect(&Device::Cpu, &network, &parameters, &examples, index)).expect("it looks");
            assert_eq!((again.label, again.loss, &again.scores), (first.label, first.loss, &first.scores));
            assert_eq!(format!("{:?}", again.layers), format!("{:?}", first.layers));
            assert!(again.tensors == first.tensors, "example {index}, seed {seed}");
        }
    }

    /// Weight gradients are the mean of the examples' own; activation gradients are a share of the first example's own.
    #[test]
    fn a_batchs_gradients_are_the_mean_of_its_examples_gradients() {
        for preset in ["convnetjs-mnist", "resnet-mnist"] {
            let network = Network::preset(preset).expect("a preset");
            let (examples, parameters) = (noise([28, 28, 1], 10, 5), network.initial_parameters(3));
            let look = |index, batch| {
                block_on(inspect_batch(&Device::Cpu, &network, &parameters, &examples, index, batch)).expect("it looks")
            };
            let (batch, alone) = (look(1, 4), [1, 2, 3, 4].map(|index| look(index, 1)));
            assert_eq!((batch.label, batch.loss, &batch.scores), (1, alone[0].loss, &alone[0].scores));
            let mean = alone.iter().map(|one| one.loss).sum::<f32>() / 4.0;
            assert!((batch.mean_loss - mean).abs() < 1e-5 && batch.mean_loss != batch.loss);
            for (i, tensor) in batch.tensors.iter().enumerate() {
                let own = |example: usize, place: usize| f64::from(alone[example].tensors[i].values[place]);
                let wanted = |place: usize| match tensor.name.rsplit('.').next().unwrap_or_default() {
                    "activation_gradient" => own(0, place) / 4.0,
                    "weight_gradient" | "bias_gradient" => (0..4).map(|example| own(example, place)).sum::<f64>() / 4.0,
                    _ => own(0, place),
                };
                let reach = tensor.values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len(), "{}", tensor.name);
                for (place, value) in tensor.values.iter().enumerate() {
                    let error = (f64::from(*value) - wanted(place)).abs();
                    assert!(error <= 1e-4 * f64::from(reach), "{preset}: {} [{place}] is {error} off", tensor.name);
                }
            }
        }
    }

    /// An inspector also accepts fewer images than it was made for.
    #[test]
    fn a_batch_need_not_be_full() {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let (examples, parameters) = (noise([28, 28, 1], 10, 3), network.initial_parameters(1));
        let inspector = block_on(Inspector::for_batches(&Device::Cpu, &network, [28, 28, 1], 10, 7));
        let mut inspector = inspector.expect("it fits");
        inspector.load(&parameters).expect("the weights are written");
        let some = block_on(inspector.inspect_batch(&examples.pixels, &examples.labels)).expect("it looks");
        let full = block_on(inspect_batch(&Device::Cpu, &network, &parameters, &examples, 0, 3)).expect("it looks");
        assert!((some.mean_loss - full.mean_loss).abs() < 1e-6);
        for (some, full) in some.tensors.iter().zip(&full.tensors) {
            let reach = full.values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let close = some.values.iter().zip(&full.values).all(|(a, b)| (a - b).abs() <= 1e-5 * reach);
            assert!(close && some.values.len() == full.values.len(), "{}", some.name);
        }
        let error = block_on(inspector.inspect_batch(&[], &[])).expect_err("refused");
        assert!(error.to_string().contains("batches of 1 to 7"), "{error}");
    }

    #[test]
    fn numbers_are_those_that_the_classes_stand_for() {
        let toml = r#"layers = [{ type = "input", height = 2, width = 3, channels = 1 }, { type = "fc", outputs = 1 },
            { type = "mse", targets = "number" }]"#;
        let network = Network::from_toml(toml, "test").expect("a network");
        let inspector = block_on(Inspector::new(&Device::Cpu, &network, [2, 3, 1], 2)).expect("it fits");
        let mut inspector = inspector.with_numbers(&[3.0, -7.0]);
        inspector.load(&network.initial_parameters(1)).expect("the weights are written");
        let inspection = block_on(inspector.inspect(&[0; 6], 1)).expect("it looks");
        assert_eq!(inspection.loss, (inspection.scores[0] + 7.0).powi(2) / 2.0);
    }

    #[test]
    fn images_of_another_size_and_classes_that_are_none_are_refused() {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let mut inspector = block_on(Inspector::new(&Device::Cpu, &network, [28, 28, 1], 10)).expect("it fits");
        let mut said = |bytes: usize, label: u8| {
            block_on(inspector.inspect(&vec![0; bytes], label)).expect_err("refused").to_string()
        };
        assert!(said(783, 1).contains("28x28x1 have 784 bytes, got 783"), "{}", said(783, 1));
        assert!(said(784, 10).contains("label 10 is not one of the 10 classes"), "{}", said(784, 10));
    }
}
