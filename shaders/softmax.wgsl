// Softmax with cross-entropy for one label per example; logits [N,C].
// While training (header.training = 1), targets are (1 - smoothing) onehot + smoothing/C; p.rest is 1 - smoothing.
// Rows from header.valid on belong to no example; their gradients and losses are zero.

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
        sum += exp(-distance);
        mean_distance += distance / f32(p.c);
    }
    let smoothing = select(p.smoothing, 0.0, header.training == 0u);
    let rest = select(p.rest, 1.0, header.training == 0u);
    let spread = smoothing / f32(p.c);
    let valid = n < header.valid;
    let scale = 1.0 / f32(max(header.global_valid, 1u));
    let label = labels[n];
    for (var c = 0u; c < p.c; c++) {
        let probability = exp(logits[row + c] - largest) / sum;
        probabilities[row + c] = probability;
        let wanted = select(spread, rest + spread, c == label);
        dlogits[row + c] = select(0.0, (probability - wanted) * scale, valid);
    }
    let distance = largest - logits[row + min(label, p.c - 1u)];
    var loss = log(sum) + distance;
    if smoothing > 0.0 { loss += smoothing * (mean_distance - distance); }
    losses[n] = select(0.0, loss, valid);
    predictions[n] = prediction;
}

// ---- summary: [sum of losses, correct predictions] over the valid rows; one workgroup ----
@group(0) @binding(1) var<storage, read> summary_header: Header;
@group(0) @binding(2) var<storage, read> summary_labels: array<u32>;
@group(0) @binding(3) var<storage, read> summary_losses: array<f32>;
@group(0) @binding(4) var<storage, read> summary_predictions: array<u32>;
@group(0) @binding(5) var<storage, read_write> summary_loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> summary_correct: array<u32>;

var<workgroup> lane_loss: array<f32, 64>;
var<workgroup> lane_correct: array<u32, 64>;

@compute @workgroup_size(64)
fn summary(@builtin(local_invocation_index) lane: u32) {
    var loss = 0.0;
    var correct = 0u;
    for (var n = lane; n < min(summary_header.valid, p.n); n += 64u) {
        loss += summary_losses[n];
        correct += select(0u, 1u, summary_predictions[n] == summary_labels[n]);
    }
    lane_loss[lane] = loss;
    lane_correct[lane] = correct;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            lane_loss[lane] += lane_loss[lane + half];
            lane_correct[lane] += lane_correct[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        summary_loss[0] = lane_loss[0];
        summary_correct[0] = lane_correct[0];
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
