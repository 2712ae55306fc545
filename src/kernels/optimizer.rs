//! Optimiser steps over the flat buffer of all parameters; `shaders/optimizer.wgsl`.
//!
//! The effective gradient is scale*g + l2*w + l1*sign(w), and the learning rate lr*r, with (l1, l2, r) given for each block
//! of 64 parameters: tensors start on block borders, so weights decay and biases do not, and layers may learn at rates of
//! their own. sign(0) is 0, or -1 as in ConvNetJS. The scale clips the gradient's norm (`clip`). Parameters and state are read from one buffer and written to
//! another; the program swaps them at the step's end.

use super::batch::Header;
use super::op::word;
use super::{
    Args, Cpu,
    Element::{F32, U32},
    Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant, whole,
};
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::{Add, Div, Mul, Sub};

mod cases;

pub use cases::cases;

/// Parameters that share decay and rate; the alignment of tensors in the flat buffer.
pub const BLOCK: usize = 64;
/// Values of a block: l1, l2, the factor of the learning rate, and one that fills a vector.
pub const FACTORS: usize = 4;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// momentum, rho or beta1.
    pub a: f32,
    /// beta2, or the epsilon in the root of Adagrad and Windowgrad.
    pub b: f32,
    pub epsilon: f32,
    /// 1 where the gradient is multiplied by the scale.
    pub scaled: u32,
    /// What is subtracted from the sign of a weight that is 0.
    pub zero_pull: f32,
    /// 1 - rho or 1 - beta1, rounded once: 1 less the rounded 0.999 is 1.3e-5 off.
    pub rest_a: f32,
    /// 1 - beta2.
    pub rest_b: f32,
}

/// An update rule with its constants, as a user wrote them. g is the gradient with the decay's, but for AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// w' = w - lr*g.
    Sgd,
    /// v' = momentum*v - lr*g, w' = w + v' (ConvNetJS; PyTorch's is the same while lr is constant).
    Momentum { momentum: f64 },
    /// v' = momentum*v - lr*g, w' = w + momentum*v' - lr*g (PyTorch's and ConvNetJS's while lr is constant; Sutskever et al.
    /// 2013).
    Nesterov { momentum: f64 },
    /// Duchi, Hazan and Singer (2011), as PyTorch has it: s' = s + g², w' = w - lr*g/(sqrt(s') + eps).
    Adagrad { epsilon: Epsilon },
    /// Adagrad with a window, which PyTorch calls RMSprop: s' = rho*s + (1-rho)g², w' = w - lr*g/(sqrt(s') + eps).
    Windowgrad { rho: f64, epsilon: Epsilon },
    /// Zeiler, "ADADELTA" (2012), with PyTorch's factor: s' = rho*s + (1-rho)g², d = sqrt((u+eps)/(s'+eps))*g,
    /// u' = rho*u + (1-rho)d², w' = w - lr*d.
    Adadelta { rho: f64, epsilon: f64 },
    /// Kingma and Ba, "Adam" (2014): m' = b1*m + (1-b1)g, v' = b2*v + (1-b2)g², with bias corrections
    /// c1 = 1-b1^t, c2 = 1-b2^t: w' = w - lr*(m'/c1)/(sqrt(v'/c2) + eps).
    Adam { beta1: f64, beta2: f64, epsilon: f64 },
    /// Loshchilov and Hutter (2019): Adam on the gradient without decay, and w' less lr*(l2*w + l1*sign(w)).
    AdamW { beta1: f64, beta2: f64, epsilon: f64 },
}

/// What keeps a root in a denominator away from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epsilon {
    /// sqrt(s) + eps, as in PyTorch.
    Beside(f64),
    /// sqrt(s + eps), as in ConvNetJS.
    Within(f64),
}

impl Epsilon {
    /// Within the root, and beside it.
    fn parts(self) -> [f64; 2] {
        match self {
            Epsilon::Beside(epsilon) => [0.0, epsilon],
            Epsilon::Within(epsilon) => [epsilon, 0.0],
        }
    }
}

impl Rule {
    /// The same rule with ConvNetJS's place for epsilon.
    pub fn as_convnetjs(self) -> Rule {
        let within = |epsilon: Epsilon| Epsilon::Within(epsilon.parts().iter().sum());
        match self {
            Rule::Adagrad { epsilon } => Rule::Adagrad { epsilon: within(epsilon) },
            Rule::Windowgrad { rho, epsilon } => Rule::Windowgrad { rho, epsilon: within(epsilon) },
            other => other,
        }
    }

