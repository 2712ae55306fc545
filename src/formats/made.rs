//! Folders that are made for work which may come to nothing.

use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders that [`MadeFolders::create`] made. They go with this value, as far as they are empty, unless they are kept.
#[derive(Debug)]
pub struct MadeFolders {
    /// The innermost first.
    paths: Vec<PathBuf>,
}

impl MadeFolders {
    /// Makes a folder and those around it that are missing.
    ///
    /// # Errors
    /// [`Error::Io`], which says that `what` cannot be created; then nothing new is left.
    pub fn create(path: &Path, what: &'static str) -> Result<MadeFolders> {
        let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let made = MadeFolders { paths: missing.map(Path::to_path_buf).collect() };
        fs::create_dir_all(path).map_err(Error::io(what, path))?;
        Ok(made)
    }

    /// They stay, whatever is in them.
    pub fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // Refused where there is something in one, and then it stays.
        self.paths.iter().all(|folder| fs::remove_dir(folder).is_ok() || !folder.exists());
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_goes_again_and_what_was_there_or_is_full_stays() {
        let place = tempfile::tempdir().expect("a folder");
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("old")).expect("a folder");
        drop(MadeFolders::create(&path("old/a/b"), "create").expect("they are made"));
        assert!(path("old").is_dir() && !path("old/a").exists());

        let made = MadeFolders::create(&path("old/a/b"), "create").expect("they are made");
        fs::write(path("old/a/mine"), "").expect("a file");
        drop(made);
        assert!(path("old/a/mine").is_file() && !path("old/a/b").exists());

        let mut made = MadeFolders::create(&path("new/a"), "create").expect("they are made");
        made.keep();
        drop(made);
        assert!(path("new/a").is_dir());
        fs::write(path("file"), "").expect("a file");
        assert!(MadeFolders::create(&path("file/a"), "create").is_err());
    }
}
