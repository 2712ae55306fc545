//! The network that a user describes: layers from `input` to a loss such as `softmax`, in sequence or in residual
//! blocks. It is checked once; shapes and names are inferred.
//!
//! Shapes are H, W, C of one example, without the batch. A [`Network`] that exists obeys every rule, so code that
//! lowers it needs no checks of its own. Weights are stored as conv `[KH, KW, I, O]` and fc `[I, O]`, O fastest.

mod augmentation;
mod block;
mod description;
mod initializer;
mod layer;
mod preset;
mod recipe;
mod value;

pub use crate::kernels::Activation;
pub use augmentation::{Augmentation, Flip};
pub(crate) use description::numbers_in_plain_words;
pub use initializer::Initializer;
pub use layer::{Layer, MAX_DIMENSION, MAX_ELEMENTS, MAX_LAYERS, Shape, Targets};
pub use preset::PRESETS;
pub use recipe::{MAX_BATCH, MAX_CROPS, OptimizerName, Recipe, ScheduleName};
pub(crate) use recipe::{OF_OPTIMIZER, OF_SCHEDULE};
pub use value::{Rule, Value};

use crate::{Error, Result, words};
use layer::elements;

/// One layer in its place in a network, with its name and shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// `input`, `conv1`, `relu1`, `pool1`, `conv2`, ..., `fc1`, `softmax`: numbered by kind, in order.
    pub name: String,
    pub layer: Layer,
    /// The index of the node whose output it reads; for an `input` layer, its own index.
    pub from: usize,
    /// For a residual block, the index of the node whose output is added.
    pub added: Option<usize>,
    /// The input's shape; for an `input` layer, its own shape.
    pub input: Shape,
    /// The output's shape.
    pub output: Shape,
    /// Initial value of every bias; 0 for a layer without weights.
    pub bias_init: f32,
    pub factors: Factors,
}

/// Factors on a layer's learning rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// The factor on the learning rate of weights and biases.
    pub rate: f32,
    /// The factor on both decays of the weights.
    pub decay: f32,
}

impl Default for Factors {
    fn default() -> Factors {
        Factors { rate: 1.0, decay: 1.0 }
    }
}

impl Factors {
    /// Returns the rule that they break, if any.
    fn check(&self) -> std::result::Result<(), String> {
        for (name, value) in [("rate_factor", self.rate), ("decay_factor", self.decay)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("{name} is {value}; rule: a finite number >= 0"));
            }
        }
        Ok(())
    }
}

/// A checked description. Every node reads earlier nodes, usually the one directly before it. The first node is
/// `input`, the last a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub name: String,
    pub nodes: Vec<Node>,
    pub initializer: Initializer,
    /// Whether larger images are cropped to the input's size: at a random place in training, at the centre in
    /// evaluation.
    pub crop: bool,
    /// How training examples are varied in addition.
    pub augmentation: Augmentation,
    /// The training settings that the description recommends.
    pub training: Recipe,
}

/// The shapes of the parameters of one layer with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterShape {
    /// The layer's name.
    pub layer: String,
    /// The layer's index in [`Network::nodes`].
    pub node: usize,
    /// `[KH, KW, I, O]` for a convolution; `[I, O]` for an fc, where I runs over the input's H, W, C with C fastest;
    /// `[C]` for batch normalisation.
    pub weight: Vec<usize>,
    /// The number of biases: O, or C for batch normalisation.
    pub bias: usize,
    /// The number of channels with running statistics: C for batch normalisation, else 0.
    pub running: usize,
    /// The number of inputs that one output sums: KH*KW*I for a convolution, I for an fc, 1 for batch normalisation.
    pub fan_in: usize,
    /// The number of outputs that one input feeds: KH*KW*O for a convolution, O for an fc, 1 for batch normalisation.
    pub fan_out: usize,
}

impl ParameterShape {
    /// The number of weights.
    pub fn weight_len(&self) -> usize {
        self.weight.iter().product()
    }
}

/// The parameters of one layer, in the order of its [`ParameterShape`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The layer's name.
    pub layer: String,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    /// The running mean of each channel for batch normalisation, else empty.
    pub running_mean: Vec<f32>,
    /// The running variance of each channel for batch normalisation, else empty.
    pub running_variance: Vec<f32>,
}

