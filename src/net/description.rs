//! Descriptions in TOML: reads them, with errors that give the line, and writes the canonical form.
//!
//! A description has `name`, `initializer`, `[[layers]]` tables and optional tables `[augmentation]` and `[training]`.
//! The canonical form states every size and uses no shorthands. Model files contain it; reading it back gives the same
//! network.

use super::block::MAX_DEPTH;
use super::{Activation, Augmentation, Factors, Initializer, Layer, Network, Recipe, Targets};
use crate::{Error, Result, reading, text, words};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::fmt::{self, Write};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// The longest description that is accepted, in bytes; a thousand layers take a tenth of it.
const MAX_BYTES: u64 = 1 << 20;

/// The longest name in bytes. It keeps every canonical form within [`MAX_BYTES`].
const MAX_NAME: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Option<String>,
    #[serde(default)]
    initializer: Initializer,
    layers: Vec<Spanned<toml::Table>>,
    #[serde(default)]
    augmentation: Augmentation,
    #[serde(default)]
    training: Recipe,
}

/// The keys of one `[[layers]]` table. Variants without keys are written `{}` because serde would otherwise let
/// unknown keys pass.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum LayerKeys {
    Input {
        height: usize,
        width: usize,
        channels: usize,
        #[serde(default)]
        crop: bool,
    },
    Conv {
        filters: usize,
        kernel: Pair,
        #[serde(default = "Pair::one")]
        stride: Pair,
        #[serde(default)]
        pad: Pair,
        #[serde(default = "Pair::one")]
        dilation: Pair,
        #[serde(default = "one")]
        groups: usize,
        #[serde(default)]
        bias: f32,
        #[serde(default = "whole")]
        rate_factor: f32,
        #[serde(default = "whole")]
        decay_factor: f32,
        activation: Option<Activation>,
    },
    MaxPool {
        size: Pair,
        /// The window's size if absent, so that windows tile the map.
        stride: Option<Pair>,
        #[serde(default)]
        pad: Pair,
    },
    AvgPool {
        size: Pair,
        /// The same default as for `MaxPool`.
        stride: Option<Pair>,
        #[serde(default)]
        pad: Pair,
    },
    GlobalAvgPool {},
    Maxout {
        #[serde(default = "default_group")]
        group: usize,
    },
    Lrn {
        size: usize,
        #[serde(default = "default_k")]
        k: f32,
        #[serde(default = "default_alpha")]
        alpha: f32,
        #[serde(default = "default_beta")]
        beta: f32,
    },
    BatchNorm {
        #[serde(default = "default_epsilon")]
        epsilon: f32,
        #[serde(default = "default_momentum")]
        momentum: f32,
        #[serde(default)]
        bias: f32,
        #[serde(default = "whole")]
        rate_factor: f32,
        #[serde(default)]
        decay_factor: f32,
        activation: Option<Activation>,
    },
    Fc {
        outputs: usize,
        #[serde(default)]
        bias: f32,
        #[serde(default = "whole")]
        rate_factor: f32,
        #[serde(default = "whole")]
        decay_factor: f32,
        activation: Option<Activation>,
    },
    Dropout {
        rate: f32,
    },
    Residual {
        layers: Vec<toml::Table>,
        #[serde(default)]
        shortcut: Vec<toml::Table>,
        activation: Option<Activation>,
    },
    Softmax {
        #[serde(default)]
        label_smoothing: f64,
    },
    Hinge {},
    Mse {
        #[serde(default)]
        targets: Targets,
    },
}

/// Every word that a layer's table may choose from, besides those of activations.
const WORDS: [&str; 16] = [
    "input",
    "conv",
    "max-pool",
    "avg-pool",
    "global-avg-pool",
    "maxout",
    "lrn",
    "batch-norm",
    "fc",
    "dropout",
    "residual",
    "softmax",
    "hinge",
    "mse",
    "one-hot",
    "number",
];

fn one() -> usize {
    1
}

fn whole() -> f32 {
    1.0
}

/// ConvNetJS's default.
fn default_group() -> usize {
    2
}

/// PyTorch's default, like the next two.
fn default_k() -> f32 {
    1.0
}

fn default_alpha() -> f32 {
    1e-4
}

fn default_beta() -> f32 {
    0.75
}

/// PyTorch's default, like the next one.
fn default_epsilon() -> f32 {
    1e-5
}

