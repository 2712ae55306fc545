//! Folders of pictures as data sets, and predictions of `glassnet predict` for picture files. All pictures are drawn
//! here.

mod common;

use assert_cmd::Command;
use common::command::{assert_fails_with, document, failing, failure, glassnet, text, without_data};
use glassnet::data::picture::{fit, read};
use glassnet::data::{Dataset, Division, ImageFolder, Origin, Source, synthetic};
use glassnet::formats::{Model, save_model};
use glassnet::net::Network;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageEncoder, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

/// A network for three classes of colour.
const NET: &str = r#"
name = "colours"
layers = [
    { type = "input", height = 6, width = 8, channels = 3 },
    { type = "fc", outputs = 3 },
    { type = "softmax" },
]
[training]
optimizer = "adam"
learning_rate = 0.01
batch_size = 8
"#;

const COLOURS: [(&str, [u8; 3]); 3] = [("blue", [20, 30, 220]), ("green", [30, 200, 40]), ("red", [230, 20, 30])];

/// A plain picture; no two have the same size.
fn plain(colour: [u8; 3], index: u32) -> DynamicImage {
    let shade = |value: u8| value.saturating_add((index % 20) as u8);
    RgbImage::from_pixel(9 + index, 40 - index, Rgb(colour.map(shade))).into()
}

fn save(picture: &DynamicImage, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// `count` pictures of each colour, alternately PNG and JPEG, in one folder per colour.
fn fill(folder: &Path, count: u32) {
    for (name, colour) in COLOURS {
        for index in 0..count {
            let ending = ["png", "jpg", "JPEG"][index as usize % 3];
            save(&plain(colour, index), &folder.join(name).join(format!("{index}.{ending}")));
        }
    }
}

fn names(files: &[(PathBuf, u8)]) -> Vec<String> {
    let name = |path: &PathBuf| {
        let class = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        format!("{class}/{}", path.file_name().unwrap().to_string_lossy())
    };
    files.iter().map(|(path, _)| name(path)).collect()
}

fn read_folder(folder: &Path, shape: [usize; 3]) -> Dataset {
    ImageFolder::list(folder).unwrap().read(shape, false, &mut |_| ()).unwrap().dataset
}

fn refusal(folder: &Path) -> String {
    ImageFolder::list(folder).unwrap_err().to_string()
}

#[test]
fn subfolders_are_classes_and_a_fifth_of_each_is_for_the_test() {
    let folder = tempdir().unwrap();
    fill(folder.path(), 10);
    fs::write(folder.path().join("red/notes.txt"), "not a picture").unwrap();
    fs::write(folder.path().join("red/.hidden.png"), "not a picture").unwrap();
    fs::create_dir(folder.path().join(".cache")).unwrap();
    let listed = ImageFolder::list(folder.path()).unwrap();
    assert_eq!((&listed.division, listed.others.files), (&Division::default(), 1));
    assert_eq!(listed.classes, ["blue", "green", "red"]);
    for label in 0..3 {
        let count = |files: &[(PathBuf, u8)]| files.iter().filter(|file| file.1 == label).count();
        assert_eq!((count(&listed.train), count(&listed.test)), (8, 2));
    }
    let dataset = read_folder(folder.path(), [6, 8, 3]);
    assert_eq!((dataset.train.shape, dataset.train.classes, dataset.test.len()), ([6, 8, 3], 3, 6));
    assert_eq!(dataset.class_names(), ["blue", "green", "red"]);
    for (index, label) in dataset.train.labels.iter().enumerate() {
        // JPEG changes colours slightly.
        let expected = COLOURS[usize::from(*label)].1;
        let close = dataset.train.image(index).chunks(3).all(|p| (0..3).all(|c| p[c].abs_diff(expected[c]) < 25));
        assert!(close, "example {index} is not {:?}", COLOURS[usize::from(*label)]);
    }
    assert_eq!(read_folder(folder.path(), [5, 5, 1]).train.pixels.len(), 24 * 25);
}

#[test]
fn a_picture_is_read_from_bytes_as_from_its_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("picture.png");
    plain([20, 30, 220], 3).save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(read(Source::Bytes(&bytes, "the dropped file")).unwrap(), read(&path).unwrap());
    let message = read(Source::Bytes(&bytes[..50], "the dropped file")).unwrap_err().to_string();
    assert!(message.starts_with("the dropped file "), "{message}");
}

#[test]
fn a_new_file_moves_no_other_between_training_and_test() {
    let folder = tempdir().unwrap();
    fill(folder.path(), 12);
    let before = ImageFolder::list(folder.path()).unwrap();
    assert_eq!(names(&before.test), names(&ImageFolder::list(folder.path()).unwrap().test));
    save(&plain([200, 0, 0], 1), &folder.path().join("red/new.png"));
    let after = ImageFolder::list(folder.path()).unwrap();
    assert_eq!(after.train.len() + after.test.len(), 37);
    let moved = names(&before.train).into_iter().filter(|name| names(&after.test).contains(name)).count();
    assert!(moved <= 1, "{moved} files have moved");
}

