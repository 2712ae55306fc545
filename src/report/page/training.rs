//! Loss, accuracy, learning rate, decay and speed over the run.

use super::{marked, plot};
use crate::error::Result;
use crate::report::Report;
use crate::report::curves::{Chart, Curve, Scale};
use crate::report::html::{Table, figure, percent};
use crate::train::{EpochRow, StepRow};
use serde_json::Value;

/// All curves of a run, its validation passes and its changes.
pub(super) fn curves(report: &Report<'_>) -> Result<String> {
    let history = report.run.history;
    if history.steps.is_empty() && history.epochs.is_empty() {
        return Ok("<p>The run has no rows of statistics.</p>\n".into());
    }
    let chart =
        |title: &str, label: &str, scale, curves| marked(report, Chart { curves, ..Chart::new(title, label, scale) });
    let percents = |share: f64| 100.0 * share;
    let shown = |value: f64| figure(value);
    let mut text = String::from("<div class=\"plots\">\n");
    let losses =
        three(report, |row| Some(row.classification_loss), |row| row.validation_loss, |row| row.validation_loss);
    text += &plot(&chart("Loss", "loss", Scale::Log, losses), shown)?;
    let accuracies = three(
        report,
        |row| Some(percents(row.training_accuracy)),
        |row| row.validation_accuracy.map(percents),
        |row| percents(row.validation_accuracy),
    );
    text += &plot(&chart("Accuracy", "percent", Scale::Accuracy, accuracies), |value| format!("{value:.2} %"))?;
    let lone = |name: &str, value: &dyn Fn(&StepRow) -> f64| {
        vec![Curve::line(name, 0, history.steps.iter().map(|row| (row.step as f64, value(row))).collect())]
    };
    let rate = lone("learning rate", &|row| row.learning_rate);
    // A learning rate of 0 is deliberate, not merely small.
    let scale = if history.steps.iter().any(|row| row.learning_rate == 0.0) { Scale::Even } else { Scale::Log };
    text += &plot(&chart("Learning rate", "learning rate", scale, rate), shown)?;
    let decay = lone("weight-decay loss", &|row| row.weight_decay_loss);
    text += &plot(&chart("Weight-decay loss", "loss", Scale::Even, decay), shown)?;
    let speed = lone("images per second", &|row| row.images_per_second);
    text += &plot(&chart("Training speed", "images/s", Scale::Even, speed), |value| format!("{value:.0}"))?;
    text += "</div>\n";
    text += "<p class=\"soft\">Each name is followed by its last value. Training: at least the last 1,000 examples, each \
             evaluated before the update that learned from it. Validation: the last 2,000 examples evaluated of the tenth that \
             is held out; all of it at the end of each epoch and of the run.</p>\n";
    if !history.changes.is_empty() {
        let mut table = Table::new(
            "Changes during the run, dotted vertical lines in the charts",
            &["updates", "setting", "from", "to"],
        );
        let value = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            other => other.to_string(),
        };
        for change in &history.changes {
            table.row([change.step.to_string(), change.what.clone(), value(&change.from), value(&change.to)]);
        }
        text += &table.to_string();
    }
    if !history.epochs.is_empty() {
        text += &epochs(&history.epochs).to_string();
    }
    Ok(text)
}

/// Training, the validation window, and the passes over the whole validation set.
fn three(
    report: &Report<'_>,
    training: impl Fn(&StepRow) -> Option<f64>,
    window: impl Fn(&StepRow) -> Option<f64>,
    whole: impl Fn(&EpochRow) -> f64,
) -> Vec<Curve> {
    let history = report.run.history;
    let of = |value: &dyn Fn(&StepRow) -> Option<f64>| {
        history.steps.iter().filter_map(|row| Some((row.step as f64, value(row)?))).collect()
    };
    let whole: Vec<(f64, f64)> = history.epochs.iter().map(|row| (row.step as f64, whole(row))).collect();
    let name = if whole.len() == 1 { "validation, all of it" } else { "validation, all of it (dots)" };
    vec![
        Curve::line("training", 0, of(&training)),
        Curve::line("validation", 1, of(&window)),
        Curve { dots: true, ..Curve::line(name, 1, whole) },
    ]
}

/// The most passes to list: the newest.
const MOST: usize = 60;

fn epochs(rows: &[EpochRow]) -> Table {
    let left_out = rows.len().saturating_sub(MOST);
    let caption = match left_out {
        0 => "Passes over the whole validation set".to_string(),
        _ => format!("Passes over the whole validation set: the last {MOST} of {}", rows.len()),
    };
    let head = ["epochs", "updates", "examples seen", "validation loss", "validation accuracy", "seconds"];
    let mut table = Table::new(&caption, &head);
    for row in &rows[left_out..] {
        table.row([
            row.epoch.to_string(),
            row.step.to_string(),
            row.examples_seen.to_string(),
            figure(row.validation_loss),
            percent(row.validation_accuracy),
            format!("{:.1}", row.train_seconds),
        ]);
    }
    table
}
