// x of a convolution's weight gradient, one channel at a time, for any IC.

@group(0) @binding(1) var<storage, read> x: array<f32>;

// Four rows of the result, each a tap relative to the window's first pixel, and a channel of it.
struct Column { y: vec4i, x: vec4i, channel: vec4u, first: u32 }

fn column_of(k: u32) -> Column {
    let rows = vec4u(4u * k) + vec4u(0u, 1u, 2u, 3u);
    let tap = rows / IC;
    let ky = tap / KW;
    return Column(vec4i(ky * p.dilation_y), vec4i((tap - ky * KW) * p.dilation_x), rows % IC, 4u * k);
}

fn load_a(pixel: u32, exists: bool, own: Column) -> vec4f {
    let window = window_of(pixel, exists);
    return vec4f(
        load_tap(window, exists, own.y.x, own.x.x, own.channel.x, own.first),
        load_tap(window, exists, own.y.y, own.x.y, own.channel.y, own.first + 1u),
        load_tap(window, exists, own.y.z, own.x.z, own.channel.z, own.first + 2u),
        load_tap(window, exists, own.y.w, own.x.w, own.channel.w, own.first + 3u),
    );
}

fn load_tap(window: vec4i, exists: bool, y: i32, across: i32, channel: u32, k: u32) -> f32 {
    let row = u32(window.y + y);
    let column = u32(window.z + across);
    let inside = row < H && column < W && k < inputs();
    let at = (u32(window.x) + row * W + column) * IC + channel;
    let outside = select(0.0, 1.0, exists && k == inputs());
    return select(outside, x[select(0u, at, inside)], inside);
}
