//! Models as ONNX files, for ONNX Runtime and other readers.
//!
//! Input `input` is float32 `[N,C,H,W]` with N free, each value x/255 - 0.5 of a pixel's byte x, as in training; images
//! larger than H x W must be cropped at their centre. Output `logits` is `[N,O]`: the output of the last layer before
//! the loss, which is the scores for `hinge` and `mse`, or the one number that `mse` learned. With `softmax` there is
//! also `probabilities` `[N,O]`. Every other value has its layer's name. Weights are in PyTorch's order, which is
//! ONNX's, and have the same names as in Glassnet's own files.
//!
//! ONNX can express every layer. `dropout` does nothing outside training and is left out, except ConvNetJS's, which is
//! a product. ONNX files cannot be read, because ONNX can express far more than Glassnet's layers.

pub mod proto;

use super::Format;
use super::model::{Model, bias_name, named_tensors, running_names, weight_name};
use crate::net::{Activation, Layer, Network, Node, Shape};
use crate::{Error, Result};
use prost::Message;
use proto::{Attribute, AttributeKind, DataType, Dimension};

/// The version of the operators: that of 2022, supported since ONNX Runtime 1.12.
pub const OPSET: i64 = 17;

/// The version of the container that was released with [`OPSET`].
pub const IR_VERSION: i64 = 8;

/// ONNX files, which can only be written.
pub static ONNX: Format = Format {
    extension: "onnx",
    media_type: "application/octet-stream",
    to_bytes,
    load: |path| {
        let path = path.display();
        Err(Error::Model(format!(
            "{path}: ONNX files cannot be read; use the model that it was made from, a .safetensors or .json file"
        )))
    },
};

const INPUT: &str = "input";
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";

/// The bytes of a model's ONNX file; the same model gives the same bytes.
///
/// # Errors
/// [`Error::Model`] with the tensor that is not finite.
///
/// # Panics
/// If the parameters are not those of the network.
pub fn to_bytes(model: &Model) -> Result<Vec<u8>> {
    let network = &model.network;
    let convnetjs_exact = model.network.training.is_exact();
    let mut builder = Builder { convnetjs_exact, ..Builder::default() };
    for (name, shape, values) in named_tensors(model)? {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        builder.initializers.push(initializer(name, &shape, DataType::Float, raw_data));
    }
    network.nodes.iter().for_each(|node| builder.layer(node));

    let Shape { height, width, channels } = network.input_shape();
    let output = |name: &str| value_info(name, &[network.classes()], "");
    let mut outputs = vec![output(LOGITS)];
    if builder.nodes.last().is_some_and(|node| node.output == [PROBABILITIES]) {
        outputs.push(output(PROBABILITIES));
    }
    let graph = proto::Graph {
        node: builder.nodes,
        // The standard requires a name, but a description's may be empty.
        name: if network.name.is_empty() { "network".to_string() } else { network.name.clone() },
        initializer: builder.initializers,
        input: vec![value_info(INPUT, &[channels, height, width], &input_doc(network))],
        output: outputs,
    };
    let version = env!("CARGO_PKG_VERSION").to_string();
    let file = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "glassnet".to_string(),
        producer_version: version,
        graph: Some(graph),
        opset_import: vec![proto::OperatorSetId { domain: String::new(), version: OPSET }],
        metadata_props: metadata(model),
    };
    Ok(file.encode_to_vec())
}

/// The metadata `producer`, `input`, and, if the model has them, `dataset` and `classes`, a JSON array of names.
fn metadata(model: &Model) -> Vec<proto::StringStringEntry> {
    let producer = format!("glassnet {}", env!("CARGO_PKG_VERSION"));
    let mut entries = vec![("producer", producer), (INPUT, input_doc(&model.network))];
    if let Some(dataset) = model.extra.get("dataset").and_then(|name| name.as_str()) {
        entries.push(("dataset", dataset.to_string()));
    }
    let classes = model.class_names();
    if !classes.is_empty() {
        entries.push(("classes", serde_json::json!(classes).to_string()));
    }
    entries.into_iter().map(|(key, value)| proto::StringStringEntry { key: key.to_string(), value }).collect()
}

/// Describes the input in words.
fn input_doc(network: &Network) -> String {
    let Shape { height, width, .. } = network.input_shape();
    let crop = if network.crop { format!(", of the {height}x{width} pixels in the middle") } else { String::new() };
    format!("float32 [N,C,H,W]: x/255 - 0.5 of each byte x of an image{crop}")
}

/// A graph that grows layer by layer, using the values of earlier layers.
#[derive(Default)]
struct Builder {
    nodes: Vec<proto::Node>,
    initializers: Vec<proto::Tensor>,
    /// The last operator's output.
    value: Value,
    /// Each layer's output.
    made: Vec<Value>,
    /// Whether dropout multiplies by its rate, as ConvNetJS's does.
    convnetjs_exact: bool,
}

/// A tensor of the graph.
#[derive(Clone, Default)]
struct Value {
    name: String,
    /// Whether it is `[N,C]`, the output of an fc, instead of `[N,C,H,W]`.
    flat: bool,
}

