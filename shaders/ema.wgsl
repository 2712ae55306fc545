// Exponential moving average of the parameters: average' = d*average + (1-d)*w', over the whole flat buffer.
//
// d = min(decay, (1+t)/(10+t)), t = header.step counting updates from 0. An invocation computes four parameters; the
// count is a multiple of 64.

struct Params { count: u32, decay: f32, rest: f32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(4) var<storage, read_write> after: array<vec4f>;

@compute @workgroup_size(64)
fn average(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count / 4u { return; }
    let t = f32(header.step);
    // 1 - d, computed directly: rounding a d near 1 would change the window.
    let rest = max(p.rest, 9.0 / (10.0 + t));
    let old = load_before(i);
    let value = load_w(i);
    if rest < 0.5 {
        after[i] = old + rest * (value - old);
    } else {
        after[i] = min(p.decay, (1.0 + t) / (10.0 + t)) * old + rest * value;
    }
}
