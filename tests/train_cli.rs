//! `glassnet train` from a user's view: the run folder, repeating, stopping and resuming a run, and messages about bad
//! input.

mod common;

use assert_cmd::Command;
use common::command::{Place, assert_fails_with, document, failing, glassnet, text, without_data, write_data};
use glassnet::formats::{load_checkpoint, load_model};
use glassnet::kernels::optimizer::OPTIMIZERS;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Images in the tests' own data set; a tenth of the training images is held out.
const TRAIN: usize = 250;
const TEST: usize = 50;
const LEARNED_FROM: usize = 225;

const LAYERS: [&str; 9] = ["input", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "softmax"];

/// A small custom network.
const NET: &str = r#"
name = "small"
layers = [
    { type = "input", height = 28, width = 28, channels = 1 },
    { type = "max-pool", size = 4 },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

impl Place {
    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }

    /// `glassnet train --device cpu --data-dir DATA ARGS`.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = glassnet(&["train", "--device", "cpu", "--data-dir"]);
        command.arg(self.path("data")).args(args);
        command
    }

    /// A new run on the data, into the folder `run`.
    fn train(&self, run: &str, args: &[&str]) -> Command {
        let mut command = self.command(&["--dataset", "mnist"]);
        command.args(args).arg("--out").arg(self.path(run));
        command
    }

    fn resume(&self, run: &str, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.arg("--resume").arg(self.path(run));
        command
    }

    /// Starts `train` and lets it run.
    fn start(&self, mut command: Command) -> Running {
        let mut child = std::process::Command::new(command.get_program());
        child.args(command.arg("--json").get_args()).env_remove("GLASSNET_DATA").env_remove("RUST_LOG");
        #[cfg(unix)]
        common::command::heeding_signals(&mut child);
        Running { child: child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts") }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).expect("one JSON document")
    }

    /// The rows of a run's `metrics.jsonl`.
    fn metrics(&self, run: &str) -> Vec<Value> {
        let text = String::from_utf8(self.bytes(&format!("{run}/metrics.jsonl"))).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("every line is a JSON document")).collect()
    }

    /// Waits until `metrics.jsonl` of a run under way has more than `rows` whole rows.
    fn wait_for_rows(&self, run: &str, rows: usize) {
        let path = self.path(&format!("{run}/metrics.jsonl"));
        let lines = || fs::read(&path).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        let begin = Instant::now();
        while lines() <= rows {
            assert!(begin.elapsed() < Duration::from_secs(120), "{} rows in {}", lines(), path.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A running `train`; it ends with the test.
struct Running {
    child: Child,
}

impl Running {
    /// Kills it as a power cut would; panics if it has already ended.
    fn kill(mut self) {
        assert!(self.child.try_wait().expect("its state").is_none(), "the run ended before it was killed");
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every entry of a folder except hidden ones.
fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.') || name.ends_with("-tmp"));
    names.sort();
    names
}

#[test]
fn a_run_folder_has_its_files() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "3"]).assert().success();
    let expected = [
        "best.safetensors",
        "checkpoint.safetensors",
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "report.html",
        "summary.json",
    ];
    assert_eq!(entries(&place.path("run")), expected);
}

#[test]
fn the_summary_has_the_promised_fields_and_is_what_json_prints() {
    let place = Place::with_data(TRAIN, TEST);
    let printed = document(&mut place.train("run", &["--epochs", "2"]));
    let summary = place.json("run/summary.json");
    assert_eq!(printed, summary);
    for field in ["test_accuracy", "test_loss", "validation_accuracy", "train_seconds", "images_per_second"] {
        assert!(summary[field].as_f64().is_some_and(|value| value >= 0.0), "{field} of {summary}");
    }
    assert!(summary["first_step_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{summary}");
    assert_eq!(summary["examples_seen"], 2 * LEARNED_FROM);
    assert_eq!(summary["dataset"], "mnist");
    assert!(summary["device"].as_str().is_some_and(|device| device.starts_with("cpu: ")), "{summary}");
}

#[test]
fn an_optimizers_constants_can_be_given_and_a_resumed_run_keeps_them() {
    let place = Place::with_data(TRAIN, TEST);
    let constants = ["--optimizer", "adam", "--epsilon", "1e-3", "--beta1", "0.5", "--beta2", "0.75"];
    let whole = [&["--steps", "6"][..], &constants].concat();
    place.train("whole", &whole).assert().success();
    place.train("plain", &["--steps", "6", "--optimizer", "adam"]).assert().success();
    place.train("run", &[&["--steps", "3"][..], &constants].concat()).assert().success();
    let config: toml::Table = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8").parse().expect("TOML");
    for (constant, value) in [("epsilon", 1e-3), ("beta1", 0.5), ("beta2", 0.75)] {
        assert_eq!(config["optimizer"].get(constant), Some(&value.into()), "{constant}");
    }
    for flag in ["--epsilon", "--rho", "--beta1", "--beta2"] {
        assert_fails_with(&mut place.resume("run", &["--steps", "6", flag, "0.5"]), &[flag, "--resume"]);
    }
    place.resume("run", &["--steps", "6"]).assert().success();
    assert!(place.bytes("run/model.safetensors") == place.bytes("whole/model.safetensors"), "the models differ");
    assert!(place.bytes("run/model.safetensors") != place.bytes("plain/model.safetensors"), "the constants do nothing");
}

#[test]
fn the_configuration_has_every_setting_resolved() {
    let place = Place::with_data(TRAIN, TEST);
    let args = ["--steps", "3", "--optimizer", "momentum", "--momentum", "0.8", "--seed", "7", "--l1-decay", "1e-4"];
    place.train("run", &args).assert().success();
    let text = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8");
    let config: toml::Table = text.parse().expect("TOML");
    let expected = [
        ("version", toml::Value::from(env!("CARGO_PKG_VERSION"))),
        ("dataset", "mnist".into()),
        ("seed", 7.into()),
        ("batch_size", 20.into()),
        ("l1_decay", 1e-4.into()),
        ("l2_decay", 5e-5.into()),
        ("stats_every", 100.into()),
        ("checkpoint_every", 1000.into()),
    ];
    for (key, value) in expected {
        assert_eq!(config.get(key), Some(&value), "{key}");
    }
    let entry = |table: &str, key: &str| config[table].get(key).cloned();
    assert_eq!(entry("length", "steps"), Some(3.into()));
    assert_eq!(
        (entry("optimizer", "name"), entry("optimizer", "momentum")),
        (Some("momentum".into()), Some(0.8.into()))
    );
    assert_eq!(entry("optimizer", "learning_rate"), Some(0.01.into()));
    assert_eq!(entry("device", "executor"), Some("cpu".into()));
    for key in ["name", "driver", "backend"] {
        assert!(entry("device", key).is_some(), "{key} of the device");
    }
}

#[test]
fn rows_of_metrics_have_the_promised_figures() {
    let place = Place::with_data(TRAIN, TEST);
    // 12 steps per epoch: rows at 5 and 10, at 12 at the epoch's end, and so on.
    place.train("run", &["--epochs", "2", "--stats-every", "5"]).assert().success();
    let rows = place.metrics("run");
    let kinds = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>();
    let steps: Vec<u64> = kinds("step").iter().filter_map(|row| row["step"].as_u64()).collect();
    assert_eq!(steps, [5, 10, 12, 15, 20, 24]);
    for row in kinds("step") {
        let figures = ["learning_rate", "classification_loss", "weight_decay_loss", "training_accuracy"];
        let more = ["validation_accuracy", "train_seconds", "images_per_second", "examples_seen", "epoch"];
        for field in figures.into_iter().chain(more) {
            assert!(row[field].as_f64().is_some_and(|value| value >= 0.0), "{field} of {row}");
        }
        let time = &row["time_per_example"];
        assert_eq!(time["clock"], "wall-clock");
        for phase in ["forward_ns", "backward_ns", "update_ns"] {
            assert!(time[phase].as_f64() > Some(0.0), "{phase} of {time}");
        }
    }
    let epochs: Vec<u64> = kinds("epoch").iter().filter_map(|row| row["examples_seen"].as_u64()).collect();
    assert_eq!(epochs, [LEARNED_FROM as u64, 2 * LEARNED_FROM as u64]);
    for row in kinds("epoch") {
        assert!(row["validation_accuracy"].is_f64() && row["validation_loss"].is_f64(), "{row}");
    }
}

#[test]
fn a_run_ends_when_its_validation_loss_falls_no_more() {
    let place = Place::with_data(TRAIN, TEST);
    // Steps so small that no weight changes: the first epoch stays the best.
    let still = ["--optimizer", "sgd", "--learning-rate", "1e-30", "--l2-decay", "0", "--patience", "2"];
    let summary = document(&mut place.train("run", &[&still[..], &["--epochs", "10"]].concat()));
    assert_eq!((&summary["stopped_early"], &summary["steps"]), (&true.into(), &36.into()), "{summary}");
    assert_eq!((&summary["best"]["epoch"], &summary["best"]["step"]), (&1.into(), &12.into()));
    assert_eq!(summary["examples_seen"], 3 * LEARNED_FROM);
    let model = place.bytes("run/model.safetensors");
    let resumed = place.resume("run", &[]).assert().success();
    let message = String::from_utf8_lossy(&resumed.get_output().stderr).into_owned();
    assert!(message.contains("this run stopped early"), "{message}");
    assert_eq!(place.bytes("run/model.safetensors"), model);

    let summary = document(&mut place.train("short", &[&still[..], &["--epochs", "2"]].concat()));
    assert_eq!((&summary["stopped_early"], &summary["steps"]), (&false.into(), &24.into()), "{summary}");
}

#[test]
fn the_best_weights_are_those_of_the_epoch_with_the_lowest_validation_loss() {
    let place = Place::with_data(TRAIN, TEST);
    // So fast that the loss rises again.
    let fast = ["--optimizer", "momentum", "--learning-rate", "0.05", "--epochs"];
    let summary = document(&mut place.train("run", &[&fast[..], &["6"]].concat()));
    let epochs: Vec<Value> = place.metrics("run").into_iter().filter(|row| row["kind"] == "epoch").collect();
    let loss = |row: &Value| row["validation_loss"].as_f64().expect("a loss");
    let lowest = epochs.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).expect("epochs");
    assert_eq!((&summary["best"]["epoch"], &summary["best"]["step"]), (&lowest["epoch"], &lowest["step"]));
    assert_eq!(summary["best"]["validation_loss"], lowest["validation_loss"]);
    let epoch = lowest["epoch"].to_string();
    place.train("again", &[&fast[..], &[&epoch]].concat()).assert().success();
    let parameters = |file: &str| load_model(&place.path(file)).expect("a model").parameters;
    assert!(parameters("run/best.safetensors") == parameters("again/model.safetensors"), "epoch {epoch}");
    assert!(epoch == "6" || parameters("run/best.safetensors") != parameters("run/model.safetensors"));
}

#[test]
fn the_moving_average_of_the_weights_is_what_is_validated_tested_and_saved() {
    let place = Place::with_data(TRAIN, TEST);
    let summary = document(&mut place.train("run", &["--epochs", "1", "--ema", "0.9"]));
    assert_eq!(summary["ema"], 0.9);
    let test_loss = |file: &str| {
        let mut eval = glassnet(&["eval", "--device", "cpu", "--dataset", "mnist", "--data-dir"]);
        eval.arg(place.path("data")).arg("--model").arg(place.path(&format!("run/{file}.safetensors")));
        document(&mut eval)["test_loss"].as_f64().expect("a loss")
    };
    let tested = summary["test_loss"].as_f64().expect("a loss");
    assert!((test_loss("model") - tested).abs() < 1e-6, "the model is not what was tested");
    // A checkpoint's weights are those with which training continues.
    assert!((test_loss("checkpoint") - tested).abs() > 1e-6);
    let checkpoint = load_checkpoint(&place.path("run/checkpoint.safetensors")).expect("a checkpoint");
    let names: Vec<&str> = checkpoint.optimizer.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["state", "average"]);
    let rows = place.metrics("run");
    let validated = rows.iter().filter(|row| row["kind"] != "checkpoint");
    assert!(validated.into_iter().all(|row| row["averaged"] == true), "a row does not say what was validated");

    place.train("without", &["--epochs", "1"]).assert().success();
    let without = load_checkpoint(&place.path("without/checkpoint.safetensors")).expect("a checkpoint");
    assert!(without.model.parameters == checkpoint.model.parameters, "the average changed the training");
    assert!(place.metrics("without").iter().all(|row| row.get("averaged").is_none()));
}

