// Statistics of a tensor: count, non-finite values, zeros; min, max, mean, sum of squared deviations (m2), Σ|v|, Σv².
//
// Two passes without barriers: every lane of `partial` walks the tensor in steps of `lanes` and writes its counts and
// values, as bits, into nine words of scratch; `finish` merges the lanes in order. counts are u32 [finite, non-finite,
// zeros, 0], values f32 [min, max, mean, m2, Σ|v|, Σv², 0, 0]. Non-finite values are found by their bits, because a
// driver may assume that there is no NaN, and are excluded from values. An empty set has min = +HUGE, max = -HUGE.

struct Params { count: u32, per_example: u32, lanes: u32, channels: u32 }

@group(0) @binding(0) var<uniform> p: Params;

const HUGE = 3.4028234e38;

// ---- partial: per_example > 0 limits the walk to header.valid examples ----
@group(0) @binding(1) var<storage, read> partial_header: Header;
@group(0) @binding(2) var<storage, read> partial_tensor: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> lanes: array<u32>;

// A lane's words: finite, non-finite, zeros; min, max, mean, m2, Σ|v|, Σv².
const WORDS = 9u;

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
    let at = lane * WORDS;
    lanes[at] = finite;
    lanes[at + 1u] = odd;
    lanes[at + 2u] = zeros;
    lanes[at + 3u] = bitcast<u32>(low);
    lanes[at + 4u] = bitcast<u32>(high);
    lanes[at + 5u] = bitcast<u32>(mean);
    lanes[at + 6u] = bitcast<u32>(m2);
    lanes[at + 7u] = bitcast<u32>(absolute);
    lanes[at + 8u] = bitcast<u32>(squares);
}

// ---- finish: merges the lanes' moments by Chan's formula ----
fn lane_value(lane: u32, i: u32) -> f32 { return bitcast<f32>(lanes[lane * WORDS + 3u + i]); }

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
        let count = lanes[lane * WORDS];
        odd += lanes[lane * WORDS + 1u];
        zeros += lanes[lane * WORDS + 2u];
        low = min(low, lane_value(lane, 0u));
        high = max(high, lane_value(lane, 1u));
        if count > 0u {
            let total = f32(finite + count);
            let delta = lane_value(lane, 2u) - mean;
            m2 += lane_value(lane, 3u) + delta * delta * (f32(finite) * f32(count) / total);
            mean += delta * (f32(count) / total);
            finite += count;
        }
        absolute += lane_value(lane, 4u);
        squares += lane_value(lane, 5u);
    }
    counts[0] = finite;
    counts[1] = odd;
    counts[2] = zeros;
    counts[3] = 0u;
    values[0] = low;
    values[1] = high;
    values[2] = mean;
    values[3] = m2;
    values[4] = absolute;
    values[5] = squares;
    values[6] = 0.0;
    values[7] = 0.0;
}

// ---- change: sums [lanes, 2] of (after - before)² and before², for the ratio of the update's norm to the weights'
// norm ----
@group(0) @binding(1) var<storage, read> change_before: array<f32>;
@group(0) @binding(2) var<storage, read> change_after: array<f32>;
@group(0) @binding(3) var<storage, read_write> change_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> change_lanes: array<f32>;

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
    change_lanes[lane * 2u] = moved;
    change_lanes[lane * 2u + 1u] = norm;
}

@compute @workgroup_size(1)
fn change_total() {
    var moved = 0.0;
    var norm = 0.0;
    for (var lane = 0u; lane < p.lanes; lane++) {
        moved += change_lanes[lane * 2u];
        norm += change_lanes[lane * 2u + 1u];
    }
    change_out[0] = moved;
    change_out[1] = norm;
}

// ---- dead: 1 for each channel that is not positive for any valid example at any position, otherwise 0 ----
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
