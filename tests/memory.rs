//! Requests that exceed the host's memory are refused before it is allocated, and the message says what would fit.
//! Memory is limited by a limit of addresses, as `ulimit -v` sets it.
#![cfg(target_os = "linux")]

mod common;

use common::command::Place;
use common::live::{Trainer, wait_for};
use serde_json::{Value, json};
use std::process::{Command, Output};

/// Much memory per example and little work.
const WIDE: &str = "
name = 'wide'
layers = [
    { type = 'input', height = 28, width = 28, channels = 1 },
    { type = 'conv', filters = 4, kernel = 1, activation = 'relu' },
    { type = 'max-pool', size = 14 },
    { type = 'fc', outputs = 10 },
    { type = 'softmax' },
]
[training]
trainer = 'sgd'
";

/// Runs the program with a limit of addresses in MiB.
fn limited(place: &Place, mib: u64, args: &[&str]) -> Output {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={}", mib << 20)).arg(env!("CARGO_BIN_EXE_glassnet")).args(args);
    command.env("RAYON_NUM_THREADS", "2").env_remove("GLASSNET_DATA").env_remove("RUST_LOG");
    command.current_dir(place.path("."));
    command.output().expect("prlimit of util-linux starts it")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The reason of a refusal; the program must not have panicked or been ended by a signal.
fn refused(output: &Output) -> String {
    let text = stderr(output);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}: {text}", output.status);
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
    text.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error: {text}")).to_string()
}

