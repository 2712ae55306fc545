//! `glassnet train`: resolves the settings, trains, shows progress and the layers' statistics, and fills the run
//! folder.

use super::defaults::optimizer_help;
use super::interrupt::Interrupt;
use super::live::{self, LiveArgs};
use super::notices::Notices;
use super::options::{self, DataArgs, DeviceArgs, NetworkArgs, TuneArgs};
use super::output::{self, Output, note};
use super::report;
use super::train_reporter::{Reporter, begin_events};
use super::train_view::View;
use clap::Args;
use glassnet::exec::Device;
use glassnet::live::Live;
use glassnet::net::{OptimizerName, Recipe};
use glassnet::report::tensorboard::Events;
use glassnet::train::{
    DataSource, EndedRun, LatestWeights, Launch, Launched, Length, NewRun, NextRun, ResumedRun, Run,
};
use glassnet::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// Train a network
///
/// Trains, shows progress and statistics of every layer, tests once at the end, and saves a run folder with the model,
/// a checkpoint to resume from, and all figures. Ctrl-C saves a checkpoint first.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    tune: TuneArgs,
    // Its help lists them.
    #[arg(long, help = optimizer_help(), value_name = "NAME", aliases = ["trainer", "optimiser", "opt"])]
    optimizer: Option<OptimizerName>,
    /// Decides initial weights, the order of examples, all crops, all augmentation and what is dropped [default: 1]
    #[arg(long, value_name = "N", value_parser = options::whole::<u64>)]
    seed: Option<u64>,
    #[command(flatten)]
    given: Recipe,
    /// The run folder to create [default: runs/NETWORK-TIME]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder, with its own settings; --epochs or --steps may set a later end
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Write no report.html at the end
    #[arg(long)]
    no_report: bool,
    /// Also write event files for TensorBoard, into the folder tensorboard of the run folder, while it trains
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    output: Output,
}

impl TrainArgs {
    fn given(&self) -> Recipe {
        Recipe { optimizer: self.optimizer, seed: self.seed, ..self.given.clone() }
    }

    /// A resumed run takes its settings from its folder. Options other than a later end are refused instead of being
    /// ignored.
    fn refuse_with_resume(&self) -> Result<()> {
        let NetworkArgs { preset, net } = &self.network;
        let apart = [("preset", preset.is_some()), ("net", net.is_some()), ("dataset", self.data.dataset.is_some())];
        let apart = apart.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        let given = self.given();
        let settings = given.given().map(|(name, _)| name).filter(|name| !["epochs", "steps"].contains(name));
        match apart.chain(settings).next() {
            Some(name) => Err(Error::Settings(format!(
                "{} cannot change a run that is resumed; leave it out, or start a new run without --resume",
                output::option(name)
            ))),
            None => Ok(()),
        }
    }

    /// The requested run.
    fn launch(&self) -> Result<Launch> {
        if let Some(folder) = &self.resume {
            self.refuse_with_resume()?;
            if self.tune.tune.is_some() {
                note("--tune has no effect on a resumed run, which keeps its kernels");
            }
            if self.device.skip_self_check && !self.device.is_given() {
                let why = "--skip-self-check with --resume needs the device too; add --device gpu or --adapter";
                return Err(Error::Settings(why.into()));
            }
            let (end, data) = (Length::of(&self.given), DataSource::Choice(self.data.choice()));
            let device = self.device.is_given().then(|| self.device.place()).transpose()?;
            let (folder, precision) = (folder.clone(), self.device.precision());
            return Ok(Launch::Resume(ResumedRun { folder, end, data, device, precision }));
        }
        self.tune.check_device(&self.device)?;
        Ok(Launch::New(Box::new(NewRun {
            network: options::network_for(&self.network, &self.data)?,
            given: self.given(),
            data: DataSource::Choice(self.data.choice()),
            device: self.device.choice()?,
            folder: self.out.clone(),
            tuner: self.tune.tuner(),
        })))
    }
}

/// A prepared run, with its event files if requested.
struct Ready {
    run: Run,
    events: Option<Events>,
}

