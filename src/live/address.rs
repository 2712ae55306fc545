//! Records the page's address in the folder of its run, so that it can be found while the run continues.

use crate::formats::TEMPORARY_SUFFIX;
use crate::train::{LIVE_FILE, RunFolder};
use crate::{Error, Result, reading};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest time for an answer from a run's server on this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// The largest file that is read for an address.
const LONGEST: u64 = 4096;

/// A file with an address; it is removed when this value is dropped.
#[derive(Debug)]
pub(super) struct Recorded(PathBuf);

impl Recorded {
    /// Writes `url` into `folder`, readable only by the owner, because it may contain a token.
    pub fn write(folder: &Path, url: &str) -> Result<Recorded> {
        let path = folder.join(LIVE_FILE);
        // Only its owner can read a temporary file, and renaming preserves that.
        let file = tempfile::Builder::new().prefix(LIVE_FILE).suffix(TEMPORARY_SUFFIX).tempfile_in(folder);
        let written = file.and_then(|mut file| {
            writeln!(file, "{url}")?;
            file.persist(&path).map_err(|why| why.error)
        });
        written.map_err(Error::io("write the page's address to", &path))?;
        Ok(Recorded(path))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            log::debug!("{} was not removed: {error}", self.0.display());
        }
    }
}

/// The page that follows a run under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunningPage {
    /// Its address, including the token; it answers.
    Answers(String),
    /// Its address; nothing answers there from this machine at present.
    Silent(String),
}

/// The page that follows the run in `folder`; `None` if there is none.
pub fn running_page(folder: &Path) -> Option<RunningPage> {
    let url = reading::regular(&folder.join(LIVE_FILE), LONGEST).ok()?;
    let url = String::from_utf8(url).ok()?.trim().to_string();
    // The file of a killed process does not count.
    if !RunFolder::is_in_use(folder) {
        return None;
    }
    let (host, rest) = url.strip_prefix("http://")?.split_once('/')?;
    let port = host.rsplit_once(':')?.1;
    // A machine may not know its own name, or may not reach the address that others use.
    let here = format!("http://127.0.0.1:{port}/{rest}");
    let found = [&url, &here].into_iter().find(|url| answers(url)).cloned();
    Some(found.map_or(RunningPage::Silent(url), RunningPage::Answers))
}

fn answers(url: &str) -> bool {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build().into();
    agent.get(url).call().is_ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_a_long_file_is_no_address() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [LIVE_FILE, ".lock"] {
            let path = folder.path().join(name);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
            assert_eq!(running_page(folder.path()), None);
            if name == LIVE_FILE {
                std::fs::remove_file(&path).expect("the pipe");
                std::fs::write(&path, "http://127.0.0.1:1/".repeat(1000)).expect("a long file");
                assert_eq!(running_page(folder.path()), None);
                std::fs::write(&path, "http://127.0.0.1:1/").expect("an address");
            }
        }
    }
}
