//! Optimizer steps over the flat buffer of all parameters; `shaders/optimizer.wgsl`.
//!
//! The effective gradient is scale*g + l2*w + l1*sign(w), and the learning rate is lr*r, where each block of 64
//! parameters has its (l1, l2, r). Tensors start at block borders, so that weights decay and biases do not, and layers
//! can have their own learning rates. sign(0) is 0, or -1 as in ConvNetJS. The scale clips the gradient's norm
//! (`clip`). Parameters and state are read from one buffer and written to another; the program swaps them at the end of
//! the step.

use super::batch::Header;
use super::op::word;
use super::{
    Args, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant, whole,
};
use multiversion::multiversion;
use rayon::prelude::*;
use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

mod cases;

pub use cases::cases;

/// The number of parameters that share decay and rate; the alignment of tensors in the flat buffer.
pub const BLOCK: usize = 64;
/// The values of a block: l1, l2, the factor of the learning rate, and one to fill a vector.
pub const FACTORS: usize = 4;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// The constant momentum, rho or beta1.
    pub a: f32,
    /// The constant beta2, or the epsilon in the root of Adagrad and Windowgrad.
    pub b: f32,
    pub epsilon: f32,
    /// 1 if the gradient is multiplied by the scale.
    pub scaled: u32,
    /// Subtracted from the sign of a weight that is 0.
    pub zero_pull: f32,
    /// 1 - rho or 1 - beta1, rounded once; subtracting the rounded 0.999 from 1 is 1.3e-5 off.
    pub rest_a: f32,
    /// 1 - beta2.
    pub rest_b: f32,
}

/// An optimizer: a rule that turns a gradient into an update, with its name and constants. A new one needs a row of
/// [`OPTIMIZERS`], its `Update` and its case in the shader.
pub struct Optimizer {
    /// The name in descriptions and options.
    pub name: &'static str,
    /// Names in other programs.
    pub aliases: &'static [&'static str],
    /// The default learning rate.
    pub learning_rate: f64,
    /// Its constants besides the learning rate, by the names of settings, with their defaults.
    pub constants: &'static [(&'static str, f64)],
    /// State values per parameter: none, one or two.
    pub slots: usize,
    /// Whether ConvNetJS has epsilon inside the root, sqrt(s + eps), instead of outside, sqrt(s) + eps.
    pub in_root_there: bool,
    pub operation: Operation,
}

pub(super) static FAMILY: Family = Family { operations: &OPERATIONS, cases };

static OPERATIONS: [&Operation; OPTIMIZERS.len()] = {
    let mut all = [&SGD.operation; OPTIMIZERS.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = &OPTIMIZERS[i].operation;
        i += 1;
    }
    all
};

impl Optimizer {
    /// Whether the optimizer has the constant `name`.
    pub fn has(&self, name: &str) -> bool {
        self.constants.iter().any(|(own, _)| *own == name)
    }
}

impl PartialEq for Optimizer {
    fn eq(&self, other: &Optimizer) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The most constants of an optimizer.
const MOST_CONSTANTS: usize = 3;

/// An optimizer with its constants, as a user wrote them.
#[derive(Clone, Copy, PartialEq)]
pub struct Rule {
    pub optimizer: &'static Optimizer,
    /// The constants in the order of [`Optimizer::constants`].
    values: [f64; MOST_CONSTANTS],
    /// Whether epsilon is inside the root.
    in_root: bool,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.optimizer.name)?;
        self.constants().try_for_each(|(name, value)| write!(f, " {name} {value:?}"))?;
        if self.in_root { f.write_str(" in the root") } else { Ok(()) }
    }
}

impl Rule {
    /// The optimizer with its default constants.
    pub fn new(optimizer: &'static Optimizer) -> Rule {
        let mut values = [0.0; MOST_CONSTANTS];
        values.iter_mut().zip(optimizer.constants).for_each(|(value, (_, default))| *value = *default);
        Rule { optimizer, values, in_root: false }
    }