#[test]
fn folders_named_train_and_test_are_the_two_sets() {
    let folder = tempdir().unwrap();
    fill(&folder.path().join("train"), 3);
    fill(&folder.path().join("test"), 2);
    fs::remove_dir_all(folder.path().join("test/blue")).unwrap();
    let dataset = read_folder(folder.path(), [4, 4, 3]);
    assert_eq!(
        (&dataset.train.labels[..], &dataset.test.labels[..]),
        (&[0, 0, 0, 1, 1, 1, 2, 2, 2][..], &[1, 1, 2, 2][..])
    );
    let Origin::Images { division, .. } = &dataset.origin else { panic!("it is a folder") };
    assert_eq!((division.train.as_str(), division.test.as_deref()), ("train", Some("test")));
    let listed = || ImageFolder::list(folder.path()).unwrap();
    assert_eq!(listed().untested().unwrap(), "no test picture shows the class blue");
    // Also in the line about files that are left out.
    fs::write(folder.path().join("test/red/notes.txt"), "not a picture").unwrap();
    let mut train = glassnet(&["train", "--device", "cpu", "--steps", "1", "--net"]);
    fs::write(folder.path().join("small.toml"), NET).unwrap();
    train.arg(folder.path().join("small.toml")).arg("--images").arg(folder.path());
    let assert = train.arg("--out").arg(folder.path().join("run")).assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("notes.txt; no test picture shows the class blue\n"), "{told}");
    fill(&folder.path().join("test"), 1);
    assert_eq!(listed().untested(), None);
    (0..12).for_each(|i| save(&plain([i; 3], 1), &folder.path().join(format!("train/z{i:02}/a.png"))));
    let many = listed().untested().unwrap();
    assert!(many.contains(" classes z00, z01") && many.ends_with(", z09 and 2 more"), "{many}");

    save(&plain([0; 3], 1), &folder.path().join("test/black/a.png"));
    assert!(refusal(folder.path()).contains("black is a class that"), "{}", refusal(folder.path()));
}

#[test]
fn folders_that_are_no_data_set_are_refused() {
    let folder = tempdir().unwrap();
    assert!(refusal(folder.path()).contains("at least two classes and has none"));
    save(&plain([0; 3], 1), &folder.path().join("black/a.png"));
    assert!(refusal(folder.path()).contains("has only `black`"));
    fs::create_dir(folder.path().join("white")).unwrap();
    assert!(refusal(folder.path()).contains("white is empty; add pictures"));
    save(&plain([255; 3], 1), &folder.path().join("white/a.png"));
    assert!(refusal(folder.path()).contains("no picture to test on"));
    save(&plain([255; 3], 1), &folder.path().join("white/b.png"));
    let listed = ImageFolder::list(folder.path()).unwrap();
    let message = listed.read([4, 4, 2], false, &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("2 channels"), "{message}");
    let message = listed.read([1 << 15, 1 << 15, 1], false, &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("more than the 1024 MiB"), "{message}");
    assert!(refusal(&folder.path().join("missing")).contains("cannot read the folder"));
}

#[cfg(unix)]
#[test]
fn what_is_left_out_is_told_with_an_example() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    let pictures = place.path("pictures");
    assert_eq!(ImageFolder::list(&pictures).unwrap().others.describe(), None);
    save(&plain([0; 3], 1), &pictures.join("blue/more/a.png"));
    symlink("nowhere", pictures.join("green/z.png")).unwrap();
    symlink("nowhere", pictures.join("yellow")).unwrap();
    std::os::unix::net::UnixListener::bind(pictures.join("red/socket.png")).unwrap();
    fs::write(pictures.join("red/notes.txt"), "not a picture").unwrap();
    let assert = place.small().assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let line = told.lines().find(|line| line.contains("left out: ")).unwrap_or_default();
    for part in ["1 file without .png, .jpg", "1 folder inside a class folder", "3 broken links or pipes"] {
        assert!(line.contains(part), "{part} not in: {told}");
    }
    assert!(line.ends_with("blue/more"), "{line}");
}

