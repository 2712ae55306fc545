// The inputs of probe.wgsl as textures, for software adapters.

@group(0) @binding(1) var copy_x: texture_2d<f32>;
fn load_copy_x(i: u32) -> vec4f { return textureLoad(copy_x, texel(i), 0); }
