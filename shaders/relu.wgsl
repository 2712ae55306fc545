// Rectified linear unit: y = max(x, 0), elementwise over any shape; a NaN passes through, so that it is visible.
// Compares bits, because a driver may assume that no float is a NaN.

struct Params { count: u32, reserved0: u32, reserved1: u32, reserved2: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// ---- forward ----
@group(0) @binding(2) var<storage, read_write> y: array<Real>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / LANES { return; }
    let x = load_x(i);
    // Below zero or -0, and not a NaN.
    let negative = bitcast<Word>(x) - Word(0x80000000u) <= Word(0x7f800000u);
    y[i] = select(x, Real(0.0), negative);
}

// ---- backward: dx = dy if y > 0, otherwise 0; only the output is needed, not the input ----
@group(0) @binding(3) var<storage, read_write> dx: array<Real>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / LANES { return; }
    // Above zero, and not a NaN.
    let positive = bitcast<Word>(load_output(i)) - Word(1u) < Word(0x7f800000u);
    dx[i] = select(Real(0.0), load_dy(i), positive);
}
