//! The cost of reading and computing on an adapter, by the kind of memory access: `cargo bench --bench loads --
//! [ADAPTER NAME]`.
//!
//! Each line is a kernel of 256 workgroups of 64 invocations that does one thing 256 times. The figure is nanoseconds
//! per invocation, iteration and thread of the processor, which suits software adapters. Medians of 7 rounds.

use std::error::Error;
use std::time::Instant;
use wgpu::util::DeviceExt;

const GROUPS: u32 = 256;
const ROUNDS: usize = 7;
/// vec4 values in every source; a uniform binding holds no more.
const VECTORS: usize = 4096;

const SHADER: &str = "
@group(0) @binding(0) var<storage, read> storage_vectors: array<vec4f>;
@group(0) @binding(1) var<uniform> uniform_vectors: array<vec4f, 4096>;
@group(0) @binding(2) var texels: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;
var<workgroup> shared_vectors: array<vec4f, 1024>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    var a = vec4f(0.0);
    var b = vec4f(1.0);
    for (var i = 0u; i < 256u; i++) {
        let at = (lane * 3u + group.x + i) & 4095u;
        BODY
    }
    result[group.x * 64u + lane] = a + b;
}
";

/// The name of each measurement, and the loop's body.
const BODIES: &[(&str, &str)] = &[
    ("the loop by itself", "a += vec4f(f32(at));"),
    ("storage buffer, vec4", "a += storage_vectors[at];"),
    ("storage buffer, vec4, one address", "a += storage_vectors[i];"),
    ("uniform buffer, vec4", "a += uniform_vectors[at];"),
    ("texture, rgba32float", "a += textureLoad(texels, vec2u(at & 8191u, at >> 13u), 0);"),
    ("workgroup memory, vec4", "a += shared_vectors[at & 1023u];"),
    ("storage buffer, store of a vec4", "result[at] = vec4f(f32(i));"),
    (
        "eight vec4 multiply-adds",
        "let v = vec4f(f32(i)); a = fma(a, v, b); b = fma(b, v, a); a = fma(a, v, b); b = fma(b, v, a);
        a = fma(a, v, b); b = fma(b, v, a); a = fma(a, v, b); b = fma(b, v, a);",
    ),
];

struct Probe {
    device: wgpu::Device,
    queue: wgpu::Queue,
    layout: wgpu::BindGroupLayout,
    bindings: wgpu::BindGroup,
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let instance = wgpu::Instance::default();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let named = |a: &wgpu::Adapter| wanted.as_ref().is_none_or(|name| a.get_info().name.contains(name.as_str()));
    let adapter = adapters.into_iter().find(named).ok_or("no such adapter")?;
    println!("{} ({})", adapter.get_info().name, adapter.get_info().driver_info);
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let probe = Probe::new(device, queue);
    let threads = std::thread::available_parallelism()?.get() as f64;
    for (name, body) in BODIES {
        let seconds = probe.time(body)?;
        let each = seconds * threads * 1e9 / (f64::from(GROUPS) * 64.0 * 256.0);
        println!("{name:36} {each:7.2} ns");
    }
    Ok(())
}

impl Probe {
    fn new(device: wgpu::Device, queue: wgpu::Queue) -> Probe {
        let contents = vec![0u8; 16 * VECTORS];
        let source = wgpu::util::BufferInitDescriptor {
            label: Some("vectors"),
            contents: &contents,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM,
        };
        let vectors = device.create_buffer_init(&source);
        let result = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("result"),
            size: 16 * 64 * u64::from(GROUPS),
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let size = wgpu::Extent3d { width: VECTORS as u32, height: 1, depth_or_array_layers: 1 };
        let image = wgpu::TextureDescriptor {
            label: Some("texels"),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        };
        let image = device.create_texture_with_data(&queue, &image, Default::default(), &contents);
        let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let types = [
            buffer(wgpu::BufferBindingType::Storage { read_only: true }),
            buffer(wgpu::BufferBindingType::Uniform),
            wgpu::BindingType::Texture {
                sample_type: wgpu::TextureSampleType::Float { filterable: false },
                view_dimension: wgpu::TextureViewDimension::D2,
                multisampled: false,
            },
            buffer(wgpu::BufferBindingType::Storage { read_only: false }),
        ];
        let visibility = wgpu::ShaderStages::COMPUTE;
        let entries: Vec<_> = (0..)
            .zip(types)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None })
            .collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let view = image.create_view(&Default::default());
        let resources = [
            vectors.as_entire_binding(),
            vectors.as_entire_binding(),
            wgpu::BindingResource::TextureView(&view),
            result.as_entire_binding(),
        ];
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let bindings =
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
        Probe { device, queue, layout, bindings }
    }

    /// Seconds of one dispatch.
    fn time(&self, body: &str) -> Result<f64, Box<dyn Error>> {
        let source = wgpu::ShaderSource::Wgsl(SHADER.replace("BODY", body).into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: None, source };
        // SAFETY: every index above is masked to the size of its source, and the loop ends.
        let module =
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&self.layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let mut seconds = Vec::new();
        // The first round compiles.
        for _ in 0..=ROUNDS {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &self.bindings, &[]);
            pass.dispatch_workgroups(GROUPS, 1, 1);
            drop(pass);
            let start = Instant::now();
            self.queue.submit([encoder.finish()]);
            self.device.poll(wgpu::PollType::wait_indefinitely())?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.remove(0);
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[ROUNDS / 2])
    }
}
