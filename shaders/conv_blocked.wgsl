// The convolution of conv.wgsl for O a multiple of 4 (and C too, where the name does not say `narrow`), read in vec4.
//
// x [N,H,W,C], weight [KH,KW,C,O], bias [O], y [N,OH,OW,O]. Every invocation keeps a block of results in registers:
// four pixels side by side x 8 channels, or three taps of a kernel row x 4 input x 8 output channels. No barrier, no
// workgroup memory. At stride 1 the taps of a kernel row slide over a window in registers, so that one load a tap
// serves all pixels of the block. Software drivers pay for a load by the instruction, not by the byte: hence vec4.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, o: u32, kh: u32,
    kw: u32, stride_y: u32, stride_x: u32, pad_y: u32,
    pad_x: u32, examples_per_split: u32, reserved0: u32, reserved1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// Whether weights are read through a uniform binding of 64 KiB, beside the storage binding: for small layers only.
// Hardware reads uniform addresses from a constant cache; llvmpipe gathers them some eight times as fast.
override UNIFORM_WEIGHTS: bool = false;

// Where a block of four output (or input) pixels lies.
struct Block { n: u32, y: u32, x: u32, exists: bool }

fn block_at(group: vec3u, groups: vec3u, lane: u32, height: u32, width: u32) -> Block {
    let blocks = (width + 3u) / 4u;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    return Block(i / (blocks * height), (i / blocks) % height, (i % blocks) * 4u, i < p.n * height * blocks);
}

// ---- forward: y = im2col(x) * weight + bias; 4 pixels x 8 output channels ----
@group(0) @binding(1) var<storage, read> forward_x: array<vec4f>;
@group(0) @binding(2) var<storage, read> forward_weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> forward_bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> forward_y: array<vec4f>;
@group(0) @binding(5) var<uniform> forward_window: array<vec4f, 4096>;

fn load_weight(i: u32) -> vec4f {
    if UNIFORM_WEIGHTS { return forward_window[i]; }
    return forward_weight[i];
}

// Channels 4*c4.. of pixel x in the image row that starts at pixel `row`; zero outside.
fn load_x(row: u32, row_inside: bool, x: i32, c4: u32) -> vec4f {
    let inside = row_inside && x >= 0 && x < i32(p.w);
    let at = (row + select(0u, u32(x), inside)) * (p.c / 4u) + c4;
    return select(vec4f(0.0), forward_x[at], inside);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = block_at(group, groups, lane, p.oh, p.ow);
    if !b.exists { return; }
    let x0 = i32(b.x * p.stride_x) - i32(p.pad_x);
    let step = i32(p.stride_x);
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    var l0 = forward_bias[lo]; var l1 = l0; var l2 = l0; var l3 = l0;
    var h0 = forward_bias[hi]; var h1 = h0; var h2 = h0; var h3 = h0;
    for (var ky = 0u; ky < p.kh; ky++) {
        let y = i32(b.y * p.stride_y + ky) - i32(p.pad_y);
        let inside = y >= 0 && y < i32(p.h);
        let row = (b.n * p.h + select(0u, u32(y), inside)) * p.w;
        for (var c4 = 0u; c4 < p.c / 4u; c4++) {
            var v0 = vec4f(0.0); var v1 = vec4f(0.0); var v2 = vec4f(0.0); var v3 = vec4f(0.0);
            if step == 1 {
                v1 = load_x(row, inside, x0, c4);
                v2 = load_x(row, inside, x0 + 1, c4);
                v3 = load_x(row, inside, x0 + 2, c4);
            }
            for (var kx = 0u; kx < p.kw; kx++) {
                let x = x0 + i32(kx);
                if step == 1 {
                    v0 = v1; v1 = v2; v2 = v3;
                    v3 = load_x(row, inside, x + 3, c4);
                } else {
                    v0 = load_x(row, inside, x, c4);
                    v1 = load_x(row, inside, x + step, c4);
                    v2 = load_x(row, inside, x + 2 * step, c4);
                    v3 = load_x(row, inside, x + 3 * step, c4);
                }
                let k = ((ky * p.kw + kx) * p.c + c4 * 4u) * o4;
                var wl = load_weight(k + lo);
                var wh = load_weight(k + hi);
                l0 += v0.x * wl; l1 += v1.x * wl; l2 += v2.x * wl; l3 += v3.x * wl;
                h0 += v0.x * wh; h1 += v1.x * wh; h2 += v2.x * wh; h3 += v3.x * wh;
                wl = load_weight(k + o4 + lo);
                wh = load_weight(k + o4 + hi);
                l0 += v0.y * wl; l1 += v1.y * wl; l2 += v2.y * wl; l3 += v3.y * wl;
                h0 += v0.y * wh; h1 += v1.y * wh; h2 += v2.y * wh; h3 += v3.y * wh;
                wl = load_weight(k + 2u * o4 + lo);
                wh = load_weight(k + 2u * o4 + hi);
                l0 += v0.z * wl; l1 += v1.z * wl; l2 += v2.z * wl; l3 += v3.z * wl;
                h0 += v0.z * wh; h1 += v1.z * wh; h2 += v2.z * wh; h3 += v3.z * wh;
                wl = load_weight(k + 3u * o4 + lo);
                wh = load_weight(k + 3u * o4 + hi);
                l0 += v0.w * wl; l1 += v1.w * wl; l2 += v2.w * wl; l3 += v3.w * wl;
                h0 += v0.w * wh; h1 += v1.w * wh; h2 += v2.w * wh; h3 += v3.w * wh;
            }
        }
    }
    let pixel = (b.n * p.oh + b.y) * p.ow + b.x;
    store_y(pixel, b.x < p.ow, lo, l0, h0);
    store_y(pixel + 1u, b.x + 1u < p.ow, lo, l1, h1);
    store_y(pixel + 2u, b.x + 2u < p.ow, lo, l2, h2);
    store_y(pixel + 3u, b.x + 3u < p.ow, lo, l3, h3);
}

