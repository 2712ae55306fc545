// Local response normalisation across channels: values [M,C], s_c = k + share * (sum of x² over the channels around c),
// y_c = x_c * s_c^-beta. The window of c is c - size/2 to c + (size-1)/2, limited to existing channels.

struct Params {
    count: u32, channels: u32, size: u32, k: f32,
    share: f32, beta: f32, reserved0: u32, reserved1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// Channels [first, end): c with the given numbers of channels before and after it.
fn around(c: u32, before: u32, behind: u32) -> vec2u {
    return vec2u(c - min(c, before), min(c + behind + 1u, p.channels));
}

@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read_write> forward_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> forward_s: array<f32>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    let c = i % p.channels;
    let window = around(c, p.size / 2u, (p.size - 1u) / 2u);
    var squares = 0.0;
    for (var j = window.x; j < window.y; j++) {
        let v = forward_x[i - c + j];
        squares += v * v;
    }
    let s = p.k + p.share * squares;
    forward_s[i] = s;
    forward_y[i] = forward_x[i] * pow(s, -p.beta);
}

// ---- backward: dx_i = dy_i s_i^-beta - 2 share beta x_i * (sum of dy_c x_c s_c^(-beta-1) over the c whose window has
// i) ----
@group(0) @binding(1) var<storage, read> backward_x: array<f32>;
@group(0) @binding(2) var<storage, read> backward_s: array<f32>;
@group(0) @binding(3) var<storage, read> backward_dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> backward_dx: array<f32>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    let c = i % p.channels;
    let window = around(c, (p.size - 1u) / 2u, p.size / 2u);
    var sum = 0.0;
    for (var j = window.x; j < window.y; j++) {
        let at = i - c + j;
        // s^(-beta-1) alone would underflow for large s.
        sum += backward_dy[at] * backward_x[at] * pow(backward_s[at], -p.beta) / backward_s[at];
    }
    backward_dx[i] = backward_dy[i] * pow(backward_s[i], -p.beta) - 2.0 * p.share * p.beta * backward_x[i] * sum;
}
