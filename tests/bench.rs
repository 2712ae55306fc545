//! The benchmark: the contents of its report, and its messages about bad input. No test depends on speed.

use assert_cmd::Command;
use glassnet::Error;
use glassnet::bench::{self, Growth, GrowthResult, GrowthSettings, Report, Settings};
use glassnet::exec::Device;
use glassnet::net::Network;
use glassnet::train::Tuner;
use serde_json::{Value, json};
use std::time::Duration;

const TINY: &str = r#"
name = "tiny"
layers = [
    { type = "input", height = 6, width = 5, channels = 1, crop = true },
    { type = "conv", filters = 3, kernel = 3, pad = 1, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "fc", outputs = 4 },
    { type = "softmax" },
]
[training]
optimizer = "momentum"
l2_decay = 1e-3
"#;

fn tiny() -> Network {
    Network::from_toml(TINY, "tiny.toml").expect("a network")
}

fn settings(batch_sizes: &[usize]) -> Settings {
    let (round, budget, probe) = (Duration::from_millis(5), Duration::from_secs(1), Duration::from_millis(1));
    Settings { batch_sizes: batch_sizes.to_vec(), rounds: 3, round, budget, probe, tuner: Tuner::default() }
}

fn run(batch_sizes: &[usize]) -> glassnet::Result<Report> {
    let devices = [Device::Cpu, Device::Reference];
    pollster::block_on(bench::run(&tiny(), &devices, &settings(batch_sizes), &mut |_| {}))
}

fn glassnet(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("glassnet").expect("the program");
    command.arg("bench").args(arguments);
    command
}

