//! Folders of pictures in the layouts that people use, and how they are interpreted.

mod common;

use common::command::{assert_fails_with, glassnet, text};
use glassnet::data::ImageFolder;
use image::{Rgb, RgbImage};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

/// Creates pictures in a folder from paths such as `train/cat 3`, which stands for three pictures in that folder.
fn lay_out(places: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    for place in places {
        let (path, count) = place.rsplit_once(' ').unwrap();
        fs::create_dir_all(folder.path().join(path)).unwrap();
        for index in 0..count.parse::<u8>().unwrap() {
            save(&folder.path().join(path).join(format!("{index}.png")), [index * 9, 90, 200]);
        }
    }
    folder
}

fn save(path: &Path, colour: [u8; 3]) {
    RgbImage::from_pixel(9, 8, Rgb(colour)).save(path).unwrap();
}

fn listed(places: &[&str]) -> ImageFolder {
    ImageFolder::list(lay_out(places).path()).unwrap()
}

fn refusal(places: &[&str]) -> String {
    ImageFolder::list(lay_out(places).path()).unwrap_err().to_string()
}

/// Pictures of each set.
fn sizes(folder: &ImageFolder) -> [usize; 3] {
    [&folder.train, &folder.validation, &folder.test].map(Vec::len)
}

#[test]
fn the_sets_are_found_by_their_names_in_any_case() {
    for [train, validation, test] in [
        ["train", "val", "test"],
        ["Train", "Valid", "Test"],
        ["TRAINING", "VALIDATION", "TESTING"],
        ["training", "validation", "testing"],
        ["training_set", "dev", "test_set"],
        ["seg_train", "val-images", "seg_test"],
        ["train2017", "val2017", "test2017"],
        ["01_train", "02_val", "03_test"],
        ["TrainImages", "ValImages", "TestImages"],
        ["pets_train", "pets_val", "pets_test"],
        ["X_train", "X_val", "X_test"],
        ["train_1", "val_1", "test_1"],
        ["TrainingData", "DevData", "holdout"],
        ["Train (1)", "Valid (1)", "Evaluation"],
    ] {
        let [a, b, c] = [train, validation, test].map(|set| [format!("{set}/cat 4"), format!("{set}/dog 3")]);
        let all: Vec<&str> = [&a, &b, &c].into_iter().flatten().map(String::as_str).collect();
        let folder = listed(&all);
        assert_eq!((sizes(&folder), &folder.classes[..]), ([7, 7, 7], &["cat".to_string(), "dog".to_string()][..]));
        assert_eq!(
            folder.division.describe(),
            format!("{train} is the training set, {validation} the validation set, {test} the test set")
        );
        let folder = listed(&[&a[0], &a[1], &c[0], &c[1]]);
        assert_eq!(sizes(&folder), [7, 0, 7]);
        assert!(folder.division.describe().contains("a tenth of it the validation set"), "{:?}", folder.division);
        let folder = listed(&[&a[0], &a[1], &b[0], &b[1]]);
        // A fifth of four and of three, rounded.
        assert_eq!(sizes(&folder), [5, 7, 2]);
        assert!(folder.division.describe().contains("there is no test folder, so a fifth"), "{:?}", folder.division);
    }
}

#[test]
fn folders_that_hold_only_the_data_set_are_looked_through() {
    for inside in ["data", "archive/animals", "a/b/c"] {
        let [cat, dog] = [format!("{inside}/cat 5"), format!("{inside}/dog 5")];
        let folder = listed(&[&cat, &dog, "__MACOSX/data 3", ".cache/x 2"]);
        assert_eq!((sizes(&folder), folder.classes.len()), ([8, 0, 2], 2), "{inside}");
        assert!(folder.division.describe().contains(&format!("in {inside}")), "{}", folder.division.describe());
        let [train, val] = [format!("{inside}/train/cat 5"), format!("{inside}/val/cat 5")];
        let [train2, val2] = [format!("{inside}/train/dog 5"), format!("{inside}/val/dog 5")];
        let folder = listed(&[&train, &train2, &val, &val2]);
        assert_eq!(sizes(&folder), [8, 10, 2], "{inside}");
        assert!(folder.division.describe().starts_with(&format!("{inside}/train is")), "{:?}", folder.division);
    }
    // The wrapping folder in each set, as in many zip files.
    let folder = listed(&["train/train/cat 4", "train/train/dog 4", "test/test/cat 2", "test/test/dog 2"]);
    assert_eq!((sizes(&folder), folder.division.train.as_str()), ([8, 0, 4], "train/train"));
    // Only a training set, so its classes are divided by file name.
    assert_eq!(sizes(&listed(&["train/cat 5", "train/dog 5"])), [8, 0, 2]);
}

