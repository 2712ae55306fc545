//! `report.html`: a sequence of sections and a table of contents. Everything that a user named is escaped.

mod layers;
mod measured;
mod settings;
mod test;
mod training;

use super::curves::{Chart, Curve};
use super::html::{STYLE, escaped, figure, percent};
use super::{Report, ReportedRun};
use crate::data::Origin;
use crate::error::Result;
use crate::train::Course;
use std::fmt::Write;

const OWN_STYLE: &str = "
:root { --c0: #0072b2; --c1: #c04e00; --c2: #007a58; --c3: #a8508a; --c4: #806000; --c5: #4d4d4d;
  --right: 0 114 178; --wrong: 213 94 0 }
@media (prefers-color-scheme: dark) {
  :root { --c0: #56b4e9; --c1: #ff9150; --c2: #35cfa2; --c3: #e8a3cd; --c4: #e6cc55; --c5: #c8c8c8 }
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: .2rem 0 .6rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 0 0 .5rem } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem }
section { border-top: 1px solid var(--line); padding: 1.2rem 0; scroll-margin-top: .5rem }
p { max-width: 46rem; margin: .4rem 0 .8rem; overflow-wrap: anywhere } .soft, caption, figcaption { color: var(--soft) }
.note { border-left: .25rem solid var(--c1); padding: .2rem .8rem; background: var(--raised) }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; margin: .8rem 0 1.2rem }
nav a { display: inline-block; padding: .25rem 0 }
dl.key { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0 }
dl.key div { background: var(--raised); border-radius: .4rem; padding: .5rem .8rem }
dl.key dt { color: var(--soft); font-size: .85rem } dl.key dd { margin: 0; font-size: 1.15rem; overflow-wrap: anywhere }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem 1.5rem }
figure { margin: 0; min-width: 0 } .plot figcaption { font-weight: 600; color: var(--text); overflow-wrap: anywhere }
.chart { display: block; width: 100%; height: auto }
.keys { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem; margin: .1rem 0 0 }
.keys span { white-space: nowrap } .keys svg { width: 1.9rem; height: .6rem; margin-right: .35rem }
.behind { stroke: var(--line) } .change { stroke: var(--soft); stroke-dasharray: 6 12 } .checkpoint { stroke: var(--text) }
.line0 { stroke: var(--c0) } .line1 { stroke: var(--c1); stroke-dasharray: 36 14 }
.line2 { stroke: var(--c2); stroke-dasharray: 12 12 } .line3 { stroke: var(--c3); stroke-dasharray: 48 12 12 12 }
.line4 { stroke: var(--c4); stroke-dasharray: 24 8 } .line5 { stroke: var(--c5); stroke-dasharray: 64 20 }
.fill0 { fill: var(--c0) } .fill1 { fill: var(--c1) } .fill2 { fill: var(--c2) } .fill3 { fill: var(--c3) }
.fill4 { fill: var(--c4) } .fill5 { fill: var(--c5) }
.scroll tbody th, .scroll tfoot th { position: sticky; left: 0; background: var(--ground) }
.scroll { overflow-x: auto; margin: .6rem 0 } table { border-collapse: collapse; font-size: .9rem }
caption { text-align: left; padding-bottom: .3rem } th { font-weight: 600; text-align: left; vertical-align: bottom }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
.figures td, .figures thead th:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.confusion td, .confusion thead th { text-align: center; padding: .25rem .4rem; min-width: 1.8rem }
.confusion th { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.confusion tbody th { max-width: 12rem } .confusion thead th { max-width: 7rem }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; padding: 0; list-style: none }
.mistakes > li { background: var(--raised); border-radius: .4rem; padding: .6rem; overflow-wrap: anywhere }
.mistakes img { display: block; width: 7rem; max-width: 100%; margin-bottom: .4rem }
.mistakes ol { margin: .2rem 0 0; padding-left: 1.3rem; font-size: .85rem }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .6rem 1.5rem; margin: .5rem 0 }
.pair img { max-width: 100%; height: auto } .pair figcaption { font-size: .85rem }
details { margin: .4rem 0 } summary { cursor: pointer; padding: .25rem 0; font-weight: 600; overflow-wrap: anywhere }
summary span { font-weight: normal; color: var(--soft) }
pre { overflow-x: auto; background: var(--raised); padding: .8rem; border-radius: .4rem; font-size: .85rem }
";

