//! The device: a connection to an adapter, its pipelines, and the errors that its driver reports.

use super::adapters::{AdapterSummary, Choice, choose, matrices_for, needed_for};
use super::contain::{contain, contain_future};
use super::failure::{describe, lost, panicked, panicked_opening};
use crate::error::{Error, Result};
use crate::exec::{DeviceInfo, ExecutorKind};
use crate::kernels::{Adapter, Dispatch, Element, Op, Operation, Precision, Variant};
use crate::machine::free_memory;
use crate::program::{Host, Limits};
use crate::text;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wgpu::{Features, ShaderRuntimeChecks};

/// Whether shaders check their indices, divisors and loops at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeChecks {
    On,
    Off,
}

/// A pipeline with the layout of its one bind group.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// The pending result of an error scope that was popped.
#[cfg(not(target_arch = "wasm32"))]
pub(super) type PopScope = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;
#[cfg(target_arch = "wasm32")]
pub(super) type PopScope = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// Error scopes of this thread for every kind of error.
pub(super) struct Scopes([wgpu::ErrorScopeGuard; 3]);

impl Scopes {
    pub fn push(device: &wgpu::Device) -> Scopes {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        Scopes([OutOfMemory, Internal, Validation].map(|filter| device.push_error_scope(filter)))
    }

    /// Ends the scopes at once; their errors come later. Memory errors come before driver errors and validation errors,
    /// because an object that could not be created is also invalid when used.
    pub fn pop(self) -> PopScope {
        let [memory, internal, validation] = self.0;
        let validation = validation.pop();
        let internal = internal.pop();
        let memory = memory.pop();
        Box::pin(async move {
            let (validation, internal, memory) = (validation.await, internal.await, memory.await);
            memory.or(internal).or(validation)
        })
    }
}

type Constants = Vec<(&'static str, u32)>;
/// The key of a pipeline: variant, entry point, constants, operands with slots, and checks.
type PipelineKey = (&'static str, &'static str, Constants, u32, RuntimeChecks);

/// A pipeline needed by a pass of an operation.
struct Wanted {
    operation: &'static Operation,
    variant: &'static Variant,
    key: PipelineKey,
}

/// A connection to an adapter, with the choices of variants and of shader checks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    checks: RuntimeChecks,
    adapter: Adapter,
    skipped_self_check: bool,
}

#[derive(Debug)]
struct Inner {
    handles: ManuallyDrop<Handles>,
    summary: AdapterSummary,
    info: DeviceInfo,
    /// The first error that the driver reported outside of any call that could return it, or its panic.
    failure: Failure,
    /// Whether this driver's timestamps turned out unusable.
    refuted_timestamps: AtomicBool,
}

/// All objects from wgpu. Dropping them also calls the driver.
#[derive(Debug)]
struct Handles {
    /// The modules by source and checks.
    modules: Mutex<HashMap<(&'static str, RuntimeChecks), wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    queue: wgpu::Queue,
    device: wgpu::Device,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: nothing uses the handles after this.
        let handles = unsafe { ManuallyDrop::take(&mut self.handles) };
        drop_contained(handles);
    }
}

/// Drops `value` and ignores a panic of the driver.
pub(super) fn drop_contained<T>(value: T) {
    if let Err(text) = contain(move || drop(value)) {
        log::debug!("the driver failed while it was let go: {text}");
    }
}

/// Set once.
type Failure = Arc<OnceLock<String>>;

fn record(failure: &Failure, message: String) {
    log::debug!("{message}");
    // The first error is the cause; others follow from it.
    let _ = failure.set(message);
}

