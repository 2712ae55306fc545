// The convolution of conv.wgsl for O a multiple of 4 (and C too, unless the name says `narrow`), read as vec4.
//
// x [N,H,W,C], weight [KH,KW,C,O], bias [O], y [N,OH,OW,O]. Every invocation keeps a block of results in registers:
// PIXELS adjacent pixels x 8 channels, or five taps of a kernel row x 4 input x 8 output channels, without barriers or
// workgroup memory. At stride 1 the taps of a kernel row slide over a window in registers, so that one load per tap
// serves all pixels of the block. A load costs software drivers an instruction whatever its size, hence vec4.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, o: u32, kh: u32,
    kw: u32, stride_y: u32, stride_x: u32, pad_y: u32,
    pad_x: u32, pixels_per_split: u32, dilation_y: u32, dilation_x: u32,
    groups: u32, window_y: u32, window_x: u32, reserved: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// Whether both strides are 1; a constant, because software drivers run both sides of a branch that they cannot decide
// when they compile.
override UNIT_STRIDE: bool = false;

fn stride_y() -> u32 { return select(p.stride_y, 1u, UNIT_STRIDE); }
fn stride_x() -> u32 { return select(p.stride_x, 1u, UNIT_STRIDE); }

// The number of adjacent pixels in a block, and its maximum. Loops over them have constant bounds, which compilers
// unroll, so that arrays of that length stay in registers.
override PIXELS: u32 = 6;
const MOST = 14u;

// The place of a block of output (or input) pixels.
struct Block { n: u32, y: u32, x: u32, exists: bool }

fn block_at(group: vec3u, groups: vec3u, lane: u32, height: u32, width: u32) -> Block {
    let blocks = (width + PIXELS - 1u) / PIXELS;
    let i = index_of(group, groups, lane, 64u);
    return Block(i / (blocks * height), (i / blocks) % height, (i % blocks) * PIXELS, i < p.n * height * blocks);
}

// ---- forward: y = im2col(x) * weight + bias; PIXELS x 8 output channels ----
@group(0) @binding(4) var<storage, read_write> forward_y: array<vec4f>;

// Channels 4*c4.. of pixel x in the image row that starts at pixel `row`; zero outside.
fn load_x(row: u32, row_inside: bool, x: i32, c4: u32) -> vec4f {
    let inside = row_inside && x >= 0 && x < i32(p.w);
    let at = (row + select(0u, u32(x), inside)) * (p.c / 4u) + c4;
    return select(vec4f(0.0), forward_x_at(at), inside);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = block_at(group, groups, lane, p.oh, p.ow);
    if !b.exists { return; }
    let x0 = i32(b.x * stride_x()) - i32(p.pad_x);
    let step = i32(stride_x());
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    var low: array<vec4f, MOST>;
    var high: array<vec4f, MOST>;
    for (var i = 0u; i < PIXELS; i++) {
        low[i] = load_bias(lo);
        high[i] = load_bias(hi);
    }
    for (var ky = 0u; ky < p.kh; ky++) {
        let y = i32(b.y * stride_y() + ky) - i32(p.pad_y);
        let inside = y >= 0 && y < i32(p.h);
        let row = (b.n * p.h + select(0u, u32(y), inside)) * p.w;
        for (var c4 = 0u; c4 < p.c / 4u; c4++) {
            var v: array<vec4f, MOST>;
            if UNIT_STRIDE {
                for (var i = 1u; i < PIXELS; i++) { v[i] = load_x(row, inside, x0 + i32(i) - 1, c4); }
            }
            for (var kx = 0u; kx < p.kw; kx++) {
                let x = x0 + i32(kx);
                if UNIT_STRIDE {
                    for (var i = 1u; i < PIXELS; i++) { v[i - 1u] = v[i]; }
                    v[PIXELS - 1u] = load_x(row, inside, x + i32(PIXELS) - 1, c4);
                } else {
                    for (var i = 0u; i < PIXELS; i++) { v[i] = load_x(row, inside, x + i32(i) * step, c4); }
                }
                let k = ((ky * p.kw + kx) * p.c + c4 * 4u) * o4;
                for (var j = 0u; j < 4u; j++) {
                    let wl = load_weight(k + j * o4 + lo);
                    let wh = load_weight(k + j * o4 + hi);
                    for (var i = 0u; i < PIXELS; i++) {
                        low[i] += v[i][j] * wl;
                        high[i] += v[i][j] * wh;
                    }
                }
            }
        }
    }
    let pixel = (b.n * p.oh + b.y) * p.ow + b.x;
    for (var i = 0u; i < PIXELS; i++) {
        store_y(pixel + i, b.x + i < p.ow, lo, low[i], high[i]);
    }
}

