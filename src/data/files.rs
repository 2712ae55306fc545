//! Names of files in a folder, and the folder for downloads. A file may be gzipped or plain, and be called
//! `train-images-idx3-ubyte` or, as in some archives, `train-images.idx3-ubyte`.

use std::path::{Path, PathBuf};

/// The user's cache folder for all data sets, such as `~/.cache/glassnet`; `None` if the system has none.
pub fn cache_folder() -> Option<PathBuf> {
    #[cfg(target_arch = "wasm32")]
    return None;
    #[cfg(not(target_arch = "wasm32"))]
    dirs::cache_dir().map(|cache| cache.join("glassnet"))
}

/// Whether a file is in this program's cache folder, where users keep no files of their own.
pub fn in_cache(path: &Path) -> bool {
    cache_folder().is_some_and(|cache| path.starts_with(cache))
}

/// The file called `file`, or a variant of that name, in `folder`.
pub(super) fn file_in(folder: &Path, file: &str) -> Option<PathBuf> {
    let dotted = file.replacen("-idx", ".idx", 1);
    let variants = [format!("{file}.gz"), file.to_string(), format!("{dotted}.gz"), dotted];
    variants.into_iter().map(|variant| folder.join(variant)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::FILES;
    use super::*;

    #[test]
    fn a_file_is_found_under_four_names() {
        for variant in [
            "t10k-images-idx3-ubyte",
            "t10k-images-idx3-ubyte.gz",
            "t10k-images.idx3-ubyte",
            "t10k-images.idx3-ubyte.gz",
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(variant), "").unwrap();
            assert_eq!(file_in(folder.path(), FILES[2]), Some(folder.path().join(variant)));
        }
    }
}