/// A poisoned lock means that another thread panicked; the data behind these locks remains usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter of `choice`, for products in `precision`.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there is no such adapter, or if it refuses a device, and [`Error::Precision`] if it lacks
    /// what the precision needs.
    pub async fn open(choice: &Choice, checks: RuntimeChecks, precision: Precision) -> Result<Gpu> {
        let (adapter, summary) = choose(choice).await?;
        let (matrices, best) = (matrices_for(&adapter, &summary, precision)?, adapter.limits());
        let mut features = adapter.features() & Features::TIMESTAMP_QUERY;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if let Some(matrices) = matrices {
            features |= needed_for(matrices);
            // SAFETY: the only such feature that is requested is that of cooperative matrices. The kernels that use it only
            // load and store workgroup memory through them, inside its arrays.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("glassnet"),
            required_features: features,
            experimental_features,
            // WebGPU's defaults, which the driver then enforces; only larger buffers are requested if available.
            required_limits: wgpu::Limits {
                max_buffer_size: best.max_buffer_size,
                max_storage_buffer_binding_size: best.max_storage_buffer_binding_size,
                ..wgpu::Limits::default()
            },
            ..Default::default()
        };
        // In a separate future, because natively the call itself does the work.
        let opened = contain_future(async { adapter.request_device(&descriptor).await }).await;
        let opened = match opened {
            Ok(opened) => opened.map_err(text::first_lines),
            Err(panic) => Err(panicked_opening(&panic)),
        };
        drop_contained(adapter);
        let (device, queue) = opened.map_err(|why| {
            let why = why.trim_end_matches('.');
            Error::Adapter(format!("{} refused a device: {why}", summary.name))
        })?;
        let failure = Failure::default();
        let (on_error, on_loss) = (failure.clone(), failure.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            record(&on_error, describe(&error, "a command"));
        }));
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device also ends here, which is not a failure.
            if reason != wgpu::DeviceLostReason::Destroyed {
                record(&on_loss, lost(&message));
            }
        });
        let info = DeviceInfo {
            executor: ExecutorKind::Gpu,
            name: summary.name.clone(),
            driver: format!("{} {}", summary.driver, summary.driver_info).trim().to_string(),
            backend: summary.backend.clone(),
            threads: 0,
            precision,
        };
        log::info!("opened {info}");
        let handles =
            ManuallyDrop::new(Handles { modules: Mutex::default(), pipelines: Mutex::default(), queue, device });
        let adapter = Adapter { software: summary.software, matrices };
        let inner = Arc::new(Inner { handles, summary, info, failure, refuted_timestamps: AtomicBool::new(false) });
        Ok(Gpu { inner, checks, adapter, skipped_self_check: false })
    }

    /// Returns this connection with another choice of shader checks.
    pub fn compiling(&self, checks: RuntimeChecks) -> Gpu {
        Gpu { checks, ..self.clone() }
    }

    /// Returns this connection with the variants of another kind of adapter, so that a software adapter can test the
    /// hardware variants.
    pub fn assuming(&self, adapter: Adapter) -> Gpu {
        Gpu { adapter, ..self.clone() }
    }

    /// Returns this connection, marked as one that may compute wrongly or not at all.
    pub fn without_self_check(&self) -> Gpu {
        Gpu { skipped_self_check: true, ..self.clone() }
    }

    /// Whether the self-check was skipped because it was asked for, so that results mean nothing.
    pub fn skipped_self_check(&self) -> bool {
        self.skipped_self_check
    }

    pub fn summary(&self) -> &AdapterSummary {
        &self.inner.summary
    }

    pub fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        &self.inner.handles.device
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.inner.handles.queue
    }

    /// Whether it computes in this process's memory; a browser's adapter has a process of its own.
    pub(super) fn on_host(&self) -> bool {
        self.inner.summary.software && cfg!(not(target_arch = "wasm32"))
    }

    /// The facts that decide between variants.
    pub fn adapter(&self) -> Adapter {
        self.adapter
    }

    /// Whether passes can record times.
    pub(super) fn has_timestamps(&self) -> bool {
        self.device().features().contains(Features::TIMESTAMP_QUERY)
            && !self.inner.refuted_timestamps.load(Ordering::Relaxed)
    }

    /// Gives this driver's timestamps up, for all programs that are still to be made.
    pub(super) fn refute_timestamps(&self) {
        if !self.inner.refuted_timestamps.swap(true, Ordering::Relaxed) {
            log::warn!("this driver's timestamps are unusable; the host's clock takes over");
        }
    }

    /// Whether all submitted work is done; never waits. In a browser this is unknown, and the answer is no.
    pub fn is_idle(&self) -> bool {
        let status = contain(|| self.device().poll(wgpu::PollType::Poll));
        cfg!(not(target_arch = "wasm32")) && status.is_ok_and(|s| s.is_ok_and(|s| s.is_queue_empty()))
    }

    /// wgpu does not report how much memory of a hardware adapter is free; the driver's refusal becomes an error when
    /// buffers are created. A software adapter uses the host's memory, and the system may kill a process that uses too
    /// much.
    pub fn memory_limits(&self) -> Limits {
        let limits = self.device().limits();
        let most = limits.max_storage_buffer_binding_size;
        let host = self.on_host().then_some(Host::Software(self.adapter));
        Limits {
            max_binding: most,
            max_buffer: limits.max_buffer_size,
            memory: host.and_then(|_| free_memory()),
            host,
            adapter: Some(self.adapter),
            beside: 0,
            along: |_| 0,
        }
    }

    /// Checks that the device still exists and that its driver reported no fault outside of a call that could return
    /// it.
    ///
    /// # Errors
    /// [`Error::Device`] with the first such fault; every later use of the device returns it as well.
    pub fn check(&self) -> Result<()> {
        match self.inner.failure.get() {
            Some(message) => Err(Error::Device(message.clone())),
            None => Ok(()),
        }
    }

    /// Calls wgpu. After a panic this device is given up, and every later call returns the panic as its error.
    pub(super) fn contain<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        contain(call).unwrap_or_else(|text| self.panicked(&text))
    }

    /// Does the same as [`Gpu::contain`] for asynchronous calls.
    pub(super) async fn contain_future<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.check()?;
        contain_future(future).await.unwrap_or_else(|text| self.panicked(&text))
    }

    fn panicked<T>(&self, text: &str) -> Result<T> {
        record(&self.inner.failure, panicked(text));
        self.check()?;
        Err(Error::Device(panicked(text)))
    }

    /// Waits for the errors of these scopes, which concern `what`. After a device is lost, all other errors are
    /// consequences.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost, or refused something within the scopes.
    pub(super) async fn accepted(&self, scopes: PopScope, what: &str) -> Result<()> {
        let refused = scopes.await.map(|error| Error::Device(describe(&error, what)));
        self.check()?;
        refused.map_or(Ok(()), Err)
    }

    /// The pipelines for each pass of these operations and variants. The operands that the bits select, inputs first,
    /// are bound with dynamic offsets. Pipelines that no program has used before are
    /// compiled: natively on all threads at once, in the order of use.
    ///
    /// # Errors
    /// [`Error::Device`] with the name of the first kernel that the device refuses.
    pub(super) async fn pipelines(&self, ops: &[(&Op, &'static Variant, u32)]) -> Result<Vec<Arc<Pipeline>>> {
        let handles = &self.inner.handles;
        let wanted: Vec<Wanted> =
            ops.iter().flat_map(|(op, variant, slotted)| self.wanted(op, variant, *slotted)).collect();
        let mut missing: Vec<&Wanted> = Vec::new();
        for wanted in &wanted {
            let known = lock(&handles.pipelines).contains_key(&wanted.key);
            if !known && !missing.iter().any(|other| other.key == wanted.key) {
                missing.push(wanted);
            }
        }
        let mut sources: Vec<&Wanted> = Vec::new();
        for wanted in &missing {
            let source = |other: &Wanted| other.variant.source == wanted.variant.source;
            let known = lock(&handles.modules).contains_key(&(wanted.variant.source, self.checks));
            if !known && !sources.iter().any(|other| source(other)) {
                sources.push(wanted);
            }
        }
        let modules = self.make_all(&sources, |wanted| self.module(wanted.variant)).await?;
        let keyed = sources.iter().map(|wanted| (wanted.variant.source, self.checks)).zip(modules);
        lock(&handles.modules).extend(keyed);
        let pipelines = self.make_all(&missing, |wanted| self.compile(wanted)).await?;
        let keyed = missing.iter().map(|wanted| wanted.key.clone()).zip(pipelines.into_iter().map(Arc::new));
        lock(&handles.pipelines).extend(keyed);
        let known = lock(&handles.pipelines);
        Ok(wanted.iter().map(|wanted| known[&wanted.key].clone()).collect())
    }

    /// Compiles the pipelines of these operations, with the variants that this device chooses, ahead of their use.
    ///
    /// # Errors
    /// [`Error::Device`] with the name of the first kernel that the device refuses.
    pub(in crate::exec) async fn prepare(&self, ops: impl Iterator<Item = &Op>) -> Result<()> {
        let chosen: Vec<(&Op, &'static Variant, u32)> = ops.map(|op| (op, op.chosen(self.adapter), 0)).collect();
        self.contain_future(self.pipelines(&chosen)).await.map(drop)
    }

    fn wanted(&self, op: &Op, variant: &'static Variant, slotted: u32) -> impl Iterator<Item = Wanted> + use<> {
        let (operation, checks) = (op.operation, self.checks);
        op.dispatches(variant).into_iter().map(move |Dispatch { entry, launch }| {
            let key = (variant.name, entry, launch.constants, slotted, checks);
            Wanted { operation, variant, key }
        })
    }

    /// The results of `make`, or the first error.
    async fn make_all<T: wgpu::WasmNotSend>(
        &self,
        wanted: &[&Wanted],
        make: impl Fn(&Wanted) -> T + wgpu::WasmNotSync,
    ) -> Result<Vec<T>> {
        let made = for_each(wanted, |wanted| {
            contain(|| {
                let scopes = Scopes::push(self.device());
                let made = make(wanted);
                (made, scopes.pop())
            })
        });
        let (mut all, mut refused) = (Vec::with_capacity(made.len()), None);
        for (wanted, made) in wanted.iter().zip(made) {
            let (made, error) = match made {
                Ok(made) => made,
                Err(text) => return self.panicked(&text),
            };
            let Inner { summary, info, .. } = &*self.inner;
            let kernel = wanted.variant.name;
            let what = || format!("kernel {kernel} on {} ({}, {})", info.name, summary.backend, info.driver);
            refused = refused.or(error.await.map(|error| describe(&error, &what())));
            all.push(made);
        }
        // After a device is lost, all other errors are consequences.
        self.check()?;
        refused.map_or(Ok(all), |message| Err(Error::Device(message)))
    }

    fn compile(&self, Wanted { operation, variant, key: (_, entry, constants, slotted, _) }: &Wanted) -> Pipeline {
        let device = self.device();
        let module = lock(&self.inner.handles.modules)[&(variant.source, self.checks)].clone();
        let entries: Vec<_> = (0..)
            .zip(binding_types(operation, variant, *slotted))
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            })
            .collect();
        let label = Some(variant.name);
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
            entry_point: Some(entry),
            compilation_options,
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    fn module(&self, variant: &Variant) -> wgpu::ShaderModule {
        let source = wgpu::ShaderSource::Wgsl(variant.source.into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(variant.name), source };
        match self.checks {
            RuntimeChecks::On => self.device().create_shader_module(descriptor),
            // SAFETY: the shaders are our own. The typed builders assert every dimension that an index is made of, all
            // loops are bounded by those dimensions, and every variant's cases run so with guard words around its
            // operands.
            RuntimeChecks::Off => unsafe {
                let checks = ShaderRuntimeChecks::unchecked();
                self.device().create_shader_module_trusted(descriptor, checks)
            },
        }
    }
}

/// Calls `make` for each pipeline, natively on all threads at once.
#[cfg(not(target_arch = "wasm32"))]
fn for_each<T: Send>(wanted: &[&Wanted], make: impl Fn(&Wanted) -> T + Sync) -> Vec<T> {
    use rayon::prelude::*;
    wanted.par_iter().with_max_len(1).map(|wanted| make(wanted)).collect()
}

#[cfg(target_arch = "wasm32")]
fn for_each<T>(wanted: &[&Wanted], make: impl Fn(&Wanted) -> T) -> Vec<T> {
    wanted.iter().map(|wanted| make(wanted)).collect()
}

/// The types of a variant's bindings, in this order: `Params`, inputs, outputs, scratch. The operands that the bits of
/// `slotted` select have dynamic offsets.
fn binding_types(operation: &Operation, variant: &Variant, slotted: u32) -> impl Iterator<Item = wgpu::BindingType> {
    let buffer = |ty, has_dynamic_offset| wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None };
    let storage = move |read_only, dynamic| buffer(wgpu::BufferBindingType::Storage { read_only }, dynamic);
    let dynamic = move |at: usize| slotted >> at & 1 == 1;
    let texture = |element| wgpu::BindingType::Texture {
        sample_type: match element {
            Element::F32 => wgpu::TextureSampleType::Float { filterable: false },
            Element::U32 => wgpu::TextureSampleType::Uint,
        },
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    };
    let input = move |(at, input)| match variant.texture(input) {
        Some(texture_of) => texture(texture_of.input.element),
        None => storage(true, dynamic(at)),
    };
    let inputs = operation.inputs.iter().copied().enumerate().map(input);
    let count = operation.inputs.len();
    let outputs = (0..operation.outputs.len()).map(move |at| storage(false, dynamic(count + at)));
    let scratch = variant.scratch.map(|_| storage(false, false));
    std::iter::once(buffer(wgpu::BufferBindingType::Uniform, false)).chain(inputs).chain(outputs).chain(scratch)
}
