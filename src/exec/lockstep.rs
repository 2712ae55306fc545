//! Runs one program on two executors, operation by operation, and names the first operation whose results differ.
//!
//! After each operation the first executor's results are copied to the second, so that every operation is judged by
//! itself and errors do not pile up.

use super::Executor;
use super::check::compare;
use crate::error::Result;
use crate::kernels::case::Tolerance;
use crate::kernels::{BufferId, Element};
use serde::Serialize;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Operations compared, up to and including the one that differs.
    pub operations: usize,
    pub divergence: Option<Divergence>,
}

/// The first operation whose results differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// As `conv1.backward_weight`.
    pub operation: String,
    pub kernel: &'static str,
    /// Name of the output buffer.
    pub buffer: String,
    pub index: usize,
    pub problem: String,
}

/// Share of a tensor's largest magnitude that one operation may be off: sums of up to some ten thousand terms round to
/// a few 1e-6 of it, and a wrong term shows at 1e-4 and more.
const SHARE: f64 = 2e-5;

/// Runs all instructions with these step inputs on both; buffers must hold the same before.
pub async fn lockstep(first: &mut dyn Executor, second: &mut dyn Executor, inputs: &[u32]) -> Result<Report> {
    let instructions = first.program().instructions.clone();
    first.begin_step(inputs)?;
    second.begin_step(inputs)?;
    for (i, instruction) in instructions.iter().enumerate() {
        first.run(i..i + 1)?;
        second.run(i..i + 1)?;
        for output in &instruction.op.outputs {
            let (want, got) = (first.read(*output).await?, second.read(*output).await?);
            if let Some(difference) = judge(first, *output, &got, &want) {
                let divergence = Divergence {
                    operation: instruction.name.clone(),
                    kernel: instruction.op.kernel.name,
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

fn judge(executor: &dyn Executor, output: BufferId, got: &[u32], want: &[u32]) -> Option<super::check::Difference> {
    let element = executor.program().buffer(output).element;
    let largest = match element {
        Element::U32 => 0.0,
        // The statistics' stand-ins for "no value" are no magnitude to measure by.
        Element::F32 => (want.iter().map(|w| f64::from(f32::from_bits(*w)).abs()))
            .filter(|v| *v < f64::from(f32::MAX))
            .fold(0.0, f64::max),
    };
    compare(element, got, want, Tolerance { atol: SHARE * largest, rtol: 1e-5 }).0
}