fn stderr(command: &mut Command) -> String {
    let output = command.assert().failure().get_output().clone();
    assert!(output.stdout.is_empty(), "nothing on stdout where there is no result");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Whether every figure of a pass is a positive number.
fn sound(pass: &Value) -> bool {
    let positive = |value: &Value| value.as_f64().is_some_and(|v| v > 0.0 && v.is_finite());
    let spread = &pass["us_per_step"];
    let ordered = spread["min"].as_f64() <= spread["median"].as_f64();
    ordered && ["us_per_example", "share", "gigabytes_per_second"].iter().all(|key| positive(&pass[*key]))
}

#[test]
fn every_device_reports_every_batch_size_once_and_in_order() {
    let report = run(&[3, 1, 3]).expect("both devices run");
    let sizes: Vec<usize> = report.batches.iter().map(|b| b.batch_size).collect();
    assert_eq!(sizes, [1, 3]);
    for batch in &report.batches {
        let devices: Vec<&str> = batch.results.iter().map(|r| r.device.as_str()).collect();
        assert_eq!(devices, ["cpu", "reference"]);
        assert_eq!(batch.speed_up, None, "there is no GPU to compare with");
    }
}

#[test]
fn every_operation_layer_and_stage_has_sound_figures() {
    let report = serde_json::to_value(run(&[2]).expect("both devices run")).expect("JSON");
    for result in report["batches"][0]["results"].as_array().expect("a list") {
        let measured = &result["measured"];
        assert_eq!(measured["clock"], "wall-clock");
        let list = |key: &str| measured[key].as_array().expect("a list").clone();
        let stages: Vec<Value> = list("stages").iter().map(|s| s["stage"].clone()).collect();
        assert_eq!(stages, ["batch", "forward", "backward", "update"]);
        let layers: Vec<Value> = list("layers").iter().map(|l| l["layer"].clone()).collect();
        assert_eq!(layers, ["input", "conv1", "relu1", "pool1", "fc1", "softmax"]);
        assert!(list("stages").iter().chain(&list("operations")).all(sound), "{measured}");
        for layer in list("layers") {
            // The pooling computes the ReLU before it.
            let computed_by = if layer["layer"] == "relu1" { json!("pool1") } else { Value::Null };
            assert_eq!(layer["computed_by"], computed_by, "{measured}");
            let own = computed_by.is_null();
            assert_eq!((sound(&layer["forward"]), sound(&layer["both"])), (own, own), "{measured}");
        }
        assert!(sound(&list("layers")[1]["backward"]) && list("layers")[0]["backward"].is_null(), "{measured}");
        let operations = list("operations");
        assert_eq!(measured["step"]["dispatches"], operations.len());
    }
}

#[test]
fn every_time_is_judged_by_the_devices_peaks_where_it_has_some() {
    let report = serde_json::to_value(run(&[2]).expect("both devices run")).expect("JSON");
    let [cpu, reference] = [0, 1].map(|device| report["batches"][0]["results"][device]["measured"].clone());
    let passes = |measured: &Value| [measured["stages"].clone(), measured["operations"].clone()];
    for pass in passes(&cpu).iter().flat_map(|list| list.as_array().expect("a list")) {
        assert!(pass["of_peak"]["share"].as_f64() > Some(0.0), "{pass}");
        assert!(["compute", "memory"].map(Value::from).contains(&pass["of_peak"]["bound"]), "{pass}");
    }
    assert_eq!(reference["step"]["of_peak"], Value::Null);
    let failures = report["devices"][1]["peaks"]["failures"].clone();
    assert!(failures[0].as_str().is_some_and(|why| why.contains("the reference")), "{failures}");
}

#[test]
fn what_does_not_fit_is_reported_and_the_rest_is_measured() {
    // 65,535 examples of a map with 2,000,000 values exceed every buffer.
    let wide = TINY.replace("height = 6", "height = 1000").replace("width = 5", "width = 667");
    let network = Network::from_toml(&wide, "wide.toml").expect("a network");
    let report = pollster::block_on(bench::run(&network, &[Device::Cpu], &settings(&[1, 65_535]), &mut |_| {}));
    let report = report.expect("one batch size fits");
    assert!(report.batches[0].results[0].measured.is_some());
    let reason = report.batches[1].results[0].unavailable.clone().expect("it does not fit");
    let (_, largest) = reason.split_once("the largest batch size that fits is ").expect(&reason);
    let largest: u64 = largest.parse().expect(&reason);
    // A buffer's limit allows 3219; less free memory allows fewer.
    assert!((1..=3219).contains(&largest), "{reason}");
}

#[test]
fn batch_sizes_beyond_every_device_are_refused() {
    for size in [0, 65_536] {
        let Err(Error::Settings(message)) = run(&[1, size]) else { panic!("{size} is refused") };
        assert!(message.contains(&format!("a batch size of {size} is not within 1 to 65535")), "{message}");
    }
}

#[test]
fn progress_ends_where_it_was_planned_to() {
    let mut last = (0, 0);
    let watch = &mut |p: bench::Progress| {
        assert!(p.done < p.planned && p.done >= last.0);
        last = (p.done, p.planned);
    };
    pollster::block_on(bench::run(&tiny(), &[Device::Cpu], &settings(&[1, 2]), watch)).expect("the CPU runs");
    assert_eq!(last.0 + 1, last.1);
}

fn growth(devices: &[Device], longest_step: Duration) -> Growth {
    let (batch_sizes, widths, round) = (vec![1, 4], vec![1, 3], Duration::from_millis(2));
    let settings = GrowthSettings { batch_sizes, widths, rounds: 2, round, longest_step };
    let mut named = Vec::new();
    let mut progress = |size: &str| named.push(size.to_string());
    let growth = pollster::block_on(bench::growth(&tiny(), devices, &settings, &mut progress)).expect("it grows");
    assert_eq!(named, ["batch size 1", "batch size 4", "width x1", "width x3"]);
    growth
}

fn results(growth: &Growth) -> impl Iterator<Item = &GrowthResult> {
    growth.by_batch_size.iter().chain(&growth.by_width).flat_map(|point| &point.results)
}

#[test]
fn speed_and_memory_are_measured_over_batch_sizes_and_widths() {
    let growth = growth(&[Device::Cpu, Device::Reference], Duration::from_secs(9));
    assert!(results(&growth).all(|r| r.images_per_second.is_some_and(|s| s.median > 0.0) && r.left_out.is_none()));
    let memory = |results: &[GrowthResult]| results[0].memory_bytes.expect("measured");
    for curve in [&growth.by_batch_size, &growth.by_width] {
        assert!(memory(&curve[0].results) < memory(&curve[1].results), "{curve:?}");
        assert_eq!(curve[1].results.iter().map(|r| r.device.as_str()).collect::<Vec<_>>(), ["cpu", "reference"]);
    }
    let parameters: Vec<_> = growth.by_width.iter().map(|point| point.parameters).collect();
    // Three filters of 3x3 and their biases, then 3x2 pixels of three channels to four classes; nine in place of three.
    assert_eq!(parameters, [Some(27 + 3 + 18 * 4 + 4), Some(81 + 9 + 54 * 4 + 4)]);
}

#[test]
fn sizes_that_would_take_too_long_are_left_out_with_the_reason() {
    let growth = growth(&[Device::Cpu], Duration::ZERO);
    let left_out: Vec<_> = results(&growth).map(|r| r.left_out.clone()).collect();
    // The first size has no previous one for an estimate.
    assert_eq!((&left_out[0], &left_out[2]), (&None, &None));
    for reason in [&left_out[1], &left_out[3]] {
        assert!(reason.as_ref().is_some_and(|why| why.contains("a step would take about")), "{reason:?}");
    }
}

#[test]
fn the_command_draws_growth_only_as_svg_and_only_where_it_can_be_written() {
    let refused = |file: &str, expected: &str| {
        let message = stderr(&mut glassnet(&["--devices", "cpu", "--batch-sizes", "1", "--growth", file]));
        assert!(message.contains(expected), "{file}: {message}");
    };
    refused("growth.png", "the picture is an SVG");
    refused("growth", "the picture is an SVG");
    refused("no/such/folder/growth.svg", "folder no/such/folder does not exist");
    let folder = tempfile::tempdir().expect("a folder");
    let taken = folder.path().join("taken.svg");
    std::fs::create_dir(&taken).expect("a folder");
    refused(taken.to_str().expect("UTF-8"), "is a folder");
}

#[test]
fn the_command_prints_one_json_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tiny.toml");
    std::fs::write(&file, TINY).expect("a file");
    let net = file.to_str().expect("UTF-8");
    let output = glassnet(&["--net", net, "--devices", "cpu", "--batch-sizes", "2", "--json"]).assert().success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).expect("one JSON document");
    assert_eq!(report["network"], "tiny");
    assert_eq!(report["optimizer"], "momentum");
    assert_eq!(report["devices"][0]["executor"], "cpu");
    assert_eq!(report["gpu_wins"]["verdict"], "not-compared");
    assert_eq!(report["verdict"], "There is no comparison of GPU and CPU: only one of them ran.");
    let peaks = &report["devices"][0]["peaks"];
    for (peak, probe) in [("compute", "12 chains of SIMD vectors"), ("memory", "a memory copy on every thread")] {
        assert!(peaks[peak]["best"].as_f64() > Some(0.0), "{peaks}");
        assert!(peaks[peak]["way"].as_str().is_some_and(|way| way.starts_with(probe)), "{peaks}");
    }
    assert_eq!(peaks["failures"], json!([]));
    let measured = &report["batches"][0]["results"][0]["measured"];
    assert!(measured["step"]["images_per_second"]["median"].as_f64() > Some(0.0));
    assert!(measured["step"]["of_peak"]["share"].as_f64() > Some(0.0));
    let ratio = measured["operations_over_step"].as_f64().expect("layers and steps were timed");
    assert!((0.01..100.0).contains(&ratio), "operations take {ratio} of a step");
}

