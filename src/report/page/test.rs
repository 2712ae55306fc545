//! The test: which classes are confused, and the worst examples.

use crate::error::Result;
use crate::net::Layer;
use crate::report::html::{escaped, figure, percent};
use crate::report::pictures::{address, example};
use crate::report::{Mistake, Report};

/// The most classes that the matrix shows: those with the most mistakes.
const MOST: usize = 30;
/// The number of pairs of classes listed next to the matrix.
const PAIRS: usize = 5;

/// The most letters of a class's name where there is little space.
const LETTERS: usize = 40;

/// A class's name as text with its own reading direction.
fn name(names: &[String], class: usize) -> String {
    format!("<bdi>{}</bdi>", plain(names, class))
}

/// A class's name for attributes.
fn plain(names: &[String], class: usize) -> String {
    escaped(names.get(class).unwrap_or(&class.to_string()))
}

/// A class's name, shortened for small spaces.
fn short(names: &[String], class: usize) -> String {
    match names.get(class) {
        Some(name) if name.chars().count() > LETTERS => {
            let begin: String = name.chars().take(LETTERS - 1).collect();
            format!("<bdi>{}…</bdi>", escaped(&begin))
        }
        _ => name(names, class),
    }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { percent(part as f64 / whole as f64) }
}

pub(super) fn confusion(report: &Report<'_>) -> String {
    let (matrix, names) = (&report.test.confusion, report.run.dataset.class_names());
    let column = |class: usize| matrix.iter().map(|row| row[class]).sum::<u64>();
    let row = |class: usize| matrix[class].iter().sum::<u64>();
    let mut classes: Vec<usize> = (0..matrix.len()).collect();
    classes.sort_by_key(|class| std::cmp::Reverse(row(*class) + column(*class) - 2 * matrix[*class][*class]));
    classes.truncate(MOST);
    classes.sort_unstable();
    let part = match classes.len() {
        shown if shown < matrix.len() => {
            format!(" The {shown} of {} classes with the most mistakes are shown.", matrix.len())
        }
        _ => String::new(),
    };
    let head = |scope: &str, class: usize| {
        format!("<th scope=\"{scope}\" title=\"{}\">{}</th>", plain(&names, class), name(&names, class))
    };
    let test = &report.test;
    let mut text = format!(
        "<p>{} of {} test examples are right ({}). Rows are labels, columns are predictions. Recall is the share of \
         a label that is recognised; precision is the share of a prediction that is right.{part}</p>\n",
        test.correct,
        test.examples,
        percent(test.accuracy)
    );
    text += &pairs(matrix, &names);
    text += "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Confusion matrix\">\
             <table class=\"confusion\">\n<caption>Test examples by label (rows) and prediction (columns)</caption>\n\
             <thead><tr><th scope=\"col\">label</th>";
    classes.iter().for_each(|class| text += &head("col", *class));
    text += "<th scope=\"col\">recall</th></tr></thead>\n<tbody>\n";
    for label in &classes {
        text += &format!("<tr>{}", head("row", *label));
        for prediction in &classes {
            let count = matrix[*label][*prediction];
            text += &format!("<td{}>{count}</td>", shade(count, row(*label), label == prediction));
        }
        text += &format!("<td>{}</td></tr>\n", share(matrix[*label][*label], row(*label)));
    }
    text += "</tbody>\n<tfoot><tr><th scope=\"row\">precision</th>";
    classes.iter().for_each(|class| text += &format!("<td>{}</td>", share(matrix[*class][*class], column(*class))));
    text + "<td></td></tr></tfoot></table></div>\n"
}

/// The background of a count: the larger its share of the row, the stronger; mistakes are emphasised.
fn shade(count: u64, row: u64, right: bool) -> String {
    if count == 0 || row == 0 {
        return String::new();
    }
    let share = count as f64 / row as f64;
    let (color, strength) = if right { ("--right", 0.4 * share) } else { ("--wrong", 0.1 + 0.45 * share.sqrt()) };
    format!(" style=\"background: rgb(var({color}) / {strength:.2})\"")
}

