//! Runs an operation's cases on a device and compares with the reference.
//!
//! The checks are, in this order: no non-finite value where the reference has none (or the reverse); |a - r| <= atol +
//! rtol*|r|, written so that NaN fails; inputs unchanged; guard words around every operand intact. Outputs start as
//! NaN, so that unwritten elements are found. Inputs are surrounded by words that spoil results, so that stray reads
//! are found.
//!
//! A GPU runs each case with every variant that supports it, compiled in both ways: with bounds checks, which clamp a
//! stray index to the guard after an input, and without, as in training.

use super::Device;
use super::gpu::{Gpu, RuntimeChecks};
use super::lockstep::undecided_of_f16;
use crate::error::{Error, Result};
use crate::kernels::case::{Fill, Tolerance};
use crate::kernels::{Adapter, BufferId, Case, Element, Factor, Op, TEXTURE_WIDTH, Variant};
use crate::program::{ALIGNMENT, Program, Scratch};
use serde::Serialize;

/// The least number of words after every operand; before it are [`ALIGNMENT`] words. Stray accesses within them are
/// found.
const GUARD: usize = 64;
/// The guard words of outputs: an ordinary float, so that no driver has a reason to change it.
const GUARD_WORD: u32 = 0x5eed_c0de;
/// The initial contents of outputs: a NaN with a distinctive payload.
const UNWRITTEN: u32 = 0x7fc1_2345;

/// The guard words of inputs.
#[derive(Debug, Clone, Copy)]
struct Poison {
    real: f32,
    word: u32,
}

/// Whether a word would be noticed. A NaN or an infinity is visible in a sum. A comparison drops a NaN and may select
/// an infinity or a closer value. A word that is not an index is noticed if it is followed, and a valid index only if
/// it must be a particular one.
const POISONS: [Poison; 3] =
    [Poison { real: f32::NAN, word: u32::MAX }, Poison { real: f32::INFINITY, word: 0 }, Poison { real: 0.0, word: 1 }];

/// The verdict on a case for one variant on a GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The variant; on the processor, the operation's own name.
    pub kernel: &'static str,
    pub case: String,
    pub passed: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The largest |a - r| / (atol + rtol*|r|) over all reals; 1 is the limit.
    pub worst: f64,
}

/// The difference between two tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The first element beyond tolerance, and the problem there.
    pub index: usize,
    pub problem: String,
    /// The number of elements beyond tolerance.
    pub count: usize,
}

/// Whether an input's word is unchanged. A signalling NaN may have become a quiet one: WebAssembly does that even on a
/// move, and the processor's executors on a store, unless the compiler omits their conversion.
fn is_same(element: Element, was: u32, is: u32) -> bool {
    let both_nan = || [was, is].iter().all(|word| f32::from_bits(*word).is_nan());
    was == is || (element == Element::F32 && both_nan())
}

