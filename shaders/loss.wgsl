// Losses of scores with one label per example. hinge, scores [N,C]: the sum of max(0, s_j - s_label + 1) over the other
// classes; mse, scores [N,C]: half the squared distance from the one-hot target; number, scores [N]: half the squared
// distance from the label's number. Each writes a copy of the scores, the gradient of the mean loss with respect to
// them, losses [N] and predictions [N]. Rows from header.valid on belong to no example; their gradients and losses are
// zero.

struct Params { n: u32, c: u32, reserved0: u32, reserved1: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> scores: array<f32>;

// ---- hinge, mse ----
@group(0) @binding(4) var<storage, read_write> scores_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> dscores: array<f32>;
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;
@group(0) @binding(7) var<storage, read_write> predictions: array<u32>;

// The row that an invocation computes.
fn row_of(group: vec3u, groups: vec3u, lane: u32) -> u32 {
    return index_of(group, groups, lane, 64u);
}

// Writes a copy of the scores, and the class of the largest.
fn predict(n: u32) {
    let row = n * p.c;
    var largest = scores[row];
    var prediction = 0u;
    for (var c = 0u; c < p.c; c++) {
        let v = scores[row + c];
        scores_out[row + c] = v;
        if v > largest {
            largest = v;
            prediction = c;
        }
    }
    predictions[n] = prediction;
}

// 1 / (number of examples in the whole batch) for an example; 0 for a row without one.
fn share(n: u32) -> f32 {
    return select(0.0, 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);
}

@compute @workgroup_size(64)
fn hinge(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = row_of(group, groups, lane);
    if n >= p.n { return; }
    predict(n);
    let row = n * p.c;
    let label = min(labels[n], p.c - 1u);
    let own = scores[row + label];
    let each = share(n);
    var loss = 0.0;
    var violations = 0.0;
    for (var c = 0u; c < p.c; c++) {
        if c == label { continue; }
        let margin = scores[row + c] - own + 1.0;
        // Zero or below, by its bits, so that a NaN counts and is visible: a driver may assume that no float is a NaN.
        let bits = bitcast<u32>(margin);
        let kept = bits == 0u || bits - 0x80000000u <= 0x7f800000u;
        loss += select(margin, 0.0, kept);
        violations += select(1.0, 0.0, kept);
        dscores[row + c] = select(each, 0.0, kept);
    }
    dscores[row + label] = -violations * each;
    losses[n] = select(0.0, loss, n < header.valid);
}

@compute @workgroup_size(64)
fn mse(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = row_of(group, groups, lane);
    if n >= p.n { return; }
    predict(n);
    let row = n * p.c;
    let label = min(labels[n], p.c - 1u);
    var loss = 0.0;
    for (var c = 0u; c < p.c; c++) {
        let distance = scores[row + c] - select(0.0, 1.0, c == label);
        loss += 0.5 * distance * distance;
        dscores[row + c] = select(0.0, distance * share(n), n < header.valid);
    }
    losses[n] = select(0.0, loss, n < header.valid);
}

// ---- number: numbers [C] of the classes; the predicted class is the one with the nearest number ----
@group(0) @binding(4) var<storage, read> numbers: array<f32>;
@group(0) @binding(5) var<storage, read_write> number_out: array<f32>;
@group(0) @binding(6) var<storage, read_write> dnumber: array<f32>;
@group(0) @binding(7) var<storage, read_write> number_losses: array<f32>;
@group(0) @binding(8) var<storage, read_write> number_predictions: array<u32>;

@compute @workgroup_size(64)
fn number(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = row_of(group, groups, lane);
    if n >= p.n { return; }
    let score = scores[n];
    var nearest = abs(score - numbers[0]);
    var prediction = 0u;
    for (var c = 1u; c < p.c; c++) {
        let distance = abs(score - numbers[c]);
        if distance < nearest {
            nearest = distance;
            prediction = c;
        }
    }
    let distance = score - numbers[min(labels[n], p.c - 1u)];
    let valid = n < header.valid;
    number_out[n] = score;
    dnumber[n] = select(0.0, distance * share(n), valid);
    number_losses[n] = select(0.0, 0.5 * distance * distance, valid);
    number_predictions[n] = prediction;
}
