//! Runs a program on a GPU. Buffers, pipelines and bind groups are created once; a step only encodes.
//!
//! Pairs of buffers that swap at a step's end have two sets of bind groups, one for each parity. Steps follow each
//! other in one compute pass until a copy, a timed range or the end of their submission.

use super::bind::{Binder, Bound, Plan, params_buffer, slotted};
use super::context::{Gpu, Scopes};
use super::places::{Places, storage};
use super::readback::Region;
use super::submit::Submissions;
use super::textures::Textures;
use crate::error::{Error, Result};
use crate::exec::{Capture, Clock, DeviceInfo, Executor, Pending, Submitting, Timings};
use crate::kernels::{BufferId, Op, Variant};
use crate::program::Program;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use web_time::Instant;

/// The most timed ranges of one [`Executor::run_timed`].
const MAX_TIMED: u32 = 1024;

/// The timestamp queries of one device.
#[derive(Debug)]
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// The next unused query. Those before it may still be waiting in the queue.
    next: u32,
}

/// Runs a program's WGSL kernels; [`super::GpuExecutor`] contains its panics.
#[derive(Debug)]
pub(super) struct Engine {
    gpu: Gpu,
    program: Arc<Program>,
    places: Places,
    /// One entry per instruction.
    bound: Vec<Bound>,
    /// By the first instruction and the one after the last.
    plans: HashMap<(usize, usize), Arc<Plan>>,
    textures: Textures,
    /// The bytes of the buffer for scratch.
    scratch: u64,
    parity: usize,
    timestamps: Option<Timestamps>,
    submissions: Submissions,
}

/// Dispatches of a plan that follow each other in one pass.
#[derive(Debug)]
struct Piece {
    /// Whether a new submission begins here.
    cut: bool,
    /// The images that must be copied before.
    copies: Vec<usize>,
    launches: Range<usize>,
}

