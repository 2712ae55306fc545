//! Lowers a network to a training step: batch, forward and loss, backward, update, statistics.
//!
//! Everything is allocated here, once; every operation overwrites its outputs. Gradients are those of the mean loss
//! over the valid examples; decay only enters in the update. `layers.rs` has the operations of each layer.

use super::layers::Lowering;
use super::planner::{Layout, Planner, aligned};
use super::statistics::plan_statistics;
use super::sums::Sums;
use super::{Inputs, Limits, NodeTensors, Outputs, ParameterTensors, Program, Stage, Trainable, TrainingStep};
use crate::error::{Error, Result};
use crate::kernels::Tensor;
use crate::kernels::batch::{CHUNKS, Header};
use crate::kernels::clip;
use crate::kernels::ema;
use crate::kernels::loss;
use crate::kernels::optimizer::{self, Rule};
use crate::net::{Layer, MAX_BATCH, Network, Node, Shape};
use std::sync::Arc;

/// The data set that batches are gathered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub examples: usize,
}

/// How much larger than the input the usual images are if the network crops: 28x28 for 24x24, as with MNIST.
const CROP_MARGIN: usize = 4;

impl Source {
    /// A data set whose images suit `network`: as large as its input, or a little larger if it crops.
    pub fn usual(network: &Network, examples: usize) -> Source {
        let (shape, margin) = (network.input_shape(), if network.crop { CROP_MARGIN } else { 0 });
        let (height, width) = (shape.height + margin, shape.width + margin);
        Source { height, width, channels: shape.channels, examples }
    }

    /// Height, width and channels of an image.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// The kind of device that a step is lowered for. Every executor can run every step; another kind takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceClass {
    /// The processor, or a graphics driver that computes on it. Weight gradients are split by examples.
    Processor,
    /// A hardware GPU, which needs thousands of invocations. Weight gradients are split as finely as that takes, and
    /// the sums of all layers are one operation; fully connected layers are convolutions of one pixel.
    Hardware,
}

/// The capabilities of a training step.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub batch: usize,
    pub source: Source,
    /// Lower the backward pass.
    pub backward: bool,
    /// Lower the update (needs `backward`).
    pub rule: Option<Rule>,
    /// The largest norm of the gradient of all parameters in the update.
    pub clip_norm: Option<f32>,
    /// Keep a moving average of the parameters, with this decay (needs `rule`).
    pub ema: Option<f64>,
    /// Also compute gradients that training never needs: of the input, and of the loss layer's output.
    pub inspect: bool,
    /// Let operations also compute neighbouring layers where possible.
    pub fuse: bool,
    pub class: DeviceClass,
    /// The largest buffer that can be bound, in bytes; it determines the chunks of the data set.
    pub max_binding: u64,
    /// Whether the examples are those of one batch, so that a smaller batch has fewer.
    pub one_batch: bool,
}

/// WebGPU's default limit for one storage buffer binding.
pub const DEFAULT_MAX_BINDING: u64 = 128 << 20;

/// The longest input of a fully connected layer, for the same reason.
const MAX_FC_INPUTS: usize = 65_535 * 64 - 1;
/// Elements in one buffer: shaders index with 32 bits.
const MAX_LEN: u128 = 1 << 31;

impl Options {
    /// Options for training with `rule`.
    pub fn training(batch: usize, source: Source, rule: Rule) -> Options {
        Options { backward: true, rule: Some(rule), ..Options::evaluation(batch, source) }
    }

    /// Options for loss and predictions only.
    pub fn evaluation(batch: usize, source: Source) -> Options {
        let (backward, rule, clip_norm, ema, inspect, fuse) = (false, None, None, None, false, true);
        let (class, max_binding, one_batch) = (DeviceClass::Processor, DEFAULT_MAX_BINDING, false);
        Options { batch, source, backward, rule, clip_norm, ema, inspect, fuse, class, max_binding, one_batch }
    }

    /// These options for a device with these limits.
    pub fn on(self, limits: &Limits) -> Options {
        let hardware = limits.adapter.is_some_and(|adapter| !adapter.software);
        let class = if hardware { DeviceClass::Hardware } else { DeviceClass::Processor };
        Options { max_binding: limits.max_binding.min(limits.max_buffer), class, ..self }
    }

    /// Options for forward and backward with every gradient.
    pub fn inspection(batch: usize, source: Source) -> Options {
        Options { backward: true, inspect: true, ..Options::evaluation(batch, source) }
    }
}

