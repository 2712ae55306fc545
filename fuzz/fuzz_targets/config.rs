//! A run folder's `config.toml`: what is accepted is written and read back the same, and has usable settings or none.
#![no_main]

use glassnet::train::RunFolder;
use glassnet_fuzz::{Scratch, accepted};
use libfuzzer_sys::fuzz_target;
use std::sync::{LazyLock, Mutex};

static RUN: LazyLock<(Scratch, Mutex<RunFolder>)> = LazyLock::new(|| {
    let scratch = Scratch::default();
    scratch.file("config.toml", b"");
    let folder = RunFolder::open(scratch.folder()).expect("a run folder");
    (scratch, Mutex::new(folder))
});

fuzz_target!(|input: &[u8]| {
    let (scratch, folder) = &*RUN;
    let path = scratch.file("config.toml", input).display().to_string();
    let mut folder = folder.lock().expect("one thread");
    let Some(config) = accepted(folder.read_config(), &path) else { return };
    folder.write_config(&config).expect("what was read can be written");
    // NaN is not equal to itself, but is written like itself.
    let again = folder.read_config().expect("what was written");
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    accepted(config.settings(), "");
});
