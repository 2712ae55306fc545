//! IDX files, plain or gzipped: what is accepted has as many bytes as its header says.
#![no_main]

use glassnet::data::idx;
use glassnet_fuzz::{Scratch, accepted};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::default);

fuzz_target!(|input: &[u8]| {
    let path = SCRATCH.file("idx", input);
    let name = path.display().to_string();
    if let Some(images) = accepted(idx::read_images(&path), &name) {
        assert_eq!(images.pixels.len(), images.shape.iter().product::<usize>());
        assert!(!images.pixels.is_empty());
    }
    if let Some(labels) = accepted(idx::read_labels(&path, 10), &name) {
        assert!(labels.iter().all(|label| *label < 10));
    }
});
