//! The command line from a user's view: output, exit codes, and messages about bad input.

mod common;

use assert_cmd::Command;
use common::command::{assert_fails_with, document, examples, failure, glassnet, without_data, write_data};
use glassnet::data::FILES;
use glassnet::evaluate::{evaluate, evaluate_crops};
use glassnet::exec::Device;
use glassnet::formats::{Model, layout, save_model};
use glassnet::kernels::Precision;
use glassnet::net::{Network, PRESETS};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Images in the tests' own data set, 28x28 each.
const TRAIN: usize = 100;
const TEST: usize = 50;

/// A folder with a model of the default network, untrained, and a small data set in MNIST's format.
struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new() -> Folder {
        let folder = Folder { folder: tempfile::tempdir().expect("a folder") };
        write_data(folder.folder.path(), TRAIN, TEST);
        folder.save("model.safetensors", network("convnetjs-mnist"), json!({"dataset": "mnist"}));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self, name: &str, network: Network, extra: Value) {
        let model = Model { parameters: network.initial_parameters(1), network, extra };
        save_model(&self.path(name), &model).expect("a model");
    }

    /// `glassnet COMMAND --model model.safetensors --data-dir FOLDER --device cpu`.
    fn command(&self, command: &str) -> Command {
        self.command_on("cpu", command)
    }

    /// The same on another device.
    fn command_on(&self, device: &str, command: &str) -> Command {
        let mut glassnet = glassnet(&[command, "--device", device, "--model"]);
        glassnet.arg(self.path("model.safetensors")).arg("--data-dir").arg(self.folder.path());
        glassnet
    }
}

fn network(preset: &str) -> Network {
    Network::preset(preset).expect("a preset")
}

