//! The live page of a training run, as a user sees it.

use super::common::live::{Trainer, wait_for};
use super::driver::{Browser, Driver};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A browser and a trainer fill a small machine: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn. `None` if this machine has no browser and is not required to have one.
pub fn driver() -> Option<(MutexGuard<'static, ()>, Driver)> {
    // A test that panicked during its turn leaves nothing behind.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Driver::start().map(|driver| (turn, driver))
}

/// A tensor's picture on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub tensor: String,
    /// The step that it shows; none if it has not been drawn yet.
    pub step: Option<u64>,
    /// Of all pixels.
    pub hash: String,
    pub colours: u64,
}

const PICTURES: &str = "
    return [...document.querySelectorAll(arguments[0] + ' canvas')].map((canvas) => {
        // Reads a copy, because Chromium warns about a canvas that is read often.
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        const words = new Uint32Array(data.buffer);
        let hash = 0;
        for (const word of words) hash = (Math.imul(hash, 31) + word) | 0;
        return [canvas.dataset.tensor ?? '', Number(canvas.dataset.step || -1), String(hash), new Set(words).size];
    });";

/// A page.
pub struct Page<'a> {
    pub browser: Browser<'a>,
}

impl Page<'_> {
    /// Opens the trainer's page and waits for its first view.
    pub fn open<'a>(driver: &'a Driver, trainer: &Trainer) -> Page<'a> {
        let page = Page { browser: driver.browser() };
        page.browser.open(&trainer.url);
        page.wait_state("#connection", "live");
        page.wait("the first view", "return !document.getElementById('shown').hidden");
        page
    }

    pub fn script(&self, script: &str) -> Value {
        self.browser.script(script, json!([]))
    }

    /// Waits until a script's body returns true.
    pub fn wait(&self, what: &str, script: &str) {
        wait_for(what, || (self.script(script) == true).then_some(()));
    }

    pub fn text(&self, selector: &str) -> String {
        let found =
            self.browser.script("return document.querySelector(arguments[0])?.textContent ?? ''", json!([selector]));
        found.as_str().expect("text").to_string()
    }

    pub fn wait_text(&self, selector: &str, part: &str) -> String {
        wait_for(&format!("`{part}` in {selector}, now `{}`", self.text(selector)), || {
            Some(self.text(selector)).filter(|text| text.contains(part))
        })
    }

    pub fn wait_state(&self, selector: &str, state: &str) {
        let script = "return document.querySelector(arguments[0]).dataset.state === arguments[1]";
        wait_for(&format!("{selector} is {state}"), || {
            (self.browser.script(script, json!([selector, state])) == true).then_some(())
        });
    }

    pub fn disabled(&self, selector: &str) -> bool {
        self.browser.script("return document.querySelector(arguments[0]).matches(':disabled')", json!([selector]))
            == true
    }

    /// The number that an element shows.
    pub fn value(&self, selector: &str) -> Option<f64> {
        let script = "return document.querySelector(arguments[0]).dataset.value ?? null";
        self.browser.script(script, json!([selector])).as_str().and_then(|text| text.parse().ok())
    }

    pub fn step(&self) -> u64 {
        self.value("#step").expect("a step") as u64
    }

    pub fn wait_step(&self, least: u64) -> u64 {
        wait_for(&format!("step {least}"), || Some(self.step()).filter(|step| *step >= least))
    }

    /// Scrolls to an element so that it is drawn.
    pub fn look_at(&self, selector: &str) {
        let script = "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})";
        self.browser.script(script, json!([selector]));
    }

    /// The pictures in an element.
    pub fn pictures(&self, selector: &str) -> Vec<Picture> {
        let found = self.browser.script(PICTURES, json!([selector]));
        let picture = |entry: &Value| Picture {
            tensor: entry[0].as_str().expect("a name").to_string(),
            step: entry[1].as_u64(),
            hash: entry[2].as_str().expect("a hash").to_string(),
            colours: entry[3].as_u64().expect("a number"),
        };
        found.as_array().expect("a list").iter().map(picture).collect()
    }

    /// Changes one setting by its field, and waits for the answer.
    pub fn set(&self, field: &str, value: &str) -> String {
        self.browser.fill(field, value);
        self.browser.click("#apply");
        self.answer("#apply-result")
    }

    /// The answer to the last request.
    pub fn answer(&self, selector: &str) -> String {
        let waiting = ["", "Asking…"];
        wait_for(&format!("an answer in {selector}"), || {
            Some(self.text(selector)).filter(|text| !waiting.contains(&text.as_str()))
        })
    }

    pub fn has_error(&self, selector: &str) -> bool {
        let script = "return document.querySelector(arguments[0]).classList.contains('error')";
        self.browser.script(script, json!([selector])) == true
    }

    /// Checks that the console has no complaints except about answers with these statuses, which the test provoked.
    pub fn assert_quiet(&self, statuses: &[u16]) {
        let expected = |message: &str| statuses.iter().any(|status| message.contains(&format!("status of {status}")));
        let mut complaints = self.browser.complaints();
        complaints.retain(|(source, message)| !(source == "network" && expected(message)));
        assert!(complaints.is_empty(), "the console says: {complaints:#?}");
    }
}
