//! Maxout: the largest of every group of adjacent channels, `[M,C]` -> `[M,C/group]`, and its channel (Goodfellow et
//! al. 2013). The first maximum wins, as in max-pooling and ConvNetJS, and a NaN beats every number.
//! `shaders/maxout.wgsl`.

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Args, Case, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, per_example,
};
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// The number of outputs: M * C / group.
    pub count: u32,
    pub group: u32,
    pub reserved: [u32; 2],
}

impl Params {
    /// For `inputs` values in groups of `group`.
    pub fn new(inputs: usize, group: usize) -> Params {
        assert!(group > 0 && inputs.is_multiple_of(group), "maxout: {inputs} values in groups of {group}");
        Params { count: word(inputs / group), group: word(group), reserved: [0; 2] }
    }

    fn inputs(&self) -> usize {
        self.count as usize * self.group as usize
    }
}

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
/// The position of the largest channel within its group.
const WINNER: Operand = per_example("winner", U32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

const SOURCE: &str = shader!("prelude/index", "maxout");

pub(super) static FAMILY: Family = Family { operations: &[&FORWARD, &BACKWARD], cases };

/// The largest of each group, and its position.
pub static FORWARD: Operation = Operation {
    name: "maxout.forward",
    inputs: &[X],
    outputs: &[Y, WINNER],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[&Variant::new("maxout.forward", SOURCE, "forward", |op| {
        Launch::linear(op.params::<Params>().count as usize, 64)
    })],
};

/// dy at each group's winner, 0 elsewhere.
pub static BACKWARD: Operation = Operation {
    name: "maxout.backward",
    inputs: &[DY, WINNER],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_reference, backward_reference),
    cpu: Cpu::new(backward_cpu),
    gpu: &[&Variant::new("maxout.backward", SOURCE, "backward", |op| {
        Launch::linear(op.params::<Params>().inputs(), 64)
    })],
};

pub fn forward(p: Params, x: Tensor, y: Tensor, winner: Tensor) -> Op {
    let count = p.count as usize;
    assert_eq!((x.len, y.len, winner.len), (p.inputs(), count, count), "maxout.forward: x, y, winner of {p:?}");
    Op::new(&FORWARD, p, &[(X, x)], &[(Y, y), (WINNER, winner)], p.inputs()).in_pieces(1)
}

pub fn backward(p: Params, dy: Tensor, winner: Tensor, dx: Tensor) -> Op {
    let count = p.count as usize;
    assert_eq!((dy.len, winner.len, dx.len), (count, count, p.inputs()), "maxout.backward: dy, winner, dx of {p:?}");
    Op::new(&BACKWARD, p, &[(DY, dy), (WINNER, winner)], &[(DX, dx)], p.inputs()).in_pieces(1)
}

/// The first of the largest values; a NaN counts as larger than all others.
fn largest<S: Scalar>(group: &[S]) -> usize {
    let mut best = 0;
    for (i, v) in group.iter().enumerate().skip(1) {
        let (v, so_far) = (v.get(), group[best].get());
        if v > so_far || v.is_nan() && !so_far.is_nan() {
            best = i;
        }
    }
    best
}

fn forward_group<S: Scalar>(x: &[S], y: &mut S, winner: &mut u32) {
    let best = largest(x);
    (*y, *winner) = (x[best], best as u32);
}

fn backward_group<S: Scalar>(dy: S, winner: u32, dx: &mut [S]) {
    dx.fill(S::of(0.0));
    dx[winner as usize] = dy;
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let group = args.params::<Params>().group as usize;
    let outputs = args.out(Y).iter_mut().zip(args.out_words(WINNER));
    args.real(X).chunks_exact(group).zip(outputs).for_each(|(x, (y, winner))| forward_group(x, y, winner));
}

fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let group = args.params::<Params>().group as usize;
    let inputs = args.real(DY).iter().zip(args.words(WINNER));
    args.out(DX).chunks_exact_mut(group).zip(inputs).for_each(|(dx, (dy, winner))| backward_group(*dy, *winner, dx));
}

/// The number of groups below which a second thread costs more than it saves.
const TASK: usize = 2048;

fn forward_cpu(args: &mut Args<'_, f32>) {
    let group = args.params::<Params>().group as usize;
    let outputs = args.out(Y).par_iter_mut().zip(args.out_words(WINNER).par_iter_mut());
    let groups = args.real(X).par_chunks_exact(group).zip(outputs).with_min_len(TASK.max(args.least_items()));
    groups.for_each(|(x, (y, winner))| forward_group(x, y, winner));
}

fn backward_cpu(args: &mut Args<'_, f32>) {
    let group = args.params::<Params>().group as usize;
    let inputs = args.real(DY).par_iter().zip(args.words(WINNER).par_iter());
    let groups = args.out(DX).par_chunks_exact_mut(group).zip(inputs).with_min_len(TASK.max(args.least_items()));
    groups.for_each(|(dx, (dy, winner))| backward_group(*dy, *winner, dx));
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (count, group) in [(1, 1), (1, 7), (63, 2), (64, 3), (65, 2), (1009, 5)] {
        let (p, shape) = (Params::new(count * group, group), format!("{count} groups of {group}"));
        let mut b = CaseBuilder::default();
        let (x, y, winner) = (b.real(count * group), b.out(count), b.out_words(count));
        cases.push(b.case(&shape, forward(p, x, y, winner), Tolerance::EXACT));
        let mut b = CaseBuilder::default();
        let winners = (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) % group as u32).collect();
        let (dy, winner, dx) = (b.real(count), b.words(winners), b.out(count * group));
        cases.push(b.case(&shape, backward(p, dy, winner, dx), Tolerance::EXACT));
    }
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let special = vec![0.0, 0.0, 1.0, nan, nan, 1.0, -inf, -3e38, inf, nan, -0.0, 0.0];
    let mut b = CaseBuilder::default();
    let (x, y, winner) = (b.reals(special.clone()), b.out(6), b.out_words(6));
    cases.push(b.case("ties, NaN, infinities", forward(Params::new(12, 2), x, y, winner), Tolerance::EXACT));
    also_split(cases, &["1009 groups of 5"])
}
