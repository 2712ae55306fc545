// The shape of a convolution for kernels that work in tiles. Sizes by which they divide are constants of the pipeline.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, o: u32, kh: u32,
    kw: u32, stride_y: u32, stride_x: u32, pad_y: u32,
    pad_x: u32, pixels_per_split: u32, dilation_y: u32, dilation_x: u32,
    groups: u32, window_y: u32, window_x: u32, reserved: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// Input channels. The name C would hide the role C of cooperative matrices.
override IC: u32 = 4;
override O: u32 = 4;
override H: u32 = 1;
override W: u32 = 1;
override OH: u32 = 1;
override OW: u32 = 1;
override KW: u32 = 1;
override STRIDE_Y: u32 = 1;
override STRIDE_X: u32 = 1;
// The window of a max-pooling of the outputs, whose windows do not overlap.
override WINDOW_Y: u32 = 1;
override WINDOW_X: u32 = 1;

fn taps() -> u32 { return p.kh * KW; }

// A row of an image that is never inside one.
const NOWHERE: i32 = -0x40000000;

// The first input row and column under the window of output pixel `pixel` of the batch, and the number of its image's
// first pixel.
fn window_of(pixel: u32, exists: bool) -> vec4i {
    let n = pixel / (OH * OW);
    let y = i32(pixel / OW % OH * STRIDE_Y) - i32(p.pad_y);
    let x = i32(pixel % OW * STRIDE_X) - i32(p.pad_x);
    return vec4i(i32(n * H * W), select(NOWHERE, y, exists), x, 0);
}

// Input pixel `pixel` of the batch with padding, and the number of the first output pixel of its image.
fn pixel_of(pixel: u32, exists: bool) -> vec4i {
    let n = pixel / (H * W);
    let y = i32(pixel / W % H + p.pad_y);
    let x = i32(pixel % W + p.pad_x);
    return vec4i(i32(n * OH * OW), select(NOWHERE, y, exists), x, 0);
}

// The output pixel whose window covers an input pixel through a tap, or a negative number. The window at oy covers y
// through tap ky where oy * stride = y + pad - ky * dilation.
fn pixel_through(place: vec4i, tap: u32) -> i32 {
    let ky = tap / KW;
    let down = place.y - i32(ky * p.dilation_y);
    let across = place.z - i32((tap - ky * KW) * p.dilation_x);
    let row = u32(max(down, 0)) / STRIDE_Y;
    let column = u32(max(across, 0)) / STRIDE_X;
    let inside = i32(row * STRIDE_Y) == down && i32(column * STRIDE_X) == across && row < OH && column < OW;
    return select(-1, place.x + i32(row * OW + column), inside);
}

// The output pixels [first, end) of a split.
fn range_of(split: u32) -> vec2u {
    let first = split * p.pixels_per_split;
    return min(vec2u(first, first + p.pixels_per_split), vec2u(p.n * OH * OW));
}

// Rows and columns after the pooling.
fn pooled_rows() -> u32 { return OH / WINDOW_Y; }
fn pooled_columns() -> u32 { return OW / WINDOW_X; }

// The place of an output pixel's window in the pooled outputs, or a negative number if no window has the pixel.
fn pooled_place(pixel: u32) -> i32 {
    let n = pixel / (OH * OW);
    let row = pixel / OW % OH / WINDOW_Y;
    let column = pixel % OW / WINDOW_X;
    let inside = row < pooled_rows() && column < pooled_columns();
    return select(-1, i32((n * pooled_rows() + row) * pooled_columns() + column), inside);
}

// Zero if below zero or -0; a NaN passes through, so that it is visible. Compares bits, because a driver may assume that
// no float is a NaN.
fn rectified(v: vec4f) -> vec4f {
    return select(v, vec4f(), bitcast<vec4u>(v) - vec4u(0x80000000u) <= vec4u(0x7f800000u));
}

// Whether a ReLU with these outputs passes gradients: above zero, and not a NaN.
fn passes(v: vec4f) -> vec4<bool> { return bitcast<vec4u>(v) - vec4u(1u) < vec4u(0x7f800000u); }
