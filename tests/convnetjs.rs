//! ConvNetJS's snapshots: networks that ConvNetJS ran give the same outputs and gradients on every executor, a snapshot
//! that is read and written again stays the same, and every kind of damage has its message.
//!
//! `tests/golden/make_convnetjs.js` makes the networks. `tests/golden/check_convnetjs.js` makes ConvNetJS load
//! Glassnet's files if `GLASSNET_NODE_MODULES` is the folder that contains ConvNetJS.

mod common;

use common::command::{assert_fails_with, document, glassnet, write_data};
use common::rig::{Examples, devices, executor, network, reals, run_to, step_inputs};
use glassnet::Error;
use glassnet::formats::{CONVNETJS, Format};
use glassnet::formats::{Model, load_model, save_model};
use glassnet::kernels::batch::Header;
use glassnet::net::{Initializer, Layer, MAX_ELEMENTS, Network, PRESETS, Targets};
use glassnet::program::{Options, Stage};
use serde_json::{Value, json};

/// The largest error relative to a tensor's largest value; Glassnet computes in f32, ConvNetJS in f64.
const SHARE: f64 = 1e-5;

/// The networks of `convnetjs.json`.
fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("golden/convnetjs.json")).expect("JSON");
    file["networks"].as_array().expect("a list").clone()
}

fn case(name: &str) -> Value {
    cases().into_iter().find(|case| case["name"] == name).expect("a network of that name")
}

fn read(snapshot: &Value, name: &str) -> Model {
    Model::from_convnetjs(snapshot.to_string().as_bytes(), name).expect("a snapshot")
}

fn written(model: &Model) -> Value {
    serde_json::from_slice(&model.to_convnetjs().expect("a snapshot")).expect("JSON")
}

/// A list of numbers, or an object of them keyed by index.
fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().expect("a number");
    match value {
        Value::Object(object) => (0..object.len()).map(|i| number(&object[&i.to_string()])).collect(),
        list => list.as_array().expect("a list").iter().map(number).collect(),
    }
}

/// Compares values; written so that a NaN fails.
fn compare(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let allowed = SHARE * want.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= allowed, "{what} [{i}]: {got:e} instead of {want:e}, {allowed:.1e} allowed");
    }
}

/// ConvNetJS's lists of one filter each, in Glassnet's order: the output fastest.
fn weight_order(filters: &Value) -> Vec<f64> {
    let filters: Vec<Vec<f64>> = filters.as_array().expect("a list").iter().map(numbers).collect();
    (0..filters[0].len()).flat_map(|i| filters.iter().map(move |filter| filter[i])).collect()
}

/// For each layer with weights, the product of ConvNetJS's dropout factors before it in prediction, which Glassnet's
/// weights include.
fn dropout_factors(snapshot: &Value) -> Vec<f64> {
    let mut factor = 1.0;
    let mut factors = Vec::new();
    for layer in snapshot["layers"].as_array().expect("a list") {
        if layer["layer_type"] == "dropout" {
            factor *= layer["drop_prob"].as_f64().expect("a number");
        } else if layer["filters"].is_array() {
            factors.push(std::mem::replace(&mut factor, 1.0));
        }
    }
    factors
}

#[test]
fn outputs_and_gradients_are_those_of_convnetjs_on_every_executor() {
    for device in devices() {
        for case in cases() {
            let name = case["name"].as_str().expect("a name");
            let what = format!("{name} on {}", device.info().executor);
            let model = read(&case["snapshot"], name);
            let shape = model.network.input_shape();
            let pixels = numbers(&case["input"]).into_iter().map(|v| v as u8).collect();
            let labels = vec![case["label"].as_u64().expect("a label") as u32];
            let examples = Examples { shape: [shape.height, shape.width, shape.channels], pixels, labels };
            let options = Options::inspection(1, examples.source());
            let (lowered, mut executor) = executor(&device, &model.network, &options, &examples, &model.parameters);
            run_to(
                &mut *executor,
                &lowered,
                Stage::Unfused,
                &step_inputs(&lowered, Header::evaluation(0), &examples, &[0]),
            );

            let last = lowered.nodes.last().expect("a loss");
            compare(&what, &reals(&mut *executor, last.activation), &numbers(&case["output"]));
            let reported = case["loss"].as_f64().expect("a number");
            let loss = match model.network.nodes.last().map(|node| node.layer) {
                // ConvNetJS counts the label's own margin of 1.
                Some(Layer::Hinge) => reported - 1.0,
                // It reports 2·Σ(x-y)², and takes the gradient of ½·Σ(x-y)².
                Some(Layer::Mse { .. }) => reported / 4.0,
                _ => reported,
            };
            compare(&format!("{what}: loss"), &reals(&mut *executor, lowered.outputs.loss), &[loss]);
            let gradient = lowered.nodes[0].activation_gradient.expect("inspection plans every gradient");
            compare(&format!("{what}: input"), &reals(&mut *executor, gradient), &numbers(&case["input_gradient"]));

            let tensors = lowered.nodes.iter().filter_map(|node| node.parameters);
            let gradients = case["gradients"].as_array().expect("a list");
            assert_eq!(gradients.len(), model.parameters.len());
            let layers = tensors.zip(&model.parameters).zip(gradients).zip(dropout_factors(&case["snapshot"]));
            for (((tensors, values), theirs), factor) in layers {
                let what = format!("{what}: {}", values.layer);
                let weight: Vec<f64> = weight_order(&theirs["filters"]).iter().map(|g| g / factor).collect();
                let [own_weight, own_bias] = [tensors.weight_gradient, tensors.bias_gradient]
                    .map(|t| reals(&mut *executor, t.expect("planned")));
                compare(&format!("{what}.weight"), &own_weight, &weight);
                compare(&format!("{what}.bias"), &own_bias, &numbers(&theirs["biases"]));
            }
        }
    }
}

