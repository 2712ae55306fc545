//! Paths in `config.toml`. TOML only holds Unicode, so a path with other bytes is written percent-encoded after a mark,
//! and read back to the same bytes.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use std::path::{Path, PathBuf};

/// The mark of an encoded path; other paths in `config.toml` never begin like this, because they are absolute.
const MARK: &str = "percent-encoded:";

pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(path) = path else { return serializer.serialize_none() };
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => {
            let refuse = || S::Error::custom(format!("{} is not Unicode; rename it", path.display()));
            serializer.serialize_str(&encode(path).ok_or_else(refuse)?)
        }
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let read = |text: String| match text.strip_prefix(MARK) {
        None => Ok(PathBuf::from(text)),
        Some(encoded) => decode(encoded).ok_or_else(|| D::Error::custom("a percent-encoded path is damaged")),
    };
    text.map(read).transpose()
}

#[cfg(unix)]
fn encode(path: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    let bytes = path.as_os_str().as_bytes().iter();
    let text = bytes.map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    Some(format!("{MARK}{}", text.collect::<String>()))
}

#[cfg(unix)]
fn decode(text: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        let (value, behind) = match byte {
            b'%' => {
                let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
                (u8::from_str_radix(digits, 16).ok()?, &behind[2..])
            }
            byte => (byte, behind),
        };
        bytes.push(value);
        rest = behind;
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// On systems other than Unix, a path is not a sequence of bytes.
#[cfg(not(unix))]
fn encode(_: &Path) -> Option<String> {
    None
}

#[cfg(not(unix))]
fn decode(_: &str) -> Option<PathBuf> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn every_path_reads_back() {
        for bytes in [&b"/data/caf\xe9 100%/\n"[..], b"/\xff%41", b"/plain"] {
            let path = Path::new(OsStr::from_bytes(bytes));
            let text = encode(path).expect("it can be encoded");
            assert_eq!(decode(text.strip_prefix(MARK).expect("the mark")).as_deref(), Some(path), "{text}");
        }
        for damaged in ["%", "%4", "%zz", "/a%é"] {
            assert_eq!(decode(damaged), None, "{damaged}");
        }
    }
}
