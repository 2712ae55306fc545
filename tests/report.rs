//! `report.html` and the event files contain what was trained, for any data and names of classes. If `GLASSNET_PYTHON`
//! names a Python with tensorboard, TensorBoard reads the event files.

mod common;

use assert_cmd::Command;
use common::command::{Place, assert_fails_with, document, examples, glassnet, text, write_data};
use common::exchange::run_script;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const TEST: usize = 50;

const NET: &str = r#"
name = "small"
layers = [
    { type = "input", height = 8, width = 8, channels = 1 },
    { type = "conv", filters = 4, kernel = 3, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "fc", outputs = 2 },
    { type = "softmax" },
]
"#;

impl Place {
    /// `glassnet train ARGS` on the processor, statistics every four steps.
    fn train(&self, run: &str, args: &[&str]) -> Command {
        let mut command = glassnet(&["train", "--device", "cpu", "--stats-every", "4"]);
        command.arg("--data-dir").arg(self.path("data")).args(args).arg("--out").arg(self.path(run));
        command
    }

    fn report(&self, run: &str, args: &[&str]) -> Command {
        let mut command = glassnet(&["report"]);
        command.arg(self.path(run)).args(args);
        command
    }

    fn page(&self, run: &str) -> String {
        fs::read_to_string(self.path(run).join("report.html")).expect("the page")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).expect("a file")).expect("JSON")
    }

    /// Rows of `metrics.jsonl` of one kind.
    fn rows(&self, run: &str, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).expect("rows");
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row"));
        rows.filter(|row| row["kind"] == kind).collect()
    }

    /// Two classes of 20 PNGs of 8x8 each.
    fn pictures(&self, classes: [&str; 2]) -> PathBuf {
        let folder = self.path("pictures");
        for (class, name) in classes.iter().enumerate() {
            let class_folder = folder.join(name);
            fs::create_dir_all(&class_folder).expect("a folder");
            for (i, pixels) in examples(20).pixels.chunks(784).enumerate() {
                let pixels = pixels[class * 64..][..64].to_vec();
                let image = image::GrayImage::from_raw(8, 8, pixels).expect("a picture");
                image.save(class_folder.join(format!("{i}.png"))).expect("it is written");
            }
        }
        folder
    }

    /// Trains a custom network on pictures of these classes.
    fn train_on_pictures(&self, net: &str, classes: [&str; 2], run: &str) -> Command {
        fs::write(self.path("net.toml"), net).expect("a network");
        let mut command = glassnet(&["train", "--device", "cpu", "--steps", "9", "--stats-every", "3"]);
        command.arg("--images").arg(self.pictures(classes)).arg("--net").arg(self.path("net.toml"));
        command.arg("--out").arg(self.path(run));
        command
    }
}

/// The text between two others, after the first occurrence of `from`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("{from:?} is not there")) + from.len();
    let end = text[start..].find(to).unwrap_or_else(|| panic!("no {to:?} behind {from:?}"));
    &text[start..start + end]
}

/// Every text between two others.
fn all_between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).map(|rest| rest.split(to).next().unwrap_or_default()).collect()
}

fn section<'a>(page: &'a str, id: &str) -> &'a str {
    between(page, &format!("<section id=\"{id}\""), "</section>")
}

/// The text without tags.
fn words(html: &str) -> String {
    html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect::<Vec<_>>().join(" ")
}

