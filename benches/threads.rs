//! The scaling of the processor's executor: training steps on one thread and on several, in turns.
//!
//!     cargo bench --bench threads [-- --threads 1,2 --presets convnetjs-mnist,vgg-mnist --batch-sizes 20,128,512]
//!
//! Every number of threads has its own pool; all measure one round after another. Medians are compared with the first
//! number of threads.

use clap::Parser;
use glassnet::bench::{Steps, times};
use glassnet::exec::Device;
use glassnet::net::Network;
use pollster::block_on;
use std::error::Error;
use std::time::Duration;

/// Times training steps on several numbers of threads
#[derive(Parser)]
struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "convnetjs-mnist,vgg-mnist")]
    presets: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "20,128,512")]
    batch_sizes: Vec<usize>,
    /// Compared with the first of them
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Vec<u16>,
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The time for one number of threads in a round.
const ROUND: Duration = Duration::from_millis(600);

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let pool = |threads: &u16| rayon::ThreadPoolBuilder::new().num_threads(usize::from(*threads)).build();
    let pools = arguments.threads.iter().map(pool).collect::<Result<Vec<_>, _>>()?;
    println!("{}", Device::Cpu.info());
    println!("{:16} {:>5} {:>7} {:>9} {:>19}  against the first", "network", "batch", "threads", "images/s", "range");
    for preset in &arguments.presets {
        let network = Network::preset(preset)?;
        for batch in &arguments.batch_sizes {
            let mut speeds = vec![Vec::new(); pools.len()];
            for _ in 0..arguments.rounds {
                for (pool, speeds) in pools.iter().zip(&mut speeds) {
                    speeds.push(pool.install(|| {
                        let mut steps = block_on(Steps::new(&Device::Cpu, &network, *batch))?;
                        block_on(steps.round(ROUND))
                    })?);
                }
            }
            let medians: Vec<f64> = speeds.iter_mut().map(|speeds| median(speeds)).collect();
            for ((threads, middle), speeds) in arguments.threads.iter().zip(&medians).zip(&speeds) {
                let range = format!("{:.0}-{:.0}", speeds[0], speeds[speeds.len() - 1]);
                println!("{preset:16} {batch:5} {threads:7} {middle:9.0} {range:>19}  {}", times(middle / medians[0]));
            }
        }
    }
    Ok(())
}
