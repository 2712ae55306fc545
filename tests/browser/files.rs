//! Uploads to the page and downloads from it: drawings, pictures, weights, networks, and invalid files.

use super::common::live::{Trainer, wait_for};
use super::page::{Page, driver};
use glassnet::formats::{Model, load_checkpoint};
use glassnet::net::Network;
use serde_json::{Value, json};
use std::io::{Cursor, Write};
use std::path::Path;
use tempfile::TempDir;

/// A grey picture of 28x28 with a bright bar, as PNG.
fn png() -> Vec<u8> {
    let bar = image::GrayImage::from_fn(28, 28, |x, y| {
        image::Luma([if (12..16).contains(&x) && (4..24).contains(&y) { 255 } else { 0 }])
    });
    let mut bytes = Cursor::new(Vec::new());
    bar.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG file");
    bytes.into_inner()
}

/// A PNG file of a few bytes that declares 60,000 pixels a side.
fn bomb() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        file.extend((data.len() as u32).to_be_bytes());
        let body = [kind, data].concat();
        let mut sum = flate2::Crc::new();
        sum.update(&body);
        file.extend(&body);
        file.extend(sum.sum().to_be_bytes());
    };
    let side = 60_000u32.to_be_bytes();
    chunk(b"IHDR", &[&side[..], &side, &[8, 2, 0, 0, 0]].concat());
    let mut zeros = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zeros.write_all(&vec![0; 1 << 20]).expect("memory");
    chunk(b"IDAT", &zeros.finish().expect("memory"));
    chunk(b"IEND", &[]);
    file
}

/// The selector of the plate with a layer's activations for the last request.
fn drawn(layer: &str) -> String {
    format!("#try-layers figure:has([data-tensor='{layer}.activation'])")
}

/// Three classes in bars, and every layer's activations drawn.
fn assert_answered(page: &Page) {
    page.wait("an answer", "return !document.getElementById('try-result').hidden");
    let scores = page
        .script("return [...document.querySelectorAll('#try-top .score')].map((node) => parseFloat(node.textContent))");
    let scores: Vec<f64> = serde_json::from_value(scores).expect("numbers");
    assert_eq!(scores.len(), 3);
    assert!(scores[0] >= scores[1] && scores[1] >= scores[2] && scores[0] > 10.0 && scores[0] <= 100.0, "{scores:?}");
    assert!(page.text("#try-said").starts_with("The network says "), "{}", page.text("#try-said"));
    for layer in ["input", "conv1", "pool2", "fc1", "softmax"] {
        let place = drawn(layer);
        page.look_at(&place);
        wait_for(&format!("activations of {layer}"), || {
            let pictures = page.pictures(&place);
            (pictures.len() == 1 && pictures[0].step.is_some() && pictures[0].colours > 2).then_some(())
        });
    }
    assert_eq!(page.text("#try-error"), "");
}

#[test]
fn a_drawn_digit_is_classified() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    // Until it knows something.
    wait_for("a good accuracy", || page.value("#training-accuracy").filter(|accuracy| *accuracy > 0.85));
    page.browser.draw("#pad", &[(0, -95), (0, 0), (0, 95)]);
    assert_answered(&page);
    page.wait_text("#try-said", "says 1.");
    let one = page.pictures(&drawn("input")).remove(0).hash;
    page.browser.click("#pad-clear");
    page.wait("nothing", "return document.getElementById('try-result').hidden");
    let ring: Vec<(i32, i32)> = (0..=24)
        .map(|i| f64::from(i) / 12.0 * std::f64::consts::PI)
        .map(|angle| ((60.0 * angle.sin()) as i32, (-90.0 * angle.cos()) as i32))
        .collect();
    page.browser.draw("#pad", &ring);
    assert_answered(&page);
    page.wait_text("#try-said", "says 0.");
    page.look_at(&drawn("input"));
    wait_for("what the network sees", || (page.pictures(&drawn("input"))[0].hash != one).then_some(()));
    // With newer weights, asked again.
    let facts = page.text("#try-facts");
    page.wait_step(page.step() + 50);
    page.browser.click("#pad-again");
    wait_for("newer weights", || (page.text("#try-facts") != facts).then_some(()));
    // The first dot of a stroke may be reported as blank.
    page.assert_quiet(&[422]);
}