#[test]
fn devices_names_every_adapter_and_what_auto_takes() {
    let document = document(&mut glassnet(&["devices"]));
    for adapter in document["adapters"].as_array().expect("a list") {
        for field in ["index", "name", "kind", "driver", "backend", "limits", "features"] {
            assert!(!adapter[field].is_null(), "{field} of {adapter}");
        }
    }
    assert!(document["cpu"]["threads"].as_u64() > Some(0));
    assert!(document["auto"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    let device = document["auto"]["device"].as_str();
    assert!(device == Some("cpu") || (device == Some("gpu") && document["auto"]["adapter"].is_u64()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_an_adapter_computes_on_the_cpu() {
    let without_drivers = |args: &[&str]| {
        let mut command = glassnet(args);
        command.env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere");
        command
    };
    let document = document(&mut without_drivers(&["devices"]));
    assert_eq!((&document["adapters"], &document["auto"]["device"]), (&json!([]), &json!("cpu")));
    assert_fails_with(&mut without_drivers(&["check"]), &["no GPU adapter found", "--device cpu"]);
}

#[test]
fn an_unknown_adapter_is_an_error() {
    // A number is always an index, even if names contain numbers.
    for name in ["no such adapter", "15"] {
        let message = failure(&mut glassnet(&["check", "--adapter", name]));
        // Depends on the machine.
        let expected = format!("no adapter {name:?}; there are");
        assert!(message.contains(&expected) || message.contains("no GPU adapter found"), "{message}");
    }
}

#[test]
fn an_adapter_is_no_choice_for_the_cpu() {
    let folder = Folder::new();
    for mut command in [glassnet(&["check", "--device", "cpu"]), folder.command("eval")] {
        assert_fails_with(command.args(["--adapter", "0"]), &["--adapter selects a GPU"]);
    }
}

#[test]
fn only_a_gpu_can_skip_the_self_check() {
    let folder = Folder::new();
    let message = "--skip-self-check is for a GPU";
    assert_fails_with(folder.command("eval").arg("--skip-self-check"), &[message, "--device gpu"]);
    assert_fails_with(&mut glassnet(&["bench", "--devices", "cpu", "--skip-self-check"]), &[message, "--devices"]);
    let resume = ["train", "--resume", "/nowhere", "--skip-self-check"];
    assert_fails_with(&mut glassnet(&resume), &["--skip-self-check with --resume", "--device gpu"]);
}

#[test]
fn only_a_gpu_can_be_tuned() {
    let folder = Folder::new();
    let message = "--tune is for a GPU; leave it out";
    for device in ["cpu", "reference"] {
        let out = folder.path("tuned");
        let mut train = glassnet(&["train", "--dataset", "synthetic", "--device", device, "--tune", "full", "--out"]);
        assert_fails_with(train.arg(&out), &[message, "--device gpu"]);
        assert!(!out.exists());
    }
    assert_fails_with(&mut glassnet(&["bench", "--devices", "cpu", "--tune", "quick"]), &[message, "--devices"]);
    // The processor is what is left without a driver.
    let mut train = glassnet(&["train", "--dataset", "synthetic", "--steps", "1", "--tune", "quick", "--no-report"]);
    train.env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere").arg("--out").arg(folder.path("auto"));
    let output = train.output().expect("the program runs");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && notes.contains("--tune has no effect on the processor"), "{notes}");
}

#[test]
fn advice_about_an_adapter_names_the_options_of_the_command() {
    for (args, advice, other) in [
        (&["bench", "--adapter", "99"][..], "with --devices cpu", "--device cpu"),
        (&["check", "--adapter", "99"], "with --device cpu", "--devices"),
    ] {
        let message = failure(&mut glassnet(args));
        assert!(message.contains(advice) && !message.contains(other), "{message}");
    }
}

#[test]
fn options_of_check_that_have_no_effect_together_are_refused() {
    for args in [
        &["--filter", "relu", "--batch-size", "3"][..],
        &["--filter", "relu", "--force"],
        &["--lockstep", "--force"],
        &["--device", "cpu", "--force"],
        &["--adapter", "0", "--force"],
        &["--preset", "fast-mnist", "--force"],
        &["--batch-size", "3", "--force"],
        &["--batch-size", "3"],
    ] {
        glassnet(&["check"]).args(args).assert().code(2);
    }
}

#[test]
fn check_reports_each_kernel() {
    let document = document(&mut glassnet(&["check", "--device", "cpu", "--filter", "relu."]));
    let kernels: Vec<_> = document["kernels"].as_array().expect("a list").iter().map(|k| &k["kernel"]).collect();
    assert_eq!(kernels, ["relu.forward", "relu.backward"]);
    assert_eq!(
        (&document["passed"], &document["failed"], &document["failures"]),
        (&json!(true), &json!(0), &json!([]))
    );
    let output =
        glassnet(&["check", "--device", "cpu", "--filter", "relu."]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8_lossy(&output);
    assert!(text.contains("relu.backward") && text.contains("cases agree with the reference"), "{text}");
}

#[test]
fn check_runs_every_variant_on_a_gpu_or_the_one_that_is_named() {
    let Some(gpu) = common::gpu() else { return };
    for (filter, buffers, textures) in [
        (
            "elementwise.add",
            &["elementwise.add", "elementwise.add_vec4"][..],
            &["elementwise.add_textures", "elementwise.add_vec4_textures"][..],
        ),
        ("elementwise.add_vec4", &["elementwise.add_vec4"], &["elementwise.add_vec4_textures"]),
        ("pool.backward_vec4", &["pool.backward_vec4"], &["pool.backward_vec4_textures"]),
    ] {
        let document = document(&mut glassnet(&["check", "--filter", filter]));
        let kernels: Vec<_> = document["kernels"].as_array().expect("a list").iter().map(|k| &k["kernel"]).collect();
        let mut expected = buffers.to_vec();
        if gpu.adapter().software {
            expected.extend(textures);
        }
        expected.sort_unstable();
        let mut names: Vec<&str> = kernels.iter().filter_map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!((names, &document["passed"]), (expected, &json!(true)), "{filter}");
    }
}

#[test]
fn a_precision_that_a_device_does_not_have_is_refused() {
    let folder = Folder::new();
    let expected = ["precision matrix-f16 is for a GPU", "--precision f32"];
    for name in ["matrix-f16", "fp16"] {
        assert_fails_with(folder.command("eval").args(["--precision", name]), &expected);
    }
    let expected = ["--precision is for a GPU", "gpu to --devices"];
    assert_fails_with(&mut glassnet(&["bench", "--devices", "cpu", "--precision", "matrix-f32"]), &expected);
    let Some(gpu) = common::gpu() else { return };
    for precision in Precision::ALL {
        let mut command = folder.command_on("gpu", "eval");
        command.args(["--precision", precision.name()]);
        if gpu.summary().precisions.contains(&precision) {
            assert_eq!(document(&mut command)["device"]["precision"], json!(precision.name()));
            continue;
        }
        let expected =
            [&format!("cannot compute in precision {precision}")[..], "it computes in f32", "--precision f32"];
        assert_fails_with(&mut command, &expected);
        assert_fails_with(&mut glassnet(&["check", "--precision", precision.name()]), &expected);
    }
    let listed = &document(&mut glassnet(&["devices"]))["adapters"];
    let names: Vec<&str> = gpu.summary().precisions.iter().map(|precision| precision.name()).collect();
    assert!(listed.as_array().is_some_and(|list| list.iter().any(|one| one["precisions"] == json!(names))), "{listed}");
    assert_eq!(names[0], "f32");
}

#[test]
fn kernels_for_another_precision_are_not_said_to_be_unknown() {
    if common::gpu().is_none() {
        return;
    }
    assert_fails_with(
        &mut glassnet(&["check", "--filter", "conv_matrix."]),
        &["conv_matrix.", "choose the --precision"],
    );
}

#[test]
fn a_filter_that_matches_nothing_is_an_error() {
    let mut command = glassnet(&["check", "--device", "cpu", "--filter", "no such case"]);
    assert_fails_with(&mut command, &["\"no such case\"", "conv.forward"]);
}

#[test]
fn lockstep_compares_every_operation_of_a_step() {
    for size in ["1", "3"] {
        let args = ["check", "--lockstep", "--device", "cpu", "--batch-size", size];
        let document = document(&mut glassnet(&args));
        assert_eq!((&document["passed"], &document["divergence"]), (&json!(true), &Value::Null));
        assert!(document["operations"].as_u64() > Some(20), "{document}");
    }
}

#[test]
fn lockstep_refuses_what_cannot_be() {
    let lockstep = |args: &[&str]| {
        let mut command = glassnet(&["check", "--lockstep", "--device", "cpu"]);
        command.args(args);
        command
    };
    assert_fails_with(&mut lockstep(&["--preset", "lenet"]), &["unknown preset `lenet`", "convnetjs-mnist"]);
    assert_fails_with(&mut lockstep(&["--net", "/nowhere/net.toml"]), &["cannot read /nowhere/net.toml"]);
    for size in ["0", "18446744073709551615"] {
        assert_fails_with(
            &mut lockstep(&["--batch-size", size]),
            &["--batch-size must be a whole number from 1 to 65535"],
        );
    }
    assert_fails_with(&mut glassnet(&["check", "--preset", "vgg-mnist"]), &["--lockstep"]);
    lockstep(&["--preset", "vgg-mnist", "--net", "x.toml"]).assert().code(2);
}

#[test]
fn eval_counts_what_the_library_counts() {
    let document = document(&mut Folder::new().command("eval"));
    let network = network("convnetjs-mnist");
    let parameters = network.initial_parameters(1);
    let examples = examples(TEST);
    let expected = evaluate(&Device::Cpu, &network, &parameters, &examples, 7);
    let expected = pollster::block_on(expected).expect("it evaluates");
    assert_eq!(document["confusion_matrix"], json!(expected.confusion));
    assert_eq!((&document["examples"], &document["correct"]), (&json!(TEST), &json!(expected.correct)));
    assert_eq!(document["test_accuracy"], json!(expected.accuracy));
    let loss = document["test_loss"].as_f64().expect("a loss");
    assert!((loss - expected.loss).abs() < 1e-6, "{loss} and {}", expected.loss);
    assert_eq!((&document["dataset"], &document["device"]["executor"]), (&json!("mnist"), &json!("cpu")));
    let rows: u64 = document["classes"].as_array().expect("a list").iter().filter_map(|c| c["examples"].as_u64()).sum();
    assert_eq!(rows, TEST as u64);
}

#[test]
fn eval_averages_over_as_many_crops_as_asked_for() {
    let folder = Folder::new();
    let eval = |args: &[&str]| document(folder.command("eval").args(args));
    let (plain, one) = (eval(&[]), eval(&["--test-crops", "1"]));
    assert_eq!((&plain, &plain["test_crops"]), (&one, &json!(1)));
    let network = network("convnetjs-mnist");
    let parameters = network.initial_parameters(1);
    let examples = examples(TEST);
    for count in [2, 10, 25] {
        let document = eval(&["--test-crops", &count.to_string()]);
        let expected = evaluate_crops(&Device::Cpu, &network, &parameters, &examples, 7, count);
        let expected = pollster::block_on(expected).expect("it evaluates");
        assert_eq!(document["test_crops"], json!(count));
        assert_eq!(document["confusion_matrix"], json!(expected.confusion));
        let loss = document["test_loss"].as_f64().expect("a loss");
        assert!((loss - expected.loss).abs() < 1e-6 && document["test_loss"] != plain["test_loss"], "{document}");
    }
    let said = folder.command("eval").args(["--test-crops", "10"]).assert().success();
    assert!(String::from_utf8_lossy(&said.get_output().stdout).contains(", the mean of 10 crops"));
}

#[test]
fn crops_that_there_are_not_are_refused() {
    let folder = Folder::new();
    let eval = |count: &str, expected: &[&str]| {
        assert_fails_with(folder.command("eval").args(["--test-crops", count]), expected);
    };
    eval("26", &["--test-crops must be at most 25 for network convnetjs-mnist", "got 26"]);
    eval("0", &["--test-crops must be a whole number from 1 to 100, got 0"]);
    eval("101", &["--test-crops must be a whole number from 1 to 100, got 101"]);
    // Images as large as the input.
    folder.save("model.safetensors", self::network("best-mnist"), json!({"dataset": "mnist"}));
    eval("5", &["--test-crops must be 1 for network best-mnist", "got 5"]);
}

#[test]
fn eval_prints_a_confusion_matrix_with_class_names() {
    let folder = Folder::new();
    let text = |args: &[&str]| {
        let output = folder.command("eval").args(args).assert().success().get_output().stdout.clone();
        String::from_utf8(output).expect("UTF-8")
    };
    assert!(text(&[]).contains("test loss "));
    assert!(text(&["--dataset", "fashion-mnist"]).contains("\n9 Ankle boot "));
    assert!(text(&["--dataset", "kmnist"]).contains("\nお"));
}

#[test]
fn the_gpu_evaluates_and_inspects_as_the_cpu_does() {
    if common::gpu().is_none() {
        return;
    }
    let folder = Folder::new();
    for args in [&["eval"][..], &["eval", "--test-crops", "7"], &["inspect", "--index", "3"]] {
        let run = |device: &str| {
            let mut command = glassnet(args);
            command.args(["--device", device]).arg("--model").arg(folder.path("model.safetensors"));
            document(command.arg("--data-dir").arg(folder.folder.path()))
        };
        let (cpu, gpu) = (run("cpu"), run("gpu"));
        let loss = |document: &Value| document["test_loss"].as_f64().or(document["loss"].as_f64()).expect("a loss");
        assert_eq!(gpu["device"]["executor"], "gpu");
        assert!((loss(&cpu) - loss(&gpu)).abs() < 1e-4, "{} and {}", loss(&cpu), loss(&gpu));
    }
}

#[test]
fn inspect_shows_every_layer() {
    let document = document(Folder::new().command("inspect").args(["--index", "7", "--split", "train"]));
    assert_eq!((&document["label"]["class"], &document["split"]), (&json!(7), &json!("train")));
    let loss = -document["label"]["probability"].as_f64().expect("a probability").ln();
    assert!((document["loss"].as_f64().expect("a loss") - loss).abs() < 1e-5);
    assert_eq!(document["predictions"].as_array().map(Vec::len), Some(3));
    let layers = document["layers"].as_array().expect("a list");
    let names: Vec<&str> = layers.iter().filter_map(|layer| layer["layer"].as_str()).collect();
    assert_eq!(names, ["input", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "softmax"]);
    assert_eq!((&layers[1]["shape"], &layers[1]["parameters"]), (&json!([24, 24, 8]), &json!(208)));
    for layer in layers {
        for field in ["activation", "activation_gradient"] {
            let figure = |name: &str| layer[field][name].as_f64().expect("a figure");
            assert!(figure("min") <= figure("mean") && figure("mean") <= figure("max"), "{field} of {layer}");
        }
    }
}

#[test]
fn inspect_draws_a_page_with_a_picture_of_every_tensor() {
    let folder = Folder::new();
    let out = folder.path("pictures");
    let draw = |more: &[&str]| {
        let mut command = folder.command("inspect");
        command.args(["--index", "7", "--out"]).arg(&out).args(more);
        command
    };
    let document = document(&mut draw(&[]));
    assert_eq!(document["pictures"].as_str(), out.to_str());
    let page = fs::read_to_string(out.join("index.html")).expect("the page");
    let names =
        |what: &str, layers: &[&str]| layers.iter().map(|layer| format!("{layer}.{what}.png")).collect::<Vec<_>>();
    let all = ["input", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "softmax"];
    let learned = ["conv1", "conv2", "fc1"];
    let mut expected = [names("activation", &all), names("activation_gradient", &all)].concat();
    expected.extend([names("weight", &learned), names("weight_gradient", &learned)].concat());
    expected.extend(names("saliency", &["explanation"]));
    let maps = ["grad_cam", "grad_cam_over_image", "occlusion", "occlusion_over_image"];
    expected.extend(maps.into_iter().flat_map(|what| names(what, &["explanation"])));
    for name in &expected {
        let picture = image::open(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).to_rgb8();
        assert!(picture.width() <= 4096 && picture.height() <= 4096, "{name}");
        let colours: std::collections::HashSet<_> = picture.pixels().collect();
        assert!(colours.len() > 2, "{name} shows nothing");
        assert_eq!(page.matches(&format!("src=\"{name}\"")).count(), 1, "{name}");
    }
    assert_eq!(fs::read_dir(&out).expect("the folder").count(), expected.len() + 1);
    let extreme = document["layers"][1]["activation"]["max"].as_f64().expect("a figure");
    assert!(page.contains(&format!("to {extreme:.4}")), "{extreme} stands under its picture");

    assert_fails_with(&mut draw(&[]), &["is not empty", "--force"]);
    let before = fs::read(out.join("conv1.weight.png")).expect("the picture");
    draw(&["--force", "--palette", "grey"]).assert().success();
    assert_ne!(fs::read(out.join("conv1.weight.png")).expect("the picture"), before);
    let said = |command: &mut assert_cmd::Command| {
        String::from_utf8_lossy(&command.assert().code(2).get_output().stderr).into_owned()
    };
    assert!(said(&mut draw(&["--force", "--palette", "pink"])).contains("blue-orange, blue-red, grey"));
    assert!(said(folder.command("inspect").args(["--index", "7", "--palette", "grey"])).contains("--out"));
}

#[test]
fn inspect_says_what_decides() {
    let folder = Folder::new();
    let out = folder.path("pictures");
    let mut command = folder.command("inspect");
    let document = document(command.args(["--index", "3", "--occlusion-size", "9", "--out"]).arg(&out));
    let why = &document["explanation"];
    assert_eq!(
        (&why["grad_cam"], &why["occlusion_size"], &why["occlusion_stride"]),
        (&json!("relu2"), &json!(9), &json!(3))
    );
    let winner = &document["predictions"][0];
    assert_eq!(why["winner"]["class"], winner["class"]);
    let difference = why["winner"]["probability"].as_f64().expect("one") - winner["probability"].as_f64().expect("one");
    assert!(difference.abs() < 1e-5);
    let page = fs::read_to_string(out.join("index.html")).expect("the page");
    let parts =
        ["What decides", "Saliency", "Grad-CAM", "relu2", "Selvaraju", "square of 9×9 pixels", "steps of 3 pixels"];
    for part in parts {
        assert!(page.contains(part), "{part}");
    }
    let mut refused = folder.command("inspect");
    refused.args(["--index", "3", "--force", "--occlusion-size", "25", "--out"]).arg(&out);
    assert_fails_with(&mut refused, &["--occlusion-size must be from 1 to 24 pixels", "got 25"]);
    folder.command("inspect").args(["--index", "3", "--occlusion-size", "9"]).assert().code(2);
}

#[test]
fn gradients_of_a_batch_are_said_to_be_that() {
    let folder = Folder::new();
    let gradient = |index: &str, batch: &str| {
        let path = folder.path(&format!("{index}-{batch}.safetensors"));
        let mut command = folder.command("inspect");
        let document = document(command.args(["--index", index, "--batch", batch, "--dump"]).arg(&path));
        let bytes = fs::read(&path).expect("the dump");
        let dump = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let data = dump.tensor("fc1.bias_gradient").expect("a gradient").data().as_chunks().0;
        let values: Vec<f64> = data.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect();
        (document, values)
    };
    let ((alone, first), (_, second), (both, mean)) = (gradient("3", "1"), gradient("4", "1"), gradient("3", "2"));
    for (mean, (first, second)) in mean.iter().zip(first.iter().zip(&second)) {
        assert!((mean - (first + second) / 2.0).abs() < 1e-6, "{mean} of {first} and {second}");
    }
    assert_eq!((&alone["gradients"]["of"], &both["gradients"]["of"]), (&json!("example"), &json!("batch")));
    let range = ["examples", "first", "last"].map(|key| both["gradients"][key].clone());
    assert_eq!(range, [2, 3, 4].map(|number| json!(number)));
    assert_eq!(alone["loss"], both["loss"], "the example's own");
    let out = folder.path("pictures");
    let table = folder.command("inspect").args(["--index", "3", "--batch", "2", "--out"]).arg(&out).assert().success();
    let table = String::from_utf8_lossy(&table.get_output().stdout).into_owned();
    let page = fs::read_to_string(out.join("index.html")).expect("the page");
    assert!(table.contains("gradients are of the batch of 2 examples (3..4)"), "{table}");
    assert!(page.contains("weight gradient of the batch of 2 examples (3..4)"));
    assert!(
        page.contains("activation gradient of this example within the mean loss of the batch of 2 examples (3..4)")
    );
    let mut large = folder.command("inspect");
    assert_fails_with(large.args(["--index", "48", "--batch", "3"]), &["batch of 3", "2 of 50 are left"]);
}

#[test]
fn a_dump_holds_every_tensor_in_its_promised_shape() {
    let folder = Folder::new();
    let path = folder.path("dump.safetensors");
    folder.command("inspect").args(["--index", "3", "--dump"]).arg(&path).assert().success();
    let bytes = fs::read(&path).expect("the dump");
    let dump = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let values = |name: &str| -> Vec<f32> {
        let data = dump.tensor(name).expect(name).data().as_chunks().0;
        data.iter().map(|value| f32::from_le_bytes(*value)).collect()
    };
    let shape = |name: &str| dump.tensor(name).expect(name).shape().to_vec();
    let shapes: [(&str, &[usize]); 9] = [
        ("input", &[24, 24, 1]),
        ("conv1", &[24, 24, 8]),
        ("relu1", &[24, 24, 8]),
        ("pool1", &[12, 12, 8]),
        ("conv2", &[12, 12, 16]),
        ("relu2", &[12, 12, 16]),
        ("pool2", &[4, 4, 16]),
        ("fc1", &[10]),
        ("softmax", &[10]),
    ];
    for (layer, expected) in shapes {
        assert_eq!(shape(&format!("{layer}.activation")), expected);
        assert_eq!(shape(&format!("{layer}.activation_gradient")), expected);
    }
    let network = network("convnetjs-mnist");
    for ((parameters, values_of), expected) in network.parameters().iter().zip(network.initial_parameters(1)).zip([
        &[8, 1, 5, 5][..],
        &[16, 8, 5, 5],
        &[10, 256],
    ]) {
        let layer = &parameters.layer;
        assert_eq!(
            (shape(&format!("{layer}.weight")), shape(&format!("{layer}.weight_gradient"))),
            (expected.to_vec(), expected.to_vec())
        );
        assert_eq!(
            values(&format!("{layer}.weight")),
            layout::to_pytorch(&network.nodes[parameters.node], &values_of.weight)
        );
        assert_eq!(values(&format!("{layer}.bias")), values_of.bias);
        assert_eq!(shape(&format!("{layer}.bias_gradient")), [parameters.bias]);
    }
    let explained: [(&str, &[usize]); 4] = [
        ("saliency", &[24, 24, 1]),
        ("grad_cam", &[12, 12]),
        ("grad_cam_enlarged", &[24, 24]),
        ("occlusion", &[12, 12]),
    ];
    for (what, expected) in explained {
        assert_eq!(shape(&format!("explanation.{what}")), expected);
    }
    assert_eq!(dump.len(), 2 * shapes.len() + 4 * 3 + explained.len());
    // The centre crop begins two pixels from the image's border.
    let corner = f32::from(examples(TEST).image(3)[2 * 28 + 2]) / 255.0 - 0.5;
    assert!((values("input.activation")[0] - corner).abs() < 1e-6);
    let (probabilities, gradient) = (values("softmax.activation"), values("fc1.activation_gradient"));
    assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    for class in 0..10 {
        let expected = probabilities[class] - f32::from(u8::from(class == 3));
        assert!((gradient[class] - expected).abs() < 1e-5, "gradient of logit {class}");
    }
}

#[test]
fn a_dump_that_cannot_be_written_is_an_error() {
    let folder = Folder::new();
    let target = folder.path("missing/dump.safetensors");
    assert_fails_with(folder.command("inspect").args(["--index", "0", "--dump"]).arg(&target), &["cannot write"]);
    assert!(!folder.path("missing").exists());
}

#[test]
fn an_example_that_does_not_exist_is_an_error_that_names_the_range() {
    let folder = Folder::new();
    assert_fails_with(folder.command("inspect").args(["--index", "50"]), &["example 50 does not exist", "0 to 49"]);
    assert_fails_with(folder.command("inspect").args(["--index", "100", "--split", "train"]), &["0 to 99"]);
}

#[test]
fn a_damaged_model_is_an_error_that_names_the_file() {
    let folder = Folder::new();
    let path = folder.path("model.safetensors");
    let name = path.display().to_string();
    let bytes = fs::read(&path).expect("the model");
    for damaged in [&bytes[..bytes.len() - 5], &bytes[..40], b"rubbish that is longer than eight bytes", b""] {
        fs::write(&path, damaged).expect("a damaged model");
        assert_fails_with(&mut folder.command("eval"), &[&name]);
        assert_fails_with(folder.command("inspect").args(["--index", "0"]), &[&name]);
    }
    fs::remove_file(&path).expect("no model");
    assert_fails_with(&mut folder.command("eval"), &["cannot read", &name]);
}

#[test]
fn a_model_whose_input_does_not_fit_the_data_is_an_error() {
    let folder = Folder::new();
    let text = network("convnetjs-mnist").to_toml().replace("24", "32");
    let network = Network::from_toml(&text, "a test").expect("a network");
    folder.save("model.safetensors", network, json!({}));
    for command in ["eval", "inspect"] {
        let mut command = folder.command(command);
        command.args(["--dataset", "mnist"]);
        if command.get_args().any(|arg| arg == "inspect") {
            command.args(["--index", "0"]);
        }
        assert_fails_with(&mut command, &["takes 32x32x1 images, but the data has 28x28x1", "too small"]);
    }
}

#[test]
fn data_that_is_damaged_or_missing_is_an_error() {
    let folder = Folder::new();
    let images = folder.path(FILES[2]);
    fs::write(&images, &fs::read(&images).expect("images")[..1000]).expect("truncated images");
    assert_fails_with(&mut folder.command("eval"), &[FILES[2]]);
    fs::remove_file(&images).expect("no images");
    assert_fails_with(&mut folder.command("eval"), &["mnist is incomplete", FILES[2]]);
}

#[test]
fn an_unknown_data_set_in_the_model_can_be_overridden() {
    let folder = Folder::new();
    folder.save("model.safetensors", network("convnetjs-mnist"), json!({"dataset": "svhn"}));
    assert_fails_with(&mut folder.command("eval"), &["svhn", "--dataset"]);
    folder.command("eval").args(["--dataset", "mnist"]).assert().success();
}

#[test]
fn synthetic_digits_that_stand_in_are_named_in_the_first_and_the_last_line() {
    let folder = Folder::new();
    folder.save("model.safetensors", network("convnetjs-mnist"), json!({}));
    let mut command = glassnet(&["eval", "--device", "cpu", "--model"]);
    command.arg(folder.path("model.safetensors"));
    without_data(&mut command, &folder.path("home"));
    let output = command.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).expect("UTF-8");
    let first_and_last = [text.lines().next(), text.lines().last()].map(Option::unwrap_or_default);
    assert!(first_and_last.iter().all(|line| line.contains("SYNTHETIC DIGITS")), "{text}");
    let output = command.arg("--json").assert().success().get_output().stdout.clone();
    let document: Value = serde_json::from_slice(&output).expect("stdout is one JSON document");
    assert!(document["stand_in"].as_str().is_some_and(|reason| reason.contains("mnist cannot be obtained")));
}

#[test]
fn data_sets_are_listed_and_verified() {
    let folder = Folder::new();
    let data = |args: &[&str], folder: &Path| {
        let mut command = glassnet(&["data"]);
        command.args(args).arg("--data-dir").arg(folder);
        command
    };
    let listed = document(&mut data(&["list"], folder.folder.path()));
    let state =
        |name: &str| listed.as_array().and_then(|l| l.iter().find(|d| d["dataset"] == name)).map(|d| &d["state"]);
    assert_eq!((state("mnist"), state("synthetic")), (Some(&json!("differs")), Some(&json!("built-in"))));
    // The user's own data is not a published data set.
    let output = data(&["verify", "--dataset", "mnist", "--json"], folder.folder.path()).assert().code(1);
    let reports: Value = serde_json::from_slice(&output.get_output().stdout).expect("stdout is one JSON document");
    assert_eq!(reports[0]["files"][0]["verdict"], "differs");

    let empty = tempfile::tempdir().expect("a folder");
    assert_fails_with(&mut data(&["verify"], empty.path()), &["no complete copy", "glassnet data fetch"]);
    assert_fails_with(&mut data(&["list"], &empty.path().join("missing")), &["does not exist"]);
    assert_fails_with(&mut data(&["fetch", "--dataset", "synthetic"], empty.path()), &["built in"]);
}

#[test]
fn an_unpacked_cifar10_is_listed_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).expect("a folder");
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_string()]);
    // Black aeroplanes, as many as the published files have.
    for name in names {
        fs::File::create(inner.join(name)).expect("a file").set_len(10_000 * 3_073).expect("its size");
    }
    let data = |action: &[&str]| {
        let mut command = glassnet(&["data"]);
        command.args(action).arg("--data-dir").arg(folder.path());
        command
    };
    let listed = document(&mut data(&["list"]));
    let set = listed.as_array().and_then(|sets| sets.iter().find(|set| set["dataset"] == "cifar10")).expect("its line");
    assert_eq!((&set["state"], &set["folder"]), (&json!("unverifiable"), &json!(inner)));
    assert_eq!(set["files"].as_array().map(Vec::len), Some(6));
    let assert = data(&["verify", "--dataset", "cifar10"]).assert().code(1);
    let told = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let detail = "cifar10/test_batch.bin: only the checksum of cifar-10-binary.tar.gz is published; keep that file";
    assert!(told.contains(detail), "{told}");
    fs::remove_file(inner.join("data_batch_4.bin")).expect("a file");
    let output = data(&["verify", "--dataset", "cifar10", "--json"]).assert().code(1);
    let reports: Value = serde_json::from_slice(&output.get_output().stdout).expect("stdout is one JSON document");
    assert_eq!((&reports[0]["state"], &reports[0]["files"][3]["verdict"]), (&json!("differs"), &json!("missing")));
}

