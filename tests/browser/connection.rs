//! Runs that end, trainers that die, and small screens.

use super::common::live::{Trainer, wait_for};
use super::page::{Page, driver};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn a_killed_trainer_shows_as_disconnected() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.look_at("#example");
    let facts = page.text("#shown-facts");
    trainer.kill();
    let killed = Instant::now();
    page.wait_state("#connection", "disconnected");
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    page.wait_text("#notice", "Disconnected since");
    // Nobody knows whether it still runs, and the page does not claim to.
    page.wait_text("#state", "was running");
    assert_eq!(page.script("return document.getElementById('state').dataset.state"), "unknown");
    assert_eq!(page.text("#connection"), "disconnected");
    page.wait_text("#time-left", "–");
    for control in
        ["#pause", "#resume", "#one-step", "#learning-rate", "#apply", "#show", "#load", "#restart", "#upload"]
    {
        assert!(page.disabled(control), "{control}");
    }
    // Earlier results stay readable.
    assert!(!facts.is_empty() && !page.text("#shown-facts").is_empty() && page.step() > 0);
}

#[test]
fn the_curves_of_a_resumed_run_show_what_it_has_behind_it() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&["--checkpoint-every", "200"]);
    wait_for("steps", || (trainer.status()["step"].as_u64() > Some(2000)).then_some(()));
    let trainer = trainer.resumed(&["--live"]);
    let page = Page::open(&driver, &trainer);
    page.look_at("#chart-loss");
    // Left of the axis.
    page.wait(
        "the first steps",
        "const scale = document.querySelector('#chart-loss canvas').scale;
        return scale !== undefined && scale.step(20) < 150;",
    );
    page.assert_quiet(&[]);
}

#[test]
fn the_page_of_a_run_that_ended_says_so_and_is_served_while_somebody_looks() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&["--steps", "600"]);
    let page = Page::open(&driver, &trainer);
    page.wait_state("#state", "ended");
    page.wait_text("#state-message", "test accuracy");
    assert_eq!(page.step(), 600);
    for control in ["#pause", "#one-step", "#learning-rate", "#apply"] {
        assert!(page.disabled(control), "{control}");
    }
    // Other examples can still be shown.
    page.browser.click("#show-next");
    page.wait_text("#shown-facts", "Test example 1, labelled");
    page.wait_text("#shown-facts", "after step 600");
    std::thread::sleep(Duration::from_secs(7));
    page.wait_state("#connection", "live");
    assert_eq!((page.text("#connection"), page.text("#state")), ("connected".into(), "ended".into()));
    assert_eq!(page.script("return document.getElementById('finished').hidden"), false);
    page.assert_quiet(&[]);
    page.browser.close();
    trainer.wait();
}

#[test]
fn a_screen_of_360_pixels_is_wide_enough_in_light_and_dark() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let size = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    page.browser.devtools("Emulation.setDeviceMetricsOverride", size);
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        page.browser.devtools("Emulation.setEmulatedMedia", feature);
        // Draws everything once.
        for section in
            ["#curves", "#example", ".layer[data-layer=conv2]", "#test-examples", "#try", "#over-time", "#files"]
        {
            page.look_at(section);
            page.wait(
                "a frame",
                "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
            );
        }
        let width = page.script("return [innerWidth, document.documentElement.scrollWidth, document.body.scrollWidth]");
        assert_eq!(width, json!([360, 360, 360]), "{scheme}");
        // No visible text extends beyond the window.
        let outside = page.script(
            "return [...document.querySelectorAll('button, input, select, dd, dt, h1, h2, h3, p, label, canvas')]
                .filter((node) => node.checkVisibility() && !node.closest('.scroll, .unseen, .skip, .series'))
                .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
                .map((node) => node.id || node.outerHTML.slice(0, 80));",
        );
        assert_eq!(outside, json!([]), "{scheme}");
        grounds.push(page.script("return getComputedStyle(document.documentElement).backgroundColor"));
    }
    assert!(grounds[0] != grounds[1] && grounds.iter().all(Value::is_string), "{grounds:?}");
    page.assert_quiet(&[]);
}