/// Several networks at once, by commas and by repeated options.
const SEVERAL: [&str; 7] =
    ["--devices", "cpu", "--batch-sizes", "1", "--preset", "convnetjs-mnist,resnet-mnist", "--preset=convnetjs-mnist"];

#[test]
fn several_networks_are_timed_in_one_run_with_a_verdict_for_each() {
    let output = glassnet(&SEVERAL).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8");
    let verdicts: Vec<&str> = text.lines().rev().take(2).collect();
    for (verdict, name) in verdicts.iter().zip(["resnet-mnist", "convnetjs-mnist"]) {
        assert_eq!(*verdict, format!("{name}: There is no comparison of GPU and CPU: only one of them ran."));
    }
    assert_eq!(text.matches("Batch size 1: us per example in each layer").count(), 2, "{text}");
}

#[test]
fn several_networks_make_a_list_of_reports() {
    let output = glassnet(&SEVERAL).arg("--json").assert().success();
    let reports: Value = serde_json::from_slice(&output.get_output().stdout).expect("one JSON document");
    let names: Vec<&Value> = reports.as_array().expect("a list").iter().map(|report| &report["network"]).collect();
    assert_eq!(names, ["convnetjs-mnist", "resnet-mnist"]);
}

#[test]
fn zeros_that_the_processor_skips_are_named() {
    let network = Network::preset("convnetjs-mnist").expect("a preset");
    let devices = [Device::Cpu, Device::Reference];
    let report = pollster::block_on(bench::run(&network, &devices, &settings(&[2]), &mut |_| {})).expect("both run");
    let [cpu, reference] = [0, 1].map(|device| report.batches[0].results[device].measured.as_ref().expect("measured"));
    let skipped = |name: &str| {
        let operation = cpu.operations.iter().find(|o| o.operation == name).expect(name);
        operation.figures.skipped
    };
    assert_eq!(skipped("conv1.forward"), None);
    assert!(reference.operations.iter().all(|o| o.figures.skipped.is_none()), "the reference computes everything");
    // Only winners of a 2x2 pooling have a gradient. Processors without vectors skip nothing.
    if let Some(share) = skipped("conv1.backward_weight") {
        assert!((0.75..1.0).contains(&share), "{share}");
        let step = cpu.step.as_ref().and_then(|step| step.skipped).expect("a part of the step");
        assert!(step > 0.0 && step < share, "{step} of the step, {share} of the operation");
    }
}

