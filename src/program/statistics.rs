//! The figures of a statistics step as operations, and how to read them back.
//!
//! Per layer: extremes, mean and deviation of activations, activation gradients, weights, weight gradients, biases and
//! bias gradients; share of dead ReLU units; ratio of update norm to weight norm; counts of non-finite values.

use super::planner::{Layout, Planner};
use super::{NodeTensors, Stage};
use crate::kernels::statistics::{COUNTS, Summary, VALUES, change, dead, summary};
use crate::kernels::{Tensor, statistics};
use crate::net::{Activation, Layer, Network};
use serde::Serialize;

/// A tensor of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    Activation,
    ActivationGradient,
    Weight,
    WeightGradient,
    Bias,
    BiasGradient,
}

impl Quantity {
    /// The name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Activation => "activation",
            Quantity::ActivationGradient => "activation gradient",
            Quantity::Weight => "weight",
            Quantity::WeightGradient => "weight gradient",
            Quantity::Bias => "bias",
            Quantity::BiasGradient => "bias gradient",
        }
    }
}

/// One summarised tensor and the position of its figures in the two read-back buffers.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub node: usize,
    pub quantity: Quantity,
    counts_at: usize,
    values_at: usize,
}

/// The output of a statistics step.
#[derive(Debug, Clone)]
pub struct StatisticsPlan {
    /// u32 figures: counts and dead flags.
    pub counts: Tensor,
    /// f32 figures: moments and update norms.
    pub values: Tensor,
    entries: Vec<Entry>,
    /// Node, place in counts, channels.
    dead: Vec<(usize, usize, usize)>,
    /// Node, place in values.
    changes: Vec<(usize, usize)>,
    names: Vec<String>,
}

/// One layer's figures. A unit is a channel of a feature map, or one output of a fully connected layer.
#[derive(Debug, Clone, Default, Serialize, serde::Deserialize)]
pub struct LayerStatistics {
    pub layer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_gradient: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_gradient: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_gradient: Option<Summary>,
    /// The share of units of a ReLU layer that are positive nowhere in the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_units: Option<f32>,
    /// The norm of the weights' change in this step divided by their norm before it.
    #[serde(default, deserialize_with = "statistics::some_or_nan", skip_serializing_if = "Option::is_none")]
    pub update_ratio: Option<f32>,
    /// The number of NaN and infinities in all tensors of the layer.
    pub non_finite: u64,
}

/// One step's figures, layer by layer.
#[derive(Debug, Clone, Default)]
pub struct StepStatistics {
    pub layers: Vec<LayerStatistics>,
}

impl StepStatistics {
    /// The first non-finite tensor in the order in which a step computes them, with its count: activations forward,
    /// then gradients backward, then parameters.
    pub fn first_non_finite(&self) -> Option<(&str, Quantity, u64)> {
        use Quantity::*;
        let forward = self.layers.iter().map(|layer| (layer, &[Activation][..]));
        let gradients = &[ActivationGradient, WeightGradient, BiasGradient][..];
        let backward = self.layers.iter().rev().map(|layer| (layer, gradients));
        let parameters = self.layers.iter().map(|layer| (layer, &[Weight, Bias][..]));
        let tensors = forward.chain(backward).chain(parameters);
        let mut counts = tensors.flat_map(|(layer, quantities)| {
            let count = |q: &Quantity| (layer.layer.as_str(), *q, layer.get(*q).map_or(0, |s| s.non_finite));
            quantities.iter().map(count)
        });
        counts.find(|(_, _, count)| *count > 0)
    }

    /// l2/2 * sum of w² + l1 * sum of |w|, over weights, not biases; both multiplied by the layer's factor.
    pub fn decay_loss(&self, network: &Network, l1: f64, l2: f64) -> f64 {
        let factor = |layer: &str| network.nodes.iter().find(|n| n.name == layer).map_or(1.0, |n| n.factors.decay);
        let weights = self.layers.iter().filter_map(|l| Some((l.weight.as_ref()?, f64::from(factor(&l.layer)))));
        // Avoids multiplying a sum that overflowed to infinity by a decay of 0.
        let term = |factor: f64, sum: f32| if factor == 0.0 { 0.0 } else { factor * f64::from(sum) };
        weights.map(|(w, own)| term(own * l2 / 2.0, w.square_sum) + term(own * l1, w.abs_sum)).sum()
    }
}

impl LayerStatistics {
    /// The summary of one tensor.
    pub fn get(&self, quantity: Quantity) -> Option<&Summary> {
        match quantity {
            Quantity::Activation => self.activation.as_ref(),
            Quantity::ActivationGradient => self.activation_gradient.as_ref(),
            Quantity::Weight => self.weight.as_ref(),
            Quantity::WeightGradient => self.weight_gradient.as_ref(),
            Quantity::Bias => self.bias.as_ref(),
            Quantity::BiasGradient => self.bias_gradient.as_ref(),
        }
    }

    fn set(&mut self, quantity: Quantity, summary: Summary) {
        self.non_finite += summary.non_finite;
        let slot = match quantity {
            Quantity::Activation => &mut self.activation,
            Quantity::ActivationGradient => &mut self.activation_gradient,
            Quantity::Weight => &mut self.weight,
            Quantity::WeightGradient => &mut self.weight_gradient,
            Quantity::Bias => &mut self.bias,
            Quantity::BiasGradient => &mut self.bias_gradient,
        };
        *slot = Some(summary);
    }
}