fn default_momentum() -> f32 {
    0.1
}

/// Height and width: `3` for both, or `[3, 5]`.
#[derive(Clone, Copy, Default)]
struct Pair([usize; 2]);

impl Pair {
    fn one() -> Pair {
        Pair([1, 1])
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pair, D::Error> {
        struct PairVisitor;

        impl<'de> Visitor<'de> for PairVisitor {
            type Value = Pair;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a pair [height, width]")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Pair, E> {
                let unfit = |_| E::invalid_value(de::Unexpected::Signed(value), &self);
                usize::try_from(value).map(|value| Pair([value; 2])).map_err(unfit)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Pair, E> {
                let unfit = |_| E::invalid_value(de::Unexpected::Unsigned(value), &self);
                usize::try_from(value).map(|value| Pair([value; 2])).map_err(unfit)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Pair, A::Error> {
                let mut read = [0; 2];
                for (index, value) in read.iter_mut().enumerate() {
                    *value = pair.next_element()?.ok_or_else(|| de::Error::invalid_length(index, &self))?;
                }
                match pair.next_element::<de::IgnoredAny>()? {
                    None => Ok(Pair(read)),
                    Some(_) => Err(de::Error::invalid_length(3, &self)),
                }
            }
        }
        deserializer.deserialize_any(PairVisitor)
    }
}

impl Network {
    /// Reads a description. Every error message begins with `source_name`, such as a file name; its stem names a
    /// network whose description gives no name.
    ///
    /// # Errors
    /// [`Error::Network`] if the text is not TOML, has an unknown layer or key, lacks a value, has an unusable one, or
    /// breaks a rule about shapes.
    pub fn from_toml(text: &str, source_name: &str) -> Result<Network> {
        let within = |why: &dyn fmt::Display| Error::Network(format!("{source_name}: {why}"));
        if text.len() as u64 > MAX_BYTES {
            return Err(within(&format!("the text has {} bytes; rule: at most {MAX_BYTES}", text.len())));
        }
        // A text uploaded from a page may begin with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document: Document = toml::from_str(text).map_err(|error| {
            let message = numbers_in_plain_words(&text::message(error.message()));
            within(&format!("{}{message}", error.span().map_or(String::new(), |span| place(text, span.start))))
        })?;

        let mut list = List::default();
        for (index, table) in document.layers.into_iter().enumerate() {
            let line = line_of(text, table.span().start);
            list.add(table.into_inner(), index, &format!(", line {line}"), 0).map_err(|why| within(&why))?;
        }
        let List { layers, factors, cropped } = list;

        let stem =
            || Path::new(source_name).file_stem().map_or("network".into(), |stem| stem.to_string_lossy().into_owned());
        let name = document.name.unwrap_or_else(stem);
        if let Some(c) = name.chars().find(|c| c.is_control()) {
            return Err(within(&format!("name has the control character {c:?}; rule: printable characters only")));
        }
        if name.len() > MAX_NAME {
            return Err(within(&format!("name has {} bytes; rule: at most {MAX_NAME}", name.len())));
        }
        let mut network = Network::from_layers(&name, &layers, document.initializer).map_err(|error| within(&error))?;
        // A network that learns numbers accepts any number of classes.
        let classes = if network.learns_numbers() { usize::from(u8::MAX) + 1 } else { network.classes() };
        document.augmentation.check(network.input_shape(), classes).map_err(|error| within(&error))?;
        document.training.check().map_err(|error| within(&format!("[training]: {}", error.phrased(str::to_string))))?;
        factors.into_iter().for_each(|(node, factors)| network.nodes[node].factors = factors);
        network.crop = cropped;
        network.augmentation = document.augmentation;
        network.training = document.training;
        Ok(network)
    }

    /// Reads a description from a file, a pipe or another stream.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, otherwise the errors of [`Network::from_toml`].
    pub fn from_file(path: &Path) -> Result<Network> {
        let source = path.display();
        let bytes = reading::any(path, MAX_BYTES).map_err(Error::io("read", path))?;
        let text = text::decode(&bytes).map_err(|why| Error::Network(format!("{source}: {why}")))?;
        Network::from_toml(&text, &source.to_string())
    }

