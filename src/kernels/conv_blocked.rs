//! Variants of the convolution for common shapes, made for software adapters; `shaders/conv_blocked.wgsl`.

use super::conv_params::{BIAS, DY, Params, WEIGHT, X};
use super::variant::linear;
use super::{Adapter, Launch, Op, Texture, Variant};

const SOURCE: &str = shader!("prelude/index", "buffers/conv_blocked", "conv_blocked");
const TEXTURES: &str = shader!("prelude/index", "prelude/texel", "textures/conv_blocked", "conv_blocked");

/// C and O multiples of 4; none of these variants takes dilation or groups.
pub(super) const FORWARD: Variant =
    Variant { condition: fits_wide, ..Variant::new("conv_blocked.forward", SOURCE, "forward", launch_outputs) };
pub(super) const FORWARD_TEXTURES: Variant = FORWARD.textured(
    "conv_blocked.forward_textures",
    TEXTURES,
    &[Texture::vectors(X), Texture::vectors(WEIGHT), Texture::vectors(BIAS)],
);

/// O a multiple of 4, any C.
pub(super) const FORWARD_NARROW: Variant = Variant {
    condition: fits_narrow,
    ..Variant::new("conv_blocked.forward_narrow", SOURCE, "forward_narrow", launch_outputs)
};
pub(super) const FORWARD_NARROW_TEXTURES: Variant = FORWARD_NARROW.textured(
    "conv_blocked.forward_narrow_textures",
    TEXTURES,
    &[Texture::scalars(X), Texture::vectors(WEIGHT), Texture::vectors(BIAS)],
);

/// C and O multiples of 4.
pub(super) const BACKWARD_INPUT: Variant = Variant {
    condition: fits_wide,
    ..Variant::new("conv_blocked.backward_input", SOURCE, "backward_input", launch_inputs)
};
pub(super) const BACKWARD_INPUT_TEXTURES: Variant = BACKWARD_INPUT.textured(
    "conv_blocked.backward_input_textures",
    TEXTURES,
    &[Texture::vectors(DY), Texture::vectors(WEIGHT)],
);

/// C and O multiples of 4.
pub(super) const BACKWARD_WEIGHT: Variant = Variant {
    condition: fits_wide,
    // Five taps x four input channels.
    ..Variant::new("conv_blocked.backward_weight", SOURCE, "backward_weight", |op| {
        let p: Params = op.params();
        launch_taps(&p, p.kh * (p.c / 4), 32)
    })
    .in_workgroups_of(32)
};
pub(super) const BACKWARD_WEIGHT_TEXTURES: Variant = BACKWARD_WEIGHT.textured(
    "conv_blocked.backward_weight_textures",
    TEXTURES,
    &[Texture::vectors(X), Texture::vectors(DY)],
);

/// O a multiple of 4, any C.
pub(super) const BACKWARD_WEIGHT_NARROW: Variant = Variant {
    condition: fits_narrow,
    // Two rows of five taps x one channel.
    ..Variant::new("conv_blocked.backward_weight_narrow", SOURCE, "backward_weight_narrow", |op| {
        let p: Params = op.params();
        launch_taps(&p, p.kh.div_ceil(2) * p.c, 8)
    })
    .in_workgroups_of(8)
};
pub(super) const BACKWARD_WEIGHT_NARROW_TEXTURES: Variant = BACKWARD_WEIGHT_NARROW.textured(
    "conv_blocked.backward_weight_narrow_textures",
    TEXTURES,
    &[Texture::scalars(X), Texture::vectors(DY)],
);

fn fits_wide(op: &Op, adapter: Adapter) -> bool {
    op.params::<Params>().c.is_multiple_of(4) && fits_narrow(op, adapter)
}

fn fits_narrow(op: &Op, adapter: Adapter) -> bool {
    let p: Params = op.params();
    adapter.software && p.o.is_multiple_of(4) && p.is_plain() && p.examples_per_split().is_some()
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
