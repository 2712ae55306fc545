//! The file formats of models. Each has its own file, which is listed here.

use super::{Model, convnetjs, model, onnx};
use crate::{Error, Result};
use std::fmt;
use std::path::Path;

/// A file format, which is recognised by its extension.
pub struct Format {
    /// The extension without the dot.
    pub extension: &'static str,
    /// The media type for HTTP.
    pub media_type: &'static str,
    /// The bytes of a file.
    ///
    /// # Errors
    /// [`Error::Model`] with the tensor that is not finite, or with what the format cannot express.
    pub to_bytes: fn(&Model) -> Result<Vec<u8>>,
    /// Reads a file, or returns an error that such files can only be written.
    pub load: fn(&Path) -> Result<Model>,
}

/// Every format.
pub static FORMATS: [&Format; 3] = [&model::SAFETENSORS, &convnetjs::CONVNETJS, &onnx::ONNX];

impl Format {
    /// The format for the extension of `path`.
    ///
    /// # Errors
    /// [`Error::Model`] with a list of the extensions.
    pub fn of(path: &Path) -> Result<&'static Format> {
        let extension = path.extension().unwrap_or_default();
        let known = FORMATS.into_iter().find(|format| extension.eq_ignore_ascii_case(format.extension));
        known.ok_or_else(|| {
            let known: Vec<String> = FORMATS.iter().map(|format| format!(".{}", format.extension)).collect();
            let known = known.join(", ");
            Error::Model(format!("{}: unknown extension of a model file; use one of {known}", path.display()))
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
