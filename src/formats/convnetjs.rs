//! ConvNetJS's snapshots: what `JSON.stringify(net.toJSON())` gives and `net.fromJSON` takes, by ConvNetJS 0.3.0.
//!
//! Filters are Vols over y, x, depth, depth fastest: our weights `[KH,KW,I,O]` and `[I,O]` with O outermost. Outputs
//! are the same on both sides; what differs otherwise:
//!
//! | there | here |
//! |---|---|
//! | `pool`, `svm`, `regression` | `max-pool`, `hinge`, `mse`, with targets = "number" where it has one value: the same gradients, though `svm` reports a loss larger by 1, and `regression` one four times as large |
//! | `lrn` with an even n: a window of n + 1 channels, divided by n | `lrn` with size n + 1 and alpha (n + 1)/n times as large |
//! | `dropout`: predictions are multiplied by `drop_prob` | the weights behind it are, but where the network computes as ConvNetJS does. With 0.5 training agrees too; with others ConvNetJS contradicts itself |
//! | `input` says nothing about larger images | `crop = true`, so that they are cropped in the centre |
//!
//! What ConvNetJS has no words for, but predictions and training need, stands under a key of our own beside `layers`.

mod snapshot;

use super::file::read_file;
use super::model::{bias_name, weight_name};
use super::safetensors::check_finite;
use super::{Format, Model};
use crate::net::{Activation, Initializer, Layer, Network, Node, Parameters, Shape, Targets};
use crate::text;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use snapshot::{Document, Entry, Scores, Size, Snapshot, Vol};
use std::path::Path;

/// ConvNetJS snapshots.
pub static CONVNETJS: Format = Format {
    extension: "json",
    media_type: "application/json",
    to_bytes: Model::to_convnetjs,
    load: |path| Model::from_convnetjs(&read_file(path, MAX_FILE, REMEDY)?, &path.display().to_string()),
};

/// The largest file that is read: V8's longest string, so ConvNetJS could not write or read a larger one.
const MAX_FILE: u64 = 1 << 29;

/// What to do about a file that is not a snapshot.
const REMEDY: &str = "give the text of `JSON.stringify(net.toJSON())`, from ConvNetJS";

/// The key of [`Words`].
const KEY: &str = "glassnet";

/// The most bytes of [`Words`].
const MAX_WORDS: usize = 1 << 22;

/// The version of the meaning of [`Words`].
const FORMAT: u64 = 1;

/// The data that ConvNetJS cannot express.
#[derive(Serialize, Deserialize)]
struct Words {
    format: u64,
    /// The canonical description.
    network: String,
    extra: serde_json::Value,
}

/// The most characters of a network's name, which is taken from the file's.
const MAX_NAME: usize = 60;

impl Model {
    /// Reads a ConvNetJS snapshot. `source` is the file's name for messages, and its stem names the network. Weights
    /// are rounded to f32.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not a snapshot, is truncated, has a layer that Glassnet lacks, has sizes that
    /// contradict each other, or has weights that are not finite.
    pub fn from_convnetjs(bytes: &[u8], source: &str) -> Result<Model> {
        let refuse = |why: String| Error::Model(format!("{source}: {why}"));
        let text =
            text::decode(bytes).map_err(|why| refuse(format!("not a readable ConvNetJS snapshot: {why}; {REMEDY}")))?;
        let document: Document = serde_json::from_str(&text).map_err(|error| refuse(not_read(&error, &text)))?;
        let stem = Path::new(source).file_stem().unwrap_or("convnetjs".as_ref()).to_string_lossy();
        let name: String = stem.chars().take(MAX_NAME).collect();
        let mut network = network_of(&document.layers, &name).map_err(refuse)?;
        let own = document.glassnet.and_then(|own| own_words(own.get(), source));
        let extra = match own {
            Some((described, extra)) => {
                match described.filter(|described| same_layers(described, &network)) {
                    Some(described) => network = described,
                    None => log::warn!(
                        "{source}: its key `{KEY}` describes a network other than its layers; the layers are used"
                    ),
                }
                extra
            }
            None => serde_json::Value::Null,
        };

        let mut factors = dropout_factors(&network).map_err(refuse)?.into_iter();
        let mut parameters = Vec::new();
        for (entry, node) in document.layers.into_iter().zip(&mut network.nodes) {
            let name = node.name.clone();
            let within = |why: String| refuse(format!("layer {name}: {why}"));
            entry.check(node).map_err(within)?;
            if let Some(decay) = entry.decay().map_err(within)? {
                node.factors.decay = decay;
            }
            if let Entry::Conv { filters, biases, .. } | Entry::Fc { filters, biases, .. } = entry {
                let factor = factors.next().unwrap_or(1.0);
                parameters.push(read_parameters(node, &filters, &biases, factor).map_err(within)?);
            }
        }
        Ok(Model { network, parameters, extra })
    }

