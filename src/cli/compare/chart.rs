//! The curves as an SVG: training loss left, validation accuracy right, over the number of examples seen.
//!
//! A contestant with several seeds is a line through their means in a band from the lowest to the highest. A single
//! contestant has a line for each seed.

use glassnet::compare::{self, Comparison, Contestant, Point, RunResult};
use glassnet::report::axis::{Axis, accuracy_axis, inside, label, log_marks, thousands};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use std::error::Error;

const WIDTH: u32 = 1080;
const PANELS: u32 = 420;
/// Space for the title, and for each row of the legend.
const TITLE: u32 = 42;
const ROW: u32 = 22;
const FONT: &str = "sans-serif";
/// The palette of Okabe and Ito, which colour-blind readers can distinguish, with its yellow darkened because it is too
/// pale on white.
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 130, 0),
];
/// Lengths of dashes and of the gaps after them, in pixels, beginning with a line without gaps. With three markers they
/// distinguish twelve lines without colour.
const DASHES: [(u32, u32); 4] = [(1, 0), (9, 4), (3, 3), (16, 5)];
const MARKERS: usize = 3;
/// The number of markers on a line. Without markers, crossing lines with the same dashes could be confused.
const MARKERS_OF_A_LINE: usize = 8;
const MARKER: i32 = 4;
/// The most seeds drawn as separate lines; more seeds become a band.
const MOST_SEEDS: usize = 8;
/// The factor by which the loss axis exceeds a run's usual first loss if a run diverges.
const HEADROOM: f64 = 4.0;
const INK: RGBColor = RGBColor(51, 51, 51);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// One line of a panel.
struct Curve<'a> {
    name: String,
    runs: Vec<&'a RunResult>,
}

/// A line's points: x, and the lowest, mean and highest y.
type Line = Vec<(f64, [f64; 3])>;

/// The picture, as the text of an SVG file.
///
/// # Errors
/// Those of the plotting library.
pub fn svg(comparison: &Comparison) -> Result<String, Box<dyn Error>> {
    let curves = curves(comparison);
    let legend = legend(&curves);
    let head = TITLE + ROW * (legend.last().map_or(0, |(_, row, _)| *row) + 1);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, head + PANELS)).into_drawing_area();
        root.fill(&WHITE)?;
        let (top, panels) = root.split_vertically(head);
        top.draw(&Text::new(title(comparison), (20, 10), (FONT, 20).into_font().color(&INK)))?;
        for (place, (x, row, label)) in legend.into_iter().enumerate() {
            draw_entry(&top, place, (x, (TITLE + ROW * row) as i32 + 8), label)?;
        }
        let (left, right) = panels.split_horizontally(WIDTH / 2);
        let lines = |value: fn(&Point) -> Option<f64>| curves.iter().map(|c| line(c, value)).collect::<Vec<Line>>();
        let losses = lines(|point| Some(point.train_loss).filter(|loss| *loss > 0.0));
        let accuracies = lines(|point| point.validation_accuracy.map(|share| 100.0 * share));
        draw_panel(&left, Panel::of_losses(&losses), &losses)?;
        draw_panel(&right, Panel::of_accuracies(&accuracies), &accuracies)?;
        root.present()?;
    }
    Ok(text)
}

fn curves(comparison: &Comparison) -> Vec<Curve<'_>> {
    match &comparison.contestants[..] {
        [Contestant { runs, .. }] if (2..=MOST_SEEDS).contains(&runs.len()) => {
            runs.iter().map(|run| Curve { name: format!("seed {}", run.seed), runs: vec![run] }).collect()
        }
        all => all.iter().map(|c| Curve { name: c.name.clone(), runs: c.runs.iter().collect() }).collect(),
    }
}

fn title(comparison: &Comparison) -> String {
    let mut networks: Vec<&str> = comparison.contestants.iter().map(|c| c.network.as_str()).collect();
    networks.dedup();
    let seeds = match &comparison.seeds[..] {
        [seed] => format!("seed {seed}"),
        seeds if comparison.contestants.len() == 1 && seeds.len() <= MOST_SEEDS => {
            format!("{}, {} seeds", comparison.contestants[0].optimizer.name(), seeds.len())
        }
        seeds => format!("mean and range over {} seeds", seeds.len()),
    };
    match networks[..] {
        [network] => format!("{network} on {}: {seeds}", comparison.dataset),
        _ => format!("{} networks on {}: {seeds}", networks.len(), comparison.dataset),
    }
}

