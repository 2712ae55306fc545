//! Smooth and leaky activations, elementwise over any shape: leaky ReLU (x, or slope*x below 0), sigmoid 1/(1 + e^-x)
//! and tanh. `shaders/activation.wgsl`. The plain ReLU has its own kernels (`relu`).

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Activation, Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor,
    Variant, per_example, relu,
};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// The slope of [`Activation::LeakyRelu`].
    pub slope: f32,
    pub reserved: [u32; 2],
}

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

/// y from x, and dx from the inputs in [`Function::BACKWARD`].
const fn operations<F: Function>(
    [forward, backward]: [&'static str; 2],
    [gpu, gpu_backward]: [&'static [&'static Variant]; 2],
) -> [Operation; 2] {
    let params = size_of::<Params>();
    [
        Operation {
            name: forward,
            inputs: &[X],
            outputs: &[Y],
            params,
            reference: Reference::new(reference::<f32, F>, reference::<f64, F>),
            cpu: Cpu::new(parallel::<F>),
            gpu,
        },
        Operation {
            name: backward,
            inputs: F::BACKWARD,
            outputs: &[DX],
            params,
            reference: Reference::new(backward_reference::<f32, F>, backward_reference::<f64, F>),
            cpu: Cpu::new(backward_parallel::<F>),
            gpu: gpu_backward,
        },
    ]
}

const fn variant<F: Function>(name: &'static str, entry: &'static str) -> Variant {
    Variant::new(name, shader!("prelude/index", "activation"), entry, |op| {
        Launch::linear(op.params::<Params>().count as usize, 64).with(vec![("FUNCTION", F::NUMBER)])
    })
}

/// [`operations`] with names derived from one name.
macro_rules! function {
    ($function:ident, $name:literal) => {{
        const NAMES: [&str; 2] = [concat!("activation.", $name), concat!("activation.", $name, "_backward")];
        const VARIANTS: [Variant; 2] =
            [variant::<$function>(NAMES[0], "forward"), variant::<$function>(NAMES[1], "backward")];
        operations::<$function>(NAMES, [&[&VARIANTS[0]], &[&VARIANTS[1]]])
    }};
}

/// Declares the operations of functions, forward and backward, and their family.
macro_rules! functions {
    ($($operations:ident = $function:ident, $name:literal;)+) => {
        $(pub static $operations: [Operation; 2] = function!($function, $name);)+

        pub(super) static FAMILY: Family = Family { operations: &[$(&$operations[0], &$operations[1]),+], cases };
    };
}

functions! {
    LEAKY_RELU = LeakyRelu, "leaky_relu";
    SIGMOID = Sigmoid, "sigmoid";
    TANH = Tanh, "tanh";
}

/// The operations of a function, forward and backward.
fn operations_of(activation: Activation) -> [&'static Operation; 2] {
    match activation {
        Activation::Relu => [&relu::FORWARD, &relu::BACKWARD],
        Activation::LeakyRelu { .. } => LEAKY_RELU.each_ref(),
        Activation::Sigmoid => SIGMOID.each_ref(),
        Activation::Tanh => TANH.each_ref(),
    }
}

/// Floating-point operations for one value, forward and backward.
fn flops_of(activation: Activation) -> [usize; 2] {
    match activation {
        Activation::Relu => [1, 1],
        Activation::LeakyRelu { .. } => [1, 3],
        Activation::Sigmoid | Activation::Tanh => [4, 3],
    }
}

/// `Params` for a function; those of the ReLU have the same bits.
fn params(activation: Activation, count: usize) -> Params {
    let slope = match activation {
        Activation::LeakyRelu { slope } => slope,
        Activation::Relu | Activation::Sigmoid | Activation::Tanh => 0.0,
    };
    Params { count: word(count), slope, reserved: [0; 2] }
}

pub fn forward(activation: Activation, x: Tensor, y: Tensor) -> Op {
    assert_eq!(x.len, y.len, "activation: x and y");
    let ([operation, _], [flops, _]) = (operations_of(activation), flops_of(activation));
    Op::new(operation, params(activation, x.len), &[(X, x)], &[(Y, y)], flops * x.len).in_pieces(1)
}

