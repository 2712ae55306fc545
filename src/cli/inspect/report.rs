//! The output of `glassnet inspect`.

use super::{Explained, InspectArgs, Split, TOP};
use crate::cli::output::{self, Table, figure};
use glassnet::data::{Dataset, DatasetName};
use glassnet::exec::DeviceInfo;
use glassnet::inspect::Inspection;
use glassnet::kernels::statistics::Summary;
use glassnet::net::{Layer, Network, Node, Shape};
use glassnet::program::LayerStatistics;
use serde::Serialize;
use std::fmt;
use std::path::Path;

#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    #[serde(serialize_with = "output::path")]
    pub model: &'a Path,
    pub network: &'a str,
    pub dataset: DatasetName,
    /// Why synthetic examples replace the data set, if they do.
    pub stand_in: Option<&'a str>,
    pub split: Split,
    pub index: usize,
    pub device: DeviceInfo,
    pub label: Class,
    pub loss: f32,
    /// The examples that the gradients and the layers' statistics refer to.
    pub gradients: Gradients,
    /// The classes with the largest scores, the largest first; empty if a number is predicted.
    pub predictions: Vec<Class>,
    /// The prediction of a network that learned numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<f32>,
    pub layers: Vec<LayerReport<'a>>,
    /// What decides; absent if neither a dump nor pictures are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Reasons<'a>>,
    #[serde(serialize_with = "output::optional_path")]
    pub dump: Option<&'a Path>,
    /// The folder of the pictures.
    #[serde(serialize_with = "output::optional_path")]
    pub pictures: Option<&'a Path>,
}

/// The loss that gradients are computed from.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub(super) enum Gradients {
    /// This example's loss.
    Example { loss: f32 },
    /// The mean loss over a batch.
    Batch { examples: usize, first: usize, last: usize, loss: f32 },
}

impl Gradients {
    fn new(args: &InspectArgs, inspection: &Inspection) -> Gradients {
        let (examples, first, loss) = (args.batch, args.index, inspection.mean_loss);
        match examples {
            1 => Gradients::Example { loss },
            _ => Gradients::Batch { examples, first, last: first + examples - 1, loss },
        }
    }
}

impl fmt::Display for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gradients::Example { .. } => write!(f, "of this example alone"),
            Gradients::Batch { examples, first, last, .. } => {
                write!(f, "of the batch of {examples} examples ({first}..{last})")
            }
        }
    }
}

/// A summary of what decides; the tensors are in the dump and in the pictures.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Reasons<'a> {
    Told {
        /// The winning class; none if a number is predicted.
        winner: Option<Class>,
        logit: f32,
        /// The layer whose maps Grad-CAM weights.
        grad_cam: Option<&'a str>,
        occlusion_size: usize,
        occlusion_stride: usize,
    },
    NotTold {
        reason: &'a str,
    },
}

/// A class with the network's value for it.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Class {
    pub class: usize,
    pub name: String,
    /// The probability, for softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f32>,
    /// The score, for other losses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

impl Class {
    /// The class with the value that `network`'s last layer gives it: a probability for softmax, otherwise a score.
    pub(in crate::cli) fn new(network: &Network, names: &[String], class: usize, value: f32) -> Class {
        let softmax = network.nodes.last().is_some_and(|node| matches!(node.layer, Layer::Softmax { .. }));
        let (probability, score) = if softmax { (Some(value), None) } else { (None, Some(value)) };
        Class { class, name: class_name(names, class), probability, score }
    }
}

fn class_name(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or(class.to_string())
}

/// `7 (99.12 %)`, or `7 (score 1.25)`.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.probability, self.score) {
            (Some(probability), _) => write!(f, "{} ({:.2} %)", self.name, 100.0 * probability),
            (_, score) => write!(f, "{} (score {})", self.name, figure(f64::from(score.unwrap_or_default()))),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct LayerReport<'a> {
    kind: &'static str,
    /// Height, width and channels of the layer's output.
    shape: [usize; 3],
    parameters: usize,
    #[serde(flatten)]
    statistics: &'a LayerStatistics,
}

