// Maxout: the largest value of every group of adjacent values, and its place in the group. The first maximum wins; a
// NaN wins over everything, so that it is visible.

struct Params { count: u32, group: u32, reserved0: u32, reserved1: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read_write> forward_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> forward_winner: array<u32>;

// Compares bits, because a driver may assume that no float is a NaN.
fn is_nan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    var best = forward_x[i * p.group];
    var winner = 0u;
    for (var j = 1u; j < p.group; j++) {
        let v = forward_x[i * p.group + j];
        if !is_nan(best) && (v > best || is_nan(v)) {
            best = v;
            winner = j;
        }
    }
    forward_y[i] = best;
    forward_winner[i] = winner;
}

@group(0) @binding(1) var<storage, read> backward_dy: array<f32>;
@group(0) @binding(2) var<storage, read> backward_winner: array<u32>;
@group(0) @binding(3) var<storage, read_write> backward_dx: array<f32>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count * p.group { return; }
    let source = i / p.group;
    backward_dx[i] = select(0.0, backward_dy[source], backward_winner[source] == i - source * p.group);
}
