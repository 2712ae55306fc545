//! `glassnet train`: resolves the settings, trains, shows progress and the layers' statistics, fills the run folder.

use super::interrupt::Interrupt;
use super::live::{self, LiveArgs};
use super::options::{self, DataArgs, DeviceArgs, DeviceName, NetworkArgs};
use super::output::{self, Output, note};
use super::report;
use super::standing::{self, Standing};
use super::train_reporter::{Reporter, begin_events};
use super::train_view::View;
use clap::Args;
use glassnet::data::{Dataset, DatasetName, Examples, HeldOut, Origin};
use glassnet::evaluate::crops;
use glassnet::exec::{Device, ExecutorKind};
use glassnet::formats::{load_extra, load_model};
use glassnet::live::Live;
use glassnet::net::{OptimizerName, Recipe};
use glassnet::report::tensorboard::Events;
use glassnet::train::{Course, Length, RunConfig, RunFolder, Settings, State, split_for};
use glassnet::{Error, Result, text};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Train a network
///
/// Trains, shows progress and statistics of every layer, tests once at the end, and saves a run folder with the model,
/// a checkpoint to resume from, and all figures. Ctrl-C saves a checkpoint first.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// The rule that turns gradients into updates: sgd, momentum, nesterov, adagrad, windowgrad (also called rmsprop),
    /// adadelta, adam or adamw [default: the network's own, else adadelta]
    #[arg(long, value_name = "NAME", aliases = ["trainer", "optimiser", "opt"])]
    optimizer: Option<OptimizerName>,
    /// Decides initial weights, the order of examples, all crops, all augmentation and what is dropped [default: 1]
    #[arg(long, value_name = "N", value_parser = options::whole::<u64>)]
    seed: Option<u64>,
    #[command(flatten)]
    given: Recipe,
    /// The run folder to make [default: runs/NETWORK-TIME]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder, with its own settings; --epochs or --steps may set a later end
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Write no report.html at the end
    #[arg(long)]
    no_report: bool,
    /// Also write event files for TensorBoard, into the folder tensorboard of the run folder, while it trains
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    live: LiveArgs,
    /// Print the summary as one JSON document
    #[arg(long)]
    json: bool,
}

impl TrainArgs {
    fn given(&self) -> Recipe {
        Recipe { optimizer: self.optimizer, seed: self.seed, ..self.given.clone() }
    }

    /// A resumed run takes its settings from its folder: what is given here, but for a later end, is refused, not ignored.
    fn refuse_with_resume(&self) -> Result<()> {
        let NetworkArgs { preset, net } = &self.network;
        let apart = [("preset", preset.is_some()), ("net", net.is_some()), ("dataset", self.data.dataset.is_some())];
        let apart = apart.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        let given = self.given();
        let settings = given.given().map(|(name, _)| name).filter(|name| !["epochs", "steps"].contains(name));
        match apart.chain(settings).next() {
            Some(name) => Err(Error::Settings(format!(
                "{} cannot change a run that is resumed: leave it out, or start a new run without --resume",
                output::option(name)
            ))),
            None => Ok(()),
        }
    }
}

/// A run that is ready to go.
pub(super) struct Ready {
    config: RunConfig,
    /// Those that the run began with, and those that it has come to.
    settings: Settings,
    now: Settings,
    dataset: Arc<Dataset>,
    device: Device,
    pub(super) folder: RunFolder,
    state: Option<State>,
    events: Option<Events>,
}

/// How a run ended.
pub(super) struct Ended {
    /// As the program's, if it ended here.
    code: Result<ExitCode>,
    /// Updates made, and the time they took.
    pub(super) step: u64,
    pub(super) train_seconds: f64,
    pub(super) folder: RunFolder,
}