#[cfg(target_os = "linux")]
#[test]
fn class_folders_whose_names_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().unwrap();
    fill(folder.path(), 2);
    for name in [&b"caf\xe9"[..], &b"caf\xe8"[..]] {
        save(&plain([0; 3], 1), &folder.path().join(std::ffi::OsStr::from_bytes(name)).join("a.png"));
    }
    assert!(refusal(folder.path()).contains("has a name that is not Unicode; rename it"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempdir().unwrap();
    fill(folder.path(), 3);
    let bad = folder.path().join("green/bad.png");
    for bytes in bad_files() {
        fs::write(&bad, bytes.1).unwrap();
        let result = ImageFolder::list(folder.path()).unwrap().read([4, 4, 3], false, &mut |_| ());
        let message = result.unwrap_err().to_string();
        assert!(message.contains("bad.png") && message.contains(bytes.0), "{message}");
        assert!(message.contains("replace it with a good PNG or JPEG file"), "{message}");
    }
}

/// Files that are not pictures, with the expected messages.
fn bad_files() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        plain([1, 2, 3], 9).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let (png, jpeg) = (bytes(image::ImageFormat::Png), bytes(image::ImageFormat::Jpeg));
    let mut flipped = png.clone();
    flipped[45] ^= 0xff;
    vec![
        ("neither a PNG nor a JPEG", b"rubbish".to_vec()),
        ("is a GIF, neither a PNG nor a JPEG", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec()),
        ("is a pointer to a file in Git LFS, neither", b"version https://git-lfs.github.com/spec/v1\n".to_vec()),
        ("is an SVG picture, neither", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec()),
        ("is damaged: its first bytes were changed", b"\x89PNG\n\x1a\n\0\0\0\rIHDR".to_vec()),
        ("is empty", Vec::new()),
        ("bad.png is", png[..png.len() / 2].to_vec()),
        ("bad.png is", jpeg[..100].to_vec()),
        ("is damaged", flipped),
        ("is too large: at most 65535 pixels a side and 512 MiB", declared(&png, 100_000, 2)),
        ("is too large", declared(&png, 16_000, 16_000)),
        ("is too large", declared_jpeg(&jpeg, [0xff; 4])),
        ("is too large", declared_jpeg(&jpeg, [0x3f, 0xff, 0x3f, 0xff])),
    ]
}

/// A PNG whose header declares another size: width and height from byte 16, the header's checksum from byte 29.
fn declared(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut png = png.to_vec();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut sum = flate2::Crc::new();
    sum.update(&png[12..29]);
    png[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    png
}

/// A JPEG whose frame header declares another height and width, which follow the marker, a length and a precision.
fn declared_jpeg(jpeg: &[u8], size: [u8; 4]) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..][..4].copy_from_slice(&size);
    jpeg
}

#[test]
fn a_photograph_is_turned_upright() {
    let (folder, mut bytes) = (tempdir().unwrap(), Vec::new());
    // Little-endian EXIF with one entry, tag 0x112, a 16-bit 6: the camera was turned, its right is the picture's top.
    let mut exif = b"II*\0\x08\0\0\0\x01\0".to_vec();
    exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
    let lying = GrayImage::from_fn(64, 32, |x, _| Luma([if x < 32 { 255 } else { 0 }]));
    let mut encoder = JpegEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.encode_image(&lying).unwrap();
    let path = folder.path().join("a.jpg");
    fs::write(&path, bytes).unwrap();
    let upright = read(path.as_path()).unwrap();
    assert_eq!((upright.width(), upright.height()), (32, 64));
    let rows = fit(&upright, [2, 1, 1]);
    assert!(rows[0] > 200 && rows[1] < 50, "the left half comes to the top: {rows:?}");
}

#[test]
fn the_middle_is_cut_out_and_transparency_is_white() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.png");
    // Red to the left and right of a black square that is half as wide.
    let wide = RgbImage::from_fn(80, 40, |x, _| if (20..60).contains(&x) { Rgb([0; 3]) } else { Rgb([255, 0, 0]) });
    wide.save(&path).unwrap();
    assert_eq!(fit(&read(path.as_path()).unwrap(), [10, 10, 3]), vec![0; 300]);
    RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 0])).save(&path).unwrap();
    assert_eq!(fit(&read(path.as_path()).unwrap(), [2, 2, 1]), [255; 4]);
    RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 255])).save(&path).unwrap();
    assert_eq!(fit(&read(path.as_path()).unwrap(), [2, 2, 3]), [0; 12]);
}

/// A folder with pictures of three colours, a network for them, and space for a run.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempdir().unwrap();
        fill(&folder.path().join("pictures"), 10);
        fs::write(folder.path().join("net.toml"), NET).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, args: &[&str]) -> Command {
        let mut command = glassnet(&["train", "--device", "cpu", "--epochs", "20", "--images"]);
        command.arg(self.path("pictures")).arg("--out").arg(self.path("run")).args(args);
        command
    }

    fn small(&self) -> Command {
        let mut command = self.train(&["--net"]);
        command.arg(self.path("net.toml"));
        command
    }

    fn on_model(&self, command: &str) -> Command {
        let mut command = glassnet(&[command, "--device", "cpu", "--model"]);
        command.arg(self.path("run/model.safetensors"));
        command
    }
}