/// Checks that tags close in the order in which they opened, attributes are quoted, and nothing is loaded from
/// elsewhere.
fn assert_sound(page: &str) {
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"), "{}", &page[..60]);
    for address in ["http://", "https://", "src=\"//", "href=\"//", "@import", "url("] {
        assert!(!page.contains(address), "{address} in the page");
    }
    let sources = all_between(page, "src=\"", "\"").into_iter().chain(all_between(page, "href=\"", "\""));
    assert!({ sources }.all(|to| to.starts_with("data:image/png;base64,") || to.starts_with('#')));
    // Base64 of a picture may spell anything.
    let bare: String = page.split("base64,").map(|part| part.split_once('"').map_or(part, |(_, rest)| rest)).collect();
    assert!(!bare.contains("NaN") && !bare.contains("inf\"") && !bare.contains(">inf"), "a figure that is none");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another");
        } else if !tag.ends_with('/') && !tag.starts_with('!') && !["meta", "img"].contains(&name) {
            open.push(name);
        }
        if name == "style" && !tag.starts_with('/') {
            rest = &rest[rest.find("</style>").expect("the style ends")..];
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
    let targets = all_between(page, "href=\"#", "\"");
    assert!(targets.iter().all(|id| page.contains(&format!("id=\"{id}\""))), "{targets:?}");
}

/// Rows of the confusion matrix, labels by predictions.
fn confusion(page: &str) -> Vec<Vec<u64>> {
    let body = between(section(page, "confusion"), "<tbody>", "</tbody>");
    let cells = |row: &str| {
        let cells =
            all_between(row, "<td", "</td>").into_iter().map(|cell| cell.split_once('>').map_or("", |(_, n)| n));
        cells.filter_map(|cell| cell.parse().ok()).collect()
    };
    all_between(body, "<tr>", "</tr>").into_iter().map(cells).collect()
}

#[test]
fn a_run_ends_with_a_page_that_has_everything_and_needs_no_network() {
    let place = Place::with_data(250, TEST);
    let said = text(&mut place.train("run", &["--epochs", "2"]));
    assert!(said.contains("\nreport   ") && said.trim_end().ends_with("report.html"), "{said}");
    let page = place.page("run");
    assert_sound(&page);
    for id in ["curves", "layers", "confusion", "mistakes", "pictures", "timing", "network", "settings"] {
        assert!(words(section(&page, id)).len() > 100, "section {id}");
        assert!(page.contains(&format!("<a href=\"#{id}\">")), "{id} is not in the contents");
    }
    for title in ["Loss", "Accuracy", "Learning rate", "Weight-decay loss", "Update-to-weight ratio", "Dead units"] {
        let plot =
            page.split("<figure class=\"plot\">").find(|plot| plot.starts_with(&format!("<figcaption>{title}<")));
        let plot = plot.unwrap_or_else(|| panic!("no chart of {title}"));
        assert!(plot.contains("<svg class=\"chart\"") && plot.contains("<polyline"), "{title}");
    }
    for layer in ["conv1", "relu1", "pool1", "conv2", "fc1"] {
        for what in ["activations", "gradients of activations"] {
            assert!(page.contains(&format!("<figcaption>{layer}: {what}</figcaption>")), "{what} of {layer}");
        }
        for what in ["activation at the start", "activation at the end", "activation gradient at the end"] {
            let pictures = between(section(&page, "pictures"), &format!("<summary>{layer} "), "</details>");
            assert!(pictures.contains(what), "{what} of {layer}");
        }
    }
    assert!(page.contains("weight gradient at the start"));
}