#[test]
fn rows_of_metrics_follow_the_schedule_of_the_learning_rate() {
    let place = Place::with_data(TRAIN, TEST);
    let args = ["--steps", "20", "--stats-every", "5", "--learning-rate", "0.5", "--optimizer", "sgd"];
    place.train("run", &[&args[..], &["--schedule", "cosine", "--warm-up", "0.5"]].concat()).assert().success();
    let rows = place.metrics("run");
    // A linear rise over ten steps, then half a cosine wave over ten.
    let expected = |step: f64| match step {
        step if step <= 10.0 => 0.05 * step,
        step => 0.25 * (1.0 + (std::f64::consts::PI * (step - 11.0) / 10.0).cos()),
    };
    let steps: Vec<_> = rows.iter().filter(|row| row["kind"] == "step").collect();
    assert!(steps.len() >= 4);
    for row in steps {
        let [step, rate] = ["step", "learning_rate"].map(|key| row[key].as_f64().expect("a number"));
        assert!((rate - expected(step)).abs() < 1e-9, "step {step}: {rate} instead of {}", expected(step));
    }
    let config = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8");
    assert!(config.contains("[schedule]\nname = \"cosine\"\nwarm_up = 0.5\nfinal_rate = 0.0"), "{config}");
    let message = place.train("other", &["--schedule", "nonsense"]).assert().code(2);
    let message = String::from_utf8_lossy(&message.get_output().stderr).into_owned();
    assert!(["nonsense", "constant", "step", "cosine", "one-cycle"].iter().all(|n| message.contains(n)), "{message}");
}

#[test]
fn rows_of_metrics_have_the_statistics_of_every_layer() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "2"]).assert().success();
    let rows = place.metrics("run");
    let row = rows.iter().find(|row| row["kind"] == "step").expect("a row of statistics");
    let layers = row["layers"].as_array().expect("a list");
    let names: Vec<&str> = layers.iter().filter_map(|layer| layer["layer"].as_str()).collect();
    assert_eq!(names, LAYERS);
    for layer in layers {
        let name = layer["layer"].as_str().unwrap_or_default();
        let has_weights = name.starts_with("conv") || name == "fc1";
        let inner = !["input", "softmax"].contains(&name);
        let expected = [
            ("activation", true),
            ("activation_gradient", inner),
            ("weight", has_weights),
            ("weight_gradient", has_weights),
            ("bias", has_weights),
            ("bias_gradient", has_weights),
        ];
        for (tensor, present) in expected {
            let figure = |figure: &str| layer[tensor][figure].as_f64();
            let summary = ["min", "max", "mean", "std", "non_finite"].map(figure);
            assert!(summary.iter().all(|value| value.is_some() == present), "{tensor} of {layer}");
        }
        assert_eq!(layer["update_ratio"].is_f64(), has_weights, "{layer}");
        assert_eq!(layer["dead_units"].is_f64(), name.starts_with("relu"), "{layer}");
        assert_eq!(layer["non_finite"], 0);
    }
}