#[test]
fn a_folder_trains_tests_and_names_its_classes() {
    let place = Place::new();
    let output = text(&mut place.small());
    assert!(output.contains("3 classes: blue, green, red; divided: a fifth of each class"), "{output}");
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(
        config.contains("dataset = \"images\"") && config.contains("\ndivision = \"a fifth of each class"),
        "{config}"
    );

    // The run records where its pictures are.
    assert_eq!(document(&mut place.on_model("eval"))["test_accuracy"], json!(1.0));
    let evaluated = document(place.on_model("eval").arg("--images").arg(place.path("pictures")));
    assert_eq!((&evaluated["dataset"], &evaluated["test_accuracy"]), (&json!("images"), &json!(1.0)));
    assert_eq!(evaluated["classes"][1]["name"], "green");
    let inspected = document(place.on_model("inspect").args(["--index", "5", "--images"]).arg(place.path("pictures")));
    assert_eq!(inspected["label"]["name"], "red");

    let picture = place.path("big.jpg");
    RgbImage::from_pixel(700, 300, Rgb([25, 210, 50])).save(&picture).unwrap();
    let predicted = document(place.on_model("predict").arg(&picture));
    assert_eq!(predicted["images"][0]["predictions"][0]["name"], "green");
    assert_eq!((&predicted["shape"], &predicted["treatment"]), (&json!([6, 8, 3]), &json!("resize")));

    // The same classes under other names.
    fs::rename(place.path("pictures/red"), place.path("pictures/rouge")).unwrap();
    let mut command = place.on_model("eval");
    assert_fails_with(
        command.arg("--images").arg(place.path("pictures")),
        &["red missing, rouge unknown to the model"],
    );
    save(&plain([9; 3], 3), &place.path("pictures/violet/a.png"));
    let mut command = place.on_model("inspect");
    let expected =
        ["4 classes, not 3: red missing, rouge, violet unknown to the model; give it the same class folders"];
    assert_fails_with(command.args(["--index", "0", "--images"]).arg(place.path("pictures")), &expected);
    for name in ["rouge", "violet"] {
        fs::remove_dir_all(place.path("pictures").join(name)).unwrap();
    }
    let refused = failure(&mut place.on_model("eval"));
    assert!(refused.contains("2 classes, not 3: red missing;") && !refused.contains("--net"), "{refused}");

    fs::rename(place.path("pictures"), place.path("moved")).unwrap();
    assert_fails_with(
        &mut place.on_model("eval"),
        &["the run's data is no longer in ", "pictures, which ", "config.toml", "--images"],
    );
    // Away from its run, a model does not record a folder.
    fs::rename(place.path("run/config.toml"), place.path("elsewhere.toml")).unwrap();
    assert_fails_with(&mut place.on_model("eval"), &["trained on a folder of pictures", "--images"]);
}

#[test]
fn a_run_on_a_folder_goes_on_where_its_pictures_are_the_same() {
    let place = Place::new();
    text(&mut place.small());
    let resume = |args: &[&str]| {
        let mut command = glassnet(&["train", "--device", "cpu", "--epochs", "25", "--resume"]);
        command.arg(place.path("run")).args(args);
        command
    };
    assert_fails_with(&mut resume(&["--data-dir", "/tmp"]), &["--data-dir", "images"]);
    fs::rename(place.path("pictures"), place.path("moved")).unwrap();
    assert_fails_with(&mut resume(&[]), &["config.toml, and is no longer there", "with --images"]);
    let moved = place.path("moved").display().to_string();
    save(&plain([9; 3], 3), &place.path("moved/red/another.png"));
    assert_fails_with(&mut resume(&["--images", &moved]), &["differs from this run's training data", "--images"]);
    fs::remove_file(place.path("moved/red/another.png")).unwrap();
    let summary = document(&mut resume(&["--images", &moved]));
    assert_eq!(summary["examples_seen"], json!(25 * 22));
    // The new place is remembered.
    let mut again = glassnet(&["train", "--device", "cpu", "--epochs", "26", "--resume"]);
    assert_eq!(document(again.arg(place.path("run")))["examples_seen"], json!(26 * 22));
}

#[test]
fn a_network_for_other_classes_is_refused_before_pictures_are_read() {
    let place = Place::new();
    fs::write(place.path("pictures/red/bad.png"), "rubbish").unwrap();
    assert_fails_with(
        &mut place.train(&["--preset", "convnetjs-cifar10"]),
        &["has 10 classes, but the data has 3", "--net"],
    );
    let mut both = place.train(&["--dataset", "mnist"]);
    both.assert().code(2);
}

/// The stderr of `train` and `compare`.
fn told(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.assert().success().get_output().stderr).into_owned()
}

#[test]
fn a_class_too_small_to_hold_one_out_is_trained_and_named() {
    let place = Place::new();
    fs::remove_dir_all(place.path("pictures")).unwrap();
    fill(&place.path("pictures/train"), 9);
    fill(&place.path("pictures/test"), 2);
    for file in fs::read_dir(place.path("pictures/train/green")).unwrap().map(|entry| entry.unwrap().path()) {
        if !file.ends_with("0.png") {
            fs::remove_file(file).unwrap();
        }
    }
    // 19 pictures: a tenth is one, from the first of the large classes.
    let expected = "too few training examples to hold one out for validation: green (1), red (9);";
    let messages = told(&mut place.small());
    assert!(messages.contains(expected), "{messages}");
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("to hold one out for validation: "), "the report says it too");
    let mut compare = glassnet(&["compare", "--device", "cpu", "--steps", "1", "--net"]);
    compare.arg(place.path("net.toml")).arg("--images").arg(place.path("pictures"));
    let messages = told(compare.args(["--optimizers", "sgd,adam", "--out"]).arg(place.path("compared")));
    assert_eq!(messages.matches("to hold one out for validation: ").count(), 1, "{messages}");
}