/// Skipped with a prominent line if `GLASSNET_NODE_MODULES` is not set.
#[test]
fn convnetjs_computes_with_what_is_written_what_it_did_before() {
    let Some(modules) = std::env::var_os("GLASSNET_NODE_MODULES") else {
        return common::skipped("set GLASSNET_NODE_MODULES to a node_modules folder with convnetjs 0.3.0");
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/check_convnetjs.js");
    let mut node = std::process::Command::new("node");
    node.args([script, env!("CARGO_BIN_EXE_glassnet")]).env("NODE_PATH", modules);
    let output = node.output().expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(": the same,").count(), cases().len());
}

/// Compares every field of a snapshot with ConvNetJS's own: the same keys, the same values, weights to within f32.
fn assert_same_snapshot(got: &Value, want: &Value, place: &str) {
    match (got, want) {
        (Value::Number(got), Value::Number(want)) => {
            let (got, want) = (got.as_f64().unwrap_or(f64::NAN), want.as_f64().unwrap_or(f64::NAN));
            assert!((got - want).abs() <= 1e-7 * want.abs(), "{place}: {got} instead of {want}");
        }
        (_, Value::Object(_)) if place.ends_with(".w") => {
            assert_same_snapshot(got, &numbers(want).into(), &format!("{place} as a list"));
        }
        (Value::Object(got), Value::Object(want)) => {
            assert!(got.keys().eq(want.keys()), "{place}: {:?} instead of {:?}", got.keys(), want.keys());
            got.iter().for_each(|(key, value)| assert_same_snapshot(value, &want[key], &format!("{place}.{key}")));
        }
        (Value::Array(got), Value::Array(want)) => {
            assert_eq!(got.len(), want.len(), "{place}");
            got.iter().zip(want).for_each(|(got, want)| assert_same_snapshot(got, want, place));
        }
        _ => assert_eq!(got, want, "{place}"),
    }
}

#[test]
fn a_snapshot_read_and_written_again_is_the_same() {
    for case in cases() {
        let name = case["name"].as_str().expect("a name");
        let model = read(&case["snapshot"], name);
        let mut want = case["snapshot"].clone();
        if name == "lrn_maxout" {
            // The one of an even n: its sum runs over 5 channels, and is divided by 4.
            assert_eq!(want["layers"][5]["n"], 4);
            (want["layers"][5]["n"], want["layers"][5]["alpha"]) = (json!(5), json!(1.5 * 5.0 / 4.0));
        }
        let got = written(&model);
        assert_same_snapshot(&got, &want, name);
        assert_eq!(read(&got, name), model, "{name}");
    }
}

#[test]
fn presets_survive_their_snapshots_to_the_bit() {
    for (name, _) in PRESETS {
        let network = Network::preset(name).expect("a preset");
        let model = Model { parameters: network.initial_parameters(3), network, extra: Value::Null };
        if name.starts_with("resnet") {
            let message = model.to_convnetjs().expect_err("batch normalisation").to_string();
            assert_eq!(message, "layer norm1: ConvNetJS has no batch-norm");
            continue;
        }
        let back = read(&written(&model), name);
        assert!(back.parameters == model.parameters, "{name}");
        let kinds = |model: &Model| model.network.nodes.iter().map(|node| node.output).collect::<Vec<_>>();
        assert_eq!(kinds(&back), kinds(&model));
    }
}

fn write_snapshot(path: &std::path::Path, model: &Model) {
    std::fs::write(path, (CONVNETJS.to_bytes)(model).expect("bytes")).expect("a write");
}

