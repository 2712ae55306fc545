// Batch normalisation of x [M,C], M = N*H*W rows of channels: y = weight * (x - mean) / sqrt(variance + epsilon) +
// bias.
//
// While training (header.training = 1), mean and variance are the batch's own, over the rows of its valid examples;
// otherwise they are the running ones. Sums over rows are computed chunk by chunk and added in a fixed order. A chunk
// is one of `parts` parts of the rows of `unit` examples.

struct Params {
    n: u32, pixels: u32, channels: u32, unit: u32,
    parts: u32, epsilon: f32, momentum: f32, reserved: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;

fn chunks() -> u32 { return (p.n + p.unit - 1u) / p.unit * p.parts; }

fn valid_rows() -> u32 { return header.valid * p.pixels; }

// The valid rows [first, end) of a chunk.
fn rows(chunk: u32) -> vec2u {
    let all = p.unit * p.pixels;
    let span = (all + p.parts - 1u) / p.parts;
    let unit = chunk / p.parts;
    let part = chunk - unit * p.parts;
    let first = min(part * span, all);
    let end = min(first + span, all);
    return min(unit * all + vec2u(first, end), vec2u(valid_rows()));
}

// ---- moments: mean and sum of squared deviations of each chunk and channel; only while training ----
@group(0) @binding(3) var<storage, read_write> moments_out: array<Real>;

@compute @workgroup_size(64)
fn moments(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    let channels = p.channels / LANES;
    if i >= chunks() * channels { return; }
    let chunk = i / channels;
    let c = i - chunk * channels;
    let range = rows(chunk);
    var mean = Real();
    var squares = Real();
    if header.training != 0u && range.y > range.x {
        for (var row = range.x; row < range.y; row++) { mean += load_moments_x(row * channels + c); }
        mean /= f32(range.y - range.x);
        for (var row = range.x; row < range.y; row++) {
            let d = load_moments_x(row * channels + c) - mean;
            squares += d * d;
        }
    }
    moments_out[2u * chunk * channels + c] = mean;
    moments_out[(2u * chunk + 1u) * channels + c] = squares;
}

// ---- finish: one workgroup per channel merges the chunks (Chan, Golub and LeVeque 1979) or reads the running
// statistics ----
@group(0) @binding(2) var<storage, read> finish_moments: array<f32>;
@group(0) @binding(3) var<storage, read> finish_running: array<f32>;
// Mean, variance, 1 / sqrt(variance + epsilon), each [C].
@group(0) @binding(4) var<storage, read_write> finish_out: array<f32>;

// The number of rows, the mean, and the sum of squared deviations.
struct Moments { count: f32, mean: f32, squares: f32 }

var<workgroup> lanes: array<Moments, 64>;

fn merged(a: Moments, b: Moments) -> Moments {
    if b.count == 0.0 { return a; }
    // Otherwise the square of a large mean could be infinite, and infinity times zero is a NaN.
    if a.count == 0.0 { return b; }
    let count = a.count + b.count;
    let d = b.mean - a.mean;
    let share = b.count / count;
    return Moments(count, a.mean + d * share, a.squares + b.squares + d * d * a.count * share);
}

@compute @workgroup_size(64)
fn finish(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, 0u, 1u);
    var own = Moments(0.0, 0.0, 0.0);
    if c < p.channels {
        for (var chunk = lane; chunk < chunks(); chunk += 64u) {
            let range = rows(chunk);
            let at = 2u * chunk * p.channels + c;
            own = merged(own, Moments(f32(range.y - range.x), finish_moments[at], finish_moments[at + p.channels]));
        }
    }
    lanes[lane] = own;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width { lanes[lane] = merged(lanes[lane], lanes[lane + width]); }
    }
    if lane > 0u || c >= p.channels { return; }
    var mean = lanes[0].mean;
    var variance = lanes[0].squares / max(lanes[0].count, 1.0);
    if header.training == 0u {
        mean = finish_running[c];
        variance = finish_running[p.channels + c];
    }
    finish_out[c] = mean;
    finish_out[p.channels + c] = variance;
    finish_out[2u * p.channels + c] = 1.0 / sqrt(variance + p.epsilon);
}