#[test]
fn figures_are_those_of_the_run() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--epochs", "2", "--l2-decay", "0.01", "--seed", "5"]).assert().success();
    let (page, summary) = (place.page("run"), place.json("run/summary.json"));
    let head = between(&page, "<dl class=\"key\">", "</dl>");
    let shown = |name: &str| between(head, &format!("<dt>{name}</dt><dd>"), "</dd>").to_string();
    let percent = |value: &Value| format!("{:.2} %", 100.0 * value.as_f64().expect("a number"));
    assert_eq!(shown("Test accuracy"), percent(&summary["test_accuracy"]));
    assert_eq!(shown("Validation accuracy"), percent(&summary["validation_accuracy"]));
    assert_eq!((shown("Updates"), shown("Parameters")), ("24".into(), "5994".into()));
    let last = place.rows("run", "step").pop().expect("rows");
    let near = |shown: &str, value: &Value| {
        let (shown, value) = (shown.parse::<f64>().expect("a number"), value.as_f64().expect("a number"));
        assert!((shown - value).abs() <= 1e-3 * value.abs(), "{shown} is not {value}");
    };
    near(&shown("Test loss"), &summary["test_loss"]);
    let curves = section(&page, "curves");
    near(between(curves, "</svg>training ", "<"), &last["classification_loss"]);
    near(between(curves, "</svg>learning rate ", "<"), &last["learning_rate"]);
    near(between(curves, "</svg>weight-decay loss ", "<"), &last["weight_decay_loss"]);
    let conv1 = between(section(&page, "layers"), "<th scope=\"row\">conv1</th>", "</tr>");
    let cells = all_between(conv1, "<td>", "</td>");
    let layer = last["layers"].as_array().expect("layers").iter().find(|layer| layer["layer"] == "conv1").expect("it");
    near(cells[1], &layer["activation"]["std"]);
    near(cells[3], &layer["activation_gradient"]["std"]);
    near(cells[5], &layer["update_ratio"]);
    let settings = section(&page, "settings");
    for (name, value) in
        [("seed", "5"), ("l2_decay", "0.01"), ("optimizer.name", "adadelta"), ("device.executor", "cpu")]
    {
        assert_eq!(between(settings, &format!("<th scope=\"row\">{name}</th><td>"), "</td>"), value);
    }
}

#[test]
fn the_confusion_matrix_is_that_of_eval_and_the_worst_mistakes_are_wrong_and_sorted() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--epochs", "3"]).assert().success();
    let page = place.page("run");
    let mut eval = glassnet(&["eval", "--device", "cpu", "--model"]);
    eval.arg(place.path("run/model.safetensors")).arg("--data-dir").arg(place.path("data"));
    let eval = document(&mut eval);
    let matrix = confusion(&page);
    assert_eq!(serde_json::json!(matrix), eval["confusion_matrix"]);
    assert_eq!(matrix.iter().flatten().sum::<u64>(), TEST as u64);
    let mistakes: Vec<(usize, String, String, f64, String)> =
        all_between(section(&page, "mistakes"), "<li><img", "loss ")
            .into_iter()
            .zip(all_between(section(&page, "mistakes"), "loss ", "</span>").into_iter().skip(1))
            .map(|(item, rest)| {
                let (loss, index) = rest.split_once(", example ").expect("a loss and an index");
                let [label, prediction] = all_between(item, "<b><bdi>", "</bdi></b>")[..] else { panic!("{item}") };
                let first = between(item, "<ol><li><bdi>", "</bdi>");
                let loss = loss.parse().expect("a loss");
                (index.parse().expect("an index"), label.into(), prediction.into(), loss, first.into())
            })
            .collect();
    let wrong = TEST as u64 - eval["correct"].as_u64().expect("a count");
    assert_eq!(mistakes.len() as u64, wrong.min(24), "{mistakes:?}");
    assert!(mistakes.len() > 5, "noise is hard");
    assert!(mistakes.is_sorted_by(|a, b| a.3 >= b.3), "{mistakes:?}");
    for (index, label, prediction, loss, first) in &mistakes {
        assert_eq!(*label, (index % 10).to_string());
        assert!(label != prediction && first == prediction && *loss > 0.0, "{label} {prediction} {first}");
    }
    // Each is one of those counted in the matrix.
    let counted = |label: &str, prediction: &str| {
        matrix[label.parse::<usize>().expect("a class")][prediction.parse::<usize>().expect("a class")]
    };
    assert!(mistakes.iter().all(|(_, label, prediction, ..)| counted(label, prediction) > 0));
}

#[test]
fn names_of_classes_and_folders_are_text() {
    let place = Place::with_data(250, TEST);
    let classes = ["<script>", "a\"b'&amp;<img src=x>"];
    place.train_on_pictures(NET, classes, "run<b>&\"").assert().success();
    let page = place.page("run<b>&\"");
    assert_sound(&page);
    assert!(!page.contains("<script") && !page.contains("<img src=x"), "a name became a tag");
    assert!(page.contains("&lt;script&gt;") && page.contains("a&quot;b&#39;&amp;amp;&lt;img src=x&gt;"));
    assert!(page.contains("run&lt;b&gt;&amp;&quot;"));
    assert_eq!(confusion(&page).iter().flatten().sum::<u64>(), 8);
}

