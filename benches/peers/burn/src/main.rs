//! Times training steps of Glassnet's presets in Burn; `cargo bench --bench compare -- --peers burn` runs it beside Glassnet.
//!
//! Reads lines from stdin: each asks for one round and gets one line of JSON on stdout, images per second by contestant.
//! Weights are updated every batch; data lies on the device; a round ends with the device idle. Burn compiles and tunes
//! its kernels in the first steps, which on a software adapter takes a minute or two: they come before the greeting.

mod adadelta;
mod net;

use adadelta::Adadelta;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
// What `#[derive(RecordState)]` writes names these as if they were the crate's own.
use burn::optim::{RecordState, StateSink, StateSource};
use burn::tensor::{Device, DeviceKind, Distribution, Int, Tensor};
use clap::{Parser, ValueEnum};
use net::{Net, Preset};
use serde_json::json;
use std::error::Error;
use std::io::BufRead;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Images in the data set, cut into batches beforehand: a step takes one that is ready.
const EXAMPLES: usize = 4096;
/// Steps before the greeting: Burn tunes a kernel at its first uses, and fuses operations it has seen before.
const WARM_UP: usize = 10;

#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value = "convnetjs-mnist")]
    preset: Preset,
    #[arg(long, value_enum, default_value = "cpu")]
    device: Place,
    #[arg(long, default_value = "20")]
    batch_size: NonZeroUsize,
    /// What a round takes at least
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Place {
    /// Flex, Burn's backend for processors
    Cpu,
    /// Burn's wgpu backend on the default adapter
    Gpu,
}

/// A network with its data, ready to step.
struct Contestant {
    name: &'static str,
    net: Option<Net>,
    optimizer: ModuleOptimizer,
    learning_rate: f64,
    device: Device,
    batches: Vec<(Tensor<4>, Tensor<1, Int>)>,
    batch: usize,
    at: usize,
}

impl Contestant {
    fn new(arguments: &Arguments) -> Contestant {
        let (name, inner) = match arguments.device {
            Place::Cpu => ("Burn, flex", Device::flex()),
            Place::Gpu => ("Burn, wgpu", Device::wgpu(DeviceKind::DefaultDevice)),
        };
        let device = inner.clone().autodiff();
        let (preset, batch) = (arguments.preset, arguments.batch_size.get());
        let (optimizer, learning_rate) = match preset {
            Preset::VggMnist => (AdamConfig::new().with_epsilon(1e-8).init(), 1e-3),
            Preset::ConvnetjsMnist => {
                (ModuleOptimizer::from(Adadelta { rho: 0.95, epsilon: 1e-6, l2_decay: 5e-5 }), 1.0)
            }
        };
        let size = preset.image_size();
        let batches = (0..(EXAMPLES / batch).max(1)).map(|_| {
            let images = Tensor::random([batch, 1, size, size], Distribution::Uniform(-0.5, 0.5), &device);
            (images, Tensor::<1, Int>::arange(0..batch as i64, &device).remainder_scalar(10))
        });
        let batches = batches.collect();
        let net = Some(Net::new(preset, &device));
        Contestant { name, net, optimizer, learning_rate, device: inner, batches, batch, at: 0 }
    }

    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        let net = self.net.take().ok_or("a step failed before")?;
        let (images, labels) = self.batches[self.at % self.batches.len()].clone();
        self.at += 1;
        let logits = net.forward(images);
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        self.net = Some(self.optimizer.step(self.learning_rate, net, gradients));
        Ok(())
    }

    fn finish(&self) -> Result<(), Box<dyn Error>> {
        self.device.sync().map_err(|error| format!("{error:?}").into())
    }

    /// Images per second: steps are doubled until the round is over, and the last measurement counts.
    fn round(&mut self, seconds: f64) -> Result<f64, Box<dyn Error>> {
        self.step()?;
        self.finish()?;
        let (mut steps, start) = (1, Instant::now());
        loop {
            let begin = Instant::now();
            for _ in 0..steps {
                self.step()?;
            }
            self.finish()?;
            if start.elapsed().as_secs_f64() >= seconds {
                return Ok((self.batch * steps) as f64 / begin.elapsed().as_secs_f64());
            }
            steps *= 2;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut contestant = Contestant::new(&arguments);
    let start = Instant::now();
    for _ in 0..WARM_UP {
        contestant.step()?;
        contestant.finish()?;
    }
    let parameters = contestant.net.as_ref().map_or(0, Module::num_params);
    let warm_up = start.elapsed().as_secs_f64();
    println!("{}", json!({ "version": "0.22.1", "parameters": parameters, "warm_up_seconds": warm_up }));
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", json!({ contestant.name: contestant.round(arguments.seconds)? }));
    }
    Ok(())
}