fn store_y(pixel: u32, exists: bool, lo: u32, low: vec4f, high: vec4f) {
    if !exists { return; }
    let o4 = p.o / 4u;
    forward_y[pixel * o4 + lo] = low;
    if lo + 1u < o4 { forward_y[pixel * o4 + lo + 1u] = high; }
}

// ---- forward_narrow: forward for any C; x is read one channel at a time ----

fn load_narrow(row: u32, row_inside: bool, x: i32, c: u32) -> f32 {
    let inside = row_inside && x >= 0 && x < i32(p.w);
    let at = (row + select(0u, u32(x), inside)) * p.c + c;
    return select(0.0, narrow_x_at(at), inside);
}

@compute @workgroup_size(64)
fn forward_narrow(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = block_at(group, groups, lane, p.oh, p.ow);
    if !b.exists { return; }
    let x0 = i32(b.x * stride_x()) - i32(p.pad_x);
    let step = i32(stride_x());
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    var low: array<vec4f, MOST>;
    var high: array<vec4f, MOST>;
    for (var i = 0u; i < PIXELS; i++) {
        low[i] = load_bias(lo);
        high[i] = load_bias(hi);
    }
    for (var ky = 0u; ky < p.kh; ky++) {
        let y = i32(b.y * stride_y() + ky) - i32(p.pad_y);
        let inside = y >= 0 && y < i32(p.h);
        let row = (b.n * p.h + select(0u, u32(y), inside)) * p.w;
        for (var c = 0u; c < p.c; c++) {
            var v: array<f32, MOST>;
            if UNIT_STRIDE {
                for (var i = 1u; i < PIXELS; i++) { v[i] = load_narrow(row, inside, x0 + i32(i) - 1, c); }
            }
            for (var kx = 0u; kx < p.kw; kx++) {
                let x = x0 + i32(kx);
                if UNIT_STRIDE {
                    for (var i = 1u; i < PIXELS; i++) { v[i - 1u] = v[i]; }
                    v[PIXELS - 1u] = load_narrow(row, inside, x + i32(PIXELS) - 1, c);
                } else {
                    for (var i = 0u; i < PIXELS; i++) { v[i] = load_narrow(row, inside, x + i32(i) * step, c); }
                }
                let k = ((ky * p.kw + kx) * p.c + c) * o4;
                let wl = load_weight(k + lo);
                let wh = load_weight(k + hi);
                for (var i = 0u; i < PIXELS; i++) {
                    low[i] += v[i] * wl;
                    high[i] += v[i] * wh;
                }
            }
        }
    }
    let pixel = (b.n * p.oh + b.y) * p.ow + b.x;
    for (var i = 0u; i < PIXELS; i++) {
        store_y(pixel + i, b.x + i < p.ow, lo, low[i], high[i]);
    }
}

// ---- backward_input: dx gathers from every output whose window covers it; PIXELS x 8 input channels ----
@group(0) @binding(3) var<storage, read_write> input_dx: array<vec4f>;

// The weights of four output channels for four input channels: rows at distance `row4`, as columns.
fn load_input_weights(i: u32, row4: u32) -> mat4x4f {
    return mat4x4f(load_input_weight(i), load_input_weight(i + row4), load_input_weight(i + 2u * row4),
        load_input_weight(i + 3u * row4));
}

// Gradients 4*o4.. of the output pixel whose window starts at input column `at` (padding included), in the output row
// that starts at pixel `row`; zero if there is no such pixel.
fn load_dy(row: u32, row_inside: bool, at: i32, o4: u32) -> vec4f {
    let step = i32(stride_x());
    let ox = at / step;
    let inside = row_inside && at >= 0 && ox * step == at && ox < i32(p.ow);
    let i = (row + select(0u, u32(ox), inside)) * (p.o / 4u) + o4;
    return select(vec4f(0.0), input_dy_at(i), inside);
}

