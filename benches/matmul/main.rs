//! Matrix products by Glassnet's kernels, and convolutions compared with the fastest of them: `cargo bench --bench
//! matmul -- --help`.
//!
//! Every kernel's cases are first checked against the reference. GFLOP/s count a multiply-add as two, in the best of
//! five repetitions; those of convolutions are medians over rounds of whole training steps.

mod kernels;

use clap::Parser;
use glassnet::bench::{self, OperationFigures, Peaks, Settings};
use glassnet::exec::check::run_case;
use glassnet::exec::gpu::{Choice, Gpu, RuntimeChecks};
use glassnet::exec::{Clock, Device};
use glassnet::kernels::{Op, Precision, Variant};
use glassnet::net::Network;
use pollster::block_on;
use std::error::Error;
use std::time::Duration;

/// Times matrix products and convolutions on a GPU.
#[derive(Parser)]
struct Arguments {
    /// A number from `glassnet devices`, or part of a name
    #[arg(long)]
    adapter: Option<String>,
    /// M = N = K, in multiples of 128 [default: 256 to 1024, on hardware to 4096]
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// Network whose convolutions are measured
    #[arg(long, default_value = "vgg-mnist")]
    preset: String,
    /// Measure the products only
    #[arg(long)]
    products_only: bool,
    /// Batch size of the network [default: 20, on hardware 512]
    #[arg(long)]
    batch_size: Option<usize>,
    /// The longest product that is still measured, in seconds
    #[arg(long, default_value_t = 2.0)]
    longest: f64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const PROBE: Duration = Duration::from_millis(20);
/// A multiple of all kernels' block sizes.
const MULTIPLE: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let choice = arguments.adapter.clone().map_or(Choice::Any, Choice::Named);
    let gpu = block_on(Gpu::open(&choice, RuntimeChecks::Off, Precision::F32))?;
    let software = gpu.summary().software;
    let sizes = match (&arguments.sizes[..], software) {
        ([], true) => vec![256, 512, 1024],
        ([], false) => vec![256, 512, 1024, 2048, 4096],
        (sizes, _) => sizes.to_vec(),
    };
    if let Some(odd) = sizes.iter().find(|size| **size == 0 || !size.is_multiple_of(MULTIPLE)) {
        return Err(format!("--sizes: {odd} is no multiple of {MULTIPLE}").into());
    }
    let adapter = gpu.adapter();
    let device = Device::Gpu(gpu);
    println!("{}", device.info());
    check(&device)?;
    let peaks = block_on(bench::peaks(&device, PROBE));
    peaks.failures.iter().for_each(|failure| println!("warning: {failure}"));
    let variants: Vec<&'static Variant> = kernels::case([MULTIPLE; 3]).op.variants(adapter).collect();
    let best = products(&device, &variants, &sizes, &peaks, arguments.longest)?;
    if arguments.products_only {
        return Ok(());
    }
    let batch = arguments.batch_size.unwrap_or(if software { 20 } else { 512 });
    convolutions(&device, &arguments.preset, batch, best, &peaks)
}

/// Runs every case on every kernel that supports it.
fn check(device: &Device) -> Result<(), Box<dyn Error>> {
    for case in kernels::cases() {
        for outcome in block_on(run_case(device, &case))? {
            if let Some(failure) = outcome.failure {
                return Err(format!("{} is wrong: {}: {failure}", outcome.kernel, outcome.case).into());
            }
        }
    }
    Ok(())
}

/// Prints a row for each kernel; returns the GFLOP/s of the fastest product, with its name.
fn products(
    device: &Device,
    variants: &[&'static Variant],
    sizes: &[usize],
    peaks: &Peaks,
    longest: f64,
) -> Result<(f64, String), Box<dyn Error>> {
    if let Some(peak) = &peaks.compute {
        println!("peak {:.1} GFLOP/s ({})", peak.best, peak.way);
    }
    print!("\n{:26}", "M = N = K");
    sizes.iter().for_each(|size| print!("{size:>22}"));
    println!();
    let mut best = (0.0, String::new());
    for variant in variants {
        let kernel = variant.name;
        print!("{kernel:26}");
        let mut last: Option<(usize, f64)> = None;
        for &size in sizes {
            let expected = last.map_or(0.0, |(before, seconds)| seconds * (size as f64 / before as f64).powi(3));
            if expected > longest {
                print!("{:>22}", format!("about {expected:.0} s: not run"));
                continue;
            }
            let mut case = kernels::case([size; 3]);
            case.op = Op { variant: Some(variant), ..case.op };
            let (clock, nanoseconds) = block_on(bench::time_case(device, &case))?;
            let fastest = nanoseconds.into_iter().fold(f64::INFINITY, f64::min);
            let gflops = case.op.work.flops as f64 / fastest;
            last = Some((size, fastest * 1e-9));
            let share =
                peaks.compute.as_ref().map_or(String::new(), |p| format!(" ({:.0} %)", 100.0 * gflops / p.best));
            let mark = if clock == Clock::GpuTimestamps { "" } else { "*" };
            print!("{:>22}", format!("{gflops:.1}{mark} GFLOP/s{share}"));
            if gflops > best.0 {
                best = (gflops, format!("{kernel} at {size}"));
            }
        }
        println!();
    }
    println!("(share of the peak; * by the host's clock)");
    Ok(best)
}

/// Prints a row for each operation of the convolutions in training steps of the same run.
fn convolutions(
    device: &Device,
    preset: &str,
    batch: usize,
    (best, name): (f64, String),
    peaks: &Peaks,
) -> Result<(), Box<dyn Error>> {
    let settings = Settings { batch_sizes: vec![batch], ..Settings::default() };
    let network = Network::preset(preset)?;
    let report = block_on(bench::run(&network, std::slice::from_ref(device), &settings, &mut |_| {}))?;
    let result = &report.batches[0].results[0];
    let Some(measured) = &result.measured else {
        let why = result.unavailable.as_deref().unwrap_or("no reason given");
        return Err(format!("{preset} at batch size {batch} was not measured: {why}").into());
    };
    println!("\n{preset}, batch size {batch}; shares of the best product ({best:.1} GFLOP/s, {name}) and of the peak");
    println!("{:28} {:36} {:>9} {:>8} {:>7}", "operation", "kernel", "GFLOP/s", "product", "peak");
    let line = |name: &str, kernel: &str, gflops: f64| {
        let product = format!("{:.0} %", 100.0 * gflops / best);
        let peak = peaks.compute.as_ref().map_or("-".into(), |p| format!("{:.0} %", 100.0 * gflops / p.best));
        println!("{name:28} {kernel:36} {gflops:9.2} {product:>8} {peak:>7}");
    };
    let of_convolutions = |o: &&OperationFigures| o.kernel.starts_with("conv");
    let (mut operations, mut nanoseconds) = (0.0, 0.0);
    for operation in measured.operations.iter().filter(of_convolutions) {
        let time = operation.figures.us_per_step.median * 1e3;
        operations += operation.figures.gflops * time;
        nanoseconds += time;
        line(&operation.operation, operation.kernel, operation.figures.gflops);
    }
    line("all of them", "", operations / nanoseconds);
    Ok(())
}
