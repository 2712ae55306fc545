//! The page's controls, and whether they really take effect.

use super::common::live::{LONG, Trainer, wait_for};
use super::page::{Page, driver};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Keys of the WebDriver protocol.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

#[test]
fn pause_one_step_and_resume_do_what_they_say() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    assert!(page.disabled("#resume"), "it runs");
    page.browser.click("#pause");
    page.wait_state("#state", "paused");
    assert!(page.disabled("#pause"));
    let mut watcher = trainer.watch();
    let paused = watcher.next("status")["step"].as_u64().expect("a step");
    for _ in 0..3 {
        assert_eq!(watcher.next("status")["step"], paused, "steps stand still");
    }
    assert_eq!(page.wait_step(paused), paused);
    for more in 1..=2 {
        page.browser.click("#one-step");
        page.wait_step(paused + more);
        for _ in 0..2 {
            assert_eq!(watcher.next("status")["step"], paused + more, "exactly one");
        }
        page.wait_state("#state", "paused");
        assert_eq!(page.step(), paused + more);
    }
    // The statistics of such a step are measured although it was not due.
    let rows = trainer.metrics(Path::new("run"));
    assert!(rows.iter().any(|row| row["kind"] == "step" && row["step"] == paused + 2), "{:?}", rows.last());
    page.browser.click("#resume");
    page.wait_state("#state", "running");
    page.wait_step(paused + 100);
    trainer.assert_well();
    page.assert_quiet(&[]);
}

/// The tensors of a safetensors file, without its metadata.
fn tensors(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let mut tensors: Vec<_> = file.iter().map(|(name, view)| (name.to_string(), view.data().to_vec())).collect();
    tensors.sort();
    tensors
}

#[test]
fn a_learning_rate_of_0_freezes_the_weights() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let download = |count: usize| {
        page.browser.click("#snapshot-safetensors");
        let bytes = page.browser.downloaded(count);
        page.wait_step(page.step() + 100);
        tensors(&bytes)
    };
    let (first, second) = (download(1), download(2));
    assert_ne!(first, second, "it learns");
    assert!(page.set("#learning-rate", "0").contains("learning rate changed"));
    let (third, fourth) = (download(3), download(4));
    assert_ne!(second, third);
    assert_eq!(third, fourth, "nothing moves");
    page.set("#learning-rate", "0.5");
    page.wait_step(page.step() + 100);
    assert_ne!(fourth, download(5), "it learns again");
    page.assert_quiet(&[]);
}

/// Changes a setting on the page and checks every place that shows it.
fn change(page: &Page, trainer: &Trainer, field: &str, what: &str, from: &Value, to: &str) {
    let before = page.step();
    let answer = page.set(field, to);
    assert!(answer.contains("changed") && !page.has_error("#apply-result"), "{answer}");
    let number: f64 = to.parse().expect("a number");
    assert_eq!(trainer.status()["settings"][what].as_f64(), Some(number));
    page.wait_text(&format!("{field}-now"), &format!("now {to}"));
    let changes = trainer.changes(what);
    let change = changes.last().expect("a row of the change");
    assert_eq!((&change["from"], change["to"].as_f64()), (from, Some(number)), "{change}");
    let step = change["step"].as_u64().expect("a step");
    assert!((before..=page.wait_step(step)).contains(&step), "{change}");
    // The page numbers the change and shows its step.
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let entry = page.wait_text("#changes li", to);
    let told = entry.split(':').next().expect("a step");
    assert_eq!(digits(told), step.to_string(), "{entry}");
}

#[test]
fn settings_are_changed_in_status_curve_and_rows() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&["--trainer", "momentum", "--stats-every", "20"]);
    let page = Page::open(&driver, &trainer);
    change(&page, &trainer, "#learning-rate", "learning_rate", &json!(0.01), "0.005");
    change(&page, &trainer, "#momentum", "momentum", &json!(0.9), "0.5");
    change(&page, &trainer, "#batch-size", "batch_size", &json!(20), "32");
    change(&page, &trainer, "#l1-decay", "l1_decay", &json!(0.0), "0.001");
    change(&page, &trainer, "#l2-decay", "l2_decay", &json!(5e-5), "0.002");
    // The steps really use it: 32 examples each, at the new rate.
    let mut watcher = trainer.watch();
    let (mut last, mut steps) = (watcher.next("step"), 0);
    while steps < 3 {
        let row = watcher.next("step");
        let more = |key: &str| row[key].as_u64().zip(last[key].as_u64()).map_or(0, |(a, b)| a - b);
        // Earlier rows are sent first, and the last batch of an epoch may be smaller.
        if last["step"].as_u64() > trainer.changes("l2_decay")[0]["step"].as_u64() && row["epoch"] == last["epoch"] {
            assert_eq!(more("examples_seen"), 32 * more("step"), "{last} {row}");
            assert_eq!(row["learning_rate"], 0.005);
            steps += 1;
        }
        last = row;
    }
    page.look_at("#chart-learning-rate");
    page.wait_text("#chart-learning-rate .series", "0.00500");
    assert_eq!(page.script("return document.querySelectorAll('#changes li').length"), 5);
    page.assert_quiet(&[]);
}

