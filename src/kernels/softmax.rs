//! Softmax with cross-entropy: logits `[N,C]` -> probabilities `[N,C]`, gradient of the mean loss with respect to the
//! logits (p - onehot)/valid `[N,C]`, loss -log p`[label]` `[N]`, prediction `[N]`; and their summary.
//! `shaders/softmax.wgsl`. While training, targets may be smoothed: (1 - ε) onehot + ε/C, the loss being their
//! cross-entropy (Szegedy et al. 2016). Rows from `header.valid` on have loss and gradient zero, so that a partial
//! batch's mean is right.

use super::batch::{Header, Part};
use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Adapter, Args, Case, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Slot, SlotMut, Tensor, Variant, per_example, whole,
};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    pub c: u32,
    /// ε below; 0 except in [`FORWARD`].
    pub smoothing: f32,
    /// 1 - ε, rounded once; subtracting the rounded 0.9999 from 1 is 1.7e-4 off.
    pub rest: f32,
}

impl Params {
    fn new(n: usize, c: usize) -> Params {
        Params { n: word(n), c: word(c), smoothing: 0.0, rest: 1.0 }
    }
}

const SOURCE: &str = shader!("prelude/header", "prelude/index", "prelude/first_maximum", "prelude/pair_sum", "softmax");

/// The most classes that one invocation computes; a row of more is a workgroup's.
const NARROW: u32 = 256;
/// The most such classes on a software adapter, where barriers are slow. llvmpipe ends an invocation's loops after
/// 65,535 iterations together, and an invocation walks over the classes three times.
const WALKED: u32 = 16_384;

/// Whether a row of `c` classes is a workgroup's, here and in `loss`.
pub(super) fn is_wide(c: u32, adapter: Adapter) -> bool {
    c > if adapter.software { WALKED } else { NARROW }
}

pub(super) const HEADER: Operand = whole("header", U32);
pub(super) const LABELS: Operand = per_example("labels", U32);
const LOGITS: Operand = per_example("logits", F32);
const PROBABILITIES: Operand = per_example("probabilities", F32);
/// The gradient of the mean loss with respect to the logits.
const DLOGITS: Operand = per_example("dlogits", F32);
pub(super) const LOSSES: Operand = per_example("losses", F32);
pub(super) const PREDICTIONS: Operand = per_example("predictions", U32);
/// The sum of the losses `[1]`.
const LOSS: Operand = whole("loss", F32);
/// The number of correct predictions `[1]`.
const CORRECT: Operand = whole("correct", U32);
/// The gradient of the mean loss with respect to the probabilities.
const DPROBABILITIES: Operand = per_example("dprobabilities", F32);

pub(super) static FAMILY: Family =
    Family { operations: &[&FORWARD, &SUMMARY, &STEP, &PROBABILITIES_ONLY, &GRADIENT], cases };

/// Probabilities, the gradient of the logits, losses and predictions.
pub static FORWARD: Operation = Operation {
    name: "softmax.forward",
    inputs: &[HEADER, LABELS, LOGITS],
    outputs: &[PROBABILITIES, DLOGITS, LOSSES, PREDICTIONS],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[
        &Variant {
            condition: |op, adapter| is_wide(op.params::<Params>().c, adapter),
            ..Variant::new("softmax.forward_wide", SOURCE, "forward_wide", |op| {
                Launch::linear(op.params::<Params>().n as usize, 1)
            })
            .in_workgroups_of(256)
        },
        &Variant::new("softmax.forward", SOURCE, "forward", |op| Launch::linear(op.params::<Params>().n as usize, 64)),
    ],
};

/// A batch's loss and its number of correct predictions.
pub static SUMMARY: Operation = Operation {
    name: "softmax.summary",
    inputs: &[HEADER, LABELS, LOSSES, PREDICTIONS],
    outputs: &[LOSS, CORRECT],
    params: size_of::<Params>(),
    reference: Reference::new(summary_reference, summary_reference),
    cpu: None,
    gpu: &[&Variant::new("softmax.summary", SOURCE, "summary", |_| Launch::of([1, 1, 1])).in_workgroups_of(256)],
};

