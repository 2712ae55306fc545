//! Folders that are created for work that may fail.

use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folders that [`MadeFolders::create`] created. Dropping this value removes them, as far as they are empty, unless
/// they are kept.
#[derive(Debug)]
pub struct MadeFolders {
    /// From the innermost outwards.
    paths: Vec<PathBuf>,
}

impl MadeFolders {
    /// Creates a folder and its missing parents.
    ///
    /// # Errors
    /// [`Error::Io`], which says that `what` cannot be created; nothing new remains in that case.
    pub fn create(path: &Path, what: &'static str) -> Result<MadeFolders> {
        if path.exists() && !path.is_dir() {
            return Err(Error::io(what, path)(io::Error::other("it is a file; choose a folder")));
        }
        let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let made = MadeFolders { paths: missing.map(Path::to_path_buf).collect() };
        fs::create_dir_all(path).map_err(Error::io(what, path))?;
        Ok(made)
    }

    /// Keeps the folders, whatever they contain.
    pub fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // Fails for a folder that is not empty, which then remains.
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
