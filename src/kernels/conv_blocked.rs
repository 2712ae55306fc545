//! The fast convolution kernels for common shapes; `shaders/conv_blocked.wgsl`. Same tensors, same parameters, same
//! reference and same CPU functions as the plain ones in `conv`, which builds their operations and holds their cases.

use super::conv::{self, Params};
use super::op::linear;
use super::{Kernel, Texture};

const SOURCE: &str = include_str!("../../shaders/conv_blocked.wgsl");

/// C and O multiples of 4; none of these kernels takes dilation or groups.
pub static FORWARD: Kernel = Kernel {
    name: "conv_blocked.forward",
    source: SOURCE,
    textures: &[Texture::vectors(0), Texture::vectors(1), Texture::vectors(2)],
    ..conv::FORWARD_SIGNATURE
};

/// O a multiple of 4, any C.
pub static FORWARD_NARROW: Kernel = Kernel {
    name: "conv_blocked.forward_narrow",
    source: SOURCE,
    entry: "forward_narrow",
    textures: &[Texture::scalars(0), Texture::vectors(1), Texture::vectors(2)],
    ..conv::FORWARD_SIGNATURE
};

/// C and O multiples of 4.
pub static BACKWARD_INPUT: Kernel = Kernel {
    name: "conv_blocked.backward_input",
    source: SOURCE,
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    ..conv::BACKWARD_INPUT_SIGNATURE
};

/// C and O multiples of 4.
pub static BACKWARD_WEIGHT: Kernel = Kernel {
    name: "conv_blocked.backward_weight",
    source: SOURCE,
    workgroup: 32,
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    ..conv::BACKWARD_WEIGHT_SIGNATURE
};

/// O a multiple of 4, any C.
pub static BACKWARD_WEIGHT_NARROW: Kernel = Kernel {
    name: "conv_blocked.backward_weight_narrow",
    source: SOURCE,
    workgroup: 8,
    entry: "backward_weight_narrow",
    textures: &[Texture::scalars(0), Texture::vectors(1)],
    ..conv::BACKWARD_WEIGHT_SIGNATURE
};

fn fits(p: &Params) -> bool {
    p.c.is_multiple_of(4) && fits_narrow(p)
}

fn fits_narrow(p: &Params) -> bool {
    p.o.is_multiple_of(4) && p.is_plain()
}

pub(super) fn forward_kernel(p: &Params) -> Option<&'static Kernel> {
    if fits(p) { Some(&FORWARD) } else { fits_narrow(p).then_some(&FORWARD_NARROW) }
}

pub(super) fn backward_input_kernel(p: &Params) -> Option<&'static Kernel> {
    fits(p).then_some(&BACKWARD_INPUT)
}

pub(super) fn backward_weight_kernel(p: &Params) -> Option<&'static Kernel> {
    if fits(p) { Some(&BACKWARD_WEIGHT) } else { fits_narrow(p).then_some(&BACKWARD_WEIGHT_NARROW) }
}

/// Pixels side by side that a block has, at most: as the shader's `MOST`.
const MOST: u32 = 14;

/// Pixels of a block in rows of `width`: few blocks, and as few pixels as possible beyond the row's end.
fn pixels(width: u32) -> u32 {
    width.div_ceil(width.div_ceil(MOST))
}

/// What the shader is compiled for, where blocks of pixels go along rows of `width`.
pub(super) fn pixel_constants(p: &Params, width: u32) -> Vec<(&'static str, u32)> {
    vec![("UNIT_STRIDE", u32::from(p.stride == [1, 1])), ("PIXELS", pixels(width))]
}

/// What the shader is compiled for, where blocks are of taps.
pub(super) fn tap_constants(p: &Params) -> Vec<(&'static str, u32)> {
    vec![("UNIT_STRIDE", u32::from(p.stride == [1, 1]))]
}

/// Blocks of pixels x eight channels over `[n, height, width, channels]`.
pub(super) fn pixel_groups(n: u32, height: u32, width: u32, channels: u32) -> [u32; 3] {
    let [x, y, _] = linear(n as usize * height as usize * width.div_ceil(pixels(width)) as usize, 64);
    [x, y, channels.div_ceil(8)]
}

/// Five taps x four input channels, or two rows of five taps x one channel, and one more for the bias, in every split.
pub(super) fn tap_groups(p: &Params, kernel: &'static Kernel) -> [u32; 3] {
    let blocks = if kernel.name == BACKWARD_WEIGHT.name { p.kh * (p.c / 4) } else { p.kh.div_ceil(2) * p.c };
    let invocations = (p.kw.div_ceil(5) * blocks + 1) as usize * p.splits();
    let [x, y, _] = linear(invocations, kernel.workgroup);
    [x, y, p.o.div_ceil(8)]
}