    /// State values a parameter: none, one or two.
    pub fn slots(&self) -> usize {
        match self {
            Rule::Sgd => 0,
            Rule::Momentum { .. } | Rule::Nesterov { .. } | Rule::Adagrad { .. } | Rule::Windowgrad { .. } => 1,
            Rule::Adadelta { .. } | Rule::Adam { .. } | Rule::AdamW { .. } => 2,
        }
    }

    fn operation(&self) -> &'static Operation {
        match self {
            Rule::Sgd => &SGD,
            Rule::Momentum { .. } => &MOMENTUM,
            Rule::Nesterov { .. } => &NESTEROV,
            Rule::Adagrad { .. } => &ADAGRAD,
            Rule::Windowgrad { .. } => &WINDOWGRAD,
            Rule::Adadelta { .. } => &ADADELTA,
            Rule::Adam { .. } => &ADAM,
            Rule::AdamW { .. } => &ADAMW,
        }
    }

    /// a, b and epsilon of [`Params`].
    fn constants(&self) -> [f64; 3] {
        match *self {
            Rule::Sgd => [0.0, 0.0, 0.0],
            Rule::Momentum { momentum } | Rule::Nesterov { momentum } => [momentum, 0.0, 0.0],
            Rule::Adagrad { epsilon } => {
                let [within, beside] = epsilon.parts();
                [0.0, within, beside]
            }
            Rule::Windowgrad { rho, epsilon } => {
                let [within, beside] = epsilon.parts();
                [rho, within, beside]
            }
            Rule::Adadelta { rho, epsilon } => [rho, 0.0, epsilon],
            Rule::Adam { beta1, beta2, epsilon } | Rule::AdamW { beta1, beta2, epsilon } => [beta1, beta2, epsilon],
        }
    }
}

const HEADER: Operand = whole("header", U32);
const BLOCK_FACTORS: Operand = whole("factors", F32);
const WEIGHTS: Operand = whole("weights", F32);
const GRADIENT: Operand = whole("gradient", F32);
const SCALE: Operand = whole("scale", F32);
/// `[slots, count]`.
const STATE: Operand = whole("state", F32);
const NEXT_WEIGHTS: Operand = whole("next_weights", F32);
const NEXT_STATE: Operand = whole("next_state", F32);

