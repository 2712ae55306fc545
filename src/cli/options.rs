//! Options that several commands share, and what they stand for: a device, a data set, a network.

use super::output::{Output, note};
use clap::{Args, ValueEnum};
use glassnet::data::{self, Dataset, DatasetName, ImageFolder, Origin, Progress, Request};
use glassnet::exec::Device;
use glassnet::exec::gpu::{AdapterSummary, Choice, Gpu, RuntimeChecks, list_adapters};
use glassnet::net::{Network, PRESETS, Shape};
use glassnet::{Error, Result, text};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

pub use glassnet::words::whole;

/// Where to compute, as users say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// A hardware GPU where there is one, else the processor
    #[default]
    Auto,
    /// The WGSL kernels on a GPU; a software one counts too
    #[value(aliases = GPU_WORDS)]
    Gpu,
    /// All cores of the processor
    Cpu,
    /// Naive loops on one core: slow, and the truth that the others are checked against
    Reference,
}

/// What others call a GPU, or the way to it.
pub const GPU_WORDS: [&str; 8] = ["cuda", "vulkan", "metal", "mps", "dx12", "webgpu", "wgpu", "rocm"];

#[derive(Debug, Clone, Default, Args)]
pub struct DeviceArgs {
    /// Where to compute [default: auto, or gpu where --adapter is given]
    #[arg(long, value_enum, ignore_case = true)]
    pub device: Option<DeviceName>,
    /// The GPU to take: a number from `glassnet devices`, or a part of its name
    #[arg(long, value_name = "NAME_OR_INDEX")]
    pub adapter: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct DataArgs {
    /// The data set: mnist, fashion-mnist, kmnist, cifar10, or synthetic or synthetic-pictures, which are built in
    /// [default: mnist, or cifar10 where the network takes colour]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<DatasetName>,
    /// Folder with the data set's files, or with a subfolder named after it that has them
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A folder of PNG and JPEG pictures instead, with a subfolder for each class, or with such folders in `train`, `val` and
    /// `test`; their middle is resized to the network's input
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["dataset", "data_dir"])]
    pub images: Option<PathBuf>,
    /// Leave out pictures of --images that cannot be read, and say which, instead of refusing the folder
    #[arg(long)]
    pub skip_unreadable: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct NetworkArgs {
    #[arg(long, value_name = "NAME", conflicts_with = "net", help = preset_help())]
    pub preset: Option<String>,
    /// A network of your own, described in TOML
    #[arg(long, value_name = "FILE.toml")]
    pub net: Option<PathBuf>,
}

/// What `--preset` can be.
fn preset_help() -> String {
    let mut names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    let last = names.pop().unwrap_or_default();
    let names = names.join(", ").replacen(',', " (the default),", 1);
    format!("A network that comes with the program: {names} or {last}")
}

/// How often a trained model looks at an image.
#[derive(Debug, Clone, Args)]
pub struct CropArgs {
    /// Judge each image by the mean over so many crops of it: the centre, the corners, then others in between, each
    /// followed by its mirror image where [augmentation] lets every class be flipped
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>)]
    pub test_crops: usize,
}

/// `, the mean of 10 crops`, or nothing.
pub fn mean_of(crops: usize) -> String {
    if crops == 1 { String::new() } else { format!(", the mean of {crops} crops") }
}

/// Opens the device that was asked for, and says on stderr why where that was left to `auto`.
///
/// # Errors
/// [`Error::Settings`] for an adapter without a GPU to be, [`Error::Adapter`] where there is no such adapter.
pub async fn device(args: &DeviceArgs) -> Result<Device> {
    device_with(args, RuntimeChecks::Off).await
}

/// [`device`] with a say on the checks that shaders make at run time.
pub async fn device_with(args: &DeviceArgs, checks: RuntimeChecks) -> Result<Device> {
    let open = async |choice: Choice| Gpu::open(&choice, checks).await.map(Device::Gpu);
    match (args.device.unwrap_or_default(), &args.adapter) {
        (DeviceName::Auto | DeviceName::Gpu, Some(adapter)) => open(Choice::Named(adapter.clone())).await,
        (DeviceName::Gpu, None) => open(Choice::Any).await,
        (DeviceName::Auto, None) => match automatic_choice(&list_adapters().await) {
            (Some(_), _) => open(Choice::Hardware).await,
            (None, reason) => {
                note(format_args!("computing on the cpu: {reason}"));
                Ok(Device::Cpu)
            }
        },
        (DeviceName::Cpu, None) => Ok(Device::Cpu),
        (DeviceName::Reference, None) => Ok(Device::Reference),
        (DeviceName::Cpu | DeviceName::Reference, Some(_)) => {
            Err(Error::Settings("--adapter names a GPU: leave it out, or use --device gpu".into()))
        }
    }
}

