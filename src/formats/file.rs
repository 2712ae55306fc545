//! Writes files atomically: after any failure, a file is either the old one or the new one.
//!
//! A file is written under a temporary name in the same folder, synced, and renamed over its target; a rename within
//! one folder is atomic. A process killed in between leaves the target unchanged, and one temporary file.

use crate::{Error, Result, reading};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const TEMPORARY_SUFFIX: &str = ".glassnet-tmp";

/// Writes `bytes` to `path`, replacing an existing file; readers never see a part of them.
///
/// # Errors
/// [`Error::Io`] with the path; the old file, if any, is then unchanged.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_and_rename(path, bytes).map_err(Error::io("write", path))
}

/// Reads the regular file at `path`, at most `largest` bytes; `remedy` says what to do about any other file.
pub(super) fn read_file(path: &Path, largest: u64, remedy: &str) -> Result<Vec<u8>> {
    reading::regular(path, largest).map_err(|error| refused(path, error, remedy))
}

/// Opens the file at `path` as [`read_file`] does, and returns its size.
pub(super) fn open_file(path: &Path, largest: u64, remedy: &str) -> Result<(File, u64)> {
    reading::open(path, largest).map_err(|error| refused(path, error, remedy))
}

fn refused(path: &Path, error: io::Error, remedy: &str) -> Error {
    if reading::is_refusal(&error) {
        Error::Model(format!("{}: {error}; {remedy}", path.display()))
    } else {
        Error::io("read", path)(error)
    }
}

/// Removes temporary files that killed processes left in `folder`. Only the folder's owner may call this, because it
/// also removes a file that another process is writing.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be listed or a file cannot be removed.
pub fn remove_temporary_files(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(TEMPORARY_SUFFIX)) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

fn write_and_rename(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(path)?;
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is more informative than a failed clean-up. If the name was taken, the file belongs to
        // another writer.
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&temporary);
        }
        return Err(error);
    }
    sync_folder(folder_of(path))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    // Without it, a power cut after the rename could leave the new name on an empty file.
    file.sync_all()
}

/// The path `.NAME.PROCESS-COUNT.glassnet-tmp` next to `path`; two writers never share one.
fn temporary_path(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"))?;
    // A browser has no processes, and asking for a process number would panic.
    let process = if cfg!(target_arch = "wasm32") { 0 } else { std::process::id() };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{process}-{}{TEMPORARY_SUFFIX}", COUNT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the rename itself survive a power cut. On systems other than Unix, a folder cannot be opened as a file.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        atomic_write(&path, b"old and longer").expect("a first write");
        atomic_write(&path, b"new").expect("a second write");
        assert_eq!(fs::read(&path).expect("the file"), b"new");
        assert_eq!(names_in(folder.path()), ["model.safetensors"]);
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing").join("model.safetensors");
        let message = atomic_write(&missing, b"x").expect_err("no such folder").to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", missing.display())), "{message}");

        let occupied = folder.path().join("occupied");
        fs::create_dir(&occupied).expect("a folder in the way");
        assert!(atomic_write(&occupied, b"x").is_err());
        assert_eq!(names_in(folder.path()), ["occupied"]);
        assert!(atomic_write(Path::new(".."), b"x").is_err());
    }

    #[test]
    fn temporary_files_of_killed_processes_can_be_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        atomic_write(&path, b"kept").expect("a write");
        fs::write(temporary_path(&path).expect("a name"), b"half").expect("a leftover");
        remove_temporary_files(folder.path()).expect("a sweep");
        assert_eq!(names_in(folder.path()), ["model.safetensors"]);
    }
}
