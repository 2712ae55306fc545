//! Runs one program on two executors, operation by operation, and names the first operation whose results differ.
//!
//! After each operation the first executor's results are copied to the second, so that every operation is judged
//! separately and errors do not accumulate.

use super::Executor;
use super::check::{compare, most_undecided};
use crate::error::Result;
use crate::kernels::case::Tolerance;
use crate::kernels::{
    BufferId, Element, Factor, Matrices, Op, Operand, Operation, batch_norm, conv, conv_fused, conv_params, fc, sums,
};
use serde::Serialize;

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The number of operations compared, including the one that differs.
    pub operations: usize,
    pub divergence: Option<Divergence>,
}

/// The first operation whose results differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The operation's name, such as `conv1.backward_weight`.
    pub operation: String,
    pub kernel: &'static str,
    /// The name of the output buffer.
    pub buffer: String,
    pub index: usize,
    pub problem: String,
}

/// The allowed error of one operation as a share of a tensor's largest magnitude. Sums of up to about ten thousand
/// terms round to a few 1e-6 of it, and a wrong term exceeds 1e-4.
const SHARE: f64 = 2e-5;

/// Families of operations whose terms may cancel, so that a correct result may consist of the terms' rounding errors,
/// such as the gradient through the mean of a single value. A term is at most as large as the first of these inputs
/// times those of the others that are above 1. Of the statistics of batch normalisation, the last third, 1 / deviation,
/// is used.
const CANCELLING: [(&Operation, &[Part]); 8] = [
    (&batch_norm::SUMS, &[Whole(batch_norm::DY), Whole(batch_norm::X), LastThird(batch_norm::STATISTICS)]),
    (&batch_norm::BACKWARD_WEIGHT, &[Whole(batch_norm::CHUNK_SUMS)]),
    (
        &batch_norm::BACKWARD_INPUT,
        &[Whole(batch_norm::DY), LastThird(batch_norm::STATISTICS), Whole(batch_norm::WEIGHT)],
    ),
    (&fc::BACKWARD_WEIGHT, &[Whole(fc::DY), Whole(fc::X)]),
    (&conv::BACKWARD_WEIGHT, &[Whole(conv_params::DY), Whole(conv_params::X)]),
    (&conv_fused::BACKWARD_WEIGHT_POOL, &[Whole(conv_params::DPOOLED), Whole(conv_params::X)]),
    (&conv::SUM_SPLITS, &[Whole(conv_params::PARTIAL)]),
    (&sums::SUMS, &[Whole(sums::PARTIALS)]),
];

/// Operations whose words say which of several rounded values is the largest, or whether one is above zero. Values that
/// differ by their rounding alone may be decided otherwise.
const DECIDING: [&Operation; 1] = [&conv_fused::FORWARD_POOL];

/// The share of words that may be decided otherwise: rounding errors are about a millionth of the distance between two
/// values of a window.
const UNDECIDED: f64 = 1e-3;

/// The share of an operation's output words that rounding may decide.
pub(super) fn undecided(operation: &Operation) -> f64 {
    if DECIDING.iter().any(|deciding| std::ptr::eq(*deciding, operation)) { UNDECIDED } else { 0.0 }
}

/// An input, or a part of it, whose values are factors of terms.
#[derive(Clone, Copy)]
enum Part {
    Whole(Operand),
    LastThird(Operand),
}
use Part::{LastThird, Whole};

/// How many times as large these errors are in a product whose factors are rounded to f16, of 11 bits instead of 24.
const OF_F16: f64 = 8192.0;
/// [`SHARE`] of such a product. Rounding two factors changes a term by at most 2^-10 of it, and a sum of k terms by
/// about sqrt(k) times that, while the largest of many sums is some times sqrt(k) terms.
const SHARE_OF_F16: f64 = 4.0 / 1024.0;
/// [`SHARE`] of a sum by cooperative matrices, which devices may truncate.
const SHARE_OF_MATRICES: f64 = 4.0 * SHARE;
/// [`UNDECIDED`] of such a product.
const UNDECIDED_OF_F16: f64 = 0.02;

/// Smaller differences are ignored: an operation whose inputs are only rounding errors also outputs only rounding
/// errors.
const NOTHING: f64 = 1e-12;