#[test]
fn a_folder_with_company_is_looked_through() {
    let folder = lay_out(&["inner/Train/cat 4", "inner/Train/dog 4", "inner/Test/cat 2", "inner/Test/dog 2", "docs 0"]);
    fs::write(folder.path().join("README.md"), "x").unwrap();
    save(&folder.path().join("loose.png"), [1; 3]);
    let found = ImageFolder::list(folder.path()).unwrap();
    assert_eq!((sizes(&found), found.notes), ([8, 0, 4], vec!["left out besides inner: docs, 1 picture".to_string()]));
    let found =
        listed(&["inner/train/cat 5", "inner/train/dog 5", "inner/valid/cat 2", "inner/valid/dog 2", "inner 1"]);
    assert_eq!(sizes(&found), [8, 4, 2]);
    assert_eq!(found.notes, ["left out besides train: 1 picture"]);
    assert_eq!(sizes(&listed(&["inner/cat 5", "inner/dog 5", "labels/cat 0", ". 1"])), [8, 0, 2]);
    let flat = refusal(&["train/images 4", "test/images 3"]);
    assert!(flat.contains("train holds 4 pictures, test 3 pictures, and train has no class folders"), "{flat}");
}

#[test]
fn flat_sets_are_no_classes_whatever_they_are_called() {
    for [train, other] in [
        ["train2017", "val2017"],
        ["TrainImages", "TestImages"],
        ["pets_train", "pets_test"],
        ["train_1", "test_1"],
        ["Train (1)", "Eval (1)"],
    ] {
        let message = refusal(&[&format!("{train} 4"), &format!("{other} 3")]);
        assert!(message.contains(&format!("{train} has no class folders")), "{message}");
    }
    let beside = refusal(&["train 3", "test 3", "car 3"]);
    assert!(beside.contains("has test and train, which look like sets, next to car"), "{beside}");
    let several = refusal(&["cats_train/a 1", "cats_test/a 1", "dogs_train/a 1", "dogs_test/a 1"]);
    assert!(several.contains("the sets of several data sets"), "{several}");
    assert_eq!(listed(&["test_tube 3", "beaker 3", "train 3"]).classes, ["beaker", "test_tube", "train"]);
    assert_eq!(listed(&["test1 3", "test2 3"]).classes.len(), 2);
    // An evaluation set is the test set, or the validation set if there is another test set.
    let places = ["train/a 5", "train/b 5", "eval/a 1", "eval/b 1", "test/a 2", "test/b 2"];
    assert_eq!((sizes(&listed(&places[..4])), sizes(&listed(&places))), ([10, 0, 2], [10, 2, 4]));
}

#[test]
fn a_class_may_be_called_train_or_test() {
    assert_eq!(listed(&["bus 3", "train 3", "tram 3"]).classes, ["bus", "train", "tram"]);
    assert_eq!(listed(&["quiz 3", "test 3"]).classes, ["quiz", "test"]);
    assert_eq!(listed(&["train_station 3", "test_pattern 3"]).classes.len(), 2);
}

#[test]
fn droppings_are_passed_over() {
    let folder = lay_out(&[
        "cat 5",
        "dog 5",
        "__MACOSX/cat 5",
        "@eaDir/cat 2",
        "cat/@eaDir 1",
        ".ipynb_checkpoints 1",
        "cat/.ipynb_checkpoints 1",
        "System Volume Information 1",
    ]);
    for name in [".DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "cat/._0.png", "README.md"] {
        fs::write(folder.path().join(name), "\0\u{5}").unwrap();
    }
    let listed = ImageFolder::list(folder.path()).unwrap();
    assert_eq!((&listed.classes[..], sizes(&listed)), (&["cat".to_string(), "dog".to_string()][..], [8, 0, 2]));
    assert_eq!((listed.others.describe(), listed.notes), (None, vec![]));
}

