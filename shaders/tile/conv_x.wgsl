// x of a convolution in vectors of channels, IC being a multiple of 4.

@group(0) @binding(1) var<storage, read> x: array<vec4f>;

fn depth() -> u32 { return taps() * IC / 4u; }

fn load_a(place: vec4i, k: u32) -> vec4f {
    let tap = k / (IC / 4u);
    let ky = tap / KW;
    let row = u32(place.y + i32(ky * p.dilation_y));
    let column = u32(place.z + i32((tap - ky * KW) * p.dilation_x));
    let inside = row < H && column < W && k < depth();
    let at = (u32(place.x) + row * W + column) * (IC / 4u) + k % (IC / 4u);
    return select(vec4f(), x[select(0u, at, inside)], inside);
}
