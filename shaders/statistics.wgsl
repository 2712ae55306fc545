// Statistics of a tensor: count, non-finite values, zeros; min, max, mean, sum of squared deviations (m2), Σ|v|, Σv².
//
// Two passes: a workgroup of `partial` takes 256 * p.steps adjacent values, p.steps in each of its 256 lanes, merges the
// lanes by a tree, and writes the result, as bits, into nine words of scratch; `finish`, one workgroup, merges those of
// all workgroups in the same way. counts are u32 [finite, non-finite, zeros, 0], values f32 [min, max, mean, m2, Σ|v|, Σv²,
// 0, 0]. Non-finite values are found by their bits, because a driver may assume that there is no NaN, and are excluded
// from values. An empty set has min = +HUGE, max = -HUGE.
//
// Software adapters, on which a barrier costs as much as a hundred values, walk instead: at most 1024 walkers take the
// tensor in strides, and one invocation merges them in order.

struct Params { count: u32, per_example: u32, steps: u32, channels: u32 }

@group(0) @binding(0) var<uniform> p: Params;

const HUGE = 3.4028234e38;
const LANES = 256u;

// The number of workgroups in the first pass of summary and change.
fn parts() -> u32 {
    let span = LANES * p.steps;
    return (p.count + span - 1u) / span;
}

// The number of walkers: about 32 values each.
fn walkers() -> u32 { return min((p.count + 31u) / 32u, 1024u); }

struct Moments {
    finite: u32, odd: u32, zeros: u32,
    low: f32, high: f32, mean: f32, m2: f32, absolute: f32, squares: f32,
}

fn no_moments() -> Moments { return Moments(0u, 0u, 0u, HUGE, -HUGE, 0.0, 0.0, 0.0, 0.0); }

fn with_value(moments: Moments, v: f32) -> Moments {
    var m = moments;
    let magnitude = bitcast<u32>(v) & 0x7fffffffu;
    if magnitude >= 0x7f800000u {
        m.odd += 1u;
        return m;
    }
    m.finite += 1u;
    m.zeros += select(0u, 1u, magnitude == 0u);
    m.low = min(m.low, v);
    m.high = max(m.high, v);
    // Welford's update.
    let delta = v - m.mean;
    m.mean += delta / f32(m.finite);
    m.m2 += delta * (v - m.mean);
    m.absolute += abs(v);
    m.squares += v * v;
    return m;
}

// Chan's formula for mean and m2.
fn merged(a: Moments, b: Moments) -> Moments {
    var m = a;
    m.finite += b.finite;
    m.odd += b.odd;
    m.zeros += b.zeros;
    m.low = min(a.low, b.low);
    m.high = max(a.high, b.high);
    m.absolute += b.absolute;
    m.squares += b.squares;
    if a.finite == 0u {
        // Otherwise the square of a large mean could be infinite, and infinity times zero is a NaN.
        m.mean = b.mean;
        m.m2 = b.m2;
    } else if b.finite > 0u {
        let share = f32(b.finite) / f32(m.finite);
        let delta = b.mean - a.mean;
        m.m2 += b.m2 + delta * delta * (f32(a.finite) * share);
        m.mean += delta * share;
    }
    return m;
}

var<workgroup> lane_moments: array<Moments, LANES>;

// The moments of all lanes, in lane 0.
fn of_all_lanes(lane: u32, own: Moments) -> Moments {
    var m = own;
    lane_moments[lane] = m;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            m = merged(m, lane_moments[lane + width]);
            lane_moments[lane] = m;
        }
    }
    return m;
}

// ---- partial: per_example > 0 limits the values to those of header.valid examples ----
@group(0) @binding(1) var<storage, read> partial_header: Header;
@group(0) @binding(2) var<storage, read> partial_tensor: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> part_words: array<u32>;

// A workgroup's words: finite, non-finite, zeros; min, max, mean, m2, Σ|v|, Σv².
const WORDS = 9u;

// The moments of the values at first, first + stride, ... before end.
fn moments_of(first: u32, end: u32, stride: u32) -> Moments {
    var valid_end = min(p.count, end);
    if p.per_example > 0u { valid_end = min(valid_end, partial_header.valid * p.per_example); }
    var own = no_moments();
    for (var i = first; i < valid_end; i += stride) { own = with_value(own, partial_tensor[i]); }
    return own;
}