#[test]
fn the_command_says_what_is_wrong_with_its_options() {
    let refused = |arguments: &[&str], expected: &str| {
        let message = stderr(&mut glassnet(arguments));
        assert!(message.contains(expected), "{arguments:?}: {message}");
    };
    refused(&["--devices", "cpu", "--batch-sizes", "0"], "a batch size of 0 is not within 1 to 65535");
    refused(&["--devices", "cpu", "--batch-sizes", "20,99999999"], "a batch size of 99999999 is not within");
    refused(&["--batch-sizes", "many"], "a batch size is a whole number, 1 or more");
    refused(&["--batch-sizes", "99999999999999999999999"], "a batch size is a whole number, 1 or more");
    refused(&["--devices", "tpu"], "possible values: gpu, cpu");
    refused(&["--devices", "cpu", "--adapter", "0"], "--adapter selects a GPU");
    refused(&["--adapter", "no such adapter"], "adapter");
    refused(&["--preset", "no-such"], "unknown preset `no-such`");
    let known = "unknown preset `vgg`; known are convnetjs-mnist, fast-mnist";
    refused(&["--devices", "cpu", "--preset", "convnetjs-mnist,vgg"], known);
    let growth = ["--devices", "cpu", "--growth", "growth.svg", "--preset", "convnetjs-mnist,vgg-mnist"];
    refused(&growth, "--growth draws one network");
}

/// `benches/hardware.sh` with programs that are this shell script, and a Python that does not exist.
#[cfg(unix)]
fn hardware_script(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["glassnet", "compare", "host", "matmul"] {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{program}\n")).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a program");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hardware.sh");
    let mut command = std::process::Command::new("sh");
    command.arg(script).args(arguments).env("BIN", folder.path()).envs(environment.iter().copied());
    command.output().expect("a shell")
}

/// A program without a GPU.
#[cfg(unix)]
const FAILING: &str = "echo 'error: no GPU adapter'; exit 1";