impl TrainingStep {
    /// Lowers `network`. Fails if a tensor cannot be indexed or dispatched at all; [`TrainingStep::check_limits`]
    /// checks whether a device can hold the step.
    pub fn lower(network: &Network, options: &Options) -> Result<TrainingStep> {
        if let Some(obstacle) = size_obstacle(network, options)? {
            return Err(Error::TooLarge(obstacle));
        }
        let mut planner = Planner::default();
        let inputs = plan_inputs(&mut planner, options.batch);
        let (chunks, examples_per_chunk) = plan_chunks(&mut planner, options)?;
        let (parameters, trainable, parameter_tensors) = plan_parameters(&mut planner, network, options);
        let gradients = parameter_tensors.gradients;
        let parameter_tensors = parameter_tensors.by_node;
        let sums = gradients.filter(|_| options.class == DeviceClass::Hardware);
        let sums = sums.map(|gradients| Sums::plan(&mut planner, network, options, &parameter_tensors, gradients));
        let nodes = plan_nodes(&mut planner, network, options, parameter_tensors);
        let outputs = plan_outputs(&mut planner, options.batch);
        let numbers = network.learns_numbers().then(|| planner.real("class.numbers", loss::NUMBERS));

        let (kept, unfused, contributions) = (Vec::new(), Vec::new(), Vec::new());
        let mut lowering =
            Lowering { planner, network, options, inputs, nodes, outputs, numbers, kept, contributions, sums, unfused };
        lowering.batch(chunks, examples_per_chunk);
        lowering.forward();
        if options.backward {
            lowering.backward();
        }
        if options.rule.is_some() {
            lowering.running_statistics();
        }
        let fused = lowering.fused();
        let Lowering { mut planner, nodes, unfused, .. } = lowering;
        let exact = network.training.is_exact();
        let swaps = plan_update(&mut planner, options, exact, inputs, parameters, trainable.as_ref());
        for (node, name, op) in unfused {
            planner.emit(Stage::Unfused, Some(node), name, op);
        }
        let statistics = plan_statistics(&mut planner, network, &nodes, inputs.header, options.batch);
        let Planner { buffers, instructions, purposes, constants } = planner;
        let program = Program {
            buffers,
            instructions,
            scratch: None,
            swaps,
            constants,
            inputs: Some(inputs.all),
            results: vec![outputs.loss.id, outputs.correct.id],
            examples: Some(options.batch),
        };
        let trainable = trainable.map(|t| t.trainable);
        Ok(TrainingStep {
            program: Arc::new(program),
            batch: options.batch,
            purposes,
            nodes,
            fused,
            inputs,
            outputs,
            chunks,
            examples_per_chunk,
            numbers,
            parameters,
            trainable,
            statistics,
        })
    }
}

/// Why 32-bit indices cannot reach everything, if so.
///
/// # Errors
/// Errors that no batch size can avoid.
pub(super) fn size_obstacle(network: &Network, options: &Options) -> Result<Option<String>> {
    let Source { height, width, channels, examples } = options.source;
    if options.batch == 0 || options.batch > MAX_BATCH {
        return Err(Error::Settings(format!("a batch size of {} is not within 1 to {MAX_BATCH}", options.batch)));
    }
    if examples == 0 {
        return Err(Error::Data("the data set holds no examples".into()));
    }
    network.check_fits(Shape::new(height, width, channels), network.classes())?;
    for node in &network.nodes {
        let values = (node.output.len() as u128).max(node.input.len() as u128) * options.batch as u128;
        if values > MAX_LEN {
            return Ok(Some(format!(
                "layer {} would hold {values} values at batch size {}, and the limit is {MAX_LEN}",
                node.name, options.batch
            )));
        }
        if matches!(node.layer, Layer::Fc { .. }) && node.input.len() > MAX_FC_INPUTS {
            return Err(Error::Network(format!(
                "layer {} has {} inputs; a fully connected layer takes at most {MAX_FC_INPUTS}",
                node.name,
                node.input.len()
            )));
        }
    }
    let mut weights = 0;
    for shape in network.parameters() {
        weights += shape.weight.iter().map(|size| *size as u128).product::<u128>() + shape.bias as u128;
        if weights > MAX_LEN {
            return Err(Error::Network(format!(
                "layer {} brings the network's weights to {weights}, and the limit is {MAX_LEN}; make the layer smaller",
                shape.layer
            )));
        }
    }
    Ok(None)
}

