//! The machine's adapters, and the choice of one.

use super::contain::contain_future;
use super::context::drop_contained;
use crate::error::{Error, Result};
use crate::kernels::{Factor, Matrices, Precision};
use serde::Serialize;
use wgpu::{
    Adapter, Backends, CooperativeMatrixProperties, CooperativeScalarType, DeviceType, Features, Instance,
    InstanceDescriptor,
};

/// One adapter, for display and for JSON.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterSummary {
    pub index: usize,
    pub name: String,
    /// `discrete-gpu`, `integrated-gpu`, `virtual-gpu`, `cpu` or `other`.
    pub kind: &'static str,
    /// Whether it computes on the processor: llvmpipe, SwiftShader, WARP.
    pub software: bool,
    pub backend: String,
    pub driver: String,
    pub driver_info: String,
    pub vendor: u32,
    pub device: u32,
    pub limits: AdapterLimits,
    pub features: Vec<String>,
    /// Those that it can compute products in.
    pub precisions: Vec<Precision>,
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

/// The choice of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best hardware adapter, or a software one if there is no other.
    Any,
    /// The adapter with a number from `glassnet devices`, or with a part of its name.
    Named(String),
}

/// The wgpu instance: every backend that computes.
fn instance() -> Instance {
    let backends = Backends::VULKAN | Backends::METAL | Backends::DX12 | Backends::BROWSER_WEBGPU;
    // No dispatch here is indirect, and a driver may refuse the pipelines that validate indirect dispatches.
    let flags = wgpu::InstanceFlags::default() & !wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL;
    Instance::new(InstanceDescriptor { backends, flags, ..InstanceDescriptor::new_without_display_handle() })
}

/// All adapters, the most preferable first; empty if no driver is installed.
pub async fn list_adapters() -> Vec<AdapterSummary> {
    let adapters = adapters().await;
    let summaries = adapters.iter().enumerate().map(|(index, adapter)| summarize(index, adapter)).collect();
    drop_contained(adapters);
    summaries
}

/// A driver that fails during enumeration has no adapters.
async fn adapters() -> Vec<Adapter> {
    contain_future(enumerate()).await.unwrap_or_else(|text| {
        log::warn!("a graphics driver failed while its adapters were listed: {text}");
        Vec::new()
    })
}

