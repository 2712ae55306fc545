//! The table of activation functions: their names, words and constants.

use serde::de::{Deserialize, Deserializer, Error as _};

/// Declares [`Activation`], with one row per function: its name, its constant with the default if it has one, and its
/// word.
macro_rules! activations {
    ($($(#[doc = $doc:literal])+ $name:ident $({ $constant:ident = $default:literal })? called $word:literal,)+) => {
        /// A function that is applied to each value.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Activation {
            $($(#[doc = $doc])+ $name $({ $constant: f32 })?,)+
        }

        impl Activation {
            /// Every function, with the default of its constant.
            pub const ALL: [Activation; [$($word),+].len()] = [$(Activation::$name $({ $constant: $default })?),+];
            /// The words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in descriptions.
            pub fn word(self) -> &'static str {
                match self {
                    $(Activation::$name { .. } => $word,)+
                }
            }

            /// The constant with its key in descriptions, if the function has one.
            pub(crate) fn constant_mut(&mut self) -> Option<(&'static str, &mut f32)> {
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
    /// x, or `slope` times x below 0; 0 < `slope` < 1, so that the output has the input's sign. The default is PyTorch's.
    LeakyRelu { slope = 0.01 } called "leaky-relu",
    /// 1/(1 + e^-x).
    Sigmoid called "sigmoid",
    /// The hyperbolic tangent.
    Tanh called "tanh",
}

impl Activation {
    /// The function with this word, with the default of its constant.
    pub fn named(word: &str) -> Option<Activation> {
        Activation::ALL.into_iter().find(|activation| activation.word() == word)
    }

    /// The rule that its constant breaks.
    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Activation::LeakyRelu { slope } if !(slope > 0.0 && slope < 1.0) => {
                Err(format!("slope is {slope}; rule: 0 < slope < 1"))
            }
            Activation::LeakyRelu { .. } | Activation::Relu | Activation::Sigmoid | Activation::Tanh => Ok(()),
        }
    }
}

/// Reads the word; the constant has its default.
impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
        let word = String::deserialize(deserializer)?;
        Activation::named(&word).ok_or_else(|| D::Error::unknown_variant(&word, Activation::WORDS))
    }
}