#[test]
fn the_terminal_shows_data_network_device_folder_layers_and_result() {
    let place = Place::with_data(TRAIN, TEST);
    let shown = text(&mut place.train("run", &["--epochs", "1"]));
    for part in ["data     mnist", "network  convnetjs-mnist: 5994 parameters", "device   cpu: ", "folder   "] {
        assert!(shown.lines().any(|line| line.starts_with(part)), "{part:?} not in: {shown}");
    }
    assert!(shown.contains("epoch 1: 225 examples seen"), "{shown}");
    assert!(LAYERS.iter().all(|layer| shown.contains(&format!("\n{layer} "))), "{shown}");
    assert!(shown.contains("test accuracy ") && shown.contains("saved in "), "{shown}");
}

#[test]
fn without_out_the_run_folder_is_named_after_the_network() {
    let place = Place::with_data(TRAIN, TEST);
    place.command(&["--steps", "1"]).current_dir(place.folder.path()).assert().success();
    let runs = entries(&place.path("runs"));
    assert!(runs.len() == 1 && runs[0].starts_with("convnetjs-mnist-"), "{runs:?}");
}

#[test]
fn the_environment_names_the_folder_of_the_data() {
    let place = Place::with_data(TRAIN, TEST);
    let mut command = glassnet(&["train", "--device", "cpu", "--steps", "1", "--dataset", "mnist", "--out"]);
    command.arg(place.path("run")).env("GLASSNET_DATA", place.path("data")).assert().success();
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_number_of_threads() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("all", &["--epochs", "1"]).assert().success();
    place.train("one", &["--epochs", "1"]).env("RAYON_NUM_THREADS", "1").assert().success();
    place.train("other", &["--epochs", "1", "--seed", "2"]).assert().success();
    let model = |run: &str| place.bytes(&format!("{run}/model.safetensors"));
    assert!(model("all") == model("one"), "the number of threads changes the model");
    assert!(model("all") != model("other"), "the seed changes nothing");
}

/// A row without its times.
fn timeless(mut row: Value) -> Value {
    if let Some(row) = row.as_object_mut() {
        row.retain(|key, _| {
            !["train_seconds", "images_per_second", "time_per_example", "first_step_seconds"].contains(&key.as_str())
        });
    }
    row
}

#[test]
fn a_run_that_was_killed_again_and_again_ends_with_the_same_bytes() {
    let place = Place::with_data(TRAIN, TEST);
    // 45 steps per epoch; checkpoints at epochs' ends and at neither multiple of the rows' steps.
    let mut args = vec!["--steps", "600", "--batch-size", "5", "--stats-every", "7", "--checkpoint-every", "20"];
    args.extend(["--schedule", "one-cycle", "--ema", "0.98"]);
    place.train("whole", &args).assert().success();
    let first = place.start(place.train("killed", &args));
    place.wait_for_rows("killed", 3);
    first.kill();
    for _ in 0..3 {
        let checkpoint = load_checkpoint(&place.path("killed/checkpoint.safetensors")).expect("a whole checkpoint");
        assert!(checkpoint.step < 600, "the run was over");
        let rows = place.metrics_up_to("killed", checkpoint.step);
        let next = place.start(place.resume("killed", &[]));
        place.wait_for_rows("killed", rows + 8);
        next.kill();
    }
    place.resume("killed", &[]).assert().success();
    let same = |name: &str| place.bytes(&format!("whole/{name}")) == place.bytes(&format!("killed/{name}"));
    assert!(same("model.safetensors") && same("best.safetensors") && same("checkpoint.safetensors"));
    let rows = |run: &str| place.metrics(run).into_iter().map(timeless).collect::<Vec<_>>();
    assert_eq!(rows("killed"), rows("whole"));
    assert_eq!(timeless(place.json("killed/summary.json")), timeless(place.json("whole/summary.json")));
    let expected = [
        "best.safetensors",
        "checkpoint.safetensors",
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "report.html",
        "summary.json",
    ];
    assert_eq!(entries(&place.path("killed")), expected, "something was left behind");
}

impl Place {
    /// The number of rows that a resumed run keeps: complete ones, up to the checkpoint.
    fn metrics_up_to(&self, run: &str, step: u64) -> usize {
        let text = String::from_utf8(self.bytes(&format!("{run}/metrics.jsonl"))).expect("UTF-8");
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.filter(|row| row["step"].as_u64() <= Some(step)).count()
    }
}

#[test]
fn a_damaged_line_of_metrics_costs_no_other_row_on_resuming() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "6", "--stats-every", "1", "--no-report"]).assert().success();
    let whole = place.metrics("run");
    let path = place.path("run/metrics.jsonl");
    let text = String::from_utf8(place.bytes("run/metrics.jsonl")).expect("UTF-8");
    let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    // The third row is lost, the fifth is followed only by rubbish, and one occurs twice.
    lines[2] = b"{\"kind\":\"step\",\"st".to_vec();
    lines[4].extend([0; 512]);
    lines.insert(4, lines[3].clone());
    fs::write(&path, lines.join(&b'\n').into_iter().chain([b'\n']).collect::<Vec<u8>>()).expect("written");

    let resumed = text_of(&mut place.resume("run", &["--steps", "8", "--no-report"]));
    for told in ["metrics.jsonl: line 3 is no row", "line 5 repeats another row", "line 6 is damaged beside its row"] {
        assert!(resumed.contains(told), "{resumed}");
    }
    let mut expected = whole;
    expected.remove(2);
    let rows = place.metrics("run");
    assert_eq!(rows[..expected.len()], expected);
    assert!(rows.len() > expected.len() && rows.iter().any(|row| row["kind"] == "step" && row["step"] == 8));
}

/// A command's stderr, however it ends.
fn text_of(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.output().expect("it runs").stderr).into_owned()
}

/// Notepad saves UTF-8 with a byte order mark, or UTF-16, and ends lines with two characters.
#[test]
fn what_people_edit_may_be_saved_by_any_editor() {
    let place = Place::with_data(TRAIN, TEST);
    let text = NET.replace('\n', "\r\n");
    let wide = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    };
    for (name, bytes) in [("marked", [b"\xef\xbb\xbf", text.as_bytes()].concat()), ("wide", wide(&text))] {
        let net = place.path(&format!("{name}.toml"));
        fs::write(&net, bytes).expect("a file");
        place.train(name, &["--steps", "1", "--no-report"]).arg("--net").arg(&net).assert().success();
        assert_eq!(
            load_model(&place.path(&format!("{name}/model.safetensors"))).expect("a model").network.name,
            "small"
        );
    }
    let config = String::from_utf8(place.bytes("marked/config.toml")).expect("UTF-8").replace('\n', "\r\n");
    fs::write(place.path("marked/config.toml"), wide(&config)).expect("a file");
    place.resume("marked", &["--steps", "2", "--no-report"]).assert().success();
    fs::write(place.path("wide/config.toml"), [b"\xef\xbb\xbf", config.as_bytes()].concat()).expect("a file");
    place.resume("wide", &["--steps", "2", "--no-report"]).assert().success();

    let net = place.path("binary.toml");
    fs::write(&net, b"name = \"\xff\"").expect("a file");
    let said = ["binary.toml: byte 8 is not UTF-8 text; save the file as UTF-8"];
    assert_fails_with(place.train("binary", &["--steps", "1"]).arg("--net").arg(&net), &said);
}