/// The adapter that `auto` takes, and the reason for it or for taking none.
pub fn automatic_choice(adapters: &[AdapterSummary]) -> (Option<&AdapterSummary>, String) {
    match adapters.iter().find(|adapter| !adapter.software) {
        Some(adapter) => (Some(adapter), format!("{} is a hardware adapter", adapter.name)),
        None if adapters.is_empty() => (None, "there is no GPU adapter".into()),
        None => (None, "there are only software adapters, and software GPUs are slower than our CPU path".into()),
    }
}

/// Finds, downloads or draws the data set; progress goes to stderr. `default` is taken where no name is given; without
/// both it is MNIST, or CIFAR-10 where `network` takes colour, or what this program draws where that cannot be had. When
/// drawn examples stand in, this says so loudly: call it before anything else is printed, and call [`stand_in_reminder`]
/// at the end. A folder of pictures is resized to the input of `network`.
///
/// # Errors
/// As [`data::obtain`] and [`ImageFolder`]: what was asked for cannot be had, or is damaged, or does not fit `network`.
pub fn dataset(args: &DataArgs, default: Option<DatasetName>, network: &Network, output: Output) -> Result<Dataset> {
    if let Some(folder) = &args.images {
        return images(folder, network, args.skip_unreadable);
    }
    if args.skip_unreadable {
        return Err(Error::Settings("--skip-unreadable is for the pictures of --images: leave it out".into()));
    }
    check_data(args, default, network)?;
    let name = args.dataset.or(default);
    if let Some(name) = name.filter(|name| name.is_synthetic() && args.dataset.is_none() && args.data_dir.is_some()) {
        return Err(Error::Settings(format!(
            "the model was trained on the synthetic {}, which have no files: leave --data-dir out, or name the data set \
             in it with --dataset",
            name.drawn()
        )));
    }
    let channels = network.input_shape().channels;
    let preferred = (channels == 3).then_some(DatasetName::Cifar10);
    let (data_dir, environment) = (args.data_dir.clone(), data::environment());
    let request = Request { name, preferred, data_dir, environment, allow_download: true };
    let mut progress = DownloadProgress::new();
    let dataset = data::obtain(&request, &mut |event| progress.show(event))?;
    progress.clear();
    if let Some(reason) = stand_in_reason(&dataset) {
        let (drawn, wanted) = stood_in(&dataset);
        output.say(format_args!("*** SYNTHETIC {drawn} STAND IN FOR {wanted}: {reason} ***"))?;
    }
    Ok(dataset)
}

/// Whether a network can learn what was asked for, as far as that is known before 162 MiB are downloaded for nothing, or
/// a device is opened. A folder of pictures is judged when it is listed.
///
/// # Errors
/// [`Error::Data`] where the channels or the classes are not the same.
pub fn check_data(args: &DataArgs, default: Option<DatasetName>, network: &Network) -> Result<()> {
    if args.images.is_some() {
        return Ok(());
    }
    let (name, channels) = (args.dataset.or(default), network.input_shape().channels);
    if let Some((name, other)) = name.and_then(|name| Some((name, name.channels()?))).filter(|(_, n)| *n != channels) {
        return Err(Error::Data(format!(
            "network {} takes images with {}, {name} has {other}; choose another data set or network",
            network.name,
            in_channels(channels)
        )));
    }
    // All sets that have a name have as many.
    let classes = DatasetName::Mnist.class_names().len();
    network.check_fits(network.input_shape(), classes).map_err(|error| own_labels(args, name, network).unwrap_or(error))
}

/// Of files of one's own in MNIST's format, whose labels may be others, what they really are.
fn own_labels(args: &DataArgs, name: Option<DatasetName>, network: &Network) -> Option<Error> {
    let request =
        Request { name, data_dir: args.data_dir.clone(), environment: data::environment(), ..Request::default() };
    let (path, found) = data::labels_here(&request)?;
    let all = DatasetName::Mnist.class_names().len();
    (found.different != all).then(|| {
        Error::Data(format!(
            "network {} tells {} classes apart, and {} has {found}; files in MNIST's format are read with {all} classes, so \
             let the layer before its loss give {all} values",
            network.name,
            network.classes(),
            path.display()
        ))
    })
}

