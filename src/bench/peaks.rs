//! Measures a device's peaks in the same run: multiply-adds in registers, and a copy larger than its caches.
//!
//! A probe has several ways of doing the work; the fastest one counts, with its best repetition, because disturbances
//! only make a probe slower. Shares of these peaks are those of a roofline: the least time that an operation needs,
//! from its defined number of operations and bytes, divided by the measured time. Data in caches can be faster than any
//! copy through memory, so a share may exceed 1; it is reported unchanged.

use super::Spread;
use crate::error::{Error, Result};
use crate::exec::{Clock, Device, Timings, timed};
use crate::kernels::{BufferId, Case, Work, case, probe};
use crate::program::Program;
use serde::Serialize;
use std::time::Duration;

/// Repetitions of each way.
const REPETITIONS: usize = 5;
/// Bytes of each of the copy's two buffers: more than caches hold, but no more than every WebGPU adapter can bind.
const HARDWARE_BYTES: usize = 128 << 20;
/// Bytes of each buffer for devices that compute on the processor: twice a large third-level cache.
const HOST_BYTES: usize = 64 << 20;
/// Values that the compute probe works on, four per invocation: about thirty for every lane of the largest GPUs.
const HARDWARE_VALUES: usize = 4 << 19;
/// Values that the probe works on, on devices that compute on the processor: enough tasks for every thread.
const HOST_VALUES: usize = 4 << 14;
/// Steps of the first, short run; its time determines the number of steps in a repetition.
const FIRST_ROUNDS: usize = 64;
/// The most steps: llvmpipe leaves a loop after 65,535 passes, and each pass makes four steps.
const MOST_ROUNDS: usize = 200_000;

/// A device's peaks; `None` if a probe failed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Peaks {
    /// In GFLOP/s; a multiply-add counts as two operations.
    pub compute: Option<Peak>,
    /// In GB/s; reading and writing are both counted.
    pub memory: Option<Peak>,
    /// Failed probes, with the reasons.
    pub failures: Vec<String>,
}

/// One measured peak.
#[derive(Debug, Clone, Serialize)]
pub struct Peak {
    /// 10^9 operations or bytes a second in the best repetition.
    pub best: f64,
    /// The spread over the repetitions.
    pub spread: Spread,
    /// The fastest way.
    pub way: String,
    pub clock: Clock,
}

/// What limits an operation on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    Compute,
    Memory,
}

/// How close a measured time comes to what the peaks allow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PeakShare {
    /// The least time that the peaks allow, divided by the measured time; above 1 if caches are faster than the copy.
    pub share: f64,
    pub bound: Bound,
}

impl Peaks {
    /// The share that operations reach which together took `nanoseconds`. Each operation has its own bound; the result
    /// names the one with the larger part of the least time. `None` without both peaks.
    pub fn share(&self, work: impl Iterator<Item = Work>, nanoseconds: f64) -> Option<PeakShare> {
        let (compute, memory) = (self.compute.as_ref()?.best, self.memory.as_ref()?.best);
        let mut least = [0.0; 2];
        for work in work {
            // GFLOP/s are operations per nanosecond.
            let times = [work.flops as f64 / compute, work.bytes as f64 / memory];
            let slower = usize::from(times[1] > times[0]);
            least[slower] += times[slower];
        }
        let bound = if least[0] > least[1] { Bound::Compute } else { Bound::Memory };
        Some(PeakShare { share: (least[0] + least[1]) / nanoseconds, bound })
    }
}

/// One timed way of a probe.
struct Way {
    name: String,
    /// Operations or bytes per repetition.
    amount: f64,
    clock: Clock,
    nanoseconds: Vec<f64>,
}

/// Probes a device; `repetition` is the intended duration of one repetition of the compute probe.
///
/// # Errors
/// Never fails: failures of the device are part of the result.
pub async fn peaks(device: &Device, repetition: Duration) -> Peaks {
    let mut peaks = Peaks::default();
    if matches!(device, Device::Reference) {
        peaks.failures.push("the reference is not meant to be fast; its peaks are not measured".into());
        return peaks;
    }
    let compute = compute_ways(device, repetition).await;
    peaks.compute = peaks.best("compute", compute);
    let memory = memory_ways(device).await;
    peaks.memory = peaks.best("copy", memory);
    peaks
}

