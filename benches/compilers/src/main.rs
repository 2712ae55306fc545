//! What a Vulkan driver's compiler makes of Glassnet's kernels: registers, spills, workgroup memory, occupancy,
//! instructions, static cycles. `sh benches/compilers.sh` runs it for three GPUs without having them.
//!
//! `measure` compiles every pipeline of a folder written by `glassnet check --dump-pipelines`, prints a line for each,
//! and writes JSON; `join` makes one Markdown table of several devices' files, and with `--check` applies the rules.

mod device;
mod facts;
mod gradients;
mod list;
mod rules;
mod shader;
mod table;

use clap::{Args, Parser};
use device::Device;
use facts::{Before, Facts, Report};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints what GPU compilers make of Glassnet's kernels.
#[derive(Parser)]
enum Command {
    /// Compile every pipeline with the Vulkan driver that the environment names
    Measure(Measure),
    /// Join the files of several devices to one Markdown table
    Join(Join),
}

#[derive(Args)]
struct Measure {
    /// A folder written by `glassnet check --dump-pipelines`
    folder: PathBuf,
    /// The GPU's name in the table, such as NAVI31
    #[arg(long)]
    name: String,
    /// Only operations whose names contain this
    #[arg(long, default_value = "")]
    operation: String,
    /// WGSL text of the weight gradients to compare with (conv_blocked.wgsl with what it includes)
    #[arg(long)]
    before: Option<PathBuf>,
    /// Write the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Join {
    /// Files written by `measure --json`
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only operations whose names contain this
    #[arg(long, default_value = "")]
    operation: String,
    /// Exit with 1 if a rule is broken
    #[arg(long)]
    check: bool,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Measure(arguments) => measure(&arguments),
        Command::Join(arguments) => join(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

fn measure(arguments: &Measure) -> Result<ExitCode> {
    let mut pipelines = list::read(&arguments.folder)?;
    pipelines.retain(|one| one.operation.contains(&arguments.operation));
    let device = Device::open()?;
    let mut report = Report { name: arguments.name.clone(), driver: device.driver(), ..Report::default() };
    println!("{}: {}", report.name, report.driver);
    for pipeline in pipelines {
        let path = arguments.folder.join(&pipeline.wgsl);
        let shader = shader::translate(&path, &pipeline.entry, &pipeline.constants)?;
        let facts = Facts::new(&device.compile(&shader)?, shader.memory);
        println!("{pipeline}: {facts}");
        report.pipelines.push((pipeline, facts));
    }
    if let Some(path) = &arguments.before {
        report.before = before(&device, path)?;
    }
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The weight gradients to compare with, with and without stride 1 as a constant.
fn before(device: &Device, path: &Path) -> Result<Vec<Before>> {
    let mut all = Vec::new();
    for entry in [gradients::WIDE, gradients::NARROW] {
        for unit_stride in [false, true] {
            let constants = [("UNIT_STRIDE".to_owned(), u32::from(unit_stride))].into();
            let shader = shader::translate(path, entry, &constants)?;
            let facts = Facts::new(&device.compile(&shader)?, shader.memory);
            println!("before: {entry}, unit stride {unit_stride}: {facts}");
            all.push(Before { entry: entry.to_owned(), unit_stride, facts });
        }
    }
    Ok(all)
}

fn join(arguments: &Join) -> Result<ExitCode> {
    let mut reports: Vec<Report> = Vec::new();
    for path in &arguments.files {
        let text = read(path)?;
        let mut report: Report = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        report.pipelines.retain(|(pipeline, _)| pipeline.operation.contains(&arguments.operation));
        reports.push(report);
    }
    print!("{}", table::markdown(&reports));
    let broken = rules::broken(&reports);
    for line in &broken {
        eprintln!("rule broken: {line}");
    }
    Ok(ExitCode::from(u8::from(arguments.check && !broken.is_empty())))
}

/// The text of a file; errors name it.
fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, format!("{text}\n"))
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