/// `dx = dy * derivative`. Reads x or y, depending on the function.
pub fn backward(activation: Activation, x: Tensor, y: Tensor, dy: Tensor, dx: Tensor) -> Op {
    assert_eq!((y.len, y.len, y.len), (x.len, dy.len, dx.len), "activation: y, x, dy, dx");
    let ([_, operation], [_, flops]) = (operations_of(activation), flops_of(activation));
    let point = if operation.inputs.contains(&X) { (X, x) } else { (Y, y) };
    Op::new(operation, params(activation, x.len), &[point, (DY, dy)], &[(DX, dx)], flops * x.len).in_pieces(1)
}

/// A function and its derivative.
trait Function {
    /// The function's number in the shader.
    const NUMBER: u32;
    /// The inputs of the backward pass: the point from which the derivative is computed, which is y or x, and dy.
    const BACKWARD: &'static [Operand] = &[Y, DY];
    fn value(x: f64, slope: f64) -> f64;
    /// The derivative, from the first input in [`Function::BACKWARD`].
    fn derivative(point: f64, slope: f64) -> f64;
    /// The function in f32.
    fn fast_value(x: f32, slope: f32) -> f32;
    fn fast_derivative(point: f32, slope: f32) -> f32;
}

struct LeakyRelu;
struct Sigmoid;
struct Tanh;

impl Function for LeakyRelu {
    const NUMBER: u32 = 0;
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

impl Function for Sigmoid {
    const NUMBER: u32 = 1;
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

impl Function for Tanh {
    const NUMBER: u32 = 2;
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

fn reference<S: Scalar, F: Function>(args: &mut Args<'_, S>) {
    let slope = f64::from(args.params::<Params>().slope);
    for (y, x) in args.out(Y).iter_mut().zip(args.real(X)) {
        *y = S::of(F::value(x.get(), slope));
    }
}

fn backward_reference<S: Scalar, F: Function>(args: &mut Args<'_, S>) {
    let slope = f64::from(args.params::<Params>().slope);
    let (point, dy) = (args.real(F::BACKWARD[0]), args.real(DY));
    for (i, dx) in args.out(DX).iter_mut().enumerate() {
        *dx = S::of(dy[i].get() * F::derivative(point[i].get(), slope));
    }
}

/// The number of elements of a task.
const TASK: usize = 4096;

fn parallel<F: Function>(args: &mut Args<'_, f32>) {
    let (slope, x) = (args.params::<Params>().slope, args.real(X));
    let tasks = args.out(Y).par_chunks_mut(TASK).zip(x.par_chunks(TASK)).with_min_len(args.least_items());
    tasks.for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = F::fast_value(*x, slope));
    });
}

fn backward_parallel<F: Function>(args: &mut Args<'_, f32>) {
    let (slope, point, dy) = (args.params::<Params>().slope, args.real(F::BACKWARD[0]), args.real(DY));
    let chunks = args.out(DX).par_chunks_mut(TASK).zip(point.par_chunks(TASK).zip(dy.par_chunks(TASK)));
    chunks.with_min_len(args.least_items()).for_each(|(dx, (point, dy))| times_derivative::<F>(slope, point, dy, dx));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn times_derivative<F: Function>(slope: f32, point: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, point), dy) in dx.iter_mut().zip(point).zip(dy) {
        *dx = dy * F::fast_derivative(*point, slope);
    }
}

fn cases() -> Vec<Case> {
    // The plain ReLU has its own cases.
    let all = Activation::ALL.into_iter().filter(|activation| *activation != Activation::Relu);
    also_split(all.flat_map(cases_of).collect(), &["count=1009"])
}

