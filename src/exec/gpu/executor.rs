//! Runs a program on a GPU. Buffers, pipelines and bind groups are created once; a step only encodes.
//!
//! Pairs of buffers that swap at a step's end have two sets of bind groups, one for each parity. Several steps form one
//! submission, whose GPU time is bounded so that no driver's watchdog fires.

use super::context::{Gpu, Pipeline, Scopes};
use super::readback::{Flight, Region};
use super::textures::{Segment, Textures};
use crate::error::{Error, Result};
use crate::exec::{Capture, Clock, DeviceInfo, Executor, Pending, Timings};
use crate::kernels::{BufferId, Op, Variant};
use crate::program::Program;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use web_time::Instant;

/// Alignment of uniform offsets, by WebGPU's defaults.
const UNIFORM_ALIGNMENT: usize = 256;
/// Longer than any submission takes, so that a driver that hangs becomes an error.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The most steps whose inputs one submission can carry.
const MAX_STEPS: usize = 64;
/// The intended GPU time of a submission: far below a watchdog's two seconds, far above the cost of submitting.
const SUBMISSION_TIME: Duration = Duration::from_millis(50);
/// The most submissions in progress before the host waits for the oldest.
const MAX_IN_FLIGHT: usize = 3;
/// The size of a staging buffer in words; a larger capture gets its own buffer.
const STAGING_WORDS: usize = 16 * 1024;
/// The most timed ranges of one submission.
const MAX_TIMED: u32 = 1024;

/// An operation ready to be encoded.
#[derive(Debug)]
struct Bound {
    variant: &'static Variant,
    /// One for each parity of the swaps.
    bind_groups: [wgpu::BindGroup; 2],
    /// The pipeline and workgroups of each pass.
    passes: Vec<(Arc<Pipeline>, [u32; 3])>,
}

/// The timestamp queries of one device.
#[derive(Debug)]
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

/// Work that is encoded but not yet submitted.
#[derive(Debug)]
struct Recording {
    encoder: wgpu::CommandEncoder,
    staging: wgpu::Buffer,
    used_words: usize,
    regions: Vec<Region>,
    steps: usize,
    inputs: usize,
    queries: u32,
}

/// Runs a program's WGSL kernels; [`super::GpuExecutor`] contains its panics.
#[derive(Debug)]
pub(super) struct Engine {
    gpu: Gpu,
    program: Arc<Program>,
    /// The buffers by id; slices have none.
    buffers: Vec<Option<wgpu::Buffer>>,
    /// Step inputs of a whole submission, copied to the program's inputs one step at a time.
    upload: Option<wgpu::Buffer>,
    /// One entry per instruction.
    bound: Vec<Bound>,
    textures: Textures,
    /// The bytes of the buffer for scratch.
    scratch: u64,
    parity: usize,
    timestamps: Option<Timestamps>,
    recording: Option<Recording>,
    flights: VecDeque<Flight>,
    free_staging: Vec<wgpu::Buffer>,
    arrived: Vec<Capture>,
    steps_per_submission: usize,
    last_done: Option<Instant>,
    waited: Duration,
}

