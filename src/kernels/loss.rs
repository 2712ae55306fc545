//! Losses of scores with one label per example, besides softmax. For scores `[N,C]`: `hinge`, the multi-class loss of
//! support vector machines (Weston and Watkins 1999, as in ConvNetJS: the sum of max(0, s_j - s_label + 1) over the
//! other classes), and `mse`, half the squared distance from the one-hot target (ConvNetJS's regression). For one score
//! `[N]`: `number`, half the squared distance from the label's number. Each returns a copy of the scores, the gradient
//! of the mean loss with respect to them, every example's loss, and the class with the largest score or the nearest
//! number. Rows from `header.valid` on have loss and gradient zero, so that a partial batch's mean is right.
//! `shaders/loss.wgsl`.

use super::batch::{Header, Part};
use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::softmax::{HEADER, LABELS, LOSSES, Outputs, PREDICTIONS, is_wide};
use super::{
    Args, Case, Element::F32, Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, per_example,
    whole,
};

/// The number of classes that `number` chooses from in every network, because labels are bytes.
pub const NUMBERS: usize = 256;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    pub c: u32,
    pub reserved: [u32; 2],
}

const SCORES: Operand = per_example("scores", F32);
/// The number that each class stands for.
const CLASS_NUMBERS: Operand = whole("numbers", F32);
/// A copy of the scores.
const OUT: Operand = per_example("out", F32);
/// The gradient of the mean loss with respect to the scores.
const DSCORES: Operand = per_example("dscores", F32);

pub(super) static FAMILY: Family = Family { operations: &[&HINGE, &MSE, &NUMBER], cases };

/// The hinge loss of every example.
pub static HINGE: Operation = over_scores(
    "loss.hinge",
    &[&wide("loss.hinge_wide", "hinge_wide"), &variant("loss.hinge", "hinge")],
    Reference::new(reference::<f32, Hinge>, reference::<f64, Hinge>),
);

/// Half the squared distance from the one-hot target.
pub static MSE: Operation = over_scores(
    "loss.mse",
    &[&wide("loss.mse_wide", "mse_wide"), &variant("loss.mse", "mse")],
    Reference::new(reference::<f32, Mse>, reference::<f64, Mse>),
);

/// Half the squared distance from the label's number.
pub static NUMBER: Operation = Operation {
    inputs: &[HEADER, LABELS, SCORES, CLASS_NUMBERS],
    ..over_scores(
        "loss.number",
        &[&wide("loss.number_wide", "number_wide"), &variant("loss.number", "number")],
        Reference::new(number_reference, number_reference),
    )
};

