//! The page's display while a network learns.

use super::common::live::{Trainer, wait_for};
use super::page::{Page, Picture, driver};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn it_loads_without_a_complaint_of_the_browser() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.wait_step(100);
    // Scrolls down the whole page, so that everything is drawn once.
    for section in ["#curves", "#example", "#layers", "#test-examples", "#try", "#over-time", "#files"] {
        page.look_at(section);
        page.wait(
            "a frame",
            "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        );
    }
    page.assert_quiet(&[]);
}

#[test]
fn errors_and_breaches_of_the_policy_would_be_noticed() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.script(
        "setTimeout(() => { throw new Error('planted') });
        const inline = document.createElement('script');
        inline.textContent = 'window.ran = true';
        document.head.append(inline);
        fetch('https://example.org/').catch(() => {});",
    );
    let mut found = String::new();
    wait_for("three complaints", || {
        page.browser.complaints().into_iter().for_each(|(_, message)| found += &message);
        let all = found.contains("planted") && found.contains("inline") && found.contains("example.org");
        all.then_some(())
    });
    assert_eq!(page.script("return window.ran ?? null"), Value::Null, "the policy keeps scripts of others out");
}

#[test]
fn figures_and_curves_move() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&["--stats-every", "20"]);
    let page = Page::open(&driver, &trainer);
    let charts =
        ["#chart-loss", "#chart-accuracy", "#chart-time", "#chart-tensor", "#chart-gradients", "#chart-updates"];
    let newest = |chart: &str| {
        let text = page.text(&format!("{chart} .when"));
        text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().ok()
    };
    let seen = |chart: &str| {
        page.look_at(chart);
        wait_for(&format!("values in {chart}"), || newest(chart))
    };
    let first: Vec<(u64, Picture)> = charts.iter().map(|chart| (seen(chart), page.pictures(chart).remove(0))).collect();
    let before = (page.step(), page.value("#loss").expect("a loss"), page.text("#speed"));
    page.wait_step(before.0 + 60);
    for (chart, (step, picture)) in charts.iter().zip(first) {
        page.look_at(chart);
        let later = wait_for(&format!("later steps in {chart}"), || {
            newest(chart).filter(|newest| *newest > step).map(|_| page.pictures(chart).remove(0))
        });
        assert!(picture.colours > 3, "{chart} is empty");
        wait_for(&format!("{chart} is drawn anew: {later:?}"), || {
            (page.pictures(chart)[0].hash != picture.hash).then_some(())
        });
    }
    wait_for("another loss", || (page.value("#loss")? != before.1).then_some(()));
    assert!(page.text("#speed").contains("images/s") && page.value("#speed") > Some(0.0), "{}", before.2);
    for time in ["#forward", "#backward", "#update", "#examples-seen", "#train-seconds", "#training-accuracy"] {
        assert!(page.value(time).is_some_and(|value| value > 0.0), "{time}: {}", page.text(time));
    }
    page.assert_quiet(&[]);
}

/// The image itself, and a gradient that is zero except for one class, which is always the largest.
const STILL: [&str; 2] = ["input.activation", "softmax.activation_gradient"];

/// The names of the tensors that a view has pictures of, by layer.
fn tensors(view: &Value) -> BTreeMap<String, Vec<String>> {
    let layers = view["layers"].as_array().expect("layers").iter();
    let names = |layer: &Value| -> Vec<String> {
        let plates = layer["plates"].as_array().expect("plates").iter();
        plates.map(|plate| plate["name"].as_str().expect("a name").to_string()).collect()
    };
    layers.map(|layer| (layer["layer"].as_str().expect("a name").to_string(), names(layer))).collect()
}

#[test]
fn every_tensor_of_every_layer_is_drawn_and_differs_between_two_steps() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let layers = tensors(&trainer.watch().next("view"));
    assert_eq!(layers.len(), 9, "{layers:?}");
    assert!(layers["conv1"].len() == 4 && layers["fc1"].len() == 4, "{layers:?}");
    let drawn = |layer: &str, names: &[String], after: Option<u64>| -> Vec<Picture> {
        let place = format!(".layer[data-layer={layer}]");
        page.look_at(&place);
        wait_for(&format!("all pictures of {layer}, after step {after:?}"), || {
            let pictures = page.pictures(&place);
            assert!(pictures.iter().all(|picture| names.contains(&picture.tensor) || picture.tensor.is_empty()));
            let newer = pictures.iter().all(|picture| picture.step.is_some() && picture.step > after);
            (newer && pictures.len() == names.len()).then_some(pictures)
        })
    };
    let first: Vec<Vec<Picture>> = layers.iter().map(|(layer, names)| drawn(layer, names, None)).collect();
    for ((layer, names), before) in layers.iter().zip(&first) {
        let after = drawn(layer, names, before.iter().filter_map(|picture| picture.step).max());
        for picture in after.iter().chain(before) {
            assert!(picture.colours > 2, "{} is blank", picture.tensor);
        }
        for (one, other) in before.iter().zip(&after) {
            assert_eq!(one.tensor, other.tensor);
            let still = STILL.contains(&one.tensor.as_str());
            assert!(still || one.hash != other.hash, "{one:?} {other:?}");
        }
    }
    page.assert_quiet(&[]);
}

#[test]
fn three_watchers_at_once_see_it_move() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let pages: Vec<Page> = (0..3).map(|_| Page::open(&driver, &trainer)).collect();
    let steps: Vec<u64> = pages.iter().map(Page::step).collect();
    for (page, step) in pages.iter().zip(steps) {
        page.wait_step(step + 50);
        page.wait_text("#watchers", "2 more pages watch");
        let views = page.text("#shown-facts");
        wait_for("another view", || (page.text("#shown-facts") != views).then_some(()));
        page.assert_quiet(&[]);
    }
    let [first, others @ ..] = &pages[..] else { unreachable!("three") };
    // Every page shows what one of them did.
    first.browser.click("#pause");
    pages.iter().for_each(|page| page.wait_state("#state", "paused"));
    others[0].browser.click("#resume");
    pages.iter().for_each(|page| page.wait_state("#state", "running"));
}
