//! The network's layers, and every setting as in `config.toml`.

use super::updates;
use crate::report::Report;
use crate::report::html::{Table, escaped, figure, percent};

pub(super) fn network(report: &Report<'_>) -> String {
    let network = &report.run.settings.network;
    let mut table = Table::new("Layers", &["layer", "kind", "reads", "output", "weights and biases"]);
    let shapes = network.parameters();
    for (place, node) in network.nodes.iter().enumerate() {
        let of_node = shapes.iter().filter(|shape| shape.node == place);
        let count: usize = of_node.map(|shape| shape.weight_len() + shape.bias).sum();
        let from = std::iter::once(node.from).chain(node.added).map(|from| network.nodes[from].name.clone());
        let from: Vec<String> = if place == 0 { vec!["the data".into()] } else { from.collect() };
        table.row([
            node.name.clone(),
            node.layer.kind().to_string(),
            from.join(" + "),
            node.output.to_string(),
            if count == 0 { "-".into() } else { count.to_string() },
        ]);
    }
    format!("{}<h3>Description</h3>\n<pre>{}</pre>\n", table.of_words(), escaped(&network.to_toml()))
}

pub(super) fn settings(report: &Report<'_>) -> String {
    let run = &report.run;
    let mut table = Table::new("Every setting, as resolved", &["setting", "value"]).of_words();
    let mut rows = Vec::new();
    if let Ok(toml::Value::Table(entries)) = toml::Value::try_from(run.config) {
        flatten("", &entries, &mut rows);
    }
    rows.iter().for_each(|(name, value)| table.row([name, value]));
    let mut text = String::new();
    let changes = run.history.changes_until(run.step).len();
    if changes > 0 {
        text += &format!(
            "<p class=\"note\">These are the settings that the run began with. {changes} {} during the run, as <a \
             href=\"#curves\">listed below the curves</a>.</p>\n",
            if changes == 1 { "change was made" } else { "changes were made" }
        );
    }
    text += &table.to_string();
    let Some(summary) = run.summary else { return text };
    let mut table = Table::new("How the run ended", &["figure", "value"]).of_words();
    table.row(["test accuracy".to_string(), percent(summary.test_accuracy)]);
    table.row(["test loss".to_string(), figure(summary.test_loss)]);
    table.row(["validation accuracy".to_string(), percent(summary.validation_accuracy)]);
    table.row(["validation loss".to_string(), figure(summary.validation_loss)]);
    if let Some(best) = summary.best {
        let (loss, accuracy) = (figure(best.validation_loss), percent(best.validation_accuracy));
        let told = format!("{loss} (accuracy {accuracy}) after {}, epoch {}", updates(best.step), best.epoch);
        table.row(["lowest validation loss".to_string(), told]);
    }
    if let Some(seconds) = summary.first_step_seconds {
        table.row(["launch to first results".to_string(), format!("{seconds:.2} s")]);
    }
    table.row(["device".to_string(), summary.device.clone()]);
    table.row(["version".to_string(), summary.version.clone()]);
    text += &table.to_string();
    text
}

/// Entries of tables, prefixed with their tables' names. The network's description is shown separately.
fn flatten(prefix: &str, table: &toml::Table, rows: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            // An empty value, such as the driver of a processor.
            toml::Value::String(text) if text.is_empty() => {}
            toml::Value::Table(inner) => flatten(&format!("{name}."), inner, rows),
            _ if name == "network" => {}
            toml::Value::String(text) => rows.push((name, text.clone())),
            other => rows.push((name, other.to_string())),
        }
    }
}