    /// The model as the text of a ConvNetJS snapshot. Data that ConvNetJS cannot express, such as `[augmentation]`,
    /// `[training]` and [`Model::extra`], is written under the key `glassnet`, which ConvNetJS ignores.
    ///
    /// # Errors
    /// [`Error::Model`] with the layer that ConvNetJS lacks, or the tensor that is not finite.
    ///
    /// # Panics
    /// If the parameters are not those of the network.
    pub fn to_convnetjs(&self) -> Result<Vec<u8>> {
        let factors = dropout_factors(&self.network).map_err(Error::Model)?;
        assert_eq!(factors.len(), self.parameters.len(), "parameters of network {}", self.network.name);
        let mut parameters = self.parameters.iter().zip(factors);
        let mut layers = Vec::new();
        for node in &self.network.nodes {
            let weights = node.layer.weight_shape(node.input).and_then(|_| parameters.next());
            if let Some((values, _)) = weights {
                check_finite(&weight_name(&node.name), &values.weight).map_err(Error::Model)?;
                check_finite(&bias_name(&node.name), &values.bias).map_err(Error::Model)?;
            }
            let entry = Entry::of(node, weights);
            layers.push(entry.map_err(|why| Error::Model(format!("layer {}: {why}", node.name)))?);
        }
        // Data that the layers already contain is not repeated.
        let plain = self.extra.is_null() && network_of(&layers, &self.network.name).as_ref() == Ok(&self.network);
        let own = Words { format: FORMAT, network: self.network.to_toml(), extra: self.extra.clone() };
        let glassnet = (!plain).then_some(&own);
        serde_json::to_vec(&Snapshot { layers, glassnet })
            .map_err(|error| Error::Model(format!("the model cannot be written as JSON: {error}")))
    }
}

/// The network that the layers make.
fn network_of(layers: &[Entry], name: &str) -> Result<Network, String> {
    let numbered = |(i, entry): (usize, &Entry)| {
        entry.layer().map(|layer| (layer, 0.0)).map_err(|why| format!("layer {}: {why}", i + 1))
    };
    let described: Vec<_> = layers.iter().enumerate().map(numbered).collect::<Result<_, _>>()?;
    let mut network = Network::from_layers(name, &described, Initializer::Lecun).map_err(|error| error.to_string())?;
    network.crop = true;
    for (entry, node) in layers.iter().zip(&mut network.nodes) {
        // An impossible decay is reported with the layer's name when the weights are read.
        if let Ok(Some(decay)) = entry.decay() {
            node.factors.decay = decay;
        }
    }
    Ok(network)
}

/// The contents of a snapshot under [`KEY`]: the network, if it can be read, and [`Model::extra`]. Contents written by
/// a newer Glassnet or another program are ignored, because the layers suffice for a model.
fn own_words(text: &str, source: &str) -> Option<(Option<Network>, serde_json::Value)> {
    if text.len() > MAX_WORDS {
        log::warn!("{source}: its key `{KEY}` has {} bytes, more than the {MAX_WORDS} that are read", text.len());
        return None;
    }
    match serde_json::from_str::<Words>(text) {
        Ok(words) if words.format <= FORMAT => {
            Some((Network::from_toml(&words.network, &format!("the network in {source}")).ok(), words.extra))
        }
        Ok(_) => {
            log::warn!("{source}: a newer Glassnet wrote its key `{KEY}`, which is ignored");
            None
        }
        Err(error) => {
            log::warn!("{source}: its key `{KEY}` cannot be read and is ignored: {}", text::message(error));
            None
        }
    }
}

