//! Exported ONNX files: their contents, and, if `GLASSNET_PYTHON` names a Python with onnx, onnxruntime and
//! safetensors, that ONNX Runtime computes Glassnet's numbers from them.

mod common;

use common::command::{assert_fails_with, glassnet};
use common::exchange::{Ours, golden, model, networks, run_script};
use common::rig::network;
use glassnet::formats::{Model, layout, onnx, onnx::proto, save_model};
use glassnet::net::Network;
use prost::Message;
use serde_json::{Value, json};

const SMALL: &str = r#"
name = "small"
layers = [
    { type = "input", height = 3, width = 4, channels = 2 },
    { type = "conv", filters = 3, kernel = 2, activation = "relu" },
    { type = "fc", outputs = 2 },
    { type = "softmax" },
]
"#;

fn decoded(model: &Model) -> proto::Model {
    let bytes = onnx::to_bytes(model).expect("it can be said");
    proto::Model::decode(&bytes[..]).expect("protocol buffers")
}

fn graph(model: &Model) -> proto::Graph {
    decoded(model).graph.expect("a graph")
}

/// An operator as a line: `conv1: Conv(input, conv1.weight, conv1.bias) -> conv1`.
fn lines(graph: &proto::Graph) -> Vec<String> {
    let line = |node: &proto::Node| {
        format!("{}: {}({}) -> {}", node.name, node.op_type, node.input.join(", "), node.output.join(", "))
    };
    graph.node.iter().map(line).collect()
}

fn shape(value: &proto::ValueInfo) -> Vec<String> {
    let tensor = value.kind.clone().and_then(|kind| kind.tensor_type).expect("a tensor");
    assert_eq!(tensor.elem_type(), proto::DataType::Float);
    let dims = tensor.shape.expect("a shape").dim;
    let word = |dim: proto::Dimension| match (dim.dim_param, dim.dim_value) {
        (Some(name), None) => name,
        (None, Some(size)) => size.to_string(),
        other => panic!("a dimension of {other:?}"),
    };
    dims.into_iter().map(word).collect()
}