#[test]
fn json_files_are_snapshots_to_whoever_loads_models() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("digits.JSON");
    let model = read(&case("svm")["snapshot"], "digits.json");
    assert_eq!(Format::of(&path).expect("a known extension"), &CONVNETJS);
    write_snapshot(&path, &model);
    assert_eq!(load_model(&path).expect("a read"), model);
    assert_eq!((model.network.name.as_str(), model.network.crop), ("digits", true));
    std::fs::write(&path, model.to_bytes().expect("bytes")).expect("a write");
    let message = load_model(&path).expect_err("safetensors are no JSON").to_string();
    assert!(message.contains("not a readable ConvNetJS snapshot"), "{message}");
}

#[test]
fn convert_goes_both_ways_and_eval_reads_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write_data(folder.path(), 20, 30);
    let network = Network::preset("convnetjs-mnist").expect("a preset");
    let model = Model { parameters: network.initial_parameters(1), network, extra: json!({ "dataset": "mnist" }) };
    save_model(&path("first.safetensors"), &model).expect("a write");
    for (from, to) in [("first.safetensors", "second.json"), ("second.json", "third.safetensors")] {
        let report = document(glassnet(&["convert"]).arg(path(from)).arg(path(to)));
        assert_eq!((&report["output"], &report["parameters"]), (&json!(path(to)), &json!(5994)));
    }
    assert!(load_model(&path("third.safetensors")).expect("a model").parameters == model.parameters);
    let loss = |name: &str| {
        let mut eval = glassnet(&["eval", "--device", "cpu", "--dataset", "mnist", "--model"]);
        document(eval.arg(path(name)).arg("--data-dir").arg(folder.path()))["test_loss"].clone()
    };
    assert_eq!(loss("first.safetensors"), loss("second.json"));
}

#[test]
fn convert_replaces_nothing_unasked_and_leaves_nothing_when_it_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("theirs.json"), case("svm")["snapshot"].to_string()).expect("a write");
    std::fs::write(path("taken.safetensors"), "precious").expect("a write");
    let convert = |from: &str, to: &str| {
        let mut command = glassnet(&["convert"]);
        command.arg(path(from)).arg(path(to));
        command
    };
    assert_fails_with(&mut convert("theirs.json", "taken.safetensors"), &["taken.safetensors exists", "--force"]);
    assert_eq!(std::fs::read(path("taken.safetensors")).expect("the file"), b"precious");
    convert("theirs.json", "taken.safetensors").arg("--force").assert().success();
    let itself = ["is read by this command", "another name"];
    assert_fails_with(convert("taken.safetensors", "taken.safetensors").arg("--force"), &itself);
    assert!(load_model(&path("taken.safetensors")).is_ok());

    let known = "unknown extension of a model file; use one of .safetensors, .json, .onnx";
    assert_fails_with(&mut convert("theirs.json", "ours.pt"), &["ours.pt: ", known]);
    assert_fails_with(&mut convert("theirs", "ours.json"), &["theirs: ", known]);
    assert_fails_with(&mut convert("missing.json", "ours.json"), &["cannot read", "missing.json"]);
    let leaky = network(
        "layers = [{type = 'input', height = 1, width = 1, channels = 2}, {type = 'fc', outputs = 2}, \
         {type = 'leaky-relu'}, {type = 'softmax'}]",
    );
    let leaky = Model { parameters: leaky.initial_parameters(1), network: leaky, extra: Value::Null };
    save_model(&path("leaky.safetensors"), &leaky).expect("a write");
    let expected = ["leaky.json not written: layer leaky1: ConvNetJS has no leaky-relu"];
    assert_fails_with(&mut convert("leaky.safetensors", "leaky.json"), &expected);
    assert!(!path("leaky.json").exists());
    let spread = network(
        "layers = [{type = 'input', height = 3, width = 3, channels = 2}, \
         {type = 'conv', filters = 2, kernel = 2, groups = 2}, {type = 'fc', outputs = 2}, {type = 'softmax'}]",
    );
    let spread = Model { parameters: spread.initial_parameters(1), network: spread, extra: Value::Null };
    save_model(&path("spread.safetensors"), &spread).expect("a write");
    let expected = ["spread.json not written: layer conv1: ConvNetJS has neither dilation nor groups"];
    assert_fails_with(&mut convert("spread.safetensors", "spread.json"), &expected);
}

/// The message about the snapshot `name` changed by `edit`.
fn refusal(name: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut snapshot = case(name)["snapshot"].clone();
    edit(&mut snapshot["layers"]);
    message_of(snapshot.to_string().as_bytes())
}

