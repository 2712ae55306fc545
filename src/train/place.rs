//! The location of a run folder: removes what was created for a run without a checkpoint, and follows a folder that is
//! renamed or deleted during the run.

use super::folder::LIVE_FILE;
use crate::Result;
use crate::formats::MadeFolders;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Files that a run writes before its first checkpoint.
const FIRST_FILES: [&str; 3] = ["config.toml", "metrics.jsonl", LIVE_FILE];
const LOCK: &str = ".lock";
/// The folder of event files, and the suffix of those written by this program.
const EVENTS: &str = "tensorboard";
const EVENTS_SUFFIX: &str = ".glassnet";

/// Everything that a new run creates before its first checkpoint; it is worthless without one.
#[derive(Debug)]
pub(super) struct Begun {
    folder: PathBuf,
    /// Files that did not exist before.
    new: Vec<&'static str>,
    folders: MadeFolders,
}

impl Begun {
    /// Creates the folder, and checks which of a run's files it already has.
    pub fn in_folder(folder: &Path) -> Result<Begun> {
        let folders = MadeFolders::create(folder, "create the run folder")?;
        let names = FIRST_FILES.into_iter().chain([LOCK, EVENTS]);
        let new = names.filter(|name| fs::symlink_metadata(folder.join(name)).is_err()).collect();
        Ok(Begun { folder: folder.to_path_buf(), new, folders })
    }

    /// Keeps everything, because there is a checkpoint.
    pub fn keep(mut self) {
        self.folders.keep();
    }

    /// Removes what is new from the folder's present location; other files there remain. Errors are not reported,
    /// because another error has already been.
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
        // Removed while the lock is held, so no other process starts here. Only Unix removes an open file.
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

    /// Finds a folder that was renamed. Nothing is ever written to another folder that has taken its place.
    ///
    /// # Errors
    /// [`Settings`](crate::Error::Settings) if it was deleted, or if the system does not know its location.
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
            log::warn!("{} was renamed; the run continues in {}", self.path.display(), path.display());
            self.path = path;
            return Ok(());
        }
        self.gone = true;
        let path = self.path.display();
        let deleted = held.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        Err(Error::Settings(match checkpoint {
            Some(step) if !deleted => format!(
                "the run folder {path} no longer exists; if it was moved, resume it from its new path, where it has its \
                 checkpoint of step {step}, otherwise start the run again"
            ),
            Some(step) => format!(
                "the run folder {path} was deleted during the run, with its checkpoint of step {step}; start \
                 the run again"
            ),
            None => format!(
                "the run folder {path} was moved or deleted before the run had a checkpoint; start the run again"
            ),
        }))
    }

    /// On other systems, a folder with an open file in it cannot be renamed.
    #[cfg(not(unix))]
    pub fn follow(&mut self, _: Option<u64>) -> Result<()> {
        Ok(())
    }
}

/// The present location of an open folder, as far as the system knows it.
#[cfg(target_os = "linux")]
fn path_of(held: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).ok()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn path_of(_: &File) -> Option<PathBuf> {
    None
}