/// The batch size that a refusal names.
fn largest(why: &str) -> usize {
    let (_, rest) = why.split_once("the largest batch size that fits is ").unwrap_or_else(|| panic!("{why}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn a_batch_that_memory_does_not_hold_is_refused_and_the_one_that_is_named_fits() {
    let place = Place::with_data(250, 50);
    std::fs::write(place.path("wide.toml"), WIDE).expect("a file");
    for device in ["cpu", "reference"] {
        let train = |batch: &str, out: &str| {
            let args = ["train", "--net", "wide.toml", "--dataset", "mnist", "--data-dir", "data", "--steps", "1"];
            let rest = ["--device", device, "--no-report", "--batch-size", batch, "--out", out];
            limited(&place, 1000, &[&args[..], &rest].concat())
        };
        let why = refused(&train("65535", "refused"));
        assert!(why.contains("batch size 65535 does not fit") && why.contains("are free"), "{why}");
        let batch = largest(&why);
        // An example takes some 40 KiB.
        assert!((2_000..30_000).contains(&batch), "{why}");
        // The number of addresses reserved for threads varies from run to run.
        let near = batch - batch / 8;
        let output = train(&near.to_string(), &format!("run-{device}"));
        assert!(output.status.success(), "batch size {near} on {device}: {}", stderr(&output));
    }
}

#[test]
fn whatever_looks_into_a_network_weighs_it_first() {
    let place = Place::with_data(250, 50);
    let wide = WIDE
        .replace("outputs = 10 }", "outputs = 20000 }, { type = 'fc', outputs = 10 }")
        .replace("size = 14", "size = 2");
    std::fs::write(place.path("wide.toml"), wide).expect("a file");
    let data = ["--dataset", "mnist", "--data-dir", "data"];
    for (what, args) in [
        ("train", &["train", "--net", "wide.toml", "--steps", "1", "--device", "cpu", "--out", "run"][..]),
        ("check", &["check", "--lockstep", "--net", "wide.toml", "--device", "cpu", "--batch-size", "2"]),
    ] {
        let args = if what == "train" { [args, &data].concat() } else { args.to_vec() };
        let why = refused(&limited(&place, 500, &args));
        assert!(why.contains("not even a batch of 1 fits: layer fc1 is the largest"), "{what}: {why}");
    }
    let bench = ["bench", "--net", "wide.toml", "--devices", "cpu", "--json"];
    let output = limited(&place, 330, &bench);
    let text = [String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output)].concat();
    assert!(text.contains("not even a batch of 1 fits") && !text.contains("panicked"), "{text}");
}

#[test]
fn two_executors_side_by_side_are_weighed_together() {
    let place = Place::with_data(250, 50);
    std::fs::write(place.path("wide.toml"), WIDE).expect("a file");
    let check = |batch: usize| {
        let batch = batch.to_string();
        let args = ["check", "--lockstep", "--net", "wide.toml", "--device", "cpu", "--batch-size", &batch];
        limited(&place, 400, &args)
    };
    let why = refused(&check(60_000));
    let batch = largest(&why);
    assert!((100..3_000).contains(&batch), "{why}");
    let output = check(batch - batch / 2);
    assert!(output.status.success(), "half of {batch}: {}", stderr(&output));
}

#[test]
fn sizes_that_no_machine_has_are_refused_in_words() {
    let place = Place::with_data(250, 50);
    let conv = |keys: &str| WIDE.replace("filters = 4, kernel = 1", keys);
    for (name, text) in [
        ("filters", conv("filters = 4294967295, kernel = 1")),
        ("more filters", conv("filters = 9223372036854775807, kernel = 1")),
        ("most filters", conv("filters = 65535, kernel = 28")),
        ("kernel", conv("filters = 4, kernel = 4294967295")),
        ("pad", conv("filters = 4, kernel = 1, pad = 4294967295")),
        ("more pad", conv("filters = 4, kernel = 1, pad = 9223372036854775807")),
        ("dilation", conv("filters = 4, kernel = 3, dilation = 9223372036854775807")),
        ("outputs", WIDE.replace("outputs = 10 }", "outputs = 4294967295 }, { type = 'fc', outputs = 10 }")),
        (
            "two large",
            WIDE.replace(
                "outputs = 10 }",
                "outputs = 60000 }, { type = 'fc', outputs = 60000 }, { type = 'fc', outputs = 10 }",
            ),
        ),
        ("input", WIDE.replace("height = 28, width = 28", "height = 4294967295, width = 4294967295")),
    ] {
        std::fs::write(place.path("odd.toml"), text).expect("a file");
        let args = ["train", "--net", "odd.toml", "--dataset", "mnist", "--data-dir", "data", "--device", "cpu"];
        let output = limited(&place, 1000, &[&args[..], &["--steps", "1", "--out", "run"]].concat());
        let why = refused(&output);
        assert!(why.len() > 30, "{name}: {why}");
    }
}

fn status(process: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line of the process's status");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn the_page_refuses_a_batch_that_does_not_fit_and_the_run_goes_on_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("wide.toml"), WIDE).expect("a file");
    let mut trainer = Trainer::start_in(folder, &["--live"], &["--net", "wide.toml", "--batch-size", "10"]);
    // The viewer has what it needs.
    trainer.watch().next("view");
    let limit = status(trainer.id(), "VmSize:") + (300 << 20);
    let pid = trainer.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--as={limit}:")]).status();
    assert!(limited.expect("prlimit starts").success());
    let most = status(trainer.id(), "VmHWM:");
    let set = |trainer: &Trainer, batch: usize| {
        trainer.control(&json!({"do": "set", "batch_size": batch, "l1_decay": 0.125}))
    };
    let answer = set(&trainer, 65_535);
    assert_eq!(answer.status, 422, "{}", answer.text());
    let batch = largest(&answer.error());
    assert!((1_000..20_000).contains(&batch), "{}", answer.error());
    assert!(status(trainer.id(), "VmHWM:") < most + (20 << 20), "it was taken all the same");
    trainer.assert_well();
    assert_eq!(trainer.changes("l1_decay"), Vec::<Value>::new());
    let answer = set(&trainer, batch - batch / 8);
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_for("a larger batch", || (trainer.status()["settings"]["batch_size"].as_u64()? > 10).then_some(()));
    trainer.assert_well();
}
