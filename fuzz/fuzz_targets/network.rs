//! Network descriptions: the canonical form of what is accepted reads back as the same network, and is written alike.
#![no_main]

use glassnet::net::Network;
use glassnet_fuzz::{SOURCE, accepted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(network) = accepted(Network::from_toml(text, SOURCE), SOURCE) else { return };
    let canonical = network.to_toml();
    let again = Network::from_toml(&canonical, "canonical").expect("the canonical form is legal");
    assert_eq!(again, network);
    assert_eq!(again.to_toml(), canonical);
    assert!(!network.parameters().is_empty());
    assert!(if network.learns_numbers() { network.classes() == 1 } else { network.classes() >= 2 });
});
