//! The kernels: one file a family, with its `Kernel` statics, `Params`, typed builders, reference functions and cases.
//!
//! `shaders/NAME.wgsl` and `kernels/NAME.rs` share their stem. [`ALL`] lists every kernel, [`cases`] every case that
//! `cargo test` and `glassnet check` run.

pub mod activation;
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
mod conv_grouped;
mod conv_sparse;
pub mod dropout;
pub mod ema;
pub mod erasing;
pub mod fc;
pub mod loss;
pub mod lrn;
pub mod matmul;
pub mod maxout;
mod nonzero;
pub mod op;
pub mod optimizer;
pub mod pool;
pub mod probe;
mod product;
pub mod relu;
pub mod residual;
pub mod softmax;
pub mod statistics;

pub use case::Case;
pub use op::{Args, BufferId, Element, Op, Pieces, Prepare, Prepared, Scalar, Slot, SlotMut, Tensor, Work};

/// A computation that every executor knows: a WGSL entry point and the reference it must agree with.
#[derive(Debug)]
pub struct Kernel {
    /// Family and function, as `conv.forward`; unique.
    pub name: &'static str,
    /// The whole WGSL file.
    pub source: &'static str,
    /// Entry point in `source`.
    pub entry: &'static str,
    /// Element types of bindings 1.. (binding 0 is the uniform `Params`).
    pub inputs: &'static [Element],
    /// Element types of the bindings after the inputs.
    pub outputs: &'static [Element],
    /// Inputs that it can also read from textures, which are bound after the outputs in this order. The override
    /// constant `TEXTURES` says which of the two it reads.
    pub textures: &'static [Texture],
    /// Size in bytes of `Params`.
    pub params: usize,
    /// Invocations in one workgroup.
    pub workgroup: u32,
    /// The naive function, in f32 storage (sums in f64) and in f64 throughout.
    pub reference: Reference,
    /// The fast function of the `cpu` executor; without one it runs the reference.
    pub cpu: Option<fn(&mut Args<'_, f32>)>,
}

/// An input as a texture: what it holds, row by row, [`TEXTURE_WIDTH`] texels in each.
///
/// A software adapter copies the input there and reads it some nine times as fast as a storage buffer, whose loads it
/// runs lane by lane behind a bounds check; a hardware adapter reads the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texture {
    /// Which input.
    pub input: usize,
    /// Elements in a texel: 1, or 4 where the shader reads vectors.
    pub texel: usize,
}

impl Texture {
    /// One element a texel.
    pub const fn scalars(input: usize) -> Texture {
        Texture { input, texel: 1 }
    }

    /// Four elements a texel; the input's length is a multiple of 4.
    pub const fn vectors(input: usize) -> Texture {
        Texture { input, texel: 4 }
    }
}

/// Texels in a row of a texture, and the most rows: what WebGPU promises.
pub const TEXTURE_WIDTH: usize = 8192;

/// The reference function at both precisions.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    pub single: fn(&mut Args<'_, f32>),
    pub double: fn(&mut Args<'_, f64>),
}

/// Every kernel of the house.
pub static ALL: &[&Kernel] = &[
    &batch::GATHER,
    &batch::GATHER_AUGMENTED,
    &conv::FORWARD,
    &conv::BACKWARD_INPUT,
    &conv::BACKWARD_WEIGHT,
    &conv::SUM_SPLITS,
    &conv_blocked::FORWARD,
    &conv_blocked::FORWARD_NARROW,
    &conv_blocked::BACKWARD_INPUT,
    &conv_blocked::BACKWARD_WEIGHT,
    &conv_blocked::BACKWARD_WEIGHT_NARROW,
    &relu::FORWARD,
    &relu::FORWARD_VEC4,
    &relu::BACKWARD,
    &relu::BACKWARD_VEC4,
    &activation::LEAKY_RELU,
    &activation::SIGMOID,
    &activation::TANH,
    &activation::LEAKY_RELU_BACKWARD,
    &activation::SIGMOID_BACKWARD,
    &activation::TANH_BACKWARD,
    &dropout::APPLY,
    &pool::FORWARD,
    &pool::FORWARD_VEC4,
    &pool::BACKWARD,
    &pool::BACKWARD_VEC4,
    &avg_pool::FORWARD,
    &avg_pool::BACKWARD,
    &lrn::FORWARD,
    &lrn::BACKWARD,
    &batch_norm::MOMENTS,
    &batch_norm::MOMENTS_VEC4,
    &batch_norm::FINISH,
    &batch_norm::FORWARD,
    &batch_norm::FORWARD_VEC4,
    &batch_norm::RUNNING,
    &batch_norm::SUMS,
    &batch_norm::SUMS_VEC4,
    &batch_norm::BACKWARD_WEIGHT,
    &batch_norm::BACKWARD_INPUT,
    &batch_norm::BACKWARD_INPUT_VEC4,
    &residual::ADD,
    &residual::ADD_VEC4,
    &maxout::FORWARD,
    &maxout::BACKWARD,
    &fc::FORWARD,
    &fc::FORWARD_VEC4,
    &fc::BACKWARD_INPUT,
    &fc::BACKWARD_INPUT_VEC4,
    &fc::BACKWARD_WEIGHT,
    &fc::BACKWARD_WEIGHT_VEC4,
    &loss::HINGE,
    &loss::MSE,
    &loss::NUMBER,
    &softmax::FORWARD,
    &softmax::SUMMARY,
    &softmax::GRADIENT,
    &clip::NORMS,
    &clip::SCALE,
    &optimizer::SGD,
    &optimizer::MOMENTUM,
    &optimizer::NESTEROV,
    &optimizer::ADAGRAD,
    &optimizer::WINDOWGRAD,
    &optimizer::ADADELTA,
    &optimizer::ADAM,
    &optimizer::ADAMW,
    &ema::AVERAGE,
    &statistics::PARTIAL,
    &statistics::FINISH,
    &statistics::CHANGE,
    &statistics::CHANGE_TOTAL,
    &statistics::DEAD,
    &probe::MULTIPLY_ADD,
    &probe::COPY,
    &matmul::REGISTERS,
    &matmul::TILES64,
    &matmul::TILES128,
];

/// Every case of every kernel.
pub fn cases() -> Vec<Case> {
    [
        batch::cases(),
        conv::cases(),
        relu::cases(),
        activation::cases(),
        dropout::cases(),
        pool::cases(),
        avg_pool::cases(),
        lrn::cases(),
        batch_norm::cases(),
        residual::cases(),
        maxout::cases(),
        fc::cases(),
        loss::cases(),
        softmax::cases(),
        clip::cases(),
        optimizer::cases(),
        ema::cases(),
        statistics::cases(),
        probe::cases(),
        matmul::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