/// Whether two networks compute the same, apart from settings that only affect training.
fn same_layers(described: &Network, own: &Network) -> bool {
    let bare = |layer: Layer| match layer {
        Layer::Softmax { .. } => Layer::Softmax { label_smoothing: 0.0 },
        Layer::Mse { .. } => Layer::Mse { targets: Targets::OneHot },
        layer => layer,
    };
    let layers =
        |network: &Network| -> Vec<_> { network.nodes.iter().map(|node| (bare(node.layer), node.output)).collect() };
    layers(described) == layers(own)
}

/// serde's message without Rust's terms, followed by what to do.
fn not_read(error: &serde_json::Error, text: &str) -> String {
    let words = [
        ("unknown variant", "unknown layer_type"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
    ];
    let message = words.iter().fold(text::message(error), |text, (rust, plain)| text.replace(rust, plain));
    // Within a layer, serde_json does not give the kind of its error.
    if message.contains("EOF while parsing") {
        return format!("truncated, or not a ConvNetJS snapshot: {message}; save it again, or {REMEDY}");
    }
    // The column is that of the last byte that was read.
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default().as_bytes();
    let rest = line.get(error.column().saturating_sub(2)..).unwrap_or_default();
    let words = ["NaN", "Infinity", "-Infinity", "undefined"];
    let near = (0..2).filter_map(|skip| rest.get(skip..));
    let word = near.flat_map(|rest| words.into_iter().filter(|word| rest.starts_with(word.as_bytes()))).next();
    let word = word.map_or(String::new(), |word| format!(" ({word} is not a JSON number)"));
    format!("not a readable ConvNetJS snapshot: {message}{word}; {REMEDY}")
}

/// The factors that compensate for dropout. ConvNetJS's dropout multiplies by `drop_prob` in prediction; Glassnet's
/// passes values on. For each layer with weights, in order: the factor on its input in ConvNetJS but not here, for
/// which its weights compensate.
fn dropout_factors(network: &Network) -> Result<Vec<f64>, String> {
    if network.training.is_exact() {
        return Ok(vec![1.0; network.parameters().len()]);
    }
    let mut factors = Vec::new();
    let mut waiting: Option<(&str, f64)> = None;
    for node in &network.nodes {
        match (node.layer, waiting) {
            (Layer::Dropout { rate }, _) => {
                if rate == 0.0 {
                    return Err(format!(
                        "layer {}: ConvNetJS multiplies predictions by the rate, which is 0; remove the layer",
                        node.name
                    ));
                }
                let factor = waiting.map_or(1.0, |(_, factor)| factor) * decimal(rate);
                // Weights divided by a smaller number may not be finite.
                if factor < f64::from(f32::MIN_POSITIVE) {
                    return Err(format!(
                        "layer {}: ConvNetJS multiplies predictions by the rates up to here, together {factor:e}; rule: at \
                         least 1.2e-38",
                        node.name
                    ));
                }
                waiting = Some((&node.name, factor));
            }
            (Layer::Conv { .. } | Layer::Fc { .. }, _) => {
                factors.push(waiting.take().map_or(1.0, |(_, factor)| factor));
            }
            // ConvNetJS has no such layer; `Entry::of` reports that.
            (Layer::BatchNorm { .. }, _) => factors.push(1.0),
            // A factor before these layers is the same as one after them.
            (Layer::Activation(Activation::Relu) | Layer::MaxPool { .. } | Layer::Maxout { .. }, _) | (_, None) => {}
            (_, Some((dropout, _))) => {
                return Err(format!(
                    "layer {dropout}: ConvNetJS multiplies predictions by the rate, and before the next conv or fc, whose \
                     weights could compensate for it, there is {}; put the dropout after that",
                    node.name
                ));
            }
        }
    }
    Ok(factors)
}

/// The decimal number that a user wrote: 0.3 for the nearest f32.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl Entry {
    /// The layer in Glassnet's terms.
    fn layer(&self) -> Result<Layer, String> {
        Ok(match *self {
            Entry::Input(Size { out_depth, out_sx, out_sy }) => {
                Layer::Input { height: out_sy, width: out_sx, channels: out_depth }
            }
            Entry::Conv { sx, sy, stride, pad, out_depth, .. } => {
                let (stride, pad, dilation) = ([stride; 2], [pad; 2], [1, 1]);
                Layer::Conv { filters: out_depth, kernel: [sy, sx], stride, pad, dilation, groups: 1 }
            }
            Entry::Pool { sx, sy, stride, pad, .. } => {
                Layer::MaxPool { size: [sy, sx], stride: [stride; 2], pad: [pad; 2] }
            }
            Entry::Fc { out_depth, .. } => Layer::Fc { outputs: out_depth },
            Entry::Relu(_) => Layer::Activation(Activation::Relu),
            Entry::Sigmoid(_) => Layer::Activation(Activation::Sigmoid),
            Entry::Tanh(_) => Layer::Activation(Activation::Tanh),
            Entry::Maxout { group_size, .. } => Layer::Maxout { group: group_size },
            Entry::Dropout { drop_prob, .. } => Layer::Dropout { rate: drop_prob as f32 },
            Entry::Lrn { n: 0, .. } => return Err("n is 0; rule: n >= 1".to_string()),
            Entry::Lrn { k, n, alpha, beta, .. } => {
                let size = n / 2 * 2 + 1;
                let alpha = alpha * (size as f64 / n as f64);
                Layer::Lrn { size, k: k as f32, alpha: alpha as f32, beta: beta as f32 }
            }
            Entry::Softmax(_) => Layer::Softmax { label_smoothing: 0.0 },
            Entry::Svm(_) => Layer::Hinge,
            // A single value can only be a number; several values are taken as one-hot targets.
            Entry::Regression(Scores { out_depth: 1, .. }) => Layer::Mse { targets: Targets::Number },
            Entry::Regression(_) => Layer::Mse { targets: Targets::OneHot },
        })
    }

    /// The layer in ConvNetJS's terms; `weights` are its parameters with the factor of the dropouts before it.
    fn of(node: &Node, weights: Option<(&Parameters, f64)>) -> Result<Entry, String> {
        let Shape { height: out_sy, width: out_sx, channels: out_depth } = node.output;
        let num_inputs = node.input.len();
        let size = Size { out_depth, out_sx, out_sy };
        let scores = Scores { out_depth, out_sx, out_sy, num_inputs };
        let (filters, biases) = weights.map_or((Vec::new(), vol(1, 1, Vec::new())), |w| vols(node, w));
        Ok(match node.layer {
            Layer::Input { .. } => Entry::Input(size),
            Layer::Conv { dilation, groups, .. } if dilation != [1, 1] || groups != 1 => {
                return Err("ConvNetJS has neither dilation nor groups".into());
            }
            Layer::Conv { kernel: [sy, sx], stride, pad, .. } => Entry::Conv {
                sx,
                sy,
                stride: both_ways("stride", stride)?,
                in_depth: node.input.channels,
                out_depth,
                out_sx,
                out_sy,
                l1_decay_mul: 0.0,
                l2_decay_mul: decimal(node.factors.decay),
                pad: both_ways("pad", pad)?,
                filters,
                biases,
            },
            Layer::MaxPool { size: [sy, sx], stride, pad } => Entry::Pool {
                sx,
                sy,
                stride: both_ways("stride", stride)?,
                in_depth: node.input.channels,
                out_depth,
                out_sx,
                out_sy,
                pad: both_ways("pad", pad)?,
            },
            Layer::Fc { .. } => {
                let (l1_decay_mul, l2_decay_mul) = (0.0, decimal(node.factors.decay));
                Entry::Fc { out_depth, out_sx, out_sy, num_inputs, l1_decay_mul, l2_decay_mul, filters, biases }
            }
            Layer::Activation(Activation::Relu) => Entry::Relu(size),
            Layer::Activation(Activation::Sigmoid) => Entry::Sigmoid(size),
            Layer::Activation(Activation::Tanh) => Entry::Tanh(size),
            Layer::Maxout { group } => Entry::Maxout { out_depth, out_sx, out_sy, group_size: group },
            Layer::Dropout { rate } => Entry::Dropout { out_depth, out_sx, out_sy, drop_prob: decimal(rate) },
            Layer::Lrn { size, .. } if size.is_multiple_of(2) => {
                return Err(format!("ConvNetJS has no window of {size} channels, an even number"));
            }
            Layer::Lrn { size: n, k, alpha, beta } => {
                let [k, alpha, beta] = [k, alpha, beta].map(decimal);
                Entry::Lrn { k, n, alpha, beta, out_sx, out_sy, out_depth }
            }
            Layer::Softmax { .. } => Entry::Softmax(scores),
            Layer::Hinge => Entry::Svm(scores),
            Layer::Mse { .. } => Entry::Regression(scores),
            Layer::Activation(Activation::LeakyRelu { .. })
            | Layer::AvgPool { .. }
            | Layer::GlobalAvgPool
            | Layer::BatchNorm { .. }
            | Layer::Residual { .. } => {
                return Err(format!("ConvNetJS has no {}", node.layer.kind()));
            }
        })
    }

    /// Checks that the snapshot's redundant data agrees with the description.
    fn check(&self, node: &Node) -> Result<(), String> {
        let out = match *self {
            Entry::Input(Size { out_depth, out_sx, out_sy })
            | Entry::Conv { out_depth, out_sx, out_sy, .. }
            | Entry::Pool { out_depth, out_sx, out_sy, .. }
            | Entry::Fc { out_depth, out_sx, out_sy, .. }
            | Entry::Relu(Size { out_depth, out_sx, out_sy })
            | Entry::Sigmoid(Size { out_depth, out_sx, out_sy })
            | Entry::Tanh(Size { out_depth, out_sx, out_sy })
            | Entry::Maxout { out_depth, out_sx, out_sy, .. }
            | Entry::Dropout { out_depth, out_sx, out_sy, .. }
            | Entry::Lrn { out_depth, out_sx, out_sy, .. }
            | Entry::Softmax(Scores { out_depth, out_sx, out_sy, .. })
            | Entry::Svm(Scores { out_depth, out_sx, out_sy, .. })
            | Entry::Regression(Scores { out_depth, out_sx, out_sy, .. }) => Shape::new(out_sy, out_sx, out_depth),
        };
        if out != node.output {
            return Err(format!(
                "out_sy, out_sx, out_depth are {}x{}x{}, its layers make {}; {REMEDY}",
                out.height, out.width, out.channels, node.output
            ));
        }
        let (what, inputs, entering) = match *self {
            Entry::Conv { in_depth, .. } | Entry::Pool { in_depth, .. } => ("in_depth", in_depth, node.input.channels),
            Entry::Fc { num_inputs, .. }
            | Entry::Softmax(Scores { num_inputs, .. })
            | Entry::Svm(Scores { num_inputs, .. })
            | Entry::Regression(Scores { num_inputs, .. }) => ("num_inputs", num_inputs, node.input.len()),
            _ => return Ok(()),
        };
        if inputs != entering {
            return Err(format!("{what} is {inputs}, the layer before it makes {entering}; {REMEDY}"));
        }
        Ok(())
    }

    /// The factor on the decay of a layer with weights. ConvNetJS's default factor for L1 is 0, and its default has no
    /// such decay; Glassnet has none either by default. Another L1 factor must equal that of L2.
    fn decay(&self) -> Result<Option<f32>, String> {
        let (Entry::Conv { l1_decay_mul: l1, l2_decay_mul: l2, .. }
        | Entry::Fc { l1_decay_mul: l1, l2_decay_mul: l2, .. }) = *self
        else {
            return Ok(None);
        };
        let decay = l2 as f32;
        if !(decay >= 0.0 && decay.is_finite()) || (l1 != 0.0 && l1 != l2) {
            return Err(format!(
                "l1_decay_mul is {l1}, l2_decay_mul {l2}; rule: l2_decay_mul >= 0, and l1_decay_mul 0 or the same. \
                 Write 0 and 1, which change no prediction"
            ));
        }
        Ok(Some(decay))
    }
}

