// The inputs of relu.wgsl as buffers.

// ---- forward ----
@group(0) @binding(1) var<storage, read> x: array<Real>;
fn load_x(i: u32) -> Real { return x[i]; }

// ---- backward ----
@group(0) @binding(1) var<storage, read> output: array<Real>;
@group(0) @binding(2) var<storage, read> dy: array<Real>;
fn load_output(i: u32) -> Real { return output[i]; }
fn load_dy(i: u32) -> Real { return dy[i]; }