    /// The canonical description, from which [`Network::from_toml`] makes the same network again.
    pub fn to_toml(&self) -> String {
        let name = toml::Value::from(self.name.as_str());
        let mut text = format!("name = {name}\ninitializer = \"{}\"\n", self.initializer);
        self.write_layers(&mut text, 0..self.nodes.len(), "layers");
        text + &self.augmentation.to_toml() + &self.training.to_toml()
    }

    /// Writes nodes as tables of the array `path`.
    fn write_layers(&self, text: &mut String, range: Range<usize>, path: &str) {
        // Backwards, because the layer that closes a block says how long it is.
        let (mut places, mut end) = (Vec::new(), range.end);
        while end > range.start {
            let length = match self.nodes[end - 1].layer {
                Layer::Residual { body, shortcut } => body + shortcut + 1,
                _ => 1,
            };
            places.push(end - length..end);
            end -= length;
        }
        for place in places.into_iter().rev() {
            self.write_layer(text, place.end - 1, path);
            if let Layer::Residual { body, .. } = self.nodes[place.end - 1].layer {
                let branch = place.start + body;
                self.write_layers(text, place.start..branch, &format!("{path}.layers"));
                self.write_layers(text, branch..place.end - 1, &format!("{path}.shortcut"));
            }
        }
    }

    fn write_layer(&self, text: &mut String, i: usize, path: &str) {
        let node = &self.nodes[i];
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n[[{path}]]\ntype = \"{}\"", node.layer.kind());
        let _ = match node.layer {
            Layer::Input { height, width, channels } => {
                let crop = if self.crop { "crop = true\n" } else { "" };
                write!(text, "height = {height}\nwidth = {width}\nchannels = {channels}\n{crop}")
            }
            Layer::Conv { filters, kernel, stride, pad, dilation, groups } => {
                let _ = writeln!(
                    text,
                    "filters = {filters}\nkernel = {kernel:?}\nstride = {stride:?}\npad = {pad:?}\nbias = {:?}",
                    node.bias_init
                );
                if dilation != [1, 1] {
                    let _ = writeln!(text, "dilation = {dilation:?}");
                }
                if groups > 1 { writeln!(text, "groups = {groups}") } else { Ok(()) }
            }
            Layer::MaxPool { size, stride, pad } | Layer::AvgPool { size, stride, pad } => {
                writeln!(text, "size = {size:?}\nstride = {stride:?}\npad = {pad:?}")
            }
            Layer::Fc { outputs } => writeln!(text, "outputs = {outputs}\nbias = {:?}", node.bias_init),
            Layer::Dropout { rate } => writeln!(text, "rate = {rate:?}"),
            Layer::Softmax { label_smoothing } if label_smoothing > 0.0 => {
                writeln!(text, "label_smoothing = {label_smoothing:?}")
            }
            Layer::Maxout { group } => writeln!(text, "group = {group}"),
            Layer::Lrn { size, k, alpha, beta } => {
                writeln!(text, "size = {size}\nk = {k:?}\nalpha = {alpha:?}\nbeta = {beta:?}")
            }
            Layer::BatchNorm { epsilon, momentum } => {
                writeln!(text, "epsilon = {epsilon:?}\nmomentum = {momentum:?}\nbias = {:?}", node.bias_init)
            }
            Layer::Activation(mut activation) => match activation.constant_mut() {
                Some((name, constant)) => writeln!(text, "{name} = {constant:?}"),
                None => Ok(()),
            },
            Layer::Mse { targets: Targets::Number } => writeln!(text, "targets = \"number\""),
            Layer::GlobalAvgPool
            | Layer::Residual { .. }
            | Layer::Softmax { .. }
            | Layer::Hinge
            | Layer::Mse { targets: Targets::OneHot } => Ok(()),
        };
        let (Factors { rate, decay }, default) = (node.factors, node.layer.default_factors());
        for (name, factor, default) in [("rate_factor", rate, default.rate), ("decay_factor", decay, default.decay)] {
            if factor != default {
                let _ = writeln!(text, "{name} = {factor:?}");
            }
        }
    }
}

/// The position of an error in a text, such as `line 3, column 7 (pad = 1.5): `; the line is quoted if it is short.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default().trim();
    let shown = text::cut(line);
    let shown = if shown == line && !line.is_empty() { format!(" ({line})") } else { String::new() };
    format!("line {}, column {}{shown}: ", line_of(text, offset), before[start..].chars().count() + 1)
}

