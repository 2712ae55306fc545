// Softmax with cross-entropy for one label per example; logits [N,C].
// While training (header.training = 1), targets are (1 - smoothing) onehot + smoothing/C; p.rest is 1 - smoothing.
// Rows from header.valid on belong to no example; their gradients and losses are zero.
// Up to 256 classes are one invocation's; a row of more belongs to a workgroup, which merges its lanes by trees.

struct Params { n: u32, c: u32, smoothing: f32, rest: f32 }

@group(0) @binding(0) var<uniform> p: Params;

// ---- forward: probabilities [N,C], logit gradient (p - target)/global_valid [N,C], loss [N], prediction [N] ----
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> probabilities: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;
@group(0) @binding(7) var<storage, read_write> predictions: array<u32>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, lane, 64u);
    if n >= p.n { return; }
    let own = walked(n);
    for (var c = 0u; c < p.c; c++) { write_class(own.row, c); }
    write_example(own.row, own.prediction);
}

// `result`, which a function gave for `v`; a NaN stays one, which exp and log of some devices lose. Compares bits, because
// a driver may assume that no float is a NaN.
fn kept(v: f32, result: f32) -> f32 { return select(result, v, (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u); }

fn exponential(v: f32) -> f32 { return kept(v, exp(v)); }

// A row, and the class of its largest logit.
struct Walk { row: Row, prediction: u32 }

// One invocation's walk over a row.
fn walked(n: u32) -> Walk {
    let row = n * p.c;
    var largest = logits[row];
    var prediction = 0u;
    for (var c = 1u; c < p.c; c++) {
        let v = logits[row + c];
        if v > largest {
            largest = v;
            prediction = c;
        }
    }
    // Of logits minus the largest, so that large logits lose no precision.
    var sum = 0.0;
    var mean_distance = 0.0;
    for (var c = 0u; c < p.c; c++) {
        let distance = largest - logits[row + c];
        sum += exponential(-distance);
        mean_distance += distance / f32(p.c);
    }
    return Walk(row_of(n, largest, sum, mean_distance), prediction);
}

// What all classes of a row share.
struct Row {
    n: u32, label: u32, valid: bool,
    // The largest logit, the sum of exponentials, and the mean distance from the largest logit.
    largest: f32, sum: f32, mean_distance: f32,
    // Label smoothing while training: epsilon and 1 - epsilon.
    smoothing: f32, rest: f32,
    // 1 / (number of examples in the whole batch).
    scale: f32,
}

fn row_of(n: u32, largest: f32, sum: f32, mean_distance: f32) -> Row {
    let smoothing = select(vec2f(p.smoothing, p.rest), vec2f(0.0, 1.0), header.training == 0u);
    let scale = 1.0 / f32(max(header.global_valid, 1u));
    return Row(n, labels[n], n < header.valid, largest, sum, mean_distance, smoothing.x, smoothing.y, scale);
}

fn probability_of(row: Row, c: u32) -> f32 { return exponential(logits[row.n * p.c + c] - row.largest) / row.sum; }

fn gradient_of(row: Row, c: u32, probability: f32) -> f32 {
    let spread = row.smoothing / f32(p.c);
    let wanted = select(spread, row.rest + spread, c == row.label);
    return select(0.0, (probability - wanted) * row.scale, row.valid);
}

fn loss_of(row: Row) -> f32 {
    let distance = row.largest - logits[row.n * p.c + min(row.label, p.c - 1u)];
    var loss = kept(row.sum, log(row.sum)) + distance;
    if row.smoothing > 0.0 { loss += row.smoothing * (row.mean_distance - distance); }
    return select(0.0, loss, row.valid);
}

fn write_class(row: Row, c: u32) {
    let i = row.n * p.c + c;
    let probability = probability_of(row, c);
    probabilities[i] = probability;
    dlogits[i] = gradient_of(row, c, probability);
}

fn write_example(row: Row, prediction: u32) {
    losses[row.n] = loss_of(row);
    predictions[row.n] = prediction;
}

@compute @workgroup_size(256)
fn forward_wide(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, 0u, 1u);
    if n >= p.n { return; }
    let row = n * p.c;
    var best = no_candidate();
    for (var c = lane; c < p.c; c += 256u) { best = better(best, candidate(logits[row + c], c)); }
    let prediction = first_maximum(lane, best);
    let largest = logits[row + prediction];
    var own = vec2f();
    for (var c = lane; c < p.c; c += 256u) {
        let distance = largest - logits[row + c];
        own += vec2f(exponential(-distance), distance / f32(p.c));
    }
    let all = pair_sum(lane, own);
    let shared_part = row_of(n, largest, all.x, all.y);
    for (var c = lane; c < p.c; c += 256u) { write_class(shared_part, c); }
    if lane == 0u { write_example(shared_part, prediction); }
}

