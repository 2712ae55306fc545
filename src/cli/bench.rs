//! `glassnet bench`: compares GPU and CPU, in whole steps and single layers.

mod chart;
mod growth;
mod tables;

use super::options::{self, DeviceArgs, DeviceName, NetworkArgs, PrecisionName, TuneArgs};
use super::output::{Output, note, told_of_gpu};
use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use glassnet::bench::{self, GrowthSettings, Progress, Report, Settings};
use glassnet::exec::Device;
use glassnet::formats::Target;
use glassnet::kernels::Precision;
use glassnet::net::Network;
use glassnet::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

/// Time training on the GPU and on the CPU, whole steps and single layers
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[arg(long = "preset", value_delimiter = ',', value_name = "NAMES", conflicts_with = "net", alias = "presets")]
    #[arg(help = preset_help())]
    presets: Vec<String>,
    /// A network of your own, described in TOML
    #[arg(long, value_name = "FILE.toml")]
    net: Option<PathBuf>,
    /// What to compare, separated by commas [default: gpu,cpu; without a GPU: cpu]
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',', value_name = "DEVICES", alias = "device")]
    devices: Vec<BenchDevice>,
    /// Examples per step, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SIZES", aliases = ["batch-size", "batch"], value_parser = batch_size)]
    #[arg(default_values_t = Settings::BATCH_SIZES)]
    batch_sizes: Vec<usize>,
    /// The GPU to time: a number from `glassnet devices`, or part of its name
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    /// Time a GPU even if it computes wrongly or not at all, such as a driver that only records commands; what is left
    /// is the host's work
    #[arg(long)]
    skip_self_check: bool,
    /// How the GPU multiplies in convolutions and fully connected layers [default: f32]
    #[arg(long, value_enum, ignore_case = true)]
    precision: Option<PrecisionName>,
    /// Also time growing batches and widths, and draw images/s and memory over them into this SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = svg_path())]
    growth: Option<PathBuf>,
    /// Replace the picture of --growth if it exists
    #[arg(long, requires = "growth")]
    force: bool,
    #[command(flatten)]
    tune: TuneArgs,
    #[command(flatten)]
    output: Output,
}

/// The devices that can be timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BenchDevice {
    /// The WGSL kernels on a GPU, including a software GPU
    #[value(aliases = options::GPU_WORDS)]
    Gpu,
    /// All cores of the processor
    Cpu,
}

/// The help text of `--preset`.
fn preset_help() -> String {
    format!("{}; several, separated by commas, are timed one after another", options::preset_help())
}

fn batch_size(text: &str) -> std::result::Result<usize, String> {
    text.trim().parse().map_err(|_| "a batch size is a whole number, 1 or more".to_string())
}

/// Only vector graphics, which need no fonts here.
fn svg_path() -> impl TypedValueParser<Value = PathBuf> {
    clap::builder::PathBufValueParser::new().try_map(|path| match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("svg") => Ok(path),
        _ => Err("the picture is an SVG; use a name that ends in .svg"),
    })
}

/// Measures and prints.
///
/// # Errors
/// If a requested device does not exist, fails, or fits no batch size; or if a network or a batch size is not possible.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let networks = networks(args)?;
    if args.growth.is_some() && networks.len() > 1 {
        return Err(Error::Settings("--growth draws one network; name one preset".into()));
    }
    let mut notes = Vec::new();
    let devices = pollster::block_on(devices(args, &mut notes))?;
    // Checked before the minutes that measuring takes.
    let growth = args.growth.as_ref().map(|path| Target::new(path, args.force)?.sparing(&args.net)).transpose()?;
    let mut reports = Vec::with_capacity(networks.len());
    for network in &networks {
        if networks.len() > 1 {
            note(format_args!("timing {}", network.name));
        }
        let mut report = measure(args, network, &devices)?;
        report.notes.splice(0..0, notes.iter().cloned());
        reports.push(report);
    }
    if let (Some(target), [network], [report]) = (&growth, &networks[..], &mut reports[..]) {
        draw_growth(target, network, &devices, report)?;
    }
    match &reports[..] {
        [report] => args.output.result(report, tables::render_all(&reports))?,
        _ => args.output.result(&reports, tables::render_all(&reports))?,
    }
    // Prints what was measured before a device failed; the failure is still an error.
    let lost = devices.iter().filter_map(|device| if let Device::Gpu(gpu) = device { gpu.check().err() } else { None });
    let failed = || reports.iter().find_map(Report::failure).map(Error::Device);
    lost.into_iter().next().or_else(failed).map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The requested networks, each once.
fn networks(args: &BenchArgs) -> Result<Vec<Network>> {
    if args.presets.is_empty() {
        return Ok(vec![options::network(&NetworkArgs { preset: None, net: args.net.clone() })?]);
    }
    let mut networks: Vec<Network> = Vec::with_capacity(args.presets.len());
    for name in &args.presets {
        let network = Network::preset(name.trim())?;
        if networks.iter().all(|known| known.name != network.name) {
            networks.push(network);
        }
    }
    Ok(networks)
}