/// The layers written out one after another.
#[derive(Default)]
struct List {
    layers: Vec<(Layer, f32)>,
    /// Factors with the index of their layer in the list.
    factors: Vec<(usize, Factors)>,
    cropped: bool,
}

impl List {
    /// Adds the layers that a table stands for. In messages `place` follows the layer's number; `depth` counts the
    /// blocks around it.
    fn add(&mut self, mut table: toml::Table, index: usize, place: &str, depth: usize) -> Result<(), String> {
        respell(&mut table);
        let kind = table
            .get("type")
            .and_then(toml::Value::as_str)
            .map_or(String::new(), |kind| format!(" ({})", text::cut(kind)));
        let at = format!("layer {}{kind}{place}", index + 1);
        let told = |error: toml::de::Error| format!("{at}: {}", in_plain_words(&text::message(error.message())));
        if let Some(activation) = table.get("type").and_then(toml::Value::as_str).and_then(Activation::named) {
            let activation = with_constant(activation, table).map_err(told)?;
            self.layers.push((Layer::Activation(activation), 0.0));
            return Ok(());
        }
        let mut keys: LayerKeys = table.try_into().map_err(told)?;
        self.cropped |= matches!(keys, LayerKeys::Input { crop: true, .. });
        if let Some(own) = keys.factors() {
            own.check().map_err(|rule| format!("{at}: {rule}"))?;
            self.factors.push((self.layers.len(), own));
        }
        let mut block = None;
        if let LayerKeys::Residual { layers, shortcut, .. } = &mut keys {
            if depth == MAX_DEPTH {
                return Err(format!("{at}: rule: at most {MAX_DEPTH} nested blocks"));
            }
            let body = self.add_branch(std::mem::take(layers), &format!(" of the body of {at}"), depth)?;
            let shortcut = self.add_branch(std::mem::take(shortcut), &format!(" of the shortcut of {at}"), depth)?;
            block = Some(Layer::Residual { body, shortcut });
        }
        let ((layer, bias), activation) = keys.spelled_out();
        self.layers.push((block.unwrap_or(layer), bias));
        self.layers.extend(activation.map(|activation| (activation, 0.0)));
        Ok(())
    }

    /// Adds the layers of a block's body or shortcut and returns their number.
    fn add_branch(&mut self, tables: Vec<toml::Table>, place: &str, depth: usize) -> Result<usize, String> {
        let before = self.layers.len();
        for (index, table) in tables.into_iter().enumerate() {
            self.add(table, index, place, depth + 1)?;
        }
        Ok(self.layers.len() - before)
    }
}

impl LayerKeys {
    /// The factors of a layer that has weights.
    fn factors(&self) -> Option<Factors> {
        match *self {
            LayerKeys::Conv { rate_factor: rate, decay_factor: decay, .. }
            | LayerKeys::BatchNorm { rate_factor: rate, decay_factor: decay, .. }
            | LayerKeys::Fc { rate_factor: rate, decay_factor: decay, .. } => Some(Factors { rate, decay }),
            _ => None,
        }
    }

    /// The layers that one table stands for, each with the initial value of its biases. For a residual block, only the
    /// closing layer.
    fn spelled_out(self) -> ((Layer, f32), Option<Layer>) {
        let (layer, bias, activation) = match self {
            LayerKeys::Input { height, width, channels, .. } => (Layer::Input { height, width, channels }, 0.0, None),
            LayerKeys::Conv { filters, kernel, stride, pad, dilation, groups, bias, activation, .. } => {
                let [kernel, stride, pad, dilation] = [kernel, stride, pad, dilation].map(|pair| pair.0);
                (Layer::Conv { filters, kernel, stride, pad, dilation, groups }, bias, activation)
            }
            LayerKeys::MaxPool { size, stride, pad } => {
                let stride = stride.unwrap_or(size);
                (Layer::MaxPool { size: size.0, stride: stride.0, pad: pad.0 }, 0.0, None)
            }
            LayerKeys::AvgPool { size, stride, pad } => {
                let stride = stride.unwrap_or(size);
                (Layer::AvgPool { size: size.0, stride: stride.0, pad: pad.0 }, 0.0, None)
            }
            LayerKeys::Maxout { group } => (Layer::Maxout { group }, 0.0, None),
            LayerKeys::Lrn { size, k, alpha, beta } => (Layer::Lrn { size, k, alpha, beta }, 0.0, None),
            LayerKeys::BatchNorm { epsilon, momentum, bias, activation, .. } => {
                (Layer::BatchNorm { epsilon, momentum }, bias, activation)
            }
            // The number of layers in the block is known once they are written out.
            LayerKeys::Residual { activation, .. } => (Layer::Residual { body: 0, shortcut: 0 }, 0.0, activation),
            LayerKeys::GlobalAvgPool {} => (Layer::GlobalAvgPool, 0.0, None),
            LayerKeys::Fc { outputs, bias, activation, .. } => (Layer::Fc { outputs }, bias, activation),
            LayerKeys::Dropout { rate } => (Layer::Dropout { rate }, 0.0, None),
            LayerKeys::Hinge {} => (Layer::Hinge, 0.0, None),
            LayerKeys::Mse { targets } => (Layer::Mse { targets }, 0.0, None),
            LayerKeys::Softmax { label_smoothing } => (Layer::Softmax { label_smoothing }, 0.0, None),
        };
        ((layer, bias), activation.map(Layer::Activation))
    }
}

