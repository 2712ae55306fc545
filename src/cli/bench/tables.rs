//! The report as tables: the devices, whole steps, layers by batch size, and warnings.

use super::growth;
use crate::cli::output::{Table, figure};
use glassnet::bench::{
    BatchReport, Bound, DeviceReport, DeviceResult, HostParts, LayerFigures, Measured, PassFigures, Peak, PeakShare,
    Report, StepFigures, times,
};
use glassnet::exec::{Clock, ExecutorKind};
use glassnet::program::Stage;
use std::fmt::Write;

/// The text of a missing value.
const NONE: &str = "-";

/// Marks figures that count arithmetic which was skipped.
const MARK: &str = "*";

/// The share of a step from which on the host's work is broken down.
const MUCH_HOST: f64 = 0.1;

/// Reports for a terminal; several end with the verdict on each network.
pub fn render_all(reports: &[Report]) -> String {
    let mut parts: Vec<String> = reports.iter().map(render).collect();
    if reports.len() > 1 {
        let verdicts = reports.iter().map(|report| format!("{}: {}", report.network, report.verdict));
        parts.push(verdicts.collect::<Vec<_>>().join("\n"));
    }
    parts.join("\n\n")
}

/// The whole report on one network.
fn render(report: &Report) -> String {
    let mut text = head(report);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{}", steps(report));
    for line in skipped_in_steps(report).into_iter().chain(host(report)) {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "{}", report.verdict);
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

/// A device's measured peaks.
fn peaks(device: &DeviceReport) -> String {
    let peak = |peak: &Option<Peak>, unit: &str| match peak {
        Some(peak) => format!("{} {unit} ({})", figure(peak.best), peak.way),
        None => format!("no {unit}"),
    };
    let (compute, memory) = (&device.peaks.compute, &device.peaks.memory);
    format!("  at best {}, {}", peak(compute, "GFLOP/s"), peak(memory, "GB/s read and written"))
}

/// A share such as `41 c`: percent, and what limits it; `41 c*` if arithmetic was skipped.
fn share(of_peak: Option<PeakShare>, skipped: Option<f64>) -> String {
    of_peak.map_or(NONE.into(), |PeakShare { share, bound }| {
        let letter = if bound == Bound::Compute { 'c' } else { 'm' };
        format!("{:.0} {letter}{}", 100.0 * share, mark(skipped))
    })
}

fn mark(skipped: Option<f64>) -> &'static str {
    skipped.map_or("", |_| MARK)
}

/// The footnote to marked figures; each part names a place and the share that was skipped there.
fn footnote(parts: &[(String, f64)]) -> Option<String> {
    let parts: Vec<String> = parts.iter().map(|(place, share)| format!("{place} {:.0} %", 100.0 * share)).collect();
    (!parts.is_empty()).then(|| {
        format!(
            "{MARK} counts arithmetic that was skipped, because it multiplies gradients of zero: {}",
            parts.join(", ")
        )
    })
}

fn skipped_in_steps(report: &Report) -> Option<String> {
    let mut parts = Vec::new();
    for BatchReport { batch_size, results, .. } in &report.batches {
        for DeviceResult { device, measured, .. } in results {
            let skipped = measured.as_ref().and_then(|m| m.step.as_ref()?.skipped);
            parts.extend(skipped.map(|share| (format!("{device} at batch {batch_size}"), share)));
        }
    }
    footnote(&parts)
}

fn skipped_in_operations(measured: &[(&DeviceResult, &Measured)]) -> Option<String> {
    let operations = measured.iter().flat_map(|(_, m)| &m.operations);
    let parts = operations.filter_map(|o| Some((o.operation.clone(), o.figures.skipped?)));
    footnote(&parts.collect::<Vec<_>>())
}

/// What the host's time consists of, where it is a large part of a step.
fn host(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for BatchReport { batch_size, results, .. } in &report.batches {
        for DeviceResult { device, measured, .. } in results {
            let step = measured.as_ref().and_then(|m| m.step.as_ref());
            lines.extend(
                step.and_then(host_parts).map(|parts| format!("host us, {device} at batch {batch_size}: {parts}")),
            );
        }
    }
    lines
}

fn host_parts(step: &StepFigures) -> Option<String> {
    let (all, HostParts { inputs_us, finish_us, submit_us }) = (step.host_us?.median, step.host_parts?);
    let share = all / (1e3 * step.milliseconds.median);
    let rest = (all - inputs_us - finish_us - submit_us).max(0.0);
    let [finish, submit, inputs, rest] = [finish_us, submit_us, inputs_us, rest].map(figure);
    (share >= MUCH_HOST).then(|| {
        format!(
            "{:.0} % of a step: finishing commands {finish}, submitting them {submit}, writing inputs {inputs}, recording \
             and the rest {rest}",
            100.0 * share
        )
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
        format!("{}{}", figure(step.gflops), mark(step.skipped)),
        share(step.of_peak, step.skipped),
        step.dispatches.to_string(),
        step.host_us.map_or(NONE.into(), |s| figure(s.median)),
    ]
}

/// The table of one batch size: a row for each layer, six columns for each device.
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
    let footnote = skipped_in_operations(&measured).map_or(String::new(), |line| format!("\n{line}"));
    format!("{title} ({})\n{}{footnote}", clocks.join("; "), table.to_string().trim_end())
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
        of(&|f| format!("{}{}", figure(f.gflops), mark(f.skipped))),
        of(&|f| figure(f.gigabytes_per_second)),
        of(&|f| share(f.of_peak, f.skipped)),
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

/// Everything that did not run, failed or was left out.
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

/// A note on shares above 100 %, if there are any.
fn above_peak(report: &Report) -> Option<String> {
    let measured = || report.batches.iter().flat_map(|b| &b.results).filter_map(|r| r.measured.as_ref());
    let operations = measured().flat_map(|m| &m.operations).filter_map(|o| o.figures.of_peak);
    let steps = measured().filter_map(|m| m.step.as_ref()?.of_peak);
    let mut shares = operations.chain(steps);
    shares.any(|s| s.share > 1.0).then(|| {
        "note: shares above 100 % of peak have three possible causes: data stayed in caches, which are faster than the \
         measured copy; arithmetic was skipped, where a mark says so; or the probe was disturbed"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_marked_only_where_arithmetic_was_skipped() {
        let of_peak = Some(PeakShare { share: 1.416, bound: Bound::Compute });
        assert_eq!(share(of_peak, Some(0.75)), "142 c*");
        assert_eq!(share(of_peak, None), "142 c");
        assert_eq!(share(None, Some(0.75)), "-");
    }

    #[test]
    fn the_footnote_names_every_share_of_zeros() {
        assert_eq!(footnote(&[]), None);
        let parts = [("conv1.backward_weight".to_string(), 0.831), ("conv2.backward_input".to_string(), 0.75)];
        assert_eq!(
            footnote(&parts).as_deref(),
            Some(
                "* counts arithmetic that was skipped, because it multiplies gradients of zero: conv1.backward_weight \
                 83 %, conv2.backward_input 75 %"
            )
        );
    }
}
