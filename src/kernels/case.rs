//! Cases: one operation with inputs and a tolerance. The same table serves `cargo test` and `glassnet check`.
//!
//! A case is only data; `exec::check` runs it. Outputs are prefilled with NaN, and all operands are surrounded by guard
//! words.

use super::{BufferId, Element, Factor, Op, Tensor};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

/// The allowed distance from the reference: `|a - r| <= atol + rtol * |r|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub atol: f64,
    pub rtol: f64,
}

impl Tolerance {
    fn times(self, factor: f64) -> Tolerance {
        Tolerance { atol: factor * self.atol, rtol: factor * self.rtol }
    }

    /// For copies, selections and indices: no bit may differ (except a zero's sign).
    pub const EXACT: Tolerance = Tolerance { atol: 0.0, rtol: 0.0 };
    /// For a few rounded operations per element; WGSL allows division 2.5 ULP, and `exp` and `log` about 3e-7 near 1.
    pub const ELEMENTWISE: Tolerance = Tolerance { atol: 2e-6, rtol: 4e-6 };

    /// For a sum of `k` products of magnitude about `scale`. Rounding errors grow with sqrt(k), with the terms'
    /// magnitude and with that of the running sum. The tolerance is several times the expected error, and a thousandth
    /// of one wrong term.
    pub fn sum(k: usize, scale: f64) -> Tolerance {
        let unit = (k as f64).sqrt() * f64::from(f32::EPSILON);
        Tolerance { atol: 16.0 * unit * scale, rtol: 4.0 * unit }
    }
}

/// The limit on workgroups per dimension in cases that need the second dimension: seven workgroups fill two rows of
/// three and begin a third. The real limit, 65,535, needs millions of elements; one kernel has a case of that size
/// (`relu`).
const SPLIT: u32 = 3;

/// These cases, and again those whose names contain one of the texts, as if a dimension were limited to three
/// workgroups.
pub fn also_split(mut cases: Vec<Case>, which: &[&str]) -> Vec<Case> {
    let chosen = cases.iter().filter(|case| which.iter().any(|text| case.name.contains(text)));
    let split = |case: &Case| {
        let case = case.clone();
        Case { name: format!("{} split", case.name), op: Op { most_workgroups: SPLIT, ..case.op }, ..case }
    };
    let split: Vec<Case> = chosen.map(split).collect();
    cases.extend(split);
    cases
}

/// The initial contents of a case's input.
#[derive(Debug, Clone)]
pub enum Fill {
    /// Uniform in [low, high), seeded by the case's name.
    Uniform(f32, f32),
    /// These values.
    Reals(Vec<f32>),
    /// Reals in [-1, 1), three in four of which are replaced by zero.
    Sparse,
    /// These words.
    Words(Vec<u32>),
    /// These words again and again.
    Repeated(Vec<u32>),
    /// Random words, every bit.
    RandomWords,
    /// An output, of which the operation must write every element.
    Output,
}

/// One buffer of a case.
#[derive(Debug, Clone)]
pub struct CaseBuffer {
    pub element: Element,
    pub len: usize,
    pub fill: Fill,
}

/// One operation with its data and tolerance.
#[derive(Debug, Clone)]
pub struct Case {
    /// Operation and shape, such as `conv.forward n=2 9x7x3 ...`; unique.
    pub name: String,
    pub op: Op,
    pub buffers: Vec<CaseBuffer>,
    pub tolerance: Tolerance,
}

impl Case {
    /// The initial words of buffer `i`; empty for outputs. If the operation's own variant rounds its factors, these are
    /// values that it does not round, so that the reference computes the same products.
    pub fn contents(&self, i: usize) -> Vec<u32> {
        self.exact(i, self.unrounded(i))
    }

    /// Words of buffer `i` as values that the operation's own variant does not round.
    pub fn exact(&self, i: usize, words: Vec<u32>) -> Vec<u32> {
        let factor = self.op.factor();
        if factor == Factor::F32 || self.buffers[i].element != Element::F32 {
            return words;
        }
        words.into_iter().map(|word| factor.exact(f32::from_bits(word)).to_bits()).collect()
    }

