//! `glassnet bench`: compares GPU and CPU, in whole steps and single layers.

mod chart;
mod growth;
mod tables;

use super::options::{self, DeviceArgs, DeviceName, NetworkArgs};
use super::output::{Output, note};
use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use glassnet::bench::{self, GrowthSettings, Progress, Report, Settings};
use glassnet::exec::Device;
use glassnet::formats::Target;
use glassnet::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

/// Time training on the GPU and on the CPU, whole steps and single layers
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    network: NetworkArgs,
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
    /// Also time growing batches and widths, and draw images/s and memory over them into this SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = svg_path())]
    growth: Option<PathBuf>,
    /// Replace the picture of --growth if it exists
    #[arg(long, requires = "growth")]
    force: bool,
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
    let network = options::network(&args.network)?;
    let settings = Settings { batch_sizes: args.batch_sizes.clone(), ..Settings::default() };
    let mut notes = Vec::new();
    let devices = pollster::block_on(devices(args, &mut notes))?;
    // Checked before the minutes that measuring takes.
    let growth =
        args.growth.as_ref().map(|path| Target::new(path, args.force)?.sparing(&args.network.net)).transpose()?;
    let mut bar = Bar::new();
    let report = pollster::block_on(bench::run(&network, &devices, &settings, &mut |progress| bar.show(progress)));
    bar.clear();
    let mut report: Report = report?;
    report.notes = notes;
    if let Some(target) = &growth {
        let path = target.path();
        let settings = GrowthSettings::default();
        if !bench::widens(&network) {
            report.notes.push(format!(
                "only the last layer of {} has weights, and its outputs are the classes; the curve over the width is flat, \
                 because every width is the same network",
                network.name
            ));
        }
        let progress = &mut |size: &str| note(format_args!("timing {size}"));
        let curves = pollster::block_on(bench::growth(&network, &devices, &settings, progress))?;
        let picture = chart::svg(&report, &curves)
            .map_err(|error| Error::Settings(format!("{} cannot be drawn: {error}", path.display())))?;
        target.write(picture.as_bytes())?;
        report.growth = Some(curves);
        note(format_args!("drew {}", path.display()));
    }
    args.output.result(&report, tables::render(&report))?;
    // Prints what was measured before a device failed; the failure is still an error.
    let lost = devices.iter().filter_map(|device| if let Device::Gpu(gpu) = device { gpu.check().err() } else { None });
    let failed = || report.failure().map(Error::Device);
    lost.into_iter().next().or_else(failed).map_or(Ok(ExitCode::SUCCESS), Err)
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
                };
                match options::device(&choice).await {
                    Ok(gpu) => devices.push(gpu),
                    Err(Error::Adapter(why)) if args.devices.is_empty() && args.adapter.is_none() => {
                        notes.push(format!("the GPU is left out: {why}"));
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
