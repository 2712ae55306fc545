// The sum of two tensors, elementwise over any shape.

struct Params { count: u32, reserved0: u32, reserved1: u32, reserved2: u32 }

@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> a: array<Real>;
@group(0) @binding(2) var<storage, read> b: array<Real>;
@group(0) @binding(3) var<storage, read_write> sum: array<Real>;
@group(0) @binding(4) var a_texture: texture_2d<f32>;
@group(0) @binding(5) var b_texture: texture_2d<f32>;

fn load_a(i: u32) -> Real {
    if TEXTURES { return real_of(textureLoad(a_texture, texel(i), 0)); }
    return a[i];
}

fn load_b(i: u32) -> Real {
    if TEXTURES { return real_of(textureLoad(b_texture, texel(i), 0)); }
    return b[i];
}

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