/// How the classes of a folder differ from those that a model was trained on, in words.
pub fn other_classes(trained: &[String], found: &[String]) -> String {
    let without = |names: &[String], others: &[String]| {
        text::listed(names.iter().filter(|name| !others.contains(name)).map(text::cut), CLASSES_SHOWN)
    };
    let (missing, strange) = (without(trained, found), without(found, trained));
    let counts = format!("{} classes, not {}", found.len(), trained.len());
    match (missing.is_empty(), strange.is_empty()) {
        (true, true) => format!("it has {counts}, or the same in another order"),
        (false, true) => format!("it has {counts}: {missing} missing"),
        (true, false) => format!("it has {counts}: {strange} unknown to the model"),
        (false, false) if found.len() == trained.len() => format!("{missing} missing, {strange} unknown to the model"),
        (false, false) => format!("it has {counts}: {missing} missing, {strange} unknown to the model"),
    }
}

/// Names of classes that a message lists.
const CLASSES_SHOWN: usize = 10;

/// `1 channel`, `3 channels`.
pub fn in_channels(channels: usize) -> String {
    format!("{channels} channel{}", if channels == 1 { "" } else { "s" })
}

/// One of several whole numbers that an option is given.
///
/// # Errors
/// What is expected instead.
pub fn one_of_several(text: &str) -> Result<u64, String> {
    whole(text).map_err(|why| format!("{why}; several have commas in between, such as 1,2,3"))
}

/// A folder of pictures. Whether its classes are those of the network is judged before any picture is read.
fn images(folder: &Path, network: &Network, skip_unreadable: bool) -> Result<Dataset> {
    let listed = ImageFolder::list(folder)?;
    let told = listed.others.describe().into_iter().chain(listed.notes.iter().cloned()).chain(listed.untested());
    let told: Vec<String> = told.collect();
    if !told.is_empty() {
        note(format_args!("{}: {}", folder.display(), told.join("; ")));
    }
    let Shape { height, width, channels } = network.input_shape();
    network.check_fits(network.input_shape(), listed.classes.len()).map_err(|error| match error {
        Error::Data(why) => {
            Error::Data(format!("{why}: describe such a network in a TOML file, and train it with --net"))
        }
        other => other,
    })?;
    if network.learns_numbers() {
        note(numbers_learned(&listed));
    }
    let mut progress = DownloadProgress::new();
    let reading = listed.read([height, width, channels], skip_unreadable, &mut |event| progress.show(event));
    progress.clear();
    let reading = reading?;
    reading.skipped().iter().for_each(note);
    if reading.colours_dropped > 0 {
        let pictures = reading.dataset.train.len() + reading.dataset.test.len();
        note(format_args!(
            "{} of {pictures} pictures are in colour, but network {} takes grey: their colour is dropped; choose a network \
             with 3 input channels to keep it, such as --preset {COLOUR_PRESET}",
            reading.colours_dropped, network.name
        ));
    }
    Ok(reading.dataset)
}

/// What a network that learns numbers learns of a folder.
fn numbers_learned(listed: &ImageFolder) -> String {
    let numbers = listed.numbers.iter().copied();
    if listed.numbers.is_empty() {
        let last = listed.classes.len() - 1;
        return format!(
            "the class folders' names are not all numbers: learning their places in the sorted list, 0 to {last}"
        );
    }
    let (least, most) = (numbers.clone().fold(f32::INFINITY, f32::min), numbers.fold(f32::NEG_INFINITY, f32::max));
    format!("learning the class folders' names as numbers, {least} to {most}")
}

/// What is drawn and what it stands in for, in capitals.
fn stood_in(dataset: &Dataset) -> (String, &'static str) {
    let wanted = if dataset.name == DatasetName::SyntheticPictures { "CIFAR-10" } else { "MNIST" };
    (dataset.name.drawn().to_uppercase(), wanted)
}

/// Why drawn examples stand in for a data set that could not be had; none where they were asked for.
pub fn stand_in_reason(dataset: &Dataset) -> Option<&str> {
    match &dataset.origin {
        Origin::Synthetic { fallback_reason } => fallback_reason.as_deref(),
        Origin::Files(_) | Origin::Images { .. } => None,
    }
}

