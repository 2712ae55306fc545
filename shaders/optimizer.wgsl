// One optimiser step over the flat buffer of all parameters; w' and the state' are written, w and state are read.
//
// decay holds (l1, l2) for each block of 64 parameters: tensors start on block borders, so weights decay and biases do
// not. The effective gradient is g + l2*w + l1*sign(w). Two-slot state is [2, count]. header: 4 = learning rate,
// 5 and 6 = Adam's 1-beta1^t and 1-beta2^t, all as f32 bits. The rules are those of kernels/optimizer.rs.

struct Params { count: u32, a: f32, b: f32, epsilon: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: array<u32>;
@group(0) @binding(2) var<storage, read> decay: array<vec2f>;
@group(0) @binding(3) var<storage, read> w_in: array<f32>;
@group(0) @binding(4) var<storage, read> gradient: array<f32>;

fn effective_gradient(i: u32, w: f32) -> f32 {
    let l = decay[i / 64u];
    return gradient[i] + l.y * w + l.x * sign(w);
}

fn learning_rate() -> f32 {
    return bitcast<f32>(header[4]);
}

// ---- sgd: w' = w - lr*g ----
@group(0) @binding(5) var<storage, read_write> sgd_w: array<f32>;

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let w = w_in[i];
    sgd_w[i] = w - learning_rate() * effective_gradient(i, w);
}

@group(0) @binding(5) var<storage, read> state: array<f32>;
@group(0) @binding(6) var<storage, read_write> w_out: array<f32>;
@group(0) @binding(7) var<storage, read_write> state_out: array<f32>;

// ---- momentum: v' = momentum*v - lr*g; w' = w + v' ----
@compute @workgroup_size(64)
fn momentum(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let w = w_in[i];
    let v = p.a * state[i] - learning_rate() * effective_gradient(i, w);
    state_out[i] = v;
    w_out[i] = w + v;
}

// ---- adadelta: s' = rho*s + (1-rho)g²; d = -lr*sqrt((u+eps)/(s'+eps))*g; u' = rho*u + (1-rho)(d/lr)²; w' = w + d ----
@compute @workgroup_size(64)
fn adadelta(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let w = w_in[i];
    let g = effective_gradient(i, w);
    let s = p.a * state[i] + (1.0 - p.a) * g * g;
    let u = state[p.count + i];
    let d = sqrt((u + p.epsilon) / (s + p.epsilon)) * g;
    state_out[i] = s;
    state_out[p.count + i] = p.a * u + (1.0 - p.a) * d * d;
    w_out[i] = w - learning_rate() * d;
}

// ---- adam: m' = b1*m + (1-b1)g; v' = b2*v + (1-b2)g²; w' = w - lr * (m'/c1) / (sqrt(v'/c2) + eps) ----
@compute @workgroup_size(64)
fn adam(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let w = w_in[i];
    let g = effective_gradient(i, w);
    let m = p.a * state[i] + (1.0 - p.a) * g;
    let v = p.b * state[p.count + i] + (1.0 - p.b) * g * g;
    state_out[i] = m;
    state_out[p.count + i] = v;
    let corrected = sqrt(v / bitcast<f32>(header[6])) + p.epsilon;
    w_out[i] = w - learning_rate() * (m / bitcast<f32>(header[5])) / corrected;
}
