// The sum of two tensors, elementwise over any shape.

struct Params { count: u32, reserved0: u32, reserved1: u32, reserved2: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// Whether inputs are read from textures, which hold them row by row, 8,192 texels in each.
override TEXTURES: bool = false;

fn texel(i: u32) -> vec2u { return vec2u(i & 8191u, i >> 13u); }

@group(0) @binding(1) var<storage, read> add_a: array<f32>;
@group(0) @binding(2) var<storage, read> add_b: array<f32>;
@group(0) @binding(3) var<storage, read_write> add_sum: array<f32>;

@compute @workgroup_size(64)
fn add(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    add_sum[i] = add_a[i] + add_b[i];
}

// ---- add_vec4: the same for a count that is a multiple of 4, read as vectors ----
@group(0) @binding(1) var<storage, read> add_a4: array<vec4f>;
@group(0) @binding(2) var<storage, read> add_b4: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> add_sum4: array<vec4f>;
@group(0) @binding(4) var add_a4_texture: texture_2d<f32>;
@group(0) @binding(5) var add_b4_texture: texture_2d<f32>;

fn load_a(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(add_a4_texture, texel(i), 0); }
    return add_a4[i];
}

fn load_b(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(add_b4_texture, texel(i), 0); }
    return add_b4[i];
}

@compute @workgroup_size(64)
fn add_vec4(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count / 4u { return; }
    add_sum4[i] = load_a(i) + load_b(i);
}