impl Builder {
    /// Adds the layer `node`.
    fn layer(&mut self, node: &Node) {
        let input = Value { name: INPUT.to_string(), flat: false };
        self.value = self.made.get(node.from).cloned().unwrap_or(input);
        self.operators(node);
        self.made.push(self.value.clone());
    }

    /// Adds the operators of `node`, applied to the last value.
    fn operators(&mut self, node: &Node) {
        let name = &node.name[..];
        let Shape { height, width, channels } = node.input;
        match node.layer {
            Layer::Dropout { rate } if self.convnetjs_exact => {
                let factor = format!("{name}.rate");
                let tensor = initializer(factor.clone(), &[], DataType::Float, rate.to_le_bytes().to_vec());
                self.initializers.push(tensor);
                self.push("Mul", name, &[&factor], vec![]);
            }
            Layer::Input { .. } | Layer::Dropout { .. } => {}
            Layer::Conv { filters: _, kernel, stride, pad, dilation, groups } => {
                self.map(node);
                let mut attributes = window(kernel, stride, pad);
                attributes.extend([ints("dilations", &dilation), int("group", groups)]);
                self.push("Conv", name, &[&weight_name(name), &bias_name(name)], attributes);
            }
            Layer::Activation(activation) => match activation {
                Activation::Relu => self.push("Relu", name, &[], vec![]),
                Activation::LeakyRelu { slope } => self.push("LeakyRelu", name, &[], vec![float("alpha", slope)]),
                Activation::Sigmoid => self.push("Sigmoid", name, &[], vec![]),
                Activation::Tanh => self.push("Tanh", name, &[], vec![]),
            },
            Layer::MaxPool { size, stride, pad } => {
                self.map(node);
                self.push("MaxPool", name, &[], window(size, stride, pad));
            }
            Layer::AvgPool { size, stride, pad } => {
                self.map(node);
                let mut attributes = window(size, stride, pad);
                attributes.push(int("count_include_pad", 0));
                self.push("AveragePool", name, &[], attributes);
            }
            Layer::GlobalAvgPool => {
                self.map(node);
                self.push("GlobalAveragePool", name, &[], vec![]);
            }
            Layer::Maxout { group } => {
                let mut shape = vec![0, channels / group, group];
                if !self.value.flat {
                    shape.extend([height, width]);
                }
                self.reshape(&format!("{name}.groups"), &shape);
                self.push("ReduceMax", name, &[], vec![ints("axes", &[2]), int("keepdims", 0)]);
            }
            Layer::Lrn { size, k, alpha, beta } => {
                self.map(node);
                if size % 2 == 1 {
                    let attributes =
                        vec![int("size", size), float("alpha", alpha), float("beta", beta), float("bias", k)];
                    self.push("LRN", name, &[], attributes);
                } else {
                    self.even_lrn(node, size, [k, alpha, beta]);
                }
            }
            Layer::BatchNorm { epsilon, momentum: _ } => {
                let ([mean, variance], scale, shift) = (running_names(name), weight_name(name), bias_name(name));
                let inputs = [&scale[..], &shift, &mean, &variance];
                self.push("BatchNormalization", name, &inputs, vec![float("epsilon", epsilon)]);
            }
            Layer::Residual { .. } => {
                let added = node.added.and_then(|added| self.made.get(added)).cloned().unwrap_or_default();
                let added = self.alike(name, added);
                self.push("Add", name, &[&added], vec![]);
            }
            Layer::Fc { .. } => {
                self.flatten(&format!("{name}.flat"));
                self.push("Gemm", name, &[&weight_name(name), &bias_name(name)], vec![int("transB", 1)]);
            }
            Layer::Softmax { .. } => {
                self.logits();
                self.push("Softmax", PROBABILITIES, &[], vec![int("axis", 1)]);
            }
            Layer::Hinge | Layer::Mse { .. } => self.logits(),
        }
    }

    /// Normalises over an even number of channels. Glassnet's window, like PyTorch's, has one more channel before than
    /// after; ONNX's LRN is the other way round, and ONNX Runtime refuses it. So s = k + alpha * (mean of x² over the
    /// window, zeros beyond the channels) is computed by an average pooling in which the channels are the rows; then y
    /// = x / s^beta.
    fn even_lrn(&mut self, node: &Node, size: usize, [k, alpha, beta]: [f32; 3]) {
        let (name, x) = (&node.name, self.value.name.clone());
        let Shape { height, width, channels } = node.input;
        let part = |what: &str| format!("{name}.{what}");
        self.push("Mul", &part("squares"), &[&x], vec![]);
        self.reshape(&part("rows"), &[0, 1, channels, height * width]);
        let pads = [size / 2, 0, (size - 1) / 2, 0];
        let attributes = vec![ints("kernel_shape", &[size, 1]), ints("pads", &pads), int("count_include_pad", 1)];
        self.push("AveragePool", &part("means"), &[], attributes);
        self.reshape(&part("averages"), &[0, channels, height, width]);
        for (op, what, value, constant) in
            [("Mul", "scaled", alpha, "alpha"), ("Add", "sums", k, "k"), ("Pow", "divisors", beta, "beta")]
        {
            let constant = part(constant);
            let tensor = initializer(constant.clone(), &[], DataType::Float, value.to_le_bytes().to_vec());
            self.initializers.push(tensor);
            self.push(op, &part(what), &[&constant], vec![]);
        }
        let divisors = self.value.name.clone();
        self.push_of("Div", name, vec![x, divisors], vec![]);
    }

