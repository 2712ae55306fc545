// Activations, elementwise over any shape: leaky ReLU, sigmoid, tanh. The backward kernels read the outputs. A NaN
// passes through, except an output of the leaky ReLU, which only determines whether the gradient is multiplied by the
// slope.

struct Params { count: u32, slope: f32, reserved0: u32, reserved1: u32 }

@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// 1 if the value is positive, otherwise the slope, also for a NaN. Compares bits, because a driver may assume that no
// float is a NaN.
fn leak(value: f32) -> f32 {
    return select(p.slope, 1.0, bitcast<u32>(value) - 1u < 0x7f800000u);
}

@compute @workgroup_size(64)
fn leaky_relu(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    y[i] = x[i] * leak(x[i]);
}

@compute @workgroup_size(64)
fn sigmoid(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    y[i] = 1.0 / (1.0 + exp(-x[i]));
}

// Computed with exp, because the built-in tanh may overflow internally. Near 0 the rounding error of 1, 6e-8, would be
// large in relation to x, so a series is used there: x - x³/3 + 2x⁵/15 - 17x⁷/315, with a relative error of 2e-10 at
// 0.1.
@compute @workgroup_size(64)
fn tanh_forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    let v = x[i];
    let s = v * v;
    let series = v * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 - s * (17.0 / 315.0))));
    y[i] = select(1.0 - 2.0 / (exp(2.0 * v) + 1.0), series, abs(v) < 0.1);
}

// ---- backward: dx = dy * derivative, computed from the output ----
@group(0) @binding(1) var<storage, read> output: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn leaky_relu_backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    dx[i] = dy[i] * leak(output[i]);
}

@compute @workgroup_size(64)
fn sigmoid_backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    dx[i] = dy[i] * (output[i] * (1.0 - output[i]));
}

@compute @workgroup_size(64)
fn tanh_backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    dx[i] = dy[i] * (1.0 - output[i] * output[i]);
}