/// Programs that end well; the data is there, and only a GPU's options may be given to a training on it.
#[cfg(unix)]
const ENDING: &str = r#"
case "$*" in
"data list") echo "mnist verified" ;;
*"--device cpu"*--skip-self-check*) echo "error: --skip-self-check is for a GPU"; exit 1 ;;
train*) printf '{\n  "test_accuracy": 0.991,\n  "train_seconds": 4.5\n}\n' ;;
"check --device gpu") echo "checking 2 cases on gpu: Shim"; [ -z "$WRONG" ] || { echo "error: 1 case FAILS"; exit 1; } ;;
"check --device gpu --precision"*)
    [ -n "$NO_F16" ] && { echo "error: Shim cannot compute in precision matrix-f16"; exit 2; }
    echo "checking 2 cases on gpu: Shim"; [ -z "$WRONG_F16" ] || { echo "error: 1 case FAILS"; exit 1; } ;;
*--lockstep*) [ -z "$SLOW" ] || sleep 30 ;;
*--tabs*) [ -z "$SLOW" ] || sleep 30 ;;
*--rounds*) echo 1 2 3 4 5 6 7 8 9 10 11 ;;
*--products-only*) echo "matmul.best 12 GFLOP/s" ;;
esac
"#;

#[cfg(unix)]
#[test]
fn the_hardware_script_fills_its_table_with_reasons_where_nothing_runs() {
    let output = hardware_script(FAILING, &["--skip-self-check", "/no/such/python"], &[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    // Head, machine, check, five networks in lockstep, three at three batch sizes, accuracy, product, host.
    assert_eq!(table.len(), 2 + 2 + 5 + 9 + 3, "{text}");
    assert!(table.iter().all(|row| row.matches('|').count() == 9), "{text}");
    let row = |start: &str| table.iter().find(|row| row.starts_with(start)).copied().expect(start);
    assert!(row("| `check` |").contains("| not run: no GPU adapter |"), "{text}");
    assert!(row("| lockstep, vgg-mnist |").contains("| not run: no GPU adapter |"), "{text}");
    let speeds = row("| images/s, resnet-cifar10, batch 512 |");
    let nobody = "| no GPU adapter | no GPU adapter | no GPU adapter | no PyTorch |";
    assert!(speeds.contains(nobody), "{speeds}");
    assert!(row("| 99 % on MNIST's test set, fast-mnist |").contains("| no data |"), "{text}");
}

#[cfg(unix)]
#[test]
fn the_hardware_script_fails_after_its_table_if_a_check_fails() {
    let environments = [(&[][..], 0), (&[("WRONG", "1")], 1), (&[("WRONG_F16", "1")], 1), (&[("NO_F16", "1")], 0)];
    for (environment, code) in environments {
        let output = hardware_script(ENDING, &["--skip-self-check", "/no/such/python"], environment);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{text}");
        let accuracy = text.lines().find(|line| line.starts_with("| 99 %")).expect("the table");
        assert_eq!(accuracy.matches("4.5 s (99.10 %) |").count(), 3, "{accuracy}");
        let wrong = environment.iter().any(|(name, _)| name.starts_with("WRONG"));
        assert_eq!(accuracy.contains("computes wrongly"), wrong, "{accuracy}");
        assert!(text.trim_end().lines().last().is_some_and(|line| line.starts_with("| host's work")), "{text}");
    }
}

/// With little time, the first parts do not take that of the last ones.
#[cfg(unix)]
#[test]
fn every_part_of_the_hardware_script_has_its_share_of_the_time() {
    if std::process::Command::new("timeout").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no `timeout` here");
        return;
    }
    let output = hardware_script(ENDING, &["--skip-self-check", "/no/such/python"], &[("SLOW", "1"), ("TOTAL", "16")]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert!(row("| product 4096").contains("12 GFLOP/s"), "{text}");
    assert!(row("| host's work").contains("| 2 µs of all threads; finish 7, submit 8 |"), "{text}");
    for start in ["| images/s, convnetjs-mnist, batch 20 |", "| images/s, resnet-cifar10, batch 20 |"] {
        assert!(row(start).contains("no result within"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn the_hardware_script_refuses_an_option_that_it_does_not_know() {
    let output = hardware_script(FAILING, &["--quick"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(message.contains("unknown option --quick; usage: sh benches/hardware.sh"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_shell_accepts_every_script() {
    for script in ["benches/hardware.sh", "tests/run.sh"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let status = std::process::Command::new("sh").arg("-n").arg(&path).status().expect("a shell");
        assert!(status.success(), "{script}");
    }
}
