//! The live page in a real browser, over training runs that really learn: what is seen, what can be done, and what happens
//! when something goes wrong. Without Chromium and chromedriver the tests are skipped, with a loud line for each.
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
