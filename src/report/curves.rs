//! One chart as an SVG inside a page, drawn in the page's own colours, light or dark.
//!
//! The plotting library only has fixed colours. Each line is drawn in a colour that stands for its place; in the
//! resulting text that colour is replaced by a class, which the page's style gives a colour and dashes.

use super::axis::{Axis, accuracy_axis, even_label, even_marks, inside, label, log_marks, thousands};
use super::html::escaped;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// The most lines that one chart can distinguish by colour and dashes.
pub const MOST_LINES: usize = 6;

/// Width and height in the units of text sizes. Coordinates are whole numbers, hence the finer grid below.
const SIZE: [u32; 2] = [400, 250];
const GRID: u32 = 4;
const FONT: &str = "sans-serif";
const TEXT: i32 = 17 * GRID as i32;
/// The most points of a line; a longer line keeps the extremes of neighbouring points.
const MOST_POINTS: usize = 260;
/// Placeholder colours for text and for the lines in the background.
const INK: RGBColor = RGBColor(1, 1, 1);
const BEHIND: RGBColor = RGBColor(2, 2, 2);
const CHANGE: RGBColor = RGBColor(3, 3, 3);
const CHECKPOINT: RGBColor = RGBColor(4, 4, 4);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// The scale of the vertical axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Linear, from the smallest to the largest value.
    Even,
    /// Logarithmic if positive values span a decade or more, otherwise linear. Zeros lie on a floor below the smallest
    /// positive value.
    Log,
    /// Both signs, logarithmic beyond this size and linear around 0.
    Signed(f64),
    /// Percent, with emphasis on the last few.
    Accuracy,
}

/// A line or a set of points.
#[derive(Debug, Clone)]
pub struct Curve {
    pub name: String,
    /// Its index among colours and dashes, below [`MOST_LINES`].
    pub place: usize,
    /// The points; the line breaks where a value is not finite.
    pub points: Vec<(f64, f64)>,
    /// Draws points instead of a line through them.
    pub dots: bool,
}

impl Curve {
    pub fn line(name: impl Into<String>, place: usize, points: Vec<(f64, f64)>) -> Curve {
        Curve { name: name.into(), place, points, dots: false }
    }
}

/// A chart over the steps of a run.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The title, also the text for screen readers.
    pub title: String,
    pub y_label: String,
    pub scale: Scale,
    pub curves: Vec<Curve>,
    /// x, lower and upper end of a band behind the lines.
    pub band: Vec<(f64, f64, f64)>,
    /// Positions of vertical lines that mark changes.
    pub marks: Vec<f64>,
    /// The checkpoint of the weights, in a run with later rows.
    pub checkpoint: Option<f64>,
    /// Values that the axis must include.
    pub holds: Vec<f64>,
}

/// The vertical axis: maps a value to its position, and a position to its label.
struct Upright {
    place: Box<dyn Fn(f64) -> f64>,
    /// The label at a position.
    label: Box<dyn Fn(f64) -> String>,
    axis: Axis,
}

impl Chart {
    pub fn new(title: impl Into<String>, y_label: impl Into<String>, scale: Scale) -> Chart {
        let (title, y_label) = (title.into(), y_label.into());
        let (curves, band, marks, holds) = Default::default();
        Chart { title, y_label, scale, curves, band, marks, checkpoint: None, holds }
    }

    /// The SVG; `None` if there is no finite point.
    ///
    /// # Errors
    /// [`Error::Io`] with the plotting library's message.
    pub fn svg(&self) -> Result<Option<String>> {
        let chart = self.finite();
        let Some((upright, across)) = chart.axes() else { return Ok(None) };
        let failed = |error: Box<dyn std::error::Error>| std::io::Error::other(error.to_string());
        let text = chart.text(&upright, across).map_err(failed);
        let text = text.map_err(Error::io("draw a chart of", Path::new("the report")))?;
        Ok(Some(chart.in_page(&text)))
    }