impl Engine {
    /// Allocates all buffers and compiles all pipelines.
    pub async fn new(gpu: &Gpu, program: Arc<Program>) -> Result<Engine> {
        let device = gpu.device();
        let scopes = Scopes::push(device);
        let buffers: Vec<Option<wgpu::Buffer>> = (program.buffers.iter())
            .map(|b| b.parent.is_none().then(|| storage(device, &b.name, b.len + b.guard)))
            .collect();
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
        let upload = program.inputs.map(|inputs| upload(device, inputs.len));
        let params = params_buffer(gpu, &program);
        for (buffer, words) in &program.constants {
            let (target, offset) = located(&program, &buffers, *buffer, 0);
            gpu.queue().write_buffer(target, offset, bytemuck::cast_slice(words));
        }
        let mib = (program.memory() + textures.memory() + scratch_bytes) >> 20;
        let what = format!("the buffers of this program ({mib} MiB) on {}", gpu.summary().name);
        gpu.accepted(scopes.pop(), &what).await?;
        let chosen: Vec<(&Op, &'static Variant)> = ops().zip(variants.iter().copied()).collect();
        let pipelines = gpu.pipelines(&chosen).await?;
        let scopes = Scopes::push(device);
        let binder = Binder {
            gpu,
            program: &program,
            buffers: &buffers,
            textures: &textures,
            params: &params,
            scratch: scratch.as_ref(),
        };
        let mut pipelines = pipelines.into_iter();
        let variants = variants.into_iter().enumerate();
        let bound = variants.map(|(i, variant)| binder.bound(i, variant, &mut pipelines)).collect();
        let timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| timestamps(gpu));
        gpu.accepted(scopes.pop(), &format!("the bindings of this program on {}", gpu.summary().name)).await?;
        Ok(Engine {
            gpu: gpu.clone(),
            program,
            buffers,
            upload,
            bound,
            textures,
            scratch: scratch_bytes,
            parity: 0,
            timestamps,
            recording: None,
            flights: VecDeque::new(),
            free_staging: Vec::new(),
            arrived: Vec::new(),
            steps_per_submission: 1,
            last_done: None,
            waited: Duration::ZERO,
        })
    }

    fn buffer(&self, id: BufferId) -> (&wgpu::Buffer, u64) {
        located(&self.program, &self.buffers, id, self.parity)
    }

    /// The present recording, with space for `words` more of readback.
    fn recording(&mut self, words: usize) -> &mut Recording {
        let full = |r: &Recording| 4 * (r.used_words + words) as u64 > r.staging.size();
        if self.recording.as_ref().is_some_and(full) {
            self.submit();
        }
        if self.recording.is_none() {
            let fits = |b: &wgpu::Buffer| b.size() >= 4 * words as u64;
            let staging = match self.free_staging.iter().position(fits) {
                Some(i) => self.free_staging.swap_remove(i),
                None => staging(self.gpu.device(), words.max(STAGING_WORDS)),
            };
            let label = Some("steps");
            let encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let regions = Vec::new();
            self.recording =
                Some(Recording { encoder, staging, used_words: 0, regions, steps: 0, inputs: 0, queries: 0 });
        }
        self.recording.as_mut().expect("made above")
    }

    /// Submits the recording to the device.
    fn submit(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let index = self.gpu.queue().submit([recording.encoder.finish()]);
        let Recording { staging, regions, steps, .. } = recording;
        self.flights.push_back(Flight::new(self.gpu.queue(), index, staging, regions, steps));
    }