fn measure(args: &BenchArgs, network: &Network, devices: &[Device]) -> Result<Report> {
    let settings = Settings { batch_sizes: args.batch_sizes.clone(), tuner: args.tune.tuner(), ..Settings::default() };
    let mut bar = Bar::new();
    let report = pollster::block_on(bench::run(network, devices, &settings, &mut |progress| bar.show(progress)));
    bar.clear();
    report
}

/// Times the growth curves, writes their picture, and adds them to the report.
fn draw_growth(target: &Target, network: &Network, devices: &[Device], report: &mut Report) -> Result<()> {
    let path = target.path();
    if !bench::widens(network) {
        report.notes.push(format!(
            "only the last layer of {} has weights, and its outputs are the classes; the curve over the width is flat, \
             because every width is the same network",
            network.name
        ));
    }
    let progress = &mut |size: &str| note(format_args!("timing {size}"));
    let curves = pollster::block_on(bench::growth(network, devices, &GrowthSettings::default(), progress))?;
    let picture = chart::svg(report, &curves)
        .map_err(|error| Error::Settings(format!("{} cannot be drawn: {error}", path.display())))?;
    target.write(picture.as_bytes())?;
    report.growth = Some(curves);
    note(format_args!("drew {}", path.display()));
    Ok(())
}

/// Whether only some GPUs compute in it.
fn is_special(precision: PrecisionName) -> bool {
    Precision::from(precision) != Precision::F32
}

/// Opens the requested devices; by default those that exist.
async fn devices(args: &BenchArgs, notes: &mut Vec<String>) -> Result<Vec<Device>> {
    let wanted: &[BenchDevice] =
        if args.devices.is_empty() { &[BenchDevice::Gpu, BenchDevice::Cpu] } else { &args.devices };
    if args.adapter.is_some() && !wanted.contains(&BenchDevice::Gpu) {
        return Err(Error::Settings("--adapter selects a GPU; leave it out, or add gpu to --devices".into()));
    }
    if args.skip_self_check && !wanted.contains(&BenchDevice::Gpu) {
        return Err(Error::Settings("--skip-self-check is for a GPU; leave it out, or add gpu to --devices".into()));
    }
    if args.tune.is_effort() && !wanted.contains(&BenchDevice::Gpu) {
        return Err(Error::Settings("--tune is for a GPU; leave it out, or add gpu to --devices".into()));
    }
    if args.precision.is_some() && !wanted.contains(&BenchDevice::Gpu) {
        return Err(Error::Settings("--precision is for a GPU; leave it out, or add gpu to --devices".into()));
    }
    let mut devices = Vec::new();
    for (i, device) in wanted.iter().enumerate() {
        if wanted[..i].contains(device) {
            continue;
        }
        match device {
            BenchDevice::Cpu => devices.push(Device::Cpu),
            BenchDevice::Gpu => {
                let choice = DeviceArgs {
                    device: Some(DeviceName::Gpu),
                    adapter: args.adapter.clone(),
                    skip_self_check: args.skip_self_check,
                    precision: args.precision,
                };
                match options::device(&choice).await {
                    Ok(gpu) => {
                        if gpu.info().precision != Precision::F32 {
                            notes.push(format!(
                                "the GPU multiplies in {}; shares of peak are of its peak in f32 without matrix units, \
                                 and may be above 100 %",
                                gpu.info().precision
                            ));
                        }
                        devices.push(gpu);
                    }
                    Err(why @ (Error::Adapter(_) | Error::SelfCheck(_))) => {
                        if !args.devices.is_empty() || args.adapter.is_some() || args.precision.is_some_and(is_special)
                        {
                            return Err(Error::Settings(told_of_gpu(&why, "--devices cpu")));
                        }
                        notes.push(format!("the GPU is left out: {why}"));
                        if args.tune.is_effort() {
                            notes.push("--tune has no effect without a GPU".into());
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(devices)
}

/// Progress on stderr: a bar on a terminal, otherwise a line per device and batch size.
struct Bar {
    bar: ProgressBar,
    plain: bool,
    /// The subject of the last line.
    last: String,
}

impl Bar {
    fn new() -> Bar {
        let plain = !io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(0) };
        // An invalid template would only affect the appearance.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} of about {duration} {wide_msg}") {
            bar.set_style(style);
        }
        Bar { bar, plain, last: String::new() }
    }

    fn show(&mut self, progress: Progress) {
        let Progress { batch_size, device, done, planned } = progress;
        self.bar.set_length(planned as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(format!("batch size {batch_size} on {device}"));
        let line = format!("timing batch size {batch_size}");
        if self.plain && self.last != line {
            note(&line);
            self.last = line;
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
