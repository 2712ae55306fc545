//! Binds a program's operations to the device's buffers, and lists the dispatches of a range of them.

use super::context::{Gpu, Pipeline};
use super::pace;
use super::places::Places;
use super::textures::Textures;
use crate::kernels::{Op, Variant, Work};
use crate::program::Program;
use arrayvec::ArrayVec;
use std::ops::Range;
use std::sync::Arc;

/// Alignment of uniform offsets, by WebGPU's defaults.
const UNIFORM_ALIGNMENT: usize = 256;
/// The most bindings with dynamic offsets, by WebGPU's defaults.
const MAX_SLOTTED: usize = 4;

/// An operation ready to be encoded.
#[derive(Debug)]
pub(super) struct Bound {
    pub variant: &'static Variant,
    groups: Arc<Groups>,
    /// The pipeline and workgroups of each pass.
    passes: Vec<(Arc<Pipeline>, [u32; 3])>,
    /// By [`pace::cost`], for each pass.
    cost: f64,
}

/// The bind groups of an operation.
#[derive(Debug)]
pub(super) struct Groups {
    /// One for each parity of the swaps.
    by_parity: [wgpu::BindGroup; 2],
    /// The bytes from one slot to the next of each binding in a buffer with slots.
    strides: ArrayVec<u32, MAX_SLOTTED>,
}

impl Groups {
    /// Binds the present step's buffers for the dispatches that follow.
    pub fn set(&self, pass: &mut wgpu::ComputePass<'_>, parity: usize, slot: usize) {
        let offsets: ArrayVec<u32, MAX_SLOTTED> = self.strides.iter().map(|stride| slot as u32 * stride).collect();
        pass.set_bind_group(0, &self.by_parity[parity], &offsets);
    }
}

/// One dispatch, with everything that a pass needs for it.
#[derive(Debug)]
pub(super) struct Launch {
    /// The instruction that it belongs to.
    pub instruction: usize,
    pub groups: Arc<Groups>,
    pub pipeline: Arc<Pipeline>,
    pub workgroups: [u32; 3],
    /// By [`pace::cost`].
    pub cost: f64,
}

/// The dispatches of a range of instructions, in order. An executor makes it once for every range that it is asked to
/// run.
#[derive(Debug)]
pub(super) struct Plan {
    pub launches: Vec<Launch>,
    /// Whether they write a step's results.
    pub writes_results: bool,
}

impl Plan {
    pub fn new(places: &Places, program: &Program, bound: &[Bound], range: Range<usize>) -> Plan {
        let mut launches = Vec::new();
        for (instruction, bound) in range.clone().zip(&bound[range.clone()]) {
            launches.extend(bound.passes.iter().map(|(pipeline, workgroups)| Launch {
                instruction,
                groups: bound.groups.clone(),
                pipeline: pipeline.clone(),
                workgroups: *workgroups,
                cost: bound.cost,
            }));
        }
        let mut outputs = program.instructions[range].iter().flat_map(|instruction| &instruction.op.outputs);
        let writes_results = outputs.any(|output| places.is_result(*output));
        Plan { launches, writes_results }
    }
}

/// The `Params` of all operations in sequence.
pub(super) fn params_buffer(gpu: &Gpu, program: &Program) -> wgpu::Buffer {
    let mut bytes = vec![0; UNIFORM_ALIGNMENT * program.instructions.len().max(1)];
    for (i, instruction) in program.instructions.iter().enumerate() {
        let params = &instruction.op.params;
        bytes[UNIFORM_ALIGNMENT * i..][..params.len()].copy_from_slice(params);
    }
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("params"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, &bytes);
    buffer
}

/// The operands of an operation that are in buffers with slots, as bits: inputs first, then outputs.
pub(super) fn slotted(places: &Places, op: &Op) -> u32 {
    let bits = op.operands().enumerate().filter(|(_, (_, id))| places.stride(*id).is_some());
    bits.fold(0, |mask, (at, _)| mask | 1 << at)
}

/// Everything that bind groups are made of.
pub(super) struct Binder<'a> {
    pub gpu: &'a Gpu,
    pub program: &'a Program,
    pub places: &'a Places,
    pub textures: &'a Textures,
    pub params: &'a wgpu::Buffer,
    pub scratch: Option<&'a wgpu::Buffer>,
}

impl Binder<'_> {
    /// Takes the pipelines of an instruction's passes from those of the whole program.
    pub fn bound(
        &self,
        index: usize,
        variant: &'static Variant,
        pipelines: &mut impl Iterator<Item = Arc<Pipeline>>,
    ) -> Bound {
        let op = &self.program.instructions[index].op;
        let dispatches = op.dispatches(variant).into_iter();
        let workgroups = dispatches.map(|dispatch| dispatch.launch.workgroups);
        // The order matters: a zip takes from its first iterator before it knows that the second has ended.
        let passes: Vec<_> = workgroups.zip(pipelines).map(|(workgroups, pipeline)| (pipeline, workgroups)).collect();
        // Layouts with the same bindings are interchangeable.
        let by_parity = [0, 1].map(|parity| self.bind_group(index, variant, &passes[0].0, parity));
        let strides = op.operands().filter_map(|(_, id)| self.places.stride(id)).map(|stride| stride as u32).collect();
        let share = |total: u64| total / passes.len() as u64;
        let cost = pace::cost(Work { flops: share(op.work.flops), bytes: share(op.work.bytes) });
        Bound { variant, groups: Arc::new(Groups { by_parity, strides }), passes, cost }
    }

    fn bind_group(&self, index: usize, variant: &Variant, pipeline: &Pipeline, parity: usize) -> wgpu::BindGroup {
        let instruction = &self.program.instructions[index];
        let op = &instruction.op;
        let binding = |buffer, offset, bytes: usize| {
            let size = std::num::NonZeroU64::new(bytes as u64);
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
        };
        let params = binding(self.params, (UNIFORM_ALIGNMENT * index) as u64, op.params.len().next_multiple_of(16));
        let tensors = op.operands().enumerate().map(|(at, (operand, id))| {
            let in_texture = (at < op.inputs.len()).then(|| self.textures.view(index, variant, operand)).flatten();
            in_texture.map_or_else(
                || {
                    let (buffer, offset) = self.places.binding(id, parity);
                    let spec = self.program.buffer(id);
                    binding(buffer, offset, 4 * (spec.len + spec.guard))
                },
                wgpu::BindingResource::TextureView,
            )
        });
        let scratch = variant.scratch.map(|_| match (self.program.scratch, self.scratch) {
            (Some(given), _) => {
                let (buffer, offset) = self.places.binding(given.id, parity);
                binding(buffer, offset, 4 * (given.len + self.program.buffer(given.id).guard))
            }
            (None, own) => {
                binding(own.expect("as large as the most that a variant needs"), 0, 4 * variant.scratch_words(op))
            }
        });
        let resources = std::iter::once(params).chain(tensors).chain(scratch);
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&instruction.name),
            layout: &pipeline.layout,
            entries: &entries,
        })
    }
}