/// Runs one case on `device` with every variant that it can run, with an outcome for each. A case whose operation names
/// its variant uses only that.
///
/// # Errors
/// [`Error::Device`] and [`Error::TooLarge`] if the device cannot hold or run it.
pub async fn run_case(device: &Device, case: &Case) -> Result<Vec<Outcome>> {
    let Device::Gpu(gpu) = device else {
        let expected = Trial::of(case).execute(&Device::Reference, POISONS[0]).await?;
        let way = Way { device: device.clone(), poison: POISONS[0], name: "" };
        return Ok(vec![judge(Trial::of(case), case.op.operation.name, &[way], &expected).await?]);
    };
    let mut outcomes = Vec::new();
    // The inputs are those of a case without a variant, which may round them.
    let bare = Case { op: Op { variant: None, ..case.op.clone() }, ..case.clone() };
    let plain = Trial::of(&bare).execute(&Device::Reference, POISONS[0]).await?;
    for op in with_variants(&case.op, gpu.adapter()) {
        let (kernel, factor) = (op.chosen(gpu.adapter()).name, op.factor());
        let case = Case { op, ..case.clone() };
        let trial = Trial::with_scratch(&case);
        if factor == Factor::F32 {
            outcomes.push(judge(trial, kernel, &ways(gpu), &plain).await?);
            continue;
        }
        // First with inputs that it does not round, and a tolerance that finds a wrong term; then with the others.
        let exact = Trial::of(&case).execute(&Device::Reference, POISONS[0]).await?;
        let mut outcome = judge(trial, kernel, &ways(gpu), &exact).await?;
        if outcome.passed {
            let [way, ..] = ways(gpu);
            let rounded = judge(Trial::rounding(&case), kernel, &[way], &plain).await?;
            outcome = Outcome { worst: outcome.worst.max(rounded.worst), ..rounded };
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Runs one case once, with the variant and the shader checks that `gpu` would use in training. Returns what is wrong
/// with the result, if anything is. `undecided` is the share of an output's words that may differ.
///
/// # Errors
/// Those of [`run_case`].
pub(super) async fn fault(gpu: &Gpu, case: &Case, undecided: f64) -> Result<Option<String>> {
    let op = Op { variant: Some(case.op.chosen(gpu.adapter())), ..case.op.clone() };
    let case = Case { op, ..case.clone() };
    let expected = Trial::of(&case).execute(&Device::Reference, POISONS[0]).await?;
    let trial = Trial { undecided, ..Trial::with_scratch(&case) };
    let actual = trial.execute(&Device::Gpu(gpu.clone()), POISONS[0]).await?;
    Ok(trial.judge(&expected, &actual, POISONS[0]).0)
}

/// The operation with each variant that fits an adapter, or with its own. A software adapter can also run, and so test,
/// those that only fit hardware.
fn with_variants(op: &Op, adapter: Adapter) -> Vec<Op> {
    let for_hardware = op.variants(Adapter::HARDWARE).filter(|variant| adapter.software && !variant.fits(op, adapter));
    let variants: Vec<&'static Variant> = match op.variant {
        Some(own) => vec![own],
        None => op.variants(adapter).chain(for_hardware).collect(),
    };
    variants.into_iter().map(|variant| Op { variant: Some(variant), ..op.clone() }).collect()
}

/// Runs a case in these ways, up to the first failure; ways without bounds checks come after those with.
async fn judge(trial: Trial<'_>, kernel: &'static str, ways: &[Way], expected: &[Vec<u32>]) -> Result<Outcome> {
    let mut outcome = Outcome { kernel, case: trial.case.name.clone(), passed: true, failure: None, worst: 0.0 };
    for way in ways {
        let actual = trial.execute(&way.device, way.poison).await?;
        let (failure, worst) = trial.judge(expected, &actual, way.poison);
        outcome.worst = outcome.worst.max(worst);
        if let Some(failure) = failure {
            (outcome.passed, outcome.failure) = (false, Some(format!("{}{failure}", way.name)));
            break;
        }
    }
    Ok(outcome)
}

/// A device with the way it runs a case, and the guards around inputs.
#[derive(Clone)]
struct Way {
    device: Device,
    poison: Poison,
    /// The beginning of a failure's message.
    name: &'static str,
}

fn ways(gpu: &Gpu) -> [Way; 3] {
    use RuntimeChecks::{Off, On};
    let [nan, infinity, zero] = POISONS;
    let ways = [(On, nan), (On, zero), (Off, infinity)];
    ways.map(|(checks, poison)| {
        let name = if checks == On { "with bounds checks: " } else { "without bounds checks: " };
        Way { device: Device::Gpu(gpu.compiling(checks)), poison, name }
    })
}

/// A case with the contents of its buffers.
struct Trial<'a> {
    case: &'a Case,
    contents: Vec<Vec<u32>>,
    /// The number of guard words after each buffer.
    guards: Vec<usize>,
    /// The scratch of a variant with several passes. Its contents and guard words are initially like those of outputs.
    scratch: Option<Scratch>,
    /// The share of an output's words that may differ.
    undecided: f64,
    tolerance: Tolerance,
}

impl Trial<'_> {
    fn of(case: &Case) -> Trial<'_> {
        let contents = (case.buffers.iter().enumerate()).map(|(i, buffer)| match buffer.fill {
            Fill::Output => vec![UNWRITTEN; buffer.len],
            _ => case.contents(i),
        });
        let guards = (0..case.buffers.len()).map(|i| guard(case, i)).collect();
        let (contents, tolerance) = (contents.collect(), case.tolerance());
        Trial { case, contents, guards, scratch: None, undecided: 0.0, tolerance }
    }

    /// A trial of a case whose variant rounds its factors, with inputs that it has to round.
    fn rounding(case: &Case) -> Trial<'_> {
        let exact = Trial::of(case);
        let inputs = exact.contents.iter().enumerate();
        let contents =
            inputs.map(|(i, own)| if exact.is_output(i) { own.clone() } else { case.unrounded(i) }).collect();
        let undecided = undecided_of_f16(case.op.operation);
        Trial { contents, tolerance: case.tolerance_of_rounding(), undecided, ..exact }
    }

    /// A trial of a case with the scratch of the case's variant.
    fn with_scratch(case: &Case) -> Trial<'_> {
        let words = case.op.variant.map_or(0, |variant| variant.scratch_words(&case.op));
        let scratch = (words > 0).then_some(Scratch { words, guard: GUARD });
        Trial { scratch, ..Trial::of(case) }
    }

    fn is_output(&self, i: usize) -> bool {
        matches!(self.case.buffers[i].fill, Fill::Output)
    }

    fn guard_word(&self, i: usize, poison: Poison) -> u32 {
        match self.case.buffers[i].element {
            _ if self.is_output(i) => GUARD_WORD,
            Element::F32 => poison.real.to_bits(),
            Element::U32 => poison.word,
        }
    }

    /// Runs the case's operation. Returns the words of every buffer, including guards; those of the scratch come last.
    async fn execute(&self, device: &Device, poison: Poison) -> Result<Vec<Vec<u32>>> {
        let mut executor = device.executor(Program::of_case(self.case, Some(&self.guards), self.scratch)).await?;
        for (i, contents) in self.contents.iter().enumerate() {
            let mut words = vec![self.guard_word(i, poison); ALIGNMENT + contents.len() + self.guards[i]];
            words[ALIGNMENT..][..contents.len()].copy_from_slice(contents);
            executor.write(Program::around(self.case, i), &words)?;
        }
        let scratch = Program::around(self.case, self.contents.len());
        if let Some(Scratch { words, guard }) = self.scratch {
            let mut all = vec![GUARD_WORD; ALIGNMENT + words + guard];
            all[ALIGNMENT..][..words].fill(UNWRITTEN);
            executor.write(scratch, &all)?;
        }
        executor.run(0..1)?;
        let buffers = (0..self.contents.len()).map(|i| Program::around(self.case, i));
        let all: Vec<BufferId> = buffers.chain(self.scratch.map(|_| scratch)).collect();
        executor.capture(0, &all)?;
        executor.finish().await?;
        let captured = executor.captured()?.pop().map(|capture| capture.buffers);
        captured.ok_or_else(|| Error::Device("the device returned nothing on a read".into()))
    }

    /// Why `actual` is wrong, and its largest error relative to the tolerance.
    fn judge(&self, expected: &[Vec<u32>], actual: &[Vec<u32>], poison: Poison) -> (Option<String>, f64) {
        let mut failure = None;
        let mut fail = |problem: String| {
            failure.get_or_insert(problem);
        };
        // No guard of an output is 0, so not even the host's writes have arrived, or nothing has come back.
        if actual.iter().flatten().all(|word| *word == 0) {
            fail("every word that was read back is 0, in inputs and guards too".into());
        }
        let (mut names, mut worst) = ([0, 0], 0.0f64);
        for (i, buffer) in self.case.buffers.iter().enumerate() {
            let own = ALIGNMENT..ALIGNMENT + buffer.len;
            let (want, got) = (&expected[i][own.clone()], &actual[i][own.clone()]);
            let number = &mut names[usize::from(self.is_output(i))];
            let name = format!("{} {number}", if self.is_output(i) { "output" } else { "input" });
            *number += 1;
            if self.is_output(i) {
                let (difference, ratio) = compare(buffer.element, got, want, self.tolerance);
                worst = worst.max(ratio);
                let may_differ = most_undecided(buffer.element, buffer.len, self.undecided);
                if let Some(d) = difference.filter(|difference| difference.count > may_differ) {
                    let problem = match (got[d.index], buffer.element) {
                        (UNWRITTEN, Element::F32) => {
                            format!("not written, {:e} expected", f32::from_bits(want[d.index]))
                        }
                        (UNWRITTEN, Element::U32) => format!("not written, {} expected", want[d.index]),
                        _ => d.problem,
                    };
                    fail(format!("{name}, index {}: {problem} ({} of {} differ)", d.index, d.count, buffer.len));
                }
            } else if let Some(at) =
                self.contents[i].iter().zip(got).position(|(a, b)| !is_same(buffer.element, *a, *b))
            {
                fail(format!("{name} was overwritten at index {at}"));
            }
            let stray = |word: &u32| *word != self.guard_word(i, poison);
            if let Some(at) = actual[i][own.end..].iter().position(stray) {
                fail(format!("{name} was written {at} elements beyond its end"));
            }
            if let Some(at) = actual[i][..own.start].iter().rposition(stray) {
                fail(format!("{name} was written {} elements before its start", own.start - at));
            }
        }
        if let (Some(Scratch { words, .. }), Some(actual)) = (self.scratch, actual.get(self.contents.len())) {
            if actual[ALIGNMENT + words..].iter().any(|word| *word != GUARD_WORD) {
                fail("scratch was written beyond its end".into());
            }
            if actual[..ALIGNMENT].iter().any(|word| *word != GUARD_WORD) {
                fail("scratch was written before its start".into());
            }
        }
        (failure, worst)
    }
}