impl Engine {
    /// Allocates all buffers and compiles all pipelines.
    pub async fn new(gpu: &Gpu, program: Arc<Program>) -> Result<Engine> {
        let device = gpu.device();
        let scopes = Scopes::push(device);
        let places = Places::new(device, &program);
        let ops = || program.instructions.iter().map(|instruction| &instruction.op);
        let variants: Vec<&'static Variant> = ops().map(|op| op.chosen(gpu.adapter())).collect();
        let textures = Textures::new(gpu, &program, &variants);
        log::debug!("memory plan: {:>12} bytes  copies in textures", textures.memory());
        let scratch = (program.scratch.is_none())
            .then(|| program.scratch_words(gpu.adapter()))
            .filter(|words| *words > 0)
            .map(|words| storage(device, "scratch of kernels", words));
        let scratch_bytes = scratch.as_ref().map_or(0, |buffer| buffer.size());
        log::debug!("memory plan: {scratch_bytes:>12} bytes  scratch of kernels");
        let params = params_buffer(gpu, &program);
        for (buffer, words) in &program.constants {
            let (target, offset) = places.binding(*buffer, 0);
            gpu.queue().write_buffer(target, offset, bytemuck::cast_slice(words));
        }
        let mib = (places.memory() + textures.memory() + scratch_bytes) >> 20;
        let what = format!("the buffers of this program ({mib} MiB) on {}", gpu.summary().name);
        gpu.accepted(scopes.pop(), &what).await?;
        let chosen = ops().zip(variants.iter().copied()).map(|(op, variant)| (op, variant, slotted(&places, op)));
        let chosen: Vec<(&Op, &'static Variant, u32)> = chosen.collect();
        let pipelines = gpu.pipelines(&chosen).await?;
        let scopes = Scopes::push(device);
        let binder = Binder {
            gpu,
            program: &program,
            places: &places,
            textures: &textures,
            params: &params,
            scratch: scratch.as_ref(),
        };
        let mut pipelines = pipelines.into_iter();
        let variants = variants.into_iter().enumerate();
        let bound = variants.map(|(i, variant)| binder.bound(i, variant, &mut pipelines)).collect();
        let timestamps = gpu.has_timestamps().then(|| timestamps(gpu));
        gpu.accepted(scopes.pop(), &format!("the bindings of this program on {}", gpu.summary().name)).await?;
        Ok(Engine {
            gpu: gpu.clone(),
            submissions: Submissions::new(gpu, &places),
            program,
            places,
            bound,
            plans: HashMap::new(),
            textures,
            scratch: scratch_bytes,
            parity: 0,
            timestamps,
        })
    }

    /// Changes the intended time of a submission.
    pub fn set_submission_time(&mut self, time: Duration) {
        self.submissions.set_budget(time);
    }

    /// Fills a whole buffer with these words again and again. Only a few of them are uploaded; copies on the device do
    /// the rest.
    pub fn repeat(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        /// The least number of words of a copy, so that a short pattern needs few copies.
        const COPIED: usize = 1 << 16;
        self.submit();
        let len = self.program.buffer(buffer).len;
        let times = COPIED.div_ceil(words.len()).min(len.div_ceil(words.len()));
        let pattern = words.repeat(times);
        let source = storage(self.gpu.device(), "pattern", pattern.len());
        self.gpu.queue().write_buffer(&source, 0, bytemuck::cast_slice(&pattern));
        let label = Some("repeat");
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let (target, offset) = self.located(buffer);
        for start in (0..len).step_by(pattern.len()) {
            let (at, count) = (offset + 4 * start as u64, pattern.len().min(len - start));
            encoder.copy_buffer_to_buffer(&source, 0, target, at, 4 * count as u64);
        }
        self.gpu.queue().submit([encoder.finish()]);
        self.textures.outdate(&self.program, self.program.root(buffer).0);
        self.gpu.check()
    }

    /// The present location of a buffer, in bytes.
    fn located(&self, id: BufferId) -> (&wgpu::Buffer, u64) {
        self.places.located(id, self.parity, self.submissions.slot())
    }

    fn submit(&mut self) {
        self.submissions.submit(&self.places);
    }

    fn plan(&mut self, range: &Range<usize>) -> Arc<Plan> {
        let Self { plans, places, program, bound, .. } = self;
        let make = || Arc::new(Plan::new(places, program, bound, range.clone()));
        plans.entry((range.start, range.end)).or_insert_with(make).clone()
    }

    /// Divides a plan where images must be copied, and where a submission has enough work.
    fn pieces(&mut self, plan: &Plan, instructions: Range<usize>) -> Vec<Piece> {
        let mut cuts = self.submissions.cuts(&plan.launches).into_iter().peekable();
        let mut pieces = Vec::with_capacity(1);
        let mut next = 0;
        for segment in self.textures.segments(instructions) {
            let start = next;
            let within =
                plan.launches[start..].iter().take_while(|launch| launch.instruction < segment.instructions.end);
            next += within.count();
            let mut piece = Piece { cut: false, copies: segment.copies, launches: start..start };
            while let Some(cut) = cuts.next_if(|cut| *cut < next) {
                if cut == piece.launches.start {
                    piece.cut = true;
                    continue;
                }
                piece.launches.end = cut;
                let rest = Piece { cut: true, copies: Vec::new(), launches: cut..cut };
                pieces.push(std::mem::replace(&mut piece, rest));
            }
            piece.launches.end = next;
            pieces.push(piece);
        }
        pieces
    }

    /// Records instructions; with `queries`, also their first and last moment.
    fn encode(&mut self, instructions: Range<usize>, queries: Option<u32>) {
        let plan = self.plan(&instructions);
        if plan.writes_results {
            self.submissions.keep_results(&self.places);
        }
        let mut pieces = self.pieces(&plan, instructions.clone());
        self.submissions.spend(&plan.launches);
        if queries.is_some() && pieces.first().is_none_or(|piece| !piece.copies.is_empty()) {
            // Copies are outside of passes, and only passes record times, so an empty pass comes before.
            pieces.insert(0, Piece { cut: false, copies: Vec::new(), launches: 0..0 });
        }
        let last = pieces.len().saturating_sub(1);
        for (i, Piece { cut, copies, launches }) in pieces.into_iter().enumerate() {
            if cut {
                self.submit();
            }
            let Self { submissions, textures, timestamps, parity, program, places, .. } = self;
            let slot = submissions.slot();
            let recording = submissions.recording();
            for image in copies {
                textures.copy(recording.encoder(), image, |id| places.located(id, *parity, slot));
            }
            let (begins, ends) = (queries.filter(|_| i == 0), queries.filter(|_| i == last));
            if queries.is_some() || !recording.is_open() {
                let first = plan.launches.get(launches.start).map_or(instructions.start, |launch| launch.instruction);
                let label = program.instructions.get(first).map(|instruction| instruction.name.as_str());
                let timestamp_writes = timestamps.as_ref().filter(|_| begins.or(ends).is_some()).map(|timestamps| {
                    wgpu::ComputePassTimestampWrites {
                        query_set: &timestamps.queries,
                        beginning_of_pass_write_index: begins,
                        end_of_pass_write_index: ends.map(|first| first + 1),
                    }
                });
                recording.open(&wgpu::ComputePassDescriptor { label, timestamp_writes });
            }
            recording.dispatch(&plan.launches[launches], *parity, slot);
            if queries.is_some() {
                recording.encoder();
            }
        }
    }

    /// Waits before and after each range and times it with the host's clock.
    async fn run_wall_clock(&mut self, tag: u64, ranges: Vec<Range<usize>>) -> Result<()> {
        let mut nanoseconds = Vec::with_capacity(ranges.len());
        for range in ranges {
            self.submit();
            self.submissions.wait(0).await?;
            let start = Instant::now();
            self.encode(range, None);
            self.submit();
            self.submissions.wait(0).await?;
            nanoseconds.push(start.elapsed().as_nanos() as f64);
        }
        let timings = Some(Timings { clock: Clock::WallClock, nanoseconds });
        self.submissions.arrived().push(Capture { tag, buffers: Vec::new(), timings });
        Ok(())
    }

    fn run_with_timestamps(&mut self, tag: u64, ranges: &[Range<usize>]) {
        let count = 2 * ranges.len() as u32;
        let Some(timestamps) = &mut self.timestamps else { return };
        if timestamps.next + count > 2 * MAX_TIMED {
            timestamps.next = 0;
        }
        let first = timestamps.next;
        timestamps.next += count;
        for (i, range) in ranges.iter().enumerate() {
            self.encode(range.clone(), Some(first + 2 * i as u32));
        }
        let words = 4 * ranges.len();
        let Self { submissions, timestamps, places, .. } = self;
        let (Some(timestamps), recording) = (timestamps.as_ref(), submissions.staged(places, words)) else { return };
        // Resolving writes at multiples of 256 bytes; each result is copied away before the next one.
        let queries = first..first + count;
        recording.encoder().resolve_query_set(&timestamps.queries, queries, &timestamps.resolved, 0);
        let (at, _) = recording.stage(&timestamps.resolved, 0, words);
        recording.capture(Region { tag, buffers: Vec::new(), ticks: Some((at, ranges.len())) });
    }

    /// Takes what has arrived; gives timestamps up if this driver's cannot be used.
    fn note_timestamps(&mut self) {
        if self.submissions.refuted_timestamps && self.timestamps.take().is_some() {
            self.gpu.refute_timestamps();
        }
    }
}

fn timestamps(gpu: &Gpu) -> Timestamps {
    let count = 2 * MAX_TIMED;
    Timestamps {
        queries: gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        }),
        resolved: gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("resolved timestamps"),
            size: 8 * u64::from(count),
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        }),
        next: 0,
    }
}