#[test]
fn classes_of_one_example_each_cannot_be_validated_but_numbers_can() {
    let folder = tempdir().unwrap();
    let names: Vec<String> = (0..12).map(|i| format!("{}", 5 * i)).collect();
    let numbers: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 10)).collect();
    let net = numbered(&folder.path().join("all"), &numbers);
    for (name, file) in names.iter().flat_map(|name| [(name, "train"), (name, "test")]) {
        let target = folder.path().join("pictures").join(file).join(name);
        fs::create_dir_all(&target).unwrap();
        fs::copy(folder.path().join("all/pictures").join(name).join("0.png"), target.join("0.png")).unwrap();
    }
    let train = |net: &Path| {
        let mut command = glassnet(&["train", "--device", "cpu", "--steps", "2", "--images"]);
        command.arg(folder.path().join("pictures")).arg("--net").arg(net).arg("--out").arg(folder.path().join("run"));
        command
    };
    let classes = folder.path().join("classes.toml");
    let text = "layers = [{ type = 'input', height = 4, width = 4, channels = 1 }, { type = 'fc', outputs = 12 },
        { type = 'softmax' }]";
    fs::write(&classes, text).unwrap();
    assert_fails_with(&mut train(&classes), &["no class has two training examples (12 in all)", "; add examples"]);
    assert!(!folder.path().join("run").exists());
    let messages = told(&mut train(&net));
    assert!(messages.contains("held out for validation and not trained on: 30\n"), "{messages}");
}

/// Grey squares, lighter for folders with larger numbers, and a network that learns the number.
fn numbered(folder: &Path, names: &[(&str, u8)]) -> PathBuf {
    for (name, grey) in names {
        for index in 0..10 {
            let path = folder.join("pictures").join(name).join(format!("{index}.png"));
            save(&GrayImage::from_pixel(8, 8, Luma([grey + index])).into(), &path);
        }
    }
    let net = "layers = [{ type = 'input', height = 4, width = 4, channels = 1 }, { type = 'fc', outputs = 1 },
        { type = 'mse', targets = 'number' }]
        training = { optimizer = 'adam', learning_rate = 0.3, batch_size = 8, epochs = 200 }";
    let path = folder.join("net.toml");
    fs::write(&path, net).unwrap();
    path
}

#[test]
fn folders_called_after_numbers_teach_them() {
    let folder = tempdir().unwrap();
    // By name 100 comes before 20.
    let net = numbered(folder.path(), &[("20", 40), ("60", 110), ("100", 180)]);
    let [pictures, run] = ["pictures", "run"].map(|name| folder.path().join(name));
    let train = |out: &Path| {
        let mut command = glassnet(&["train", "--device", "cpu", "--stats-every", "1000", "--net"]);
        command.arg(&net).arg("--images").arg(&pictures).arg("--out").arg(out);
        command
    };
    let assert = train(&run).arg("--json").assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("learning the class folders' names as numbers, 20 to 100"), "{told}");
    let summary: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(summary["test_accuracy"], json!(1.0), "the nearest folder is the right one");

    let on_model = |command: &str| {
        let mut command = glassnet(&[command, "--device", "cpu", "--model"]);
        command.arg(run.join("model.safetensors"));
        command
    };
    let evaluated = document(on_model("eval").arg("--images").arg(&pictures));
    assert_eq!((&evaluated["test_accuracy"], &evaluated["test_loss"]), (&json!(1.0), &summary["test_loss"]));
    let names: Vec<&Value> = evaluated["classes"].as_array().unwrap().iter().map(|class| &class["name"]).collect();
    assert_eq!(names, ["100", "20", "60"]);

    // Between 60 and 100, and nearer to 60.
    let between = folder.path().join("between.png");
    GrayImage::from_pixel(9, 9, Luma([132])).save(&between).unwrap();
    let predicted = document(on_model("predict").arg(&between))["images"][0].clone();
    let number = predicted["number"].as_f64().unwrap();
    assert!((62.0..78.0).contains(&number) && predicted["predictions"] == json!([]), "{predicted}");
    let line = text(on_model("predict").arg(&between));
    assert!(line.trim_end().ends_with(&format!("between.png: {number:.2}")), "{line} instead of {number}");

    let inspected = document(on_model("inspect").args(["--index", "5", "--images"]).arg(&pictures));
    assert_eq!((&inspected["label"]["name"], &inspected["predictions"]), (&json!("60"), &json!([])));
    assert!((inspected["number"].as_f64().unwrap() - 60.0).abs() < 10.0, "{inspected}");
    assert!(
        text(on_model("inspect").args(["--index", "5", "--images"]).arg(&pictures)).contains("label 60, predicted ")
    );

    // With one name that is not a number, positions in the list count.
    fs::rename(pictures.join("60"), pictures.join("sixty")).unwrap();
    let assert = train(&folder.path().join("other")).assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("not all numbers, so their positions in the sorted list, 0 to 2, are learned"), "{told}");
}

