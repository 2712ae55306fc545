//! Options that several commands share, and what they resolve to: a device, a data set, a network.

use super::notices::{COLOUR_PRESET, Notices};
use super::output::{Output, note};
use clap::{Args, ValueEnum};
use glassnet::data::{Dataset, DatasetName, ImageFolder};
use glassnet::exec::gpu::RuntimeChecks;
use glassnet::exec::{Device, DeviceChoice};
use glassnet::kernels::Precision;
use glassnet::net::{Network, PRESETS};
use glassnet::train::{DataChoice, Effort, Notice, RunConfig, Tuner, stood_in_for};
use glassnet::{Error, Result};
use std::path::{Path, PathBuf};

pub use glassnet::words::whole;

/// A device by the name that users type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// A hardware GPU if there is one, otherwise the processor
    #[default]
    Auto,
    /// The WGSL kernels on a GPU, including a software GPU
    #[value(aliases = GPU_WORDS)]
    Gpu,
    /// All cores of the processor
    Cpu,
    /// Naive loops on one core: slow, but the standard that the others are checked against
    Reference,
}

/// Names of GPUs and GPU interfaces in other programs.
pub const GPU_WORDS: [&str; 8] = ["cuda", "vulkan", "metal", "mps", "dx12", "webgpu", "wgpu", "rocm"];

#[derive(Debug, Clone, Default, Args)]
pub struct DeviceArgs {
    /// Where to compute [default: auto, or gpu if --adapter is given]
    #[arg(long, value_enum, ignore_case = true)]
    pub device: Option<DeviceName>,
    /// The GPU to use: a number from `glassnet devices`, or part of its name
    #[arg(long, value_name = "NAME_OR_INDEX")]
    pub adapter: Option<String>,
    /// Use a GPU even if it computes wrongly or not at all, such as a driver that only records commands; its results
    /// mean nothing, but the host's work can be measured
    #[arg(long)]
    pub skip_self_check: bool,
    /// How a GPU multiplies in convolutions and fully connected layers with 8 or more channels [default: f32; for a run
    /// that is resumed or reported, its own]
    #[arg(long, value_enum, ignore_case = true)]
    pub precision: Option<PrecisionName>,
}

/// A precision by the name that users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// In f32, on any GPU
    #[value(aliases = ["fp32", "float32", "single", "32"])]
    F32,
    /// In f32, with a GPU's matrix units (Apple's)
    #[value(alias = "matrix_f32")]
    MatrixF32,
    /// With a GPU's matrix units, which round factors to f16 and add in f32; weights, activations and gradients stay
    /// f32 in memory
    #[value(aliases = ["matrix_f16", "f16", "fp16", "float16", "half", "mixed", "amp", "16-mixed"])]
    MatrixF16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Precision {
        match name {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::MatrixF32 => Precision::MatrixF32,
            PrecisionName::MatrixF16 => Precision::MatrixF16,
        }
    }
}

/// How much time to spend on choosing kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TuneName {
    /// Use the defaults
    Off,
    /// About 2 seconds; earlier results on this device are used, and operations without one are timed
    Quick,
    /// Up to 120 seconds; everything is measured again
    Full,
}

#[derive(Debug, Clone, Default, Args)]
pub struct TuneArgs {
    /// Time each operation's kernels on the GPU, and use the fastest that computes correctly [default: quick on hardware
    /// GPUs; off on software ones, where nothing is gained, and with --skip-self-check]
    #[arg(long, value_enum, ignore_case = true, value_name = "EFFORT")]
    pub tune: Option<TuneName>,
}

impl TuneArgs {
    /// Whether measurements are requested.
    pub fn is_effort(&self) -> bool {
        self.tune.is_some_and(|name| name != TuneName::Off)
    }

    /// Refuses measurements on a device that has no choice of kernels.
    ///
    /// # Errors
    /// [`Error::Settings`] for `cpu` and `reference`.
    pub fn check_device(&self, device: &DeviceArgs) -> Result<()> {
        if self.is_effort() && matches!(device.device, Some(DeviceName::Cpu | DeviceName::Reference)) {
            return Err(Error::Settings("--tune is for a GPU; leave it out, or use --device gpu".into()));
        }
        Ok(())
    }

