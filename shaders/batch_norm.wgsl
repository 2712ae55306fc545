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

// A workgroup that computes a chunk takes a tile of it: at most 32 times LANES adjacent channels, `width` times LANES,
// in `height` rows at a time. Chunks have at most 256 times as many rows.
fn tiles() -> u32 { return (p.channels / LANES + 31u) / 32u; }
fn tile_width() -> u32 { return (p.channels / LANES + tiles() - 1u) / tiles(); }
fn tile_height() -> u32 { return 256u / tile_width(); }

// The place of a lane in a tile: its chunk, channel / LANES, and first row among those of the chunk.
struct Place { chunk: u32, c: u32, row: u32, exists: bool }

fn place(tile: u32, lane: u32) -> Place {
    let chunk = tile / tiles();
    let row = lane / tile_width();
    let c = (tile - chunk * tiles()) * tile_width() + lane - row * tile_width();
    return Place(chunk, c, row, chunk < chunks() && c < p.channels / LANES && row < tile_height());
}

// The number of rows, the mean, and the sum of squared deviations.
struct Moments { count: f32, mean: Real, squares: Real }

fn merged(a: Moments, b: Moments) -> Moments {
    if b.count == 0.0 { return a; }
    // Otherwise the square of a large mean could be infinite, and infinity times zero is a NaN.
    if a.count == 0.0 { return b; }
    let count = a.count + b.count;
    let d = b.mean - a.mean;
    let share = b.count / count;
    return Moments(count, a.mean + d * share, a.squares + b.squares + d * d * a.count * share);
}

var<workgroup> lane_moments: array<Moments, 256>;

// Merges `height` rows of `width` lanes by a tree; the result is in the first row.
fn merged_rows(lane: u32, width: u32, height: u32, own: Moments) -> Moments {
    var all = own;
    lane_moments[lane] = all;
    for (var left = height; left > 1u; left = (left + 1u) / 2u) {
        let half = (left + 1u) / 2u;
        workgroupBarrier();
        if lane < (left - half) * width {
            all = merged(all, lane_moments[lane + half * width]);
            lane_moments[lane] = all;
        }
    }
    return all;
}

// ---- moments: mean and sum of squared deviations of each chunk and channel; only while training ----
@group(0) @binding(3) var<storage, read_write> moments_out: array<Real>;

fn write_moments(chunk: u32, c: u32, mean: Real, squares: Real) {
    let channels = p.channels / LANES;
    moments_out[2u * chunk * channels + c] = mean;
    moments_out[(2u * chunk + 1u) * channels + c] = squares;
}

@compute @workgroup_size(256)
fn moments(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(index_of(group, groups, 0u, 1u), lane);
    let range = rows(at.chunk);
    var own = Moments(0.0, Real(), Real());
    if at.exists && header.training != 0u {
        for (var row = range.x + at.row; row < range.y; row += tile_height()) {
            // Welford's update, which reads every value once.
            let x = load_moments_x(row * (p.channels / LANES) + at.c);
            let d = x - own.mean;
            own.count += 1.0;
            own.mean += d * (1.0 / own.count);
            own.squares += d * (x - own.mean);
        }
    }
    let all = merged_rows(lane, tile_width(), tile_height(), own);
    if at.exists && at.row == 0u { write_moments(at.chunk, at.c, all.mean, all.squares); }
}

// One invocation per chunk and channel, in two passes over the chunk; see `walks` in batch_norm.rs.
@compute @workgroup_size(64)
fn moments_walk(
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
    write_moments(chunk, c, mean, squares);
}

// ---- finish: one workgroup for LANES channels merges the chunks (Chan, Golub and LeVeque 1979) or reads the running
// statistics ----
@group(0) @binding(2) var<storage, read> finish_moments: array<Real>;
@group(0) @binding(3) var<storage, read> finish_running: array<Real>;
// Mean, variance, 1 / sqrt(variance + epsilon), each [C].
@group(0) @binding(4) var<storage, read_write> finish_out: array<Real>;

// The moments of chunks first, first + stride, ...
fn merged_chunks(first: u32, stride: u32, c: u32) -> Moments {
    let channels = p.channels / LANES;
    var all = Moments(0.0, Real(), Real());
    for (var chunk = first; chunk < chunks(); chunk += stride) {
        let range = rows(chunk);
        let at = 2u * chunk * channels + c;
        all = merged(all, Moments(f32(range.y - range.x), finish_moments[at], finish_moments[at + channels]));
    }
    return all;
}

