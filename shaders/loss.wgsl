// Losses of scores with one label per example. hinge, scores [N,C]: the sum of max(0, s_j - s_label + 1) over the other
// classes; mse, scores [N,C]: half the squared distance from the one-hot target; number, scores [N]: half the squared
// distance from the label's number. Each writes a copy of the scores, the gradient of the mean loss with respect to
// them, losses [N] and predictions [N]. Rows from header.valid on belong to no example; their gradients and losses are
// zero. Up to 256 classes are one invocation's; a row of more belongs to a workgroup, which merges its lanes by trees.

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

// 1 / (number of examples in the whole batch) for an example; 0 for a row without one.
fn share(n: u32) -> f32 {
    return select(0.0, 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);
}

// Copies a class's score and offers it for the prediction.
fn with_score(best: Candidate, n: u32, c: u32) -> Candidate {
    let v = scores[n * p.c + c];
    scores_out[n * p.c + c] = v;
    return better(best, candidate(v, c));
}

// What all classes of a row share: the label and its score, and the row's share in the mean.
struct Row { n: u32, label: u32, own: f32, share: f32 }

fn row_of(n: u32) -> Row {
    let label = min(labels[n], p.c - 1u);
    return Row(n, label, scores[n * p.c + label], share(n));
}

// Writes a class's gradient, except the label's, and returns its loss and whether its margin is violated.
fn hinge_class(row: Row, c: u32) -> vec2f {
    if c == row.label { return vec2f(); }
    let at = row.n * p.c + c;
    let margin = scores[at] - row.own + 1.0;
    // Zero or below, by its bits, so that a NaN counts and is visible: a driver may assume that no float is a NaN.
    let bits = bitcast<u32>(margin);
    let kept = bits == 0u || bits - 0x80000000u <= 0x7f800000u;
    dscores[at] = select(row.share, 0.0, kept);
    return select(vec2f(margin, 1.0), vec2f(), kept);
}

// `sums`: of hinge_class.
fn write_hinge(row: Row, prediction: u32, sums: vec2f) {
    dscores[row.n * p.c + row.label] = -sums.y * row.share;
    losses[row.n] = select(0.0, sums.x, row.n < header.valid);
    predictions[row.n] = prediction;
}

@compute @workgroup_size(64)
fn hinge(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, lane, 64u);
    if n >= p.n { return; }
    let row = row_of(n);
    var best = no_candidate();
    var sums = vec2f();
    for (var c = 0u; c < p.c; c++) {
        best = with_score(best, n, c);
        sums += hinge_class(row, c);
    }
    write_hinge(row, best.place, sums);
}

@compute @workgroup_size(256)
fn hinge_wide(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, 0u, 1u);
    if n >= p.n { return; }
    let row = row_of(n);
    var best = no_candidate();
    var own = vec2f();
    for (var c = lane; c < p.c; c += 256u) {
        best = with_score(best, n, c);
        own += hinge_class(row, c);
    }
    let prediction = first_maximum(lane, best);
    let sums = pair_sum(lane, own);
    if lane == 0u { write_hinge(row, prediction, sums); }
}

// Writes a class's gradient and returns its loss.
fn mse_class(row: Row, c: u32) -> f32 {
    let at = row.n * p.c + c;
    let distance = scores[at] - select(0.0, 1.0, c == row.label);
    dscores[at] = select(0.0, distance * row.share, row.n < header.valid);
    return 0.5 * distance * distance;
}

fn write_mse(row: Row, prediction: u32, loss: f32) {
    losses[row.n] = select(0.0, loss, row.n < header.valid);
    predictions[row.n] = prediction;
}

@compute @workgroup_size(64)
fn mse(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, lane, 64u);
    if n >= p.n { return; }
    let row = row_of(n);
    var best = no_candidate();
    var loss = 0.0;
    for (var c = 0u; c < p.c; c++) {
        best = with_score(best, n, c);
        loss += mse_class(row, c);
    }
    write_mse(row, best.place, loss);
}

@compute @workgroup_size(256)
fn mse_wide(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, 0u, 1u);
    if n >= p.n { return; }
    let row = row_of(n);
    var best = no_candidate();
    var own = 0.0;
    for (var c = lane; c < p.c; c += 256u) {
        best = with_score(best, n, c);
        own += mse_class(row, c);
    }
    let prediction = first_maximum(lane, best);
    let loss = pair_sum(lane, vec2f(own, 0.0)).x;
    if lane == 0u { write_mse(row, prediction, loss); }
}

// ---- number: numbers [C] of the classes; the predicted class is the one with the nearest number ----
@group(0) @binding(4) var<storage, read> numbers: array<f32>;
@group(0) @binding(5) var<storage, read_write> number_out: array<f32>;
@group(0) @binding(6) var<storage, read_write> dnumber: array<f32>;
@group(0) @binding(7) var<storage, read_write> number_losses: array<f32>;
@group(0) @binding(8) var<storage, read_write> number_predictions: array<u32>;

// The nearest is the first maximum of the negative distance.
fn with_number(best: Candidate, score: f32, c: u32) -> Candidate {
    return better(best, candidate(-abs(score - numbers[c]), c));
}

fn write_number(n: u32, prediction: u32) {
    let score = scores[n];
    let distance = score - numbers[min(labels[n], p.c - 1u)];
    let valid = n < header.valid;
    number_out[n] = score;
    dnumber[n] = select(0.0, distance * share(n), valid);
    number_losses[n] = select(0.0, 0.5 * distance * distance, valid);
    number_predictions[n] = prediction;
}

@compute @workgroup_size(64)
fn number(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, lane, 64u);
    if n >= p.n { return; }
    let score = scores[n];
    var best = no_candidate();
    for (var c = 0u; c < p.c; c++) { best = with_number(best, score, c); }
    write_number(n, best.place);
}

@compute @workgroup_size(256)
fn number_wide(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, 0u, 1u);
    if n >= p.n { return; }
    let score = scores[n];
    var own = no_candidate();
    for (var c = lane; c < p.c; c += 256u) { own = with_number(own, score, c); }
    let prediction = first_maximum(lane, own);
    if lane == 0u { write_number(n, prediction); }
}
