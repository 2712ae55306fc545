//! WGSL to SPIR-V, as wgpu does it for Glassnet's shaders: without bounds checks, bounded loops, checked divisions and
//! zeroed workgroup memory.

use crate::{Result, read};
use ash::vk::{self, DescriptorType};
use naga::back::pipeline_constants::process_overrides;
use naga::back::spv::{self, WriterFlags, ZeroInitializeWorkgroupMemoryMode};
use naga::front::wgsl::{Frontend, Options};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy, Layouter};
use naga::valid::{Capabilities, ShaderStages, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use std::collections::BTreeMap;
use std::path::Path;

/// An entry point with its constants, ready for a driver.
pub struct Shader {
    pub spirv: Vec<u32>,
    pub entry: String,
    pub bindings: Vec<(u32, DescriptorType)>,
    /// Bytes of workgroup memory.
    pub memory: u32,
}

pub fn translate(path: &Path, entry: &str, constants: &BTreeMap<String, u32>) -> Result<Shader> {
    let source = read(path)?;
    let failed = |error: String| format!("{}, entry point {entry}: {error}", path.display());
    let features = Options { capabilities: Capabilities::all(), ..Options::new() };
    let module = Frontend::new_with_options(features).parse(&source);
    let module = module.map_err(|error| failed(error.emit_to_string(&source)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .subgroup_stages(ShaderStages::COMPUTE)
        .validate(&module)
        .map_err(|error| failed(error.emit_to_string(&source)))?;
    let values = constants.iter().map(|(name, value)| (name.clone(), f64::from(*value))).collect();
    let chosen = Some((ShaderStage::Compute, entry));
    let (module, info) =
        process_overrides(&module, &info, chosen, &values).map_err(|error| failed(error.to_string()))?;
    let index = module.entry_points.iter().position(|one| one.name == entry);
    let index = index.ok_or_else(|| failed("the entry point is missing".to_owned()))?;

    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    let spirv = spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(|error| failed(error.to_string()))?;

    let uses = info.get_entry_point(index);
    let mut shader = Shader { spirv, entry: entry.to_owned(), bindings: Vec::new(), memory: 0 };
    for (handle, variable) in module.global_variables.iter() {
        if uses[handle].is_empty() {
            continue;
        }
        match (&variable.binding, variable.space) {
            (Some(binding), space) => shader.bindings.push((binding.binding, descriptor(space))),
            (None, AddressSpace::WorkGroup) => shader.memory += size(&module, variable.ty).map_err(&failed)?,
            (None, _) => {}
        }
    }
    Ok(shader)
}

fn descriptor(space: AddressSpace) -> DescriptorType {
    match space {
        AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
        AddressSpace::Storage { .. } => vk::DescriptorType::STORAGE_BUFFER,
        _ => vk::DescriptorType::SAMPLED_IMAGE,
    }
}

fn size(module: &Module, ty: naga::Handle<naga::Type>) -> std::result::Result<u32, String> {
    let mut layouts = Layouter::default();
    layouts.update(module.to_ctx()).map_err(|error| error.to_string())?;
    Ok(layouts[ty].size)
}
