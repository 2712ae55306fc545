//! The command's side of the live page: the page's address, and the run's access to the board.

use super::address::Recorded;
use super::board::{Board, Resolve};
use super::http::{Guard, server};
use super::viewer;
use crate::look::message::{Message, RunState, SettingsMessage, StatusMessage};
use crate::look::{Introduction, Subject, Weights};
use crate::net::Parameters;
use crate::train::{ChangeRow, Command, EpochRow, Event, Settings, StepRow};
use crate::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A server with its page. Its threads end with the program.
pub struct Live {
    board: Arc<Board>,
    url: String,
    /// The file with the address, while a run is followed.
    recorded: Mutex<Option<Recorded>>,
}

impl Live {
    /// Serves the page: on loopback at a free port, for users of this machine; or at `address`, for anyone with the
    /// token in the URL.
    ///
    /// # Errors
    /// [`Error::Io`] if the address is not available.
    pub fn start(address: Option<SocketAddr>) -> Result<Live> {
        let wanted = address.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let failed = |source| Error::Io { action: "listen on", path: wanted.to_string().into(), source };
        let listener = TcpListener::bind(wanted).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let token = address.map(|_| format!("{:032x}", rand::random::<u128>()));
        let host_name = sysinfo::System::host_name();
        let host = match bound.ip() {
            any if any.is_unspecified() => format!("{}:{}", host_name.as_deref().unwrap_or("localhost"), bound.port()),
            _ => bound.to_string(),
        };
        let query = token.as_ref().map_or(String::new(), |token| format!("?token={token}"));
        let url = format!("http://{host}/{query}");
        let guard = Guard { token, port: bound.port(), names: host_name.into_iter().collect() };
        let board = Arc::new(Board::new());
        let start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(body).map_err(failed).map(drop)
        };
        let serving = board.clone();
        start(
            "live server",
            Box::new(move || {
                if let Err(error) = server::run(listener, serving, guard) {
                    log::error!("{error}");
                }
            }),
        )?;
        let viewing = board.clone();
        start(
            "live viewer",
            Box::new(move || {
                // One thread; the others belong to the run.
                match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
                    Ok(pool) => pool.install(|| viewer::run(&viewing)),
                    Err(error) => log::error!("the live page has no pictures: {error}"),
                }
            }),
        )?;
        Ok(Live { board, url, recorded: Mutex::default() })
    }

    /// The page's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Begins a run in place of an older one. `weights` has the number of updates and the weights after them; `resolve`
    /// decides about another network that a watcher requests.
    pub fn begin(
        &self,
        introduction: &Introduction,
        subject: Subject,
        resolve: Box<Resolve>,
        weights: Option<(u64, &[Parameters])>,
    ) {
        let message = introduction.message(&subject, format!("{:032x}", rand::random::<u128>()));
        let weights = weights.map(|(step, weights)| Weights { step, parameters: Arc::new(weights.to_vec()) });
        let step = introduction.first_step;
        let status = StatusMessage { step, ..StatusMessage::default() };
        self.board.begin(&message, subject, resolve.into(), weights, status);
    }

    /// Writes the address into the folder of the run, for [`running_page`](super::running_page), until another run is
    /// followed or the page ends. If that fails, the run continues without it.
    pub fn record_in(&self, folder: &Path) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        // The former file is removed first, because it may be the same.
        *recorded = None;
        match Recorded::write(folder, &self.url) {
            Ok(file) => *recorded = Some(file),
            Err(why) => log::warn!("{why}"),
        }
    }

    /// Makes the next run pause before its first step, so that it can be changed first.
    pub fn pause_at_first(&self) {
        self.board.pause_at_first();
    }

    /// The number of present watchers.
    pub fn watchers(&self) -> usize {
        self.board.watchers()
    }

    /// Passes on an event of the run.
    pub fn event(&self, event: &Event<'_>) {
        let board = &self.board;
        match event {
            Event::Started { .. } | Event::Progress(_) => board.update_status(|status| status.follow(event)),
            Event::Step(row) => self.step(row),
            Event::Epoch(row, _) => self.epoch(row),
            Event::Weights { step, weights } => board.set_weights(*step, weights),
            Event::Changed { row, settings, end } => {
                self.change(row);
                let done = match row.to.get("source").and_then(|source| source.as_str()) {
                    Some(source) => format!("weights of {source} loaded"),
                    None => format!("{} changed", row.what.replace('_', " ")),
                };
                board.changed(Ok((settings, *end, done)));
                if row.what == "weights" {
                    board.want_weights();
                }
            }
            Event::Refused { why, .. } => board.changed(Err(why.to_string())),
            Event::Trained { step, weights } => {
                board.set_weights(*step, weights);
                board.update_status(|status| status.follow(event));
            }
            Event::FirstStep | Event::Best { .. } | Event::Checkpoint(_) => {}
        }
    }

    /// Passes on a row of statistics.
    pub fn step(&self, row: &StepRow) {
        self.board.push_row(&Message::Step(row));
        self.board.update_status(|status| status.follow_row(row));
    }

    /// Passes on a row of a whole validation pass.
    pub fn epoch(&self, row: &EpochRow) {
        self.board.push_row(&Message::Epoch(row));
    }

    /// Passes on a row of a change.
    pub fn change(&self, row: &ChangeRow) {
        self.board.push_row(&Message::Change(row));
    }

    /// The next command for the run, before its next step.
    pub fn command(&self) -> Option<Command> {
        self.board.command()
    }

    /// Whether the next step's statistics are wanted.
    pub fn measure_next(&self) -> bool {
        self.board.measure_next()
    }

    /// Returns when a paused run may have something to do, or when `stop` says so.
    pub fn wait(&self, stop: &dyn Fn() -> bool) {
        self.board.wait(stop);
    }

    /// Whether a watcher wants to train another network, so that the run should stop.
    pub fn wants_restart(&self) -> bool {
        self.board.wants_restart()
    }

    /// The settings of the run that a watcher wants instead of this one.
    pub fn take_restart(&self) -> Option<Settings> {
        self.board.take_restart()
    }

    /// Reports that the requested run could not begin.
    pub fn refuse_restart(&self, why: &Error) {
        self.board.refuse_restart(why.to_string());
    }

    /// The run is over.
    pub fn end(&self, state: RunState, message: String) {
        self.board.update_status(|status| (status.state, status.message) = (state, Some(message)));
    }

    /// The settings to show for a run that is only viewed.
    pub fn show_settings(&self, settings: SettingsMessage, end: u64) {
        self.board.update_status(|status| (status.settings, status.end) = (settings, end));
    }

    /// After a run: returns when another one is requested, when nobody has watched for `patience` (if given), or when
    /// `stop` says so.
    pub fn wait_while_watched(&self, patience: Option<Duration>, stop: &dyn Fn() -> bool) {
        self.board.wait_while_watched(patience, stop);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.board.close();
    }
}
