//! A training run with its page, started as a user does, and the plain requests that the page makes.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a slow and busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Repeats a question until there is an answer; panics with `what` if there is none in time.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LONG, "waited for {} s: {what}", LONG.as_secs());
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message of a refusal, in words.
    pub fn error(&self) -> String {
        assert!(self.status >= 400, "{}: {}", self.status, self.text());
        let error = self.json()["error"].as_str().expect("an error in words").to_string();
        assert!(error.len() > 5, "{error:?}");
        error
    }
}

/// A running `glassnet train --live`; it ends with the test.
pub struct Trainer {
    child: Child,
    folder: TempDir,
    /// The address that it printed.
    pub url: String,
    pub address: SocketAddr,
    printed: Arc<Mutex<String>>,
}

impl Trainer {
    /// A run on synthetic digits, on the processor, longer than any test. `args` come last.
    pub fn start(args: &[&str]) -> Trainer {
        Trainer::start_in(tempfile::tempdir().expect("a folder"), &["--live"], args)
    }

    /// Starts a run with the options for the page and the folder given separately.
    pub fn start_in(folder: TempDir, live: &[&str], args: &[&str]) -> Trainer {
        Trainer::start_to(folder, live, args, Stdio::null())
    }

    /// Starts a run that prints to `stdout`.
    pub fn start_to(folder: TempDir, live: &[&str], args: &[&str], stdout: Stdio) -> Trainer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glassnet"));
        command.args(["train", "--device", "cpu"]).args(live);
        if !args.contains(&"--resume") {
            command.args(["--dataset", "synthetic", "--out", "run"]);
            // The last occurrence of an option counts, so this must be absent if a test sets a length.
            if !args.contains(&"--steps") {
                command.args(["--epochs", "100000"]);
            }
        }
        // One thread; watchers need the other.
        command.args(args).env("RAYON_NUM_THREADS", "1").env_remove("GLASSNET_DATA").env_remove("RUST_LOG");
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        #[cfg(unix)]
        super::command::heeding_signals(&mut command);
        let mut child = command.spawn().expect("it starts");
        let printed = Arc::new(Mutex::new(String::new()));
        let (stderr, into) = (child.stderr.take().expect("a pipe"), printed.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                into.lock().expect("no test panics with it").push_str(&(line + "\n"));
            }
        });
        let mut trainer = Trainer { child, folder, url: String::new(), address: ([127, 0, 0, 1], 0).into(), printed };
        trainer.url = wait_for("the address of the page", || {
            let text = trainer.printed();
            assert!(!text.contains("error: "), "{text}");
            text.lines().find_map(|line| line.strip_prefix("the live page is at ").map(str::to_string))
        });
        let host = trainer.url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address");
        trainer.address = host.parse().expect("a host and a port");
        if live.contains(&"--paused") {
            return trainer;
        }
        wait_for("the first steps", || (trainer.status()["step"].as_u64() > Some(0)).then_some(()));
        trainer
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        self.printed.lock().expect("no test panics with it").clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file beside the run's folder.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).expect("a file");
        self.path(name)
    }

    /// Kills it as a power cut would; its folder remains.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
    }

    /// Kills it as a power cut would, and resumes from its last checkpoint.
    pub fn resumed(mut self, live: &[&str]) -> Trainer {
        self.kill();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        Trainer::start_in(folder, live, &["--resume", "run"])
    }

    /// Whether it has ended in any way.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// Waits for it to end by itself, successfully.
    pub fn wait(&mut self) {
        let status = wait_for("the end of the trainer", || self.child.try_wait().expect("its state"));
        assert!(status.success(), "{status}: {}", self.printed());
    }

    /// Checks that it still runs and that nothing in it panicked.
    pub fn assert_well(&mut self) {
        assert!(self.child.try_wait().expect("its state").is_none(), "it ended: {}", self.printed());
        assert!(!self.printed().contains("panicked"), "{}", self.printed());
        let step = self.status()["step"].as_u64().expect("a step");
        wait_for("more steps", || (self.status()["step"].as_u64()? > step).then_some(()));
    }

    /// The complete rows of `metrics.jsonl`.
    pub fn metrics(&self, folder: &Path) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join(folder).join("metrics.jsonl")).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("a row is a JSON document"))
            .collect()
    }

    /// The rows of changes in the folder `run`.
    pub fn changes(&self, what: &str) -> Vec<Value> {
        let rows = self.metrics(Path::new("run"));
        rows.into_iter().filter(|row| row["kind"] == "change" && row["what"] == what).collect()
    }

    /// A request as the page makes it.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.request("POST", path, &[], body)
    }

    /// One command of `POST control`.
    pub fn control(&self, command: &Value) -> Answer {
        self.post("/control", command.to_string().as_bytes())
    }

    /// A request with additional headers; `host` among them replaces the default.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let own = self.address.to_string();
        let host = headers.iter().find(|(name, _)| *name == "host").map_or(own.as_str(), |(_, value)| value);
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).expect("the server listens");
        // If the server refuses before it has read everything, the rest cannot be sent.
        let _ = stream.write_all(body);
        read_answer(&mut BufReader::new(stream))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server is there");
        stream.set_read_timeout(Some(LONG)).expect("a socket");
        stream.set_write_timeout(Some(LONG)).expect("a socket");
        stream
    }

    /// A watcher before its first message. Waits if there is no room for one.
    pub fn watch(&self) -> Watcher {
        wait_for("room for a watcher", || {
            let mut stream = self.connect();
            // If a token is needed, it is in the address.
            let query = self.url.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
            let request = format!("GET /events{query} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
            stream.write_all(request.as_bytes()).expect("the server listens");
            let mut reader = BufReader::new(stream);
            let (status, headers) = read_head(&mut reader);
            assert!([200, 503].contains(&status), "{status} {headers:?}");
            (status == 200).then_some(Watcher { reader })
        })
    }

    /// The present status of the run.
    pub fn status(&self) -> Value {
        self.watch().next("status")
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader of `GET /events`.
pub struct Watcher {
    reader: BufReader<TcpStream>,
}

impl Watcher {
    /// The next message of a kind.
    pub fn next(&mut self, kind: &str) -> Value {
        let began = Instant::now();
        let mut line = Vec::new();
        loop {
            assert!(began.elapsed() < LONG, "no message `{kind}` came");
            line.clear();
            let read = self.reader.read_until(b'\n', &mut line).expect("the server goes on");
            assert!(read > 0, "the server ended the messages");
            // Each event begins a chunk; between the chunks' lengths, a message is on one line.
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let message: Value = serde_json::from_slice(data).expect("a message is a JSON document");
            if message["kind"] == kind {
                return message;
            }
        }
    }
}

/// The status and the headers of an answer.
fn read_head(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        line.trim_end().to_string()
    };
    let first = line();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no answer: {first:?}"));
    let headers = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let pair = |line: String| line.split_once(':').map(|(a, b)| (a.to_lowercase(), b.trim().to_string()));
    (status, headers.filter_map(pair).collect())
}

/// A complete answer, whose length the server states.
fn read_answer(reader: &mut impl BufRead) -> Answer {
    let (status, headers) = read_head(reader);
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    let length: u64 = length.expect("a length");
    reader.take(length).read_to_end(&mut answer.body).expect("the whole answer");
    assert_eq!(answer.body.len() as u64, length, "the answer was cut off");
    answer
}