#[test]
fn a_run_s_model_is_looked_at_with_the_run_s_own_data() {
    let place = Place::with_data(TRAIN, TEST);
    let net = place.file("net.toml", NET);
    place.train("run", &["--steps", "2", "--no-report"]).arg("--net").arg(&net).assert().success();
    let looked = |command: &str, args: &[&str]| {
        let mut looking = glassnet(&[command, "--device", "cpu", "--model"]);
        looking.arg(place.path("run/model.safetensors")).args(args);
        without_data(&mut looking, place.folder.path());
        looking
    };
    assert_eq!(document(&mut looked("eval", &[]))["examples"], json!(TEST));
    assert_eq!(document(&mut looked("eval", &["--dataset", "mnist"]))["examples"], json!(TEST));
    assert_eq!(document(&mut looked("inspect", &["--index", "3"]))["index"], json!(3));
    // With any name of the model, and by a link from elsewhere.
    fs::copy(place.path("run/model.safetensors"), place.path("run/mine.safetensors")).expect("a copy");
    glassnet(&["convert"]).arg(place.path("run/model.safetensors")).arg(place.path("run/net.json")).assert().success();
    let mut models = vec!["run/mine.safetensors", "run/net.json"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("run/mine.safetensors", place.path("link.safetensors")).expect("a link");
        models.push("link.safetensors");
    }
    for model in models {
        let mut command = glassnet(&["eval", "--device", "cpu", "--model"]);
        without_data(command.arg(place.path(model)), place.folder.path());
        assert_eq!(document(&mut command)["examples"], json!(TEST), "{model}");
    }
    fs::rename(place.path("data"), place.path("moved")).expect("the data");
    let data = place.path("data").display().to_string();
    for (command, args) in [("eval", &[][..]), ("inspect", &["--index", "3"])] {
        assert_fails_with(
            &mut looked(command, args),
            &["the run's data is no longer in ", &data, "config.toml", "--data-dir"],
        );
    }
    let moved = place.path("moved").display().to_string();
    assert_eq!(document(&mut looked("eval", &["--data-dir", &moved]))["examples"], json!(TEST));
}

#[test]
fn a_data_set_that_was_edited_in_the_config_is_not_believed() {
    let place = Place::with_data(TRAIN, TEST);
    let net = place.file("net.toml", NET);
    place.train("run", &["--steps", "2", "--no-report"]).arg("--net").arg(&net).assert().success();
    let config = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8");
    let looked = |command: &str| {
        let mut looking = glassnet(&[command, "--device", "cpu", "--model"]);
        looking.arg(place.path("run/model.safetensors")).args(if command == "inspect" {
            &["--index", "0"][..]
        } else {
            &[]
        });
        looking
    };
    let mut report = glassnet(&["report", "--device", "cpu"]);
    report.arg(place.path("run"));
    for name in ["kmnist", "fashion-mnist", "synthetic", "images", "nonsense", &"x".repeat(500)] {
        let edited = config.replacen("dataset = \"mnist\"", &format!("dataset = \"{name}\""), 1);
        assert_ne!(edited, config);
        place.file("run/config.toml", &edited);
        let shown = format!("config.toml names the data set `{}", &name[..name.len().min(70)]);
        let expected = [&shown[..], "the run was trained on mnist", "put dataset = \"mnist\" back"];
        assert_fails_with(&mut place.resume("run", &["--steps", "4"]), &expected);
        assert_fails_with(&mut looked("eval"), &expected);
        assert_fails_with(&mut looked("inspect"), &expected);
        assert_fails_with(&mut report, &expected);
    }
    place.file("run/config.toml", &config.replacen("dataset =", "images = \"/tmp\"\ndataset =", 1));
    let mut resume = glassnet(&["train", "--steps", "4", "--resume"]);
    assert_fails_with(resume.arg(place.path("run")), &["config.toml has `images`", "mnist", "take that key out"]);
    place.file("run/config.toml", &config);
    place.resume("run", &["--steps", "4", "--no-report"]).assert().success();
}

/// Files that users provide as MNIST's belong to them: no message tells them to delete the files.
#[test]
fn files_of_one_s_own_are_described_and_not_to_be_deleted() {
    let place = Place::with_data(TRAIN, TEST);
    let path = place.path("data/train-labels-idx1-ubyte");
    let whole = fs::read(&path).expect("the labels");
    let head = |magic: u32, sizes: &[u32]| {
        [&[magic], sizes].concat().into_iter().flat_map(u32::to_be_bytes).collect::<Vec<u8>>()
    };
    let labels = |first: u8, classes: u8| -> Vec<u8> {
        whole
            .iter()
            .enumerate()
            .map(|(i, byte)| if i < 8 { *byte } else { first + ((i - 8) % usize::from(classes)) as u8 })
            .collect()
    };
    let count = TRAIN as u32;
    let files: [(Vec<u8>, &[&str]); 6] = [
        (labels(1, 26), &["has 26 different labels from 1 to 26", "labels from 0 to 9 are read"]),
        (labels(1, 10), &["has 10 different labels from 1 to 10", "subtract 1 from each label"]),
        (
            [head(0xc02, &[count, 8]), vec![0; TRAIN * 32]].concat(),
            &["32-bit integers in 2 dimensions, 250x8", "QMNIST"],
        ),
        ([head(0xc01, &[count]), vec![0; TRAIN * 4]].concat(), &["an IDX file of 32-bit integers in 1 dimension, 250"]),
        (b"label\n5\n0\n4\n".to_vec(), &["is text that begins with \"label\""]),
        ([&whole[..], b"\n"].concat(), &["is too long: 1 byte follows after the 250 labels"]),
    ];
    for (bytes, expected) in files {
        fs::write(&path, bytes).expect("written");
        let said = failing(&mut place.train("run", &["--steps", "1"]));
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        assert!(!said.contains("delete") && !said.contains("fetch"), "{said}");
    }
    fs::write(&path, labels(0, 5)).expect("written");
    let net = place.file("five.toml", &NET.replace("outputs = 10", "outputs = 5"));
    let said = ["has 5 classes", "has 5 different labels from 0 to 4", "read with 10 classes"];
    assert_fails_with(place.train("run", &["--steps", "1"]).arg("--net").arg(&net), &said);
    assert!(!place.path("run").exists());

    // What the program downloaded itself may be fetched again.
    let cache = place.path("glassnet/mnist");
    fs::create_dir_all(cache.parent().expect("a folder")).expect("a cache");
    fs::rename(place.path("data"), &cache).expect("the data");
    fs::write(cache.join("train-labels-idx1-ubyte"), &whole[..whole.len() - 1]).expect("written");
    let mut train = glassnet(&["train", "--device", "cpu", "--dataset", "mnist", "--steps", "1"]);
    let said = ["is truncated", "delete it and run `glassnet data fetch`"];
    assert_fails_with(without_data(&mut train, place.folder.path()).current_dir(place.folder.path()), &said);
}

