//! Functions of single values: layers without weights that keep the shape.

use serde::de::{Deserialize, Deserializer, Error as _};

/// Declares [`Activation`], one row for each function: its name, the constant that it has with its default, its word.
macro_rules! activations {
    ($($(#[doc = $doc:literal])+ $name:ident $({ $constant:ident = $default:literal })? called $word:literal,)+) => {
        /// A function of single values.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Activation {
            $($(#[doc = $doc])+ $name $({ $constant: f32 })?,)+
        }

        impl Activation {
            /// One of each kind, with the default of its constant.
            pub const ALL: [Activation; [$($word),+].len()] = [$(Activation::$name $({ $constant: $default })?),+];
            /// The word of each, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word that a description uses.
            pub fn word(self) -> &'static str {
                match self {
                    $(Activation::$name { .. } => $word,)+
                }
            }

            /// Its constant, with the key that a description uses.
            pub(super) fn constant_mut(&mut self) -> Option<(&'static str, &mut f32)> {
                match self {
                    $(Activation::$name $({ $constant })? => [$((stringify!($constant), $constant))?].into_iter().next(),)+
                }
            }
        }
    };
}

activations! {
    /// max(0, x).
    Relu called "relu",
    /// x, or `slope` times x below 0; `slope` is above 0 and below 1, so that the output has the input's sign. The default is
    /// PyTorch's.
    LeakyRelu { slope = 0.01 } called "leaky-relu",
    /// 1/(1 + e^-x).
    Sigmoid called "sigmoid",
    /// The hyperbolic tangent.
    Tanh called "tanh",
}

impl Activation {
    /// The function that this word names, with the default of its constant.
    pub fn named(word: &str) -> Option<Activation> {
        Activation::ALL.into_iter().find(|activation| activation.word() == word)
    }

    /// The rule that its constant breaks.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            Activation::LeakyRelu { slope } if !(slope > 0.0 && slope < 1.0) => {
                Err(format!("slope is {slope}; rule: 0 < slope < 1"))
            }
            Activation::LeakyRelu { .. } | Activation::Relu | Activation::Sigmoid | Activation::Tanh => Ok(()),
        }
    }
}

/// From its word.
impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
        let word = String::deserialize(deserializer)?;
        Activation::named(&word).ok_or_else(|| D::Error::unknown_variant(&word, Activation::WORDS))
    }
}