async fn enumerate() -> Vec<Adapter> {
    let instance = instance();
    let mut adapters = instance.enumerate_adapters(Backends::all()).await;
    if adapters.is_empty() {
        // A browser does not enumerate adapters, but provides one on request.
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        adapters.extend(instance.request_adapter(&options).await.ok());
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

/// Drivers that do not report the type CPU although they compute on one.
fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let names = ["llvmpipe", "swiftshader", "basic render driver", "warp"];
    let text = format!("{} {}", info.name, info.driver).to_lowercase();
    info.device_type == DeviceType::Cpu || names.iter().any(|name| text.contains(name))
}

/// A name for display. Browsers may hide the name to prevent fingerprinting; then the vendor and other information is
/// used.
fn name_of(info: &wgpu::AdapterInfo) -> String {
    if !info.name.trim().is_empty() {
        return info.name.clone();
    }
    let vendors = [
        (0x1002, "AMD"),
        (0x10de, "NVIDIA"),
        (0x106b, "Apple"),
        (0x13b5, "ARM"),
        (0x1414, "Microsoft"),
        (0x5143, "Qualcomm"),
        (0x8086, "Intel"),
    ];
    let vendor = vendors.iter().find(|(id, _)| *id == info.vendor).map_or("unnamed", |(_, name)| name);
    let device = if info.device == 0 { String::new() } else { format!("device {:#06x}", info.device) };
    let parts = [vendor, "adapter", &device, info.driver.trim(), info.driver_info.trim()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn summarize(index: usize, adapter: &Adapter) -> AdapterSummary {
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
        name: name_of(&info),
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
        precisions: Precision::ALL.into_iter().filter(|precision| has(adapter, *precision)).collect(),
    }
}

fn has(adapter: &Adapter, precision: Precision) -> bool {
    precision.factor().is_none_or(|factor| matrices_with(adapter, factor).is_some())
}

/// The cooperative matrices with these factors, if the adapter lists any that kernels exist for.
fn matrices_with(adapter: &Adapter, factor: Factor) -> Option<Matrices> {
    matrices_among(&adapter.cooperative_matrix_properties(), adapter.features(), factor)
}

fn matrices_among(listed: &[CooperativeMatrixProperties], features: Features, factor: Factor) -> Option<Matrices> {
    let kind = match factor {
        Factor::F32 => CooperativeScalarType::F32,
        Factor::F16 => CooperativeScalarType::F16,
    };
    let is_listed = |matrices: &Matrices| {
        listed.iter().any(|one| {
            [one.m_size, one.n_size, one.k_size] == [matrices.side; 3]
                && (one.ab_type, one.cr_type) == (kind, CooperativeScalarType::F32)
        })
    };
    let is_usable = |matrices: &Matrices| features.contains(needed_for(*matrices)) && is_listed(matrices);
    Matrices::ALL.into_iter().filter(|matrices| matrices.factor == factor).find(is_usable)
}

/// The features that kernels with these matrices use.
pub(super) fn needed_for(matrices: Matrices) -> Features {
    let half = if matrices.factor == Factor::F16 { Features::SHADER_F16 } else { Features::empty() };
    Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SUBGROUP | half
}

/// The cooperative matrices for products in `precision`.
///
/// # Errors
/// [`Error::Precision`] if it needs some that the adapter does not list.
pub(super) fn matrices_for(
    adapter: &Adapter,
    summary: &AdapterSummary,
    precision: Precision,
) -> Result<Option<Matrices>> {
    let Some(factor) = precision.factor() else { return Ok(None) };
    let matrices = matrices_with(adapter, factor);
    if matrices.is_none() {
        let of_factor = Matrices::ALL.into_iter().filter(|matrices| matrices.factor == factor);
        let kinds: Vec<String> = of_factor.map(|matrices| matrices.to_string()).collect();
        let able: Vec<&str> = summary.precisions.iter().map(|precision| precision.name()).collect();
        return Err(Error::Precision(format!(
            "{} ({}, {} {}) cannot compute in precision {precision}, which needs cooperative matrices of {} and \
             subgroups; it computes in {}",
            summary.name,
            summary.backend,
            summary.driver,
            summary.driver_info,
            kinds.join(" or "),
            able.join(" or "),
        )));
    }
    Ok(matrices)
}

/// The adapter that `choice` selects, with its summary.
pub(super) async fn choose(choice: &Choice) -> Result<(Adapter, AdapterSummary)> {
    let adapters = adapters().await;
    let summaries: Vec<AdapterSummary> = adapters.iter().enumerate().map(|(i, a)| summarize(i, a)).collect();
    if summaries.is_empty() {
        return Err(Error::Adapter(
            "no GPU adapter found: there is no Vulkan driver, or it failed; install one (Mesa's software one: apt install \
             mesa-vulkan-drivers), or look at the driver with vulkaninfo"
                .into(),
        ));
    }
    let index = match choice {
        Choice::Any => summaries.iter().position(|s| !s.software).unwrap_or(0),
        Choice::Named(wanted) => named(wanted, &summaries)?,
    };
    let (adapter, summary) = adapters.into_iter().zip(summaries).nth(index).expect("the index is of this list");
    Ok((adapter, summary))
}

fn named(wanted: &str, summaries: &[AdapterSummary]) -> Result<usize> {
    let by_name = |name: &str| summaries.iter().position(|s| s.name.to_lowercase().contains(&name.to_lowercase()));
    // A number is always an index, because names contain version numbers.
    let found = match wanted.parse::<usize>() {
        Ok(index) => Some(index).filter(|i| *i < summaries.len()),
        Err(_) if wanted.is_empty() => None,
        Err(_) => by_name(wanted),
    };
    found.ok_or_else(|| {
        let list: Vec<String> = summaries.iter().map(|s| format!("{}: {}", s.index, s.name)).collect();
        Error::Adapter(format!("no adapter {wanted:?}; there are: {}", list.join("; ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, vendor: u32, device: u32, driver: &str) -> wgpu::AdapterInfo {
        let (driver, info) =
            (driver.to_string(), wgpu::AdapterInfo::new(DeviceType::Other, wgpu::Backend::BrowserWebGpu));
        wgpu::AdapterInfo { name: name.into(), vendor, device, driver, ..info }
    }

    /// A line of an adapter's list, with sums of the last type.
    fn listed(size: [u32; 3], [ab_type, cr_type]: [CooperativeScalarType; 2]) -> CooperativeMatrixProperties {
        let [m_size, n_size, k_size] = size;
        CooperativeMatrixProperties { m_size, n_size, k_size, ab_type, cr_type, saturating_accumulation: false }
    }

    #[test]
    fn matrices_are_taken_where_kernels_for_them_exist() {
        use CooperativeScalarType::{F16, F32, I32};
        let all = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SUBGROUP | Features::SHADER_F16;
        let nvidia = [listed([16; 3], [F16, F16]), listed([16; 3], [F16, F32]), listed([16, 8, 16], [F16, F32])];
        assert_eq!(matrices_among(&nvidia, all, Factor::F16), Some(Matrices::F16_16));
        assert_eq!(matrices_among(&nvidia, all, Factor::F32), None);
        let apple = [listed([8; 3], [F32, F32]), listed([8; 3], [F16, F16]), listed([8; 3], [F16, F32])];
        assert_eq!(matrices_among(&apple, all, Factor::F16), Some(Matrices::F16_8));
        assert_eq!(matrices_among(&apple, all, Factor::F32), Some(Matrices::F32_8));
        // Sums in f16, matrices that are no squares, integers.
        for other in [listed([16; 3], [F16, F16]), listed([8, 16, 16], [F16, F32]), listed([16; 3], [I32, I32])] {
            assert_eq!(matrices_among(&[other], all, Factor::F16), None);
        }
        for missing in [Features::EXPERIMENTAL_COOPERATIVE_MATRIX, Features::SUBGROUP, Features::SHADER_F16] {
            assert_eq!(matrices_among(&nvidia, all - missing, Factor::F16), None);
        }
        assert_eq!(matrices_among(&apple, all - Features::SHADER_F16, Factor::F32), Some(Matrices::F32_8));
    }

    #[test]
    fn an_adapter_without_a_name_is_called_by_what_else_is_known() {
        assert_eq!(name_of(&info("GeForce", 0x10de, 1, "x")), "GeForce");
        assert_eq!(name_of(&info("", 0x10de, 0x2684, "535")), "NVIDIA adapter device 0x2684 535");
        assert_eq!(name_of(&info(" ", 0, 0, "")), "unnamed adapter");
    }
}