/// The most layers for which all sections are open.
const OPEN: usize = 14;

/// The sections written so far.
#[derive(Default)]
struct Page {
    contents: String,
    body: String,
}

impl Page {
    fn section(&mut self, id: &str, title: &str, body: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.contents, "<li><a href=\"#{id}\">{title}</a></li>");
        let _ = writeln!(self.body, "<section id=\"{id}\" aria-labelledby=\"{id}-title\">");
        let _ = writeln!(self.body, "<h2 id=\"{id}-title\">{title}</h2>\n{body}</section>");
    }
}

/// The whole page.
pub(super) fn html(report: &Report<'_>) -> Result<String> {
    let mut page = Page::default();
    page.section("curves", "Curves", &training::curves(report)?);
    page.section("layers", "Layers over time", &layers::statistics(report)?);
    match report.run.settings.network.learns_numbers() {
        true => page.section("mistakes", "Worst errors", &test::errors(report)?),
        false => {
            page.section("confusion", "Confusion matrix", &test::confusion(report));
            page.section("mistakes", "Worst mistakes", &test::mistakes(report)?);
        }
    }
    page.section("pictures", "Layer pictures", &measured::pictures(report));
    page.section("timing", "Time of each layer", &measured::timing(report));
    page.section("network", "Network", &settings::network(report));
    page.section("settings", "Settings", &settings::settings(report));
    let mark = updates_mark(report.run.step, report.run.summary.is_some());
    let title = title(report);
    let (head, Page { contents, body }) = (head(report), page);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n{mark}\n<title>{title}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>{title}</h1>\n{head}</header>\n<nav aria-label=\"Contents\"><ul>\n{contents}</ul></nav>\n\
         <main>\n{body}</main>\n</body>\n</html>\n"
    ))
}

/// Hidden data in the page: the number of updates of its run, and whether the run had finished.
pub fn updates_mark(step: u64, finished: bool) -> String {
    format!("<meta name=\"glassnet-updates\" content=\"{step}{}\">", if finished { ", finished" } else { "" })
}

fn title(report: &Report<'_>) -> String {
    let network = &report.run.settings.network.name;
    escaped(&format!("{network} on {}", report.run.config.dataset))
}

/// The key figures and notes at the top.
fn head(report: &Report<'_>) -> String {
    let run = &report.run;
    let mut text = String::new();
    for note in notes(report) {
        text += &format!("<p class=\"note\">{}</p>\n", escaped(&note));
    }
    let epochs = run.history.epochs.iter().rfind(|row| row.step <= run.step);
    let accuracy =
        if run.settings.network.learns_numbers() { "Test accuracy (nearest class)" } else { "Test accuracy" };
    let mut figures = vec![
        (accuracy, percent(report.test.accuracy)),
        ("Test loss", figure(report.test.loss)),
        ("Test examples", report.test.examples.to_string()),
    ];
    figures.extend(epochs.map(|row| ("Validation accuracy", percent(row.validation_accuracy))));
    figures.extend(epochs.map(|row| ("Validation loss", figure(row.validation_loss))));
    figures.push(("Updates", run.step.to_string()));
    let summary = run.summary;
    let seen = summary.map(|s| s.examples_seen).or_else(|| examples_seen(run));
    figures.extend(seen.map(|count| ("Examples seen", count.to_string())));
    let checkpoint = run.history.checkpoints.iter().rfind(|(step, _)| *step == run.step);
    let seconds = summary.map(|s| s.train_seconds).or(checkpoint.map(|(_, seconds)| *seconds));
    figures.extend(seconds.map(|seconds| ("Training time", duration(seconds))));
    figures.extend(summary.map(|s| ("Images per second", format!("{:.0}", s.images_per_second))));
    figures.push(("Parameters", run.settings.network.parameter_count().to_string()));
    figures.push(("Optimizer", run.settings.optimizer.name().to_string()));
    text += "<dl class=\"key\">\n";
    for (name, value) in figures {
        text += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escaped(&value));
    }
    text += "</dl>\n";
    text += &format!(
        "<p class=\"soft\">Run folder {}; {}; Glassnet {}.</p>\n",
        escaped(&run.folder.display().to_string()),
        escaped(&report.device.to_string()),
        escaped(&run.config.version)
    );
    text
}

