//! The operations: one file per family, with its [`Operation`] statics, `Params`, typed builders, reference functions,
//! fast functions, GPU variants and cases.
//!
//! `shaders/NAME.wgsl` and `kernels/NAME.rs` share their stem; `shaders/prelude/` has the common beginnings of shaders.
//! [`operations`] lists all operations, [`cases`] every case that `cargo test` and `glassnet check` run.

/// The text of a shader: preludes followed by the file itself.
macro_rules! shader {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file, ".wgsl")), "\n"),+)
    };
}

pub mod activation;
mod activation_table;
pub mod augmentation;
mod augmentation_cpu;
pub mod avg_pool;
pub mod batch;
pub mod batch_norm;
pub mod case;
pub mod clip;
pub mod conv;
pub mod conv_blocked;
mod conv_cpu;
mod conv_depthwise;
mod conv_direct;
pub mod conv_fused;
mod conv_grouped;
mod conv_matrix;
pub(crate) mod conv_params;
mod conv_sparse;
mod conv_tile;
pub mod dropout;
pub mod elementwise;
pub mod ema;
pub mod erasing;
pub mod fc;
pub mod loss;
pub mod lrn;
pub mod maxout;
mod nonzero;
pub mod op;
pub mod optimizer;
pub mod pool;
pub mod precision;
pub mod probe;
mod product;
pub mod relu;
pub mod sample;
pub mod softmax;
pub mod statistics;
pub mod sums;
mod tile;
pub mod variant;

pub use activation_table::Activation;
pub use case::Case;
pub use op::{Args, BufferId, Element, Op, PerOperand, Prepare, Prepared, Scalar, Slot, SlotMut, Tensor, Work};
pub use precision::{Factor, Matrices, Precision};
pub use variant::{Adapter, Dispatch, Launch, Pass, TEXTURE_WIDTH, Texture, Variant};

/// The part of an operand that a piece of the batch needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, for example of weights.
    Whole,
    /// The values of the piece's examples.
    PerExample,
    /// One item per unit of examples, such as a partial sum.
    PerUnit,
}

/// An input or an output of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    pub name: &'static str,
    pub element: Element,
    pub extent: Extent,
}

/// An operand that every piece of the batch needs completely.
pub const fn whole(name: &'static str, element: Element) -> Operand {
    Operand { name, element, extent: Extent::Whole }
}

/// An operand that contains the examples in sequence.
pub const fn per_example(name: &'static str, element: Element) -> Operand {
    Operand { name, element, extent: Extent::PerExample }
}

/// An operand that contains one item per unit of examples.
pub const fn per_unit(name: &'static str, element: Element) -> Operand {
    Operand { name, element, extent: Extent::PerUnit }
}

/// A computation. Every executor can run every operation: the reference with its naive function, the processor with its
/// fast one, a GPU with one of its variants.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Family and function, such as `conv.forward`; unique.
    pub name: &'static str,
    /// The inputs in the order of a variant's bindings, from binding 1 on; binding 0 is the uniform `Params`.
    pub inputs: &'static [Operand],
    /// The outputs, which are bound after the inputs.
    pub outputs: &'static [Operand],
    /// The size of `Params` in bytes.
    pub params: usize,
    /// The naive function, in f32 storage (sums in f64) and in f64 throughout.
    pub reference: Reference,
    /// The fast function of the `cpu` executor, which otherwise runs the reference.
    pub cpu: Option<Cpu>,
    /// The GPU variants, the preferred one first. The last one fits every shape on every adapter.
    pub gpu: &'static [&'static Variant],
}

/// The functions of the `cpu` executor.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    pub run: fn(&mut Args<'_, f32>),
    /// Prepares data that all examples share, if the operation is computed in pieces.
    pub prepare: Option<Prepare<f32>>,
}

impl Cpu {
    /// A function without preparation.
    const fn new(run: fn(&mut Args<'_, f32>)) -> Option<Cpu> {
        Some(Cpu { run, prepare: None })
    }

    /// A function that receives prepared data.
    const fn prepared(run: fn(&mut Args<'_, f32>), prepare: Prepare<f32>) -> Option<Cpu> {
        Some(Cpu { run, prepare: Some(prepare) })
    }
}

/// The reference function at both precisions.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    pub single: fn(&mut Args<'_, f32>),
    pub double: fn(&mut Args<'_, f64>),
}

impl Reference {
    /// A function that is generic over the scalar type.
    pub const fn new(single: fn(&mut Args<'_, f32>), double: fn(&mut Args<'_, f64>)) -> Reference {
        Reference { single, double }
    }
}

/// Every operation.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    FAMILIES.iter().flat_map(|family| family.operations).copied()
}

/// Every pair of an operation and one of its variants; the variants' names are unique.
pub fn variants() -> impl Iterator<Item = (&'static Operation, &'static Variant)> {
    operations().flat_map(|operation| operation.gpu.iter().map(move |variant| (operation, *variant)))
}

/// The operations of one shader, and their cases.
pub(crate) struct Family {
    operations: &'static [&'static Operation],
    cases: fn() -> Vec<Case>,
}

impl Family {
    /// Whether an operation is one of this family.
    fn has(&self, operation: &Operation) -> bool {
        self.operations.iter().any(|own| std::ptr::eq(*own, operation))
    }
}

static FAMILIES: [&Family; 21] = [
    &batch::FAMILY,
    &conv::FAMILY,
    &conv_fused::FAMILY,
    &relu::FAMILY,
    &activation::FAMILY,
    &dropout::FAMILY,
    &pool::FAMILY,
    &avg_pool::FAMILY,
    &lrn::FAMILY,
    &batch_norm::FAMILY,
    &elementwise::FAMILY,
    &maxout::FAMILY,
    &fc::FAMILY,
    &sums::FAMILY,
    &loss::FAMILY,
    &softmax::FAMILY,
    &clip::FAMILY,
    &optimizer::FAMILY,
    &ema::FAMILY,
    &statistics::FAMILY,
    &probe::FAMILY,
];

/// Every case of every operation.
pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|family| (family.cases)()).collect()
}
