//! `--live`: a run with its page, and what watchers may change.

use super::interrupt::Interrupt;
use super::output::{Output, note};
use super::train::{Ended, Ready};
use clap::Args;
use glassnet::data::Dataset;
use glassnet::evaluate::crops;
use glassnet::exec::Device;
use glassnet::live::message::State as Standing;
use glassnet::live::{Introduction, Live, Subject};
use glassnet::net::{Network, Shape};
use glassnet::report::History;
use glassnet::train::{ChangeRow, Command, EpochRow, Event, Observer, Outcome, Settings, State, StepRow};
use glassnet::{Error, Result};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
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

/// Passes events to a run's observer and to the page.
pub(super) struct Watched<'a, O> {
    pub reporter: &'a mut O,
    pub live: &'a Live,
}

impl<O: Observer> Observer for Watched<'_, O> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        // The folder is written before the page reports it.
        self.reporter.event(event)?;
        self.live.event(event);
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.reporter.should_stop() || self.live.wants_restart()
    }

    fn command(&mut self, _step: u64) -> Option<Command> {
        self.live.command()
    }

    fn wait(&mut self) {
        let reporter = &self.reporter;
        self.live.wait(&|| reporter.should_stop());
    }

    fn measure_next(&mut self) -> bool {
        self.live.measure_next()
    }
}

/// Shows a run on the page.
pub(super) fn begin(
    live: &Live,
    settings: &Settings,
    output: Output,
    dataset: &Arc<Dataset>,
    device: &Device,
    folder: &Path,
    state: Option<&State>,
) {
    let parts = dataset.split();
    let introduction = Introduction {
        folder: folder.display().to_string(),
        device: device.info().to_string(),
        training_examples: parts.train.len(),
        validation_examples: parts.validation.len(),
        first_step: state.map_or(0, |state| state.step),
    };
    let (before, data) = (settings.clone(), dataset.clone());
    let resolve = move |network| match output.json {
        true => Err(Error::Settings("with --json a run prints one document; start the other run separately".into())),
        false => for_another(&before, &data, network),
    };
    let subject =
        Subject { settings: settings.clone(), dataset: dataset.clone(), trains: true, resolve: Box::new(resolve) };
    // If an average is kept, views use it, and the run will provide it.
    let weights = state.filter(|state| state.average.is_empty()).map(|state| (state.step, &state.parameters[..]));
    live.begin(&introduction, subject, weights);
    live.record_in(folder);
    // For a resumed run, the rows so far.
    if state.is_some() {
        match History::read(&folder.join("metrics.jsonl")) {
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

/// The settings of a similar run with another network: that network's description sets how it is trained; length and
/// seed stay the same.
fn for_another(before: &Settings, dataset: &Dataset, network: Network) -> Result<Settings> {
    let [height, width, channels] = dataset.train.shape;
    network.check_fits(Shape::new(height, width, channels), dataset.train.classes)?;
    let settings = Settings::resolve(network, &before.of_run())?;
    crops(&settings.network, [height, width], settings.test_crops)?;
    Ok(settings)
}

/// Shows on the page how a run ended.
pub(super) fn end(live: &Live, result: &Result<Outcome>) {
    match result {
        Ok(outcome) => {
            let accuracy = format!("test accuracy {:.2} %", 100.0 * outcome.test.accuracy);
            live.end(Standing::Ended, accuracy);
        }
        Err(Error::Interrupted) => live.end(Standing::Stopped, "the run was stopped; its checkpoint is saved".into()),
        Err(error) => live.end(Standing::Failed, error.to_string()),
    }
}

/// The run that a watcher requests after a finished one; none if nobody watches any more, or on Ctrl-C.
pub(super) fn next_run(
    live: &Live,
    interrupt: &Interrupt,
    make: impl Fn(Settings) -> Result<Ready>,
) -> Result<Option<Ready>> {
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

/// The row that says which run followed.
pub(super) fn succeeded(ended: &Ended, next: &Ready) -> ChangeRow {
    ChangeRow {
        step: ended.step,
        train_seconds: ended.train_seconds,
        what: "network".into(),
        from: Value::Null,
        to: next.folder.path().display().to_string().into(),
    }
}
