//! Choosing the kernels of a run: by measuring, by earlier results in the user's cache folder, or the defaults.
//!
//! A new run records its choices, and a resumed one only uses what is recorded. The cache only saves time.

use super::Settings;
use super::session::plan;
use crate::data::{Examples, cache_folder};
use crate::exec::Device;
use crate::exec::gpu::{Budget, Found, Gpu, Tuned, fitting, tune};
use crate::formats::atomic_write;
use crate::program::{Choices, Lost, Program};
use crate::{Error, Result, reading, text};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How much time to spend on measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// None: the defaults.
    Off,
    /// [`Budget::QUICK`]; earlier results are used.
    Quick,
    /// [`Budget::FULL`]; everything is measured again.
    Full,
}

/// Chooses the variants of GPU operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuner {
    /// `None` means quick on hardware adapters, and off on software adapters, which run every variant on the same few
    /// cores.
    pub effort: Option<Effort>,
    /// The file with results; `None` keeps none.
    pub cache: Option<PathBuf>,
}

impl Default for Tuner {
    /// With the file in the user's cache folder, if the system has one.
    fn default() -> Tuner {
        Tuner { effort: None, cache: cache_folder().map(|folder| folder.join("kernels.json")) }
    }
}

/// The largest file of results that is read.
const MOST_BYTES: u64 = 1 << 24;
/// The most results that are kept; the oldest ones are dropped.
const MOST_RESULTS: usize = 4096;
/// The version of the file.
const VERSION: u32 = 1;

/// The file of results.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    version: u32,
    /// The oldest first.
    results: Vec<Entry>,
}

/// A result, and the device that it holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    adapter: String,
    vendor: u32,
    device: u32,
    backend: String,
    driver: String,
    /// Whether it chose among the variants for software adapters.
    software: bool,
    #[serde(flatten)]
    found: Found,
}

impl Entry {
    fn new(gpu: &Gpu, found: Found) -> Entry {
        let (summary, info) = (gpu.summary(), gpu.info());
        Entry {
            adapter: info.name.clone(),
            vendor: summary.vendor,
            device: summary.device,
            backend: info.backend.clone(),
            driver: info.driver.clone(),
            software: gpu.adapter().software,
            found,
        }
    }

    /// Whether it is of this device and driver.
    fn is_of(&self, gpu: &Gpu) -> bool {
        *self == Entry::new(gpu, self.found.clone())
    }

    /// Whether both are of the same operation, shape and device.
    fn replaces(&self, other: &Entry) -> bool {
        let variant = self.found.variant.clone();
        *self == Entry { found: Found { variant, ..other.found.clone() }, ..other.clone() }
    }
}

impl Tuner {
    /// The defaults.
    pub const OFF: Tuner = Tuner { effort: Some(Effort::Off), cache: None };

    /// The variants for a program on this device; none on the processor.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost. A cache that cannot be read or written is only a warning in the log.
    pub async fn tune(&self, device: &Device, program: &Program) -> Result<Tuned> {
        let Device::Gpu(gpu) = device else { return Ok(Tuned::default()) };
        let usual = if gpu.adapter().software { Effort::Off } else { Effort::Quick };
        let effort = self.effort.unwrap_or(usual);
        let budget = match effort {
            Effort::Off => {
                return Ok(Tuned { choices: Choices::of(program, gpu.adapter()), ..Tuned::default() });
            }
            Effort::Quick => Budget::QUICK,
            Effort::Full => Budget::FULL,
        };
        let entries = self.cache.as_deref().map(read).unwrap_or_default();
        let own = entries.iter().filter(|entry| effort == Effort::Quick && entry.is_of(gpu));
        let known: Vec<Found> = own.map(|entry| entry.found.clone()).collect();
        let tuned = tune(gpu, program, budget, &known, &fitting).await?;
        if let Some(path) = self.cache.as_deref().filter(|_| !tuned.found.is_empty()) {
            // Read again, because another process may have written it meanwhile.
            let written = write(path, read(path), tuned.found.iter().map(|found| Entry::new(gpu, found.clone())));
            if let Err(error) = written {
                log::warn!("the times of kernels are not kept: {error}");
            }
        }
        Ok(tuned)
    }

    /// The variants for training with these settings. Training that does not fit the device is not tuned, because it
    /// will be refused.
    ///
    /// # Errors
    /// Those of [`Tuner::tune`].
    pub(super) async fn for_training(
        &self,
        device: &Device,
        settings: &Settings,
        examples: &Examples,
    ) -> Result<Tuned> {
        match plan(device, settings, examples) {
            Ok((step, options, limits)) if step.check_limits(&settings.network, &options, &limits).is_ok() => {
                self.tune(device, &step.program).await
            }
            _ => Ok(Tuned::default()),
        }
    }
}

/// The recorded choices of a run that this device cannot follow. Those are for the shapes of the settings `began`; with
/// the settings `now` the run continues.
pub(super) fn lost(device: &Device, began: &Settings, now: &Settings, examples: &Examples) -> Vec<Lost> {
    let Device::Gpu(gpu) = device else { return Vec::new() };
    let program = |settings: &Settings| {
        let bare = Settings { kernels: Choices::default(), ..settings.clone() };
        plan(device, &bare, examples).map(|(step, ..)| step.program)
    };
    // What cannot be lowered is refused later.
    let (Ok(first), Ok(next)) = (program(began), program(now)) else { return Vec::new() };
    let mut lost = now.kernels.apply(&mut Program::clone(&next), gpu.adapter());
    lost.extend(began.kernels.unmatched(&first));
    lost
}

/// The results in a file; none if it is missing, or if it is not a file of results, which is a warning.
fn read(path: &Path) -> Vec<Entry> {
    let ignored = |why: String| {
        log::warn!("{} is ignored, and kernels are timed again: {why}", text::path(path));
        Vec::new()
    };
    let bytes = match reading::regular(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return ignored(error.to_string()),
    };
    match serde_json::from_slice::<Cache>(&bytes) {
        Ok(cache) if cache.version == VERSION => cache.results,
        Ok(cache) => ignored(format!("its version is {} instead of {VERSION}", cache.version)),
        Err(error) => ignored(text::message(error)),
    }
}

/// Adds new results to those in the file.
fn write(path: &Path, mut results: Vec<Entry>, new: impl Iterator<Item = Entry>) -> Result<()> {
    for entry in new {
        results.retain(|old| !entry.replaces(old));
        results.push(entry);
    }
    results.drain(..results.len().saturating_sub(MOST_RESULTS));
    let json = serde_json::to_vec_pretty(&Cache { version: VERSION, results });
    let json = json.map_err(|error| Error::Settings(error.to_string()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    atomic_write(path, &json)
}
