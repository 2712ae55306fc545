//! The fast convolution kernels for common shapes; `shaders/conv_blocked.wgsl`. Same tensors, same parameters, same
//! reference and same CPU functions as the plain ones in `conv`, which builds their operations and holds their cases.

use super::conv::{self, Params};
use super::op::linear;
use super::{Kernel, WINDOW};

const SOURCE: &str = include_str!("../../shaders/conv_blocked.wgsl");

/// C and O multiples of 4.
pub static FORWARD: Kernel = Kernel { name: "conv_blocked.forward", ..FORWARD_COPY };

/// The same for weights that fit a uniform window.
pub static FORWARD_UNIFORM: Kernel =
    Kernel { name: "conv_blocked.forward_uniform", constants: UNIFORM_WEIGHTS, ..FORWARD_COPY };

/// O a multiple of 4, any C, weights within a uniform window.
pub static FORWARD_NARROW: Kernel =
    Kernel { name: "conv_blocked.forward_narrow", entry: "forward_narrow", constants: UNIFORM_WEIGHTS, ..FORWARD_COPY };

/// C and O multiples of 4.
pub static BACKWARD_INPUT: Kernel =
    Kernel { name: "conv_blocked.backward_input", source: SOURCE, window: Some(1), ..conv::BACKWARD_INPUT_SIGNATURE };

/// The same for weights that fit a uniform window.
pub static BACKWARD_INPUT_UNIFORM: Kernel = Kernel {
    name: "conv_blocked.backward_input_uniform",
    source: SOURCE,
    window: Some(1),
    constants: UNIFORM_WEIGHTS,
    ..conv::BACKWARD_INPUT_SIGNATURE
};

/// C and O multiples of 4.
pub static BACKWARD_WEIGHT: Kernel =
    Kernel { name: "conv_blocked.backward_weight", source: SOURCE, workgroup: 32, ..conv::BACKWARD_WEIGHT_SIGNATURE };

/// O a multiple of 4, any C.
pub static BACKWARD_WEIGHT_NARROW: Kernel = Kernel {
    name: "conv_blocked.backward_weight_narrow",
    source: SOURCE,
    workgroup: 8,
    entry: "backward_weight_narrow",
    ..conv::BACKWARD_WEIGHT_SIGNATURE
};

const UNIFORM_WEIGHTS: &[(&str, f64)] = &[("UNIFORM_WEIGHTS", 1.0)];
const FORWARD_COPY: Kernel = Kernel { source: SOURCE, window: Some(1), ..conv::FORWARD_SIGNATURE };

fn fits(p: &Params) -> bool {
    p.c.is_multiple_of(4) && p.o.is_multiple_of(4)
}

fn fits_window(p: &Params) -> bool {
    4 * p.k() * p.o as usize <= WINDOW
}

pub(super) fn forward_kernel(p: &Params) -> Option<&'static Kernel> {
    match (fits(p), fits_window(p)) {
        (true, true) => Some(&FORWARD_UNIFORM),
        (true, false) => Some(&FORWARD),
        (false, true) => p.o.is_multiple_of(4).then_some(&FORWARD_NARROW),
        (false, false) => None,
    }
}

pub(super) fn backward_input_kernel(p: &Params) -> Option<&'static Kernel> {
    fits(p).then_some(if fits_window(p) { &BACKWARD_INPUT_UNIFORM } else { &BACKWARD_INPUT })
}

pub(super) fn backward_weight_kernel(p: &Params) -> Option<&'static Kernel> {
    if fits(p) { Some(&BACKWARD_WEIGHT) } else { p.o.is_multiple_of(4).then_some(&BACKWARD_WEIGHT_NARROW) }
}

/// Blocks of six pixels x eight channels over `[n, height, width, channels]`.
pub(super) fn pixel_groups(n: u32, height: u32, width: u32, channels: u32) -> [u32; 3] {
    let [x, y, _] = linear(n as usize * height as usize * width.div_ceil(6) as usize, 64);
    [x, y, channels.div_ceil(8)]
}

/// Five taps x four input channels, or two rows of five taps x one channel, and one more for the bias, in every split.
pub(super) fn tap_groups(p: &Params, kernel: &'static Kernel) -> [u32; 3] {
    let blocks = if kernel.name == BACKWARD_WEIGHT.name { p.kh * (p.c / 4) } else { p.kh.div_ceil(2) * p.c };
    let invocations = (p.kw.div_ceil(5) * blocks + 1) as usize * p.splits();
    let [x, y, _] = linear(invocations, kernel.workgroup);
    [x, y, p.o.div_ceil(8)]
}