    /// Records instructions; with `queries`, also their first and last moment.
    fn encode(&mut self, instructions: Range<usize>, queries: Option<u32>) {
        self.recording(0);
        let Self { recording, bound, textures, timestamps, parity, program, buffers, .. } = self;
        let encoder = &mut recording.as_mut().expect("made above").encoder;
        let mut segments = textures.segments(instructions);
        if queries.is_some() && segments.first().is_some_and(|s| !s.copies.is_empty()) {
            // Copies are outside of passes, and only passes record times, so an empty pass comes before.
            let start = segments[0].instructions.start;
            segments.insert(0, Segment { copies: Vec::new(), instructions: start..start });
        }
        let last = segments.len().saturating_sub(1);
        for (i, Segment { copies, instructions }) in segments.into_iter().enumerate() {
            for image in copies {
                textures.copy(encoder, image, |id| located(program, buffers, id, *parity));
            }
            let (begins, ends) = (queries.filter(|_| i == 0), queries.filter(|_| i == last));
            let timestamp_writes = timestamps.as_ref().filter(|_| begins.or(ends).is_some()).map(|timestamps| {
                wgpu::ComputePassTimestampWrites {
                    query_set: &timestamps.queries,
                    beginning_of_pass_write_index: begins,
                    end_of_pass_write_index: ends.map(|first| first + 1),
                }
            });
            let label = program.instructions.get(instructions.start).map(|instruction| instruction.name.as_str());
            let descriptor = wgpu::ComputePassDescriptor { label, timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            let mut current: Option<&Arc<Pipeline>> = None;
            for Bound { bind_groups, passes, .. } in &bound[instructions] {
                pass.set_bind_group(0, &bind_groups[*parity], &[]);
                for (pipeline, [x, y, z]) in passes {
                    if !current.is_some_and(|c| Arc::ptr_eq(c, pipeline)) {
                        pass.set_pipeline(&pipeline.pipeline);
                        current = Some(pipeline);
                    }
                    pass.dispatch_workgroups(*x, *y, *z);
                }
            }
        }
    }

    /// Takes finished submissions from the front of the queue and adapts the length of submissions to their time.
    fn collect(&mut self) -> Result<()> {
        while let Some(flight) = self.flights.front() {
            if !flight.is_done()? {
                break;
            }
            let Some(mut flight) = self.flights.pop_front() else { break };
            let period = f64::from(self.gpu.queue().get_timestamp_period());
            let captures = flight.captures(period)?;
            if captures.iter().any(|c| c.buffers.is_empty() && c.timings.is_none()) {
                log::warn!("this driver's timestamps are unusable; the host's clock takes over");
                self.timestamps = None;
            }
            self.arrived.extend(captures.into_iter().filter(|c| !c.buffers.is_empty() || c.timings.is_some()));
            let now = Instant::now();
            if flight.steps > 0 {
                let since = self.last_done.map_or(flight.submitted, |last| last.max(flight.submitted));
                let per_step = (now - since).as_secs_f64() / flight.steps as f64;
                let wanted = SUBMISSION_TIME.as_secs_f64() / per_step.max(1e-6);
                // Moves halfway to the length that the last one suggests, so that a single odd measurement has little
                // effect.
                let next = (self.steps_per_submission as f64 * wanted.max(1.0)).sqrt();
                self.steps_per_submission = (next as usize).clamp(1, MAX_STEPS);
            }
            self.last_done = Some(now);
            self.free_staging.push(flight.staging);
        }
        Ok(())
    }

    /// Waits until at most `left` submissions are in progress.
    async fn wait(&mut self, left: usize) -> Result<()> {
        while self.flights.len() > left {
            let flight = &self.flights[0];
            let start = Instant::now();
            self.block(Some(flight.index.clone()))?;
            if cfg!(not(target_arch = "wasm32")) && flight.regions.is_empty() {
                // Its signal waits for everything submitted since, possibly by others.
                flight.mark_done();
            }
            flight.done().await?;
            self.waited += start.elapsed();
            self.collect()?;
        }
        self.gpu.check()
    }

    /// Natively, callbacks run inside `poll`; in a browser they run by themselves.
    fn block(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        if cfg!(not(target_arch = "wasm32")) {
            let poll = wgpu::PollType::Wait { submission_index, timeout: Some(TIMEOUT) };
            // A known loss of the device is more informative than the wait that it ended.
            let waited = self.gpu.device().poll(poll);
            self.gpu.check()?;
            waited.map_err(|e| {
                Error::Device(format!("the device did not finish its work in {} s: {e}", TIMEOUT.as_secs()))
            })?;
        }
        Ok(())
    }

    /// Waits before and after each range and times it with the host's clock.
    async fn run_wall_clock(&mut self, tag: u64, ranges: Vec<Range<usize>>) -> Result<()> {
        let mut nanoseconds = Vec::with_capacity(ranges.len());
        for range in ranges {
            self.submit();
            self.wait(0).await?;
            let start = Instant::now();
            self.encode(range, None);
            self.submit();
            self.wait(0).await?;
            nanoseconds.push(start.elapsed().as_nanos() as f64);
        }
        let timings = Some(Timings { clock: Clock::WallClock, nanoseconds });
        self.arrived.push(Capture { tag, buffers: Vec::new(), timings });
        Ok(())
    }

    fn run_with_timestamps(&mut self, tag: u64, ranges: &[Range<usize>]) {
        let words = 4 * ranges.len();
        let first = match self.recording(words).queries {
            used if used + 2 * ranges.len() as u32 > 2 * MAX_TIMED => {
                self.submit();
                self.recording(words).queries
            }
            used => used,
        };
        for (i, range) in ranges.iter().enumerate() {
            self.encode(range.clone(), Some(first + 2 * i as u32));
        }
        let Self { recording, timestamps, .. } = self;
        let (Some(recording), Some(timestamps)) = (recording.as_mut(), timestamps.as_ref()) else { return };
        let (bytes, at) = (4 * words as u64, recording.used_words);
        let queries = first..first + 2 * ranges.len() as u32;
        // Resolving writes at multiples of 256 bytes; each result is copied away before the next one.
        recording.encoder.resolve_query_set(&timestamps.queries, queries.clone(), &timestamps.resolved, 0);
        recording.encoder.copy_buffer_to_buffer(&timestamps.resolved, 0, &recording.staging, 4 * at as u64, bytes);
        recording.used_words += words;
        recording.queries = queries.end;
        let region = Region { tag, buffers: Vec::new(), ticks: Some((at, ranges.len())) };
        recording.regions.push(region);
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

/// The buffer behind an id, and the byte offset at which the id starts in it.
fn located<'a>(
    program: &Program,
    buffers: &'a [Option<wgpu::Buffer>],
    id: BufferId,
    parity: usize,
) -> (&'a wgpu::Buffer, u64) {
    let (root, offset) = physical(program, id, parity);
    (buffers[root.0 as usize].as_ref().expect("roots own a buffer"), 4 * offset as u64)
}

fn storage(device: &wgpu::Device, name: &str, words: usize) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: 4 * words as u64,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn upload(device: &wgpu::Device, words: usize) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("step inputs"),
        size: (4 * MAX_STEPS * words) as u64,
        usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn staging(device: &wgpu::Device, words: usize) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: 4 * words as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// The `Params` of all operations in sequence.
fn params_buffer(gpu: &Gpu, program: &Program) -> wgpu::Buffer {
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

/// Everything that bind groups are made of.
struct Binder<'a> {
    gpu: &'a Gpu,
    program: &'a Program,
    buffers: &'a [Option<wgpu::Buffer>],
    textures: &'a Textures,
    params: &'a wgpu::Buffer,
    scratch: Option<&'a wgpu::Buffer>,
}

impl Binder<'_> {
    /// Takes the pipelines of an instruction's passes from those of the whole program.
    fn bound(
        &self,
        index: usize,
        variant: &'static Variant,
        pipelines: &mut impl Iterator<Item = Arc<Pipeline>>,
    ) -> Bound {
        let dispatches = self.program.instructions[index].op.dispatches(variant).into_iter();
        let workgroups = dispatches.map(|dispatch| dispatch.launch.workgroups);
        // The order matters: a zip takes from its first iterator before it knows that the second has ended.
        let passes: Vec<_> = workgroups.zip(pipelines).map(|(workgroups, pipeline)| (pipeline, workgroups)).collect();
        // Layouts with the same bindings are interchangeable.
        let bind_groups = [0, 1].map(|parity| self.bind_group(index, variant, &passes[0].0, parity));
        Bound { variant, bind_groups, passes }
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
                    let (buffer, offset) = located(self.program, self.buffers, id, parity);
                    let spec = self.program.buffer(id);
                    binding(buffer, offset, 4 * (spec.len + spec.guard))
                },
                wgpu::BindingResource::TextureView,
            )
        });
        let scratch = variant.scratch.map(|_| match (self.program.scratch, self.scratch) {
            (Some(given), _) => {
                let (buffer, offset) = located(self.program, self.buffers, given.id, parity);
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
        self.program.memory() + self.textures.memory() + self.scratch
    }

    fn kernel(&self, instruction: usize) -> &'static str {
        self.bound[instruction].variant.name
    }

    fn dispatches(&self, instructions: Range<usize>) -> usize {
        self.bound[instructions].iter().map(|bound| bound.passes.len()).sum()
    }

    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        let spec = self.program.buffer(buffer);
        assert!(words.len() == spec.len || words.len() == spec.len + spec.guard, "{} words for {spec:?}", words.len());
        // Writes take effect before the next submission, so recorded work must be submitted first.
        self.submit();
        let (target, offset) = self.buffer(buffer);
        self.gpu.queue().write_buffer(target, offset, bytemuck::cast_slice(words));
        self.textures.outdate(&self.program, self.program.root(buffer).0);
        self.gpu.check()
    }

    fn copy(&mut self, from: BufferId, to: BufferId) -> Result<()> {
        let ((source, start), (target, offset)) = (self.buffer(from), self.buffer(to));
        let (source, target) = (source.clone(), target.clone());
        let bytes = 4 * self.program.buffer(from).len as u64;
        self.recording(0).encoder.copy_buffer_to_buffer(&source, start, &target, offset, bytes);
        self.textures.outdate(&self.program, self.program.root(to).0);
        Ok(())
    }

    fn begin_step(&mut self, words: &[u32]) -> Result<()> {
        let inputs = self.program.inputs.expect("a step of a program with inputs");
        let upload = self.upload.clone().expect("made with the inputs");
        assert_eq!(words.len(), inputs.len, "a step's inputs");
        if self.recording.as_ref().is_some_and(|r| r.inputs == MAX_STEPS) {
            self.submit();
        }
        let slot = self.recording(0).inputs;
        let (at, bytes) = ((4 * slot * inputs.len) as u64, 4 * inputs.len as u64);
        // Every step of a submission has its own place, and a later submission's writes wait for this one.
        self.gpu.queue().write_buffer(&upload, at, bytemuck::cast_slice(words));
        let target = self.buffer(inputs.id).0.clone();
        let recording = self.recording(0);
        recording.inputs += 1;
        recording.encoder.copy_buffer_to_buffer(&upload, at, &target, 0, bytes);
        self.textures.outdate(&self.program, inputs.id);
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
        let lengths: Vec<usize> = buffers.iter().map(|b| self.program.buffer(*b)).map(|b| b.len + b.guard).collect();
        let total = lengths.iter().sum();
        self.recording(total);
        let sources: Vec<_> = buffers.iter().map(|b| self.buffer(*b)).map(|(b, at)| (b.clone(), at)).collect();
        let recording = self.recording(total);
        let mut region = Region { tag, buffers: Vec::new(), ticks: None };
        for ((source, offset), len) in sources.iter().zip(lengths) {
            let at = recording.used_words;
            let (to, bytes) = (4 * at as u64, 4 * len as u64);
            recording.encoder.copy_buffer_to_buffer(source, *offset, &recording.staging, to, bytes);
            region.buffers.push((at, len));
            recording.used_words += len;
        }
        recording.regions.push(region);
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
        let steps = {
            let recording = self.recording(0);
            recording.steps += 1;
            recording.steps
        };
        Box::pin(async move {
            if steps >= self.steps_per_submission {
                self.submit();
                self.wait(MAX_IN_FLIGHT - 1).await?;
            }
            Ok(())
        })
    }

    fn captured(&mut self) -> Result<Vec<Capture>> {
        if cfg!(not(target_arch = "wasm32")) {
            // Runs the callbacks of finished work; an error here shows in the check below or at the next wait.
            self.gpu.device().poll(wgpu::PollType::Poll).ok();
        }
        self.gpu.check()?;
        self.collect()?;
        Ok(std::mem::take(&mut self.arrived))
    }

    fn finish(&mut self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.submit();
            self.wait(0).await
        })
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn read(&mut self, buffer: BufferId) -> Pending<'_, Vec<u32>> {
        Box::pin(async move {
            // A tag that no caller uses; the capture is removed again right here.
            const READ: u64 = u64::MAX;
            self.capture(READ, &[buffer])?;
            self.submit();
            self.wait(0).await?;
            let at = self.arrived.iter().rposition(|c| c.tag == READ);
            let capture = at.map(|i| self.arrived.remove(i));
            let words = capture.and_then(|c| c.buffers.into_iter().next());
            words.ok_or_else(|| Error::Device("the device returned nothing on a read".into()))
        })
    }
}
