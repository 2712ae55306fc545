//! Optimiser steps over the flat buffer of all parameters; `shaders/optimizer.wgsl`.
//!
//! The effective gradient is g + l2*w + l1*sign(w), with (l1, l2) given for each block of 64 parameters: tensors start
//! on block borders, so weights decay and biases do not. Parameters and state are read from one buffer and written to
//! another; the program swaps them at the step's end.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance};
use super::op::{linear, word};
use super::{
    Args, Case,
    Element::{F32, U32},
    Kernel, Op, Reference, Scalar, Tensor,
};
use rayon::prelude::*;

/// Parameters that share one pair of decay factors; the alignment of tensors in the flat buffer.
pub const BLOCK: usize = 64;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// momentum, rho or beta1.
    pub a: f32,
    /// beta2.
    pub b: f32,
    pub epsilon: f32,
}

/// An update rule with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// w' = w - lr*g.
    Sgd,
    /// v' = momentum*v - lr*g, w' = w + v' (ConvNetJS; PyTorch's is the same while lr is constant).
    Momentum { momentum: f32 },
    /// Zeiler, "ADADELTA" (2012), with PyTorch's factor: s' = rho*s + (1-rho)g², d = sqrt((u+eps)/(s'+eps))*g,
    /// u' = rho*u + (1-rho)d², w' = w - lr*d.
    Adadelta { rho: f32, epsilon: f32 },
    /// Kingma and Ba, "Adam" (2014): m' = b1*m + (1-b1)g, v' = b2*v + (1-b2)g², with bias corrections
    /// c1 = 1-b1^t, c2 = 1-b2^t: w' = w - lr*(m'/c1)/(sqrt(v'/c2) + eps).
    Adam { beta1: f32, beta2: f32, epsilon: f32 },
}

impl Rule {
    /// State values a parameter: none, one or two.
    pub fn slots(&self) -> usize {
        match self {
            Rule::Sgd => 0,
            Rule::Momentum { .. } => 1,
            Rule::Adadelta { .. } | Rule::Adam { .. } => 2,
        }
    }

    fn kernel(&self) -> &'static Kernel {
        match self {
            Rule::Sgd => &SGD,
            Rule::Momentum { .. } => &MOMENTUM,
            Rule::Adadelta { .. } => &ADADELTA,
            Rule::Adam { .. } => &ADAM,
        }
    }

    fn constants(&self) -> [f32; 3] {
        match *self {
            Rule::Sgd => [0.0, 0.0, 0.0],
            Rule::Momentum { momentum } => [momentum, 0.0, 0.0],
            Rule::Adadelta { rho, epsilon } => [rho, 0.0, epsilon],
            Rule::Adam { beta1, beta2, epsilon } => [beta1, beta2, epsilon],
        }
    }
}

