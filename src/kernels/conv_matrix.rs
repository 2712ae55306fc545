//! Variants of the convolution that multiply by cooperative matrices; `shaders/matrix/`, after the files of `shaders/tile/`
//! that say what the factors are, and what becomes of the sums.

use super::conv_params::Params;
use super::precision::Matrices;
use super::tile::Product;
use super::variant::linear;
use super::{Launch, Op, Variant};

/// The texts of a variant: for each of [`Matrices::ALL`] all files that it is made of.
macro_rules! matrixed {
    ($core:literal $(, $file:literal)*) => {
        [
            matrixed!("matrix/f16_16", "matrix/f16"; $($file,)* $core),
            matrixed!("matrix/f16_8", "matrix/f16"; $($file,)* $core),
            matrixed!("matrix/f32_8", "matrix/f32"; $($file,)* $core),
        ]
    };
    ($matrices:literal, $factor:literal; $($file:literal),+) => {
        shader!($matrices, $factor, "prelude/index", "tile/conv", "matrix/strips", $($file),+)
    };
}

/// A forward pass, possibly with the ReLU after it.
const ROWS: [&str; 3] =
    matrixed!("matrix/product", "tile/conv_x", "tile/conv_forward", "tile/conv_y", "matrix/finish_row");
const POOL: [&str; 3] = matrixed!("matrix/product", "tile/conv_x", "tile/conv_forward", "tile/conv_y_pooled");
const INPUT: [&str; 3] =
    matrixed!("matrix/product", "tile/bindings/input", "tile/dy", "tile/conv_input", "tile/dx", "matrix/finish_row");
const INPUT_RELU: [&str; 3] = matrixed!(
    "matrix/product",
    "tile/bindings/input_relu",
    "tile/dy",
    "tile/conv_input",
    "tile/dx_relu",
    "matrix/finish_row"
);
const INPUT_POOL: [&str; 3] = matrixed!(
    "matrix/product",
    "tile/bindings/input_pool",
    "tile/dy_pooled",
    "tile/conv_input",
    "tile/dx",
    "matrix/finish_row"
);
const INPUT_POOL_RELU: [&str; 3] = matrixed!(
    "matrix/product",
    "tile/bindings/input_pool_relu",
    "tile/dy_pooled",
    "tile/conv_input",
    "tile/dx_relu",
    "matrix/finish_row"
);
const GRADIENT: [&str; 3] =
    matrixed!("matrix/gradient", "tile/bindings/gradient", "tile/dy", "tile/conv_gradient", "tile/conv_gradient_x");
const GRADIENT_POOL: [&str; 3] = matrixed!(
    "matrix/gradient",
    "tile/bindings/gradient_pool",
    "tile/dy_pooled",
    "tile/conv_gradient",
    "tile/conv_gradient_x"
);

/// The invocations of a workgroup.
const LANES: u32 = 128;
/// Strips of a workgroup, each of two matrices' rows.
const STRIPS: usize = 4;
/// Matrices across a strip, at most.
const ACROSS: usize = 2;
/// The factor of gradients, which are about a batch's size smaller than activations and weights: with it, gradients
/// from 1.5e-8 to 16 are normal numbers in f16. Larger ones are cut to 16.
const GRADIENT_SCALE: u32 = 1 << 12;

/// The launches with matrices of 16 rows and of 8.
type Launches = [fn(&Op) -> Launch; 2];

/// Variants for each of [`Matrices::ALL`], for C and O that are multiples of 4.
const fn each(names: [&'static str; 3], sources: [&'static str; 3], entry: &'static str, by: Launches) -> [Variant; 3] {
    [
        one(Matrices::ALL[0], Variant::new(names[0], sources[0], entry, by[0])),
        one(Matrices::ALL[1], Variant::new(names[1], sources[1], entry, by[1])),
        one(Matrices::ALL[2], Variant::new(names[2], sources[2], entry, by[1])),
    ]
}

const fn one(matrices: Matrices, variant: Variant) -> Variant {
    let variant = variant.in_workgroups_of(LANES);
    Variant { matrices: Some(matrices), condition: |op, _| fits(op), suits: |op| is_worth_it(op), ..variant }
}

fn fits(op: &Op) -> bool {
    let p: Params = op.params();
    p.groups == 1 && p.c.is_multiple_of(4) && p.o.is_multiple_of(4)
}

/// Whether a matrix is not mostly empty.
fn is_worth_it(op: &Op) -> bool {
    let p: Params = op.params();
    p.c >= 8 && p.o >= 8
}