/// The last line of a command's output where drawn examples stand in; nothing otherwise.
pub fn stand_in_reminder(dataset: &Dataset, output: Output) -> Result<()> {
    match stand_in_reason(dataset) {
        Some(_) => {
            let (drawn, wanted) = stood_in(dataset);
            output.say(format_args!(
                "*** THESE FIGURES ARE FOR SYNTHETIC {drawn}, NOT FOR {wanted}; `glassnet data fetch` downloads the real \
                 ones ***"
            ))
        }
        None => Ok(()),
    }
}

/// The preset for what is in colour.
const COLOUR_PRESET: &str = "convnetjs-cifar10";

/// The network to train on `data`: by default a preset that takes what was asked for, and for a folder of pictures the one
/// for colour where they are in colour, which is then told.
///
/// # Errors
/// As [`network`], and as [`ImageFolder::list`].
pub fn network_for(args: &NetworkArgs, data: &DataArgs) -> Result<Network> {
    if args.net.is_some() || args.preset.is_some() {
        return network(args);
    }
    let coloured = match &data.images {
        Some(folder) => ImageFolder::list(folder)?.is_coloured(),
        None => data.dataset.is_some_and(|name| name.channels() == Some(3)),
    };
    if !coloured {
        return network(args);
    }
    if data.images.is_some() {
        note(format_args!("the pictures are in colour: training {COLOUR_PRESET}, which takes colour"));
    }
    Network::preset(COLOUR_PRESET)
}

/// The network that was asked for; the first preset by default.
///
/// # Errors
/// [`Error::Network`] for an unknown preset or a wrong description, [`Error::Io`] for a file that cannot be read.
pub fn network(args: &NetworkArgs) -> Result<Network> {
    match (&args.net, &args.preset) {
        (Some(file), _) => Network::from_file(file),
        (None, Some(preset)) => Network::preset(preset),
        (None, None) => Network::preset(PRESETS[0].0),
    }
}

/// A download on stderr: a bar on a terminal, elsewhere a line per file. Nothing is shown before bytes arrive, so that
/// a notice about the synthetic digits can be the first line.
pub struct DownloadProgress {
    bar: ProgressBar,
    plain: bool,
    /// The file under way.
    file: String,
}

impl Default for DownloadProgress {
    fn default() -> Self {
        DownloadProgress::new()
    }
}

impl DownloadProgress {
    pub fn new() -> DownloadProgress {
        let plain = !io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        DownloadProgress { bar, plain, file: String::new() }
    }

    /// Shows one event.
    pub fn show(&mut self, event: Progress) {
        match event {
            Progress::Waiting { folder } => {
                self.message(format!("another process downloads into {}; waiting for it", folder.display()));
            }
            Progress::Connecting { url, .. } => self.bar.set_message(format!("asking {url}")),
            Progress::Downloading { file, received, total } => self.bytes(file, received, total),
            Progress::Verified { file } => log::info!("{file}: verified"),
            Progress::Drawing { examples } => self.bar.set_message(format!("drawing {examples} synthetic examples")),
            Progress::Reading { folder, pictures } => {
                self.bar.set_message(format!("reading {pictures} pictures in {}", folder.display()));
            }
        }
        self.bar.tick();
    }

    fn bytes(&mut self, file: String, received: u64, total: Option<u64>) {
        if self.file != file {
            if self.plain {
                let size = total.map_or(String::new(), |total| format!(" ({})", HumanBytes(total)));
                note(format_args!("downloading {file}{size}"));
            }
            let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
            if let Some(style) = total.and(ProgressStyle::with_template(template).ok()) {
                self.bar.set_style(style);
            }
            self.bar.set_message(file.clone());
            self.file = file;
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(received);
    }

    fn message(&self, text: String) {
        if self.plain {
            note(&text);
        }
        self.bar.set_message(text);
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A folder that holds anything is refused, unless `force`.
pub fn refuse_content(path: &Path, force: bool) -> Result<()> {
    let mut entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list the folder", path))?,
    };
    if force || entries.next().is_none() {
        return Ok(());
    }
    let path = path.display();
    Err(Error::Settings(format!("{path} is not empty: choose another --out, or --force to write into it")))
}
