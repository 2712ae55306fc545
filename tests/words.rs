//! Words and options as users of other programs type them, and signals that the program was started to ignore.

mod common;

use common::command::{Place, document, glassnet};
use std::fs;

const NET: &str = r#"
name = "tiny"
initializer = "He_Normal"
layers = [
    { type = "Input", height = 28, width = 28, channels = 1 },
    { type = "MaxPool", size = 14 },
    { type = "FC", outputs = 10, activation = "ReLU" },
    { type = "fc", outputs = 10 },
    { type = "SoftMax" },
]
[training]
optimizer = "RMSprop"
schedule = "OneCycle"
"#;

fn place() -> Place {
    let place = Place::with_data(40, 10);
    fs::write(place.path("net.toml"), NET).expect("a network");
    place
}

/// The stderr of an invalid command line.
fn refused(args: &[&str]) -> String {
    let assert = glassnet(args).assert().code(2).stdout("");
    String::from_utf8_lossy(&assert.get_output().stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn words_are_taken_in_any_case_and_by_the_names_that_others_use() {
    let place = place();
    let mut train = glassnet(&["train", "--dataset", "MNIST", "--device", "CPU", "--iterations", "2"]);
    train.args(["--Batch_Size", "5", "--lr", "0.01", "--weight-decay", "0.25", "--clip", "3"]);
    train.arg("--data_dir").arg(place.path("data")).arg("--net").arg(place.path("net.toml"));
    let summary = document(train.arg("--out").arg(place.path("run")));
    assert_eq!((&summary["optimizer"], &summary["steps"]), (&"windowgrad".into(), &2.into()));
    let config = fs::read_to_string(place.path("run/config.toml")).expect("the settings");
    for line in ["dataset = \"mnist\"", "batch_size = 5", "l2_decay = 0.25", "clip_norm = 3.0", "name = \"one-cycle\""]
    {
        assert!(config.contains(line), "{line}: {config}");
    }
    for line in ["initializer = \"kaiming\"", "type = \"max-pool\"", "type = \"relu\"", "optimizer = \"windowgrad\""] {
        assert!(config.contains(line), "{line}: {config}");
    }
}

#[test]
fn trainer_is_read_as_optimizer() {
    let place = place();
    let older = |text: String| text.replace("optimizer", "trainer");
    fs::write(place.path("net.toml"), older(NET.to_string())).expect("a network");
    let run = place.path("run");
    let mut train = glassnet(&["train", "--dataset", "mnist", "--device", "cpu", "--steps", "2", "--trainer", "adam"]);
    train.arg("--data-dir").arg(place.path("data")).arg("--net").arg(place.path("net.toml")).arg("--out").arg(&run);
    assert_eq!(document(&mut train)["optimizer"], "adam");
    for file in ["config.toml", "summary.json"] {
        let text = fs::read_to_string(run.join(file)).expect("a file of the run");
        assert!(text.contains("optimizer"), "{text}");
        fs::write(run.join(file), older(text)).expect("an older file");
    }
    glassnet(&["report"]).arg(&run).arg("--data-dir").arg(place.path("data")).assert().success();
    let mut resumed = glassnet(&["train", "--device", "cpu", "--steps", "3", "--resume"]);
    let summary = document(resumed.arg(&run).arg("--data-dir").arg(place.path("data")));
    assert_eq!((&summary["optimizer"], &summary["steps"]), (&"adam".into(), &3.into()));
}

#[test]
fn a_comparison_takes_them_too() {
    let place = place();
    let mut compare =
        glassnet(&["compare", "--optimizers", "SGD:0.1,RMSprop,AdamW", "--device", "Cpu", "--steps", "1"]);
    compare.args(["--dataset", "mnist", "--data-dir"]).arg(place.path("data")).arg("--net").arg(place.path("net.toml"));
    let compared = document(compare.arg("--out").arg(place.path("out")));
    let names: Vec<_> = compared["contestants"].as_array().expect("a list").iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["sgd:0.1", "windowgrad", "adamw"]);
}

#[test]
fn options_of_other_programs_are_told_what_is_meant() {
    for (args, tip) in [
        (&["train", "--gpu"][..], "tip: to compute on the GPU, use --device gpu"),
        (&["eval", "--no-cuda"], "use --device cpu"),
        (&["train", "--data", "x"], "--data-dir the folder with its files"),
        (&["train", "--model", "x"], "choose a network with --preset"),
        (&["view", "--run", "x"], "pass the path without an option"),
        (&["report", "--model", "x"], "pass the path without an option"),
        (&["eval", "model.safetensors"], "name the model with --model FILE"),
        (&["train", "--threads", "4"], "RAYON_NUM_THREADS=4"),
        (&["train", "--output", "x"], "to write with --out"),
        (&["train", "--dropout=0.5"], "belongs to the network"),
    ] {
        let told = refused(args);
        assert!(told.contains(tip), "{args:?}: {told}");
    }
}

#[test]
fn numbers_below_zero_are_told_the_range() {
    let whole = "expected a whole number, 0 or more";
    for args in [
        &["train", "--seed", "-1"][..],
        &["train", "--epochs", "-3"],
        &["train", "--steps", "-inf"],
        &["train", "--batch-size", "-20"],
        &["train", "--stats-every", "-1"],
        &["compare", "--seeds", "-1,2"],
        &["compare", "--stats-every", "-5"],
        &["eval", "--test-crops", "-1"],
        &["inspect", "--index", "-1"],
        &["inspect", "--batch", "-1"],
        &["check", "--lockstep", "--batch-size", "-1"],
    ] {
        let told = refused(args);
        let option = args[args.len() - 2];
        assert!(told.contains(whole) && told.contains(&format!("for '{option} <")), "{args:?}: {told}");
    }
    let told = refused(&["bench", "--batch-sizes", "-5"]);
    assert!(told.contains("a batch size is a whole number, 1 or more"), "{told}");
    for value in ["-inf", "-nan", "-1e-3"] {
        let assert = glassnet(&["train", "--learning-rate", value]).assert().code(1);
        let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(told.contains("--learning-rate"), "{value}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_that_was_ignored_from_the_start_ends_no_run() {
    use std::process::{Command, Stdio};
    // The shell's trap is inherited, as with nohup; a signal that is not ignored stops the run after a step.
    for (ignored, sent, code) in
        [("HUP", "HUP", 0), ("INT", "INT", 0), ("TERM", "TERM", 0), ("INT", "HUP", 130), ("HUP", "TERM", 130)]
    {
        let place = place();
        let script = format!("trap '' {ignored}; exec \"$0\" \"$@\"");
        let mut run = Command::new("sh");
        run.args(["-c", &script, env!("CARGO_BIN_EXE_glassnet"), "train", "--dataset", "mnist", "--device", "cpu"]);
        run.args([
            "--steps",
            if code == 0 { "600" } else { "100000" },
            "--stats-every",
            "10",
            "--no-report",
            "--data-dir",
        ])
        .arg(place.path("data"));
        run.arg("--net").arg(place.path("net.toml")).arg("--out").arg(place.path("run"));
        let run = common::command::heeding_signals(&mut run).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = run.spawn().expect("a shell");
        let rows = place.path("run/metrics.jsonl");
        while fs::metadata(&rows).map_or(0, |file| file.len()) < 1000 {
            assert!(run.try_wait().expect("its state").is_none(), "it ended before it was sent {sent}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let kill = format!("kill -{sent} {}", run.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        assert_eq!(run.wait().expect("it ends").code(), Some(code), "{ignored} was ignored, {sent} was sent");
        assert_eq!(place.path("run/summary.json").exists(), code == 0);
    }
}