impl Executor for Engine {
    fn device(&self) -> &DeviceInfo {
        self.gpu.info()
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn memory(&self) -> u64 {
        self.places.memory() + self.textures.memory() + self.scratch
    }

    fn kernel(&self, instruction: usize) -> &'static str {
        self.bound[instruction].variant.name
    }

    fn dispatches(&self, instructions: Range<usize>) -> usize {
        Plan::new(&self.places, &self.program, &self.bound, instructions).launches.len()
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        let spec = self.program.buffer(buffer);
        assert!(words.len() == spec.len || words.len() == spec.len + spec.guard, "{} words for {spec:?}", words.len());
        // Writes take effect before the next submission, so recorded work must be submitted first.
        self.submit();
        let (target, offset) = self.located(buffer);
        self.gpu.queue().write_buffer(target, offset, bytemuck::cast_slice(words));
        self.textures.outdate(&self.program, self.program.root(buffer).0);
        self.gpu.check()
    }

    fn copy(&mut self, from: BufferId, to: BufferId) -> Result<()> {
        if self.places.is_result(to) {
            self.submissions.keep_results(&self.places);
        }
        let Self { places, submissions, parity, .. } = self;
        let slot = submissions.slot();
        let ((source, start), (target, offset)) =
            (places.located(from, *parity, slot), places.located(to, *parity, slot));
        let bytes = 4 * self.program.buffer(from).len as u64;
        submissions.recording().encoder().copy_buffer_to_buffer(source, start, target, offset, bytes);
        self.textures.outdate(&self.program, self.program.root(to).0);
        Ok(())
    }