// ---- forward: y of x, statistics, weight and bias ----
@group(0) @binding(2) var<storage, read> forward_statistics: array<Real>;
@group(0) @binding(3) var<storage, read> forward_weight: array<Real>;
@group(0) @binding(4) var<storage, read> forward_bias: array<Real>;
@group(0) @binding(5) var<storage, read_write> forward_y: array<Real>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    let channels = p.channels / LANES;
    if i >= p.n * p.pixels * channels { return; }
    let c = i % channels;
    let factor = forward_weight[c] * forward_statistics[2u * channels + c];
    forward_y[i] = (load_forward_x(i) - forward_statistics[c]) * factor + forward_bias[c];
}

// ---- running: running' = running + momentum * (batch - running), the batch's variance divided by M - 1; a batch of
// one value has no variance and leaves the statistics unchanged ----
@group(0) @binding(2) var<storage, read> running_before: array<f32>;
@group(0) @binding(3) var<storage, read> running_statistics: array<f32>;
@group(0) @binding(4) var<storage, read_write> running_after: array<f32>;

@compute @workgroup_size(64)
fn running(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= 2u * p.channels { return; }
    var batch = running_statistics[i];
    let count = valid_rows();
    if i >= p.channels { batch *= f32(count) / f32(max(count, 2u) - 1u); }
    let before = running_before[i];
    let after = before + p.momentum * (batch - before);
    running_after[i] = select(before, after, count > 1u);
}

// ---- sums: of dy and of dy * (x - mean) / sqrt(variance + epsilon), for each chunk and channel ----
@group(0) @binding(4) var<storage, read> sums_statistics: array<Real>;
@group(0) @binding(5) var<storage, read_write> sums_out: array<Real>;

@compute @workgroup_size(64)
fn sums(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    let channels = p.channels / LANES;
    if i >= chunks() * channels { return; }
    let chunk = i / channels;
    let c = i - chunk * channels;
    let mean = sums_statistics[c];
    let range = rows(chunk);
    var plain = Real();
    var scaled = Real();
    for (var row = range.x; row < range.y; row++) {
        let dy = load_sums_dy(row * channels + c);
        plain += dy;
        scaled += dy * (load_sums_x(row * channels + c) - mean);
    }
    sums_out[2u * chunk * channels + c] = plain;
    sums_out[(2u * chunk + 1u) * channels + c] = scaled * sums_statistics[2u * channels + c];
}

// ---- backward_weight: one workgroup per channel adds the chunks' sums ----
@group(0) @binding(1) var<storage, read> weight_sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight_dweight: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_dbias: array<f32>;

var<workgroup> totals: array<vec2f, 64>;

@compute @workgroup_size(64)
fn backward_weight(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, 0u, 1u);
    var own = vec2f();
    if c < p.channels {
        for (var chunk = lane; chunk < chunks(); chunk += 64u) {
            let at = 2u * chunk * p.channels + c;
            own += vec2f(weight_sums[at], weight_sums[at + p.channels]);
        }
    }
    totals[lane] = own;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width { totals[lane] += totals[lane + width]; }
    }
    if lane > 0u || c >= p.channels { return; }
    weight_dbias[c] = totals[0].x;
    weight_dweight[c] = totals[0].y;
}

// ---- backward_input: while training, dx = weight / sqrt(variance + epsilon) * (dy - (dbias + x^ * dweight) / M), with
// x^ = (x - mean) / sqrt(variance + epsilon); otherwise mean and variance are constants, and the second term is omitted
// ----
@group(0) @binding(4) var<storage, read> input_statistics: array<Real>;
@group(0) @binding(5) var<storage, read> input_weight: array<Real>;
@group(0) @binding(6) var<storage, read> input_dweight: array<Real>;
@group(0) @binding(7) var<storage, read> input_dbias: array<Real>;
@group(0) @binding(8) var<storage, read_write> input_dx: array<Real>;

// 1 / M while training, otherwise 0.
fn share() -> f32 { return select(0.0, 1.0 / f32(max(valid_rows(), 1u)), header.training != 0u); }

@compute @workgroup_size(64)
fn backward_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    let channels = p.channels / LANES;
    if i >= p.n * p.pixels * channels { return; }
    let c = i % channels;
    let inverse = input_statistics[2u * channels + c];
    let normal = (load_input_x(i) - input_statistics[c]) * inverse;
    let shared_part = (input_dbias[c] + normal * input_dweight[c]) * share();
    let dx = input_weight[c] * inverse * (load_input_dy(i) - shared_part);
    input_dx[i] = select(Real(), dx, i < valid_rows() * channels);
}
