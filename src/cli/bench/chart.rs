//! The growth curves as an SVG: images per second above, memory below; over the batch size left, over the width right.

use super::growth::left_out;
use glassnet::bench::{Growth, GrowthPoint, GrowthResult, Report};
use glassnet::exec::ExecutorKind;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;

const SIZE: (u32, u32) = (1080, 820);
/// Space above and below the four panels.
const HEAD: u32 = 66;
const FOOT: u32 = 22;
const FONT: &str = "sans-serif";
/// From the palette of Okabe and Ito, which colour-blind readers can distinguish; markers differ too.
const COLORS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];
/// Sizes of the two markers.
const CIRCLE: i32 = 4;
const TRIANGLE: i32 = 6;
const INK: RGBColor = RGBColor(51, 51, 51);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// One panel with its quantities.
struct Panel<'a> {
    points: &'a [GrowthPoint],
    x_label: String,
    y_label: &'static str,
    /// The ratio of neighbouring sizes, for the axis marks.
    base: f64,
    value: fn(&GrowthResult) -> Option<f64>,
}

/// The picture, as the text of an SVG file.
///
/// # Errors
/// Those of the plotting library.
pub fn svg(report: &Report, growth: &Growth) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, rest) = root.split_vertically(HEAD);
        let (panels, foot) = rest.split_vertically(SIZE.1 - HEAD - FOOT);
        draw_head(&head, report)?;
        draw_foot(&foot, growth)?;
        for (area, panel) in panels.split_evenly((2, 2)).iter().zip(layout(growth)) {
            draw_panel(area, &panel)?;
        }
        root.present()?;
    }
    Ok(text)
}

fn layout(growth: &Growth) -> [Panel<'_>; 4] {
    let speed = |result: &GrowthResult| result.images_per_second.map(|speed| speed.median);
    let memory = |result: &GrowthResult| result.memory_bytes.map(|bytes| bytes as f64);
    let batch = |y_label, value| {
        let x_label = "batch size (images)".to_string();
        Panel { points: &growth.by_batch_size, x_label, y_label, base: 4.0, value }
    };
    let width = |y_label, value| {
        let x_label = format!("width (channels, times the network's own) at batch size {}", growth.width_batch_size);
        Panel { points: &growth.by_width, x_label, y_label, base: 2.0, value }
    };
    let (images, bytes) = ("training speed (images/s)", "memory (bytes)");
    [batch(images, speed), width(images, speed), batch(bytes, memory), width(bytes, memory)]
}

/// The title, and the devices with their colours and markers.
fn draw_head(area: &Area<'_>, report: &Report) -> Drawn {
    let title = format!("How training of {} grows with the batch and with the network", report.network);
    area.draw(&Text::new(title, (20, 10), (FONT, 20).into_font().color(&INK)))?;
    let mut x = 26;
    for (place, device) in report.devices.iter().enumerate() {
        let info = &device.info;
        let name = match info.executor {
            ExecutorKind::Gpu => format!("gpu: {} ({})", info.name, info.backend),
            host => format!("{host}: {}, {} threads", info.name, info.threads),
        };
        area.draw(&PathElement::new([(x - 6, 50), (x + 22, 50)], color(place).stroke_width(2)))?;
        // A circle for the first device, a triangle for the second.
        match place % 2 {
            0 => area.draw(&Circle::new((x + 8, 50), CIRCLE, color(place).filled()))?,
            _ => area.draw(&TriangleMarker::new((x + 8, 50), TRIANGLE, color(place).filled()))?,
        }
        area.draw(&Text::new(name.clone(), (x + 30, 43), (FONT, 14).into_font().color(&INK)))?;
        x += 70 + 7 * name.chars().count() as i32;
    }
    Ok(())
}

/// The sizes without a point.
fn draw_foot(area: &Area<'_>, growth: &Growth) -> Drawn {
    let places: Vec<String> = left_out(growth).map(|(place, _)| place).collect();
    if !places.is_empty() {
        let font = (FONT, 12).into_font().color(&INK);
        area.draw(&Text::new(format!("Left out: {}", places.join("; ")), (20, 2), font))?;
    }
    Ok(())
}

fn color(place: usize) -> RGBColor {
    COLORS[place % COLORS.len()]
}

fn draw_panel(area: &Area<'_>, panel: &Panel<'_>) -> Drawn {
    let values = || panel.points.iter().flat_map(|p| p.results.iter().filter_map(panel.value));
    let (Some(low), Some(high)) = (values().reduce(f64::min), values().reduce(f64::max)) else {
        let font = (FONT, 14).into_font().color(&INK);
        return Ok(area.draw(&Text::new("nothing was measured", (80, 40), font))?);
    };
    let sizes = || panel.points.iter().map(|p| p.size as f64);
    let (first, last) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    // Space for the markers at both ends.
    let margin = panel.base.powf(0.15);
    let x = (first / margin..last * margin).log_scale().base(panel.base);
    // Whole decades, so that the axis has enough marks.
    let y = (10f64.powf(low.log10().floor())..10f64.powf((high * 1.01).log10().ceil())).log_scale();
    let mut chart = ChartBuilder::on(area)
        .margin_top(8)
        .margin_right(24)
        .margin_left(16)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_labels(panel.points.len())
        // Nothing is measured between two sizes.
        .x_max_light_lines(1)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| engineering(*y))
        .x_desc(panel.x_label.as_str())
        .y_desc(panel.y_label)
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .label_style((FONT, 12).into_font().color(&INK))
        .bold_line_style(RGBColor(214, 214, 214))
        .light_line_style(RGBColor(240, 240, 240))
        .draw()?;
    let devices = panel.points.iter().map(|p| p.results.len()).max().unwrap_or(0);
    for place in 0..devices {
        let of = |p: &GrowthPoint| Some((p.size as f64, (panel.value)(p.results.get(place)?)?));
        let line: Vec<(f64, f64)> = panel.points.iter().filter_map(of).collect();
        chart.draw_series(LineSeries::new(line.iter().copied(), color(place).stroke_width(2)))?;
        let (points, style) = (line.into_iter(), color(place).filled());
        match place % 2 {
            0 => chart.draw_series(points.map(|at| Circle::new(at, CIRCLE, style)))?,
            _ => chart.draw_series(points.map(|at| TriangleMarker::new(at, TRIANGLE, style)))?,
        };
    }
    Ok(())
}

/// A number in short form, such as `300`, `2k`, `5M`, `1G`.
fn engineering(value: f64) -> String {
    let (scale, unit) = match value {
        v if v >= 1e9 => (1e9, "G"),
        v if v >= 1e6 => (1e6, "M"),
        v if v >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    format!("{}{unit}", (value / scale * 10.0).round() / 10.0)
}
