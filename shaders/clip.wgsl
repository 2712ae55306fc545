// Clipping by the norm of a gradient: first the sums of its parts' squares, in scratch, then the factor for the
// gradient. Both passes add by trees of fixed order over 256 lanes.

struct Params { count: u32, steps: u32, largest: f32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;

const LANES = 256u;

// A sum of squares in two parts: of values up to 2^40, and of the larger ones multiplied by 2^-80. Neither can
// overflow: finite values are below 2^128, and 2^31 squares of 2^48 are at most half of the largest f32.
struct Squares { small: f32, large: f32 }

const LARGE: f32 = 0x1p40;
const SHRUNK: f32 = 0x1p-80;
const GROWN: f32 = 0x1p80;

// Values are compared by their bits, because a driver may assume that there is no NaN. A NaN is large, and visible.
fn with_square(sum: Squares, value: f32) -> Squares {
    if (bitcast<u32>(value) & 0x7fffffffu) > bitcast<u32>(LARGE) {
        let shrunk = value * SHRUNK;
        return Squares(sum.small, sum.large + shrunk * shrunk);
    }
    return Squares(sum.small + value * value, sum.large);
}

fn has_large(sum: Squares) -> bool { return bitcast<u32>(sum.large) != 0u; }

// 2^-80 times the norm.
fn shrunk_norm(sum: Squares) -> f32 {
    return length(vec2(sqrt(sum.large), sqrt(sum.small) * SHRUNK));
}

fn norm_of(sum: Squares) -> f32 {
    // Without large values the result keeps its full precision.
    if has_large(sum) { return shrunk_norm(sum) * GROWN; }
    return sqrt(sum.small);
}

var<workgroup> lane_squares: array<Squares, LANES>;

// The sums of all lanes, in lane 0.
fn of_all_lanes(lane: u32, own: Squares) -> Squares {
    var all = own;
    lane_squares[lane] = all;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = lane_squares[lane + width];
            all = Squares(all.small + other.small, all.large + other.large);
            lane_squares[lane] = all;
        }
    }
    return all;
}

// ---- squares: a workgroup takes 256 * p.steps adjacent values ----
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;

@compute @workgroup_size(256)
fn squares(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * LANES * p.steps + lane;
    let end = min(p.count, first + LANES * p.steps);
    var own = Squares(0.0, 0.0);
    for (var i = first; i < end; i += LANES) { own = with_square(own, gradient[i]); }
    let all = of_all_lanes(lane, own);
    if lane > 0u { return; }
    parts[2u * group.x] = all.small;
    parts[2u * group.x + 1u] = all.large;
}

// ---- scale: [0] = min(1, largest / (norm + 1e-6)), [1] = norm ----
@compute @workgroup_size(256)
fn scale(@builtin(local_invocation_index) lane: u32) {
    let span = LANES * p.steps;
    var own = Squares(0.0, 0.0);
    for (var part = lane; part < (p.count + span - 1u) / span; part += LANES) {
        own = Squares(own.small + parts[2u * part], own.large + parts[2u * part + 1u]);
    }
    let all = of_all_lanes(lane, own);
    if lane > 0u { return; }
    // The norm itself may exceed f32; the norm multiplied by 2^-80 cannot.
    var factor = p.largest / (norm_of(all) + 1e-6);
    if has_large(all) { factor = p.largest / shrunk_norm(all) * SHRUNK; }
    // Above 1 up to infinity, not a NaN.
    let bits = bitcast<u32>(factor);
    result[0] = select(factor, 1.0, bits > bitcast<u32>(1.0f) && bits <= 0x7f800000u);
    result[1] = norm_of(all);
}