    /// The SVG as the library writes it.
    fn text(&self, upright: &Upright, across: Axis) -> std::result::Result<String, Box<dyn std::error::Error>> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, (SIZE[0] * GRID, SIZE[1] * GRID)).into_drawing_area();
            self.draw(&root, upright, across)?;
            root.present()?;
        }
        Ok(text)
    }

    /// The chart without values that cannot be drawn and with no more points than can be seen.
    fn finite(&self) -> Chart {
        let mut chart = self.clone();
        chart.curves = self.curves.iter().flat_map(pieces).collect();
        chart.holds.retain(|value| value.is_finite());
        chart.band.retain(|(x, ..)| x.is_finite());
        let (every, last) = (chart.band.len().div_ceil(MOST_POINTS).max(1), chart.band.len().saturating_sub(1));
        let seen = |(place, _): &(usize, &(f64, f64, f64))| place % every == 0 || *place == last;
        chart.band = chart.band.iter().enumerate().filter(seen).map(|(_, at)| *at).collect();
        chart
    }

    /// Both axes; `None` if there are no points.
    fn axes(&self) -> Option<(Upright, Axis)> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let band = || self.band.iter().flat_map(|(_, a, b)| [*a, *b]).filter(|y| y.is_finite());
        let heights = || points().map(|(_, y)| *y).chain(band()).chain(self.holds.iter().copied());
        let above_zero = heights().filter(|y| *y > 0.0).reduce(f64::min);
        let (low, high) = (heights().reduce(f64::min)?, heights().reduce(f64::max)?);
        points().next()?;
        let (first, last) = points().fold((f64::INFINITY, 0f64), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
        // A long run is shown from its beginning.
        let first = if first < 0.2 * last { 0.0 } else { first };
        let (first, last) = if first < last { (first, last) } else { (first - 1.0, last + 1.0) };
        let whole: Vec<f64> =
            even_marks(first, last, 5).into_iter().filter(|x| x.fract() == 0.0 && *x >= 0.0).collect();
        Some((self.upright(low, high, above_zero), Axis::new(first, last, whole)))
    }

    /// The vertical axis; `above_zero` is the smallest positive value.
    fn upright(&self, low: f64, high: f64, above_zero: Option<f64>) -> Upright {
        let even = |low: f64, high: f64, marks: Vec<f64>| Upright {
            place: Box::new(|value| value),
            label: even_label(&marks),
            axis: Axis::new(low, high, marks),
        };
        let least = above_zero.unwrap_or(high);
        match self.scale {
            Scale::Accuracy => {
                let last = |curve: &Curve| curve.points.last().map(|(_, y)| *y);
                let worst = self.curves.iter().filter_map(last).reduce(f64::min).unwrap_or(low);
                let ([low, high], marks) = accuracy_axis(low, high, worst);
                even(low, if high > low { high } else { low + 1.0 }, marks)
            }
            Scale::Log if low >= 0.0 && high / least > 8.0 => logarithmic(least / 1.2, high * 1.2, low == 0.0),
            Scale::Signed(size) if size > 0.0 && low.abs().max(high.abs()) > 40.0 * size => {
                let place = move |value: f64| (value / size).asinh();
                let reach = low.abs().max(high.abs()) * 1.3;
                let ends = [if low < 0.0 { -reach } else { 0.0 }, if high > 0.0 { reach } else { 0.0 }];
                let marks = signed_marks(size, reach).into_iter().map(place).collect();
                let axis = Axis::new(place(ends[0]), place(ends[1]), marks);
                Upright { place: Box::new(place), label: Box::new(move |at| label(at.sinh() * size)), axis }
            }
            _ if low == 0.0 && high == 0.0 => even(0.0, 1.0, even_marks(0.0, 1.0, 4)),
            _ => {
                let room = if high > low { 0.06 * (high - low) } else { (0.1 * high.abs()).max(f64::MIN_POSITIVE) };
                // The axis of values that are never negative does not extend below 0.
                let floor = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
                even(floor, high + room, even_marks(floor, high + room, 4))
            }
        }
    }

    fn draw(&self, root: &Area<'_>, upright: &Upright, across: Axis) -> Drawn {
        let Axis { low, high, .. } = upright.axis;
        let mut chart = ChartBuilder::on(root)
            .margin_top(8 * GRID)
            .margin_right(14 * GRID)
            .margin_left(2 * GRID)
            .x_label_area_size(40 * GRID)
            .y_label_area_size(70 * GRID)
            .build_cartesian_2d(across, upright.axis.clone())?;
        let text = (FONT, TEXT).into_font().color(&INK);
        chart
            .configure_mesh()
            .x_label_formatter(&|x| thousands(*x))
            .y_label_formatter(&|y| (upright.label)(*y))
            .x_desc("updates")
            .y_desc(self.y_label.as_str())
            .axis_desc_style(text.clone())
            .label_style(text)
            .axis_style(INK.stroke_width(GRID))
            .bold_line_style(BEHIND.stroke_width(GRID))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for x in &self.marks {
            chart.draw_series([PathElement::new([(*x, low), (*x, high)], CHANGE.stroke_width(GRID))])?;
        }
        for x in self.checkpoint.iter() {
            chart.draw_series([PathElement::new([(*x, low), (*x, high)], CHECKPOINT.stroke_width(GRID))])?;
        }
        let at = |y: f64| (upright.place)(y).clamp(low, high);
        let missing = |(_, low, high): &(f64, f64, f64)| !(low.is_finite() && high.is_finite());
        for band in self.band.split(missing).filter(|band| band.len() > 1) {
            let lower = band.iter().map(|(x, y, _)| (*x, at(*y)));
            let upper = band.iter().rev().map(|(x, _, y)| (*x, at(*y)));
            let outline: Vec<(f64, f64)> = lower.chain(upper).collect();
            chart.draw_series([Polygon::new(outline, stands_for(0).mix(0.25).filled())])?;
        }
        for curve in &self.curves {
            let points: Vec<(f64, f64)> = curve.points.iter().map(|(x, y)| (*x, (upright.place)(*y))).collect();
            let color = stands_for(curve.place);
            if curve.dots || points.len() == 1 {
                let seen = points.iter().filter(|(_, y)| (low..=high).contains(y));
                chart.draw_series(seen.map(|point| Circle::new(*point, 3 * GRID, color.filled())))?;
                continue;
            }
            for piece in inside(&points, [low, high]) {
                chart.draw_series(LineSeries::new(piece, color.stroke_width(2 * GRID)))?;
            }
        }
        Ok(())
    }

    /// The library's text with the page's colours, as wide as the space allows.
    fn in_page(&self, text: &str) -> String {
        let body = text.find('>').map_or("", |end| &text[end + 1..]);
        let mut body = body.replace(&color("fill", INK), "fill=\"currentColor\"");
        body = body.replace(&color("stroke", INK), "stroke=\"currentColor\"");
        body = body.replace(&color("stroke", BEHIND), "class=\"behind\"");
        body = body.replace(&color("stroke", CHANGE), "class=\"change\"");
        body = body.replace(&color("stroke", CHECKPOINT), "class=\"checkpoint\"");
        for place in 0..MOST_LINES {
            body = body.replace(&color("stroke", stands_for(place)), &format!("class=\"line{place}\""));
            body = body.replace(&color("fill", stands_for(place)), &format!("class=\"fill{place}\""));
        }
        let (width, height) = (SIZE[0] * GRID, SIZE[1] * GRID);
        let title = escaped(&self.title);
        format!("<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">{body}")
    }
}