fn store_y(pixel: u32, exists: bool, lo: u32, low: vec4f, high: vec4f) {
    if !exists { return; }
    let o4 = p.o / 4u;
    forward_y[pixel * o4 + lo] = low;
    if lo + 1u < o4 { forward_y[pixel * o4 + lo + 1u] = high; }
}

// ---- forward_narrow: the same for any C, x read one channel at a time ----
@group(0) @binding(1) var<storage, read> narrow_x: array<f32>;

fn load_narrow(row: u32, row_inside: bool, x: i32, c: u32) -> f32 {
    let inside = row_inside && x >= 0 && x < i32(p.w);
    return select(0.0, narrow_x[(row + select(0u, u32(x), inside)) * p.c + c], inside);
}

@compute @workgroup_size(64)
fn forward_narrow(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = block_at(group, groups, lane, p.oh, p.ow);
    if !b.exists { return; }
    let x0 = i32(b.x * p.stride_x) - i32(p.pad_x);
    let step = i32(p.stride_x);
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    var l0 = forward_bias[lo]; var l1 = l0; var l2 = l0; var l3 = l0;
    var h0 = forward_bias[hi]; var h1 = h0; var h2 = h0; var h3 = h0;
    for (var ky = 0u; ky < p.kh; ky++) {
        let y = i32(b.y * p.stride_y + ky) - i32(p.pad_y);
        let inside = y >= 0 && y < i32(p.h);
        let row = (b.n * p.h + select(0u, u32(y), inside)) * p.w;
        for (var c = 0u; c < p.c; c++) {
            var v = vec4f(0.0);
            if step == 1 {
                v = vec4f(0.0, load_narrow(row, inside, x0, c), load_narrow(row, inside, x0 + 1, c),
                    load_narrow(row, inside, x0 + 2, c));
            }
            for (var kx = 0u; kx < p.kw; kx++) {
                let x = x0 + i32(kx);
                if step == 1 {
                    v = vec4f(v.yzw, load_narrow(row, inside, x + 3, c));
                } else {
                    v = vec4f(load_narrow(row, inside, x, c), load_narrow(row, inside, x + step, c),
                        load_narrow(row, inside, x + 2 * step, c), load_narrow(row, inside, x + 3 * step, c));
                }
                let k = ((ky * p.kw + kx) * p.c + c) * o4;
                let wl = load_weight(k + lo);
                let wh = load_weight(k + hi);
                l0 += v.x * wl; l1 += v.y * wl; l2 += v.z * wl; l3 += v.w * wl;
                h0 += v.x * wh; h1 += v.y * wh; h2 += v.z * wh; h3 += v.w * wh;
            }
        }
    }
    let pixel = (b.n * p.oh + b.y) * p.ow + b.x;
    store_y(pixel, b.x < p.ow, lo, l0, h0);
    store_y(pixel + 1u, b.x + 1u < p.ow, lo, l1, h1);
    store_y(pixel + 2u, b.x + 2u < p.ow, lo, l2, h2);
    store_y(pixel + 3u, b.x + 3u < p.ow, lo, l3, h3);
}

