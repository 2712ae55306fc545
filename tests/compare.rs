//! `glassnet compare` as a user meets it: what it trains, prints and writes, and what it refuses.

mod common;

use assert_cmd::Command;
use common::command::{assert_fails_with, document, failing, glassnet, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `glassnet compare` on the built-in digits, into the folder `out`.
    fn compare(&self, args: &[&str]) -> Command {
        let mut command = glassnet(&["compare", "--dataset", "synthetic", "--device", "cpu"]);
        command.args(args).arg("--out").arg(self.path("out"));
        command
    }

    fn document(&self) -> Value {
        let text = fs::read_to_string(self.path("out/compare.json")).expect("compare.json");
        serde_json::from_str(&text).expect("one JSON document")
    }

    fn picture(&self) -> String {
        fs::read_to_string(self.path("out/compare.svg")).expect("compare.svg")
    }

    /// A command that fails with exit code 1 and leaves no folder.
    fn refuses(&self, args: &[&str], parts: &[&str]) {
        assert_fails_with(&mut self.compare(args), parts);
        assert!(!self.path("out").exists(), "{args:?} left a folder behind");
    }
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is no array in {value}"))
}

/// Name of the contestant and run, for every run.
fn runs(document: &Value) -> Vec<(&str, &Value)> {
    let contestants = array(document, "contestants").iter();
    contestants.flat_map(|c| array(c, "runs").iter().map(|run| (c["name"].as_str().expect("a name"), run))).collect()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

#[test]
fn two_optimizers_and_two_seeds_are_four_runs_with_curves() {
    let place = Place::new();
    let printed =
        document(&mut place.compare(&["--optimizers", "sgd,adam", "--seeds", "1,2", "--steps", "12", "--every", "1"]));
    assert_eq!(printed, place.document(), "stdout has what the file has");
    let runs = runs(&printed);
    let names: Vec<(&str, u64)> =
        runs.iter().map(|(name, run)| (*name, run["seed"].as_u64().expect("a seed"))).collect();
    assert_eq!(names, [("sgd", 1), ("sgd", 2), ("adam", 1), ("adam", 2)]);
    for (_, run) in &runs {
        let examples: Vec<u64> =
            array(run, "points").iter().map(|p| p["examples_seen"].as_u64().expect("a count")).collect();
        assert_eq!(examples, (1..=12).map(|step| 20 * step).collect::<Vec<u64>>());
        assert!((0.0..=1.0).contains(&number(run, "test_accuracy")) && number(run, "test_loss") > 0.0);
        assert_eq!((run["steps"].as_u64(), run["examples_seen"].as_u64()), (Some(12), Some(240)));
    }
    // Before the first update all that counts is the seed.
    let first = |i: usize| number(&array(runs[i].1, "points")[0], "train_loss");
    assert_eq!((first(0), first(1)), (first(2), first(3)));
    assert_ne!(first(0), first(1));
    let last = |i: usize| number(runs[i].1, "train_loss");
    assert_ne!(last(0), last(2));
}

#[test]
fn the_table_and_the_document_agree() {
    let place = Place::new();
    let stdout = text(&mut place.compare(&["--optimizers", "sgd:0.1,adam", "--seeds", "1,2", "--steps", "40"]));
    let document = place.document();
    let cells = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<String>>();
    let lines: Vec<Vec<String>> = stdout.lines().map(cells).collect();
    for (name, run) in runs(&document) {
        let seed = run["seed"].to_string();
        let row = lines.iter().find(|row| row.len() > 9 && row[0] == name && row[1] == seed).expect("a row of the run");
        let percent = |key: &str| format!("{:.2}", 100.0 * number(run, key));
        assert_eq!(row[2..4], ["40", "800"]);
        assert_eq!((&row[5], &row[7]), (&percent("validation_accuracy"), &percent("test_accuracy")));
        assert!((row[9].parse::<f64>().expect("a loss") / number(run, "test_loss") - 1.0).abs() < 1e-3);
    }
    for contestant in array(&document, "contestants") {
        let accuracy: Vec<f64> = array(contestant, "runs").iter().map(|run| number(run, "test_accuracy")).collect();
        let moments = &contestant["over_seeds"]["test_accuracy"];
        assert!((number(moments, "mean") - (accuracy[0] + accuracy[1]) / 2.0).abs() < 1e-12);
        // Of two values, the sample's standard deviation is their distance over √2.
        let deviation = (accuracy[0] - accuracy[1]).abs() / 2f64.sqrt();
        assert!((number(moments, "standard_deviation") - deviation).abs() < 1e-12);
        let told = format!("{:.2} ± {:.2} %", 100.0 * number(moments, "mean"), 100.0 * deviation);
        assert!(stdout.contains(&told), "{told} is not in:\n{stdout}");
    }
    let svg = place.picture();
    for part in ["sgd:0.1", "adam", "training examples seen", "training loss", "validation accuracy (%"] {
        assert!(svg.contains(part), "{part} is not in the picture");
    }
}

#[test]
fn a_comparison_trains_exactly_what_train_trains() {
    let place = Place::new();
    let compared =
        document(&mut place.compare(&["--optimizers", "momentum", "--seeds", "3", "--steps", "30", "--every", "7"]));
    let args = [
        "train",
        "--dataset",
        "synthetic",
        "--device",
        "cpu",
        "--optimizer",
        "momentum",
        "--seed",
        "3",
        "--steps",
        "30",
    ];
    let mut train = glassnet(&args);
    let trained = document(train.arg("--out").arg(place.path("run")));
    let run = runs(&compared)[0].1;
    for key in ["test_accuracy", "test_loss", "validation_accuracy", "validation_loss"] {
        assert_eq!(run[key], trained[key], "{key}");
    }
    let steps: Vec<u64> = array(run, "points").iter().map(|point| point["step"].as_u64().expect("a step")).collect();
    assert_eq!(steps, [7, 14, 21, 28, 30]);
}

#[test]
fn constants_hold_for_every_optimizer_that_is_compared() {
    let place = Place::new();
    let args = ["--optimizers", "adadelta,windowgrad", "--steps", "1", "--epsilon", "1e-4", "--rho", "0.5"];
    let document = document(&mut place.compare(&args));
    for contestant in array(&document, "contestants") {
        let optimizer = &contestant["optimizer"];
        assert_eq!((number(optimizer, "epsilon"), number(optimizer, "rho")), (1e-4, 0.5), "{optimizer}");
    }
}

#[test]
fn presets_keep_their_own_ways_to_train() {
    let place = Place::new();
    let document = document(&mut place.compare(&["--presets", "convnetjs-mnist,fast-mnist", "--steps", "2"]));
    let contestants = array(&document, "contestants");
    let names: Vec<&str> = contestants.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["convnetjs-mnist", "fast-mnist"]);
    assert_ne!(contestants[0]["optimizer"], contestants[1]["optimizer"]);
    assert!(contestants[1]["description"].as_str().is_some_and(|toml| toml.contains("[training]")));
}

