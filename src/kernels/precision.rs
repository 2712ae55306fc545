//! The precision of products on a GPU, and the cooperative matrices that compute them ([`Matrices`]).

use super::{Op, conv, conv_fused, fc};
use half::f16;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Cooperative matrices: squares of factors, which the invocations of a subgroup multiply together, with sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrices {
    pub factor: Factor,
    /// Rows and columns.
    pub side: u32,
}

impl Matrices {
    pub const F16_16: Matrices = Matrices { factor: Factor::F16, side: 16 };
    pub const F16_8: Matrices = Matrices { factor: Factor::F16, side: 8 };
    pub const F32_8: Matrices = Matrices { factor: Factor::F32, side: 8 };
    /// All that kernels exist for, the most preferable of a kind of factor first.
    pub const ALL: [Matrices; 3] = [Matrices::F16_16, Matrices::F16_8, Matrices::F32_8];
}

impl fmt::Display for Matrices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factor = if self.factor == Factor::F16 { "f16" } else { "f32" };
        write!(f, "{0}x{0} with factors in {factor} and sums in f32", self.side)
    }
}

/// The type of a product's factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    F32,
    F16,
}

impl Factor {
    /// Returns a value near `value` that no device rounds. Other values may be rounded up or down, and those below the
    /// smallest normal f16 may become 0.
    pub fn exact(self, value: f32) -> f32 {
        if self == Factor::F32 || !value.is_finite() {
            return value;
        }
        let near = f16::from_f32(value.clamp(-LARGEST_F16, LARGEST_F16));
        if near.is_normal() { near.to_f32() } else { 0.0 }
    }
}

/// The largest finite f16.
const LARGEST_F16: f32 = 65504.0;

/// Whether an operation is a convolution or a fully connected layer, or one of their gradients.
pub fn is_product(op: &Op) -> bool {
    let families = [&conv::FAMILY, &conv_fused::FAMILY, &fc::FAMILY];
    families.iter().any(|family| family.has(op.operation)) && !std::ptr::eq(op.operation, &conv::SUM_SPLITS)
}

/// How the products of convolutions and fully connected layers are computed on a GPU, where there are kernels for that;
/// those with few channels, or in groups, are always computed in f32, and so is everything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// In f32, one product at a time.
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// In f32, by cooperative matrices.
    #[serde(rename = "matrix-f32")]
    MatrixF32,
    /// By cooperative matrices with factors rounded to f16, and sums in f32.
    #[serde(rename = "matrix-f16")]
    MatrixF16,
}

impl Precision {
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::MatrixF32, Precision::MatrixF16];

    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::MatrixF32 => "matrix-f32",
            Precision::MatrixF16 => "matrix-f16",
        }
    }

    /// The factors of the cooperative matrices that it needs.
    pub fn factor(self) -> Option<Factor> {
        match self {
            Precision::F32 => None,
            Precision::MatrixF32 => Some(Factor::F32),
            Precision::MatrixF16 => Some(Factor::F16),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
