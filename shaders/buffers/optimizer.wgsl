// The inputs of optimizer.wgsl as buffers.

// ---- stateless and stateful ----
@group(0) @binding(3) var<storage, read> w_in: array<vec4f>;
@group(0) @binding(4) var<storage, read> gradient: array<vec4f>;
fn load_w(i: u32) -> vec4f { return w_in[i]; }
fn load_gradient(i: u32) -> vec4f { return gradient[i]; }

// ---- stateful ----
@group(0) @binding(6) var<storage, read> state: array<vec4f>;
fn load_state(i: u32) -> vec4f { return state[i]; }
