// One optimizer step over the flat buffer of all parameters: reads w and state, writes w' and state'.
//
// factors contains (l1, l2, r, unused) for each block of 64 parameters. Tensors start at block borders, so that weights
// decay and biases do not, and layers have their own learning rates. With s = scale[0], or 1 if p.scaled is 0, the
// effective gradient is s*g + l2*w + l1*sign(w), or s*g if the decay is decoupled, as in AdamW. sign(0) is
// -zero_pull. The learning rate is lr*r. State with two slots is [2, count]. The rules are those of
// kernels/optimizer.rs. An invocation computes four parameters; the count is a multiple of 64.

struct Params {
    count: u32, a: f32, b: f32, epsilon: f32,
    scaled: u32, zero_pull: f32, rest_a: f32, rest_b: f32,
}

// The rule, and the number of state values per parameter.
override RULE: u32 = 0u;
override SLOTS: u32 = 0u;
// 1 if decay is applied to the weights directly instead of through the gradient.
override DECOUPLED: u32 = 0u;
const SGD = 0u;
const MOMENTUM = 1u;
const NESTEROV = 2u;
const ADAGRAD = 3u;
const WINDOWGRAD = 4u;
const ADADELTA = 5u;
const ADAM = 6u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(2) var<storage, read> factors: array<vec4f>;
@group(0) @binding(5) var<storage, read> scale: array<f32>;

// Four parameters and their state.
struct Updated { w: vec4f, first: vec4f, second: vec4f }

// The decay's part of the gradient of group i of four parameters.
fn decay_gradient(i: u32, w: vec4f) -> vec4f {
    let l = factors[i / 16u];
    return l.y * w + l.x * (sign(w) - select(vec4f(), vec4f(p.zero_pull), w == vec4f()));
}

fn scaled(g: vec4f) -> vec4f {
    if p.scaled == 1u { return scale[0] * g; }
    return g;
}

// keep*old + rest*value with keep + rest = 1; keep is rounded to f32, so if it is near 1, only rest is precise.
fn mixed(old: vec4f, value: vec4f, keep: f32, rest: f32) -> vec4f {
    if rest < keep { return old + rest * (value - old); }
    return keep * old + rest * value;
}

// One of b and epsilon is 0.
fn root(s: vec4f) -> vec4f { return sqrt(s + p.b) + p.epsilon; }

// w' and state' of group i of four parameters, decay included.
fn updated(i: u32, w: vec4f, own: vec4f, first: vec4f, second: vec4f) -> Updated {
    let rate = header.learning_rate * factors[i / 16u].z;
    let decay = decay_gradient(i, w);
    let g = scaled(own);
    if DECOUPLED == 0u { return by_rule(rate, w, g + decay, first, second); }
    var next = by_rule(rate, w, g, first, second);
    next.w -= rate * decay;
    return next;
}

// w' and state' by the rule. first and second are state; a rule returns state that it does not use as it is.
fn by_rule(rate: f32, w: vec4f, g: vec4f, first: vec4f, second: vec4f) -> Updated {
    switch RULE {
        // v' = momentum*v - lr*g; w' = w + v'
        case MOMENTUM: {
            let v = p.a * first - rate * g;
            return Updated(w + v, v, second);
        }
        // v' = momentum*v - lr*g; w' = w + momentum*v' - lr*g
        case NESTEROV: {
            let step = rate * g;
            let v = p.a * first - step;
            return Updated(w + p.a * v - step, v, second);
        }
        // s' = s + g²; w' = w - lr*g / root(s')
        case ADAGRAD: {
            let s = first + g * g;
            return Updated(w - rate * g / root(s), s, second);
        }
        // s' = rho*s + (1-rho)g²; w' = w - lr*g / root(s')
        case WINDOWGRAD: {
            let s = mixed(first, g * g, p.a, p.rest_a);
            return Updated(w - rate * g / root(s), s, second);
        }
        // s' = rho*s + (1-rho)g²; d = sqrt((u+eps)/(s'+eps))*g; u' = rho*u + (1-rho)d²; w' = w - lr*d
        case ADADELTA: {
            let s = mixed(first, g * g, p.a, p.rest_a);
            let d = sqrt((second + p.epsilon) / (s + p.epsilon)) * g;
            return Updated(w - rate * d, s, mixed(second, d * d, p.a, p.rest_a));
        }
        // m' = b1*m + (1-b1)g; v' = b2*v + (1-b2)g²; w' = w - lr * (m'/c1) / (sqrt(v'/c2) + eps)
        case ADAM: {
            let m = mixed(first, g, p.a, p.rest_a);
            let v = mixed(second, g * g, p.b, p.rest_b);
            let corrected = sqrt(v / header.correction2) + p.epsilon;
            return Updated(w - rate * (m / header.correction1) / corrected, m, v);
        }
        // w' = w - lr*g
        default: { return Updated(w - rate * g, first, second); }
    }
}

// ---- stateless ----
@group(0) @binding(6) var<storage, read_write> stateless_w: array<vec4f>;

@compute @workgroup_size(64)
fn stateless(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    stateless_w[i] = updated(i, load_w(i), load_gradient(i), vec4f(), vec4f()).w;
}

// ---- stateful ----
@group(0) @binding(7) var<storage, read_write> w_out: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> state_out: array<vec4f>;

@compute @workgroup_size(64)
fn stateful(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let second = p.count / 4u + i;
    var u = vec4f();
    if SLOTS == 2u { u = load_state(second); }
    let next = updated(i, load_w(i), load_gradient(i), load_state(i), u);
    w_out[i] = next.w;
    state_out[i] = next.first;
    if SLOTS == 2u { state_out[second] = next.second; }
}
