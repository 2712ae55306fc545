//! The Vulkan device of the environment, and what its driver says about a compute pipeline
//! (VK_KHR_pipeline_executable_properties).

use crate::Result;
use crate::shader::Shader;
use ash::khr::{self, pipeline_executable_properties as executables};
use ash::{Entry, Instance, ext, vk};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};

pub struct Device {
    // The library must outlive what it made.
    _entry: Entry,
    instance: Instance,
    device: ash::Device,
    executables: executables::Device,
    physical: vk::PhysicalDevice,
}

/// What a driver says about a pipeline.
pub struct Compiled {
    /// Invocations of a subgroup: AMD's wave, NVIDIA's warp, Intel's dispatch width.
    pub subgroup: u32,
    /// Numbers by the driver's names for them.
    pub statistics: BTreeMap<String, u64>,
    /// Intel's instructions as text.
    pub assembly: Option<String>,
}

impl Device {
    /// Opens the first device with the features that wgpu turns on as well, since they change the code for accesses to
    /// buffers.
    pub fn open() -> Result<Device> {
        // SAFETY: handles are used while the objects they come from exist; lists that structures point to outlive the
        // calls.
        unsafe {
            let entry = Entry::load()?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let create = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&create, None)?;
            let physical = instance.enumerate_physical_devices()?.into_iter().next();
            let physical = physical.ok_or("no Vulkan device; name a driver by VK_DRIVER_FILES")?;

            let mut known = Vec::new();
            for extension in instance.enumerate_device_extension_properties(physical)? {
                known.push(text(&extension.extension_name));
            }
            let has = |name: &CStr| known.iter().any(|one| one.as_bytes() == name.to_bytes());
            if !has(executables::NAME) {
                return Err(
                    "this driver says nothing about its pipelines (VK_KHR_pipeline_executable_properties)".into()
                );
            }
            let mut extensions = vec![executables::NAME.as_ptr()];
            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut features = vk::PhysicalDeviceFeatures2::default();
            let robust = has(ext::robustness2::NAME);
            if robust {
                extensions.push(ext::robustness2::NAME.as_ptr());
                features = features.push_next(&mut robustness);
            }
            let matrices = has(khr::cooperative_matrix::NAME);
            if matrices {
                extensions.push(khr::cooperative_matrix::NAME.as_ptr());
            }
            instance.get_physical_device_features2(physical, &mut features);
            let core = vk::PhysicalDeviceFeatures::default()
                .robust_buffer_access(features.features.robust_buffer_access == vk::TRUE);

            let priorities = [1.0];
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
            let mut info =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut robustness =
                vk::PhysicalDeviceRobustness2FeaturesEXT { p_next: std::ptr::null_mut(), ..robustness };
            robustness.null_descriptor = vk::FALSE;
            let mut create = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&core)
                .push_next(&mut info);
            if robust {
                create = create.push_next(&mut robustness);
            }
            let mut cooperative = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let mut half = vk::PhysicalDeviceVulkan12Features::default().shader_float16(true).vulkan_memory_model(true);
            if matrices {
                create = create.push_next(&mut cooperative).push_next(&mut half);
            }
            let device = instance.create_device(physical, &create, None)?;
            let executables = executables::Device::new(&instance, &device);
            Ok(Device { _entry: entry, instance, device, executables, physical })
        }
    }

    /// The names of device and driver, and the driver's version.
    pub fn driver(&self) -> String {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: the device exists, and Vulkan 1.2 has both structures.
        unsafe { self.instance.get_physical_device_properties2(self.physical, &mut properties) };
        let device = text(&properties.properties.device_name);
        let (name, version) = (text(&driver.driver_name), text(&driver.driver_info));
        format!("{}, {} ({})", device.trim(), name, version)
    }

    pub fn compile(&self, shader: &Shader) -> Result<Compiled> {
        let name = CString::new(shader.entry.as_str())?;
        let bindings: Vec<_> = shader.bindings.iter().map(|(binding, ty)| layout(*binding, *ty)).collect();
        // SAFETY: the SPIR-V comes from naga, the layout has every binding that it uses, and all that is made here is
        // destroyed after its last use.
        unsafe {
            let module =
                self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&shader.spirv), None)?;
            let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [self.device.create_descriptor_set_layout(&create, None)?];
            let create = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&create, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&name);
            let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let create = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(capture);
            let pipelines = self
                .device
                .create_compute_pipelines(vk::PipelineCache::null(), &[create], None)
                .map_err(|(_, error)| error);
            let compiled = pipelines.map(|pipelines| {
                let compiled = self.describe(pipelines[0]);
                self.device.destroy_pipeline(pipelines[0], None);
                compiled
            });
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(sets[0], None);
            self.device.destroy_shader_module(module, None);
            compiled?
        }
    }

    fn describe(&self, pipeline: vk::Pipeline) -> Result<Compiled> {
        let pipeline = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline exists and was made with both kinds of capture; values have the format beside them.
        unsafe {
            let properties = self.executables.get_pipeline_executable_properties(&pipeline)?;
            let one = properties.first().ok_or("the driver lists no executable of the pipeline")?;
            let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline.pipeline);
            let mut statistics = BTreeMap::new();
            for statistic in self.executables.get_pipeline_executable_statistics(&info)? {
                if statistic.format == vk::PipelineExecutableStatisticFormatKHR::UINT64 {
                    statistics.insert(text(&statistic.name), statistic.value.u64);
                }
            }
            let assembly = self.assembly(&info)?;
            Ok(Compiled { subgroup: one.subgroup_size, statistics, assembly })
        }
    }

    /// The text that Intel's driver calls "GEN Assembly", if there is one.
    unsafe fn assembly(&self, info: &vk::PipelineExecutableInfoKHR<'_>) -> Result<Option<String>> {
        // The first call says how long the texts are; the second one wants room for each.
        // SAFETY: as the caller's.
        let mut texts = unsafe { self.executables.get_pipeline_executable_internal_representations(info)? };
        let mut room: Vec<Vec<u8>> = texts.iter().map(|one| vec![0; one.data_size]).collect();
        for (one, room) in texts.iter_mut().zip(&mut room) {
            one.p_data = room.as_mut_ptr().cast();
        }
        let mut count = texts.len() as u32;
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        // SAFETY: `texts` has `count` elements, each with the room that it names.
        unsafe { get(self.executables.device(), info, &mut count, texts.as_mut_ptr()).result()? };
        let wanted = texts.iter().position(|one| text(&one.name) == "GEN Assembly");
        Ok(wanted.map(|index| String::from_utf8_lossy(&room[index]).into_owned()))
    }
}

fn layout(binding: u32, ty: vk::DescriptorType) -> vk::DescriptorSetLayoutBinding<'static> {
    let stages = vk::ShaderStageFlags::COMPUTE;
    vk::DescriptorSetLayoutBinding::default()
        .binding(binding)
        .descriptor_count(1)
        .descriptor_type(ty)
        .stage_flags(stages)
}

/// A name as Vulkan gives it, up to its zero.
fn text(name: &[c_char]) -> String {
    let bytes: Vec<u8> = name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
