//! The executors on the host: `reference` in f32 and f64, and `cpu`. They differ in the functions they call.
//!
//! Operations run at once, in order. An operation's outputs never share a root with its inputs, so the roots that it
//! writes are taken out of the table while it runs, and the borrow checker sees disjoint memory. They are put back even
//! if it panics, so that the executor remains complete; the operation's outputs may then be partly written.

use super::memory::Memory;
use super::pieces::{self, Chain, Task};
use super::{Capture, Clock, DeviceInfo, Executor, ExecutorKind, Pending, Timings};
use crate::error::{Error, Result};
use crate::kernels::{
    Args, BufferId, Element, Op, Operation, PerOperand, Precision, Prepare, Prepared, Scalar, Slot, SlotMut,
};
use crate::machine::{free_memory, mib};
use crate::program::{Host, Limits, Program};
use rayon::prelude::*;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use web_time::Instant;

/// Runs a program on the host, with reals stored as `S`.
#[derive(Debug)]
pub struct HostExecutor<S> {
    program: Arc<Program>,
    info: DeviceInfo,
    /// The memory of buffers by id; slices have none.
    memory: Vec<Memory<S>>,
    functions: Functions<S>,
    /// The prepared data that all examples of an operation share, by instruction.
    prepared: Vec<Prepared>,
    /// The schedules of the ranges of instructions that were run.
    schedules: Vec<(Range<usize>, Arc<Vec<Task>>)>,
    captures: Vec<Capture>,
}

/// The functions that run operations.
#[derive(Debug)]
struct Functions<S> {
    prepare: fn(&Op) -> Option<Prepare<S>>,
    run: fn(&Operation) -> fn(&mut Args<'_, S>),
    schedule: fn(&Program, Range<usize>) -> Vec<Task>,
}

impl<S> Functions<S> {
    /// The naive functions, one after another.
    fn naive(run: fn(&Operation) -> fn(&mut Args<'_, S>)) -> Functions<S> {
        Functions { prepare: |_| None, run, schedule: |_, instructions| instructions.map(Task::One).collect() }
    }
}

/// The reference with reals stored as f64, for gradient checks.
pub type Reference64 = HostExecutor<f64>;

impl HostExecutor<f32> {
    /// The naive functions.
    pub fn reference(program: impl Into<Arc<Program>>) -> Result<Self> {
        HostExecutor::new(
            program.into(),
            ExecutorKind::Reference,
            Functions::naive(|operation| operation.reference.single),
        )
    }

    /// The fast functions, or the naive ones for operations without.
    pub fn cpu(program: impl Into<Arc<Program>>) -> Result<Self> {
        let functions = Functions {
            prepare: Op::prepare,
            run: |operation| operation.cpu.map_or(operation.reference.single, |cpu| cpu.run),
            schedule: pieces::schedule,
        };
        HostExecutor::new(program.into(), ExecutorKind::Cpu, functions)
    }
}

impl Reference64 {
    /// The naive functions in f64 throughout.
    pub fn new64(program: impl Into<Arc<Program>>) -> Result<Self> {
        HostExecutor::new(
            program.into(),
            ExecutorKind::Reference,
            Functions::naive(|operation| operation.reference.double),
        )
    }

    /// A buffer's values at full precision.
    pub fn values(&self, buffer: BufferId) -> &[f64] {
        match self.slice(buffer) {
            Slot::Real(values) => values,
            Slot::Words(_) => panic!("{} holds words", self.program.buffer(buffer).name),
        }
    }

    /// Overwrites one value at full precision.
    pub fn set(&mut self, buffer: BufferId, index: usize, value: f64) {
        let (root, offset) = self.program.root(buffer);
        match &mut self.memory[root.0 as usize] {
            Memory::Real(values) => values[offset + index] = value,
            Memory::Words(_) => panic!("{} holds words", self.program.buffer(buffer).name),
        }
    }
}

impl<S: Scalar> HostExecutor<S> {
    fn new(program: Arc<Program>, executor: ExecutorKind, functions: Functions<S>) -> Result<HostExecutor<S>> {
        let mut memory = Vec::with_capacity(program.buffers.len());
        for buffer in &program.buffers {
            let len = if buffer.parent.is_some() { 0 } else { buffer.len + buffer.guard };
            memory.push(match buffer.element {
                Element::F32 => Memory::Real(allocate(len, S::of(0.0), &buffer.name)?),
                Element::U32 => Memory::Words(allocate(len, 0, &buffer.name)?),
            });
        }
        let prepared = program.instructions.iter().map(|_| Prepared::default()).collect();
        let (info, schedules, captures) = (info(executor), Vec::new(), Vec::new());
        let constants = program.constants.clone();
        let mut executor = HostExecutor { program, info, memory, functions, prepared, schedules, captures };
        for (buffer, words) in &constants {
            executor.write(*buffer, words)?;
        }
        Ok(executor)
    }

