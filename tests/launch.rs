//! Runs that only use the library: one is begun, stopped, resumed, finished, and followed by another.

mod common;

use common::launching::{Stopper, data};
use common::rig::network;
use glassnet::exec::DeviceChoice;
use glassnet::formats::load_model;
use glassnet::net::Recipe;
use glassnet::train::{
    DataChoice, DataSource, EndedRun, LatestWeights, Launch, Launched, Length, NewRun, NextRun, Notice, ResumedRun,
    Run, Tuner, settings_for,
};
use glassnet::{Error, Result};
use pollster::block_on;
use std::path::Path;
use std::sync::Arc;

const NET: &str = r#"
name = "small"
layers = [
    { type = "input", height = 24, width = 24, channels = 1, crop = true },
    { type = "conv", filters = 4, kernel = 3, stride = 2 },
    { type = "batch-norm", activation = "relu" },
    { type = "dropout", rate = 0.25 },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

fn new(folder: &Path) -> Launch {
    let given = Recipe { steps: Some(30), ema: Some(0.9), checkpoint_every: Some(7), ..Recipe::default() };
    let (device, folder) = (DeviceChoice::Cpu, Some(folder.to_path_buf()));
    Launch::New(Box::new(NewRun { network: network(NET), given, data: data(), device, folder, tuner: Tuner::OFF }))
}

fn resumed(folder: &Path, end: Option<Length>) -> Launch {
    Launch::Resume(ResumedRun { folder: folder.to_path_buf(), end, data: data(), device: None, precision: None })
}

fn prepared(launch: Launch) -> (Result<Launched>, Vec<Notice>) {
    let mut notices = Vec::new();
    let launched = block_on(launch.prepare(&mut |notice| notices.push(notice)));
    (launched, notices)
}

fn ready(launch: Launch) -> Run {
    match prepared(launch).0.expect("it is prepared") {
        Launched::Ready(run) => *run,
        Launched::Ended(_) => panic!("the run is finished"),
    }
}

fn ended(launch: Launch) -> EndedRun {
    match prepared(launch).0.expect("it is prepared") {
        Launched::Ended(run) => *run,
        Launched::Ready(_) => panic!("the run has steps left"),
    }
}

/// Trains to the end and writes the summary.
fn train(run: &mut Run) {
    let outcome = block_on(run.train(&mut Stopper(None, false))).expect("it trains");
    run.save_summary(&outcome).expect("the summary is written");
}

/// The files at the end of a run, without times.
fn files(folder: &Path) -> [Vec<u8>; 2] {
    ["model.safetensors", "checkpoint.safetensors"].map(|name| std::fs::read(folder.join(name)).expect("a file"))
}

#[test]
fn a_run_that_was_stopped_and_resumed_ends_with_the_bits_of_one_that_was_not() {
    let place = tempfile::tempdir().expect("a folder");
    let [whole, stopped] = ["whole", "stopped"].map(|name| place.path().join(name));
    train(&mut ready(new(&whole)));

    let mut run = ready(new(&stopped));
    assert_eq!((run.course.end(), run.state.is_some()), (30, false));
    let error = block_on(run.train(&mut Stopper(Some(14), false))).expect_err("it is stopped");
    assert!(matches!(error, Error::Interrupted), "{error}");
    drop(run);
    let mut run = ready(resumed(&stopped, None));
    assert_eq!(run.state.as_ref().map(|state| state.step), Some(14));
    train(&mut run);
    assert!(files(&stopped) == files(&whole));
    assert!(run.ended && !run.changed);
    let latest = LatestWeights::read(&run.folder, &run.settings).expect("it has weights");
    assert_eq!((latest.step, latest.summary.map(|summary| summary.steps)), (30, Some(30)));
}

#[test]
fn a_run_at_its_end_is_said_to_have_ended_and_a_later_end_lets_it_go_on() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    train(&mut ready(new(&folder)));
    let run = ended(resumed(&folder, None));
    assert_eq!((run.summary.steps, run.model_damage), (30, None));
    drop(run.folder);

    let whole = files(&folder);
    std::fs::write(folder.join("model.safetensors"), "damaged").expect("a file");
    assert!(ended(resumed(&folder, None)).model_damage.is_some());
    assert!(files(&folder) == whole, "the model is written again");

    let mut run = ready(resumed(&folder, Some(Length::Steps(35))));
    train(&mut run);
    assert_eq!(load_model(&folder.join("model.safetensors")).expect("a model").extra["step"], 35);
    drop(run);
    let (launched, _) = prepared(resumed(&folder, Some(Length::Steps(10))));
    let error = launched.expect_err("it is past that");
    assert!(matches!(error, Error::PastEnd { step: 35, end: 10 }), "{error}");
}

#[test]
fn a_folder_is_one_runs_alone_and_other_data_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    let mut run = ready(new(&folder));
    let error = prepared(resumed(&folder, None)).0.expect_err("it is locked");
    assert!(error.to_string().contains("another process is training"), "{error}");
    train(&mut run);
    drop(run);
    assert!(matches!(prepared(new(&folder)).0, Err(Error::HoldsRun { .. })));

    let other = ResumedRun {
        folder: folder.clone(),
        end: None,
        data: DataSource::Choice(DataChoice { images: Some(place.path().into()), ..DataChoice::default() }),
        device: None,
        precision: None,
    };
    let error = prepared(Launch::Resume(other)).0.expect_err("it was no folder of pictures");
    assert!(matches!(error, Error::NotOfData { name: "images", .. }) && !error.to_string().contains("--"), "{error}");
    let DataSource::Loaded(dataset) = data() else { panic!("it is loaded") };
    let mut dataset = Arc::unwrap_or_clone(dataset);
    dataset.train.pixels[0] ^= 1;
    let other = ResumedRun {
        folder,
        end: None,
        data: DataSource::Loaded(Arc::new(dataset)),
        device: Some(DeviceChoice::Cpu),
        precision: None,
    };
    let error = prepared(Launch::Resume(other)).0.expect_err("a pixel differs");
    assert!(matches!(error, Error::DataMoved { .. }) && !error.to_string().contains("--"), "{error}");
}

#[test]
fn a_run_that_never_began_leaves_nothing_and_another_one_follows_on_the_same_data() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    drop(ready(new(&folder)));
    assert!(!folder.exists());

    let mut first = ready(new(&folder));
    train(&mut first);
    let another = network(&NET.replace("filters = 4", "filters = 2"));
    let settings = settings_for(another, &first.now, &first.dataset).expect("it fits");
    let next = NextRun { base: first.base(), settings, folder: Some(folder.clone()), tuner: Tuner::OFF };
    let mut second = ready(Launch::Next(Box::new(next)));
    assert_eq!(second.folder.path(), place.path().join("run-2"));
    first.append_next(&second).expect("the row is written");
    train(&mut second);
    let rows = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("rows");
    assert!(rows.lines().last().is_some_and(|row| row.contains("network") && row.contains("run-2")), "{rows}");
    let digits = network(&NET.replace("channels = 1", "channels = 3"));
    assert!(settings_for(digits, &first.now, &first.dataset).is_err());
}
