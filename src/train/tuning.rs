//! Choosing the kernels of a run: by measuring, by earlier results in the user's cache folder, or the defaults.
//!
//! A new run records its choices, and a resumed one only uses what is recorded. The cache only saves time.

use super::Settings;
use super::session::plan;
use crate::data::{Examples, cache_folder};
use crate::exec::Device;
use crate::exec::gpu::{Budget, Found, Gpu, Tuned, fitting, tune};
use crate::formats::atomic_write;
use crate::kernels::precision::is_product;
use crate::program::{Choices, Lost, Program, Stage, TrainingStep};
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
    /// [`Budget::FULL`]; everything is measured again that there is time for.
    Full,
}

/// Chooses the variants of GPU operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuner {
    /// `None` means quick on hardware adapters. It means off on software adapters, which run every variant on the same
    /// few cores, and on a device whose self-check was skipped.
    pub effort: Option<Effort>,
    /// The file with results; `None` keeps none. A device whose self-check was skipped does not use it.
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

    /// The variants for a training step on this device; none on the processor.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost, or computes an operation wrongly with every variant. A cache that cannot be
    /// read or written is only a warning in the log.
    pub async fn tune(&self, device: &Device, step: &TrainingStep) -> Result<Tuned> {
        let Device::Gpu(gpu) = device else { return Ok(Tuned::default()) };
        let unchecked = gpu.skipped_self_check();
        let usual = if gpu.adapter().software || unchecked { Effort::Off } else { Effort::Quick };
        let budget = match self.effort.unwrap_or(usual) {
            Effort::Off => {
                return Ok(Tuned { choices: Choices::of(&step.program, gpu.adapter()), ..Tuned::default() });
            }
            Effort::Quick => Budget::QUICK,
            Effort::Full => Budget::FULL,
        };
        let cache = self.cache.as_deref().filter(|_| !unchecked);
        let entries = cache.map_or(Ok(Vec::new()), read).unwrap_or_else(|why| {
            log::warn!("{why}");
            Vec::new()
        });
        let own = entries.into_iter().filter(|entry| entry.is_of(gpu));
        let known: Vec<Found> = own.map(|entry| entry.found).collect();
        let tuned = tune(gpu, step, budget, &known, &fitting).await?;
        if let Some(path) = cache.filter(|_| !tuned.found.is_empty()) {
            // Read again, because another process may have written it meanwhile.
            let results = read(path).unwrap_or_default();
            let written = write(path, results, tuned.found.iter().map(|found| Entry::new(gpu, found.clone())));
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
                self.tune(device, &step).await
            }
            _ => Ok(Tuned::default()),
        }
    }
}

/// The default variants for training with these settings.
///
/// # Errors
/// Those of [`plan`].
pub(super) fn defaults(device: &Device, settings: &Settings, examples: &Examples) -> Result<Choices> {
    let Device::Gpu(gpu) = device else { return Ok(Choices::default()) };
    let bare = Settings { kernels: Choices::default(), ..settings.clone() };
    plan(device, &bare, examples).map(|(step, ..)| Choices::of(&step.program, gpu.adapter()))
}

/// The number of products of a training step that are computed by cooperative matrices, and of all; `None` on a device
/// without them, or if the step cannot be lowered.
pub(super) fn products(device: &Device, settings: &Settings, examples: &Examples) -> Option<[usize; 2]> {
    let Device::Gpu(gpu) = device else { return None };
    gpu.adapter().matrices?;
    let (step, ..) = plan(device, settings, examples).ok()?;
    let trained = &step.program.instructions[step.stages(Stage::Batch, Stage::Update)];
    let products = || trained.iter().map(|instruction| &instruction.op).filter(|op| is_product(op));
    let by_matrices = products().filter(|op| op.chosen(gpu.adapter()).matrices.is_some()).count();
    Some([by_matrices, products().count()])
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

/// The results in a file, none if it is missing; or why it is not a file of results.
fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let ignored = |why: String| {
        let path = text::path(path);
        Err(format!("{path} is ignored, and kernels are timed again: {why}"))
    };
    let bytes = match reading::regular(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return ignored(error.to_string()),
    };
    match serde_json::from_slice::<Cache>(&bytes) {
        Ok(cache) if cache.version == VERSION => Ok(cache.results),
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
