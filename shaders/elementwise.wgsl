// The sum of two tensors, elementwise over any shape.

struct Params { count: u32, reserved0: u32, reserved1: u32, reserved2: u32 }

@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(3) var<storage, read_write> sum: array<Real>;

@compute @workgroup_size(64)
fn add(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / LANES { return; }
    sum[i] = load_a(i) + load_b(i);
}
