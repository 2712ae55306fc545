//! Model and checkpoint files: they read back exactly, other tools can read them, and every kind of damage has its
//! message and never causes a panic.

use glassnet::Error;
use glassnet::formats::{
    Checkpoint, Model, load_checkpoint, load_extra, load_model, save_checkpoint, save_model, tensor_bytes,
};
use glassnet::net::Network;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;

const SMALL: &str = r#"
name = "small"
layers = [
    { type = "input", height = 3, width = 2, channels = 1 },
    { type = "conv", filters = 2, kernel = [2, 1], bias = 0.25, activation = "relu" },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]
"#;

fn model() -> Model {
    let network = Network::from_toml(SMALL, "small").expect("a legal network");
    let parameters = network.initial_parameters(1);
    Model { network, parameters, extra: json!({ "dataset": "synthetic" }) }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        model: model(),
        optimizer: vec![
            ("second_moment".to_string(), vec![1.5, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX]),
            ("first_moment".to_string(), vec![0.1; 7]),
            ("empty".to_string(), vec![]),
        ],
        step: u64::MAX - 1,
        seed: u64::MAX,
        extra: json!({ "window": [0.1, 0.2], "epoch": 3 }),
    }
}

fn model_error<T: std::fmt::Debug>(result: glassnet::Result<T>) -> String {
    match result {
        Err(Error::Model(message)) => message,
        other => panic!("expected a model error, got {other:?}"),
    }
}

fn message_of(bytes: &[u8]) -> String {
    model_error(Model::from_bytes(bytes, "model.safetensors"))
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// The bytes of a container with the given header text in front of `data`.
fn container(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The small model's file with its header changed by `edit`; the tensors stay as they are.
fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header = serde_json::from_slice(&bytes[8..end]).expect("a JSON header");
    edit(&mut header);
    container(&header.to_string(), &bytes[end..])
}

/// The small model's file with its own JSON document changed by `edit`.
fn with_document(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_header(bytes, |header| {
        let text = header["__metadata__"]["glassnet"].as_str().expect("our document").to_string();
        let mut document = serde_json::from_str(&text).expect("a JSON document");
        edit(&mut document);
        header["__metadata__"]["glassnet"] = Value::from(document.to_string());
    })
}

fn rename(header: &mut Value, from: &str, to: &str) {
    let tensors = header.as_object_mut().expect("an object");
    let tensor = tensors.remove(from).expect("a tensor of that name");
    tensors.insert(to.to_string(), tensor);
}

#[test]
fn a_model_reads_back_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    save_model(&path, &model()).expect("a write");
    assert_eq!(load_model(&path).expect("a read"), model());
}

#[test]
fn a_checkpoint_reads_back_exactly_and_serves_as_a_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    save_checkpoint(&path, &checkpoint()).expect("a write");
    let read = load_checkpoint(&path).expect("a read");
    assert_eq!(read, checkpoint());
    let bits = |checkpoint: &Checkpoint| checkpoint.optimizer[0].1.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(&read), bits(&checkpoint()));
    assert_eq!(load_model(&path).expect("a read"), model());
}

#[test]
fn bytes_are_read_as_the_file_that_holds_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    save_checkpoint(&path, &checkpoint()).expect("a write");
    let bytes = checkpoint().to_bytes().expect("bytes");
    assert_eq!(std::fs::read(&path).expect("the file"), bytes);
    assert_eq!(Checkpoint::from_bytes(&bytes, "bytes").expect("a read"), load_checkpoint(&path).expect("a read"));
    assert_eq!(Model::from_bytes(&bytes, "bytes").expect("a read"), load_model(&path).expect("a read"));
    let extra = Model::extra_from_bytes(&bytes, "bytes").expect("a read");
    assert_eq!((&extra, &extra), (&load_extra(&path).expect("a read"), &model().extra));
    let message = Model::extra_from_bytes(&bytes[..40], "the dropped file").expect_err("it is cut").to_string();
    assert!(message.starts_with("the dropped file: "), "{message}");
}