/// The activation with the constant from its table.
fn with_constant(mut activation: Activation, table: toml::Table) -> Result<Activation, toml::de::Error> {
    for (key, value) in table.into_iter().filter(|(key, _)| key != "type") {
        match activation.constant_mut() {
            Some((name, constant)) if name == key => *constant = f32::deserialize(value)?,
            // In serde's words, as for the other layers.
            Some((name, _)) => return Err(de::Error::custom(format!("unknown field `{key}`, expected `{name}`"))),
            None => return Err(de::Error::custom(format!("unknown field `{key}`, there are no fields"))),
        }
    }
    Ok(activation)
}

/// Respells the words of a table as this program does, such as `MaxPool` as `max-pool`. Unknown words stay unchanged.
fn respell(table: &mut toml::Table) {
    for key in ["type", "activation", "targets"] {
        if let Some(toml::Value::String(word)) = table.get_mut(key)
            && let Some(known) = WORDS.iter().chain(Activation::WORDS).find(|known| words::same(known, word))
        {
            *word = known.to_string();
        }
    }
}

/// The number of the line that contains byte `offset`, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// serde's message about a layer's keys, with Rust's terms replaced.
fn in_plain_words(message: &str) -> String {
    let message = match message.strip_prefix("unknown variant") {
        // The other lists of words are those of `activation`, which has no pooling, and of `mse`'s `targets`.
        Some(rest) if rest.contains("`max-pool`") => {
            format!("unknown layer type{rest}, `{}`", Activation::WORDS.join("`, `"))
        }
        Some(rest) if rest.contains("`one-hot`") => format!("unknown targets{rest}"),
        Some(rest) => format!("unknown activation{rest}"),
        None => message.to_string(),
    };
    numbers_in_plain_words(&message).replace("variant identifier", "a layer type")
}

/// Replaces Rust's names for types of numbers.
pub(crate) fn numbers_in_plain_words(message: &str) -> String {
    message
        .replace("expected usize", "expected a whole number, 0 or more")
        .replace("expected u64", "expected a whole number, 0 or more")
        .replace("expected i64", "expected a whole number")
        .replace("expected f32", "expected a number")
        .replace("expected f64", "expected a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that serde offers in place of `?` for `key`.
    fn offered(table: &str) -> Vec<String> {
        let table: toml::Table = toml::from_str(table).expect("TOML");
        let error = LayerKeys::deserialize(table).err().expect("no word is `?`");
        let (_, list) = error.message().split_once("expected").expect("a list");
        list.split('`').skip(1).step_by(2).map(str::to_string).collect()
    }

    #[test]
    fn every_word_is_known_however_it_is_spelled() {
        for table in ["type = '?'", "type = 'fc'\noutputs = 1\nactivation = '?'", "type = 'mse'\ntargets = '?'"] {
            let words = offered(table);
            assert!(words.len() > 1, "{words:?}");
            for word in words {
                let mut table = toml::Table::from_iter([("type".into(), word.to_uppercase().replace('-', "_").into())]);
                respell(&mut table);
                assert_eq!(table["type"].as_str(), Some(&word[..]), "missing in WORDS");
            }
        }
    }
}