/// [`FORWARD`] without probabilities and [`SUMMARY`] at once, for batches that one workgroup handles.
pub static STEP: Operation = Operation {
    name: "softmax.step",
    inputs: &[HEADER, LABELS, LOGITS],
    outputs: &[DLOGITS, LOSSES, PREDICTIONS, LOSS, CORRECT],
    params: size_of::<Params>(),
    reference: Reference::new(step_reference, step_reference),
    cpu: None,
    gpu: &[&Variant::new("softmax.step", SOURCE, "step", |_| Launch::of([1, 1, 1])).in_workgroups_of(256)],
};

/// Probabilities, which training does not need.
pub static PROBABILITIES_ONLY: Operation = Operation {
    name: "softmax.probabilities",
    inputs: &[LOGITS],
    outputs: &[PROBABILITIES],
    params: size_of::<Params>(),
    reference: Reference::new(probabilities_reference, probabilities_reference),
    cpu: None,
    gpu: &[&Variant::new("softmax.probabilities", SOURCE, "probabilities_only", |op| {
        Launch::linear(op.params::<Params>().n as usize, 64)
    })],
};

/// The gradient of the mean loss with respect to the probabilities.
pub static GRADIENT: Operation = Operation {
    name: "softmax.gradient",
    inputs: &[HEADER, LABELS, PROBABILITIES],
    outputs: &[DPROBABILITIES],
    params: size_of::<Params>(),
    reference: Reference::new(gradient_reference, gradient_reference),
    cpu: None,
    gpu: &[&Variant::new("softmax.gradient", SOURCE, "gradient", |op| {
        let p: Params = op.params();
        Launch::linear(p.n as usize * p.c as usize, 64)
    })],
};

/// The outputs of a loss operation, including those of `loss.rs`.
#[derive(Debug, Clone, Copy)]
pub struct Outputs {
    /// The layer's output: probabilities, or for another loss the scores unchanged.
    pub y: Tensor,
    /// The gradient of the mean loss with respect to the layer's input.
    pub dx: Tensor,
    pub losses: Tensor,
    pub predictions: Tensor,
}

/// `smoothing` is at least 0 and below 1.
pub fn forward([n, c]: [usize; 2], smoothing: f64, header: Tensor, labels: Tensor, logits: Tensor, out: Outputs) -> Op {
    assert!((0.0..1.0).contains(&smoothing), "softmax.forward: label smoothing {smoothing}");
    let params = Params { smoothing: smoothing as f32, rest: (1.0 - smoothing) as f32, ..Params::new(n, c) };
    assert_eq!(
        (header.len, labels.len, logits.len),
        (Header::LEN, n, n * c),
        "softmax.forward: header, labels, logits"
    );
    assert_eq!((out.y.len, out.dx.len), (n * c, n * c), "softmax.forward: probabilities, dlogits");
    assert_eq!((out.losses.len, out.predictions.len), (n, n), "softmax.forward: losses, predictions");
    let inputs = [(HEADER, header), (LABELS, labels), (LOGITS, logits)];
    let (losses, predictions) = ((LOSSES, out.losses), (PREDICTIONS, out.predictions));
    let outputs = [(PROBABILITIES, out.y), (DLOGITS, out.dx), losses, predictions];
    Op::new(&FORWARD, params, &inputs, &outputs, 8 * n * c).in_pieces(1)
}

/// The outputs of [`step`].
#[derive(Debug, Clone, Copy)]
pub struct StepOutputs {
    pub dlogits: Tensor,
    pub losses: Tensor,
    pub predictions: Tensor,
    pub loss: Tensor,
    pub correct: Tensor,
}

/// Whether [`step`] takes a batch: an invocation handles every 256th row, in at most 256 sequential steps.
pub fn fits_step([n, c]: [usize; 2]) -> bool {
    // Three walks over a row.
    n.div_ceil(256) * 3 * c <= 256
}

/// `smoothing` is at least 0 and below 1.
pub fn step(
    [n, c]: [usize; 2],
    smoothing: f64,
    header: Tensor,
    labels: Tensor,
    logits: Tensor,
    out: StepOutputs,
) -> Op {
    assert!((0.0..1.0).contains(&smoothing) && fits_step([n, c]), "softmax.step: {n} x {c}, smoothing {smoothing}");
    let params = Params { smoothing: smoothing as f32, rest: (1.0 - smoothing) as f32, ..Params::new(n, c) };
    assert_eq!((header.len, labels.len, logits.len), (Header::LEN, n, n * c), "softmax.step: header, labels, logits");
    let StepOutputs { dlogits, losses, predictions, loss, correct } = out;
    assert_eq!((dlogits.len, losses.len, predictions.len), (n * c, n, n), "softmax.step: outputs");
    assert_eq!((loss.len, correct.len), (1, 1), "softmax.step: loss, correct");
    let inputs = [(HEADER, header), (LABELS, labels), (LOGITS, logits)];
    let outputs = [(DLOGITS, dlogits), (LOSSES, losses), (PREDICTIONS, predictions), (LOSS, loss), (CORRECT, correct)];
    Op::new(&STEP, params, &inputs, &outputs, 8 * n * c)
}

