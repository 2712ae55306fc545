//! Smooth and leaky activations, elementwise over any shape: leaky ReLU (x, or slope*x below 0), sigmoid 1/(1 + e^-x) and
//! tanh. Backward they need their outputs alone. `shaders/activation.wgsl`. The plain ReLU has kernels of its own (`relu`).

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::{linear, word};
use super::{Args, Case, Element::F32, Kernel, Op, Reference, Scalar, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// Of [`Function::LeakyRelu`].
    pub slope: f32,
    pub reserved: [u32; 2],
}

/// Which function.
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
    fn kernels(self) -> [&'static Kernel; 2] {
        match self {
            Function::LeakyRelu { .. } => [&LEAKY_RELU, &LEAKY_RELU_BACKWARD],
            Function::Sigmoid => [&SIGMOID, &SIGMOID_BACKWARD],
            Function::Tanh => [&TANH, &TANH_BACKWARD],
        }
    }
}

const fn kernel(
    name: &'static str,
    entry: &'static str,
    inputs: &'static [super::Element],
    reference: Reference,
    cpu: fn(&mut Args<'_, f32>),
) -> Kernel {
    Kernel {
        name,
        source: include_str!("../../shaders/activation.wgsl"),
        entry,
        inputs,
        outputs: &[F32],
        textures: &[],
        params: size_of::<Params>(),
        workgroup: 64,
        reference,
        cpu: Some(cpu),
    }
}

macro_rules! forward {
    ($name:literal, $entry:literal, $function:ident) => {{
        let reference = Reference { single: reference::<f32, $function>, double: reference::<f64, $function> };
        kernel($name, $entry, &[F32], reference, parallel::<$function>)
    }};
}

macro_rules! backward {
    ($name:literal, $entry:literal, $function:ident) => {{
        let reference =
            Reference { single: backward_reference::<f32, $function>, double: backward_reference::<f64, $function> };
        kernel($name, $entry, &[F32, F32], reference, backward_parallel::<$function>)
    }};
}

/// Inputs: x. Outputs: y.
pub static LEAKY_RELU: Kernel = forward!("activation.leaky_relu", "leaky_relu", LeakyRelu);
/// Inputs: x. Outputs: y.
pub static SIGMOID: Kernel = forward!("activation.sigmoid", "sigmoid", Sigmoid);
/// Inputs: x. Outputs: y.
pub static TANH: Kernel = forward!("activation.tanh_forward", "tanh_forward", Tanh);
/// Inputs: y, dy. Outputs: dx.
pub static LEAKY_RELU_BACKWARD: Kernel = backward!("activation.leaky_relu_backward", "leaky_relu_backward", LeakyRelu);
/// Inputs: y, dy. Outputs: dx.
pub static SIGMOID_BACKWARD: Kernel = backward!("activation.sigmoid_backward", "sigmoid_backward", Sigmoid);
/// Inputs: y, dy. Outputs: dx.
pub static TANH_BACKWARD: Kernel = backward!("activation.tanh_backward", "tanh_backward", Tanh);

pub fn forward(function: Function, x: Tensor, y: Tensor) -> Op {
    assert_eq!(x.len, y.len, "activation: x and y");
    let flops = x.len * if matches!(function, Function::LeakyRelu { .. }) { 1 } else { 4 };
    Op::new(function.kernels()[0], function.params(x.len), &[x], &[y], linear(x.len, 64), flops).in_pieces(&[], 1)
}

pub fn backward(function: Function, y: Tensor, dy: Tensor, dx: Tensor) -> Op {
    assert_eq!((y.len, y.len), (dy.len, dx.len), "activation: y, dy, dx");
    Op::new(function.kernels()[1], function.params(y.len), &[y, dy], &[dx], linear(y.len, 64), 3 * y.len)
        .in_pieces(&[], 1)
}

/// A function and its derivative, told from its value.
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
    for (y, x) in args.out(0).iter_mut().zip(args.real(0)) {
        *y = S::of(F::value(x.get(), slope));
    }
}

fn backward_reference<S: Scalar, F: Elementwise>(args: &mut Args<'_, S>) {
    let slope = f64::from(args.params::<Params>().slope);
    let (y, dy) = (args.real(0), args.real(1));
    for (i, dx) in args.out(0).iter_mut().enumerate() {
        *dx = S::of(dy[i].get() * F::derivative(y[i].get(), slope));
    }
}

/// Elements of a task.
const TASK: usize = 4096;

fn parallel<F: Elementwise>(args: &mut Args<'_, f32>) {
    let (slope, x) = (args.params::<Params>().slope, args.real(0));
    let tasks = args.out(0).par_chunks_mut(TASK).zip(x.par_chunks(TASK)).with_min_len(args.least_items());
    tasks.for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = F::fast_value(*x, slope));
    });
}

fn backward_parallel<F: Elementwise>(args: &mut Args<'_, f32>) {
    let (slope, y, dy) = (args.params::<Params>().slope, args.real(0), args.real(1));
    let chunks = args.out(0).par_chunks_mut(TASK).zip(y.par_chunks(TASK).zip(dy.par_chunks(TASK)));
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
        // A product is exact but for its rounding.
        let tolerance = match function {
            Function::LeakyRelu { .. } => Tolerance { atol: 1e-44, rtol: 1.2e-7 },
            // Relative: near 0 values are as small as x.
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
        // WGSL grants an exponential 3 + 2|x| ULP.
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
        let kernel = function.kernels()[0];
        [kernel.reference.single, kernel.cpu.expect("a fast function")].map(|run| {
            let (params, input, mut y) = (function.params(1), [x], [f32::NAN]);
            let inputs = vec![super::super::Slot::Real(&input[..])];
            let outputs = vec![super::super::SlotMut::Real(&mut y[..])];
            run(&mut Args::new(bytemuck::bytes_of(&params), inputs, outputs));
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
