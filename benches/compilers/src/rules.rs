//! What the compilers' facts must be.

use crate::facts::{Facts, Report};
use crate::gradients;
use crate::list::Pipeline;

/// The least waves of 32 in flight on a SIMD unit, of the device below.
const WAVES: u64 = 12;
const WAVES_DEVICE: &str = "NAVI31";

/// The most static cycles per useful multiply-add of a weight gradient, as a share of those before.
const COST: f64 = 0.5;

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Spills,
    Waves,
    Cost,
}

/// Variants that may break a rule, each with its reason.
const EXCEPTIONS: &[(&str, Rule, &str)] = &[
    (
        "conv_tile.backward_weight_pool_band_2",
        Rule::Cost,
        "it also does the pooling's backward pass, which was an operation of its own and is not among the cycles before",
    ),
    (
        "conv_matrix.forward_pool_f16_16",
        Rule::Waves,
        "windows of nine outputs need the sums of two matrices in workgroup memory; otherwise seven of sixteen rows of \
         each product would be in no window",
    ),
];

/// A line for every broken rule.
pub fn broken(reports: &[Report]) -> Vec<String> {
    let mut lines = Vec::new();
    for report in reports {
        for (pipeline, facts) in &report.pipelines {
            let breaks = [spills(facts), waves(report, facts), cost(report, pipeline, facts)];
            for (rule, what) in breaks.into_iter().flatten() {
                let is_excepted = EXCEPTIONS.iter().any(|(name, which, _)| *name == pipeline.variant && *which == rule);
                if !is_excepted {
                    lines.push(format!("{}: {pipeline}: {what}", report.name));
                }
            }
        }
    }
    lines
}

fn spills(facts: &Facts) -> Option<(Rule, String)> {
    let (name, count) = facts.spills.iter().next()?;
    Some((Rule::Spills, format!("it spills ({name} {count})")))
}

fn waves(report: &Report, facts: &Facts) -> Option<(Rule, String)> {
    let waves = facts.waves.filter(|waves| report.name == WAVES_DEVICE && *waves < WAVES)?;
    Some((Rule::Waves, format!("{waves} of 32 waves, fewer than {WAVES}")))
}

fn cost(report: &Report, pipeline: &Pipeline, facts: &Facts) -> Option<(Rule, String)> {
    let cost = gradients::cost(pipeline, facts, &report.before)?;
    let what =
        format!("{:.2} cycles per useful multiply-add, {:.2} before: more than {COST} of it", cost.now, cost.before);
    (cost.ratio() > COST).then_some((Rule::Cost, what))
}
