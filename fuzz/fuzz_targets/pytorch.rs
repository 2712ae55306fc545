//! PyTorch's weights for a given network: what is accepted is finite, has its shapes and makes a file of our own.
#![no_main]

use glassnet::formats::Model;
use glassnet::net::Network;
use glassnet_fuzz::{SMALL, SOURCE, accepted, containers};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static NETWORK: LazyLock<Network> = LazyLock::new(|| Network::from_toml(SMALL, "small").expect("a legal network"));

fuzz_target!(|input: &[u8]| {
    for bytes in containers(input) {
        let Some(model) = accepted(Model::from_pytorch(NETWORK.clone(), &bytes, SOURCE), SOURCE) else { continue };
        let written = model.to_bytes().expect("what was read is finite");
        assert_eq!(Model::from_bytes(&written, SOURCE).expect("what was written"), model);
    }
});