/// The update by one rule.
const fn rule<T: Step>(name: &'static str, gpu: &'static [&'static Variant]) -> Operation {
    let (inputs, outputs): (&[Operand], &[Operand]) = if T::SLOTS > 0 {
        (&[HEADER, BLOCK_FACTORS, WEIGHTS, GRADIENT, SCALE, STATE], &[NEXT_WEIGHTS, NEXT_STATE])
    } else {
        (&[HEADER, BLOCK_FACTORS, WEIGHTS, GRADIENT, SCALE], &[NEXT_WEIGHTS])
    };
    let reference = Reference::new(reference::<f32, T>, reference::<f64, T>);
    Operation { name, inputs, outputs, params: size_of::<Params>(), reference, cpu: Cpu::new(parallel::<T>), gpu }
}

const STATELESS_TEXTURES: &[Texture] = &[Texture::vectors(WEIGHTS), Texture::vectors(GRADIENT)];
const STATEFUL_TEXTURES: &[Texture] = &[Texture::vectors(WEIGHTS), Texture::vectors(GRADIENT), Texture::vectors(STATE)];

const fn variant<T: Step>(name: &'static str) -> Variant {
    let (entry, textures) =
        if T::SLOTS > 0 { ("stateful", STATEFUL_TEXTURES) } else { ("stateless", STATELESS_TEXTURES) };
    let source = shader!("prelude/header", "prelude/textures", "prelude/index", "optimizer");
    Variant {
        textures,
        ..Variant::new(name, source, entry, |op| {
            let launch = Launch::linear(op.params::<Params>().count as usize / 4, 64);
            launch.with(vec![("RULE", T::NUMBER), ("SLOTS", T::SLOTS as u32)])
        })
    }
}

pub static SGD: Operation = rule::<Sgd>("optimizer.sgd", &[&variant::<Sgd>("optimizer.sgd")]);
/// State v.
pub static MOMENTUM: Operation = rule::<Momentum>("optimizer.momentum", &[&variant::<Momentum>("optimizer.momentum")]);
/// State v.
pub static NESTEROV: Operation = rule::<Nesterov>("optimizer.nesterov", &[&variant::<Nesterov>("optimizer.nesterov")]);
/// State s.
pub static ADAGRAD: Operation = rule::<Adagrad>("optimizer.adagrad", &[&variant::<Adagrad>("optimizer.adagrad")]);
/// State s.
pub static WINDOWGRAD: Operation =
    rule::<Windowgrad>("optimizer.windowgrad", &[&variant::<Windowgrad>("optimizer.windowgrad")]);
/// State s, u.
pub static ADADELTA: Operation = rule::<Adadelta>("optimizer.adadelta", &[&variant::<Adadelta>("optimizer.adadelta")]);
/// State m, v.
pub static ADAM: Operation = rule::<Adam>("optimizer.adam", &[&variant::<Adam>("optimizer.adam")]);
/// State m, v.
pub static ADAMW: Operation = rule::<AdamW>("optimizer.adamw", &[&variant::<AdamW>("optimizer.adamw")]);

/// What an update reads and writes. `state` is (before, after), of `rule.slots() * w.len` values; `None` for SGD.
#[derive(Debug, Clone, Copy)]
pub struct Buffers {
    pub header: Tensor,
    /// [`FACTORS`] for each block.
    pub factors: Tensor,
    pub gradient: Tensor,
    /// What the gradient is multiplied by, first of its values; `None` for 1.
    pub scale: Option<Tensor>,
    /// How L1 decay sees a weight that is 0: as one of sign -1, as in ConvNetJS, or of sign 0.
    pub zero_is_negative: bool,
    pub w: Tensor,
    pub w_out: Tensor,
    pub state: Option<(Tensor, Tensor)>,
}

pub fn update(rule: Rule, b: Buffers) -> Op {
    let count = b.w.len;
    assert_eq!((b.gradient.len, b.w_out.len, count % BLOCK), (count, count, 0), "update: gradient, w', blocks");
    assert_eq!((b.header.len, b.factors.len), (Header::LEN, FACTORS * (count / BLOCK)), "update: header, factors");
    let state = b.state.map_or(0, |(before, after)| before.len.max(after.len));
    assert_eq!(state, rule.slots() * count, "update: state of {rule:?}");
    let [a, b2, epsilon] = rule.constants();
    let scaled = u32::from(b.scale.is_some());
    let zero_pull = if b.zero_is_negative { 1.0 } else { 0.0 };
    let [rest_a, rest_b] = [a, b2].map(|share| (1.0 - share) as f32);
    let [a, b2, epsilon] = [a, b2, epsilon].map(|value| value as f32);
    let params = Params { count: word(count), a, b: b2, epsilon, scaled, zero_pull, rest_a, rest_b };
    // Where nothing is scaled, nobody reads the scale: any buffer may stand there.
    let scale = b.scale.unwrap_or(b.factors);
    let mut inputs = vec![(HEADER, b.header), (BLOCK_FACTORS, b.factors), (WEIGHTS, b.w), (GRADIENT, b.gradient)];
    inputs.push((SCALE, scale));
    let mut outputs = vec![(NEXT_WEIGHTS, b.w_out)];
    if let Some((before, after)) = b.state {
        inputs.push((STATE, before));
        outputs.push((NEXT_STATE, after));
    }
    Op::new(rule.operation(), params, &inputs, &outputs, count * (5 + 6 * rule.slots()))
}

/// The numbers that a step computes with: f64 in the reference, f32 on the CPU.
trait Number:
    Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    fn root(self) -> Self;
}

/// keep*old + rest*new with keep + rest = 1. Where keep is near 1, its rounding would make a sum of shares that is not 1 and
/// another window, so that the rest alone says both.
#[inline(always)]
fn mixed<N: Number>(old: N, new: N, keep: N, rest: N) -> N {
    if rest < keep { old + rest * (new - old) } else { keep * old + rest * new }
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    #[inline(always)]
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    #[inline(always)]
    fn root(self) -> f32 {
        self.sqrt()
    }
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn from_f32(value: f32) -> f64 {
        f64::from(value)
    }
    fn from_f64(value: f64) -> f64 {
        value
    }
    fn root(self) -> f64 {
        self.sqrt()
    }
}

/// Constants of one step.
#[derive(Clone, Copy)]
struct Constants<N> {
    a: N,
    b: N,
    epsilon: N,
    rest_a: N,
    rest_b: N,
    learning_rate: N,
    corrections: [N; 2],
    /// Of the gradient.
    scale: N,
    zero_sign: N,
}

