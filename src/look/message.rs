//! The contents of a page as messages, from a server or from a page that runs the kernels itself. `docs/live.md`
//! describes every key.

use crate::net::{Layer, Network, Value};
use crate::pictures::Plate;
use crate::train::{ChangeRow, Changeable, EpochRow, Settings, StepRow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::BTreeMap;

/// One message; `kind` names its type.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Message<'a> {
    Run(&'a RunMessage),
    Status(&'a StatusMessage),
    View(&'a ViewMessage),
    Step(&'a StepRow),
    Epoch(&'a EpochRow),
    Change(&'a ChangeRow),
}

impl Message<'_> {
    /// The message as JSON, in one line.
    pub fn to_json(&self) -> String {
        // Cannot fail: keys are strings and values are numbers.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The constant part of a run's state.
#[derive(Debug, Clone, Serialize)]
pub struct RunMessage {
    /// Different for every run.
    pub id: String,
    pub version: String,
    /// The network's name.
    pub name: String,
    pub folder: String,
    pub device: String,
    pub dataset: String,
    /// Height, width and channels of the data set's images.
    pub image: [usize; 3],
    /// Names of the classes.
    pub classes: Vec<String>,
    pub learns_numbers: bool,
    /// The number of examples that can be shown.
    pub examples: ExampleCounts,
    pub training_examples: usize,
    pub validation_examples: usize,
    pub first_step: u64,
    pub batch_size: usize,
    pub optimizer: String,
    pub schedule: String,
    pub seed: u64,
    /// The network's description, TOML.
    pub network: String,
    pub layers: Vec<LayerMessage>,
    /// The available commands.
    pub controls: Vec<&'static str>,
}

/// The number of examples in each part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExampleCounts {
    pub train: usize,
    pub test: usize,
}

/// A layer of the network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerMessage {
    pub name: String,
    /// Its type, as in descriptions.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Height, width and channels of its output.
    pub output: [usize; 3],
    /// Weights and biases.
    pub parameters: usize,
    /// The layers that it reads.
    pub inputs: Vec<String>,
}

impl LayerMessage {
    /// All layers of a network, in the order of computation.
    pub fn of(network: &Network) -> Vec<LayerMessage> {
        let shapes = network.parameters();
        let name = |node: usize| network.nodes[node].name.clone();
        let layer = |(i, node): (usize, &crate::net::Node)| {
            let own = shapes.iter().filter(|shape| shape.node == i);
            let first = (!matches!(node.layer, Layer::Input { .. })).then_some(node.from);
            LayerMessage {
                name: node.name.clone(),
                kind: node.layer.kind(),
                output: [node.output.height, node.output.width, node.output.channels],
                parameters: own.map(|shape| shape.weight_len() + shape.bias).sum(),
                inputs: first.into_iter().chain(node.added).map(name).collect(),
            }
        };
        network.nodes.iter().enumerate().map(layer).collect()
    }
}

/// The state of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    #[default]
    Starting,
    Running,
    Paused,
    /// Training is over, and the test set is being evaluated.
    Testing,
    Ended,
    /// Stopped before its end; it can be resumed.
    Stopped,
    Failed,
}

impl RunState {
    /// Whether nothing more will be trained.
    pub fn is_over(self) -> bool {
        matches!(self, RunState::Testing | RunState::Ended | RunState::Stopped | RunState::Failed)
    }
}

/// The changing part of a run's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StatusMessage {
    pub state: RunState,
    /// A text about the state, such as why the run failed.
    pub message: Option<String>,
    /// Why there is no view of the newest weights.
    pub no_pictures: Option<String>,
    pub step: u64,
    pub end: u64,
    pub epoch: u64,
    pub examples_seen: u64,
    pub train_seconds: f64,
    /// The loss over the last 1,000 training examples, like the next field.
    pub loss: Option<f64>,
    pub training_accuracy: Option<f64>,
    /// The accuracy over the last 2,000 validation examples.
    pub validation_accuracy: Option<f64>,
    pub images_per_second: f64,
    pub test: Option<TestMessage>,
    pub shown: ShownMessage,
    pub watchers: usize,
    pub settings: SettingsMessage,
}

/// The results on the last test examples that were evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TestMessage {
    pub accuracy: f64,
    pub examples: usize,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Train,
    #[default]
    Test,
}

/// The example that views show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ShownMessage {
    pub split: Part,
    pub index: usize,
}

/// The settings that can be changed, by name; one that the optimizer does not have is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SettingsMessage(BTreeMap<Changeable, Option<Value>>);

impl SettingsMessage {
    pub fn of(settings: &Settings) -> SettingsMessage {
        SettingsMessage(Changeable::ALL.iter().map(|(setting, _)| (*setting, setting.of(settings))).collect())
    }
}

/// The network's response to one example.
#[derive(Debug, Clone, Serialize)]
pub struct ViewMessage {
    pub step: u64,
    pub example: ExampleMessage,
    /// None for a picture without a label.
    pub loss: Option<f32>,
    pub top: Vec<ScoreMessage>,
    /// The prediction of a network that learns numbers.
    pub number: Option<f32>,
    pub layers: Vec<PlatesMessage>,
    pub explanations: Vec<PlateMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestExampleMessage>,
}

/// The example of a view.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "split", rename_all = "lowercase")]
pub enum ExampleMessage {
    Train {
        index: usize,
        label: usize,
    },
    Test {
        index: usize,
        label: usize,
    },
    /// A picture that a watcher drew or sent.
    Drawn,
}

/// A class with its probability, or its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreMessage {
    pub class: usize,
    pub score: f32,
}

/// A layer's pictures.
#[derive(Debug, Clone, Serialize)]
pub struct PlatesMessage {
    pub layer: String,
    pub plates: Vec<PlateMessage>,
}

/// A test example with the network's prediction.
#[derive(Debug, Clone, Serialize)]
pub struct TestExampleMessage {
    pub index: usize,
    pub label: usize,
    pub image: PlateMessage,
    pub top: Vec<ScoreMessage>,
    pub number: Option<f32>,
}

/// A tensor cut into tiles, with its values as codes for colours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlateMessage {
    /// The plate without its values.
    #[serde(flatten)]
    pub plate: Plate,
    pub kept: usize,
    /// Base64 of [`Plate::codes`].
    pub codes: String,
}

impl From<Plate> for PlateMessage {
    fn from(plate: Plate) -> Self {
        let (kept, codes) = (plate.kept(), STANDARD.encode(plate.codes()));
        PlateMessage { plate: Plate { values: Vec::new(), ..plate }, kept, codes }
    }
}
