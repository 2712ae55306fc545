//! Prints the library's notices while data is obtained and a run is prepared.

use super::output::{Output, note};
use glassnet::Result;
use glassnet::data::Progress;
use glassnet::train::{Notice, stood_in_for};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};

/// The preset for coloured pictures.
pub const COLOUR_PRESET: &str = "convnetjs-cifar10";

/// Prints notices; shows the progress of obtaining data as a bar or as lines.
pub struct Notices {
    output: Output,
    progress: Option<DownloadProgress>,
    /// The first error of printing, if any.
    printed: Result<()>,
}

impl Notices {
    pub fn new(output: Output) -> Notices {
        Notices { output, progress: None, printed: Ok(()) }
    }

    pub fn show(&mut self, notice: Notice) {
        if let Notice::Data(event) = notice {
            return self.progress.get_or_insert_default().show(event);
        }
        if let Some(progress) = self.progress.take() {
            progress.clear();
        }
        match &notice {
            Notice::StandIn { dataset, reason } => {
                let (drawn, wanted) = (dataset.drawn().to_uppercase(), stood_in_for(*dataset));
                let printed =
                    self.output.say(format_args!("*** SYNTHETIC {drawn} STAND IN FOR {wanted}: {reason} ***"));
                self.printed = std::mem::replace(&mut self.printed, Ok(())).and(printed);
            }
            Notice::ColoursDropped { .. } => note(format_args!("{notice}, such as --preset {COLOUR_PRESET}")),
            _ => note(notice),
        }
    }

    /// Removes the bar; returns the first error of printing.
    pub fn result(self) -> Result<()> {
        if let Some(progress) = self.progress {
            progress.clear();
        }
        self.printed
    }
}

/// A download's progress on stderr: a bar on a terminal, otherwise a line per file. Nothing is shown before bytes
/// arrive, so that a notice about synthetic digits can be the first line.
pub struct DownloadProgress {
    bar: ProgressBar,
    plain: bool,
    /// The file being downloaded.
    file: String,
}

impl Default for DownloadProgress {
    fn default() -> Self {
        DownloadProgress::new()
    }
}

impl DownloadProgress {
    pub fn new() -> DownloadProgress {
        let plain = !io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        DownloadProgress { bar, plain, file: String::new() }
    }

    /// Shows one event.
    pub fn show(&mut self, event: Progress) {
        match event {
            Progress::Waiting { .. } => self.message(event.to_string()),
            Progress::Downloading { file, received, total } => self.bytes(file, received, total),
            Progress::Verified { .. } => log::info!("{event}"),
            Progress::Connecting { .. } | Progress::Drawing { .. } | Progress::Reading { .. } => {
                self.bar.set_message(event.to_string());
            }
        }
        self.bar.tick();
    }

    fn bytes(&mut self, file: String, received: u64, total: Option<u64>) {
        if self.file != file {
            if self.plain {
                let size = total.map_or(String::new(), |total| format!(" ({})", HumanBytes(total)));
                note(format_args!("downloading {file}{size}"));
            }
            let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
            if let Some(style) = total.and(ProgressStyle::with_template(template).ok()) {
                self.bar.set_style(style);
            }
            self.bar.set_message(file.clone());
            self.file = file;
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(received);
    }

    fn message(&self, text: String) {
        if self.plain {
            note(&text);
        }
        self.bar.set_message(text);
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