impl<N: Number> Constants<N> {
    fn of<S: Scalar>(args: &Args<'_, S>) -> Constants<N> {
        let (p, header): (Params, Header) = (args.params(), args.header(HEADER));
        let [a, b, epsilon, zero_pull] = [p.a, p.b, p.epsilon, p.zero_pull].map(N::from_f32);
        let [rest_a, rest_b] = [p.rest_a, p.rest_b].map(N::from_f32);
        let scale = if p.scaled == 1 { N::from_f64(args.real(SCALE)[0].get()) } else { N::ONE };
        Constants {
            a,
            b,
            epsilon,
            rest_a,
            rest_b,
            learning_rate: N::from_f32(header.learning_rate),
            corrections: [header.correction1, header.correction2].map(N::from_f32),
            scale,
            zero_sign: N::ZERO - zero_pull,
        }
    }

    /// For a block whose learning rate has this factor.
    #[inline(always)]
    fn at_rate(self, factor: N) -> Constants<N> {
        Constants { learning_rate: self.learning_rate * factor, ..self }
    }
}

/// One parameter's update: weight, gradient, state -> weight, state.
trait Step {
    /// The shader's number for it.
    const NUMBER: u32;
    /// State values a parameter.
    const SLOTS: usize;
    /// Whether decay shrinks the weight beside the step, instead of being part of the gradient.
    const DECOUPLED: bool = false;
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, state: [N; 2]) -> (N, [N; 2]);
}

struct Sgd;
struct Momentum;
struct Nesterov;
struct Adagrad;
struct Windowgrad;
struct Adadelta;
struct Adam;
struct AdamW;

impl Step for Sgd {
    const NUMBER: u32 = 0;
    const SLOTS: usize = 0;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, state: [N; 2]) -> (N, [N; 2]) {
        (w - c.learning_rate * g, state)
    }
}

impl Step for Momentum {
    const NUMBER: u32 = 1;
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [v, unused]: [N; 2]) -> (N, [N; 2]) {
        let v = c.a * v - c.learning_rate * g;
        (w + v, [v, unused])
    }
}

impl Step for Nesterov {
    const NUMBER: u32 = 2;
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [v, unused]: [N; 2]) -> (N, [N; 2]) {
        let step = c.learning_rate * g;
        let v = c.a * v - step;
        (w + c.a * v - step, [v, unused])
    }
}

impl Step for Adagrad {
    const NUMBER: u32 = 3;
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [s, unused]: [N; 2]) -> (N, [N; 2]) {
        let s = s + g * g;
        (w - c.learning_rate * g / ((s + c.b).root() + c.epsilon), [s, unused])
    }
}

impl Step for Windowgrad {
    const NUMBER: u32 = 4;
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [s, unused]: [N; 2]) -> (N, [N; 2]) {
        let s = mixed(s, g * g, c.a, c.rest_a);
        (w - c.learning_rate * g / ((s + c.b).root() + c.epsilon), [s, unused])
    }
}

impl Step for Adadelta {
    const NUMBER: u32 = 5;
    const SLOTS: usize = 2;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [s, u]: [N; 2]) -> (N, [N; 2]) {
        let s = mixed(s, g * g, c.a, c.rest_a);
        let d = ((u + c.epsilon) / (s + c.epsilon)).root() * g;
        (w - c.learning_rate * d, [s, mixed(u, d * d, c.a, c.rest_a)])
    }
}

impl Step for Adam {
    const NUMBER: u32 = 6;
    const SLOTS: usize = 2;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [m, v]: [N; 2]) -> (N, [N; 2]) {
        let m = mixed(m, g, c.a, c.rest_a);
        let v = mixed(v, g * g, c.b, c.rest_b);
        let root = (v / c.corrections[1]).root() + c.epsilon;
        (w - c.learning_rate * (m / c.corrections[0]) / root, [m, v])
    }
}

impl Step for AdamW {
    const NUMBER: u32 = 7;
    const SLOTS: usize = 2;
    const DECOUPLED: bool = true;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, state: [N; 2]) -> (N, [N; 2]) {
        Adam::step(c, w, g, state)
    }
}

/// The step with decay: of the gradient scale*g + l2*w + l1*sign(w), or of scale*g and the same decay beside it.
#[inline(always)]
fn decayed<N: Number, T: Step>(c: &Constants<N>, w: N, g: N, [l1, l2]: [N; 2], state: [N; 2]) -> (N, [N; 2]) {
    let sign = if w > N::ZERO {
        N::ONE
    } else if w < N::ZERO {
        N::ZERO - N::ONE
    } else {
        c.zero_sign
    };
    let (decay, g) = (l2 * w + l1 * sign, c.scale * g);
    if T::DECOUPLED {
        let (value, state) = T::step(c, w, g, state);
        (value - c.learning_rate * decay, state)
    } else {
        T::step(c, w, g + decay, state)
    }
}

