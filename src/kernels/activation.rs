//! Smooth and leaky activations, elementwise over any shape: leaky ReLU (x, or slope*x below 0), sigmoid 1/(1 + e^-x)
//! and tanh. The backward pass only needs the outputs. `shaders/activation.wgsl`. The plain ReLU has its own kernels
//! (`relu`).

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Args, Case, Cpu, Element::F32, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, per_example,
};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// The slope of [`Function::LeakyRelu`].
    pub slope: f32,
    pub reserved: [u32; 2],
}

/// The activation function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `slope` is above 0, so that the output has the input's sign.
    LeakyRelu {
        slope: f32,
    },
    Sigmoid,
    Tanh,
}

impl Function {
    fn params(self, count: usize) -> Params {
        let slope = if let Function::LeakyRelu { slope } = self { slope } else { 0.0 };
        Params { count: word(count), slope, reserved: [0; 2] }
    }

    /// Forward and backward.
    fn operations(self) -> [&'static Operation; 2] {
        match self {
            Function::LeakyRelu { .. } => [&LEAKY_RELU, &LEAKY_RELU_BACKWARD],
            Function::Sigmoid => [&SIGMOID, &SIGMOID_BACKWARD],
            Function::Tanh => [&TANH, &TANH_BACKWARD],
        }
    }
}

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

/// y from x.
const fn forward_of<F: Elementwise>(name: &'static str, gpu: &'static [&'static Variant]) -> Operation {
    Operation {
        name,
        inputs: &[X],
        outputs: &[Y],
        params: size_of::<Params>(),
        reference: Reference::new(reference::<f32, F>, reference::<f64, F>),
        cpu: Cpu::new(parallel::<F>),
        gpu,
    }
}

/// dx from y and dy.
const fn backward_of<F: Elementwise>(name: &'static str, gpu: &'static [&'static Variant]) -> Operation {
    Operation {
        name,
        inputs: &[Y, DY],
        outputs: &[DX],
        params: size_of::<Params>(),
        reference: Reference::new(backward_reference::<f32, F>, backward_reference::<f64, F>),
        cpu: Cpu::new(backward_parallel::<F>),
        gpu,
    }
}

const fn variant(name: &'static str, entry: &'static str) -> Variant {
    Variant::new(name, shader!("prelude/index", "activation"), entry, |op| {
        Launch::linear(op.params::<Params>().count as usize, 64)
    })
}

pub static LEAKY_RELU: Operation =
    forward_of::<LeakyRelu>("activation.leaky_relu", &[&variant("activation.leaky_relu", "leaky_relu")]);
pub static SIGMOID: Operation =
    forward_of::<Sigmoid>("activation.sigmoid", &[&variant("activation.sigmoid", "sigmoid")]);
pub static TANH: Operation =
    forward_of::<Tanh>("activation.tanh_forward", &[&variant("activation.tanh_forward", "tanh_forward")]);
pub static LEAKY_RELU_BACKWARD: Operation = backward_of::<LeakyRelu>(
    "activation.leaky_relu_backward",
    &[&variant("activation.leaky_relu_backward", "leaky_relu_backward")],
);
pub static SIGMOID_BACKWARD: Operation = backward_of::<Sigmoid>(
    "activation.sigmoid_backward",
    &[&variant("activation.sigmoid_backward", "sigmoid_backward")],
);
pub static TANH_BACKWARD: Operation =
    backward_of::<Tanh>("activation.tanh_backward", &[&variant("activation.tanh_backward", "tanh_backward")]);

pub fn forward(function: Function, x: Tensor, y: Tensor) -> Op {
    assert_eq!(x.len, y.len, "activation: x and y");
    let flops = x.len * if matches!(function, Function::LeakyRelu { .. }) { 1 } else { 4 };
    Op::new(function.operations()[0], function.params(x.len), &[(X, x)], &[(Y, y)], flops).in_pieces(1)
}

pub fn backward(function: Function, y: Tensor, dy: Tensor, dx: Tensor) -> Op {
    assert_eq!((y.len, y.len), (dy.len, dx.len), "activation: y, dy, dx");
    let inputs = [(Y, y), (DY, dy)];
    Op::new(function.operations()[1], function.params(y.len), &inputs, &[(DX, dx)], 3 * y.len).in_pieces(1)
}

/// A function, and its derivative as a function of its value.
trait Elementwise {
    fn value(x: f64, slope: f64) -> f64;
    fn derivative(y: f64, slope: f64) -> f64;
    /// The same in f32.
    fn fast_value(x: f32, slope: f32) -> f32;
    fn fast_derivative(y: f32, slope: f32) -> f32;
}

struct LeakyRelu;
struct Sigmoid;
struct Tanh;

impl Elementwise for LeakyRelu {
    fn value(x: f64, slope: f64) -> f64 {
        if x <= 0.0 { slope * x } else { x }
    }
    fn derivative(y: f64, slope: f64) -> f64 {
        if y > 0.0 { 1.0 } else { slope }
    }
    #[inline(always)]
    fn fast_value(x: f32, slope: f32) -> f32 {
        x * if x > 0.0 { 1.0 } else { slope }
    }
    #[inline(always)]
    fn fast_derivative(y: f32, slope: f32) -> f32 {
        if y > 0.0 { 1.0 } else { slope }
    }
}

impl Elementwise for Sigmoid {
    fn value(x: f64, _: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }
    fn derivative(y: f64, _: f64) -> f64 {
        y * (1.0 - y)
    }
    #[inline(always)]
    fn fast_value(x: f32, _: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }
    #[inline(always)]
    fn fast_derivative(y: f32, _: f32) -> f32 {
        y * (1.0 - y)
    }
}

impl Elementwise for Tanh {
    fn value(x: f64, _: f64) -> f64 {
        x.tanh()
    }
    fn derivative(y: f64, _: f64) -> f64 {
        1.0 - y * y
    }
    #[inline(always)]
    fn fast_value(x: f32, _: f32) -> f32 {
        x.tanh()
    }
    #[inline(always)]
    fn fast_derivative(y: f32, _: f32) -> f32 {
        1.0 - y * y
    }
}

fn reference<S: Scalar, F: Elementwise>(args: &mut Args<'_, S>) {
    let slope = f64::from(args.params::<Params>().slope);
    for (y, x) in args.out(Y).iter_mut().zip(args.real(X)) {
        *y = S::of(F::value(x.get(), slope));
    }
}

fn backward_reference<S: Scalar, F: Elementwise>(args: &mut Args<'_, S>) {
    let slope = f64::from(args.params::<Params>().slope);
    let (y, dy) = (args.real(Y), args.real(DY));
    for (i, dx) in args.out(DX).iter_mut().enumerate() {
        *dx = S::of(dy[i].get() * F::derivative(y[i].get(), slope));
    }
}

/// Elements per task.
const TASK: usize = 4096;

fn parallel<F: Elementwise>(args: &mut Args<'_, f32>) {
    let (slope, x) = (args.params::<Params>().slope, args.real(X));
    let tasks = args.out(Y).par_chunks_mut(TASK).zip(x.par_chunks(TASK)).with_min_len(args.least_items());
    tasks.for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = F::fast_value(*x, slope));
    });
}

