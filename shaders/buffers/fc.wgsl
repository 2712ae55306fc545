// The inputs of fc.wgsl as buffers.

// ---- forward ----
@group(0) @binding(1) var<storage, read> forward_x: array<Real>;
@group(0) @binding(2) var<storage, read> forward_weight: array<Real>;
@group(0) @binding(3) var<storage, read> forward_bias: array<Real>;
fn load_x(i: u32) -> Real { return forward_x[i]; }
fn load_weight(i: u32) -> Real { return forward_weight[i]; }
fn load_bias(i: u32) -> Real { return forward_bias[i]; }

// ---- backward_input ----
@group(0) @binding(1) var<storage, read> input_dy: array<Real>;
@group(0) @binding(2) var<storage, read> input_weight: array<Real>;
fn load_dy(i: u32) -> Real { return input_dy[i]; }
fn load_row(i: u32) -> Real { return input_weight[i]; }

// ---- backward_weight ----
@group(0) @binding(1) var<storage, read> weight_x: array<Real>;
@group(0) @binding(2) var<storage, read> weight_dy: array<Real>;
fn load_inputs(i: u32) -> Real { return weight_x[i]; }
fn load_gradient(i: u32) -> Real { return weight_dy[i]; }
