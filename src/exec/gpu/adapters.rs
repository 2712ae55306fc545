//! Which adapters the machine has, and which one is taken.

use crate::error::{Error, Result};
use serde::Serialize;
use wgpu::{Adapter, Backends, DeviceType, Instance, InstanceDescriptor};

/// One adapter, for people and for JSON.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterSummary {
    pub index: usize,
    pub name: String,
    /// `discrete-gpu`, `integrated-gpu`, `virtual-gpu`, `cpu` or `other`.
    pub kind: &'static str,
    /// Computes on the processor: llvmpipe, SwiftShader, WARP.
    pub software: bool,
    pub backend: String,
    pub driver: String,
    pub driver_info: String,
    pub vendor: u32,
    pub device: u32,
    pub limits: AdapterLimits,
    pub features: Vec<String>,
}

/// The limits that matter here.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterLimits {
    pub max_buffer_size: u64,
    pub max_storage_buffer_binding_size: u64,
    pub max_storage_buffers_per_shader_stage: u32,
    pub max_compute_workgroup_storage_size: u32,
    pub max_compute_invocations_per_workgroup: u32,
    pub max_compute_workgroups_per_dimension: u32,
}

/// Which adapter to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best hardware adapter; a software one where there is no other.
    Any,
    /// The best hardware adapter only.
    Hardware,
    /// By a number from `glassnet devices`, or a part of its name.
    Named(String),
}

/// The wgpu instance: every backend that computes.
pub(super) fn instance() -> Instance {
    let backends = Backends::VULKAN | Backends::METAL | Backends::DX12 | Backends::BROWSER_WEBGPU;
    Instance::new(InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() })
}

/// All adapters, the most preferable first; empty where no driver is installed.
pub async fn list_adapters() -> Vec<AdapterSummary> {
    let adapters = adapters(&instance()).await;
    adapters.iter().enumerate().map(|(index, adapter)| summarize(index, adapter)).collect()
}

async fn adapters(instance: &Instance) -> Vec<Adapter> {
    let mut adapters = instance.enumerate_adapters(Backends::all()).await;
    if adapters.is_empty() {
        // A browser enumerates nothing, but hands one out on request.
        adapters.extend(instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.ok());
    }
    // Stable: adapters of one kind keep the system's order.
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

/// Drivers that do not call themselves a CPU, but are one.
fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let names = ["llvmpipe", "swiftshader", "basic render driver", "warp"];
    let text = format!("{} {}", info.name, info.driver).to_lowercase();
    info.device_type == DeviceType::Cpu || names.iter().any(|name| text.contains(name))
}

pub(super) fn summarize(index: usize, adapter: &Adapter) -> AdapterSummary {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => "discrete-gpu",
        DeviceType::IntegratedGpu => "integrated-gpu",
        DeviceType::VirtualGpu => "virtual-gpu",
        DeviceType::Cpu => "cpu",
        DeviceType::Other => "other",
    };
    AdapterSummary {
        index,
        kind,
        software: is_software(&info),
        backend: info.backend.to_string(),
        name: info.name,
        driver: info.driver,
        driver_info: info.driver_info,
        vendor: info.vendor,
        device: info.device,
        limits: AdapterLimits {
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        },
        features: adapter.features().iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-")).collect(),
    }
}

/// The adapter that `choice` means, with its summary.
pub(super) async fn choose(instance: &Instance, choice: &Choice) -> Result<(Adapter, AdapterSummary)> {
    let adapters = adapters(instance).await;
    let summaries: Vec<AdapterSummary> = adapters.iter().enumerate().map(|(i, a)| summarize(i, a)).collect();
    if summaries.is_empty() {
        return Err(Error::Adapter(
            "no GPU adapter found: install a Vulkan driver (Mesa's software one: apt install mesa-vulkan-drivers), \
             or use --device cpu"
                .into(),
        ));
    }
    let index = match choice {
        Choice::Any => summaries.iter().position(|s| !s.software).or(Some(0)),
        Choice::Hardware => summaries.iter().position(|s| !s.software),
        Choice::Named(wanted) => named(wanted, &summaries)?,
    };
    let Some(index) = index else {
        let names: Vec<&str> = summaries.iter().map(|s| s.name.as_str()).collect();
        return Err(Error::Adapter(format!("no hardware adapter found, only software ones: {}", names.join(", "))));
    };
    let (adapter, summary) = adapters.into_iter().zip(summaries).nth(index).expect("the index is of this list");
    Ok((adapter, summary))
}

fn named(wanted: &str, summaries: &[AdapterSummary]) -> Result<Option<usize>> {
    let by_name = |name: &str| summaries.iter().position(|s| s.name.to_lowercase().contains(&name.to_lowercase()));
    // A number is an index and nothing else: names hold version numbers.
    let found = match wanted.parse::<usize>() {
        Ok(index) => Some(index).filter(|i| *i < summaries.len()),
        Err(_) if wanted.is_empty() => None,
        Err(_) => by_name(wanted),
    };
    if found.is_some() {
        return Ok(found);
    }
    let list: Vec<String> = summaries.iter().map(|s| format!("{}: {}", s.index, s.name)).collect();
    Err(Error::Adapter(format!("no adapter {wanted:?}; there are: {}", list.join("; "))))
}