#[test]
fn what_is_refused_is_told_and_changes_nothing() {
    let Some((_turn, driver)) = driver() else { return };
    let mut trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    assert_eq!(
        page.script("return document.getElementById('momentum').parentElement.hidden"),
        true,
        "adadelta has none"
    );
    let before = trainer.status()["settings"].clone();
    for (field, value) in
        [("#learning-rate", "-1"), ("#batch-size", "0"), ("#batch-size", "1e9"), ("#l2-decay", "-0.5")]
    {
        let answer = page.set(field, value);
        assert!(page.has_error("#apply-result") && answer.len() > 10, "{field} {value}: {answer}");
        page.browser.click("#undo");
    }
    page.browser.fill("#show-index", "123456789");
    page.browser.click("#show");
    assert!(page.answer("#show-result").contains("choose one from 0 to 9999"), "{}", page.text("#show-result"));
    assert_eq!(trainer.status()["settings"], before);
    trainer.assert_well();
    page.assert_quiet(&[422]);
}

#[test]
fn another_example_is_shown_with_its_label() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.look_at("#shown-image");
    let image = || page.pictures("#shown-image").remove(0).hash;
    wait_for("an image", || (page.pictures("#shown-image").first()?.colours > 3).then_some(()));
    assert!(page.text("#shown-facts").starts_with("Test example 0"));
    let mut images = vec![image()];
    page.browser.click("#show-next");
    page.wait_text("#shown-facts", "Test example 1, labelled");
    wait_for("another image", || (!images.contains(&image())).then_some(()));
    images.push(image());
    page.script("document.getElementById('show-split').value = 'train'");
    page.browser.fill("#show-index", "7");
    page.browser.click("#show");
    let facts = page.wait_text("#shown-facts", "Training example 7, labelled");
    wait_for("a third image", || (!images.contains(&image())).then_some(()));
    let view = trainer.watch().next("view");
    let label = view["example"]["label"].to_string();
    assert!(facts.contains(&format!("labelled {label}.")), "{facts} {view}");
    assert_eq!(page.script("return document.querySelectorAll('#shown-top li').length"), 3);
    // A click on a test example shows that example.
    page.look_at("#tests");
    page.wait("test examples", "return document.querySelectorAll('#tests > li').length === 20");
    // The list may change up to the click itself.
    page.script(
        "document.getElementById('tests').addEventListener('click', ({ target }) => {
            window.pressed = target.closest('button').getAttribute('aria-label');
        }, true);",
    );
    page.browser.click("#tests > li button");
    let name = page.script("return window.pressed");
    let name = name.as_str().expect("a name").split(',').next().expect("an index");
    let index: String = name.chars().filter(char::is_ascii_digit).collect();
    page.wait_text("#shown-facts", &format!("Test example {index}, labelled"));
    page.assert_quiet(&[]);
}

