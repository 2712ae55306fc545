//! Axes of charts: their marks and labels, and clipping of lines that leave the axis.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

/// An axis with marks at chosen positions.
#[derive(Debug, Clone)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    /// Positions of marks; those outside the axis are left out.
    pub marks: Vec<f64>,
}

impl Axis {
    pub fn new(low: f64, high: f64, mut marks: Vec<f64>) -> Axis {
        marks.retain(|mark| (low..=high).contains(mark));
        Axis { low, high, marks }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// About `count` round values between two, at least three.
pub fn even_marks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return vec![low];
    }
    let decade = 10f64.powf(rough.log10().floor());
    let steps = [10.0, 5.0, 2.0, 1.0, 0.5, 0.2].map(|digit| digit * decade);
    let marks = |step: f64| -> Vec<f64> {
        let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        (first..=last).map(|i| i as f64 * step).collect()
    };
    // The smallest step that is at least the rough one, or a smaller step if there would be too few marks.
    let place = steps.iter().rposition(|step| *step >= rough * 0.999).unwrap_or(0);
    let found = steps[place..].iter().map(|step| marks(*step)).find(|marks| marks.len() >= 3);
    found.unwrap_or_else(|| marks(steps[place]))
}

/// Labels for evenly spaced marks, with as many decimals as distinguish them.
pub fn even_label(marks: &[f64]) -> Box<dyn Fn(f64) -> String> {
    let step = marks.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(f64::INFINITY, f64::min);
    let size = marks.iter().map(|mark| mark.abs()).fold(0.0, f64::max);
    if !(step > 0.0 && step.is_finite()) {
        return Box::new(label);
    }
    // Steps are round; the small factor keeps 0.1 from counting as less than 10^-1.
    let decade = (step * 1.0001).log10().floor() as i32;
    let decimals = (-decade).max(0) as usize;
    if (1e-3..1e5).contains(&size) && decimals <= 6 {
        return Box::new(move |value| plain(format!("{value:.decimals$}")));
    }
    Box::new(move |value| {
        if value.abs() < step / 2.0 {
            return "0".into();
        }
        let digits = (value.abs().log10().floor() as i32 - decade).max(0) as usize;
        format!("{value:.digits$e}")
    })
}

/// Removes the sign of 0.
fn plain(text: String) -> String {
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.to_string(),
        _ => text,
    }
}

/// Round values for a logarithmic axis; the more decades, the fewer digits.
pub fn log_marks(low: f64, high: f64) -> Vec<f64> {
    let span = (high / low).log10();
    let digits: &[f64] = match span {
        ..1.0 => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
        ..4.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let every = (span / 8.0).ceil().max(1.0) as usize;
    let decades = (low.log10().floor() as i32..=high.log10().ceil() as i32).step_by(every);
    decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade))).collect()
}

/// The range of an axis of accuracies in percent, and its marks. The lower part, which all lines pass quickly, is cut
/// off so that the last few percent are visible. `worst` is the lowest of the lines' last values.
pub fn accuracy_axis(lowest: f64, highest: f64, worst: f64) -> ([f64; 2], Vec<f64>) {
    let low = lowest.max(worst - 2.0 * (100.0 - worst));
    let high = if highest > 90.0 { 100.0 } else { highest + 5.0 };
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0].into_iter().find(|step| (high - low) / step <= 8.0);
    let step = step.unwrap_or(20.0);
    let range = [(low / step).floor().max(0.0), (high / step).ceil()];
    let marks = (range[0] as i32..=range[1] as i32).map(|i| f64::from(i) * step).collect();
    (range.map(|r| r * step), marks)
}

/// The parts of a line between two heights; the plotting library would bend the rest onto the border.
pub fn inside(points: &[(f64, f64)], [low, high]: [f64; 2]) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        // The shares of the segment at which it enters and leaves.
        let at = |y: f64| (y - y0) / (y1 - y0);
        let (mut enter, mut leave) = (0f64, 1f64);
        if y0 == y1 {
            if !(low..=high).contains(&y0) {
                continue;
            }
        } else {
            let (a, b) = (at(low), at(high));
            (enter, leave) = (enter.max(a.min(b)), leave.min(a.max(b)));
        }
        if enter >= leave {
            continue;
        }
        let point = |share: f64| (x0 + share * (x1 - x0), (y0 + share * (y1 - y0)).clamp(low, high));
        match pieces.last_mut() {
            Some(piece) if enter == 0.0 && piece.last() == Some(&point(0.0)) => piece.push(point(leave)),
            _ => pieces.push(vec![point(enter), point(leave)]),
        }
    }
    pieces
}

/// Up to three significant digits, without trailing zeros.
pub fn label(value: f64) -> String {
    let decimals = (2 - value.abs().max(1e-9).log10().floor() as i32).max(0);
    let rounded = (value * 10f64.powi(decimals)).round() / 10f64.powi(decimals);
    match rounded.abs() {
        _ if value == 0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => format!("{rounded}"),
        _ => {
            let text = format!("{value:.2e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// A count in short form, such as `500`, `10k`, `1.5M`.
pub fn thousands(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", (v / 1e4).round() / 1e2),
        v if v >= 1e3 => format!("{}k", (v / 1e1).round() / 1e2),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_leaves_the_axis() {
        let points = [(0.0, 0.0), (1.0, 4.0), (2.0, 2.0), (3.0, 2.0)];
        let pieces = inside(&points, [1.0, 3.0]);
        assert_eq!(pieces, [vec![(0.25, 1.0), (0.75, 3.0)], vec![(1.5, 3.0), (2.0, 2.0), (3.0, 2.0)]]);
        assert!(inside(&points, [5.0, 6.0]).is_empty());
        assert!(inside(&points[..1], [0.0, 1.0]).is_empty());
    }

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(even_marks(0.0, 600.0, 6), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0]);
        assert_eq!(even_marks(-0.9, 1.3, 4), [-0.5, 0.0, 0.5, 1.0]);
        assert_eq!(even_marks(-0.8, 0.8, 4), [-0.5, 0.0, 0.5]);
        assert_eq!(even_marks(3.0, 3.0, 4), [3.0]);
        assert!(log_marks(1e-20, 1.0).len() <= 9);
    }

    #[test]
    fn labels_of_neighbouring_marks_differ() {
        for (low, high) in
            [(2.301, 2.3045), (0.0, 1.0), (-3.0, 3.0), (123_400.0, 123_409.0), (1e-7, 1.04e-7), (0.0, 2e-9)]
        {
            let marks = even_marks(low, high, 4);
            let mut labels: Vec<String> = marks.iter().map(|mark| even_label(&marks)(*mark)).collect();
            assert!(
                labels.iter().zip(&marks).all(|(label, mark)| {
                    (label.parse::<f64>().expect("a number") - mark).abs() < 1e-3 * (high - low)
                })
            );
            labels.dedup();
            assert!(labels.len() == marks.len() && marks.len() >= 3, "{labels:?}");
        }
    }

    #[test]
    fn labels_are_short() {
        let shown: Vec<String> = [0.0, 0.25, -12.5, 1e-7, -2.5e-5, 250000.0].map(label).into();
        assert_eq!(shown, ["0", "0.25", "-12.5", "1e-7", "-2.5e-5", "2.5e5"]);
        assert_eq!([500.0, 12_340.0, 2e6].map(thousands), ["500", "12.34k", "2M"]);
    }
}