fn write_statistics(c: u32, all: Moments) {
    let channels = p.channels / LANES;
    var mean = all.mean;
    var variance = all.squares / max(all.count, 1.0);
    if header.training == 0u {
        mean = finish_running[c];
        variance = finish_running[channels + c];
    }
    finish_out[c] = mean;
    finish_out[channels + c] = variance;
    finish_out[2u * channels + c] = 1.0 / sqrt(variance + p.epsilon);
}

@compute @workgroup_size(256)
fn finish(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, 0u, 1u);
    let exists = c < p.channels / LANES;
    var own = Moments(0.0, Real(), Real());
    if exists { own = merged_chunks(lane, 256u, c); }
    let all = merged_rows(lane, 1u, 256u, own);
    if exists && lane == 0u { write_statistics(c, all); }
}

@compute @workgroup_size(64)
fn finish_walk(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, lane, 64u);
    if c < p.channels / LANES { write_statistics(c, merged_chunks(0u, 1u, c)); }
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

struct Sums { plain: Real, scaled: Real }

var<workgroup> lane_sums: array<Sums, 256>;

// Adds `height` rows of `width` lanes by a tree; the result is in the first row.
fn added_rows(lane: u32, width: u32, height: u32, own: Sums) -> Sums {
    var all = own;
    lane_sums[lane] = all;
    for (var left = height; left > 1u; left = (left + 1u) / 2u) {
        let half = (left + 1u) / 2u;
        workgroupBarrier();
        if lane < (left - half) * width {
            let other = lane_sums[lane + half * width];
            all = Sums(all.plain + other.plain, all.scaled + other.scaled);
            lane_sums[lane] = all;
        }
    }
    return all;
}

// The sums of rows first, first + stride, ... before end; without the factor 1 / sqrt(variance + epsilon).
fn sums_of(first: u32, end: u32, stride: u32, c: u32) -> Sums {
    let channels = p.channels / LANES;
    let mean = sums_statistics[c];
    var sums = Sums(Real(), Real());
    for (var row = first; row < end; row += stride) {
        let dy = load_sums_dy(row * channels + c);
        sums.plain += dy;
        sums.scaled += dy * (load_sums_x(row * channels + c) - mean);
    }
    return sums;
}

fn write_sums(chunk: u32, c: u32, sums: Sums) {
    let channels = p.channels / LANES;
    sums_out[2u * chunk * channels + c] = sums.plain;
    sums_out[(2u * chunk + 1u) * channels + c] = sums.scaled * sums_statistics[2u * channels + c];
}

@compute @workgroup_size(256)
fn sums(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(index_of(group, groups, 0u, 1u), lane);
    let range = rows(at.chunk);
    var own = Sums(Real(), Real());
    if at.exists { own = sums_of(range.x + at.row, range.y, tile_height(), at.c); }
    let all = added_rows(lane, tile_width(), tile_height(), own);
    if at.exists && at.row == 0u { write_sums(at.chunk, at.c, all); }
}

@compute @workgroup_size(64)
fn sums_walk(
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
    write_sums(chunk, c, sums_of(range.x, range.y, 1u, c));
}

// ---- backward_weight: one workgroup for LANES channels adds the chunks' sums ----
@group(0) @binding(1) var<storage, read> weight_sums: array<Real>;
@group(0) @binding(2) var<storage, read_write> weight_dweight: array<Real>;
@group(0) @binding(3) var<storage, read_write> weight_dbias: array<Real>;

// The sums of chunks first, first + stride, ...
fn added_chunks(first: u32, stride: u32, c: u32) -> Sums {
    let channels = p.channels / LANES;
    var all = Sums(Real(), Real());
    for (var chunk = first; chunk < chunks(); chunk += stride) {
        let at = 2u * chunk * channels + c;
        all = Sums(all.plain + weight_sums[at], all.scaled + weight_sums[at + channels]);
    }
    return all;
}

fn write_gradients(c: u32, all: Sums) {
    weight_dbias[c] = all.plain;
    weight_dweight[c] = all.scaled;
}

@compute @workgroup_size(256)
fn backward_weight(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, 0u, 1u);
    let exists = c < p.channels / LANES;
    var own = Sums(Real(), Real());
    if exists { own = added_chunks(lane, 256u, c); }
    let all = added_rows(lane, 1u, 256u, own);
    if exists && lane == 0u { write_gradients(c, all); }
}

@compute @workgroup_size(64)
fn backward_weight_walk(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, lane, 64u);
    if c < p.channels / LANES { write_gradients(c, added_chunks(0u, 1u, c)); }
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
