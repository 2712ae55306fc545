// The inputs of elementwise.wgsl as textures, for software adapters.

@group(0) @binding(1) var a: texture_2d<f32>;
@group(0) @binding(2) var b: texture_2d<f32>;
fn load_a(i: u32) -> Real { return real_of(textureLoad(a, texel(i), 0)); }
fn load_b(i: u32) -> Real { return real_of(textureLoad(b, texel(i), 0)); }
