// The inputs of conv_blocked.wgsl as textures, for software adapters.

// ---- forward ----
@group(0) @binding(1) var forward_x: texture_2d<f32>;
@group(0) @binding(2) var forward_weight: texture_2d<f32>;
@group(0) @binding(3) var forward_bias: texture_2d<f32>;
fn forward_x_at(i: u32) -> vec4f { return textureLoad(forward_x, texel(i), 0); }
fn load_weight(i: u32) -> vec4f { return textureLoad(forward_weight, texel(i), 0); }
fn load_bias(i: u32) -> vec4f { return textureLoad(forward_bias, texel(i), 0); }

// ---- forward_narrow and backward_weight_narrow ----
@group(0) @binding(1) var narrow_x: texture_2d<f32>;
fn narrow_x_at(i: u32) -> f32 { return textureLoad(narrow_x, texel(i), 0).x; }

// ---- backward_input ----
@group(0) @binding(1) var input_dy: texture_2d<f32>;
@group(0) @binding(2) var input_weight: texture_2d<f32>;
fn input_dy_at(i: u32) -> vec4f { return textureLoad(input_dy, texel(i), 0); }
fn load_input_weight(i: u32) -> vec4f { return textureLoad(input_weight, texel(i), 0); }

// ---- backward_weight and backward_weight_narrow ----
@group(0) @binding(1) var weight_x: texture_2d<f32>;
@group(0) @binding(2) var weight_dy: texture_2d<f32>;
fn weight_x_at(i: u32) -> vec4f { return textureLoad(weight_x, texel(i), 0); }
fn load_gradient(i: u32) -> vec4f { return textureLoad(weight_dy, texel(i), 0); }