@compute @workgroup_size(64)
fn backward_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = block_at(group, groups, lane, p.h, p.w);
    if !b.exists { return; }
    let x0 = i32(b.x + p.pad_x);
    let row4 = p.o / 4u;
    let c4 = p.c / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, c4 - 1u);
    var low: array<vec4f, MOST>;
    var high: array<vec4f, MOST>;
    for (var ky = 0u; ky < p.kh; ky++) {
        // The window at oy covers y through tap ky where oy * stride = y + pad - ky.
        let ty = i32(b.y + p.pad_y) - i32(ky);
        let oy = ty / i32(stride_y());
        let inside = ty >= 0 && oy * i32(stride_y()) == ty && oy < i32(p.oh);
        let row = (b.n * p.oh + select(0u, u32(oy), inside)) * p.ow;
        for (var o4 = 0u; o4 < row4; o4++) {
            // From the last pixel to the first, because the window slides to the left.
            var v: array<vec4f, MOST>;
            if UNIT_STRIDE {
                for (var i = 1u; i < PIXELS; i++) { v[i] = load_dy(row, inside, x0 + i32(PIXELS - i), o4); }
            }
            for (var kx = 0u; kx < p.kw; kx++) {
                let at = x0 - i32(kx);
                if UNIT_STRIDE {
                    for (var i = 1u; i < PIXELS; i++) { v[i - 1u] = v[i]; }
                    v[PIXELS - 1u] = load_dy(row, inside, at, o4);
                } else {
                    for (var i = 0u; i < PIXELS; i++) {
                        v[i] = load_dy(row, inside, at + i32(PIXELS - 1u - i), o4);
                    }
                }
                let k = (ky * p.kw + kx) * p.c * row4 + o4;
                let wl = load_input_weights(k + lo * 4u * row4, row4);
                for (var j = 0u; j < 4u; j++) {
                    let w = vec4f(wl[0][j], wl[1][j], wl[2][j], wl[3][j]);
                    for (var i = 0u; i < PIXELS; i++) { low[i] += v[PIXELS - 1u - i][j] * w; }
                }
                let wh = load_input_weights(k + hi * 4u * row4, row4);
                for (var j = 0u; j < 4u; j++) {
                    let w = vec4f(wh[0][j], wh[1][j], wh[2][j], wh[3][j]);
                    for (var i = 0u; i < PIXELS; i++) { high[i] += v[PIXELS - 1u - i][j] * w; }
                }
            }
        }
    }
    let pixel = (b.n * p.h + b.y) * p.w + b.x;
    for (var i = 0u; i < PIXELS; i++) {
        store_dx(pixel + i, b.x + i < p.w, lo, low[i], high[i]);
    }
}

fn store_dx(pixel: u32, exists: bool, lo: u32, low: vec4f, high: vec4f) {
    if !exists { return; }
    let c4 = p.c / 4u;
    input_dx[pixel * c4 + lo] = low;
    if lo + 1u < c4 { input_dx[pixel * c4 + lo + 1u] = high; }
}

// ---- backward_weight: partial sums over a split of the examples: [splits, K+1, O], row K being the bias gradient.
// 5 adjacent taps x 4 input channels x 8 output channels; the last invocation of a split computes the bias. ----
@group(0) @binding(3) var<storage, read_write> weight_partial: array<vec4f>;

fn load_tap(row: u32, row_inside: bool, x: i32, c4: u32) -> vec4f {
    let inside = row_inside && x >= 0 && x < i32(p.w);
    let at = (row + select(0u, u32(x), inside)) * (p.c / 4u) + c4;
    return select(vec4f(0.0), weight_x_at(at), inside);
}

// The sums of one invocation of backward_weight: adjacent taps from kx on of kernel row ky (or of `rows` rows from ky
// on), for one block of input channels, over the examples [first, end) of split `split`.
struct TapBlock { split: u32, ky: u32, kx: u32, c: u32, first: u32, end: u32, is_bias: bool, exists: bool }

fn tap_block(invocation: u32, channel_blocks: u32, rows: u32) -> TapBlock {
    let runs = (p.kw + 4u) / 5u;
    let bias = (p.kh + rows - 1u) / rows * runs * channel_blocks;
    let split = invocation / (bias + 1u);
    let index = invocation - split * (bias + 1u);
    let pixel = index / channel_blocks;
    let row = pixel / runs;
    let examples = p.pixels_per_split / (p.oh * p.ow);
    let first = split * examples;
    return TapBlock(split, row * rows, (pixel - row * runs) * 5u, index - pixel * channel_blocks, first,
        min(first + examples, p.n), index == bias, first < p.n);
}

