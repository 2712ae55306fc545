//! `glassnet compare`: trains contestants side by side, prints their results, and draws their curves.

mod chart;

use super::interrupt::Interrupt;
use super::options::{self, DataArgs, DeviceArgs, NetworkArgs};
use super::output::{Output, Table, figure, note};
use clap::Args;
use glassnet::compare::{Comparison, Contestant, Field, Moments, OptimizerChoice, OverSeeds, RunResult};
use glassnet::formats::{MadeFolders, Target};
use glassnet::net::{Network, Recipe};
use glassnet::train::{Event, Observer, default_folder};
use glassnet::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Compare optimizers, networks or seeds
///
/// Trains every combination of the given optimizers, presets and seeds, one after another on the same data, and tests
/// each at its end. Prints a table, and writes compare.json with every setting and every point and compare.svg with the
/// curves. With the same seed all see the same examples in the same order.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Optimizers, each with an optional learning rate: sgd:0.1,adagrad,adam [default: the network's own]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', aliases = ["optimizer", "optimiser", "optimisers", "trainers", "trainer"], value_parser = optimizer)]
    optimizers: Vec<OptimizerChoice>,
    /// Built-in networks: convnetjs-mnist,fast-mnist
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = ["preset", "net"])]
    presets: Vec<String>,
    /// Seeds of initial weights, the order of examples, crops, augmentation and dropout: 1,2,3
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', alias = "seed", default_value = "1", value_parser = options::one_of_several)]
    seeds: Vec<u64>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    given: Recipe,
    /// The folder to create [default: runs/compare-TIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a folder that is not empty, and replace the files of an earlier comparison in it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
}

fn optimizer(text: &str) -> Result<OptimizerChoice> {
    text.parse()
}

impl CompareArgs {
    fn field(&self) -> Result<Field> {
        if self.given.checkpoint_every.is_some() {
            let why = "--checkpoint-every has no effect: a comparison writes no checkpoints; leave it out";
            return Err(Error::Settings(why.into()));
        }
        let networks = if self.presets.is_empty() {
            vec![options::network_for(&self.network, &self.data)?]
        } else {
            self.presets.iter().map(|name| Network::preset(name)).collect::<Result<_>>()?
        };
        let (optimizers, seeds, given) = (self.optimizers.clone(), self.seeds.clone(), self.given.clone());
        Ok(Field { networks, optimizers, seeds, given })
    }
}

pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    let output = args.output;
    let field = args.field()?;
    // Reports impossible settings before anything is downloaded or created.
    field.settings()?;
    let path = args.out.clone().unwrap_or_else(|| default_folder("compare"));
    options::refuse_content(&path, args.force)?;
    let dataset = options::dataset(&args.data, None, &field.networks[0], output)?;
    let device = pollster::block_on(options::device(&args.device))?;
    let mut comparison = Comparison::new(&field, &dataset, &device)?;
    let mut folder = Folder::create(path, args.force)?;
    output.say(introduction(&comparison, &folder.path))?;
    dataset.split().notices(&dataset).iter().for_each(note);

    let interrupt = Interrupt::handle("the finished runs are saved")?;
    let (total, mut begun) = (comparison.total(), 0);
    let ended = pollster::block_on(comparison.train(&device, &dataset, |name| {
        begun += 1;
        View::new(format!("{begun}/{total} {name}"), interrupt.clone())
    }));
    if comparison.runs().next().is_some() {
        folder.write(&comparison)?;
        let path = folder.path.display();
        output.result(&comparison, format_args!("\n{}\n\nsaved in {path}", tables(&comparison)))?;
        options::stand_in_reminder(&dataset, output)?;
    }
    match ended {
        Err(Error::Interrupted) => {
            note(format_args!("stopped after {} of {total} runs", comparison.runs().count()));
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(error),
        // A single divergence is a finding; if all runs diverge, nothing was compared.
        Ok(()) if comparison.runs().all(|(_, run)| run.diverged.is_some()) => Ok(ExitCode::FAILURE),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// The folder for the results. If it was created and stays empty, it is removed again.
struct Folder {
    path: PathBuf,
    made: MadeFolders,
    force: bool,
}

impl Folder {
    fn create(path: PathBuf, force: bool) -> Result<Folder> {
        let made = MadeFolders::create(&path, "create the folder")?;
        Ok(Folder { path, made, force })
    }

    fn write(&mut self, comparison: &Comparison) -> Result<()> {
        let refuse = |error: &dyn std::fmt::Display| Error::Settings(format!("the results cannot be written: {error}"));
        let document = serde_json::to_string_pretty(comparison).map_err(|error| refuse(&error))?;
        let target = |name: &str| Target::new(&self.path.join(name), self.force);
        target("compare.json")?.write(format!("{document}\n").as_bytes())?;
        self.made.keep();
        let picture = chart::svg(comparison).map_err(|error| refuse(&error))?;
        target("compare.svg")?.write(picture.as_bytes())
    }
}

fn introduction(comparison: &Comparison, folder: &Path) -> String {
    let Comparison { dataset, train_examples, validation_examples, test_examples, device, .. } = comparison;
    let mut text = format!(
        "data     {dataset}: {train_examples} training, {validation_examples} validation, {test_examples} test \
         examples\ndevice   {device}\nfolder   {}",
        folder.display()
    );
    for Contestant { name, network, parameters, optimizer, schedule, settings, steps, every, .. } in
        &comparison.contestants
    {
        let batch_size = settings.batch_size;
        text += &format!(
            "\n{name}: {network}, {parameters} parameters; {} at learning rate {} ({}), batch {batch_size}, {steps} \
             steps, a point every {every}",
            optimizer.name(),
            figure(optimizer.learning_rate()),
            schedule.name()
        );
    }
    text
}

/// Every run, then means over seeds if there are several, then the runs that diverged.
fn tables(comparison: &Comparison) -> String {
    let mut runs = Table::new(&[
        "name",
        "seed",
        "steps",
        "examples",
        "train loss",
        "validation",
        "test",
        "test loss",
        "seconds",
        "images/s",
    ]);
    let absent = || "-".to_string();
    let percent = |share: Option<f64>| share.map_or_else(absent, |share| format!("{:.2} %", 100.0 * share));
    let value = |value: Option<f64>| value.map_or_else(absent, figure);
    for (contestant, run) in comparison.runs() {
        let RunResult { seed, steps, examples_seen, train_seconds, images_per_second, .. } = run;
        runs.row([
            contestant.name.clone(),
            seed.to_string(),
            steps.to_string(),
            examples_seen.to_string(),
            value(run.train_loss),
            percent(run.validation_accuracy),
            percent(run.test_accuracy),
            value(run.test_loss),
            format!("{train_seconds:.1}"),
            images_per_second.map_or_else(absent, |speed| format!("{speed:.0}")),
        ]);
    }
    let mut text = vec![runs.to_string()];
    let mut means =
        Table::new(&["mean ± standard deviation", "seeds", "train loss", "validation", "test", "test loss"]);
    let share = |m: Moments| format!("{:.2} ± {:.2} %", 100.0 * m.mean, 100.0 * m.standard_deviation);
    let loss = |m: Moments| format!("{} ± {}", figure(m.mean), figure(m.standard_deviation));
    for Contestant { name, over_seeds, .. } in &comparison.contestants {
        let Some(OverSeeds { runs, train_loss, validation_accuracy, test_accuracy, test_loss }) = over_seeds else {
            continue;
        };
        let (train_loss, test_loss) = (loss(*train_loss), loss(*test_loss));
        let (validation, test) = (share(*validation_accuracy), share(*test_accuracy));
        means.row([name.clone(), runs.to_string(), train_loss, validation, test, test_loss]);
    }
    if comparison.contestants.iter().any(|contestant| contestant.over_seeds.is_some()) {
        text.push(means.to_string());
    }
    let diverged = |(contestant, run): (&Contestant, &RunResult)| {
        run.diverged.as_ref().map(|why| format!("{}, seed {}, diverged: {why}", contestant.name, run.seed))
    };
    let diverged: Vec<String> = comparison.runs().filter_map(diverged).collect();
    text.extend((!diverged.is_empty()).then(|| diverged.join("\n")));
    text.join("\n\n")
}

/// The time between two plain lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress of one run on stderr: a bar on a terminal, otherwise a plain line from time to time.
struct View {
    name: String,
    bar: ProgressBar,
    plain: bool,
    last_line: Instant,
    interrupt: Interrupt,
}

impl View {
    fn new(name: String, interrupt: Interrupt) -> View {
        let plain = !io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let template = "{prefix} {bar:24} {percent:>3}% step {pos}/{len} {wide_msg} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.clone());
        View { name, bar, plain, last_line: Instant::now(), interrupt }
    }
}

impl Observer for View {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Started { end, .. } => self.bar.set_length(*end),
            Event::Progress(progress) => {
                let loss = progress.loss.map_or("-".into(), figure);
                let text = format!("loss {loss} {:.0} images/s", progress.images_per_second);
                if self.plain && self.last_line.elapsed() >= LINE_EVERY {
                    self.last_line = Instant::now();
                    note(format_args!("{}: step {}/{} {text}", self.name, progress.step, progress.end));
                }
                self.bar.set_position(progress.step);
                self.bar.set_message(text);
            }
            _ => {}
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.interrupt.stops()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
