//! The start of a run: a new one, a resumed one, or one that follows another.
//!
//! [`Launch::prepare`] returns everything that training needs, with the run folder locked. [`Run::train`] trains and
//! writes the folder's files.

use super::data::{DataSource, Notify};
use super::latest::weights_of;
use super::recorded::{RecordedData, fingerprint};
use super::run::split_for;
use super::tuning::{Tuner, defaults, lost, products};
use super::{Course, DataChoice, Length, MODEL, Notice, Run, RunConfig, RunFolder, Settings, State, Summary};
use crate::data::{Dataset, HeldOut, Origin};
use crate::evaluate::crops;
use crate::exec::gpu::RuntimeChecks;
use crate::exec::{Device, DeviceChoice};
use crate::formats::load_model;
use crate::kernels::Precision;
use crate::net::{Network, Recipe, Shape};
use crate::program::Choices;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run to prepare and train.
///
/// ```no_run
/// use glassnet::exec::DeviceChoice;
/// use glassnet::net::{Network, Recipe};
/// use glassnet::train::{DataChoice, DataSource, Event, Launch, Launched, NewRun, Observer, Tuner};
///
/// struct Printer;
///
/// impl Observer for Printer {
///     fn event(&mut self, event: &Event<'_>) -> glassnet::Result<()> {
///         if let Event::Progress(progress) = event {
///             println!("step {}: loss {:?}", progress.step, progress.loss);
///         }
///         Ok(())
///     }
///
///     fn should_stop(&self) -> bool {
///         false
///     }
/// }
///
/// # fn main() -> glassnet::Result<()> {
/// let launch = Launch::New(Box::new(NewRun {
///     network: Network::preset("convnetjs-mnist")?,
///     given: Recipe { epochs: Some(1), ..Recipe::default() },
///     data: DataSource::Choice(DataChoice::default()),
///     device: DeviceChoice::Auto,
///     folder: Some("runs/first".into()),
///     tuner: Tuner::default(),
/// }));
/// match pollster::block_on(launch.prepare(&mut |notice| println!("{notice}")))? {
///     Launched::Ready(mut run) => {
///         let outcome = pollster::block_on(run.train(&mut Printer))?;
///         println!("test accuracy {:.2} %", 100.0 * outcome.test.accuracy);
///     }
///     Launched::Ended(run) => println!("the run ended after {} steps", run.summary.steps),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum Launch {
    New(Box<NewRun>),
    Resume(ResumedRun),
    Next(Box<NextRun>),
}

/// A new run in a folder of its own.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub network: Network,
    /// Settings over those of the network's own recipe.
    pub given: Recipe,
    pub data: DataSource,
    pub device: DeviceChoice,
    /// The folder to create; `None` means [`default_folder`].
    pub folder: Option<PathBuf>,
    /// Chooses the kernels on a GPU.
    pub tuner: Tuner,
}

/// A run that continues in its folder, with its own settings.
#[derive(Debug, Clone)]
pub struct ResumedRun {
    pub folder: PathBuf,
    /// A later end; `None` keeps the run's own.
    pub end: Option<Length>,
    /// The new folder of its data if that has moved, or its examples.
    pub data: DataSource,
    /// The device; `None` means the one that the run began on.
    pub device: Option<DeviceChoice>,
    /// Another precision; `None` keeps the run's own, except on the processor.
    pub precision: Option<Precision>,
}

/// Another run on the data and the device of the run before it.
#[derive(Debug, Clone)]
pub struct NextRun {
    pub base: Base,
    /// The settings, from [`settings_for`].
    pub settings: Settings,
    /// The folder to create, with a number after its name if it exists; `None` means [`default_folder`].
    pub folder: Option<PathBuf>,
    /// Chooses the kernels on a GPU.
    pub tuner: Tuner,
}

/// The configuration, data and device that a run passes on to the next one.
#[derive(Debug, Clone)]
pub struct Base {
    pub(super) config: RunConfig,
    pub(super) dataset: Arc<Dataset>,
    pub(super) device: Device,
}

/// A prepared run, or one that has no steps left.
#[derive(Debug)]
pub enum Launched {
    Ready(Box<Run>),
    Ended(Box<EndedRun>),
}

/// A resumed run that is already finished.
#[derive(Debug)]
pub struct EndedRun {
    pub config: RunConfig,
    pub settings: Settings,
    pub dataset: Arc<Dataset>,
    pub folder: RunFolder,
    pub summary: Summary,
    /// Why its model was written again from the checkpoint; `None` if the model was intact.
    pub model_damage: Option<String>,
}