/// x, row and text of each curve's entry in the legend.
fn legend(curves: &[Curve<'_>]) -> Vec<(i32, u32, String)> {
    let label = |curve: &Curve<'_>| match curve.runs.iter().filter(|run| run.diverged.is_some()).count() {
        0 => curve.name.clone(),
        some if some == curve.runs.len() => format!("{} (diverged)", curve.name),
        some => format!("{} ({some} of {} diverged)", curve.name, curve.runs.len()),
    };
    let labels: Vec<String> = curves.iter().map(label).collect();
    // Columns align the names; their number depends on the longest name.
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let column = 76 + 7 * longest as u32;
    // Rows of equal length.
    let rows = labels.len().div_ceil(((WIDTH - 20) / column).max(1) as usize).max(1);
    let columns = labels.len().div_ceil(rows).max(1) as u32;
    let place = |(i, label): (usize, String)| ((26 + i as u32 % columns * column) as i32, i as u32 / columns, label);
    labels.into_iter().enumerate().map(place).collect()
}

fn draw_entry(area: &Area<'_>, place: usize, (x, y): (i32, i32), label: String) -> Drawn {
    let (dash, gap) = DASHES[place % DASHES.len()];
    let style = color(place).stroke_width(2);
    let ends = [(x - 6, y), (x + 34, y)];
    match gap {
        0 => area.draw(&PathElement::new(ends, style))?,
        _ => area.draw(&DashedPathElement::new(ends, dash, gap, style))?,
    }
    let (at, style) = ((x + 14, y), color(place).filled());
    match place % MARKERS {
        0 => area.draw(&Circle::new(at, MARKER, style))?,
        1 => area.draw(&TriangleMarker::new(at, MARKER + 2, style))?,
        _ => area.draw(&Cross::new(at, MARKER, style.stroke_width(2)))?,
    }
    Ok(area.draw(&Text::new(label, (x + 42, y - 7), (FONT, 14).into_font().color(&INK)))?)
}

fn color(place: usize) -> RGBColor {
    COLORS[place % COLORS.len()]
}

/// One panel: its axis and scale.
struct Panel {
    y_label: &'static str,
    /// From a value to its position on the axis, and back.
    scale: fn(f64) -> f64,
    value: fn(f64) -> f64,
    /// The lowest and the highest value shown.
    range: [f64; 2],
    /// Values with a mark.
    marks: Vec<f64>,
}

impl Panel {
    /// Losses on a logarithmic axis. The line of a run that diverges ends at the upper border and leaves space for the
    /// others.
    fn of_losses(lines: &[Line]) -> Option<Panel> {
        let low = lines.iter().flatten().map(|(_, y)| y[0]).reduce(f64::min)?;
        let high = lines.iter().flatten().map(|(_, y)| y[2]).reduce(f64::max)?;
        let mut firsts: Vec<f64> = lines.iter().filter_map(|line| Some(line.first()?.1[1])).collect();
        firsts.sort_by(f64::total_cmp);
        let range = [low / 1.15, (1.15 * high).min(HEADROOM * firsts[firsts.len() / 2])];
        let marks = log_marks(range[0], range[1]);
        let y_label = "training loss (last 1,000 examples)";
        Some(Panel { y_label, scale: f64::log10, value: |place| 10f64.powf(place), range, marks })
    }

    /// Accuracies in percent. The lower part of the axis, which all lines pass quickly, is cut off so that the last few
    /// percent are visible.
    fn of_accuracies(lines: &[Line]) -> Option<Panel> {
        let lowest = lines.iter().flatten().map(|(_, y)| y[0]).reduce(f64::min)?;
        let highest = lines.iter().flatten().map(|(_, y)| y[2]).reduce(f64::max)?;
        let worst = lines.iter().filter_map(|line| Some(line.last()?.1[1])).reduce(f64::min)?;
        let (range, marks) = accuracy_axis(lowest, highest, worst);
        let y_label = "validation accuracy (%, last 2,000 examples)";
        Some(Panel { y_label, scale: |value| value, value: |place| place, range, marks })
    }
}

