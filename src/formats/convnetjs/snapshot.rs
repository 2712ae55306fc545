//! The JSON of a snapshot, written and read: layers in ConvNetJS's terms, volumes as lists or objects.
//!
//! Numbers are read one by one into vectors of f64, without a tree of JSON values. Keys that ConvNetJS does not read
//! are ignored, as by ConvNetJS.

use crate::net::MAX_ELEMENTS;
use crate::text;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

#[derive(Serialize)]
pub(super) struct Snapshot<'a, Own> {
    pub layers: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glassnet: Option<&'a Own>,
}

/// A snapshot as it is read.
#[derive(Deserialize)]
#[serde(expecting = "an object with the list `layers`")]
pub(super) struct Document<'a> {
    #[serde(deserialize_with = "numbered")]
    pub layers: Vec<Entry>,
    /// Glassnet's addition to a snapshot, which ConvNetJS ignores.
    #[serde(default, borrow)]
    pub glassnet: Option<&'a RawValue>,
}

/// A layer with the fields that ConvNetJS writes, by its names: sx is a width, sy a height.
#[derive(Serialize)]
#[serde(tag = "layer_type", rename_all = "lowercase")]
pub(super) enum Entry {
    Input(Size),
    Conv {
        sx: usize,
        sy: usize,
        stride: usize,
        in_depth: usize,
        out_depth: usize,
        out_sx: usize,
        out_sy: usize,
        l1_decay_mul: f64,
        l2_decay_mul: f64,
        pad: usize,
        filters: Vec<Vol>,
        biases: Vol,
    },
    Pool {
        sx: usize,
        sy: usize,
        stride: usize,
        in_depth: usize,
        out_depth: usize,
        out_sx: usize,
        out_sy: usize,
        pad: usize,
    },
    Fc {
        out_depth: usize,
        out_sx: usize,
        out_sy: usize,
        num_inputs: usize,
        l1_decay_mul: f64,
        l2_decay_mul: f64,
        filters: Vec<Vol>,
        biases: Vol,
    },
    Relu(Size),
    Sigmoid(Size),
    Tanh(Size),
    Maxout {
        out_depth: usize,
        out_sx: usize,
        out_sy: usize,
        group_size: usize,
    },
    Dropout {
        out_depth: usize,
        out_sx: usize,
        out_sy: usize,
        drop_prob: f64,
    },
    Lrn {
        k: f64,
        n: usize,
        alpha: f64,
        beta: f64,
        out_sx: usize,
        out_sy: usize,
        out_depth: usize,
    },
    Softmax(Scores),
    Svm(Scores),
    Regression(Scores),
}

/// The fields of a layer without keys of its own.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Size {
    pub out_depth: usize,
    pub out_sx: usize,
    pub out_sy: usize,
}

/// The fields of a loss.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Scores {
    pub out_depth: usize,
    pub out_sx: usize,
    pub out_sy: usize,
    pub num_inputs: usize,
}

/// A volume of numbers.
#[derive(Serialize, Deserialize)]
#[serde(expecting = "a volume: an object with `sx`, `sy`, `depth` and `w`")]
pub(super) struct Vol {
    #[serde(deserialize_with = "whole")]
    pub sx: usize,
    #[serde(deserialize_with = "whole")]
    pub sy: usize,
    #[serde(deserialize_with = "whole")]
    pub depth: usize,
    /// The values; NaN for null in the file, which JavaScript writes for NaN and infinity.
    #[serde(deserialize_with = "list_or_object")]
    pub w: Vec<f64>,
}

/// The keys of all types of layers that have a number as their value.
const NUMBERS: [&str; 17] = [
    "sx",
    "sy",
    "stride",
    "pad",
    "in_depth",
    "out_depth",
    "out_sx",
    "out_sy",
    "num_inputs",
    "l1_decay_mul",
    "l2_decay_mul",
    "group_size",
    "drop_prob",
    "k",
    "n",
    "alpha",
    "beta",
];

/// The keys of a layer before its type is known, since the type may come after them.
#[derive(Default)]
struct Keys {
    kind: Option<String>,
    numbers: [Option<Number>; NUMBERS.len()],
    filters: Option<Vec<Vol>>,
    biases: Option<Vol>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        struct Layer;

