// dy and the result of a convolution's weight gradient for any number of filters.

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

fn inputs() -> u32 { return taps() * IC; }

fn load_dy(pixel: u32, exists: bool, column: u32) -> vec4f {
    return vec4f(load_filter(pixel, exists, 4u * column), load_filter(pixel, exists, 4u * column + 1u),
        load_filter(pixel, exists, 4u * column + 2u), load_filter(pixel, exists, 4u * column + 3u));
}

fn load_filter(pixel: u32, exists: bool, o: u32) -> f32 {
    let inside = exists && o < O;
    return select(0.0, dy[select(0u, pixel * O + o, inside)], inside);
}

fn store(split: u32, row: u32, column: u32, sum: vec4f) {
    if row > inputs() { return; }
    let at = (split * (inputs() + 1u) + row) * O;
    for (var j = 0u; j < 4u && 4u * column + j < O; j++) { partial[at + 4u * column + j] = sum[j]; }
}
