// One optimiser step over the flat buffer of all parameters; w' and the state' are written, w and state are read.
//
// factors holds (l1, l2, r, unused) for each block of 64 parameters: tensors start on block borders, so weights decay and
// biases do not, and layers learn at rates of their own. With s the first of scale, or 1, the effective gradient is
// s*g + l2*w + l1*sign(w), but for adamw, whose decay stands beside the step. sign(0) is -zero_pull. The learning rate is lr*r. Two-slot state
// is [2, count]. header: 4 = learning rate, 5 and 6 = Adam's 1-beta1^t and 1-beta2^t, all as f32 bits. The rules are those
// of kernels/optimizer.rs.
// Four parameters an invocation; the count is a multiple of 64.

struct Params {
    count: u32, a: f32, b: f32, epsilon: f32,
    scaled: u32, zero_pull: f32, rest_a: f32, rest_b: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(2) var<storage, read> factors: array<vec4f>;
@group(0) @binding(3) var<storage, read> w_in: array<vec4f>;
@group(0) @binding(4) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read> scale: array<f32>;

// The decay's part of the gradient; i counts in fours.
fn decay_gradient(i: u32, w: vec4f) -> vec4f {
    let l = factors[i / 16u];
    return l.y * w + l.x * (sign(w) - select(vec4f(), vec4f(p.zero_pull), w == vec4f()));
}

fn scaled(g: vec4f) -> vec4f {
    if p.scaled == 1u { return scale[0] * g; }
    return g;
}

fn effective_gradient(i: u32, g: vec4f, w: vec4f) -> vec4f {
    return scaled(g) + decay_gradient(i, w);
}

// keep*old + rest*value, keep + rest = 1; keep is rounded to f32, and near 1 only the rest is precise.
fn mixed(old: vec4f, value: vec4f, keep: f32, rest: f32) -> vec4f {
    if rest < keep { return old + rest * (value - old); }
    return keep * old + rest * value;
}

fn learning_rate(i: u32) -> f32 {
    return header.learning_rate * factors[i / 16u].z;
}

// ---- sgd: w' = w - lr*g ----
@group(0) @binding(6) var<storage, read_write> sgd_w: array<vec4f>;
@group(0) @binding(7) var sgd_w_texture: texture_2d<f32>;
@group(0) @binding(8) var sgd_gradient_texture: texture_2d<f32>;

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    var w: vec4f; var g: vec4f;
    if TEXTURES {
        w = textureLoad(sgd_w_texture, texel(i), 0);
        g = textureLoad(sgd_gradient_texture, texel(i), 0);
    } else {
        w = w_in[i];
        g = gradient[i];
    }
    sgd_w[i] = w - learning_rate(i) * effective_gradient(i, g, w);
}

@group(0) @binding(6) var<storage, read> state: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> w_out: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> state_out: array<vec4f>;
@group(0) @binding(9) var w_texture: texture_2d<f32>;
@group(0) @binding(10) var gradient_texture: texture_2d<f32>;
@group(0) @binding(11) var state_texture: texture_2d<f32>;

fn load_w(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(w_texture, texel(i), 0); }
    return w_in[i];
}

fn load_gradient(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(gradient_texture, texel(i), 0); }
    return gradient[i];
}

fn load_state(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(state_texture, texel(i), 0); }
    return state[i];
}

// ---- momentum: v' = momentum*v - lr*g; w' = w + v' ----
@compute @workgroup_size(64)
fn momentum(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let w = load_w(i);
    let v = p.a * load_state(i) - learning_rate(i) * effective_gradient(i, load_gradient(i), w);
    state_out[i] = v;
    w_out[i] = w + v;
}

// ---- nesterov: v' = momentum*v - lr*g; w' = w + momentum*v' - lr*g ----
@compute @workgroup_size(64)
fn nesterov(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let w = load_w(i);
    let step = learning_rate(i) * effective_gradient(i, load_gradient(i), w);
    let v = p.a * load_state(i) - step;
    state_out[i] = v;
    w_out[i] = w + p.a * v - step;
}

// ---- adagrad: s' = s + g²; w' = w - lr*g / (sqrt(s' + b) + eps); b or eps is 0 ----
@compute @workgroup_size(64)
fn adagrad(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let w = load_w(i);
    let g = effective_gradient(i, load_gradient(i), w);
    let s = load_state(i) + g * g;
    state_out[i] = s;
    w_out[i] = w - learning_rate(i) * g / (sqrt(s + p.b) + p.epsilon);
}

// ---- windowgrad: s' = rho*s + (1-rho)g²; w' = w - lr*g / (sqrt(s' + b) + eps); b or eps is 0 ----
@compute @workgroup_size(64)
fn windowgrad(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let w = load_w(i);
    let g = effective_gradient(i, load_gradient(i), w);
    let s = mixed(load_state(i), g * g, p.a, p.rest_a);
    state_out[i] = s;
    w_out[i] = w - learning_rate(i) * g / (sqrt(s + p.b) + p.epsilon);
}

// ---- adadelta: s' = rho*s + (1-rho)g²; d = -lr*sqrt((u+eps)/(s'+eps))*g; u' = rho*u + (1-rho)(d/lr)²; w' = w + d ----
@compute @workgroup_size(64)
fn adadelta(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let second = p.count / 4u + i;
    let w = load_w(i);
    let g = effective_gradient(i, load_gradient(i), w);
    let s = mixed(load_state(i), g * g, p.a, p.rest_a);
    let u = load_state(second);
    let d = sqrt((u + p.epsilon) / (s + p.epsilon)) * g;
    state_out[i] = s;
    state_out[second] = mixed(u, d * d, p.a, p.rest_a);
    w_out[i] = w - learning_rate(i) * d;
}

// ---- adam: m' = b1*m + (1-b1)g; v' = b2*v + (1-b2)g²; w' = w - lr * (m'/c1) / (sqrt(v'/c2) + eps) ----
// Writes the moments and returns the step.
fn adam_step(i: u32, g: vec4f) -> vec4f {
    let second = p.count / 4u + i;
    let m = mixed(load_state(i), g, p.a, p.rest_a);
    let v = mixed(load_state(second), g * g, p.b, p.rest_b);
    state_out[i] = m;
    state_out[second] = v;
    let corrected = sqrt(v / header.correction2) + p.epsilon;
    return learning_rate(i) * (m / header.correction1) / corrected;
}

@compute @workgroup_size(64)
fn adam(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let w = load_w(i);
    w_out[i] = w - adam_step(i, effective_gradient(i, load_gradient(i), w));
}

// ---- adamw: adam's step of g alone; w' less lr * (l2*w + l1*sign(w)) ----
@compute @workgroup_size(64)
fn adamw(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let w = load_w(i);
    w_out[i] = w - adam_step(i, scaled(load_gradient(i))) - learning_rate(i) * decay_gradient(i, w);
}