// ---- summary: [sum of losses, correct predictions] over the valid rows; one workgroup ----
@group(0) @binding(1) var<storage, read> summary_header: Header;
@group(0) @binding(2) var<storage, read> summary_labels: array<u32>;
@group(0) @binding(3) var<storage, read> summary_losses: array<f32>;
@group(0) @binding(4) var<storage, read> summary_predictions: array<u32>;
@group(0) @binding(5) var<storage, read_write> summary_loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> summary_correct: array<u32>;

var<workgroup> lane_loss: array<f32, 256>;
var<workgroup> lane_correct: array<u32, 256>;

// The sums of all lanes, in lane 0.
fn add_lanes(lane: u32, loss: f32, correct: u32) {
    lane_loss[lane] = loss;
    lane_correct[lane] = correct;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            lane_loss[lane] += lane_loss[lane + width];
            lane_correct[lane] += lane_correct[lane + width];
        }
    }
}

@compute @workgroup_size(256)
fn summary(@builtin(local_invocation_index) lane: u32) {
    var loss = 0.0;
    var correct = 0u;
    for (var n = lane; n < min(summary_header.valid, p.n); n += 256u) {
        loss += summary_losses[n];
        correct += select(0u, 1u, summary_predictions[n] == summary_labels[n]);
    }
    add_lanes(lane, loss, correct);
    if lane == 0u {
        summary_loss[0] = lane_loss[0];
        summary_correct[0] = lane_correct[0];
    }
}

// ---- step: forward without probabilities, and the summary; one workgroup ----
@group(0) @binding(4) var<storage, read_write> step_dlogits: array<f32>;
@group(0) @binding(5) var<storage, read_write> step_losses: array<f32>;
@group(0) @binding(6) var<storage, read_write> step_predictions: array<u32>;
@group(0) @binding(7) var<storage, read_write> step_loss: array<f32>;
@group(0) @binding(8) var<storage, read_write> step_correct: array<u32>;

@compute @workgroup_size(256)
fn step(@builtin(local_invocation_index) lane: u32) {
    var loss = 0.0;
    var correct = 0u;
    for (var n = lane; n < p.n; n += 256u) {
        let own = walked(n);
        for (var c = 0u; c < p.c; c++) {
            step_dlogits[n * p.c + c] = gradient_of(own.row, c, probability_of(own.row, c));
        }
        let own_loss = loss_of(own.row);
        step_losses[n] = own_loss;
        step_predictions[n] = own.prediction;
        loss += own_loss;
        correct += select(0u, 1u, own.row.valid && own.prediction == own.row.label);
    }
    add_lanes(lane, loss, correct);
    if lane == 0u {
        step_loss[0] = lane_loss[0];
        step_correct[0] = lane_correct[0];
    }
}

// ---- probabilities: those of forward alone ----
@group(0) @binding(1) var<storage, read> own_logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> own_probabilities: array<f32>;

@compute @workgroup_size(64)
fn probabilities_only(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = index_of(group, groups, lane, 64u);
    if n >= p.n { return; }
    var largest = own_logits[n * p.c];
    for (var c = 1u; c < p.c; c++) {
        let v = own_logits[n * p.c + c];
        if v > largest { largest = v; }
    }
    var sum = 0.0;
    for (var c = 0u; c < p.c; c++) { sum += exponential(own_logits[n * p.c + c] - largest); }
    for (var c = 0u; c < p.c; c++) {
        own_probabilities[n * p.c + c] = exponential(own_logits[n * p.c + c] - largest) / sum;
    }
}

// ---- gradient: of the mean loss with respect to the probabilities themselves, -1/(global_valid * p[label]) [N,C] ----
@group(0) @binding(1) var<storage, read> gradient_header: Header;
@group(0) @binding(2) var<storage, read> gradient_labels: array<u32>;
@group(0) @binding(3) var<storage, read> gradient_probabilities: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient_out: array<f32>;

@compute @workgroup_size(64)
fn gradient(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index_of(group, groups, lane, 64u);
    if i >= p.n * p.c { return; }
    let n = i / p.c;
    let hit = n < gradient_header.valid && i - n * p.c == gradient_labels[n];
    // A probability that underflowed to zero would give an infinity, so it is at least the smallest normal f32.
    let probability = max(gradient_probabilities[i], 1.17549435e-38);
    gradient_out[i] = select(0.0, -1.0 / (probability * f32(gradient_header.global_valid)), hit);
}