#[test]
fn a_network_that_learns_numbers_shows_its_largest_errors() {
    let place = Place::with_data(250, TEST);
    let net = NET.replace("outputs = 2", "outputs = 1").replace("\"softmax\"", "\"mse\", targets = \"number\"");
    place.train_on_pictures(&net, ["-1.5", "2"], "run").assert().success();
    let page = place.page("run");
    assert_sound(&page);
    assert!(!page.contains("Confusion matrix"));
    let errors: Vec<f64> = all_between(section(&page, "mistakes"), "off by ", "<")
        .into_iter()
        .map(|error| error.parse::<f64>().expect("a number").abs())
        .collect();
    assert_eq!(errors.len(), 8, "all test examples, as they are few");
    assert!(errors.is_sorted_by(|a, b| a >= b) && errors[0] > 0.0, "{errors:?}");
}

#[test]
fn a_single_row_or_none_at_all_makes_a_page_too() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--steps", "1"]).assert().success();
    assert_sound(&place.page("run"));
    fs::write(place.path("run/metrics.jsonl"), "").expect("written");
    place.report("run", &[]).assert().success();
    let page = place.page("run");
    assert_sound(&page);
    assert!(section(&page, "curves").contains("no rows of statistics"));
    assert_eq!(confusion(&page).iter().flatten().sum::<u64>(), TEST as u64);
}

#[test]
fn changes_during_a_run_are_shown_and_rows_of_unknown_kinds_are_no_matter() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--steps", "12", "--no-report"]).assert().success();
    assert!(!place.path("run/report.html").exists());
    let path = place.path("run/metrics.jsonl");
    let mut rows = fs::read_to_string(&path).expect("rows");
    rows +=
        "{\"kind\":\"change\",\"step\":6,\"train_seconds\":0.1,\"what\":\"learning_rate\",\"from\":1.0,\"to\":0.25}\n";
    rows += "{\"kind\":\"weather\",\"step\":7}\nno row\n{\"kind\":\"step\",\"st";
    fs::write(&path, rows).expect("written");
    place.report("run", &[]).assert().success();
    let page = place.page("run");
    assert_sound(&page);
    let table = between(section(&page, "curves"), "<th scope=\"row\">6</th>", "</tr>");
    assert_eq!(all_between(table, "<td>", "</td>"), ["learning_rate", "1.0", "0.25"]);
    assert!(section(&page, "curves").contains("class=\"change\""));
    assert!(page.contains("is no row and is skipped; 2 lines stand out of order"), "the damaged line is told");
}

#[test]
fn what_the_log_says_of_a_folder_cannot_move_the_cursor() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--steps", "2", "--no-report"]).assert().success();
    let rows = fs::read_to_string(place.path("run/metrics.jsonl")).expect("rows");
    fs::write(place.path("run/metrics.jsonl"), format!("no row\n{rows}")).expect("written");
    let odd = "a\u{1b}]0;title\u{7}\u{9b}2J";
    fs::rename(place.path("run"), place.path(odd)).expect("renamed");
    let assert = place.report(odd, &[]).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr);
    let line = said.lines().find(|line| line.contains("is no row")).expect("a warning");
    assert!(line.starts_with('[') && line.contains(" WARN  glassnet::report::history] "), "{line}");
    assert!(line.contains("a\\u{1b}]0;title\\u{7}\\u{9b}2J/metrics.jsonl: line 1"), "{line}");
}

fn row(line: &str) -> Value {
    serde_json::from_str(line).expect("a row is a JSON document")
}

