//! `glassnet check --dump-pipelines`: the files agree with the shaders, and list all that training the presets needs.

#[path = "common/command.rs"]
#[allow(dead_code)]
mod command;

use command::{assert_fails_with, document, glassnet};
use glassnet::kernels::Adapter;
use glassnet::net::{Network, PRESETS, Recipe};
use glassnet::program::{DeviceClass, Options, Program, Source, TrainingStep};
use glassnet::train::Settings;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

/// The folder with the files, and what the command said about them.
static DUMPED: LazyLock<(TempDir, Value)> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("a folder");
    let mut command = glassnet(&["check", "--dump-pipelines"]);
    // As on a machine without an adapter.
    command.arg(place.path().join("new/dir")).env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere");
    let said = document(&mut command);
    (place, said)
});

fn folder() -> std::path::PathBuf {
    DUMPED.0.path().join("new/dir")
}

fn entries() -> Vec<Value> {
    let text = fs::read_to_string(folder().join("pipelines.json")).expect("the list");
    serde_json::from_str(&text).expect("a list in JSON")
}

/// The step of a training of a preset on a data set with its own settings.
fn program(preset: &str, batch: usize) -> Arc<Program> {
    let given = Recipe { batch_size: Some(batch), ..Recipe::default() };
    let settings = Settings::resolve(Network::preset(preset).expect("a preset"), &given).expect("settings");
    let side = if settings.network.input_shape().channels == 3 { 32 } else { 28 };
    let source = Source { height: side, width: side, channels: settings.network.input_shape().channels, examples: 999 };
    let options = Options { class: DeviceClass::Hardware, ..settings.options(source) };
    TrainingStep::lower(&settings.network, &options).expect("it lowers").program
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Those of the kernels that training runs where nothing was measured, and of all that the tuner may choose.
#[test]
fn every_dispatch_of_every_presets_step_is_listed() {
    let mut expected: BTreeMap<String, bool> = BTreeMap::new();
    for (preset, _) in PRESETS {
        for batch in [20, 128, 512] {
            for op in program(preset, batch).instructions.iter().map(|instruction| &instruction.op) {
                let default = op.chosen(Adapter::HARDWARE).name;
                for variant in op.variants(Adapter::HARDWARE) {
                    for (dispatch, pass) in op.dispatches(variant).into_iter().zip(variant.passes()) {
                        let constants: BTreeMap<_, _> = dispatch.launch.constants.into_iter().collect();
                        let entry = json!({
                            "operation": op.operation.name,
                            "variant": variant.name,
                            "wgsl": format!("{}.wgsl", variant.name),
                            "entry": dispatch.entry,
                            "constants": constants,
                            "workgroups": dispatch.launch.workgroups,
                            "workgroup_size": [pass.workgroup, 1, 1],
                            "preset": preset,
                            "batch": batch,
                        });
                        *expected.entry(entry.to_string()).or_default() |= variant.name == default;
                    }
                }
            }
        }
    }
    let entries = entries();
    let listed = entries.iter().cloned().map(|mut entry| {
        let default = entry.as_object_mut().and_then(|fields| fields.remove("default")).expect("it says whether");
        (entry.to_string(), default == true)
    });
    let listed: BTreeMap<String, bool> = listed.collect();
    assert_eq!(listed.len(), entries.len(), "nothing is listed twice");
    assert_eq!(listed, expected);
}

#[test]
fn every_listed_shader_has_the_entry_point_and_the_constants() {
    let mut modules = BTreeMap::new();
    for entry in entries() {
        let name = entry["wgsl"].as_str().expect("a file").to_string();
        let module = modules.entry(name.clone()).or_insert_with(|| {
            let text = fs::read_to_string(folder().join(&name)).expect("the shader");
            naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&text)))
        });
        let point = module.entry_points.iter().find(|point| entry["entry"] == point.name.as_str());
        let point = point.unwrap_or_else(|| panic!("no such entry point: {entry}"));
        assert_eq!(entry["workgroup_size"], json!(point.workgroup_size), "{entry}");
        for constant in entry["constants"].as_object().expect("constants").keys() {
            let declared = module.overrides.iter().any(|(_, own)| own.name.as_ref() == Some(constant));
            assert!(declared, "{constant} of {entry}");
        }
    }
    let mut expected: BTreeSet<String> = modules.into_keys().collect();
    expected.insert("pipelines.json".into());
    assert_eq!(files(&folder()), expected);
}

#[test]
fn the_document_counts_what_was_written() {
    let said = &DUMPED.1;
    assert_eq!(said["pipelines"].as_u64(), Some(entries().len() as u64));
    assert_eq!(said["shaders"].as_u64(), Some(files(&folder()).len() as u64 - 1));
    assert_eq!((&said["batch_sizes"], &said["folder"]), (&json!([20, 128, 512]), &json!(folder())));
}

#[test]
fn a_folder_that_is_not_empty_is_left_alone_unless_forced() {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("pipelines.json"), "mine").expect("a file");
    let dump = |args: &[&str]| {
        let mut command = glassnet(&["check", "--dump-pipelines"]);
        command.arg(place.path()).args(args);
        command
    };
    assert_fails_with(&mut dump(&[]), &["is not empty", "choose another folder", "--force"]);
    assert_eq!(files(place.path()), BTreeSet::from(["pipelines.json".to_string()]));
    dump(&["--force"]).assert().success();
    assert_eq!(files(place.path()), files(&folder()));
    let list = fs::read(place.path().join("pipelines.json")).expect("the list");
    assert!(list == fs::read(folder().join("pipelines.json")).expect("the list"));
}

#[test]
fn shaders_of_an_earlier_list_are_removed_and_other_files_stay() {
    let place = tempfile::tempdir().expect("a folder");
    let inside = place.path().join("shaders");
    fs::create_dir(&inside).expect("a folder");
    for name in ["shaders/stale.wgsl", "shaders/mine.wgsl", "shaders/notes.txt", "outside.wgsl"] {
        fs::write(place.path().join(name), "old").expect("a file");
    }
    let listed = ["stale.wgsl", "gone.wgsl", "notes.txt", "../outside.wgsl"].map(|name| json!({ "wgsl": name }));
    fs::write(inside.join("pipelines.json"), json!(listed).to_string()).expect("a list");
    glassnet(&["check", "--force", "--dump-pipelines"]).arg(&inside).assert().success();
    let mut expected = files(&folder());
    expected.extend(["mine.wgsl", "notes.txt"].map(String::from));
    assert_eq!(files(&inside), expected);
    assert!(place.path().join("outside.wgsl").exists());
}

#[test]
fn a_file_instead_of_the_folder_is_named_as_one() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("file");
    fs::write(&file, "mine").expect("a file");
    for force in [&[][..], &["--force"]] {
        let mut command = glassnet(&["check", "--dump-pipelines"]);
        assert_fails_with(command.arg(&file).args(force), &["file is a file; choose a folder"]);
    }
}

#[test]
fn options_of_a_check_do_not_go_with_it() {
    for args in [
        &["--lockstep"][..],
        &["--filter", "relu"],
        &["--device", "cpu"],
        &["--preset", "fast-mnist"],
        &["--batch-size", "3"],
    ] {
        let mut command = glassnet(&["check", "--dump-pipelines", "/nowhere/dir"]);
        command.args(args).assert().code(2);
    }
    glassnet(&["check", "--force"]).assert().code(2);
}
