//! The safetensors container: named f32 tensors after a JSON header, with one metadata entry of Glassnet's.
//!
//! Reading trusts nothing: sizes are checked against the bytes at hand before anything is used or allocated. Writing
//! depends on the content alone: tensors are sorted, and all metadata is under one key, because the container keeps its
//! keys in a hash map whose order varies from run to run.

use super::file::open_file;
use crate::net::MAX_ELEMENTS;
use crate::{Error, Result, text};
use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The one metadata key, whose value is a JSON document.
const METADATA_KEY: &str = "glassnet";

/// The number of bytes of the header's length at the beginning of the file.
const LENGTH_BYTES: usize = 8;

/// The largest header that is read, in bytes; those of Glassnet's files have a few KiB.
const MAX_HEADER: u64 = 1 << 24;

/// The largest file that is read: the weights of the largest network and eight times as much optimizer state.
pub(super) const MAX_FILE: u64 = (MAX_ELEMENTS as u64) * 4 * 9;

/// What to do about a file that is not one of Glassnet's.
pub(super) const REMEDY: &str = "give a model.safetensors or checkpoint.safetensors that `glassnet train` wrote";

/// The bytes of a file with tensors, each with name, shape and values, and `metadata` as a JSON document under the key
/// `glassnet`. The same content gives the same bytes.
///
/// # Errors
/// [`Error::Model`] if the format cannot hold that much.
///
/// # Panics
/// If a shape does not match the number of values, or if two tensors share a name.
pub fn tensor_bytes(tensors: &[(&str, &[usize], &[f32])], metadata: &serde_json::Value) -> Result<Vec<u8>> {
    serialize(tensors, &metadata.to_string())
}

/// Does the same as [`tensor_bytes`] with the JSON document as text.
pub(super) fn serialize(tensors: &[(&str, &[usize], &[f32])], document: &str) -> Result<Vec<u8>> {
    let mut views: Vec<(&str, F32View)> = Vec::with_capacity(tensors.len());
    for &(name, shape, values) in tensors {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "tensor {name} of shape {shape:?}");
        views.push((name, F32View { shape, values }));
    }
    views.sort_by_key(|(name, _)| *name);
    assert!(views.windows(2).all(|pair| pair[0].0 != pair[1].0), "two tensors share a name");
    let metadata = HashMap::from([(METADATA_KEY.to_string(), document.to_string())]);
    safetensors::serialize(views, Some(metadata))
        .map_err(|error| Error::Model(format!("these tensors cannot be written as a safetensors file: {error}")))
}

struct F32View<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for F32View<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// The bytes of a safetensors file. The header is read first; the rest only if the header fits the file's size.
///
/// # Errors
/// [`Error::Io`], and those of [`Tensors::parse`].
pub(super) fn read(path: &Path, remedy: &'static str) -> Result<Vec<u8>> {
    let (file, mut bytes, size) = read_start(path, remedy)?;
    read_header(&bytes, size, &path.display().to_string(), remedy)?;
    bytes.reserve_exact((size as usize).saturating_sub(bytes.len()));
    // The file may grow meanwhile.
    file.take(size).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Opens a safetensors file and returns its first bytes up to the end of its header, and its size.
///
/// # Errors
/// [`Error::Io`]; [`Error::Model`] if it is not a regular file, or is too large.
pub(super) fn read_start(path: &Path, remedy: &str) -> Result<(File, Vec<u8>, u64)> {
    let (mut file, size) = open_file(path, MAX_FILE, remedy)?;
    let mut bytes = Vec::new();
    file.by_ref().take(LENGTH_BYTES as u64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if let Some((length, _)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
        // A longer header is refused by its length alone.
        let length = u64::from_le_bytes(*length).min(MAX_HEADER);
        file.by_ref().take(length).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    }
    Ok((file, bytes, size))
}

/// Reads the header at the beginning of `bytes`, and returns where the tensors begin; `size` is that of the whole file.
/// The crate's own `SafeTensors::deserialize` is not used because it adds the header's sizes without overflow checks:
/// with a hostile header the sum wraps around, and later slices panic.
fn read_header(bytes: &[u8], size: u64, source: &str, remedy: &str) -> Result<(Metadata, usize)> {
    let refuse = |why: String| Error::Model(format!("{source}: {why}"));
    let not_ours = |why: &str| refuse(format!("not a safetensors file ({why}); {remedy}"));
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| not_ours(&format!("it has only {} bytes", bytes.len())))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(not_ours(&format!("its header would have {length} bytes")));
    }
    let (header, _) = rest.split_at_checked(length as usize).ok_or_else(|| {
        refuse(format!(
            "truncated, or not a safetensors file: {size} bytes, but a header of {length}; copy it again, or {remedy}"
        ))
    })?;
    let header: Metadata =
        serde_json::from_slice(header).map_err(|error| not_ours(&format!("bad header: {}", text::message(error))))?;
    let start = LENGTH_BYTES + length as usize;
    let (promised, found) = (header.data_len() as u64, size.saturating_sub(start as u64));
    if promised != found {
        let what = if found < promised { "truncated" } else { "damaged" };
        return Err(refuse(format!(
            "{what}: its header promises {promised} bytes of tensors, the file has {found}; copy it again or use an older \
             checkpoint"
        )));
    }
    Ok((header, start))
}