#[test]
fn no_message_is_as_long_as_what_was_given() {
    let place = Place::with_data(TRAIN, TEST);
    let long = "\u{1b}[31m".to_string() + &"x".repeat(50_000);
    let net = |text: String| {
        let path = place.file("net.toml", &text);
        failing(place.train("run", &["--steps", "1"]).arg("--net").arg(path))
    };
    let mut said = vec![
        net(format!("name = \"{}\"\nlayers = []", long.replace('\u{1b}', ""))),
        net(format!("initializer = \"{}\"\nlayers = []", &long[1..])),
        net(format!("[[layers]]\ntype = \"{}\"", &long[1..])),
        net(format!("\"{}\" = 1\nlayers = []", &long[1..])),
        net(format!("layers = {}", &long[1..])),
        failing(&mut place.train("run", &["--preset", &long])),
    ];
    for option in ["--dataset", "--optimizer", "--steps", "--learning-rate", "--device", "--no-such"] {
        let mut command = glassnet(&["train", option, &long]);
        said.push(String::from_utf8(command.assert().code(2).get_output().stderr.clone()).expect("UTF-8"));
    }
    for said in said {
        assert!(said.len() < 1500 && !said.contains("\u{1b}[31m"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint_and_says_how_to_resume() {
    use std::io::Read;

    let place = Place::with_data(TRAIN, TEST);
    let mut running = place.start(place.train("run", &["--steps", "1000000", "--stats-every", "5"]));
    place.wait_for_rows("run", 2);
    // The shell's built-in `kill` also works if no such program is installed.
    let signal = format!("kill -INT {}", running.child.id());
    assert!(std::process::Command::new("sh").args(["-c", &signal]).status().expect("a shell").success());
    let mut stderr = String::new();
    running.child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(running.child.wait().expect("it ends").code(), Some(130), "{stderr}");

    let remedy = format!("glassnet train --resume {}", place.path("run").display());
    assert!(stderr.contains(&remedy), "{stderr}");
    let step = load_checkpoint(&place.path("run/checkpoint.safetensors")).expect("a checkpoint").step;
    assert!(step >= 10 && stderr.contains(&format!("the checkpoint of step {step} is saved")), "{step}; {stderr}");
    assert!(!place.path("run/model.safetensors").exists(), "a run that was stopped is not tested");

    let summary = document(&mut place.resume("run", &["--steps", &(step + 3).to_string()]));
    assert_eq!(summary["steps"], step + 3);
}

#[test]
fn a_run_on_the_gpu_goes_on_there_and_ends_with_the_same_bytes() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::with_data(TRAIN, TEST);
    let train = |run: &str, steps: &str| {
        let mut command = glassnet(&["train", "--device", "gpu", "--steps", steps, "--dataset", "mnist", "--data-dir"]);
        document(command.arg(place.path("data")).arg("--out").arg(place.path(run)))
    };
    let summary = train("whole", "20");
    assert!(summary["device"].as_str().is_some_and(|device| device.starts_with("gpu: ")), "{summary}");
    train("run", "10");
    let mut resume = glassnet(&["train", "--steps", "20", "--resume"]);
    let resumed = document(resume.arg(place.path("run")));
    assert_eq!(resumed["device"], summary["device"]);
    assert!(place.bytes("run/model.safetensors") == place.bytes("whole/model.safetensors"), "the models differ");
}

#[test]
fn a_run_that_has_ended_says_so_and_can_be_given_a_later_end() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("whole", &["--epochs", "2"]).assert().success();
    let first = document(&mut place.train("run", &["--epochs", "1"]));
    let again = place.resume("run", &["--json"]).assert().success();
    let again = again.get_output();
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).expect("one JSON document"), first);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is finished"));
    place.resume("run", &["--epochs", "2"]).assert().success();
    assert!(place.bytes("run/model.safetensors") == place.bytes("whole/model.safetensors"), "the models differ");
}

#[test]
fn augmentation_changes_a_run_and_can_be_switched_off() {
    let place = Place::with_data(TRAIN, TEST);
    let bare = place.file("bare.toml", NET);
    let augmented = place.file("augmented.toml", &format!("{NET}\n[augmentation]\nrotation = 15\n"));
    let run = |name: &str, net: &Path, args: &[&str]| {
        let mut command = place.train(name, args);
        let output = command.arg("--net").arg(net).assert().success();
        String::from_utf8_lossy(&output.get_output().stdout).into_owned()
    };
    let weights =
        |name: &str| load_checkpoint(&place.path(name).join("checkpoint.safetensors")).expect("one").model.parameters;
    run("bare", &bare, &["--steps", "9"]);
    let said = run("augmented", &augmented, &["--steps", "9"]);
    assert!(said.contains("augmentation (rotation 15°)"), "{said}");
    assert!(weights("augmented") != weights("bare"), "augmentation changes nothing");
    let said = run("off", &augmented, &["--steps", "9", "--no-augmentation"]);
    assert!(!said.contains("augmentation") && weights("off") == weights("bare"), "{said}");
    // Resuming uses the run folder's setting and refuses the option.
    place.resume("augmented", &["--steps", "12"]).assert().success();
    run("whole", &augmented, &["--steps", "12"]);
    assert!(weights("augmented") == weights("whole"), "resuming forgets the augmentation");
    assert_fails_with(&mut place.resume("whole", &["--no-augmentation"]), &["--no-augmentation cannot change a run"]);
}

#[test]
fn a_run_with_every_augmentation_is_resumed_with_the_same_bytes() {
    let place = Place::with_data(TRAIN, TEST);
    let table = "rotation = 15\nscale = 0.1\nshear = 5\nshift = 1\nelastic = 1\npad = 2\nflip = [0, 1, 8]\nerase = 0.5";
    let net = place.file("net.toml", &format!("{NET}\n[augmentation]\n{table}\n"));
    let said = place.train("run", &["--steps", "9"]).arg("--net").arg(&net).assert().success();
    let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
    assert!(said.contains("pad 2 px, erase 0.5, flip of classes [0, 1, 8]"), "{said}");
    place.resume("run", &["--steps", "14"]).assert().success();
    place.train("whole", &["--steps", "14"]).arg("--net").arg(&net).assert().success();
    assert!(place.bytes("run/model.safetensors") == place.bytes("whole/model.safetensors"), "the models differ");
}

#[test]
fn the_final_test_averages_over_crops_and_nothing_else_changes() {
    let place = Place::with_data(TRAIN, TEST);
    let net = place.file("net.toml", &format!("{NET}\n[augmentation]\npad = 1\nflip = true\n"));
    let plain = document(place.train("plain", &["--steps", "9"]).arg("--net").arg(&net));
    let several = document(place.train("run", &["--steps", "9", "--test-crops", "10"]).arg("--net").arg(&net));
    assert_eq!((&plain["test_crops"], &several["test_crops"]), (&json!(1), &json!(10)));
    assert_eq!(plain["validation_loss"], several["validation_loss"]);
    assert_ne!(plain["test_loss"], several["test_loss"]);
    assert!(place.bytes("plain/model.safetensors") == place.bytes("run/model.safetensors"), "the models differ");
    let mut eval = glassnet(&["eval", "--device", "cpu", "--test-crops", "10", "--model"]);
    let report = document(eval.arg(place.path("run/model.safetensors")).arg("--data-dir").arg(place.path("data")));
    assert_eq!(report["test_accuracy"], several["test_accuracy"]);
    // A resumed run keeps the setting and refuses the option.
    let resumed = document(&mut place.resume("run", &["--steps", "12"]));
    assert_eq!(resumed["test_crops"], json!(10));
    assert_fails_with(&mut place.resume("run", &["--test-crops", "2"]), &["--test-crops cannot change a run"]);
    // Refused before anything is trained.
    let mut whole = place.train("whole", &["--steps", "9", "--test-crops", "5", "--no-augmentation"]);
    assert_fails_with(
        whole.arg("--net").arg(&net),
        &["--test-crops 5 needs the network's pad and flip, which --no-augmentation"],
    );
    assert!(!place.path("whole").exists());
}