#[test]
fn names_are_numbers_where_all_are_different_and_not_too_large() {
    let numbers = |names: &[&str]| {
        let folder = tempdir().unwrap();
        names.iter().for_each(|name| save(&plain([9; 3], 1), &folder.path().join(name).join("a.png")));
        save(&plain([9; 3], 2), &folder.path().join(names[0]).join("b.png"));
        ImageFolder::list(folder.path()).unwrap().numbers
    };
    assert_eq!(numbers(&["-2.5", "1e6", "0"]), [-2.5, 0.0, 1e6]);
    for others in [["1", "one"], ["1", "1.0"], ["1", "1000001"], ["0", "nan"], ["0", "-inf"]] {
        assert_eq!(numbers(&others), [0.0; 0], "{others:?}");
    }
}

#[test]
fn synthetic_pictures_stand_in_loudly_for_cifar10() {
    let folder = tempdir().unwrap();
    let mut command =
        glassnet(&["train", "--preset", "convnetjs-cifar10", "--device", "cpu", "--steps", "30", "--out"]);
    command.arg(folder.path().join("run"));
    let output = text(without_data(&mut command, &folder.path().join("home")));
    let lines = [output.lines().next(), output.lines().last()].map(Option::unwrap_or_default);
    assert!(lines.iter().all(|line| line.contains("SYNTHETIC PICTURES") && line.contains("CIFAR-10")), "{output}");
    // The data set alone chooses the network.
    let mut named = glassnet(&["train", "--dataset", "cifar10", "--out"]);
    named.arg(folder.path().join("other"));
    let message = ["cifar10 cannot be obtained", "cifar-10-binary.tar.gz", "--dataset synthetic-pictures"];
    assert_fails_with(without_data(&mut named, &folder.path().join("home")), &message);
    let mut grey = glassnet(&["train", "--dataset", "cifar10", "--preset", "vgg-mnist"]);
    assert_fails_with(&mut grey, &["takes images with 1 channel, cifar10 has 3"]);
    // Refused before a device is opened; this adapter does not exist.
    for (dataset, preset) in [("mnist", "convnetjs-cifar10"), ("cifar10", "vgg-mnist")] {
        let mut early = glassnet(&["train", "--dataset", dataset, "--preset", preset, "--adapter", "no such adapter"]);
        assert_fails_with(&mut early, &["takes images with ", " channel"]);
    }
}

/// The digit `index` of the synthetic test set.
fn digit(index: usize) -> (GrayImage, u8) {
    let (_, test) = synthetic::generate(0, index + 1, 1);
    (GrayImage::from_raw(28, 28, test.image(index).to_vec()).unwrap(), test.labels[index])
}

/// The digit on a black ground of another size, off-centre.
fn placed(digit: &GrayImage, side: u32, canvas: (u32, u32), at: (i64, i64)) -> GrayImage {
    let mut ground = GrayImage::new(canvas.0, canvas.1);
    let larger = imageops::resize(digit, side, side, FilterType::CatmullRom);
    imageops::replace(&mut ground, &larger, at.0, at.1);
    ground
}

/// The digit with the given colours of ground and ink.
fn inked(grey: &GrayImage, ground: [u8; 3], ink: [u8; 3]) -> DynamicImage {
    let mix = |g: u8, i: u8, share: u8| {
        ((u32::from(g) * (255 - u32::from(share)) + u32::from(i) * u32::from(share)) / 255) as u8
    };
    let colour = |Luma([share]): &Luma<u8>| Rgb([0, 1, 2].map(|c| mix(ground[c], ink[c], *share)));
    RgbImage::from_fn(grey.width(), grey.height(), |x, y| colour(grey.get_pixel(x, y))).into()
}