impl StatisticsPlan {
    /// Reads the words of `counts` and `values` back.
    pub fn decode(&self, counts: &[u32], values: &[u32]) -> StepStatistics {
        let real =
            |range: std::ops::Range<usize>| -> Vec<f32> { values[range].iter().map(|w| f32::from_bits(*w)).collect() };
        let layer = |name: &String| LayerStatistics { layer: name.clone(), ..LayerStatistics::default() };
        let mut layers: Vec<_> = self.names.iter().map(layer).collect();
        for entry in &self.entries {
            let values = real(entry.values_at..entry.values_at + VALUES);
            let summary = Summary::new(&counts[entry.counts_at..][..COUNTS], &values);
            layers[entry.node].set(entry.quantity, summary);
        }
        for &(node, at, channels) in &self.dead {
            let dead: u32 = counts[at..at + channels].iter().sum();
            layers[node].dead_units = Some(dead as f32 / channels as f32);
        }
        for &(node, at) in &self.changes {
            let [moved, norm] = [real(at..at + 1)[0], real(at + 1..at + 2)[0]];
            layers[node].update_ratio = (norm > 0.0).then(|| (moved / norm).sqrt());
        }
        StepStatistics { layers }
    }
}

/// Every tensor of every node that is worth a summary.
fn summarised(nodes: &[NodeTensors]) -> Vec<(usize, Quantity, Tensor)> {
    let mut list = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let parameters = node.parameters;
        let tensors = [
            (Quantity::Activation, Some(node.activation)),
            (Quantity::ActivationGradient, node.activation_gradient),
            (Quantity::Weight, parameters.map(|p| p.weight)),
            (Quantity::WeightGradient, parameters.and_then(|p| p.weight_gradient)),
            (Quantity::Bias, parameters.map(|p| p.bias)),
            (Quantity::BiasGradient, parameters.and_then(|p| p.bias_gradient)),
        ];
        list.extend(tensors.into_iter().filter_map(|(quantity, tensor)| tensor.map(|t| (i, quantity, t))));
    }
    list
}

/// Adds the statistics stage. Activations and their gradients count valid examples only.
pub(super) fn plan_statistics(
    planner: &mut Planner,
    network: &Network,
    nodes: &[NodeTensors],
    header: Tensor,
    batch: usize,
) -> StatisticsPlan {
    let tensors = summarised(nodes);
    let relus: Vec<usize> =
        (0..nodes.len()).filter(|i| network.nodes[*i].layer == Layer::Activation(Activation::Relu)).collect();
    let moving: Vec<(usize, Tensor, Tensor)> = nodes
        .iter()
        .enumerate()
        .filter_map(|(i, n)| n.parameters.and_then(|p| p.weight_next.map(|next| (i, p.weight, next))))
        .collect();

    let (mut counts_layout, mut values_layout) = (Layout::default(), Layout::default());
    let entries: Vec<Entry> = tensors
        .iter()
        .map(|&(node, quantity, _)| Entry {
            node,
            quantity,
            counts_at: counts_layout.place(COUNTS),
            values_at: values_layout.place(VALUES),
        })
        .collect();
    let dead_places: Vec<_> = relus
        .iter()
        .map(|&i| {
            let channels = network.nodes[i].output.channels;
            (i, counts_layout.place(channels), channels)
        })
        .collect();
    let changes: Vec<_> = moving.iter().map(|&(i, ..)| (i, values_layout.place(2))).collect();
    let counts = planner.words("statistics.counts", counts_layout.end);
    let values = planner.real("statistics.values", values_layout.end);

    let name = |i: usize| &network.nodes[i].name;
    for (&(node, quantity, tensor), entry) in tensors.iter().zip(&entries) {
        let label = format!("{}.statistics.{}", name(node), quantity.name().replace(' ', "_"));
        let out = (
            planner.slice(format!("{label}.counts"), counts, entry.counts_at, COUNTS),
            planner.slice(format!("{label}.values"), values, entry.values_at, VALUES),
        );
        let per_example = match quantity {
            Quantity::Activation | Quantity::ActivationGradient => tensor.len / batch,
            _ => 0,
        };
        planner.emit(Stage::Statistics, Some(node), label, summary(header, tensor, per_example, out));
    }
    for &(i, at, channels) in &dead_places {
        let flags = planner.slice(format!("{}.dead", name(i)), counts, at, channels);
        let y = nodes[i].activation;
        planner.emit(Stage::Statistics, Some(i), format!("{}.dead", name(i)), dead(header, y, y.len / batch, flags));
    }
    for (&(i, before, after), &(_, at)) in moving.iter().zip(&changes) {
        let out = planner.slice(format!("{}.change", name(i)), values, at, 2);
        planner.emit(Stage::Statistics, Some(i), format!("{}.change", name(i)), change(before, after, out));
    }
    let names = network.nodes.iter().map(|n| n.name.clone()).collect();
    StatisticsPlan { counts, values, entries, dead: dead_places, changes, names }
}
