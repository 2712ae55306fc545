//! The buffers of a program on the device.
//!
//! A step's inputs and results have a slot for every step of a submission, so that a submission writes all inputs with
//! one upload and copies all results back at its end, and nothing separates its steps. Slots start at multiples of the
//! alignment that bindings need; bind groups select one with dynamic offsets.

use crate::kernels::BufferId;
use crate::program::{ALIGNMENT, Program};
use std::sync::Arc;

/// The most slots: the most steps of one submission.
const MAX_SLOTS: usize = 64;
/// The most bytes of the slots for inputs. Steps with larger inputs take long enough to be submitted in small numbers.
const MOST_INPUTS: usize = 8 << 20;

/// A buffer of a program that owns memory.
#[derive(Debug)]
struct Root {
    buffer: wgpu::Buffer,
    /// The bytes from one slot to the next, if it has slots.
    stride: Option<u64>,
}

/// A result of a step: a small buffer that the host reads after every step.
#[derive(Debug)]
pub(super) struct StepResult {
    root: BufferId,
    /// The words of a slot.
    words: usize,
    /// The word at which all slots' values start in a staging buffer.
    staged: usize,
}

/// The buffers of a program on the device.
#[derive(Debug)]
pub(super) struct Places {
    program: Arc<Program>,
    /// By id; slices have none.
    roots: Vec<Option<Root>>,
    slots: usize,
    /// The most steps of a submission.
    pub most_steps: usize,
    results: Vec<StepResult>,
}

impl Places {
    /// Allocates all buffers.
    pub fn new(device: &wgpu::Device, program: &Arc<Program>) -> Places {
        let words = |id: BufferId| program.buffer(id).len.next_multiple_of(ALIGNMENT);
        let slots = program.inputs.map_or(1, |inputs| (MOST_INPUTS / (4 * words(inputs.id))).clamp(1, MAX_SLOTS));
        let slotted =
            |id: BufferId| program.inputs.is_some_and(|inputs| inputs.id == id) || program.results.contains(&id);
        let roots = (0..).map(BufferId).zip(&program.buffers).map(|(id, spec)| {
            let (len, stride) = match slotted(id) {
                true => (slots * words(id), Some(4 * words(id) as u64)),
                false => (spec.len + spec.guard, None),
            };
            spec.parent.is_none().then(|| Root { buffer: storage(device, &spec.name, len), stride })
        });
        let roots = roots.collect();
        let mut staged = 0;
        let results = program.results.iter().map(|&root| {
            let result = StepResult { root, words: words(root), staged };
            staged += slots * result.words;
            result
        });
        let results = results.collect();
        let most_steps = if program.inputs.is_some() { slots } else { MAX_SLOTS };
        Places { program: program.clone(), roots, slots, most_steps, results }
    }

    /// The bytes of all buffers.
    pub fn memory(&self) -> u64 {
        self.roots.iter().flatten().map(|root| root.buffer.size()).sum()
    }

    /// The number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The bytes from one slot to the next, if a buffer has slots.
    pub fn stride(&self, id: BufferId) -> Option<u64> {
        self.root(self.program.root(id).0).stride
    }

    /// The buffer of a step's inputs and the words of its slots, if the program has inputs.
    pub fn inputs(&self) -> Option<(&wgpu::Buffer, usize)> {
        let root = self.root(self.program.inputs?.id);
        Some((&root.buffer, root.stride? as usize / 4))
    }

    /// Whether a buffer is one of a step's results.
    pub fn is_result(&self, id: BufferId) -> bool {
        self.program.results.contains(&self.program.root(id).0)
    }

    /// The words at the front of a staging buffer that are for the results of all slots.
    pub fn staged_results(&self) -> usize {
        self.results.iter().map(|result| self.slots * result.words).sum()
    }

    /// The word in a staging buffer at which one of a step's results starts.
    pub fn staged_result(&self, id: BufferId, slot: usize) -> Option<usize> {
        let (root, offset) = self.program.root(id);
        let result = self.results.iter().find(|result| result.root == root)?;
        Some(result.staged + slot * result.words + offset)
    }

    /// Copies the results of some slots to a staging buffer.
    pub fn stage_results(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        staging: &wgpu::Buffer,
        (first, last): (usize, usize),
    ) {
        for StepResult { root, words, staged } in &self.results {
            let bytes = |words: usize| 4 * words as u64;
            let (from, to, len) = (first * words, staged + first * words, (last + 1 - first) * words);
            encoder.copy_buffer_to_buffer(&self.root(*root).buffer, bytes(from), staging, bytes(to), bytes(len));
        }
    }

    /// The device's buffer behind an id, and the byte at which the id starts in its first slot, after `parity` steps
    /// (mod 2) have swapped.
    pub fn binding(&self, id: BufferId, parity: usize) -> (&wgpu::Buffer, u64) {
        let (root, offset) = physical(&self.program, id, parity);
        (&self.root(root).buffer, 4 * offset as u64)
    }

    /// Returns what [`Places::binding`] does, in a certain slot.
    pub fn located(&self, id: BufferId, parity: usize, slot: usize) -> (&wgpu::Buffer, u64) {
        let (buffer, start) = self.binding(id, parity);
        (buffer, start + slot as u64 * self.stride(id).unwrap_or(0))
    }

    fn root(&self, root: BufferId) -> &Root {
        self.roots[root.0 as usize].as_ref().expect("roots own a buffer")
    }
}

/// The location of a buffer after `parity` steps (mod 2) have swapped.
fn physical(program: &Program, id: BufferId, parity: usize) -> (BufferId, usize) {
    let (root, offset) = program.root(id);
    if parity == 0 {
        return (root, offset);
    }
    let partner = program.swaps.iter().find_map(|&(a, b)| match root {
        root if root == a => Some(b),
        root if root == b => Some(a),
        _ => None,
    });
    (partner.unwrap_or(root), offset)
}

/// A buffer that kernels can read and write, and that can be copied from and to.
pub(super) fn storage(device: &wgpu::Device, name: &str, words: usize) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: 4 * words as u64,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
