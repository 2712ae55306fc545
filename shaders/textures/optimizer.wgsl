// The inputs of optimizer.wgsl as textures, for software adapters.

// ---- stateless and stateful ----
@group(0) @binding(3) var w_in: texture_2d<f32>;
@group(0) @binding(4) var gradient: texture_2d<f32>;
fn load_w(i: u32) -> vec4f { return textureLoad(w_in, texel(i), 0); }
fn load_gradient(i: u32) -> vec4f { return textureLoad(gradient, texel(i), 0); }

// ---- stateful ----
@group(0) @binding(6) var state: texture_2d<f32>;
fn load_state(i: u32) -> vec4f { return textureLoad(state, texel(i), 0); }
