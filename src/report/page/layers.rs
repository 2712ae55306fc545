//! Statistics of layers over the run: where gradients vanish or explode, and where units die.

use super::{OPEN, marked, plot, updates};
use crate::error::Result;
use crate::kernels::statistics::Summary;
use crate::program::{LayerStatistics, Quantity};
use crate::report::Report;
use crate::report::curves::{Chart, Curve, MOST_LINES, Scale};
use crate::report::html::{Table, escaped, figure, or_dash, percent};
use crate::train::StepRow;

/// A statistic of a layer.
type Value = fn(&LayerStatistics) -> Option<f64>;

/// A layer's name and its statistic at each row's step.
type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// The standard deviation of the gradient that reaches a layer.
fn gradient(layer: &LayerStatistics) -> Option<f64> {
    layer.activation_gradient.map(|summary| f64::from(summary.std))
}

fn activation(layer: &LayerStatistics) -> Option<f64> {
    layer.activation.map(|summary| f64::from(summary.std))
}

fn update_ratio(layer: &LayerStatistics) -> Option<f64> {
    layer.update_ratio.map(f64::from)
}

fn dead_units(layer: &LayerStatistics) -> Option<f64> {
    layer.dead_units.map(|share| 100.0 * f64::from(share))
}

pub(super) fn statistics(report: &Report<'_>) -> Result<String> {
    let rows = &report.run.history.steps;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok("<p>The run has no rows of statistics.</p>\n".into());
    };
    let mut text = spread(last);
    text += &overview(first, last).to_string();
    text += "<h3>All layers</h3>\n<div class=\"plots\">\n";
    let figures: [(&str, &str, Scale, Value); 4] = [
        ("Gradients of activations, σ", "σ", Scale::Log, gradient),
        ("Activations, σ", "σ", Scale::Log, activation),
        ("Update-to-weight ratio", "‖Δw‖ / ‖w‖", Scale::Log, update_ratio),
        ("Dead units", "percent", Scale::Even, dead_units),
    ];
    for (title, label, scale, value) in figures {
        text += &together(report, last, &Chart::new(title, label, scale), value)?;
    }
    text += "</div>\n<h3>Layer by layer</h3>\n";
    text += "<p class=\"soft\">Smallest and largest value, mean and mean ± σ of each tensor over the batch. Gradients are \
             those of the mean loss, without decay. If magnitudes differ widely, the axis is logarithmic on both \
             sides of 0.</p>\n";
    let open = if last.layers.len() <= OPEN { " open" } else { "" };
    for layer in &last.layers {
        let charts = layer_charts(report, layer)?;
        if !charts.is_empty() {
            text += &format!(
                "<details{open}><summary>{}</summary>\n<div class=\"plots\">\n{charts}</div></details>\n",
                escaped(&layer.layer)
            );
        }
    }
    Ok(text)
}

/// A sentence on the range of gradient sizes in the last row.
fn spread(last: &StepRow) -> String {
    let sizes = last.layers.iter().filter_map(|layer| Some((layer.layer.as_str(), gradient(layer)?)));
    let mut sizes: Vec<(&str, f64)> = sizes.filter(|(_, size)| size.is_finite()).collect();
    sizes.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (Some((least, low)), Some((most, high))) = (sizes.first(), sizes.last()) else { return String::new() };
    let after = updates(last.step);
    if *high <= 0.0 {
        return format!("<p>After {after} all gradients of activations have a σ of 0.</p>\n");
    }
    let factor = if *low > 0.0 { format!(", {} times as large", figure(high / low)) } else { String::new() };
    format!(
        "<p>After {after} the gradients of activations are smallest in {} (σ {}) and largest in {} (σ {}{factor}). \
         Gradients that shrink or grow by orders of magnitude from the last layer to the first vanish or explode.</p>\n",
        escaped(least),
        figure(*low),
        escaped(most),
        figure(*high),
    )
}