/// The placeholder colour of the line at `place`.
fn stands_for(place: usize) -> RGBColor {
    RGBColor(10, place as u8, 0)
}

/// A colour attribute as the library writes it.
fn color(attribute: &str, RGBColor(r, g, b): RGBColor) -> String {
    format!("{attribute}=\"#{r:02X}{g:02X}{b:02X}\"")
}

/// A logarithmic axis from `low` to `high`, with a floor for zeros if there are any.
fn logarithmic(low: f64, high: f64, with_zero: bool) -> Upright {
    let mut marks: Vec<f64> = log_marks(low, high).into_iter().map(f64::log10).collect();
    let (bottom, top) = (low.log10(), high.log10());
    let floor = if with_zero { bottom - 0.12 * (top - bottom) } else { bottom };
    marks.retain(|mark| *mark >= bottom);
    if with_zero {
        marks.push(floor);
    }
    Upright {
        place: Box::new(move |value| if value > 0.0 { value.log10() } else { floor }),
        label: Box::new(move |place| if with_zero && place <= floor { "0".into() } else { label(10f64.powf(place)) }),
        axis: Axis::new(floor, top, marks),
    }
}

/// A curve's unbroken pieces, with no more points than can be seen.
fn pieces(curve: &Curve) -> Vec<Curve> {
    let seen = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    if curve.dots {
        return vec![Curve { points: curve.points.iter().copied().filter(seen).collect(), ..curve.clone() }];
    }
    let group = match curve.points.len() {
        few if few <= MOST_POINTS => 1,
        many => many.div_ceil(MOST_POINTS / 2),
    };
    let stretches = curve.points.split(|point| !seen(point)).filter(|points| !points.is_empty());
    stretches.map(|points| Curve { points: thinned(points, group), ..curve.clone() }).collect()
}

/// 0 and powers of ten on both sides, at most three of each. A single power is accompanied by a fifth of it and five
/// times it.
fn signed_marks(size: f64, reach: f64) -> Vec<f64> {
    let (first, last) = ((3.0 * size).log10().ceil() as i32, reach.log10().floor() as i32);
    if first == last {
        let both = [0.2, 1.0, 5.0].into_iter().flat_map(|share| [-share, share]).map(|share| share * 10f64.powi(last));
        return std::iter::once(0.0).chain(both).collect();
    }
    let every = (f64::from(last - first + 1) / 3.0).ceil().max(1.0) as usize;
    let powers = (first..=last).rev().step_by(every).map(|power| 10f64.powi(power));
    let both = powers.flat_map(|value| [-value, value]);
    std::iter::once(0.0).chain(both).collect()
}