#[test]
fn every_preset_survives_its_file() {
    for name in ["convnetjs-mnist", "fast-mnist", "best-mnist", "vgg-mnist"] {
        let network = Network::preset(name).expect("a preset");
        let model = Model { parameters: network.initial_parameters(2), network, extra: Value::Null };
        let bytes = model.to_bytes().expect("bytes");
        assert!(Model::from_bytes(&bytes, "model.safetensors").expect("a read") == model);
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let bytes = checkpoint().to_bytes().expect("bytes");
    for _ in 0..20 {
        assert!(checkpoint().to_bytes().expect("bytes") == bytes);
    }
}

#[test]
fn tensors_have_pytorchs_names_shapes_and_order() {
    let mut model = model();
    // In Glassnet's order: conv [KH,KW,I,O] = [2,1,1,2]; the map after it is 2x2x2, so fc [I,O] = [8,3] over H, W, C.
    model.parameters[0].weight = vec![1.0, 2.0, 3.0, 4.0];
    model.parameters[1].weight = (0..24).map(|value| value as f32).collect();
    let bytes = model.to_bytes().expect("bytes");
    let file = SafeTensors::deserialize(&bytes).expect("a container");
    let values = |name: &str| {
        let tensor = file.tensor(name).expect("the tensor");
        let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        (tensor.shape().to_vec(), values)
    };
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["conv1.bias", "conv1.weight", "fc1.bias", "fc1.weight"]);
    assert_eq!(values("conv1.weight"), (vec![2, 1, 2, 1], vec![1.0, 3.0, 2.0, 4.0]));
    assert_eq!(values("conv1.bias"), (vec![2], vec![0.25, 0.25]));
    // First output: the even channel over the four positions, then the odd one; rows of three outputs.
    let (shape, fc) = values("fc1.weight");
    assert_eq!(shape, [3, 8]);
    assert_eq!(fc[..8], [0.0, 6.0, 12.0, 18.0, 3.0, 9.0, 15.0, 21.0]);
}