/// A sentence on the pairs of classes that are confused most often.
fn pairs(matrix: &[Vec<u64>], names: &[String]) -> String {
    let cells = (0..matrix.len()).flat_map(|label| (0..matrix.len()).map(move |prediction| (label, prediction)));
    let mut pairs: Vec<(usize, usize)> = cells.filter(|(a, b)| a != b && matrix[*a][*b] > 0).collect();
    pairs.sort_by_key(|(a, b)| std::cmp::Reverse(matrix[*a][*b]));
    let told = |(a, b): &(usize, usize)| {
        let (label, prediction, count) = (short(names, *a), short(names, *b), matrix[*a][*b]);
        format!("<b>{label}</b> for <b>{prediction}</b> ({count})")
    };
    let told: Vec<String> = pairs.iter().take(PAIRS).map(told).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("<p>Most frequent confusions: {}.</p>\n", told.join(", ")),
    }
}

pub(super) fn mistakes(report: &Report<'_>) -> Result<String> {
    let wrong = report.test.examples - report.test.correct;
    if report.mistakes.is_empty() {
        return Ok("<p>Every test example is classified correctly.</p>\n".into());
    }
    let softmax = report.run.settings.network.nodes.last().is_some_and(|n| matches!(n.layer, Layer::Softmax { .. }));
    let what = if softmax { "the network's probability of each" } else { "the score of each" };
    let text = format!(
        "<p>{} of {wrong} wrong test examples, the largest loss first, with the three likeliest classes and {what}.</p>\n",
        report.mistakes.len()
    );
    let names = report.run.dataset.class_names();
    list(report, text, |mistake| {
        let shown = |(class, value): &(usize, f32)| {
            let value = f64::from(*value);
            let value = if softmax { percent(value) } else { figure(value) };
            format!("<li>{} {value}</li>", short(&names, *class))
        };
        let top: String = mistake.top.iter().map(shown).collect();
        let (label, prediction) = (plain(&names, mistake.label), plain(&names, mistake.prediction));
        let alt = format!("Test example {}: {label}, taken for {prediction}", mistake.index);
        let (label, prediction) = (short(&names, mistake.label), short(&names, mistake.prediction));
        (alt, format!("label <b>{label}</b>, taken for <b>{prediction}</b><ol>{top}</ol>"))
    })
}

/// The worst errors of a network that learns numbers.
pub(super) fn errors(report: &Report<'_>) -> Result<String> {
    let text = format!(
        "<p>The network learns numbers. These {} of {} test examples have the largest losses, the largest first. The nearest \
         class is the right one for {} of all examples.</p>\n",
        report.mistakes.len(),
        report.test.examples,
        percent(report.test.accuracy)
    );
    let examples = &report.run.dataset.test;
    list(report, text, |mistake| {
        let (wanted, found) =
            (f64::from(examples.number(mistake.label)), f64::from(mistake.number.unwrap_or(f32::NAN)));
        let alt = format!("Test example {}: {wanted}, predicted {}", mistake.index, figure(found));
        (alt, format!("number <b>{wanted}</b>, predicted <b>{}</b>, off by {}", figure(found), figure(found - wanted)))
    })
}

fn list(report: &Report<'_>, text: String, told: impl Fn(&Mistake) -> (String, String)) -> Result<String> {
    let mut text = text + "<ul class=\"mistakes\">\n";
    for mistake in &report.mistakes {
        let image = address(&example(&report.run.dataset.test, mistake.index)?);
        let (alt, words) = told(mistake);
        text += &format!(
            "<li><img src=\"{image}\" alt=\"{alt}\">{words}<span class=\"soft\">loss {}, example {}</span></li>\n",
            figure(mistake.loss),
            mistake.index
        );
    }
    Ok(text + "</ul>\n")
}
