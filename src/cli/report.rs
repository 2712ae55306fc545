//! `glassnet report`: the page about a run, made again from its folder.

use super::options::{self, DataArgs, DeviceArgs};
use super::output::{Output, note};
use super::train::{resumed_data, resumed_device};
use clap::Args;
use glassnet::evaluate::Evaluation;
use glassnet::exec::Device;
use glassnet::formats::{atomic_write, load_checkpoint, load_model};
use glassnet::net::{Network, Parameters};
use glassnet::program::{Options, Program, Source};
use glassnet::report::tensorboard::Events;
use glassnet::report::{History, Report, Run};
use glassnet::train::{RunConfig, RunFolder, Settings, Summary};
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
/// each layer and every setting. A run that was interrupted is shown as of its checkpoint. The data and the device are
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
    let folder = RunFolder::open(&args.run)?;
    let config = folder.read_config()?;
    let settings = config.settings()?;
    let state = State::read(&folder, &settings)?;
    let asked = DataArgs { dataset: None, data_dir: args.data_dir.clone(), images: args.images.clone() };
    let (_, dataset) = resumed_data(&asked, &config, &settings, output)?;
    let device = pollster::block_on(options::device(&resumed_device(&args.device, &config)?))?;
    let history = History::read(&args.run.join("metrics.jsonl"))?.until(state.step);
    let (path, step) = (args.out.clone().unwrap_or_else(|| args.run.join(FILE)), state.step);
    let mut events = match args.tensorboard {
        true => Some(Events::again(&args.run, &history, &as_toml(&config)?)?),
        false => None,
    };
    if let Some((events, summary)) = events.as_mut().zip(state.summary.as_ref()) {
        events.test(summary)?;
    }
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
    write(&device, run, None, &path, events.as_mut())?;
    let finished = state.summary.is_some();
    let tensorboard = events.as_ref().and_then(|events| events.path().parent()).map(Path::to_path_buf);
    let folder = tensorboard.as_ref().map_or(String::new(), |path| format!("\nevents   {}", path.display()));
    let when = if finished { "" } else { ", of the checkpoint: the run has not come to its end" };
    let text = format!("report   {} (after {step} updates{when}){folder}", path.display());
    output.result(&Written { report: &path, tensorboard, step, finished }, text)?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the report of a run and writes it, and its pictures into the event file where there is one.
pub(super) fn write(
    device: &Device,
    run: Run<'_>,
    test: Option<Evaluation>,
    path: &Path,
    events: Option<&mut Events>,
) -> Result<()> {
    let begin = Instant::now();
    let step = run.step;
    let report = pollster::block_on(Report::make(device, run, test))?;
    atomic_write(path, report.html()?.as_bytes())?;
    if let Some(events) = events {
        events.pictures(0, report.plates.iter().flat_map(|layer| &layer.start))?;
        events.pictures(step, report.plates.iter().flat_map(|layer| &layer.end))?;
    }
    log::info!("{}: made in {:.1} s", path.display(), begin.elapsed().as_secs_f64());
    Ok(())
}

/// The settings as `config.toml` has them.
pub(super) fn as_toml(config: &RunConfig) -> Result<String> {
    toml::to_string(config).map_err(|error| Error::Settings(format!("the settings cannot be written: {error}")))
}

/// Where a run stands.
struct State {
    step: u64,
    /// Those that validation and the test use.
    weights: Vec<Parameters>,
    /// Of a run that has come to its end.
    summary: Option<Summary>,
}

impl State {
    fn read(folder: &RunFolder, settings: &Settings) -> Result<State> {
        let [model, checkpoint] = ["model.safetensors", "checkpoint.safetensors"].map(|name| folder.path().join(name));
        let summary = folder.read_summary()?;
        if !checkpoint.is_file() {
            let Some(summary) = summary.filter(|_| model.is_file()) else {
                return Err(Error::Settings(format!(
                    "{} holds no weights yet: let the run go on with `glassnet train --resume {0}`",
                    folder.path().display()
                )));
            };
            return State::ended(&model, settings, summary);
        }
        let saved = load_checkpoint(&checkpoint)?;
        // An older summary is of an earlier, shorter run in this folder.
        if let Some(summary) = summary.filter(|summary| summary.steps == saved.step && model.is_file()) {
            return State::ended(&model, settings, summary);
        }
        check(&checkpoint, &saved.model.network, &settings.network)?;
        let average = saved.optimizer.iter().find(|(name, _)| name == "average").map(|(_, values)| values);
        let weights = match average {
            Some(flat) => split(&settings.network, flat, &checkpoint)?,
            None => saved.model.parameters,
        };
        note(format_args!(
            "the run has not come to its end: the report is of its checkpoint after {} updates",
            saved.step
        ));
        Ok(State { step: saved.step, weights, summary: None })
    }

    fn ended(path: &Path, settings: &Settings, summary: Summary) -> Result<State> {
        let model = load_model(path)?;
        check(path, &model.network, &settings.network)?;
        Ok(State { step: summary.steps, weights: model.parameters, summary: Some(summary) })
    }
}

fn check(path: &Path, found: &Network, wanted: &Network) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Model(format!(
        "{}: the network or the way it is trained is not that of config.toml; one of the two was changed",
        path.display()
    )))
}

/// A moving average as a device holds it, cut into layers.
fn split(network: &Network, flat: &[f32], path: &Path) -> Result<Vec<Parameters>> {
    let shape = network.input_shape();
    let source = Source { height: shape.height, width: shape.width, channels: shape.channels, examples: 1 };
    let program = Program::lower(network, &Options::evaluation(1, source))?;
    if flat.len() != program.parameters.len {
        return Err(Error::Model(format!("{}: its moving average is not that of this network", path.display())));
    }
    Ok(program.split_parameters(network, flat))
}
