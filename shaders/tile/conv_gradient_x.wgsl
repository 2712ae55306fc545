// x of a convolution's weight gradient in vectors of channels, IC being a multiple of 4.

@group(0) @binding(1) var<storage, read> x: array<vec4f>;

// Four rows of the result: a tap relative to the window's first pixel, and four channels of it; or the bias.
struct Column { y: i32, x: i32, channel: u32, kind: u32 }
const CHANNELS = 0u;
const BIAS = 1u;
const BEYOND = 2u;

fn column_of(k: u32) -> Column {
    let tap = k / (IC / 4u);
    let ky = tap / KW;
    let kind = select(select(BEYOND, BIAS, k == inputs() / 4u), CHANNELS, k < inputs() / 4u);
    return Column(i32(ky * p.dilation_y), i32((tap - ky * KW) * p.dilation_x), k % (IC / 4u), kind);
}

fn load_a(pixel: u32, exists: bool, own: Column) -> vec4f {
    let window = window_of(pixel, exists);
    let row = u32(window.y + own.y);
    let column = u32(window.z + own.x);
    let inside = row < H && column < W && own.kind == CHANNELS;
    let at = (u32(window.x) + row * W + column) * (IC / 4u) + own.channel;
    let outside = select(vec4f(), vec4f(1.0, 0.0, 0.0, 0.0), exists && own.kind == BIAS);
    return select(outside, x[select(0u, at, inside)], inside);
}