#[test]
fn one_point_makes_a_picture_too() {
    let place = Place::new();
    place.compare(&["--optimizers", "sgd,adam", "--steps", "1"]).assert().success();
    let svg = place.picture();
    assert!(svg.contains("<circle") && svg.contains("<polygon"), "the markers of both");
    assert!(!svg.contains("NaN"), "{svg}");
}

#[test]
fn who_diverges_is_told_and_the_others_go_on() {
    let place = Place::new();
    let args = ["--optimizers", "sgd:1e30,adam", "--steps", "20", "--every", "1"];
    let stdout = text(&mut place.compare(&args));
    assert!(stdout.contains("sgd:1e30, seed 1, diverged: step "), "{stdout}");
    let document = place.document();
    let runs = runs(&document);
    assert!(runs[0].1["diverged"].is_string() && runs[0].1["test_accuracy"].is_null());
    assert!(runs[1].1["diverged"].is_null() && runs[1].1["test_accuracy"].is_number());
    let svg = place.picture();
    assert!(svg.contains("(diverged)") && !svg.contains("NaN"), "{svg}");
}

#[test]
fn where_all_diverge_the_exit_code_says_so() {
    let place = Place::new();
    let assert = place.compare(&["--optimizers", "sgd", "--learning-rate", "1e30", "--steps", "20"]).assert().code(1);
    assert!(String::from_utf8_lossy(&assert.get_output().stdout).contains("diverged"));
    assert!(place.path("out/compare.json").is_file() && place.picture().contains("(diverged)"));
}

#[test]
fn what_cannot_be_compared_leaves_nothing_behind() {
    let place = Place::new();
    place.refuses(&["--optimizers", "sgd,sgd"], &["the optimizer sgd is named twice"]);
    place.refuses(&["--presets", "fast-mnist,fast-mnist"], &["the network fast-mnist is named twice"]);
    place.refuses(&["--presets", "fast-mnist,slow-mnist"], &["unknown preset `slow-mnist`", "best-mnist"]);
    place.refuses(&["--seeds", "1,1"], &["the seed 1 is named twice"]);
    place.refuses(&["--steps", "0"], &["--steps must be a whole number >= 1, got 0"]);
    place.refuses(&["--every", "0"], &["--stats-every must be a whole number >= 1, got 0"]);
    place.refuses(&["--optimizers", "sgd:-1"], &["--learning-rate must be a number from 1.2e-38 to 3.4e38, got -1"]);
    place.refuses(&["--optimizers", "sgd,adam", "--learning-rate", "0.1"], &["give each of the optimizers its own"]);
    place.refuses(&["--optimizers", "sgd,adam", "--epsilon", "0.1"], &["--epsilon has no effect on the optimizer sgd"]);
    place.refuses(&["--optimizers", "adam,adadelta", "--epsilon", "0"], &["--epsilon must be a number from", "got 0"]);
    place.refuses(&["--presets", "convnetjs-mnist,convnetjs-cifar10"], &["convnetjs-cifar10", "channels"]);
}

#[test]
fn words_that_make_no_sense_are_refused_with_exit_code_2() {
    let place = Place::new();
    for (args, part) in [
        (["--optimizers", "sgd,fast"], "unknown optimizer `fast`"),
        (["--optimizers", ""], "unknown optimizer ``"),
        (["--optimizers", "sgd:fast"], "`fast` in `sgd:fast` is not a learning rate"),
        (["--seeds", ""], "--seeds"),
        (["--seeds", "one"], "one"),
    ] {
        let assert = place.compare(&args).assert().code(2).stdout("");
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(stderr.contains(part), "{part} is not in: {stderr}");
        assert!(!place.path("out").exists());
    }
    place.compare(&["--presets", "fast-mnist", "--preset", "fast-mnist"]).assert().code(2);
}

#[test]
fn a_folder_with_something_in_it_is_kept_unless_forced() {
    let place = Place::new();
    let mine = place.path("out/mine.txt");
    fs::create_dir(place.path("out")).expect("a folder");
    fs::write(&mine, "mine").expect("a file");
    let args = ["--optimizers", "sgd", "--steps", "1"];
    assert!(failing(&mut place.compare(&args)).contains("is not empty"));
    assert!(!exists(&place.path("out/compare.json")));
    place.compare(&args).arg("--force").assert().success();
    place.compare(&args).arg("--force").assert().success();
    assert!(exists(&mine) && exists(&place.path("out/compare.json")));
}

fn exists(path: &Path) -> bool {
    path.is_file()
}
