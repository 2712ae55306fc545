// Clipping by the norm of a gradient: sums of squares, and what the gradient is to be multiplied by.

struct Params { count: u32, lanes: u32, largest: f32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// ---- squares: lane l has the values at l, l + lanes, l + 2*lanes, ... ----
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares_sums: array<f32>;

@compute @workgroup_size(64)
fn squares(@builtin(global_invocation_id) id: vec3u) {
    let lane = id.x;
    if lane >= p.lanes { return; }
    var sum = 0.0;
    for (var i = lane; i < p.count; i += p.lanes) {
        sum += gradient[i] * gradient[i];
    }
    squares_sums[lane] = sum;
}

// ---- scale: [0] = min(1, largest / (norm + 1e-6)), [1] = norm ----
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn scale(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.lanes; i += 64u) {
        sum += sums[i];
    }
    parts[lane] = sum;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            parts[lane] += parts[lane + width];
        }
    }
    workgroupBarrier();
    if lane == 0u {
        let norm = sqrt(parts[0]);
        let factor = p.largest / (norm + 1e-6);
        // Written so that a NaN stays one.
        result[0] = select(factor, 1.0, factor > 1.0);
        result[1] = norm;
    }
}