#[test]
fn digits_of_any_size_and_polarity_are_recognised_alike() {
    const DIGITS: usize = 20;
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let mut train =
        glassnet(&["train", "--dataset", "synthetic", "--device", "cpu", "--optimizer", "adam", "--steps", "600"]);
    text(train.args(["--stats-every", "1000", "--out"]).arg(&run));

    let (mut files, mut labels) = (Vec::new(), Vec::new());
    let variants =
        ["plain.png", "inverted.png", "large.png", "paper.png", "photo.jpg", "clear.png", "white.png", "yellow.png"];
    for index in 0..DIGITS {
        let (grey, label) = digit(index);
        let large = placed(&grey, 150, (400, 260), (230, 7));
        let photo = placed(&grey, 400, (600, 900), (20, 400));
        let share = placed(&grey, 60, (90, 120), (3, 50));
        let clear = RgbaImage::from_fn(90, 120, |x, y| Rgba([0, 0, 0, share.get_pixel(x, y).0[0]]));
        let white = RgbaImage::from_fn(90, 120, |x, y| Rgba([255, 255, 255, share.get_pixel(x, y).0[0]]));
        let pictures: [DynamicImage; 8] = [
            grey.clone().into(),
            inked(&grey, [255; 3], [0; 3]),
            large.clone().into(),
            inked(&large, [250, 240, 200], [20, 30, 120]),
            inked(&photo, [150, 150, 140], [40, 40, 60]),
            clear.into(),
            white.into(),
            inked(&large, [255; 3], [255, 255, 0]),
        ];
        for (picture, variant) in pictures.iter().zip(variants) {
            let path = folder.path().join(format!("{index}-{variant}"));
            picture.save(&path).unwrap();
            files.push(path);
        }
        labels.push(u64::from(label));
    }
    let mut predict = glassnet(&["predict", "--device", "cpu", "--model"]);
    let document = document(predict.arg(run.join("model.safetensors")).args(&files));
    assert_eq!((&document["treatment"], &document["shape"]), (&json!("digit"), &json!([28, 28, 1])));
    let images = document["images"].as_array().unwrap();
    let class = |image: &Value| image["predictions"][0]["class"].as_u64().unwrap();
    for (variant, name) in variants.iter().enumerate() {
        let of_variant: Vec<&Value> = images.iter().skip(variant).step_by(variants.len()).collect();
        let light = [0, 2, 6].contains(&variant);
        let polarity = if light { "light on dark" } else { "dark on light, inverted" };
        assert!(of_variant.iter().all(|image| image["polarity"] == polarity), "{name}");
        let right = of_variant.iter().zip(&labels).filter(|(image, label)| class(image) == **label).count();
        assert!(right >= DIGITS - 3, "{name}: {right} of {DIGITS} digits are right");
    }
    for of_digit in images.chunks(variants.len()) {
        assert_eq!(of_digit[0]["predictions"], of_digit[1]["predictions"], "polarity alone changes nothing");
        let sum: f64 =
            of_digit[0]["predictions"].as_array().unwrap().iter().filter_map(|c| c["probability"].as_f64()).sum();
        assert!(sum > 0.5 && sum < 1.0 + 1e-5);
    }
}

/// An untrained model whose file names `dataset`.
fn model(folder: &Path, preset: &str, extra: Value) -> PathBuf {
    let network = Network::preset(preset).unwrap();
    let path = folder.join("model.safetensors");
    save_model(&path, &Model { parameters: network.initial_parameters(1), network, extra }).unwrap();
    path
}

#[test]
fn predictions_are_the_mean_of_as_many_crops_as_asked_for() {
    let folder = tempdir().unwrap();
    let model = model(folder.path(), "convnetjs-mnist", json!({"dataset": "mnist"}));
    let picture = folder.path().join("digit.png");
    digit(0).0.save(&picture).unwrap();
    let predict = |crops: &str| {
        let mut command = glassnet(&["predict", "--device", "cpu", "--test-crops", crops, "--model"]);
        command.arg(&model).arg(&picture);
        command
    };
    let [one, ten] = ["1", "10"].map(|crops| document(&mut predict(crops)));
    assert_eq!((&one["test_crops"], &ten["test_crops"]), (&json!(1), &json!(10)));
    assert_ne!(one["images"][0]["predictions"], ten["images"][0]["predictions"]);
    let said = predict("10").assert().success();
    assert!(String::from_utf8_lossy(&said.get_output().stdout).contains(", the mean of 10 crops\n"));
    assert_fails_with(&mut predict("26"), &["--test-crops must be at most 25"]);
    assert_fails_with(&mut predict("0"), &["--test-crops must be a whole number from 1 to 100, got 0"]);
}

