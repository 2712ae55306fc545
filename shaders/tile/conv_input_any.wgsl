// a and b of a convolution's gradient with respect to x, for any numbers of channels and filters.

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

fn rows() -> u32 { return p.n * H * W; }
fn columns() -> u32 { return (IC + 3u) / 4u; }
fn depth() -> u32 { return (taps() * O + 3u) / 4u; }

fn place_of(row: u32) -> vec4i { return pixel_of(row, row < rows()); }

fn load_a(place: vec4i, k: u32) -> vec4f {
    return vec4f(load_tap(place, 4u * k), load_tap(place, 4u * k + 1u), load_tap(place, 4u * k + 2u),
        load_tap(place, 4u * k + 3u));
}

fn load_tap(place: vec4i, k: u32) -> f32 {
    let tap = k / O;
    let pixel = pixel_through(place, tap);
    let inside = pixel >= 0 && tap < taps();
    return select(0.0, dy[select(0u, u32(pixel) * O + k % O, inside)], inside);
}

fn load_b(k: u32, column: u32) -> mat4x4f {
    return mat4x4f(load_weights(4u * k, 4u * column), load_weights(4u * k + 1u, 4u * column),
        load_weights(4u * k + 2u, 4u * column), load_weights(4u * k + 3u, 4u * column));
}

fn load_weights(k: u32, c: u32) -> vec4f {
    return vec4f(load_weight(k, c), load_weight(k, c + 1u), load_weight(k, c + 2u), load_weight(k, c + 3u));
}

fn load_weight(k: u32, c: u32) -> f32 {
    let inside = k < taps() * O && c < IC;
    return select(0.0, weight[select(0u, (k / O * IC + c) * O + k % O, inside)], inside);
}

fn first_sum(column: u32) -> vec4f { return vec4f(); }

fn store(row: u32, column: u32, sum: vec4f) {
    if row >= rows() { return; }
    for (var j = 0u; j < 4u && 4u * column + j < IC; j++) { dx[row * IC + 4u * column + j] = sum[j]; }
}
