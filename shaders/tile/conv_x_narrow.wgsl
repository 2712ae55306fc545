// x of a convolution, one channel at a time, for any IC.

@group(0) @binding(1) var<storage, read> x: array<f32>;

fn depth() -> u32 { return (taps() * IC + 3u) / 4u; }

fn load_a(place: vec4i, k: u32) -> vec4f {
    return vec4f(load_tap(place, 4u * k), load_tap(place, 4u * k + 1u), load_tap(place, 4u * k + 2u),
        load_tap(place, 4u * k + 3u));
}

fn load_tap(place: vec4i, k: u32) -> f32 {
    let tap = k / IC;
    let ky = tap / KW;
    let row = u32(place.y + i32(ky * p.dilation_y));
    let column = u32(place.z + i32((tap - ky * KW) * p.dilation_x));
    let inside = row < H && column < W && k < taps() * IC;
    let at = (u32(place.x) + row * W + column) * IC + k % IC;
    return select(0.0, x[select(0u, at, inside)], inside);
}
