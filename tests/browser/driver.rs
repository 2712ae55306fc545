//! Chromium under chromedriver, by the WebDriver protocol: each request is one JSON document over HTTP.

use super::common::live::{LONG, wait_for};
use super::common::skipped;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The key of an element's reference.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The programs; prints a prominent line if they are missing, or fails the test if `GLASSNET_REQUIRE_BROWSER` is set,
/// as in `tests/run.sh`.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let find = |names: &[&str]| {
        let paths = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        paths.into_iter().find(|path| path.is_file())
    };
    let found = find(&["chromedriver"]).zip(find(&["chromium", "chromium-browser", "google-chrome"]));
    if found.is_none() {
        let why =
            "a browser test needs chromium and chromedriver (on Debian: apt-get install chromium chromium-driver)";
        assert!(std::env::var_os("GLASSNET_REQUIRE_BROWSER").is_none(), "{why}");
        skipped(why);
    }
    found
}

/// chromedriver and the browsers that it starts. A shell reads from this process; when this process ends in any way,
/// the shell kills its whole process group.
pub struct Driver {
    shell: Child,
    chromium: PathBuf,
    address: String,
    agent: ureq::Agent,
    /// Profiles of the browsers and what they download; removed last.
    folder: TempDir,
}

impl Driver {
    /// `None` if this machine has no browser and is not required to have one.
    pub fn start() -> Option<Driver> {
        use std::os::unix::process::CommandExt;
        let (chromedriver, chromium) = programs()?;
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$0\" --port=0 </dev/null & read -r _; kill -KILL 0"]).arg(chromedriver).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("a shell");
        let mut lines = BufReader::new(shell.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.split_once("successfully on port ").map(|(_, port)| port.to_string()));
        let port = port.expect("chromedriver tells its port");
        // Drains the pipe, since a full one would block it.
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(LONG));
        Some(Driver {
            shell,
            chromium,
            address: format!("http://127.0.0.1:{}", port.trim_end_matches('.')),
            agent: config.build().into(),
            folder: tempfile::tempdir().expect("a folder"),
        })
    }

    /// A separate browser, as for one more user.
    pub fn browser(&self) -> Browser<'_> {
        self.browser_with(&["--disable-gpu"])
    }

    /// A browser that computes with WebGPU on its bundled software GPU. It shows the driver's page, because a page on
    /// this machine may use WebGPU.
    pub fn browser_with_webgpu(&self) -> Browser<'_> {
        // Its watchdog ends a software GPU that takes long to compile a pipeline.
        let args = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--disable-gpu-watchdog"];
        let browser = self.browser_with(&args);
        browser.open(&format!("{}/status", self.address));
        browser
    }

    fn browser_with(&self, more: &[&str]) -> Browser<'_> {
        let profile = tempfile::tempdir_in(self.folder.path()).expect("a folder").keep();
        let mut args: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
        ]
        .map(String::from)
        .to_vec();
        args.extend(more.iter().map(|arg| arg.to_string()));
        args.push(format!("--user-data-dir={}", profile.join("profile").display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": self.chromium, "args": args},
        }}});
        let session = self.ask("session", Some(capabilities))["sessionId"].as_str().expect("a session").to_string();
        let browser = Browser { driver: self, session, downloads: profile.join("downloads") };
        // Each download gets its own name, so that none replaces another.
        let behaviour = json!({"behavior": "allowAndName", "downloadPath": browser.downloads});
        browser.devtools("Browser.setDownloadBehavior", behaviour);
        browser
    }

    /// The value of an answer; a protocol error fails the test.
    fn ask(&self, path: &str, body: Option<Value>) -> Value {
        self.try_to(path, body).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    fn try_to(&self, path: &str, body: Option<Value>) -> Result<Value, String> {
        let address = format!("{}/{path}", self.address);
        let answer = match &body {
            Some(body) => self.agent.post(&address).send(body.to_string()),
            None => self.agent.get(&address).call(),
        };
        let text = answer.and_then(|mut answer| answer.body_mut().with_config().limit(1 << 28).read_to_string());
        let text = text.unwrap_or_else(|error| panic!("chromedriver does not answer: {error}"));
        let mut answer: Value = serde_json::from_str(&text).expect("a JSON document");
        let value = answer["value"].take();
        match value.get("error") {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// One browser with one page.
pub struct Browser<'a> {
    driver: &'a Driver,
    session: String,
    pub downloads: PathBuf,
}

impl Browser<'_> {
    fn ask(&self, path: &str, body: Value) -> Value {
        self.driver.ask(&format!("session/{}/{path}", self.session), Some(body))
    }

    pub fn open(&self, url: &str) {
        self.ask("url", json!({ "url": url }));
    }

    /// The value that a script's body returns; the script finds `args` in `arguments`.
    pub fn script(&self, script: &str, args: Value) -> Value {
        self.ask("execute/sync", json!({"script": script, "args": args}))
    }

    /// The value that an async function's body returns; an exception fails the test.
    pub fn run_async(&self, body: &str, args: Value) -> Value {
        let begin = format!(
            "window.answer = null;
             (async function () {{ {body} }}).apply(null, arguments).then(
                 (value) => {{ window.answer = {{ value }}; }},
                 (error) => {{ window.answer = {{ error: String(error) }}; }});"
        );
        self.script(&begin, args);
        let began = std::time::Instant::now();
        loop {
            let answer = self.script("return window.answer", json!([]));
            assert!(answer["error"].is_null(), "{}", answer["error"]);
            if !answer.is_null() {
                return answer["value"].clone();
            }
            assert!(began.elapsed() < 10 * LONG, "the script does not end");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// A command of the browser's developer tools.
    pub fn devtools(&self, command: &str, params: Value) -> Value {
        self.ask("goog/cdp/execute", json!({"cmd": command, "params": params}))
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask("element", json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().expect("an element").to_string()
    }

    /// Clicks as a user does: scrolls to the element if necessary; nothing may cover it.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        let scroll = "
            const { left, top, width, height } = arguments[0].getBoundingClientRect();
            const found = document.elementFromPoint(left + width / 2, top + height / 2);
            if (!arguments[0].contains(found)) arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});";
        // It may move while pictures above it are drawn for the first time; then try again.
        wait_for(&format!("a click on {selector}"), || {
            self.script(scroll, json!([{ELEMENT: element}]));
            let path = format!("session/{}/element/{element}/click", self.session);
            match self.driver.try_to(&path, Some(json!({}))) {
                Err(why) if why.contains("element click intercepted") => None,
                answer => Some(answer.expect("it can be clicked")),
            }
        });
    }

    /// Empties a field and types into it.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask(&format!("element/{element}/clear"), json!({}));
        self.ask(&format!("element/{element}/value"), json!({ "text": text }));
    }

    /// Types into the focused element. Special keys are those of the protocol, from U+E000 on.
    pub fn keys(&self, text: &str) {
        let press = |key: char| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = text.chars().flat_map(press).collect();
        self.ask("actions", json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}));
    }

    /// Gives a file to a field for files.
    pub fn upload(&self, selector: &str, path: &std::path::Path) {
        let element = self.element(selector);
        self.ask(&format!("element/{element}/value"), json!({ "text": path }));
    }

    /// Draws a line with the mouse, along points relative to an element's middle, in pixels.
    pub fn draw(&self, selector: &str, points: &[(i32, i32)]) {
        let element = self.element(selector);
        self.script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", json!([{ELEMENT: element}]));
        let go = |(x, y): &(i32, i32)| json!({"type": "pointerMove", "duration": 40, "origin": {ELEMENT: element}, "x": x, "y": y});
        let mut actions: Vec<Value> = points.iter().map(go).collect();
        actions.insert(1, json!({"type": "pointerDown", "button": 0}));
        actions.push(json!({"type": "pointerUp", "button": 0}));
        let mouse =
            json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions});
        self.ask("actions", json!({ "actions": [mouse] }));
    }

    /// The console's messages since the last call: `(source, message)` of each warning and error.
    pub fn complaints(&self) -> Vec<(String, String)> {
        let entries = self.ask("se/log", json!({"type": "browser"}));
        let entries = entries.as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        entries
            .filter(|entry| ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap_or_default()))
            .map(|entry| (text(&entry["source"]), text(&entry["message"])))
            .collect()
    }

    /// The `count`-th downloaded file, once it is complete.
    pub fn downloaded(&self, count: usize) -> Vec<u8> {
        wait_for("a download", || {
            let files = std::fs::read_dir(&self.downloads).ok()?.map(|entry| entry.expect("a file").path());
            let mut files: Vec<PathBuf> = files.collect();
            if files.len() < count || files.iter().any(|path| path.extension().is_some_and(|e| e == "crdownload")) {
                return None;
            }
            files.sort_by_key(|path| path.metadata().and_then(|data| data.modified()).expect("a time"));
            std::fs::read(files.last()?).ok()
        })
    }

    /// Closes the window, and with it its connections.
    pub fn close(self) {
        self.driver
            .agent
            .delete(format!("{}/session/{}", self.driver.address, self.session))
            .call()
            .expect("it is closed");
    }
}