#[test]
fn layouts_that_are_none_say_what_was_found_and_what_is_expected() {
    let flat = refusal(&["train 4", "test 3"]);
    for part in ["train holds 4 pictures, test 3 pictures", "train has no class folders", "FOLDER/train/CLASS/*.png"] {
        assert!(flat.contains(part), "{part} not in: {flat}");
    }
    assert!(refusal(&[". 4"]).contains("holds 4 pictures and no folders"));
    assert!(refusal(&["data 4"]).contains("has only `data`"));
    assert!(refusal(&["cat 4"]).contains("has only `cat`"));
    assert!(refusal(&["train/cat 4", "test/cat 4"]).contains("has only `cat`"));
    assert!(refusal(&["val/cat 4", "val/dog 4", "test/cat 4"]).contains("has test and val but no training set"));
    let two = refusal(&["train/cat 4", "train/dog 4", "val/cat 1", "valid/cat 1"]);
    assert!(two.contains("both val and valid") && two.contains("keep one"), "{two}");
    let deep = refusal(&["cat/train 4", "cat/test 4", "dog/train 4", "dog/test 4"]);
    assert!(deep.contains("cat holds no picture itself, only folders (test, train): sets inside of a class"), "{deep}");
    for nested in [refusal(&["x/a 2", "x/b 2", "y/a 2", "y/b 2"]), deep] {
        assert!(nested.contains("FOLDER/CLASS/*.png") && !nested.contains("directly into"), "{nested}");
    }
    for set in ["val", "test"] {
        let stranger = refusal(&["train/cat 4", "train/dog 4", &format!("{set}/cat 2"), &format!("{set}/owl 2")]);
        assert!(stranger.contains("owl is a class that") && stranger.contains("does not have"), "{stranger}");
    }
    assert!(refusal(&["cat 3", "dog 3", "owl 0"]).contains("owl is empty; add pictures"));
}

#[test]
fn pictures_in_other_formats_are_named() {
    let folder = lay_out(&["cat 5", "dog 5"]);
    for ending in ["bmp", "webp", "HEIC", "tiff"] {
        fs::write(folder.path().join(format!("cat/a.{ending}")), "x").unwrap();
    }
    save(&folder.path().join("loose.png"), [1; 3]);
    fs::rename(folder.path().join("dog/0.png"), folder.path().join("dog/0.jfif")).unwrap();
    let listed = ImageFolder::list(folder.path()).unwrap();
    assert_eq!(sizes(&listed), [8, 0, 2]);
    let told = listed.others.describe().unwrap();
    assert!(told.contains("4 pictures in formats that are not read (1 .bmp, 1 .heic, 1 .tiff, 1 .webp;"), "{told}");
    assert!(told.contains("1 picture beside the class folders"), "{told}");
    let folder = lay_out(&["cat 5", "dog 0"]);
    fs::write(folder.path().join("dog/a.gif"), "x").unwrap();
    let message = ImageFolder::list(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("dog holds no PNG or JPEG file, but 1 picture in other formats, such as a.gif"),
        "{message}"
    );
}

#[test]
fn sets_without_class_folders_or_some_classes_are_told() {
    let folder = listed(&["train/cat 5", "train/dog 5", "val/cat 2", "test 7", "labels 0"]);
    assert_eq!(sizes(&folder), [8, 2, 2]);
    let notes = folder.notes.join("\n");
    assert!(notes.contains("test holds 7 pictures and no class folders: they have no labels"), "{notes}");
    assert!(notes.contains("left out besides train: labels"), "{notes}");
    assert_eq!(folder.untested().unwrap(), "no validation picture shows the class dog");
}

