// Activations, elementwise over any shape. The backward pass computes the derivative from the output. A NaN passes
// through, except an output of the leaky ReLU, which only determines whether the gradient is multiplied by the slope.

struct Params { count: u32, slope: f32, reserved0: u32, reserved1: u32 }

// The function.
override FUNCTION: u32 = 0u;
const LEAKY_RELU = 0u;
const SIGMOID = 1u;
const TANH = 2u;

@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// 1 if the value is positive, otherwise the slope, also for a NaN. Compares bits, because a driver may assume that no
// float is a NaN.
fn leak(value: f32) -> f32 {
    return select(p.slope, 1.0, bitcast<u32>(value) - 1u < 0x7f800000u);
}

// Computed with exp, because the built-in tanh may overflow internally. Near 0 the rounding error of 1, 6e-8, would be
// large in relation to x, so a series is used there: x - x³/3 + 2x⁵/15 - 17x⁷/315, with a relative error of 2e-10 at
// 0.1.
fn hyperbolic_tangent(v: f32) -> f32 {
    let s = v * v;
    let series = v * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 - s * (17.0 / 315.0))));
    return select(1.0 - 2.0 / (exp(2.0 * v) + 1.0), series, abs(v) < 0.1);
}

fn value(v: f32) -> f32 {
    switch FUNCTION {
        case LEAKY_RELU: { return v * leak(v); }
        case SIGMOID: { return 1.0 / (1.0 + exp(-v)); }
        case TANH: { return hyperbolic_tangent(v); }
        default: { return 0.0; }
    }
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    let v = x[i];
    // The exp of some devices loses a NaN.
    y[i] = select(value(v), v, (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u);
}

// ---- backward: dx = dy * derivative ----
@group(0) @binding(1) var<storage, read> point: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// From the output.
fn derivative(v: f32) -> f32 {
    switch FUNCTION {
        case LEAKY_RELU: { return leak(v); }
        case SIGMOID: { return v * (1.0 - v); }
        case TANH: { return 1.0 - v * v; }
        default: { return 0.0; }
    }
}

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    dx[i] = dy[i] * derivative(point[i]);
}
