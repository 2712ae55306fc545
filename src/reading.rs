//! Reads files by name with limits on size and waiting time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file of at most `most` bytes and returns it with its size. Other kinds of files could be endless, or
/// wait for a writer.
///
/// # Errors
/// The system's error, or one in words ([`is_refusal`]) if it is not a regular file or is too large.
pub(crate) fn open(path: &Path, most: u64) -> io::Result<(File, u64)> {
    // Checked before opening, because opening a pipe already waits.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other(if metadata.is_dir() { "it is a folder" } else { "it is not a regular file" }));
    }
    if metadata.len() > most {
        return Err(too_large(most));
    }
    Ok((File::open(path)?, metadata.len()))
}

/// Whether an error comes from this module's own checks and not from the system.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.raw_os_error().is_none()
}

/// Reads a file that [`open`] accepts.
///
/// # Errors
/// Those of [`open`].
pub(crate) fn regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, size) = open(path, most)?;
    let mut bytes = Vec::with_capacity(size as usize);
    // The file may grow meanwhile.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

/// Reads files as [`regular`] does, and also pipes, such as a shell's `<(command)`, and other streams.
///
/// # Errors
/// Those of [`regular`]; also if a stream sends nothing for ten seconds or has not ended after sixty.
pub(crate) fn any(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() || metadata.is_dir() { regular(path, most) } else { stream(path, most) }
}

fn too_large(most: u64) -> io::Error {
    io::Error::other(format!("it is larger than the limit of {most} bytes"))
}

#[cfg(unix)]
fn stream(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    use std::thread;
    use std::time::{Duration, Instant};

    const SILENCE: Duration = Duration::from_secs(10);
    /// The limit for the whole stream, however slowly it arrives.
    const WHOLE: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_millis(5);

    // Without this flag, opening a pipe would wait for a writer.
    let mut file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let (begin, mut last) = (Instant::now(), Instant::now());
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer) {
            // A pipe also appears to be at its end until a writer has opened it.
            Ok(0) if !is_pipe || !bytes.is_empty() => return Ok(bytes),
            Ok(0) => thread::sleep(PAUSE),
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                last = Instant::now();
                if bytes.len() as u64 > most {
                    return Err(too_large(most));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
        let late = |why: String| Err(io::Error::new(io::ErrorKind::TimedOut, why));
        if last.elapsed() > SILENCE {
            return late(format!("nothing has arrived for {} s", SILENCE.as_secs()));
        }
        if begin.elapsed() > WHOLE {
            return late(format!("it has not ended after {} s", WHOLE.as_secs()));
        }
    }
}

#[cfg(not(unix))]
fn stream(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_expected() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "four").expect("a file");
        assert_eq!(regular(&path, 4).expect("it is read"), b"four");
        for refused in [regular(&path, 3), any(&path, 3), any(Path::new("/dev/zero"), 1 << 20)] {
            let message = refused.expect_err("it is too large").to_string();
            assert!(message.starts_with("it is larger than the limit "), "{message}");
        }
        let message = |path: &Path| regular(path, 9).expect_err("it is refused").to_string();
        assert_eq!(message(Path::new("/dev/zero")), "it is not a regular file");
        assert_eq!(message(folder.path()), "it is a folder");
        let refused = |path: &Path| is_refusal(&open(path, 3).expect_err("it is refused"));
        assert!(refused(folder.path()) && refused(&path) && !refused(&folder.path().join("missing")));
        assert!(any(Path::new("/dev/null"), 9).expect("it is empty").is_empty());
    }

    #[test]
    fn what_comes_through_a_pipe_is_read_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let text = "a line\n".repeat(20_000);
        let (to, sent) = (pipe.clone(), text.clone());
        let writer = std::thread::spawn(move || fs::write(to, sent));
        assert_eq!(any(&pipe, 1 << 20).expect("it is read"), text.as_bytes());
        writer.join().expect("it ends").expect("it is written");
    }
}
