// 2-D convolution, NHWC, as an implicit im2col matrix product: nothing is materialised, and values are gathered on
// load.
//
// x [N,H,W,C], weight [KH,KW,C/G,O], bias [O], y [N,OH,OW,O]; im2col row m = (n,oy,ox), column k = (ky,kx,c), c running
// over the channels of the output's group.
// These kernels support any shape, with one result per invocation; conv_blocked.wgsl has the fast ones for common
// shapes.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, o: u32, kh: u32,
    kw: u32, stride_y: u32, stride_x: u32, pad_y: u32,
    pad_x: u32, pixels_per_split: u32, dilation_y: u32, dilation_x: u32,
    groups: u32, window_y: u32, window_x: u32, reserved: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// ---- forward: y = im2col(x) * weight + bias ----
@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read> forward_weight: array<f32>;
@group(0) @binding(3) var<storage, read> forward_bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> forward_y: array<f32>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.n * p.oh * p.ow * p.o { return; }
    let o = i % p.o;
    let ox = (i / p.o) % p.ow;
    let oy = (i / (p.o * p.ow)) % p.oh;
    let n = i / (p.o * p.ow * p.oh);
    let inputs = p.c / p.groups;
    let first = o / (p.o / p.groups) * inputs;
    var sum = forward_bias[o];
    for (var ky = 0u; ky < p.kh; ky++) {
        let y = i32(oy * p.stride_y + ky * p.dilation_y) - i32(p.pad_y);
        if y < 0 || y >= i32(p.h) { continue; }
        for (var kx = 0u; kx < p.kw; kx++) {
            let x = i32(ox * p.stride_x + kx * p.dilation_x) - i32(p.pad_x);
            if x < 0 || x >= i32(p.w) { continue; }
            let pixel = ((n * p.h + u32(y)) * p.w + u32(x)) * p.c + first;
            let k = (ky * p.kw + kx) * inputs;
            for (var c = 0u; c < inputs; c++) {
                sum += forward_x[pixel + c] * forward_weight[(k + c) * p.o + o];
            }
        }
    }
    forward_y[i] = sum;
}

// ---- backward_input: dx gathers from every output whose window covers it ----
@group(0) @binding(1) var<storage, read> input_dy: array<f32>;
@group(0) @binding(2) var<storage, read> input_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_dx: array<f32>;

@compute @workgroup_size(64)
fn backward_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.n * p.h * p.w * p.c { return; }
    let c = i % p.c;
    let x = (i / p.c) % p.w;
    let y = (i / (p.c * p.w)) % p.h;
    let n = i / (p.c * p.w * p.h);
    let inputs = p.c / p.groups;
    let outputs = p.o / p.groups;
    let first = c / inputs * outputs;
    var sum = 0.0;
    for (var ky = 0u; ky < p.kh; ky++) {
        // The window at oy covers y through tap ky where oy * stride = y + pad - ky * dilation.
        let ty = i32(y + p.pad_y) - i32(ky * p.dilation_y);
        let oy = ty / i32(p.stride_y);
        if ty < 0 || oy * i32(p.stride_y) != ty || oy >= i32(p.oh) { continue; }
        for (var kx = 0u; kx < p.kw; kx++) {
            let tx = i32(x + p.pad_x) - i32(kx * p.dilation_x);
            let ox = tx / i32(p.stride_x);
            if tx < 0 || ox * i32(p.stride_x) != tx || ox >= i32(p.ow) { continue; }
            let pixel = ((n * p.oh + u32(oy)) * p.ow + u32(ox)) * p.o + first;
            let k = ((ky * p.kw + kx) * inputs + c % inputs) * p.o + first;
            for (var o = 0u; o < outputs; o++) {
                sum += input_dy[pixel + o] * input_weight[k + o];
            }
        }
    }
    input_dx[i] = sum;
}

// ---- backward_weight: partial sums over a split of the examples: [splits, K+1, O], row K being the bias gradient.
// There are few outputs and a long sum (N*OH*OW), so the split gives the device enough independent work. ----
@group(0) @binding(1) var<storage, read> weight_x: array<f32>;
@group(0) @binding(2) var<storage, read> weight_dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_partial: array<f32>;

@compute @workgroup_size(64)
fn backward_weight(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let inputs = p.c / p.groups;
    let taps = p.kh * p.kw * inputs;
    let i = index_of(group, groups, lane, 64u);
    let splits = (p.n * p.oh * p.ow + p.pixels_per_split - 1u) / p.pixels_per_split;
    if i >= splits * (taps + 1u) * p.o { return; }
    let o = i % p.o;
    let k = (i / p.o) % (taps + 1u);
    let is_bias = k == taps;
    let c = k % inputs + o / (p.o / p.groups) * inputs;
    let kx = (k / inputs) % p.kw;
    let ky = k / (inputs * p.kw);
    let first = i / (p.o * (taps + 1u)) * p.pixels_per_split;
    let end = min(first + p.pixels_per_split, p.n * p.oh * p.ow);
    var sum = 0.0;
    var pixel = first;
    // Row by row, because a division for every pixel would cost more than the rest; a split may start and end within a
    // row.
    while pixel < end {
        let row = pixel / p.ow;
        let n = row / p.oh;
        let y = i32((row - n * p.oh) * p.stride_y + ky * p.dilation_y) - i32(p.pad_y);
        let row_end = min((row + 1u) * p.ow, end);
        if is_bias {
            for (; pixel < row_end; pixel++) { sum += weight_dy[pixel * p.o + o]; }
        } else if y >= 0 && y < i32(p.h) {
            let image_row = (n * p.h + u32(y)) * p.w;
            for (; pixel < row_end; pixel++) {
                let x = i32((pixel - row * p.ow) * p.stride_x + kx * p.dilation_x) - i32(p.pad_x);
                if x < 0 || x >= i32(p.w) { continue; }
                sum += weight_dy[pixel * p.o + o] * weight_x[(image_row + u32(x)) * p.c + c];
            }
        }
        pixel = row_end;
    }
    weight_partial[i] = sum;
}

// ---- sum_splits: adds the partial sums in a fixed order, and separates weight and bias ----
@group(0) @binding(1) var<storage, read> splits_partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> splits_dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> splits_dbias: array<f32>;

@compute @workgroup_size(64)
fn sum_splits(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let weights = p.kh * p.kw * (p.c / p.groups) * p.o;
    let total = weights + p.o;
    let i = index_of(group, groups, lane, 64u);
    if i >= total { return; }
    let splits = (p.n * p.oh * p.ow + p.pixels_per_split - 1u) / p.pixels_per_split;
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
