//! The operations of every layer: batch, forward and loss, backward.
//!
//! A max-pooling computes a ReLU before it, forward and backward. On hardware, a convolution computes a ReLU after it, or
//! that and a max-pooling, and backward also the ReLU before it. Activations and gradients that are thereby skipped are
//! computed in a separate stage, for inspection.

use super::lower::{DeviceClass, Options};
use super::planner::Planner;
use super::sums::Sums;
use super::{Inputs, NodeTensors, Outputs, ParameterTensors, Stage};
use crate::kernels::augmentation::Limits;
use crate::kernels::batch::CHUNKS;
use crate::kernels::conv_fused::Gradient;
use crate::kernels::erasing;
use crate::kernels::{
    Op, Tensor, activation, avg_pool, batch, batch_norm, conv, conv_fused, dropout, elementwise, fc, loss, lrn, maxout,
    pool, softmax,
};
use crate::net::{Activation, Augmentation, Layer, Network, Node, Shape, Targets};

/// The state from which operations are made.
pub(super) struct Lowering<'a> {
    pub planner: Planner,
    pub network: &'a Network,
    pub options: &'a Options,
    pub inputs: Inputs,
    pub nodes: Vec<NodeTensors>,
    pub outputs: Outputs,
    /// The numbers that classes stand for, if the network learns numbers.
    pub numbers: Option<Tensor>,
    /// Forward results that the backward pass needs, by node: winners of max-pooling and maxout, LRN's sums, the
    /// statistics of batch normalisation.
    pub kept: Vec<(usize, Tensor)>,
    /// If several nodes read one, what each contributes to its gradient: (the one, the reader), the contribution.
    pub contributions: Vec<((usize, usize), Tensor)>,
    /// The partial sums of weight gradients, if one operation adds those of all layers.
    pub sums: Option<Sums>,
    /// The operations of [`Stage::Unfused`]: node, name, operation.
    pub unfused: Vec<(usize, String, Op)>,
}

