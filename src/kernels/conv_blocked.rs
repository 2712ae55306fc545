//! Variants of the convolution for common shapes, made for software adapters; `shaders/conv_blocked.wgsl`.

use super::conv::{BIAS, DY, Params, WEIGHT, X};
use super::op::linear;
use super::{Launch, Op, Texture, Variant};

const SOURCE: &str = shader!("prelude/textures", "prelude/index", "conv_blocked");

/// C and O multiples of 4; none of these variants takes dilation or groups.
pub(super) static FORWARD: Variant = Variant {
    textures: &[Texture::vectors(X), Texture::vectors(WEIGHT), Texture::vectors(BIAS)],
    fits: fits_wide,
    ..Variant::new("conv_blocked.forward", SOURCE, "forward", launch_outputs)
};

/// O a multiple of 4, any C.
pub(super) static FORWARD_NARROW: Variant = Variant {
    textures: &[Texture::scalars(X), Texture::vectors(WEIGHT), Texture::vectors(BIAS)],
    fits: fits_narrow,
    ..Variant::new("conv_blocked.forward_narrow", SOURCE, "forward_narrow", launch_outputs)
};

/// C and O multiples of 4.
pub(super) static BACKWARD_INPUT: Variant = Variant {
    textures: &[Texture::vectors(DY), Texture::vectors(WEIGHT)],
    fits: fits_wide,
    ..Variant::new("conv_blocked.backward_input", SOURCE, "backward_input", launch_inputs)
};

/// C and O multiples of 4.
pub(super) static BACKWARD_WEIGHT: Variant = Variant {
    workgroup: 32,
    textures: &[Texture::vectors(X), Texture::vectors(DY)],
    fits: fits_wide,
    // Five taps x four input channels.
    ..Variant::new("conv_blocked.backward_weight", SOURCE, "backward_weight", |op| {
        let p: Params = op.params();
        launch_taps(&p, p.kh * (p.c / 4), 32)
    })
};

/// O a multiple of 4, any C.
pub(super) static BACKWARD_WEIGHT_NARROW: Variant = Variant {
    workgroup: 8,
    textures: &[Texture::scalars(X), Texture::vectors(DY)],
    fits: fits_narrow,
    // Two rows of five taps x one channel.
    ..Variant::new("conv_blocked.backward_weight_narrow", SOURCE, "backward_weight_narrow", |op| {
        let p: Params = op.params();
        launch_taps(&p, p.kh.div_ceil(2) * p.c, 8)
    })
};

fn fits_wide(op: &Op) -> bool {
    op.params::<Params>().c.is_multiple_of(4) && fits_narrow(op)
}

fn fits_narrow(op: &Op) -> bool {
    let p: Params = op.params();
    p.o.is_multiple_of(4) && p.is_plain()
}

/// The most adjacent pixels in a block, as in the shader's `MOST`.
const MOST: u32 = 14;

/// Pixels per block in rows of `width`: few blocks, and as few pixels as possible beyond the row's end.
fn pixels(width: u32) -> u32 {
    width.div_ceil(width.div_ceil(MOST))
}

fn launch_outputs(op: &Op) -> Launch {
    let p: Params = op.params();
    launch_pixels(&p, p.oh, p.ow, p.o)
}

fn launch_inputs(op: &Op) -> Launch {
    let p: Params = op.params();
    launch_pixels(&p, p.h, p.w, p.c)
}

/// Blocks of pixels x eight channels over `[n, height, width, channels]`.
fn launch_pixels(p: &Params, height: u32, width: u32, channels: u32) -> Launch {
    let pixels = pixels(width);
    let [x, y, _] = linear(p.n as usize * height as usize * width.div_ceil(pixels) as usize, 64);
    Launch::of([x, y, channels.div_ceil(8)]).with(vec![unit_stride(p), ("PIXELS", pixels)])
}

/// `blocks` of five taps of a row, and one more for the bias, in every split x eight filters.
fn launch_taps(p: &Params, blocks: u32, workgroup: u32) -> Launch {
    let invocations = (p.kw.div_ceil(5) * blocks + 1) as usize * p.splits();
    let [x, y, _] = linear(invocations, workgroup);
    Launch::of([x, y, p.o.div_ceil(8)]).with(vec![unit_stride(p)])
}

fn unit_stride(p: &Params) -> (&'static str, u32) {
    ("UNIT_STRIDE", u32::from(p.stride == [1, 1]))
}
