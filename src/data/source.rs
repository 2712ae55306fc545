//! Sources of bytes: a file, or memory, for example in a browser, which has no files.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file, or the bytes of one.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    File(&'a Path),
    /// A file's bytes in memory, and the name to use for it in messages.
    Bytes(&'a [u8], &'a str),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(path: &'a Path) -> Self {
        Source::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Source<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Source::File(path)
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Bytes(_, name) => f.write_str(name),
        }
    }
}