pub fn run(args: &TrainArgs) -> Result<ExitCode> {
    let output = Output { json: args.json };
    let live = args.live.start()?;
    let ready = match &args.resume {
        Some(folder) => resumed(args, folder, output)?,
        None => Some(new(args, output)?),
    };
    let mut first = true;
    let Some(mut ready) = ready else { return Ok(ExitCode::SUCCESS) };
    let interrupt = Interrupt::handle("a checkpoint is saved")?;
    loop {
        let base = (ready.config.clone(), ready.dataset.clone(), ready.device.clone());
        let mut ended = train_once(args, ready, first, live.as_ref(), &interrupt, output);
        let Some(live) = &live else { return ended.code };
        // Now, and not when the page is closed.
        if let Err(error) = &ended.code {
            note(format_args!("error: {}", output::told(error)));
            ended.code = Ok(ExitCode::FAILURE);
        }
        interrupt.nothing_to_save();
        match live::next_run(live, &interrupt, |settings| another(args, base.clone(), settings))? {
            Some(next) => {
                ended.folder.append_change(&live::succeeded(&ended, &next))?;
                (ready, first) = (next, false);
            }
            None => return ended.code,
        }
        interrupt.something_to_save();
    }
}

/// Trains to the end, or to where it is stopped.
fn train_once(
    args: &TrainArgs,
    ready: Ready,
    first: bool,
    live: Option<&Live>,
    interrupt: &Interrupt,
    output: Output,
) -> Ended {
    let Ready { config, settings, now, dataset, device, folder, state, events } = ready;
    let mut reporter = Reporter {
        view: View::new(&now, live.map(|live| live.url().to_string()), output),
        folder,
        config: &config,
        settings: &settings,
        now: &now,
        dataset: &dataset,
        device: &device,
        first,
        first_step_seconds: None,
        events,
        report: !args.no_report,
        ended: false,
        changed: state.as_ref().is_some_and(|state| !state.changes.is_empty()),
        reached: state.as_ref().map_or((0, 0.0), |state| (state.step, state.train_seconds)),
        interrupt,
        output,
    };
    let code = reporter.train(live, state);
    let (step, train_seconds) = reporter.reached;
    Ended { code, step, train_seconds, folder: reporter.folder }
}

fn new(args: &TrainArgs, output: Output) -> Result<Ready> {
    let network = options::network_for(&args.network, &args.data)?;
    let augmentation = network.augmentation;
    let settings = Settings::resolve(network, &args.given())?;
    options::check_data(&args.data, None, &settings.network)?;
    // Opening a device takes as long as unpacking some of the data.
    let (data, device) = rayon::join(
        || {
            options::dataset(&args.data, None, &settings.network, output)
                .map(|dataset| (fingerprint(&dataset.train), dataset))
        },
        || pollster::block_on(options::device(&args.device)),
    );
    let ((sum, dataset), device) = (data?, device?);
    // Before a folder is made for a run whose validation or test cannot be.
    split_for(&dataset, &settings.network)?;
    let [height, width, _] = dataset.test.shape;
    let (image, count) = ([height, width], settings.test_crops);
    if let Err(error) = crops(&settings.network, image, count) {
        let mut described = settings.network.clone();
        described.augmentation = augmentation;
        let mended = args.given.no_augmentation == Some(true) && crops(&described, image, count).is_ok();
        return Err(if mended { Error::Settings(without_augmentation(count)) } else { error });
    }
    let path = args.out.clone().unwrap_or_else(|| default_folder(&settings.network.name));
    let config = config(&args.data, &settings, &dataset, &sum, &device);
    let folder = RunFolder::create(&path, &config)?;
    let dataset = Arc::new(dataset);
    let events = args.tensorboard.then(|| begin_events(&folder, &config, 0)).transpose()?;
    Ok(Ready { config, now: settings.clone(), settings, dataset, device, folder, state: None, events })
}

/// What a run takes over from the one before it, beside its settings: where its data is, the data and the device.
type Base = (RunConfig, Arc<Dataset>, Device);

/// A new run with another network, on the same data and device, in a folder of its own.
fn another(args: &TrainArgs, (before, dataset, device): Base, settings: Settings) -> Result<Ready> {
    let path = match &args.out {
        Some(path) => {
            let name = path.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
            first_free(path.parent().unwrap_or(Path::new("")), &name)
        }
        None => default_folder(&settings.network.name),
    };
    let skip_unreadable = before.skip_unreadable;
    let data = DataArgs { dataset: None, data_dir: before.data_dir, images: before.images, skip_unreadable };
    let config = config(&data, &settings, &dataset, &before.data_sha256, &device);
    let folder = RunFolder::create(&path, &config)?;
    let events = args.tensorboard.then(|| begin_events(&folder, &config, 0)).transpose()?;
    Ok(Ready { config, now: settings.clone(), settings, dataset, device, folder, state: None, events })
}