const fn over_scores(name: &'static str, gpu: &'static [&'static Variant], reference: Reference) -> Operation {
    Operation {
        name,
        inputs: &[HEADER, LABELS, SCORES],
        outputs: &[OUT, DSCORES, LOSSES, PREDICTIONS],
        params: size_of::<Params>(),
        reference,
        // A few products per score.
        cpu: None,
        gpu,
    }
}

const SOURCE: &str = shader!("prelude/header", "prelude/index", "prelude/first_maximum", "prelude/pair_sum", "loss");

/// One invocation per row.
const fn variant(name: &'static str, entry: &'static str) -> Variant {
    Variant::new(name, SOURCE, entry, |op| Launch::linear(op.params::<Params>().n as usize, 64))
}

/// One workgroup per row of many classes.
const fn wide(name: &'static str, entry: &'static str) -> Variant {
    Variant {
        condition: |op, adapter| is_wide(op.params::<Params>().c, adapter),
        ..Variant::new(name, SOURCE, entry, |op| Launch::linear(op.params::<Params>().n as usize, 1))
            .in_workgroups_of(256)
    }
}

pub fn hinge(size: [usize; 2], header: Tensor, labels: Tensor, scores: Tensor, out: Outputs) -> Op {
    loss(&HINGE, size, header, labels, scores, out)
}

pub fn mse(size: [usize; 2], header: Tensor, labels: Tensor, scores: Tensor, out: Outputs) -> Op {
    loss(&MSE, size, header, labels, scores, out)
}

fn loss(
    operation: &'static Operation,
    [n, c]: [usize; 2],
    header: Tensor,
    labels: Tensor,
    scores: Tensor,
    out: Outputs,
) -> Op {
    let params = Params { n: word(n), c: word(c), reserved: [0; 2] };
    assert_eq!(
        (header.len, labels.len, scores.len),
        (Header::LEN, n, n * c),
        "{}: header, labels, scores",
        operation.name
    );
    assert_eq!((out.y.len, out.dx.len), (n * c, n * c), "{}: scores, dscores", operation.name);
    assert_eq!((out.losses.len, out.predictions.len), (n, n), "{}: losses, predictions", operation.name);
    let inputs = [(HEADER, header), (LABELS, labels), (SCORES, scores)];
    Op::new(operation, params, &inputs, &named(out), 4 * n * c).in_pieces(1)
}

/// One score per example; `numbers` are those that the classes stand for. Of equally near classes the first is
/// predicted.
pub fn number(header: Tensor, labels: Tensor, scores: Tensor, numbers: Tensor, out: Outputs) -> Op {
    let (n, c) = (labels.len, numbers.len);
    let params = Params { n: word(n), c: word(c), reserved: [0; 2] };
    assert!(c > 0, "loss.number: no class");
    assert_eq!((header.len, scores.len), (Header::LEN, n), "loss.number: header, scores");
    let outputs = named(out);
    assert!(outputs.iter().all(|(_, tensor)| tensor.len == n), "loss.number: {out:?} of {n} examples");
    let inputs = [(HEADER, header), (LABELS, labels), (SCORES, scores), (CLASS_NUMBERS, numbers)];
    Op::new(&NUMBER, params, &inputs, &outputs, 2 * n * c).in_pieces(1)
}

fn named(out: Outputs) -> [(Operand, Tensor); 4] {
    [(OUT, out.y), (DSCORES, out.dx), (LOSSES, out.losses), (PREDICTIONS, out.predictions)]
}

/// The function of a loss for one example.
trait Loss {
    /// Returns the loss; `gradient` receives the gradient with respect to the scores.
    fn of<S: Scalar>(scores: &[S], label: usize, gradient: &mut [f64]) -> f64;
}

struct Hinge;
struct Mse;

impl Loss for Hinge {
    fn of<S: Scalar>(scores: &[S], label: usize, gradient: &mut [f64]) -> f64 {
        let (own, mut loss) = (scores[label].get(), 0.0);
        for (i, score) in scores.iter().enumerate().filter(|(i, _)| *i != label) {
            // Rounded as in f32, so that all executors agree on which side of 0 it is.
            let margin = S::of(S::of(score.get() - own).get() + 1.0).get();
            // A NaN is not a satisfied margin.
            if margin > 0.0 || margin.is_nan() {
                loss += margin;
                gradient[i] += 1.0;
                gradient[label] -= 1.0;
            }
        }
        loss
    }
}

impl Loss for Mse {
    fn of<S: Scalar>(scores: &[S], label: usize, gradient: &mut [f64]) -> f64 {
        for (i, score) in scores.iter().enumerate() {
            gradient[i] = score.get() - if i == label { 1.0 } else { 0.0 };
        }
        gradient.iter().map(|d| d * d / 2.0).sum()
    }
}

fn reference<S: Scalar, L: Loss>(args: &mut Args<'_, S>) {
    let c = args.params::<Params>().c as usize;
    let (header, labels, scores) = (args.header(HEADER), args.words(LABELS), args.real(SCORES));
    let (out, dscores, losses, predictions) =
        (args.out(OUT), args.out(DSCORES), args.out(LOSSES), args.out_words(PREDICTIONS));
    out.copy_from_slice(scores);
    let (valid, all_valid) = (args.valid(&header), f64::from(header.global_valid()));
    for (n, scores) in scores.chunks_exact(c).enumerate() {
        let mut gradient = vec![0.0; c];
        let loss = L::of(scores, (labels[n] as usize).min(c - 1), &mut gradient);
        losses[n] = S::of(if n < valid { loss } else { 0.0 });
        for (to, gradient) in dscores[n * c..][..c].iter_mut().zip(gradient) {
            *to = S::of(if n < valid { gradient / all_valid } else { 0.0 });
        }
        let mut prediction = 0;
        for (i, score) in scores.iter().enumerate() {
            if score.get() > scores[prediction].get() {
                prediction = i;
            }
        }
        predictions[n] = prediction as u32;
    }
}

fn number_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (header, labels, scores, numbers) =
        (args.header(HEADER), args.words(LABELS), args.real(SCORES), args.real(CLASS_NUMBERS));
    let (out, dscores, losses, predictions) =
        (args.out(OUT), args.out(DSCORES), args.out(LOSSES), args.out_words(PREDICTIONS));
    out.copy_from_slice(scores);
    let (valid, all_valid) = (args.valid(&header), f64::from(header.global_valid()));
    for (n, score) in scores.iter().enumerate() {
        // Rounded as in f32, so that all executors agree on the nearest.
        let distance = |number: &S| S::of(score.get() - number.get()).get();
        let own = distance(&numbers[(labels[n] as usize).min(numbers.len() - 1)]);
        losses[n] = S::of(if n < valid { own * own / 2.0 } else { 0.0 });
        dscores[n] = S::of(if n < valid { own / all_valid } else { 0.0 });
        let mut prediction = 0;
        for (c, number) in numbers.iter().enumerate() {
            if distance(number).abs() < distance(&numbers[prediction]).abs() {
                prediction = c;
            }
        }
        predictions[n] = prediction as u32;
    }
}