    fn begin_step(&mut self, words: &[u32]) -> Result<()> {
        let inputs = self.program.inputs.expect("a step of a program with inputs");
        assert_eq!(words.len(), inputs.len, "a step's inputs");
        self.submissions.begin_step(&self.places, words);
        self.textures.outdate(&self.program, inputs.id);
        for result in &self.program.results {
            self.textures.outdate(&self.program, *result);
        }
        Ok(())
    }

    fn run(&mut self, instructions: Range<usize>) -> Result<()> {
        if !instructions.is_empty() {
            self.encode(instructions, None);
        }
        Ok(())
    }

    fn run_timed(&mut self, tag: u64, ranges: &[Range<usize>]) -> Pending<'_, ()> {
        assert!(ranges.len() <= MAX_TIMED as usize, "{} timed ranges", ranges.len());
        if self.timestamps.is_some() {
            self.run_with_timestamps(tag, ranges);
            return Box::pin(std::future::ready(Ok(())));
        }
        let ranges = ranges.to_vec();
        Box::pin(self.run_wall_clock(tag, ranges))
    }

    fn capture(&mut self, tag: u64, buffers: &[BufferId]) -> Result<()> {
        let Self { places, submissions, program, parity, .. } = self;
        let lengths = buffers.iter().map(|id| program.buffer(*id)).map(|spec| spec.len + spec.guard);
        let slot = submissions.slot();
        let results =
            buffers.iter().zip(lengths.clone()).map(|(id, len)| Some((places.staged_result(*id, slot)?, len)));
        if let Some(results) = results.collect::<Option<Vec<_>>>().filter(|results| !results.is_empty()) {
            submissions.capture_results(places, tag, results);
            return Ok(());
        }
        let recording = submissions.staged(places, lengths.clone().sum());
        let parts = buffers.iter().zip(lengths).map(|(id, len)| {
            let (source, offset) = places.located(*id, *parity, slot);
            recording.stage(source, offset, len)
        });
        let region = Region { tag, buffers: parts.collect(), ticks: None };
        recording.capture(region);
        Ok(())
    }

    fn end_step(&mut self, update: bool) -> Pending<'_, ()> {
        if update && !self.program.swaps.is_empty() {
            self.parity ^= 1;
            for (now, next) in &self.program.swaps {
                self.textures.outdate(&self.program, *now);
                self.textures.outdate(&self.program, *next);
            }
        }
        Box::pin(async move { self.submissions.end_step(&self.places).await })
    }

    fn captured(&mut self) -> Result<Vec<Capture>> {
        self.submissions.poll()?;
        self.note_timestamps();
        Ok(std::mem::take(self.submissions.arrived()))
    }

    fn finish(&mut self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.submit();
            self.submissions.wait(0).await
        })
    }

    fn waited(&self) -> Duration {
        self.submissions.waited()
    }

    fn submitting(&self) -> Submitting {
        self.submissions.submitting
    }

    fn read(&mut self, buffer: BufferId) -> Pending<'_, Vec<u32>> {
        Box::pin(async move {
            // A tag that no caller uses; the capture is removed again right here.
            const READ: u64 = u64::MAX;
            self.capture(READ, &[buffer])?;
            self.submit();
            self.submissions.wait(0).await?;
            let arrived = self.submissions.arrived();
            let at = arrived.iter().rposition(|c| c.tag == READ);
            let capture = at.map(|i| arrived.remove(i));
            let words = capture.and_then(|c| c.buffers.into_iter().next());
            words.ok_or_else(|| Error::Device("the device returned nothing on a read".into()))
        })
    }
}