    /// Returns the rule with another value for a constant.
    ///
    /// # Panics
    /// If the optimizer has no constant with this name.
    pub fn with(mut self, name: &str, value: f64) -> Rule {
        assert!(self.set(name, value), "{} has no {name}", self.optimizer);
        self
    }

    /// Changes the constant `name` if the optimizer has it.
    pub fn set(&mut self, name: &str, value: f64) -> bool {
        let place = self.optimizer.constants.iter().position(|(own, _)| *own == name);
        place.map(|place| self.values[place] = value).is_some()
    }

    /// Every constant with its name.
    pub fn constants(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.optimizer.constants.iter().map(|(name, _)| *name).zip(self.values)
    }

    /// The constant `name` if the optimizer has it.
    pub fn constant(&self, name: &str) -> Option<f64> {
        self.constants().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// Returns the rule with epsilon in the same place as in ConvNetJS.
    pub fn as_convnetjs(self) -> Rule {
        Rule { in_root: self.optimizer.in_root_there, ..self }
    }

    /// State values per parameter: none, one or two.
    pub fn slots(&self) -> usize {
        self.optimizer.slots
    }

    /// 1 - beta^t of both betas at update `t`, counted from 1; 1 for optimizers without betas.
    pub fn corrections(&self, t: u64) -> [f64; 2] {
        ["beta1", "beta2"].map(|beta| self.constant(beta).map_or(1.0, |beta| 1.0 - beta.powf(t as f64)))
    }

    /// a, b and epsilon of [`Params`].
    fn places(&self) -> [f64; 3] {
        let a = ["momentum", "rho", "beta1"].into_iter().find_map(|name| self.constant(name)).unwrap_or(0.0);
        let (beta2, epsilon) = (self.constant("beta2").unwrap_or(0.0), self.constant("epsilon").unwrap_or(0.0));
        if self.in_root { [a, epsilon, 0.0] } else { [a, beta2, epsilon] }
    }
}

const HEADER: Operand = whole("header", U32);
const BLOCK_FACTORS: Operand = whole("factors", F32);
const WEIGHTS: Operand = whole("weights", F32);
const GRADIENT: Operand = whole("gradient", F32);
const SCALE: Operand = whole("scale", F32);
/// The state, `[slots, count]`.
const STATE: Operand = whole("state", F32);
const NEXT_WEIGHTS: Operand = whole("next_weights", F32);
const NEXT_STATE: Operand = whole("next_state", F32);

/// A row of [`OPTIMIZERS`].
const fn row<T: Update>(
    name: &'static str,
    aliases: &'static [&'static str],
    learning_rate: f64,
    constants: &'static [(&'static str, f64)],
    kernel: &'static str,
    gpu: &'static [&'static Variant],
) -> Optimizer {
    assert!(constants.len() <= MOST_CONSTANTS, "an optimizer has more constants than a rule can hold");
    let (inputs, outputs): (&[Operand], &[Operand]) = if T::SLOTS > 0 {
        (&[HEADER, BLOCK_FACTORS, WEIGHTS, GRADIENT, SCALE, STATE], &[NEXT_WEIGHTS, NEXT_STATE])
    } else {
        (&[HEADER, BLOCK_FACTORS, WEIGHTS, GRADIENT, SCALE], &[NEXT_WEIGHTS])
    };
    let reference = Reference::new(reference::<f32, T>, reference::<f64, T>);
    let (params, cpu) = (size_of::<Params>(), Cpu::new(parallel::<T>));
    let operation = Operation { name: kernel, inputs, outputs, params, reference, cpu, gpu };
    Optimizer { name, aliases, learning_rate, constants, slots: T::SLOTS, in_root_there: T::IN_ROOT_THERE, operation }
}

/// [`row`] with the names that are made of one.
macro_rules! optimizer {
    ($step:ident, $name:literal, $aliases:expr, $learning_rate:expr, $constants:expr) => {{
        const KERNEL: &str = concat!("optimizer.", $name);
        const VARIANTS: [Variant; 2] = variants::<$step>(KERNEL, concat!("optimizer.", $name, "_textures"));
        row::<$step>($name, $aliases, $learning_rate, $constants, KERNEL, &[&VARIANTS[0], &VARIANTS[1]])
    }};
}