/// Why a network has no such crops although its description says how to make them.
fn without_augmentation(count: usize) -> String {
    format!(
        "--test-crops {count}: --no-augmentation switches off the network's pad and flip, which these crops come from; \
         leave one of the two options out"
    )
}

/// `None` where the run has come to its end already.
fn resumed(args: &TrainArgs, path: &Path, output: Output) -> Result<Option<Ready>> {
    args.refuse_with_resume()?;
    let mut folder = RunFolder::open(path)?;
    let mut config = folder.read_config()?;
    // By the name of its option, before it stands in the config.
    args.given.check()?;
    config.length = Length::of(&args.given).unwrap_or(config.length);
    let settings = config.settings()?;
    let (data, dataset, changed) = resumed_data(&args.data, path, &config, &settings, output)?;
    if let Some(why) = changed {
        return Err(Error::Data(format!(
            "{why}; so the run cannot go on: start a new one, or use its model with `glassnet eval`, `inspect` and `predict`"
        )));
    }
    let state = folder.resume(&settings)?;
    let changes = state.as_ref().map_or(&[][..], |state| &state.changes);
    let (course, now) = Course::replay(dataset.split().train, &settings, changes)?;
    let step = state.as_ref().map_or(0, |s| s.step);
    let best = state.as_ref().and_then(|state| state.best);
    // The summary is the last thing that a run writes; an older one is of an earlier, shorter run in this folder.
    let ended = step == course.end_after(step)?;
    let summary = match folder.read_summary() {
        // The run's end is made again, and with it the summary.
        Err(Error::Data(why)) => {
            note(why);
            None
        }
        summary => summary?,
    };
    if let Some(summary) = summary.filter(|summary| summary.steps == step)
        && (ended || summary.stopped_early && settings.stops_early(course.sampler.epoch_at(step), best))
    {
        match summary.stopped_early {
            false => note("this run has come to its end; --epochs or --steps with a larger number lets it go on"),
            true => note("this run has stopped early: its validation loss had not fallen for --patience epochs"),
        }
        let model = folder.path().join("model.safetensors");
        if let Some(state) = &state
            && let Err(error) = load_model(&model)
        {
            note(format_args!("its model is made again from the checkpoint: {error}"));
            let weights = standing::weights_of(state, &settings, folder.path())?;
            folder.save_model(&settings, &dataset.provenance(), step, &weights)?;
        }
        let page = !args.no_report && !report::is_current(folder.path(), step);
        let events = args.tensorboard && !report::has_events(folder.path());
        if page || events {
            if page {
                note("its report is missing, cut, or of an earlier end; it is made now");
            }
            let device = pollster::block_on(options::device(&resumed_device(&args.device, &config)?))?;
            let state = Standing::read(&folder, &settings)?;
            let target = page.then(|| report::own_page(folder.path())).transpose()?;
            let ran =
                report::Ran { folder: folder.path(), config: &config, settings: &settings, dataset: &dataset, state };
            if let Some(events) = report::again(&device, ran, target.as_ref(), events)? {
                note(format_args!("events   {}", events.display()));
            }
            if let Some(target) = target {
                note(format_args!("report   {}", target.path().display()));
            }
        }
        output.result(&summary, format_args!("test accuracy {:.2} %", 100.0 * summary.test_accuracy))?;
        return Ok(None);
    }
    let device = pollster::block_on(options::device(&resumed_device(&args.device, &config)?))?;
    if device.info().executor.as_str() != config.device.executor || device.info().name != config.device.name {
        note(format_args!(
            "this run began on {} ({}): on another device it goes on, but not with the same bits",
            text::cut(&config.device.name),
            text::cut(&config.device.executor)
        ));
    }
    match changes {
        [] => {}
        [change] => note(format_args!("a change made during the run holds again: {change}")),
        [first, .., last] => note(format_args!(
            "{} changes made during the run hold again, from {first} to {last}; metrics.jsonl has all of them",
            changes.len()
        )),
    }
    if config.validation == HeldOut::AtRandom {
        note("this run began with a tenth held out at random, as earlier versions did, and keeps it");
    }
    // Where the data is now, for the next time.
    (config.data_dir, config.images) = (data.data_dir.as_ref().map(absolute), data.images.as_ref().map(absolute));
    config.device = (&device.info()).into();
    folder.write_config(&config)?;
    let dataset = Arc::new(dataset);
    let events = args.tensorboard.then(|| begin_events(&folder, &config, step)).transpose()?;
    Ok(Some(Ready { config, settings, now, dataset, device, folder, state, events }))
}

