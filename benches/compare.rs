//! Training steps of Glassnet and of its peers, side by side: `cargo bench --bench compare -- --help`.
//!
//! All use the same network, the same batch, float32, and update the weights every batch; each measurement begins and
//! ends with an idle device. A contestant that multiplies with less than float32 says so in its name. Contestants take
//! turns, round by round; the result is the median over the rounds with its range. On CUDA, PyTorch also competes with
//! TF32, which keeps 10 of float32's 23 bits of a factor's mantissa. A contestant that cannot run is named with the
//! reason, and the others go on.

use clap::{Parser, ValueEnum};
use glassnet::bench::{Steps, times};
use glassnet::exec::gpu::RuntimeChecks;
use glassnet::exec::{Device, DeviceChoice};
use glassnet::kernels::Precision;
use glassnet::net::Network;
use pollster::block_on;
use serde::Deserialize;
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
    /// The peers to compare with; none if no name follows
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0.., default_value = "pytorch")]
    peers: Vec<Rival>,
    /// With --device gpu: Glassnet's cpu executor takes turns too
    #[arg(long)]
    with_cpu: bool,
    /// With --device gpu: Glassnet's gpu executor in precision matrix-f16 takes turns too
    #[arg(long)]
    with_f16: bool,
    /// Time a GPU even if it computes wrongly or not at all
    #[arg(long)]
    skip_self_check: bool,
    /// Print lines of network, batch, contestant, median, least and most images/s between tabs; a contestant that did
    /// not run has `-` and the reason
    #[arg(long)]
    tabs: bool,
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

/// A process that greets with a line, and answers every line with one of [`Answers`].
struct Peer {
    name: &'static str,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Contestants of this peer that cannot run here.
    missing: Answers,
}

/// By contestant.
type Answers = BTreeMap<String, Answer>;

/// Images per second of one round, or why there are none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Speed(f64),
    Missing(String),
}