#[test]
fn bad_files_are_errors_and_the_others_are_predicted() {
    let folder = tempdir().unwrap();
    let model = model(folder.path(), "convnetjs-mnist", json!({"dataset": "mnist"}));
    let (good, blank, bad) =
        (folder.path().join("good.png"), folder.path().join("blank.png"), folder.path().join("bad.png"));
    digit(0).0.save(&good).unwrap();
    GrayImage::from_pixel(30, 30, Luma([200])).save(&blank).unwrap();
    fs::write(&bad, "rubbish").unwrap();
    let missing = folder.path().join("missing.png");
    let predict = |files: &[&PathBuf]| {
        let mut command = glassnet(&["predict", "--device", "cpu", "--model"]);
        command.arg(&model).args(files);
        command
    };
    let assert = predict(&[&bad, &good, &missing, &blank]).assert().code(1);
    let [out, err] =
        [&assert.get_output().stdout, &assert.get_output().stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(out.lines().count() == 2 && out.contains("good.png (light on dark): "), "{out}");
    for part in ["bad.png is neither a PNG", "cannot read ", "missing.png", "blank.png shows no digit"] {
        assert!(err.contains(part), "{part} not in: {err}");
    }
    let assert = predict(&[&bad, &good]).arg("--json").assert().code(1);
    let document: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let images = &document["images"];
    assert!(images[0]["error"].as_str().is_some_and(|error| error.contains("bad.png")));
    assert_eq!((&images[0]["predictions"], &images[1]["error"]), (&json!([]), &Value::Null));
    assert_eq!(images[1]["predictions"].as_array().map(Vec::len), Some(3));

    let message = failing(&mut predict(&[&bad]));
    assert!(message.contains("bad.png"), "{message}");
    predict(&[&good]).assert().success();
    predict(&[]).assert().code(2);
}

#[test]
fn names_and_treatment_come_from_the_model() {
    let folder = tempdir().unwrap();
    let picture = folder.path().join("a.png");
    inked(&digit(3).0, [255; 3], [0; 3]).save(&picture).unwrap();
    for (preset, extra, treatment, shape, name) in [
        ("vgg-mnist", json!({"dataset": "kmnist"}), "light-on-dark", [28, 28, 1], "お"),
        ("vgg-mnist", json!({"dataset": "images", "image": [28, 28, 1]}), "resize", [28, 28, 1], "0"),
        ("convnetjs-mnist", json!({}), "resize", [24, 24, 1], "0"),
        ("convnetjs-mnist", json!({"image": [30, 30, 1]}), "resize", [30, 30, 1], "0"),
        ("convnetjs-mnist", json!({"image": [1u64 << 40, 1u64 << 40, 1]}), "resize", [24, 24, 1], "0"),
        ("convnetjs-cifar10", json!({"dataset": "cifar10"}), "resize", [32, 32, 3], "airplane"),
    ] {
        let mut command = glassnet(&["predict", "--device", "cpu", "--model"]);
        let document = document(command.arg(model(folder.path(), preset, extra)).arg(&picture));
        assert_eq!((&document["treatment"], &document["shape"]), (&json!(treatment), &json!(shape)));
        let classes = document["images"][0]["predictions"].as_array().unwrap();
        let first = classes.iter().find(|class| class["class"] == 0);
        assert!(first.is_none_or(|class| class["name"] == name), "{classes:?}");
    }
}

#[test]
fn a_snapshot_is_told_what_it_was_trained_on() {
    let folder = tempdir().unwrap();
    let (picture, snapshot) = (folder.path().join("a.png"), folder.path().join("net.json"));
    inked(&digit(3).0, [255; 3], [0; 3]).save(&picture).unwrap();
    let model = model(folder.path(), "convnetjs-mnist", json!({"dataset": "mnist"}));
    text(glassnet(&["convert"]).arg(&model).arg(&snapshot));
    let predicted = |model: &Path, more: &[&str]| {
        let mut command = glassnet(&["predict", "--device", "cpu", "--model"]);
        document(command.arg(model).arg(&picture).args(more))["images"].clone()
    };
    let told = predicted(&snapshot, &["--dataset", "mnist"]);
    assert_eq!(told[0]["polarity"], "dark on light, inverted");
    let classes = |images: &Value| {
        let predictions = images[0]["predictions"].as_array().unwrap().clone();
        predictions.into_iter().map(|class| class["class"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(classes(&told), classes(&predicted(&model, &[])));
    assert_eq!(predicted(&snapshot, &[]), predicted(&model, &[]), "it says so itself");
    // As written by ConvNetJS.
    let mut theirs: Value = serde_json::from_str(&std::fs::read_to_string(&snapshot).unwrap()).unwrap();
    theirs.as_object_mut().unwrap().remove("glassnet").unwrap();
    std::fs::write(&snapshot, theirs.to_string()).unwrap();
    assert_eq!(predicted(&snapshot, &[])[0]["polarity"], Value::Null);
    let told = predicted(&snapshot, &["--dataset", "mnist"]);
    assert_eq!(told[0]["polarity"], "dark on light, inverted");
    // A model that names its data set refuses another one.
    let mut other = glassnet(&["predict", "--device", "cpu", "--dataset", "kmnist", "--model"]);
    assert_fails_with(other.arg(&model).arg(&picture), &["was trained on mnist", "leave --dataset kmnist out"]);
    assert_eq!(predicted(&model, &["--dataset", "mnist"]), predicted(&model, &[]));
}

#[test]
fn the_gpu_predicts_as_the_cpu_does() {
    if common::gpu().is_none() {
        return;
    }
    let folder = tempdir().unwrap();
    let model = model(folder.path(), "convnetjs-mnist", json!({"dataset": "mnist"}));
    let picture = folder.path().join("a.png");
    digit(3).0.save(&picture).unwrap();
    let probability = |device: &str| {
        let mut command = glassnet(&["predict", "--device", device, "--model"]);
        document(command.arg(&model).arg(&picture))["images"][0]["predictions"][0]["probability"].as_f64().unwrap()
    };
    let (cpu, gpu) = (probability("cpu"), probability("gpu"));
    assert!((cpu - gpu).abs() < 1e-4, "{cpu} and {gpu}");
}
