// Fully connected layer: x [N,K], weight [K,O], bias [O], y [N,O] for K inputs and O outputs. K and O are multiples of
// LANES, and rows of x, weight and y are read and written LANES values at a time. Invocations keep blocks of results in
// registers, without barriers.

struct Params { n: u32, k: u32, o: u32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;

// Four examples from n on; after the last example, the last one again.
fn examples(n: u32) -> vec4u { return min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.n - 1u)); }

// ---- forward: y = x * weight + bias; an invocation computes 4 examples x LANES outputs, and the next one the next
// outputs. With vectors there are few invocations with much work each, so their workgroups are small ----
@group(0) @binding(4) var<storage, read_write> forward_y: array<Real>;

@compute @workgroup_size(64u / LANES)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let o = group.x * (64u / LANES) + lane;
    let columns = p.o / LANES;
    let inputs = p.k / LANES;
    if o >= columns { return; }
    let n = group.y * 4u;
    let row = examples(n) * inputs;
    var s0 = load_bias(o); var s1 = s0; var s2 = s0; var s3 = s0;
    for (var k = 0u; k < inputs; k++) {
        let x0 = load_x(row.x + k); let x1 = load_x(row.y + k);
        let x2 = load_x(row.z + k); let x3 = load_x(row.w + k);
        let at = k * LANES * columns + o;
        for (var j = 0u; j < LANES; j++) {
            let w = load_weight(at + j * columns);
            s0 += lane_of(x0, j) * w;
            s1 += lane_of(x1, j) * w;
            s2 += lane_of(x2, j) * w;
            s3 += lane_of(x3, j) * w;
        }
    }
    let at = n * columns + o;
    forward_y[at] = s0;
    if n + 1u < p.n { forward_y[at + columns] = s1; }
    if n + 2u < p.n { forward_y[at + 2u * columns] = s2; }
    if n + 3u < p.n { forward_y[at + 3u * columns] = s3; }
}

// ---- backward_input: dx = dy * weightᵀ; an invocation computes 4 examples x LANES inputs ----
@group(0) @binding(3) var<storage, read_write> input_dx: array<Real>;

@compute @workgroup_size(64)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    let columns = p.o / LANES;
    let inputs = p.k / LANES;
    if k >= inputs { return; }
    let n = group.y * 4u;
    let row = examples(n) * columns;
    var s0: array<f32, LANES>; var s1: array<f32, LANES>; var s2: array<f32, LANES>; var s3: array<f32, LANES>;
    for (var o = 0u; o < columns; o++) {
        let d0 = load_dy(row.x + o); let d1 = load_dy(row.y + o);
        let d2 = load_dy(row.z + o); let d3 = load_dy(row.w + o);
        let at = k * LANES * columns + o;
        for (var j = 0u; j < LANES; j++) {
            let w = load_row(at + j * columns);
            s0[j] += inner(d0, w);
            s1[j] += inner(d1, w);
            s2[j] += inner(d2, w);
            s3[j] += inner(d3, w);
        }
    }
    let at = n * inputs + k;
    input_dx[at] = of_lanes(s0);
    if n + 1u < p.n { input_dx[at + inputs] = of_lanes(s1); }
    if n + 2u < p.n { input_dx[at + 2u * inputs] = of_lanes(s2); }
    if n + 3u < p.n { input_dx[at + 3u * inputs] = of_lanes(s3); }
}

// ---- backward_weight: dweight = xᵀ * dy, dbias = column sums of dy; an invocation computes LANES inputs x BLOCK *
// LANES outputs. The one after the last inputs computes the bias, with x = 1 in the first lane ----
@group(0) @binding(3) var<storage, read_write> weight_dweight: array<Real>;
@group(0) @binding(4) var<storage, read_write> weight_dbias: array<Real>;

// The number of values or vectors of outputs: 4 values, or 2 vectors.
const BLOCK = 4u - LANES / 2u;

@compute @workgroup_size(64)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let k = group.x * 64u + lane;
    let columns = p.o / LANES;
    let inputs = p.k / LANES;
    if k > inputs { return; }
    let first = group.y * BLOCK;
    let is_bias = k == inputs;
    let inside = min(k, inputs - 1u);
    var sums: array<array<Real, LANES>, BLOCK>;
    for (var n = 0u; n < p.n; n++) {
        let x = select(load_inputs(n * inputs + inside), FIRST_LANE, is_bias);
        for (var b = 0u; b < BLOCK; b++) {
            let dy = load_gradient(n * columns + min(first + b, columns - 1u));
            for (var j = 0u; j < LANES; j++) { sums[b][j] += lane_of(x, j) * dy; }
        }
    }
    for (var b = 0u; b < BLOCK; b++) {
        let o = first + b;
        if o >= columns { return; }
        if is_bias {
            weight_dbias[o] = sums[b][0];
        } else {
            for (var j = 0u; j < LANES; j++) { weight_dweight[(k * LANES + j) * columns + o] = sums[b][j]; }
        }
    }
}