/// Inputs: header, decay, w, gradient (and state). Outputs: w' (and state').
const fn kernel(name: &'static str, entry: &'static str, reference: Reference, cpu: fn(&mut Args<'_, f32>)) -> Kernel {
    Kernel {
        name,
        source: include_str!("../../shaders/optimizer.wgsl"),
        entry,
        inputs: &[U32, F32, F32, F32, F32],
        outputs: &[F32, F32],
        textures: &[],
        params: size_of::<Params>(),
        workgroup: 64,
        reference,
        cpu: Some(cpu),
    }
}

macro_rules! rule {
    ($step:ident) => {
        (Reference { single: reference::<f32, $step>, double: reference::<f64, $step> }, parallel::<$step>)
    };
}

const SGD_FUNCTIONS: (Reference, fn(&mut Args<'_, f32>)) = rule!(Sgd);
const MOMENTUM_FUNCTIONS: (Reference, fn(&mut Args<'_, f32>)) = rule!(Momentum);
const ADADELTA_FUNCTIONS: (Reference, fn(&mut Args<'_, f32>)) = rule!(Adadelta);
const ADAM_FUNCTIONS: (Reference, fn(&mut Args<'_, f32>)) = rule!(Adam);

/// Without state.
pub static SGD: Kernel = Kernel {
    inputs: &[U32, F32, F32, F32],
    outputs: &[F32],
    ..kernel("optimizer.sgd", "sgd", SGD_FUNCTIONS.0, SGD_FUNCTIONS.1)
};
/// State v `[count]`.
pub static MOMENTUM: Kernel = kernel("optimizer.momentum", "momentum", MOMENTUM_FUNCTIONS.0, MOMENTUM_FUNCTIONS.1);
/// State s, u `[2, count]`.
pub static ADADELTA: Kernel = kernel("optimizer.adadelta", "adadelta", ADADELTA_FUNCTIONS.0, ADADELTA_FUNCTIONS.1);
/// State m, v `[2, count]`.
pub static ADAM: Kernel = kernel("optimizer.adam", "adam", ADAM_FUNCTIONS.0, ADAM_FUNCTIONS.1);

/// What an update reads and writes. `state` is (before, after), of `rule.slots() * w.len` values; `None` for SGD.
#[derive(Debug, Clone, Copy)]
pub struct Buffers {
    pub header: Tensor,
    pub decay: Tensor,
    pub gradient: Tensor,
    pub w: Tensor,
    pub w_out: Tensor,
    pub state: Option<(Tensor, Tensor)>,
}

pub fn update(rule: Rule, b: Buffers) -> Op {
    let count = b.w.len;
    assert_eq!((b.gradient.len, b.w_out.len, count % BLOCK), (count, count, 0), "update: gradient, w', blocks");
    assert_eq!((b.header.len, b.decay.len), (Header::LEN, 2 * (count / BLOCK)), "update: header, decay");
    let state = b.state.map_or(0, |(before, after)| before.len.max(after.len));
    assert_eq!(state, rule.slots() * count, "update: state of {rule:?}");
    let [a, b2, epsilon] = rule.constants();
    let params = Params { count: word(count), a, b: b2, epsilon };
    let mut inputs = vec![b.header, b.decay, b.w, b.gradient];
    let mut outputs = vec![b.w_out];
    if let Some((before, after)) = b.state {
        inputs.push(before);
        outputs.push(after);
    }
    Op::new(rule.kernel(), params, &inputs, &outputs, linear(count, 64), count * (5 + 6 * rule.slots()))
}

/// Constants of one step, as f64.
struct Constants {
    a: f64,
    b: f64,
    epsilon: f64,
    learning_rate: f64,
    corrections: [f64; 2],
}

/// One parameter's update: weight, effective gradient, state -> weight, state.
trait Step {
    fn step(c: &Constants, w: f64, g: f64, state: [f64; 2]) -> (f64, [f64; 2]);
}

struct Sgd;
struct Momentum;
struct Adadelta;
struct Adam;

impl Step for Sgd {
    fn step(c: &Constants, w: f64, g: f64, state: [f64; 2]) -> (f64, [f64; 2]) {
        (w - c.learning_rate * g, state)
    }
}

impl Step for Momentum {
    fn step(c: &Constants, w: f64, g: f64, [v, _]: [f64; 2]) -> (f64, [f64; 2]) {
        let v = c.a * v - c.learning_rate * g;
        (w + v, [v, 0.0])
    }
}

impl Step for Adadelta {
    fn step(c: &Constants, w: f64, g: f64, [s, u]: [f64; 2]) -> (f64, [f64; 2]) {
        let s = c.a * s + (1.0 - c.a) * g * g;
        let d = ((u + c.epsilon) / (s + c.epsilon)).sqrt() * g;
        (w - c.learning_rate * d, [s, c.a * u + (1.0 - c.a) * d * d])
    }
}

impl Step for Adam {
    fn step(c: &Constants, w: f64, g: f64, [m, v]: [f64; 2]) -> (f64, [f64; 2]) {
        let m = c.a * m + (1.0 - c.a) * g;
        let v = c.b * v + (1.0 - c.b) * g * g;
        let root = (v / c.corrections[1]).sqrt() + c.epsilon;
        (w - c.learning_rate * (m / c.corrections[0]) / root, [m, v])
    }
}

/// The constants and the state's input, which SGD lacks.
fn unpack<'a, S: Scalar>(args: &Args<'a, S>) -> (Constants, &'a [S]) {
    let (p, header): (Params, &[u32]) = (args.params(), args.words(0));
    let real = |i: usize| f64::from(f32::from_bits(header[i]));
    let (learning_rate, corrections) = (real(4), [real(5), real(6)]);
    let [a, b, epsilon] = [p.a, p.b, p.epsilon].map(f64::from);
    let state = if args.inputs.len() > 4 { args.real(4) } else { &[] };
    (Constants { a, b, epsilon, learning_rate, corrections }, state)
}

/// Updates parameter `i`, reading from the whole buffers; returns w' and state'.
fn one<S: Scalar, T: Step>(c: &Constants, i: usize, decay: &[S], w: &[S], g: &[S], state: &[S]) -> (f64, [f64; 2]) {
    let slot = |s: usize| state.get(s * w.len() + i).map_or(0.0, |v| v.get());
    let (l1, l2, value) = (decay[i / BLOCK * 2].get(), decay[i / BLOCK * 2 + 1].get(), w[i].get());
    let sign = if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    };
    T::step(c, value, g[i].get() + l2 * value + l1 * sign, [slot(0), slot(1)])
}

fn reference<S: Scalar, T: Step>(args: &mut Args<'_, S>) {
    let (c, state) = unpack(args);
    let (decay, w, g, w_out) = (args.real(1), args.real(2), args.real(3), args.out(0));
    let state_out = if args.outputs.len() > 1 { args.out(1) } else { &mut [] };
    for i in 0..w.len() {
        let (value, slots) = one::<S, T>(&c, i, decay, w, g, state);
        w_out[i] = S::of(value);
        for s in 0..state.len() / w.len() {
            state_out[s * w.len() + i] = S::of(slots[s]);
        }
    }
}

/// The same in f64, cut into tasks; the update is a small share of a step.
fn parallel<T: Step>(args: &mut Args<'_, f32>) {
    const TASK: usize = 4096;
    let (c, state) = unpack(args);
    let (decay, w, g, w_out) = (args.real(1), args.real(2), args.real(3), args.out(0));
    let state_out: &mut [f32] = if args.outputs.len() > 1 { args.out(1) } else { &mut [] };
    let (first, second) = state_out.split_at_mut(if state.is_empty() { 0 } else { w.len() });
    // Slots that the rule does not have come as empty pieces.
    let (mut first, mut second) = (first.chunks_mut(TASK), second.chunks_mut(TASK));
    let piece = |w| (w, first.next().unwrap_or_default(), second.next().unwrap_or_default());
    let work: Vec<_> = w_out.chunks_mut(TASK).map(piece).collect();
    work.into_par_iter().enumerate().for_each(|(task, (w_out, first, second))| {
        for (j, out) in w_out.iter_mut().enumerate() {
            let (value, slots) = one::<f32, T>(&c, task * TASK + j, decay, w, g, state);
            *out = value as f32;
            if let Some(slot) = first.get_mut(j) {
                *slot = slots[0] as f32;
            }
            if let Some(slot) = second.get_mut(j) {
                *slot = slots[1] as f32;
            }
        }
    });
}

pub fn cases() -> Vec<Case> {
    let rules = [
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9 },
        Rule::Adadelta { rho: 0.95, epsilon: 1e-8 },
        Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    ];
    let mut cases = Vec::new();
    for rule in rules {
        for blocks in [1, 2, 3, 67] {
            let (count, mut b) = (blocks * BLOCK, CaseBuilder::default());
            let header =
                Header { learning_rate: 0.37, correction1: 0.271, correction2: 0.002_997, ..Header::evaluation(1) };
            // Every other block decays, as weights and biases do.
            let decay = (0..2 * blocks).map(|i| if i / 2 % 2 == 0 { [0.01, 0.02][i % 2] } else { 0.0 }).collect();
            let (header, decay, w) = (b.header(header), b.reals(decay), b.real(count));
            let gradient = b.real(count);
            let state = (rule.slots() > 0).then(|| b.between(rule.slots() * count, 1e-3, 1.0));
            let w_out = b.out(count);
            let state = state.map(|before| (before, b.out(before.len)));
            let op = update(rule, Buffers { header, decay, gradient, w, w_out, state });
            // Adam divides by a root that is small beside the moments here: errors of a few ULP on values near 30.
            let tolerance = Tolerance { atol: 4e-6, rtol: 8e-6 };
            cases.push(b.case(format_args!("count={count}"), op, tolerance));
        }
    }
    cases
}
