//! The cost of the live page to a run, and its use of memory: `cargo bench --bench soak -- --rounds 30 --seconds 20`.
//!
//! Two trainers with the same seed and settings take turns, one without a page and one with; the waiting one is stopped
//! (SIGSTOP). A round consists of three turns: no page, a page that nobody watches, a page with three watchers who come
//! and go. Images per second use the wall clock between rows of `metrics.jsonl`; results are medians over rounds. The
//! computing time of all threads of a trainer is printed too, because other work on the machine affects it less. If the
//! turns of a round had different numbers of threads at work, other programs took some, and the speeds cannot be
//! compared. Memory is the second trainer's resident size after its turns with watchers.

use clap::Parser;
use serde_json::Value;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sysinfo::{Pid, Process, ProcessesToUpdate, System};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Seconds of a turn that are not measured, while caches and clocks settle.
const SETTLE: Duration = Duration::from_secs(2);
const WATCHERS: usize = 3;
/// Seconds for which a watcher stays and stays away, alternately.
const STAYS: [f64; 4] = [5.0, 2.0, 7.0, 3.0];
const AWAY: f64 = 0.5;

#[derive(Parser)]
struct Options {
    /// Rounds of three turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The network.
    #[arg(long, default_value = "convnetjs-mnist")]
    preset: String,
    /// Steps between rows; some rows must come in every turn.
    #[arg(long, default_value_t = 100)]
    stats_every: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The results of a turn.
struct Turn {
    /// Images per second by the wall clock.
    speed: f64,
    /// Microseconds of computing in all threads, per image.
    work: f64,
}

/// A `glassnet train` on the processor, on digits that it draws itself.
struct Trainer {
    child: Child,
    metrics: PathBuf,
    /// Host and port of the page.
    host: Option<String>,
}

impl Trainer {
    /// Starts it, waits for the first rows, and stops it.
    fn start(folder: &Path, options: &Options, live: bool) -> Result<Trainer> {
        let out = folder.join(if live { "page" } else { "plain" });
        let mut command = Command::new(env!("CARGO_BIN_EXE_glassnet"));
        command.args(["train", "--device", "cpu", "--dataset", "synthetic", "--epochs", "100000", "--json"]);
        command
            .args(["--preset", &options.preset, "--stats-every", &options.stats_every.to_string(), "--out"])
            .arg(&out)
            .args(live.then_some("--live"));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("RUST_LOG");
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no pipe")?).lines().map_while(std::io::Result::ok);
        let begin = "the live page is at http://";
        let host = if live {
            let line =
                lines.find_map(|line| line.strip_prefix(begin).map(|host| host.trim_end_matches('/').to_string()));
            Some(line.ok_or("the trainer told no address")?)
        } else {
            None
        };
        thread::spawn(move || lines.for_each(drop));
        let trainer = Trainer { child, metrics: out.join("metrics.jsonl"), host };
        while std::fs::metadata(&trainer.metrics).map_or(0, |file| file.len()) == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        trainer.signal("STOP")?;
        Ok(trainer)
    }

    fn signal(&self, name: &str) -> Result<()> {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        if done.success() { Ok(()) } else { Err(format!("kill -{name}: {done}").into()) }
    }

    /// Lets it run for a turn.
    fn turn(&self, seconds: f64) -> Result<Turn> {
        self.signal("CONT")?;
        let begin = Instant::now();
        let mut file = File::open(&self.metrics)?;
        file.seek(SeekFrom::End(0))?;
        let (mut tail, mut seen) = (String::new(), Vec::new());
        while begin.elapsed() < SETTLE + Duration::from_secs_f64(seconds) {
            thread::sleep(Duration::from_millis(5));
            file.read_to_string(&mut tail)?;
            while let Some((line, rest)) = tail.split_once('\n') {
                let row: Value = serde_json::from_str(line)?;
                if let Some(examples) = row["examples_seen"].as_u64()
                    && begin.elapsed() > SETTLE
                {
                    seen.push((begin.elapsed(), examples, self.process(|process| process.accumulated_cpu_time())?));
                }
                tail = rest.to_string();
            }
        }
        self.signal("STOP")?;
        match (seen.first(), seen.last()) {
            (Some(first), Some(last)) if last.1 > first.1 => {
                let images = (last.1 - first.1) as f64;
                let speed = images / (last.0 - first.0).as_secs_f64();
                Ok(Turn { speed, work: 1000.0 * (last.2 - first.2) as f64 / images })
            }
            _ => Err("fewer than two rows in a turn: give more --seconds or a smaller --stats-every".into()),
        }
    }

    /// The resident memory in MiB.
    fn resident(&self) -> Result<f64> {
        Ok(self.process(|process| process.memory())? as f64 / f64::from(1 << 20))
    }

