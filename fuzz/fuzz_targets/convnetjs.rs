//! ConvNetJS's snapshots: what is accepted is written as a snapshot again that reads back as the same model.
#![no_main]

use glassnet::formats::Model;
use glassnet_fuzz::{SOURCE, accepted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(model) = accepted(Model::from_convnetjs(input, SOURCE), SOURCE) else { return };
    let written = model.to_convnetjs().expect("a snapshot's layers are ConvNetJS's");
    assert_eq!(Model::from_convnetjs(&written, SOURCE).expect("what was written"), model);
});
