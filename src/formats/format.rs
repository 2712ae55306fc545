//! The kinds of files that a model can be written to. Each has a file of its own, which a line here names.

use super::{Model, convnetjs, model, onnx};
use crate::{Error, Result};
use std::fmt;
use std::path::Path;

/// A kind of file, which its extension says.
pub struct Format {
    /// Without the dot.
    pub extension: &'static str,
    /// As HTTP names it.
    pub media_type: &'static str,
    /// The bytes of a file.
    ///
    /// # Errors
    /// [`Error::Model`] that names the tensor which is not finite, and for a network that the format has no words for.
    pub to_bytes: fn(&Model) -> Result<Vec<u8>>,
    /// Reads a file, or says that such files are written only.
    pub load: fn(&Path) -> Result<Model>,
}

/// Every kind of file.
pub static FORMATS: [&Format; 3] = [&model::SAFETENSORS, &convnetjs::CONVNETJS, &onnx::ONNX];

impl Format {
    /// The format that the extension of `path` says.
    ///
    /// # Errors
    /// [`Error::Model`] that lists the extensions.
    pub fn of(path: &Path) -> Result<&'static Format> {
        let extension = path.extension().unwrap_or_default();
        let known = FORMATS.into_iter().find(|format| extension.eq_ignore_ascii_case(format.extension));
        known.ok_or_else(|| {
            let known: Vec<String> = FORMATS.iter().map(|format| format!(".{}", format.extension)).collect();
            let known = known.join(", ");
            Error::Model(format!("{}: unknown extension of a model's file; known are {known}", path.display()))
        })
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Format) -> bool {
        self.extension == other.extension
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension)
    }
}