/// The rounding error as a share of the largest term.
const ROUNDING: f64 = 8.0 * f32::EPSILON as f64;

/// Runs all instructions with these step inputs on both; the buffers must have equal contents before.
pub async fn lockstep(first: &mut dyn Executor, second: &mut dyn Executor, inputs: &[u32]) -> Result<Report> {
    let instructions = first.program().instructions.clone();
    first.begin_step(inputs)?;
    second.begin_step(inputs)?;
    for (i, instruction) in instructions.iter().enumerate() {
        first.run(i..i + 1)?;
        second.run(i..i + 1)?;
        let errors = Errors::of(&instruction.op, second.kernel(i));
        let rounding = errors.rounding * largest_term(first, &instruction.op).await?;
        for output in &instruction.op.outputs {
            let (want, got) = (first.read(*output).await?, second.read(*output).await?);
            let element = first.program().buffer(*output).element;
            let may_differ = most_undecided(element, want.len(), errors.undecided);
            let difference = judge(first, *output, &got, &want, [errors.share, rounding]);
            if let Some(difference) = difference.filter(|found| found.count > may_differ) {
                let divergence = Divergence {
                    operation: instruction.name.clone(),
                    kernel: second.kernel(i),
                    buffer: first.program().buffer(*output).name.clone(),
                    index: difference.index,
                    problem: difference.problem,
                };
                return Ok(Report { operations: i + 1, divergence: Some(divergence) });
            }
            second.write(*output, &want)?;
        }
    }
    Ok(Report { operations: instructions.len(), divergence: None })
}

/// The errors that are expected of an operation.
struct Errors {
    share: f64,
    rounding: f64,
    undecided: f64,
}

impl Errors {
    /// The errors of an operation that this kernel computes.
    fn of(op: &Op, kernel: &str) -> Errors {
        let plain = Errors { share: SHARE, rounding: ROUNDING, undecided: undecided(op.operation) };
        let variant = op.operation.gpu.iter().find(|variant| variant.name == kernel);
        match variant.and_then(|variant| variant.matrices) {
            None => plain,
            Some(Matrices { factor: Factor::F32, .. }) => Errors { share: SHARE_OF_MATRICES, ..plain },
            Some(Matrices { factor: Factor::F16, .. }) => {
                Errors { share: SHARE_OF_F16, rounding: OF_F16 * ROUNDING, undecided: undecided_of_f16(op.operation) }
            }
        }
    }
}

/// The share of an operation's output words that the rounding of its factors to f16 may decide.
pub(super) fn undecided_of_f16(operation: &Operation) -> f64 {
    if undecided(operation) > 0.0 { UNDECIDED_OF_F16 } else { 0.0 }
}

/// The largest term of an operation whose terms may cancel; 0 for others.
async fn largest_term(executor: &mut dyn Executor, op: &Op) -> Result<f64> {
    let Some((_, factors)) = CANCELLING.iter().find(|(operation, _)| std::ptr::eq(*operation, op.operation)) else {
        return Ok(0.0);
    };
    let mut term = 1.0;
    for (place, factor) in factors.iter().enumerate() {
        let (Whole(input) | LastThird(input)) = *factor;
        let buffer = op.operands().find(|(operand, _)| *operand == input).map(|(_, buffer)| buffer);
        let words = executor.read(buffer.expect("an operand of this operation")).await?;
        let skipped = if matches!(factor, LastThird(_)) { words.len() / 3 * 2 } else { 0 };
        let size = largest(&words[skipped..]);
        term *= if place == 0 { size } else { size.max(1.0) };
    }
    Ok(term)
}

/// The largest magnitude of these reals, without the values by which statistics represent "no value".
fn largest(words: &[u32]) -> f64 {
    let values = words.iter().map(|word| f64::from(f32::from_bits(*word)).abs());
    values.filter(|value| *value < f64::from(f32::MAX)).fold(0.0, f64::max)
}

fn judge(
    executor: &dyn Executor,
    output: BufferId,
    got: &[u32],
    want: &[u32],
    [share, rounding]: [f64; 2],
) -> Option<super::check::Difference> {
    let element = executor.program().buffer(output).element;
    let largest = if element == Element::F32 { largest(want) } else { 0.0 };
    compare(element, got, want, Tolerance { atol: (share * largest + rounding).max(NOTHING), rtol: 1e-5 }).0
}
