//! Commands on a driver that fails, simulated by the Vulkan layer in `layer.c`. Every failure is an error with exit
//! code 1 that says what happened and, in training, how to continue. The tests need a Vulkan adapter, a C compiler and
//! Vulkan's headers; if one is missing, they are skipped with a prominent line, unless `GLASSNET_REQUIRE_GPU` is set.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

use assert_cmd::Command;
use common::command::{Place, glassnet};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};

const NETWORK: &str = r#"name = "tiny"
layers = [
    { type = "input", height = 24, width = 24, channels = 1, crop = true },
    { type = "conv", filters = 2, kernel = 5, stride = 3, activation = "relu" },
    { type = "max-pool", size = 3, stride = 3 },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

/// The folder with the layer and its manifest, or why there is none.
static LAYER: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults");
    std::fs::create_dir_all(&folder).expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/layer.c");
    let library = folder.join("libglassnet_faults.so");
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    let output = compiler.output().map_err(|error| format!("cc does not run: {error}"))?;
    if !output.status.success() {
        return Err(format!("cc fails: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let manifest = serde_json::json!({
        "file_format_version": "1.1.2",
        "layer": {
            "name": "VK_LAYER_GLASSNET_faults",
            "type": "GLOBAL",
            "library_path": library,
            "api_version": "1.3.0",
            "implementation_version": "1",
            "description": "Calls that fail on purpose",
        },
    });
    std::fs::write(folder.join("faults.json"), manifest.to_string()).expect("a manifest");
    Ok(folder)
});

/// The layer's folder; `None` if this machine cannot have it and is not required to.
fn layer() -> Option<&'static Path> {
    let gpu = common::gpu()?;
    let why = match &*LAYER {
        Ok(folder) if gpu.summary().backend == "vulkan" => return Some(folder),
        Ok(_) => "the layer is for Vulkan, and the adapter is not".to_string(),
        Err(why) => format!("{why} (on Debian: apt-get install gcc libc6-dev libvulkan-dev)"),
    };
    assert!(std::env::var_os("GLASSNET_REQUIRE_GPU").is_none(), "{why}");
    common::skipped(why);
    None
}

/// A place with data, the network and a trained run, which has no report yet.
fn place() -> Place {
    let place = Place::with_data(60, 20);
    std::fs::write(place.path("tiny.toml"), NETWORK).expect("a network");
    place
}

fn train(place: &Place, run: &str) -> Command {
    let mut command =
        glassnet(&["train", "--batch-size", "10", "--epochs", "2", "--stats-every", "2", "--checkpoint-every", "4"]);
    command.arg("--net").arg(place.path("tiny.toml")).arg("--data-dir").arg(place.path("data"));
    command.arg("--out").arg(place.path(run));
    command
}

/// The output of a command on a driver whose `fault` calls fail after a given number of calls.
struct Failed {
    what: String,
    code: Option<i32>,
    stderr: String,
    /// Whether the fault occurred at all.
    hit: bool,
}

fn run_with(layer: &Path, command: &mut Command, fault: &str, after: u32) -> Failed {
    command.env("VK_LAYER_PATH", layer).env("VK_INSTANCE_LAYERS", "VK_LAYER_GLASSNET_faults");
    command.env("GLASSNET_FAULT", fault).env("GLASSNET_FAULT_AFTER", after.to_string());
    // Ignores the Vulkan loader's own messages, and a backtrace requested by the tester's environment.
    command.env("RUST_LOG", "error").env_remove("RUST_BACKTRACE");
    let output = command.output().expect("the program runs");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let hit = stderr.contains("[fault: ");
    Failed { what: format!("{fault} after {after} of {command:?}"), code: output.status.code(), stderr, hit }
}

impl Failed {
    /// Checks that there is one error and no sign of a panic.
    fn assert_contained(&self) -> &str {
        let Failed { what, code, stderr, .. } = self;
        for word in ["panicked", "backtrace", "fault of this program"] {
            assert!(!stderr.contains(word), "{what}: {stderr}");
        }
        assert_eq!(*code, Some(1), "{what}: {stderr}");
        let error = stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(!error.is_empty(), "{what}: {stderr}");
        error
    }
}

const LOST: [&str; 2] = ["submit", "wait"];
const REFUSED: [&str; 7] = ["alloc", "buffer", "pipeline", "shader", "map", "instance", "device"];

/// The number of calls that succeed before the faults; with 0 every command meets every fault.
const AFTER: [u32; 3] = [0, 1, 4];

/// Words, one of which must be in the fault's message.
fn words(fault: &str) -> &'static [&'static str] {
    match fault {
        "submit" | "wait" => &["the device was lost"],
        "instance" => &["no GPU adapter"],
        // A driver's mapping of memory that fails is a lost device for wgpu.
        "map" | "device" => &["refused a device", "was lost"],
        _ => &["memory"],
    }
}

