// Rectified linear unit: y = max(x, 0), elementwise over any shape; a NaN passes through, so that it shows.
// Comparisons are of bit patterns: a driver may assume that no float is a NaN.

struct Params { count: u32, reserved0: u32, reserved1: u32, reserved2: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// Whether inputs are read from textures, which hold them row by row, 8,192 texels in each.
override TEXTURES: bool = false;

fn texel(i: u32) -> vec2u { return vec2u(i & 8191u, i >> 13u); }

@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read_write> forward_y: array<f32>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let x = forward_x[i];
    forward_y[i] = select(x, 0.0, is_negative(bitcast<u32>(x)));
}

// Below zero or -0, and no NaN.
fn is_negative(bits: u32) -> bool { return bits - 0x80000000u <= 0x7f800000u; }

// Above zero, and no NaN.
fn is_positive(bits: u32) -> bool { return bits - 1u < 0x7f800000u; }

// ---- backward: dx = dy where y > 0; the output alone tells, the input is not needed ----
@group(0) @binding(1) var<storage, read> backward_y: array<f32>;
@group(0) @binding(2) var<storage, read> backward_dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> backward_dx: array<f32>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    backward_dx[i] = select(0.0, backward_dy[i], is_positive(bitcast<u32>(backward_y[i])));
}

// ---- forward_vec4, backward_vec4: the same for a count that is a multiple of 4, read as vectors ----
@group(0) @binding(1) var<storage, read> forward_x4: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> forward_y4: array<vec4f>;
@group(0) @binding(3) var forward_x4_texture: texture_2d<f32>;

fn load_x(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(forward_x4_texture, texel(i), 0); }
    return forward_x4[i];
}

@compute @workgroup_size(64)
fn forward_vec4(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count / 4u { return; }
    let x = load_x(i);
    let negative = bitcast<vec4u>(x) - vec4u(0x80000000u) <= vec4u(0x7f800000u);
    forward_y4[i] = select(x, vec4f(0.0), negative);
}

@group(0) @binding(1) var<storage, read> backward_y4: array<vec4f>;
@group(0) @binding(2) var<storage, read> backward_dy4: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> backward_dx4: array<vec4f>;
@group(0) @binding(4) var backward_y4_texture: texture_2d<f32>;
@group(0) @binding(5) var backward_dy4_texture: texture_2d<f32>;

fn load_y(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(backward_y4_texture, texel(i), 0); }
    return backward_y4[i];
}

fn load_dy(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(backward_dy4_texture, texel(i), 0); }
    return backward_dy4[i];
}

@compute @workgroup_size(64)
fn backward_vec4(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count / 4u { return; }
    let positive = bitcast<vec4u>(load_y(i)) - vec4u(1u) < vec4u(0x7f800000u);
    backward_dx4[i] = select(vec4f(0.0), load_dy(i), positive);
}