/// Declares the rows, and the list of them.
macro_rules! optimizers {
    ($($row:ident = $step:ident, $name:literal, $aliases:expr, $learning_rate:expr, $constants:expr;)+) => {
        $(pub static $row: Optimizer = optimizer!($step, $name, $aliases, $learning_rate, $constants);)+

        /// All optimizers. Rates and constants are PyTorch's defaults, except the rates of nesterov and momentum, which
        /// PyTorch leaves open, and adadelta's epsilon, which is Zeiler's.
        pub static OPTIMIZERS: [&Optimizer; [$($name),+].len()] = [$(&$row),+];
    };
}

const STATELESS_TEXTURES: &[Texture] = &[Texture::vectors(WEIGHTS), Texture::vectors(GRADIENT)];
const STATEFUL_TEXTURES: &[Texture] = &[Texture::vectors(WEIGHTS), Texture::vectors(GRADIENT), Texture::vectors(STATE)];

/// The variant that reads textures, and the one that reads buffers.
const fn variants<T: Update>(name: &'static str, textured: &'static str) -> [Variant; 2] {
    let (entry, textures) =
        if T::SLOTS > 0 { ("stateful", STATEFUL_TEXTURES) } else { ("stateless", STATELESS_TEXTURES) };
    let source = shader!("prelude/header", "prelude/index", "buffers/optimizer", "optimizer");
    let variant = Variant::new(name, source, entry, |op| {
        let launch = Launch::linear(op.params::<Params>().count as usize / 4, 64);
        let constants = [("RULE", T::NUMBER), ("SLOTS", T::SLOTS as u32), ("DECOUPLED", T::DECOUPLED.into())];
        launch.with(constants.to_vec())
    });
    let source = shader!("prelude/header", "prelude/index", "prelude/texel", "textures/optimizer", "optimizer");
    [variant.textured(textured, source, textures), variant]
}