        impl<'de> Visitor<'de> for Layer {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a layer with its `layer_type`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Keys, A::Error> {
                let mut keys = Keys::default();
                while let Some(key) = object.next_key::<String>()? {
                    match key.as_str() {
                        "layer_type" => keys.kind = Some(object.next_value()?),
                        "filters" => keys.filters = Some(object.next_value()?),
                        "biases" => keys.biases = Some(object.next_value()?),
                        name => match NUMBERS.iter().position(|known| *known == name) {
                            Some(place) => keys.numbers[place] = Some(object.next_value()?),
                            None => drop(object.next_value::<IgnoredAny>()?),
                        },
                    }
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_map(Layer)
    }
}

impl Keys {
    fn entry(self) -> Result<Entry, String> {
        let size = || Ok::<_, String>([self.whole("out_depth")?, self.whole("out_sx")?, self.whole("out_sy")?]);
        let bare = || size().map(|[out_depth, out_sx, out_sy]| Size { out_depth, out_sx, out_sy });
        let scores = || {
            let [out_depth, out_sx, out_sy] = size()?;
            Ok::<_, String>(Scores { out_depth, out_sx, out_sy, num_inputs: self.whole("num_inputs")? })
        };
        // The value that `net.fromJSON` uses if an old snapshot lacks the key.
        let decay = |name| if self.number(name).is_some() { self.real(name) } else { Ok(1.0) };
        let pad = || if self.number("pad").is_some() { self.whole("pad") } else { Ok(0) };
        let Some(kind) = &self.kind else { return Err("missing field `layer_type`".into()) };
        Ok(match kind.as_str() {
            "input" => Entry::Input(bare()?),
            "relu" => Entry::Relu(bare()?),
            "sigmoid" => Entry::Sigmoid(bare()?),
            "tanh" => Entry::Tanh(bare()?),
            "softmax" => Entry::Softmax(scores()?),
            "svm" => Entry::Svm(scores()?),
            "regression" => Entry::Regression(scores()?),
            "pool" => {
                let [out_depth, out_sx, out_sy] = size()?;
                let [sx, sy, stride] = [self.whole("sx")?, self.whole("sy")?, self.whole("stride")?];
                let in_depth = self.whole("in_depth")?;
                Entry::Pool { sx, sy, stride, in_depth, out_depth, out_sx, out_sy, pad: pad()? }
            }
            "maxout" => {
                let [out_depth, out_sx, out_sy] = size()?;
                Entry::Maxout { out_depth, out_sx, out_sy, group_size: self.whole("group_size")? }
            }
            "dropout" => {
                let [out_depth, out_sx, out_sy] = size()?;
                Entry::Dropout { out_depth, out_sx, out_sy, drop_prob: self.real("drop_prob")? }
            }
            "lrn" => {
                let [out_depth, out_sx, out_sy] = size()?;
                let [k, alpha, beta] = [self.real("k")?, self.real("alpha")?, self.real("beta")?];
                Entry::Lrn { k, n: self.whole("n")?, alpha, beta, out_sx, out_sy, out_depth }
            }
            "conv" => {
                let [out_depth, out_sx, out_sy] = size()?;
                let [sx, sy, stride] = [self.whole("sx")?, self.whole("sy")?, self.whole("stride")?];
                let (in_depth, pad) = (self.whole("in_depth")?, pad()?);
                let [l1_decay_mul, l2_decay_mul] = [decay("l1_decay_mul")?, decay("l2_decay_mul")?];
                let (filters, biases) = volumes(self.filters, self.biases)?;
                Entry::Conv {
                    sx,
                    sy,
                    stride,
                    in_depth,
                    out_depth,
                    out_sx,
                    out_sy,
                    l1_decay_mul,
                    l2_decay_mul,
                    pad,
                    filters,
                    biases,
                }
            }
            "fc" => {
                let [out_depth, out_sx, out_sy] = size()?;
                let num_inputs = self.whole("num_inputs")?;
                let [l1_decay_mul, l2_decay_mul] = [decay("l1_decay_mul")?, decay("l2_decay_mul")?];
                let (filters, biases) = volumes(self.filters, self.biases)?;
                Entry::Fc { out_depth, out_sx, out_sy, num_inputs, l1_decay_mul, l2_decay_mul, filters, biases }
            }
            other => {
                return Err(format!(
                    "unknown layer_type `{}`, expected one of `input`, `conv`, `pool`, `fc`, `relu`, `sigmoid`, `tanh`, \
                     `maxout`, `dropout`, `lrn`, `softmax`, `svm`, `regression`",
                    text::cut(other)
                ));
            }
        })
    }

    fn number(&self, name: &str) -> Option<&Number> {
        let place = NUMBERS.iter().position(|known| *known == name)?;
        self.numbers[place].as_ref()
    }