fn write_part(part: u32, m: Moments) {
    let at = part * WORDS;
    part_words[at] = m.finite;
    part_words[at + 1u] = m.odd;
    part_words[at + 2u] = m.zeros;
    part_words[at + 3u] = bitcast<u32>(m.low);
    part_words[at + 4u] = bitcast<u32>(m.high);
    part_words[at + 5u] = bitcast<u32>(m.mean);
    part_words[at + 6u] = bitcast<u32>(m.m2);
    part_words[at + 7u] = bitcast<u32>(m.absolute);
    part_words[at + 8u] = bitcast<u32>(m.squares);
}

@compute @workgroup_size(256)
fn partial(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * p.steps + lane;
    let all = of_all_lanes(lane, moments_of(first, first + LANES * p.steps, LANES));
    if lane == 0u { write_part(group.x, all); }
}

@compute @workgroup_size(64)
fn partial_walk(@builtin(global_invocation_id) id: vec3u) {
    if id.x < walkers() { write_part(id.x, moments_of(id.x, p.count, walkers())); }
}

fn part_value(part: u32, i: u32) -> f32 { return bitcast<f32>(part_words[part * WORDS + 3u + i]); }

fn part_moments(part: u32) -> Moments {
    let at = part * WORDS;
    return Moments(
        part_words[at], part_words[at + 1u], part_words[at + 2u],
        part_value(part, 0u), part_value(part, 1u), part_value(part, 2u),
        part_value(part, 3u), part_value(part, 4u), part_value(part, 5u),
    );
}

fn write_totals(m: Moments) {
    counts[0] = m.finite;
    counts[1] = m.odd;
    counts[2] = m.zeros;
    counts[3] = 0u;
    values[0] = m.low;
    values[1] = m.high;
    values[2] = m.mean;
    values[3] = m.m2;
    values[4] = m.absolute;
    values[5] = m.squares;
    values[6] = 0.0;
    values[7] = 0.0;
}

@compute @workgroup_size(256)
fn finish(@builtin(local_invocation_index) lane: u32) {
    var own = no_moments();
    for (var part = lane; part < parts(); part += LANES) { own = merged(own, part_moments(part)); }
    let all = of_all_lanes(lane, own);
    if lane == 0u { write_totals(all); }
}

@compute @workgroup_size(1)
fn finish_walk() {
    var all = no_moments();
    for (var part = 0u; part < walkers(); part++) { all = merged(all, part_moments(part)); }
    write_totals(all);
}

// ---- change: sums of (after - before)² and before², for the ratio of the update's norm to the weights' norm; in the
// same two passes ----
@group(0) @binding(1) var<storage, read> change_before: array<f32>;
@group(0) @binding(2) var<storage, read> change_after: array<f32>;
@group(0) @binding(3) var<storage, read_write> change_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> change_parts: array<f32>;

var<workgroup> lane_sums: array<vec2f, LANES>;

fn sum_of_all_lanes(lane: u32, own: vec2f) -> vec2f {
    var sum = own;
    lane_sums[lane] = sum;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sum += lane_sums[lane + width];
            lane_sums[lane] = sum;
        }
    }
    return sum;
}

fn sums_of(first: u32, end: u32, stride: u32) -> vec2f {
    var sums = vec2f();
    for (var i = first; i < min(p.count, end); i += stride) {
        let before = change_before[i];
        let d = change_after[i] - before;
        sums += vec2f(d * d, before * before);
    }
    return sums;
}

fn write_sums(part: u32, sums: vec2f) {
    change_parts[part * 2u] = sums.x;
    change_parts[part * 2u + 1u] = sums.y;
}

@compute @workgroup_size(256)
fn change(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * p.steps + lane;
    let all = sum_of_all_lanes(lane, sums_of(first, first + LANES * p.steps, LANES));
    if lane == 0u { write_sums(group.x, all); }
}

