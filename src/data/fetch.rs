//! Downloads the files of a data set: from several mirrors, resumed where a connection broke, verified, and only
//! then renamed to their own names, so that a file with its own name is a whole one whatever happened before.
//! One limit on silence covers all files, servers and waiting for others: no network, no wait beyond ten seconds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::checksum::{Verdict, judge};
use super::files::{file_in, in_cache};
use super::transfer::{Outcome, Patience, host_of, transfer};
use super::{DatasetName, Progress, Published, Sources};
use crate::{Error, Result};

/// Requests for one file to one server: a connection may break this often as long as the file grows.
const REQUESTS: usize = 50;

/// Of which so many may end without the file having grown, as where the server always starts from zero.
const FRUITLESS: usize = 3;

const LOCK: &str = ".lock";

/// Pause between two looks at whether another process is done.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Brings the files of `name` into `folder`, which is created. Files that are there and verified are kept.
///
/// Fails with [`Error::Download`] where no server delivers, with [`Error::Data`] where a file is in the way that is
/// not the published one (it is never overwritten), with [`Error::Io`] where the folder cannot be written.
/// A `.part` file stays behind after a broken download; the next attempt continues it. Where nothing came, the folders that
/// were made for it go again.
pub fn fetch(name: DatasetName, folder: &Path, sources: &Sources, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    if name.is_synthetic() {
        let drawn = name.drawn();
        return Err(Error::Settings(format!("the synthetic {drawn} are built in: there is nothing to download")));
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
        // While it is held, nobody else begins here; only Unix removes a file that is open.
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

/// Keeps two processes from writing one folder at once. The system drops the lock when its holder ends, however it
/// ends. `None` where the file system cannot lock: names of temporary files then differ by process.
fn lock(folder: &Path, patience: &mut Patience, progress: &mut dyn FnMut(Progress)) -> Result<Option<File>> {
    let path = folder.join(LOCK);
    if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::Data(format!("{} is in the way: it is no file; move it, then fetch again", path.display())));
    }
    // Whatever is in a file of this name stays.
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
                "another process downloads into {folder} but makes no progress; end it and try again"
            )));
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// Size of all files in `folder`, which grows while another process downloads.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The download of one data set.
struct Download<'a> {
    folder: &'a Path,
    sources: &'a Sources,
    /// Whether the folder is locked for this process.
    exclusive: bool,
    /// The mirror that delivered last is asked first.
    preferred: usize,
    patience: Patience,
    progress: &'a mut dyn FnMut(Progress),
}

impl Download<'_> {
    /// One file, from whichever mirror has it.
    fn file(&mut self, file: &str, published: &Published) -> Result<()> {
        if let Some(path) = file_in(self.folder, file) {
            return self.keep(&path, published);
        }
        let target = self.folder.join(format!("{file}.gz"));
        let part = self.part_of(&target);
        // A process that was killed between the last byte and the rename leaves a whole file.
        if size_of(&part) == published.bytes && verified(&part, published) {
            return self.accept(&part, &target);
        }
        let mirrors = self.sources.mirrors.len();
        let mut failures = Vec::new();
        for turn in 0..mirrors {
            let mirror = (self.preferred + turn) % mirrors;
            // What is left is shared by the mirrors that are still to be asked.
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
        let failures = if failures.is_empty() { "no server to ask in time".to_string() } else { failures.join("; ") };
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

    /// A file that is there already: fine if it is the published one, never overwritten if not.
    fn keep(&mut self, path: &Path, published: &Published) -> Result<()> {
        match judge(path, published)? {
            Verdict::Verified => {
                (self.progress)(Progress::Verified { file: file_name(path) });
                Ok(())
            }
            Verdict::Unverifiable => {
                log::warn!("{}: unpacked, and only the sum of the packed file is published; kept", path.display());
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

    /// Asks one mirror until the whole file is in `part` (`None`) or it is not worth asking again (why).
    fn ask_mirror(&mut self, url: &str, part: &Path, published: &Published, wait: Duration) -> Result<Option<String>> {
        // Someone else's compression may be less good than the published one, but not by this much.
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
                // The beginning may be of an older attempt or of another mirror: once more from zero.
                Outcome::Complete if !was_wrong => {
                    was_wrong = true;
                    remove(part)?;
                }
                Outcome::Complete => {
                    remove(part)?;
                    return Ok(Some("sends wrong bytes: the checksum differs".to_string()));
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
                Outcome::CannotResume => return Ok(Some("answers with a range that was not asked for".to_string())),
                Outcome::TooLong => {
                    remove(part)?;
                    return Ok(Some("sends far more bytes than the file has".to_string()));
                }
                Outcome::Refused(reason) => return Ok(Some(reason)),
                Outcome::Silent(time) => return Ok(Some(format!("nothing came for {:.1} s", time.as_secs_f64()))),
            }
        }
        Ok(Some(format!("the connection broke {REQUESTS} times")))
    }

    fn accept(&mut self, part: &Path, target: &Path) -> Result<()> {
        // A link to nowhere, or a pipe: a file of this name would have been kept.
        if fs::symlink_metadata(target).is_ok() {
            let target = target.display();
            return Err(Error::Data(format!("{target} is in the way: it is no file; move it, then fetch again")));
        }
        fs::rename(part, target).map_err(Error::io("create", target))?;
        // Makes the new name itself last; not every system can sync a folder, and a lost name is only fetched again.
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

/// Whether these are the published bytes; what cannot be unpacked is not.
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