/// A container whose header has been checked against its size.
pub(super) struct Tensors<'a> {
    /// The file's name, with which every message begins.
    source: &'a str,
    /// What to do about an unusable file, with which messages end.
    remedy: &'static str,
    header: Metadata,
    data: &'a [u8],
}

impl<'a> Tensors<'a> {
    /// Reads the header of a whole file.
    pub(super) fn parse(bytes: &'a [u8], source: &'a str, remedy: &'static str) -> Result<Tensors<'a>> {
        let (header, start) = read_header(bytes, bytes.len() as u64, source, remedy)?;
        Ok(Tensors { source, remedy, header, data: bytes.get(start..).unwrap_or_default() })
    }

    /// Reads the beginning of a file from [`read_start`]: metadata without tensors.
    pub(super) fn of_start(start: &[u8], size: u64, source: &'a str, remedy: &'static str) -> Result<Tensors<'a>> {
        let (header, _) = read_header(start, size, source, remedy)?;
        Ok(Tensors { source, remedy, header, data: &[] })
    }

    /// Names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.header.offset_keys();
        names.sort();
        names
    }

    /// Glassnet's JSON document.
    pub(super) fn document(&self) -> Result<&str> {
        let metadata = self.header.metadata().as_ref();
        metadata.and_then(|metadata| metadata.get(METADATA_KEY)).map(String::as_str).ok_or_else(|| {
            self.refuse(&format!(
                "has no `{METADATA_KEY}` entry in its metadata, so it does not say what network its tensors belong to; \
                 {}, or give `glassnet convert` the network too",
                self.remedy
            ))
        })
    }

    /// The values of tensor `name`, which must be f32, finite and of the given shape; `None` for a vector of any
    /// length.
    pub(super) fn values(&self, name: &str, shape: Option<&[usize]>) -> Result<Vec<f32>> {
        let info = self.info(name)?;
        if info.dtype != Dtype::F32 {
            return Err(self.refuse(&format!("tensor `{name}` is {:?}; only F32 is read", info.dtype)));
        }
        let fits = shape.map_or(info.shape.len() == 1, |shape| info.shape == shape);
        if !fits {
            let expected = shape.map_or("one dimension".to_string(), |shape| format!("{shape:?}"));
            return Err(self.refuse(&format!(
                "tensor `{name}` has shape {}, the network in the file needs {expected}; {}",
                text::cut(format_args!("{:?}", info.shape)),
                self.remedy
            )));
        }
        let values: Vec<f32> =
            self.bytes(name, info)?.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        check_finite(name, &values).map_err(|why| self.refuse(&why))?;
        Ok(values)
    }

    /// Type, shape and location of tensor `name`, which must exist.
    pub(super) fn info(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || self.refuse(&format!("tensor `{name}` is missing; the file is incomplete, {}", self.remedy));
        self.header.info(name).ok_or_else(missing)
    }

    /// The bytes of tensor `name`, as its shape and type require.
    pub(super) fn bytes(&self, name: &str, info: &TensorInfo) -> Result<&'a [u8]> {
        // Offsets are contiguous and end where the data ends, so they are inside.
        let (start, end) = info.data_offsets;
        self.data.get(start..end).ok_or_else(|| self.refuse(&format!("tensor `{name}` lies outside")))
    }

    /// An error that begins with the file's name.
    pub(super) fn refuse(&self, why: &str) -> Error {
        Error::Model(format!("{}: {why}", self.source))
    }
}

/// Refuses infinities and NaN, which no usable training contains.
pub(super) fn check_finite(name: &str, values: &[f32]) -> std::result::Result<(), String> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(format!(
            "tensor `{name}` holds {} at index {index}; use an older checkpoint, or train with a lower learning rate",
            values[index]
        )),
        None => Ok(()),
    }
}
