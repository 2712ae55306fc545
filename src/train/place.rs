//! Where a run folder is: what was made for a run that has nothing to keep yet, and a folder that is renamed or deleted
//! while the run goes on.

use super::folder::LIVE_FILE;
use crate::Result;
use crate::formats::MadeFolders;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What a run writes before its first checkpoint.
const FIRST_FILES: [&str; 3] = ["config.toml", "metrics.jsonl", LIVE_FILE];
const LOCK: &str = ".lock";
/// The folder of event files, and what ours end in.
const EVENTS: &str = "tensorboard";
const EVENTS_SUFFIX: &str = ".glassnet";

/// What a new run makes until its first checkpoint: none of it is worth keeping without one.
#[derive(Debug)]
pub(super) struct Begun {
    folder: PathBuf,
    /// What was not there before.
    new: Vec<&'static str>,
    folders: MadeFolders,
}

impl Begun {
    /// Makes the folder, and looks which of a run's files it has.
    pub fn in_folder(folder: &Path) -> Result<Begun> {
        let folders = MadeFolders::create(folder, "create the run folder")?;
        let names = FIRST_FILES.into_iter().chain([LOCK, EVENTS]);
        let new = names.filter(|name| fs::symlink_metadata(folder.join(name)).is_err()).collect();
        Ok(Begun { folder: folder.to_path_buf(), new, folders })
    }

    /// There is a checkpoint: all of it stays.
    pub fn keep(mut self) {
        self.folders.keep();
    }

    /// Removes what is new from where the folder is now; what others put beside it stays. Errors are not reported: one has
    /// been already.
    pub fn remove(mut self, now: &Path, lock: Option<File>) {
        let renamed = self.folder != now;
        self.folder = now.to_path_buf();
        let is_new = |name: &str| self.new.contains(&name);
        for name in FIRST_FILES.into_iter().filter(|name| is_new(name)) {
            let _ = fs::remove_file(self.folder.join(name));
        }
        if is_new(EVENTS) {
            let events = self.folder.join(EVENTS);
            let files = fs::read_dir(&events).into_iter().flatten().flatten().map(|entry| entry.path());
            for file in files.filter(|file| file.to_string_lossy().ends_with(EVENTS_SUFFIX)) {
                let _ = fs::remove_file(file);
            }
            let _ = fs::remove_dir(events);
        }
        // While it is held, nobody else begins here; only Unix removes a file that is open.
        let held = lock.filter(|_| cfg!(unix));
        if is_new(LOCK) {
            let _ = fs::remove_file(self.folder.join(LOCK));
        }
        if renamed && is_new(LOCK) {
            let _ = fs::remove_dir(&self.folder);
        }
        drop(held);
    }
}

/// The path of a folder, and on Unix the folder itself, held open.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    #[cfg(unix)]
    held: Option<File>,
    gone: bool,
}

impl Place {
    pub fn of(path: &Path) -> Place {
        Place {
            path: path.to_path_buf(),
            #[cfg(unix)]
            held: File::open(path).ok(),
            gone: false,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Finds a folder that was renamed. Nothing is ever written to another one that has come to its place.
    ///
    /// # Errors
    /// [`Settings`](crate::Error::Settings) where it was deleted, or the system does not tell where it is.
    #[cfg(unix)]
    pub fn follow(&mut self, checkpoint: Option<u64>) -> Result<()> {
        use crate::Error;
        use std::os::unix::fs::MetadataExt;
        let Some(held) = &self.held else { return Ok(()) };
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let own = held.metadata().map(identity).map_err(Error::io("read", &self.path))?;
        let is_own = |path: &Path| fs::metadata(path).is_ok_and(|found| identity(found) == own);
        if is_own(&self.path) {
            return Ok(());
        }
        if let Some(path) = path_of(held).filter(|path| is_own(path)) {
            log::warn!("{} was renamed; the run goes on in {}", self.path.display(), path.display());
            self.path = path;
            return Ok(());
        }
        self.gone = true;
        let path = self.path.display();
        let deleted = held.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        Err(Error::Settings(match checkpoint {
            Some(step) if !deleted => format!(
                "the run folder {path} is no longer there; if it was moved, resume it from its new path, where it has its \
                 checkpoint of step {step}, else start the run again"
            ),
            Some(step) => format!(
                "the run folder {path} was deleted while the run went on, and its checkpoint of step {step} with it: start \
                 the run again"
            ),
            None => format!(
                "the run folder {path} was moved or deleted before the run had a checkpoint: start the run again"
            ),
        }))
    }

    /// Elsewhere a folder with an open file in it cannot be renamed.
    #[cfg(not(unix))]
    pub fn follow(&mut self, _: Option<u64>) -> Result<()> {
        Ok(())
    }
}

/// Where an open folder is now, as far as the system says.
#[cfg(target_os = "linux")]
fn path_of(held: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).ok()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn path_of(_: &File) -> Option<PathBuf> {
    None
}
