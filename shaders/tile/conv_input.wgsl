// a and b of a convolution's gradient with respect to x: rows are input pixels, columns channels, and the depth is taps
// x filters.

@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn rows() -> u32 { return p.n * H * W; }
fn columns() -> u32 { return C / 4u; }
fn depth() -> u32 { return taps() * O / 4u; }

fn place_of(row: u32) -> vec4i { return pixel_of(row, row < rows()); }

fn load_a(place: vec4i, k: u32) -> vec4f {
    let pixel = pixel_through(place, k / (O / 4u));
    let inside = pixel >= 0 && k < depth();
    return select(vec4f(), dy[select(0u, u32(pixel) * (O / 4u) + k % (O / 4u), inside)], inside);
}

// Four channels x four filters of a tap, whose rows are those of channels, as columns of filters.
fn load_b(k: u32, column: u32) -> mat4x4f {
    if k >= depth() || column >= columns() { return mat4x4f(); }
    let tap = k / (O / 4u);
    let at = (tap * C + 4u * column) * (O / 4u) + k % (O / 4u);
    return transpose(
        mat4x4f(weight[at], weight[at + O / 4u], weight[at + 2u * (O / 4u)], weight[at + 3u * (O / 4u)]));
}

fn first_sum(column: u32) -> vec4f { return vec4f(); }

fn store(row: u32, column: u32, sum: vec4f) {
    if row < rows() && column < columns() { dx[row * columns() + column] = sum; }
}
