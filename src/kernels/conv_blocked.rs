//! The fast convolution kernels for common shapes; `shaders/conv_blocked.wgsl`. Same tensors, same parameters, same
//! reference and same CPU functions as the plain ones in `conv`, which builds their operations and holds their cases.

use super::Kernel;
use super::conv::{self, Params};
use super::op::linear;

const SOURCE: &str = include_str!("../../shaders/conv_blocked.wgsl");

/// C and O multiples of 4.
pub static FORWARD: Kernel = Kernel { name: "conv_blocked.forward", source: SOURCE, ..conv::FORWARD_SIGNATURE };

/// O a multiple of 4, any C.
pub static FORWARD_NARROW: Kernel =
    Kernel { name: "conv_blocked.forward_narrow", source: SOURCE, entry: "forward_narrow", ..conv::FORWARD_SIGNATURE };

/// C and O multiples of 4.
pub static BACKWARD_INPUT: Kernel =
    Kernel { name: "conv_blocked.backward_input", source: SOURCE, ..conv::BACKWARD_INPUT_SIGNATURE };

/// C and O multiples of 4.
pub static BACKWARD_WEIGHT: Kernel =
    Kernel { name: "conv_blocked.backward_weight", source: SOURCE, ..conv::BACKWARD_WEIGHT_SIGNATURE };

/// O a multiple of 4, any C.
pub static BACKWARD_WEIGHT_NARROW: Kernel = Kernel {
    name: "conv_blocked.backward_weight_narrow",
    source: SOURCE,
    entry: "backward_weight_narrow",
    ..conv::BACKWARD_WEIGHT_SIGNATURE
};

fn fits(p: &Params) -> bool {
    p.c.is_multiple_of(4) && p.o.is_multiple_of(4)
}

pub(super) fn forward_kernel(p: &Params) -> Option<&'static Kernel> {
    if fits(p) { Some(&FORWARD) } else { p.o.is_multiple_of(4).then_some(&FORWARD_NARROW) }
}

pub(super) fn backward_input_kernel(p: &Params) -> Option<&'static Kernel> {
    fits(p).then_some(&BACKWARD_INPUT)
}

pub(super) fn backward_weight_kernel(p: &Params) -> Option<&'static Kernel> {
    if fits(p) { Some(&BACKWARD_WEIGHT) } else { p.o.is_multiple_of(4).then_some(&BACKWARD_WEIGHT_NARROW) }
}

/// Blocks of four pixels x eight channels over [n, height, width, channels].
pub(super) fn pixel_groups(n: u32, height: u32, width: u32, channels: u32) -> [u32; 3] {
    let [x, y, _] = linear(n as usize * height as usize * width.div_ceil(4) as usize, 64);
    [x, y, channels.div_ceil(8)]
}

/// Three taps x one or four input channels, and one more for the bias; a group of y a split.
pub(super) fn tap_groups(p: &Params, kernel: &'static Kernel) -> [u32; 3] {
    let channels = if std::ptr::eq(kernel, &BACKWARD_WEIGHT) { p.c / 4 } else { p.c };
    let invocations = p.kh * p.kw.div_ceil(3) * channels + 1;
    [invocations.div_ceil(64), p.splits() as u32, p.o.div_ceil(8)]
}