fn cases_of(activation: Activation) -> Vec<Case> {
    let mut cases = Vec::new();
    let extremes = [0.0, -0.0, 1e-38, -1e-38, 1e-4, -1e-4, 87.0, -87.0, 200.0, -200.0, 3e38, -3e38];
    let ends = [f32::MAX, f32::from_bits(1), f32::from_bits(0x7f80_0001)];
    let special = [&extremes[..], &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN], &ends].concat();
    // A product is exact except for its rounding.
    let tolerance = match activation {
        Activation::LeakyRelu { .. } => Tolerance { atol: 1e-44, rtol: 1.2e-7 },
        // Relative, because values near 0 are as small as x.
        _ => Tolerance { atol: 1e-37, rtol: 4e-6 },
    };
    // 1 - y² cancels where y is near 1.
    let backward_tolerance = Tolerance { atol: tolerance.atol.max(2e-7), ..tolerance };
    // The same tensor serves as x and as y; only one of them is read.
    let backward = |point, dy, dx| backward(activation, point, point, dy, dx);
    // An output's range, or an input's.
    let reach = if operations_of(activation)[1].inputs.contains(&X) { 4.0 } else { 1.0 };
    for count in [1, 63, 64, 65, 1009] {
        let mut b = CaseBuilder::default();
        let (x, y) = (b.between(count, -4.0, 4.0), b.out(count));
        cases.push(b.case(format_args!("count={count}"), forward(activation, x, y), tolerance));
        let mut b = CaseBuilder::default();
        let (point, dy, dx) = (b.between(count, -reach, reach), b.real(count), b.out(count));
        cases.push(b.case(format_args!("count={count}"), backward(point, dy, dx), backward_tolerance));
    }
    let mut b = CaseBuilder::default();
    let (x, y) = (b.reals(special.clone()), b.out(special.len()));
    // WGSL grants an exponential 3 + 2|x| ULP, and a zero in place of a value below the smallest normal one.
    let loose = Tolerance { rtol: 10.0 * tolerance.rtol, atol: tolerance.atol.max(f64::from(f32::MIN_POSITIVE)) };
    cases.push(b.case("zeros, extremes, infinities, NaN", forward(activation, x, y), loose));
    let mut b = CaseBuilder::default();
    let ends = [&[0.0, -0.0, 1.0, -1.0, 1e-38, f32::NAN][..], &ends, &[0.5]].concat();
    let gradients = [&[1.0; 9][..], &[f32::NAN]].concat();
    let (point, dy, dx) = (b.reals(ends), b.reals(gradients), b.out(10));
    cases.push(b.case("both ends, zeros, NaN", backward(point, dy, dx), backward_tolerance));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Slot, SlotMut};

    /// The reference and the fast function of `activation` at `x`.
    fn at(activation: Activation, x: f32) -> [f32; 2] {
        let operation = operations_of(activation)[0];
        [operation.reference.single, operation.cpu.expect("a fast function").run].map(|run| {
            let (params, input, mut y) = (params(activation, 1), [x], [f32::NAN]);
            let inputs = vec![Slot::Real(&input[..])];
            let outputs = vec![SlotMut::Real(&mut y[..])];
            run(&mut Args::new(operation, bytemuck::bytes_of(&params), inputs, outputs));
            y[0]
        })
    }

    /// Runs a reference on one value per input.
    fn computed(operation: &'static Operation, params: Params, inputs: &[f64]) -> f64 {
        let mut output = [f64::NAN];
        let inputs = inputs.chunks(1).map(Slot::Real);
        let outputs = [SlotMut::Real(&mut output[..])];
        (operation.reference.double)(&mut Args::new(operation, bytemuck::bytes_of(&params), inputs, outputs));
        output[0]
    }

    #[test]
    fn derivatives_are_those_of_the_values() {
        for activation in Activation::ALL {
            let ([forward, backward], params) = (operations_of(activation), params(activation, 1));
            let value = |x: f64| computed(forward, params, &[x]);
            for x in [-3.0, -1.0, -0.25, 0.25, 1.0, 3.0] {
                let point = if backward.inputs.contains(&X) { x } else { value(x) };
                let derivative = computed(backward, params, &[point, 1.0]);
                let expected = (value(x + 1e-5) - value(x - 1e-5)) / 2e-5;
                assert!((derivative - expected).abs() < 1e-8, "{activation:?} at {x}: {derivative}, not {expected}");
            }
        }
    }

    #[test]
    fn known_values() {
        for (activation, x, expected) in [
            (Activation::LeakyRelu { slope: 0.25 }, -2.0, -0.5),
            (Activation::LeakyRelu { slope: 0.25 }, 3.0, 3.0),
            (Activation::Sigmoid, 0.0, 0.5),
            (Activation::Sigmoid, 2.0, 0.880_797),
            (Activation::Sigmoid, -200.0, 0.0),
            (Activation::Tanh, 0.0, 0.0),
            (Activation::Tanh, 1.0, 0.761_594_2),
            (Activation::Tanh, -50.0, -1.0),
        ] {
            for y in at(activation, x) {
                assert!((y - expected).abs() < 1e-6, "{activation:?} of {x} is {y}");
            }
        }
    }
}
