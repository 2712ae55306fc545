//! The command line: one file per command, which parses, calls the library and prints.

pub mod arguments;
pub mod options;
pub mod output;

mod bench;
mod check;
mod compare;
mod convert;
mod data;
mod defaults;
mod devices;
mod eval;
mod explain;
mod inspect;
mod interrupt;
mod live;
mod lockstep;
mod notices;
mod pipelines;
mod predict;
mod report;
mod train;
mod train_reporter;
mod train_view;
mod view;

use clap::{Parser, Subcommand};
use glassnet::Result;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Instant;

/// Trains convolutional networks with its own WGSL compute kernels and shows what happens inside them.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Compare(Box<compare::CompareArgs>),
    Report(report::ReportArgs),
    View(view::ViewArgs),
    #[command(aliases = ["evaluate", "test"])]
    Eval(eval::EvalArgs),
    #[command(alias = "classify")]
    Predict(predict::PredictArgs),
    Inspect(inspect::InspectArgs),
    Explain(explain::ExplainArgs),
    Convert(convert::ConvertArgs),
    Bench(bench::BenchArgs),
    Check(check::CheckArgs),
    Devices(devices::DevicesArgs),
    Data(data::DataCommand),
}

static LAUNCHED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the program started: the time of the first call, which `main` makes before anything else.
pub fn launched() -> Instant {
    *LAUNCHED
}

/// Runs a command to its end. [`ExitCode::FAILURE`] stands for a finding that was already printed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::View(args) => view::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Data(args) => data::run(&args),
    }
}