impl Peaks {
    /// Returns the fastest way and records failures.
    fn best(&mut self, probe: &str, ways: Vec<Result<Way>>) -> Option<Peak> {
        let mut best: Option<Peak> = None;
        for way in ways {
            let peak = way.and_then(|way| {
                let spread = Spread::of(&way.nanoseconds)
                    .ok_or_else(|| Error::Device(format!("{}: the clock gave durations of zero or less", way.name)))?;
                let spread = spread.rate(way.amount);
                Ok(Peak { best: spread.max, spread, way: way.name, clock: way.clock })
            });
            match peak {
                Ok(peak) if best.as_ref().is_none_or(|b| peak.best > b.best) => best = Some(peak),
                Ok(_) => {}
                Err(error) => self.failures.push(format!("{probe} probe: {error}")),
            }
        }
        best
    }
}

/// Chains of multiply-adds, in several numbers and forms, because registers and compilers differ.
async fn compute_ways(device: &Device, repetition: Duration) -> Vec<Result<Way>> {
    let (ways, values): (&[(usize, bool)], _) = match device {
        Device::Gpu(gpu) if !gpu.summary().software => (&[(4, true), (8, true), (8, false)], HARDWARE_VALUES),
        Device::Gpu(_) => (&[(4, true), (4, false), (8, true), (8, false)], HOST_VALUES),
        Device::Cpu | Device::Reference => (&[(probe::CPU_CHAINS, true)], HOST_VALUES),
    };
    let mut timed = Vec::with_capacity(ways.len());
    for &(chains, fused) in ways {
        timed.push(multiply_adds(device, chains, fused, values, repetition).await);
    }
    timed
}

async fn multiply_adds(
    device: &Device,
    chains: usize,
    fused: bool,
    values: usize,
    repetition: Duration,
) -> Result<Way> {
    let case = |rounds: usize| {
        let mut b = case::CaseBuilder::default();
        let y = b.out(values);
        b.case("", probe::multiply_add(chains, rounds, fused, y), case::Tolerance::EXACT)
    };
    let (_, first) = time_case(device, &case(FIRST_ROUNDS)).await?;
    let shortest = first.iter().copied().fold(f64::INFINITY, f64::min).max(1.0);
    let wanted = FIRST_ROUNDS as f64 * repetition.as_nanos() as f64 / shortest;
    let rounds = (wanted as usize).clamp(FIRST_ROUNDS, MOST_ROUNDS).next_multiple_of(probe::UNROLLED);
    let case = case(rounds);
    let (clock, nanoseconds) = time_case(device, &case).await?;
    let step = if fused { "fused multiply-add" } else { "multiply, then add" };
    // On the processor, a chain is as wide as its vectors.
    let width = match device {
        Device::Cpu => "SIMD vectors",
        Device::Gpu(_) | Device::Reference => "vec4",
    };
    let name = format!("{chains} chains of {width}, {step}");
    Ok(Way { name, amount: case.op.work.flops as f64, clock, nanoseconds })
}

/// Copies from one buffer to another, by Glassnet's kernel and by the driver's command.
async fn memory_ways(device: &Device) -> Vec<Result<Way>> {
    let gpu = if let Device::Gpu(gpu) = device { Some(gpu) } else { None };
    let hardware = gpu.is_some_and(|gpu| !gpu.summary().software);
    let bytes = if hardware { HARDWARE_BYTES } else { HOST_BYTES };
    let bytes = gpu.map_or(bytes, |gpu| {
        // The result is at most `bytes`, so it fits a `usize`.
        (bytes as u64).min(gpu.memory_limits().max_binding) as usize / 16 * 16
    });
    let mut ways = vec![copy(device, bytes).await];
    if let Some(gpu) = gpu {
        ways.push(gpu.time_copy(bytes as u64, REPETITIONS).await.map(|seconds| Way {
            name: "the driver's copy of a buffer".into(),
            amount: 2.0 * bytes as f64,
            clock: Clock::WallClock,
            nanoseconds: seconds.iter().map(|s| s * 1e9).collect(),
        }));
    }
    ways
}

async fn copy(device: &Device, bytes: usize) -> Result<Way> {
    let mut b = case::CaseBuilder::default();
    let values = bytes / 16 * 4;
    // Unwritten memory may be a single page of zeros, mapped many times.
    let (x, y) = (b.reals((0..values).map(|i| i as f32).collect()), b.out(values));
    let case = b.case("", probe::copy(x, y), case::Tolerance::EXACT);
    let (clock, nanoseconds) = time_case(device, &case).await?;
    let name = match device {
        Device::Gpu(gpu) if gpu.adapter().software => "a kernel from a texture to a buffer",
        Device::Gpu(_) => "a kernel from buffer to buffer",
        Device::Cpu | Device::Reference => "a memory copy on every thread",
    };
    Ok(Way { name: name.into(), amount: case.op.work.bytes as f64, clock, nanoseconds })
}