#[test]
fn a_picture_is_classified_and_bad_uploads_are_told_why_not() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let picture = trainer.file("one.png", &png());
    page.browser.upload("#upload", &picture);
    assert_answered(&page);
    let noise: Vec<u8> = (0..9u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (name, bytes, told) in [
        ("words.png", b"these are words".to_vec(), "PNG"),
        ("half.png", png()[..60].to_vec(), ""),
        ("large.png", noise, "larger than 8 MiB"),
        ("bomb.png", bomb(), "too large"),
        ("empty.png", vec![], ""),
    ] {
        page.browser.click("#pad-clear");
        page.browser.upload("#upload", &trainer.file(name, &bytes));
        let error = page.answer("#try-error");
        assert!(error.contains(told) && error.len() > 15 && !error.contains("did not reach"), "{name}: {error}");
        assert_eq!(page.script("return document.getElementById('try-result').hidden"), true, "{name}");
        trainer.assert_well();
    }
    page.browser.upload("#upload", &picture);
    assert_answered(&page);
    page.assert_quiet(&[413, 422]);
}

/// The red channel of the board at positions of the 28 x 28 picture.
fn board(page: &Page, places: [(u32, u32); 3]) -> Value {
    page.browser.script(
        "const pad = document.getElementById('pad');
        const copy = new OffscreenCanvas(pad.width, pad.height).getContext('2d', { willReadFrequently: true });
        copy.drawImage(pad, 0, 0);
        return arguments[0].map(([x, y]) => copy.getImageData(x * pad.width / 28, y * pad.height / 28, 1, 1).data[0]);",
        json!([places]),
    )
}

#[test]
fn the_board_shows_what_the_answer_beside_it_is_about() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.browser
        .script("document.getElementById('pad').scrollIntoView({block: 'center', behavior: 'instant'})", json!([]));
    // Left of the bar, in it, and far from both.
    let places = [(5, 14), (14, 14), (25, 26)];
    let none = || page.wait("no answer", "return document.getElementById('try-result').hidden");
    let stroke: Vec<(i32, i32)> = (-6..=6).map(|y| (-90, 12 * y)).collect();
    page.browser.draw("#pad", &stroke);
    assert_answered(&page);
    assert_eq!(board(&page, places), json!([255, 0, 0]));
    // An upload replaces the drawing.
    page.browser.upload("#upload", &trainer.file("bar.png", &png()));
    wait_for("the picture on the board", || (board(&page, places) == json!([0, 255, 0])).then_some(()));
    assert_answered(&page);
    // A file that is not a picture removes both the picture before and its answer.
    page.browser.upload("#upload", &trainer.file("words.png", b"these are words"));
    page.answer("#try-error");
    none();
    assert_eq!(board(&page, places), json!([0, 0, 0]));
    // Strokes over a picture are sent together with it.
    page.browser.upload("#upload", &trainer.file("bar.png", &png()));
    assert_answered(&page);
    let before = page.pictures(&drawn("input")).remove(0).hash;
    page.look_at("#pad");
    page.browser.draw("#pad", &stroke);
    assert_eq!(board(&page, places), json!([255, 255, 0]));
    page.look_at(&drawn("input"));
    wait_for("what the network sees", || (page.pictures(&drawn("input"))[0].hash != before).then_some(()));
    page.browser.click("#pad-clear");
    none();
    assert_eq!(board(&page, places), json!([0, 0, 0]));
    page.assert_quiet(&[422]);
}

/// Another network's weights.
fn other_model() -> Vec<u8> {
    let network = Network::preset("fast-mnist").expect("a preset");
    let parameters = network.initial_parameters(1);
    Model { network, parameters, extra: json!({}) }.to_bytes().expect("a file")
}