#[test]
fn help_names_every_preset_and_what_the_network_decides() {
    for command in ["train", "compare", "bench", "check"] {
        let shown = glassnet(&[command, "--help"]).assert().success().get_output().stdout.clone();
        let shown = String::from_utf8(shown).expect("UTF-8").split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, presets) = shown.split_once("--preset <NAME>").unwrap_or_default();
        let missing = PRESETS.iter().find(|(name, _)| !presets.contains(name));
        assert!(missing.is_none() || !shown.contains("--preset <NAME>"), "{command} lacks {missing:?}: {shown}");
        if ["train", "compare"].contains(&command) {
            assert!(missing.is_none() && presets.contains("convnetjs-mnist (the default), fast-mnist, "), "{shown}");
            assert!(shown.contains("Passes over the training set [default: the network's own, else 3]"), "{shown}");
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_told_what_is_expected() {
    for (args, expected) in [
        (["train", "--learning-rate", "abc"], "expected a number, such as 0.01"),
        (["train", "--epochs", "1.5"], "expected a whole number, 0 or more"),
        (["train", "--batch-size", "-"], "expected a whole number, 0 or more"),
        (["train", "--seed", "99999999999999999999"], "the number is too large"),
        (
            ["compare", "--seeds", "1-3"],
            "expected a whole number, 0 or more; separate several by commas, such as 1,2,3",
        ),
        (["eval", "--test-crops", "many"], "expected a whole number, 0 or more"),
        (["inspect", "--index", "first"], "expected a whole number, 0 or more"),
    ] {
        let assert = glassnet(&args).assert().code(2);
        let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(told.contains(expected) && told.contains(args[1]), "{args:?}: {told}");
    }
}

#[test]
fn an_unknown_data_set_is_a_mistake_of_the_command_line() {
    let assert = Folder::new().command("eval").args(["--dataset", "cifar"]).assert().code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("choose one of mnist"));
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glassnet"));
    command.args(["check", "--device", "cpu", "--filter", "relu."]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn looking_for_adapters_without_a_session_says_nothing_on_stderr() {
    let mut command = glassnet(&["devices"]);
    // As on a headless machine, where libwayland complains for Mesa.
    let wishes = ["XDG_RUNTIME_DIR", "WAYLAND_DISPLAY", "NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
    let command = wishes.iter().fold(&mut command, |command, name| command.env_remove(name));
    command.env("RUST_LOG", "error").assert().success().stderr("");
}
