// The inputs of conv_blocked.wgsl as buffers.

// ---- forward ----
@group(0) @binding(1) var<storage, read> forward_x: array<vec4f>;
@group(0) @binding(2) var<storage, read> forward_weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> forward_bias: array<vec4f>;
fn forward_x_at(i: u32) -> vec4f { return forward_x[i]; }
fn load_weight(i: u32) -> vec4f { return forward_weight[i]; }
fn load_bias(i: u32) -> vec4f { return forward_bias[i]; }

// ---- forward_narrow and backward_weight_narrow ----
@group(0) @binding(1) var<storage, read> narrow_x: array<f32>;
fn narrow_x_at(i: u32) -> f32 { return narrow_x[i]; }

// ---- backward_input ----
@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_weight: array<vec4f>;
fn input_dy_at(i: u32) -> vec4f { return input_dy[i]; }
fn load_input_weight(i: u32) -> vec4f { return input_weight[i]; }

// ---- backward_weight and backward_weight_narrow ----
@group(0) @binding(1) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_dy: array<vec4f>;
fn weight_x_at(i: u32) -> vec4f { return weight_x[i]; }
fn load_gradient(i: u32) -> vec4f { return weight_dy[i]; }