/// Dimensions and values of an initialiser.
fn constant(graph: &proto::Graph, name: &str) -> (Vec<i64>, Vec<f32>) {
    let found: Vec<_> = graph.initializer.iter().filter(|tensor| tensor.name == name).collect();
    let [tensor] = found[..] else { panic!("{} initialisers are called {name}", found.len()) };
    assert_eq!(tensor.data_type(), proto::DataType::Float);
    (tensor.dims.clone(), tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn ints(graph: &proto::Graph, node: &str, attribute: &str) -> Vec<i64> {
    let node = graph.node.iter().find(|n| n.name == node).expect("the node");
    let attribute = node.attribute.iter().find(|a| a.name == attribute).expect("the attribute");
    match attribute.kind() {
        proto::AttributeKind::Int => vec![attribute.i.expect("a number")],
        proto::AttributeKind::Ints => attribute.ints.clone(),
        other => panic!("an attribute of {other:?}"),
    }
}

#[test]
fn a_file_says_its_versions_input_and_outputs() {
    let mut model = model(Network::preset("convnetjs-mnist").expect("a preset"));
    model.extra = json!({ "dataset": "fashion-mnist" });
    let file = decoded(&model);
    assert_eq!((file.ir_version, &file.producer_name[..]), (8, "glassnet"));
    assert_eq!(file.opset_import, [proto::OperatorSetId { domain: String::new(), version: 17 }]);
    let graph = file.graph.expect("a graph");
    assert_eq!(graph.name, "convnetjs-mnist");
    let [input] = &graph.input[..] else { panic!("{} inputs", graph.input.len()) };
    assert_eq!((&input.name[..], shape(input)), ("input", ["N", "1", "24", "24"].map(String::from).to_vec()));
    let words = "float32 [N,C,H,W]: x/255 - 0.5 of each byte x of an image, of the 24x24 pixels in the middle";
    assert_eq!(input.doc_string, words);
    let outputs: Vec<_> = graph.output.iter().map(|value| (&value.name[..], shape(value))).collect();
    let ten = vec!["N".to_string(), "10".to_string()];
    assert_eq!(outputs, [("logits", ten.clone()), ("probabilities", ten)]);
    let properties: Vec<_> = file.metadata_props.iter().map(|entry| (&entry.key[..], &entry.value[..])).collect();
    let [("producer", producer), ("input", doc), ("dataset", "fashion-mnist"), ("classes", classes)] = properties[..]
    else {
        panic!("{properties:?}")
    };
    assert_eq!((producer, doc), (&*format!("glassnet {}", env!("CARGO_PKG_VERSION")), words));
    let classes: Vec<String> = serde_json::from_str(classes).expect("a JSON array");
    assert_eq!((classes.len(), &classes[9][..]), (10, "Ankle boot"));
}

#[test]
fn a_network_without_a_softmax_has_no_probabilities() {
    for loss in ["hinge", "mse"] {
        let graph = graph(&model(network(&SMALL.replace("softmax", loss))));
        let names: Vec<_> = graph.output.iter().map(|value| &value.name[..]).collect();
        assert_eq!(names, ["logits"]);
        assert_eq!(graph.node.last().expect("a node").output, ["logits"]);
    }
    let number = "layers = [{type = 'input', height = 2, width = 2, channels = 1}, {type = 'fc', outputs = 1}, \
                  {type = 'mse', targets = 'number'}]";
    let output = graph(&model(network(number))).output[0].clone();
    let dims = output.kind.and_then(|kind| kind.tensor_type).and_then(|tensor| tensor.shape).expect("a shape").dim;
    assert_eq!(dims.iter().map(|size| size.dim_value).collect::<Vec<_>>(), [None, Some(1)]);
}

#[test]
fn class_names_need_a_known_data_set_with_as_many() {
    let mut model = model(network(SMALL));
    for extra in [json!({ "dataset": "mnist" }), json!({ "dataset": "other" }), json!({ "dataset": 1 }), Value::Null] {
        model.extra = extra;
        assert!(decoded(&model).metadata_props.iter().all(|entry| entry.key != "classes"));
    }
}

#[test]
fn dropout_is_left_out_or_multiplies_by_its_rate_as_convnetjss_does() {
    let layers = "layers = [{type = 'input', height = 2, width = 2, channels = 1}, {type = 'fc', outputs = 3}, \
                  {type = 'dropout', rate = 0.25}, {type = 'fc', outputs = 2}, {type = 'softmax'}]";
    let exported = |text: &str| lines(&graph(&model(network(text))));
    assert!(exported(layers).iter().all(|line| !line.contains("dropout")));
    let exact = exported(&format!("{layers}\n[training]\nconvnetjs_exact = true\n"));
    assert!(exact.contains(&"dropout1: Mul(fc1, dropout1.rate) -> dropout1".to_string()), "{exact:?}");
}

#[test]
fn every_layer_becomes_its_operators() {
    let graph = graph(&model(golden("zoo")));
    let expected = [
        "conv1: Conv(input, conv1.weight, conv1.bias) -> conv1",
        "tanh1: Tanh(conv1) -> tanh1",
        "pool1: AveragePool(tanh1) -> pool1",
        "conv2: Conv(pool1, conv2.weight, conv2.bias) -> conv2",
        "leaky1: LeakyRelu(conv2) -> leaky1",
        "lrn1.squares: Mul(leaky1, leaky1) -> lrn1.squares",
        "lrn1.rows: Reshape(lrn1.squares, lrn1.rows.shape) -> lrn1.rows",
        "lrn1.means: AveragePool(lrn1.rows) -> lrn1.means",
        "lrn1.averages: Reshape(lrn1.means, lrn1.averages.shape) -> lrn1.averages",
        "lrn1.scaled: Mul(lrn1.averages, lrn1.alpha) -> lrn1.scaled",
        "lrn1.sums: Add(lrn1.scaled, lrn1.k) -> lrn1.sums",
        "lrn1.divisors: Pow(lrn1.sums, lrn1.beta) -> lrn1.divisors",
        "lrn1: Div(leaky1, lrn1.divisors) -> lrn1",
        "maxout1.groups: Reshape(lrn1, maxout1.groups.shape) -> maxout1.groups",
        "maxout1: ReduceMax(maxout1.groups) -> maxout1",
        "pool2: GlobalAveragePool(maxout1) -> pool2",
        "fc1.flat: Flatten(pool2) -> fc1.flat",
        "fc1: Gemm(fc1.flat, fc1.weight, fc1.bias) -> fc1",
        "sigmoid1: Sigmoid(fc1) -> sigmoid1",
        "fc2: Gemm(sigmoid1, fc2.weight, fc2.bias) -> logits",
        "probabilities: Softmax(logits) -> probabilities",
    ];
    assert_eq!(lines(&graph), expected);
    assert_eq!(ints(&graph, "conv1", "kernel_shape"), [3, 2]);
    assert_eq!(ints(&graph, "conv1", "pads"), [0, 1, 0, 1]);
    assert_eq!(ints(&graph, "pool1", "strides"), [2, 1]);
    assert_eq!(ints(&graph, "pool1", "count_include_pad"), [0]);
    assert_eq!(ints(&graph, "lrn1.means", "pads"), [2, 0, 1, 0]);
    assert_eq!(ints(&graph, "fc2", "transB"), [1]);
}

#[test]
fn a_block_reads_what_entered_it() {
    let lines = lines(&graph(&model(golden("blocks"))));
    let of = |name: &str| lines.iter().find(|line| line.starts_with(&format!("{name}: "))).expect("the operator");
    assert_eq!(
        of("norm1"),
        "norm1: BatchNormalization(tanh1, norm1.weight, norm1.bias, norm1.running_mean, norm1.running_var) -> norm1"
    );
    assert_eq!(of("residual1"), "residual1: Add(conv3, norm1) -> residual1");
    assert_eq!(of("conv5"), "conv5: Conv(tanh3, conv5.weight, conv5.bias) -> conv5");
    assert_eq!(of("residual3"), "residual3: Add(norm3, norm4) -> residual3");
    // An fc made one side a vector; the other follows.
    assert_eq!(of("residual4.added"), "residual4.added: Flatten(pool1) -> residual4.added");
    assert_eq!(of("residual4"), "residual4: Add(norm5, residual4.added) -> residual4");
}

/// A reader that follows the operators in order finds everything it needs, each under one name.
#[test]
fn every_value_is_made_once_before_it_is_read() {
    for (name, network) in networks() {
        let graph = graph(&model(network));
        let mut known: Vec<&str> = graph.input.iter().map(|value| &value.name[..]).collect();
        known.extend(graph.initializer.iter().map(|tensor| &tensor.name[..]));
        for node in &graph.node {
            assert!(node.input.iter().all(|input| known.contains(&&input[..])), "{name}: {node:?}");
            known.extend(node.output.iter().map(|output| &output[..]));
        }
        assert!(graph.output.iter().all(|output| known.contains(&&output.name[..])), "{name}");
        let count = known.len();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), count, "{name}: two values share a name");
    }
}

