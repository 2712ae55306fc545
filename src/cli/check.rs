//! `glassnet check`: compares every kernel's cases with the reference on this machine, or a whole step in lockstep.

use super::lockstep;
use super::options::{self, DeviceArgs, DeviceName, NetworkArgs, PrecisionName};
use super::output::{Output, Progress, Table, figure, note};
use super::pipelines;
use clap::{Args, ValueEnum};
use glassnet::exec::check::{Outcome, run_case};
use glassnet::exec::gpu::RuntimeChecks;
use glassnet::exec::{Device, DeviceInfo};
use glassnet::kernels::{self, Adapter, Case, Op, Precision, Variant};
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compare every kernel with the reference on this machine's own device
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What to check
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    device: Checked,
    /// The GPU to check: a number from `glassnet devices`, or part of its name
    #[arg(long, value_name = "NAME_OR_INDEX")]
    adapter: Option<String>,
    /// Also check the kernels for a precision of products, which the GPU must have [default: f32]; with
    /// --dump-pipelines, write those that a GPU with the largest of its matrices may run
    #[arg(long, value_enum, ignore_case = true)]
    precision: Option<PrecisionName>,
    /// Only the cases whose name contains this text, such as `conv.backward` or `stride`, or the cases of kernels whose
    /// name contains it, such as `pool.forward_vec4`
    #[arg(long, value_name = "TEXT", conflicts_with = "lockstep")]
    filter: Option<String>,
    /// Run one whole training step operation by operation on the reference and on the device, and name the first
    /// operation and index that differ
    #[arg(long)]
    lockstep: bool,
    #[command(flatten)]
    network: NetworkArgs,
    /// Examples in the step of --lockstep [default: 20]
    // clap drops `requires` where the required option conflicts with a given one, so these conflicts are named too.
    #[arg(long, value_name = "N", requires = "lockstep", conflicts_with_all = ["filter", "dump_pipelines"])]
    #[arg(aliases = ["batch", "batchsize"], value_parser = options::whole::<usize>)]
    batch_size: Option<usize>,
    /// Check nothing; write the WGSL text of every kernel that training a preset uses on a hardware GPU into this
    /// folder, and pipelines.json, a list of the pipelines with entry points, constants and workgroups: for every
    /// preset as it trains by default, statistics included, at batch sizes 20, 128 and 512. This needs no GPU
    // What it writes does not depend on any other option.
    #[arg(long, value_name = "DIR")]
    #[arg(conflicts_with_all = ["lockstep", "filter", "device", "adapter", "preset", "net"])]
    dump_pipelines: Option<PathBuf>,
    /// Write into the folder of --dump-pipelines if it is not empty, and replace files of an earlier list in it
    #[arg(long, requires = "dump_pipelines")]
    #[arg(conflicts_with_all = ["lockstep", "batch_size", "filter", "device", "adapter", "preset", "net"])]
    force: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Checked {
    /// The WGSL kernels on a GPU, including a software GPU
    #[default]
    #[value(aliases = options::GPU_WORDS)]
    Gpu,
    /// The fast functions on the processor
    Cpu,
}

