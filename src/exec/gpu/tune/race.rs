//! A race: the variants of an operation take turns on the same buffers and the same random inputs.

use super::speeds::TimeLimit;
use crate::error::{Error, Result};
use crate::exec::check::{compare, most_undecided};
use crate::exec::gpu::{Gpu, GpuExecutor};
use crate::exec::lockstep::undecided;
use crate::exec::{Executor, timed};
use crate::kernels::case::Fill;
use crate::kernels::{BufferId, Case, Op, Variant};
use crate::program::{BufferSpec, Instruction, Program};
use std::ops::Range;
use std::sync::Arc;

/// Rounds in which all variants take turns; the best time of each counts, because disturbances only make it longer.
const ROUNDS: usize = 5;
/// With so many rounds a lead of [`MARGIN`] is enough.
const ENOUGH_ROUNDS: usize = 3;
/// A variant must be so much faster than the default. A closer race is decided by chance, and each outcome has other
/// bits.
const MARGIN: f64 = 1.05;
/// The lead that is enough after fewer rounds. A race that is closer has no result.
const CLEAR: f64 = 1.25;
/// A variant whose first run takes so many times as long as the fastest one's is not timed again.
const HOPELESS: f64 = 4.0;
/// The initial contents of outputs, so that nothing passes for a result that was not written.
const UNWRITTEN: u32 = 0x7fc1_2345;
/// Words of a part of an output that is compared. A longer output is compared at its start, middle and end.
const COMPARED: usize = 1 << 16;

/// The best times of all variants.
#[derive(Debug)]
pub(super) struct Times {
    /// The best time of each variant, infinite for those that were left behind.
    pub nanoseconds: Vec<f64>,
    pub rounds: usize,
}

impl Times {
    /// The places of the variants that are clearly faster than the first one, the fastest first; `None` if there were too
    /// few rounds to tell. A time that is not above zero says nothing.
    pub fn faster(&self) -> Option<Vec<usize>> {
        let default = self.nanoseconds[0];
        let margin = if self.rounds < ENOUGH_ROUNDS { CLEAR } else { MARGIN };
        let lead = |place: &usize| default / self.nanoseconds[*place];
        let counts = |place: &usize| self.nanoseconds[*place] > 0.0;
        let mut places: Vec<usize> = (1..self.nanoseconds.len()).filter(counts).collect();
        places.sort_by(|a, b| self.nanoseconds[*a].total_cmp(&self.nanoseconds[*b]));
        let is_close = places.first().is_some_and(|first| (1.0 / CLEAR..CLEAR).contains(&lead(first)));
        if self.rounds < ENOUGH_ROUNDS && is_close {
            return None;
        }
        places.retain(|place| lead(place) > margin);
        Some(places)
    }
}

/// One executor with all candidates of an operation.
pub(super) struct Race<'a> {
    case: &'a Case,
    executor: GpuExecutor,
    candidates: usize,
    /// The parts of outputs that are compared.
    windows: Vec<BufferId>,
}

