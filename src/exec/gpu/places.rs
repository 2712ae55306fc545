//! The buffers of a program on the device.
//!
//! A step's inputs and results have a slot for every step of a submission, so that a submission writes all inputs with
//! one upload and returns all results with one copy, and nothing separates its steps. Slots start at multiples of the
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
    /// Its start in the first slot, in bytes; 0 without slots.
    start: u64,
    /// The bytes from one slot to the next; 0 without slots.
    stride: u64,
}

/// Buffers with a slot for every step of a submission.
#[derive(Debug)]
pub(super) struct Slotted {
    pub buffer: wgpu::Buffer,
    /// The words of a slot.
    pub words: usize,
}

/// The buffers of a program on the device.
#[derive(Debug)]
pub(super) struct Places {
    program: Arc<Program>,
    /// By id; slices have none.
    roots: Vec<Option<Root>>,
    /// The number of slots.
    pub slots: usize,
    /// The most steps of a submission.
    pub most_steps: usize,
    pub inputs: Option<Slotted>,
    pub results: Option<Slotted>,
}

impl Places {
    /// Allocates all buffers.
    pub fn new(device: &wgpu::Device, program: &Arc<Program>) -> Places {
        let stride = |id: BufferId| program.buffer(id).len.next_multiple_of(ALIGNMENT);
        let inputs = program.inputs.map(|inputs| stride(inputs.id));
        let slots = inputs.map_or(1, |words| (MOST_INPUTS / (4 * words)).clamp(1, MAX_SLOTS));
        let slotted = |name: &str, words: usize| Slotted { buffer: storage(device, name, slots * words), words };
        let most_steps = if inputs.is_some() { slots } else { MAX_SLOTS };
        let inputs = inputs.map(|words| slotted("inputs", words));
        let words: usize = program.results.iter().map(|id| stride(*id)).sum();
        let results = (words > 0).then(|| slotted("results", words));
        let root = |id: BufferId| {
            let spec = program.buffer(id);
            if spec.parent.is_some() {
                return None;
            }
            let at = program.results.iter().position(|result| *result == id);
            let (of_slots, start) = match at {
                Some(at) => (&results, program.results[..at].iter().map(|id| 4 * stride(*id) as u64).sum()),
                None if program.inputs.is_some_and(|inputs| inputs.id == id) => (&inputs, 0),
                None => (&None, 0),
            };
            Some(match of_slots {
                Some(slotted) => Root { buffer: slotted.buffer.clone(), start, stride: 4 * slotted.words as u64 },
                None => Root { buffer: storage(device, &spec.name, spec.len + spec.guard), start: 0, stride: 0 },
            })
        };
        let roots = (0..program.buffers.len() as u32).map(|id| root(BufferId(id))).collect();
        Places { program: program.clone(), roots, slots, most_steps, inputs, results }
    }

    /// The bytes of all buffers.
    pub fn memory(&self) -> u64 {
        let slotted = [&self.inputs, &self.results].into_iter().flatten();
        self.program.memory() + slotted.map(|slotted| 4 * (slotted.words * (self.slots - 1)) as u64).sum::<u64>()
    }

    /// Whether a buffer is in a root with slots, and the bytes from one slot to the next.
    pub fn stride(&self, id: BufferId) -> Option<u64> {
        let stride = self.root(self.program.root(id).0).stride;
        (stride > 0).then_some(stride)
    }

    /// The word in a slot of the results at which a buffer starts, if it is one of them.
    pub fn result(&self, id: BufferId) -> Option<usize> {
        let (root, offset) = self.program.root(id);
        self.program.results.contains(&root).then(|| (self.root(root).start / 4) as usize + offset)
    }

    /// The device's buffer behind an id, and the byte at which the id starts in its first slot, after `parity` steps
    /// (mod 2) have swapped.
    pub fn binding(&self, id: BufferId, parity: usize) -> (&wgpu::Buffer, u64) {
        let (root, offset) = physical(&self.program, id, parity);
        let root = self.root(root);
        (&root.buffer, root.start + 4 * offset as u64)
    }

    /// The same in a certain slot.
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