    fn slice(&self, buffer: BufferId) -> Slot<'_, S> {
        let (root, offset) = self.program.root(buffer);
        let range = offset..offset + self.program.buffer(buffer).len;
        match &self.memory[root.0 as usize] {
            Memory::Real(values) => Slot::Real(&values[range]),
            Memory::Words(words) => Slot::Words(&words[range]),
        }
    }

    /// Runs on a thread of the pool, so that work is handed over once and not with every operation.
    fn run_all(&mut self, instructions: Range<usize>) {
        let place = self.schedules.iter().position(|(range, _)| *range == instructions).unwrap_or_else(|| {
            let tasks = (self.functions.schedule)(&self.program, instructions.clone());
            self.schedules.push((instructions, Arc::new(tasks)));
            self.schedules.len() - 1
        });
        let tasks = self.schedules[place].1.clone();
        rayon::scope(|scope| {
            for task in &*tasks {
                match task {
                    Task::Chain(chain) => self.run_chain(chain),
                    Task::One(i) => {
                        self.run_one(*i);
                        // A small task every few microseconds: an idle thread falls asleep, and takes longer to wake
                        // than a small operation takes.
                        scope.spawn(|_| ());
                    }
                }
            }
        });
    }

    fn run_chain(&mut self, chain: &Chain) {
        self.prepare(&chain.instructions);
        let memory = &mut self.memory;
        let mut taken: Vec<Memory<S>> =
            chain.written.iter().map(|written| std::mem::take(&mut memory[written.buffer.0 as usize])).collect();
        let (program, prepared, function) = (&self.program, &self.prepared, self.functions.run);
        let read = |buffer| self.slice(buffer);
        let work = pieces::ChainRun { program, chain, function, read: &read, prepared };
        let ended = catch_unwind(AssertUnwindSafe(|| work.run(&mut taken)));
        for (written, memory) in chain.written.iter().zip(taken) {
            self.memory[written.buffer.0 as usize] = memory;
        }
        ended.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// Prepares what the examples of these instructions share.
    fn prepare(&mut self, instructions: &[usize]) {
        let functions = instructions.iter().filter_map(|i| {
            let prepare = (self.functions.prepare)(&self.program.instructions[*i].op)?;
            Some((*i, prepare, std::mem::take(&mut self.prepared[*i])))
        });
        let mut prepared: Vec<(usize, Prepare<S>, Prepared)> = functions.collect();
        prepared.par_iter_mut().for_each(|(i, prepare, prepared)| {
            let op = &self.program.instructions[*i].op;
            let inputs = op.inputs.iter().map(|b| self.slice(*b));
            prepare(&Args::new(op.operation, &op.params, inputs, []), prepared);
        });
        for (i, _, prepared) in prepared {
            self.prepared[i] = prepared;
        }
    }

    fn run_one(&mut self, index: usize) {
        self.prepare(&[index]);
        let op = &self.program.instructions[index].op;
        let mut roots: PerOperand<BufferId> = PerOperand::new();
        for root in op.outputs.iter().map(|b| self.program.root(*b).0) {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        let mut taken: PerOperand<Memory<S>> =
            roots.iter().map(|r| std::mem::take(&mut self.memory[r.0 as usize])).collect();

        let mut outputs: PerOperand<Option<SlotMut<'_, S>>> = op.outputs.iter().map(|_| None).collect();
        for (root, memory) in roots.iter().zip(&mut taken) {
            // The outputs inside this root, by place.
            let mut pieces: PerOperand<(usize, usize, usize)> = (op.outputs.iter().enumerate())
                .filter(|(_, b)| self.program.root(**b).0 == *root)
                .map(|(i, b)| (self.program.root(*b).1, self.program.buffer(*b).len, i))
                .collect();
            pieces.sort();
            match memory {
                Memory::Real(values) => carve(values, &pieces, |i, piece| outputs[i] = Some(SlotMut::Real(piece))),
                Memory::Words(words) => carve(words, &pieces, |i, piece| outputs[i] = Some(SlotMut::Words(piece))),
            }
        }
        let inputs = op.inputs.iter().map(|b| self.slice(*b));
        let outputs = outputs.into_iter().map(|o| o.expect("every output lies in a taken root"));
        let mut args = Args::new(op.operation, &op.params, inputs, outputs);
        args.prepared = &self.prepared[index];
        let function = (self.functions.run)(op.operation);
        let ended = catch_unwind(AssertUnwindSafe(|| function(&mut args)));
        drop(args);
        for (root, memory) in roots.iter().zip(taken) {
            self.memory[root.0 as usize] = memory;
        }
        ended.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// A buffer's words, its guard included.
    fn words(&self, buffer: BufferId) -> Vec<u32> {
        let (root, offset) = self.program.root(buffer);
        let spec = self.program.buffer(buffer);
        let range = offset..offset + spec.len + spec.guard;
        match &self.memory[root.0 as usize] {
            Memory::Real(values) => values[range].iter().map(|v| (v.get() as f32).to_bits()).collect(),
            Memory::Words(words) => words[range].to_vec(),
        }
    }
}

/// Returns disjoint pieces (start, length, index), which are sorted by start.
fn carve<'a, T>(mut rest: &'a mut [T], pieces: &[(usize, usize, usize)], mut hand_out: impl FnMut(usize, &'a mut [T])) {
    let mut position = 0;
    for &(start, len, index) in pieces {
        assert!(start >= position, "an operation's outputs overlap");
        let (piece, left) = rest[start - position..].split_at_mut(len);
        hand_out(index, piece);
        (rest, position) = (left, start + len);
    }
}

/// A vector, or an error if the machine does not have enough memory.
fn allocate<T: Clone>(len: usize, value: T, name: &str) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| {
        let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
        Error::TooLarge(format!("no memory for {name} ({}); choose a smaller batch", mib(bytes)))
    })?;
    vector.resize(len, value);
    Ok(vector)
}

impl<S: Scalar> Executor for HostExecutor<S> {
    fn device(&self) -> &DeviceInfo {
        &self.info
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn frees(&self) -> u64 {
        self.program.memory()
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        let (root, offset) = self.program.root(buffer);
        let spec = self.program.buffer(buffer);
        assert!(words.len() == spec.len || words.len() == spec.len + spec.guard, "{} words for {spec:?}", words.len());
        match &mut self.memory[root.0 as usize] {
            Memory::Real(values) => {
                for (value, word) in values[offset..].iter_mut().zip(words) {
                    *value = S::of(f64::from(f32::from_bits(*word)));
                }
            }
            Memory::Words(values) => values[offset..offset + words.len()].copy_from_slice(words),
        }
        Ok(())
    }

    fn copy(&mut self, from: BufferId, to: BufferId) -> Result<()> {
        let mut target = std::mem::take(&mut self.memory[to.0 as usize]);
        match (&self.memory[from.0 as usize], &mut target) {
            (Memory::Real(from), Memory::Real(to)) => to.copy_from_slice(from),
            (Memory::Words(from), Memory::Words(to)) => to.copy_from_slice(from),
            _ => panic!("a copy of {:?} into {:?}", self.program.buffer(from), self.program.buffer(to)),
        }
        self.memory[to.0 as usize] = target;
        Ok(())
    }

    fn begin_step(&mut self, words: &[u32]) -> Result<()> {
        let inputs = self.program.inputs.expect("a step of a program with inputs");
        self.write(inputs.id, words)
    }

    fn run(&mut self, instructions: Range<usize>) -> Result<()> {
        self.run_all(instructions);
        Ok(())
    }

    fn run_timed(&mut self, tag: u64, ranges: &[Range<usize>]) -> Pending<'_, ()> {
        let timed = |range: &Range<usize>| {
            let start = Instant::now();
            self.run_all(range.clone());
            start.elapsed().as_nanos() as f64
        };
        let nanoseconds = ranges.iter().map(timed).collect();
        let timings = Some(Timings { clock: Clock::WallClock, nanoseconds });
        self.captures.push(Capture { tag, buffers: Vec::new(), timings });
        Box::pin(std::future::ready(Ok(())))
    }

