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

// ---- forward_vec4, backward_input_vec4, backward_weight_vec4: the same for K and O multiples of 4, read in vec4 ----
@group(0) @binding(4) var<storage, read_write> forward_y4: array<vec4f>;

// 4 examples x 4 outputs an invocation; few of them have much work each, so workgroups are small.
@compute @workgroup_size(16)
fn forward_vec4(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let o = group.x * 16u + lane;
    let o4 = p.o / 4u;
    let k4 = p.k / 4u;
    if o >= o4 { return; }
    let n = group.y * 4u;
    let row = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.n - 1u)) * k4;
    var s0 = load_bias(o); var s1 = s0; var s2 = s0; var s3 = s0;
    for (var k = 0u; k < k4; k++) {
        let x0 = load_x(row.x + k); let x1 = load_x(row.y + k);
        let x2 = load_x(row.z + k); let x3 = load_x(row.w + k);
        let at = k * 4u * o4 + o;
        let w0 = load_weight(at); let w1 = load_weight(at + o4);
        let w2 = load_weight(at + 2u * o4); let w3 = load_weight(at + 3u * o4);
        s0 += x0.x * w0 + x0.y * w1 + x0.z * w2 + x0.w * w3;
        s1 += x1.x * w0 + x1.y * w1 + x1.z * w2 + x1.w * w3;
        s2 += x2.x * w0 + x2.y * w1 + x2.z * w2 + x2.w * w3;
        s3 += x3.x * w0 + x3.y * w1 + x3.z * w2 + x3.w * w3;
    }
    let at = n * o4 + o;
    forward_y4[at] = s0;
    if n + 1u < p.n { forward_y4[at + o4] = s1; }
    if n + 2u < p.n { forward_y4[at + 2u * o4] = s2; }
    if n + 3u < p.n { forward_y4[at + 3u * o4] = s3; }
}

@group(0) @binding(3) var<storage, read_write> input_dx4: array<vec4f>;

// 4 examples x 4 inputs an invocation.
@compute @workgroup_size(64)
fn backward_input_vec4(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    let o4 = p.o / 4u;
    let k4 = p.k / 4u;
    if k >= k4 { return; }
    let n = group.y * 4u;
    let row = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.n - 1u)) * o4;
    var s0 = vec4f(0.0); var s1 = s0; var s2 = s0; var s3 = s0;
    for (var o = 0u; o < o4; o++) {
        let d0 = load_dy(row.x + o); let d1 = load_dy(row.y + o);
        let d2 = load_dy(row.z + o); let d3 = load_dy(row.w + o);
        let at = k * 4u * o4 + o;
        let w0 = load_row(at); let w1 = load_row(at + o4);
        let w2 = load_row(at + 2u * o4); let w3 = load_row(at + 3u * o4);
        s0 += vec4f(dot(d0, w0), dot(d0, w1), dot(d0, w2), dot(d0, w3));
        s1 += vec4f(dot(d1, w0), dot(d1, w1), dot(d1, w2), dot(d1, w3));
        s2 += vec4f(dot(d2, w0), dot(d2, w1), dot(d2, w2), dot(d2, w3));
        s3 += vec4f(dot(d3, w0), dot(d3, w1), dot(d3, w2), dot(d3, w3));
    }
    let at = n * k4 + k;
    input_dx4[at] = s0;
    if n + 1u < p.n { input_dx4[at + k4] = s1; }
    if n + 2u < p.n { input_dx4[at + 2u * k4] = s2; }
    if n + 3u < p.n { input_dx4[at + 3u * k4] = s3; }
}

@group(0) @binding(3) var<storage, read_write> weight_dweight4: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> weight_dbias4: array<vec4f>;

// 4 inputs x 8 outputs an invocation; the one after the last inputs takes the bias, where x counts as (1, 0, 0, 0).
@compute @workgroup_size(64)
fn backward_weight_vec4(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    let o4 = p.o / 4u;
    let k4 = p.k / 4u;
    if k > k4 { return; }
    let lo = group.y * 2u;
    let hi = min(lo + 1u, o4 - 1u);
    let is_bias = k == k4;
    let inside = min(k, k4 - 1u);
    var l0 = vec4f(0.0); var l1 = l0; var l2 = l0; var l3 = l0;
    var h0 = l0; var h1 = l0; var h2 = l0; var h3 = l0;
    for (var n = 0u; n < p.n; n++) {
        let x = select(load_inputs(n * k4 + inside), vec4f(1.0, 0.0, 0.0, 0.0), is_bias);
        let dl = load_gradient(n * o4 + lo);
        let dh = load_gradient(n * o4 + hi);
        l0 += x.x * dl; l1 += x.y * dl; l2 += x.z * dl; l3 += x.w * dl;
        h0 += x.x * dh; h1 += x.y * dh; h2 += x.z * dh; h3 += x.w * dh;
    }
    let both = lo + 1u < o4;
    if is_bias {
        weight_dbias4[lo] = l0;
        if both { weight_dbias4[hi] = h0; }
        return;
    }
    let at = k * 4u * o4;
    weight_dweight4[at + lo] = l0;
    weight_dweight4[at + o4 + lo] = l1;
    weight_dweight4[at + 2u * o4 + lo] = l2;
    weight_dweight4[at + 3u * o4 + lo] = l3;
    if !both { return; }
    weight_dweight4[at + hi] = h0;
    weight_dweight4[at + o4 + hi] = h1;
    weight_dweight4[at + 2u * o4 + hi] = h2;
    weight_dweight4[at + 3u * o4 + hi] = h3;
}