/// Nanoseconds of the case's operation in each of five repetitions, after one for warming up.
///
/// # Errors
/// [`Error::Device`] and [`Error::TooLarge`] if the device cannot hold or run it, or gives no times.
pub async fn time_case(device: &Device, case: &Case) -> Result<(Clock, Vec<f64>)> {
    let mut executor = device.executor(Program::of_case(case, None, None)).await?;
    for (i, buffer) in case.buffers.iter().enumerate() {
        if !matches!(buffer.fill, case::Fill::Output) {
            executor.write(BufferId(i as u32), &case.contents(i))?;
        }
    }
    // If the device's clock proves unusable, the executor switches to the host's.
    for _ in 0..2 {
        executor.run(0..1)?;
        if let Some(Timings { clock, nanoseconds }) = timed(executor.as_mut(), &[const { 0..1 }; REPETITIONS]).await? {
            return Ok((clock, nanoseconds));
        }
    }
    Err(Error::Device(format!("{}: the device gave no times", case.op.operation.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peak(best: f64) -> Option<Peak> {
        let spread = Spread { median: best, min: best, max: best };
        Some(Peak { best, spread, way: "a test".into(), clock: Clock::WallClock })
    }

    fn peaks() -> Peaks {
        Peaks { compute: peak(100.0), memory: peak(10.0), failures: Vec::new() }
    }

    const BUSY: Work = Work { flops: 1000, bytes: 10 };
    const WIDE: Work = Work { flops: 10, bytes: 400 };

    #[test]
    fn the_tighter_bound_makes_the_share() {
        let share = |work: Work, ns: f64| peaks().share([work].into_iter(), ns).expect("both peaks");
        // 1000 operations at 100 per nanosecond; 400 bytes at 10 per nanosecond.
        assert_eq!(share(BUSY, 20.0), PeakShare { share: 0.5, bound: Bound::Compute });
        assert_eq!(share(WIDE, 160.0), PeakShare { share: 0.25, bound: Bound::Memory });
    }

    #[test]
    fn operations_together_have_the_sum_of_their_own_bounds() {
        let share = peaks().share([BUSY, WIDE].into_iter(), 100.0);
        assert_eq!(share, Some(PeakShare { share: 0.5, bound: Bound::Memory }));
    }

    #[test]
    fn a_share_above_the_peak_is_told_and_one_without_a_peak_is_not() {
        assert_eq!(peaks().share([BUSY].into_iter(), 5.0).map(|s| s.share), Some(2.0));
        assert_eq!(Peaks { memory: None, ..peaks() }.share([BUSY].into_iter(), 5.0), None);
    }

    #[test]
    fn the_fastest_way_counts_and_a_failure_is_kept() {
        let way = |name: &str, nanoseconds: &[f64]| {
            Ok(Way { name: name.into(), amount: 8.0, clock: Clock::WallClock, nanoseconds: nanoseconds.to_vec() })
        };
        let mut peaks = Peaks::default();
        let failed = Err(Error::Device("out of memory".into()));
        let best =
            peaks.best("copy", vec![way("slow", &[4.0, 2.0]), failed, way("fast", &[1.0, 3.0]), way("odd", &[0.0])]);
        let best = best.expect("two ways have times");
        assert_eq!((best.way.as_str(), best.best, best.spread.median), ("fast", 8.0, 4.0));
        assert_eq!(peaks.failures.len(), 2);
        assert_eq!(peaks.failures[0], "copy probe: out of memory");
        assert!(peaks.failures[1].contains("odd: the clock gave durations of zero"), "{:?}", peaks.failures);
    }

    #[test]
    fn the_processor_has_both_peaks() {
        let peaks = pollster::block_on(super::peaks(&Device::Cpu, Duration::from_millis(1)));
        assert_eq!(peaks.failures, [""; 0]);
        let (compute, memory) = (peaks.compute.expect("computes"), peaks.memory.expect("copies"));
        assert!(compute.best > 0.0 && memory.best > 0.0 && compute.best >= compute.spread.median);
    }
}
