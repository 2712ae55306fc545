//! The report as tables: what ran, whole steps, layers by batch size, what to be wary of.

use super::growth;
use crate::cli::output::{Table, figure};
use glassnet::bench::{
    BatchReport, Bound, Crossover, DeviceReport, DeviceResult, LayerFigures, Measured, PassFigures, Peak, PeakShare,
    Report, StepFigures, times,
};
use glassnet::exec::{Clock, ExecutorKind};
use glassnet::program::Stage;
use std::fmt::Write;

/// What stands where there is no figure.
const NONE: &str = "-";

/// The whole report for a terminal.
pub fn render(report: &Report) -> String {
    let mut text = head(report);
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{}\n{}\n", steps(report), verdict(report));
    for batch in &report.batches {
        if batch.results.iter().any(|r| r.measured.as_ref().is_some_and(|m| !m.stages.is_empty())) {
            let _ = write!(text, "\n{}\n", layers(batch));
        }
    }
    if let Some(growth) = &report.growth {
        let _ = write!(text, "\n{}\n", growth::tables(growth));
    }
    for line in remarks(report) {
        let _ = write!(text, "\n{line}");
    }
    text.trim_end().to_string()
}

fn head(report: &Report) -> String {
    let Report { network, parameters, optimizer, method, version, .. } = report;
    let mut text = format!("glassnet {version}: {network}, {parameters} parameters, {optimizer}, ");
    let _ = writeln!(text, "{} random images", method.examples);
    for device in &report.devices {
        let software = if device.software { "; software: it computes on the processor" } else { "" };
        let _ = writeln!(text, "{}{software}", device.info);
        let _ = writeln!(text, "{}", peaks(device));
    }
    let _ = writeln!(
        text,
        "Training steps: gather, forward, loss, backward, update. Devices take turns; medians of up to {} rounds,\n\
         ± half the range; speed-up is CPU time over GPU time. % of peak: the least time that the measured peaks allow for\n\
         an operation's arithmetic (c) or for its memory (m), whichever is longer, over the time it took.",
        method.rounds
    );
    text
}

/// What a device did at best.
fn peaks(device: &DeviceReport) -> String {
    let peak = |peak: &Option<Peak>, unit: &str| match peak {
        Some(peak) => format!("{} {unit} ({})", figure(peak.best), peak.way),
        None => format!("no {unit}"),
    };
    let (compute, memory) = (&device.peaks.compute, &device.peaks.memory);
    format!("  at best {}, {}", peak(compute, "GFLOP/s"), peak(memory, "GB/s read and written"))
}

/// As `41 c`: percent, and what bounds it.
fn share(of_peak: Option<PeakShare>) -> String {
    of_peak.map_or(NONE.into(), |PeakShare { share, bound }| {
        let letter = if bound == Bound::Compute { 'c' } else { 'm' };
        format!("{:.0} {letter}", 100.0 * share)
    })
}

fn steps(report: &Report) -> Table {
    let mut table = Table::new(&[
        "batch",
        "device",
        "ms/step",
        "±%",
        "us/example",
        "images/s",
        "GFLOP/s",
        "% of peak",
        "ops/step",
        "host us",
        "speed-up",
    ]);
    for batch in &report.batches {
        for result in &batch.results {
            let mut cells = vec![batch.batch_size.to_string(), result.device.to_string()];
            match result.measured.as_ref().and_then(|m| m.step.as_ref()) {
                Some(step) => cells.extend(step_cells(step)),
                None => cells.push(NONE.to_string()),
            }
            if result.device == ExecutorKind::Gpu {
                cells.resize(10, String::new());
                cells.push(batch.speed_up.map_or(NONE.into(), times));
            }
            table.row(cells);
        }
    }
    table
}

fn step_cells(step: &StepFigures) -> [String; 8] {
    [
        figure(step.milliseconds.median),
        format!("{:.0}", 100.0 * step.milliseconds.deviation()),
        figure(step.us_per_example),
        format!("{:.0}", step.images_per_second.median),
        figure(step.gflops),
        share(step.of_peak),
        step.dispatches.to_string(),
        step.host_us.map_or(NONE.into(), |s| figure(s.median)),
    ]
}

fn verdict(report: &Report) -> String {
    let both = |b: &&BatchReport| b.speed_up.is_some();
    let sizes: Vec<String> = report.batches.iter().filter(both).map(|b| b.batch_size.to_string()).collect();
    let sizes = sizes.join(", ");
    match report.gpu_wins {
        Crossover::From { batch_size } => format!("The GPU wins from batch size {batch_size} on (compared: {sizes})."),
        Crossover::Never => format!("The GPU does not win at the largest batch size compared ({sizes})."),
        Crossover::NotCompared => "There is no comparison of GPU and CPU: only one of them ran.".into(),
    }
}

