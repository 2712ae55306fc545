//! Training steps of Glassnet and of its peers, side by side: `cargo bench --bench compare -- --help`.
//!
//! All use the same network, the same batch, float32, and update the weights every batch; each measurement begins and
//! ends with an idle device. Contestants take turns, round by round; the result is the median over the rounds with its
//! range.

use clap::{Parser, ValueEnum};
use glassnet::bench::{Steps, times};
use glassnet::exec::Device;
use glassnet::exec::gpu::{Choice, Gpu, RuntimeChecks};
use glassnet::net::Network;
use pollster::block_on;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Times training steps of Glassnet and of its peers in turns.
#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value = "cpu")]
    device: Place,
    #[arg(long, value_delimiter = ',', default_value = "convnetjs-mnist,vgg-mnist")]
    presets: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "20,128,512")]
    batch_sizes: Vec<usize>,
    #[arg(long, default_value_t = 5, value_parser = rounds)]
    rounds: usize,
    /// The least duration of one contestant's round, in seconds
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// The peers to compare with
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pytorch")]
    peers: Vec<Rival>,
    /// A Python with PyTorch
    #[arg(long, default_value = "python3")]
    python: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn rounds(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(|| "a whole number, 1 or more".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let in_range = |seconds: &f64| (0.01..=3600.0).contains(seconds);
    text.parse().ok().filter(in_range).ok_or_else(|| "a number from 0.01 to 3600".into())
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Place {
    /// Glassnet's cpu executor, PyTorch on the processor, Burn's flex
    Cpu,
    /// Glassnet's gpu executor, PyTorch with CUDA, Burn's wgpu
    Gpu,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Rival {
    /// `benches/peers/pytorch.py`
    Pytorch,
    /// `benches/peers/burn`, which is built first; that takes long
    Burn,
    /// `benches/peers/convnetjs.js` under node, always on the processor; only convnetjs-mnist
    Convnetjs,
}

/// The folder of the peers' programs: in the checkout that this was built from, or, on another machine, in the one that
/// it is run in.
fn peers() -> PathBuf {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    if built_from.exists() { built_from } else { "benches/peers".into() }
}

impl Rival {
    fn name(self) -> &'static str {
        match self {
            Rival::Pytorch => "PyTorch",
            Rival::Burn => "Burn",
            Rival::Convnetjs => "ConvNetJS",
        }
    }

    fn has(self, preset: &str) -> bool {
        self != Rival::Convnetjs || preset == "convnetjs-mnist"
    }

    /// The command that starts it, without the options that all of them share.
    fn command(self, arguments: &Arguments) -> Result<Command, Box<dyn Error>> {
        let on_cpu = arguments.device == Place::Cpu;
        match self {
            Rival::Pytorch => {
                let mut command = Command::new(&arguments.python);
                command.arg(peers().join("pytorch.py"));
                command.args(["--device", if on_cpu { "cpu" } else { "cuda" }]);
                command.args(["--threads".to_string(), std::thread::available_parallelism()?.to_string()]);
                Ok(command)
            }
            Rival::Burn => {
                let mut command = Command::new(peers().join("burn/target/release/burn-peer"));
                command.args(["--device", if on_cpu { "cpu" } else { "gpu" }]);
                Ok(command)
            }
            Rival::Convnetjs => {
                let mut command = Command::new("node");
                command.arg(peers().join("convnetjs.js"));
                Ok(command)
            }
        }
    }

    /// Prepares it once, before it can start.
    fn prepare(self) -> Result<(), Box<dyn Error>> {
        if self != Rival::Burn {
            return Ok(());
        }
        let manifest = peers().join("burn/Cargo.toml");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(&manifest)
            .status()?;
        if built.success() { Ok(()) } else { Err(format!("{} does not build: see above", manifest.display()).into()) }
    }
}

/// A process that answers every line with the images per second of one round.
struct Peer {
    name: &'static str,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(rival: Rival, arguments: &Arguments, preset: &str, batch: usize) -> Result<Peer, Box<dyn Error>> {
        let name = rival.name();
        let mut command = rival.command(arguments)?;
        command.args(["--preset", preset, "--batch-size", &batch.to_string()]);
        command.args(["--seconds".to_string(), arguments.seconds.to_string()]);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| {
            let remedy = if rival == Rival::Pytorch { ": name a Python with PyTorch with --python" } else { "" };
            format!("{name}: {program} does not start ({e}){remedy}")
        })?;
        let requests = process.stdin.take().expect("piped");
        let mut answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut greeting = String::new();
        if answers.read_line(&mut greeting)? == 0 {
            return Err(format!("{name} does not run: see above").into());
        }
        eprint!("{name}: {greeting}");
        Ok(Peer { name, process, requests, answers })
    }

    fn round(&mut self) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
        writeln!(self.requests, "round")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{} ended in the middle: see above", self.name).into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = match arguments.device {
        Place::Cpu => Device::Cpu,
        Place::Gpu => Device::Gpu(block_on(Gpu::open(&Choice::Any, RuntimeChecks::Off))?),
    };
    for rival in &arguments.peers {
        rival.prepare()?;
    }
    println!("{}", device.info());
    println!("{:16} {:>5}  {:24} {:>9} {:>19}  Glassnet is", "network", "batch", "contestant", "images/s", "range");
    for preset in &arguments.presets {
        for batch in &arguments.batch_sizes {
            compare(&arguments, &device, preset, *batch)?;
        }
    }
    Ok(())
}

fn compare(arguments: &Arguments, device: &Device, preset: &str, batch: usize) -> Result<(), Box<dyn Error>> {
    let network = Network::preset(preset)?;
    let rivals = arguments.peers.iter().filter(|rival| rival.has(preset));
    let mut peers = rivals.map(|rival| Peer::start(*rival, arguments, preset, batch)).collect::<Result<Vec<_>, _>>()?;
    let mut own = block_on(Steps::new(device, &network, batch))?;
    let mut results: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    // The first round of each is a warm-up.
    for round in 0..=arguments.rounds {
        let mut all = BTreeMap::new();
        for peer in &mut peers {
            all.extend(peer.round()?);
        }
        all.insert("Glassnet".into(), block_on(own.round(Duration::from_secs_f64(arguments.seconds)))?);
        if round > 0 {
            all.into_iter().for_each(|(name, speed)| results.entry(name).or_default().push(speed));
        }
    }
    let glassnet = median(results.get_mut("Glassnet").expect("inserted every round"));
    for (name, speeds) in &mut results {
        let middle = median(speeds);
        let range = format!("{:.0}-{:.0}", speeds[0], speeds[speeds.len() - 1]);
        let ratio = match glassnet / middle {
            _ if name == "Glassnet" => String::new(),
            faster if faster >= 1.0 => format!("{} as fast", times(faster)),
            slower => times(slower),
        };
        println!("{preset:16} {batch:5}  {name:24} {middle:9.0} {range:>19}  {ratio}");
    }
    Ok(())
}
