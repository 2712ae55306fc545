// The inputs of ema.wgsl as textures, for software adapters.

@group(0) @binding(2) var before: texture_2d<f32>;
@group(0) @binding(3) var w: texture_2d<f32>;
fn load_before(i: u32) -> vec4f { return textureLoad(before, texel(i), 0); }
fn load_w(i: u32) -> vec4f { return textureLoad(w, texel(i), 0); }
