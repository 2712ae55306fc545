//! `glassnet convert`: a model from one file format to another.

use super::output::Output;
use clap::Args;
use glassnet::formats::{Format, load_model, save_model_as};
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Convert a model to another file format
///
/// The extensions say which: .safetensors is Glassnet's own, .json a ConvNetJS snapshot, as JSON.stringify(net.toJSON())
/// gives it and net.fromJSON takes it. A snapshot holds layers and weights; what only training needs stays behind.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The model to read: a model.safetensors, a checkpoint.safetensors or a ConvNetJS snapshot (.json)
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write: .safetensors or .json
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Replace OUT where it exists
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    input: &'a Path,
    output: &'a Path,
    network: &'a str,
    parameters: usize,
}

/// Converts and prints.
pub fn run(args: &ConvertArgs) -> Result<ExitCode> {
    let (input, output) = (&args.input, &args.output);
    let (_, format) = (Format::of(input)?, Format::of(output)?);
    // A link to nowhere is something too.
    if !args.force && output.symlink_metadata().is_ok() {
        let output = output.display();
        return Err(Error::Settings(format!("{output} exists; give another name, or --force to replace it")));
    }
    let model = load_model(input)?;
    save_model_as(output, &model, format)?;
    let report = Report { input, output, network: &model.network.name, parameters: model.network.parameter_count() };
    let text = format_args!("{}: network {}, {} parameters", output.display(), report.network, report.parameters);
    Output { json: args.json }.result(&report, text)?;
    Ok(ExitCode::SUCCESS)
}