@compute @workgroup_size(32)
fn backward_weight(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = tap_block(index_of(group, groups, lane, 32u), p.c / 4u, 1u);
    if !b.exists { return; }
    let step = i32(stride_x());
    let x_first = i32(b.kx) - i32(p.pad_x);
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);

    // Named by tap and input channel; l and h are the lower and the higher four output channels.
    var l00 = vec4f(0.0); var l01 = vec4f(0.0); var l02 = vec4f(0.0); var l03 = vec4f(0.0);
    var h00 = vec4f(0.0); var h01 = vec4f(0.0); var h02 = vec4f(0.0); var h03 = vec4f(0.0);
    var l10 = vec4f(0.0); var l11 = vec4f(0.0); var l12 = vec4f(0.0); var l13 = vec4f(0.0);
    var h10 = vec4f(0.0); var h11 = vec4f(0.0); var h12 = vec4f(0.0); var h13 = vec4f(0.0);
    var l20 = vec4f(0.0); var l21 = vec4f(0.0); var l22 = vec4f(0.0); var l23 = vec4f(0.0);
    var h20 = vec4f(0.0); var h21 = vec4f(0.0); var h22 = vec4f(0.0); var h23 = vec4f(0.0);
    var l30 = vec4f(0.0); var l31 = vec4f(0.0); var l32 = vec4f(0.0); var l33 = vec4f(0.0);
    var h30 = vec4f(0.0); var h31 = vec4f(0.0); var h32 = vec4f(0.0); var h33 = vec4f(0.0);
    var l40 = vec4f(0.0); var l41 = vec4f(0.0); var l42 = vec4f(0.0); var l43 = vec4f(0.0);
    var h40 = vec4f(0.0); var h41 = vec4f(0.0); var h42 = vec4f(0.0); var h43 = vec4f(0.0);
    var at = b.first * p.oh * p.ow * o4;
    for (var n = b.first; n < b.end; n++) {
        for (var oy = 0u; oy < p.oh; oy++) {
            let y = i32(oy * stride_y() + b.ky) - i32(p.pad_y);
            let inside = y >= 0 && y < i32(p.h) && !b.is_bias;
            let row = (n * p.h + select(0u, u32(y), inside)) * p.w;
            var v0 = vec4f(0.0);
            var v1 = load_tap(row, inside, x_first, b.c);
            var v2 = load_tap(row, inside, x_first + 1, b.c);
            var v3 = load_tap(row, inside, x_first + 2, b.c);
            var v4 = load_tap(row, inside, x_first + 3, b.c);
            for (var ox = 0u; ox < p.ow; ox++) {
                let x = x_first + i32(ox) * step;
                if UNIT_STRIDE || ox == 0u {
                    v0 = v1; v1 = v2; v2 = v3; v3 = v4;
                } else {
                    v0 = load_tap(row, inside, x, b.c);
                    v1 = load_tap(row, inside, x + 1, b.c);
                    v2 = load_tap(row, inside, x + 2, b.c);
                    v3 = load_tap(row, inside, x + 3, b.c);
                }
                v4 = load_tap(row, inside, x + 4, b.c);
                // For the bias every pixel counts as 1.
                let t = select(v0, vec4f(1.0, 0.0, 0.0, 0.0), b.is_bias);
                let dl = load_gradient(at + lo);
                let dh = load_gradient(at + hi);
                l00 += t.x * dl; l01 += t.y * dl; l02 += t.z * dl; l03 += t.w * dl;
                h00 += t.x * dh; h01 += t.y * dh; h02 += t.z * dh; h03 += t.w * dh;
                l10 += v1.x * dl; l11 += v1.y * dl; l12 += v1.z * dl; l13 += v1.w * dl;
                h10 += v1.x * dh; h11 += v1.y * dh; h12 += v1.z * dh; h13 += v1.w * dh;
                l20 += v2.x * dl; l21 += v2.y * dl; l22 += v2.z * dl; l23 += v2.w * dl;
                h20 += v2.x * dh; h21 += v2.y * dh; h22 += v2.z * dh; h23 += v2.w * dh;
                l30 += v3.x * dl; l31 += v3.y * dl; l32 += v3.z * dl; l33 += v3.w * dl;
                h30 += v3.x * dh; h31 += v3.y * dh; h32 += v3.z * dh; h33 += v3.w * dh;
                l40 += v4.x * dl; l41 += v4.y * dl; l42 += v4.z * dl; l43 += v4.w * dl;
                h40 += v4.x * dh; h41 += v4.y * dh; h42 += v4.z * dh; h43 += v4.w * dh;
                at += o4;
            }
        }
    }
    let taps = p.kh * p.kw * p.c;
    let base = b.split * (taps + 1u);
    if b.is_bias {
        store_partial(base + taps, true, lo, l00, h00);
        return;
    }
    let k = base + (b.ky * p.kw + b.kx) * p.c + b.c * 4u;
    store_partial(k, true, lo, l00, h00);
    store_partial(k + 1u, true, lo, l01, h01);
    store_partial(k + 2u, true, lo, l02, h02);
    store_partial(k + 3u, true, lo, l03, h03);
    store_partial(k + 1u * p.c, b.kx + 1u < p.kw, lo, l10, h10);
    store_partial(k + 1u * p.c + 1u, b.kx + 1u < p.kw, lo, l11, h11);
    store_partial(k + 1u * p.c + 2u, b.kx + 1u < p.kw, lo, l12, h12);
    store_partial(k + 1u * p.c + 3u, b.kx + 1u < p.kw, lo, l13, h13);
    store_partial(k + 2u * p.c, b.kx + 2u < p.kw, lo, l20, h20);
    store_partial(k + 2u * p.c + 1u, b.kx + 2u < p.kw, lo, l21, h21);
    store_partial(k + 2u * p.c + 2u, b.kx + 2u < p.kw, lo, l22, h22);
    store_partial(k + 2u * p.c + 3u, b.kx + 2u < p.kw, lo, l23, h23);
    store_partial(k + 3u * p.c, b.kx + 3u < p.kw, lo, l30, h30);
    store_partial(k + 3u * p.c + 1u, b.kx + 3u < p.kw, lo, l31, h31);
    store_partial(k + 3u * p.c + 2u, b.kx + 3u < p.kw, lo, l32, h32);
    store_partial(k + 3u * p.c + 3u, b.kx + 3u < p.kw, lo, l33, h33);
    store_partial(k + 4u * p.c, b.kx + 4u < p.kw, lo, l40, h40);
    store_partial(k + 4u * p.c + 1u, b.kx + 4u < p.kw, lo, l41, h41);
    store_partial(k + 4u * p.c + 2u, b.kx + 4u < p.kw, lo, l42, h42);
    store_partial(k + 4u * p.c + 3u, b.kx + 4u < p.kw, lo, l43, h43);
}