    fn real(&self, name: &str) -> Result<f64, String> {
        match self.number(name) {
            Some(Number::Real(value)) => Ok(*value),
            Some(Number::Other(found)) => Err(format!("`{name}` is {found}, expected a number")),
            None => Err(format!("missing field `{name}`")),
        }
    }

    fn whole(&self, name: &str) -> Result<usize, String> {
        let unfit = |found: &str| format!("`{name}` is {found}, expected a whole number, 0 or more");
        match self.number(name) {
            Some(Number::Other(found)) => Err(unfit(found)),
            _ => {
                let value = self.real(name)?;
                as_whole(value).ok_or_else(|| unfit(&format!("`{value}`")))
            }
        }
    }
}

fn volumes(filters: Option<Vec<Vol>>, biases: Option<Vol>) -> Result<(Vec<Vol>, Vol), String> {
    Ok((filters.ok_or("missing field `filters`")?, biases.ok_or("missing field `biases`")?))
}

/// A whole number from JavaScript's only type of number: 24.0 is 24.
fn as_whole(value: f64) -> Option<usize> {
    (value >= 0.0 && value.fract() == 0.0 && value <= usize::MAX as f64).then_some(value as usize)
}

/// A number, or a description of what was found instead.
enum Number {
    Real(f64),
    Other(String),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number::Real(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number::Real(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number::Real(value))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Number, E> {
                Ok(Number::Other(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Number, E> {
                Ok(Number::Other(format!("the string \"{}\"", text::cut(value))))
            }

            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::Other("null, which JavaScript writes for NaN and infinity".into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Number, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Number::Other("a list".into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Number, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Number::Other("an object".into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let expected = &"a whole number, 0 or more";
    match Number::deserialize(deserializer)? {
        Number::Real(value) => {
            as_whole(value).ok_or_else(|| D::Error::invalid_value(Unexpected::Float(value), expected))
        }
        Number::Other(found) => Err(D::Error::custom(format_args!("{found}, expected {expected}"))),
    }
}

/// Reads the layers; errors begin with the number of the layer.
fn numbered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    struct Layers;

    impl<'de> Visitor<'de> for Layers {
        type Value = Vec<Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of layers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Entry>, A::Error> {
            let mut layers = Vec::new();
            let within =
                |why: &dyn fmt::Display, number: usize| A::Error::custom(format_args!("layer {number}: {why}"));
            while let Some(keys) = list.next_element::<Keys>().map_err(|error| within(&error, layers.len() + 1))? {
                layers.push(keys.entry().map_err(|why| within(&why, layers.len() + 1))?);
            }
            Ok(layers)
        }
    }
    deserializer.deserialize_seq(Layers)
}

/// Reads numbers from a list, or from the object keyed by index that JavaScript makes of a typed array.
fn list_or_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    struct Numbers;

    impl<'de> Visitor<'de> for Numbers {
        type Value = Vec<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of numbers, or an object of them keyed by index")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<f64>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element::<Option<f64>>()? {
                if values.len() == MAX_ELEMENTS {
                    return Err(A::Error::custom(format_args!("a list of more than {MAX_ELEMENTS} numbers")));
                }
                values.push(value.unwrap_or(f64::NAN));
            }
            Ok(values)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Vec<f64>, A::Error> {
            let mut values: Vec<f64> = Vec::new();
            // JavaScript writes them in order; other programs may not.
            let mut early: Vec<(usize, f64)> = Vec::new();
            while let Some(key) = object.next_key_seed(Index)? {
                // `length` and similar keys are not numbers of the volume.
                let Some(index) = key else {
                    object.next_value::<IgnoredAny>()?;
                    continue;
                };
                let value = object.next_value::<Option<f64>>()?.unwrap_or(f64::NAN);
                if index == values.len() { values.push(value) } else { early.push((index, value)) }
            }
            early.sort_by_key(|(index, _)| *index);
            for (index, value) in early {
                match index {
                    // Of two values for one key, JavaScript uses the last.
                    _ if index < values.len() => values[index] = value,
                    _ if index == values.len() => values.push(value),
                    _ => {
                        let missing = values.len();
                        return Err(A::Error::custom(format_args!(
                            "its keys are not 0, 1, 2, ...: {missing} is missing"
                        )));
                    }
                }
            }
            Ok(values)
        }
    }
    deserializer.deserialize_any(Numbers)
}

/// A key that is an index; `None` for any other key.
struct Index;

impl<'de> DeserializeSeed<'de> for Index {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Index {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(key.parse().ok())
    }
}
