// The inputs of batch_norm.wgsl as buffers.

// ---- moments ----
@group(0) @binding(2) var<storage, read> moments_x: array<Real>;
fn load_moments_x(i: u32) -> Real { return moments_x[i]; }

// ---- forward ----
@group(0) @binding(1) var<storage, read> forward_x: array<Real>;
fn load_forward_x(i: u32) -> Real { return forward_x[i]; }

// ---- sums ----
@group(0) @binding(2) var<storage, read> sums_x: array<Real>;
@group(0) @binding(3) var<storage, read> sums_dy: array<Real>;
fn load_sums_x(i: u32) -> Real { return sums_x[i]; }
fn load_sums_dy(i: u32) -> Real { return sums_dy[i]; }

// ---- backward_input ----
@group(0) @binding(2) var<storage, read> input_x: array<Real>;
@group(0) @binding(3) var<storage, read> input_dy: array<Real>;
fn load_input_x(i: u32) -> Real { return input_x[i]; }
fn load_input_dy(i: u32) -> Real { return input_dy[i]; }