pub(super) const FORWARD: [Variant; 3] = each(
    ["conv_matrix.forward_f16_16", "conv_matrix.forward_f16_8", "conv_matrix.forward_f32_8"],
    ROWS,
    "product",
    [|op| launch_forward::<16>(op, 0), |op| launch_forward::<8>(op, 0)],
);
pub(super) const FORWARD_RELU: [Variant; 3] = each(
    ["conv_matrix.forward_relu_f16_16", "conv_matrix.forward_relu_f16_8", "conv_matrix.forward_relu_f32_8"],
    ROWS,
    "product",
    [|op| launch_forward::<16>(op, 1), |op| launch_forward::<8>(op, 1)],
);
/// A forward pass with the ReLU and the pooling after it.
pub(super) const FORWARD_POOL: [Variant; 3] = each(
    ["conv_matrix.forward_pool_f16_16", "conv_matrix.forward_pool_f16_8", "conv_matrix.forward_pool_f32_8"],
    POOL,
    "product",
    [launch_pool::<16>, launch_pool::<8>],
);

const fn inputs(names: [&'static str; 3], sources: [&'static str; 3]) -> [Variant; 3] {
    each(names, sources, "product", [launch_input::<16>, launch_input::<8>])
}

/// Gradients of x; also where dy comes from a pooling, or x from a ReLU, or both.
pub(super) const BACKWARD_INPUT: [Variant; 3] = inputs(
    ["conv_matrix.backward_input_f16_16", "conv_matrix.backward_input_f16_8", "conv_matrix.backward_input_f32_8"],
    INPUT,
);
pub(super) const BACKWARD_INPUT_RELU: [Variant; 3] = inputs(
    [
        "conv_matrix.backward_input_relu_f16_16",
        "conv_matrix.backward_input_relu_f16_8",
        "conv_matrix.backward_input_relu_f32_8",
    ],
    INPUT_RELU,
);
pub(super) const BACKWARD_INPUT_POOL: [Variant; 3] = inputs(
    [
        "conv_matrix.backward_input_pool_f16_16",
        "conv_matrix.backward_input_pool_f16_8",
        "conv_matrix.backward_input_pool_f32_8",
    ],
    INPUT_POOL,
);
pub(super) const BACKWARD_INPUT_POOL_RELU: [Variant; 3] = inputs(
    [
        "conv_matrix.backward_input_pool_relu_f16_16",
        "conv_matrix.backward_input_pool_relu_f16_8",
        "conv_matrix.backward_input_pool_relu_f32_8",
    ],
    INPUT_POOL_RELU,
);

const fn gradients(names: [&'static str; 3], sources: [&'static str; 3]) -> [Variant; 3] {
    each(names, sources, "gradient", [launch_gradient::<16>, launch_gradient::<8>])
}

/// Weight gradients; also where dy comes from a pooling.
pub(super) const BACKWARD_WEIGHT: [Variant; 3] = gradients(
    ["conv_matrix.backward_weight_f16_16", "conv_matrix.backward_weight_f16_8", "conv_matrix.backward_weight_f32_8"],
    GRADIENT,
);
pub(super) const BACKWARD_WEIGHT_POOL: [Variant; 3] = gradients(
    [
        "conv_matrix.backward_weight_pool_f16_16",
        "conv_matrix.backward_weight_pool_f16_8",
        "conv_matrix.backward_weight_pool_f32_8",
    ],
    GRADIENT_POOL,
);

/// A launch for so many tiles down, and for these columns.
fn launch<const SIDE: usize>(down: usize, columns: usize, mut constants: Vec<(&'static str, u32)>) -> Launch {
    let matrices = if columns > SIDE { ACROSS } else { 1 };
    let [x, y, _] = linear(down, 1);
    constants.push(("ACROSS", matrices as u32));
    Launch::of([x, y, columns.div_ceil(matrices * SIDE) as u32]).with(constants)
}

/// Rows of a strip.
const fn strip(side: usize) -> usize {
    2 * side
}

fn launch_forward<const SIDE: usize>(op: &Op, relu: u32) -> Launch {
    let p: Params = op.params();
    let Product { rows, columns, .. } = p.forward_product();
    let constants = [p.constants(), vec![("RELU", relu)]].concat();
    launch::<SIDE>(rows.div_ceil(STRIPS * strip(SIDE)), columns, constants)
}

fn launch_pool<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    let window = p.window[0] * p.window[1];
    // Nine outputs would leave much of one matrix unused, or be more than it has rows.
    let height = if window > 4 { 2 } else { 1 };
    let constants = [p.pooled_constants(), vec![("ROWS", window), ("HEIGHT", height)]].concat();
    let windows = STRIPS * (2 / height as usize) * (height as usize * SIDE / window as usize);
    launch::<SIDE>(p.pooled_pixels().div_ceil(windows), p.o as usize, constants)
}

fn launch_input<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    let Product { rows, columns, .. } = p.input_product();
    let constants = [p.pooled_constants(), vec![("SCALE", GRADIENT_SCALE)]].concat();
    launch::<SIDE>(rows.div_ceil(STRIPS * strip(SIDE)), columns, constants)
}

fn launch_gradient<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    let constants = [p.pooled_constants(), vec![("SCALE", GRADIENT_SCALE)]].concat();
    let tiles = (p.k() + 1).div_ceil(STRIPS * strip(SIDE));
    launch::<SIDE>(tiles * p.splits(), p.o as usize, constants)
}