/// Collects everything that is printed.
pub(super) fn report<'a>(
    args: &'a InspectArgs,
    network: &'a Network,
    dataset: &'a Dataset,
    device: DeviceInfo,
    inspection: &'a Inspection,
    explained: Option<&'a Explained>,
) -> Report<'a> {
    let names = dataset.class_names();
    let class = |(class, value): (usize, f32)| Class::new(network, &names, class, value);
    let (label, numbers) = (inspection.label, network.learns_numbers());
    let layer = |(node, statistics): (&'a Node, &'a LayerStatistics)| LayerReport {
        kind: node.layer.kind(),
        shape: [node.output.height, node.output.width, node.output.channels],
        parameters: parameter_count(network, node),
        statistics,
    };
    Report {
        model: &args.model,
        network: &network.name,
        dataset: dataset.name,
        stand_in: dataset.stand_in_reason(),
        split: args.split,
        index: args.index,
        device,
        label: match numbers {
            true => Class { class: label, name: class_name(&names, label), probability: None, score: None },
            false => class((label, inspection.scores[label])),
        },
        loss: inspection.loss,
        gradients: Gradients::new(args, inspection),
        predictions: inspection.top(if numbers { 0 } else { TOP }).into_iter().map(class).collect(),
        number: inspection.scores.first().copied().filter(|_| numbers),
        layers: network.nodes.iter().zip(&inspection.layers).map(layer).collect(),
        explanation: explained.map(|explained| match explained {
            Ok(why) => Reasons::Told {
                winner: (!numbers).then(|| class((why.class, why.score))),
                logit: why.logit,
                grad_cam: why.grad_cam.as_ref().map(|maps| &maps.layer[..]),
                occlusion_size: why.occlusion.size,
                occlusion_stride: why.occlusion.stride,
            },
            Err(reason) => Reasons::NotTold { reason },
        }),
        dump: args.dump.as_deref(),
        pictures: args.out.as_deref(),
    }
}

fn parameter_count(network: &Network, node: &Node) -> usize {
    let of_node = network.parameters().into_iter().filter(|shape| shape.layer == node.name);
    of_node.map(|shape| shape.weight_len() + shape.bias).sum()
}

/// The report as text.
pub(super) fn text(report: &Report) -> String {
    let split = report.split.name();
    let mut table =
        Table::new(&["layer", "shape", "parameters", "activation: min", "max", "mean", "gradient: min", "max", "mean"]);
    for layer in &report.layers {
        let [height, width, channels] = layer.shape;
        let cells = [layer.statistics.layer.clone(), Shape::new(height, width, channels).to_string()];
        let count = if layer.parameters == 0 { "-".to_string() } else { layer.parameters.to_string() };
        let summaries = [layer.statistics.activation, layer.statistics.activation_gradient];
        table.row(cells.into_iter().chain([count]).chain(summaries.into_iter().flat_map(extremes)));
    }
    let number = report.number.map(|number| figure(f64::from(number)));
    let predictions: Vec<String> = report.predictions.iter().map(Class::to_string).chain(number).collect();
    let dump = report.dump.map_or(String::new(), |path| format!("\nevery tensor is in {}", path.display()));
    let page = |folder: &Path| format!("\npictures are in {}", folder.join("index.html").display());
    let pictures = report.pictures.map_or(String::new(), page);
    let of = report.gradients;
    let whole = match of {
        Gradients::Example { .. } => format!("activations and gradients are {of}"),
        Gradients::Batch { loss, .. } => {
            format!("activations and gradients are {of}, whose mean loss is {}", figure(f64::from(loss)))
        }
    };
    format!(
        "{split} example {} of {} through {} ({})\n{whole}\n{table}\nlabel {}, predicted {}; loss {}{dump}{pictures}",
        report.index,
        report.dataset,
        report.model.display(),
        report.device,
        report.label.name,
        predictions.join(", "),
        figure(f64::from(report.loss))
    )
}

/// The smallest, largest and mean value.
fn extremes(summary: Option<Summary>) -> [String; 3] {
    match summary {
        Some(summary) => [summary.min, summary.max, summary.mean].map(|value| figure(f64::from(value))),
        None => ["-".to_string(), "-".to_string(), "-".to_string()],
    }
}
