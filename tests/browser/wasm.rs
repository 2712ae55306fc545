//! The library compiled to WebAssembly, on the processor, in a browser: every kernel's cases, and a network that is
//! trained, tested and inspected, compared with the native library.

use super::common::skipped;
use super::driver::Driver;
use base64::Engine;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../wasm/src/run.rs"]
mod run;

const TARGET: &str = "wasm32-unknown-unknown";

/// Starts the module in a worker, so that the page still responds, and returns the result of one of its functions.
const CALL: &str = "
    const [script, base64, name] = arguments;
    const work = `onmessage = async ({ data: [bytes, name] }) => {
        try {
            await wasm_bindgen({ module_or_path: bytes });
            const value = wasm_bindgen[name]();
            postMessage({ value: typeof value === 'string' ? value : Array.from(value) });
        } catch (error) {
            let text = '';
            try { text = wasm_bindgen.panic(); } catch {}
            postMessage({ error: String(error) + ' ' + text });
        }
    };`;
    const worker = new Worker(URL.createObjectURL(new Blob([script, work])));
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const { value, error } = await new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage([bytes, name]);
    });
    if (error) throw new Error(error);
    return value;";

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    let output = cargo.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

/// The script and the module; `None`, with a prominent line, if the target's standard library is missing and not
/// required.
fn built() -> Option<(String, String)> {
    let built = cargo(&["build", "--quiet", "--package", "glassnet-wasm", "--target", TARGET]);
    if let Err(why) = built {
        let missing = why.contains("target may not be installed");
        assert!(missing && std::env::var_os("GLASSNET_REQUIRE_BROWSER").is_none(), "{why}");
        skipped(format_args!("the library for {TARGET} is missing: rustup target add {TARGET}"));
        return None;
    }
    // The folder that this very test was compiled in: target/debug/deps.
    let test = std::env::current_exe().expect("a path");
    let target = test.ancestors().nth(3).expect("a target folder");
    let module = target.join(TARGET).join("debug/glassnet_wasm.wasm");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wasm");
    let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_string();
    cargo(&["run", "--quiet", "--package", "glassnet-wasm-bind", "--", &path(&module), &path(&folder)])
        .unwrap_or_else(|why| panic!("{why}"));
    let script = std::fs::read_to_string(folder.join("glassnet.js")).expect("a script");
    let module = std::fs::read(folder.join("glassnet_bg.wasm")).expect("a module");
    Some((script, base64::engine::general_purpose::STANDARD.encode(module)))
}

#[test]
fn wasm_computes_what_the_reference_computes_and_trains_as_it_does_natively() {
    let Some(driver) = Driver::start() else { return };
    let Some((script, module)) = built() else { return };
    let browser = driver.browser_with_webgpu();
    let call = |name: &str| browser.run_async(CALL, json!([script, module, name]));
    let cases = call("kernel_cases");
    assert_eq!(cases.as_str(), Some(&*glassnet::kernels::cases().len().to_string()), "cases fail on wasm");
    let trained = call("train");
    let trained: Vec<f64> = trained.as_array().expect("figures").iter().filter_map(Value::as_f64).collect();
    let native = run::train();
    assert_eq!(trained.len(), native.len(), "{trained:?}");
    for (wasm, native) in trained.iter().zip(&native) {
        // 30 steps with differently rounded sums.
        assert!((wasm - native).abs() <= 1e-3 * native.abs().max(1.0), "{wasm} instead of {native}");
    }
    assert!(native[0] < 10f64.ln(), "it learns: {native:?}");
    assert_eq!(native[3], native[4], "a view shows what an inspection finds");
}
