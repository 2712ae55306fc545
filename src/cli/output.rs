//! The output of commands: results on stdout, everything else on stderr.
//!
//! With `--json` stdout has exactly one JSON document. Nothing here panics if a reader hangs up: a closed stdout
//! becomes an error that `main` recognises, and a closed stderr is ignored.

use clap::Args;
pub use glassnet::report::html::figure;
use glassnet::text::tame;
use glassnet::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The name of stdout in an [`Error::Io`].
const STDOUT: &str = "standard output";

/// Where a command's text goes.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print one JSON document
    // Standard output is then reserved for it.
    #[arg(long)]
    pub json: bool,
}

impl Output {
    /// Prints text for people: on stdout, or on stderr if stdout is reserved for JSON. Work in progress continues even
    /// if the reader has hung up.
    pub fn say(self, text: impl Display) -> Result<()> {
        if self.json {
            note(text);
            return Ok(());
        }
        unless_hung_up(print(tame(text)))
    }

    /// Prints the result: `document` with `--json`, otherwise the text.
    pub fn result(self, document: &impl Serialize, text: impl Display) -> Result<()> {
        if !self.json {
            return print(tame(text));
        }
        let document = serde_json::to_string_pretty(document).map_err(|error| Error::Io {
            action: "write",
            path: STDOUT.into(),
            source: error.into(),
        })?;
        print(document)
    }
}

fn print(text: impl Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Error::io("write", STDOUT))
}

/// The option of a setting, such as `--batch-size` for `batch_size`.
pub fn option(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// An error's message for the command line, with the options that help.
pub fn told(error: &Error) -> String {
    let told = error.phrased(option);
    match error {
        Error::DataFolder(_) => told + " with --data-dir",
        Error::NotObtained { why, built_in } => format!(
            "{why}; or name the folder that has the data with --data-dir; or use --dataset {built_in}, which is built in"
        ),
        Error::DataMoved { pictures: true, .. } => told + " with --images",
        Error::DataMoved { pictures: false, .. } => told + " with --data-dir",
        Error::NotOfData { name: "data_dir", dataset } => format!(
            "--data-dir cannot change a run on {dataset}; leave it out, or name a folder that has moved with --images"
        ),
        Error::NotOfData { name: "images", dataset } => {
            format!("--images cannot change a run on {dataset}; leave it out, or start a new run without --resume")
        }
        Error::NotOfData { name: "skip_unreadable", .. } => {
            "--skip-unreadable is for the pictures of --images; leave it out".into()
        }
        Error::OtherClasses(_) => told + ", and train it with --net",
        Error::CropsWithoutAugmentation(count) => format!(
            "--test-crops {count} needs the network's pad and flip, which --no-augmentation switches off; leave one of the two \
             options out"
        ),
        Error::UnknownDevice(name) => format!("config.toml names an unknown device `{name}`; give --device"),
        Error::NoWeights { run } => {
            format!("{} holds no weights yet; continue the run with `glassnet train --resume {0}`", run.display())
        }
        Error::Unreadable(_) => told + ", or leave it out with --skip-unreadable",
        Error::Exists { .. } => told + ", or --force to replace it",
        Error::HoldsRun { path, file } => {
            let path = glassnet::text::path(path);
            format!("{path} already holds a run ({file}); continue it with --resume {path}, or choose another --out")
        }
        Error::PastEnd { .. } => told + " with --epochs or --steps",
        Error::Precision(_) => format!("{told}; choose another device, or --precision f32"),
        Error::Adapter(_) | Error::SelfCheck(_) => told_of_gpu(error, "--device cpu"),
        _ => told,
    }
}

/// The message about a GPU that cannot be used; `processor` is the command's option that computes on the processor.
pub fn told_of_gpu(error: &Error, processor: &str) -> String {
    let mut told = format!("{error}; choose another --adapter, or compute on the processor with {processor}");
    if let Error::SelfCheck(_) = error {
        told += "; --skip-self-check uses this GPU all the same, to measure the host's work";
    }
    told
}

/// Prints a line on stderr; `eprintln!` would panic if stderr is closed.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", tame(text));
}