#[test]
fn a_dump_holds_any_tensors() {
    let tensors: [(&str, &[usize], &[f32]); 2] =
        [("pool1.activation", &[1, 2, 1], &[1.0, f32::NAN]), ("fc1.activation", &[3], &[0.0, 1.0, 2.0])];
    let bytes = tensor_bytes(&tensors, &json!({ "index": 7 })).expect("bytes");
    let file = SafeTensors::deserialize(&bytes).expect("a container");
    assert_eq!(file.tensor("pool1.activation").expect("the tensor").shape(), [1, 2, 1]);
    assert_eq!(file.tensor("fc1.activation").expect("the tensor").data()[4..8], 1f32.to_le_bytes());
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("metadata");
    assert_eq!(metadata.metadata().as_ref().expect("an entry")["glassnet"], r#"{"index":7}"#);
}

#[test]
fn a_file_that_cannot_be_opened_or_written_is_named() {
    let message = load_model(Path::new("no/such.safetensors")).expect_err("no such file").to_string();
    assert_contains(&message, &["cannot read no/such.safetensors: "]);
    let message = save_model(Path::new("no/such/folder.safetensors"), &model()).expect_err("no folder").to_string();
    assert_contains(&message, &["cannot write no/such/folder.safetensors: "]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_not_read_to_its_end() {
    assert_contains(&model_error(load_model(Path::new("/dev/zero"))), &["/dev/zero: it is not a regular file"]);
}

#[test]
fn weights_that_are_not_finite_are_neither_written_nor_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    save_checkpoint(&path, &checkpoint()).expect("a write");
    let mut spoiled = checkpoint();
    spoiled.model.parameters[1].weight[0] = f32::NAN;
    let message = model_error(save_checkpoint(&path, &spoiled));
    assert_contains(&message, &["checkpoint.safetensors not written", "`fc1.weight` holds NaN at index 0"]);
    assert_eq!(load_checkpoint(&path).expect("the older file"), checkpoint());
    spoiled = checkpoint();
    spoiled.optimizer[0].1[3] = f32::INFINITY;
    assert_contains(&model_error(spoiled.to_bytes()), &["`optimizer.second_moment` holds inf at index 3"]);

    // fc1.weight is the last tensor of the file.
    let mut bytes = model().to_bytes().expect("bytes");
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    assert_contains(&message_of(&bytes), &["model.safetensors: tensor `fc1.weight` holds -inf at index 23"]);
}

#[test]
fn what_is_not_a_safetensors_file_is_told_so() {
    assert_contains(&message_of(b""), &["model.safetensors: not a safetensors file", "0 bytes", "glassnet train"]);
    assert_contains(&message_of(b"PK\x03\x04 a zip file, as old PyTorch writes"), &["not a safetensors file"]);
    assert_contains(&message_of(&[0xff; 100]), &["its header would have 18446744073709551615 bytes"]);
    assert_contains(&message_of(&container("not json", b"")), &["not a safetensors file", "bad header"]);
    assert_contains(&message_of(&container("{\"a\":\"\u{1}\"}", b"")), &["bad header"]);
    assert_contains(&message_of(&container(&"[".repeat(100_000), b"")), &["bad header"]);
}

#[test]
fn a_truncated_file_is_told_so() {
    let bytes = model().to_bytes().expect("bytes");
    assert_contains(&message_of(&bytes[..100]), &["truncated", "100 bytes", "copy it again"]);
    assert_contains(&message_of(&bytes[..bytes.len() - 1]), &["truncated", "the file has 131", "copy it again"]);
    assert_contains(&message_of(&[&bytes[..], b"x"].concat()), &["damaged", "promises 132", "133"]);
}

#[test]
fn sizes_that_wrap_around_are_refused() {
    for (shape, end) in [
        ("[18446744073709551615]", "18446744073709551615"),
        ("[18446744073709551608]", "18446744073709551608"),
        ("[4294967296,4294967296]", "0"),
        ("[1152921504606846976,16]", "18446744073709551615"),
    ] {
        let header = format!(r#"{{"a":{{"dtype":"U8","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
        assert_contains(&message_of(&container(&header, &[0; 16])), &["model.safetensors: "]);
    }
}

#[test]
fn a_tensor_that_does_not_fit_the_network_is_named() {
    let bytes = model().to_bytes().expect("bytes");
    let missing = with_header(&bytes, |header| rename(header, "fc1.bias", "fc9.bias"));
    assert_contains(&message_of(&missing), &["tensor `fc1.bias` is missing"]);
    let shape = with_header(&bytes, |header| header["fc1.weight"]["shape"] = json!([8, 3]));
    assert_contains(&message_of(&shape), &["tensor `fc1.weight` has shape [8, 3]", "needs [3, 8]"]);
    let dtype = with_header(&bytes, |header| {
        header["fc1.weight"]["dtype"] = json!("F16");
        header["fc1.weight"]["shape"] = json!([6, 8]);
    });
    assert_contains(&message_of(&dtype), &["tensor `fc1.weight` is F16; only F32 is read"]);
    let stranger = with_header(&bytes, |header| {
        header["fc2.bias"] = json!({ "dtype": "F32", "shape": [0], "data_offsets": [132, 132] });
    });
    assert_contains(&message_of(&stranger), &["tensor `fc2.bias` belongs to no layer"]);
}

#[test]
fn metadata_that_cannot_be_used_is_told_so() {
    let bytes = model().to_bytes().expect("bytes");
    let none = with_header(&bytes, |header| drop(header.as_object_mut().expect("an object").remove("__metadata__")));
    assert_contains(&message_of(&none), &["has no `glassnet` entry", "glassnet train", "glassnet convert"]);
    let broken = with_header(&bytes, |header| header["__metadata__"]["glassnet"] = json!("{"));
    assert_contains(&message_of(&broken), &["metadata is damaged"]);
    let other = with_header(&bytes, |header| header["__metadata__"]["glassnet"] = json!("[1]"));
    assert_contains(&message_of(&other), &["metadata is damaged"]);
    let newer = with_document(&bytes, |document| *document = json!({ "format": 2, "graph": [] }));
    assert_contains(&message_of(&newer), &["newer Glassnet (format 2, this one reads up to 1)", "update"]);
    let network = with_document(&bytes, |document| document["network"] = json!("layers = []"));
    assert_contains(&message_of(&network), &["model.safetensors: the network in it: no layers"]);
    let huge = with_document(&bytes, |document| {
        let text = document["network"].as_str().expect("a description").replace("outputs = 3", "outputs = 1000000");
        document["network"] = Value::from(text);
    });
    assert_contains(&message_of(&huge), &["`fc1.weight` has shape [3, 8]", "needs [1000000, 8]"]);
}

#[test]
fn a_checkpoint_needs_the_state_of_its_training() {
    let bytes = model().to_bytes().expect("bytes");
    let message = model_error(Checkpoint::from_bytes(&bytes, "model.safetensors"));
    assert_contains(&message, &["without the state of its training", "checkpoint.safetensors"]);
    let bytes = checkpoint().to_bytes().expect("bytes");
    let read = |bytes: &[u8]| model_error(Checkpoint::from_bytes(bytes, "checkpoint.safetensors"));
    let missing = with_document(&bytes, |document| document["training"]["optimizer"][0] = json!("velocity"));
    assert_contains(&read(&missing), &["tensor `optimizer.second_moment` belongs to no layer"]);
    let twice = with_document(&bytes, |document| document["training"]["optimizer"][0] = json!("empty"));
    assert_contains(&read(&twice), &["listed twice"]);
}

/// Reads `bytes` in both ways; only a panic fails the test.
fn survives(bytes: &[u8]) {
    for error in [
        Model::from_bytes(bytes, "hostile").err().map(|error| error.to_string()),
        Checkpoint::from_bytes(bytes, "hostile").err().map(|error| error.to_string()),
    ]
    .into_iter()
    .flatten()
    {
        assert!(error.starts_with("hostile: "), "{error}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = checkpoint().to_bytes().expect("bytes");
    for length in 0..bytes.len() {
        survives(&bytes[..length]);
        assert!(Model::from_bytes(&bytes[..length], "hostile").is_err(), "the first {length} bytes pass");
    }
}

#[test]
fn no_flipped_bit_and_no_changed_byte_panics() {
    let bytes = checkpoint().to_bytes().expect("bytes");
    for index in 0..bytes.len() {
        for change in (0..8).map(|bit| bytes[index] ^ (1 << bit)).chain(*b"09\"}{,\0") {
            let mut changed = bytes.clone();
            changed[index] = change;
            survives(&changed);
        }
    }
}