pub fn probabilities([n, c]: [usize; 2], logits: Tensor, out: Tensor) -> Op {
    assert_eq!((logits.len, out.len), (n * c, n * c), "softmax.probabilities");
    Op::new(&PROBABILITIES_ONLY, Params::new(n, c), &[(LOGITS, logits)], &[(PROBABILITIES, out)], 5 * n * c)
}

/// `inputs` are header, labels, losses, predictions.
pub fn summary(inputs: [Tensor; 4], loss: Tensor, correct: Tensor) -> Op {
    let [header, labels, losses, predictions] = inputs;
    let n = labels.len;
    assert_eq!((header.len, losses.len, predictions.len), (Header::LEN, n, n), "softmax.summary: inputs");
    assert_eq!((loss.len, correct.len), (1, 1), "softmax.summary: outputs");
    let params = Params::new(n, 0);
    let inputs = [(HEADER, header), (LABELS, labels), (LOSSES, losses), (PREDICTIONS, predictions)];
    Op::new(&SUMMARY, params, &inputs, &[(LOSS, loss), (CORRECT, correct)], 2 * n)
}

pub fn gradient([n, c]: [usize; 2], header: Tensor, labels: Tensor, probabilities: Tensor, out: Tensor) -> Op {
    assert_eq!((header.len, labels.len), (Header::LEN, n), "softmax.gradient: header, labels");
    assert_eq!((probabilities.len, out.len), (n * c, n * c), "softmax.gradient: probabilities, out");
    let params = Params::new(n, c);
    let inputs = [(HEADER, header), (LABELS, labels), (PROBABILITIES, probabilities)];
    Op::new(&GRADIENT, params, &inputs, &[(DPROBABILITIES, out)], n)
}

/// ε of this step, and 1 - ε.
fn smoothing(p: &Params, header: &Header) -> [f32; 2] {
    if header.training { [p.smoothing, p.rest] } else { [0.0, 1.0] }
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, labels, logits) = (args.header(HEADER), args.words(LABELS), args.real(LOGITS));
    let (probabilities, dlogits) = (args.out(PROBABILITIES), args.out(DLOGITS));
    let (losses, predictions) = (args.out(LOSSES), args.out_words(PREDICTIONS));
    let (valid, all_valid, c) = (header.valid as usize, f64::from(header.global_valid()), p.c as usize);
    let [smoothing, rest] = smoothing(&p, &header).map(f64::from);
    for (n, logits) in logits.chunks_exact(c).enumerate() {
        let (mut largest, mut prediction) = (logits[0].get(), 0);
        for (i, v) in logits.iter().enumerate() {
            if v.get() > largest {
                (largest, prediction) = (v.get(), i);
            }
        }
        let sum: f64 = logits.iter().map(|v| (v.get() - largest).exp()).sum();
        let label = labels[n] as usize;
        for (i, v) in logits.iter().enumerate() {
            let probability = (v.get() - largest).exp() / sum;
            let wanted = smoothing / c as f64 + if i == label { rest } else { 0.0 };
            probabilities[n * c + i] = S::of(probability);
            dlogits[n * c + i] = S::of(if n < valid { (probability - wanted) / all_valid } else { 0.0 });
        }
        let distance = largest - logits[label.min(c - 1)].get();
        let mut loss = sum.ln() + distance;
        if smoothing > 0.0 {
            let mean = logits.iter().map(|v| largest - v.get()).sum::<f64>() / c as f64;
            loss += smoothing * (mean - distance);
        }
        losses[n] = S::of(if n < valid { loss } else { 0.0 });
        predictions[n] = prediction as u32;
    }
}

