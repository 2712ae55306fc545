//! `glassnet view`: the live page for a finished or stopped run.

use super::interrupt::Interrupt;
use super::live::{address, rows};
use super::options::{self, DataArgs};
use super::output::{Output, note};
use super::report::data_of_run;
use clap::Args;
use glassnet::kernels::Precision;
use glassnet::live::{Live, RunningPage, running_page};
use glassnet::look::message::{RunState, SettingsMessage};
use glassnet::look::{Introduction, Subject};
use glassnet::report::History;
use glassnet::train::{Course, LatestWeights, RunFolder};
use glassnet::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// View a run that has ended
///
/// Serves the page of `train --live` for a run folder: curves, layers, predictions and a board to draw on, with the
/// run's final weights or those of its checkpoint. Press Ctrl-C to end it. If the run is still training with a live
/// page, prints that page's address.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Address to serve the page at, such as 0.0.0.0:8000 or 192.168.1.7, for others who know the token in the printed
    /// URL [default: 127.0.0.1 and a free port, for this machine only]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    address: Option<SocketAddr>,
    /// Folder with the data set's files, if they have moved
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The folder of pictures that the run was trained on, if it has moved
    #[arg(long, value_name = "FOLDER", conflicts_with = "data_dir")]
    images: Option<PathBuf>,
}

pub fn run(args: &ViewArgs) -> Result<ExitCode> {
    let output = Output { json: false };
    let folder = RunFolder::read(&args.run)?;
    match running_page(&args.run) {
        Some(RunningPage::Answers(url)) => {
            output.say(format_args!("the run is still training; its live page is at {url}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(RunningPage::Silent(url)) => {
            let why = format!("the run is still training, but its live page at {url} does not answer; try again");
            return Err(Error::Settings(why));
        }
        None => {}
    }
    let config = folder.read_config()?;
    let settings = config.settings()?;
    let latest = LatestWeights::read(&folder, &settings)?;
    let asked = DataArgs { data_dir: args.data_dir.clone(), images: args.images.clone(), ..DataArgs::default() };
    let dataset = data_of_run(&asked, &args.run, &config, &settings, output)?;
    let history = History::read(&args.run.join("metrics.jsonl"))?;
    let parts = dataset.split();
    let precision = match config.precision {
        Precision::F32 => String::new(),
        other => format!(" in {other}"),
    };
    let introduction = Introduction {
        folder: args.run.display().to_string(),
        device: format!("{}: {}{precision}", config.device.executor, config.device.name),
        training_examples: parts.train.len(),
        validation_examples: parts.validation.len(),
        first_step: 0,
    };
    let (course, now) = Course::replay(parts.train, &settings, &history.changes_until(latest.step))?;
    options::stand_in_reminder(&dataset, output)?;

    let live = Live::start(args.address)?;
    let refuse = Box::new(|_| Err(Error::Settings("this run can only be viewed".into())));
    let subject = Subject { settings, dataset, trains: false };
    live.begin(&introduction, subject, refuse, Some((latest.step, &latest.weights)));
    live.show_settings(SettingsMessage::of(&now), course.end());
    rows(&live, &history);
    end(&live, &latest, &args.run);
    let interrupt = Interrupt::handle("")?;
    interrupt.nothing_to_save();
    note(format_args!("the page is at {} (press Ctrl-C to end it)", live.url()));
    live.wait_while_watched(None, &|| interrupt.stops());
    Ok(ExitCode::SUCCESS)
}

fn end(live: &Live, latest: &LatestWeights, run: &Path) {
    match &latest.summary {
        Some(summary) => {
            live.end(RunState::Ended, format!("test accuracy {:.2} %", 100.0 * summary.test_accuracy));
        }
        None => {
            let step = latest.step;
            let how = match RunFolder::is_in_use(run) {
                true => format!("still training in another process, without a page; shown after {step} updates"),
                false => {
                    format!("stopped after {step} updates; continue with glassnet train --resume {}", run.display())
                }
            };
            live.end(RunState::Stopped, how);
        }
    }
}