/// The smallest and the largest of each `group` neighbours, in their order.
fn thinned(points: &[(f64, f64)], group: usize) -> Vec<(f64, f64)> {
    if group == 1 {
        return points.to_vec();
    }
    let ends = |group: &[(f64, f64)]| {
        let extreme = |larger: bool| {
            let by = |a: &&(f64, f64), b: &&(f64, f64)| if larger { a.1.total_cmp(&b.1) } else { b.1.total_cmp(&a.1) };
            group.iter().max_by(by).copied()
        };
        let mut ends: Vec<(f64, f64)> = [extreme(false), extreme(true)].into_iter().flatten().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    let mut kept: Vec<(f64, f64)> = points.chunks(group).flat_map(ends).collect();
    // A line ends where the run does.
    if kept.last() != points.last() {
        kept.extend(points.last());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: &[(f64, f64)]) -> Option<String> {
        let curves = vec![Curve::line("a", 0, points.to_vec())];
        Chart { curves, ..Chart::new("a < b", "loss", scale) }.svg().expect("it draws")
    }

    #[test]
    fn what_is_not_finite_is_left_out_and_nothing_at_all_is_no_chart() {
        for scale in [Scale::Even, Scale::Log, Scale::Signed(0.1), Scale::Accuracy] {
            assert_eq!(chart(scale, &[]), None);
            assert_eq!(chart(scale, &[(1.0, f64::NAN), (2.0, f64::INFINITY)]), None);
            for points in [&[(5.0, 3.0)][..], &[(1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0)], &[(0.0, 0.5), (9.0, 99.0)]] {
                let svg = chart(scale, points).expect("a chart");
                assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("http"), "{svg}");
                assert!(svg.contains("aria-label=\"a &lt; b\""), "{svg}");
            }
        }
    }

    #[test]
    fn a_line_breaks_where_a_point_is_missing() {
        let whole = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 2.0), (4.0, 1.0)];
        let mut broken = whole;
        broken[2].1 = f64::NAN;
        for scale in [Scale::Even, Scale::Log, Scale::Signed(0.01)] {
            let count = |points| chart(scale, points).expect("a chart").matches("class=\"line0\"").count();
            assert_eq!([count(&whole), count(&broken)], [1, 2], "{scale:?}");
        }
        // A single point is a piece of its own.
        broken[3].1 = f64::NAN;
        assert!(chart(Scale::Even, &broken).expect("a chart").contains("<circle"));
    }

    #[test]
    fn what_is_zero_lies_on_the_floor_of_a_logarithmic_axis() {
        let dying = Chart {
            curves: vec![Curve::line("a", 0, vec![(0.0, 1.0), (1.0, 1e-4), (2.0, 0.0), (3.0, 0.0)])],
            ..Chart::new("a", "b", Scale::Log)
        };
        let (upright, _) = dying.finite().axes().expect("axes");
        let floor = upright.axis.low;
        assert_eq!(((upright.place)(0.0), (upright.label)(floor)), (floor, "0".to_string()));
        assert!((upright.place)(1e-4) > floor + 0.2 && upright.axis.marks.contains(&floor));
        assert!((upright.place)(1.0) < upright.axis.high);
        // The chart of a dead network shows its zeros.
        assert!(chart(Scale::Log, &[(0.0, 0.0), (1.0, 0.0)]).expect("a chart").contains("class=\"line0\""));
    }

    #[test]
    fn colours_are_those_of_the_page() {
        let svg = chart(Scale::Even, &[(0.0, 1.0), (9.0, 2.0)]).expect("a chart");
        assert!(svg.contains("class=\"line0\"") && svg.contains("currentColor") && !svg.contains("\"#0"), "{svg}");
    }

    #[test]
    fn a_long_line_keeps_its_extremes_and_its_end() {
        let mut points: Vec<(f64, f64)> = (0..5000).map(|i| (f64::from(i), 0.0)).collect();
        (points[1234].1, points[1235].1) = (7.0, -7.0);
        let kept = &pieces(&Curve::line("a", 0, points.clone()))[0].points;
        assert!(kept.len() <= MOST_POINTS + 2 && kept.is_sorted_by(|a, b| a.0 < b.0));
        assert!(kept.contains(&(1234.0, 7.0)) && kept.contains(&(1235.0, -7.0)) && kept.last() == Some(&(4999.0, 0.0)));
    }

    #[test]
    fn both_signs_have_marks() {
        assert_eq!(signed_marks(1e-3, 2.0), [0.0, -1.0, 1.0, -0.1, 0.1, -0.01, 0.01]);
        assert!(signed_marks(1e-12, 1e6).len() <= 7);
        assert_eq!(signed_marks(1.0, 50.0), [0.0, -2.0, 2.0, -10.0, 10.0, -50.0, 50.0]);
    }
}