/// The number of words after buffer `i`. In a texture they fill its last row, so that every other cell there is poison.
/// It is the same for all variants, so that one reference serves all their results.
fn guard(case: &Case, i: usize) -> usize {
    let op = &case.op;
    let textures = op.variants(Adapter::SOFTWARE).flat_map(|variant| variant.textures);
    let texels = textures.filter(|t| op.input(t.input) == BufferId(i as u32)).map(|t| t.texel).max();
    texels.map_or(GUARD, |texel| {
        let row = TEXTURE_WIDTH * texel;
        let len = case.buffers[i].len;
        (len + GUARD).next_multiple_of(row) - len
    })
}

/// How many elements of an output may differ if this share of its words may.
pub(super) fn most_undecided(element: Element, len: usize, share: f64) -> usize {
    if element == Element::U32 { (share * len as f64).ceil() as usize } else { 0 }
}

/// The difference between two tensors, if there is one, and the largest error relative to the tolerance.
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
    use crate::exec::self_check;
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

    fn contents(trial: &Trial<'_>) -> Vec<Vec<u32>> {
        pollster::block_on(trial.execute(&Device::Reference, POISONS[0])).expect("the reference runs")
    }

    #[test]
    fn planted_faults_are_found() {
        let case = relu_case();
        let trial = Trial::of(&case);
        let good = contents(&trial);
        assert_eq!(trial.judge(&good, &good, POISONS[0]).0, None);
        let failure = |fault: &dyn Fn(&mut Vec<Vec<u32>>)| {
            let mut bad = good.clone();
            fault(&mut bad);
            trial.judge(&good, &bad, POISONS[0]).0.unwrap_or_default()
        };
        let (first, end) = (ALIGNMENT, ALIGNMENT + 65);
        assert!(failure(&|b| b[1][first + 64] = UNWRITTEN).contains("index 64"));
        assert!(failure(&|b| b[1][first] ^= 1 << 22).contains("index 0"));
        assert!(failure(&|b| b[0][first + 3] ^= 1).contains("input 0 was overwritten at index 3"));
        assert!(failure(&|b| b[1][end] = 0).contains("0 elements beyond its end"));
        assert!(failure(&|b| b[1][end + GUARD - 1] = 0).contains("63 elements beyond its end"));
        assert!(failure(&|b| b[0][end] = 0).contains("input 0 was written 0 elements beyond its end"));
        assert!(failure(&|b| b[1][first - 1] = 0).contains("1 elements before its start"));
    }

    /// What is found if a device returns this instead of `good`, for every output of every case of the self-check.
    fn found_by_the_self_check(fault: impl Fn(Element, &mut [u32])) -> Vec<String> {
        let mut found = Vec::new();
        for case in Adapter::SORTS.into_iter().flat_map(self_check::cases) {
            let trial = Trial::of(&case);
            let good = contents(&trial);
            assert_eq!(trial.judge(&good, &good, POISONS[0]).0, None, "{}", case.name);
            for (i, buffer) in case.buffers.iter().enumerate().filter(|(i, _)| trial.is_output(*i)) {
                let mut bad = good.clone();
                fault(buffer.element, &mut bad[i][ALIGNMENT..ALIGNMENT + buffer.len]);
                if bad != good {
                    found.push(trial.judge(&good, &bad, POISONS[0]).0.unwrap_or_default());
                }
            }
        }
        assert!(found.len() >= 6, "{found:?}");
        found
    }

    #[test]
    fn the_self_check_finds_what_is_not_written() {
        let found = found_by_the_self_check(|_, words| words.fill(UNWRITTEN));
        assert!(found.iter().all(|problem| problem.contains("index 0: not written, ")), "{found:?}");
        let found = found_by_the_self_check(|_, words| words[words.len() - 1] = UNWRITTEN);
        assert!(found.iter().all(|problem| problem.contains("not written, ")), "{found:?}");
    }

    #[test]
    fn the_self_check_finds_one_wrong_value() {
        let found = found_by_the_self_check(|element, words| match element {
            Element::U32 => words[0] += 1,
            Element::F32 => words[0] = (f32::from_bits(words[0]) + 0.01).to_bits(),
        });
        assert!(
            found.iter().all(|problem| problem.contains("index 0: ") && problem.contains(" instead of ")),
            "{found:?}"
        );
        let nan = f32::NAN.to_bits();
        let found =
            found_by_the_self_check(|element, words| words[0] = if element == Element::F32 { nan } else { words[0] });
        assert!(found.iter().all(|problem| problem.contains("index 0: NaN instead of ")), "{found:?}");
    }

    #[test]
    fn the_self_check_finds_memory_that_stays_zero() {
        for case in Adapter::SORTS.into_iter().flat_map(self_check::cases) {
            let trial = Trial::of(&case);
            let good = contents(&trial);
            let zeros: Vec<Vec<u32>> = good.iter().map(|words| vec![0; words.len()]).collect();
            let problem = trial.judge(&good, &zeros, POISONS[0]).0.unwrap_or_default();
            assert!(problem.contains("every word that was read back is 0"), "{problem}");
        }
    }

    #[test]
    fn an_operation_that_writes_nothing_fails() {
        let mut case = relu_case();
        let x = Tensor { id: BufferId(0), element: Element::F32, len: 65 };
        let good = contents(&Trial::of(&case));
        case.op = relu::forward(Tensor { len: 1, ..x }, Tensor { id: BufferId(1), len: 1, ..x });
        let trial = Trial::of(&case);
        let mut short = good.clone();
        short[1][ALIGNMENT + 1..ALIGNMENT + 65].fill(UNWRITTEN);
        assert!(trial.judge(&good, &short, POISONS[0]).0.is_some());
    }

    #[test]
    fn the_guard_of_what_a_texture_holds_fills_its_rows() {
        for (count, row) in [(65, TEXTURE_WIDTH), (252, 4 * TEXTURE_WIDTH)] {
            let name = format!("relu.forward count={count}");
            let case = relu::cases().into_iter().find(|c| c.name == name).expect("the case is in the table");
            assert_eq!(Trial::of(&case).guards, [row - count, GUARD]);
        }
    }
}