    pub fn tuner(&self) -> Tuner {
        let effort = self.tune.map(|name| match name {
            TuneName::Off => Effort::Off,
            TuneName::Quick => Effort::Quick,
            TuneName::Full => Effort::Full,
        });
        Tuner { effort, ..Tuner::default() }
    }
}

#[derive(Debug, Clone, Default, Args)]
pub struct DataArgs {
    /// The data set: mnist, fashion-mnist, kmnist, cifar10, or the built-in synthetic or synthetic-pictures [default:
    /// mnist, or cifar10 if the network has colour input]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<DatasetName>,
    /// Folder with the data set's files, or with a subfolder named after it that contains them
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A folder of PNG and JPEG pictures instead, with a subfolder for each class, or with such folders in `train`,
    /// `val` and `test`; the middle of each picture is resized to the network's input
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["dataset", "data_dir"])]
    pub images: Option<PathBuf>,
    /// Leave out pictures of --images that cannot be read, and list them, instead of refusing the folder
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

/// The help text of `--preset`.
pub fn preset_help() -> String {
    let mut names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    let last = names.pop().unwrap_or_default();
    let names = names.join(", ").replacen(',', " (the default),", 1);
    format!("A built-in network: {names} or {last}")
}

/// How many crops of an image a trained model reads.
#[derive(Debug, Clone, Args)]
pub struct CropArgs {
    /// Average the scores of this many crops of each image: the centre, the corners, then others in between, each
    /// followed by its mirror image if [augmentation] lets every class be flipped
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>)]
    pub test_crops: usize,
}

/// `, the mean of 10 crops`, or an empty string.
pub fn mean_of(crops: usize) -> String {
    if crops == 1 { String::new() } else { format!(", the mean of {crops} crops") }
}

impl DeviceArgs {
    /// Whether a device or an adapter is requested.
    pub fn is_given(&self) -> bool {
        self.device.is_some() || self.adapter.is_some()
    }

    /// The requested precision.
    pub fn precision(&self) -> Option<Precision> {
        self.precision.map(Precision::from)
    }

    /// The requested device, in the requested precision or in f32.
    ///
    /// # Errors
    /// Those of [`DeviceArgs::place`].
    pub fn choice(&self) -> Result<DeviceChoice> {
        Ok(self.place()?.in_precision(self.precision().unwrap_or_default()))
    }

    /// The requested device, whatever its precision.
    ///
    /// # Errors
    /// [`Error::Settings`] for an adapter without the GPU device.
    pub fn place(&self) -> Result<DeviceChoice> {
        let choice = match (self.device.unwrap_or_default(), &self.adapter) {
            (DeviceName::Auto | DeviceName::Gpu, Some(adapter)) => DeviceChoice::Adapter(adapter.clone()),
            (DeviceName::Gpu, None) => DeviceChoice::Gpu,
            (DeviceName::Auto, None) => DeviceChoice::Auto,
            (DeviceName::Cpu, None) => DeviceChoice::Cpu,
            (DeviceName::Reference, None) => DeviceChoice::Reference,
            (DeviceName::Cpu | DeviceName::Reference, Some(_)) => {
                return Err(Error::Settings("--adapter selects a GPU; leave it out, or use --device gpu".into()));
            }
        };
        if self.skip_self_check && matches!(choice, DeviceChoice::Cpu | DeviceChoice::Reference) {
            let why = "--skip-self-check is for a GPU; leave it out, or use --device gpu";
            return Err(Error::Settings(why.into()));
        }
        Ok(self.with_self_check(choice))
    }

    /// This choice, without the self-check if that is skipped.
    fn with_self_check(&self, choice: DeviceChoice) -> DeviceChoice {
        if self.skip_self_check { DeviceChoice::WithoutSelfCheck(Box::new(choice)) } else { choice }
    }
}

impl DataArgs {
    /// The requested data.
    pub fn choice(&self) -> DataChoice {
        let DataArgs { dataset, data_dir, images, skip_unreadable } = self.clone();
        DataChoice { dataset, data_dir, images, skip_unreadable }
    }
}

