//! Several devices' results as Markdown: a row for each variant, with the worst case over its pipelines.

use crate::facts::{Facts, Report};
use crate::gradients::{self, Cost};
use std::collections::BTreeMap;

/// The facts of one variant on one device.
type Variant<'a> = Vec<&'a Facts>;

pub fn markdown(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        text += &format!("{}: {}\n", report.name, report.driver);
    }
    text + "\n" + &variants(reports) + &costs(reports)
}

/// Registers and more, by variant.
fn variants(reports: &[Report]) -> String {
    let mut head = "| variant | pipelines | memory |".to_owned();
    let mut rows: BTreeMap<&str, Vec<Variant>> = BTreeMap::new();
    for (index, report) in reports.iter().enumerate() {
        let facts = || report.pipelines.iter().map(|(_, facts)| facts);
        head += &format!(" {} registers |", report.name);
        head += if facts().any(|facts| facts.waves.is_some()) { " waves |" } else { "" };
        head += if facts().any(|facts| facts.cycles.is_some()) { " width | cycles |" } else { "" };
        for (pipeline, facts) in &report.pipelines {
            let row = rows.entry(&pipeline.variant).or_insert_with(|| vec![Vec::new(); reports.len()]);
            row[index].push(facts);
        }
    }
    head += " spills |";
    let mut text = format!("{head}\n{}|\n", "|---".repeat(head.matches('|').count() - 1));
    for (variant, devices) in rows {
        let all = || devices.iter().flatten();
        let pipelines = devices.iter().map(Vec::len).max().unwrap_or_default();
        let memory = all().map(|facts| facts.memory).max().unwrap_or_default();
        text += &format!("| `{variant}` | {pipelines} | {memory} |");
        for device in &devices {
            text += &cells(device);
        }
        let spilling = all().filter(|facts| !facts.spills.is_empty()).count();
        text += &if spilling == 0 { " none |\n".to_owned() } else { format!(" in {spilling} |\n") };
    }
    text
}

/// The worst of a device's facts.
fn cells(facts: &Variant) -> String {
    let mut text = format!(" {} |", facts.iter().map(|one| one.registers).max().unwrap_or_default());
    if let Some(waves) = facts.iter().filter_map(|one| one.waves).min() {
        text += &format!(" {waves} |");
    }
    if let Some(cycles) = facts.iter().filter_map(|one| one.cycles).max() {
        let width = facts.iter().map(|one| one.width).min().unwrap_or_default();
        text += &format!(" {width} | {cycles} |");
    }
    text
}

/// Weight gradients compared with those before, by variant.
fn costs(reports: &[Report]) -> String {
    let mut rows: BTreeMap<&str, Vec<Cost>> = BTreeMap::new();
    for report in reports {
        for (pipeline, facts) in &report.pipelines {
            if let Some(cost) = gradients::cost(pipeline, facts, &report.before) {
                rows.entry(&pipeline.variant).or_default().push(cost);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        "\n| weight gradient | pipelines | cycles now | before | ratio |\n|---|---|---|---|---|\n".to_owned();
    for (variant, costs) in rows {
        let range = |of: fn(&Cost) -> f64| {
            let (least, most) = costs.iter().map(of).fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
            format!("{least:.2} to {most:.2}")
        };
        let (now, before, ratio) = (range(|one| one.now), range(|one| one.before), range(Cost::ratio));
        text += &format!("| `{variant}` | {} | {now} | {before} | {ratio} |\n", costs.len());
    }
    text
}
