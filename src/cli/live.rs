//! `--live`: a run with its page, and what watchers may change.

use super::interrupt::Interrupt;
use super::output::{Output, note};
use clap::Args;
use glassnet::live::Live;
use glassnet::look::message::RunState;
use glassnet::look::{Introduction, Subject};
use glassnet::report::History;
use glassnet::train::{ChangeRow, EpochRow, Outcome, Run, Settings, StepRow, settings_for};
use glassnet::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

/// How long a finished run's page stays up without watchers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether to serve a page.
#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Serve a page that follows the training and can change it. Without ADDR, it is at 127.0.0.1 and a free port, for
    /// this machine only. With ADDR, such as 0.0.0.0:8000 or 192.168.1.7, other machines can use it with the token in
    /// the printed URL. After the run's end, the page stays as long as someone watches it
    #[arg(long, value_name = "ADDR", num_args = 0..=1, value_parser = address)]
    live: Option<Option<SocketAddr>>,
    /// With --live: pause before the first step, so that the page can change the settings first
    #[arg(long, requires = "live")]
    paused: bool,
}

/// Reads an address with or without a port; without one, a free port is used. A port alone means the loopback address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = &text.replacen("localhost", "127.0.0.1", 1);
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let without_port = || text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    text.parse().or_else(|_| without_port()).map_err(|_| {
        "expected an address of this machine, such as 8000, localhost:8000, 0.0.0.0:8000 or [::]:8000".to_string()
    })
}

impl LiveArgs {
    /// Starts the page if it is requested, and prints its address.
    pub fn start(&self) -> Result<Option<Live>> {
        let Some(address) = self.live else { return Ok(None) };
        let live = Live::start(address)?;
        if self.paused {
            live.pause_at_first();
        }
        note(format_args!("the live page is at {}", live.url()));
        Ok(Some(live))
    }
}

/// Shows a run on the page.
pub(super) fn begin(live: &Live, run: &Run, output: Output) {
    let (dataset, state) = (&run.dataset, run.state.as_ref());
    let parts = dataset.split();
    let introduction = Introduction {
        folder: run.folder.path().display().to_string(),
        device: run.device.info().to_string(),
        training_examples: parts.train.len(),
        validation_examples: parts.validation.len(),
        first_step: state.map_or(0, |state| state.step),
    };
    let (before, data) = (run.now.clone(), dataset.clone());
    let resolve = move |network| match output.json {
        true => Err(Error::Settings("with --json a run prints one document; start the other run separately".into())),
        false => settings_for(network, &before, &data),
    };
    let subject = Subject { settings: run.now.clone(), dataset: dataset.clone(), trains: true };
    // If an average is kept, views use it, and the run will provide it.
    let weights = state.filter(|state| state.average.is_empty()).map(|state| (state.step, &state.parameters[..]));
    live.begin(&introduction, subject, Box::new(resolve), weights);
    live.record_in(run.folder.path());
    // For a resumed run, the rows so far.
    if state.is_some() {
        match History::read(&run.folder.path().join("metrics.jsonl")) {
            Ok(history) => rows(live, &history),
            Err(why) => note(format_args!("the live page starts without the earlier rows: {why}")),
        }
    }
}

/// Passes on the rows in the order of their steps, as the run did.
pub(super) fn rows(live: &Live, history: &History) {
    enum Row<'a> {
        Step(&'a StepRow),
        Epoch(&'a EpochRow),
        Change(&'a ChangeRow),
    }
    let steps = history.steps.iter().map(|row| (row.step, Row::Step(row)));
    let epochs = history.epochs.iter().map(|row| (row.step, Row::Epoch(row)));
    let changes = history.changes.iter().map(|row| (row.step, Row::Change(row)));
    let mut rows: Vec<(u64, Row)> = steps.chain(epochs).chain(changes).collect();
    rows.sort_by_key(|(step, _)| *step);
    for (_, row) in rows {
        match row {
            Row::Step(row) => live.step(row),
            Row::Epoch(row) => live.epoch(row),
            Row::Change(row) => live.change(row),
        }
    }
}

/// Shows on the page how a run ended.
pub(super) fn end(live: &Live, result: &Result<Outcome>) {
    match result {
        Ok(outcome) => {
            let accuracy = format!("test accuracy {:.2} %", 100.0 * outcome.test.accuracy);
            live.end(RunState::Ended, accuracy);
        }
        Err(Error::Interrupted) => live.end(RunState::Stopped, "the run was stopped; its checkpoint is saved".into()),
        Err(error) => live.end(RunState::Failed, error.to_string()),
    }
}

/// The run that a watcher requests after a finished one; none if nobody watches any more, or on Ctrl-C.
pub(super) fn next_run<T>(
    live: &Live,
    interrupt: &Interrupt,
    make: impl Fn(Settings) -> Result<T>,
) -> Result<Option<T>> {
    if live.watchers() > 0 && !interrupt.stops() {
        note("the page stays as long as someone watches it; press Ctrl-C to end it");
    }
    loop {
        live.wait_while_watched(Some(PATIENCE), &|| interrupt.stops());
        let Some(settings) = live.take_restart().filter(|_| !interrupt.stops()) else {
            // Gives the pages time to receive the end before the program ends.
            thread::sleep(Duration::from_millis(300));
            return Ok(None);
        };
        match make(settings) {
            Ok(next) => return Ok(Some(next)),
            Err(why) => live.refuse_restart(&why),
        }
    }
}