    fn capture(&mut self, tag: u64, buffers: &[BufferId]) -> Result<()> {
        let buffers = buffers.iter().map(|b| self.words(*b)).collect();
        self.captures.push(Capture { tag, buffers, timings: None });
        Ok(())
    }

    fn end_step(&mut self, update: bool) -> Pending<'_, ()> {
        if update {
            for (a, b) in &self.program.swaps {
                self.memory.swap(a.0 as usize, b.0 as usize);
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn captured(&mut self) -> Result<Vec<Capture>> {
        Ok(std::mem::take(&mut self.captures))
    }

    fn finish(&mut self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn read(&mut self, buffer: BufferId) -> Pending<'_, Vec<u32>> {
        let words = self.words(buffer);
        Box::pin(std::future::ready(Ok(words)))
    }
}

/// The processor and its threads.
pub(super) fn info(executor: ExecutorKind) -> DeviceInfo {
    let threads = if executor == ExecutorKind::Cpu { rayon::current_num_threads() } else { 1 };
    let (driver, backend, precision) = (String::new(), "host".into(), Precision::F32);
    DeviceInfo { executor, name: processor(), driver, backend, threads, precision }
}

#[cfg(not(target_arch = "wasm32"))]
fn processor() -> String {
    let brand = sysinfo::System::new().ok().and_then(|mut system| {
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        system.cpus().first().map(|cpu| cpu.brand().trim().to_string())
    });
    brand.filter(|b| !b.is_empty()).unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

#[cfg(target_arch = "wasm32")]
fn processor() -> String {
    "wasm32".into()
}

/// One buffer may be as large as its 32-bit indices and an allocation allow; all of them together as large as the free
/// memory.
pub(super) fn limits(host: Host) -> Limits {
    let most = (8 << 30).min(isize::MAX as u64);
    let (memory, host) = (free_memory(), Some(host));
    Limits { max_binding: most, max_buffer: most, memory, host, adapter: None, beside: 0, along: |_| 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Reference;
    use crate::net::Network;
    use crate::program::{Options, Source, Stage, TrainingStep};

    fn panics<S>(_: &mut Args<'_, S>) {
        panic!("planted");
    }

    #[test]
    fn an_operation_that_panics_leaves_the_executor_whole() {
        static PANICS: Operation = Operation {
            reference: Reference { single: panics, double: panics },
            cpu: None,
            ..crate::kernels::relu::FORWARD
        };
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let source = Source { height: 28, width: 28, channels: 1, examples: 8 };
        let options = Options { fuse: false, ..Options::evaluation(4, source) };
        let mut step = TrainingStep::lower(&network, &options).expect("it lowers");
        let program = Arc::make_mut(&mut step.program);
        let relu = program.instructions.iter().position(|i| i.name == "relu1.forward").expect("a ReLU");
        program.instructions[relu].op.operation = &PANICS;
        let forward = step.stages(Stage::Batch, Stage::Forward);
        // By itself, and in a chain with the operations around it.
        type Make = fn(Arc<Program>) -> Result<HostExecutor<f32>>;
        let makes: [Make; 2] = [|program| HostExecutor::reference(program), |program| HostExecutor::cpu(program)];
        for make in makes {
            let mut executor = make(step.program.clone()).expect("it fits");
            let lengths = |executor: &HostExecutor<f32>| {
                let ids = 0..executor.program.buffers.len() as u32;
                ids.map(|id| executor.words(BufferId(id)).len()).collect::<Vec<_>>()
            };
            let whole = lengths(&executor);
            for _ in 0..2 {
                let ended = catch_unwind(AssertUnwindSafe(|| executor.run(forward.clone())));
                assert!(ended.is_err(), "the planted panic comes through, also at a second run");
                assert_eq!(lengths(&executor), whole);
            }
        }
    }
}
