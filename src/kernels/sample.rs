//! Cases for operations of any shape, as programs have them: random inputs, so that variants can be compared and timed.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance};
use super::op::{Slot, SlotMut};
use super::{
    Adapter, Args, Case, Element, Extent, Family, Launch, Op, Operand, Tensor, Variant, avg_pool, batch_norm, conv,
    conv_fused, conv_params, elementwise, fc, pool, relu, softmax, tile,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The number of different values in an input; longer ones repeat them. A prime, so that the values do not repeat with
/// rows or channels.
const DIFFERENT: usize = 65_521;

/// The examples whose winners differ; larger batches repeat them.
const EXAMPLES: usize = 3;

/// The operations that take any reals. Their parameters begin with the number of examples, or of values.
static ANY_INPUTS: [&Family; 9] = [
    &conv::FAMILY,
    &conv_fused::FAMILY,
    &batch_norm::FAMILY,
    &pool::FAMILY,
    &avg_pool::FAMILY,
    &fc::FAMILY,
    &softmax::FAMILY,
    &relu::FAMILY,
    &elementwise::FAMILY,
];

fn is_of(op: &Op, families: &[&Family]) -> bool {
    families.iter().any(|family| family.has(op.operation))
}

/// Workgroups that occupy a software adapter.
const ENOUGH_IN_SOFTWARE: u64 = 16;

/// A case of an operation in a program. `outputs` are the lengths of its outputs, and `examples` is the number of
/// examples that the step's header says. `None` if random inputs may be out of an operation's domain, or if an input
/// holds words of an unknown meaning.
///
/// The tolerance is that of a sum with as many terms as the operation has multiply-adds per output.
pub fn sample(op: &Op, outputs: &[usize], examples: usize) -> Option<Case> {
    if !is_of(op, &ANY_INPUTS) {
        return None;
    }
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
            (Element::F32, _) => b.repeated(Element::F32, len, bits(&reals(len, seed))),
            (Element::U32, "header") => {
                b.header(Header { training: true, ..Header::evaluation(u32::try_from(examples).ok()?) })
            }
            (Element::U32, "winner") => b.repeated(Element::U32, len, winners(op, len)?),
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

/// The same operation on `n` of `examples` examples, with the lengths of its outputs; `None` if its work does not grow
/// with the examples. A weight gradient that is split for a large GPU is split for one again.
pub fn reduced(op: &Op, outputs: &[usize], examples: usize, n: usize) -> Option<(Op, Vec<usize>)> {
    let is_convolution = is_of(op, &[&conv::FAMILY, &conv_fused::FAMILY]);
    let is_normalised = is_of(op, &[&batch_norm::FAMILY]);
    let mut operands = op.operation.inputs.iter().chain(op.operation.outputs);
    let grows = operands.any(|operand| operand.extent == Extent::PerExample);
    if !grows || !is_of(op, &ANY_INPUTS) || n == 0 || n > examples {
        return None;
    }
    let mut few = op.clone();
    let first = u32::from_ne_bytes(*op.params.first_chunk()?) as usize;
    if !first.is_multiple_of(examples) {
        return None;
    }
    few.params[..4].copy_from_slice(&u32::try_from(first / examples * n).ok()?.to_ne_bytes());
    let mut per_unit = 0;
    if is_convolution {
        let whole: conv::Params = op.params();
        let mut params: conv::Params = few.params();
        if whole == whole.for_hardware() {
            params = params.for_hardware();
        }
        few.params = bytemuck::bytes_of(&params).to_vec();
        per_unit = params.partial_len();
    }
    if is_normalised {
        per_unit = few.params::<batch_norm::Params>().partial_len();
    }
    let len = |(operand, &len): (&Operand, &usize)| match operand.extent {
        Extent::Whole => len,
        Extent::PerExample => len / examples * n,
        Extent::PerUnit => per_unit,
    };
    few.lengths = op.operation.inputs.iter().zip(&op.lengths).map(len).collect();
    let outputs: Vec<usize> = op.operation.outputs.iter().zip(outputs).map(len).collect();
    few.work.flops = op.work.flops / examples as u64 * n as u64;
    few.work.bytes = 4 * few.lengths.iter().chain(&outputs).sum::<usize>() as u64;
    Some((few, outputs))
}

/// Whether times of the reduced operation say something about the whole one: every variant still supports it, is the
/// same program, and fills a large GPU if it did so before.
pub fn represents(few: &Op, whole: &Op, variants: &[&'static Variant], adapter: Adapter) -> bool {
    let enough = if adapter.software { ENOUGH_IN_SOFTWARE } else { tile::ENOUGH as u64 };
    let groups = |launch: &Launch| launch.workgroups.iter().map(|size| u64::from(*size)).product::<u64>();
    variants.iter().all(|variant| {
        variant.fits(few, adapter)
            && few.dispatches(variant).iter().zip(&whole.dispatches(variant)).all(|(few, whole)| {
                few.launch.constants == whole.launch.constants
                    && groups(&few.launch) >= groups(&whole.launch).min(enough)
            })
    })
}

/// At most [`DIFFERENT`] reals in [-1, 1).
fn reals(len: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len.min(DIFFERENT)).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Winners as the pooling of random values gives them, of a few examples.
fn winners(op: &Op, len: usize) -> Option<Vec<u32>> {
    let whole: pool::Params = if std::ptr::eq(op.operation, &pool::BACKWARD) {
        op.params()
    } else if op.operation.inputs.contains(&conv_params::DPOOLED) {
        op.params::<conv::Params>().pooling()
    } else {
        return None;
    };
    let few = pool::Params { n: whole.n.min(EXAMPLES as u32), ..whole };
    let x: Vec<f32> = reals(few.input_len(), 9).into_iter().cycle().take(few.input_len()).collect();
    let (mut y, mut winner) = (vec![0.0; few.output_len()], vec![0; few.output_len()]);
    let outputs = [SlotMut::Real(&mut y[..]), SlotMut::Words(&mut winner[..])];
    let params = bytemuck::bytes_of(&few);
    (pool::FORWARD.reference.single)(&mut Args::new(&pool::FORWARD, params, [Slot::Real(&x[..])], outputs));
    (len == whole.output_len() && len > 0).then_some(winner)
}
