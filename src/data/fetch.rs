//! Downloads the files of a data set: tries several mirrors, resumes after a broken connection, verifies the checksum
//! and only then renames the file to its own name. A file with its own name is therefore always complete. One limit on
//! silence covers all files, servers and waiting for other processes: without a network, the wait is at most ten
//! seconds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::checksum::{Verdict, judge};
use super::files::{file_in, in_cache};
use super::transfer::{Outcome, Patience, host_of, transfer};
use super::{DatasetName, Progress, Published, Sources};
use crate::{Error, Result};

/// The most requests for one file to one server, provided that the file grows (see [`FRUITLESS`]).
const REQUESTS: usize = 50;

/// The most requests that may end without the file having grown, as with a server that always starts at zero.
const FRUITLESS: usize = 3;

const LOCK: &str = ".lock";

/// The pause between two checks whether another process is done.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Downloads the files of `name` into `folder`, which is created. Files that exist and are verified are kept.
///
/// A `.part` file remains after a broken download, and the next attempt continues it. If nothing arrived, the folders
/// created for it are removed.
///
/// # Errors
/// [`Error::Download`] if no server delivers; [`Error::Data`] if a file that is not the published one is in the way (it
/// is never overwritten); [`Error::Io`] if the folder cannot be written.
pub fn fetch(name: DatasetName, folder: &Path, sources: &Sources, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    if name.is_synthetic() {
        let drawn = name.drawn();
        return Err(Error::Settings(format!("the synthetic {drawn} are built in; there is nothing to download")));
    }
    let mut patience = Patience::new();
    let missing = folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let made: Vec<&Path> = missing.collect();
    let new = fs::symlink_metadata(folder.join(LOCK)).is_err();
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let lock = lock(folder, &mut patience, progress)?;
    let mut download = Download { folder, sources, exclusive: lock.is_some(), preferred: 0, patience, progress };
    let done = name.files().iter().zip(&sources.files).try_for_each(|(file, published)| download.file(file, published));
    if done.is_err() && new && is_empty_but_for_lock(folder) {
        // Removed while the lock is held, so no other process starts here. Only Unix removes an open file.
        let held = lock.filter(|_| cfg!(unix));
        let _ = fs::remove_file(folder.join(LOCK));
        drop(held);
        made.into_iter().all(|folder| fs::remove_dir(folder).is_ok());
    }
    done
}

fn is_empty_but_for_lock(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut files| files.all(|file| file.is_ok_and(|file| file.file_name() == LOCK)))
}

/// Keeps two processes from writing one folder at once. The system releases the lock when its holder ends, in any way.
/// `None` if the file system cannot lock; names of temporary files then differ by process.
fn lock(folder: &Path, patience: &mut Patience, progress: &mut dyn FnMut(Progress)) -> Result<Option<File>> {
    let path = folder.join(LOCK);
    if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::Data(format!("{} is not a file; move it, then fetch again", path.display())));
    }
    // An existing file of this name is left unchanged.
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::io("create", &path))?;
    let mut seen = bytes_in(folder);
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => {
                log::debug!("{} cannot be locked: {error}", path.display());
                return Ok(None);
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            progress(Progress::Waiting { folder: folder.to_path_buf() });
            told = true;
        }
        let now = bytes_in(folder);
        if now != seen {
            patience.restore();
            seen = now;
        }
        if patience.left().is_zero() {
            let folder = folder.display();
            return Err(Error::Download(format!(
                "another process is downloading into {folder} but makes no progress; end it and try again"
            )));
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// The size of all files in `folder`, which grows while another process downloads.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The download of one data set.
struct Download<'a> {
    folder: &'a Path,
    sources: &'a Sources,
    /// Whether this process has locked the folder.
    exclusive: bool,
    /// The mirror that delivered last; it is asked first.
    preferred: usize,
    patience: Patience,
    progress: &'a mut dyn FnMut(Progress),
}

