//! A run folder's `metrics.jsonl` and `summary.json`: resuming keeps whole rows, up to the checkpoint, and makes none.
#![no_main]

use glassnet::data::Provenance;
use glassnet::net::{Network, Recipe};
use glassnet::train::{RunFolder, Settings, State, Windows};
use glassnet_fuzz::{SMALL, Scratch};
use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};

struct Run {
    scratch: Scratch,
    settings: Settings,
    folder: Mutex<RunFolder>,
}

/// A run whose checkpoint is that of step 5.
static RUN: LazyLock<Run> = LazyLock::new(|| {
    let scratch = Scratch::default();
    scratch.file("config.toml", b"");
    let mut folder = RunFolder::open(scratch.folder()).expect("a run folder");
    let network = Network::from_toml(SMALL, "small").expect("a legal network");
    let parameters = network.initial_parameters(1);
    let settings = Settings::resolve(network, &Recipe::default()).expect("usable settings");
    let data = Provenance { dataset: "mnist".to_string(), classes: Vec::new(), image: [3, 3, 1] };
    let (optimizer, average, windows) = (Vec::new(), Vec::new(), Windows::default());
    let state = State { step: 5, parameters, optimizer, average, windows, best: None, changes: Vec::new(), train_seconds: 1.0 };
    folder.save_checkpoint(&settings, &data, &state).expect("a checkpoint");
    Run { scratch, settings, folder: Mutex::new(folder) }
});

fuzz_target!(|input: &[u8]| {
    let Run { scratch, settings, folder } = &*RUN;
    let metrics = scratch.file("metrics.jsonl", input);
    scratch.file("summary.json", input);
    let mut folder = folder.lock().expect("one thread");
    let state = folder.resume(settings).expect("rows that cannot be read are cut off").expect("a checkpoint");
    assert_eq!(state.step, 5);
    let kept = std::fs::read(metrics).expect("the rows");
    assert!(kept.is_empty() || kept.ends_with(b"\n"));
    for line in kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(input.windows(line.len()).any(|window| window == line));
    }
    folder.read_summary().expect("a summary that cannot be read is none");
});