fn cases() -> Vec<Case> {
    let mut cases = number_cases();
    // N, C, valid, largest score
    for (n, c, valid, size) in [
        (1, 2, 1, 1.0),
        (20, 10, 20, 1.0),
        (20, 10, 13, 8.0),
        (63, 2, 63, 30.0),
        (65, 17, 64, 3.0),
        (300, 3, 1, 1.0),
        (3, 255, 3, 3.0),
        (3, 256, 2, 3.0),
        (7, 257, 6, 3.0),
        (5, 1000, 5, 8.0),
        (2, 4099, 0, 1.0),
    ] {
        for build in [hinge, mse] {
            let mut b = CaseBuilder::default();
            let header = b.header(Header::evaluation(valid));
            let labels = b.words((0..n).map(|i| (i * 7 % c) as u32).collect());
            let scores = b.between(n * c, -size, size);
            let out = Outputs { y: b.out(n * c), dx: b.out(n * c), losses: b.out(n), predictions: b.out_words(n) };
            let op = build([n, c], header, labels, scores, out);
            let shape = format!("[{n}, {c}] valid {valid} scores within {size}");
            cases.push(b.case(shape, op, Tolerance::sum(c, f64::from(size * size).max(1.0))));
        }
    }
    // A part of a batch; the mean is over more examples than these.
    let part = Header { part: Some(Part { first_row: 30, global_valid: 50 }), ..Header::evaluation(13) };
    for build in [hinge, mse] {
        let mut b = CaseBuilder::default();
        let (header, labels) = (b.header(part), b.words((0..20).map(|i| i * 7 % 10).collect()));
        let scores = b.between(200, -3.0, 3.0);
        let out = Outputs { y: b.out(200), dx: b.out(200), losses: b.out(20), predictions: b.out_words(20) };
        let op = build([20, 10], header, labels, scores, out);
        cases.push(b.case("[20, 10] valid 13 from row 30 of 50", op, Tolerance::sum(10, 9.0)));
    }
    let mut b = CaseBuilder::default();
    let (header, labels) = (b.header(part), b.words((0..20).map(|i| i * 7 % 10).collect()));
    let (scores, numbers) = (b.between(20, -12.0, 12.0), b.between(10, -12.0, 12.0));
    let out = Outputs { y: b.out(20), dx: b.out(20), losses: b.out(20), predictions: b.out_words(20) };
    let op = number(header, labels, scores, numbers, out);
    cases.push(b.case("[20] of 10 valid 13 from row 30 of 50", op, Tolerance::ELEMENTWISE));
    // A margin of minus infinity is kept too.
    let mut b = CaseBuilder::default();
    let (header, labels) = (b.header(Header::evaluation(1)), b.words(vec![0]));
    let scores = b.reals(vec![1.0, f32::NEG_INFINITY, 0.5]);
    let out = Outputs { y: b.out(3), dx: b.out(3), losses: b.out(1), predictions: b.out_words(1) };
    cases.push(b.case("an infinite margin", hinge([1, 3], header, labels, scores, out), Tolerance::EXACT));
    // Margins of exactly 0 are satisfied, and ties go to the first class.
    for build in [hinge, mse] {
        let mut b = CaseBuilder::default();
        let header = b.header(Header::evaluation(2));
        let labels = b.words(vec![0, 2]);
        let scores = b.reals(vec![1.0, 0.0, 1.0, 0.0, -2.0, 3.0, 4.0, 4.0]);
        let out = Outputs { y: b.out(8), dx: b.out(8), losses: b.out(2), predictions: b.out_words(2) };
        let op = build([2, 4], header, labels, scores, out);
        cases.push(b.case("margins of 0 and ties", op, Tolerance::EXACT));
    }
    cases.extend(wide_cases());
    also_split(cases, &["[300", "[7, 257]", "[7] of 257"])
}