impl Download<'_> {
    /// Downloads one file from any mirror that has it.
    fn file(&mut self, file: &str, published: &Published) -> Result<()> {
        if let Some(path) = file_in(self.folder, file) {
            return self.keep(&path, published);
        }
        let target = self.folder.join(format!("{file}.gz"));
        let part = self.part_of(&target);
        // A process killed between the last byte and the rename leaves a complete file.
        if size_of(&part) == published.bytes && verified(&part, published) {
            return self.accept(&part, &target);
        }
        let mirrors = self.sources.mirrors.len();
        let mut failures = Vec::new();
        for turn in 0..mirrors {
            let mirror = (self.preferred + turn) % mirrors;
            // The remaining time is divided among the remaining mirrors.
            let wait = self.patience.left() / (mirrors - turn) as u32;
            if wait.is_zero() {
                break;
            }
            let url = format!("{}{file}.gz", self.sources.mirrors[mirror]);
            match self.ask_mirror(&url, &part, published, wait)? {
                None => {
                    self.preferred = mirror;
                    return self.accept(&part, &target);
                }
                Some(reason) => {
                    log::info!("{url}: {reason}");
                    failures.push(format!("{}: {reason}", host_of(&url)));
                }
            }
        }
        let failures =
            if failures.is_empty() { "no server could be asked in time".to_string() } else { failures.join("; ") };
        let kept = match size_of(&part) {
            0 => {
                let _ = fs::remove_file(&part);
                String::new()
            }
            bytes => format!(", which continues from the {bytes} bytes in {}", part.display()),
        };
        Err(Error::Download(format!(
            "cannot download {file}.gz ({failures}); check the network connection and try again{kept}"
        )))
    }

    /// Keeps an existing file if it is the published one; otherwise fails, and never overwrites it.
    fn keep(&mut self, path: &Path, published: &Published) -> Result<()> {
        match judge(path, published)? {
            Verdict::Verified => {
                (self.progress)(Progress::Verified { file: file_name(path) });
                Ok(())
            }
            Verdict::Unverifiable => {
                log::warn!(
                    "kept {}: it is unpacked, and only the checksum of the packed file is published",
                    path.display()
                );
                Ok(())
            }
            _ => {
                let why = format!("{} is not the published file: its checksum differs", path.display());
                Err(match in_cache(path) {
                    true => Error::Data(format!("{why}; move or delete it, then fetch again")),
                    false => Error::DataFolder(why),
                })
            }
        }
    }

    /// Asks one mirror until the whole file is in `part` (returns `None`) or asking again is useless (returns the
    /// reason).
    fn ask_mirror(&mut self, url: &str, part: &Path, published: &Published, wait: Duration) -> Result<Option<String>> {
        // Another compression may be less good than the published one, but not by this much.
        let limit = published.bytes.saturating_mul(2).saturating_add(1 << 16);
        let file = file_name(part.with_extension("").as_path());
        let (mut was_wrong, mut fruitless, mut longest) = (false, 0, 0);
        for _ in 0..REQUESTS {
            (self.progress)(Progress::Connecting { file: file.clone(), url: url.to_string() });
            let progress = &mut self.progress;
            let mut report = |received, total| progress(Progress::Downloading { file: file.clone(), received, total });
            let had = size_of(part);
            match transfer(url, part, limit, wait, &mut self.patience, &mut report)? {
                Outcome::Complete if verified(part, published) => return Ok(None),
                // The beginning may come from an older attempt or another mirror, so start once more from zero.
                Outcome::Complete if !was_wrong => {
                    was_wrong = true;
                    remove(part)?;
                }
                Outcome::Complete => {
                    remove(part)?;
                    return Ok(Some("sent a file with a different checksum".to_string()));
                }
                Outcome::Cut { received: 0, reason } => return Ok(Some(reason)),
                Outcome::Cut { reason, .. } => {
                    log::debug!("{url}: {reason}; asking for the rest");
                    let size = size_of(part);
                    fruitless += usize::from(size <= longest.max(had));
                    longest = longest.max(size);
                    if fruitless == FRUITLESS {
                        return Ok(Some(reason));
                    }
                }
                Outcome::CannotResume if had > 0 => remove(part)?,
                Outcome::CannotResume => return Ok(Some("answered with a range that was not requested".to_string())),
                Outcome::TooLong => {
                    remove(part)?;
                    return Ok(Some("sent far more bytes than the file has".to_string()));
                }
                Outcome::Refused(reason) => return Ok(Some(reason)),
                Outcome::Silent(time) => return Ok(Some(format!("sent nothing for {:.1} s", time.as_secs_f64()))),
            }
        }
        Ok(Some(format!("the connection broke {REQUESTS} times")))
    }

    fn accept(&mut self, part: &Path, target: &Path) -> Result<()> {
        // A broken link or a pipe; a file of this name would have been kept.
        if fs::symlink_metadata(target).is_ok() {
            let target = target.display();
            return Err(Error::Data(format!("{target} is not a file; move it, then fetch again")));
        }
        fs::rename(part, target).map_err(Error::io("create", target))?;
        // Makes the new name itself durable. Some systems cannot sync a folder, and a lost name is only downloaded
        // again.
        let _ = File::open(self.folder).and_then(|folder| folder.sync_all());
        self.patience.restore();
        (self.progress)(Progress::Verified { file: file_name(target) });
        Ok(())
    }

    fn part_of(&self, target: &Path) -> PathBuf {
        let ending = if self.exclusive { "part".to_string() } else { format!("part-{}", std::process::id()) };
        target.with_added_extension(ending)
    }
}

/// Whether these are the published bytes; a file that cannot be unpacked is not.
fn verified(path: &Path, published: &Published) -> bool {
    matches!(judge(path, published), Ok(Verdict::Verified))
}

fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(Error::io("delete", path))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}