#[test]
fn a_checkpoint_evaluates_as_the_finished_model_does() {
    let place = Place::with_data(TRAIN, TEST);
    let summary = document(&mut place.train("run", &["--epochs", "1"]));
    for file in ["run/model.safetensors", "run/checkpoint.safetensors"] {
        let mut eval = glassnet(&["eval", "--device", "cpu", "--model"]);
        let report = document(eval.arg(place.path(file)).arg("--data-dir").arg(place.path("data")));
        assert_eq!(report["test_accuracy"], summary["test_accuracy"], "{file}");
        assert_eq!(report["test_loss"], summary["test_loss"], "{file}");
    }
}

#[test]
fn a_learning_rate_that_explodes_is_named_by_step_layer_and_tensor_and_leaves_a_good_checkpoint() {
    let place = Place::with_data(TRAIN, TEST);
    let stderr = failing(&mut place.train("run", &["--optimizer", "sgd", "--learning-rate", "1e20", "--json"]));
    let message = stderr.lines().rfind(|line| line.starts_with("error: step ")).unwrap_or_default();
    let tensors = ["activation", "activation gradient", "weight", "weight gradient", "bias", "bias gradient"];
    let named = LAYERS.iter().any(|layer| {
        tensors.iter().any(|tensor| message.contains(&format!("non-finite value(s) in the {tensor} of layer {layer};")))
    });
    assert!(named, "{stderr}");
    assert!(stderr.contains("the last good checkpoint, of step 0, is in "), "{stderr}");
    assert!(!place.path("run/model.safetensors").exists(), "an exploded model was saved");
    let mut eval = glassnet(&["eval", "--device", "cpu", "--model"]);
    eval.arg(place.path("run/checkpoint.safetensors")).arg("--data-dir").arg(place.path("data")).assert().success();
}

#[test]
fn a_folder_that_holds_a_run_is_refused_and_left_as_it_is() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "1"]).assert().success();
    let before = place.bytes("run/model.safetensors");
    let mut again = place.train("run", &["--steps", "2"]);
    assert_fails_with(&mut again, &["already holds a run", "--resume", "another --out"]);
    assert!(place.bytes("run/model.safetensors") == before, "the run was touched");
}

#[test]
fn somebody_elses_folder_is_refused_and_left_as_it_is() {
    let place = Place::with_data(TRAIN, TEST);
    fs::create_dir(place.path("project")).expect("a folder");
    place.file("project/config.toml", "[build]\njobs = 2\n");
    assert_fails_with(&mut place.train("project", &["--steps", "1"]), &["config.toml", "another --out"]);
    assert_eq!(place.bytes("project/config.toml"), b"[build]\njobs = 2\n");
}

#[test]
fn a_run_that_could_not_begin_leaves_its_folder_free() {
    let place = Place::with_data(TRAIN, TEST);
    let net = place.file("deep.toml", &deep_network());
    place.train("run", &["--batch-size", "65535"]).arg("--net").arg(net).assert().code(1);
    place.train("run", &["--steps", "1"]).assert().success();
}

#[test]
fn two_processes_do_not_train_in_one_folder() {
    let place = Place::with_data(TRAIN, TEST);
    let running = place.start(place.train("run", &["--steps", "1000000", "--stats-every", "5"]));
    place.wait_for_rows("run", 0);
    assert_fails_with(&mut place.resume("run", &[]), &["another process is training in "]);
    running.kill();
}

#[test]
fn an_output_folder_that_cannot_be_made_is_an_error() {
    let place = Place::with_data(TRAIN, TEST);
    place.file("file", "not a folder");
    let mut command = place.train("file/run", &["--steps", "1"]);
    assert_fails_with(&mut command, &["cannot create the run folder", &place.path("file/run").display().to_string()]);
}

#[test]
fn a_resumed_run_keeps_its_precision_unless_another_one_is_given() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "3"]).assert().success();
    let config = place.path("run/config.toml");
    let written = fs::read_to_string(&config).expect("the configuration");
    assert!(!written.contains("precision"), "{written}");
    let change = |executor: &str, precision: &str| {
        let precision = format!("precision = \"{precision}\"\n{written}");
        fs::write(&config, precision.replace("executor = \"cpu\"", &format!("executor = \"{executor}\"")))
            .expect("a file");
    };
    let recorded = || fs::read_to_string(&config).expect("the configuration");
    // On the processor it is in f32, which is said.
    change("gpu", "matrix-f16");
    let warning = "computed in precision matrix-f16 and continues in f32";
    for steps in ["4", "5"] {
        let output = place.resume("run", &["--steps", steps]).assert().success();
        let message = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(message.contains(warning), "{message}");
        // It stays that of the run, for the next time on a GPU.
        assert!(recorded().contains("precision = \"matrix-f16\""), "{}", recorded());
    }
    change("cpu", "bf16");
    assert_fails_with(&mut place.resume("run", &["--steps", "6"]), &["config.toml", "bf16", "matrix-f16"]);
    let Some(gpu) = common::gpu() else { return };
    if gpu.summary().precisions.len() > 1 {
        common::skipped("the adapter has cooperative matrices, so no precision is refused");
        return;
    }
    change("gpu", "matrix-f16");
    let resume = |args: &[&str]| {
        let mut command = glassnet(&["train", "--device", "gpu", "--data-dir"]);
        command.arg(place.path("data")).arg("--resume").arg(place.path("run")).args(args);
        command
    };
    assert_fails_with(&mut resume(&["--steps", "6"]), &["cannot compute in precision matrix-f16", "--precision f32"]);
    let output = resume(&["--steps", "6", "--precision", "f32"]).assert().success();
    let message = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(message.contains(warning) && !message.contains("cannot be used on this device"), "{message}");
    assert!(!recorded().contains("precision"), "{}", recorded());
}

#[test]
fn what_is_no_run_cannot_be_resumed() {
    let place = Place::with_data(TRAIN, TEST);
    let path = place.path("data").display().to_string();
    assert_fails_with(&mut place.resume("data", &[]), &[&path, "is not a run folder"]);
    assert_fails_with(&mut place.resume("missing", &[]), &["is not a run folder"]);
    assert!(!place.path("missing").exists() && !place.path("data/.lock").exists());
}

#[test]
fn a_run_without_its_checkpoint_or_with_a_damaged_one_cannot_be_resumed() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "2"]).assert().success();
    let checkpoint = place.path("run/checkpoint.safetensors");
    let whole = place.bytes("run/checkpoint.safetensors");
    fs::write(&checkpoint, &whole[..whole.len() / 2]).expect("half a checkpoint");
    assert_fails_with(&mut place.resume("run", &[]), &[&checkpoint.display().to_string()]);
    fs::remove_file(&checkpoint).expect("no checkpoint");
    assert_fails_with(&mut place.resume("run", &[]), &["checkpoint.safetensors is missing"]);
}

#[test]
fn a_run_stopped_before_its_first_checkpoint_begins_anew_when_resumed() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("whole", &["--steps", "6"]).assert().success();
    place.train("run", &["--steps", "6"]).assert().success();
    for name in ["checkpoint.safetensors", "model.safetensors", "summary.json", "metrics.jsonl"] {
        fs::remove_file(place.path("run").join(name)).expect("a file of a run");
    }
    place.resume("run", &[]).assert().success();
    assert_eq!(place.bytes("run/model.safetensors"), place.bytes("whole/model.safetensors"));
}