/// One exponential in f32 per logit, where the reference takes two in f64; the sums stay f64.
fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (header, labels, logits) = (args.header(HEADER), args.words(LABELS), args.real(LOGITS));
    let (probabilities, dlogits) = (args.out(PROBABILITIES), args.out(DLOGITS));
    let (losses, predictions) = (args.out(LOSSES), args.out_words(PREDICTIONS));
    let (c, [smoothing, rest], all_valid) = (p.c as usize, smoothing(&p, &header), header.global_valid());
    let valid = args.valid(&header);
    let rows = logits.chunks_exact(c).zip(probabilities.chunks_exact_mut(c)).zip(dlogits.chunks_exact_mut(c));
    for (n, ((logits, probabilities), dlogits)) in rows.enumerate() {
        let (mut largest, mut prediction) = (logits[0], 0);
        for (i, v) in logits.iter().enumerate() {
            if *v > largest {
                (largest, prediction) = (*v, i);
            }
        }
        predictions[n] = prediction as u32;
        let mut sum = 0.0;
        for (probability, v) in probabilities.iter_mut().zip(logits) {
            *probability = (*v - largest).exp();
            sum += f64::from(*probability);
        }
        let share = (1.0 / sum) as f32;
        probabilities.iter_mut().for_each(|probability| *probability *= share);
        if n >= valid {
            dlogits.fill(0.0);
            losses[n] = 0.0;
            continue;
        }
        let label = labels[n] as usize;
        let (weight, spread) = (1.0 / all_valid as f32, smoothing / c as f32);
        for (d, probability) in dlogits.iter_mut().zip(&*probabilities) {
            *d = (*probability - spread) * weight;
        }
        if let Some(d) = dlogits.get_mut(label) {
            *d = (probabilities[label] - (rest + spread)) * weight;
        }
        let distance = f64::from(largest) - f64::from(logits[label.min(c - 1)]);
        let mut loss = sum.ln() + distance;
        if smoothing > 0.0 {
            let mean = logits.iter().map(|v| f64::from(largest) - f64::from(*v)).sum::<f64>() / c as f64;
            loss += f64::from(smoothing) * (mean - distance);
        }
        losses[n] = loss as f32;
    }
}

fn summary_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (header, labels, losses, predictions) =
        (args.header(HEADER), args.words(LABELS), args.real(LOSSES), args.words(PREDICTIONS));
    let valid = (header.valid as usize).min(losses.len());
    args.out(LOSS)[0] = S::of(losses[..valid].iter().map(|v| v.get()).sum());
    let correct = predictions[..valid].iter().zip(labels).filter(|(p, l)| p == l).count();
    args.out_words(CORRECT)[0] = correct as u32;
}

fn step_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, labels, logits) = (args.words(HEADER), args.words(LABELS), args.real(LOGITS));
    let (dlogits, losses, predictions) = (args.out(DLOGITS), args.out(LOSSES), args.out_words(PREDICTIONS));
    let mut probabilities = vec![S::of(0.0); logits.len()];
    let inputs = [Slot::Words(header), Slot::Words(labels), Slot::Real(logits)];
    let outputs = [
        SlotMut::Real(&mut probabilities),
        SlotMut::Real(dlogits),
        SlotMut::Real(&mut *losses),
        SlotMut::Words(&mut *predictions),
    ];
    forward_reference(&mut Args::new(&FORWARD, bytemuck::bytes_of(&p), inputs, outputs));
    let inputs = [Slot::Words(header), Slot::Words(labels), Slot::Real(losses), Slot::Words(predictions)];
    let outputs = [SlotMut::Real(args.out(LOSS)), SlotMut::Words(args.out_words(CORRECT))];
    summary_reference(&mut Args::new(&SUMMARY, bytemuck::bytes_of(&p), inputs, outputs));
}

fn probabilities_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let c = args.params::<Params>().c as usize;
    let rows = args.real(LOGITS).chunks_exact(c).zip(args.out(PROBABILITIES).chunks_exact_mut(c));
    for (logits, probabilities) in rows {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |most, v| most.max(v.get()));
        let sum: f64 = logits.iter().map(|v| (v.get() - largest).exp()).sum();
        for (probability, v) in probabilities.iter_mut().zip(logits) {
            *probability = S::of((v.get() - largest).exp() / sum);
        }
    }
}

