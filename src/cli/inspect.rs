//! `glassnet inspect`: one example through forward and backward, layer by layer.

mod gallery;

use super::options::{self, DataArgs, DeviceArgs};
use super::output::{Output, Table, figure};
use clap::{Args, ValueEnum};
use glassnet::data::{Dataset, DatasetName};
use glassnet::exec::DeviceInfo;
use glassnet::formats::load_model;
use glassnet::inspect::{Inspection, inspect};
use glassnet::kernels::statistics::Summary;
use glassnet::net::{Layer, Network, Node, Shape};
use glassnet::pictures::Palette;
use glassnet::program::LayerStatistics;
use glassnet::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Classes that are shown.
pub(super) const TOP: usize = 3;

/// Send one example forward and backward, and show every layer's activations and gradients
///
/// Without --dataset the example is from the data set that the model was trained on.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The model.safetensors or checkpoint.safetensors of a run, or a ConvNetJS snapshot (.json)
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Which example, counted from 0
    #[arg(long, value_name = "I", value_parser = options::whole::<usize>)]
    index: usize,
    /// Where the example is from
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Write every activation, weight, bias and gradient to this file, weights in PyTorch's order
    #[arg(long, value_name = "FILE.safetensors")]
    dump: Option<PathBuf>,
    /// Draw every activation, weight and gradient into this folder, with a page, index.html, that shows them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Colours of the pictures, negative to positive: blue-orange, blue-red or grey
    #[arg(long, value_name = "NAME", value_parser = palette, default_value = "blue-orange", requires = "out")]
    palette: Palette,
    /// Write into a folder that is not empty, and replace the pictures of an earlier inspection in it
    #[arg(long, requires = "out")]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    /// The training set
    Train,
    /// The test set
    #[default]
    Test,
}

impl Split {
    fn name(self) -> &'static str {
        match self {
            Split::Train => "training",
            Split::Test => "test",
        }
    }
}

fn palette(name: &str) -> std::result::Result<Palette, String> {
    let known = Palette::ALL.map(|(_, name)| name).join(", ");
    let found = Palette::ALL.into_iter().find(|(_, known)| *known == name).map(|(palette, _)| palette);
    found.ok_or(format!("known are {known}"))
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a Path,
    network: &'a str,
    dataset: DatasetName,
    /// Why synthetic examples stand in for the data set, where they do.
    stand_in: Option<&'a str>,
    split: Split,
    index: usize,
    device: DeviceInfo,
    label: Class,
    loss: f32,
    /// The classes with the largest scores, the largest first; none where a number is predicted.
    predictions: Vec<Class>,
    /// Of a network that learned numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<f32>,
    layers: Vec<LayerReport<'a>>,
    dump: Option<&'a Path>,
    /// Where the pictures are.
    pictures: Option<&'a Path>,
}

/// A class and how sure the network is of it.
#[derive(Debug, Serialize)]
pub(super) struct Class {
    class: usize,
    name: String,
    /// With softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f32>,
    /// With another loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

impl Class {
    /// What the last layer of `network` says of a class: with softmax a probability, else a score.
    pub(super) fn new(network: &Network, names: &[String], class: usize, value: f32) -> Class {
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
struct LayerReport<'a> {
    kind: &'static str,
    /// Height, width, channels of what leaves the layer.
    shape: [usize; 3],
    parameters: usize,
    #[serde(flatten)]
    statistics: &'a LayerStatistics,
}

/// Inspects, dumps and prints.
pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let output = Output { json: args.json };
    if let Some(folder) = &args.out {
        gallery::check(folder, args.force)?;
    }
    let model = load_model(&args.model)?;
    let dataset = super::eval::data_for(&model, &args.model, &args.data, output)?;
    let examples = match args.split {
        Split::Train => &dataset.train,
        Split::Test => &dataset.test,
    };
    let network = &model.network;
    let (device, inspection) = pollster::block_on(async {
        let device = options::device(&args.device).await?;
        let inspection = inspect(&device, network, &model.parameters, examples, args.index).await?;
        Ok::<_, Error>((device.info(), inspection))
    })?;
    let report = report(args, network, &dataset, device, &inspection);
    if let Some(path) = &args.dump {
        let metadata = serde_json::json!({
            "network": network.to_toml(), "dataset": dataset.name, "split": args.split, "index": args.index,
            "label": inspection.label, "loss": inspection.loss,
        });
        inspection.dump(path, &metadata)?;
    }
    if let Some(folder) = &args.out {
        gallery::write(folder, network, &inspection, &report, args.palette)?;
    }
    output.result(&report, text(&report))?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

fn report<'a>(
    args: &'a InspectArgs,
    network: &'a Network,
    dataset: &'a Dataset,
    device: DeviceInfo,
    inspection: &'a Inspection,
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
        stand_in: options::stand_in_reason(dataset),
        split: args.split,
        index: args.index,
        device,
        label: match numbers {
            true => Class { class: label, name: class_name(&names, label), probability: None, score: None },
            false => class((label, inspection.scores[label])),
        },
        loss: inspection.loss,
        predictions: inspection.top(if numbers { 0 } else { TOP }).into_iter().map(class).collect(),
        number: inspection.scores.first().copied().filter(|_| numbers),
        layers: network.nodes.iter().zip(&inspection.layers).map(layer).collect(),
        dump: args.dump.as_deref(),
        pictures: args.out.as_deref(),
    }
}

fn parameter_count(network: &Network, node: &Node) -> usize {
    let of_node = network.parameters().into_iter().filter(|shape| shape.layer == node.name);
    of_node.map(|shape| shape.weight_len() + shape.bias).sum()
}

fn text(report: &Report) -> String {
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
    format!(
        "{split} example {} of {} through {} ({})\n{table}\nlabel {}, predicted {}; loss {}{dump}{pictures}",
        report.index,
        report.dataset,
        report.model.display(),
        report.device,
        report.label.name,
        predictions.join(", "),
        figure(f64::from(report.loss))
    )
}

/// Smallest, largest and mean value.
fn extremes(summary: Option<Summary>) -> [String; 3] {
    match summary {
        Some(summary) => [summary.min, summary.max, summary.mean].map(|value| figure(f64::from(value))),
        None => ["-".to_string(), "-".to_string(), "-".to_string()],
    }
}
