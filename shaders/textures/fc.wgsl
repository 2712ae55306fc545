// The inputs of fc.wgsl as textures, for software adapters.

// ---- forward ----
@group(0) @binding(1) var forward_x: texture_2d<f32>;
@group(0) @binding(2) var forward_weight: texture_2d<f32>;
@group(0) @binding(3) var forward_bias: texture_2d<f32>;
fn load_x(i: u32) -> Real { return real_of(textureLoad(forward_x, texel(i), 0)); }
fn load_weight(i: u32) -> Real { return real_of(textureLoad(forward_weight, texel(i), 0)); }
fn load_bias(i: u32) -> Real { return real_of(textureLoad(forward_bias, texel(i), 0)); }

// ---- backward_input ----
@group(0) @binding(1) var input_dy: texture_2d<f32>;
@group(0) @binding(2) var input_weight: texture_2d<f32>;
fn load_dy(i: u32) -> Real { return real_of(textureLoad(input_dy, texel(i), 0)); }
fn load_row(i: u32) -> Real { return real_of(textureLoad(input_weight, texel(i), 0)); }

// ---- backward_weight ----
@group(0) @binding(1) var weight_x: texture_2d<f32>;
@group(0) @binding(2) var weight_dy: texture_2d<f32>;
fn load_inputs(i: u32) -> Real { return real_of(textureLoad(weight_x, texel(i), 0)); }
fn load_gradient(i: u32) -> Real { return real_of(textureLoad(weight_dy, texel(i), 0)); }