/// The number of training examples up to the checkpoint, for any batch sizes; `None` if the record of changes is
/// incomplete.
fn examples_seen(run: &ReportedRun<'_>) -> Option<u64> {
    let training = run.dataset.split().train;
    let (course, _) = Course::replay(training, run.settings, &run.history.changes_until(run.step)).ok()?;
    Some(course.sampler.examples_seen(run.step))
}

fn notes(report: &Report<'_>) -> Vec<String> {
    let run = &report.run;
    let mut notes = Vec::new();
    if let Origin::Synthetic { fallback_reason: Some(reason) } = &run.dataset.origin {
        notes.push(format!("Synthetic examples replaced the data set: {reason}."));
    }
    let notices = run.dataset.split().notices(run.dataset);
    notes.extend(notices.iter().map(|notice| format!("Note: {notice}.")));
    match run.summary {
        None => notes.push(match beyond(report) {
            None => format!(
                "This run is not finished. Everything here describes its checkpoint after {}.",
                updates(run.step)
            ),
            Some(last) => format!(
                "This run is not finished. The test, the pictures and the times are those of its checkpoint after {}, a \
                 solid vertical line in the charts; curves and statistics of layers continue to {last}.",
                updates(run.step)
            ),
        }),
        Some(summary) if summary.stopped_early => {
            notes.push("The run ended early because its validation loss no longer fell.".into());
        }
        Some(_) => {}
    }
    if let Some(decay) = run.settings.network.training.ema {
        notes.push(format!(
            "Validation, test, mistakes and the last pictures use the moving average of the weights ({decay}); training \
             curves and statistics of layers use the weights themselves."
        ));
    }
    if run.settings.test_crops > 1 {
        notes.push(format!("The test averages {} crops of each image.", run.settings.test_crops));
    }
    if let Some(damage) = run.history.damage.describe() {
        notes.push(format!("metrics.jsonl: {damage}."));
    }
    notes
}

/// `1 update`, `20 updates`.
fn updates(count: u64) -> String {
    format!("{count} update{}", if count == 1 { "" } else { "s" })
}

/// `4.2 s`, `12 min 5 s`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

/// Adds vertical lines at changes, and at the checkpoint if the run continued beyond it.
fn marked(report: &Report<'_>, chart: Chart) -> Chart {
    let run = &report.run;
    let marks = run.history.changes.iter().map(|change| change.step as f64).collect();
    let checkpoint = beyond(report).map(|_| run.step as f64);
    Chart { marks, checkpoint, ..chart }
}

/// The last row's step, if it is later than the weights.
fn beyond(report: &Report<'_>) -> Option<u64> {
    let history = report.run.history;
    let steps = history.steps.iter().map(|row| row.step).chain(history.epochs.iter().map(|row| row.step));
    steps.max().filter(|step| *step > report.run.step)
}

/// A chart under its title, with its lines' names and last values below it; an empty string if there are no points.
fn plot(chart: &Chart, shown: impl Fn(f64) -> String) -> Result<String> {
    let Some(svg) = chart.svg()? else { return Ok(String::new()) };
    let key = |curve: &Curve| {
        let place = curve.place;
        let sample = match curve.dots {
            true => format!("<circle class=\"fill{place}\" cx=\"56\" cy=\"20\" r=\"14\"/>"),
            false => format!("<path class=\"line{place}\" d=\"M0 20H112\" stroke-width=\"10\"/>"),
        };
        let last = curve.points.iter().rev().find(|(_, y)| y.is_finite());
        let last = last.map_or(String::new(), |(_, y)| format!(" {}", shown(*y)));
        format!(
            "<span><svg viewBox=\"0 0 112 40\" aria-hidden=\"true\">{sample}</svg>{}{}</span>",
            escaped(&curve.name),
            escaped(&last)
        )
    };
    let mut keys: String = chart.curves.iter().filter(|curve| !curve.points.is_empty()).map(key).collect();
    if chart.band.len() > 1 {
        keys += "<span><svg viewBox=\"0 0 112 40\" aria-hidden=\"true\"><rect class=\"fill0\" opacity=\"0.25\" width=\"112\" \
                 height=\"40\"/></svg>mean ± σ</span>";
    }
    let title = escaped(&chart.title);
    Ok(format!("<figure class=\"plot\"><figcaption>{title}</figcaption>{svg}<p class=\"keys\">{keys}</p></figure>\n"))
}