/// The data that the run in the folder `run` began with, and where it was found; its folder may have moved. The last is why
/// the data may be other than the run learned from, where that can also be since an earlier version read it.
///
/// # Errors
/// As [`options::dataset`]; [`Error::Settings`] and [`Error::Data`] where it is not what the run's checkpoint was trained on.
pub(super) fn resumed_data(
    asked: &DataArgs,
    run: &Path,
    config: &RunConfig,
    settings: &Settings,
    output: Output,
) -> Result<(DataArgs, Dataset, Option<String>)> {
    let recorded = recorded(run);
    check_dataset(run, config, &recorded)?;
    let data = where_data_is(asked, config)?;
    let given = asked.data_dir.is_some() || asked.images.is_some();
    if let Some(folder) = data.images.as_ref().or(data.data_dir.as_ref()).filter(|folder| !given && !folder.is_dir()) {
        let (folder, option) = (text::path(folder), if data.images.is_some() { "--images" } else { "--data-dir" });
        let file = run.join("config.toml");
        return Err(Error::Settings(format!(
            "the run's data was in {folder}, as {} says, and is not there: put it back, or name its new folder with {option}",
            file.display()
        )));
    }
    let mut dataset = options::dataset(&data, None, &settings.network, output)?;
    if config.validation == HeldOut::AtRandom {
        dataset = dataset.held_out_at_random();
    }
    let earlier = config.validation == HeldOut::AtRandom && config.images.is_some();
    check_classes(&dataset, &recorded).map_err(|error| match error {
        Error::Data(why) if earlier => Error::Data(format!("{why}; {EARLIER}")),
        error => error,
    })?;
    if fingerprint(&dataset.train) != config.data_sha256 {
        if earlier {
            return Ok((data, dataset, Some(EARLIER.into())));
        }
        let (name, option) = (dataset.name, if data.images.is_some() { "--images" } else { "--data-dir" });
        return Err(Error::Data(format!(
            "the {name} data found now is not what this run was trained on; give the old folder with {option}"
        )));
    }
    Ok((data, dataset, None))
}

/// Why pictures are not what a run was trained on, though nobody may have changed them.
const EARLIER: &str = "an earlier version made this run, and this one reads pictures differently: other folders are training \
                       and validation sets, grey has other weights; or the pictures have changed";

/// What the run's own files say of its data; nothing before the first of them.
fn recorded(run: &Path) -> serde_json::Value {
    let files = ["checkpoint.safetensors", "model.safetensors", "best.safetensors"].map(|name| run.join(name));
    // A damaged one is told of where it is read as a whole.
    files.iter().find_map(|file| load_extra(file).ok()).unwrap_or_default()
}

/// Holds the data set that `config.toml` names, which anyone can edit, against what the weights were made of.
pub(super) fn check_dataset(run: &Path, config: &RunConfig, recorded: &serde_json::Value) -> Result<()> {
    let Some(own) = recorded["dataset"].as_str() else { return Ok(()) };
    let (name, own) = (own, text::cut(own));
    let images = name == DatasetName::Images.as_str();
    let file = run.join("config.toml");
    if config.dataset != name {
        return Err(Error::Settings(format!(
            "{} names the data set `{}`, but the run was trained on {own}: put dataset = \"{own}\" back",
            file.display(),
            text::cut(&config.dataset)
        )));
    }
    match config.images.is_some() == images {
        true => Ok(()),
        false if images => Err(Error::Settings(format!(
            "{} lacks `images`, the folder of pictures that the run was trained on: put it back",
            file.display()
        ))),
        false => Err(Error::Settings(format!(
            "{} has `images`, but the run was trained on {own}: take that key out",
            file.display()
        ))),
    }
}