#[test]
fn initialisers_hold_the_weights_in_pytorchs_order() {
    for name in ["convnetjs-mnist", "best-mnist", "resnet-mnist"] {
        let model = model(Network::preset(name).expect("a preset"));
        let graph = graph(&model);
        let tensors =
            model.network.parameters().iter().map(|shape| if shape.running > 0 { 4 } else { 2 }).sum::<usize>();
        assert_eq!(graph.initializer.len(), tensors);
        for (shape, values) in model.network.parameters().iter().zip(&model.parameters) {
            let node = &model.network.nodes[shape.node];
            let (dims, weight) = constant(&graph, &format!("{}.weight", node.name));
            let expected = layout::pytorch_shape(node).expect("weights");
            assert!(dims.iter().map(|size| *size as usize).eq(expected));
            assert_eq!(weight, layout::to_pytorch(node, &values.weight));
            let (dims, bias) = constant(&graph, &format!("{}.bias", node.name));
            assert_eq!((dims, bias), (vec![shape.bias as i64], values.bias.clone()));
            if shape.running > 0 {
                let [mean, variance] =
                    ["running_mean", "running_var"].map(|what| constant(&graph, &format!("{}.{what}", node.name)).1);
                assert_eq!((&mean, &variance), (&values.running_mean, &values.running_variance));
            }
        }
    }
}

