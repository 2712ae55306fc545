//! The common rules for all files that a user names for output.
//!
//! An existing file is replaced only on request, and then atomically, with its permissions kept. Symbolic links are
//! followed and remain. Anything other than a regular file, such as a pipe or `/dev/null`, is written through.

use super::file::TEMPORARY_SUFFIX;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The number of links to follow before they count as a loop, as in Linux.
const MOST_LINKS: usize = 40;

/// A run folder's own files, except those that can be made again from them.
const RUN_FILES: [&str; 6] =
    ["config.toml", "metrics.jsonl", "summary.json", "model.safetensors", "checkpoint.safetensors", "best.safetensors"];

/// A file that a user named for output, checked before the work that produces its content.
#[derive(Debug, Clone)]
pub struct Target {
    path: PathBuf,
    force: bool,
    /// Files and folders from which the output is made.
    inputs: Vec<PathBuf>,
}

/// What exists at a path.
enum Place {
    /// Nothing, or a broken link; a file is created here.
    Free(PathBuf),
    /// A regular file, with its own name.
    File(PathBuf, Metadata),
    /// A pipe, a terminal or another device; or the file that is standard output.
    Stream,
    Stdout,
}

impl Target {
    /// Refuses a file that could not be written, before anything is computed for it. `force` allows an existing file to
    /// be replaced.
    ///
    /// # Errors
    /// [`Error::Exists`] if a file exists and `force` is not set; [`Error::Settings`] if the path names a folder, if
    /// its folder is missing, or, even with `force`, for a run folder's own file; [`Error::Io`] if its folder is not
    /// writable.
    pub fn new(path: &Path, force: bool) -> Result<Target> {
        let target = Target { path: path.to_path_buf(), force, inputs: Vec::new() };
        match target.place()? {
            Place::Free(name) | Place::File(name, _) => target.temporary(&name).map(drop)?,
            Place::Stream | Place::Stdout => {}
        }
        Ok(target)
    }