fn line(curve: &Curve<'_>, value: fn(&Point) -> Option<f64>) -> Line {
    let summary = |values: Vec<f64>| {
        let of = |fold: fn(f64, f64) -> f64, start| values.iter().copied().fold(start, fold);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        [of(f64::min, f64::INFINITY), mean, of(f64::max, f64::NEG_INFINITY)]
    };
    compare::curve(&curve.runs, value).into_iter().map(|(x, values)| (x as f64, summary(values))).collect()
}

fn draw_panel(area: &Area<'_>, panel: Option<Panel>, lines: &[Line]) -> Drawn {
    let Some(panel) = panel else {
        let font = (FONT, 14).into_font().color(&INK);
        return Ok(area.draw(&Text::new("no points: every run diverged before its first", (80, 40), font))?);
    };
    let last = lines.iter().flatten().map(|(x, _)| *x).fold(0.0, f64::max);
    let [low, high] = panel.range.map(panel.scale);
    let marks = panel.marks.iter().map(|mark| (panel.scale)(*mark)).collect();
    let mut chart = ChartBuilder::on(area)
        .margin_top(10)
        .margin_right(24)
        .margin_left(14)
        .margin_bottom(8)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last * 1.02, Axis::new(low, high, marks))?;
    chart
        .configure_mesh()
        .x_labels(6)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| label((panel.value)(*y)))
        .x_desc("training examples seen")
        .y_desc(panel.y_label)
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .label_style((FONT, 12).into_font().color(&INK))
        .bold_line_style(RGBColor(226, 226, 226))
        .light_line_style(WHITE.mix(0.0))
        .draw()?;
    // All bands are drawn below all lines.
    for (place, line) in lines.iter().enumerate().filter(|(_, line)| line.iter().any(|(_, y)| y[0] < y[2])) {
        let edge = |which: usize| line.iter().map(move |(x, y)| (*x, (panel.scale)(y[which]).clamp(low, high)));
        let outline: Vec<(f64, f64)> = edge(0).chain(edge(2).rev()).collect();
        chart.draw_series([Polygon::new(outline, color(place).mix(0.13).filled())])?;
    }
    for (place, line) in lines.iter().enumerate() {
        let points: Vec<(f64, f64)> = line.iter().map(|(x, y)| (*x, (panel.scale)(y[1]))).collect();
        let (dash, gap) = DASHES[place % DASHES.len()];
        for piece in inside(&points, [low, high]) {
            match gap {
                0 => chart.draw_series(LineSeries::new(piece, color(place).stroke_width(2)))?,
                _ => chart.draw_series(DashedLineSeries::new(piece, dash, gap, color(place).stroke_width(2)))?,
            };
        }
        // The last point has a marker; successive lines have theirs at different positions.
        let every = points.len().div_ceil(MARKERS_OF_A_LINE);
        let shift = every * (place % lines.len()) / lines.len();
        let marked = points.iter().enumerate().filter(|(i, _)| i % every == shift || i + 1 == points.len());
        let marked = marked.map(|(_, at)| *at).filter(|(_, y)| (low..=high).contains(y));
        let style = color(place).filled();
        match place % MARKERS {
            0 => chart.draw_series(marked.map(|at| Circle::new(at, MARKER, style)))?,
            1 => chart.draw_series(marked.map(|at| TriangleMarker::new(at, MARKER + 2, style)))?,
            _ => chart.draw_series(marked.map(|at| Cross::new(at, MARKER, style.stroke_width(2))))?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_explodes_leaves_room_for_the_others() {
        let line = |values: &[f64]| values.iter().enumerate().map(|(i, y)| (i as f64, [*y; 3])).collect::<Line>();
        let lines = [line(&[2.3, 0.5, 0.1]), line(&[2.3, 1e30]), line(&[2.3, 1.0, 0.2])];
        let range = Panel::of_losses(&lines).expect("points").range;
        assert!(range[0] < 0.1 && range[1] < 10.0 && range[1] > 2.3, "{range:?}");
        assert!(Panel::of_losses(&[Line::new()]).is_none());
    }
}
