//! A snapshot's JSON, as it is written and read: layers in ConvNetJS's words, volumes as lists or objects.

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the list `layers`")]
pub(super) struct Snapshot {
    #[serde(deserialize_with = "numbered")]
    pub layers: Vec<Entry>,
}

/// A layer with the fields that ConvNetJS writes, in its words: sx is a width, sy a height.
#[derive(Serialize, Deserialize)]
#[serde(tag = "layer_type", rename_all = "lowercase", deny_unknown_fields, expecting = "a layer with its `layer_type`")]
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
        #[serde(default = "absent_decay")]
        l1_decay_mul: f64,
        #[serde(default = "absent_decay")]
        l2_decay_mul: f64,
        #[serde(default)]
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
        #[serde(default)]
        pad: usize,
    },
    Fc {
        out_depth: usize,
        out_sx: usize,
        out_sy: usize,
        num_inputs: usize,
        #[serde(default = "absent_decay")]
        l1_decay_mul: f64,
        #[serde(default = "absent_decay")]
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

/// What a layer without keys of its own says.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    pub out_depth: usize,
    pub out_sx: usize,
    pub out_sy: usize,
}

/// What a loss says.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scores {
    pub out_depth: usize,
    pub out_sx: usize,
    pub out_sy: usize,
    pub num_inputs: usize,
}

/// What `net.fromJSON` takes where an old snapshot lacks it.
fn absent_decay() -> f64 {
    1.0
}

/// A volume of numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a volume: an object with `sx`, `sy`, `depth` and `w`")]
pub(super) struct Vol {
    pub sx: usize,
    pub sy: usize,
    pub depth: usize,
    /// NaN where the file has null, which JavaScript writes for NaN and infinity.
    #[serde(deserialize_with = "list_or_object")]
    pub w: Vec<f64>,
}

/// The layers, with the number of the one that is wrong in front of its error.
fn numbered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    struct Layers;

    impl<'de> Visitor<'de> for Layers {
        type Value = Vec<Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of layers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Entry>, A::Error> {
            let mut layers = Vec::new();
            let within = |error, number: usize| A::Error::custom(format_args!("layer {number}: {error}"));
            while let Some(layer) = list.next_element().map_err(|error: A::Error| within(error, layers.len() + 1))? {
                layers.push(layer);
            }
            Ok(layers)
        }
    }
    deserializer.deserialize_seq(Layers)
}

/// Numbers as a list, or as the object keyed by index that JavaScript makes of a typed array.
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
                values.push(value.unwrap_or(f64::NAN));
            }
            Ok(values)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Vec<f64>, A::Error> {
            let mut entries = Vec::new();
            while let Some((key, value)) = object.next_entry::<String, Option<f64>>()? {
                let index: usize =
                    key.parse().map_err(|_| A::Error::custom(format_args!("key `{key}` is no index")))?;
                entries.push((index, value.unwrap_or(f64::NAN)));
            }
            // JavaScript writes them in order; who else wrote the file need not.
            entries.sort_unstable_by_key(|(index, _)| *index);
            if let Some(missing) = (0..entries.len()).find(|i| entries[*i].0 != *i) {
                return Err(A::Error::custom(format_args!("its keys are not 0, 1, 2, ...: {missing} is missing")));
            }
            Ok(entries.into_iter().map(|(_, value)| value).collect())
        }
    }
    deserializer.deserialize_any(Numbers)
}
