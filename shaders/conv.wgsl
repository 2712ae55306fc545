// 2-D convolution, NHWC, as an implicit im2col matrix product: nothing is materialised, the gather happens on load.
//
// x [N,H,W,C], weight [KH,KW,C,O], bias [O], y [N,OH,OW,O]; im2col row m = (n,oy,ox), column k = (ky,kx,c).
// Every invocation keeps a block of results in registers and needs no barrier; the block of output channels comes from
// the workgroup's z, so that weights (forward, backward_input) and output gradients (backward_weight) are read from
// addresses that are uniform over the workgroup.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, o: u32, kh: u32,
    kw: u32, stride_y: u32, stride_x: u32, pad_y: u32,
    pad_x: u32, examples_per_split: u32, reserved0: u32, reserved1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// ---- forward: y = im2col(x) * weight + bias; 8 rows (pixels) x 4 columns (channels) an invocation ----
@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read> forward_weight: array<f32>;
@group(0) @binding(3) var<storage, read> forward_bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> forward_y: array<f32>;

// Four rows' input corners: the pixel under kernel tap (0,0), which may lie in the padding.
struct Corners { image: vec4u, y: vec4i, x: vec4i }

fn corners(rows: vec4u) -> Corners {
    let plane = p.oh * p.ow;
    let n = rows / plane;
    let pixel = rows - n * plane;
    let oy = pixel / p.ow;
    let ox = pixel - oy * p.ow;
    return Corners(n * (p.h * p.w), vec4i(oy * p.stride_y) - i32(p.pad_y), vec4i(ox * p.stride_x) - i32(p.pad_x));
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let rows = p.n * p.oh * p.ow;
    let first = (group.y * groups.x + group.x) * 512u + lane;
    if first >= rows { return; }
    let rows_a = first + vec4u(0u, 64u, 128u, 192u);
    let rows_b = rows_a + 256u;
    let a = corners(min(rows_a, vec4u(rows - 1u)));
    let b = corners(min(rows_b, vec4u(rows - 1u)));
    let column = min(vec4u(group.z * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(p.o - 1u));
    let h = i32(p.h);
    let w = i32(p.w);

    var a0 = vec4f(forward_bias[column.x]); var b0 = a0;
    var a1 = vec4f(forward_bias[column.y]); var b1 = a1;
    var a2 = vec4f(forward_bias[column.z]); var b2 = a2;
    var a3 = vec4f(forward_bias[column.w]); var b3 = a3;
    var k = 0u;
    for (var ky = 0; ky < i32(p.kh); ky++) {
        for (var kx = 0; kx < i32(p.kw); kx++) {
            let ya = a.y + ky;
            let xa = a.x + kx;
            let yb = b.y + ky;
            let xb = b.x + kx;
            let ok_a = (ya >= vec4i(0)) & (ya < vec4i(h)) & (xa >= vec4i(0)) & (xa < vec4i(w));
            let ok_b = (yb >= vec4i(0)) & (yb < vec4i(h)) & (xb >= vec4i(0)) & (xb < vec4i(w));
            let at_a = select(vec4u(0u), (a.image + vec4u(ya * w + xa)) * p.c, ok_a);
            let at_b = select(vec4u(0u), (b.image + vec4u(yb * w + xb)) * p.c, ok_b);
            for (var c = 0u; c < p.c; c++) {
                let va = select(vec4f(0.0), vec4f(
                    forward_x[at_a.x + c], forward_x[at_a.y + c], forward_x[at_a.z + c], forward_x[at_a.w + c]), ok_a);
                let vb = select(vec4f(0.0), vec4f(
                    forward_x[at_b.x + c], forward_x[at_b.y + c], forward_x[at_b.z + c], forward_x[at_b.w + c]), ok_b);
                let w0 = forward_weight[k + column.x];
                let w1 = forward_weight[k + column.y];
                let w2 = forward_weight[k + column.z];
                let w3 = forward_weight[k + column.w];
                a0 = fma(va, vec4f(w0), a0); b0 = fma(vb, vec4f(w0), b0);
                a1 = fma(va, vec4f(w1), a1); b1 = fma(vb, vec4f(w1), b1);
                a2 = fma(va, vec4f(w2), a2); b2 = fma(vb, vec4f(w2), b2);
                a3 = fma(va, vec4f(w3), a3); b3 = fma(vb, vec4f(w3), b3);
                k += p.o;
            }
        }
    }
    store_rows(rows_a, rows, group.z * 4u, a0, a1, a2, a3);
    store_rows(rows_b, rows, group.z * 4u, b0, b1, b2, b3);
}

fn store_rows(rows: vec4u, end: u32, column: u32, v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f) {
    store_row(rows.x, end, column, vec4f(v0.x, v1.x, v2.x, v3.x));
    store_row(rows.y, end, column, vec4f(v0.y, v1.y, v2.y, v3.y));
    store_row(rows.z, end, column, vec4f(v0.z, v1.z, v2.z, v3.z));
    store_row(rows.w, end, column, vec4f(v0.w, v1.w, v2.w, v3.w));
}

fn store_row(row: u32, end: u32, column: u32, v: vec4f) {
    if row >= end { return; }
    let at = row * p.o + column;
    forward_y[at] = v.x;
    if column + 1u < p.o { forward_y[at + 1u] = v.y; }
    if column + 2u < p.o { forward_y[at + 2u] = v.z; }
    if column + 3u < p.o { forward_y[at + 3u] = v.w; }
}

// ---- backward_input: dx gathers from every output whose window covers it; 4 input pixels x 4 input channels ----
@group(0) @binding(1) var<storage, read> input_dy: array<f32>;
@group(0) @binding(2) var<storage, read> input_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_dx: array<f32>;

@compute @workgroup_size(64)
fn backward_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let pixels = p.n * p.h * p.w;
    let first = (group.y * groups.x + group.x) * 256u + lane;
    if first >= pixels { return; }
    let pixel = first + vec4u(0u, 64u, 128u, 192u);
    let inside = min(pixel, vec4u(pixels - 1u));
    let plane = p.h * p.w;
    let n = inside / plane;
    let rest = inside - n * plane;
    let y = rest / p.w;
    let x = rest - y * p.w;
    let channel = min(vec4u(group.z * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(p.c - 1u));

    var d0 = vec4f(0.0);
    var d1 = vec4f(0.0);
    var d2 = vec4f(0.0);
    var d3 = vec4f(0.0);
    for (var ky = 0u; ky < p.kh; ky++) {
        // The window at oy covers y through tap ky where oy * stride = y + pad - ky.
        let ty = vec4i(y + p.pad_y) - i32(ky);
        let oy = ty / i32(p.stride_y);
        let ok_y = (ty >= vec4i(0)) & (oy * i32(p.stride_y) == ty) & (oy < vec4i(i32(p.oh)));
        for (var kx = 0u; kx < p.kw; kx++) {
            let tx = vec4i(x + p.pad_x) - i32(kx);
            let ox = tx / i32(p.stride_x);
            let ok = ok_y & (tx >= vec4i(0)) & (ox * i32(p.stride_x) == tx) & (ox < vec4i(i32(p.ow)));
            let at = select(vec4u(0u), ((n * p.oh + vec4u(oy)) * p.ow + vec4u(ox)) * p.o, ok);
            let taps = (ky * p.kw + kx) * p.c;
            let row = (taps + channel) * p.o;
            for (var o = 0u; o < p.o; o++) {
                let dy = select(vec4f(0.0), vec4f(
                    input_dy[at.x + o], input_dy[at.y + o], input_dy[at.z + o], input_dy[at.w + o]), ok);
                d0 = fma(dy, vec4f(input_weight[row.x + o]), d0);
                d1 = fma(dy, vec4f(input_weight[row.y + o]), d1);
                d2 = fma(dy, vec4f(input_weight[row.z + o]), d2);
                d3 = fma(dy, vec4f(input_weight[row.w + o]), d3);
            }
        }
    }
    store_pixel(pixel.x, pixels, group.z * 4u, vec4f(d0.x, d1.x, d2.x, d3.x));
    store_pixel(pixel.y, pixels, group.z * 4u, vec4f(d0.y, d1.y, d2.y, d3.y));
    store_pixel(pixel.z, pixels, group.z * 4u, vec4f(d0.z, d1.z, d2.z, d3.z));
    store_pixel(pixel.w, pixels, group.z * 4u, vec4f(d0.w, d1.w, d2.w, d3.w));
}

fn store_pixel(pixel: u32, end: u32, channel: u32, v: vec4f) {
    if pixel >= end { return; }
    let at = pixel * p.c + channel;
    input_dx[at] = v.x;
    if channel + 1u < p.c { input_dx[at + 1u] = v.y; }
    if channel + 2u < p.c { input_dx[at + 2u] = v.z; }
    if channel + 3u < p.c { input_dx[at + 3u] = v.w; }
}

// ---- backward_weight: partial sums over a split of the examples: [splits, K+1, O], row K being the bias gradient.
// Few outputs and a long sum (N*OH*OW): the split gives the device enough independent work. One row x 8 channels. ----
@group(0) @binding(1) var<storage, read> weight_x: array<f32>;
@group(0) @binding(2) var<storage, read> weight_dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_partial: array<f32>;

@compute @workgroup_size(64)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let taps = p.kh * p.kw * p.c;
    let k = group.x * 64u + lane;
    if k > taps { return; }
    let is_bias = k == taps;
    let c = k % p.c;
    let kx = i32((k / p.c) % p.kw);
    let ky = i32(k / (p.c * p.kw));
    let column = group.z * 8u;
    let lo = min(vec4u(column) + vec4u(0u, 1u, 2u, 3u), vec4u(p.o - 1u));
    let hi = min(vec4u(column) + vec4u(4u, 5u, 6u, 7u), vec4u(p.o - 1u));
    let n_first = group.y * p.examples_per_split;
    let n_end = min(n_first + p.examples_per_split, p.n);

    var sum_lo = vec4f(0.0);
    var sum_hi = vec4f(0.0);
    var row = n_first * p.oh * p.ow * p.o;
    for (var n = n_first; n < n_end; n++) {
        for (var oy = 0u; oy < p.oh; oy++) {
            let y = i32(oy * p.stride_y) - i32(p.pad_y) + ky;
            let ok_y = y >= 0 && y < i32(p.h) && !is_bias;
            let line = (n * p.h + select(0u, u32(y), ok_y)) * p.w;
            for (var ox = 0u; ox < p.ow; ox++) {
                let x = i32(ox * p.stride_x) - i32(p.pad_x) + kx;
                let ok = ok_y && x >= 0 && x < i32(p.w);
                let loaded = weight_x[(line + select(0u, u32(x), ok)) * p.c + c];
                let v = select(select(0.0, 1.0, is_bias), loaded, ok);
                sum_lo = fma(vec4f(v), vec4f(
                    weight_dy[row + lo.x], weight_dy[row + lo.y], weight_dy[row + lo.z], weight_dy[row + lo.w]), sum_lo);
                sum_hi = fma(vec4f(v), vec4f(
                    weight_dy[row + hi.x], weight_dy[row + hi.y], weight_dy[row + hi.z], weight_dy[row + hi.w]), sum_hi);
                row += p.o;
            }
        }
    }
    let at = (group.y * (taps + 1u) + k) * p.o + column;
    weight_partial[at] = sum_lo.x;
    if column + 1u < p.o { weight_partial[at + 1u] = sum_lo.y; }
    if column + 2u < p.o { weight_partial[at + 2u] = sum_lo.z; }
    if column + 3u < p.o { weight_partial[at + 3u] = sum_lo.w; }
    if column + 4u < p.o { weight_partial[at + 4u] = sum_hi.x; }
    if column + 5u < p.o { weight_partial[at + 5u] = sum_hi.y; }
    if column + 6u < p.o { weight_partial[at + 6u] = sum_hi.z; }
    if column + 7u < p.o { weight_partial[at + 7u] = sum_hi.w; }
}

// ---- sum_splits: adds the partial sums in a fixed order and parts weight from bias ----
@group(0) @binding(1) var<storage, read> splits_partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> splits_dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> splits_dbias: array<f32>;

@compute @workgroup_size(64)
fn sum_splits(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let weights = p.kh * p.kw * p.c * p.o;
    let total = weights + p.o;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= total { return; }
    let splits = (p.n + p.examples_per_split - 1u) / p.examples_per_split;
    var sum = 0.0;
    for (var s = 0u; s < splits; s++) {
        sum += splits_partial[s * total + i];
    }
    if i < weights {
        splits_dweight[i] = sum;
    } else {
        splits_dbias[i - weights] = sum;
    }
}
