//! What is done to a user's picture before a network sees it, by what the network was trained on.

use super::DatasetName;
use super::picture::{self, DIGIT_SIDE, Polarity, Source};
use crate::{Error, Result};
use serde::Serialize;

/// The `H*W*C` bytes that a network sees, and the polarity that the picture was found to have.
pub type Picture = (Vec<u8>, Option<Polarity>);

/// What is done to a picture before a network sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// Light on dark, the digit cut out, scaled to 20 x 20 and centred in 28 x 28 by its mass.
    Digit,
    /// Light on dark, the middle resized.
    LightOnDark,
    /// The middle resized.
    Resize,
}

impl Treatment {
    /// By the name of the data set that a model was trained on, and the shape of its images.
    pub fn of(dataset: &str, shape: [usize; 3]) -> Treatment {
        match dataset.parse() {
            Ok(DatasetName::Mnist | DatasetName::Synthetic) if shape == [DIGIT_SIDE, DIGIT_SIDE, 1] => Treatment::Digit,
            Ok(DatasetName::FashionMnist | DatasetName::Kmnist) if shape[2] == 1 => Treatment::LightOnDark,
            _ => Treatment::Resize,
        }
    }

    /// The picture as the network sees it, brought to `shape`.
    ///
    /// # Errors
    /// As [`picture::read`]; [`Error::Data`] where no digit is seen in it.
    ///
    /// # Panics
    /// As [`picture::fit`].
    pub fn apply<'a>(self, source: impl Into<Source<'a>>, shape: [usize; 3]) -> Result<Picture> {
        let source = source.into();
        if self == Treatment::Resize {
            return Ok((picture::fit(&picture::read(source)?, shape), None));
        }
        let mut picture = picture::read_drawing(source)?;
        if self == Treatment::Digit {
            picture = picture::without_frame(picture);
        }
        let (grey, polarity) = picture::light_on_dark(&picture);
        let pixels = match self {
            Treatment::Digit => picture::digit(&grey).ok_or_else(|| {
                Error::Data(format!("{source} is blank: no digit stands out; give a picture with more contrast"))
            })?,
            _ => picture::fit(&grey.into(), shape),
        };
        Ok((pixels, Some(polarity)))
    }
}
