//! CIFAR-10's archive, plain or gzipped: what is accepted is whole pictures with labels in range.
#![no_main]

use glassnet::data::cifar::{self, Records};
use glassnet_fuzz::{Scratch, accepted};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::default);

fuzz_target!(|input: &[u8]| {
    let path = SCRATCH.file("archive", input);
    if let Some((train, test)) = accepted(cifar::read_archive(&path, Records { train: 1, test: 2 }), &path.display().to_string()) {
        for set in [train, test] {
            assert_eq!((set.shape, set.pixels.len()), ([32, 32, 3], set.len() * 32 * 32 * 3));
            assert!(!set.is_empty() && set.labels.iter().all(|label| *label < 10));
        }
    }
});