/// Conv, ReLU, Gemm and softmax by ONNX's definitions, using only the file, `[N,C,H,W]` throughout.
#[test]
fn a_convolution_and_an_fc_computed_from_the_file_give_our_numbers() {
    let model = model(network(SMALL));
    let ours = Ours::of(&model, 1);
    let graph = graph(&model);
    let [kernel, kernel_bias, matrix, matrix_bias] = ["conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"]
        .map(|name| constant(&graph, name).1.into_iter().map(f64::from).collect::<Vec<f64>>());
    let mut features = Vec::new();
    for o in 0..3 {
        for (y, x) in (0..2).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let mut sum = kernel_bias[o];
            for (c, dy, dx) in (0..8).map(|i| (i / 4, i / 2 % 2, i % 2)) {
                let value = f64::from(ours.input[(c * 3 + y + dy) * 4 + x + dx]);
                sum += value * kernel[((o * 2 + c) * 2 + dy) * 2 + dx];
            }
            features.push(sum.max(0.0));
        }
    }
    let logit = |o: usize| matrix_bias[o] + (0..18).map(|i| matrix[o * 18 + i] * features[i]).sum::<f64>();
    let logits = [logit(0), logit(1)];
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let close = |got: f32, want: f64| assert!((f64::from(got) - want).abs() < 1e-6, "{got} instead of {want}");
    for (class, logit) in logits.into_iter().enumerate() {
        close(ours.logits[class], logit);
        close(ours.probabilities.as_ref().expect("a softmax")[class], logit.exp() / total);
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = model(golden("zoo"));
    assert!(onnx::to_bytes(&model).expect("bytes") == onnx::to_bytes(&model).expect("bytes"));
}

#[test]
fn weights_that_are_not_finite_are_not_written() {
    let mut model = model(network(SMALL));
    model.parameters[1].bias[1] = f32::NAN;
    let message = (onnx::ONNX.to_bytes)(&model).expect_err("a NaN").to_string();
    assert!(message.starts_with("tensor `fc1.bias` holds NaN at index 1"), "{message}");
}

#[test]
fn convert_writes_onnx_and_does_not_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut model = model(network(SMALL));
    model.extra = serde_json::json!({ "dataset": "mine", "classes": ["cat", "dog", "hen"] });
    save_model(&path("model.safetensors"), &model).expect("a write");
    let convert = |from: &str, to: &str| {
        let mut command = glassnet(&["convert"]);
        command.arg(path(from)).arg(path(to));
        command
    };
    convert("model.safetensors", "model.onnx").assert().success();
    let bytes = std::fs::read(path("model.onnx")).expect("the file");
    assert!(bytes == onnx::to_bytes(&model).expect("bytes"));
    let file = proto::Model::decode(&bytes[..]).expect("protobuf");
    let entry = |key: &str| file.metadata_props.iter().find(|e| e.key == key).map(|e| e.value.clone());
    let names = (model.network.classes() == 3).then(|| r#"["cat","dog","hen"]"#.to_string());
    assert_eq!((entry("dataset").as_deref(), entry("classes")), (Some("mine"), names));
    assert_fails_with(&mut convert("model.onnx", "back.safetensors"), &["ONNX files cannot be read"]);
    assert!(!path("back.safetensors").exists());
}

#[test]
fn onnx_runtime_gets_our_numbers() {
    run_script("check_onnx.py", "onnx", |folder| {
        for (name, network) in networks() {
            let model = model(network);
            std::fs::write(folder.join(format!("{name}.onnx")), onnx::to_bytes(&model).expect("bytes"))
                .expect("a write");
            Ours::of(&model, 3).write(&folder.join(format!("{name}.safetensors")));
        }
    });
}