fn overview(first: &StepRow, last: &StepRow) -> Table {
    let caption = format!("First row of statistics (after {}) and last one (after {})", updates(first.step), last.step);
    let head = [
        "layer",
        "activation σ, first",
        "last",
        "gradient σ, first",
        "last",
        "update ratio, first",
        "last",
        "dead units, first",
        "last",
    ];
    let mut table = Table::new(&caption, &head);
    for layer in &last.layers {
        let before = first.layers.iter().find(|other| other.layer == layer.layer);
        let mut cells = vec![layer.layer.clone()];
        for value in [activation, gradient, update_ratio] {
            cells.extend([before.and_then(value), value(layer)].map(|value| or_dash(value, told)));
        }
        let dead = |layer: &LayerStatistics| layer.dead_units.map(f64::from);
        cells.extend([before.and_then(dead), dead(layer)].map(|share| or_dash(share, percent)));
        table.row(cells);
    }
    table
}

/// A value as text; infinities and NaN are described in words.
fn told(value: f64) -> String {
    if value.is_finite() { figure(value) } else { "not finite".into() }
}

/// One statistic of all layers that have it, a few per chart, all with the same axis.
fn together(report: &Report<'_>, last: &StepRow, empty: &Chart, value: Value) -> Result<String> {
    let rows = &report.run.history.steps;
    let points = |layer: &LayerStatistics| -> Vec<(f64, f64)> {
        let of = |row: &StepRow| {
            let found = row.layers.iter().find(|other| other.layer == layer.layer)?;
            Some((row.step as f64, value(found)?))
        };
        rows.iter().filter_map(of).collect()
    };
    let lines = last.layers.iter().map(|layer| (layer.layer.as_str(), points(layer)));
    let lines: Vec<Line<'_>> = lines.filter(|(_, points)| !points.is_empty()).collect();
    let heights: Vec<f64> =
        lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y).filter(|y| y.is_finite()).collect();
    let above_zero = heights.iter().copied().filter(|y| *y > 0.0).reduce(f64::min);
    let ends = [heights.iter().copied().reduce(f64::min), above_zero, heights.iter().copied().reduce(f64::max)];
    let holds: Vec<f64> = ends.into_iter().flatten().collect();
    let charts = lines.len().div_ceil(MOST_LINES).max(1);
    let mut text = String::new();
    for (part, lines) in lines.chunks(lines.len().div_ceil(charts).max(1)).enumerate() {
        let title = &empty.title;
        let title = if charts > 1 { format!("{title} ({} of {charts})", part + 1) } else { title.clone() };
        let line = |(place, (name, points)): (usize, &Line<'_>)| Curve::line(*name, place, points.clone());
        let curves = lines.iter().enumerate().map(line).collect();
        text += &plot(&marked(report, Chart { title, curves, holds: holds.clone(), ..empty.clone() }), figure)?;
    }
    Ok(text)
}

/// Charts of activations, their gradients and the weights' gradients.
fn layer_charts(report: &Report<'_>, layer: &LayerStatistics) -> Result<String> {
    let rows = &report.run.history.steps;
    let figures = [
        ("activations", Quantity::Activation),
        ("gradients of activations", Quantity::ActivationGradient),
        ("gradients of weights", Quantity::WeightGradient),
    ];
    let mut text = String::new();
    for (what, quantity) in figures {
        let of = |row: &StepRow| {
            let found = row.layers.iter().find(|other| other.layer == layer.layer)?;
            Some((row.step as f64, *found.get(quantity)?))
        };
        let summaries: Vec<(f64, Summary)> = rows.iter().filter_map(of).collect();
        text += &extremes(report, &format!("{}: {what}", layer.layer), &summaries)?;
    }
    Ok(text)
}

fn extremes(report: &Report<'_>, title: &str, summaries: &[(f64, Summary)]) -> Result<String> {
    let of = |value: fn(&Summary) -> f32| summaries.iter().map(|(x, s)| (*x, f64::from(value(s)))).collect();
    let sizes = summaries.iter().map(|(_, summary)| f64::from(summary.std)).filter(|size| *size > 0.0);
    let scale = sizes.reduce(f64::min).map_or(Scale::Even, Scale::Signed);
    let chart = Chart {
        curves: vec![
            Curve::line("mean", 0, of(|s| s.mean)),
            Curve::line("smallest", 1, of(|s| s.min)),
            Curve::line("largest", 2, of(|s| s.max)),
        ],
        band: summaries.iter().map(|(x, s)| (*x, f64::from(s.mean - s.std), f64::from(s.mean + s.std))).collect(),
        ..Chart::new(title, "value", scale)
    };
    plot(&marked(report, chart), figure)
}