optimizers! {
    SGD = Sgd, "sgd", &[], 0.01, &[];
    MOMENTUM = Momentum, "momentum", &["sgd-momentum"], 0.01, &[("momentum", 0.9)];
    NESTEROV = Nesterov, "nesterov", &["nag"], 0.01, &[("momentum", 0.9)];
    ADAGRAD = Adagrad, "adagrad", &[], 0.01, &[("epsilon", 1e-10)];
    WINDOWGRAD = Windowgrad, "windowgrad", &["rmsprop"], 0.01, &[("rho", 0.99), ("epsilon", 1e-8)];
    ADADELTA = Adadelta, "adadelta", &[], 1.0, &[("rho", 0.95), ("epsilon", 1e-6)];
    ADAM = Adam, "adam", &[], 1e-3, &[("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-8)];
    ADAMW = AdamW, "adamw", &[], 1e-3, &[("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-8)];
}

/// The buffers of an update. `state` is (before, after), of `rule.slots() * w.len` values; `None` for SGD.
#[derive(Debug, Clone, Copy)]
pub struct Buffers {
    pub header: Tensor,
    /// [`FACTORS`] for each block.
    pub factors: Tensor,
    pub gradient: Tensor,
    /// The factor on the gradient, the first of its values; `None` for 1.
    pub scale: Option<Tensor>,
    /// How L1 decay treats a weight that is 0: with sign -1, as in ConvNetJS, or with sign 0.
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
    let [a, b2, epsilon] = rule.places();
    let scaled = u32::from(b.scale.is_some());
    let zero_pull = if b.zero_is_negative { 1.0 } else { 0.0 };
    let [rest_a, rest_b] = [a, b2].map(|share| (1.0 - share) as f32);
    let [a, b2, epsilon] = [a, b2, epsilon].map(|value| value as f32);
    let params = Params { count: word(count), a, b: b2, epsilon, scaled, zero_pull, rest_a, rest_b };
    // Without scaling nothing reads the scale, so any buffer may be bound.
    let scale = b.scale.unwrap_or(b.factors);
    let mut inputs = vec![(HEADER, b.header), (BLOCK_FACTORS, b.factors), (WEIGHTS, b.w), (GRADIENT, b.gradient)];
    inputs.push((SCALE, scale));
    let mut outputs = vec![(NEXT_WEIGHTS, b.w_out)];
    if let Some((before, after)) = b.state {
        inputs.push((STATE, before));
        outputs.push((NEXT_STATE, after));
    }
    Op::new(&rule.optimizer.operation, params, &inputs, &outputs, count * (5 + 6 * rule.slots()))
}

/// The type of numbers in a step: f64 in the reference, f32 on the CPU.
trait Number:
    Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    fn root(self) -> Self;
}

/// keep*old + rest*new with keep + rest = 1. If keep is near 1, its rounding would make the sum differ from 1 and
/// change the window, so only the rest is used.
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

    /// The constants for a block with this factor on its learning rate.
    #[inline(always)]
    fn at_rate(self, factor: N) -> Constants<N> {
        Constants { learning_rate: self.learning_rate * factor, ..self }
    }
}

/// The update of one parameter: weight, gradient, state -> weight, state. g is the gradient including decay, except for
/// [`AdamW`].
trait Update {
    /// The rule's number in the shader.
    const NUMBER: u32;
    /// State values per parameter.
    const SLOTS: usize;
    /// Whether ConvNetJS adds epsilon inside the root.
    const IN_ROOT_THERE: bool = false;
    /// Whether decay shrinks the weight outside the step, instead of being part of the gradient.
    const DECOUPLED: bool = false;
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, state: [N; 2]) -> (N, [N; 2]);
}

/// w' = w - lr*g.
struct Sgd;
/// v' = momentum*v - lr*g, w' = w + v' (ConvNetJS; PyTorch's is the same while lr is constant).
struct Momentum;
/// v' = momentum*v - lr*g, w' = w + momentum*v' - lr*g (PyTorch's and ConvNetJS's while lr is constant; Sutskever et
/// al. 2013).
struct Nesterov;
/// Duchi, Hazan and Singer (2011), as PyTorch has it: s' = s + g², w' = w - lr*g/(sqrt(s') + eps).
struct Adagrad;
/// Adagrad with a window, which PyTorch calls RMSprop: s' = rho*s + (1-rho)g², w' = w - lr*g/(sqrt(s') + eps).
struct Windowgrad;
/// Zeiler, "ADADELTA" (2012), with PyTorch's factor: s' = rho*s + (1-rho)g², d = sqrt((u+eps)/(s'+eps))*g,
/// u' = rho*u + (1-rho)d², w' = w - lr*d.
struct Adadelta;
/// Kingma and Ba, "Adam" (2014): m' = b1*m + (1-b1)g, v' = b2*v + (1-b2)g², with bias corrections
/// c1 = 1-b1^t, c2 = 1-b2^t: w' = w - lr*(m'/c1)/(sqrt(v'/c2) + eps).
struct Adam;
/// Loshchilov and Hutter (2019): Adam on the gradient without decay; lr*(l2*w + l1*sign(w)) is also subtracted from w'.
struct AdamW;

impl Update for Sgd {
    const NUMBER: u32 = 0;
    const SLOTS: usize = 0;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, state: [N; 2]) -> (N, [N; 2]) {
        (w - c.learning_rate * g, state)
    }
}

impl Update for Momentum {
    const NUMBER: u32 = 1;
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [v, unused]: [N; 2]) -> (N, [N; 2]) {
        let v = c.a * v - c.learning_rate * g;
        (w + v, [v, unused])
    }
}

impl Update for Nesterov {
    const NUMBER: u32 = 2;
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [v, unused]: [N; 2]) -> (N, [N; 2]) {
        let step = c.learning_rate * g;
        let v = c.a * v - step;
        (w + c.a * v - step, [v, unused])
    }
}

impl Update for Adagrad {
    const NUMBER: u32 = 3;
    const SLOTS: usize = 1;
    const IN_ROOT_THERE: bool = true;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [s, unused]: [N; 2]) -> (N, [N; 2]) {
        let s = s + g * g;
        (w - c.learning_rate * g / ((s + c.b).root() + c.epsilon), [s, unused])
    }
}