// ---- backward_input: dx gathers from every output whose window covers it; 4 pixels x 8 input channels ----
@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_weight: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> input_dx: array<vec4f>;
@group(0) @binding(4) var<uniform> input_window: array<vec4f, 4096>;

fn load_input_weight(i: u32) -> vec4f {
    if UNIFORM_WEIGHTS { return input_window[i]; }
    return input_weight[i];
}

// Gradients 4*o4.. of the output pixel whose window starts at input column `at` (padding counted in), in the output row
// that starts at pixel `row`; zero where there is no such pixel.
fn load_dy(row: u32, row_inside: bool, at: i32, o4: u32) -> vec4f {
    let step = i32(p.stride_x);
    let ox = at / step;
    let inside = row_inside && at >= 0 && ox * step == at && ox < i32(p.ow);
    return select(vec4f(0.0), input_dy[(row + select(0u, u32(ox), inside)) * (p.o / 4u) + o4], inside);
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
    var l0 = vec4f(0.0); var l1 = l0; var l2 = l0; var l3 = l0;
    var h0 = l0; var h1 = l0; var h2 = l0; var h3 = l0;
    for (var ky = 0u; ky < p.kh; ky++) {
        // The window at oy covers y through tap ky where oy * stride = y + pad - ky.
        let ty = i32(b.y + p.pad_y) - i32(ky);
        let oy = ty / i32(p.stride_y);
        let inside = ty >= 0 && oy * i32(p.stride_y) == ty && oy < i32(p.oh);
        let row = (b.n * p.oh + select(0u, u32(oy), inside)) * p.ow;
        for (var o4 = 0u; o4 < row4; o4++) {
            var v0 = vec4f(0.0); var v1 = vec4f(0.0); var v2 = vec4f(0.0); var v3 = vec4f(0.0);
            if p.stride_x == 1u {
                v0 = load_dy(row, inside, x0 + 1, o4);
                v1 = load_dy(row, inside, x0 + 2, o4);
                v2 = load_dy(row, inside, x0 + 3, o4);
            }
            for (var kx = 0u; kx < p.kw; kx++) {
                let at = x0 - i32(kx);
                if p.stride_x == 1u {
                    v3 = v2; v2 = v1; v1 = v0;
                    v0 = load_dy(row, inside, at, o4);
                } else {
                    v0 = load_dy(row, inside, at, o4);
                    v1 = load_dy(row, inside, at + 1, o4);
                    v2 = load_dy(row, inside, at + 2, o4);
                    v3 = load_dy(row, inside, at + 3, o4);
                }
                let k = (ky * p.kw + kx) * p.c * row4 + o4;
                let kl = k + lo * 4u * row4;
                let a0 = load_input_weight(kl);
                let a1 = load_input_weight(kl + row4);
                let a2 = load_input_weight(kl + 2u * row4);
                let a3 = load_input_weight(kl + 3u * row4);
                l0 += vec4f(dot(v0, a0), dot(v0, a1), dot(v0, a2), dot(v0, a3));
                l1 += vec4f(dot(v1, a0), dot(v1, a1), dot(v1, a2), dot(v1, a3));
                l2 += vec4f(dot(v2, a0), dot(v2, a1), dot(v2, a2), dot(v2, a3));
                l3 += vec4f(dot(v3, a0), dot(v3, a1), dot(v3, a2), dot(v3, a3));
                let kh = k + hi * 4u * row4;
                let b0 = load_input_weight(kh);
                let b1 = load_input_weight(kh + row4);
                let b2 = load_input_weight(kh + 2u * row4);
                let b3 = load_input_weight(kh + 3u * row4);
                h0 += vec4f(dot(v0, b0), dot(v0, b1), dot(v0, b2), dot(v0, b3));
                h1 += vec4f(dot(v1, b0), dot(v1, b1), dot(v1, b2), dot(v1, b3));
                h2 += vec4f(dot(v2, b0), dot(v2, b1), dot(v2, b2), dot(v2, b3));
                h3 += vec4f(dot(v3, b0), dot(v3, b1), dot(v3, b2), dot(v3, b3));
            }
        }
    }
    let pixel = (b.n * p.h + b.y) * p.w + b.x;
    store_dx(pixel, b.x < p.w, lo, l0, h0);
    store_dx(pixel + 1u, b.x + 1u < p.w, lo, l1, h1);
    store_dx(pixel + 2u, b.x + 2u < p.w, lo, l2, h2);
    store_dx(pixel + 3u, b.x + 3u < p.w, lo, l3, h3);
}

