// Fully connected layer: x [N,K], weight [K,O], bias [O], y [N,O]. K counts the inputs, O the outputs.
// Register blocks without barriers, as in conv.wgsl.

struct Params { n: u32, k: u32, o: u32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// ---- forward: y = x * weight + bias; 4 examples x 1 output an invocation, neighbours in O side by side ----
@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read> forward_weight: array<f32>;
@group(0) @binding(3) var<storage, read> forward_bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> forward_y: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let o = group.x * 64u + lane;
    if o >= p.o { return; }
    let n = group.y * 4u;
    let row = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.n - 1u)) * p.k;
    var sum = vec4f(forward_bias[o]);
    for (var k = 0u; k < p.k; k++) {
        let x = vec4f(forward_x[row.x + k], forward_x[row.y + k], forward_x[row.z + k], forward_x[row.w + k]);
        sum = fma(x, vec4f(forward_weight[k * p.o + o]), sum);
    }
    forward_y[n * p.o + o] = sum.x;
    if n + 1u < p.n { forward_y[(n + 1u) * p.o + o] = sum.y; }
    if n + 2u < p.n { forward_y[(n + 2u) * p.o + o] = sum.z; }
    if n + 3u < p.n { forward_y[(n + 3u) * p.o + o] = sum.w; }
}

// ---- backward_input: dx = dy * weightᵀ; 4 examples x 1 input an invocation ----
@group(0) @binding(1) var<storage, read> input_dy: array<f32>;
@group(0) @binding(2) var<storage, read> input_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_dx: array<f32>;

@compute @workgroup_size(64)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    if k >= p.k { return; }
    let n = group.y * 4u;
    let row = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.n - 1u)) * p.o;
    var sum = vec4f(0.0);
    for (var o = 0u; o < p.o; o++) {
        let dy = vec4f(input_dy[row.x + o], input_dy[row.y + o], input_dy[row.z + o], input_dy[row.w + o]);
        sum = fma(dy, vec4f(input_weight[k * p.o + o]), sum);
    }
    input_dx[n * p.k + k] = sum.x;
    if n + 1u < p.n { input_dx[(n + 1u) * p.k + k] = sum.y; }
    if n + 2u < p.n { input_dx[(n + 2u) * p.k + k] = sum.z; }
    if n + 3u < p.n { input_dx[(n + 3u) * p.k + k] = sum.w; }
}

// ---- backward_weight: dweight = xᵀ * dy, dbias = column sums of dy (row K, where x counts as 1); 1 x 4 ----
@group(0) @binding(1) var<storage, read> weight_x: array<f32>;
@group(0) @binding(2) var<storage, read> weight_dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_dweight: array<f32>;
@group(0) @binding(4) var<storage, read_write> weight_dbias: array<f32>;

@compute @workgroup_size(64)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    if k > p.k { return; }
    let column = group.y * 4u;
    let o = min(vec4u(column) + vec4u(0u, 1u, 2u, 3u), vec4u(p.o - 1u));
    let is_bias = k == p.k;
    let inside = min(k, p.k - 1u);
    var sum = vec4f(0.0);
    for (var n = 0u; n < p.n; n++) {
        let x = select(weight_x[n * p.k + inside], 1.0, is_bias);
        let at = n * p.o;
        sum = fma(vec4f(x), vec4f(weight_dy[at + o.x], weight_dy[at + o.y], weight_dy[at + o.z], weight_dy[at + o.w]), sum);
    }
    for (var i = 0u; i < min(4u, p.o - column); i++) {
        if is_bias {
            weight_dbias[column + i] = sum[i];
        } else {
            weight_dweight[k * p.o + column + i] = sum[i];
        }
    }
}