pub fn run(args: &TrainArgs) -> Result<ExitCode> {
    let output = args.output;
    let live = args.live.start()?;
    let mut ready = match prepare(args.launch()?, output)? {
        Launched::Ready(run) => begin(args, *run)?,
        Launched::Ended(run) => return complete(args, *run, output).map(|()| ExitCode::SUCCESS),
    };
    if args.tune.is_effort() && args.resume.is_none() && !matches!(ready.run.device, Device::Gpu(_)) {
        note("--tune has no effect on the processor; it chooses a GPU's kernels");
    }
    ready.run.timed_from = Some(super::launched());
    let interrupt = Interrupt::handle("a checkpoint is saved")?;
    loop {
        let code = train_once(args, &mut ready, live.as_ref(), &interrupt, output);
        let Some(live) = &live else { return code };
        // Reported now instead of after the page is closed.
        let code = code.or_else(|error| {
            note(format_args!("error: {}", output::told(&error)));
            Ok(ExitCode::FAILURE)
        });
        interrupt.nothing_to_save();
        let next = live::next_run(live, &interrupt, |settings| {
            let (base, folder, tuner) = (ready.run.base(), args.out.clone(), args.tune.tuner());
            let next = NextRun { base, settings, folder, tuner };
            begin(args, pollster::block_on(next.prepare(&mut |notice| note(notice)))?)
        })?;
        let Some(mut next) = next else { return code };
        // This run did not begin with the program.
        next.run.timed_from = None;
        ready.run.append_next(&next.run)?;
        ready = next;
        interrupt.something_to_save();
    }
}

/// Prepares a run, and prints the notices.
fn prepare(launch: Launch, output: Output) -> Result<Launched> {
    let mut notices = Notices::new(output);
    let launched = pollster::block_on(launch.prepare(&mut |notice| notices.show(notice)));
    notices.result().and(launched)
}

fn begin(args: &TrainArgs, run: Run) -> Result<Ready> {
    let step = run.state.as_ref().map_or(0, |state| state.step);
    let events = args.tensorboard.then(|| begin_events(&run.folder, &run.config, step)).transpose()?;
    Ok(Ready { run, events })
}

/// Trains to the end, or to where it is stopped.
fn train_once(
    args: &TrainArgs,
    ready: &mut Ready,
    live: Option<&Live>,
    interrupt: &Interrupt,
    output: Output,
) -> Result<ExitCode> {
    let Ready { run, events } = ready;
    let view = View::new(&run.now, live.map(|live| live.url().to_string()), output);
    let reporter = Reporter { view, events: events.take(), live, interrupt, output };
    reporter.train(run, !args.no_report)
}

/// Writes the missing files of a finished run, and prints its result.
fn complete(args: &TrainArgs, run: EndedRun, output: Output) -> Result<()> {
    let EndedRun { config, settings, dataset, folder, summary, model_damage } = run;
    match summary.stopped_early {
        false => note("this run is finished; give a larger --epochs or --steps to continue it"),
        true => note("this run stopped early because its validation loss did not fall for --patience epochs"),
    }
    if let Some(why) = model_damage {
        note(format_args!("its model is written again from the checkpoint: {why}"));
    }
    let page = !args.no_report && !report::is_current(folder.path(), summary.steps);
    let events = args.tensorboard && !report::has_events(folder.path());
    if page || events {
        if page {
            note("its report is missing, cut off, or from an earlier end; it is written now");
        }
        let device = pollster::block_on(options::device_of_run(&args.device, &config))?;
        let latest = LatestWeights::read(&folder, &settings)?;
        let target = page.then(|| report::own_page(folder.path())).transpose()?;
        let run = report::SavedRun {
            folder: folder.path(),
            config: &config,
            settings: &settings,
            dataset: &dataset,
            latest: &latest,
        };
        if let Some(events) = report::rewrite(&device, run, target.as_ref(), events)? {
            note(format_args!("events   {}", events.display()));
        }
        if let Some(target) = target {
            note(format_args!("report   {}", target.path().display()));
        }
    }
    output.result(&summary, format_args!("test accuracy {:.2} %", 100.0 * summary.test_accuracy))
}
