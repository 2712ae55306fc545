//! `glassnet report`: makes a run's page again from its folder.

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

/// The size in bytes above which a file cannot be a page of this program.
const MOST_PAGE: u64 = 1 << 30;

/// Write a run's report again
///
/// Writes one HTML file with curves, statistics of layers, confusion matrix, the worst mistakes, pictures of layers,
/// the time of each layer and every setting. For an interrupted run, all curves are shown, and the rest describes its
/// checkpoint. Data and device are those of the run.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The file to write [default: report.html in the run folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file of --out if it exists; the run folder's own report.html is always replaced
    #[arg(long, requires = "out")]
    force: bool,
    /// Also write the event files for TensorBoard again, into the folder tensorboard of the run folder
    #[arg(long)]
    tensorboard: bool,
    /// Folder with the data set's files, if they have moved
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The folder of pictures that the run was trained on, if it has moved
    #[arg(long, value_name = "FOLDER", conflicts_with = "data_dir")]
    images: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(serialize_with = "output::path")]
    report: &'a Path,
    /// The folder of the event files, if they were written.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "output::optional_path")]
    tensorboard: Option<PathBuf>,
    /// The number of updates that made the weights.
    step: u64,
    /// Whether the run is finished.
    finished: bool,
}

pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    let output = args.output;
    // Checked before anything is computed.
    let target = match &args.out {
        Some(out) => Some(Target::new(out, args.force)?),
        None => None,
    };
    // Only the process that trains may write event files; the page may be made at any time.
    let folder = if args.tensorboard { RunFolder::open(&args.run)? } else { RunFolder::read(&args.run)? };
    let config = folder.read_config()?;
    let settings = config.settings()?;
    let latest = LatestWeights::read(&folder, &settings)?;
    let (finished, step) = (latest.summary.is_some(), latest.step);
    if !finished {
        note(format_args!("the run is not finished; the report describes its checkpoint after {step} updates"));
    }
    let asked = DataArgs { data_dir: args.data_dir.clone(), images: args.images.clone(), ..DataArgs::default() };
    let dataset = data_of_run(&asked, &args.run, &config, &settings, output).map_err(|error| match error {
        // This command has no --skip-unreadable.
        Error::Unreadable(why) => Error::Data(why),
        error => error,
    })?;
    let device = pollster::block_on(options::device_of_run(&args.device, &config))?;
    let target = target.map_or_else(|| own_page(&args.run), Ok)?.sparing(dataset.sources())?;
    let run = SavedRun { folder: &args.run, config: &config, settings: &settings, dataset: &dataset, latest: &latest };
    let tensorboard = rewrite(&device, run, Some(&target), args.tensorboard)?;
    let path = target.path();
    let folder = tensorboard.as_ref().map_or(String::new(), |path| format!("\nevents   {}", path.display()));
    let when = if finished { "" } else { ", at the checkpoint; the run is not finished" };
    let text = format!("report   {} (after {step} updates{when}){folder}", path.display());
    output.result(&Written { report: path, tensorboard, step, finished }, text)?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

/// The data that the run in a folder began with, for a report or a view.
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
        .for_each(|why| note(format_args!("{why}; results computed now use the pictures as they are read now")));
    Ok(dataset)
}

/// A run as stored in its folder.
pub(super) struct SavedRun<'a> {
    pub folder: &'a Path,
    pub config: &'a RunConfig,
    pub settings: &'a Settings,
    pub dataset: &'a Dataset,
    pub latest: &'a LatestWeights,
}

/// Makes a saved run's report again, and its event files if requested; returns the folder of those.
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

/// Whether the report in a run's folder describes the run after `step` updates. A resumed run that is killed before it
/// makes a new report leaves an older one.
pub(super) fn is_current(folder: &Path, step: u64) -> bool {
    let path = folder.join(FILE);
    // Opening a pipe would wait for a writer.
    let is_page = path.metadata().is_ok_and(|found| found.is_file() && found.len() < MOST_PAGE);
    let page = is_page.then(|| std::fs::read_to_string(&path).ok()).flatten();
    page.is_some_and(|page| page.contains(&updates_mark(step, true)) && page.trim_end().ends_with("</html>"))
}

/// The target of a run's report in its folder.
///
/// # Errors
/// Those of [`Target::new`], and [`Error::Settings`] if it is not a regular file, because writing to a pipe would wait
/// for a reader.
pub(super) fn own_page(folder: &Path) -> Result<Target> {
    let path = folder.join(FILE);
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let path = path.display();
        return Err(Error::Settings(format!("{path} is not a regular file; move it, then try again")));
    }
    Target::new(&path, true)
}

/// Whether a run's folder has event files written by Glassnet.
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

/// Writes a report's pictures to an event file.
pub(super) fn pictures(events: &mut Events, report: &Report<'_>) -> Result<()> {
    events.pictures(0, report.pictures.iter().flat_map(|layer| &layer.start))?;
    events.pictures(report.run.step, report.pictures.iter().flat_map(|layer| &layer.end))
}

/// The settings as in `config.toml`.
pub(super) fn as_toml(config: &RunConfig) -> Result<String> {
    toml::to_string(config).map_err(|error| Error::Settings(format!("the settings cannot be written: {error}")))
}
