//! What `train` shows: a progress bar on a terminal, plain lines elsewhere, the table of layers at an epoch's end.

use super::options;
use super::output::{Output, Table, figure, note};
use glassnet::Result;
use glassnet::data::{Dataset, Origin};
use glassnet::exec::{Clock, DeviceInfo};
use glassnet::program::LayerStatistics;
use glassnet::train::{EpochRow, Event, Progress, Settings, StepRow, Summary};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between two plain lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The terminal's view of a run.
pub struct View {
    output: Output,
    bar: ProgressBar,
    plain: bool,
    last_line: Instant,
    description: String,
    /// The address of the live page: what was printed at the start scrolls away.
    page: Option<String>,
}

impl View {
    pub fn new(settings: &Settings, page: Option<String>, output: Output) -> View {
        let plain = !io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3}% step {pos}/{len} {wide_msg} {eta} left")
        {
            bar.set_style(style);
        }
        let network = &settings.network;
        let training = &network.training;
        let augmentation = match network.augmentation {
            none if none.is_none() => String::new(),
            some => format!(", augmentation ({some})"),
        };
        let clipping = training.clip_norm.map_or(String::new(), |norm| format!(", gradient norm at most {norm}"));
        let ema = training.ema.map_or(String::new(), |decay| format!(", moving average of the weights {decay}"));
        let exact = if training.is_exact() { ", as ConvNetJS computes" } else { "" };
        let description = format!(
            "{}: {} parameters; {} at learning rate {} ({}), batch {}, L1 decay {}, L2 decay {}{exact}{clipping}{ema}{augmentation}, seed {}",
            network.name,
            network.parameter_count(),
            settings.optimizer.name(),
            settings.optimizer.learning_rate(),
            settings.schedule.name(),
            settings.batch_size,
            settings.l1_decay,
            settings.l2_decay,
            settings.seed
        );
        View { output, bar, plain, last_line: Instant::now(), description, page }
    }

    /// The first lines: data, network, device, folder.
    pub fn introduce(&self, dataset: &Dataset, device: &DeviceInfo, folder: &Path, resumed: Option<u64>) -> Result<()> {
        let origin = match &dataset.origin {
            Origin::Files(folder) => folder.display().to_string(),
            Origin::Synthetic { .. } => "drawn by this program".into(),
            Origin::Images { folder, division, classes, .. } => {
                let (count, names) = (classes.len(), classes.join(", "));
                format!("{}; {count} classes: {names}; divided: {}", folder.display(), division.describe())
            }
        };
        let resumed = resumed.map_or(String::new(), |step| format!(", resumed at step {step}"));
        let validation = match dataset.own_validation() {
            0 => String::new(),
            count => format!("{count} validation, "),
        };
        self.output.say(format_args!(
            "data     {} ({origin}): {} training, {validation}{} test examples\nnetwork  {}\ndevice   {device}\nfolder   \
             {}{resumed}",
            dataset.name,
            dataset.train.len() - dataset.own_validation(),
            dataset.test.len(),
            self.description,
            folder.display()
        ))?;
        dataset.split().notices(dataset).iter().for_each(note);
        Ok(())
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Started { first_step, end, .. } => {
                self.bar.set_length(*end);
                self.bar.set_position(*first_step);
                self.bar.reset_eta();
            }
            Event::Progress(progress) => self.progress(progress),
            Event::Epoch(row, statistics) => self.epoch(row, *statistics)?,
            Event::Trained { .. } => self.bar.set_message("testing"),
            Event::Changed { row, .. } => self.bar.suspend(|| self.output.say(format_args!("changed {row}")))?,
            Event::Refused { why, .. } => self.bar.suspend(|| note(format_args!("not changed: {why}"))),
            Event::FirstStep | Event::Step(_) | Event::Best { .. } | Event::Checkpoint(_) | Event::Weights { .. } => {}
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
        let text = format!(
            "loss {} accuracy {} validation {} {:.0} images/s",
            progress.loss.map_or("-".into(), figure),
            percent(progress.accuracy),
            percent(progress.validation_accuracy),
            progress.images_per_second
        );
        if self.plain && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            note(format_args!("step {}/{} epoch {} {text}", progress.step, progress.end, progress.epoch + 1));
        }
        // Another batch size moves the end.
        self.bar.set_length(progress.end);
        self.bar.set_position(progress.step);
        self.bar.set_message(text);
    }

    fn epoch(&self, row: &EpochRow, statistics: Option<&StepRow>) -> Result<()> {
        let mut text = format!(
            "\nepoch {}: {} examples seen in {:.1} s, validation accuracy {:.2} %, validation loss {}",
            row.epoch,
            row.examples_seen,
            row.train_seconds,
            100.0 * row.validation_accuracy,
            figure(row.validation_loss)
        );
        if let Some(row) = statistics {
            text += &format!("\n{}\n{}", losses(row), layers(&row.layers));
        }
        text += &self.page_line();
        self.bar.suspend(|| self.output.say(text))
    }

    /// Where the live page is, as a line that follows others; nothing where there is none.
    fn page_line(&self) -> String {
        self.page.as_ref().map_or(String::new(), |url| format!("\nlive page {url}"))
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// The last lines.
    pub fn conclude(&self, summary: &Summary, folder: &Path, report: Option<&Path>, output: Output) -> Result<()> {
        let best = summary.best.map_or(String::new(), |best| {
            let early = if summary.stopped_early { "\nstopped early: the validation loss falls no more" } else { "" };
            let accuracy = 100.0 * best.validation_accuracy;
            let loss = figure(best.validation_loss);
            format!(
                "{early}\nlowest validation loss {loss}, accuracy {accuracy:.2} %, at epoch {}: best.safetensors",
                best.epoch
            )
        });
        let text = format!(
            "{best}\ntest accuracy {:.2} %, test loss {}{}; {} examples in {:.1} s, {:.0} images/s\nsaved in {}{}{}",
            100.0 * summary.test_accuracy,
            figure(summary.test_loss),
            options::mean_of(summary.test_crops),
            summary.examples_seen,
            summary.train_seconds,
            summary.images_per_second,
            folder.display(),
            report.map_or(String::new(), |path| format!("\nreport   {}", path.display())),
            self.page_line()
        );
        output.result(summary, text)
    }
}