impl Launch {
    /// Resolves settings, obtains the data, opens the device, and creates or locks the run folder. `notify` receives
    /// everything noteworthy that is not an error.
    ///
    /// # Errors
    /// Those of [`Settings::resolve`], [`DataChoice::load`], [`RecordedData::find`], [`DeviceChoice::open`],
    /// [`split_for`], [`crops`], [`RunFolder::create`] and [`RunFolder::open`]. If a new run cannot begin, no folder is
    /// created.
    pub async fn prepare(self, notify: &mut Notify<'_>) -> Result<Launched> {
        match self {
            Launch::New(run) => run.prepare(notify).await.map(|run| Launched::Ready(Box::new(run))),
            Launch::Resume(run) => run.prepare(notify).await,
            Launch::Next(run) => run.prepare(notify).await.map(|run| Launched::Ready(Box::new(run))),
        }
    }
}

impl NewRun {
    /// Prepares the run as [`Launch::prepare`] does. A new run always has steps left.
    ///
    /// # Errors
    /// Those of [`Launch::prepare`].
    pub async fn prepare(self, notify: &mut Notify<'_>) -> Result<Run> {
        let NewRun { network, given, data, device, folder, tuner } = self;
        let augmentation = network.augmentation;
        let mut settings = Settings::resolve(network, &given)?;
        data.check(&settings.network)?;
        let (dataset, opened) = data_and_device(&data, &device, &settings.network, notify).await;
        let ((dataset, sum), (device, reason)) = (dataset?, opened?);
        reason.into_iter().for_each(|reason| notify(Notice::automatic(&device, reason)));
        // Checked before a folder is created, because without a validation set or test crops the run cannot begin.
        let parts = split_for(&dataset, &settings.network)?;
        let [height, width, _] = dataset.test.shape;
        let (image, count) = ([height, width], settings.test_crops);
        if let Err(error) = crops(&settings.network, image, count) {
            let described = Network { augmentation, ..settings.network };
            let mended = given.no_augmentation == Some(true) && crops(&described, image, count).is_ok();
            return Err(if mended { Error::CropsWithoutAugmentation(count) } else { error });
        }
        settings.kernels = tuned(&tuner, &device, &settings, &dataset, notify).await?;
        notify_of_products(&device, &settings, &dataset, notify);
        let path = folder.unwrap_or_else(|| default_folder(&settings.network.name));
        let config = RunConfig::of_new(&data.recorded(), &settings, &dataset, sum, &device);
        let folder = RunFolder::create(&path, &config)?;
        let course = Course::new(parts.train, &settings);
        Ok(Run::new(config, settings, dataset, device, folder, course))
    }
}

/// Obtains the data, with its fingerprint, and opens the device; at the same time if there are threads, because opening
/// a device can take as long as unpacking a data set.
async fn data_and_device(
    data: &DataSource,
    device: &DeviceChoice,
    network: &Network,
    notify: &mut Notify<'_>,
) -> (Result<(Arc<Dataset>, String)>, Result<(Device, Option<String>)>) {
    let load = move || data.load(network, notify).map(|dataset| (dataset.clone(), fingerprint(&dataset.train)));
    #[cfg(not(target_arch = "wasm32"))]
    return rayon::join(load, || pollster::block_on(device.open(RuntimeChecks::Off)));
    #[cfg(target_arch = "wasm32")]
    {
        let mut load = load;
        (load(), device.open(RuntimeChecks::Off).await)
    }
}

impl DataSource {
    /// The location of the examples for `config.toml`; for examples in memory, their origin.
    fn recorded(&self) -> DataChoice {
        match self {
            DataSource::Choice(choice) => choice.clone(),
            DataSource::Loaded(dataset) => match &dataset.origin {
                Origin::Files(folder) => DataChoice { data_dir: Some(folder.clone()), ..DataChoice::default() },
                Origin::Images { folder, .. } => DataChoice { images: Some(folder.clone()), ..DataChoice::default() },
                Origin::Synthetic { .. } => DataChoice::default(),
            },
        }
    }
}

