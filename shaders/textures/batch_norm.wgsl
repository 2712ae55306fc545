// The inputs of batch_norm.wgsl as textures, for software adapters.

// ---- moments ----
@group(0) @binding(2) var moments_x: texture_2d<f32>;
fn load_moments_x(i: u32) -> Real { return real_of(textureLoad(moments_x, texel(i), 0)); }

// ---- forward ----
@group(0) @binding(1) var forward_x: texture_2d<f32>;
fn load_forward_x(i: u32) -> Real { return real_of(textureLoad(forward_x, texel(i), 0)); }

// ---- sums ----
@group(0) @binding(2) var sums_x: texture_2d<f32>;
@group(0) @binding(3) var sums_dy: texture_2d<f32>;
fn load_sums_x(i: u32) -> Real { return real_of(textureLoad(sums_x, texel(i), 0)); }
fn load_sums_dy(i: u32) -> Real { return real_of(textureLoad(sums_dy, texel(i), 0)); }

// ---- backward_input ----
@group(0) @binding(2) var input_x: texture_2d<f32>;
@group(0) @binding(3) var input_dy: texture_2d<f32>;
fn load_input_x(i: u32) -> Real { return real_of(textureLoad(input_x, texel(i), 0)); }
fn load_input_dy(i: u32) -> Real { return real_of(textureLoad(input_dy, texel(i), 0)); }
