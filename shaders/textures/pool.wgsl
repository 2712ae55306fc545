// The inputs of pool.wgsl as textures, for software adapters.

// ---- forward ----
@group(0) @binding(1) var x: texture_2d<f32>;
fn load_x(i: u32) -> Real { return real_of(textureLoad(x, texel(i), 0)); }

// ---- backward ----
@group(0) @binding(1) var dy: texture_2d<f32>;
@group(0) @binding(2) var won: texture_2d<u32>;
fn load_dy(i: u32) -> Real { return real_of(textureLoad(dy, texel(i), 0)); }
fn load_winner(i: u32) -> Word { return word_of(textureLoad(won, texel(i), 0)); }