#[test]
fn training_on_a_device_that_is_lost_names_the_checkpoint_and_resumes_from_it() {
    let Some(layer) = layer() else { return };
    let place = place();
    let mut resumed = 0;
    for fault in LOST {
        let mut hits = 0;
        for after in [0, 1, 5, 9, 14] {
            let name = format!("{fault}-{after}");
            let failed = run_with(layer, train(&place, &name).args(["--device", "gpu"]), fault, after);
            if !failed.hit {
                assert_eq!(failed.code, Some(0), "{}: {}", failed.what, failed.stderr);
                continue;
            }
            hits += 1;
            let error = failed.assert_contained();
            assert!(words(fault).iter().any(|word| error.contains(word)), "{}: {}", failed.what, failed.stderr);
            let run = place.path(&name);
            if !run.join("checkpoint.safetensors").exists() {
                continue;
            }
            let remedy = match run.join("model.safetensors").exists() {
                true => format!("glassnet report {}", run.display()),
                false => format!("glassnet train --resume {}", run.display()),
            };
            assert!(failed.stderr.contains(&remedy), "{}: {}", failed.what, failed.stderr);
            if remedy.contains("--resume") && resumed < 2 {
                let mut again = glassnet(&["train", "--device", "gpu", "--resume"]);
                again.arg(run).assert().success();
                resumed += 1;
            }
        }
        assert!(hits > 2, "training met the fault {fault} only {hits} times");
    }
    assert!(resumed > 0, "one of the runs had a checkpoint to go on from");
}

#[test]
fn a_driver_that_refuses_anything_while_training_begins_is_an_error() {
    let Some(layer) = layer() else { return };
    let place = place();
    for fault in REFUSED {
        let mut hits = 0;
        for after in [0, 2, 12] {
            let name = format!("{fault}-{after}");
            let mut command = train(&place, &name);
            command.args(["--device", "gpu", "--no-report"]);
            let failed = run_with(layer, &mut command, fault, after);
            if !failed.hit {
                assert_eq!(failed.code, Some(0), "{}: {}", failed.what, failed.stderr);
                continue;
            }
            hits += 1;
            let error = failed.assert_contained();
            assert!(words(fault).iter().any(|word| error.contains(word)), "{}: {}", failed.what, failed.stderr);
        }
        assert!(hits > 0, "training never met the fault {fault}");
    }
}

/// The commands besides `train` that use a device, on an existing run; names of written files contain `number`.
fn others(place: &Place, number: usize) -> [Command; 7] {
    let (net, data) = (place.path("tiny.toml"), place.path("data"));
    let on_the_gpu = |words: &[&str]| {
        let mut command = glassnet(words);
        command.args(["--device", "gpu"]);
        command
    };
    let mut inspect = on_the_gpu(&["inspect", "--index", "1"]);
    inspect.arg("--model").arg(place.path("run/model.safetensors")).arg("--data-dir").arg(&data);
    let mut eval = on_the_gpu(&["eval"]);
    eval.arg("--model").arg(place.path("run/model.safetensors")).arg("--data-dir").arg(&data);
    let mut report = on_the_gpu(&["report"]);
    report.arg(place.path("run")).arg("--out").arg(report_of(place, number));
    let mut compare = on_the_gpu(&["compare", "--optimizers", "sgd,adam", "--steps", "4", "--batch-size", "10"]);
    compare
        .arg("--net")
        .arg(&net)
        .arg("--data-dir")
        .arg(&data)
        .arg("--out")
        .arg(place.path(&format!("compared-{number}")));
    let mut bench = glassnet(&["bench", "--devices", "gpu", "--batch-sizes", "2"]);
    bench.arg("--net").arg(&net);
    let check = glassnet(&["check", "--filter", "relu.forward"]);
    let mut lockstep = glassnet(&["check", "--lockstep", "--batch-size", "2"]);
    lockstep.arg("--net").arg(&net);
    [inspect, eval, report, compare, bench, check, lockstep]
}

const NAMES: [&str; 7] = ["inspect", "eval", "report", "compare", "bench", "check", "check --lockstep"];

fn report_of(place: &Place, number: usize) -> PathBuf {
    place.path(&format!("report-{number}.html"))
}

