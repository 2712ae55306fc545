// Inverted dropout: while training (header.training = 1), values whose random draw is below the threshold become zero,
// and the others are multiplied by scale, 1 / (1 - rate). Otherwise all values are multiplied by evaluation, which is
// usually 1. The kernel serves values and their gradients, elementwise over any shape.

struct Params {
    count: u32, stream: u32, threshold: u32, scale: f32,
    evaluation: f32, per_example: u32, reserved0: u32, reserved1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn apply(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.count { return; }
    let value = x[i];
    if header.training == 0u {
        if p.evaluation == 1.0 {
            y[i] = value;
        } else {
            y[i] = value * p.evaluation;
        }
        return;
    }
    let place = header.first_row * p.per_example + i;
    let draw = pcg3d(vec3u(header.seed ^ p.stream, header.step, place)).x >> 8u;
    y[i] = select(value * p.scale, 0.0, draw < p.threshold);
}
