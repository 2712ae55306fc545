//! Weights from and to PyTorch: a `state_dict` saved by PyTorch gives PyTorch's numbers, mismatches are reported, and,
//! if `GLASSNET_PYTHON` names a Python with torch and safetensors, PyTorch loads Glassnet's files.

mod common;

use common::command::{assert_fails_with, glassnet};
use common::exchange::{Ours, golden, model, networks, run_script};
use common::rig::{Examples, network};
use glassnet::Error;
use glassnet::formats::{Model, load_model, save_model};
use glassnet::net::Network;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// conv1 `[2,2,1,3]` and fc1 `[3,8]` in PyTorch's shapes: the map between them is 2x2x2.
const SMALL: &str = r#"
name = "small"
layers = [
    { type = "input", height = 2, width = 4, channels = 2 },
    { type = "conv", filters = 2, kernel = [1, 3], activation = "relu" },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]
"#;

/// Tensors by name: type, shape and bytes.
type State = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The `state_dict` of SMALL with multiples of 1/4, which all floating-point types can represent.
fn state() -> State {
    let tensor = |shape: &[usize], first: f32| {
        let values = (0..shape.iter().product::<usize>()).map(|i| first + i as f32 / 4.0);
        (Dtype::F32, shape.to_vec(), values.flat_map(f32::to_le_bytes).collect())
    };
    [
        ("conv1.weight", tensor(&[2, 2, 1, 3], -1.0)),
        ("conv1.bias", tensor(&[2], 0.5)),
        ("fc1.weight", tensor(&[3, 8], -3.0)),
        ("fc1.bias", tensor(&[3], 0.25)),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor))
    .into()
}