#[test]
fn every_command_on_a_failing_driver_ends_with_an_error() {
    let Some(layer) = layer() else { return };
    let place = place();
    train(&place, "run").args(["--device", "cpu", "--no-report"]).assert().success();
    let jobs: Vec<(usize, &str, u32)> = (0..NAMES.len())
        .flat_map(|command| LOST.into_iter().chain(REFUSED).map(move |fault| (command, fault)))
        .flat_map(|(command, fault)| AFTER.into_iter().map(move |after| (command, fault, after)))
        .collect();
    let (next, hits) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let work = || {
        while let number = next.fetch_add(1, Relaxed)
            && let Some(&(at, fault, after)) = jobs.get(number)
        {
            let mut command = Vec::from(others(&place, number)).swap_remove(at);
            let failed = run_with(layer, &mut command, fault, after);
            // A probe of the copying speed that finds no memory is a warning: the batch was measured.
            let probe_only = NAMES[at] == "bench" && fault == "alloc" && failed.code == Some(0);
            if failed.hit && probe_only {
                hits.lock().expect("no other failed").insert((NAMES[at], fault));
            } else if failed.hit {
                failed.assert_contained();
                assert!(!report_of(&place, number).exists(), "a report of a device that failed: {}", failed.what);
                hits.lock().expect("no other failed").insert((NAMES[at], fault));
            } else {
                assert_eq!(failed.code, Some(0), "{}: {}", failed.what, failed.stderr);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let all = NAMES.iter().flat_map(|name| LOST.iter().chain(&REFUSED).map(move |fault| (*name, *fault)));
    let missed: Vec<_> = all.filter(|pair| !hits.lock().expect("none failed").contains(pair)).collect();
    assert!(missed.is_empty(), "these commands never met these faults: {missed:?}");
}

#[test]
fn a_benchmark_without_a_measurement_is_no_success() {
    let Some(layer) = layer() else { return };
    let place = place();
    for (fault, after) in [("buffer", 3), ("buffer", 7), ("buffer", 15)] {
        // The self-check would meet the fault before any measurement.
        let mut bench = glassnet(&["bench", "--devices", "gpu", "--batch-sizes", "2", "--skip-self-check"]);
        bench.arg("--net").arg(place.path("tiny.toml"));
        let failed = run_with(layer, &mut bench, fault, after);
        assert!(failed.hit, "{}: {}", failed.what, failed.stderr);
        failed.assert_contained();
    }
}

/// Every dispatch after a given number of them does nothing, and no call reports that.
#[test]
fn a_device_that_computes_nothing_is_refused_with_the_kernel_and_the_remedy() {
    let Some(layer) = layer() else { return };
    let place = place();
    train(&place, "run").args(["--device", "cpu", "--no-report"]).assert().success();
    for (after, kernel) in [(0, "conv.forward"), (1, "conv.backward_weight"), (5, "optimizer.adadelta")] {
        let mut commands = vec![train(&place, &format!("refused-{after}"))];
        commands[0].args(["--device", "gpu"]);
        commands.extend(others(&place, after as usize).into_iter().take(5));
        for mut command in commands {
            let failed = run_with(layer, &mut command, "dispatch", after);
            let error = failed.assert_contained();
            let parts = ["computes wrongly", kernel, "output 0, index 0: not written, ", "update its driver"];
            // `bench` has the option --devices.
            let remedies = ["`glassnet check`", "on the processor with --device", "--skip-self-check"];
            assert!(parts.iter().chain(&remedies).all(|part| error.contains(part)), "{}: {error}", failed.what);
        }
        assert!(!place.path(&format!("refused-{after}")).exists(), "a refused run leaves no folder");
    }
}

#[test]
fn a_device_that_computes_nothing_can_be_used_on_purpose() {
    let Some(layer) = layer() else { return };
    let place = place();
    let mut command = train(&place, "on-purpose");
    command.args(["--device", "gpu", "--skip-self-check", "--no-report"]);
    let trained = run_with(layer, &mut command, "dispatch", 0);
    assert_eq!((trained.code, trained.hit), (Some(0), true), "{}", trained.stderr);
    let mut bench = glassnet(&["bench", "--devices", "gpu", "--batch-sizes", "2", "--skip-self-check"]);
    bench.arg("--net").arg(place.path("tiny.toml"));
    let timed = run_with(layer, &mut bench, "dispatch", 0);
    assert_eq!((timed.code, timed.hit), (Some(0), true), "{}", timed.stderr);
}

#[test]
fn a_device_that_computes_nothing_is_checked_and_listed() {
    let Some(layer) = layer() else { return };
    let mut check = glassnet(&["check", "--filter", "relu.forward", "--json"]);
    check.env("VK_LAYER_PATH", layer).env("VK_INSTANCE_LAYERS", "VK_LAYER_GLASSNET_faults");
    let output = check.env("GLASSNET_FAULT", "dispatch").output().expect("the program runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON document");
    assert_eq!((output.status.code(), &report["passed"]), (Some(1), &serde_json::json!(false)));
    assert_eq!(report["failed"], report["cases"]);
    let failure = report["failures"][0]["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("output 0, index 0: not written, "), "{failure}");

    let listed = run_with(layer, &mut glassnet(&["devices"]), "dispatch", 0);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
}

#[test]
fn nothing_of_wgpus_own_insides_reaches_a_user() {
    let Some(layer) = layer() else { return };
    let place = place();
    for after in 0..4 {
        let mut command = train(&place, &format!("inside-{after}"));
        command.args(["--device", "gpu", "--no-report"]);
        command.env("VK_LAYER_PATH", layer).env("VK_INSTANCE_LAYERS", "VK_LAYER_GLASSNET_faults");
        command.env("GLASSNET_FAULT", "buffer").env("GLASSNET_FAULT_AFTER", after.to_string());
        let output = command.env_remove("RUST_LOG").output().expect("the program runs");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        for word in ["leak detected", "buckets", "BGL"] {
            assert!(!stderr.contains(word), "{after} buffers: {stderr}");
        }
    }
}
