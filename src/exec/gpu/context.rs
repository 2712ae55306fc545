//! The device: one connection to one adapter, its pipelines, and the errors that its driver reports.

use super::adapters::{AdapterSummary, Choice, choose, instance};
use crate::error::{Error, Result};
use crate::exec::DeviceInfo;
use crate::kernels::{Element, Kernel, Op};
use crate::program::Limits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wgpu::{Features, ShaderRuntimeChecks};

/// Whether shaders check their indices, divisors and loops at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeChecks {
    On,
    Off,
}

/// Where kernels that can read their inputs from textures read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Whichever is faster there: textures on a software adapter, buffers on hardware.
    Fastest,
    Buffers,
    Textures,
}

/// A pipeline with the layout of its one bind group.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

type Constants = Vec<(&'static str, u32)>;
type PipelineKey = (&'static str, Constants, RuntimeChecks);

/// A connection to an adapter, and how its shaders are compiled; cheap to clone.
#[derive(Debug, Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    checks: RuntimeChecks,
    reads_textures: bool,
}

#[derive(Debug)]
struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    info: DeviceInfo,
    /// By source and checks.
    modules: Mutex<HashMap<(&'static str, RuntimeChecks), wgpu::ShaderModule>>,
    /// By kernel, constants and checks.
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    /// The first error that the driver reported outside of any call that could return it.
    failure: Arc<Mutex<Option<String>>>,
}

/// A poisoned lock means that another thread panicked; the data behind these locks stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter that `choice` means.
    pub async fn open(choice: &Choice, checks: RuntimeChecks, reads: Reads) -> Result<Gpu> {
        let (adapter, summary) = choose(&instance(), choice).await?;
        let (features, best) = (adapter.features() & Features::TIMESTAMP_QUERY, adapter.limits());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("glassnet"),
            required_features: features,
            // WebGPU's defaults, which the driver thus enforces; only larger buffers are taken where there are some.
            required_limits: wgpu::Limits {
                max_buffer_size: best.max_buffer_size,
                max_storage_buffer_binding_size: best.max_storage_buffer_binding_size,
                ..wgpu::Limits::default()
            },
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|e| {
            Error::Adapter(format!("{} refused a device: {e}; try another --adapter or --device cpu", summary.name))
        })?;
        let failure = Arc::new(Mutex::new(None));
        let record = |failure: &Arc<Mutex<Option<String>>>, message: String| {
            log::error!("{message}");
            lock(failure).get_or_insert(message);
        };
        let (on_error, on_loss) = (failure.clone(), failure.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let message = match error {
                wgpu::Error::OutOfMemory { .. } => "the device is out of memory: choose a smaller batch".to_string(),
                error => format!("the driver reported an error: {error}"),
            };
            record(&on_error, message);
        }));
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device also ends here; that is no failure.
            if reason != wgpu::DeviceLostReason::Destroyed {
                record(&on_loss, format!("the device was lost: {message}"));
            }
        });
        let info = DeviceInfo {
            executor: "gpu",
            name: summary.name.clone(),
            driver: format!("{} {}", summary.driver, summary.driver_info).trim().to_string(),
            backend: summary.backend.clone(),
            threads: 0,
        };
        log::info!("opened {info}");
        let (modules, pipelines) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { device, queue, summary, info, modules, pipelines, failure });
        Ok(Gpu { inner, checks, reads_textures: false }.compiling(checks, reads))
    }

    /// The same connection, with shaders that are compiled otherwise.
    pub fn compiling(&self, checks: RuntimeChecks, reads: Reads) -> Gpu {
        let reads_textures = match reads {
            Reads::Fastest => self.inner.summary.software,
            Reads::Buffers => false,
            Reads::Textures => true,
        };
        Gpu { inner: self.inner.clone(), checks, reads_textures }
    }

    pub fn summary(&self) -> &AdapterSummary {
        &self.inner.summary
    }

    pub fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Whether kernels that can read their inputs from textures do so.
    pub fn reads_textures(&self) -> bool {
        self.reads_textures
    }

    /// Whether all that was submitted is done; waits for nothing. In a browser nothing is known, and it says no.
    pub fn is_idle(&self) -> bool {
        let status = self.inner.device.poll(wgpu::PollType::Poll);
        cfg!(not(target_arch = "wasm32")) && status.is_ok_and(|status| status.is_queue_empty())
    }

    /// wgpu does not tell how much memory is free; the driver's refusal becomes an error when buffers are made.
    pub fn memory_limits(&self) -> Limits {
        let limits = self.inner.device.limits();
        let most = limits.max_storage_buffer_binding_size;
        Limits { max_binding: most, max_buffer: limits.max_buffer_size, memory: None }
    }

    /// The driver's report, where there is one.
    pub(super) fn check(&self) -> Result<()> {
        match lock(&self.inner.failure).clone() {
            Some(message) => Err(Error::Device(message)),
            None => Ok(()),
        }
    }

    /// The pipeline of an operation, compiled at its first use.
    pub(super) fn pipeline(&self, op: &Op, textures: bool) -> Arc<Pipeline> {
        let mut constants = op.constants.clone();
        if !op.kernel.textures.is_empty() {
            constants.push(("TEXTURES", u32::from(textures)));
        }
        let mut pipelines = lock(&self.inner.pipelines);
        let compile = |(_, constants, _): &PipelineKey| Arc::new(self.compile(op.kernel, constants));
        pipelines.entry((op.kernel.name, constants, self.checks)).or_insert_with_key(compile).clone()
    }

    fn compile(&self, kernel: &'static Kernel, constants: &Constants) -> Pipeline {
        let device = &self.inner.device;
        let module = (kernel.source, self.checks);
        let module = lock(&self.inner.modules).entry(module).or_insert_with(|| self.module(kernel)).clone();
        let entries: Vec<_> = (0..)
            .zip(binding_types(kernel))
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        let label = Some(kernel.name);
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let constants: Vec<_> = constants.iter().map(|(name, value)| (*name, f64::from(*value))).collect();
        let compilation_options =
            wgpu::PipelineCompilationOptions { constants: &constants, zero_initialize_workgroup_memory: false };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options,
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    fn module(&self, kernel: &'static Kernel) -> wgpu::ShaderModule {
        let source = wgpu::ShaderSource::Wgsl(kernel.source.into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source };
        match self.checks {
            RuntimeChecks::On => self.inner.device.create_shader_module(descriptor),
            // SAFETY: the shaders are our own. The typed builders assert every dimension that an index is made of, all
            // loops are bounded by those dimensions, and every kernel's cases run so with guard words around its operands.
            RuntimeChecks::Off => unsafe {
                let checks = ShaderRuntimeChecks::unchecked();
                self.inner.device.create_shader_module_trusted(descriptor, checks)
            },
        }
    }
}

/// `Params`, inputs, outputs, textures: the order in which every kernel binds.
fn binding_types(kernel: &Kernel) -> impl Iterator<Item = wgpu::BindingType> {
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let storage = move |read_only| buffer(wgpu::BufferBindingType::Storage { read_only });
    let inputs = kernel.inputs.iter().map(move |_| storage(true));
    let outputs = kernel.outputs.iter().map(move |_| storage(false));
    let textures = kernel.textures.iter().map(|texture| wgpu::BindingType::Texture {
        sample_type: match kernel.inputs[texture.input] {
            Element::F32 => wgpu::TextureSampleType::Float { filterable: false },
            Element::U32 => wgpu::TextureSampleType::Uint,
        },
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    });
    std::iter::once(buffer(wgpu::BufferBindingType::Uniform)).chain(inputs).chain(outputs).chain(textures)
}
