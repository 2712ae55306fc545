//! `glassnet inspect`: sends one example forward and backward, layer by layer.

mod gallery;
mod report;

pub(super) use report::Class;

use super::options::{self, DataArgs, DeviceArgs};
use super::output::Output;
use clap::{ArgGroup, Args, ValueEnum};
use glassnet::formats::{Target, load_model};
use glassnet::inspect::{Explanation, explain, inspect_batch};
use glassnet::pictures::Palette;
use glassnet::{Error, Result, words};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// The number of classes to show.
pub(super) const TOP: usize = 3;

/// Send one example forward and backward, and show every layer's activations and gradients
///
/// Without --dataset, the example is from the data set that the model was trained on, from the folder that its run
/// used.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("kept").args(["dump", "out"]).multiple(true)))]
pub struct InspectArgs {
    /// The model.safetensors or checkpoint.safetensors of a run, or a ConvNetJS snapshot (.json)
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The example's index, from 0
    #[arg(long, value_name = "I", value_parser = options::whole::<usize>)]
    index: usize,
    /// The part of the data set that the example is from
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    split: Split,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Show the gradients of the mean loss of the N examples from I on, instead of this example's alone
    #[arg(long, value_name = "N", value_parser = options::whole::<usize>, default_value_t = 1)]
    batch: usize,
    /// Write every activation, weight, bias and gradient, and what decides, to this file; weights are in PyTorch's
    /// order
    #[arg(long, value_name = "FILE.safetensors")]
    dump: Option<PathBuf>,
    /// Draw every activation, weight and gradient, and what decides, into this folder, with a page, index.html, that
    /// shows the pictures
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Colours of the pictures, negative to positive: blue-orange, blue-red or grey
    #[arg(long, value_name = "NAME", value_parser = palette, default_value = "blue-orange", requires = "out")]
    palette: Palette,
    /// Side in pixels of the square that hides parts of the image, to see what decides [default: a quarter of its
    /// shorter side]
    #[arg(long, value_name = "PIXELS", value_parser = options::whole::<usize>, requires = "kept")]
    occlusion_size: Option<usize>,
    /// Replace the file of --dump if it exists; write into a folder that is not empty, and replace the pictures of an
    /// earlier inspection in it
    #[arg(long, requires = "kept")]
    force: bool,
    #[command(flatten)]
    output: Output,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    /// The training set
    #[value(alias = "training")]
    Train,
    /// The test set
    #[default]
    Test,
}

impl Split {
    fn name(self) -> &'static str {
        match self {
            Split::Train => "training",
            Split::Test => "test",
        }
    }
}

fn palette(name: &str) -> std::result::Result<Palette, String> {
    let known = Palette::ALL.map(Palette::name).join(", ");
    let found = Palette::ALL.into_iter().find(|palette| words::same(palette.name(), name));
    found.ok_or(format!("known are {known}"))
}

/// Inspects, dumps and prints.
pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let output = args.output;
    if let Some(folder) = &args.out {
        gallery::check(folder, args.force)?;
    }
    let dump = args.dump.as_ref().map(|path| Target::new(path, args.force)?.sparing([&args.model])).transpose()?;
    let model = load_model(&args.model)?;
    let dataset = super::eval::data_for(&model, &args.model, &args.data, output)?;
    let dump = dump.map(|target| target.sparing(dataset.sources())).transpose()?;
    let examples = match args.split {
        Split::Train => &dataset.train,
        Split::Test => &dataset.test,
    };
    let (network, parameters) = (&model.network, &model.parameters);
    let (device, inspection, explained) = pollster::block_on(async {
        let device = options::device(&args.device).await?;
        let inspection = inspect_batch(&device, network, parameters, examples, args.index, args.batch).await?;
        let explained = match args.dump.is_some() || args.out.is_some() {
            true => Some(explain(&device, network, parameters, examples, args.index, args.occlusion_size).await),
            false => None,
        };
        Ok::<_, Error>((device.info(), inspection, explained))
    })?;
    let explained = explained.map(told).transpose()?;
    let report = report::report(args, network, &dataset, device, &inspection, explained.as_ref());
    if let Some(target) = &dump {
        let metadata = serde_json::json!({
            "network": network.to_toml(), "dataset": dataset.name, "split": args.split, "index": args.index,
            "label": inspection.label, "loss": inspection.loss, "gradients": report.gradients,
        });
        target.write(&inspection.dump(explained.as_ref().and_then(|explained| explained.as_ref().ok()), &metadata)?)?;
    }
    if let Some(folder) = &args.out {
        gallery::write(folder, network, &inspection, explained.as_ref(), &report, args)?;
    }
    output.result(&report, report::text(&report))?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

/// What decides, or why it is unknown. If the network's answer is not finite, everything else is still shown.
type Explained = std::result::Result<Explanation, String>;

fn told(explained: Result<Explanation>) -> Result<Explained> {
    match explained {
        Ok(explanation) => Ok(Ok(explanation)),
        Err(Error::Model(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}