/// The first line of a peer; it may say more about itself.
#[derive(Deserialize)]
struct Greeting {
    #[serde(default)]
    missing: Answers,
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
        let Greeting { missing } = serde_json::from_str(&greeting)?;
        Ok(Peer { name, process, requests, answers, missing })
    }

    fn round(&mut self) -> Result<Answers, Box<dyn Error>> {
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

/// The median of values in ascending order.
fn median(values: &[f64]) -> f64 {
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let choice = match arguments.device {
        Place::Cpu => DeviceChoice::Cpu,
        Place::Gpu if arguments.skip_self_check => DeviceChoice::WithoutSelfCheck(Box::new(DeviceChoice::Gpu)),
        Place::Gpu => DeviceChoice::Gpu,
    };
    let open = |choice: DeviceChoice| block_on(choice.open(RuntimeChecks::Off)).map(|(device, _)| device);
    let refusal = |why: glassnet::Error| match why {
        glassnet::Error::SelfCheck(why) => format!("{why}; --skip-self-check times this GPU all the same"),
        why => why.to_string(),
    };
    let mut own = vec![("Glassnet", open(choice.clone()).map_err(refusal))];
    if arguments.with_f16 && arguments.device == Place::Gpu {
        own.push(("Glassnet, matrix-f16", open(choice.in_precision(Precision::MatrixF16)).map_err(refusal)));
    }
    if arguments.with_cpu && arguments.device == Place::Gpu {
        own.push(("Glassnet, cpu", Ok(Device::Cpu)));
    } else if let (_, Err(why)) = &own[0] {
        return Err(why.as_str().into());
    }
    for rival in &arguments.peers {
        rival.prepare()?;
    }
    if !arguments.tabs {
        own.iter().filter_map(|(_, device)| device.as_ref().ok()).for_each(|device| println!("{}", device.info()));
        println!("{:16} {:>5}  {:24} {:>9} {:>19}  Glassnet is", "network", "batch", "contestant", "images/s", "range");
    }
    for preset in &arguments.presets {
        for batch in &arguments.batch_sizes {
            let contest = compare(&arguments, &own, preset, *batch)?;
            if arguments.tabs { contest.print_tabs(preset, *batch) } else { contest.print(preset, *batch) }
        }
    }
    Ok(())
}

/// The outcome at one batch size, by contestant.
#[derive(Default)]
struct Contest {
    speeds: BTreeMap<String, Vec<f64>>,
    missing: BTreeMap<String, String>,
}

fn compare(
    arguments: &Arguments,
    devices: &[(&str, Result<Device, String>)],
    preset: &str,
    batch: usize,
) -> Result<Contest, Box<dyn Error>> {
    let network = Network::preset(preset)?;
    let mut contest = Contest::default();
    let mut peers = Vec::new();
    for rival in arguments.peers.iter().filter(|rival| rival.has(preset)) {
        match Peer::start(*rival, arguments, preset, batch) {
            Ok(mut peer) => {
                contest.add(std::mem::take(&mut peer.missing), 0);
                peers.push(peer);
            }
            Err(why) => contest.leave_out(rival.name(), &*why),
        }
    }
    let mut own = Vec::new();
    for (name, device) in devices {
        match device.as_ref().map(|device| block_on(Steps::new(device, &network, batch))) {
            Ok(Ok(steps)) => own.push((*name, steps)),
            Ok(Err(why)) => contest.leave_out(name, &why),
            Err(why) => contest.leave_out(name, why),
        }
    }
    // The first round of each is a warm-up.
    for round in 0..=arguments.rounds {
        peers.retain_mut(|peer| match peer.round() {
            Ok(answers) => {
                contest.add(answers, round);
                true
            }
            Err(why) => {
                contest.leave_out(peer.name, &*why);
                false
            }
        });
        own.retain_mut(|(name, steps)| match block_on(steps.round(Duration::from_secs_f64(arguments.seconds))) {
            Ok(speed) => {
                contest.add([(name.to_string(), Answer::Speed(speed))].into(), round);
                true
            }
            Err(why) => {
                contest.leave_out(name, &why);
                false
            }
        });
    }
    contest.speeds.values_mut().for_each(|speeds| speeds.sort_by(f64::total_cmp));
    Ok(contest)
}

impl Contest {
    /// Adds the answers of a round; the speeds of round 0 do not count.
    fn add(&mut self, answers: Answers, round: usize) {
        for (name, answer) in answers {
            match answer {
                Answer::Speed(speed) if round > 0 => self.speeds.entry(name).or_default().push(speed),
                Answer::Speed(_) => {}
                Answer::Missing(why) => {
                    self.speeds.remove(&name);
                    self.missing.insert(name, why);
                }
            }
        }
    }

    fn leave_out(&mut self, name: &str, why: &dyn std::fmt::Display) {
        self.add([(name.to_string(), Answer::Missing(why.to_string()))].into(), 0);
    }

    fn print(&self, preset: &str, batch: usize) {
        let glassnet = self.speeds.get("Glassnet").map(|speeds| median(speeds));
        for (name, speeds) in &self.speeds {
            let middle = median(speeds);
            let range = format!("{:.0}-{:.0}", speeds[0], speeds[speeds.len() - 1]);
            let ratio = match glassnet.map(|glassnet| glassnet / middle) {
                None => String::new(),
                Some(_) if name == "Glassnet" => String::new(),
                Some(faster) if faster >= 1.0 => format!("{} as fast", times(faster)),
                Some(slower) => times(slower),
            };
            println!("{preset:16} {batch:5}  {name:24} {middle:9.0} {range:>19}  {ratio}");
        }
        for (name, why) in &self.missing {
            println!("{preset:16} {batch:5}  {name:24} not measured: {}", line(why));
        }
    }

    fn print_tabs(&self, preset: &str, batch: usize) {
        for (name, speeds) in &self.speeds {
            let [least, most] = [speeds[0], speeds[speeds.len() - 1]];
            println!("{preset}\t{batch}\t{name}\t{:.0}\t{least:.0}\t{most:.0}", median(speeds));
        }
        for (name, why) in &self.missing {
            println!("{preset}\t{batch}\t{name}\t-\t{}", line(why));
        }
    }
}

/// A reason on one line.
fn line(why: &str) -> String {
    why.split_whitespace().collect::<Vec<_>>().join(" ")
}