fn message_of(bytes: &[u8]) -> String {
    match Model::from_convnetjs(bytes, "net.json") {
        Err(Error::Model(message)) => message,
        other => panic!("expected a model error, got {other:?}"),
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    assert!(message.starts_with("net.json: "), "{message:?}");
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn what_is_no_snapshot_is_told_so() {
    assert_says(&message_of(b""), &["truncated, or not a ConvNetJS snapshot", "net.toJSON()"]);
    for text in ["PK\x03\x04", "[1, 2]", "7", "{\"weights\":[]}", "{\"layers\":{}}", "{\"layers\":[3]}", "{}"] {
        assert_says(&message_of(text.as_bytes()), &["not a readable ConvNetJS snapshot", "net.toJSON()"]);
    }
    assert_says(&message_of(&b"[".repeat(100_000)), &["net.json"]);
    assert_says(&message_of(br#"{"layers":[]}"#), &["no layers"]);
    assert_says(&message_of(b"{\"layers\":[{\"layer_type\":\"\xff\"}]}"), &["net.json"]);
}

#[test]
fn every_truncation_and_no_changed_byte_panics() {
    let text = case("regression")["snapshot"].to_string().into_bytes();
    for length in 0..text.len() {
        assert_says(&message_of(&text[..length]), &["truncated"]);
    }
    for index in 0..text.len() {
        for byte in *b"9-e\"}{[,.n\xff" {
            let mut changed = text.clone();
            changed[index] = byte;
            let _ = Model::from_convnetjs(&changed, "net.json");
        }
    }
}

#[test]
fn fields_that_are_missing_wrong_or_unknown_are_named_with_their_layer() {
    let message = refusal("conv_pool", |layers| drop(layers[3].as_object_mut().expect("a layer").remove("stride")));
    assert_says(&message, &["layer 4", "missing field `stride`"]);
    let message = refusal("conv_pool", |layers| layers[3]["stride"] = json!("two"));
    assert_says(&message, &["layer 4", "string \"two\"", "expected a whole number"]);
    assert_says(&refusal("svm", |layers| layers[0]["out_sx"] = json!(-1)), &["layer 1", "`-1`", "a whole number"]);
    let message = refusal("svm", |layers| layers[2]["layer_type"] = json!("quadtransform"));
    assert_says(&message, &["layer 3", "unknown layer_type `quadtransform`", "`maxout`"]);
    let message = refusal("svm", |layers| layers[1]["filters"][0]["w"] = json!("AAAA"));
    assert_says(&message, &["layer 2", "string \"AAAA\"", "keyed by index"]);
    let message = refusal("svm", |layers| layers[1]["filters"][0]["w"] = json!({"0": 1.0, "2": 1.0}));
    assert_says(&message, &["layer 2", "1 is missing"]);
    let message = refusal("conv_pool", |layers| layers[3]["stride"] = json!(2.5));
    assert_says(&message, &["layer 4", "`stride` is `2.5`", "a whole number"]);
    let message = refusal("conv_pool", |layers| layers[3]["stride"] = Value::Null);
    assert_says(&message, &["layer 4", "`stride` is null", "NaN and infinity"]);
    let message = refusal("svm", |layers| layers[1]["filters"][0]["sx"] = json!("A"));
    assert_says(&message, &["layer 2", "the string \"A\"", "a whole number"]);
}

/// `JSON.parse` keeps unknown keys, and `net.fromJSON` ignores them.
#[test]
fn keys_that_convnetjs_passes_over_are_passed_over() {
    let mut snapshot = case("conv_pool")["snapshot"].clone();
    let plain = read(&snapshot, "net");
    snapshot["saved"] = json!({"by": ["a page", null], "at": 1e9});
    snapshot["glassnet"] = json!("not ours");
    for layer in snapshot["layers"].as_array_mut().expect("a list") {
        (layer["name"], layer["activation"], layer["grad"]) = (json!("mine"), json!({"relu": [true]}), Value::Null);
        if layer.get("filters").is_some() {
            layer["biases"]["dw"] = json!({"0": 1});
            layer["filters"][0]["label"] = json!("first");
        }
    }
    for place in [1, 3] {
        if let Some(numbers) = snapshot["layers"][place].pointer_mut("/biases/w").and_then(Value::as_object_mut) {
            numbers.extend([("length".to_string(), json!(4)), ("BYTES_PER_ELEMENT".to_string(), json!(8))]);
        }
    }
    assert_eq!(read(&snapshot, "net"), plain);
}

/// JavaScript has one kind of number, and other programs write its whole ones as 24.0 or 2.4e1.
#[test]
fn whole_numbers_may_be_written_as_any_number() {
    let text = case("svm")["snapshot"].to_string();
    let plain = Model::from_convnetjs(text.as_bytes(), "net.json").expect("a snapshot");
    let keys = ["sx", "sy", "stride", "pad", "in_depth", "out_depth", "out_sx", "out_sy", "num_inputs", "depth"];
    for ending in [".0", ".000", "e0", ".0E+0"] {
        let mut other = text.clone();
        for digit in 0..10 {
            for key in keys {
                for end in [",", "}"] {
                    other =
                        other.replace(&format!("\"{key}\":{digit}{end}"), &format!("\"{key}\":{digit}{ending}{end}"));
                }
            }
        }
        assert!(other.len() > text.len() + 20);
        assert_eq!(Model::from_convnetjs(other.as_bytes(), "net.json").expect("a snapshot"), plain, "{ending}");
    }
}

#[test]
fn a_snapshot_comes_in_every_encoding_that_editors_save() {
    let text = case("conv_pool")["snapshot"].to_string();
    let plain = Model::from_convnetjs(text.as_bytes(), "net.json").expect("a snapshot");
    let units: Vec<u16> = text.encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    for (what, file) in [
        ("UTF-8 with a byte order mark", marked(b"\xef\xbb\xbf", text.as_bytes())),
        ("UTF-16", marked(b"\xff\xfe", &little)),
        ("UTF-16, big end first", marked(b"\xfe\xff", &big)),
        ("UTF-16 without a mark", little.clone()),
    ] {
        assert_eq!(Model::from_convnetjs(&file, "net.json").expect(what), plain, "{what}");
    }
    assert_says(&message_of(&marked(b"\xff\xfe", &little[..little.len() - 1])), &["half a character"]);
    assert_says(&message_of(&marked(b"\xff\xfe\x00\x00", &[b'{', 0, 0, 0])), &["UTF-32", "save it as UTF-8"]);
}

#[test]
fn what_python_writes_for_no_number_is_named() {
    let text = case("svm")["snapshot"].to_string();
    let start = text.find("\"w\":[").expect("a list") + 5;
    let end = start + text[start..].find(',').expect("several numbers");
    for word in ["NaN", "Infinity", "-Infinity"] {
        let message = message_of([&text[..start], word, &text[end..]].concat().as_bytes());
        assert_says(&message, &["layer 2", &format!("({word} is not a JSON number)")]);
    }
}

#[test]
fn an_error_is_not_as_long_as_the_file() {
    let long = "x".repeat(171_657);
    for message in [
        refusal("svm", |layers| layers[1]["filters"][0]["w"] = json!(long)),
        refusal("svm", |layers| layers[1]["stride"] = json!(long)),
        refusal("svm", |layers| layers[1]["layer_type"] = json!(long)),
        refusal("svm", |layers| *layers = json!(long)),
        refusal("svm", |layers| layers[1]["filters"] = json!(long)),
    ] {
        assert_says(&message, &["xxxx…", "net.toJSON()"]);
        assert!(message.len() < 500, "{message}");
    }
    let message = refusal("svm", |layers| layers[1]["layer_type"] = json!("a\n\u{1b}[2J"));
    assert_says(&message, &["`a\\n\\u{1b}[2J`"]);
}

/// A network with everything that ConvNetJS cannot express.
fn worded() -> Model {
    let mut network = network(
        "layers = [{type = 'input', height = 5, width = 4, channels = 1}, {type = 'dropout', rate = 0.25}, \
         {type = 'fc', outputs = 3, rate_factor = 2.0, decay_factor = 0.5}, {type = 'softmax', label_smoothing = 0.125}]\n\
         augmentation = {flip = true, pad = 1}\ntraining = {optimizer = 'adam', epochs = 2}",
    );
    network.name = "with words".into();
    let extra = json!({"dataset": "images", "classes": ["a", "b", "c"], "image": [6, 5, 1], "step": 7});
    Model { parameters: network.initial_parameters(1), network, extra }
}

#[test]
fn what_convnetjs_has_no_words_for_survives_its_snapshot() {
    for exact in [false, true] {
        let mut model = worded();
        model.network.training.convnetjs_exact = Some(exact);
        let snapshot = written(&model);
        assert_eq!(read(&snapshot, "other"), model);
        assert_eq!(written(&read(&snapshot, "other")), snapshot);
    }
}

#[test]
fn layers_count_for_more_than_the_words_beside_them() {
    let model = worded();
    let mut edited = written(&model);
    edited["layers"][1]["drop_prob"] = json!(0.5);
    let back = read(&edited, "edited");
    assert_eq!((back.network.nodes[1].layer, &back.network.name[..]), (Layer::Dropout { rate: 0.5 }, "edited"));
    assert_eq!(back.extra, model.extra);

    for words in [json!({"format": 2, "layers": []}), json!({"format": 1}), json!([1]), json!("x".repeat(1 << 23))] {
        let mut foreign = written(&model);
        foreign["glassnet"] = words;
        let back = read(&foreign, "foreign");
        assert_eq!((back.extra, &back.network.name[..]), (Value::Null, "foreign"));
    }
}

/// A dark 5 on light paper, which must be found, inverted, scaled and centred before it can be recognised.
fn picture(path: &std::path::Path) {
    let strokes = [(20, 12, 24, 4), (20, 12, 4, 16), (20, 26, 22, 4), (40, 28, 4, 16), (18, 42, 24, 4)];
    let on = |x: u32, y: u32| {
        strokes.iter().any(|&(left, top, w, h)| (left..left + w).contains(&x) && (top..top + h).contains(&y))
    };
    image::GrayImage::from_fn(70, 60, |x, y| image::Luma([if on(x, y) { 20 } else { 230 }]))
        .save(path)
        .expect("a picture");
}

#[test]
fn a_converted_file_predicts_as_the_one_it_was_made_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    picture(&path("five.png"));
    let mut network = Network::preset("convnetjs-mnist").expect("a preset");
    network.augmentation.pad = 2;
    let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let extra = json!({"dataset": "mnist", "classes": classes, "image": [28, 28, 1], "step": 1});
    let model = Model { parameters: network.initial_parameters(1), network, extra };
    save_model(&path("a.safetensors"), &model).expect("a write");
    for (from, to) in [("a.safetensors", "b.json"), ("b.json", "c.safetensors"), ("c.safetensors", "d.json")] {
        glassnet(&["convert"]).arg(path(from)).arg(path(to)).assert().success();
    }
    // PyTorch's format with a file written by Glassnet: the description of its data is not lost.
    glassnet(&["convert", "--preset", "convnetjs-mnist"])
        .arg(path("a.safetensors"))
        .arg(path("e.json"))
        .assert()
        .success();
    let predicted = |name: &str, crops: &str| {
        let mut predict = glassnet(&["predict", "--device", "cpu", "--test-crops", crops]);
        let report = document(predict.arg("--model").arg(path(name)).arg(path("five.png")));
        assert_eq!((&report["dataset"], &report["treatment"]), (&json!("mnist"), &json!("digit")), "{name}");
        report["images"].clone()
    };
    for crops in ["1", "5"] {
        let want = predicted("a.safetensors", crops);
        for name in ["b.json", "c.safetensors", "d.json"] {
            assert_eq!(predicted(name, crops), want, "{name}, {crops} crops");
        }
    }
    assert_eq!(predicted("e.json", "1"), predicted("a.safetensors", "1"));
}

/// Skipped with a prominent line if `GLASSNET_NODE_MODULES` is not set.
#[test]
fn convnetjs_passes_over_what_glassnet_adds() {
    let Some(modules) = std::env::var_os("GLASSNET_NODE_MODULES") else {
        return common::skipped("set GLASSNET_NODE_MODULES to a node_modules folder with convnetjs 0.3.0");
    };
    let mut model = worded();
    model.network.training.convnetjs_exact = Some(true);
    let (folder, parameters) = (tempfile::tempdir().expect("a folder"), &model.parameters[0]);
    let path = folder.path().join("net.json");
    write_snapshot(&path, &model);
    assert!(written(&model)["glassnet"].is_object());
    let script = "const c = require('convnetjs'), net = new c.Net(); \
                  net.fromJSON(JSON.parse(require('fs').readFileSync(process.argv[1]))); \
                  console.log(JSON.stringify(Array.from(net.forward(new c.Vol(4, 5, 1, 1)).w)))";
    let mut node = std::process::Command::new("node");
    let output = node.args(["-e", script]).arg(&path).env("NODE_PATH", modules).output().expect("node starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let got: Vec<f64> = serde_json::from_slice(&output.stdout).expect("three numbers");
    let sums = (0..3).map(|o| parameters.weight.iter().skip(o).step_by(3).map(|w| f64::from(*w)).sum::<f64>());
    // Ones come out of its dropout as 0.25.
    let scores: Vec<f64> =
        sums.zip(&parameters.bias).map(|(sum, bias)| (0.25 * sum + f64::from(*bias)).exp()).collect();
    let want: Vec<f64> = scores.iter().map(|score| score / scores.iter().sum::<f64>()).collect();
    let got: Vec<f32> = got.into_iter().map(|v| v as f32).collect();
    compare("ConvNetJS's probabilities", &got, &want);
}

#[test]
fn a_regression_of_one_value_learns_numbers_and_one_of_several_classes() {
    for (name, expected) in [("number", Targets::Number), ("regression", Targets::OneHot)] {
        let model = read(&case(name)["snapshot"], name);
        assert_eq!(model.network.nodes.last().map(|node| node.layer), Some(Layer::Mse { targets: expected }));
        assert_eq!(model.network.learns_numbers(), name == "number");
        assert_same_snapshot(&written(&model), &case(name)["snapshot"], name);
    }
}

#[test]
fn an_old_snapshot_without_padding_and_decay_is_read() {
    let mut snapshot = case("svm")["snapshot"].clone();
    for key in ["pad", "l1_decay_mul", "l2_decay_mul"] {
        for layer in [1, 3, 4] {
            snapshot["layers"][layer].as_object_mut().expect("a layer").remove(key);
        }
    }
    assert_eq!(read(&snapshot, "svm"), read(&case("svm")["snapshot"], "svm"));
}

#[test]
fn indices_need_not_come_in_order() {
    // The first volume of the text is that of the biases, whose first two values change places.
    let text = case("conv_pool")["snapshot"].to_string();
    let swapped = text.replacen("\"0\":", "\"?\":", 1).replacen("\"1\":", "\"0\":", 1).replacen("\"?\":", "\"1\":", 1);
    let [ours, swapped] = [text, swapped]
        .map(|text| Model::from_convnetjs(text.as_bytes(), "net.json").expect("a snapshot").parameters[0].bias.clone());
    assert!(ours[0] != ours[1] && ours[2..] == swapped[2..]);
    assert_eq!([ours[0], ours[1]], [swapped[1], swapped[0]]);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let message = refusal("svm", |layers| layers[1]["filters"][2]["w"][5] = Value::Null);
    assert_says(&message, &["layer conv1: filter 2 holds null at index 5", "NaN and infinity", "an older snapshot"]);
    let message = refusal("svm", |layers| layers[1]["biases"]["w"][1] = json!(1e39));
    assert_says(&message, &["layer conv1: biases holds 1e39 at index 1"]);
}

#[test]
fn weights_behind_a_dropout_come_back_however_large_or_the_rates_are_refused() {
    let model = |dropouts: usize, rate: f32, weight: f32| {
        let input = Layer::Input { height: 1, width: 1, channels: 1 };
        let mut layers = vec![(input, 0.0)];
        layers.extend([(Layer::Dropout { rate }, 0.0)].repeat(dropouts));
        layers.extend([Layer::Fc { outputs: 2 }, Layer::Softmax { label_smoothing: 0.0 }].map(|layer| (layer, 0.0)));
        let mut network = Network::from_layers("large", &layers, Initializer::Lecun).expect("a legal network");
        network.crop = true;
        let mut parameters = network.initial_parameters(1);
        parameters[0].weight.fill(weight);
        Model { network, parameters, extra: Value::Null }
    };
    for weight in [f32::MAX, f32::from_bits(1)] {
        let model = model(1, 0.3, weight);
        let snapshot = model.to_convnetjs().expect("a snapshot");
        assert_eq!(Model::from_convnetjs(&snapshot, "large.json").expect("finite weights"), model);
    }
    // Enough of them make 0, and weights divided by 0 are not finite.
    let message = model(10, 1e-10, 1.0).to_convnetjs().expect_err("too small a factor").to_string();
    assert!(
        message.starts_with("layer dropout4: ConvNetJS multiplies predictions by the rates up to here"),
        "{message}"
    );
}

#[test]
fn declared_sizes_are_checked_against_what_is_there() {
    let message = refusal("svm", |layers| layers[1]["out_depth"] = json!(1_000_000_000));
    assert_says(&message, &["layer conv1", "filters is 1000000000"]);
    let message = refusal("svm", |layers| layers[1]["out_depth"] = json!(1000));
    assert_says(&message, &["layer conv1", "filters, but out_depth is 1000"]);
    let message = refusal("svm", |layers| layers[0]["out_sx"] = json!(u64::MAX));
    assert_says(&message, &["layer input", "width is 18446744073709551615"]);
    let message = refusal("svm", |layers| layers[1]["filters"][0]["depth"] = json!(MAX_ELEMENTS));
    assert_says(&message, &["layer conv1: filter 0", "its layer needs 2, 3, 2 with 12"]);
    let message = refusal("svm", |layers| drop(layers[4]["biases"]["w"].as_array_mut().expect("a list").pop()));
    assert_says(&message, &["layer fc1: biases of sx 1, sy 1, depth 5 with 4 numbers"]);
    assert_says(&refusal("svm", |layers| layers[4]["num_inputs"] = json!(9)), &["layer fc1: num_inputs is 9"]);
    assert_says(&refusal("svm", |layers| layers[3]["out_sy"] = json!(7)), &["layer pool1: out_sy", "7x"]);
    assert_says(&refusal("svm", |layers| layers[3]["stride"] = json!(0)), &["layer pool1", "stride is 0"]);
    assert_says(&refusal("svm", |layers| layers[3]["pad"] = json!(9)), &["layer pool1", "pad < size"]);
    assert_says(&refusal("lrn_maxout", |layers| layers[2]["n"] = json!(0)), &["layer 3: n is 0"]);
    assert_says(&refusal("lrn_maxout", |layers| layers[2]["k"] = json!(0)), &["layer lrn1", "k is 0"]);
    assert_says(&refusal("lrn_maxout", |layers| layers[3]["group_size"] = json!(4)), &["layer maxout1", "group is 4"]);
}

#[test]
fn a_layers_decay_goes_along_both_ways() {
    let mut snapshot = case("svm")["snapshot"].clone();
    snapshot["layers"][1]["l2_decay_mul"] = json!(0.25);
    let model = read(&snapshot, "svm");
    assert_eq!((model.network.nodes[1].factors.decay, model.network.nodes[1].factors.rate), (0.25, 1.0));
    let written: Value = serde_json::from_slice(&model.to_convnetjs().expect("a snapshot")).expect("JSON");
    assert_eq!(written["layers"][1]["l2_decay_mul"], json!(0.25));
}

#[test]
fn what_glassnet_cannot_hold_is_refused() {
    let message = refusal("svm", |layers| layers[1]["l1_decay_mul"] = json!(0.5));
    assert_says(&message, &["layer conv1: l1_decay_mul is 0.5, l2_decay_mul 1", "Write 0 and 1"]);
    let message = refusal("svm", |layers| layers[1]["l2_decay_mul"] = json!(-1));
    assert_says(&message, &["layer conv1: l1_decay_mul is 0, l2_decay_mul -1", "Write 0 and 1"]);
    assert_says(&refusal("svm", |layers| drop(layers.as_array_mut().expect("a list").pop())), &["the last layer is"]);
    let message = refusal("dropout", |layers| layers[2]["drop_prob"] = json!(0));
    assert_says(&message, &["layer dropout1", "which is 0"]);
    assert_says(&refusal("dropout", |layers| layers[2]["drop_prob"] = json!(1)), &["layer dropout1", "rate is 1"]);
    let message = refusal("dropout", |layers| layers[3]["layer_type"] = json!("sigmoid"));
    assert_says(&message, &["layer dropout1", "there is sigmoid1"]);
}

#[test]
fn what_convnetjs_does_not_have_is_refused() {
    for (layer, expected) in [
        (r#"type = "leaky-relu""#, "layer leaky1: ConvNetJS has no leaky-relu"),
        ("type = \"avg-pool\"\nsize = 2", "layer pool1: ConvNetJS has no avg-pool"),
        (r#"type = "global-avg-pool""#, "layer pool1: ConvNetJS has no global-avg-pool"),
        ("type = \"max-pool\"\nsize = 2\nstride = [1, 2]", "layer pool1: stride is 1x2"),
        ("type = \"conv\"\nfilters = 2\nkernel = 2\npad = [0, 1]", "layer conv1: pad is 0x1"),
        ("type = \"lrn\"\nsize = 4", "layer lrn1: ConvNetJS has no window of 4 channels"),
        (r#"type = "batch-norm""#, "layer norm1: ConvNetJS has no batch-norm"),
        (
            "type = \"dropout\"\nrate = 0.5\n[[layers]]\ntype = \"batch-norm\"",
            "layer norm1: ConvNetJS has no batch-norm",
        ),
        ("type = \"residual\"\nlayers = [{ type = \"relu\" }]", "layer residual1: ConvNetJS has no residual"),
        ("type = \"conv\"\nfilters = 2\nkernel = 2\ndilation = 2", "layer conv1: "),
        ("type = \"conv\"\nfilters = 2\nkernel = 2\ngroups = 1\ndilation = [1, 2]", "layer conv1: "),
        ("type = \"dropout\"\nrate = 0.0", "layer dropout1: ConvNetJS multiplies predictions by the rate"),
        ("type = \"dropout\"\nrate = 0.5\n[[layers]]\ntype = \"tanh\"", "layer dropout1: "),
    ] {
        let around = "type = \"input\"\nheight = 4\nwidth = 4\nchannels = 1";
        let behind = "type = \"fc\"\noutputs = 2\n[[layers]]\ntype = \"softmax\"";
        let network = network(&format!("[[layers]]\n{around}\n[[layers]]\n{layer}\n[[layers]]\n{behind}"));
        let model = Model { parameters: network.initial_parameters(1), network, extra: Value::Null };
        let message = model.to_convnetjs().expect_err(expected).to_string();
        assert!(message.starts_with(expected), "{message:?} is not {expected:?}");
    }
    let mut spoiled = read(&case("svm")["snapshot"], "svm");
    spoiled.parameters[1].bias[2] = f32::INFINITY;
    let message = spoiled.to_convnetjs().expect_err("not finite").to_string();
    assert!(message.contains("`fc1.bias` holds inf at index 2"), "{message}");
}