#[test]
fn a_run_of_the_former_split_keeps_it() {
    let place = Place::with_data(TRAIN, TEST);
    let net = place.file("net.toml", NET);
    for run in ["now", "run", "whole"] {
        place.train(run, &["--steps", "6", "--no-report"]).arg("--net").arg(&net).assert().success();
    }
    let key = "validation = \"by-class\"\n";
    for run in ["run", "whole"] {
        for name in ["checkpoint.safetensors", "model.safetensors", "summary.json", "metrics.jsonl"] {
            fs::remove_file(place.path(run).join(name)).expect("a file of a run");
        }
        let config = String::from_utf8(place.bytes(&format!("{run}/config.toml"))).expect("UTF-8");
        assert!(config.contains(key), "{config}");
        place.file(&format!("{run}/config.toml"), &config.replace(key, ""));
    }
    let told = place.resume("run", &["--steps", "3", "--no-report"]).assert().success();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("a random tenth for validation"), "{told}");
    for run in ["run", "whole"] {
        place.resume(run, &["--steps", "6", "--no-report"]).assert().success();
        let config = String::from_utf8(place.bytes(&format!("{run}/config.toml"))).expect("UTF-8");
        assert!(config.contains("validation = \"at-random\"\n"), "{config}");
    }
    let model = place.bytes("run/model.safetensors");
    assert!(model == place.bytes("whole/model.safetensors") && model != place.bytes("now/model.safetensors"));
}

#[test]
fn a_run_killed_at_its_very_end_does_not_keep_an_older_model() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "4"]).assert().success();
    let old = ["model.safetensors", "summary.json"].map(|name| (name, place.bytes(&format!("run/{name}"))));
    place.resume("run", &["--steps", "8"]).assert().success();
    let model = place.bytes("run/model.safetensors");
    for (name, bytes) in old {
        fs::write(place.path("run").join(name), bytes).expect("the older file");
    }
    place.resume("run", &[]).assert().success();
    assert_eq!(place.bytes("run/model.safetensors"), model);
    assert_eq!(place.json("run/summary.json")["steps"], 8);
    let epochs = place.metrics("run").into_iter().filter(|row| row["kind"] == "epoch" && row["step"] == 8);
    assert_eq!(epochs.count(), 1);
}

#[test]
fn a_changed_config_is_refused() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "2"]).assert().success();
    let config = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8");
    let edits = [
        ("\nbatch_size = 20", "\nbatch_size = 0", "its batch_size differs from the one used in training"),
        ("\nbatch_size = 20", "\nbatch_size = 10", "config.toml was changed"),
        ("\nstats_every = 100", "\nstats_every = 0", "config.toml: stats_every must be a whole number >= 1, got 0"),
        (
            "name = \"adadelta\"\nlearning_rate = 1.0",
            "name = \"adadelta\"\nlearning_rate = 0.5",
            "config.toml was changed",
        ),
        ("name = \"adadelta\"\nlearning_rate = 1.0", "name = \"sgd\"\nlearning_rate = 1.0", "unknown key `"),
    ];
    for (old, new, message) in edits {
        assert!(config.contains(old), "{config}");
        fs::write(place.path("run/config.toml"), config.replacen(old, new, 1)).expect("a changed config");
        assert_fails_with(&mut place.resume("run", &["--steps", "3"]), &[message]);
    }
}

#[test]
fn what_a_config_says_in_other_words_or_of_patience_may_be_edited() {
    let place = Place::with_data(TRAIN, TEST);
    let still =
        ["--optimizer", "sgd", "--learning-rate", "1e-30", "--l2-decay", "0", "--epochs", "10", "--patience", "2"];
    let run = document(&mut place.train("run", &still));
    assert_eq!(run["steps"], 36, "{run}");
    let config = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8");
    let edited = |old: &str, new: &str| {
        assert!(config.contains(old), "{config}");
        fs::write(place.path("run/config.toml"), config.replacen(old, new, 1)).expect("a changed config");
        place.resume("run", &[])
    };
    edited("\nl2_decay = 0.0\n", "\nl2_decay = 0\n").assert().success();
    edited("\nbatch_size = 20\n", "\nbatch_size = 20\nconvnetjs_exact = false\n").assert().success();
    assert_fails_with(
        &mut edited("\npatience = 2\n", "\npatience = \"two\"\n"),
        &["patience must be a whole number", "two"],
    );
    assert_fails_with(&mut edited("\npatience = 2\n", "\npatience = 0\n"), &["patience must be a whole number", "0"]);
    // With more patience, the run continues until it is used up.
    assert_eq!(document(&mut edited("\npatience = 2\n", "\npatience = 4\n"))["steps"], 60);
}

#[test]
fn keys_and_types_that_a_config_does_not_have_are_named() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "2"]).assert().success();
    let config = String::from_utf8(place.bytes("run/config.toml")).expect("UTF-8");
    let added = |table: &str| (table.to_string(), format!("{table}lookahead = 5\n"));
    let edits = [
        (added("stats_every = 100\n"), "unknown key `lookahead`; if a newer Glassnet wrote it"),
        (added("[optimizer]\n"), "unknown key `lookahead`; if a newer Glassnet wrote it"),
        (added("[schedule]\n"), "unknown key `lookahead`; if a newer Glassnet wrote it"),
        (added("[device]\n"), "unknown key `lookahead`; if a newer Glassnet wrote it"),
        (added("[length]\n"), "the table `length` must have one key"),
        (("seed = 1\n".into(), "seed = \"one\"\n".into()), "expected a whole number, 0 or more; correct it"),
        (("seed = 1\n".into(), String::new()), "the key `seed` is missing"),
        (("\"adadelta\"".into(), "\"adadetla\"".into()), "unknown name `adadetla`, expected one of `sgd`"),
    ];
    for ((old, new), message) in edits {
        assert!(config.contains(&old), "{old} is not in {config}");
        // The last one, because the network's description has some of these tables too.
        let (before, after) = config.rsplit_once(&old).expect("it is there");
        fs::write(place.path("run/config.toml"), format!("{before}{new}{after}")).expect("a changed config");
        let stderr = failing(&mut place.resume("run", &["--steps", "3"]));
        assert!(stderr.contains(message) && stderr.contains("config.toml, line "), "{old}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
        assert!(!stderr.ends_with("\n\n"), "{stderr:?}");
    }
    fs::write(place.path("run/config.toml"), config).expect("the config as it was");
    place.resume("run", &["--steps", "3"]).assert().success();
}

#[test]
fn an_end_that_lies_behind_is_refused() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "6"]).assert().success();
    fs::remove_file(place.path("run/summary.json")).expect("the summary");
    assert_fails_with(&mut place.resume("run", &["--steps", "5"]), &["already at step 6", "--steps"]);
}

#[test]
fn a_reader_who_hangs_up_does_not_end_the_training() {
    let place = Place::with_data(TRAIN, TEST);
    let command = place.train("run", &["--steps", "3"]);
    let mut child = std::process::Command::new(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    assert!(place.path("run/model.safetensors").exists());
}

#[test]
fn the_clock_goes_on_from_the_checkpoint() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "4"]).assert().success();
    let clock = |row: &Value| row["train_seconds"].as_f64();
    let rows = place.metrics("run");
    let before = rows.iter().rfind(|row| row["kind"] == "checkpoint").and_then(clock);
    place.resume("run", &["--steps", "5"]).assert().success();
    assert!(clock(&place.json("run/summary.json")) > before && before > Some(0.0));
}

