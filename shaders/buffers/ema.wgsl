// The inputs of ema.wgsl as buffers.

@group(0) @binding(2) var<storage, read> before: array<vec4f>;
@group(0) @binding(3) var<storage, read> w: array<vec4f>;
fn load_before(i: u32) -> vec4f { return before[i]; }
fn load_w(i: u32) -> vec4f { return w[i]; }
