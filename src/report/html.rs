//! Pieces of HTML: escaping, numbers, tables, colour scales of pictures, and the style that pages share.

use crate::pictures::{Palette, Plate};
use std::fmt::Display;

/// Escapes text for HTML, including attributes. Control characters, and those that change the reading direction, are
/// replaced.
pub fn escaped(text: &str) -> String {
    let unseen = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}');
    let text = text.replace(unseen, "\u{fffd}");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// A number with four significant digits in short form: `0.1235`, `-12.35`, `1.235e-7`.
pub fn figure(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        m if m == 0.0 || !m.is_finite() => format!("{value}"),
        m if (1e-3..1e5).contains(&m) => {
            let decimals = 3 - m.log10().floor() as i32;
            format!("{value:.*}", decimals.max(0) as usize)
        }
        _ => format!("{value:.3e}"),
    }
}

/// A number with a minus sign as wide as a plus.
pub fn number(value: f32) -> String {
    let figure = figure(f64::from(value));
    figure.strip_prefix('-').map_or(figure.clone(), |positive| format!("−{positive}"))
}

/// A picture's colour scale with the values at its ends and 0 in the middle; for an image, the values of black and
/// white.
pub fn scale(plate: &Plate, reach: f32, palette: Palette) -> String {
    if plate.natural {
        return ", in its own brightness: −0.5 is black, 0.5 is white".to_string();
    }
    if reach == 0.0 {
        return String::new();
    }
    let reach = number(reach);
    if plate.colours == 3 {
        return format!(" (red, green and blue: −{reach} is no colour, 0 half, {reach} full)");
    }
    let stop = |share: f32| {
        let [r, g, b] = palette.color(share);
        format!("rgb({r} {g} {b})")
    };
    let stops = [-1.0, -0.5, 0.0, 0.5, 1.0].map(stop).join(", ");
    let name = palette.name();
    let bar = format!("<span class=\"bar\" style=\"background: linear-gradient(to right, {stops})\">0</span>");
    format!(" ({name}: <span class=\"scale\">−{reach} {bar} {reach}</span>)")
}

/// `97.31 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The value as text, or `-` if there is none.
pub fn or_dash<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or("-".into(), shown)
}

/// Colours and fonts of every page, light and dark.
pub const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1b1b; --ground: #fff; --soft: #555; --line: #d4d4d4; --raised: #f4f4f2;
  --link: #0b57a4 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --ground: #161616; --soft: #b4b4b4; --line: #404040; --raised: #212121; --link: #8ab8f0 }
}
body { margin: 0 auto; max-width: 76rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--ground) }
a { color: var(--link) }
img { image-rendering: pixelated }
.scale { white-space: nowrap }
.bar { display: inline-block; width: 9rem; vertical-align: middle; border: 1px solid var(--line); text-align: center;
  font-size: .7rem; line-height: .9rem; color: #111 }
";

/// A table that scrolls sideways if it is wider than the page. Heads and cells are text; the first column names the
/// rows.
#[derive(Debug, Clone)]
pub struct Table {
    caption: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Whether cells after the first are numbers.
    figures: bool,
}

impl Table {
    /// A table with the names of its columns.
    pub fn new(caption: &str, head: &[&str]) -> Table {
        let head = head.iter().map(|cell| escaped(cell)).collect();
        Table { caption: escaped(caption), head, rows: Vec::new(), figures: true }
    }

    /// Makes the cells words, aligned to the left.
    pub fn of_words(mut self) -> Table {
        self.figures = false;
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(cells.into_iter().map(|cell| escaped(cell.as_ref())).collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = if self.figures { " class=\"figures\"" } else { "" };
        let label = &self.caption;
        write!(f, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{label}\"><table{class}>")?;
        write!(f, "<caption>{label}</caption>\n<thead><tr>")?;
        self.head.iter().try_for_each(|cell| write!(f, "<th scope=\"col\">{cell}</th>"))?;
        f.write_str("</tr></thead>\n<tbody>\n")?;
        for row in &self.rows {
            f.write_str("<tr>")?;
            for (column, cell) in row.iter().enumerate() {
                match column {
                    0 => write!(f, "<th scope=\"row\">{cell}</th>")?,
                    _ => write!(f, "<td>{cell}</td>")?,
                }
            }
            f.write_str("</tr>\n")?;
        }
        f.write_str("</tbody></table></div>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        let shown: Vec<String> = [0.0, 0.123456, -12.3456, 1234.56, 1.23456e-7, f64::NAN].map(figure).into();
        assert_eq!(shown, ["0", "0.1235", "-12.35", "1235", "1.235e-7", "NaN"]);
    }

    #[test]
    fn what_cannot_be_seen_is_replaced() {
        assert_eq!(escaped("a\u{0}b\u{1b}[1m\u{202e}c<"), "a\u{fffd}b\u{fffd}[1m\u{fffd}c&lt;");
    }

    #[test]
    fn cells_are_text() {
        let mut table = Table::new("a & b", &["<i>", "n"]);
        table.row(["\"x\"", "1"]);
        let text = table.to_string();
        assert!(text.contains("<th scope=\"col\">&lt;i&gt;</th>") && text.contains("&quot;x&quot;"), "{text}");
        assert!(text.contains("<caption>a &amp; b</caption>"), "{text}");
    }
}