impl Network {
    /// Chains `layers`, each with the initial value of its biases, and checks every rule.
    ///
    /// # Errors
    /// [`Error::Network`] with the layer, its input shape and the rule that it breaks.
    pub fn from_layers(name: &str, layers: &[(Layer, f32)], initializer: Initializer) -> Result<Network> {
        check_order(layers)?;
        let sources = block::sources(layers)?;
        let mut nodes: Vec<Node> = Vec::with_capacity(layers.len());
        let mut activations = 0;
        let mut parameters = 0;
        for (&(layer, bias_init), [from, added]) in layers.iter().zip(sources) {
            let name = node_name(&nodes, &layer);
            let before = nodes.get(from).map(|node| node.output);
            let added = matches!(layer, Layer::Residual { .. }).then_some(added);
            let refuse = |rule: String| {
                let entering = before.map_or(String::new(), |shape| format!(" with input {shape}"));
                Error::Network(format!("layer {name}{entering}: {rule}"))
            };
            if !bias_init.is_finite() {
                return Err(refuse(format!("bias is {bias_init}; rule: a finite number")));
            }
            let output = layer.output(before.unwrap_or(Shape::new(0, 0, 0))).map_err(refuse)?;
            let input = before.unwrap_or(output);
            if let Some(shape) = added.map(|added| nodes[added].output).filter(|shape| *shape != input) {
                return Err(refuse(format!(
                    "its body outputs {input}, but {shape} is added to it; rule: both have the same shape; give the block a \
                     `shortcut`, such as a convolution with kernel 1 and the body's filters and stride"
                )));
            }
            activations = add(activations, &[output.height, output.width, output.channels]).ok_or_else(|| {
                refuse(format!(
                    "its output is {output}; rule: at most {MAX_ELEMENTS} activations per example over all layers"
                ))
            })?;
            if let Some(weight) = layer.weight_shape(input) {
                parameters = add(parameters, &weight).ok_or_else(|| {
                    refuse(format!("its weights are {weight:?}; rule: at most {MAX_ELEMENTS} weights over all layers"))
                })?;
            }
            let factors = layer.default_factors();
            nodes.push(Node { name, layer, from, added, input, output, bias_init, factors });
        }
        if parameters == 0 {
            return Err(Error::Network("no layer has weights, so there is nothing to train; add an `fc` layer".into()));
        }
        let (crop, augmentation, training) = (false, Augmentation::default(), Recipe::default());
        Ok(Network { name: name.to_string(), nodes, initializer, crop, augmentation, training })
    }

    /// The shapes of all parameters, in the order of the layers.
    pub fn parameters(&self) -> Vec<ParameterShape> {
        let with_weights = |(index, node): (usize, &Node)| {
            let weight = node.layer.weight_shape(node.input)?;
            let (bias, running, fan_in, fan_out) = match &weight[..] {
                [window @ .., inputs, outputs] => {
                    let window: usize = window.iter().product();
                    (*outputs, 0, window * inputs, window * outputs)
                }
                _ => (node.input.channels, node.input.channels, 1, 1),
            };
            Some(ParameterShape { layer: node.name.clone(), node: index, bias, running, fan_in, fan_out, weight })
        };
        self.nodes.iter().enumerate().filter_map(with_weights).collect()
    }