/// Whether `error` says that the reader of stdout has hung up, as with `glassnet devices | head -1` or a closed
/// terminal.
pub fn is_hang_up(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. } if path.as_os_str() == STDOUT
        && (source.kind() == io::ErrorKind::BrokenPipe || is_closed_terminal(source)))
}

#[cfg(unix)]
fn is_closed_terminal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

#[cfg(not(unix))]
fn is_closed_terminal(_: &io::Error) -> bool {
    false
}

/// Serialises a path for JSON, which only holds Unicode: other bytes become U+FFFD, as in printed text.
pub fn path<S: Serializer>(path: &impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}

/// Serialises an optional path as [`path`] does.
pub fn optional_path<S: Serializer>(path: &Option<impl AsRef<Path>>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.collect_str(&path.as_ref().display()),
        None => serializer.serialize_none(),
    }
}

/// Ignores that a reader has hung up, for output that may remain unread.
pub fn unless_hung_up(printed: Result<()>) -> Result<()> {
    printed.or_else(|error| if is_hang_up(&error) { Ok(()) } else { Err(error) })
}

/// Progress of countable work on stderr: a bar on a terminal, otherwise a plain line from time to time.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    plain: bool,
    total: u64,
    done: u64,
    last_line: Instant,
}

/// The time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// Progress over `total` pieces of `what`, such as "cases".
    pub fn new(total: u64, what: &'static str) -> Progress {
        let plain = !io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(total) };
        // An invalid template would only affect the appearance.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Progress { bar, what, plain, total, done: 0, last_line: Instant::now() }
    }

    /// Counts one more piece as done; `message` describes the next one.
    pub fn step(&mut self, message: &str) {
        self.done += 1;
        self.bar.set_message(message.to_string());
        self.bar.inc(1);
        if self.plain && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            note(format_args!("{} of {} {} {message}", self.done, self.total, self.what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A table for the terminal. Columns are right-aligned except the first.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with the names of its columns.
    pub fn new(header: &[&str]) -> Table {
        Table { rows: vec![header.iter().map(|cell| cell.to_string()).collect()] }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell_width = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| width(cell));
        let widths: Vec<usize> =
            (0..columns).map(|column| self.rows.iter().map(|row| cell_width(row, column)).max().unwrap_or(0)).collect();
        let is_figure = |row: &Vec<String>, column: usize| {
            row.get(column)
                .is_none_or(|cell| cell == "NaN" || cell.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
        };
        let right: Vec<bool> = (0..columns)
            .map(|column| column > 0 && self.rows.iter().skip(1).all(|row| is_figure(row, column)))
            .collect();
        for (i, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let space = " ".repeat(widths[column] - width(cell));
                let gap = if column == 0 { "" } else { "  " };
                line += &if right[column] { format!("{gap}{space}{cell}") } else { format!("{gap}{cell}{space}") };
            }
            write!(f, "{}{}", if i == 0 { "" } else { "\n" }, line.trim_end())?;
        }
        Ok(())
    }
}

/// The number of columns on a terminal; a Japanese character takes two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_closed_terminal_is_a_hang_up_and_a_full_disk_is_none() {
        let failed =
            |code: i32| Error::Io { action: "write", path: STDOUT.into(), source: io::Error::from_raw_os_error(code) };
        assert!(
            is_hang_up(&failed(libc::EIO)) && is_hang_up(&failed(libc::EPIPE)) && !is_hang_up(&failed(libc::ENOSPC))
        );
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["layer", "n", "folder"]);
        table.row(["fc1".to_string(), "10".to_string(), "-".to_string()]);
        table.row(["お".to_string(), "5".to_string(), "data".to_string()]);
        assert_eq!(table.to_string(), "layer   n  folder\nfc1    10  -\nお      5  data");
    }
}