fn gradient_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let c = args.params::<Params>().c as usize;
    let (header, labels, probabilities) = (args.header(HEADER), args.words(LABELS), args.real(PROBABILITIES));
    let (valid, all_valid) = (header.valid as usize, f64::from(header.global_valid()));
    for (i, out) in args.out(DPROBABILITIES).iter_mut().enumerate() {
        let hit = i / c < valid && i % c == labels[i / c] as usize;
        let probability = probabilities[i].get().max(f64::from(f32::MIN_POSITIVE));
        *out = S::of(if hit { -1.0 / (probability * all_valid) } else { 0.0 });
    }
}

/// A batch's summary, with wrong predictions everywhere but in the last row and a few others.
fn large_batch(n: usize) -> Case {
    let mut b = CaseBuilder::default();
    let predictions = (0..n).map(|i| u32::from(i != n - 1 && i % 300 != 7)).collect();
    let header = b.header(Header::evaluation(n as u32));
    let inputs = [header, b.words(vec![0; n]), b.between(n, 0.0, 5.0), b.words(predictions)];
    let (loss, correct) = (b.out(1), b.out_words(1));
    // A lane adds up to 256 losses, and a tree the lanes.
    b.case(format_args!("{n} rows"), summary(inputs, loss, correct), Tolerance::sum(n.div_ceil(256) + 8, 5.0))
}

