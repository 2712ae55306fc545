//! `glassnet convert`: converts a model from one file format to another.

use super::output::{self, Output};
use clap::Args;
use glassnet::formats::{Format, Model, SAFETENSORS, Target, load_model};
use glassnet::net::Network;
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Convert a model to another file format
///
/// The extensions choose the formats: .safetensors is Glassnet's own, .json a ConvNetJS snapshot, which
/// JSON.stringify(net.toJSON()) writes and net.fromJSON reads, .onnx an ONNX file, which can only be written. With
/// --preset or --net, IN is a file of weights that PyTorch saved. An .onnx file leaves out everything that only
/// training needs.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The model to read: a model.safetensors, a checkpoint.safetensors, a ConvNetJS snapshot (.json), or weights of a
    /// state_dict saved with safetensors.torch.save_file
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write: .safetensors, .json or .onnx
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// IN holds weights that PyTorch saved, of this built-in network
    #[arg(long, value_name = "NAME", conflicts_with = "net")]
    preset: Option<String>,
    /// IN holds weights that PyTorch saved, of this network described in TOML
    #[arg(long, value_name = "FILE.toml")]
    net: Option<PathBuf>,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    printing: Output,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "output::path")]
    input: &'a Path,
    #[serde(serialize_with = "output::path")]
    output: &'a Path,
    network: &'a str,
    parameters: usize,
}

/// Converts and prints.
pub fn run(args: &ConvertArgs) -> Result<ExitCode> {
    let (input, output) = (&args.input, &args.output);
    let (from, format) = (Format::of(input)?, Format::of(output)?);
    if *from != SAFETENSORS && (args.preset.is_some() || args.net.is_some()) {
        let input = input.display();
        return Err(Error::Settings(format!(
            "{input} already describes its network; leave out --preset and --net, which are for weights that PyTorch saved as \
             .safetensors"
        )));
    }
    let target = Target::new(output, args.force)?.sparing([Some(input), args.net.as_ref()].into_iter().flatten())?;
    let model = match network(args)? {
        Some(network) => Model::import_pytorch(network, input)?,
        None => load_model(input)?,
    };
    let bytes = (format.to_bytes)(&model).map_err(|error| match error {
        Error::Model(why) => Error::Model(format!("{} not written: {why}", output.display())),
        other => other,
    })?;
    target.write(&bytes)?;
    let report = Report { input, output, network: &model.network.name, parameters: model.network.parameter_count() };
    let text = format_args!("{}: network {}, {} parameters", output.display(), report.network, report.parameters);
    args.printing.result(&report, text)?;
    Ok(ExitCode::SUCCESS)
}

/// The network of weights that PyTorch saved.
fn network(args: &ConvertArgs) -> Result<Option<Network>> {
    match (&args.net, &args.preset) {
        (Some(file), _) => Network::from_file(file).map(Some),
        (None, Some(preset)) => Network::preset(preset).map(Some),
        (None, None) => Ok(None),
    }
}