    /// The name of `other`, after operators that give it and the last value the same shape.
    fn alike(&mut self, layer: &str, other: Value) -> String {
        if self.value.flat && !other.flat {
            let body = std::mem::replace(&mut self.value, other);
            self.flatten(&format!("{layer}.added"));
            return std::mem::replace(&mut self.value, body).name;
        }
        if other.flat {
            self.flatten(&format!("{layer}.body"));
        }
        other.name
    }

    /// Adds an operator on the last value and `more`; the operator and its output are called `name`.
    fn push(&mut self, op: &str, name: &str, more: &[&str], attributes: Vec<Attribute>) {
        let mut inputs = vec![self.value.name.clone()];
        inputs.extend(more.iter().map(|input| input.to_string()));
        self.push_of(op, name, inputs, attributes);
    }

    fn push_of(&mut self, op: &str, name: &str, input: Vec<String>, attribute: Vec<Attribute>) {
        self.value.name = name.to_string();
        let (name, op_type) = (name.to_string(), op.to_string());
        self.nodes.push(proto::Node { input, output: vec![name.clone()], name, op_type, attribute });
    }

    /// Reshapes the last value; a leading 0 keeps the batch free.
    fn reshape(&mut self, name: &str, shape: &[usize]) {
        let constant = format!("{name}.shape");
        let raw_data = shape.iter().flat_map(|size| (*size as i64).to_le_bytes()).collect();
        self.initializers.push(initializer(constant.clone(), &[shape.len()], DataType::Int64, raw_data));
        self.push("Reshape", name, &[&constant], vec![]);
    }

    /// Turns the last value into the `[N,C,H,W]` that `node` needs.
    fn map(&mut self, node: &Node) {
        if self.value.flat {
            let Shape { height, width, channels } = node.input;
            self.reshape(&format!("{}.map", node.name), &[0, channels, height, width]);
            self.value.flat = false;
        }
    }

    /// Turns the last value into `[N,C]`, with features in the order C, H, W.
    fn flatten(&mut self, name: &str) {
        if !self.value.flat {
            self.push("Flatten", name, &[], vec![int("axis", 1)]);
            self.value.flat = true;
        }
    }

    /// Names the last value `logits`, and turns it into `[N,O]`.
    fn logits(&mut self) {
        self.flatten(LOGITS);
        // The last node made it flat: an fc, a layer after one, or the line above.
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![LOGITS.to_string()];
            self.value.name = LOGITS.to_string();
        }
    }
}

fn initializer(name: String, shape: &[usize], kind: DataType, raw_data: Vec<u8>) -> proto::Tensor {
    proto::Tensor { dims: shape.iter().map(|size| *size as i64).collect(), data_type: kind.into(), name, raw_data }
}

/// Describes float32 values `[N, sizes]`.
fn value_info(name: &str, sizes: &[usize], doc: &str) -> proto::ValueInfo {
    let batch = Dimension { dim_value: None, dim_param: Some("N".to_string()) };
    let size = |size: &usize| Dimension { dim_value: Some(*size as i64), dim_param: None };
    let shape = proto::TensorShape { dim: [batch].into_iter().chain(sizes.iter().map(size)).collect() };
    let tensor = proto::TensorType { elem_type: DataType::Float.into(), shape: Some(shape) };
    let kind = proto::Type { tensor_type: Some(tensor) };
    proto::ValueInfo { name: name.to_string(), kind: Some(kind), doc_string: doc.to_string() }
}

/// The attributes of a sliding window. Positions are rounded down by default, as in Glassnet.
fn window(size: [usize; 2], stride: [usize; 2], pad: [usize; 2]) -> Vec<Attribute> {
    vec![
        ints("kernel_shape", &size),
        ints("strides", &stride),
        // Top, left, bottom, right.
        ints("pads", &[pad[0], pad[1], pad[0], pad[1]]),
    ]
}

fn attribute(name: &str, kind: AttributeKind) -> Attribute {
    Attribute { name: name.to_string(), kind: kind.into(), ..Attribute::default() }
}

fn float(name: &str, value: f32) -> Attribute {
    Attribute { f: Some(value), ..attribute(name, AttributeKind::Float) }
}

fn int(name: &str, value: usize) -> Attribute {
    Attribute { i: Some(value as i64), ..attribute(name, AttributeKind::Int) }
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    Attribute { ints: values.iter().map(|value| *value as i64).collect(), ..attribute(name, AttributeKind::Ints) }
}