impl Lowering<'_> {
    fn shape(&self, shape: Shape) -> [usize; 4] {
        [self.options.batch, shape.height, shape.width, shape.channels]
    }

    pub fn batch(&mut self, chunks: [Tensor; CHUNKS], examples_per_chunk: usize) {
        let shape = self.shape(self.network.nodes[0].output);
        let source = [self.options.source.height, self.options.source.width];
        let Inputs { header, indices, labels, .. } = self.inputs;
        let x = self.nodes[0].activation;
        let limits = limits(&self.network.augmentation);
        let op = batch::gather(shape, source, examples_per_chunk, header, indices, labels, chunks, x, limits);
        self.planner.emit(Stage::Batch, Some(0), "input.gather", op);
    }

    /// The convolution that computes a layer with weights.
    fn conv_params(&self, node: &Node) -> conv::Params {
        conv_params(node, self.options).expect("asked of convolutions, and of fully connected layers on hardware")
    }

    fn on_hardware(&self) -> bool {
        self.options.class == DeviceClass::Hardware
    }

    fn fc_params(&self, node: &Node) -> fc::Params {
        fc::Params::new(self.options.batch, node.input.len(), node.output.len())
    }

    fn dropout(&self, node: &Node, rate: f32, i: usize) -> dropout::Params {
        let params = dropout::Params::new([self.options.batch, node.output.len()], rate, i);
        if self.network.training.is_exact() { params.as_convnetjs(rate) } else { params }
    }

    fn is_relu(&self, i: usize) -> bool {
        self.network.nodes.get(i).is_some_and(|node| node.layer == Layer::Activation(Activation::Relu))
    }

    /// Whether node `i` is a ReLU that the max-pooling after it computes.
    fn is_fused(&self, i: usize) -> bool {
        let next = self.network.nodes.get(i + 1).map(|node| &node.layer);
        self.options.fuse
            && self.is_relu(i)
            && matches!(next, Some(Layer::MaxPool { .. }))
            && self.network.readers(i) == [i + 1]
            && self.pooled_by(self.network.nodes[i].from) != Some(i + 1)
    }

    /// The ReLU after the convolution of node `i`, if the convolution can compute it.
    fn relu_after(&self, i: usize) -> Option<usize> {
        let p = conv_params(&self.network.nodes[i], self.options)?;
        let fuses = self.options.fuse && self.on_hardware() && p.groups == 1;
        (fuses && self.is_relu(i + 1) && self.network.readers(i) == [i + 1]).then_some(i + 1)
    }

    /// The ReLU that the convolution of node `i` computes.
    fn rectified_by(&self, i: usize) -> Option<usize> {
        self.relu_after(i).filter(|relu| !self.is_fused(*relu))
    }

    /// The max-pooling that the convolution of node `i` computes, with the ReLU between them.
    fn pooled_by(&self, i: usize) -> Option<usize> {
        let relu = self.relu_after(i)?;
        let Layer::MaxPool { size, stride, pad } = self.network.nodes.get(relu + 1)?.layer else { return None };
        let p = self.conv_params(&self.network.nodes[i]);
        // The gradient of the input data is for inspection only, and can be computed separately.
        let backward = p.can_rectify() || self.network.nodes[i].from == 0;
        let fits = stride == size && pad == [0, 0] && p.can_pool(size) && backward;
        (fits && self.network.readers(relu) == [relu + 1]).then_some(relu + 1)
    }

    /// The ReLU before the convolution of node `i` to whose input its backward pass goes directly.
    fn rectifier_of(&self, i: usize) -> Option<usize> {
        let p = conv_params(&self.network.nodes[i], self.options)?;
        let relu = self.network.nodes[i].from;
        let fuses = self.options.fuse && self.on_hardware() && p.can_rectify();
        (fuses && self.is_relu(relu) && self.network.readers(relu) == [i]).then_some(relu)
    }

    /// Pairs of a node and the node whose operations compute it.
    pub fn fused(&self) -> Vec<(usize, usize)> {
        let pairs = |i: usize| {
            let pool = self.is_fused(i).then_some((i, i + 1));
            let relu = self.rectified_by(i).map(|relu| (relu, i));
            pool.into_iter().chain(relu).chain(self.pooled_by(i).map(|pool| (pool, i)))
        };
        (0..self.network.nodes.len()).flat_map(pairs).collect()
    }

    fn lrn_params(&self, node: &Node) -> lrn::Params {
        let Layer::Lrn { size, k, alpha, beta } = node.layer else { unreachable!("asked of LRN only") };
        lrn::Params::new(self.options.batch * node.input.len(), node.input.channels, size, [k, alpha, beta])
    }

    /// The forward result of node `i` that the backward pass needs.
    fn kept(&self, i: usize) -> Tensor {
        self.kept.iter().find(|(at, _)| *at == i).expect("the forward pass made it").1
    }

    fn avg_pool_params(&self, node: &Node) -> pool::Params {
        let input = self.shape(node.input);
        match node.layer {
            Layer::AvgPool { size, stride, pad } => pool::Params::new(input, size, stride, pad),
            Layer::GlobalAvgPool => pool::Params::new(input, [input[1], input[2]], [1, 1], [0, 0]),
            _ => unreachable!("asked of average poolings only"),
        }
    }

    /// The shape of a max-pooling without a ReLU.
    fn pool_shape(&self, i: usize) -> pool::Params {
        let node = &self.network.nodes[i];
        let Layer::MaxPool { size, stride, pad } = node.layer else { unreachable!("asked of max-poolings only") };
        pool::Params::new(self.shape(node.input), size, stride, pad)
    }

    /// The node that a max-pooling reads, and its shape.
    fn pool_params(&self, i: usize) -> (usize, pool::Params) {
        let (from, p) = (self.network.nodes[i].from, self.pool_shape(i));
        if self.is_fused(from) { (self.network.nodes[from].from, p.with_relu()) } else { (from, p) }
    }

    /// The convolution that computes the max-pooling of node `i`.
    fn pooling_conv(&self, i: usize) -> Option<usize> {
        let relu = self.network.nodes[i].from;
        let conv = self.network.nodes[relu].from;
        (relu > 0 && self.pooled_by(conv) == Some(i)).then_some(conv)
    }

    fn winner(&mut self, i: usize) -> Tensor {
        let name = format!("{}.winner", self.network.nodes[i].name);
        let winner = self.planner.words(name, self.nodes[i].activation.len);
        self.kept.push((i, winner));
        winner
    }

    pub fn forward(&mut self) {
        for i in 1..self.network.nodes.len() {
            let node = &self.network.nodes[i];
            let (x, y) = (self.nodes[node.from].activation, self.nodes[i].activation);
            let op = match &node.layer {
                Layer::Input { .. } => unreachable!("only the first node is an input"),
                Layer::Conv { .. } => self.conv_forward(i, x, y),
                Layer::Fc { .. } if self.on_hardware() => self.conv_forward(i, x, y),
                Layer::Fc { .. } => {
                    let t = self.parameters(i);
                    fc::forward(self.fc_params(node), x, t.weight, t.bias, y)
                }
                Layer::Activation(function) => activation::forward(*function, x, y),
                Layer::MaxPool { .. } if self.pooling_conv(i).is_some() => continue,
                Layer::MaxPool { .. } => {
                    let (from, p) = self.pool_params(i);
                    let winner = self.winner(i);
                    pool::forward(p, self.nodes[from].activation, y, winner)
                }
                Layer::Maxout { group } => {
                    let winner = self.planner.words(format!("{}.winner", node.name), y.len);
                    self.kept.push((i, winner));
                    maxout::forward(maxout::Params::new(x.len, *group), x, y, winner)
                }
                Layer::Lrn { .. } => {
                    let sums = self.planner.real(format!("{}.sums", node.name), y.len);
                    self.kept.push((i, sums));
                    lrn::forward(self.lrn_params(node), x, y, sums)
                }
                Layer::BatchNorm { .. } => self.batch_norm_forward(i, x, y),
                Layer::Residual { .. } => {
                    let added = node.added.expect("checked with the network");
                    elementwise::add(x, self.nodes[added].activation, y)
                }
                Layer::AvgPool { .. } | Layer::GlobalAvgPool => avg_pool::forward(self.avg_pool_params(node), x, y),
                Layer::Dropout { rate } => dropout::apply(self.dropout(node, *rate, i), self.inputs.header, x, y),
                Layer::Softmax { .. } if self.sums_with_loss() => return self.softmax_step(i),
                Layer::Softmax { .. } | Layer::Hinge | Layer::Mse { .. } => self.loss(i, self.gradient(i - 1)),
            };
            let skipped = self.is_fused(i) || (self.is_relu(i) && self.rectified_by(node.from) == Some(i));
            if skipped {
                self.emit_unfused(i, "forward", op);
            } else {
                self.planner.emit(Stage::Forward, Some(i), format!("{}.forward", node.name), op);
            }
        }
        let Outputs { loss, correct, losses, predictions } = self.outputs;
        let op = softmax::summary([self.inputs.header, self.inputs.labels, losses, predictions], loss, correct);
        self.planner.emit(Stage::Forward, Some(self.nodes.len() - 1), "loss", op);
    }

    /// Whether the loss and its sum over the batch are one operation.
    fn sums_with_loss(&self) -> bool {
        let training = self.options.rule.is_some() && self.options.fuse && self.on_hardware();
        training && softmax::fits_step([self.options.batch, self.network.classes()])
    }

    /// The loss with its sum over the batch. Probabilities, which only statistics read, are a separate operation.
    fn softmax_step(&mut self, i: usize) {
        let Layer::Softmax { label_smoothing } = self.network.nodes[i].layer else { unreachable!("asked of softmax") };
        let (size, logits) = ([self.options.batch, self.network.classes()], self.nodes[i - 1].activation);
        let (Outputs { loss, correct, losses, predictions }, Inputs { header, labels, .. }) =
            (self.outputs, self.inputs);
        let out = softmax::StepOutputs { dlogits: self.gradient(i - 1), losses, predictions, loss, correct };
        let op = softmax::step(size, label_smoothing, header, labels, logits, out);
        self.planner.emit(Stage::Forward, Some(i), format!("{}.forward", self.network.nodes[i].name), op);
        self.emit_unfused(i, "probabilities", softmax::probabilities(size, logits, self.nodes[i].activation));
    }

    /// The forward pass of a convolution with what it computes besides; then its own outputs are a separate operation.
    fn conv_forward(&mut self, i: usize, x: Tensor, y: Tensor) -> Op {
        let (p, ParameterTensors { weight, bias, .. }) = (self.conv_params(&self.network.nodes[i]), self.parameters(i));
        let own = conv::forward(p, x, weight, bias, y);
        let op = if let Some(pool) = self.pooled_by(i) {
            let Layer::MaxPool { size, .. } = self.network.nodes[pool].layer else { unreachable!("a max-pooling") };
            let outputs = [self.nodes[pool].activation, self.winner(pool)];
            conv_fused::forward_pool(p.with_pooling(size), x, weight, bias, outputs)
        } else if let Some(relu) = self.rectified_by(i) {
            conv_fused::forward_relu(p, x, weight, bias, self.nodes[relu].activation)
        } else {
            return own;
        };
        self.emit_unfused(i, "activation", own);
        op
    }

    fn batch_norm_params(&self, node: &Node) -> batch_norm::Params {
        let Layer::BatchNorm { epsilon, momentum } = node.layer else { unreachable!("asked of batch-norm only") };
        let Shape { height, width, channels } = node.input;
        batch_norm::Params::new([self.options.batch, height * width, channels], epsilon, momentum)
    }

    /// The last operation of its forward pass, after those that compute mean and variance.
    fn batch_norm_forward(&mut self, i: usize, x: Tensor, y: Tensor) -> Op {
        let node = &self.network.nodes[i];
        let (p, t, header) = (self.batch_norm_params(node), self.parameters(i), self.inputs.header);
        let running = t.running.expect("planned for every batch-norm");
        let partial = self.planner.real(format!("{}.moments", node.name), p.partial_len());
        let statistics = self.planner.real(format!("{}.statistics", node.name), p.statistics_len());
        self.kept.push((i, statistics));
        let operations = [
            ("moments", batch_norm::moments(p, header, x, partial)),
            ("finish", batch_norm::finish(p, header, partial, running, statistics)),
        ];
        for (what, op) in operations {
            self.planner.emit(Stage::Forward, Some(i), format!("{}.{what}", node.name), op);
        }
        batch_norm::forward(p, x, statistics, [t.weight, t.bias], y)
    }

    fn batch_norm_backward(&mut self, i: usize, x: Tensor, dy: Tensor, dx: Option<Tensor>) {
        let node = &self.network.nodes[i];
        let (p, t, header) = (self.batch_norm_params(node), self.parameters(i), self.inputs.header);
        let [dweight, dbias] = match &self.sums {
            Some(sums) => sums.separate(i),
            None => t.weight_gradient.zip(t.bias_gradient).expect("planned with backward").into(),
        };
        let statistics = self.kept(i);
        let partial = self.planner.real(format!("{}.sums", node.name), p.partial_len());
        self.emit(i, "sums", batch_norm::sums(p, header, x, dy, statistics, partial));
        self.emit(i, "backward_weight", batch_norm::backward_weight(p, partial, dweight, dbias));
        if let Some(dx) = dx {
            let op = batch_norm::backward_input(p, header, x, dy, statistics, t.weight, [dweight, dbias], dx);
            self.emit(i, "backward_input", op);
        }
    }

    /// The update of the running statistics in a training step.
    pub fn running_statistics(&mut self) {
        for (i, node) in self.network.nodes.iter().enumerate() {
            let Some((before, after)) = self.nodes[i].parameters.and_then(|t| t.running.zip(t.running_next)) else {
                continue;
            };
            let op = batch_norm::running(self.batch_norm_params(node), self.inputs.header, before, self.kept(i), after);
            self.planner.emit(Stage::Update, Some(i), format!("{}.running", node.name), op);
        }
    }

    /// The last node's operation: the loss of its input, whose gradient is written to `dscores`.
    fn loss(&self, i: usize, dscores: Tensor) -> Op {
        let (node, x, y) = (&self.network.nodes[i], self.nodes[i - 1].activation, self.nodes[i].activation);
        let (Outputs { losses, predictions, .. }, Inputs { header, labels, .. }) = (self.outputs, self.inputs);
        let out = softmax::Outputs { y, dx: dscores, losses, predictions };
        let size = [self.options.batch, node.output.len()];
        match node.layer {
            Layer::Softmax { label_smoothing } => softmax::forward(size, label_smoothing, header, labels, x, out),
            Layer::Hinge => loss::hinge(size, header, labels, x, out),
            Layer::Mse { targets: Targets::OneHot } => loss::mse(size, header, labels, x, out),
            Layer::Mse { targets: Targets::Number } => {
                loss::number(header, labels, x, self.numbers.expect("planned for a network that learns numbers"), out)
            }
            _ => unreachable!("asked of losses only"),
        }
    }

    fn parameters(&self, i: usize) -> ParameterTensors {
        self.nodes[i].parameters.expect("conv, batch-norm and fc nodes have parameters")
    }

    fn gradient(&self, i: usize) -> Tensor {
        self.nodes[i].activation_gradient.expect("planned for every node that the backward pass reaches")
    }

    fn emit(&mut self, node: usize, what: &str, op: Op) {
        let name = format!("{}.{what}", self.network.nodes[node].name);
        self.planner.emit(Stage::Backward, Some(node), name, op);
    }

    fn emit_unfused(&mut self, node: usize, what: &str, op: Op) {
        let name = format!("{}.{what}", self.network.nodes[node].name);
        self.unfused.push((node, name, op));
    }

    /// From the logits back to the first layer; node i's gradient is computed from node i+1's.
    pub fn backward(&mut self) {
        let last = self.nodes.len() - 1;
        if self.options.inspect {
            let size = [self.options.batch, self.network.nodes[last].output.len()];
            let (Inputs { header, labels, .. }, probabilities) = (self.inputs, self.nodes[last].activation);
            let gradient = self.gradient(last);
            let op = match self.network.nodes[last].layer {
                Layer::Softmax { .. } => softmax::gradient(size, header, labels, probabilities, gradient),
                // The loss is computed from the scores: the same operation again, with another place for the gradient.
                _ => self.loss(last, gradient),
            };
            self.emit(last, "backward", op);
        }
        for i in (1..last).rev() {
            let node = &self.network.nodes[i];
            self.sum_gradients(i);
            // The gradient of a sum is that of both its terms, which share its memory or use it as their contribution.
            if matches!(node.layer, Layer::Residual { .. }) {
                continue;
            }
            let (x, dy) = (self.nodes[node.from].activation, self.gradient(i));
            let dx = self.contribution(node.from, i);
            match &node.layer {
                Layer::Input { .. }
                | Layer::Residual { .. }
                | Layer::Softmax { .. }
                | Layer::Hinge
                | Layer::Mse { .. } => {
                    unreachable!("the first and the last node, and what was passed over")
                }
                Layer::Conv { .. } => self.conv_backward(i, x, dy, dx),
                Layer::Fc { .. } if self.on_hardware() => self.conv_backward(i, x, dy, dx),
                Layer::Fc { .. } => {
                    let (p, t) = (self.fc_params(node), self.parameters(i));
                    let (dweight, dbias) = t.weight_gradient.zip(t.bias_gradient).expect("planned with backward");
                    self.emit(i, "backward_weight", fc::backward_weight(p, x, dy, dweight, dbias));
                    if let Some(dx) = dx {
                        self.emit(i, "backward_input", fc::backward_input(p, dy, t.weight, dx));
                    }
                }
                Layer::Activation(function) => {
                    // If the pooling computes the ReLU, or the convolution after it, that gives this gradient.
                    let reader = self.network.readers(i)[0];
                    let skipped =
                        self.is_fused(i) || self.pooled_by(node.from).is_some() || self.rectifier_of(reader) == Some(i);
                    if let Some(dx) = dx.filter(|_| !skipped) {
                        let op = activation::backward(*function, x, self.nodes[i].activation, dy, dx);
                        self.emit(i, "backward", op);
                    }
                }
                Layer::Maxout { group } => {
                    if let Some(dx) = dx {
                        let p = maxout::Params::new(dx.len, *group);
                        self.emit(i, "backward", maxout::backward(p, dy, self.kept(i), dx));
                    }
                }
                Layer::Lrn { .. } => {
                    if let Some(dx) = dx {
                        let op = lrn::backward(self.lrn_params(node), x, self.kept(i), dy, dx);
                        self.emit(i, "backward", op);
                    }
                }
                Layer::BatchNorm { .. } => self.batch_norm_backward(i, x, dy, dx),
                Layer::AvgPool { .. } | Layer::GlobalAvgPool => {
                    let p = self.avg_pool_params(node);
                    if let Some(dx) = dx {
                        self.emit(i, "backward", avg_pool::backward(p, dy, dx));
                    }
                }
                Layer::Dropout { rate } => {
                    let p = self.dropout(node, *rate, i);
                    if let Some(dx) = dx {
                        self.emit(i, "backward", dropout::apply(p, self.inputs.header, dy, dx));
                    }
                }
                Layer::MaxPool { .. } if self.pooling_conv(i).is_some() => {
                    let (p, winner, relu) = (self.pool_shape(i), self.kept(i), node.from);
                    if let Some(dx) = dx {
                        self.emit_unfused(relu, "activation_gradient", pool::backward(p, dy, winner, dx));
                    }
                    let conv = self.network.nodes[relu].from;
                    if let Some(dx) = self.contribution(conv, relu) {
                        self.emit_unfused(conv, "activation_gradient", pool::backward(p.with_relu(), dy, winner, dx));
                    }
                }
                Layer::MaxPool { .. } => {
                    let (from, p) = self.pool_params(i);
                    let winner = self.kept(i);
                    let relu = self.is_fused(node.from).then_some(node.from);
                    if let Some(dx) = if let Some(relu) = relu { self.contribution(from, relu) } else { dx } {
                        self.emit(i, "backward", pool::backward(p, dy, winner, dx));
                    }
                    if let Some((relu, dx)) = relu.zip(dx) {
                        let p = pool::Params { relu: 0, ..p };
                        self.emit_unfused(relu, "activation_gradient", pool::backward(p, dy, winner, dx));
                    }
                }
            }
        }
        self.sum_gradients(0);
        if let Some(op) = self.sums.as_ref().map(Sums::operation) {
            self.planner.emit(Stage::Backward, None, "sum_splits", op);
        }
    }

    /// The buffer for what node `reader` contributes to the gradient of node `i`, which it reads; `None` if it is
    /// not needed.
    fn contribution(&mut self, i: usize, reader: usize) -> Option<Tensor> {
        let whole = self.nodes[i].activation_gradient?;
        if self.network.readers(i).len() == 1 {
            return Some(whole);
        }
        if let Some((_, contribution)) = self.contributions.iter().find(|(place, _)| *place == (i, reader)) {
            return Some(*contribution);
        }
        let contribution = self.planner.real(format!("{}.contribution", self.network.nodes[reader].name), whole.len);
        self.contributions.push(((i, reader), contribution));
        Some(contribution)
    }

    /// Computes the gradient of a node that several others read.
    fn sum_gradients(&mut self, i: usize) {
        let readers = self.network.readers(i);
        let Some(whole) = self.nodes[i].activation_gradient.filter(|_| readers.len() > 1) else { return };
        // A block has no operation for its contribution; the block's own gradient serves.
        let contributions: Vec<Tensor> = readers.iter().map(|reader| self.contribution_of(i, *reader)).collect();
        let mut sum = contributions[0];
        for (count, contribution) in contributions.iter().enumerate().skip(1) {
            let last = count + 1 == contributions.len();
            let name = format!("{}.activation_gradient.{count}", self.network.nodes[i].name);
            let target = if last { whole } else { self.planner.real(name, whole.len) };
            self.emit(i, "sum_gradients", elementwise::add(sum, *contribution, target));
            sum = target;
        }
    }

    fn contribution_of(&self, i: usize, reader: usize) -> Tensor {
        let contribution = self.contributions.iter().find(|(of, _)| *of == (i, reader));
        contribution.map_or_else(|| self.gradient(reader), |(_, contribution)| *contribution)
    }

    fn conv_backward(&mut self, i: usize, x: Tensor, dy: Tensor, dx: Option<Tensor>) {
        let node = &self.network.nodes[i];
        let (p, t) = (self.conv_params(node), self.parameters(i));
        let pool = self.pooled_by(i).map(|pool| (pool, &self.network.nodes[pool].layer));
        let (p, dy) = match pool {
            Some((pool, Layer::MaxPool { size, .. })) => {
                (p.with_pooling(*size), Gradient::Pooled(self.gradient(pool), self.kept(pool)))
            }
            _ => (p, Gradient::Outputs(dy)),
        };
        if let Some(partial) = self.sums.as_ref().map(|sums| sums.joint(i)) {
            self.emit(i, "backward_weight", conv_fused::backward_weight(p, x, dy, partial));
        } else {
            let (dweight, dbias) = t.weight_gradient.zip(t.bias_gradient).expect("planned with backward");
            let name = format!("{}.weight_gradient.partial", self.network.nodes[i].name);
            let partial = self.planner.real(name, p.partial_len());
            self.emit(i, "backward_weight", conv_fused::backward_weight(p, x, dy, partial));
            self.emit(i, "backward_weight.sum", conv::sum_splits(p, partial, dweight, dbias));
        }
        let Some(dx) = dx else { return };
        if pool.is_some() && !p.can_rectify() {
            let own = conv::backward_input(self.conv_params(node), self.gradient(i), t.weight, dx);
            return self.emit_unfused(i, "backward_input", own);
        }
        let whole = conv_fused::backward_input(p, dy, t.weight, None, dx);
        let Some(relu) = self.rectifier_of(i) else { return self.emit(i, "backward_input", whole) };
        if let Some(before) = self.contribution(self.network.nodes[relu].from, relu) {
            let op = conv_fused::backward_input(p, dy, t.weight, Some(x), before);
            self.emit(i, "backward_input", op);
        }
        self.emit_unfused(relu, "activation_gradient", whole);
    }
}