/// Rows of more than 256 classes with ties and NaN. All margins are multiples of a half, and their sums are exact.
fn wide_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    type Score = fn(usize) -> Option<f32>;
    let rows: [(&str, Score); 6] = [
        ("the last is the largest", |c| (c == 999).then_some(9.0)),
        ("ties between lanes", |c| [301, 300, 999].contains(&c).then_some(9.0)),
        ("ties in a lane", |c| [17, 17 + 256, 17 + 512].contains(&c).then_some(9.0)),
        ("a NaN", |c| (c == 700).then_some(f32::NAN)),
        ("a NaN at first", |c| (c == 0).then_some(f32::NAN)),
        ("a NaN for the label", |c| (c == 3).then_some(f32::NAN)),
    ];
    for (name, value) in rows {
        for build in [hinge, mse] {
            let mut b = CaseBuilder::default();
            let (header, labels) = (b.header(Header::evaluation(2)), b.words(vec![999, 3]));
            let score = |i: usize| value(i % 1000).unwrap_or((i % 16) as f32 * 0.5 - 4.0);
            let scores = b.reals((0..2000).map(score).collect());
            let out = Outputs { y: b.out(2000), dx: b.out(2000), losses: b.out(2), predictions: b.out_words(2) };
            let op = build([2, 1000], header, labels, scores, out);
            cases.push(b.case(format_args!("[2, 1000] {name}"), op, Tolerance { atol: 1e-6, rtol: 1e-6 }));
        }
    }
    // Scores as near to class 300 as to 301 and 812, nearest to the last, a NaN, and nearest to a 0 beyond the numbers.
    let mut b = CaseBuilder::default();
    let (header, labels) = (b.header(Header::evaluation(4)), b.words(vec![0, 999, 700, 1]));
    let at = |c: usize| match c {
        300 | 812 => -2.0,
        301 => -4.0,
        _ => c as f32 + 10.0,
    };
    let (scores, numbers) = (b.reals(vec![-3.0, 5000.0, f32::NAN, 1.0]), b.reals((0..1000).map(at).collect()));
    let out = Outputs { y: b.out(4), dx: b.out(4), losses: b.out(4), predictions: b.out_words(4) };
    let op = self::number(header, labels, scores, numbers, out);
    cases.push(b.case("[4] of 1000, ties and a NaN", op, Tolerance::ELEMENTWISE));
    cases
}

fn number_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // N, classes, valid, largest score
    for (n, c, valid, size) in [
        (1, 1, 1, 1.0),
        (20, 10, 13, 12.0),
        (63, 2, 63, 3.0),
        (65, 256, 64, 300.0),
        (300, 3, 299, 2.0),
        (7, 257, 6, 2.0),
    ] {
        let mut b = CaseBuilder::default();
        let header = b.header(Header::evaluation(valid));
        let labels = b.words((0..n).map(|i| (i * 7 % c) as u32).collect());
        let (scores, numbers) = (b.between(n, -size, size), b.between(c, -size, size));
        let out = Outputs { y: b.out(n), dx: b.out(n), losses: b.out(n), predictions: b.out_words(n) };
        let op = number(header, labels, scores, numbers, out);
        cases.push(b.case(format!("[{n}] of {c} valid {valid} scores within {size}"), op, Tolerance::ELEMENTWISE));
    }
    // In the middle between two classes the first one wins, and also if two have the same number.
    let mut b = CaseBuilder::default();
    let (header, labels) = (b.header(Header::evaluation(3)), b.words(vec![0, 2, 3]));
    let (scores, numbers) = (b.reals(vec![1.0, 5.0, -7.0]), b.reals(vec![2.0, 0.0, 6.0, 6.0, 4.0]));
    let out = Outputs { y: b.out(3), dx: b.out(3), losses: b.out(3), predictions: b.out_words(3) };
    cases.push(b.case("ties", number(header, labels, scores, numbers, out), Tolerance::ELEMENTWISE));
    cases
}

