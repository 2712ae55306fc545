// a and b of a convolution's gradient with respect to x: rows are input pixels, columns channels, and the depth is taps
// x filters. The files before and after this one say what dy is, and what becomes of the result.

fn rows() -> u32 { return p.n * H * W; }
fn columns() -> u32 { return IC / 4u; }
fn depth() -> u32 { return taps() * O / 4u; }

fn place_of(row: u32) -> vec4i { return pixel_of(row, row < rows()); }

fn load_a(place: vec4i, k: u32) -> vec4f {
    let pixel = pixel_through(place, k / (O / 4u));
    return dy_at(pixel, pixel >= 0 && k < depth(), k % (O / 4u));
}

// Four channels x four filters of a tap, whose rows are those of channels, as columns of filters.
fn load_b(k: u32, column: u32) -> mat4x4f {
    if k >= depth() || column >= columns() { return mat4x4f(); }
    let tap = k / (O / 4u);
    let at = (tap * IC + 4u * column) * (O / 4u) + k % (O / 4u);
    return transpose(
        mat4x4f(weight[at], weight[at + O / 4u], weight[at + 2u * (O / 4u)], weight[at + 3u * (O / 4u)]));
}

fn first_sum(column: u32) -> vec4f { return vec4f(); }
