// The inputs of relu.wgsl as textures, for software adapters.

// ---- forward ----
@group(0) @binding(1) var x: texture_2d<f32>;
fn load_x(i: u32) -> Real { return real_of(textureLoad(x, texel(i), 0)); }

// ---- backward ----
@group(0) @binding(1) var output: texture_2d<f32>;
@group(0) @binding(2) var dy: texture_2d<f32>;
fn load_output(i: u32) -> Real { return real_of(textureLoad(output, texel(i), 0)); }
fn load_dy(i: u32) -> Real { return real_of(textureLoad(dy, texel(i), 0)); }