/// One line about the step that the table of layers was taken at.
fn losses(row: &StepRow) -> String {
    let time = row.time_per_example.map_or(String::new(), |t| {
        let clock = match t.clock {
            Clock::GpuTimestamps => "GPU timestamps",
            Clock::WallClock => "wall clock",
        };
        let us = |ns: f64| figure(ns / 1000.0);
        let (forward, backward, update) = (us(t.forward_ns), us(t.backward_ns), us(t.update_ns));
        format!("; µs per example: forward {forward}, backward {backward}, update {update} ({clock})")
    });
    format!(
        "step {}: classification loss {}, weight-decay loss {}{time}",
        row.step,
        figure(row.classification_loss),
        figure(row.weight_decay_loss)
    )
}

/// The table of layers: extremes, mean and deviation of activations and gradients, weights, dead units, update ratio.
pub fn layers(layers: &[LayerStatistics]) -> Table {
    let mut table = Table::new(&[
        "layer", "act min", "act max", "act mean", "act std", "grad min", "grad max", "grad std", "w min", "w max",
        "w std", "dw min", "dw max", "dw std", "dead", "dw/w",
    ]);
    for layer in layers {
        let mut row = vec![layer.layer.clone()];
        let of = |value: Option<f32>| value.map_or("-".to_string(), |v| short(f64::from(v)));
        let activation = layer.activation.as_ref();
        row.extend([activation.map(|s| s.min), activation.map(|s| s.max)].map(of));
        row.extend([activation.map(|s| s.mean), activation.map(|s| s.std)].map(of));
        for summary in [&layer.activation_gradient, &layer.weight, &layer.weight_gradient] {
            let summary = summary.as_ref();
            row.extend([summary.map(|s| s.min), summary.map(|s| s.max), summary.map(|s| s.std)].map(of));
        }
        row.push(layer.dead_units.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)));
        row.push(of(layer.update_ratio));
        table.row(row);
    }
    table
}

/// Three significant digits: the table has many columns.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        m if (0.01..1000.0).contains(&m) => format!("{value:.*}", (2 - m.log10().floor() as i32).max(0) as usize),
        _ => format!("{value:.1e}"),
    }
}