/// One number for both directions, because ConvNetJS has only one.
fn both_ways(what: &str, [height, width]: [usize; 2]) -> Result<usize, String> {
    let unlike = || format!("{what} is {height}x{width}; ConvNetJS has one {what} for both directions");
    (height == width).then_some(height).ok_or_else(unlike)
}

/// sx, sy and depth of a layer's filters.
fn filter_size(node: &Node) -> [usize; 3] {
    match node.layer {
        Layer::Conv { kernel: [sy, sx], .. } => [sx, sy, node.input.channels],
        _ => [1, 1, node.input.len()],
    }
}

/// Parameters in Glassnet's order, with weights multiplied by `factor`.
fn read_parameters(node: &Node, filters: &[Vol], biases: &Vol, factor: f64) -> Result<Parameters, String> {
    let outputs = node.output.channels;
    if filters.len() != outputs {
        return Err(format!("{} filters, but out_depth is {outputs}; {REMEDY}", filters.len()));
    }
    let size = filter_size(node);
    for (i, filter) in filters.iter().enumerate() {
        filter.check(size, factor).map_err(|why| format!("filter {i} {why}"))?;
    }
    biases.check([1, 1, outputs], 1.0).map_err(|why| format!("biases {why}"))?;
    let inputs: usize = size.iter().product();
    let weight = (0..inputs).flat_map(|i| filters.iter().map(move |filter| (filter.w[i] * factor) as f32)).collect();
    let (layer, bias) = (node.name.clone(), biases.w.iter().map(|bias| *bias as f32).collect());
    Ok(Parameters { layer, weight, bias, ..Parameters::default() })
}