#[test]
fn a_run_that_was_interrupted_is_reported_as_of_its_checkpoint() {
    let place = Place::with_data(250, TEST);
    let args = ["--steps", "10", "--checkpoint-every", "4", "--ema", "0.9", "--no-report"];
    place.train("run", &args).assert().success();
    let eval = |file: &str| {
        let mut eval = glassnet(&["eval", "--device", "cpu", "--model"]);
        document(eval.arg(place.path(file)).arg("--data-dir").arg(place.path("data")))["confusion_matrix"].clone()
    };
    let averaged = eval("run/model.safetensors");
    for name in ["model.safetensors", "summary.json"] {
        fs::remove_file(place.path("run").join(name)).expect("the file");
    }
    // As of a checkpoint between two rows of statistics, after 83 s.
    let path = place.path("run/metrics.jsonl");
    let mut rows: Vec<Value> = fs::read_to_string(&path).expect("rows").lines().map(row).collect();
    rows.retain(|row| !(row["kind"] == "step" && row["step"] == 10));
    let checkpoint = rows.iter_mut().rfind(|row| row["kind"] == "checkpoint").expect("a checkpoint");
    assert_eq!(checkpoint["step"], 10);
    checkpoint["train_seconds"] = 83.into();
    fs::write(&path, rows.iter().map(|row| row.to_string() + "\n").collect::<String>()).expect("rows");
    let out = place.path("elsewhere.html");
    let written = document(&mut place.report("run", &["--out", out.to_str().expect("a path")]));
    assert_eq!((&written["finished"], &written["step"]), (&false.into(), &10.into()), "{written}");
    let page = fs::read_to_string(&out).expect("the page");
    assert_sound(&page);
    assert!(page.contains("is not finished") && page.contains("after 10 updates"));
    for figure in ["<dt>Examples seen</dt><dd>200</dd>", "<dt>Training time</dt><dd>1 min 23 s</dd>"] {
        assert!(page.contains(figure), "{figure}");
    }
    // The moving average, which the test would have used.
    assert_eq!(serde_json::json!(confusion(&page)), averaged);
    assert!(!place.path("run/report.html").exists());
}

#[test]
fn rows_beyond_the_checkpoint_are_shown_and_the_checkpoint_is_marked() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--steps", "8", "--no-report"]).assert().success();
    for name in ["model.safetensors", "summary.json"] {
        fs::remove_file(place.path("run").join(name)).expect("the file");
    }
    // As if training had continued and met an infinity.
    let path = place.path("run/metrics.jsonl");
    let mut rows = fs::read_to_string(&path).expect("rows");
    let mut beyond = place.rows("run", "step").pop().expect("a row");
    (beyond["step"], beyond["classification_loss"]) = (12.into(), Value::Null);
    beyond["layers"][1]["activation"]["std"] = Value::Null;
    rows += &format!("{beyond}\n");
    fs::write(&path, rows).expect("written");
    fs::remove_file(place.path("run/.lock")).expect("the lock");
    place.report("run", &[]).assert().success();
    let page = place.page("run");
    assert!(page.contains("curves and statistics of layers continue to 12"));
    for id in ["curves", "layers"] {
        assert!(section(&page, id).contains("class=\"checkpoint\""), "{id}");
    }
    assert!(!page.contains("metrics.jsonl: ") && page.contains("not finite"));
    assert!(!place.path("run/.lock").exists(), "who only reads needs no lock");
}

#[test]
fn where_a_page_cannot_be_written_nothing_is_computed() {
    let place = Place::with_data(250, TEST);
    place.train("run", &["--steps", "2", "--no-report"]).assert().success();
    let out = |path: &str| ["--out".to_string(), place.path(path).display().to_string()];
    let report = |path: &str| place.report("run", &out(path).each_ref().map(String::as_str));
    assert_fails_with(&mut report("run"), &["is a folder", "name a file in it"]);
    assert_fails_with(&mut report("none/a.html"), &["does not exist", "create it first"]);
    fs::write(place.path("run/summary.json"), "{").expect("written");
    assert_fails_with(&mut report("a.html"), &["summary.json is damaged", "resume the run"]);
    glassnet(&["train", "--steps", "2", "--no-report", "--resume"]).arg(place.path("run")).assert().success();
    report("a.html").assert().success();
}