#[cfg(test)]
mod tests {
    use super::super::{Slot, SlotMut};
    use super::*;

    /// Losses and gradients of two examples.
    fn run(operation: &'static Operation, scores: &[f32; 6], labels: &[u32; 2]) -> ([f32; 2], [f32; 6]) {
        let header = Header::evaluation(2).words();
        let (mut out, mut dscores, mut losses, mut predictions) = ([0.0; 6], [0.0; 6], [0.0; 2], [0; 2]);
        let inputs = vec![Slot::Words(&header), Slot::Words(labels), Slot::Real(scores)];
        let outputs = vec![
            SlotMut::Real(&mut out),
            SlotMut::Real(&mut dscores),
            SlotMut::Real(&mut losses),
            SlotMut::Words(&mut predictions),
        ];
        let params = Params { n: 2, c: 3, reserved: [0; 2] };
        (operation.reference.single)(&mut Args::new(operation, bytemuck::bytes_of(&params), inputs, outputs));
        assert_eq!((out, predictions), (*scores, [1, 2]));
        (losses, dscores)
    }

    const SCORES: [f32; 6] = [1.0, 2.0, -1.0, 0.5, -3.0, 4.0];

    #[test]
    fn hinge_is_pytorchs_multi_margin_loss_times_the_classes() {
        // 3 * torch.nn.functional.multi_margin_loss(scores, labels), labels 0 and 0; the gradient is the mean's.
        let (losses, dscores) = run(&HINGE, &SCORES, &[0, 0]);
        assert_eq!(losses, [2.0, 4.5]);
        assert_eq!(dscores, [-0.5, 0.5, 0.0, -0.5, 0.0, 0.5]);
    }

    #[test]
    fn mse_is_half_of_pytorchs_summed_squares() {
        // 0.5 * torch.nn.functional.mse_loss(scores, one_hot, reduction="sum") of each row.
        let (losses, dscores) = run(&MSE, &SCORES, &[0, 2]);
        assert_eq!(losses, [2.5, 9.125]);
        assert_eq!(dscores, [0.0, 1.0, -0.5, 0.25, -1.5, 1.5]);
    }

    #[test]
    fn a_number_is_held_against_the_labels_own_and_predicts_the_nearest_class() {
        // 0.5 * torch.nn.functional.mse_loss(scores, targets, reduction="none"), targets 10 and 40.
        let (header, labels, scores) = (Header::evaluation(2).words(), [0, 2, 0], [12.5, 24.0, 99.0]);
        let numbers = [10.0, 20.0, 40.0];
        let (mut out, mut dscores, mut losses, mut predictions) = ([0.0; 3], [9.0; 3], [9.0; 3], [9; 3]);
        let inputs = vec![Slot::Words(&header), Slot::Words(&labels), Slot::Real(&scores), Slot::Real(&numbers)];
        let outputs = vec![
            SlotMut::Real(&mut out),
            SlotMut::Real(&mut dscores),
            SlotMut::Real(&mut losses),
            SlotMut::Words(&mut predictions),
        ];
        let params = Params { n: 3, c: 3, reserved: [0; 2] };
        (NUMBER.reference.single)(&mut Args::new(&NUMBER, bytemuck::bytes_of(&params), inputs, outputs));
        assert_eq!((out, predictions), (scores, [0, 1, 2]));
        assert_eq!((losses, dscores), ([3.125, 128.0, 0.0], [1.25, -8.0, 0.0]));
    }
}