fn file(state: &State) -> Vec<u8> {
    let mut views = Vec::new();
    for (name, (dtype, shape, bytes)) in state {
        views.push((name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor")));
    }
    safetensors::serialize(views, None).expect("a file")
}

fn import(state: &State) -> glassnet::Result<Model> {
    Model::from_pytorch(network(SMALL), &file(state), "weights.safetensors")
}

fn message_of(result: glassnet::Result<Model>) -> String {
    match result {
        Err(Error::Model(message)) => message,
        other => panic!("expected a model error, got {other:?}"),
    }
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// Every tensor's values in another type.
fn as_type(dtype: Dtype, bytes: impl Fn(f32) -> Vec<u8>) -> State {
    let convert = |(name, (_, shape, values)): (String, (Dtype, Vec<usize>, Vec<u8>))| {
        let values = values.as_chunks().0.iter().flat_map(|value| bytes(f32::from_le_bytes(*value)));
        (name, (dtype, shape, values.collect()))
    };
    state().into_iter().map(convert).collect()
}

fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn weights_that_pytorch_saved_give_pytorchs_numbers() {
    let path = golden_file("pytorch_small.safetensors");
    let model = Model::import_pytorch(golden("pytorch_small"), &path).expect("it fits");
    let bytes = std::fs::read(golden_file("pytorch_small_outputs.safetensors")).expect("the file");
    let outputs = SafeTensors::deserialize(&bytes).expect("a container");
    let images = outputs.tensor("images").expect("images");
    let [count, height, width, channels] = images.shape()[..] else { panic!("{:?}", images.shape()) };
    let examples =
        Examples { shape: [height, width, channels], pixels: images.data().to_vec(), labels: vec![0; count] };
    let ours = Ours::of_examples(&model, &examples);
    let probabilities = ours.probabilities.expect("a softmax");
    for (name, got) in [("logits", ours.logits), ("probabilities", probabilities)] {
        let data = outputs.tensor(name).expect("the tensor").data().as_chunks().0;
        assert_eq!(got.len(), data.len());
        for (got, want) in got.iter().zip(data.iter().map(|value| f32::from_le_bytes(*value))) {
            assert!((got - want).abs() < 1e-6, "{name}: {got} instead of {want}");
        }
    }
}

#[test]
fn tensors_come_into_our_order() {
    let model = import(&state()).expect("it fits");
    assert_eq!(model.network, network(SMALL));
    let [conv, fc] = &model.parameters[..] else { panic!("{:?}", model.parameters) };
    // Glassnet's order is [KW,I,O] here: the first position has the values at the beginning of each filter's two
    // planes.
    assert_eq!(conv.weight[..4], [-1.0, 0.5, -0.25, 1.25]);
    assert_eq!((&conv.layer[..], &conv.bias[..]), ("conv1", &[0.5, 0.75][..]));
    // Glassnet's order is [H,W,C,O]: the first row is PyTorch's input 0, the second, of the other channel, its input 4.
    assert_eq!(fc.weight[..6], [-3.0, -1.0, 1.0, -2.0, 0.0, 2.0]);
    assert_eq!(fc.bias, [0.25, 0.5, 0.75]);
}

#[test]
fn floats_of_every_width_are_read() {
    let expected = import(&state()).expect("it fits").parameters;
    for state in [
        as_type(Dtype::F64, |value| f64::from(value).to_le_bytes().to_vec()),
        as_type(Dtype::F16, |value| half::f16::from_f32(value).to_le_bytes().to_vec()),
        as_type(Dtype::BF16, |value| half::bf16::from_f32(value).to_le_bytes().to_vec()),
    ] {
        assert_eq!(import(&state).expect("it fits").parameters, expected);
    }
}

#[test]
fn other_types_are_refused_with_the_way_to_convert_them() {
    let message = message_of(import(&as_type(Dtype::I64, |value| (value as i64).to_le_bytes().to_vec())));
    assert_contains(&message, &["weights.safetensors: tensor `conv1.weight` is I64", "BF16", "model.float()"]);
    let message = message_of(import(&as_type(Dtype::F8_E4M3, |_| vec![0])));
    assert_contains(&message, &["tensor `conv1.weight` is F8_E4M3"]);
}

#[test]
fn names_that_do_not_fit_are_told_together() {
    let mut state = state();
    let positional = ["0.weight", "0.bias"].map(String::from);
    for (from, to) in ["conv1.weight", "conv1.bias"].into_iter().zip(positional) {
        let tensor = state.remove(from).expect("the tensor");
        state.insert(to, tensor);
    }
    assert_contains(
        &message_of(import(&state)),
        &[
            "weights.safetensors: these tensors are not those of network small",
            "`conv1.weight`, `conv1.bias` missing, `0.bias`, `0.weight` left over",
            "each of its layers with weights (conv1, fc1) must be a module of that name",
        ],
    );
}

#[test]
fn a_missing_tensor_and_one_too_many_are_each_named() {
    let mut lacking = state();
    lacking.remove("fc1.bias");
    let message = message_of(import(&lacking));
    assert_contains(&message, &["small: `fc1.bias` missing; each"]);
    let mut more = state();
    more.extend((0..9).map(|i| (format!("norm.{i}"), (Dtype::F32, vec![0], vec![]))));
    let message = message_of(import(&more));
    assert_contains(&message, &["small: `norm.0`, `norm.1`, ", "`norm.5` and 3 more left over; each"]);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both() {
    let mut state = state();
    state.get_mut("fc1.weight").expect("the tensor").1 = vec![8, 3];
    assert_contains(
        &message_of(import(&state)),
        &["tensor `fc1.weight` has shape [8, 3], network small needs [3, 8]", "must agree"],
    );
    state.get_mut("conv1.bias").expect("the tensor").1 = vec![2, 1];
    assert_contains(&message_of(import(&state)), &["tensor `conv1.bias` has shape [2, 1], network small needs [2]"]);
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let mut nan = state();
    nan.get_mut("conv1.weight").expect("the tensor").2[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_contains(&message_of(import(&nan)), &["tensor `conv1.weight` holds NaN at index 2"]);
    // Finite in f64, not in f32.
    let large = as_type(Dtype::F64, |_| 1e300f64.to_le_bytes().to_vec());
    assert_contains(&message_of(import(&large)), &["tensor `conv1.weight` holds inf at index 0"]);
}

#[test]
fn convert_takes_what_pytorch_saved_with_the_network_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let (weights, description) = (golden("pytorch_small.safetensors"), golden("pytorch_small.toml"));
    let out = folder.path().join("model.safetensors");
    let mut convert = glassnet(&["convert"]);
    convert.arg(&weights).arg(&out).arg("--net").arg(&description).assert().success();
    let network = Network::from_file(&description).expect("a description");
    let expected = Model::import_pytorch(network, &weights).expect("weights");
    assert!(load_model(&out).expect("a model") == expected);

    let other = folder.path().join("other.safetensors");
    let wrong = |arguments: &[&str], from: &Path, parts: &[&str]| {
        assert_fails_with(glassnet(&["convert"]).arg(from).arg(&other).args(arguments), parts);
        assert!(!other.exists());
    };
    wrong(&["--preset", "convnetjs-mnist"], &weights, &["network convnetjs-mnist"]);
    wrong(&[], &weights, &["has no `glassnet` entry", "glassnet convert"]);
    wrong(&["--preset", "convnetjs-mnist"], Path::new("net.json"), &["--preset and --net, which are for weights"]);
}

#[test]
fn what_is_no_safetensors_file_is_told_how_to_make_one() {
    for bytes in [&b""[..], b"PK\x03\x04 a pickle in a zip file, as torch.save writes", &[0x80; 100]] {
        let message = message_of(Model::from_pytorch(network(SMALL), bytes, "weights.pt"));
        assert_contains(&message, &["weights.pt: ", "not a safetensors file", "safetensors.torch.save_file("]);
    }
    let error = Model::import_pytorch(network(SMALL), Path::new("no/such.safetensors")).expect_err("no such file");
    assert_contains(&error.to_string(), &["cannot read no/such.safetensors: "]);
}

#[test]
fn a_model_of_our_own_serves_too() {
    let model = model(golden("zoo"));
    let bytes = model.to_bytes().expect("bytes");
    assert_eq!(Model::from_pytorch(model.network.clone(), &bytes, "model.safetensors").expect("it fits"), model);
}

#[test]
fn no_flipped_bit_and_no_truncation_panics() {
    let bytes = file(&state());
    for index in 0..bytes.len() {
        let refused = Model::from_pytorch(network(SMALL), &bytes[..index], "hostile").expect_err("it is cut off");
        assert!(refused.to_string().starts_with("hostile: "), "{refused}");
        for change in (0..8).map(|bit| bytes[index] ^ (1 << bit)).chain(*b"09\"}{,") {
            let mut changed = bytes.clone();
            changed[index] = change;
            if let Err(error) = Model::from_pytorch(network(SMALL), &changed, "hostile") {
                assert!(error.to_string().starts_with("hostile: "), "{error}");
            }
        }
    }
}

/// The model as a half-precision file restores it.
fn rounded(model: &Model, round: impl Fn(f32) -> f32) -> Model {
    let mut model = model.clone();
    for values in model
        .parameters
        .iter_mut()
        .flat_map(|p| [&mut p.weight, &mut p.bias, &mut p.running_mean, &mut p.running_variance])
    {
        values.iter_mut().for_each(|value| *value = round(*value));
    }
    model
}

#[test]
fn pytorch_loads_our_files_and_we_load_what_it_saves() {
    // PyTorch pads by at most half a window, and its pooling and convolutions do not accept an fc's vectors.
    let suited = || networks().into_iter().filter(|(name, _)| !["windows", "after-fc"].contains(&&name[..]));
    let folder = run_script("check_pytorch.py", "pytorch", |folder| {
        for (name, network) in suited() {
            let model = model(network);
            save_model(&folder.join(format!("{name}.safetensors")), &model).expect("a write");
            Ours::of(&model, 3).write(&folder.join(format!("{name}.outputs.safetensors")));
        }
    });
    let Some(folder) = folder else { return };
    let back = |name: &str, kind: &str, network: &Network| {
        let path = folder.join(format!("{name}.{kind}.saved.safetensors"));
        Model::import_pytorch(network.clone(), &path).expect("it fits")
    };
    for (name, network) in suited() {
        let model = model(network.clone());
        assert!(back(&name, "float32", &network) == model, "{name}");
        assert!(back(&name, "float64", &network) == model, "{name}");
        let half = rounded(&model, |value| half::f16::from_f32(value).to_f32());
        assert!(back(&name, "float16", &network) == half, "{name}");
        let brain = rounded(&model, |value| half::bf16::from_f32(value).to_f32());
        assert!(back(&name, "bfloat16", &network) == brain, "{name}");
    }
}