impl NextRun {
    /// Chooses the kernels and creates the run's folder; the data and the device are ready.
    ///
    /// # Errors
    /// Those of [`Tuner::tune`] and [`RunFolder::create`].
    pub async fn prepare(self, notify: &mut Notify<'_>) -> Result<Run> {
        let NextRun { base: Base { config: before, dataset, device }, mut settings, folder, tuner } = self;
        settings.kernels = tuned(&tuner, &device, &settings, &dataset, notify).await?;
        notify_of_products(&device, &settings, &dataset, notify);
        let path = match folder {
            Some(path) => {
                let name = path.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
                first_free(path.parent().unwrap_or(Path::new("")), &name)
            }
            None => default_folder(&settings.network.name),
        };
        let RunConfig { data_dir, images, skip_unreadable, data_sha256, .. } = before;
        let data = DataChoice { dataset: None, data_dir, images, skip_unreadable };
        let config = RunConfig::of_new(&data, &settings, &dataset, data_sha256, &device);
        let folder = RunFolder::create(&path, &config)?;
        let course = Course::new(dataset.split().train, &settings);
        Ok(Run::new(config, settings, dataset, device, folder, course))
    }
}

/// The kernels for a new run; reports them if they were measured.
async fn tuned(
    tuner: &Tuner,
    device: &Device,
    settings: &Settings,
    dataset: &Dataset,
    notify: &mut Notify<'_>,
) -> Result<Choices> {
    let tuned = tuner.for_training(device, settings, &dataset.train).await?;
    let choices = tuned.choices.clone();
    if tuned.is_news() {
        notify(Notice::Tuned(tuned));
    }
    Ok(choices)
}

/// Reports how many products are computed in the precision of a GPU with cooperative matrices.
fn notify_of_products(device: &Device, settings: &Settings, dataset: &Dataset, notify: &mut Notify<'_>) {
    if let Some([by_matrices, all]) = products(device, settings, &dataset.train) {
        notify(Notice::Products { precision: device.info().precision, by_matrices, all });
    }
}

/// The settings of a run with another network that is otherwise like the one with the settings `before`: the new
/// network's description sets how it is trained; length and seed stay the same.
///
/// # Errors
/// Those of [`Network::check_fits`], [`Settings::resolve`] and [`crops`] if the network cannot be trained on this data.
pub fn settings_for(network: Network, before: &Settings, dataset: &Dataset) -> Result<Settings> {
    let [height, width, channels] = dataset.train.shape;
    network.check_fits(Shape::new(height, width, channels), dataset.train.classes)?;
    let settings = Settings::resolve(network, &before.of_run())?;
    crops(&settings.network, [height, width], settings.test_crops)?;
    Ok(settings)
}

impl ResumedRun {
    /// Prepares the run as [`Launch::prepare`] does.
    ///
    /// # Errors
    /// Those of [`Launch::prepare`].
    pub async fn prepare(self, notify: &mut Notify<'_>) -> Result<Launched> {
        let ResumedRun { folder: path, end, data, device, precision } = self;
        let mut folder = RunFolder::open(&path)?;
        let mut config = folder.read_config()?;
        if let Some(end) = end {
            // Checked before it is in the config, so that an error names the setting.
            end.given().check()?;
            config.length = end;
        }
        let mut settings = config.settings()?;
        let RecordedData { choice, dataset, changed } = RecordedData::find(&data, &path, &config, &settings, notify)?;
        if let Some(why) = changed {
            return Err(Error::Data(format!(
                "{why}; so the run cannot continue; start a new one, or use its model with `glassnet eval`, `inspect` and `predict`"
            )));
        }
        let state = folder.resume(&settings)?;
        if let Some(state) = &state {
            settings.keep_kernels(state);
            config.kernels.clone_from(&settings.kernels);
            if !state.kernels.is_empty() && state.kernels != settings.kernels {
                notify(Notice::OtherKernels);
            }
        }
        let changes = state.as_ref().map_or(Vec::new(), |state| state.changes.clone());
        let (course, mut now) = Course::replay(dataset.split().train, &settings, &changes)?;
        let summary = summary_of_end(&folder, &settings, &course, state.as_ref(), notify)?;
        if let Some((state, summary)) = state.as_ref().zip(summary) {
            let ended = EndedRun::new(config, settings, dataset, folder, summary, state)?;
            return Ok(Launched::Ended(Box::new(ended)));
        }
        let device = device.map_or_else(|| config.device_choice(), Ok)?;
        let (device, reason) = config.in_its_precision(device, precision).open(RuntimeChecks::Off).await?;
        reason.into_iter().for_each(|reason| notify(Notice::automatic(&device, reason)));
        if device.info().executor.as_str() != config.device.executor || device.info().name != config.device.name {
            notify(Notice::OtherDevice { executor: config.device.executor.clone(), name: config.device.name.clone() });
        }
        let precision = device.info().precision;
        if precision != config.precision {
            notify(Notice::OtherPrecision { of_run: config.precision, now: precision });
            if matches!(device, Device::Gpu(_)) {
                // The recorded kernels are for the other precision.
                config.precision = precision;
                config.kernels = defaults(&device, &settings, &dataset.train)?;
                settings.kernels.clone_from(&config.kernels);
                now.kernels.clone_from(&config.kernels);
            }
        }
        notify_of_products(&device, &now, &dataset, notify);
        let lost = lost(&device, &settings, &now, &dataset.train);
        if !lost.is_empty() {
            notify(Notice::KernelsLost(lost));
        }
        if !changes.is_empty() {
            notify(Notice::ChangesHold(changes));
        }
        if config.validation == HeldOut::AtRandom {
            notify(Notice::HeldOutAtRandom);
        }
        if let Some(DataChoice { data_dir, images, .. }) = choice {
            // The data's current place, for the next time.
            (config.data_dir, config.images) = (data_dir.as_ref().map(absolute), images.as_ref().map(absolute));
        }
        config.device = (&device.info()).into();
        folder.write_config(&config)?;
        let mut run = Run::new(config, settings, dataset, device, folder, course);
        (run.now, run.state) = (now, state);
        Ok(Launched::Ready(Box::new(run)))
    }
}

