//! Variants of the convolution that multiply by cooperative matrices; `shaders/matrix/`, after the files of
//! `shaders/tile/` that say what the factors are, and what becomes of the sums.

use super::conv_params::Params;
use super::precision::Matrices;
use super::variant::linear;
use super::{Launch, Op, Variant};

/// The text of a variant: the files about its matrices, those that are common, and its own.
macro_rules! text {
    ($matrices:literal, $factor:literal, $($file:literal),+) => {
        shader!($matrices, $factor, "prelude/index", "tile/conv", "matrix/strips", $($file),+)
    };
}

/// Variants for each of [`Matrices::ALL`], by the stem of their names, the entry point, the launch by the side of the
/// matrices, and the files. C and O are multiples of 4.
macro_rules! variants {
    ($stem:literal, $entry:literal, $launch:ident, $($file:literal),+) => {
        [
            one(
                Matrices::F16_16,
                Variant::new(
                    concat!("conv_matrix.", $stem, "_f16_16"),
                    text!("matrix/f16_16", "matrix/f16", $($file),+),
                    $entry,
                    $launch::<16>,
                ),
            ),
            one(
                Matrices::F16_8,
                Variant::new(
                    concat!("conv_matrix.", $stem, "_f16_8"),
                    text!("matrix/f16_8", "matrix/f16", $($file),+),
                    $entry,
                    $launch::<8>,
                ),
            ),
            one(
                Matrices::F32_8,
                Variant::new(
                    concat!("conv_matrix.", $stem, "_f32_8"),
                    text!("matrix/f32_8", "matrix/f32", $($file),+),
                    $entry,
                    $launch::<8>,
                ),
            ),
        ]
    };
}

const fn one(matrices: Matrices, variant: Variant) -> Variant {
    let variant = variant.in_workgroups_of(32 * strips(matrices.side as usize) as u32);
    Variant { matrices: Some(matrices), condition: |op, _| fits(op), suits: |op| is_worth_it(op), ..variant }
}

/// Strips of a workgroup, so that it has 64 rows.
const fn strips(side: usize) -> usize {
    32 / side
}

/// Rows of a workgroup's tile.
const ROWS: usize = 64;

/// Matrices across a strip, at most.
const ACROSS: usize = 2;

/// Gradients are multiplied by this power of two, because they are about a batch's size smaller than activations and
/// weights: those from 1.5e-8 to 16 are then normal numbers in f16. Larger ones are cut to 16.
const GRADIENT_SCALE_BITS: u32 = 12;

fn fits(op: &Op) -> bool {
    let p: Params = op.params();
    p.groups == 1 && p.c.is_multiple_of(4) && p.o.is_multiple_of(4)
}

/// Whether the matrices are not mostly empty, and there are enough workgroups to make up for kernels that divide long
/// sums: matrix units are several times as fast as the others.
fn is_worth_it(op: &Op) -> bool {
    const ENOUGH: u32 = 32;
    let p: Params = op.params();
    let workgroups = |variant: &Variant| (variant.first.launch)(op).workgroups.iter().product::<u32>();
    let own = op.operation.gpu.iter().find(|variant| variant.matrices.is_some());
    p.c >= 8 && p.o >= 8 && own.is_some_and(|variant| workgroups(variant) >= ENOUGH)
}

pub(super) const FORWARD: [Variant; 3] = variants!(
    "forward",
    "product",
    launch_forward,
    "tile/conv_x",
    "tile/conv_forward",
    "tile/conv_y",
    "matrix/finish_row",
    "matrix/product"
);
/// A forward pass with the ReLU after it.
pub(super) const FORWARD_RELU: [Variant; 3] = variants!(
    "forward_relu",
    "product",
    launch_forward_relu,
    "tile/conv_x",
    "tile/conv_forward",
    "tile/conv_y",
    "matrix/finish_row",
    "matrix/product"
);
/// A forward pass with the ReLU and the pooling after it.
pub(super) const FORWARD_POOL: [Variant; 3] = variants!(
    "forward_pool",
    "product",
    launch_pool,
    "tile/conv_x",
    "tile/conv_forward",
    "tile/conv_y_pooled",
    "matrix/product"
);

