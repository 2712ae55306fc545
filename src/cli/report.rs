//! `glassnet report`: the page about a run, made again from its folder.

use super::options::{self, DataArgs, DeviceArgs};
use super::output::{Output, note};
use super::standing::Standing;
use super::train::{resumed_data, resumed_device};
use clap::Args;
use glassnet::evaluate::Evaluation;
use glassnet::exec::Device;
use glassnet::formats::atomic_write;
use glassnet::report::tensorboard::Events;
use glassnet::report::{History, Report, Run};
use glassnet::train::{RunConfig, RunFolder};
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The page's name in a run folder.
pub(super) const FILE: &str = "report.html";

/// Write a run's report again
///
/// One HTML file with curves, statistics of layers, confusion matrix, the worst mistakes, pictures of layers, the time of
/// each layer and every setting. Of a run that was interrupted all curves are shown, and the rest
/// as of its checkpoint. The data and the device are
/// those of the run.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The file to write [default: report.html in the run folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write the event files for TensorBoard anew, into the folder tensorboard of the run folder
    #[arg(long)]
    tensorboard: bool,
    /// Folder with the data set's files, where they have moved
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The folder of pictures that the run learned from, where it has moved
    #[arg(long, value_name = "FOLDER", conflicts_with = "data_dir")]
    images: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    report: &'a Path,
    /// The folder of the event files, where they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensorboard: Option<PathBuf>,
    /// Updates that made the weights.
    step: u64,
    /// Whether the run has come to its end.
    finished: bool,
}

pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let output = Output { json: args.json };
    if let Some(out) = &args.out {
        check_out(out)?;
    }
    // Event files are of whoever trains; the page may be made beside that.
    let folder = if args.tensorboard { RunFolder::open(&args.run)? } else { RunFolder::read(&args.run)? };
    let config = folder.read_config()?;
    let settings = config.settings()?;
    let state = Standing::read(&folder, &settings)?;
    if state.summary.is_none() {
        let step = state.step;
        note(format_args!("the run has not come to its end: the report is of its checkpoint after {step} updates"));
    }
    let asked = DataArgs { dataset: None, data_dir: args.data_dir.clone(), images: args.images.clone() };
    let (_, dataset) = resumed_data(&asked, &config, &settings, output)?;
    let device = pollster::block_on(options::device(&resumed_device(&args.device, &config)?))?;
    let history = History::read(&args.run.join("metrics.jsonl"))?;
    let (path, step) = (args.out.clone().unwrap_or_else(|| args.run.join(FILE)), state.step);
    let run = Run {
        folder: &args.run,
        config: &config,
        settings: &settings,
        dataset: &dataset,
        history: &history,
        summary: state.summary.as_ref(),
        step,
        weights: &state.weights,
    };
    let report = write(&device, run, None, &path)?;
    let events = match args.tensorboard {
        true => Some(Events::again(&args.run, &history, &as_toml(&config)?, |events| {
            if let Some(summary) = &state.summary {
                events.test(summary)?;
            }
            pictures(events, &report)
        })?),
        false => None,
    };
    let finished = state.summary.is_some();
    let tensorboard = events.as_ref().and_then(|events| events.path().parent()).map(Path::to_path_buf);
    let folder = tensorboard.as_ref().map_or(String::new(), |path| format!("\nevents   {}", path.display()));
    let when = if finished { "" } else { ", of the checkpoint: the run has not come to its end" };
    let text = format!("report   {} (after {step} updates{when}){folder}", path.display());
    output.result(&Written { report: &path, tensorboard, step, finished }, text)?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses a file that cannot be written before anything is computed for it.
fn check_out(out: &Path) -> Result<()> {
    let shown = out.display();
    if out.is_dir() {
        return Err(Error::Settings(format!(
            "--out {shown} is a folder: name a file in it, as {}",
            out.join(FILE).display()
        )));
    }
    match out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => Err(Error::Settings(format!(
            "--out {shown}: there is no folder {}; make it first, or choose another",
            folder.display()
        ))),
        None => Ok(()),
    }
}

/// Makes the report of a run and writes it.
pub(super) fn write<'a>(device: &Device, run: Run<'a>, test: Option<Evaluation>, path: &Path) -> Result<Report<'a>> {
    let begin = Instant::now();
    let report = pollster::block_on(Report::make(device, run, test))?;
    atomic_write(path, report.html()?.as_bytes())?;
    log::info!("{}: made in {:.1} s", path.display(), begin.elapsed().as_secs_f64());
    Ok(report)
}

/// A report's pictures into an event file.
pub(super) fn pictures(events: &mut Events, report: &Report<'_>) -> Result<()> {
    events.pictures(0, report.pictures.iter().flat_map(|layer| &layer.start))?;
    events.pictures(report.run.step, report.pictures.iter().flat_map(|layer| &layer.end))
}

/// The settings as `config.toml` has them.
pub(super) fn as_toml(config: &RunConfig) -> Result<String> {
    toml::to_string(config).map_err(|error| Error::Settings(format!("the settings cannot be written: {error}")))
}
