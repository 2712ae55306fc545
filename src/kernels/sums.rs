//! Sums of the partial gradients of all layers at once; `shaders/sums.wgsl`.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::{
    Args, Case,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, whole,
};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub blocks: u32,
    pub reserved: [u32; 3],
}

/// The number of values in a block of the result.
pub const BLOCK: usize = 64;
/// The most partial sums of a value, so that no invocation adds more than 256.
pub const MAX_SPLITS: usize = 1024;

/// The source of a block's values.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Entry {
    /// The place of the first partial sum of the block's first value.
    pub first: u32,
    /// The distance between partial sums of one value.
    pub distance: u32,
    /// The number of partial sums, at most [`MAX_SPLITS`].
    pub splits: u32,
    /// The number of values, at most [`BLOCK`]; the others are zero.
    pub values: u32,
}

impl Entry {
    /// The entries of a tensor of `len` values, whose partial sums `[splits, distance]` begin at `first`.
    pub fn of_tensor(len: usize, first: usize, distance: usize, splits: usize) -> impl Iterator<Item = Entry> {
        assert!(splits <= MAX_SPLITS, "{splits} partial sums");
        (0..len).step_by(BLOCK).map(move |at| Entry {
            first: word(first + at),
            distance: word(distance),
            splits: word(splits),
            values: word(BLOCK.min(len - at)),
        })
    }
}

pub(crate) const PARTIALS: Operand = whole("partials", F32);
/// An [`Entry`] for each block.
const TABLE: Operand = whole("table", U32);
/// `[blocks, 64]`.
const GRADIENTS: Operand = whole("gradients", F32);

pub(super) static FAMILY: Family = Family { operations: &[&SUMS], cases };

/// Adds partial sums.
pub static SUMS: Operation = Operation {
    name: "sums.gradients",
    inputs: &[PARTIALS, TABLE],
    outputs: &[GRADIENTS],
    params: size_of::<Params>(),
    reference: Reference::new(reference, reference),
    cpu: None,
    gpu: &[&Variant::new("sums.gradients", shader!("prelude/index", "sums"), "gradients", |op| {
        Launch::linear(op.params::<Params>().blocks as usize, 1)
    })
    .in_workgroups_of(256)],
};

/// `table` has an [`Entry`] for each block of `gradients`, whose partial sums are within `partials`.
pub fn gradients(partials: Tensor, table: Tensor, gradients: Tensor) -> Op {
    let blocks = gradients.len / BLOCK;
    assert_eq!((gradients.len % BLOCK, table.len), (0, 4 * blocks), "sums.gradients");
    let params = Params { blocks: word(blocks), reserved: [0; 3] };
    let inputs = [(PARTIALS, partials), (TABLE, table)];
    Op::new(&SUMS, params, &inputs, &[(GRADIENTS, gradients)], partials.len)
}

fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (partials, table) = (args.real(PARTIALS), bytemuck::cast_slice::<u32, Entry>(args.words(TABLE)));
    for (block, entry) in args.out(GRADIENTS).chunks_exact_mut(BLOCK).zip(table) {
        for (i, value) in block.iter_mut().enumerate() {
            let place = |split: u32| (entry.first + split * entry.distance) as usize + i;
            let splits = if i < entry.values as usize { entry.splits } else { 0 };
            *value = S::of((0..splits).map(|split| partials[place(split)].get()).sum());
        }
    }
}

fn cases() -> Vec<Case> {
    /// The length of a tensor, and its number of partial sums.
    type Layer = (usize, usize);
    let tables: [&[Layer]; 5] =
        [&[(1, 1)], &[(64, 4)], &[(208, 480), (3, 480)], &[(65, 5), (127, 3), (1, 7), (640, 1)], &[(63, MAX_SPLITS)]];
    let case = |(number, layers): (usize, &&[Layer])| {
        let mut b = CaseBuilder::default();
        // Two layers have a gap between them, and each has a row that belongs to another tensor.
        let (mut first, mut entries) = (0, Vec::new());
        for (len, splits) in *layers {
            entries.extend(Entry::of_tensor(*len, first, len + 8, *splits));
            first += (len + 8) * splits + 5;
        }
        // A block of no tensor.
        entries.push(Entry { first: 0, distance: 0, splits: 0, values: 0 });
        let most = layers.iter().map(|(_, splits)| *splits).max().unwrap_or(1);
        let (partials, blocks) = (b.real(first), entries.len());
        let table = b.words(bytemuck::cast_slice(&entries).to_vec());
        let op = gradients(partials, table, b.out(BLOCK * blocks));
        b.case(format!("{number}: {layers:?}"), op, Tolerance::sum(most, 1.0))
    };
    let cases = tables.iter().enumerate().map(case).collect();
    super::case::also_split(cases, &["(640, 1)"])
}