    /// The allowed distance from the reference with the operation's own variant. The errors of sums by cooperative
    /// matrices may add up, because devices may truncate these sums instead of rounding them.
    pub fn tolerance(&self) -> Tolerance {
        const TRUNCATED: f64 = 4.0;
        let by_matrices = self.op.variant.is_some_and(|variant| variant.matrices.is_some());
        self.tolerance.times(if by_matrices { TRUNCATED } else { 1.0 })
    }

    /// The allowed distance with factors that are rounded, each by at most 2^-10 of it: four times the expected error of
    /// the sum, where [`Tolerance::sum`] is sixteen times that with 2^-23.
    pub fn tolerance_of_rounding(&self) -> Tolerance {
        self.tolerance.times(2048.0)
    }

    /// The initial words of buffer `i` as they are; empty for outputs.
    pub fn unrounded(&self, i: usize) -> Vec<u32> {
        let buffer = &self.buffers[i];
        let seed = self.name.bytes().fold(i as u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(b));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        match &buffer.fill {
            Fill::Uniform(low, high) => (0..buffer.len).map(|_| rng.random_range(*low..*high).to_bits()).collect(),
            Fill::Sparse => (0..buffer.len).map(|_| sparse(&mut rng).to_bits()).collect(),
            Fill::Reals(values) => values.iter().map(|v| v.to_bits()).collect(),
            Fill::Words(words) => words.clone(),
            Fill::Repeated(words) => words.iter().copied().cycle().take(buffer.len).collect(),
            Fill::RandomWords => (0..buffer.len).map(|_| rng.random()).collect(),
            Fill::Output => Vec::new(),
        }
    }
}

/// Zero three times in four, otherwise a real in [-1, 1).
fn sparse(rng: &mut ChaCha8Rng) -> f32 {
    let value = rng.random_range(-1.0..1.0);
    if rng.random_range(0..4) == 0 { value } else { 0.0 }
}

/// Collects a case's buffers and provides tensors for the typed builders.
#[derive(Debug, Default)]
pub struct CaseBuilder {
    buffers: Vec<CaseBuffer>,
}

impl CaseBuilder {
    fn push(&mut self, element: Element, len: usize, fill: Fill) -> Tensor {
        self.buffers.push(CaseBuffer { element, len, fill });
        Tensor { id: BufferId(self.buffers.len() as u32 - 1), element, len }
    }

    /// An input of `len` reals in [-1, 1).
    pub fn real(&mut self, len: usize) -> Tensor {
        self.push(Element::F32, len, Fill::Uniform(-1.0, 1.0))
    }

    /// An input of `len` reals in [low, high).
    pub fn between(&mut self, len: usize, low: f32, high: f32) -> Tensor {
        self.push(Element::F32, len, Fill::Uniform(low, high))
    }

    /// An input of `len` reals in [-1, 1), three in four of which are zero.
    pub fn sparse(&mut self, len: usize) -> Tensor {
        self.push(Element::F32, len, Fill::Sparse)
    }

    /// An input of these reals.
    pub fn reals(&mut self, values: Vec<f32>) -> Tensor {
        self.push(Element::F32, values.len(), Fill::Reals(values))
    }

    /// An input of these words.
    pub fn words(&mut self, words: Vec<u32>) -> Tensor {
        self.push(Element::U32, words.len(), Fill::Words(words))
    }

    /// An input of `len` elements, which are these words again and again.
    pub fn repeated(&mut self, element: Element, len: usize, words: Vec<u32>) -> Tensor {
        self.push(element, len, Fill::Repeated(words))
    }

    /// An input of `len` random words.
    pub fn random_words(&mut self, len: usize) -> Tensor {
        self.push(Element::U32, len, Fill::RandomWords)
    }

    /// An output of `len` reals.
    pub fn out(&mut self, len: usize) -> Tensor {
        self.push(Element::F32, len, Fill::Output)
    }

    /// An output of `len` words.
    pub fn out_words(&mut self, len: usize) -> Tensor {
        self.push(Element::U32, len, Fill::Output)
    }

    /// The step header with `valid` examples; other fields as a test needs them.
    pub fn header(&mut self, header: super::batch::Header) -> Tensor {
        self.words(header.words().to_vec())
    }

    /// The finished case.
    pub fn case(self, shape: impl std::fmt::Display, op: Op, tolerance: Tolerance) -> Case {
        Case { name: format!("{} {shape}", op.operation.name), op, buffers: self.buffers, tolerance }
    }
}