/// The convolution that computes a layer, if one does: a fully connected layer on hardware is one of a single pixel.
pub(super) fn conv_params(node: &Node, options: &Options) -> Option<conv::Params> {
    let p = match node.layer {
        Layer::Conv { filters, kernel, stride, pad, dilation, groups } => {
            let Shape { height, width, channels } = node.input;
            conv::Params::new([options.batch, height, width, channels], filters, kernel, stride, pad)
                .with(dilation, groups)
        }
        Layer::Fc { .. } if options.class == DeviceClass::Hardware => {
            let input = [options.batch, 1, 1, node.input.len()];
            conv::Params::new(input, node.output.len(), [1, 1], [1, 1], [0, 0])
        }
        _ => return None,
    };
    Some(if options.class == DeviceClass::Hardware { p.for_hardware() } else { p })
}

const _: () =
    assert!(Augmentation::MAX_ERASED == erasing::MAX_PIXELS, "a description is refused where the kernel would be");

/// The form that the kernel needs.
fn limits(augmentation: &Augmentation) -> Limits {
    let Augmentation { rotation, scale, shear, shift, elastic, pad, erase, flip } = *augmentation;
    let [rotation, shear] = [rotation, shear].map(|degrees| degrees.to_radians() as f32);
    let [scale, shift, elastic] = [scale, shift, elastic].map(|value| value as f32);
    let (pad, erase) = (pad as u32, (erase * f64::from(Limits::ALL)).round() as u32);
    Limits { rotation, scale, shear, shift, elastic, pad, erase, flip: flip.mask() }
}