#[test]
fn weights_are_downloaded_and_loaded_and_those_of_another_network_refused() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.browser.click("#snapshot-safetensors");
    let own = page.browser.downloaded(1);
    let model = Model::from_bytes(&own, "the snapshot").expect("a model");
    assert_eq!(model.network.name, "convnetjs-mnist");
    page.browser.click("#snapshot-json");
    let snapshot = page.browser.downloaded(2);
    let document: Value = serde_json::from_slice(&snapshot).expect("a JSON document");
    assert_eq!(document["layers"].as_array().map(Vec::len), Some(9), "{document}");
    for (name, bytes) in [("own.safetensors", &own), ("own.json", &snapshot)] {
        let answer = {
            page.browser.upload("#load", &trainer.file(name, bytes));
            page.answer("#load-result")
        };
        assert!(!page.has_error("#load-result"), "{name}: {answer}");
        page.wait_text("#changes li", name);
        let changes = trainer.changes("weights");
        assert_eq!(changes.last().expect("a row")["to"]["source"], name);
    }
    let half = &own[..own.len() / 2];
    let mut broken = document.clone();
    broken["layers"][1]["filters"][0]["w"][0] = Value::Null;
    let broken = broken.to_string().into_bytes();
    for (name, bytes, told) in [
        ("other.safetensors", &other_model()[..], "belongs to another network"),
        ("half.safetensors", half, "half.safetensors"),
        ("broken.json", &broken, "broken.json"),
        ("words.json", b"words", "words.json"),
    ] {
        page.browser.upload("#load", &trainer.file(name, bytes));
        let answer =
            wait_for("a refusal", || Some(page.answer("#load-result")).filter(|_| page.has_error("#load-result")));
        assert!(answer.contains(told) && answer.len() > 20, "{name}: {answer}");
        page.script("document.getElementById('load-result').textContent = ''");
    }
    assert_eq!(trainer.changes("weights").len(), 2);
    trainer.assert_well();
    page.assert_quiet(&[422]);
}

#[test]
fn an_edited_network_is_trained_in_a_new_folder_and_the_old_run_can_go_on() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let run = trainer.watch().next("run");
    let start = |text: &str| {
        page.browser.fill("#network-text", text);
        page.browser.click("#restart");
        page.browser.click("#restart-confirm");
        page.answer("#restart-result")
    };
    let answer = start("name = 'broken'\n[[layers]]\ntype = 'converse'\n");
    assert!(page.has_error("#restart-result") && answer.contains("converse"), "{answer}");
    let answer =
        start("name = 'odd'\nlayers = [{ type = 'input', height = 5, width = 5, channels = 3 }, { type = 'softmax' }]");
    assert!(page.has_error("#restart-result") && answer.len() > 20, "{answer}");
    trainer.assert_well();
    assert_eq!(trainer.watch().next("run")["id"], run["id"], "the old one goes on");
    let small = "name = 'small'
layers = [
    { type = 'input', height = 28, width = 28, channels = 1 },
    { type = 'max-pool', size = 4 },
    { type = 'fc', outputs = 10 },
    { type = 'softmax' },
]
[training]
trainer = 'sgd'
learning_rate = 0.125
";
    let answer = start(small);
    assert!(!page.has_error("#restart-result"), "{answer}");
    page.wait_text("#run-name", "small");
    page.wait("its four layers", "return document.querySelectorAll('#layers .layer').length === 4");
    page.wait_text("#learning-rate-now", "now 0.125");
    page.wait_state("#state", "running");
    page.wait_step(20);
    let next = trainer.watch().next("run");
    assert_ne!((&next["id"], &next["folder"]), (&run["id"], &run["folder"]));
    let folder = trainer.path(next["folder"].as_str().expect("a folder"));
    assert!(folder.join("config.toml").is_file() && folder.join("checkpoint.safetensors").is_file());
    let change = trainer.changes("network").pop().expect("a row in the old folder");
    assert_eq!(change["to"], next["folder"]);
    page.assert_quiet(&[422]);
    trainer.kill();

    let saved = load_checkpoint(&trainer.path("run/checkpoint.safetensors")).expect("the old run's checkpoint");
    assert_eq!(Some(saved.step), change["step"].as_u64(), "it was saved where it stopped");
    let old = trainer.path("run").display().to_string();
    let resumed = Trainer::start_in(TempDir::new().expect("a folder"), &["--live"], &["--resume", &old]);
    let status =
        wait_for("a step", || Some(resumed.status()).filter(|status| status["step"].as_u64() > Some(saved.step)));
    assert_eq!(status["state"], "running");
    assert!(Path::new(&old).join("metrics.jsonl").is_file());
}