    /// Information from the system about the process.
    fn process<T>(&self, tell: impl FnOnce(&Process) -> T) -> Result<T> {
        let (mut system, process) = (System::new()?, Pid::from_u32(self.child.id()));
        system.refresh_processes(ProcessesToUpdate::Some(&[process]), true);
        Ok(tell(system.process(process).ok_or("the trainer has ended")?))
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The watchers' record.
#[derive(Default)]
struct Watched {
    over: AtomicBool,
    visits: AtomicU64,
    views: AtomicU64,
    bytes: AtomicU64,
}

/// Comes and goes until the end.
fn watch(host: &str, which: usize, watched: &Watched) -> Result<()> {
    for stay in STAYS.iter().cycle().skip(which) {
        let begin = Instant::now();
        let mut stream = TcpStream::connect(host)?;
        write!(stream, "GET /events HTTP/1.1\r\nhost: {host}\r\n\r\n")?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (mut reader, mut line) = (BufReader::new(stream), Vec::new());
        watched.visits.fetch_add(1, Ordering::Relaxed);
        while begin.elapsed().as_secs_f64() < *stay {
            if watched.over.load(Ordering::Relaxed) {
                return Ok(());
            }
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return Err("the page ended the messages".into()),
                Ok(count) => {
                    watched.bytes.fetch_add(count as u64, Ordering::Relaxed);
                    watched
                        .views
                        .fetch_add(u64::from(line.starts_with(b"data: {\"kind\":\"view\"")), Ordering::Relaxed);
                    line.clear();
                }
                // Nothing arrived for a moment; the part of a line that did is kept.
                Err(error)
                    if [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        drop(reader);
        thread::sleep(Duration::from_secs_f64(AWAY));
    }
    Ok(())
}

/// A turn with watchers.
fn watched_turn(trainer: &Trainer, seconds: f64, watched: &Watched) -> Result<Turn> {
    let host = trainer.host.as_deref().ok_or("it has no page")?;
    watched.over.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|which| scope.spawn(move || watch(host, which, watched).map_err(|why| why.to_string())))
            .collect();
        let speed = trainer.turn(seconds);
        watched.over.store(true, Ordering::Relaxed);
        for watcher in watchers {
            watcher.join().map_err(|_| "a watcher panicked")??;
        }
        speed
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

fn main() -> Result<()> {
    let options = Options::parse();
    let folder = tempfile::tempdir()?;
    let plain = Trainer::start(folder.path(), &options, false)?;
    let page = Trainer::start(folder.path(), &options, true)?;
    let sides = ["no page", "page, nobody watches", "page, three watchers"];
    let (mut speeds, mut works) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    let (mut memory, watched) = (Vec::new(), Watched::default());
    for round in 0..options.rounds.max(1) {
        // Each round begins with another side.
        for side in (0..3).map(|turn| (turn + round) % 3) {
            let turn = match side {
                0 => plain.turn(options.seconds)?,
                1 => page.turn(options.seconds)?,
                _ => watched_turn(&page, options.seconds, &watched)?,
            };
            speeds[side].push(turn.speed);
            works[side].push(turn.work);
            if side == 2 {
                memory.push(page.resident()?);
            }
        }
        let told = (0..3).map(|side| {
            let (speed, work) = (speeds[side][round], works[side][round]);
            format!("{speed:.0} images/s on {:.2} threads", speed * work * 1e-6)
        });
        println!("round {}: {}; {:.1} MiB", round + 1, told.collect::<Vec<_>>().join(", "), memory[round]);
    }
    println!("\n{}, medians of {} turns of {} s", options.preset, speeds[0].len(), options.seconds);
    let base = median(&speeds[0]);
    for ((name, speeds), works) in sides.iter().zip(&speeds).zip(&works) {
        let (speed, work) = (median(speeds), median(works));
        println!(
            "{name:<22} {speed:>9.0} images/s  {:+.2} %  {work:.2} µs of all threads an image",
            100.0 * (speed / base - 1.0)
        );
    }
    // Turns of a round are close in time, so other work on the machine affects their ratios less.
    let ratios =
        |side: usize| speeds[side].iter().zip(&speeds[0]).map(|(a, b)| 100.0 * (a / b - 1.0)).collect::<Vec<_>>();
    println!("median of each round's difference: {:+.2} %, {:+.2} %", median(&ratios(1)), median(&ratios(2)));
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
    println!(
        "watchers: {} visits, {} views, {:.1} MiB read",
        count(&watched.visits),
        count(&watched.views),
        count(&watched.bytes) as f64 / f64::from(1 << 20)
    );
    let peak = memory.iter().copied().fold(0.0, f64::max);
    let (first, last) = (memory.first().copied().unwrap_or(0.0), memory.last().copied().unwrap_or(0.0));
    println!("resident memory with watchers: first {first:.1}, last {last:.1}, peak {peak:.1} MiB");
    Ok(())
}
