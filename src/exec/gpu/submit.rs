//! Collects a program's commands into submissions, and follows those until what they copied back has arrived.

use super::bind::Launch;
use super::context::{Gpu, Pipeline};
use super::pace::{Pace, SUBMISSION_TIME};
use super::places::Places;
use super::readback::{Flight, Region};
use crate::error::{Error, Result};
use crate::exec::{Capture, Submitting};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use web_time::Instant;

/// Longer than any submission takes, so that a driver that hangs becomes an error.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The most submissions in progress after a step; the host waits for the oldest.
const MAX_IN_FLIGHT: usize = 3;
/// The words of a staging buffer besides a step's results; a larger capture gets its own buffer.
const STAGING_WORDS: usize = 16 * 1024;
/// A wait that was longer than this ended with the submission.
const WAITED: Duration = Duration::from_micros(200);

/// Work that is recorded but not yet submitted.
#[derive(Debug)]
pub(super) struct Recording {
    /// The open pass. It locks the encoder, so it comes first and is dropped first.
    pass: Option<Pass>,
    encoder: wgpu::CommandEncoder,
    staging: Option<wgpu::Buffer>,
    used_words: usize,
    regions: Vec<Region>,
    /// The first and last slot whose results are captured.
    captured: Option<(usize, usize)>,
    steps: usize,
    /// By [`super::pace::cost`].
    cost: f64,
}

/// A pass that takes further dispatches.
#[derive(Debug)]
struct Pass {
    pass: wgpu::ComputePass<'static>,
    pipeline: Option<Arc<Pipeline>>,
}

impl Recording {
    /// The encoder, after the end of the pass that may be open.
    pub fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        &mut self.encoder
    }

    /// Opens a pass. It has the name of its first operation, which debuggers show.
    pub fn open(&mut self, descriptor: &wgpu::ComputePassDescriptor<'_>) {
        let pass = self.encoder().begin_compute_pass(descriptor).forget_lifetime();
        self.pass = Some(Pass { pass, pipeline: None });
    }

    /// Whether a pass is open.
    pub fn is_open(&self) -> bool {
        self.pass.is_some()
    }

    /// Records dispatches in the open pass.
    pub fn dispatch(&mut self, launches: &[Launch], parity: usize, slot: usize) {
        let Some(Pass { pass, pipeline: current }) = &mut self.pass else { return };
        let mut groups = None;
        for launch in launches {
            // Passes of one operation share their bind groups.
            if !groups.is_some_and(|set| Arc::ptr_eq(set, &launch.groups)) {
                launch.groups.set(pass, parity, slot);
                groups = Some(&launch.groups);
            }
            if !current.as_ref().is_some_and(|set| Arc::ptr_eq(set, &launch.pipeline)) {
                pass.set_pipeline(&launch.pipeline.pipeline);
                *current = Some(launch.pipeline.clone());
            }
            let [x, y, z] = launch.workgroups;
            pass.dispatch_workgroups(x, y, z);
            self.cost += launch.cost;
        }
    }

    /// Returns a capture with `region` when the submission is done.
    pub fn capture(&mut self, region: Region) {
        self.regions.push(region);
    }

    /// Copies words of a buffer to the staging buffer, for which [`Submissions::staged`] has made space; returns their
    /// place there.
    pub fn stage(&mut self, source: &wgpu::Buffer, offset: u64, words: usize) -> (usize, usize) {
        let at = self.used_words;
        self.used_words += words;
        self.pass = None;
        if let Some(staging) = &self.staging {
            self.encoder.copy_buffer_to_buffer(source, offset, staging, 4 * at as u64, 4 * words as u64);
        }
        (at, words)
    }
}

/// The submissions of one program, recorded and in progress.
#[derive(Debug)]
pub(super) struct Submissions {
    gpu: Gpu,
    recording: Option<Recording>,
    flights: VecDeque<Flight>,
    free_staging: Vec<wgpu::Buffer>,
    arrived: Vec<Capture>,
    pace: Pace,
    /// The slot of the present step.
    slot: usize,
    /// The inputs of the steps that the next submission begins, for the slots up to the present one.
    inputs: Vec<u32>,
    /// [`Places::staged_results`].
    result_words: usize,
    /// The cost of the present step so far.
    step_cost: f64,
    last_done: Option<Instant>,
    waited: Duration,
    pub submitting: Submitting,
    /// Whether a submission's timestamps could not be used.
    pub refuted_timestamps: bool,
}

