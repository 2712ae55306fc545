//! Chains: successive operations that each compute example by example, run for one piece of the batch after another.
//!
//! A piece goes through the whole chain on one thread, so threads synchronise once per chain instead of once per
//! operation, and an example's values are still in the thread's cache when the next operation reads them. No result
//! depends on the pieces: every example (and every partial sum over a unit of examples) is computed separately in
//! either case.

use super::memory::Memory;
use crate::kernels::{Args, BufferId, Extent, Op, Operation, PerOperand, Prepared, Scalar, Slot, SlotMut};
use crate::program::Program;
use rayon::prelude::*;
use std::collections::HashSet;
use std::ops::Range;

/// A unit of work.
#[derive(Debug)]
pub(super) enum Task {
    One(usize),
    Chain(Chain),
}

/// Operations that run piece by piece, in order.
#[derive(Debug)]
pub(super) struct Chain {
    pub instructions: Vec<usize>,
    /// The buffers that they write, all of which own their memory.
    pub written: Vec<Written>,
    /// Pieces start at multiples of this number of examples.
    unit: usize,
    /// The number of all examples.
    examples: usize,
}

/// A buffer that a chain writes: one item of `len` elements for every `unit` examples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub buffer: BufferId,
    unit: usize,
    len: usize,
}

impl Written {
    /// The part that belongs to these examples, in elements.
    fn elements(&self, examples: &Range<usize>) -> Range<usize> {
        examples.start / self.unit * self.len..examples.end.div_ceil(self.unit) * self.len
    }
}

/// Joins instructions into chains that are as long as possible. An instruction that cannot join waits until the chain
/// has run. Later ones that do not need its results, and do not overwrite what it needs, run before it.
pub(super) fn schedule(program: &Program, instructions: Range<usize>) -> Vec<Task> {
    let Some(examples) = program.examples else { return instructions.map(Task::One).collect() };
    let (mut tasks, mut left) = (Vec::new(), Vec::from_iter(instructions));
    while let Some(first) = left.first() {
        let mut chain = Chain { instructions: Vec::new(), written: Vec::new(), unit: 1, examples };
        let (mut later, mut waiting, mut touched) = (Vec::new(), Roots::default(), HashSet::new());
        for (place, i) in left.iter().enumerate() {
            let op = &program.instructions[*i].op;
            if waiting.conflict(program, op) || !chain.take(program, *i, &mut touched) {
                waiting.add(program, op);
                later.push(*i);
            }
            // In a long program, distant instructions hardly ever join.
            if later.len() == WAITING {
                later.extend(&left[place + 1..]);
                break;
            }
        }
        // A single operation splits its own work.
        if chain.instructions.len() > 1 {
            tasks.push(Task::Chain(chain));
            left = later;
        } else {
            tasks.push(Task::One(*first));
            left.remove(0);
        }
    }
    tasks
}

/// Instructions that may wait while a chain is built.
const WAITING: usize = 256;

/// The memory that waiting instructions need.
#[derive(Default)]
struct Roots {
    read: HashSet<BufferId>,
    written: HashSet<BufferId>,
}

impl Roots {
    fn add(&mut self, program: &Program, op: &Op) {
        self.read.extend(op.inputs.iter().map(|buffer| program.root(*buffer).0));
        self.written.extend(op.outputs.iter().map(|buffer| program.root(*buffer).0));
    }

    /// Whether an operation must stay after one of those that wait.
    fn conflict(&self, program: &Program, op: &Op) -> bool {
        let root = |buffer: &BufferId| program.root(*buffer).0;
        op.inputs.iter().any(|buffer| self.written.contains(&root(buffer)))
            || op.outputs.iter().map(root).any(|root| self.written.contains(&root) || self.read.contains(&root))
    }
}

impl Chain {
    /// Appends an instruction if possible; `touched` is all memory that its instructions read or write.
    fn take(&mut self, program: &Program, instruction: usize, touched: &mut HashSet<BufferId>) -> bool {
        let op = &program.instructions[instruction].op;
        let Some(unit) = op.unit else { return false };
        let same_units = self.unit == 1 || unit == 1 || self.unit == unit;
        let outputs = op.outputs.iter().zip(op.operation.outputs);
        let written = outputs.map(|(buffer, operand)| {
            let unit = if operand.extent == Extent::PerUnit { unit } else { 1 };
            let len = program.buffer(*buffer).len / self.examples.div_ceil(unit);
            Written { buffer: *buffer, unit, len }
        });
        let written: Vec<Written> = written.collect();
        let mut inputs = op.inputs.iter().zip(op.operation.inputs);
        let fits = same_units
            && written.iter().all(|written| self.may_write(program, written, touched))
            && inputs.all(|(buffer, operand)| self.may_read(program, *buffer, operand.extent == Extent::Whole));
        if fits {
            self.instructions.push(instruction);
            self.unit = self.unit.max(unit);
            self.written.extend(written);
            touched.extend(op.inputs.iter().chain(&op.outputs).map(|buffer| program.root(*buffer).0));
        }
        fits
    }