    /// The number of weights and biases together.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|shape| shape.weight_len() + shape.bias).sum()
    }

    /// Initial weights and biases; the same seed gives the same values on every platform. Batch normalisation starts
    /// with weights of 1, running means of 0 and running variances of 1.
    pub fn initial_parameters(&self, seed: u64) -> Vec<Parameters> {
        let draw = |(index, shape): (usize, ParameterShape)| Parameters {
            weight: match shape.running {
                0 => self.initializer.draw(&shape, seed, index as u64),
                channels => vec![1.0; channels],
            },
            bias: vec![self.nodes[shape.node].bias_init; shape.bias],
            running_mean: vec![0.0; shape.running],
            running_variance: vec![1.0; shape.running],
            layer: shape.layer,
        };
        self.parameters().into_iter().enumerate().map(draw).collect()
    }

    /// The nodes that read the output of node `i`, in order.
    pub fn readers(&self, i: usize) -> Vec<usize> {
        let reads =
            |(place, node): (usize, &Node)| (place > 0 && (node.from == i || node.added == Some(i))).then_some(place);
        self.nodes.iter().enumerate().filter_map(reads).collect()
    }

    /// The number of classes, which is the number of scores that the loss reads; 1 if the network [learns
    /// numbers](Network::learns_numbers).
    pub fn classes(&self) -> usize {
        self.nodes.last().map_or(0, |node| node.output.channels)
    }

    /// Whether the network predicts the number that a label stands for, instead of a class.
    pub fn learns_numbers(&self) -> bool {
        self.nodes.last().is_some_and(|node| node.layer == Layer::Mse { targets: Targets::Number })
    }

    /// The number of classes to use for random examples: the network's own, or ten if it learns numbers, since it then
    /// accepts any.
    pub fn example_classes(&self) -> usize {
        if self.learns_numbers() { 10 } else { self.classes() }
    }

    /// The shape of one example as the first layer reads it, after cropping.
    pub fn input_shape(&self) -> Shape {
        self.nodes.first().map_or(Shape::new(0, 0, 0), |node| node.output)
    }

    /// Checks that this network accepts images of shape `data` with labels below `classes`.
    ///
    /// # Errors
    /// [`Error::Data`] with both shapes, or with both numbers of classes.
    pub fn check_fits(&self, data: Shape, classes: usize) -> Result<()> {
        let input = self.input_shape();
        let name = &self.name;
        let refuse = |why: &str| {
            Err(Error::Data(format!("network {name} takes {input} images, but the data has {data}: {why}")))
        };
        if data.channels != input.channels {
            return refuse("the number of channels must be the same");
        }
        if data.height < input.height || data.width < input.width {
            return refuse("they are too small; use another data set or a network with a smaller input");
        }
        if data != input && !self.crop {
            return refuse("they are larger; give the input layer `crop = true` to train on parts of them");
        }
        if classes != self.classes() && !self.learns_numbers() {
            return Err(Error::Data(format!(
                "network {name} has {} classes, but the data has {classes}; give the layer before its loss {classes} outputs",
                self.classes()
            )));
        }
        Ok(())
    }
}

/// Checks that the network has exactly one `input`, as its first layer, exactly one loss, as its last, and at most
/// [`MAX_LAYERS`] layers.
fn check_order(layers: &[(Layer, f32)]) -> Result<()> {
    let refuse = |why: String| Err(Error::Network(why));
    if layers.len() > MAX_LAYERS {
        return refuse(format!("{} layers; rule: at most {MAX_LAYERS}", layers.len()));
    }
    let is_input = |layer: &Layer| matches!(layer, Layer::Input { .. });
    let (Some((first, _)), Some((last, _))) = (layers.first(), layers.last()) else {
        return refuse("no layers; a network goes from `input` to `softmax`, `hinge` or `mse`".to_string());
    };
    if !is_input(first) {
        return refuse(format!("the first layer is `{}`; rule: the first is `input`", first.kind()));
    }
    if !last.is_loss() {
        return refuse(format!("the last layer is `{}`; rule: the last is `softmax`, `hinge` or `mse`", last.kind()));
    }
    for (kind, is_kind) in [("`input`", &is_input as &dyn Fn(&Layer) -> bool), ("a loss", &Layer::is_loss)] {
        let count = layers.iter().filter(|(layer, _)| is_kind(layer)).count();
        if count != 1 {
            return refuse(format!("{count} layers are {kind}; rule: exactly one is"));
        }
    }
    Ok(())
}

/// The name of a layer, such as `conv2` for the second convolution; `input` and losses have no number.
fn node_name(before: &[Node], layer: &Layer) -> String {
    let stem = layer.stem();
    if layer.is_single() {
        return stem.to_string();
    }
    format!("{stem}{}", 1 + before.iter().filter(|node| node.layer.stem() == stem).count())
}

/// `sum` plus the product of `dimensions` if it is within [`MAX_ELEMENTS`].
fn add(sum: usize, dimensions: &[usize]) -> Option<usize> {
    elements(&[sum.checked_add(elements(dimensions)?)?])
}

/// The name of `value` in a table that has every value.
fn name_of<T: PartialEq>(value: T, all: &[(T, &'static str)]) -> &'static str {
    all.iter().find(|(known, _)| *known == value).map_or("", |(_, name)| name)
}

/// The value called `name` in `all`, or in `elsewhere`, the names that other programs use.
fn by_name<T: Copy>(what: &str, name: &str, all: &[(T, &str)], elsewhere: &[(T, &str)]) -> Result<T> {
    if let Some(value) = words::find(name, all).or_else(|| words::find(name, elsewhere)) {
        return Ok(value);
    }
    let known: Vec<&str> = all.iter().map(|(_, known)| *known).collect();
    Err(Error::Network(format!("unknown {what} `{}`; known are {}", crate::text::cut(name), known.join(", "))))
}
