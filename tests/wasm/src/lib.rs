//! The library in a browser, on the processor: the kernels' cases, and a network that is trained, tested and inspected.

mod run;

use std::cell::RefCell;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes panics readable; the browser alone only reports that something was unreachable.
#[wasm_bindgen(start)]
pub fn begin() {
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
}

/// The message of the module's panic.
#[wasm_bindgen]
pub fn panic() -> String {
    PANIC.take()
}

/// Runs every kernel's cases; returns the number of cases, then a line for each that fails.
#[wasm_bindgen]
pub fn kernel_cases() -> String {
    run::kernel_cases()
}

/// Trains, tests and inspects; returns the figures of [`run::train`].
#[wasm_bindgen]
pub fn train() -> Vec<f64> {
    run::train()
}
