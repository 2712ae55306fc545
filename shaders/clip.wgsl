// Clipping by the norm of a gradient: first the norms of its parts, in scratch, then the factor for the gradient.

struct Params { count: u32, lanes: u32, largest: f32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// A sum of squares in two parts: of values up to 2^40, and of the larger ones multiplied by 2^-80. Neither can
// overflow: finite values are below 2^128, and 2^24 squares of 2^48 are far below the largest f32.
struct Squares { small: f32, large: f32 }

const LARGE: f32 = 0x1p40;
const SHRUNK: f32 = 0x1p-80;
const GROWN: f32 = 0x1p80;

fn with_square(sum: Squares, value: f32) -> Squares {
    // A NaN is not above LARGE, and stays in the small part.
    if abs(value) > LARGE {
        let shrunk = value * SHRUNK;
        return Squares(sum.small, sum.large + shrunk * shrunk);
    }
    return Squares(sum.small + value * value, sum.large);
}

// 2^-80 times the norm.
fn shrunk_norm(sum: Squares) -> f32 {
    return length(vec2(sqrt(sum.large), sqrt(sum.small) * SHRUNK));
}

fn norm_of(sum: Squares) -> f32 {
    // Without large values the result keeps its full precision.
    if sum.large > 0.0 { return shrunk_norm(sum) * GROWN; }
    return sqrt(sum.small);
}

// ---- norms: lane l has the values at l, l + lanes, l + 2*lanes, ... ----
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
@group(0) @binding(3) var<storage, read_write> lane_norms: array<f32>;

@compute @workgroup_size(64)
fn norms(@builtin(global_invocation_id) id: vec3u) {
    let lane = id.x;
    if lane >= p.lanes { return; }
    var sum = Squares(0.0, 0.0);
    for (var i = lane; i < p.count; i += p.lanes) {
        sum = with_square(sum, gradient[i]);
    }
    lane_norms[lane] = norm_of(sum);
}

// ---- scale: [0] = min(1, largest / (norm + 1e-6)), [1] = norm ----
var<workgroup> small: array<f32, 64>;
var<workgroup> large: array<f32, 64>;

@compute @workgroup_size(64)
fn scale(@builtin(local_invocation_index) lane: u32) {
    var sum = Squares(0.0, 0.0);
    for (var i = lane; i < p.lanes; i += 64u) {
        sum = with_square(sum, lane_norms[i]);
    }
    small[lane] = sum.small;
    large[lane] = sum.large;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            small[lane] += small[lane + width];
            large[lane] += large[lane + width];
        }
    }
    workgroupBarrier();
    if lane == 0u {
        let all = Squares(small[0], large[0]);
        // The norm itself may exceed f32; the norm multiplied by 2^-80 cannot.
        var factor = p.largest / (norm_of(all) + 1e-6);
        if all.large > 0.0 { factor = p.largest / shrunk_norm(all) * SHRUNK; }
        // Written so that a NaN is preserved.
        result[0] = select(factor, 1.0, factor > 1.0);
        result[1] = norm_of(all);
    }
}