/// Gradients of x; also where dy comes from a pooling, or x from a ReLU, or both.
pub(super) const BACKWARD_INPUT: [Variant; 3] = variants!(
    "backward_input",
    "product",
    launch_input,
    "tile/bindings/input",
    "tile/dy",
    "tile/conv_input",
    "tile/dx",
    "matrix/finish_row",
    "matrix/product"
);
pub(super) const BACKWARD_INPUT_RELU: [Variant; 3] = variants!(
    "backward_input_relu",
    "product",
    launch_input,
    "tile/bindings/input_relu",
    "tile/dy",
    "tile/conv_input",
    "tile/dx_relu",
    "matrix/finish_row",
    "matrix/product"
);
pub(super) const BACKWARD_INPUT_POOL: [Variant; 3] = variants!(
    "backward_input_pool",
    "product",
    launch_input,
    "tile/bindings/input_pool",
    "tile/dy_pooled",
    "tile/conv_input",
    "tile/dx",
    "matrix/finish_row",
    "matrix/product"
);
pub(super) const BACKWARD_INPUT_POOL_RELU: [Variant; 3] = variants!(
    "backward_input_pool_relu",
    "product",
    launch_input,
    "tile/bindings/input_pool_relu",
    "tile/dy_pooled",
    "tile/conv_input",
    "tile/dx_relu",
    "matrix/finish_row",
    "matrix/product"
);

/// Weight gradients; also where dy comes from a pooling.
pub(super) const BACKWARD_WEIGHT: [Variant; 3] = variants!(
    "backward_weight",
    "gradient",
    launch_gradient,
    "tile/bindings/gradient",
    "tile/dy",
    "tile/conv_gradient",
    "tile/conv_gradient_x",
    "matrix/gradient"
);
pub(super) const BACKWARD_WEIGHT_POOL: [Variant; 3] = variants!(
    "backward_weight_pool",
    "gradient",
    launch_gradient,
    "tile/bindings/gradient_pool",
    "tile/dy_pooled",
    "tile/conv_gradient",
    "tile/conv_gradient_x",
    "matrix/gradient"
);

/// The launch of `down` workgroups for all rows, and as many across as these columns need.
fn launch<const SIDE: usize>(down: usize, columns: usize, mut constants: Vec<(&'static str, u32)>) -> Launch {
    let matrices = if columns > SIDE { ACROSS } else { 1 };
    let [x, y, _] = linear(down, 1);
    constants.push(("ACROSS", matrices as u32));
    Launch::of([x, y, columns.div_ceil(matrices * SIDE) as u32]).with(constants)
}

fn launch_forward<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    launch::<SIDE>(p.forward_product().rows.div_ceil(ROWS), p.o as usize, p.constants())
}

fn launch_forward_relu<const SIDE: usize>(op: &Op) -> Launch {
    let mut launch = launch_forward::<SIDE>(op);
    launch.constants.push(("RELU", 1));
    launch
}

fn launch_pool<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    let window = (p.window[0] * p.window[1]) as usize;
    // The sums of whole windows are in memory at the same time: four windows of four outputs are one matrix of 16 rows.
    // Nine outputs would leave seven of its rows unused, and are more than 8 rows.
    let height = if window > 4 { 2 } else { 1 };
    let windows = ROWS / (height * SIDE) * (height * SIDE / window);
    let constants = [p.pooled_constants(), vec![("ROWS", window as u32), ("HEIGHT", height as u32)]].concat();
    launch::<SIDE>(p.pooled_pixels().div_ceil(windows), p.o as usize, constants)
}

fn launch_input<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    let constants = [p.pooled_constants(), vec![("SCALE_BITS", GRADIENT_SCALE_BITS)]].concat();
    launch::<SIDE>(p.input_product().rows.div_ceil(ROWS), p.c as usize, constants)
}

fn launch_gradient<const SIDE: usize>(op: &Op) -> Launch {
    let p: Params = op.params();
    let constants = [p.pooled_constants(), vec![("SCALE_BITS", GRADIENT_SCALE_BITS)]].concat();
    launch::<SIDE>((p.k() + 1).div_ceil(ROWS) * p.splits(), p.o as usize, constants)
}