fn plan_inputs(planner: &mut Planner, batch: usize) -> Inputs {
    let mut layout = Layout::default();
    let places = [Header::LEN, batch, batch].map(|len| (layout.place(len), len));
    let all = planner.words("inputs", layout.end);
    let [header, indices, labels] = places;
    let header = planner.slice("header", all, header.0, header.1);
    let indices = planner.slice("indices", all, indices.0, indices.1);
    let labels = planner.slice("labels", all, labels.0, labels.1);
    Inputs { all, header, indices, labels }
}

/// Cuts the data set into chunks of whole examples that can be bound, at word boundaries.
fn plan_chunks(planner: &mut Planner, options: &Options) -> Result<([Tensor; CHUNKS], usize)> {
    let Source { height, width, channels, examples } = options.source;
    let bytes = height * width * channels;
    // In 64 bits, because a host can bind more than a 32-bit `usize` holds.
    let fit = usize::try_from(options.max_binding / bytes as u64).unwrap_or(usize::MAX);
    let per_chunk = fit.min(examples.next_multiple_of(4)) / 4 * 4;
    if per_chunk == 0 || examples.div_ceil(per_chunk) > CHUNKS {
        return Err(Error::TooLarge(format!(
            "the data set takes {} MiB; this device holds at most {} MiB of it: use fewer examples, or compute on the CPU",
            (examples as u64 * bytes as u64) >> 20,
            (CHUNKS as u64 * options.max_binding) >> 20
        )));
    }
    let mut left = examples;
    let chunks = std::array::from_fn(|i| {
        let held = left.min(per_chunk);
        left -= held;
        planner.words(format!("data.{i}"), (held * bytes).div_ceil(4).max(1))
    });
    Ok((chunks, per_chunk))
}

/// The flat buffers behind [`Trainable`], and those that take the update's results.
struct FlatBuffers {
    trainable: Trainable,
    /// Everything that is learned, before and after the update, without running statistics.
    learned: [Tensor; 2],
    state_next: Option<Tensor>,
    average_next: Option<Tensor>,
}

/// The tensors of parameters and the flat buffer of all their gradients.
struct PlannedParameters {
    by_node: Vec<Option<ParameterTensors>>,
    gradients: Option<Tensor>,
}

fn plan_parameters(
    planner: &mut Planner,
    network: &Network,
    options: &Options,
) -> (Tensor, Option<FlatBuffers>, PlannedParameters) {
    let mut layout = Layout::default();
    let shapes = network.parameters();
    let places: Vec<_> = shapes.iter().map(|s| (s, layout.place(s.weight_len()), layout.place(s.bias))).collect();
    let learned = layout.end.max(aligned(1));
    let mut layout = Layout { end: learned };
    let places = places.into_iter().map(|(shape, weight, bias)| (shape, weight, bias, layout.place(2 * shape.running)));
    let places: Vec<_> = places.collect();
    let total = layout.end;
    let parameters = planner.real("parameters", total);
    let next = options.rule.map(|_| planner.real("parameters.next", total));
    let gradients = options.backward.then(|| planner.real("gradients", learned));
    let mut tensors = vec![None; network.nodes.len()];
    for (shape, weight_at, bias_at, running_at) in places {
        let mut slice = |what: &str, parent: Option<Tensor>, at: usize, len: usize| {
            parent.map(|parent| planner.slice(format!("{}.{what}", shape.layer), parent, at, len))
        };
        let (weight_len, bias_len) = (shape.weight_len(), shape.bias);
        let weight = slice("weight", Some(parameters), weight_at, weight_len);
        let bias = slice("bias", Some(parameters), bias_at, bias_len);
        let weight_next = slice("weight.next", next, weight_at, weight_len);
        let weight_gradient = slice("weight_gradient", gradients, weight_at, weight_len);
        let bias_gradient = slice("bias_gradient", gradients, bias_at, bias_len);
        let mut running = |what: &str, parent: Option<Tensor>| {
            (shape.running > 0).then(|| slice(what, parent, running_at, 2 * shape.running)).flatten()
        };
        let (running, running_next) = (running("running", Some(parameters)), running("running.next", next));
        tensors[shape.node] = weight.zip(bias).map(|(weight, bias)| ParameterTensors {
            weight,
            bias,
            weight_next,
            weight_gradient,
            bias_gradient,
            running,
            running_next,
            factors: network.nodes[shape.node].factors,
        });
    }
    let flat = options.rule.zip(next).zip(gradients).map(|((rule, parameters_next), gradients)| {
        let slots = rule.slots() * learned;
        let mut state = |name: &str| (slots > 0).then(|| planner.real(name, slots));
        let (state, state_next) = (state("optimizer.state"), state("optimizer.state.next"));
        let factors = planner.real("optimizer.factors", optimizer::FACTORS * (learned / optimizer::BLOCK));
        // As long as the whole parameter buffer, because evaluation reads it instead.
        let mut average = |name: &str| options.ema.map(|_| planner.real(name, parameters.len));
        let (average, average_next) = (average("average"), average("average.next"));
        let mut cut = |what: &str, whole: Tensor| match total > learned {
            true => planner.slice(what, whole, 0, learned),
            false => whole,
        };
        let learned = [cut("learned", parameters), cut("learned.next", parameters_next)];
        let trainable = Trainable { factors, gradients, state, average, parameters_next };
        FlatBuffers { trainable, learned, state_next, average_next }
    });
    (parameters, flat, PlannedParameters { by_node: tensors, gradients })
}

