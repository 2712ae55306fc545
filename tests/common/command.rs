//! The program as a user starts it, and a small data set in MNIST's format for it.

use assert_cmd::Command;
use glassnet::data::{Examples, FILES};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `glassnet ARGS`, unaffected by the tester's environment variables for data and logs.
pub fn glassnet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glassnet"));
    command.args(args).env_remove("GLASSNET_DATA").env_remove("RUST_LOG");
    command
}

/// Lets signals stop a program even if this process ignores them, as in a shell's background or under nohup.
#[cfg(unix)]
pub fn heeding_signals(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only signal() is called, which is allowed there.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        })
    }
}

/// Noise of 28x28, with labels in turn.
pub fn examples(count: usize) -> Examples {
    let pixels = (0..count * 784).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    Examples {
        shape: [28, 28, 1],
        classes: 10,
        pixels,
        labels: (0..count).map(|i| (i % 10) as u8).collect(),
        numbers: vec![],
    }
}

/// The four files of a data set of [`examples`].
pub fn write_data(folder: &Path, train: usize, test: usize) {
    for (files, count) in [(&FILES[..2], train), (&FILES[2..], test)] {
        let examples = examples(count);
        let count = (count as u32).to_be_bytes();
        let images = [&[0, 0, 8, 3][..], &count, &[0, 0, 0, 28, 0, 0, 0, 28], &examples.pixels].concat();
        fs::write(folder.join(files[0]), images).expect("the images");
        fs::write(folder.join(files[1]), [&[0, 0, 8, 1][..], &count, &examples.labels].concat()).expect("the labels");
    }
}

/// Hides files in the user's cache and blocks downloads.
pub fn without_data<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    let proxies = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"];
    command.env("HOME", home).env("XDG_CACHE_HOME", home).envs(proxies.map(|name| (name, "http://127.0.0.1:1")))
}

/// What a command that succeeds prints on stdout.
pub fn text(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).expect("UTF-8")
}

/// The one JSON document that is all of stdout.
pub fn document(command: &mut Command) -> Value {
    serde_json::from_str(&text(command.arg("--json"))).expect("stdout is one JSON document")
}

/// The stderr of a command that must fail with exit code 1, print nothing on stdout and not panic.
pub fn failing(command: &mut Command) -> String {
    let assert = command.assert().code(1).stdout("");
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).expect("UTF-8");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The error message of a command that must fail in that way.
pub fn failure(command: &mut Command) -> String {
    let stderr = failing(command);
    let message = stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(!message.is_empty(), "no error in: {stderr}");
    message.to_string()
}

pub fn assert_fails_with(command: &mut Command, parts: &[&str]) {
    let message = failure(command);
    assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} not all in: {message}");
}

/// A network that trains in no time.
pub const TINY: &str = r#"
name = "tiny"
layers = [
    { type = "input", height = 28, width = 28, channels = 1 },
    { type = "max-pool", size = 14 },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

/// A folder with a small data set in MNIST's format, `data`, and space for runs. Tests add their own commands.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    /// A place with this many training and test examples.
    pub fn with_data(train: usize, test: usize) -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder for the data");
        write_data(&data, train, test);
        Place { folder }
    }

    /// A place with data, and [`TINY`] in `net.toml`.
    pub fn with_tiny_network(train: usize, test: usize) -> Place {
        let place = Place::with_data(train, test);
        fs::write(place.path("net.toml"), TINY).expect("a network");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
