// What a tensor looks like: count, non-finite values, zeros; min, max, mean, sum of squared deviations, Σ|v|, Σv².
//
// Two passes and no barrier: every lane of `partial` walks the tensor in steps of `lanes`, `finish` merges the lanes in
// order. counts are u32 [finite, non-finite, zeros, 0], values f32 [min, max, mean, m2, Σ|v|, Σv², 0, 0]. Non-finite
// values are found by their bits (a driver may assume NaN away) and take no part in the rest. An empty set has
// min = +huge, max = -huge.

struct Params { count: u32, per_example: u32, lanes: u32, channels: u32 }

@group(0) @binding(0) var<uniform> p: Params;

const HUGE = 3.4028234e38;

// ---- partial: per_example > 0 limits the walk to header.valid examples ----
@group(0) @binding(1) var<storage, read> partial_header: Header;
@group(0) @binding(2) var<storage, read> partial_tensor: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial_counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> partial_values: array<f32>;

@compute @workgroup_size(64)
fn partial(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) lane_in_group: u32,
) {
    let lane = group.x * 64u + lane_in_group;
    if lane >= p.lanes { return; }
    var end = p.count;
    if p.per_example > 0u { end = min(end, partial_header.valid * p.per_example); }
    var finite = 0u;
    var odd = 0u;
    var zeros = 0u;
    var low = HUGE;
    var high = -HUGE;
    var mean = 0.0;
    var m2 = 0.0;
    var absolute = 0.0;
    var squares = 0.0;
    for (var i = lane; i < end; i += p.lanes) {
        let v = partial_tensor[i];
        let magnitude = bitcast<u32>(v) & 0x7fffffffu;
        if magnitude >= 0x7f800000u {
            odd += 1u;
        } else {
            finite += 1u;
            zeros += select(0u, 1u, magnitude == 0u);
            low = min(low, v);
            high = max(high, v);
            // Welford's update.
            let delta = v - mean;
            mean += delta / f32(finite);
            m2 += delta * (v - mean);
            absolute += abs(v);
            squares += v * v;
        }
    }
    let c = lane * 4u;
    partial_counts[c] = finite;
    partial_counts[c + 1u] = odd;
    partial_counts[c + 2u] = zeros;
    partial_counts[c + 3u] = 0u;
    let s = lane * 8u;
    partial_values[s] = low;
    partial_values[s + 1u] = high;
    partial_values[s + 2u] = mean;
    partial_values[s + 3u] = m2;
    partial_values[s + 4u] = absolute;
    partial_values[s + 5u] = squares;
    partial_values[s + 6u] = 0.0;
    partial_values[s + 7u] = 0.0;
}

// ---- finish: merges the lanes' moments by Chan's formula ----
@group(0) @binding(1) var<storage, read> finish_counts_in: array<u32>;
@group(0) @binding(2) var<storage, read> finish_values_in: array<f32>;
@group(0) @binding(3) var<storage, read_write> finish_counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> finish_values: array<f32>;

@compute @workgroup_size(1)
fn finish() {
    var finite = 0u;
    var odd = 0u;
    var zeros = 0u;
    var low = HUGE;
    var high = -HUGE;
    var mean = 0.0;
    var m2 = 0.0;
    var absolute = 0.0;
    var squares = 0.0;
    for (var lane = 0u; lane < p.lanes; lane++) {
        let count = finish_counts_in[lane * 4u];
        odd += finish_counts_in[lane * 4u + 1u];
        zeros += finish_counts_in[lane * 4u + 2u];
        let s = lane * 8u;
        low = min(low, finish_values_in[s]);
        high = max(high, finish_values_in[s + 1u]);
        if count > 0u {
            let total = f32(finite + count);
            let delta = finish_values_in[s + 2u] - mean;
            m2 += finish_values_in[s + 3u] + delta * delta * (f32(finite) * f32(count) / total);
            mean += delta * (f32(count) / total);
            finite += count;
        }
        absolute += finish_values_in[s + 4u];
        squares += finish_values_in[s + 5u];
    }
    finish_counts[0] = finite;
    finish_counts[1] = odd;
    finish_counts[2] = zeros;
    finish_counts[3] = 0u;
    finish_values[0] = low;
    finish_values[1] = high;
    finish_values[2] = mean;
    finish_values[3] = m2;
    finish_values[4] = absolute;
    finish_values[5] = squares;
    finish_values[6] = 0.0;
    finish_values[7] = 0.0;
}

// ---- change: partial sums [lanes, 2] of (after - before)² and before², for the ratio of update norm to weight norm ----
@group(0) @binding(1) var<storage, read> change_before: array<f32>;
@group(0) @binding(2) var<storage, read> change_after: array<f32>;
@group(0) @binding(3) var<storage, read_write> change_partial: array<f32>;

@compute @workgroup_size(64)
fn change(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane_in_group: u32) {
    let lane = group.x * 64u + lane_in_group;
    if lane >= p.lanes { return; }
    var moved = 0.0;
    var norm = 0.0;
    for (var i = lane; i < p.count; i += p.lanes) {
        let before = change_before[i];
        let d = change_after[i] - before;
        moved += d * d;
        norm += before * before;
    }
    change_partial[lane * 2u] = moved;
    change_partial[lane * 2u + 1u] = norm;
}

@group(0) @binding(1) var<storage, read> total_partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> total_out: array<f32>;

@compute @workgroup_size(1)
fn change_total() {
    var moved = 0.0;
    var norm = 0.0;
    for (var lane = 0u; lane < p.lanes; lane++) {
        moved += total_partial[lane * 2u];
        norm += total_partial[lane * 2u + 1u];
    }
    total_out[0] = moved;
    total_out[1] = norm;
}

// ---- dead: 1 for each channel that is not positive for any valid example at any position, else 0 ----
@group(0) @binding(1) var<storage, read> dead_header: Header;
@group(0) @binding(2) var<storage, read> dead_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> dead_flags: array<u32>;

@compute @workgroup_size(64)
fn dead(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c = group.x * 64u + lane;
    if c >= p.channels { return; }
    let end = min(p.count, dead_header.valid * p.per_example);
    var flag = 1u;
    for (var i = c; i < end; i += p.channels) {
        if dead_y[i] > 0.0 {
            flag = 0u;
            break;
        }
    }
    dead_flags[c] = flag;
}
