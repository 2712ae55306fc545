//! Files that a user names for output: none is replaced without permission, and special files are not replaced at all.

mod common;

use assert_cmd::Command;
use common::command::{Place, assert_fails_with, glassnet, text};
use std::fs;
use std::path::{Path, PathBuf};

/// A finished run on a small data set.
fn place() -> Place {
    let place = Place::with_tiny_network(40, 10);
    let mut train = glassnet(&["train", "--dataset", "mnist", "--device", "cpu", "--steps", "2", "--data-dir"]);
    train.arg(place.path("data")).arg("--net").arg(place.path("net.toml")).arg("--out").arg(place.path("run"));
    train.assert().success();
    place
}

/// Every command that writes a file by name, with that name last.
fn writers(place: &Place) -> Vec<(&'static str, Command)> {
    let model = place.path("run/model.safetensors");
    let mut dump = glassnet(&["inspect", "--index", "0", "--device", "cpu", "--model"]);
    dump.arg(&model).arg("--data-dir").arg(place.path("data")).arg("--dump");
    let mut report = glassnet(&["report"]);
    report.arg(place.path("run")).arg("--out");
    let mut growth = glassnet(&["bench", "--devices", "cpu", "--net"]);
    growth.arg(place.path("net.toml")).arg("--growth");
    let mut convert = glassnet(&["convert"]);
    convert.arg(&model);
    vec![("dump", dump), ("report", report), ("growth", growth), ("convert", convert)]
}

/// A file name that each of them accepts.
fn name(writer: &str) -> &'static str {
    match writer {
        "growth" => "named.svg",
        "convert" => "named.json",
        _ => "named",
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn an_existing_file_is_kept_unless_forced() {
    let place = place();
    for (writer, mut command) in writers(&place) {
        let named = place.path(name(writer));
        fs::write(&named, "precious").expect("a file");
        let before = files(place.folder.path());
        assert_fails_with(command.arg(&named), &[&format!("{} exists", named.display()), "--force"]);
        assert_eq!((fs::read(&named).expect("the file"), files(place.folder.path())), (b"precious".to_vec(), before));
        // Measuring takes minutes.
        if writer != "growth" {
            command.arg("--force").assert().success();
            assert!(fs::read(&named).expect("the file").len() > 100, "{writer}");
        }
        fs::remove_file(&named).expect("it goes");
    }
}

#[test]
fn what_a_command_reads_is_not_replaced_by_force() {
    let place = place();
    let run = |name: &str| place.path("run").join(name);
    let read = ["own files", "give another name"];
    fs::copy(run("model.safetensors"), place.path("copy.safetensors")).expect("a copy");
    let kept = fs::read(run("model.safetensors")).expect("the model");
    for (writer, mut command) in writers(&place).into_iter().filter(|(writer, _)| ["dump", "report"].contains(writer)) {
        command.arg(run("model.safetensors")).arg("--force");
        assert_fails_with(&mut command, &read);
        assert_eq!(fs::read(run("model.safetensors")).expect("the model"), kept, "{writer}");
    }
    for (writer, mut command) in writers(&place).into_iter().filter(|(writer, _)| ["dump", "report"].contains(writer)) {
        let data = files(&place.path("data")).into_iter().next().expect("a file");
        let data = if data.is_dir() { files(&data).remove(0) } else { data };
        let before = fs::read(&data).expect("the data");
        assert_fails_with(command.arg(&data).arg("--force"), &["is read by this command"]);
        assert_eq!(fs::read(&data).expect("the data"), before, "{writer}");
    }
    let mut dump = glassnet(&["inspect", "--index", "0", "--device", "cpu", "--model"]);
    dump.arg(place.path("copy.safetensors")).arg("--data-dir").arg(place.path("data"));
    dump.arg("--dump").arg(place.path("run/../copy.safetensors")).arg("--force");
    assert_fails_with(&mut dump, &["is read by this command, as", "give another name"]);
    assert_eq!(fs::read(place.path("copy.safetensors")).expect("the copy"), kept);
}

#[test]
fn a_missing_folder_is_named_before_the_work() {
    let place = place();
    for (writer, mut command) in writers(&place) {
        let named = place.path("missing").join(name(writer));
        assert_fails_with(command.arg(&named), &["missing does not exist; create it first"]);
        assert!(!place.path("missing").exists(), "{writer}");
    }
}

#[cfg(unix)]
#[test]
fn devices_and_links_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let place = place();
    for (writer, mut command) in writers(&place).into_iter().filter(|(writer, _)| *writer != "growth") {
        let named = place.path(name(writer));
        symlink("/dev/null", &named).expect("a link");
        command.arg(&named).assert().success();
        assert!(named.is_symlink() && fs::metadata("/dev/null").expect("it").file_type().is_char_device());
        fs::remove_file(&named).expect("it goes");

        symlink("kept", &named).expect("a link to nothing");
        command.assert().success();
        assert!(named.is_symlink() && place.path("kept").is_file(), "{writer}");
        fs::remove_file(&named).expect("it goes");
        fs::remove_file(place.path("kept")).expect("it goes");
    }
}

#[cfg(unix)]
#[test]
fn what_is_written_to_standard_output_comes_before_what_is_printed() {
    let place = place();
    let mut report = glassnet(&["report"]);
    let shown = text(report.arg(place.path("run")).args(["--out", "/dev/stdout"]));
    let end = shown.rfind("</html>").expect("the page");
    assert!(shown.starts_with("<!doctype html>") && shown[end..].contains("report   /dev/stdout"), "{}", &shown[end..]);
}

#[test]
fn a_new_run_keeps_a_page_that_is_there() {
    let place = place();
    fs::create_dir(place.path("mine")).expect("a folder");
    fs::write(place.path("mine/report.html"), "mine").expect("a page");
    let mut train = glassnet(&["train", "--dataset", "mnist", "--device", "cpu", "--steps", "1", "--data-dir"]);
    train.arg(place.path("data")).arg("--net").arg(place.path("net.toml")).arg("--out").arg(place.path("mine"));
    assert_fails_with(&mut train, &["report.html", "another --out"]);
    assert_eq!(files(&place.path("mine")), [place.path("mine/report.html")]);
}
