// The inputs of fc.wgsl as buffers.

// ---- forward_vec4 ----
@group(0) @binding(1) var<storage, read> forward_x4: array<vec4f>;
@group(0) @binding(2) var<storage, read> forward_weight4: array<vec4f>;
@group(0) @binding(3) var<storage, read> forward_bias4: array<vec4f>;
fn load_x(i: u32) -> vec4f { return forward_x4[i]; }
fn load_weight(i: u32) -> vec4f { return forward_weight4[i]; }
fn load_bias(i: u32) -> vec4f { return forward_bias4[i]; }

// ---- backward_input_vec4 ----
@group(0) @binding(1) var<storage, read> input_dy4: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_weight4: array<vec4f>;
fn load_dy(i: u32) -> vec4f { return input_dy4[i]; }
fn load_row(i: u32) -> vec4f { return input_weight4[i]; }

// ---- backward_weight_vec4 ----
@group(0) @binding(1) var<storage, read> weight_x4: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_dy4: array<vec4f>;
fn load_inputs(i: u32) -> vec4f { return weight_x4[i]; }
fn load_gradient(i: u32) -> vec4f { return weight_dy4[i]; }
