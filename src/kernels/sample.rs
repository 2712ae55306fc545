//! Cases for operations of any shape, as programs have them: random inputs, so that variants can be compared and timed.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance};
use super::op::{Slot, SlotMut};
use super::{Args, Case, Element, Extent, Op, Operand, Tensor, conv, conv_fused, conv_params, pool};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The number of different values in an input; longer ones repeat them. A prime, so that the values do not repeat with
/// rows or channels.
const DIFFERENT: usize = 65_521;

/// The examples whose winners differ; larger batches repeat them.
const EXAMPLES: usize = 3;

/// A case of an operation in a program. `outputs` are the lengths of its outputs, and `examples` is the number of
/// examples that the step's header says. `None` if an input holds words of an unknown meaning.
///
/// The tolerance is that of a sum with as many terms as the operation has multiply-adds per output.
pub fn sample(op: &Op, outputs: &[usize], examples: usize) -> Option<Case> {
    let mut b = CaseBuilder::default();
    let mut inputs = Vec::with_capacity(op.inputs.len());
    let mut scale = 1.0;
    for (seed, (operand, &len)) in (0..).zip(op.operation.inputs.iter().zip(&op.lengths)) {
        inputs.push(match (operand.element, operand.name) {
            // Their last part is 1 / deviation, which is positive.
            (Element::F32, "statistics") => {
                scale = 4.0;
                b.between(len, 0.5, 2.0)
            }
            (Element::F32, _) => b.reals(reals(len, seed)),
            (Element::U32, "header") => {
                b.header(Header { training: true, ..Header::evaluation(u32::try_from(examples).ok()?) })
            }
            (Element::U32, "winner") => b.words(winners(op, len)?),
            (Element::U32, _) => return None,
        });
    }
    let out = |(operand, &len): (&Operand, &usize)| match operand.element {
        Element::F32 => b.out(len),
        Element::U32 => b.out_words(len),
    };
    let written: Vec<Tensor> = op.operation.outputs.iter().zip(outputs).map(out).collect();
    let ids = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.id).collect();
    let op = Op { inputs: ids(&inputs), outputs: ids(&written), ..op.clone() };
    let values = outputs.iter().sum::<usize>().max(1) as u64;
    let sum = Tolerance::sum((op.work.flops / 2 / values).max(1) as usize, scale);
    let few = Tolerance::ELEMENTWISE;
    let tolerance = Tolerance { atol: sum.atol.max(few.atol * scale), rtol: sum.rtol.max(few.rtol) };
    Some(b.case(op.shape(), op, tolerance))
}

/// The same operation on as many examples as `flops` allow, at least one, with the lengths of its outputs. Only
/// convolutions are reduced, because everything else is cheap.
pub fn reduced(op: &Op, outputs: &[usize], flops: u64) -> (Op, Vec<usize>) {
    let families = [&conv::FAMILY, &conv_fused::FAMILY];
    let is_convolution = families.iter().any(|f| f.operations.iter().any(|o| std::ptr::eq(*o, op.operation)));
    if !is_convolution || op.work.flops <= flops {
        return (op.clone(), outputs.to_vec());
    }
    let whole: conv::Params = op.params();
    let n = (flops / (op.work.flops / u64::from(whole.n)).max(1)).clamp(1, u64::from(whole.n));
    let few = conv::Params { n: n as u32, ..whole };
    let len = |(operand, &len): (&Operand, &usize)| match operand.extent {
        Extent::Whole => len,
        Extent::PerExample => len / whole.n as usize * few.n as usize,
        Extent::PerUnit => few.partial_len(),
    };
    let mut op = op.clone();
    op.lengths = op.operation.inputs.iter().zip(&op.lengths).map(len).collect();
    op.params = bytemuck::bytes_of(&few).to_vec();
    op.work.flops = op.work.flops / u64::from(whole.n) * n;
    let outputs = op.operation.outputs.iter().zip(outputs).map(len).collect();
    (op, outputs)
}

/// Reals in [-1, 1).
fn reals(len: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let different: Vec<f32> = (0..len.min(DIFFERENT)).map(|_| random.random_range(-1.0..1.0)).collect();
    repeated(different, len)
}

fn repeated<T: Copy>(values: Vec<T>, len: usize) -> Vec<T> {
    values.iter().copied().cycle().take(len).collect()
}

/// Winners as the pooling of random values gives them.
fn winners(op: &Op, len: usize) -> Option<Vec<u32>> {
    let whole: pool::Params = if std::ptr::eq(op.operation, &pool::BACKWARD) {
        op.params()
    } else if op.operation.inputs.contains(&conv_params::DPOOLED) {
        op.params::<conv::Params>().pooling()
    } else {
        return None;
    };
    let few = pool::Params { n: whole.n.min(EXAMPLES as u32), ..whole };
    let x = reals(few.input_len(), 9);
    let (mut y, mut winner) = (vec![0.0; few.output_len()], vec![0; few.output_len()]);
    let outputs = [SlotMut::Real(&mut y[..]), SlotMut::Words(&mut winner[..])];
    let params = bytemuck::bytes_of(&few);
    (pool::FORWARD.reference.single)(&mut Args::new(&pool::FORWARD, params, [Slot::Real(&x[..])], outputs));
    (len == whole.output_len() && len > 0).then(|| repeated(winner, len))
}
