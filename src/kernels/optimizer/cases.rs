//! Cases of the optimizers.

use super::{ADADELTA, ADAGRAD, ADAM, ADAMW, BLOCK, Buffers, OPTIMIZERS, Rule, SGD, WINDOWGRAD, update};
use crate::kernels::Case;
use crate::kernels::batch::Header;
use crate::kernels::case::{CaseBuilder, Tolerance, also_split};

/// The parameters of an update case.
#[derive(Clone, Copy)]
struct Setup {
    rule: Rule,
    /// Of [`BLOCK`] parameters.
    blocks: usize,
    /// Whether the gradient is scaled.
    scaled: bool,
    /// Whether L1 decay affects weights that are 0, which are then three in four.
    zero_is_negative: bool,
    /// Whether the state is 0, as before the first step, and gradients are about as large as epsilon.
    fresh: bool,
}

/// ConvNetJS's variants, with epsilons that distinguish the two places. The other rules do not differ there, except for
/// L1 decay and the header's corrections.
fn exact() -> [Rule; 4] {
    let in_root = |optimizer| Rule::new(optimizer).with("epsilon", 0.01).as_convnetjs();
    [Rule::new(&SGD), in_root(&ADAGRAD), in_root(&WINDOWGRAD).with("rho", 0.95), Rule::new(&ADAM)]
}

/// Epsilons that matter: at the first step nothing else is in a numerator, or next to a root.
fn fresh() -> [Rule; 7] {
    let rule = |optimizer, epsilon| Rule::new(optimizer).with("epsilon", epsilon);
    let (rho, betas) = (|rule: Rule| rule.with("rho", 0.9), |rule: Rule| rule.with("beta1", 0.8));
    [
        rule(&ADAGRAD, 0.01),
        rule(&ADAGRAD, 0.001).as_convnetjs(),
        rho(rule(&WINDOWGRAD, 0.01)),
        rho(rule(&WINDOWGRAD, 0.001)).as_convnetjs(),
        rho(rule(&ADADELTA, 0.001)),
        betas(rule(&ADAM, 0.01)),
        betas(rule(&ADAMW, 0.01)),
    ]
}

pub fn cases() -> Vec<Case> {
    // With an epsilon of Adadelta's that leaves more to the other terms.
    let rules = OPTIMIZERS.map(|optimizer| match optimizer.name {
        "adadelta" => Rule::new(optimizer).with("epsilon", 1e-8),
        _ => Rule::new(optimizer),
    });
    let mut setups = Vec::new();
    let mut add = |rules: &[Rule], setup: Setup| setups.extend(rules.iter().map(|rule| Setup { rule: *rule, ..setup }));
    let plain = Setup { rule: Rule::new(&SGD), blocks: 1, scaled: false, zero_is_negative: false, fresh: false };
    for (blocks, scaled) in [(1, false), (2, false), (3, true), (67, false), (67, true)] {
        add(&rules, Setup { blocks, scaled, ..plain });
    }
    // More than the first row of a texture holds, and with state more than the second.
    add(&rules, Setup { blocks: 32_768 / BLOCK + 1, ..plain });
    for (blocks, scaled) in [(1, false), (67, true)] {
        add(&exact(), Setup { blocks, scaled, zero_is_negative: true, ..plain });
    }
    add(&rules, Setup { blocks: 2, zero_is_negative: true, ..plain });
    add(&fresh(), Setup { blocks: 2, fresh: true, ..plain });
    also_split(setups.into_iter().map(case).collect(), &["count=4288"])
}

fn case(Setup { rule, blocks, scaled, zero_is_negative, fresh }: Setup) -> Case {
    let (count, mut b) = (blocks * BLOCK, CaseBuilder::default());
    let header = Header { learning_rate: 0.37, correction1: 0.271, correction2: 0.002_997, ..Header::evaluation(1) };
    // Every other block decays, as weights and biases do; each has its own learning rate.
    let rate = |i: usize| 1.0 - (i % 100) as f32 / 100.0;
    let factors = |i: usize| [[0.01, 0.02], [0.0, 0.0]][i % 2].into_iter().chain([rate(i), f32::NAN]);
    let (header, factors) = (b.header(header), b.reals((0..blocks).flat_map(factors).collect()));
    let w = if zero_is_negative { b.sparse(count) } else { b.real(count) };
    let gradient = if fresh { b.between(count, -0.05, 0.05) } else { b.real(count) };
    let scale = scaled.then(|| b.reals(vec![0.3, f32::NAN]));
    let values = rule.slots() * count;
    let state = (values > 0).then(|| if fresh { b.reals(vec![0.0; values]) } else { b.between(values, 1e-3, 1.0) });
    let w_out = b.out(count);
    let state = state.map(|before| (before, b.out(before.len)));
    let op = update(rule, Buffers { header, factors, gradient, scale, zero_is_negative, w, w_out, state });
    // Adam divides by a root that is small compared with the moments here, so values near 30 have errors of a few ULP.
    // At a first step the running means are as small as a gradient's square.
    let tolerance = Tolerance { atol: if fresh { 2e-7 } else { 4e-6 }, rtol: 8e-6 };
    let scaled = if scaled { ", scaled" } else { "" };
    let exact = if zero_is_negative { ", as in ConvNetJS" } else { "" };
    let fresh = if fresh { format!(", first step of {rule:?}") } else { String::new() };
    b.case(format_args!("count={count}{scaled}{exact}{fresh}"), op, tolerance)
}
