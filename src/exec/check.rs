//! Runs a kernel's cases on a device and compares with the reference.
//!
//! In this order: a non-finite value where the reference has none (or the reverse); |a - r| <= atol + rtol*|r|, written
//! so that NaN fails; inputs unchanged; guard words after every output intact. Outputs start as NaN, so that an element
//! nobody wrote shows.

use super::Device;
use crate::error::Result;
use crate::kernels::case::{Fill, Tolerance};
use crate::kernels::{BufferId, Case, Element};
use crate::program::Program;
use serde::Serialize;

/// Words after every output; a stray write within them is found.
const GUARD: usize = 64;
/// What guard words hold: an ordinary float, so that no driver has a reason to change it.
const GUARD_WORD: u32 = 0x5eed_c0de;
/// What outputs hold before: a NaN with a payload of our own.
const UNWRITTEN: u32 = 0x7fc1_2345;

/// A case's verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub kernel: &'static str,
    pub case: String,
    pub passed: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The largest |a - r| / (atol + rtol*|r|) over all reals; 1 is the limit.
    pub worst: f64,
}

/// How two tensors differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The first element beyond tolerance, and what is wrong there.
    pub index: usize,
    pub problem: String,
    /// Elements beyond tolerance.
    pub count: usize,
}

/// Runs one case on `device`.
pub async fn run_case(device: &Device, case: &Case) -> Result<Outcome> {
    let expected = execute(&Device::Reference, case).await?;
    let actual = execute(device, case).await?;
    Ok(judge(case, &expected, &actual))
}

/// Every buffer's words, guard included, after the case's operation.
async fn execute(device: &Device, case: &Case) -> Result<Vec<Vec<u32>>> {
    let guards: Vec<usize> = case.buffers.iter().map(|b| if is_output(&b.fill) { GUARD } else { 0 }).collect();
    let mut executor = device.executor(Program::of_case(case, &guards)).await?;
    for (i, (buffer, guard)) in case.buffers.iter().zip(&guards).enumerate() {
        let mut words = case.contents(i);
        words.resize(buffer.len, UNWRITTEN);
        words.resize(buffer.len + guard, GUARD_WORD);
        executor.write(BufferId(i as u32), &words)?;
    }
    executor.run(0..1)?;
    let mut contents = Vec::with_capacity(case.buffers.len());
    for i in 0..case.buffers.len() {
        contents.push(executor.read(BufferId(i as u32)).await?);
    }
    Ok(contents)
}

fn is_output(fill: &Fill) -> bool {
    matches!(fill, Fill::Output)
}

fn judge(case: &Case, expected: &[Vec<u32>], actual: &[Vec<u32>]) -> Outcome {
    let mut outcome =
        Outcome { kernel: case.op.kernel.name, case: case.name.clone(), passed: true, failure: None, worst: 0.0 };
    let mut fail = |problem: String| {
        outcome.passed = false;
        outcome.failure.get_or_insert(problem);
    };
    let (mut output, mut worst) = (0, 0.0f64);
    for (i, buffer) in case.buffers.iter().enumerate() {
        let (want, got) = (&expected[i], &actual[i]);
        if !is_output(&buffer.fill) {
            if let Some(at) = case.contents(i).iter().zip(got).position(|(a, b)| a != b) {
                fail(format!("input {i} was overwritten at index {at}"));
            }
            continue;
        }
        let (got, guard) = got.split_at(buffer.len);
        let (difference, ratio) = compare(buffer.element, got, &want[..buffer.len], case.tolerance);
        worst = worst.max(ratio);
        if let Some(d) = difference {
            fail(format!("output {output}, index {}: {} ({} of {} differ)", d.index, d.problem, d.count, buffer.len));
        }
        if let Some(at) = guard.iter().position(|w| *w != GUARD_WORD) {
            fail(format!("output {output} was written {at} elements beyond its end"));
        }
        output += 1;
    }
    outcome.worst = worst;
    outcome
}

/// The difference between two tensors, where there is one, and the largest error in units of the tolerance.
pub fn compare(element: Element, got: &[u32], want: &[u32], tolerance: Tolerance) -> (Option<Difference>, f64) {
    assert_eq!(got.len(), want.len(), "compared tensors");
    let mut first: Option<Difference> = None;
    let mut worst = 0.0f64;
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let (problem, ratio) = match element {
            Element::U32 => ((got != want).then(|| format!("{got} instead of {want}")), 0.0),
            Element::F32 => compare_reals(f32::from_bits(*got), f32::from_bits(*want), tolerance),
        };
        worst = worst.max(ratio);
        if let Some(problem) = problem {
            match &mut first {
                Some(difference) => difference.count += 1,
                None => first = Some(Difference { index, problem, count: 1 }),
            }
        }
    }
    (first, worst)
}