/// Opens the requested device; if `auto` chose it, prints the reason on stderr.
///
/// # Errors
/// Those of [`DeviceArgs::choice`] and [`DeviceChoice::open`].
pub async fn device(args: &DeviceArgs) -> Result<Device> {
    device_with(args, RuntimeChecks::Off).await
}

/// Does the same as [`device`] with a choice of the checks that shaders make at run time.
pub async fn device_with(args: &DeviceArgs, checks: RuntimeChecks) -> Result<Device> {
    opened(args.choice()?, checks).await
}

/// Opens the device on the command line, or else the one that the run began on.
pub async fn device_of_run(args: &DeviceArgs, config: &RunConfig) -> Result<Device> {
    let place = if args.is_given() { args.place()? } else { args.with_self_check(config.device_choice()?) };
    opened(config.in_its_precision(place, args.precision()), RuntimeChecks::Off).await
}

async fn opened(choice: DeviceChoice, checks: RuntimeChecks) -> Result<Device> {
    let (device, reason) = choice.open(checks).await?;
    reason.into_iter().for_each(|reason| note(Notice::automatic(&device, reason)));
    Ok(device)
}

/// Finds, downloads or draws the data set; progress goes to stderr. `default` is used if no name is given. Without
/// both, the set is MNIST, or CIFAR-10 if `network` has colour input, or a synthetic set if that cannot be obtained. In
/// the last case a prominent notice is printed, so call this before anything else is printed, and [`stand_in_reminder`]
/// at the end. A folder of pictures is resized to the input of `network`.
///
/// # Errors
/// Those of [`DataChoice::load`]: the requested data cannot be obtained, is damaged, or does not fit `network`.
pub fn dataset(args: &DataArgs, default: Option<DatasetName>, network: &Network, output: Output) -> Result<Dataset> {
    let mut choice = args.choice();
    if args.images.is_none() && !args.skip_unreadable && args.dataset.is_none() {
        choice.dataset = default;
        choice.check(network)?;
        if let Some(name) = default.filter(|name| name.is_synthetic() && args.data_dir.is_some()) {
            return Err(Error::Settings(format!(
                "the model was trained on the synthetic {}, which have no files; leave --data-dir out, or name the data set \
                 in it with --dataset",
                name.drawn()
            )));
        }
    }
    let mut notices = Notices::new(output);
    let dataset = choice.load(network, &mut |notice| notices.show(notice));
    notices.result().and(dataset)
}

/// One of several whole numbers in an option's value.
///
/// # Errors
/// A phrase that says what is expected.
pub fn one_of_several(text: &str) -> Result<u64, String> {
    whole(text).map_err(|why| format!("{why}; separate several by commas, such as 1,2,3"))
}

/// Prints the last line of a command's output if synthetic examples replace a data set.
pub fn stand_in_reminder(dataset: &Dataset, output: Output) -> Result<()> {
    match dataset.stand_in_reason() {
        Some(_) => {
            let (drawn, wanted) = (dataset.name.drawn().to_uppercase(), stood_in_for(dataset.name));
            output.say(format_args!(
                "*** THESE FIGURES ARE FOR SYNTHETIC {drawn}, NOT FOR {wanted}; `glassnet data fetch` downloads the real \
                 ones ***"
            ))
        }
        None => Ok(()),
    }
}

/// The network to train on `data`: by default a preset that fits the requested data. For a folder of coloured pictures
/// it is the preset for colour, which is then reported.
///
/// # Errors
/// Those of [`network`] and [`ImageFolder::list`].
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
        note(format_args!("the pictures are in colour; training {COLOUR_PRESET}, which has colour input"));
    }
    Network::preset(COLOUR_PRESET)
}

/// The requested network; the first preset by default.
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

/// Refuses a folder that is not empty, unless `force` is set; and a file.
pub fn refuse_content(path: &Path, force: bool) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(Error::Settings(format!("{} is a file; choose a folder", path.display())));
    }
    let mut entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list the folder", path))?,
    };
    if force || entries.next().is_none() {
        return Ok(());
    }
    let path = path.display();
    Err(Error::Settings(format!("{path} is not empty; choose another folder, or use --force to write into it")))
}
