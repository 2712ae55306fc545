//! Shared by several tests: the adapter, or a prominent line that there is none; and networks that are ready to run.

#![allow(dead_code)]

pub mod command;
pub mod emulated;
pub mod exchange;
pub mod golden;
pub mod launching;
pub mod live;
pub mod rig;

use glassnet::exec::gpu::{Choice, Gpu, RuntimeChecks};
use glassnet::kernels::Precision;
use std::io::Write;

/// The adapter for tests. Without one, the test is skipped with a prominent line, or fails if `GLASSNET_REQUIRE_GPU` is
/// set, as in `tests/run.sh`.
pub fn gpu() -> Option<Gpu> {
    match pollster::block_on(Gpu::open(&Choice::Any, RuntimeChecks::On, Precision::F32)) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("GLASSNET_REQUIRE_GPU").is_some() => {
            panic!("a GPU test needs an adapter: {error}")
        }
        Err(error) => {
            skipped(format_args!("a GPU test found no adapter: {error}"));
            None
        }
    }
}

/// Prints a prominent line about a skipped test. Not `eprintln!`, because cargo hides its output when the test passes.
pub fn skipped(why: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    writeln!(std::io::stderr(), "SKIPPED, NOT TESTED: {test}: {why}").expect("stderr is open");
}