@compute @workgroup_size(64)
fn change_walk(@builtin(global_invocation_id) id: vec3u) {
    if id.x < walkers() { write_sums(id.x, sums_of(id.x, p.count, walkers())); }
}

// The sums of the parts first, first + stride, ... before end.
fn sums_of_parts(first: u32, end: u32, stride: u32) -> vec2f {
    var sums = vec2f();
    for (var part = first; part < end; part += stride) {
        sums += vec2f(change_parts[part * 2u], change_parts[part * 2u + 1u]);
    }
    return sums;
}

fn write_total(sums: vec2f) {
    change_out[0] = sums.x;
    change_out[1] = sums.y;
}

@compute @workgroup_size(256)
fn change_total(@builtin(local_invocation_index) lane: u32) {
    let all = sum_of_all_lanes(lane, sums_of_parts(lane, parts(), LANES));
    if lane == 0u { write_total(all); }
}

@compute @workgroup_size(1)
fn change_total_walk() { write_total(sums_of_parts(0u, walkers(), 1u)); }

// ---- dead: 1 for each channel that is not positive for any valid example at any position, otherwise 0. A workgroup
// takes a tile of at most 32 channels in a chunk of rows, and writes a word with a bit for each channel that is alive;
// a workgroup of `dead_total` merges a tile's words ----
@group(0) @binding(1) var<storage, read> dead_header: Header;
@group(0) @binding(2) var<storage, read> dead_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> dead_flags: array<u32>;
@group(0) @binding(4) var<storage, read_write> alive_words: array<u32>;

fn tiles() -> u32 { return (p.channels + 31u) / 32u; }

// The channels of a tile. The last one may have fewer.
fn tile_width() -> u32 { return (p.channels + tiles() - 1u) / tiles(); }

fn chunk_rows() -> u32 { return LANES / tile_width() * p.steps; }

fn chunks() -> u32 {
    let rows = p.count / p.channels;
    return (rows + chunk_rows() - 1u) / chunk_rows();
}

// By its bits, because a NaN is not positive.
fn is_positive(v: f32) -> bool { return bitcast<u32>(v) - 1u < 0x7f800000u; }

var<workgroup> lane_words: array<u32, LANES>;

fn bits_of_all_lanes(lane: u32, own: u32) -> u32 {
    lane_words[lane] = own;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width { lane_words[lane] |= lane_words[lane + width]; }
    }
    workgroupBarrier();
    return lane_words[0];
}

@compute @workgroup_size(256)
fn dead(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = index_of(group, groups, 0u, 1u);
    let chunk = at / tiles();
    let width = tile_width();
    let height = LANES / width;
    let row_lane = lane / width;
    let bit = lane - row_lane * width;
    let c = (at - chunk * tiles()) * width + bit;
    let rows = min(p.count, dead_header.valid * p.per_example) / p.channels;
    var own = 0u;
    if row_lane < height && c < p.channels && chunk < chunks() {
        let first = chunk * chunk_rows() + row_lane;
        let end = min(rows, first + chunk_rows());
        for (var row = first; row < end; row += height) {
            if is_positive(dead_y[row * p.channels + c]) {
                own = 1u << bit;
                break;
            }
        }
    }
    let word = bits_of_all_lanes(lane, own);
    if lane == 0u && chunk < chunks() { alive_words[at] = word; }
}

@compute @workgroup_size(256)
fn dead_total(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = index_of(group, groups, 0u, 1u);
    var own = 0u;
    if tile < tiles() {
        for (var chunk = lane; chunk < chunks(); chunk += LANES) { own |= alive_words[chunk * tiles() + tile]; }
    }
    let word = bits_of_all_lanes(lane, own);
    let c = tile * tile_width() + lane;
    if lane < tile_width() && c < p.channels { dead_flags[c] = 1u - ((word >> lane) & 1u); }
}

@compute @workgroup_size(64)
fn dead_walk(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = index_of(group, groups, lane, 64u);
    if c >= p.channels { return; }
    let end = min(p.count, dead_header.valid * p.per_example);
    var flag = 1u;
    for (var i = c; i < end; i += p.channels) {
        if is_positive(dead_y[i]) {
            flag = 0u;
            break;
        }
    }
    dead_flags[c] = flag;
}