#[test]
fn what_decides_the_result_cannot_change_when_a_run_is_resumed() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "1"]).assert().success();
    for (flag, value) in [("--batch-size", "10"), ("--seed", "2"), ("--preset", "vgg-mnist"), ("--optimizer", "sgd")] {
        assert_fails_with(&mut place.resume("run", &[flag, value]), &[flag, "cannot change a run that is resumed"]);
    }
    place.resume("run", &["--out", "elsewhere"]).assert().code(2);
}

#[test]
fn a_run_resumes_only_on_the_data_that_it_began_with() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--steps", "1"]).assert().success();
    write_data(&place.path("data"), TRAIN - 10, TEST);
    assert_fails_with(
        &mut place.resume("run", &["--steps", "2"]),
        &["differs from this run's training data", "--data-dir"],
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_name() {
    let place = Place::with_data(TRAIN, TEST);
    let cases = [
        ("--learning-rate", "nan"),
        ("--learning-rate", "-0.1"),
        ("--learning-rate", "0"),
        ("--learning-rate", "inf"),
        ("--warm-up", "1"),
        ("--warm-up", "-0.5"),
        ("--warm-up", "nan"),
        ("--l1-decay", "-1"),
        ("--l2-decay", "nan"),
        ("--patience", "0"),
        ("--clip-norm", "0"),
        ("--clip-norm", "nan"),
        ("--ema", "1"),
        ("--ema", "-0.1"),
        ("--ema", "nan"),
        ("--epsilon", "0"),
        ("--epsilon", "-0.1"),
        ("--epsilon", "1e-39"),
        ("--epsilon", "inf"),
        ("--rho", "1"),
        ("--rho", "-0.5"),
        ("--rho", "nan"),
        ("--batch-size", "0"),
        ("--batch-size", "65536"),
        ("--epochs", "0"),
        ("--steps", "0"),
        ("--stats-every", "0"),
        ("--checkpoint-every", "0"),
    ];
    for (flag, value) in cases {
        assert_fails_with(&mut place.train("run", &[flag, value]), &[flag]);
    }
    assert_fails_with(&mut place.train("run", &["--momentum", "0.5"]), &["--momentum", "--optimizer momentum"]);
    for (flag, value) in [("--beta1", "1"), ("--beta2", "0.99999999"), ("--beta1", "-0.1")] {
        assert_fails_with(
            &mut place.train("run", &["--optimizer", "adam", flag, value]),
            &[flag, "must be a number from 0 to 0.9999999"],
        );
    }
    let refused = &mut place.train("run", &["--beta2", "0.5"]);
    assert_fails_with(refused, &["--beta2 has no effect on the optimizer adadelta", "--optimizer adam"]);
    assert!(!place.path("run").exists(), "a run that was refused left a folder");
}

#[test]
fn options_that_contradict_each_other_are_mistakes_of_the_command_line() {
    let place = Place::with_data(TRAIN, TEST);
    place.train("run", &["--epochs", "1", "--steps", "1"]).assert().code(2);
    place.train("run", &["--preset", "vgg-mnist", "--net", "net.toml"]).assert().code(2);
    let assert = place.train("run", &["--optimizer", "nonsense"]).assert().code(2);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        OPTIMIZERS.iter().map(|optimizer| optimizer.name).chain(["nonsense"]).all(|name| stderr.contains(name)),
        "{stderr}"
    );
}

#[test]
fn a_network_that_cannot_be_is_an_error_that_names_file_and_layer() {
    let place = Place::with_data(TRAIN, TEST);
    let input = "[[layers]]\ntype = \"input\"\nheight = 28\nwidth = 28\nchannels = 1\n";
    let end = "[[layers]]\ntype = \"softmax\"\n";
    for (layer, parts) in [
        ("type = \"lstm\"", ["unknown layer type", "lstm"]),
        ("type = \"dropout\"", ["layer 2 (dropout)", "rate"]),
        ("type = \"conv\"\nfilters = 0\nkernel = 3", ["conv1", "filters"]),
        ("type = \"conv\"\nfilters = 8\nkernel = 99", ["conv1", "28x28x1"]),
        ("type = \"fc\"\noutputs = 4611686018427387904", ["fc1", "rule"]),
        ("type = ", ["net.toml", "line 7"]),
    ] {
        let net = place.file("net.toml", &format!("{input}[[layers]]\n{layer}\n{end}"));
        let stderr = failing(place.train("run", &["--steps", "1"]).arg("--net").arg(net));
        assert!(stderr.contains("net.toml") && parts.iter().all(|part| stderr.contains(part)), "{parts:?}: {stderr}");
    }
    assert!(!place.path("run").exists(), "a run that was refused left a folder");
}

/// So many maps that no machine can hold them for 65,535 examples, although each alone could be indexed.
fn deep_network() -> String {
    let conv = "[[layers]]\ntype = \"conv\"\nfilters = 32\nkernel = 1\nactivation = \"relu\"\n";
    let input = "[[layers]]\ntype = \"input\"\nheight = 28\nwidth = 28\nchannels = 1\n";
    format!("{input}{}[[layers]]\ntype = \"fc\"\noutputs = 10\n[[layers]]\ntype = \"softmax\"\n", conv.repeat(60))
}

#[test]
fn a_batch_that_cannot_fit_is_an_error_with_the_largest_that_would() {
    let place = Place::with_data(TRAIN, TEST);
    let net = place.file("deep.toml", &deep_network());
    let mut command = place.train("run", &["--batch-size", "65535", "--json"]);
    assert_fails_with(
        command.arg("--net").arg(net),
        &["batch size 65535 does not fit", "iB are needed", "largest batch size that fits is "],
    );
}

#[test]
fn an_adapter_that_does_not_exist_is_an_error() {
    let place = Place::with_data(TRAIN, TEST);
    let mut command = glassnet(&["train", "--dataset", "mnist", "--adapter", "no such adapter", "--data-dir"]);
    let stderr = failing(command.arg(place.path("data")).arg("--out").arg(place.path("run")));
    // Depends on the machine.
    let named = stderr.contains("no adapter \"no such adapter\"; there are") || stderr.contains("no GPU adapter found");
    assert!(named, "{stderr}");
    assert_fails_with(&mut place.train("run", &["--adapter", "0"]), &["--adapter selects a GPU"]);
}

#[test]
fn a_data_set_asked_for_and_not_there_is_an_error_that_names_the_folder() {
    let place = Place::with_data(TRAIN, TEST);
    let empty = place.path("empty");
    fs::create_dir(&empty).expect("a folder");
    let mut command = glassnet(&["train", "--device", "cpu", "--dataset", "mnist", "--data-dir"]);
    command.arg(&empty).arg("--out").arg(place.path("run"));
    assert_fails_with(&mut command, &["mnist cannot be obtained", &empty.display().to_string(), "--data-dir"]);
    assert!(!place.path("run").exists(), "a run that was refused left a folder");
}

#[test]
fn synthetic_digits_that_stand_in_are_named_in_the_first_and_the_last_line() {
    let place = Place::with_data(TRAIN, TEST);
    let mut command = glassnet(&["train", "--device", "cpu", "--steps", "1", "--out"]);
    let shown = text(without_data(command.arg(place.path("run")), &place.path("home")));
    let first_and_last = [shown.lines().next(), shown.lines().last()].map(Option::unwrap_or_default);
    assert!(first_and_last.iter().all(|line| line.contains("SYNTHETIC DIGITS")), "{shown}");
    assert_eq!(place.json("run/summary.json")["dataset"], "synthetic");
}
