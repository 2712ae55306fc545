//! The terms of `data/terms.toml`: every figure that is shown has one, and the glossary is made of them.

mod common;

use common::command::{Place, assert_fails_with, document, glassnet, text};
use glassnet::terms;
use serde_json::Value;
use std::collections::BTreeSet;

/// Keys of rows and of the summary that are no figures.
const NAMES: [&str; 10] =
    ["kind", "layer", "layers", "device", "dataset", "network", "seed", "version", "changes", "optimizer"];

/// All keys of a document.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_figure_of_a_run_has_a_term() {
    let place = Place::with_data(250, 50);
    let mut command =
        glassnet(&["train", "--device", "cpu", "--dataset", "mnist", "--steps", "8", "--stats-every", "4"]);
    command.args(["--ema", "0.9", "--patience", "1", "--no-report", "--data-dir"]).arg(place.path("data"));
    let printed = text(command.arg("--out").arg(place.path("run")));
    let mut found = BTreeSet::new();
    let metrics = std::fs::read_to_string(place.path("run/metrics.jsonl")).expect("rows");
    for row in metrics.lines() {
        keys(&serde_json::from_str(row).expect("JSON"), &mut found);
    }
    let summary = std::fs::read_to_string(place.path("run/summary.json")).expect("a summary");
    keys(&serde_json::from_str(&summary).expect("JSON"), &mut found);
    assert!(found.len() > 35, "{found:?}");
    let unexplained: Vec<&String> =
        found.iter().filter(|key| !NAMES.contains(&key.as_str()) && terms::of_figure(key).is_none()).collect();
    assert!(unexplained.is_empty(), "data/terms.toml has no figure {unexplained:?}");
    // The columns of the table of layers.
    let header = printed.lines().find(|line| line.starts_with("layer ")).expect("a table");
    let words: Vec<&str> = header.split_whitespace().skip(1).collect();
    assert!(words.contains(&"dw/w"), "{header}");
    let unexplained: Vec<&&str> = words.iter().filter(|word| terms::of_figure(word).is_none()).collect();
    assert!(unexplained.is_empty(), "data/terms.toml has no column {unexplained:?}");
}

#[test]
fn the_glossary_is_that_of_the_terms() {
    let written = text(&mut glassnet(&["explain", "--markdown"]));
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/glossary.md")).expect("the glossary");
    assert!(written == kept, "docs/glossary.md differs: run `glassnet explain --markdown > docs/glossary.md`");
}

#[test]
fn a_term_is_explained_by_its_names_and_by_questions() {
    for words in
        [&["activation", "gradient"][..], &["grad"], &["Gradient", "of", "what,", "with", "respect", "to", "what?"]]
    {
        let mut command = glassnet(&["explain"]);
        let printed = text(command.args(words));
        for part in ["activation gradient", "gradient of the loss, not the slope", "∂L/∂a", "see also"] {
            assert!(printed.contains(part), "{words:?}: {printed}");
        }
        assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    }
    let all = document(&mut glassnet(&["explain"]));
    assert_eq!(all["terms"].as_array().map(Vec::len), Some(terms::all().len()));
    assert_fails_with(&mut glassnet(&["explain", "zzzz"]), &["no term \"zzzz\"", "glassnet explain"]);
}
