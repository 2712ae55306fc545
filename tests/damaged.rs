//! Damaged pictures are refused wherever Pillow refuses them, and intact ones are read as Pillow reads them. The
//! pictures and Pillow's verdicts are in `golden/pictures.json`.

mod common;

use assert_cmd::Command;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::command::{assert_fails_with, document, failing, glassnet};
use glassnet::data::picture::{fit, read};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn bytes(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}

/// The intact pictures by name.
fn files(golden: &Value) -> BTreeMap<String, Vec<u8>> {
    golden["files"].as_object().unwrap().iter().map(|(name, file)| (name.clone(), bytes(&file["file"]))).collect()
}

#[test]
fn whole_pictures_are_read_in_pillows_grey() {
    let (golden, folder) = (golden(), tempdir().unwrap());
    for (name, file) in files(&golden) {
        let path = folder.path().join(&name);
        fs::write(&path, file).unwrap();
        let picture = read(path.as_path()).unwrap_or_else(|error| panic!("{error}"));
        let expected = &golden["files"][&name];
        let size = [picture.width(), picture.height()];
        assert_eq!(expected["size"], serde_json::json!(size), "{name}");
        let grey = fit(&picture, [size[1] as usize, size[0] as usize, 1]);
        let wanted = bytes(&expected["luma"]);
        let far = grey.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // JPEG decoders round differently; if colours have fewer samples, they also interpolate differently.
        let tolerance = match name.as_str() {
            "444.jpg" | "exif6.jpg" | "grey.jpg" | "grey_progressive.jpg" => 2,
            name if name.ends_with("jpg") => 8,
            _ => 0,
        };
        assert!(grey.len() == wanted.len() && far <= tolerance, "{name}: {far} from Pillow's grey");
    }
}

