// The inputs of fc.wgsl as textures, for software adapters.

// ---- forward_vec4 ----
@group(0) @binding(1) var forward_x4: texture_2d<f32>;
@group(0) @binding(2) var forward_weight4: texture_2d<f32>;
@group(0) @binding(3) var forward_bias4: texture_2d<f32>;
fn load_x(i: u32) -> vec4f { return textureLoad(forward_x4, texel(i), 0); }
fn load_weight(i: u32) -> vec4f { return textureLoad(forward_weight4, texel(i), 0); }
fn load_bias(i: u32) -> vec4f { return textureLoad(forward_bias4, texel(i), 0); }

// ---- backward_input_vec4 ----
@group(0) @binding(1) var input_dy4: texture_2d<f32>;
@group(0) @binding(2) var input_weight4: texture_2d<f32>;
fn load_dy(i: u32) -> vec4f { return textureLoad(input_dy4, texel(i), 0); }
fn load_row(i: u32) -> vec4f { return textureLoad(input_weight4, texel(i), 0); }

// ---- backward_weight_vec4 ----
@group(0) @binding(1) var weight_x4: texture_2d<f32>;
@group(0) @binding(2) var weight_dy4: texture_2d<f32>;
fn load_inputs(i: u32) -> vec4f { return textureLoad(weight_x4, texel(i), 0); }
fn load_gradient(i: u32) -> vec4f { return textureLoad(weight_dy4, texel(i), 0); }