fn reference<S: Scalar, T: Step>(args: &mut Args<'_, S>) {
    let c = Constants::<f64>::of(args);
    let (factors, w, g, w_out) =
        (args.real(BLOCK_FACTORS), args.real(WEIGHTS), args.real(GRADIENT), args.out(NEXT_WEIGHTS));
    let (state, state_out) =
        if T::SLOTS > 0 { (args.real(STATE), args.out(NEXT_STATE)) } else { (&[][..], &mut [][..]) };
    for i in 0..w.len() {
        let at = |s: usize| s * w.len() + i;
        let slots = [0, 1].map(|s| state.get(at(s)).map_or(0.0, |v| v.get()));
        let [l1, l2, rate] = [0, 1, 2].map(|factor| factors[i / BLOCK * FACTORS + factor].get());
        let (decay, c) = ([l1, l2], c.at_rate(rate));
        let (value, slots) = decayed::<f64, T>(&c, w[i].get(), g[i].get(), decay, slots);
        w_out[i] = S::of(value);
        for s in 0..T::SLOTS {
            state_out[at(s)] = S::of(slots[s]);
        }
    }
}

/// In f32, cut into tasks.
fn parallel<T: Step>(args: &mut Args<'_, f32>) {
    const TASK: usize = 64 * BLOCK;
    let c = Constants::<f32>::of(args);
    let (factors, w, g, w_out) =
        (args.real(BLOCK_FACTORS), args.real(WEIGHTS), args.real(GRADIENT), args.out(NEXT_WEIGHTS));
    let (state, state_out) =
        if T::SLOTS > 0 { (args.real(STATE), args.out(NEXT_STATE)) } else { (&[][..], &mut [][..]) };
    let (first, second) = state_out.split_at_mut(w.len().min(state.len()));
    // Slots that the rule does not have come as empty pieces.
    let (mut first, mut second) = (first.chunks_mut(TASK), second.chunks_mut(TASK));
    let piece = |w_out| (w_out, [first.next().unwrap_or_default(), second.next().unwrap_or_default()]);
    let work: Vec<_> = w_out.chunks_mut(TASK).map(piece).collect();
    work.into_par_iter().enumerate().for_each(|(task, (w_out, state_out))| {
        update_from::<T>(&c, task * TASK, factors, w, g, state, w_out, state_out);
    });
}

/// Updates the parameters from `from` on, as many as `w_out` takes; the other buffers are whole.
#[multiversion(targets("x86_64+avx2+fma"))]
#[allow(clippy::too_many_arguments)]
fn update_from<T: Step>(
    c: &Constants<f32>,
    from: usize,
    factors: &[f32],
    w: &[f32],
    g: &[f32],
    state: &[f32],
    w_out: &mut [f32],
    [first_out, second_out]: [&mut [f32]; 2],
) {
    for (block, w_out) in w_out.chunks_exact_mut(BLOCK).enumerate() {
        let (at, own) = (from + block * BLOCK, block * BLOCK..(block + 1) * BLOCK);
        let [l1, l2, rate] = [0, 1, 2].map(|factor| factors[at / BLOCK * FACTORS + factor]);
        let (decay, c) = ([l1, l2], c.at_rate(rate));
        // The weights stand in for slots that the rule does not have, and whose results nobody keeps.
        let slot = |s: usize| if s < T::SLOTS { &state[s * w.len() + at..][..BLOCK] } else { &w[at..][..BLOCK] };
        let (w, g, first, second) = (&w[at..][..BLOCK], &g[at..][..BLOCK], slot(0), slot(1));
        let mut results = [[0.0; BLOCK]; 3];
        for i in 0..BLOCK {
            let (value, slots) = decayed::<f32, T>(&c, w[i], g[i], decay, [first[i], second[i]]);
            results[0][i] = value;
            results[1][i] = slots[0];
            results[2][i] = slots[1];
        }
        w_out.copy_from_slice(&results[0]);
        if T::SLOTS > 0 {
            first_out[own.clone()].copy_from_slice(&results[1]);
        }
        if T::SLOTS > 1 {
            second_out[own].copy_from_slice(&results[2]);
        }
    }
}