#[derive(Debug, Serialize)]
struct Report {
    device: DeviceInfo,
    passed: bool,
    cases: usize,
    failed: usize,
    kernels: Vec<KernelReport>,
    failures: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct KernelReport {
    kernel: &'static str,
    cases: usize,
    passed: usize,
    /// The largest error relative to the case's tolerance; 1 is the limit.
    worst: f64,
}

/// Checks and prints. Returns [`ExitCode::FAILURE`] if anything differs.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let output = args.output;
    if let Some(folder) = &args.dump_pipelines {
        let precision = args.precision.map(Precision::from).unwrap_or_default();
        return pipelines::dump(folder, args.force, precision, output);
    }
    if args.lockstep {
        let batch_size = args.batch_size.unwrap_or(lockstep::BATCH);
        return pollster::block_on(async {
            let network = options::network(&args.network)?;
            lockstep::run(&network, batch_size, &device(args).await?, output).await
        });
    }
    if args.network.preset.is_some() || args.network.net.is_some() {
        return Err(Error::Settings(
            "--preset and --net choose a network for --lockstep; add --lockstep, or leave them out".into(),
        ));
    }
    let report = pollster::block_on(check(args))?;
    output.result(&report, text(&report))?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The device to check. Its shaders check their indices, so a fault gives a wrong result but does no harm.
async fn device(args: &CheckArgs) -> Result<Device> {
    let device = match args.device {
        Checked::Gpu => DeviceName::Gpu,
        Checked::Cpu => DeviceName::Cpu,
    };
    // A GPU that fails the self-check is checked like any other; this command finds out more.
    let skip_self_check = device == DeviceName::Gpu;
    let (adapter, precision) = (args.adapter.clone(), args.precision);
    let args = DeviceArgs { device: Some(device), adapter, skip_self_check, precision };
    options::device_with(&args, RuntimeChecks::On).await
}

async fn check(args: &CheckArgs) -> Result<Report> {
    let device = device(args).await?;
    let cases = chosen_cases(args.filter.as_deref(), &device)?;
    note(format_args!("checking {} cases on {}", cases.len(), device.info()));
    let mut progress = Progress::new(cases.len() as u64, "cases");
    let mut outcomes = Vec::with_capacity(cases.len());
    for case in &cases {
        outcomes.extend(run_case(&device, case).await?);
        progress.step(&case.name);
    }
    drop(progress);
    let kernels = names(&outcomes).into_iter().map(|kernel| kernel_report(kernel, &outcomes)).collect();
    let (cases, failures) = (outcomes.len(), outcomes.into_iter().filter(|o| !o.passed).collect::<Vec<_>>());
    Ok(Report { device: device.info(), passed: failures.is_empty(), cases, failed: failures.len(), kernels, failures })
}

fn chosen_cases(filter: Option<&str>, device: &Device) -> Result<Vec<Case>> {
    let all = kernels::cases();
    let Some(filter) = filter else { return Ok(all) };
    let mut cases = Vec::new();
    for case in all {
        if case.name.contains(filter) {
            cases.push(case);
            continue;
        }
        // A variant by its name alone; the processor has no variants.
        let Device::Gpu(gpu) = device else {
            let named = |adapter| case.op.variants(adapter).any(|variant| variant.name.contains(filter));
            if Adapter::all().any(named) {
                cases.push(case);
            }
            continue;
        };
        for variant in case.op.variants(gpu.adapter()).filter(|variant| variant.name.contains(filter)) {
            let op = Op { variant: Some(variant), ..case.op.clone() };
            cases.push(Case { op, ..case.clone() });
        }
    }
    let own = if let Device::Gpu(gpu) = device { gpu.adapter().matrices } else { None };
    let is_named = |(_, variant): (_, &Variant)| variant.name.contains(filter);
    if cases.is_empty() && kernels::variants().any(is_named) {
        return Err(Error::Settings(format!(
            "no kernel whose name contains {filter:?} is for {}; {}",
            device.info(),
            own.map_or("choose the --precision of kernels with cooperative matrices".to_string(), |matrices| format!(
                "choose kernels for its matrices, which are {matrices}"
            ))
        )));
    }
    if cases.is_empty() {
        let names: Vec<&str> = kernels::operations().map(|operation| operation.name).collect();
        return Err(Error::Settings(format!(
            "no name of a case or kernel contains {filter:?}; choose a part of a name, such as one of the operations {}",
            names.join(", ")
        )));
    }
    Ok(cases)
}

/// The kernels that ran, in the order of their first cases.
fn names(outcomes: &[Outcome]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.kernel) {
            names.push(outcome.kernel);
        }
    }
    names
}

fn kernel_report(kernel: &'static str, outcomes: &[Outcome]) -> KernelReport {
    let own: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.kernel == kernel).collect();
    let passed = own.iter().filter(|outcome| outcome.passed).count();
    let worst = own.iter().map(|outcome| outcome.worst).fold(0.0, f64::max);
    KernelReport { kernel, cases: own.len(), passed, worst }
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&["kernel", "cases", "passed", "worst error / tolerance"]);
    for KernelReport { kernel, cases, passed, worst } in &report.kernels {
        table.row([kernel.to_string(), cases.to_string(), passed.to_string(), figure(*worst)]);
    }
    let failure = |outcome: &Outcome| {
        format!("\nFAILED {}: {}", outcome.case, outcome.failure.as_deref().unwrap_or("differs from the reference"))
    };
    let failures: String = report.failures.iter().map(failure).collect();
    let verdict = match report.failed {
        0 => format!("all {} cases agree with the reference", report.cases),
        failed => format!("{failed} of {} cases FAIL; do not trust results of this device", report.cases),
    };
    format!("{}\n{table}{failures}\n{verdict}", report.device)
}