#[test]
fn the_display_can_be_held_coloured_sized_and_folded() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let place = ".layer[data-layer=conv1]";
    page.look_at(place);
    let pictures = || page.pictures(place);
    wait_for("four pictures", || (pictures().len() == 4 && pictures().iter().all(|one| one.colours > 2)).then_some(()));
    page.browser.click("#hold");
    wait_for("a still display", || {
        let before = pictures();
        std::thread::sleep(Duration::from_millis(300));
        (before == pictures()).then_some(())
    });
    let (held, step) = (pictures(), page.step());
    page.wait_step(step + 100);
    assert_eq!(held, pictures(), "the training goes on, the pictures do not");
    let choose = |id: &str, value: &str| {
        let script = "const node = document.getElementById(arguments[0]);
            node.value = arguments[1];
            node.dispatchEvent(new Event('change', { bubbles: true }));";
        page.browser.script(script, json!([id, value]));
    };
    choose("palette", "blue-red");
    let coloured = pictures();
    assert!(held.iter().zip(&coloured).all(|(a, b)| a.hash != b.hash && a.step == b.step), "{held:?} {coloured:?}");
    choose("plate-size", "144");
    assert!(pictures().iter().zip(&coloured).any(|(a, b)| a.hash != b.hash));
    page.browser.click("#hold");
    wait_for("newer pictures", || (pictures()[0].step > held[0].step).then_some(()));
    page.browser.click("input[name=kind][value=weight]");
    wait_for("three pictures", || (pictures().len() == 3).then_some(()));
    page.browser.click("#fold");
    page.wait("folded layers", "return document.querySelectorAll('.layer details[open]').length === 0");
    page.browser.click("#unfold");
    page.wait("open layers", "return document.querySelectorAll('.layer details[open]').length === 9");
    // A chart's axis, and what the lower charts show.
    page.look_at("#chart-loss");
    let chart = |id: &str| page.pictures(id).remove(0).hash;
    page.browser.click("#pause");
    page.wait_state("#state", "paused");
    wait_for("a still chart", || {
        let before = chart("#chart-loss");
        std::thread::sleep(Duration::from_millis(300));
        (before == chart("#chart-loss")).then_some(())
    });
    let linear = chart("#chart-loss");
    page.browser.click("#chart-loss .switch input");
    wait_for("a logarithmic axis", || (chart("#chart-loss") != linear).then_some(()));
    page.look_at("#chart-tensor");
    wait_for("a chart", || (page.pictures("#chart-tensor")[0].colours > 3).then_some(()));
    for (id, value) in [("time-layer", "fc1"), ("time-tensor", "weight")] {
        let before = chart("#chart-tensor");
        choose(id, value);
        wait_for(&format!("{id}: {value}"), || (chart("#chart-tensor") != before).then_some(()));
    }
    page.assert_quiet(&[]);
}

#[test]
fn five_pages_in_one_browser_leave_room_for_what_they_ask() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    // Browser connections that each additional page holds.
    page.script("window.more = [1, 2, 3, 4].map(() => new EventSource('events'))");
    page.wait("streams", "return window.more.every((stream) => stream.readyState === EventSource.OPEN)");
    page.browser.click("#pause");
    page.wait_state("#state", "paused");
    page.assert_quiet(&[]);
}

#[test]
fn every_change_in_a_pause_is_listed_and_what_is_typed_meanwhile_is_kept() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    page.browser.click("#pause");
    page.wait_state("#state", "paused");
    for rate in ["0.5", "0.25", "0.5", "0.25"] {
        assert!(page.set("#learning-rate", rate).contains("learning rate changed"));
    }
    page.wait("four changes", "return document.querySelectorAll('#changes li').length === 4");
    page.script(
        "const real = window.fetch;
        window.fetch = async (...asked) => {
            const answer = await real(...asked);
            await new Promise((done) => setTimeout(done, 1500));
            return answer;
        };",
    );
    page.browser.fill("#learning-rate", "0.125");
    page.browser.click("#apply");
    page.browser.fill("#learning-rate", "0.0625");
    page.answer("#apply-result");
    page.wait_text("#learning-rate-now", "0.125");
    // With a status after the field was left.
    page.script("document.activeElement.blur()");
    std::thread::sleep(Duration::from_millis(1500));
    let field = "const field = document.getElementById('learning-rate');
        return [field.value, field.parentElement.classList.contains('edited')];";
    assert_eq!(page.script(field), json!(["0.0625", true]));
    page.assert_quiet(&[]);
}

#[test]
fn the_keyboard_alone_pauses_and_changes_the_learning_rate() {
    let Some((_turn, driver)) = driver() else { return };
    let trainer = Trainer::start(&[]);
    let page = Page::open(&driver, &trainer);
    let go_to = |id: &str| {
        let began = Instant::now();
        while page.script("return document.activeElement.id") != id {
            assert!(began.elapsed() < LONG, "the tab key does not reach {id}");
            page.browser.keys(&TAB.to_string());
        }
        let ring = page.script("return getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(ring, "none", "the focus on {id} is seen");
    };
    go_to("pause");
    page.browser.keys(" ");
    page.wait_state("#state", "paused");
    assert_eq!(page.script("return document.activeElement.id"), "resume", "the focus is not lost");
    go_to("learning-rate");
    page.script("document.activeElement.select()");
    page.browser.keys("0.25");
    page.browser.keys(&ENTER.to_string());
    page.wait_text("#learning-rate-now", "now 0.25");
    assert_eq!(trainer.status()["settings"]["learning_rate"], 0.25);
    page.assert_quiet(&[]);
}