#[test]
fn what_is_no_run_or_has_other_data_is_refused() {
    let place = Place::with_data(250, TEST);
    assert_fails_with(&mut place.report("data", &[]), &["is not a run folder", "config.toml"]);
    place.train("run", &["--steps", "2", "--no-report"]).assert().success();
    write_data(&place.path("data"), 251, TEST);
    assert_fails_with(&mut place.report("run", &[]), &["differs from this run's training data"]);
    write_data(&place.path("data"), 250, TEST);
    for name in ["model.safetensors", "summary.json", "checkpoint.safetensors"] {
        fs::remove_file(place.path("run").join(name)).expect("the file");
    }
    assert_fails_with(&mut place.report("run", &[]), &["holds no weights yet", "--resume"]);
}

/// CRC-32C bit by bit, from its definition.
fn crc32c(data: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in data {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

fn masked(data: &[u8]) -> u32 {
    let sum = crc32c(data);
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A field of a protocol buffer.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(_) => panic!("a number"),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Field::Number(number) => *number,
            Field::Bytes(_) => panic!("bytes"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a number ends");
        *bytes = rest;
        value |= u64::from(first & 127) << shift;
        if first & 128 == 0 {
            return value;
        }
    }
    unreachable!()
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let mut take = |count: usize| {
            let (taken, rest) = bytes.split_at(count);
            bytes = rest;
            taken
        };
        let field = match key & 7 {
            1 => Field::Number(u64::from_le_bytes(take(8).try_into().expect("8 bytes"))),
            5 => Field::Number(u32::from_le_bytes(take(4).try_into().expect("4 bytes")).into()),
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(taken)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The prefix of the tags of texts and pictures.
const OTHER: &str = "other: ";

/// By tag and step.
type Series = BTreeMap<String, Vec<(u64, f32)>>;

/// The scalars of all files in the order of their names, without those that a later file invalidates.
fn scalars(folder: &Path) -> Series {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let mut series = Series::new();
    for path in paths {
        let bytes = fs::read(&path).expect("a file");
        let (mut rest, mut count) = (&bytes[..], 0);
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            let sum = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("4 bytes"));
            let data = &rest[12..12 + length];
            assert_eq!((sum(8), sum(12 + length)), (masked(&rest[..8]), masked(data)), "checksums of record {count}");
            take(data, count, &mut series);
            (rest, count) = (&rest[16 + length..], count + 1);
        }
    }
    for (tag, points) in &series {
        let steps: BTreeSet<u64> = points.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps.len(), points.len(), "{tag} is there more than once: {points:?}");
    }
    series.retain(|tag, _| !tag.starts_with(OTHER));
    series
}

fn take(data: &[u8], count: usize, series: &mut Series) {
    let event = fields(data);
    let find = |tag: u64| event.iter().find(|(found, _)| *found == tag).map(|(_, field)| field);
    let (time, step) = (find(1).expect("a time").number(), find(2).map_or(0, Field::number));
    assert!(f64::from_bits(time) > 1.7e9, "wall time {}", f64::from_bits(time));
    assert_eq!(find(3).map(Field::bytes), (count == 0).then_some(&b"brain.Event:2"[..]), "the version comes first");
    if find(7).is_some() {
        series.values_mut().for_each(|points| points.retain(|(at, _)| *at < step));
    }
    let values = find(5).map_or(Vec::new(), |summary| fields(summary.bytes()));
    for (_, value) in values {
        let value = fields(value.bytes());
        let find = |tag: u64| value.iter().find(|(found, _)| *found == tag).map(|(_, field)| field);
        let tag = String::from_utf8(find(1).expect("a tag").bytes().to_vec()).expect("UTF-8");
        match find(2) {
            Some(number) => series.entry(tag).or_default().push((step, f32::from_bits(number.number() as u32))),
            None => series.entry(format!("{OTHER}{tag}")).or_default().push((step, 0.0)),
        }
    }
}

/// The values in a run's rows.
fn expected(place: &Place, run: &str) -> Series {
    let mut series = Series::new();
    let mut add = |tag: String, step: &Value, value: &Value| {
        if let Some(value) = value.as_f64() {
            series.entry(tag).or_default().push((step.as_u64().expect("a step"), value as f32));
        }
    };
    for row in place.rows(run, "step") {
        for (tag, field) in [
            ("loss/training", "classification_loss"),
            ("loss/validation", "validation_loss"),
            ("loss/weight_decay", "weight_decay_loss"),
            ("accuracy/training", "training_accuracy"),
            ("accuracy/validation", "validation_accuracy"),
            ("learning_rate", "learning_rate"),
            ("images_per_second", "images_per_second"),
        ] {
            add(tag.into(), &row["step"], &row[field]);
        }
        for layer in row["layers"].as_array().expect("layers") {
            let name = layer["layer"].as_str().expect("a name");
            for figure in ["update_ratio", "dead_units"] {
                add(format!("{name}/{figure}"), &row["step"], &layer[figure]);
            }
            let tensors = ["activation", "activation_gradient", "weight", "weight_gradient", "bias", "bias_gradient"];
            for tensor in tensors {
                for figure in ["min", "max", "mean", "std"] {
                    add(format!("{name}/{tensor}/{figure}"), &row["step"], &layer[tensor][figure]);
                }
            }
        }
    }
    for row in place.rows(run, "epoch") {
        for what in ["loss", "accuracy"] {
            add(format!("{what}/validation_whole"), &row["step"], &row[format!("validation_{what}")]);
        }
    }
    let summary = place.json(&format!("{run}/summary.json"));
    for what in ["loss", "accuracy"] {
        add(format!("{what}/test"), &summary["steps"], &summary[format!("test_{what}")]);
    }
    series
}

#[test]
fn event_files_hold_every_figure_once_also_over_a_resumed_run() {
    let place = Place::with_data(250, TEST);
    let args = ["--steps", "10", "--tensorboard"];
    place.train("run", &args).assert().success();
    assert_eq!(scalars(&place.path("run/tensorboard")), expected(&place, "run"));
    // A session without event files leaves a gap, which the next one fills.
    for (steps, more) in [("18", None), ("26", Some("--tensorboard"))] {
        let mut resume = glassnet(&["train", "--steps", steps, "--resume"]);
        resume.arg(place.path("run")).args(more).assert().success();
    }
    assert_eq!(fs::read_dir(place.path("run/tensorboard")).expect("a folder").count(), 2);
    let mut found = scalars(&place.path("run/tensorboard"));
    // The test of the first session's end.
    for what in ["loss/test", "accuracy/test"] {
        assert_eq!(found.get_mut(what).expect("a test").remove(0).0, 10);
    }
    assert_eq!(found, expected(&place, "run"));
    // Written again from the rows.
    place.report("run", &["--tensorboard"]).assert().success();
    assert_eq!(fs::read_dir(place.path("run/tensorboard")).expect("a folder").count(), 1);
    assert_eq!(scalars(&place.path("run/tensorboard")), expected(&place, "run"));
}

#[test]
fn tensorboard_reads_the_event_files() {
    let fill = |folder: &Path| {
        let place = Place::with_data(250, TEST);
        place.train("run", &["--steps", "14", "--tensorboard", "--no-report"]).assert().success();
        let mut resume = glassnet(&["train", "--steps", "30", "--tensorboard", "--resume"]);
        resume.arg(place.path("run")).assert().success();
        fs::create_dir(folder.join("tensorboard")).expect("a folder");
        fs::copy(place.path("run/metrics.jsonl"), folder.join("metrics.jsonl")).expect("a copy");
        for entry in fs::read_dir(place.path("run/tensorboard")).expect("a folder") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, folder.join("tensorboard").join(path.file_name().expect("a name"))).expect("a copy");
        }
    };
    run_script("check_tensorboard.py", "tensorboard", fill);
}
