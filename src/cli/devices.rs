//! `glassnet devices`: lists this machine's adapters and its processor, and says which of them `--device auto` uses.

use super::output::Output;
use clap::Args;
use glassnet::Result;
use glassnet::exec::gpu::{AdapterSummary, RuntimeChecks, list_adapters};
use glassnet::exec::{self, Device, DeviceInfo};
use glassnet::machine::mib;
use serde::Serialize;
use std::fmt::Write;
use std::process::ExitCode;

/// List the GPU adapters and the processor, and show which one `--device auto` uses
#[derive(Debug, Args)]
pub struct DevicesArgs {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    adapters: &'a [AdapterSummary],
    cpu: DeviceInfo,
    auto: Automatic,
}

/// The device that `auto` uses.
#[derive(Debug, Serialize)]
struct Automatic {
    /// `gpu` or `cpu`.
    device: &'static str,
    /// The adapter's index.
    adapter: Option<usize>,
    reason: String,
}

/// Lists the devices. A machine without an adapter is not an error here.
pub fn run(args: &DevicesArgs) -> Result<ExitCode> {
    let adapters = pollster::block_on(list_adapters());
    // Opened too, because only a GPU that passes the self-check is used.
    let exec::Automatic { gpu, reason, .. } = pollster::block_on(exec::automatic(RuntimeChecks::Off, true));
    let device = if gpu.is_some() { "gpu" } else { "cpu" };
    let auto = Automatic { device, adapter: gpu.map(|gpu| gpu.summary().index), reason };
    let report = Report { adapters: &adapters, cpu: Device::Cpu.info(), auto };
    args.output.result(&report, text(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    if report.adapters.is_empty() {
        text += "no GPU adapter: install a Vulkan, Metal or DX12 driver to compute on a GPU\n";
    }
    for adapter in report.adapters {
        describe(adapter, &mut text);
    }
    let Automatic { device, adapter, reason } = &report.auto;
    let adapter = adapter.map_or(String::new(), |index| format!(" {index}"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", report.cpu);
    let _ = write!(text, "--device auto uses the {device}{adapter}: {reason}");
    text
}

fn describe(adapter: &AdapterSummary, text: &mut String) {
    let AdapterSummary { index, name, kind, backend, driver, driver_info, limits, .. } = adapter;
    let software = if adapter.software { ", computes on the processor" } else { "" };
    let _ = writeln!(text, "gpu {index}: {name}");
    let _ = writeln!(text, "  type      {kind}{software}");
    let _ = writeln!(text, "  backend   {backend}");
    let _ = writeln!(text, "  driver    {}", format!("{driver} {driver_info}").trim());
    let _ = writeln!(
        text,
        "  limits    buffer {}, binding {}, {} storage buffers per stage, {} of workgroup memory,\n            \
         {} invocations per workgroup, {} workgroups per dimension",
        mib(limits.max_buffer_size),
        mib(limits.max_storage_buffer_binding_size),
        limits.max_storage_buffers_per_shader_stage,
        format_args!("{} KiB", limits.max_compute_workgroup_storage_size >> 10),
        limits.max_compute_invocations_per_workgroup,
        limits.max_compute_workgroups_per_dimension,
    );
    let precisions: Vec<&str> = adapter.precisions.iter().map(|precision| precision.name()).collect();
    let _ = writeln!(text, "  precision {}", precisions.join(", "));
    // Features that kernels could use; --json lists all of them.
    let relevant = ["timestamp-query", "subgroup", "shader-f16", "cooperative-matrix"];
    let is_relevant = |feature: &&String| relevant.iter().any(|name| feature.contains(name));
    let features: Vec<&str> = adapter.features.iter().filter(is_relevant).map(String::as_str).collect();
    let features =
        if features.is_empty() { "none of those that kernels could use".to_string() } else { features.join(", ") };
    let _ = writeln!(text, "  features  {features}");
}
