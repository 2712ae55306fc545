//! The operations to tune, and the sizes at which they are timed and checked.

use super::{Candidates, Found};
use crate::exec::gpu::contain::contain;
use crate::exec::gpu::pace;
use crate::kernels::sample::{reduced, represents};
use crate::kernels::{Adapter, Op, Variant};
use crate::program::{Stage, TrainingStep};
use sha2::{Digest, Sha256};

/// Floating-point operations and bytes of the reference per check, if the batch can be reduced so far: some ten
/// milliseconds.
pub(super) const REFERENCE_FLOPS: u64 = 8_000_000;
const REFERENCE_BYTES: u64 = 8_000_000;

/// An operation on some of the batch's examples.
#[derive(Debug, Clone)]
pub(super) struct Size {
    pub op: Op,
    pub outputs: Vec<usize>,
    pub examples: usize,
}

impl Size {
    fn on(&self, examples: usize) -> Option<Size> {
        let (op, outputs) = reduced(&self.op, &self.outputs, self.examples, examples)?;
        Some(Size { op, outputs, examples })
    }

    /// As few examples as a check by the reference needs, on which these variants fit; otherwise all.
    fn for_check(&self, variants: &[&'static Variant], adapter: Adapter) -> Size {
        let share = |most: u64, all: u64| most as f64 / all.max(1) as f64;
        let work = self.op.work;
        let share = share(REFERENCE_FLOPS, work.flops).min(share(REFERENCE_BYTES, work.bytes)).min(1.0);
        let wanted = ((self.examples as f64 * share) as usize).max(1);
        let most = (4 * wanted).min(self.examples);
        let few = (wanted..=most).chain((1..wanted).rev()).filter_map(|examples| self.on(examples));
        let fits = |few: &Size| variants.iter().all(|variant| variant.fits(&few.op, adapter));
        few.into_iter().find(fits).unwrap_or_else(|| self.clone())
    }
}

/// An operation to tune.
pub(super) struct Job<'a> {
    pub op: &'a Op,
    /// The whole batch.
    pub whole: Size,
    /// The default first.
    pub candidates: Vec<&'static Variant>,
    /// The checksum of the candidates.
    pub sum: String,
    /// Seconds on a slow device, of all operations of this shape.
    pub cost: f64,
    /// An earlier result.
    pub known: Option<&'static Variant>,
    /// The sizes whose times say something about the whole batch, the smallest first.
    pub sizes: Vec<Size>,
    /// The size that is compared with the reference.
    pub check: Size,
}

impl Job<'_> {
    pub fn result(&self, known: &[Found]) -> Option<&'static Variant> {
        let is_this =
            |found: &&Found| **found == Found { variant: found.variant.clone(), ..self.found(self.candidates[0]) };
        let found = known.iter().find(is_this)?;
        self.candidates.iter().find(|variant| variant.name == found.variant).copied()
    }

    pub fn found(&self, variant: &'static Variant) -> Found {
        let (operation, shape) = (self.op.operation.name.to_string(), self.op.shape());
        Found { operation, shape, candidates: self.sum.clone(), variant: variant.name.to_string() }
    }

    pub fn find_sizes(&mut self, adapter: Adapter) {
        let whole = &self.whole;
        let powers = (0..usize::BITS).map(|bits| 1 << bits).take_while(|size| *size < whole.examples);
        let few = powers.filter_map(|examples| whole.on(examples));
        let represent = |few: &Size| represents(&few.op, &whole.op, &self.candidates, adapter);
        self.sizes = few.filter(represent).chain([whole.clone()]).collect();
        self.check = whole.for_check(&self.candidates, adapter);
    }
}

/// The operations of a training step with several candidates, one of each shape, those with the most work first.
pub(super) fn jobs<'a>(
    step: &'a TrainingStep,
    adapter: Adapter,
    candidates: Candidates<'_>,
    problems: &mut Vec<String>,
) -> Vec<Job<'a>> {
    let mut jobs: Vec<Job<'a>> = Vec::new();
    let program = &step.program;
    let trained = step.stages(Stage::Batch, Stage::Update);
    for op in program.instructions[trained].iter().map(|instruction| &instruction.op) {
        let cost = pace::cost(op.work);
        let is_same = |job: &&mut Job<'_>| {
            std::ptr::eq(job.op.operation, op.operation)
                && (&job.op.params, &job.op.lengths) == (&op.params, &op.lengths)
        };
        if let Some(job) = jobs.iter_mut().find(is_same) {
            job.cost += cost;
            continue;
        }
        let default = op.chosen(adapter);
        let rivals = candidates(op, adapter).into_iter().filter(|variant| variant.name != default.name);
        let candidates: Vec<_> = std::iter::once(default).chain(rivals).collect();
        if candidates.len() < 2 {
            continue;
        }
        // A launch beyond the limits of devices is a panic.
        let sum = match contain(|| checksum(op, &candidates)) {
            Ok(sum) => sum,
            Err(problem) => {
                problems.push(format!("{} keeps its default: {problem}", op.operation.name));
                continue;
            }
        };
        let outputs = op.outputs.iter().map(|id| program.buffer(*id).len).collect();
        let whole = Size { op: op.clone(), outputs, examples: step.batch };
        let (sizes, check) = (vec![whole.clone()], whole.clone());
        jobs.push(Job { op, whole, candidates, sum, cost, known: None, sizes, check });
    }
    jobs.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    jobs
}

/// A checksum of the texts, entry points, workgroups and constants of these variants, in hexadecimal.
fn checksum(op: &Op, candidates: &[&'static Variant]) -> String {
    let mut sum = Sha256::new();
    for variant in candidates {
        sum.update(format!("{}\n{}\n{:?}\n", variant.name, variant.source, op.dispatches(variant)));
    }
    sum.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