fn store_dx(pixel: u32, exists: bool, lo: u32, low: vec4f, high: vec4f) {
    if !exists { return; }
    let c4 = p.c / 4u;
    input_dx[pixel * c4 + lo] = low;
    if lo + 1u < c4 { input_dx[pixel * c4 + lo + 1u] = high; }
}

// ---- backward_weight: partial sums over a split of the examples: [splits, K+1, O], row K being the bias gradient.
// 3 taps side by side x 4 input channels x 8 output channels; the last invocation takes the bias. ----
@group(0) @binding(1) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> weight_partial: array<vec4f>;

fn load_tap(row: u32, row_inside: bool, x: i32, c4: u32) -> vec4f {
    let inside = row_inside && x >= 0 && x < i32(p.w);
    let at = (row + select(0u, u32(x), inside)) * (p.c / 4u) + c4;
    return select(vec4f(0.0), weight_x[at], inside);
}

@compute @workgroup_size(64)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let triples = (p.kw + 2u) / 3u;
    let c_blocks = p.c / 4u;
    let index = group.x * 64u + lane;
    let bias_index = p.kh * triples * c_blocks;
    if index > bias_index { return; }
    let is_bias = index == bias_index;
    let c4 = index % c_blocks;
    let kx = ((index / c_blocks) % triples) * 3u;
    let ky = index / (c_blocks * triples);
    let step = i32(p.stride_x);
    let x_first = i32(kx) - i32(p.pad_x);
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    let n_first = group.y * p.examples_per_split;
    let n_end = min(n_first + p.examples_per_split, p.n);

    // By tap and input channel; l and h are the lower and the higher four output channels.
    var l00 = vec4f(0.0); var l01 = l00; var l02 = l00; var l03 = l00;
    var l10 = l00; var l11 = l00; var l12 = l00; var l13 = l00;
    var l20 = l00; var l21 = l00; var l22 = l00; var l23 = l00;
    var h00 = l00; var h01 = l00; var h02 = l00; var h03 = l00;
    var h10 = l00; var h11 = l00; var h12 = l00; var h13 = l00;
    var h20 = l00; var h21 = l00; var h22 = l00; var h23 = l00;
    var at = n_first * p.oh * p.ow * o4;
    for (var n = n_first; n < n_end; n++) {
        for (var oy = 0u; oy < p.oh; oy++) {
            let y = i32(oy * p.stride_y + ky) - i32(p.pad_y);
            let inside = y >= 0 && y < i32(p.h) && !is_bias;
            let row = (n * p.h + select(0u, u32(y), inside)) * p.w;
            // For the bias every pixel counts as 1.
            var v0 = vec4f(0.0); var v1 = vec4f(0.0); var v2 = vec4f(0.0);
            if step == 1 {
                v1 = load_tap(row, inside, x_first, c4);
                v2 = load_tap(row, inside, x_first + 1, c4);
            }
            for (var ox = 0u; ox < p.ow; ox++) {
                let x = x_first + i32(ox) * step;
                if step == 1 {
                    v0 = v1; v1 = v2;
                    v2 = load_tap(row, inside, x + 2, c4);
                } else {
                    v0 = load_tap(row, inside, x, c4);
                    v1 = load_tap(row, inside, x + 1, c4);
                    v2 = load_tap(row, inside, x + 2, c4);
                }
                let t = select(v0, vec4f(1.0, 0.0, 0.0, 0.0), is_bias);
                let dl = weight_dy[at + lo];
                let dh = weight_dy[at + hi];
                l00 += t.x * dl; l01 += t.y * dl; l02 += t.z * dl; l03 += t.w * dl;
                h00 += t.x * dh; h01 += t.y * dh; h02 += t.z * dh; h03 += t.w * dh;
                l10 += v1.x * dl; l11 += v1.y * dl; l12 += v1.z * dl; l13 += v1.w * dl;
                h10 += v1.x * dh; h11 += v1.y * dh; h12 += v1.z * dh; h13 += v1.w * dh;
                l20 += v2.x * dl; l21 += v2.y * dl; l22 += v2.z * dl; l23 += v2.w * dl;
                h20 += v2.x * dh; h21 += v2.y * dh; h22 += v2.z * dh; h23 += v2.w * dh;
                at += o4;
            }
        }
    }
    let taps = p.kh * p.kw * p.c;
    let base = group.y * (taps + 1u);
    if is_bias {
        store_partial(base + taps, true, lo, l00, h00);
        return;
    }
    let k = base + (ky * p.kw + kx) * p.c + c4 * 4u;
    store_partial(k, true, lo, l00, h00);
    store_partial(k + 1u, true, lo, l01, h01);
    store_partial(k + 2u, true, lo, l02, h02);
    store_partial(k + 3u, true, lo, l03, h03);
    let second = kx + 1u < p.kw;
    store_partial(k + p.c, second, lo, l10, h10);
    store_partial(k + p.c + 1u, second, lo, l11, h11);
    store_partial(k + p.c + 2u, second, lo, l12, h12);
    store_partial(k + p.c + 3u, second, lo, l13, h13);
    let third = kx + 2u < p.kw;
    store_partial(k + 2u * p.c, third, lo, l20, h20);
    store_partial(k + 2u * p.c + 1u, third, lo, l21, h21);
    store_partial(k + 2u * p.c + 2u, third, lo, l22, h22);
    store_partial(k + 2u * p.c + 3u, third, lo, l23, h23);
}