fn compare_reals(got: f32, want: f32, tolerance: Tolerance) -> (Option<String>, f64) {
    if !got.is_finite() || !want.is_finite() {
        let same = got == want || (got.is_nan() && want.is_nan());
        return ((!same).then(|| format!("{got} instead of {want}")), 0.0);
    }
    let (a, r) = (f64::from(got), f64::from(want));
    let (error, allowed) = ((a - r).abs(), tolerance.atol + tolerance.rtol * r.abs());
    let within = error <= allowed;
    let ratio = if error == 0.0 { 0.0 } else { error / allowed.max(f64::MIN_POSITIVE) };
    ((!within).then(|| format!("{got:e} instead of {want:e}, {error:.1e} off where {allowed:.1e} is allowed")), ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Tensor, relu};

    fn words(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn differs(got: f32, want: f32, tolerance: Tolerance) -> bool {
        compare(Element::F32, &words(&[got]), &words(&[want]), tolerance).0.is_some()
    }

    #[test]
    fn values_within_tolerance_pass_and_beyond_it_fail() {
        let tolerance = Tolerance { atol: 0.25, rtol: 0.5 };
        assert!(!differs(1.75, 1.0, tolerance));
        assert!(differs(1.76, 1.0, tolerance));
        assert!(differs(0.24, 1.0, tolerance));
        assert!(differs(-1.0, 1.0, tolerance));
    }

    #[test]
    fn a_non_finite_value_fails_unless_the_reference_has_the_same() {
        let wide = Tolerance { atol: f64::INFINITY, rtol: 1.0 };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(differs(bad, 1.0, wide) && differs(1.0, bad, wide));
            assert!(!differs(bad, bad, Tolerance::EXACT));
        }
        assert!(differs(f32::INFINITY, f32::NEG_INFINITY, wide) && differs(f32::NAN, f32::INFINITY, wide));
    }

    #[test]
    fn words_must_be_equal_and_the_first_difference_is_named() {
        let (difference, _) = compare(Element::U32, &[1, 2, 9, 9], &[1, 2, 3, 4], Tolerance { atol: 9.0, rtol: 9.0 });
        let difference = difference.expect("two words differ");
        assert_eq!((difference.index, difference.count), (2, 2));
    }

    fn relu_case() -> Case {
        let cases = relu::cases();
        cases.into_iter().find(|c| c.name == "relu.forward count=65").expect("the case is in the table")
    }

    fn contents(case: &Case) -> Vec<Vec<u32>> {
        pollster::block_on(execute(&Device::Reference, case)).expect("the reference runs")
    }

    #[test]
    fn planted_faults_are_found() {
        let case = relu_case();
        let good = contents(&case);
        assert!(judge(&case, &good, &good).passed);
        let failure = |fault: &dyn Fn(&mut Vec<Vec<u32>>)| {
            let mut bad = good.clone();
            fault(&mut bad);
            judge(&case, &good, &bad).failure.unwrap_or_default()
        };
        assert!(failure(&|b| b[1][64] = UNWRITTEN).contains("index 64"));
        assert!(failure(&|b| b[1][0] ^= 1 << 22).contains("index 0"));
        assert!(failure(&|b| b[0][3] ^= 1).contains("input 0 was overwritten at index 3"));
        assert!(failure(&|b| b[1][65] = 0).contains("0 elements beyond its end"));
        assert!(failure(&|b| b[1][65 + GUARD - 1] = 0).contains("63 elements beyond its end"));
    }

    #[test]
    fn an_operation_that_writes_nothing_fails() {
        let mut case = relu_case();
        let x = Tensor { id: BufferId(0), element: Element::F32, len: 65 };
        case.op = relu::forward(Tensor { len: 1, ..x }, Tensor { id: BufferId(1), len: 1, ..x });
        let good = contents(&relu_case());
        let mut short = good.clone();
        short[1][1..65].fill(UNWRITTEN);
        assert!(!judge(&case, &good, &short).passed);
    }
}