    /// Refuses to replace an input of the output, under any name: a file, or anything in a folder.
    ///
    /// # Errors
    /// [`Error::Settings`] if the file is one of `inputs`, or is in one.
    pub fn sparing<P: Into<PathBuf>>(mut self, inputs: impl IntoIterator<Item = P>) -> Result<Target> {
        self.inputs.extend(inputs.into_iter().map(Into::into));
        self.place()?;
        Ok(self)
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes`. The path is checked again, so a file that appeared meanwhile is not replaced without permission
    /// either.
    ///
    /// # Errors
    /// Those of [`Target::new`]; an existing file is then unchanged.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let failed = || Error::io("write", &self.path);
        match self.place()? {
            Place::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(failed())
            }
            // Without `create`, because a vanished pipe must not become a regular file.
            Place::Stream => {
                OpenOptions::new().write(true).open(&self.path).and_then(|mut to| to.write_all(bytes)).map_err(failed())
            }
            Place::File(name, old) => {
                let mut new = self.temporary(&name)?;
                keep_owner(new.as_file(), &old);
                let filled = fill(&mut new, bytes).and_then(|()| new.as_file().set_permissions(old.permissions()));
                filled.map_err(failed())?;
                new.persist(&name).map_err(|error| error.error).map_err(failed())?;
                sync_folder(&name);
                Ok(())
            }
            Place::Free(name) => {
                let mut new = self.temporary(&name)?;
                fill(&mut new, bytes).map_err(failed())?;
                new.persist_noclobber(&name).map_err(|error| match error.error.kind() {
                    ErrorKind::AlreadyExists => self.exists(),
                    _ => failed()(error.error),
                })?;
                sync_folder(&name);
                Ok(())
            }
        }
    }

    fn place(&self) -> Result<Place> {
        let path = &self.path;
        let shown = path.display();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.free(),
            Err(error) => return Err(Error::io("write", path)(error)),
        };
        if metadata.is_dir() {
            return Err(Error::Settings(format!("{shown} is a folder; name a file in it")));
        }
        self.check_inputs(&metadata)?;
        if is_stdout(&metadata) {
            return Ok(Place::Stdout);
        }
        if is_stream(&metadata) {
            return Ok(Place::Stream);
        }
        if !self.force {
            return Err(self.exists());
        }
        // Bytes written to a disk device replace the disk's content.
        if !metadata.is_file() {
            return Ok(Place::Stream);
        }
        let name = fs::canonicalize(path).map_err(Error::io("write", path))?;
        if is_of_run(&name) {
            return Err(Error::Settings(format!(
                "{shown} is one of a run's own files, which are never replaced; give another name"
            )));
        }
        Ok(Place::File(name, metadata))
    }

    fn check_inputs(&self, found: &Metadata) -> Result<()> {
        let own = fs::canonicalize(&self.path);
        let is_read = |input: &PathBuf| {
            let name = fs::canonicalize(input);
            let inside = matches!((&own, &name), (Ok(own), Ok(name)) if own.starts_with(name));
            inside || fs::metadata(input).is_ok_and(|input| is_same(&input, found))
        };
        match self.inputs.iter().find(|input| found.is_file() && is_read(input)) {
            Some(input) => Err(Error::Settings(format!(
                "{} is read by this command{}; give another name",
                self.path.display(),
                if *input == self.path { String::new() } else { format!(", as {}", input.display()) }
            ))),
            None => Ok(()),
        }
    }

    /// The path at which to create the file: the end of the links, if the path is one.
    fn free(&self) -> Result<Place> {
        let mut name = self.path.clone();
        for _ in 0..MOST_LINKS {
            match fs::read_link(&name) {
                Ok(to) => name = folder_of(&name).join(to),
                Err(_) if name.file_name().is_none() || ends_as_folder(&name) => {
                    let shown = self.path.display();
                    return Err(Error::Settings(format!("{shown} names no file; name a file in that folder")));
                }
                Err(_) => {
                    let folder = folder_of(&name);
                    if !folder.is_dir() {
                        let (shown, folder) = (self.path.display(), folder.display());
                        return Err(Error::Settings(format!(
                            "cannot write {shown}: folder {folder} does not exist; create it first, or choose another"
                        )));
                    }
                    return Ok(Place::Free(name));
                }
            }
        }
        Err(Error::io("write", &self.path)(io::Error::other("its symbolic links form a loop")))
    }

    fn exists(&self) -> Error {
        Error::Exists { path: self.path.clone() }
    }

    /// An empty file next to `name`, which is removed unless it is renamed to `name`.
    fn temporary(&self, name: &Path) -> Result<NamedTempFile> {
        let mut prefix = OsString::from(".");
        prefix.push(name.file_name().unwrap_or_default());
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
        if let Some(usual) = usual_permissions() {
            builder.permissions(usual);
        }
        builder.tempfile_in(folder_of(name)).map_err(Error::io("write", &self.path))
    }
}

fn fill(file: &mut NamedTempFile, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    // Without it, a power cut after the rename could leave the new name on an empty file.
    file.as_file().sync_all()
}

/// Whether a file is one that a run wrote in its folder. Other programs also use the name `config.toml`.
fn is_of_run(name: &Path) -> bool {
    let there = |file: &str| folder_of(name).join(file).is_file();
    let own = name.file_name().is_some_and(|name| RUN_FILES.iter().any(|file| name == *file));
    own && there("config.toml") && (there("metrics.jsonl") || there("checkpoint.safetensors"))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether the path ends in a separator, which `Path` ignores.
fn ends_as_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last().is_some_and(|end| std::path::is_separator(char::from(*end)))
}

/// Makes the new name itself survive a power cut, if the folder may be read; the file is already written.
fn sync_folder(name: &Path) {
    let _ = File::open(folder_of(name)).and_then(|folder| folder.sync_all());
}

/// The permissions of any new file, limited by the user's mask; a temporary file's own would exclude other readers.
#[cfg(unix)]
fn usual_permissions() -> Option<Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

#[cfg(not(unix))]
fn usual_permissions() -> Option<Permissions> {
    None
}

/// Keeps the owner of another user's file if permitted.
#[cfg(unix)]
fn keep_owner(file: &File, old: &Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    let _ = fchown(file, Some(old.uid()), Some(old.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) {}

/// Whether two names refer to the same file.
#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    false
}

/// Whether data written here passes through without being kept, so that nothing is lost.
#[cfg(unix)]
fn is_stream(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    !metadata.is_file() && !metadata.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_stream(metadata: &Metadata) -> bool {
    !metadata.is_file()
}

/// Whether this is the standard output, as for `/dev/stdout`. Printed and written data then follow each other, even in
/// a file that a shell has opened.
#[cfg(unix)]
fn is_stdout(metadata: &Metadata) -> bool {
    use std::os::fd::AsFd;
    let own = io::stdout().as_fd().try_clone_to_owned().and_then(|copy| File::from(copy).metadata());
    own.is_ok_and(|own| is_same(&own, metadata))
}

#[cfg(not(unix))]
fn is_stdout(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn refused(path: &Path, force: bool) -> String {
        Target::new(path, force).expect_err("it is refused").to_string()
    }

    #[test]
    fn an_existing_file_is_replaced_only_by_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        Target::new(&path, false).expect("it is free").write(b"one").expect("it is written");
        assert_eq!(refused(&path, false), format!("{} exists; give another name", path.display()));
        Target::new(&path, true).expect("by force").write(b"two").expect("it is replaced");
        assert_eq!(fs::read(&path).expect("the file"), b"two");
        assert_eq!(names_in(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_file_that_came_during_the_work_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        let target = Target::new(&path, false).expect("it is free");
        fs::write(&path, "somebody's").expect("a file");
        let message = target.write(b"ours").expect_err("it is refused").to_string();
        assert!(message.contains("exists; give another name"), "{message}");
        assert_eq!(fs::read(&path).expect("the file"), b"somebody's");
        assert_eq!(names_in(folder.path()), ["a.json"]);
    }

    #[test]
    fn folders_and_missing_folders_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for force in [false, true] {
            assert!(refused(path, force).contains("is a folder; name a file in it"));
            assert!(refused(&path.join("new/"), force).contains("names no file"));
            assert!(refused(&path.join("no/a.json"), force).contains(" does not exist"));
            fs::write(path.join("file"), "").expect("a file");
            assert!(refused(&path.join("file/a.json"), force).starts_with("cannot write "));
        }
        assert_eq!(names_in(path), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_stay() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("far")).expect("a folder");
        symlink("far/new.json", path("dangling")).expect("a link");
        symlink("dangling", path("twice")).expect("a link to a link");
        Target::new(&path("twice"), false).expect("nothing is there").write(b"one").expect("it is made");
        assert_eq!(fs::read(path("far/new.json")).expect("the file"), b"one");

        assert!(refused(&path("twice"), false).contains("exists; give another name"));
        Target::new(&path("twice"), true).expect("by force").write(b"two").expect("it is replaced");
        assert_eq!(fs::read(path("far/new.json")).expect("the file"), b"two");
        assert!(["dangling", "twice"].iter().all(|name| path(name).is_symlink()));

        symlink("loop", path("loop")).expect("a link");
        for force in [false, true] {
            assert!(refused(&path("loop"), force).starts_with(&format!("cannot write {}: ", path("loop").display())));
        }
        symlink("missing/new.json", path("nowhere")).expect("a link");
        assert!(refused(&path("nowhere"), true).contains(" does not exist"));
    }

    #[test]
    fn what_is_read_is_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("data/a")).expect("folders");
        for name in ["in.json", "data/a/1.png", "other"] {
            fs::write(path(name), "read").expect("a file");
        }
        let mut names = vec![path("in.json"), path("data/../in.json"), path("data/a/1.png")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("in.json", path("link")).expect("a link");
            fs::hard_link(path("in.json"), path("hard")).expect("a link");
            names.extend([path("link"), path("hard")]);
        }
        for name in names {
            let target = Target::new(&name, true).expect("it can be written");
            let message = target.sparing([path("in.json"), path("data")]).expect_err("it is refused").to_string();
            assert!(message.contains("is read by this command"), "{message}");
        }
        let target = Target::new(&path("other"), true).and_then(|target| target.sparing([path("in.json"), path("no")]));
        target.expect("it is not read").write(b"new").expect("it is written");
    }

    #[test]
    fn a_run_s_own_files_are_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in RUN_FILES {
            fs::write(path(name), "a run's").expect("a file");
        }
        fs::write(path("report.html"), "a page").expect("a file");
        for name in RUN_FILES {
            assert!(refused(&path(name), true).contains("is one of a run's own files"), "{name}");
        }
        Target::new(&path("report.html"), true).expect("it can be made again");
        for name in ["metrics.jsonl", "checkpoint.safetensors"] {
            fs::remove_file(path(name)).expect("it goes");
        }
        Target::new(&path("config.toml"), true).expect("it is another program's");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay_and_a_new_file_has_the_usual_ones() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| fs::metadata(path).expect("the file").permissions().mode() & 0o777;
        let (usual, new) = (folder.path().join("usual"), folder.path().join("new"));
        fs::write(&usual, "").expect("a file");
        Target::new(&new, false).expect("it is free").write(b"x").expect("it is written");
        assert_eq!(mode(&new), mode(&usual));
        for kept in [0o600, 0o664, 0o444] {
            fs::set_permissions(&new, Permissions::from_mode(kept)).expect("its permissions");
            Target::new(&new, true).expect("by force").write(b"y").expect("it is written");
            assert_eq!(mode(&new), kept);
        }
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_written_through() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, null) = (folder.path().join("pipe"), folder.path().join("null"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        symlink("/dev/null", &null).expect("a link");
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read(pipe).expect("what comes through"))
        };
        for (path, force) in [(&pipe, false), (&null, false), (&null, true)] {
            Target::new(path, force).expect("it can be written").write(b"through").expect("it is written");
        }
        assert_eq!(reader.join().expect("it ends"), b"through");
        assert!(fs::symlink_metadata(&pipe).expect("the pipe").file_type().is_fifo() && null.is_symlink());
        assert!(fs::metadata("/dev/null").expect("it is there").file_type().is_char_device());
        assert_eq!(names_in(folder.path()), ["null", "pipe"]);
    }
}