fn backward_parallel<F: Elementwise>(args: &mut Args<'_, f32>) {
    let (slope, y, dy) = (args.params::<Params>().slope, args.real(Y), args.real(DY));
    let chunks = args.out(DX).par_chunks_mut(TASK).zip(y.par_chunks(TASK).zip(dy.par_chunks(TASK)));
    chunks.with_min_len(args.least_items()).for_each(|(dx, (y, dy))| times_derivative::<F>(slope, y, dy, dx));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn times_derivative<F: Elementwise>(slope: f32, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
        *dx = dy * F::fast_derivative(*y, slope);
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let extremes = [0.0, -0.0, 1e-38, -1e-38, 1e-4, -1e-4, 87.0, -87.0, 200.0, -200.0, 3e38, -3e38];
    let ends = [f32::MAX, f32::from_bits(1), f32::from_bits(0x7f80_0001)];
    let special = [&extremes[..], &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN], &ends].concat();
    for function in [Function::LeakyRelu { slope: 0.01 }, Function::Sigmoid, Function::Tanh] {
        // A product is exact except for its rounding.
        let tolerance = match function {
            Function::LeakyRelu { .. } => Tolerance { atol: 1e-44, rtol: 1.2e-7 },
            // Relative, because values near 0 are as small as x.
            _ => Tolerance { atol: 1e-37, rtol: 4e-6 },
        };
        // 1 - y² cancels where y is near 1.
        let backward_tolerance = Tolerance { atol: tolerance.atol.max(2e-7), ..tolerance };
        for count in [1, 63, 64, 65, 1009] {
            let mut b = CaseBuilder::default();
            let (x, y) = (b.between(count, -4.0, 4.0), b.out(count));
            cases.push(b.case(format_args!("count={count}"), forward(function, x, y), tolerance));
            let mut b = CaseBuilder::default();
            let (y, dy, dx) = (b.between(count, -1.0, 1.0), b.real(count), b.out(count));
            cases.push(b.case(format_args!("count={count}"), backward(function, y, dy, dx), backward_tolerance));
        }
        let mut b = CaseBuilder::default();
        let (x, y) = (b.reals(special.clone()), b.out(special.len()));
        // WGSL allows an exponential an error of 3 + 2|x| ULP.
        let loose = Tolerance { rtol: 10.0 * tolerance.rtol, ..tolerance };
        cases.push(b.case("zeros, extremes, infinities, NaN", forward(function, x, y), loose));
        let mut b = CaseBuilder::default();
        let ends = [&[0.0, -0.0, 1.0, -1.0, 1e-38, f32::NAN][..], &ends, &[0.5]].concat();
        let gradients = [&[1.0; 9][..], &[f32::NAN]].concat();
        let (y, dy, dx) = (b.reals(ends), b.reals(gradients), b.out(10));
        cases.push(b.case("both ends, zeros, NaN", backward(function, y, dy, dx), backward_tolerance));
    }
    also_split(cases, &["count=1009"])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference and the fast function of `function` at `x`.
    fn at(function: Function, x: f32) -> [f32; 2] {
        let operation = function.operations()[0];
        [operation.reference.single, operation.cpu.expect("a fast function").run].map(|run| {
            let (params, input, mut y) = (function.params(1), [x], [f32::NAN]);
            let inputs = vec![super::super::Slot::Real(&input[..])];
            let outputs = vec![super::super::SlotMut::Real(&mut y[..])];
            run(&mut Args::new(operation, bytemuck::bytes_of(&params), inputs, outputs));
            y[0]
        })
    }

    #[test]
    fn known_values() {
        for (function, x, expected) in [
            (Function::LeakyRelu { slope: 0.25 }, -2.0, -0.5),
            (Function::LeakyRelu { slope: 0.25 }, 3.0, 3.0),
            (Function::Sigmoid, 0.0, 0.5),
            (Function::Sigmoid, 2.0, 0.880_797),
            (Function::Sigmoid, -200.0, 0.0),
            (Function::Tanh, 0.0, 0.0),
            (Function::Tanh, 1.0, 0.761_594_2),
            (Function::Tanh, -50.0, -1.0),
        ] {
            for y in at(function, x) {
                assert!((y - expected).abs() < 1e-6, "{function:?} of {x} is {y}");
            }
        }
    }
}
