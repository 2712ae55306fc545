// The inputs of probe.wgsl as buffers.

@group(0) @binding(1) var<storage, read> copy_x: array<vec4f>;
fn load_copy_x(i: u32) -> vec4f { return copy_x[i]; }