impl Update for Windowgrad {
    const NUMBER: u32 = 4;
    const SLOTS: usize = 1;
    const IN_ROOT_THERE: bool = true;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [s, unused]: [N; 2]) -> (N, [N; 2]) {
        let s = mixed(s, g * g, c.a, c.rest_a);
        (w - c.learning_rate * g / ((s + c.b).root() + c.epsilon), [s, unused])
    }
}

impl Update for Adadelta {
    const NUMBER: u32 = 5;
    const SLOTS: usize = 2;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, [s, u]: [N; 2]) -> (N, [N; 2]) {
        let s = mixed(s, g * g, c.a, c.rest_a);
        let d = ((u + c.epsilon) / (s + c.epsilon)).root() * g;
        (w - c.learning_rate * d, [s, mixed(u, d * d, c.a, c.rest_a)])
    }
}

impl Update for Adam {
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

impl Update for AdamW {
    // Only the decay differs.
    const NUMBER: u32 = Adam::NUMBER;
    const SLOTS: usize = 2;
    const DECOUPLED: bool = true;
    #[inline(always)]
    fn step<N: Number>(c: &Constants<N>, w: N, g: N, state: [N; 2]) -> (N, [N; 2]) {
        Adam::step(c, w, g, state)
    }
}

/// The sign of `value`; `zero` if it is 0 or not a number.
#[inline(always)]
fn sign<N: Number>(value: N, zero: N) -> N {
    if value > N::ZERO {
        N::ONE
    } else if value < N::ZERO {
        N::ZERO - N::ONE
    } else {
        zero
    }
}

/// The update with decay: with the gradient scale*g + l2*w + l1*sign(w), or with scale*g and separate decay.
#[inline(always)]
fn decayed<N: Number, T: Update>(c: &Constants<N>, w: N, g: N, [l1, l2]: [N; 2], state: [N; 2]) -> (N, [N; 2]) {
    let (decay, g) = (l2 * w + l1 * sign(w, c.zero_sign), c.scale * g);
    if T::DECOUPLED {
        let (value, state) = T::step(c, w, g, state);
        (value - c.learning_rate * decay, state)
    } else {
        T::step(c, w, g + decay, state)
    }
}

fn reference<S: Scalar, T: Update>(args: &mut Args<'_, S>) {
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

/// Computed in f32, divided into tasks.
fn parallel<T: Update>(args: &mut Args<'_, f32>) {
    const TASK: usize = 64 * BLOCK;
    let c = Constants::<f32>::of(args);
    let (factors, w, g, w_out) =
        (args.real(BLOCK_FACTORS), args.real(WEIGHTS), args.real(GRADIENT), args.out(NEXT_WEIGHTS));
    let (state, state_out) =
        if T::SLOTS > 0 { (args.real(STATE), args.out(NEXT_STATE)) } else { (&[][..], &mut [][..]) };
    let (first, second) = state_out.split_at_mut(w.len().min(state.len()));
    // Slots that the rule does not have are empty pieces.
    let (mut first, mut second) = (first.chunks_mut(TASK), second.chunks_mut(TASK));
    let piece = |w_out| (w_out, [first.next().unwrap_or_default(), second.next().unwrap_or_default()]);
    let work: Vec<_> = w_out.chunks_mut(TASK).map(piece).collect();
    work.into_par_iter().enumerate().for_each(|(task, (w_out, state_out))| {
        update_from::<T>(&c, task * TASK, factors, w, g, state, w_out, state_out);
    });
}

/// Updates as many parameters from `from` on as `w_out` holds; the other buffers are whole.
#[multiversion(targets("x86_64+avx2+fma"))]
#[allow(clippy::too_many_arguments)]
fn update_from<T: Update>(
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
        // The weights are passed for slots that the rule does not have; their results are discarded.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_reaches_the_kernel() {
        for optimizer in OPTIMIZERS {
            for (name, value) in optimizer.constants {
                let [rule, other] = [*value, value / 2.0].map(|value| Rule::new(optimizer).with(name, value));
                assert_ne!(rule.places(), other.places(), "{name} of {optimizer}");
            }
        }
    }
}