/// Holds the data found against what the weights were made of.
fn check_classes(dataset: &Dataset, recorded: &serde_json::Value) -> Result<()> {
    let found = dataset.provenance();
    let classes: Option<Vec<String>> = serde_json::from_value(recorded["classes"].clone()).ok();
    if let Some(trained) = classes.filter(|trained| *trained != found.classes) {
        return Err(Error::Data(format!(
            "the data found now is not what this run was trained on: {}",
            options::other_classes(&trained, &found.classes)
        )));
    }
    Ok(())
}

fn where_data_is(asked: &DataArgs, config: &RunConfig) -> Result<DataArgs> {
    let refuse = |given: &str, remedy: &str| {
        let data = &config.dataset;
        Err(Error::Settings(format!("{given} cannot change a run on {data}: leave it out{remedy}")))
    };
    let (data_dir, images) = (asked.data_dir.clone(), asked.images.clone());
    match &config.images {
        Some(_) if data_dir.is_some() => refuse("--data-dir", ", or name a folder that has moved with --images"),
        Some(old) => Ok(DataArgs {
            images: images.or(Some(old.clone())),
            skip_unreadable: asked.skip_unreadable || config.skip_unreadable,
            ..DataArgs::default()
        }),
        None if images.is_some() => refuse("--images", ", or start a new run without --resume"),
        None => {
            let (dataset, data_dir) = (Some(config.dataset.parse()?), data_dir.or(config.data_dir.clone()));
            Ok(DataArgs { dataset, data_dir, images: None, skip_unreadable: asked.skip_unreadable })
        }
    }
}

/// The device that the run began on, unless the command line names one.
pub(super) fn resumed_device(asked: &DeviceArgs, config: &RunConfig) -> Result<DeviceArgs> {
    if asked.device.is_some() || asked.adapter.is_some() {
        return Ok(asked.clone());
    }
    let (device, adapter) = match ExecutorKind::named(&config.device.executor) {
        Some(ExecutorKind::Cpu) => (DeviceName::Cpu, None),
        Some(ExecutorKind::Reference) => (DeviceName::Reference, None),
        Some(ExecutorKind::Gpu) => (DeviceName::Gpu, Some(config.device.name.clone())),
        None => {
            return Err(Error::Settings(format!(
                "config.toml names an unknown device `{}`; give --device",
                text::cut(&config.device.executor)
            )));
        }
    };
    Ok(DeviceArgs { device: Some(device), adapter })
}

fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.clone())
}

fn config(data: &DataArgs, settings: &Settings, dataset: &Dataset, sum: &str, device: &Device) -> RunConfig {
    let division = match &dataset.origin {
        Origin::Images { division, .. } => Some(division.describe()),
        _ => None,
    };
    RunConfig {
        version: env!("CARGO_PKG_VERSION").into(),
        dataset: dataset.name.to_string(),
        data_dir: data.data_dir.as_ref().map(absolute),
        images: data.images.as_ref().map(absolute),
        skip_unreadable: data.skip_unreadable,
        division,
        validation: dataset.held_out,
        data_sha256: sum.into(),
        seed: settings.seed,
        test_crops: settings.test_crops,
        stats_every: settings.stats_every,
        checkpoint_every: settings.checkpoint_every,
        training: settings.training(),
        network: settings.network.to_toml(),
        length: settings.length,
        optimizer: settings.optimizer,
        schedule: settings.schedule,
        device: (&device.info()).into(),
    }
}

/// SHA-256 of pixels and labels, in hexadecimal.
fn fingerprint(examples: &Examples) -> String {
    let mut sum = Sha256::new();
    sum.update(&examples.pixels);
    sum.update(&examples.labels);
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `runs/NETWORK-SECONDS`, the first one that does not exist.
pub(super) fn default_folder(network: &str) -> PathBuf {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let name: String =
        network.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let base = format!("{}-{seconds}", if name.trim_matches('.').is_empty() { "run" } else { &name });
    first_free(Path::new("runs"), &base)
}

/// `NAME`, `NAME-2`, and so on in a folder: the first that does not exist.
fn first_free(folder: &Path, name: &str) -> PathBuf {
    let candidates = (2..).map(|i| format!("{name}-{i}"));
    let mut paths = std::iter::once(name.to_string()).chain(candidates).map(|name| folder.join(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}
