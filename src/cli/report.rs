//! `glassnet report`: the page about a run, made again from its folder.

use super::notices::Notices;
use super::options::{self, DataArgs, DeviceArgs};
use super::output::{self, Output, note};
use clap::Args;
use glassnet::data::Dataset;
use glassnet::evaluate::Evaluation;
use glassnet::exec::Device;
use glassnet::formats::Target;
use glassnet::report::tensorboard::{self, Events};
use glassnet::report::{History, Report, ReportedRun, updates_mark};
use glassnet::train::{DataSource, LatestWeights, RecordedData, RunConfig, RunFolder, Settings};
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// The page's name in a run folder.
pub(super) const FILE: &str = "report.html";

/// A longer file is no page of ours.
const MOST_PAGE: u64 = 1 << 30;

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
    /// Replace the file of --out where it exists; the run folder's own report.html is replaced in any case
    #[arg(long, requires = "out")]
    force: bool,
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
    #[serde(serialize_with = "output::path")]
    report: &'a Path,
    /// The folder of the event files, where they were written.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "output::optional_path")]
    tensorboard: Option<PathBuf>,
    /// Updates that made the weights.
    step: u64,
    /// Whether the run has come to its end.
    finished: bool,
}

pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let output = Output { json: args.json };
    // Refused before anything is computed.
    let target = match &args.out {
        Some(out) => Some(Target::new(out, args.force)?),
        None => None,
    };
    // Event files are of whoever trains; the page may be made beside that.
    let folder = if args.tensorboard { RunFolder::open(&args.run)? } else { RunFolder::read(&args.run)? };
    let config = folder.read_config()?;
    let settings = config.settings()?;
    let latest = LatestWeights::read(&folder, &settings)?;
    let (finished, step) = (latest.summary.is_some(), latest.step);
    if !finished {
        note(format_args!("the run has not come to its end: the report is of its checkpoint after {step} updates"));
    }
    let asked = DataArgs { data_dir: args.data_dir.clone(), images: args.images.clone(), ..DataArgs::default() };
    let dataset = data_of_run(&asked, &args.run, &config, &settings, output)?;
    let device = pollster::block_on(options::device_of_run(&args.device, &config))?;
    let target = target.map_or_else(|| own_page(&args.run), Ok)?.sparing(dataset.sources())?;
    let run = SavedRun { folder: &args.run, config: &config, settings: &settings, dataset: &dataset, latest: &latest };
    let tensorboard = rewrite(&device, run, Some(&target), args.tensorboard)?;
    let path = target.path();
    let folder = tensorboard.as_ref().map_or(String::new(), |path| format!("\nevents   {}", path.display()));
    let when = if finished { "" } else { ", of the checkpoint: the run has not come to its end" };
    let text = format!("report   {} (after {step} updates{when}){folder}", path.display());
    output.result(&Written { report: path, tensorboard, step, finished }, text)?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

/// The data that the run in a folder began with, to look at the run with.
pub(super) fn data_of_run(
    asked: &DataArgs,
    run: &Path,
    config: &RunConfig,
    settings: &Settings,
    output: Output,
) -> Result<Arc<Dataset>> {
    let mut notices = Notices::new(output);
    let asked = DataSource::Choice(asked.choice());
    let found = RecordedData::find(&asked, run, config, settings, &mut |notice| notices.show(notice));
    notices.result()?;
    let RecordedData { dataset, changed, .. } = found?;
    changed
        .iter()
        .for_each(|why| note(format_args!("{why}; what is computed now is of the pictures as they are read now")));
    Ok(dataset)
}

/// A run as its folder has it.
pub(super) struct SavedRun<'a> {
    pub folder: &'a Path,
    pub config: &'a RunConfig,
    pub settings: &'a Settings,
    pub dataset: &'a Dataset,
    pub latest: &'a LatestWeights,
}

/// Makes the report of a saved run, and the event files where they are wanted; returns the folder of those.
pub(super) fn rewrite(
    device: &Device,
    run: SavedRun<'_>,
    to: Option<&Target>,
    tensorboard: bool,
) -> Result<Option<PathBuf>> {
    let SavedRun { folder, config, settings, dataset, latest } = run;
    let history = History::read(&folder.join("metrics.jsonl"))?;
    let (summary, step, weights) = (latest.summary.as_ref(), latest.step, &latest.weights[..]);
    let run = ReportedRun { folder, config, settings, dataset, history: &history, summary, step, weights };
    let report = match to {
        Some(to) => write(device, run, None, to)?,
        None => pollster::block_on(Report::make(device, run, None))?,
    };
    if !tensorboard {
        return Ok(None);
    }
    let events = Events::rewrite(folder, &history, &as_toml(config)?, |events| {
        if let Some(summary) = summary {
            events.test(summary)?;
        }
        pictures(events, &report)
    })?;
    Ok(events.path().parent().map(Path::to_path_buf))
}

/// Whether the report in a run's folder is of the run after `step` updates: a run that goes on, and is killed before it has
/// made another, leaves an older one.
pub(super) fn is_current(folder: &Path, step: u64) -> bool {
    let path = folder.join(FILE);
    // Opening a pipe would wait for whoever writes to it.
    let is_page = path.metadata().is_ok_and(|found| found.is_file() && found.len() < MOST_PAGE);
    let page = is_page.then(|| std::fs::read_to_string(&path).ok()).flatten();
    page.is_some_and(|page| page.contains(&updates_mark(step, true)) && page.trim_end().ends_with("</html>"))
}

/// Where the report of a run goes in its folder.
///
/// # Errors
/// As [`Target::new`], and [`Error::Settings`] for what is no regular file, since writing to a pipe would wait for a reader.
pub(super) fn own_page(folder: &Path) -> Result<Target> {
    let path = folder.join(FILE);
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let path = path.display();
        return Err(Error::Settings(format!("{path} is in the way: it is no regular file; move it, then try again")));
    }
    Target::new(&path, true)
}

/// Whether a run's folder has event files of Glassnet.
pub(super) fn has_events(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder.join(tensorboard::FOLDER)).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().ends_with(".glassnet"))
}

/// Makes the report of a run and writes it.
pub(super) fn write<'a>(
    device: &Device,
    run: ReportedRun<'a>,
    test: Option<Evaluation>,
    to: &Target,
) -> Result<Report<'a>> {
    let begin = Instant::now();
    let report = pollster::block_on(Report::make(device, run, test))?;
    to.write(report.html()?.as_bytes())?;
    log::info!("{}: made in {:.1} s", to.path().display(), begin.elapsed().as_secs_f64());
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