fn store_partial(row: u32, exists: bool, lo: u32, low: vec4f, high: vec4f) {
    if !exists { return; }
    let o4 = p.o / 4u;
    weight_partial[row * o4 + lo] = low;
    if lo + 1u < o4 { weight_partial[row * o4 + lo + 1u] = high; }
}

// ---- backward_weight_narrow: the same for any C, one input channel an invocation ----
@compute @workgroup_size(64)
fn backward_weight_narrow(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let triples = (p.kw + 2u) / 3u;
    let index = group.x * 64u + lane;
    let bias_index = p.kh * triples * p.c;
    if index > bias_index { return; }
    let is_bias = index == bias_index;
    let c = index % p.c;
    let kx = ((index / p.c) % triples) * 3u;
    let ky = index / (p.c * triples);
    let step = i32(p.stride_x);
    let x_first = i32(kx) - i32(p.pad_x);
    let o4 = p.o / 4u;
    let lo = group.z * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    let n_first = group.y * p.examples_per_split;
    let n_end = min(n_first + p.examples_per_split, p.n);

    var l0 = vec4f(0.0); var l1 = l0; var l2 = l0;
    var h0 = l0; var h1 = l0; var h2 = l0;
    var at = n_first * p.oh * p.ow * o4;
    for (var n = n_first; n < n_end; n++) {
        for (var oy = 0u; oy < p.oh; oy++) {
            let y = i32(oy * p.stride_y + ky) - i32(p.pad_y);
            let inside = y >= 0 && y < i32(p.h) && !is_bias;
            let row = (n * p.h + select(0u, u32(y), inside)) * p.w;
            var v = vec3f(0.0);
            if step == 1 {
                v = vec3f(0.0, load_narrow(row, inside, x_first, c), load_narrow(row, inside, x_first + 1, c));
            }
            for (var ox = 0u; ox < p.ow; ox++) {
                let x = x_first + i32(ox) * step;
                if step == 1 {
                    v = vec3f(v.yz, load_narrow(row, inside, x + 2, c));
                } else {
                    v = vec3f(load_narrow(row, inside, x, c), load_narrow(row, inside, x + 1, c),
                        load_narrow(row, inside, x + 2, c));
                }
                let t = select(v, vec3f(1.0, 0.0, 0.0), is_bias);
                let dl = weight_dy[at + lo];
                let dh = weight_dy[at + hi];
                l0 += t.x * dl; l1 += t.y * dl; l2 += t.z * dl;
                h0 += t.x * dh; h1 += t.y * dh; h2 += t.z * dh;
                at += o4;
            }
        }
    }
    let taps = p.kh * p.kw * p.c;
    let base = group.y * (taps + 1u);
    if is_bias {
        store_partial(base + taps, true, lo, l0, h0);
        return;
    }
    let k = base + (ky * p.kw + kx) * p.c + c;
    store_partial(k, true, lo, l0, h0);
    store_partial(k + p.c, kx + 1u < p.kw, lo, l1, h1);
    store_partial(k + 2u * p.c, kx + 2u < p.kw, lo, l2, h2);
}