impl<'a> Race<'a> {
    /// Inputs are values that the case's own variant does not round.
    pub async fn new(gpu: &Gpu, case: &'a Case, candidates: &[&'static Variant]) -> Result<Race<'a>> {
        let mut program = Program::of_case(case, None, None);
        let instruction = |variant: &&'static Variant| Instruction {
            name: variant.name.to_string(),
            op: Op { variant: Some(*variant), ..case.op.clone() },
        };
        program.instructions = candidates.iter().map(instruction).collect();
        let mut windows = Vec::new();
        for output in &case.op.outputs {
            let buffer = &case.buffers[output.0 as usize];
            for part in parts(buffer.len) {
                windows.push(BufferId(program.buffers.len() as u32));
                let (name, parent) = (format!("part of buffer {}", output.0), Some((*output, part.start)));
                program.buffers.push(BufferSpec { name, element: buffer.element, len: part.len(), parent, guard: 0 });
            }
        }
        let mut executor = GpuExecutor::new(gpu, Arc::new(program)).await?;
        for input in &case.op.inputs {
            let i = input.0 as usize;
            match &case.buffers[i].fill {
                Fill::Repeated(words) => executor.repeat(*input, &case.exact(i, words.clone()))?,
                _ => executor.write(*input, &case.contents(i))?,
            }
        }
        Ok(Race { case, executor, candidates: candidates.len(), windows })
    }

    /// The best times, of as many rounds as there is time for; `None` if not every candidate could run once. Passes the
    /// nanoseconds of the default's first run on, because it tells how fast the device is.
    pub async fn times(&mut self, clock: &TimeLimit, mut first: impl FnMut(f64)) -> Result<Option<Times>> {
        let mut best = vec![f64::INFINITY; self.candidates];
        let mut last = None;
        // The default is also run a second time, because the first run of all may wake the device.
        for (run, place) in std::iter::once(0).chain(0..self.candidates).enumerate() {
            if clock.is_over() {
                return Ok(None);
            }
            let ranges = vec![place..place + 1; 1];
            // If the device's clock proves unusable, the host's takes over.
            let timings = match timed(&mut self.executor, &ranges).await? {
                None => timed(&mut self.executor, &ranges).await?,
                timings => timings,
            };
            let timings = timings.ok_or_else(|| Error::Device("the device gave no times".into()))?;
            // Times by different clocks cannot be compared.
            if last.replace(timings.clock).is_some_and(|last| last != timings.clock) {
                best.fill(f64::INFINITY);
            }
            best[place] = timings.nanoseconds.first().copied().unwrap_or(f64::INFINITY);
            if run == 1 {
                first(best[place]);
            }
        }
        let fastest = best.iter().copied().fold(f64::INFINITY, f64::min);
        let stays = |place: &usize| *place == 0 || best[*place] < HOPELESS * fastest.max(1.0);
        let places: Vec<usize> = (0..self.candidates).filter(stays).collect();
        let ranges: Vec<Range<usize>> = places.iter().map(|place| *place..*place + 1).collect();
        let round: f64 = places.iter().map(|place| best[*place]).filter(|time| time.is_finite()).sum();
        let mut times = Times { nanoseconds: vec![f64::INFINITY; self.candidates], rounds: 0 };
        for _ in 0..ROUNDS {
            if clock.has_no(round * 1e-9) {
                break;
            }
            let Some(timings) = timed(&mut self.executor, &ranges).await? else { continue };
            times.rounds += 1;
            for (place, nanoseconds) in places.iter().zip(timings.nanoseconds) {
                times.nanoseconds[*place] = times.nanoseconds[*place].min(nanoseconds);
            }
        }
        if times.rounds == 0 {
            times.nanoseconds = best;
        }
        Ok(Some(times))
    }

    /// What differs between the results of these two candidates, in the parts of outputs that are compared.
    pub async fn difference(&mut self, place: usize, from: usize) -> Result<Option<String>> {
        let (want, got) = (self.results(from).await?, self.results(place).await?);
        let share = undecided(self.case.op.operation);
        for (window, (want, got)) in self.windows.iter().zip(want.iter().zip(&got)) {
            let spec = self.executor.program().buffer(*window);
            let (difference, _) = compare(spec.element, got, want, self.case.tolerance());
            let may_differ = most_undecided(spec.element, spec.len, share);
            if let Some(found) = difference.filter(|found| found.count > may_differ) {
                let index = spec.parent.map_or(0, |(_, start)| start) + found.index;
                let (problem, count, len) = (found.problem, found.count, spec.len);
                return Ok(Some(format!("index {index}: {problem} ({count} of {len} differ)")));
            }
        }
        Ok(None)
    }

    async fn results(&mut self, place: usize) -> Result<Vec<Vec<u32>>> {
        for window in &self.windows {
            let len = self.executor.program().buffer(*window).len;
            self.executor.write(*window, &vec![UNWRITTEN; len])?;
        }
        self.executor.run(place..place + 1)?;
        self.executor.capture(0, &self.windows)?;
        self.executor.finish().await?;
        let captured = self.executor.captured()?.pop().map(|capture| capture.buffers);
        captured.ok_or_else(|| Error::Device("the device returned nothing on a read".into()))
    }
}

/// The parts of an output of `len` words that are compared.
fn parts(len: usize) -> Vec<Range<usize>> {
    if len <= 3 * COMPARED {
        return vec![0..len; 1];
    }
    [0, (len - COMPARED) / 2, len - COMPARED].map(|start| start..start + COMPARED).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faster(rounds: usize, nanoseconds: &[f64]) -> Option<Vec<usize>> {
        Times { nanoseconds: nanoseconds.to_vec(), rounds }.faster()
    }

    #[test]
    fn only_a_clear_lead_over_the_default_counts_and_the_fastest_is_first() {
        assert_eq!(faster(ROUNDS, &[100.0, 96.0, 100.0, 200.0]), Some(vec![]));
        assert_eq!(faster(ROUNDS, &[100.0, 90.0, 95.0, 50.0]), Some(vec![3, 1, 2]));
        assert_eq!(faster(ROUNDS, &[100.0]), Some(vec![]));
    }

    #[test]
    fn a_time_that_is_none_wins_nothing() {
        assert_eq!(faster(ROUNDS, &[100.0, 0.0, -3.0, f64::INFINITY]), Some(vec![]));
    }

    #[test]
    fn few_rounds_decide_only_what_is_not_close() {
        assert_eq!(faster(1, &[100.0, 90.0, 300.0]), None);
        assert_eq!(faster(1, &[100.0, 110.0]), None);
        assert_eq!(faster(1, &[100.0, 50.0, 90.0]), Some(vec![1]));
        assert_eq!(faster(0, &[100.0, 200.0]), Some(vec![]));
    }

    #[test]
    fn a_long_output_is_compared_at_its_start_middle_and_end() {
        assert_eq!(parts(3 * COMPARED), vec![Range { start: 0, end: 3 * COMPARED }]);
        let len = 10 * COMPARED + 7;
        let parts = parts(len);
        assert_eq!((parts[0].start, parts[2].end, parts.len()), (0, len, 3));
        assert!(parts[1].contains(&(len / 2)));
    }
}