/// Filters and biases in ConvNetJS's order, weights divided by `factor`.
fn vols(node: &Node, (values, factor): (&Parameters, f64)) -> (Vec<Vol>, Vol) {
    let ([sx, sy, _], outputs) = (filter_size(node), node.output.channels);
    let one = |output| {
        let weights = values.weight.iter().skip(output).step_by(outputs);
        vol(sx, sy, weights.map(|weight| f64::from(*weight) / factor).collect())
    };
    let biases = values.bias.iter().map(|bias| f64::from(*bias)).collect();
    ((0..outputs).map(one).collect(), vol(1, 1, biases))
}

fn vol(sx: usize, sy: usize, w: Vec<f64>) -> Vol {
    Vol { sx, sy, depth: w.len() / (sx * sy), w }
}

impl Vol {
    /// Checks the size, and that f32 can hold the values multiplied by `factor`.
    fn check(&self, [sx, sy, depth]: [usize; 3], factor: f64) -> Result<(), String> {
        if [self.sx, self.sy, self.depth] != [sx, sy, depth] || self.w.len() != sx * sy * depth {
            let [own_sx, own_sy, own_depth] = [self.sx, self.sy, self.depth];
            return Err(format!(
                "of sx {own_sx}, sy {own_sy}, depth {own_depth} with {} numbers; its layer needs {sx}, {sy}, {depth} with \
                 {}; {REMEDY}",
                self.w.len(),
                sx * sy * depth
            ));
        }
        match self.w.iter().position(|value| !((*value * factor) as f32).is_finite()) {
            Some(index) if self.w[index].is_nan() => Err(format!(
                "holds null at index {index}, which JavaScript writes for NaN and infinity; use an older snapshot"
            )),
            Some(index) => Err(format!("holds {:e} at index {index}, which is too large for f32", self.w[index])),
            None => Ok(()),
        }
    }
}