fn plan_nodes(
    planner: &mut Planner,
    network: &Network,
    options: &Options,
    parameters: Vec<Option<ParameterTensors>>,
) -> Vec<NodeTensors> {
    let last = network.nodes.len() - 1;
    // The buffer of the only reader, a residual block.
    let shared = |i: usize| match network.readers(i)[..] {
        [reader] if matches!(network.nodes[reader].layer, Layer::Residual { .. }) => Some(reader),
        _ => None,
    };
    let plan = |(i, (node, parameters)): (usize, (&Node, Option<ParameterTensors>))| {
        let len = options.batch * node.output.len();
        let activation = planner.real(format!("{}.activation", node.name), len);
        // The loss computes the gradient of the logits in the forward pass, with or without a backward pass.
        let wanted = i + 1 == last || (options.backward && i > 0 && i < last) || options.inspect;
        let activation_gradient =
            (wanted && shared(i).is_none()).then(|| planner.real(format!("{}.activation_gradient", node.name), len));
        NodeTensors { activation, activation_gradient, parameters }
    };
    let mut nodes: Vec<NodeTensors> = network.nodes.iter().zip(parameters).enumerate().map(plan).collect();
    // For nested blocks, the outer ones first.
    for i in (0..nodes.len()).rev() {
        if let Some(reader) = shared(i) {
            nodes[i].activation_gradient = nodes[reader].activation_gradient;
        }
    }
    nodes
}

fn plan_outputs(planner: &mut Planner, batch: usize) -> Outputs {
    Outputs {
        loss: planner.real("loss", 1),
        correct: planner.words("correct", 1),
        losses: planner.real("losses", batch),
        predictions: planner.words("predictions", batch),
    }
}

/// The factor on the gradients in the update, so that their norm is at most `largest`.
fn plan_clipping(planner: &mut Planner, gradients: Tensor, largest: f32) -> Tensor {
    let scale = planner.real("clip.scale", 2);
    planner.emit(Stage::Update, None, "clip.scale", clip::scale(largest, gradients, scale));
    scale
}

fn plan_update(
    planner: &mut Planner,
    options: &Options,
    convnetjs_exact: bool,
    inputs: Inputs,
    parameters: Tensor,
    flat: Option<&FlatBuffers>,
) -> Vec<(crate::kernels::BufferId, crate::kernels::BufferId)> {
    let Some((rule, flat)) = options.rule.zip(flat) else { return Vec::new() };
    let Trainable { factors, gradients, state, average, parameters_next } = flat.trainable;
    let state = state.zip(flat.state_next);
    let buffers = optimizer::Buffers {
        header: inputs.header,
        factors,
        gradient: gradients,
        scale: options.clip_norm.map(|largest| plan_clipping(planner, gradients, largest)),
        zero_is_negative: convnetjs_exact,
        w: flat.learned[0],
        w_out: flat.learned[1],
        state,
    };
    planner.emit(Stage::Update, None, "update", optimizer::update(rule, buffers));
    let mut swaps = vec![(parameters.id, parameters_next.id)];
    swaps.extend(state.map(|(before, after)| (before.id, after.id)));
    if let Some((decay, (before, after))) = options.ema.zip(average.zip(flat.average_next)) {
        let op = ema::average(decay, inputs.header, before, parameters_next, after);
        planner.emit(Stage::Update, None, "average", op);
        swaps.push((before.id, after.id));
    }
    swaps
}