fn store_partial(row: u32, exists: bool, lo: u32, low: vec4f, high: vec4f) {
    if !exists { return; }
    let o4 = p.o / 4u;
    weight_partial[row * o4 + lo] = low;
    if lo + 1u < o4 { weight_partial[row * o4 + lo + 1u] = high; }
}

// ---- backward_weight_narrow: backward_weight for any C, with two rows of 5 taps x one input channel per invocation.
// The few invocations have much work each, so small workgroups spread them evenly. ----
@compute @workgroup_size(8)
fn backward_weight_narrow(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = tap_block(index_of(group, groups, lane, 8u), p.c, 2u);
    if !b.exists { return; }
    let step = i32(stride_x());
    let x_first = i32(b.kx) - i32(p.pad_x);
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);

    // l and h are the lower and the higher four output channels for row ky; m and i are those for row ky + 1.
    var l0 = vec4f(0.0); var h0 = vec4f(0.0); var m0 = vec4f(0.0); var i0 = vec4f(0.0);
    var l1 = vec4f(0.0); var h1 = vec4f(0.0); var m1 = vec4f(0.0); var i1 = vec4f(0.0);
    var l2 = vec4f(0.0); var h2 = vec4f(0.0); var m2 = vec4f(0.0); var i2 = vec4f(0.0);
    var l3 = vec4f(0.0); var h3 = vec4f(0.0); var m3 = vec4f(0.0); var i3 = vec4f(0.0);
    var l4 = vec4f(0.0); var h4 = vec4f(0.0); var m4 = vec4f(0.0); var i4 = vec4f(0.0);
    var at = b.first * p.oh * p.ow * o4;
    for (var n = b.first; n < b.end; n++) {
        for (var oy = 0u; oy < p.oh; oy++) {
            let y = i32(oy * stride_y() + b.ky) - i32(p.pad_y);
            let inside = y >= 0 && y < i32(p.h) && !b.is_bias;
            let row = (n * p.h + select(0u, u32(y), inside)) * p.w;
            let below = y + 1 >= 0 && y + 1 < i32(p.h) && !b.is_bias;
            let row_below = (n * p.h + select(0u, u32(y + 1), below)) * p.w;
            var u0 = 0.0;
            var u1 = load_narrow(row_below, below, x_first, b.c);
            var u2 = load_narrow(row_below, below, x_first + 1, b.c);
            var u3 = load_narrow(row_below, below, x_first + 2, b.c);
            var u4 = load_narrow(row_below, below, x_first + 3, b.c);
            var v0 = 0.0;
            var v1 = load_narrow(row, inside, x_first, b.c);
            var v2 = load_narrow(row, inside, x_first + 1, b.c);
            var v3 = load_narrow(row, inside, x_first + 2, b.c);
            var v4 = load_narrow(row, inside, x_first + 3, b.c);
            for (var ox = 0u; ox < p.ow; ox++) {
                let x = x_first + i32(ox) * step;
                if UNIT_STRIDE || ox == 0u {
                    v0 = v1; v1 = v2; v2 = v3; v3 = v4;
                    u0 = u1; u1 = u2; u2 = u3; u3 = u4;
                } else {
                    v0 = load_narrow(row, inside, x, b.c);
                    v1 = load_narrow(row, inside, x + 1, b.c);
                    v2 = load_narrow(row, inside, x + 2, b.c);
                    v3 = load_narrow(row, inside, x + 3, b.c);
                    u0 = load_narrow(row_below, below, x, b.c);
                    u1 = load_narrow(row_below, below, x + 1, b.c);
                    u2 = load_narrow(row_below, below, x + 2, b.c);
                    u3 = load_narrow(row_below, below, x + 3, b.c);
                }
                v4 = load_narrow(row, inside, x + 4, b.c);
                u4 = load_narrow(row_below, below, x + 4, b.c);
                // For the bias every pixel counts as 1.
                let t = select(v0, 1.0, b.is_bias);
                let dl = load_gradient(at + lo);
                let dh = load_gradient(at + hi);
                l0 += t * dl; l1 += v1 * dl; l2 += v2 * dl; l3 += v3 * dl; l4 += v4 * dl;
                h0 += t * dh; h1 += v1 * dh; h2 += v2 * dh; h3 += v3 * dh; h4 += v4 * dh;
                m0 += u0 * dl; m1 += u1 * dl; m2 += u2 * dl; m3 += u3 * dl; m4 += u4 * dl;
                i0 += u0 * dh; i1 += u1 * dh; i2 += u2 * dh; i3 += u3 * dh; i4 += u4 * dh;
                at += o4;
            }
        }
    }
    let taps = p.kh * p.kw * p.c;
    let base = b.split * (taps + 1u);
    if b.is_bias {
        store_partial(base + taps, true, lo, l0, h0);
        return;
    }
    let k = base + (b.ky * p.kw + b.kx) * p.c + b.c;
    store_partial(k, true, lo, l0, h0);
    store_partial(k + p.c, b.kx + 1u < p.kw, lo, l1, h1);
    store_partial(k + 2u * p.c, b.kx + 2u < p.kw, lo, l2, h2);
    store_partial(k + 3u * p.c, b.kx + 3u < p.kw, lo, l3, h3);
    store_partial(k + 4u * p.c, b.kx + 4u < p.kw, lo, l4, h4);
    let second = b.ky + 1u < p.kh;
    let j = k + p.kw * p.c;
    store_partial(j, second, lo, m0, i0);
    store_partial(j + p.c, second && b.kx + 1u < p.kw, lo, m1, i1);
    store_partial(j + 2u * p.c, second && b.kx + 2u < p.kw, lo, m2, i2);
    store_partial(j + 3u * p.c, second && b.kx + 3u < p.kw, lo, m3, i3);
    store_partial(j + 4u * p.c, second && b.kx + 4u < p.kw, lo, m4, i4);
}
