//! The host's cost of a GPU's training step: `cargo bench --bench host -- [--device NAME] [--preset NAME] [--batch N]`.
//!
//! Steps are queued as in training, and every step's loss comes back. A GPU is never faster than its host can feed it,
//! so these figures are the shortest step that any GPU can reach; a driver that computes nothing shows them best.
//! `cpu` is the time of all threads of this process, the driver's included. The rest are parts of the queueing thread's
//! time: `begin` (the batch and its inputs), `record` (commands), `end` (submissions, of which `inputs`, `finish` and
//! `submit`), `collect` (results that have arrived); `wait` is the time in which it waited for the device.

use clap::Parser;
use glassnet::bench::{HostTime, Steps};
use glassnet::exec::DeviceChoice;
use glassnet::exec::gpu::RuntimeChecks;
use glassnet::net::Network;
use pollster::block_on;
use std::error::Error;
use std::time::Duration;

/// Measures the host's cost of a training step
#[derive(Parser)]
struct Arguments {
    /// The adapter: a number from `glassnet devices`, or part of its name [default: the first GPU]
    #[arg(long)]
    device: Option<String>,
    #[arg(long, default_value = "convnetjs-mnist")]
    preset: String,
    #[arg(long, default_value_t = 20)]
    batch: usize,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Time a GPU even if it computes wrongly or not at all, such as a driver that computes nothing
    #[arg(long)]
    skip_self_check: bool,
    /// Steps in a round
    #[arg(long, default_value_t = 10_000)]
    steps: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// User and system time of all threads of this process.
#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes only to the structure that it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    (failed == 0).then(|| Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32))
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let choice = arguments.device.map_or(DeviceChoice::Gpu, DeviceChoice::Adapter);
    let choice = match arguments.skip_self_check {
        true => DeviceChoice::WithoutSelfCheck(Box::new(choice)),
        false => choice,
    };
    let (device, _) = block_on(choice.open(RuntimeChecks::Off)).map_err(|why| match why {
        glassnet::Error::SelfCheck(why) => format!("{why}; --skip-self-check times this GPU all the same"),
        why => why.to_string(),
    })?;
    let network = Network::preset(&arguments.preset)?;
    let mut steps = block_on(Steps::new(&device, &network, arguments.batch))?;
    println!("{}", device.info());
    println!(
        "{}, batch {}: {} dispatches a step; microseconds a step",
        arguments.preset,
        arguments.batch,
        steps.dispatches()
    );
    let columns = ["wall", "cpu", "begin", "record", "end", "inputs", "finish", "submit", "wait", "collect"];
    println!("{}  steps/submission", columns.map(|column| format!(" {column:>8}")).concat());
    // The first round compiles, allocates, and finds the length of submissions.
    block_on(steps.host_time(arguments.steps.div_ceil(4)))?;
    for _ in 0..arguments.rounds {
        let before = cpu_time();
        let time = block_on(steps.host_time(arguments.steps))?;
        let cpu = cpu_time().zip(before).map(|(after, before)| after - before);
        let HostTime { all, begin, record, end, waited, collect, submitting } = time;
        let parts =
            [begin, record, end, submitting.inputs, submitting.finish, submitting.submit, waited, collect].map(Some);
        let each = |time: Duration| format!(" {:8.2}", time.as_secs_f64() * 1e6 / arguments.steps as f64);
        let show = |time: Option<Duration>| time.map_or_else(|| format!(" {:>8}", "-"), each);
        let shown: String = [Some(all), cpu].into_iter().chain(parts).map(show).collect();
        println!("{shown}  {:16.1}", arguments.steps as f64 / submitting.submissions.max(1) as f64);
    }
    Ok(())
}
