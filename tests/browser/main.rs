//! The live page in a real browser, over real training runs: what it shows, what its controls do, and what happens
//! after failures. Without Chromium and chromedriver each test is skipped with a prominent line.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod connection;
mod controls;
mod driver;
mod files;
mod page;
mod seen;
mod tint;
mod wasm;