    /// Whether this chain does not write the buffer, or writes it example by example.
    fn may_read(&self, program: &Program, buffer: BufferId, whole: bool) -> bool {
        let root = program.root(buffer).0;
        match self.written.iter().find(|written| written.buffer == root) {
            Some(written) => buffer == root && written.unit == 1 && !whole,
            None => whole || program.buffer(buffer).len.is_multiple_of(self.examples),
        }
    }

    fn place(&self, buffer: BufferId) -> Option<usize> {
        self.written.iter().position(|written| written.buffer == buffer)
    }

    /// Whether pieces may write a buffer: it owns its memory, and no piece needs the earlier contents.
    fn may_write(&self, program: &Program, written: &Written, touched: &HashSet<BufferId>) -> bool {
        let spec = program.buffer(written.buffer);
        let items = self.examples.div_ceil(written.unit);
        !touched.contains(&written.buffer) && spec.parent.is_none() && spec.len == written.len * items
    }
}

/// A chain with everything that it needs to run.
pub(super) struct ChainRun<'a, S> {
    pub program: &'a Program,
    pub chain: &'a Chain,
    pub function: fn(&Operation) -> fn(&mut Args<'_, S>),
    /// Buffers that the chain does not write.
    pub read: &'a (dyn Fn(BufferId) -> Slot<'a, S> + Sync),
    /// One entry per instruction.
    pub prepared: &'a [Prepared],
}

/// Some examples, with the parts of [`Chain::written`] that belong to them.
struct Piece<'a, S> {
    examples: Range<usize>,
    written: Vec<SlotMut<'a, S>>,
}

/// The least number of pieces per thread; with fewer, threads would wait for the last piece.
const PIECES_PER_THREAD: usize = 8;
/// The least arithmetic that makes a piece worthwhile, about 20 us of it.
const PIECE_FLOPS: u64 = 2_000_000;

impl<S: Scalar> ChainRun<'_, S> {
    /// `memory` is that of [`Chain::written`].
    pub fn run(&self, memory: &mut [Memory<S>]) {
        let batch = self.chain.examples;
        let ops = self.chain.instructions.iter().map(|i| &self.program.instructions[*i].op);
        let flops = ops.map(|op| op.work.flops).sum::<u64>() / batch as u64;
        let worth = PIECE_FLOPS.div_ceil(flops.max(1)).min(batch as u64) as usize;
        let most = batch.div_ceil(PIECES_PER_THREAD * rayon::current_num_threads());
        let size = worth.min(most).next_multiple_of(self.chain.unit);
        let piece = |first: usize| Piece {
            examples: first..(first + size).min(batch),
            written: Vec::with_capacity(self.chain.written.len()),
        };
        let mut pieces: Vec<Piece<'_, S>> = (0..batch).step_by(size).map(piece).collect();
        for (written, memory) in self.chain.written.iter().zip(memory) {
            match memory {
                Memory::Real(values) => deal(written, values, &mut pieces, SlotMut::Real),
                Memory::Words(words) => deal(written, words, &mut pieces, SlotMut::Words),
            }
        }
        pieces.into_par_iter().with_max_len(1).for_each(|piece| self.run_piece(piece));
    }

    fn run_piece(&self, Piece { examples, mut written }: Piece<'_, S>) {
        for i in &self.chain.instructions {
            let op = &self.program.instructions[*i].op;
            let places = op.outputs.iter().map(|b| self.chain.place(*b).expect("the chain took this instruction"));
            let places: PerOperand<usize> = places.collect();
            let nothing = || SlotMut::Words(&mut []);
            let mut taken: PerOperand<SlotMut<'_, S>> =
                places.iter().map(|i| std::mem::replace(&mut written[*i], nothing())).collect();
            let inputs = op.inputs.iter().enumerate().map(|(i, b)| self.input(op, i, *b, &examples, &written));
            let mut args = Args::new(op.operation, &op.params, inputs, taken.iter_mut().map(SlotMut::reborrow));
            (args.piece, args.prepared) = (Some(examples.clone()), &self.prepared[*i]);
            (self.function)(op.operation)(&mut args);
            drop(args);
            for (place, slot) in places.into_iter().zip(taken) {
                written[place] = slot;
            }
        }
    }

    fn input<'b>(
        &'b self,
        op: &Op,
        i: usize,
        buffer: BufferId,
        examples: &Range<usize>,
        written: &'b [SlotMut<'_, S>],
    ) -> Slot<'b, S> {
        if let Some(place) = self.chain.place(buffer) {
            return written[place].read();
        }
        let slot = (self.read)(buffer);
        if op.operation.inputs[i].extent == Extent::Whole {
            return slot;
        }
        let len = self.program.buffer(buffer).len / self.chain.examples;
        let elements = examples.start * len..examples.end * len;
        match slot {
            Slot::Real(values) => Slot::Real(&values[elements]),
            Slot::Words(words) => Slot::Words(&words[elements]),
        }
    }
}

/// Gives each piece its part of a buffer.
fn deal<'a, T, S>(
    written: &Written,
    mut rest: &'a mut [T],
    pieces: &mut [Piece<'a, S>],
    slot: fn(&'a mut [T]) -> SlotMut<'a, S>,
) {
    for piece in pieces {
        let (part, left) = rest.split_at_mut(written.elements(&piece.examples).len());
        piece.written.push(slot(part));
        rest = left;
    }
}