/// The summary of a run that is finished or has stopped early. A run writes it last; an older summary belongs to an
/// earlier, shorter run in the folder.
fn summary_of_end(
    folder: &RunFolder,
    settings: &Settings,
    course: &Course,
    state: Option<&State>,
    notify: &mut Notify<'_>,
) -> Result<Option<Summary>> {
    let (step, best) = state.map_or((0, None), |state| (state.step, state.best));
    let at_end = step == course.end_after(step)?;
    let summary = match folder.read_summary() {
        // The end of the run is computed again, and writes a new summary.
        Err(Error::Data(why)) => {
            notify(Notice::SummaryDamaged(why));
            None
        }
        summary => summary?,
    };
    let early = |summary: &Summary| summary.stopped_early && settings.stops_early(course.sampler.epoch_at(step), best);
    Ok(summary.filter(|summary| summary.steps == step && (at_end || early(summary))))
}

impl EndedRun {
    /// Writes the model again from the checkpoint if it is missing or damaged.
    fn new(
        config: RunConfig,
        settings: Settings,
        dataset: Arc<Dataset>,
        mut folder: RunFolder,
        summary: Summary,
        state: &State,
    ) -> Result<EndedRun> {
        let model_damage = load_model(&folder.path().join(MODEL)).err().map(|error| error.to_string());
        if model_damage.is_some() {
            let weights = weights_of(state, &settings, folder.path())?;
            folder.save_weights(MODEL, &settings, &dataset.provenance(), state.step, &weights)?;
        }
        Ok(EndedRun { config, settings, dataset, folder, summary, model_damage })
    }
}

impl RunConfig {
    /// The configuration of a new run; `sum` is the fingerprint of its data.
    fn of_new(data: &DataChoice, settings: &Settings, dataset: &Dataset, sum: String, device: &Device) -> RunConfig {
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
            data_sha256: sum,
            seed: settings.seed,
            test_crops: settings.test_crops,
            stats_every: settings.stats_every,
            checkpoint_every: settings.checkpoint_every,
            training: settings.training(),
            network: settings.network.to_toml(),
            length: settings.length,
            optimizer: settings.optimizer,
            schedule: settings.schedule,
            precision: device.info().precision,
            device: (&device.info()).into(),
            kernels: settings.kernels.clone(),
        }
    }
}

fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.clone())
}

/// The first folder `runs/NAME-SECONDS` that does not exist; the seconds are those since 1970.
pub fn default_folder(name: &str) -> PathBuf {
    let now = web_time::SystemTime::now().duration_since(web_time::SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |time| time.as_secs());
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let base = format!("{}-{seconds}", if name.trim_matches('.').is_empty() { "run" } else { &name });
    first_free(Path::new("runs"), &base)
}

/// The first of `NAME`, `NAME-2` and so on that does not exist in a folder.
fn first_free(folder: &Path, name: &str) -> PathBuf {
    let candidates = (2..).map(|i| format!("{name}-{i}"));
    let mut paths = std::iter::once(name.to_string()).chain(candidates).map(|name| folder.join(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}