#[test]
fn what_pillow_refuses_is_refused() {
    let (golden, folder) = (golden(), tempdir().unwrap());
    let (files, mut refused, mut wrong) = (files(&golden), 0, Vec::new());
    for damage in golden["damaged"].as_array().unwrap() {
        let (name, what, how) = (damage[0].as_str().unwrap(), damage[1].as_str().unwrap(), &damage[2]);
        let mut file = files[name].clone();
        let place = how.as_u64().unwrap_or_default() as usize;
        match what {
            "cut" => file.truncate(place),
            "zero" => file[place..].fill(0),
            "end" => file.splice(place.., [0xff, 0xd9]).for_each(drop),
            "set" => how.as_array().unwrap().iter().for_each(|change| {
                file[change[0].as_u64().unwrap() as usize] = change[1].as_u64().unwrap() as u8;
            }),
            other => panic!("{other}"),
        }
        let path = folder.path().join(name);
        fs::write(&path, &file).unwrap();
        let result = read(path.as_path());
        let (pillow_reads, cut) = (damage[3].as_bool().unwrap(), what != "set");
        refused += usize::from(!pillow_reads);
        // Stricter than Pillow: a JPEG that was cut and given an end marker lacks a part.
        if result.is_ok() && (!pillow_reads || cut) {
            wrong.push(format!("{name}: {what} {how}"));
        }
        if let Err(error) = result {
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    assert!(refused > 500 && wrong.is_empty(), "of {refused} that Pillow refuses, these are read: {wrong:?}");
}

#[test]
fn a_restart_marker_out_of_order_is_damage() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    for name in ["restarts.jpg", "restarts_progressive.jpg"] {
        let whole = files(&golden())[name].clone();
        let marker = whole.windows(2).rposition(|pair| pair[0] == 0xff && (0xd0..=0xd7).contains(&pair[1])).unwrap();
        let (mut other, mut gone) = (whole.clone(), whole.clone());
        other[marker + 1] ^= 1;
        gone.drain(marker..marker + 2);
        for damaged in [other, gone] {
            fs::write(&path, damaged).unwrap();
            let message = read(path.as_path()).unwrap_err().to_string();
            assert!(message.contains("a.jpg is damaged: "), "{name}: {message}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_picture_is_said_in_plain_words() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a");
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        read(path.as_path()).unwrap_err().to_string()
    };
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_fn(20, 20, |x, y| image::Luma([(x * y) as u8]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let mut png = png.into_inner();
    let data = png.windows(4).position(|word| word == b"IDAT").unwrap();
    let end = png.windows(4).position(|word| word == b"IEND").unwrap();
    png[end - 5] ^= 1;
    let told = message(&png);
    assert!(told.contains("is damaged: a checksum in it is wrong") && !told.contains("ChunkType"), "{told}");
    png.drain(data - 4..end - 4);
    let told = message(&png);
    assert!(told.contains("is damaged: its parts are wrong") && !told.contains("chunk"), "{told}");
    // With one component the factors change nothing, so the file stays valid.
    let mut jpeg = files(&golden())["grey.jpg"].clone();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    for factors in [0x13, 0x31] {
        jpeg[frame + 11] = factors;
        assert!(message(&jpeg).contains("is a picture of a kind that is not read: a JPEG with a sampling factor of 3"));
    }
    jpeg[frame + 4] = 12;
    assert!(message(&jpeg).contains("not read: a JPEG with more or fewer than 8 bits a sample"));
}

/// Two classes, grey on the left or on the right, and two truncated files.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempdir().unwrap();
        let whole = files(&golden());
        for class in ["one", "two"] {
            fs::create_dir_all(folder.path().join("pictures").join(class)).unwrap();
            for index in 0..10 {
                let name = ["baseline.jpg", "progressive.jpg", "rgb.png", "444.jpg"][index % 4];
                let path = format!("pictures/{class}/{index}.{}", name.split('.').nth(1).unwrap());
                fs::write(folder.path().join(path), &whole[name]).unwrap();
            }
        }
        let place = Place { folder };
        fs::write(place.path("pictures/two/cut.jpg"), &whole["progressive.jpg"][..700]).unwrap();
        fs::write(place.path("pictures/one/cut.png"), &whole["rgb.png"][..700]).unwrap();
        let net = "layers = [{ type = 'input', height = 8, width = 8, channels = 1 }, { type = 'fc', outputs = 2 },
            { type = 'softmax' }]";
        fs::write(place.path("net.toml"), net).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn on_pictures(&self, args: &[&str]) -> Command {
        let mut command = glassnet(args);
        command.args(["--device", "cpu", "--images"]).arg(self.path("pictures"));
        command
    }

    fn train(&self) -> Command {
        let mut command = self.on_pictures(&["train", "--steps", "2"]);
        command.arg("--net").arg(self.path("net.toml")).arg("--out").arg(self.path("run"));
        command
    }
}

#[test]
fn all_unreadable_files_are_listed_at_once() {
    let place = Place::new();
    let message = failing(&mut place.train());
    for part in ["2 of 22 pictures", "one/cut.png is truncated\n", "two/cut.jpg is truncated\n", "--skip-unreadable"] {
        assert!(message.contains(part), "{part} not in: {message}");
    }
    assert!(!place.path("run").exists());
    fs::remove_file(place.path("pictures/one/cut.png")).unwrap();
    assert_fails_with(&mut place.train(), &["two/cut.jpg is truncated; replace it", "--skip-unreadable"]);
    for index in 0..60 {
        fs::write(place.path(&format!("pictures/one/bad{index:02}.png")), "rubbish").unwrap();
    }
    let message = failing(&mut place.train());
    assert!(message.contains("61 of 81 pictures") && message.contains("\n  and 11 more\n"), "{message}");
}

#[test]
fn unreadable_files_can_be_left_out_and_a_resumed_run_remembers_it() {
    let place = Place::new();
    let assert = place.train().arg("--skip-unreadable").assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("2 of 22 pictures cannot be read and are left out:\n"), "{told}");
    assert!(told.contains("cut.jpg is truncated"), "{told}");
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(config.contains("\nskip_unreadable = true\n"), "{config}");
    let mut resume = glassnet(&["train", "--device", "cpu", "--steps", "4", "--resume"]);
    assert_eq!(document(resume.arg(place.path("run")))["steps"], 4);

    let model = place.path("run/model.safetensors");
    let mut eval = place.on_pictures(&["eval"]);
    assert_fails_with(eval.arg("--model").arg(&model), &["2 of 22 pictures"]);
    assert_eq!(document(eval.arg("--skip-unreadable"))["dataset"], "images");
    // The run's own folder, from its settings.
    let mut eval = glassnet(&["eval", "--device", "cpu", "--model"]);
    assert_eq!(document(eval.arg(&model))["dataset"], "images");
    let mut inspect = glassnet(&["inspect", "--device", "cpu", "--index", "0", "--model"]);
    inspect.arg(&model).assert().success();
    let mut compare = place.on_pictures(&["compare", "--steps", "1", "--skip-unreadable"]);
    compare.arg("--net").arg(place.path("net.toml")).arg("--out").arg(place.path("compared"));
    compare.assert().success();
    let mut named = glassnet(&["train", "--dataset", "synthetic", "--skip-unreadable"]);
    assert_fails_with(&mut named, &["--skip-unreadable is for the pictures of --images"]);
    // The network has grey input.
    assert!(
        told.contains("20 of 20 pictures are in colour, but network ") && told.contains("colour is dropped"),
        "{told}"
    );

    // A class without any readable picture.
    for entry in fs::read_dir(place.path("pictures/two")).unwrap() {
        fs::write(entry.unwrap().path(), "rubbish").unwrap();
    }
    fs::remove_dir_all(place.path("run")).unwrap();
    assert_fails_with(place.train().arg("--skip-unreadable"), &["no training picture is left of two"]);
}

#[test]
fn a_validation_set_of_which_nothing_can_be_read_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.path("sets")).unwrap();
    fs::rename(place.path("pictures"), place.path("sets/train")).unwrap();
    let whole = &files(&golden())["rgb.png"];
    for (set, bytes) in [("val", &b"rubbish"[..]), ("test", &whole[..])] {
        for class in ["one", "two"] {
            fs::create_dir_all(place.path(&format!("sets/{set}/{class}"))).unwrap();
            fs::write(place.path(&format!("sets/{set}/{class}/a.png")), bytes).unwrap();
        }
    }
    fs::rename(place.path("sets"), place.path("pictures")).unwrap();
    let message = "without the 4 files that cannot be read, no picture is left to validate on";
    assert_fails_with(place.train().arg("--skip-unreadable"), &[message]);
}

