//! What the fuzz targets share. Each feeds one parser; a panic, an abort or an allocation beyond the limits of the
//! command line is a finding, and so is whatever a target asserts beyond that.

use glassnet::Result;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The name of a file that is none, for parsers that take bytes.
pub const SOURCE: &str = "fuzzed";

/// Two layers with weights, a few numbers each.
pub const SMALL: &str = r#"
name = "small"
layers = [
    { type = "input", height = 3, width = 3, channels = 1 },
    { type = "conv", filters = 2, kernel = [2, 3], activation = "relu" },
    { type = "fc", outputs = 2 },
    { type = "softmax" },
]
"#;

/// What was read; `None` where it was refused, with a message that names what was refused.
pub fn accepted<T>(result: Result<T>, source: &str) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(source), "does not name {source}: {message}");
            None
        }
    }
}

/// Files for parsers that take paths. With TMPDIR in memory, as under /dev/shm, no disk slows the fuzzer down.
pub struct Scratch(TempDir);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(tempfile::tempdir().expect("a folder for temporary files"))
    }
}

impl Scratch {
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A file with these bytes, in place of an older one.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, bytes).expect("temporary files can be written");
        path
    }
}

/// The input as it is, and as a safetensors file whose header, up to a zero byte, has its length written in front: else
/// nearly every change of the header's length would end the reading at its first bytes.
pub fn containers(input: &[u8]) -> [Vec<u8>; 2] {
    let (header, data) = input.split_at(input.iter().position(|byte| *byte == 0).unwrap_or(input.len()));
    let mut framed = (header.len() as u64).to_le_bytes().to_vec();
    framed.extend(header);
    framed.extend(data.get(1..).unwrap_or_default());
    [input.to_vec(), framed]
}