impl Submissions {
    pub fn new(gpu: &Gpu, places: &Places) -> Submissions {
        Submissions {
            gpu: gpu.clone(),
            recording: None,
            flights: VecDeque::new(),
            free_staging: Vec::new(),
            arrived: Vec::new(),
            pace: Pace::new(SUBMISSION_TIME),
            slot: 0,
            inputs: Vec::new(),
            result_words: places.staged_results(),
            step_cost: 0.0,
            last_done: None,
            waited: Duration::ZERO,
            submitting: Submitting::default(),
            refuted_timestamps: false,
        }
    }

    /// Changes the intended time of a submission.
    pub fn set_budget(&mut self, budget: Duration) {
        self.pace = Pace::new(budget);
    }

    /// The slot of the present step.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The captures that have arrived and were not taken yet.
    pub fn arrived(&mut self) -> &mut Vec<Capture> {
        &mut self.arrived
    }

    /// The total time for which the host has waited.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The present recording.
    pub fn recording(&mut self) -> &mut Recording {
        self.recording.get_or_insert_with(|| Recording {
            pass: None,
            encoder: {
                let label = Some("steps");
                self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label })
            },
            staging: None,
            used_words: self.result_words,
            regions: Vec::new(),
            captured: None,
            steps: 0,
            cost: 0.0,
        })
    }

    /// The present recording, with space for `words` more of readback.
    pub fn staged(&mut self, places: &Places, words: usize) -> &mut Recording {
        let end = |r: &Recording| 4 * (r.used_words + words) as u64;
        if self.recording.as_ref().is_some_and(|r| r.staging.as_ref().is_some_and(|s| end(r) > s.size())) {
            self.submit(places);
        }
        if self.recording().staging.is_none() {
            let wanted = self.result_words + words;
            let fits = |b: &wgpu::Buffer| b.size() >= 4 * wanted as u64;
            let staging = match self.free_staging.iter().position(fits) {
                Some(i) => self.free_staging.swap_remove(i),
                None => staging(self.gpu.device(), wanted.max(self.result_words + STAGING_WORDS)),
            };
            self.recording().staging = Some(staging);
        }
        self.recording()
    }

    /// Begins a step with these inputs, in a slot that no recorded command uses.
    pub fn begin_step(&mut self, places: &Places, words: &[u32]) {
        if self.slot + 1 == places.slots() {
            self.submit(places);
        }
        let fresh = self.recording.is_none() && self.inputs.is_empty();
        self.slot = if fresh { 0 } else { self.slot + 1 };
        let end = self.inputs.len() + places.inputs().map_or(0, |(_, words)| words);
        self.inputs.extend_from_slice(words);
        self.inputs.resize(end, 0);
    }

    /// Returns words of the present slot's results (start in the staging buffer, and length) when the present recording
    /// is done.
    pub fn capture_results(&mut self, places: &Places, tag: u64, buffers: Vec<(usize, usize)>) {
        let slot = self.slot;
        let recording = self.staged(places, 0);
        let first = recording.captured.map_or(slot, |(first, _)| first);
        recording.captured = Some((first, slot));
        recording.capture(Region { tag, buffers, ticks: None });
    }

    /// Makes sure that results which were captured are copied before the next command overwrites them.
    pub fn keep_results(&mut self, places: &Places) {
        let captured = self.recording.as_ref().and_then(|recording| recording.captured);
        if captured.is_some_and(|(_, last)| last == self.slot) {
            self.submit(places);
        }
    }

    /// Where these launches must be cut; see [`Pace::cuts`].
    pub fn cuts(&self, launches: &[Launch]) -> Vec<usize> {
        let spent = self.recording.as_ref().map_or(0.0, |recording| recording.cost);
        self.pace.cuts(spent, launches.iter().map(|launch| launch.cost))
    }

    /// Adds to the cost of the present step.
    pub fn spend(&mut self, launches: &[Launch]) {
        self.step_cost += launches.iter().map(|launch| launch.cost).sum::<f64>();
    }

    /// Ends a step, and submits if another step like it might be too much for this submission.
    pub async fn end_step(&mut self, places: &Places) -> Result<()> {
        let next = std::mem::take(&mut self.step_cost);
        let full = self.recording.as_mut().is_some_and(|recording| {
            recording.steps += 1;
            recording.steps >= places.most_steps || !self.pace.fits(recording.cost, next)
        });
        if full {
            self.submit(places);
        }
        if self.flights.len() >= MAX_IN_FLIGHT { self.wait(MAX_IN_FLIGHT - 1).await } else { Ok(()) }
    }

    /// Submits what was recorded. The queue runs in order, and its writes come before the commands that are submitted
    /// next and after those submitted before, so the slots of earlier submissions can be written again.
    pub fn submit(&mut self, places: &Places) {
        let start = Instant::now();
        if let Some((buffer, words)) = places.inputs().filter(|_| !self.inputs.is_empty()) {
            let start = (self.slot + 1) * words - self.inputs.len();
            self.gpu.queue().write_buffer(buffer, 4 * start as u64, bytemuck::cast_slice(&self.inputs));
            self.inputs.clear();
        }
        let written = Instant::now();
        self.submitting.inputs += written - start;
        let Some(recording) = self.recording.take() else { return };
        let Recording { pass, mut encoder, staging, used_words, regions, captured, cost, .. } = recording;
        drop(pass);
        if let Some((slots, staging)) = captured.zip(staging.as_ref()) {
            places.stage_results(&mut encoder, staging, slots);
        }
        let commands = encoder.finish();
        let finished = Instant::now();
        let index = self.gpu.queue().submit([commands]);
        // Some drivers begin to compute before they return.
        self.flights.push_back(Flight::new(self.gpu.queue(), index, finished, staging, used_words, regions, cost));
        let Submitting { submissions, finish, submit, .. } = &mut self.submitting;
        *submissions += 1;
        *finish += finished - written;
        *submit += finished.elapsed();
    }

    /// Takes finished submissions from the front of the queue and adapts the length of submissions to their time.
    pub fn collect(&mut self) -> Result<()> {
        while let Some(flight) = self.flights.front_mut() {
            let now = Instant::now();
            if !flight.is_done()? {
                flight.pending = now;
                break;
            }
            let Some(mut flight) = self.flights.pop_front() else { break };
            let period = f64::from(self.gpu.queue().get_timestamp_period());
            let captures = flight.captures(period)?;
            self.refuted_timestamps |= captures.iter().any(|c| c.buffers.is_empty() && c.timings.is_none());
            self.arrived.extend(captures.into_iter().filter(|c| !c.buffers.is_empty() || c.timings.is_some()));
            let since = self.last_done.map_or(flight.submitted, |last| last.max(flight.submitted));
            let seconds = |end: Instant| end.saturating_duration_since(since).as_secs_f64();
            self.pace.measured(flight.cost, seconds(flight.pending), seconds(now));
            self.last_done = Some(now);
            self.free_staging.extend(flight.staging);
        }
        Ok(())
    }

    /// Runs the callbacks of finished work and takes its captures; never waits.
    pub fn poll(&mut self) -> Result<()> {
        if cfg!(not(target_arch = "wasm32")) {
            // An error here shows in the check below or at the next wait.
            self.gpu.device().poll(wgpu::PollType::Poll).ok();
        }
        self.gpu.check()?;
        self.collect()
    }

    /// Waits until at most `left` submissions are in progress.
    pub async fn wait(&mut self, left: usize) -> Result<()> {
        while self.flights.len() > left {
            let flight = &self.flights[0];
            let start = Instant::now();
            self.block(Some(flight.index.clone()))?;
            if cfg!(not(target_arch = "wasm32")) && flight.regions.is_empty() {
                // Its signal waits for everything submitted since, possibly by others.
                flight.mark_done();
            }
            flight.done().await?;
            let end = Instant::now();
            self.waited += end - start;
            if end - start > WAITED {
                self.flights[0].pending = end;
            }
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
}

fn staging(device: &wgpu::Device, words: usize) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: 4 * words as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