/// Rows of more than 256 classes with ties, NaN and infinities.
fn wide() -> Vec<Case> {
    let plain = |c: usize| (c % 50) as f32 * 0.1;
    type Logit = fn(usize) -> Option<f32>;
    let rows: [(&str, Logit); 9] = [
        ("the last is the largest", |c| (c == 999).then_some(9.0)),
        ("ties between lanes", |c| [301, 300, 999].contains(&c).then_some(9.0)),
        ("ties in a lane", |c| [17, 17 + 256, 17 + 512].contains(&c).then_some(9.0)),
        ("all equal", |_| Some(-3.0)),
        ("zeros of both signs", |c| Some(if c < 600 { -0.0 } else { 0.0 })),
        ("a NaN", |c| (c == 700).then_some(f32::NAN)),
        ("a NaN at first", |c| (c == 0).then_some(f32::NAN)),
        ("minus infinities", |c| (c % 2 == 0).then_some(f32::NEG_INFINITY)),
        ("NaN but for one", |c| (c != 0).then_some(f32::NAN)),
    ];
    let case = |(name, value): (&str, Logit)| {
        let mut b = CaseBuilder::default();
        let (header, labels) = (b.header(Header { training: true, ..Header::evaluation(2) }), b.words(vec![999, 3]));
        let logits = b.reals((0..2000).map(|i| value(i % 1000).unwrap_or_else(|| plain(i))).collect());
        let out = Outputs { y: b.out(2000), dx: b.out(2000), losses: b.out(2), predictions: b.out_words(2) };
        let op = forward([2, 1000], 0.0, header, labels, logits, out);
        b.case(format_args!("[2, 1000] {name}"), op, Tolerance { atol: 1e-5, rtol: 1e-5 })
    };
    rows.into_iter().map(case).collect()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // N, C, valid, largest logit, label smoothing, training
    for (n, c, valid, size, smoothing, training) in [
        (1, 1, 1, 1.0, 0.0, false),
        (20, 10, 20, 1.0, 0.0, true),
        (20, 10, 13, 8.0, 0.0, false),
        (63, 2, 63, 30.0, 0.0, false),
        (65, 17, 64, 90.0, 0.0, true),
        (300, 3, 1, 1.0, 0.0, false),
        (20, 10, 13, 8.0, 0.1, true),
        (20, 10, 20, 8.0, 0.1, false),
        (65, 17, 64, 90.0, 0.75, true),
        (700, 10, 690, 8.0, 0.1, true),
        (3, 255, 3, 8.0, 0.0, true),
        (3, 256, 2, 8.0, 0.1, true),
        (7, 257, 6, 8.0, 0.0, true),
        (5, 1000, 5, 30.0, 0.1, true),
        (2, 4099, 2, 8.0, 0.0, false),
        (3, 300, 0, 8.0, 0.1, true),
    ] {
        let shape = format!("[{n}, {c}] valid {valid} logits within {size}");
        let header = Header { training, ..Header::evaluation(valid) };
        let labels = |b: &mut CaseBuilder| b.words((0..n).map(|i| (i * 7 % c) as u32).collect());

        let mut b = CaseBuilder::default();
        let (header_in, labels_in) = (b.header(header), labels(&mut b));
        let logits = b.between(n * c, -size, size);
        let out = Outputs { y: b.out(n * c), dx: b.out(n * c), losses: b.out(n), predictions: b.out_words(n) };
        let op = forward([n, c], smoothing, header_in, labels_in, logits, out);
        // The argument of exp has a rounding error of half an ULP of the logit, which becomes a relative error.
        let rounding = f64::from(size * f32::EPSILON);
        let smooth = if smoothing > 0.0 { format!(" smoothing {smoothing}") } else { String::new() };
        let mode = if training { "training" } else { "evaluation" };
        let tolerance = Tolerance { atol: 2e-6 + 4.0 * rounding, rtol: 4e-6 + 4.0 * rounding };
        cases.push(b.case(format!("{shape}{smooth} {mode}"), op, tolerance));

        if fits_step([n, c]) {
            let mut b = CaseBuilder::default();
            let (header, labels, logits) = (b.header(header), labels(&mut b), b.between(n * c, -size, size));
            let (dlogits, losses, predictions) = (b.out(n * c), b.out(n), b.out_words(n));
            let out = StepOutputs { dlogits, losses, predictions, loss: b.out(1), correct: b.out_words(1) };
            let op = step([n, c], smoothing, header, labels, logits, out);
            // The sum of the losses has the errors of all of them.
            let tolerance = Tolerance { atol: tolerance.atol * (n as f64).sqrt(), ..tolerance };
            cases.push(b.case(format!("{shape}{smooth} {mode}"), op, tolerance));
        }
        // The other kernels do not use smoothing.
        if smoothing > 0.0 {
            continue;
        }

        let mut b = CaseBuilder::default();
        let (logits, out) = (b.between(n * c, -size, size), b.out(n * c));
        cases.push(b.case(&shape, probabilities([n, c], logits, out), tolerance));

        let mut b = CaseBuilder::default();
        let inputs = [b.header(header), labels(&mut b), b.between(n, 0.0, 5.0), labels(&mut b)];
        let (loss, correct) = (b.out(1), b.out_words(1));
        cases.push(b.case(&shape, summary(inputs, loss, correct), Tolerance::sum(n, 5.0)));

        let mut b = CaseBuilder::default();
        let (header_in, labels_in) = (b.header(header), labels(&mut b));
        let (probabilities, out) = (b.between(n * c, 1e-3, 1.0), b.out(n * c));
        let op = gradient([n, c], header_in, labels_in, probabilities, out);
        cases.push(b.case(&shape, op, Tolerance::ELEMENTWISE));
    }
    // A part of a batch; the mean is over more examples than these.
    let part = Some(Part { first_row: 30, global_valid: 50 });
    let part = Header { training: true, part, ..Header::evaluation(13) };
    let shape = "[20, 10] valid 13 from row 30 of 50";
    let labels = |b: &mut CaseBuilder| b.words((0..20).map(|i| i * 7 % 10).collect());
    let mut b = CaseBuilder::default();
    let (header, labels_in, logits) = (b.header(part), labels(&mut b), b.between(200, -8.0, 8.0));
    let out = Outputs { y: b.out(200), dx: b.out(200), losses: b.out(20), predictions: b.out_words(20) };
    let op = forward([20, 10], 0.1, header, labels_in, logits, out);
    cases.push(b.case(shape, op, Tolerance { atol: 6e-6, rtol: 8e-6 }));
    let mut b = CaseBuilder::default();
    let (header, labels_in, probabilities) = (b.header(part), labels(&mut b), b.between(200, 1e-3, 1.0));
    let op = gradient([20, 10], header, labels_in, probabilities, b.out(200));
    cases.push(b.case(shape, op, Tolerance::ELEMENTWISE));
    // Logits whose sum overflows, and one far from the others.
    let mut b = CaseBuilder::default();
    let (header, labels) = (b.header(Header::evaluation(3)), b.words(vec![1, 0, 3]));
    let huge = [[-1e38; 4], [1e38, -1e38, 1e38, 1e38], [1e4, 1e4 - 2.0, 1e4 - 5.0, 1e4 - 1.0]];
    let logits = b.reals(huge.concat());
    let out = Outputs { y: b.out(12), dx: b.out(12), losses: b.out(3), predictions: b.out_words(3) };
    let op = forward([3, 4], 0.0, header, labels, logits, out);
    cases.push(b.case("huge logits", op, Tolerance::ELEMENTWISE));
    let mut b = CaseBuilder::default();
    let header = b.header(Header { training: true, ..Header::evaluation(1) });
    let (labels, logits) = (b.words(vec![1]), b.reals(vec![1e38, -1e38, -1e38, -1e38]));
    let out = Outputs { y: b.out(4), dx: b.out(4), losses: b.out(1), predictions: b.out_words(1) };
    let op = forward([1, 4], 0.25, header, labels, logits, out);
    cases.push(b.case("huge logits, smoothed", op, Tolerance::ELEMENTWISE));
    // Labels whose probability is not a normal number.
    let mut b = CaseBuilder::default();
    let (header, labels) = (b.header(Header::evaluation(3)), b.words(vec![1, 0, 2, 0]));
    let probabilities = b.reals(vec![1.0, 0.0, 0.0, 1e-40, 0.5, 0.5, 0.0, 1.0, 1.2e-38, 0.0, 0.5, 0.5]);
    let op = gradient([4, 3], header, labels, probabilities, b.out(12));
    cases.push(b.case("probabilities of zero", op, Tolerance::ELEMENTWISE));
    // Half of the predictions wrong; ties go to the first class.
    let mut b = CaseBuilder::default();
    let labels: Vec<u32> = (0..130).map(|i| i % 4).collect();
    let predictions = labels.iter().map(|l| l % 2).collect();
    let inputs = [b.header(Header::evaluation(129)), b.words(labels), b.between(130, 0.0, 5.0), b.words(predictions)];
    let (loss, correct) = (b.out(1), b.out_words(1));
    cases.push(b.case("half wrong", summary(inputs, loss, correct), Tolerance::sum(129, 5.0)));
    cases.extend([1, 255, 256, 257, 1009, 65_535].map(large_batch));
    cases.extend(wide());
    also_split(
        cases,
        &[
            "softmax.forward [300, 3]",
            "softmax.probabilities [300, 3]",
            "softmax.gradient [300, 3]",
            "softmax.forward [7, 257]",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Slot, SlotMut};
    use super::*;

    #[test]
    fn the_share_of_the_label_is_not_that_of_a_rounded_smoothing() {
        let mut b = CaseBuilder::default();
        let (header, labels) = (b.header(Header::evaluation(1)), b.words(vec![1]));
        let (logits, predictions) = (b.real(3), b.out_words(1));
        let out = Outputs { y: b.out(3), dx: b.out(3), losses: b.out(1), predictions };
        let op = forward([1, 3], 0.9999, header, labels, logits, out);
        assert_eq!(bytemuck::pod_read_unaligned::<Params>(&op.params).rest, 1e-4);
    }

    #[test]
    fn smoothed_targets_give_pytorchs_losses_and_gradients() {
        // torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.25), in f64; the gradient is the mean's.
        let logits = [1.0, 2.0, -1.0, 0.5, -3.0, 4.0];
        let (header, labels) = (Header { training: true, ..Header::evaluation(2) }.words(), [0, 2]);
        let losses: &[f32] = &[1.432_345_6, 0.905_635_2];
        let gradient: &[f32] = &[-0.286_918_4, 0.311_025_6, -0.024_107_2, -0.027_023_5, -0.041_224_5, 0.068_248];
        let expected = [losses, gradient];
        let params = Params { smoothing: 0.25, rest: 0.75, ..Params::new(2, 3) };
        for function in [FORWARD.reference.single, FORWARD.cpu.expect("a fast function").run] {
            let (mut probabilities, mut dlogits, mut losses, mut predictions) = ([0.0; 6], [0.0; 6], [0.0; 2], [0; 2]);
            let inputs = vec![Slot::Words(&header), Slot::Words(&labels), Slot::Real(&logits)];
            let outputs = vec![
                SlotMut::Real(&mut probabilities),
                SlotMut::Real(&mut dlogits),
                SlotMut::Real(&mut losses),
                SlotMut::Words(&mut predictions),
            ];
            function(&mut Args::new(&FORWARD, bytemuck::bytes_of(&params), inputs, outputs));
            for (got, want) in [&losses[..], &dlogits[..]].into_iter().zip(expected) {
                let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6);
                assert!(near && got.len() == want.len(), "{got:?} instead of {want:?}");
            }
        }
    }
}