#[test]
fn pictures_that_an_earlier_version_read_differently_are_said_to_be() {
    let place = Place::new();
    place.train().arg("--skip-unreadable").assert().success();
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    let sum = config.lines().find(|line| line.starts_with("data_sha256")).unwrap();
    let former = config.replace("validation = \"by-class\"\n", "").replace(sum, "data_sha256 = \"00\"");
    fs::write(place.path("run/config.toml"), former).unwrap();
    let mut resume = glassnet(&["train", "--device", "cpu", "--steps", "4", "--resume"]);
    resume.arg(place.path("run"));
    assert_fails_with(
        &mut resume,
        &["an earlier version made this run", "reads pictures differently", "glassnet eval"],
    );
    let mut report = glassnet(&["report", "--device", "cpu"]);
    let told = report.arg(place.path("run")).assert().success();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("as they are read now"), "{told}");
    let mut eval = glassnet(&["eval", "--device", "cpu", "--model"]);
    eval.arg(place.path("run/model.safetensors")).assert().success();
}

#[test]
fn predict_names_a_damaged_file_and_the_colour_that_it_does_not_use() {
    let place = Place::new();
    place.train().arg("--skip-unreadable").assert().success();
    let mut predict = glassnet(&["predict", "--device", "cpu", "--model"]);
    predict.arg(place.path("run/model.safetensors"));
    let assert = predict.args([place.path("pictures/two/cut.jpg"), place.path("pictures/two/0.jpg")]).assert().code(1);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("cut.jpg is truncated"), "{told}");
    assert!(told.contains("has grey input; the colour of 1 of 2 pictures is not used"), "{told}");
}