#[cfg(unix)]
#[test]
fn a_folder_under_two_names_is_told() {
    let folder = lay_out(&["cat 5", "dog 5"]);
    std::os::unix::fs::symlink("cat", folder.path().join("cat2")).unwrap();
    let listed = ImageFolder::list(folder.path()).unwrap();
    assert!(listed.notes[0].contains("cat and cat2 are the same folder"), "{:?}", listed.notes);
    // An endless chain.
    let folder = tempdir().unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    ImageFolder::list(folder.path()).unwrap_err();
}

/// Ten classes of one colour each.
fn ten(coloured: bool) -> TempDir {
    let folder = tempdir().unwrap();
    for class in 0..10u8 {
        for index in 0..12u8 {
            let path: PathBuf = folder.path().join(format!("c{class}/{index}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let value = class * 20 + index;
            save(&path, if coloured { [value, 90, 255 - value] } else { [value; 3] });
        }
    }
    folder
}

#[test]
fn the_pictures_choose_the_network() {
    let out = tempdir().unwrap();
    let train = |folder: &TempDir, name: &str| {
        let mut command = glassnet(&["train", "--device", "cpu", "--steps", "1", "--no-report", "--images"]);
        command.arg(folder.path()).arg("--out").arg(out.path().join(name));
        command
    };
    let config = |name: &str| fs::read_to_string(out.path().join(name).join("config.toml")).unwrap();
    let [colour, grey] = [true, false].map(ten);
    let assert = train(&colour, "colour").assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("the pictures are in colour; training convnetjs-cifar10"), "{told}");
    assert!(config("colour").contains("convnetjs-cifar10"));
    text(&mut train(&grey, "grey"));
    // Grey except for a square of 6 x 6 pixels in 64 x 64.
    let small = ten(false);
    for class in 0..10 {
        for index in 0..12 {
            let inside = |x, y| (9..15).contains(&x) && (9..15).contains(&y);
            let picture =
                RgbImage::from_fn(64, 64, |x, y| Rgb(if inside(x, y) { [255, 20 * class, 0] } else { [128; 3] }));
            picture.save(small.path().join(format!("c{class}/{index}.png"))).unwrap();
        }
    }
    text(&mut train(&small, "small"));
    assert!(config("small").contains("convnetjs-cifar10"));
    assert!(config("grey").contains("convnetjs-mnist"));
    let assert = train(&colour, "dropped").args(["--preset", "convnetjs-mnist"]).assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("pictures are in colour, but network convnetjs-mnist has grey input"), "{told}");
    // The network chosen for the pictures refuses other numbers of classes.
    fs::remove_dir_all(colour.path().join("c9")).unwrap();
    assert_fails_with(&mut train(&colour, "nine"), &["convnetjs-cifar10 has 10 classes, but the data has 9"]);
}

#[test]
fn a_validation_folder_is_validated_on_and_not_trained() {
    let out = tempdir().unwrap();
    let folder = lay_out(&["train/cat 8", "train/dog 8", "val/cat 3", "val/dog 2", "test/cat 2", "test/dog 2"]);
    let net = out.path().join("net.toml");
    fs::write(
        &net,
        "layers = [{ type = 'input', height = 4, width = 4, channels = 3 }, { type = 'fc', outputs = 2 }, \
         { type = 'softmax' }]",
    )
    .unwrap();
    let mut train = glassnet(&["train", "--device", "cpu", "--epochs", "1", "--batch-size", "4", "--images"]);
    train.arg(folder.path()).arg("--net").arg(&net).arg("--out").arg(out.path().join("run"));
    let output = text(&mut train);
    assert!(output.contains("val the validation set"), "{output}");
    let config = fs::read_to_string(out.path().join("run/config.toml")).unwrap();
    assert!(config.contains("division = \"train is the training set, val the validation set"), "{config}");
    // Sixteen examples per epoch, because none is held out.
    assert!(output.contains("; 16 examples in "), "{output}");
    let dataset = ImageFolder::list(folder.path()).unwrap().read([4, 4, 3], false, &mut |_| ()).unwrap().dataset;
    let split = dataset.split();
    assert_eq!((split.train.len(), split.validation.len(), dataset.test.len()), (16, 5, 4));
    assert!(split.train.iter().all(|index| *index < 16));
}
