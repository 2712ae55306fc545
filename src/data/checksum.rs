//! Compares files with the published ones by SHA-256. A matching checksum of the packed or of the unpacked bytes
//! suffices, whichever is published.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{DatasetName, Published, Sources, idx};
use crate::{Error, Result};

/// The result of checking a file's checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The published file.
    Verified,
    /// A file with another SHA-256: damaged, or the user's own data.
    Differs { sha256: String },
    /// An unpacked file of which only the packed form's or the archive's checksum is published.
    Unverifiable,
    /// A file that cannot be read or unpacked; the text says why and what to do.
    Unreadable(String),
    /// A file that is not in the folder.
    Missing,
}

/// Compares a file with the published one. Fails if the file cannot be read, or if it cannot be unpacked and no
/// checksum matches.
pub(super) fn judge(path: &Path, published: &Published) -> Result<Verdict> {
    let (packed, start) = sha256_of_file(path)?;
    let matches = |sum: &str| sum == published.packed || Some(sum) == published.unpacked;
    if matches(&packed) {
        return Ok(Verdict::Verified);
    }
    if !start.starts_with(&[0x1f, 0x8b]) {
        // A file that is not a tar and does not begin as IDX (two zeros, then the type: unsigned bytes) is not a form
        // of the published file.
        let known = start == [0, 0, 8] || path.extension().is_some_and(|ending| ending == "tar");
        let unverifiable = published.unpacked.is_none() && known;
        return Ok(if unverifiable { Verdict::Unverifiable } else { Verdict::Differs { sha256: packed } });
    }
    // Unpacking distinguishes a damaged file from the user's own data even without a published checksum.
    let mut unpacked = Hashing::default();
    let mut bytes = idx::open(path.into())?.take(idx::MAX_BYTES);
    io::copy(&mut bytes, &mut unpacked).map_err(|error| idx::unpack_error(path.into(), error))?;
    let unpacked = unpacked.finish();
    Ok(if matches(&unpacked) { Verdict::Verified } else { Verdict::Differs { sha256: packed } })
}

/// The checksum of a file's bytes as they are, and the first three of them.
pub(super) fn sha256_of_file(path: &Path) -> Result<(String, Vec<u8>)> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hashing = Hashing::default();
    io::copy(&mut file, &mut hashing).map_err(Error::io("read", path))?;
    let start = std::mem::take(&mut hashing.start);
    Ok((hashing.finish(), start))
}

/// A writer that computes SHA-256 and remembers the first three bytes.
#[derive(Default)]
struct Hashing {
    sum: Sha256,
    start: Vec<u8>,
}

impl Hashing {
    fn finish(self) -> String {
        self.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wanted = 3usize.saturating_sub(self.start.len()).min(bytes.len());
        self.start.extend_from_slice(&bytes[..wanted]);
        self.sum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The published data set that a label file belongs to, by its checksum.
pub(super) fn owner_of_labels(path: &Path) -> Option<DatasetName> {
    let owned = |name: &DatasetName| {
        let published = Sources::published(*name).and_then(|sources| sources.files.get(1).copied());
        published.is_some_and(|published| matches!(judge(path, &published), Ok(Verdict::Verified)))
    };
    DatasetName::ALL.into_iter().find(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// NIST's example for SHA-256: the three bytes "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn judged(bytes: &[u8], packed: &'static str, unpacked: Option<&'static str>) -> Verdict {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        judge(file.path(), &Published { bytes: 0, packed, unpacked }).unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn either_published_sum_will_do() {
        assert_eq!(judged(b"abc", ABC, None), Verdict::Verified);
        assert_eq!(judged(b"abc", EMPTY, Some(ABC)), Verdict::Verified);
        assert_eq!(judged(&gzip(b"abc"), EMPTY, Some(ABC)), Verdict::Verified);
    }

    #[test]
    fn other_bytes_differ() {
        assert_eq!(judged(b"abc", EMPTY, Some(EMPTY)), Verdict::Differs { sha256: ABC.to_string() });
        assert!(matches!(judged(&gzip(b"abc"), EMPTY, Some(EMPTY)), Verdict::Differs { .. }));
    }

    #[test]
    fn an_unpacked_file_without_a_published_sum_is_unverifiable() {
        assert_eq!(judged(&[0, 0, 8, 3], EMPTY, None), Verdict::Unverifiable);
        assert!(matches!(judged(b"abc", EMPTY, None), Verdict::Differs { .. }));
    }
}