/// One table for a batch size: a row for each layer, six columns for each device.
fn layers(batch: &BatchReport) -> String {
    let measured: Vec<(&DeviceResult, &Measured)> =
        batch.results.iter().filter_map(|r| r.measured.as_ref().map(|m| (r, m))).collect();
    let mut header = vec!["layer".to_string()];
    for (result, _) in &measured {
        let forward = format!("{}: forward", result.device);
        let others = ["backward", "both", "GFLOP/s", "GB/s", "% of peak"].map(String::from);
        header.extend([forward].into_iter().chain(others));
    }
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let count = measured.iter().map(|(_, m)| m.layers.len()).max().unwrap_or(0);
    for i in 0..count {
        let named = measured.iter().find_map(|(_, m)| m.layers.get(i));
        let mut cells = vec![named.map_or(String::new(), layer_name)];
        for (_, m) in &measured {
            cells.extend(m.layers.get(i).map_or([NONE; 6].map(String::from), layer_cells));
        }
        table.row(cells);
    }
    let mut update = vec!["update".to_string()];
    let mut sum = vec!["sum".to_string()];
    for (_, m) in &measured {
        let stage = m.stages.iter().find(|s| s.stage == Stage::Update).map(|s| &s.figures);
        update.extend(pass_cells([None, None], stage));
        let sums =
            [&[Stage::Batch, Stage::Forward][..], &[Stage::Backward], &Stage::ALL].map(|stages| total(m, stages));
        sum.extend(sums.map(|time| time.map_or(NONE.into(), figure)));
        sum.extend([const { String::new() }; 3]);
    }
    table.row(update);
    table.row(sum);
    let clocks: Vec<String> = measured.iter().map(|(r, m)| format!("{}: {}", r.device, clock(m))).collect();
    let title = format!("Batch size {}: us per example in each layer", batch.batch_size);
    format!("{title} ({})\n{table}", clocks.join("; "))
}

fn layer_name(layer: &LayerFigures) -> String {
    let name = &layer.layer;
    layer.computed_by.as_ref().map_or(name.clone(), |by| format!("{name} (in {by})"))
}

fn layer_cells(layer: &LayerFigures) -> [String; 6] {
    pass_cells([layer.forward.as_ref().map(time), layer.backward.as_ref().map(time)], layer.both.as_ref())
}

fn pass_cells(times: [Option<f64>; 2], both: Option<&PassFigures>) -> [String; 6] {
    let [forward, backward] = times.map(|time| time.map_or(NONE.to_string(), figure));
    let of = |value: &dyn Fn(&PassFigures) -> String| both.map_or(NONE.to_string(), value);
    [
        forward,
        backward,
        of(&|f| figure(f.us_per_example)),
        of(&|f| figure(f.gflops)),
        of(&|f| figure(f.gigabytes_per_second)),
        of(&|f| share(f.of_peak)),
    ]
}

fn time(figures: &PassFigures) -> f64 {
    figures.us_per_example
}

/// Microseconds per example of some stages together.
fn total(measured: &Measured, wanted: &[Stage]) -> Option<f64> {
    let times = measured.stages.iter().filter(|s| wanted.contains(&s.stage)).map(|s| s.figures.us_per_example);
    times.reduce(|a, b| a + b)
}

fn clock(measured: &Measured) -> String {
    let name = match measured.clock {
        Some(Clock::GpuTimestamps) => "gpu-timestamps",
        Some(Clock::WallClock) => "wall-clock",
        None => return "not timed".into(),
    };
    match measured.operations_over_step {
        Some(ratio) => format!("{name}, adds up to {:.0} % of a step", 100.0 * ratio),
        None => name.into(),
    }
}

/// What did not run, what did not go well, what was left out.
fn remarks(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for DeviceReport { info, peaks, .. } in &report.devices {
        lines.extend(peaks.failures.iter().map(|why| format!("warning: {}: {why}", info.executor)));
    }
    lines.extend(above_peak(report));
    for BatchReport { batch_size, results, .. } in &report.batches {
        for DeviceResult { device, unavailable, measured, .. } in results {
            let at = format!("{device}, batch size {batch_size}");
            lines.extend(unavailable.iter().map(|why| format!("not measured: {at}: {why}")));
            let warnings = measured.iter().flat_map(|m| &m.warnings);
            lines.extend(warnings.map(|warning| format!("warning: {at}: {warning}")));
        }
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines
}

/// A word on shares above 100 %, where there are some.
fn above_peak(report: &Report) -> Option<String> {
    let measured = || report.batches.iter().flat_map(|b| &b.results).filter_map(|r| r.measured.as_ref());
    let operations = measured().flat_map(|m| &m.operations).filter_map(|o| o.figures.of_peak);
    let steps = measured().filter_map(|m| m.step.as_ref()?.of_peak);
    let mut shares = operations.chain(steps);
    shares.any(|s| s.share > 1.0).then(|| {
        "note: more than 100 % of peak: data stayed in caches, which the copy behind the peak goes beyond, zeros were \
         passed over, which the processor's convolutions do on their way back, or the probe was disturbed"
            .into()
    })
}
