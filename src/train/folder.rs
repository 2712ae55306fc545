//! The run folder: `config.toml`, `metrics.jsonl`, `summary.json`, `model.safetensors`, `checkpoint.safetensors`.
//!
//! Whole files are written atomically. Rows of metrics are appended, and those beyond the checkpoint are removed when a
//! run is resumed, so a run that was killed at any moment can be resumed.

use super::event::State;
use super::metrics::{Best, ChangeRow, EpochRow, StepRow, Summary};
use super::place::{Begun, Place};
use super::rows::{self, Rows};
use super::{Length, OptimizerSettings, Schedule, Settings, Windows, path_text};
use crate::data::{HeldOut, Provenance};
use crate::error::{Error, Result};
use crate::exec::DeviceInfo;
use crate::formats::{self, Checkpoint, Model, atomic_write};
use crate::kernels::Precision;
use crate::net::{Network, Parameters, Recipe, numbers_in_plain_words};
use crate::program::Choices;
use crate::{reading, text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file with the weights that a run ended with.
pub const MODEL: &str = "model.safetensors";
/// The file with the weights of the lowest validation loss.
pub const BEST: &str = "best.safetensors";

/// The largest `config.toml` and `summary.json` that are read; normal ones have some KiB.
const MOST_SETTINGS: u64 = 1 << 24;

/// `config.toml`: every resolved setting, and the machine that the run used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Version of the program.
    pub version: String,
    pub dataset: String,
    /// The folder given with `--data-dir`.
    #[serde(default, with = "path_text", skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// The folder of pictures given with `--images`.
    #[serde(default, with = "path_text", skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// Whether pictures that cannot be read are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_unreadable: bool,
    /// How the pictures are divided into training, validation and test set, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub division: Option<String>,
    /// How the examples for validation are chosen if the data has no validation set; versions without this entry held
    /// out a random tenth.
    #[serde(default = "at_random")]
    pub validation: HeldOut,
    /// SHA-256 of the training set's pixels and labels; a run can only be resumed on the same data.
    pub data_sha256: String,
    pub seed: u64,
    #[serde(default = "one_crop")]
    pub test_crops: usize,
    pub stats_every: u64,
    pub checkpoint_every: u64,
    /// The precision of products on a GPU. Runs of older versions have none, and compute in f32.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// The settings that are in neither `optimizer` nor `schedule`, as the network's `[training]` table has them.
    #[serde(flatten)]
    pub training: toml::Table,
    /// The network's description, itself TOML.
    pub network: String,
    pub length: Length,
    /// Runs of older versions call it `trainer`.
    #[serde(alias = "trainer")]
    pub optimizer: OptimizerSettings,
    #[serde(default)]
    pub schedule: Schedule,
    pub device: ConfigDevice,
    /// The variants that a GPU runs, by operation and shape, for every operation that has several. A resumed run keeps
    /// them. Runs of older versions have none, and use the defaults.
    #[serde(default, skip_serializing_if = "Choices::is_empty")]
    pub kernels: Choices,
}

/// The choice of versions before the tenth was held out by class.
fn at_random() -> HeldOut {
    HeldOut::AtRandom
}

/// The number of crops before it could be chosen.
pub(super) fn one_crop() -> usize {
    1
}

/// The device in `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigDevice {
    /// `reference`, `cpu` or `gpu`.
    pub executor: String,
    /// The adapter's or the processor's name.
    pub name: String,
    pub driver: String,
    pub backend: String,
}

fn is_default(precision: &Precision) -> bool {
    *precision == Precision::default()
}

impl From<&DeviceInfo> for ConfigDevice {
    fn from(info: &DeviceInfo) -> Self {
        let DeviceInfo { executor, name, driver, backend, .. } = info.clone();
        ConfigDevice { executor: executor.to_string(), name, driver, backend }
    }
}

impl RunConfig {
    /// The settings as they were resolved.
    ///
    /// # Errors
    /// [`Error::Settings`] if they differ from the network's `[training]` table. If only one of the two is edited, the
    /// run would continue with another rule from a state that does not belong to it.
    pub fn settings(&self) -> Result<Settings> {
        let mut network = Network::from_toml(&self.network, "the network in config.toml")?;
        // Patience affects nothing in a run except its end, so it may be edited.
        network.training.patience = match self.training.get("patience") {
            None => None,
            Some(value) => Some(value.as_integer().and_then(|epochs| u64::try_from(epochs).ok()).ok_or_else(|| {
                Error::Settings(format!("config.toml: patience must be a whole number >= 1, got {value}"))
            })?),
        };
        let given = Recipe {
            seed: Some(self.seed),
            test_crops: Some(self.test_crops),
            stats_every: Some(self.stats_every),
            checkpoint_every: Some(self.checkpoint_every),
            ..self.length.given()
        };
        let in_config = |error: Error| Error::Settings(format!("config.toml: {}", error.phrased(str::to_string)));
        let settings = Settings::resolve(network.clone(), &given).map_err(in_config)?;
        let recorded = settings.training();
        let others = self.training.keys().chain(recorded.keys()).filter(|key| *key != "patience");
        let same =
            [("optimizer", self.optimizer == settings.optimizer), ("schedule", self.schedule == settings.schedule)];
        let same =
            same.into_iter().chain(others.map(|key| (&key[..], is_same(self.training.get(key), recorded.get(key)))));
        if let Some((key, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(Error::Settings(format!(
                "config.toml was changed: its {key} differs from the one used in training; restore it, or start a new run \
                 with other settings"
            )));
        }
        Ok(Settings { network, kernels: self.kernels.clone(), ..settings })
    }
}

/// Whether two values of a key mean the same: 1 equals 1.0, and `false` equals an absent key.
fn is_same(one: Option<&toml::Value>, other: Option<&toml::Value>) -> bool {
    let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|whole| whole as f64));
    match (one, other) {
        (Some(one), Some(other)) => one == other || number(one).is_some_and(|value| number(other) == Some(value)),
        (Some(only), None) | (None, Some(only)) => only.as_bool() == Some(false),
        (None, None) => true,
    }
}

impl Settings {
    /// The settings that are in neither [`OptimizerSettings`] nor [`Schedule`] nor of the run, by name, as documents
    /// list them.
    pub fn training(&self) -> toml::Table {
        let apart = |name: &str| ["optimizer", "schedule", "epochs"].contains(&name) || Recipe::is_part(name);
        let given = self.network.training.given().filter(|(name, _)| !apart(name));
        given.map(|(name, value)| (name.to_string(), value.into())).collect()
    }
}

/// An error in a `config.toml` and what to do, without serde's terms.
fn in_plain_words(message: &str) -> String {
    let key = |rest: &str| rest.split('`').next().unwrap_or_default().to_string();
    if let Some(key) = message.strip_prefix("unknown field `").map(key) {
        return format!(
            "unknown key `{key}`; if a newer Glassnet wrote it, resume the run with that version; if it is a typo, \
             correct or remove it"
        );
    }
    if let Some(key) = message.strip_prefix("missing field `").map(key) {
        return format!("the key `{key}` is missing; restore it, or start a new run");
    }
    if message.starts_with("wanted exactly 1 element") {
        return "the table `length` must have one key, `epochs` or `steps`; remove the others".into();
    }
    let message = message.strip_prefix("unknown variant").map_or(message.into(), |rest| format!("unknown name{rest}"));
    format!("{}; correct it, or start a new run", numbers_in_plain_words(message.trim_end()))
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Row<'a> {
    Step(Cow<'a, StepRow>),
    Epoch(Cow<'a, EpochRow>),
    /// Records the clock for resuming; the checkpoint itself contains nothing that differs between equal runs.
    Checkpoint {
        step: u64,
        train_seconds: f64,
    },
    Change(Cow<'a, ChangeRow>),
}

/// A row as it is written, without the line break.
fn line(row: &Row<'_>) -> Result<Vec<u8>> {
    serde_json::to_vec(row).map_err(|e| Error::Settings(format!("a row cannot be written: {e}")))
}

/// The change that records another run, and is not a change of this one.
const NETWORK: &str = "network";

/// The file in a running run's folder with the address of its page.
pub(crate) const LIVE_FILE: &str = ".live";

/// A run folder that one process at a time writes to.
#[derive(Debug)]
pub struct RunFolder {
    place: Place,
    /// For a new run without a checkpoint: what is removed when this value is dropped.
    begun: Option<Begun>,
    /// The step of the last checkpoint, for messages.
    checkpoint_step: Option<u64>,
    metrics: Option<File>,
    /// Held while the folder is open; `None` if it is only read.
    lock: Option<File>,
}

impl RunFolder {
    /// Creates a folder for a new run; one that already holds a run is refused. Until the first checkpoint is saved,
    /// dropping the returned value removes what was created, so that a run that could not begin leaves nothing.
    pub fn create(path: &Path, config: &RunConfig) -> Result<RunFolder> {
        let begun = Begun::in_folder(path)?;
        let mut folder = RunFolder::lock(path)?;
        folder.begun = Some(begun);
        if let Some(file) = folder.content() {
            return Err(Error::HoldsRun { path: path.to_path_buf(), file });
        }
        formats::remove_temporary_files(path)?;
        folder.write_config(config)?;
        folder.open_metrics()?;
        Ok(folder)
    }

    /// A file that a new run would overwrite. Traces of a run that ended before its first checkpoint, for example
    /// because the batch was too large, do not count, because nothing can be resumed from them.
    fn content(&self) -> Option<&'static str> {
        let results =
            ["checkpoint.safetensors", "best.safetensors", "model.safetensors", "summary.json", "report.html"];
        // A broken link counts too.
        let found = |name: &str| fs::symlink_metadata(self.path().join(name));
        if let Some(name) = results.into_iter().find(|name| found(name).is_ok()) {
            return Some(name);
        }
        if found("metrics.jsonl").is_ok_and(|file| !file.is_file() || file.len() > 0) {
            return Some("metrics.jsonl");
        }
        // Other programs have files of this name too.
        let foreign = |file: fs::Metadata| !file.is_file() || self.read_config().is_err();
        found("config.toml").is_ok_and(foreign).then_some("config.toml")
    }

    /// Opens the folder of a run to continue it.
    pub fn open(path: &Path) -> Result<RunFolder> {
        RunFolder::read(path)?;
        let folder = RunFolder::lock(path)?;
        formats::remove_temporary_files(path)?;
        Ok(folder)
    }

    /// Opens the folder of a run only for reading; another process may be training in it.
    pub fn read(path: &Path) -> Result<RunFolder> {
        if !path.join("config.toml").is_file() {
            let path = path.display();
            return Err(Error::Settings(format!(
                "{path} is not a run folder, because it has no config.toml; give the folder of a run"
            )));
        }
        Ok(RunFolder { place: Place::of(path), begun: None, checkpoint_step: None, metrics: None, lock: None })
    }

    fn lock(path: &Path) -> Result<RunFolder> {
        let name = path.join(".lock");
        // Opening a pipe would wait for a reader.
        if fs::symlink_metadata(&name).is_ok_and(|found| !found.is_file()) {
            return Err(Error::Settings(format!("{} is not a file; move it", name.display())));
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&name);
        let lock = lock.map_err(Error::io("write to the run folder", &name))?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Err(Error::Settings(format!(
                "another process is training in {}; wait for it or stop it",
                path.display()
            ))),
            // On a file system without locks, the run continues without one.
            Ok(()) | Err(fs::TryLockError::Error(_)) => {
                // A killed process leaves this file. If removing it fails, only the page is not found.
                let _ = fs::remove_file(path.join(LIVE_FILE));
                let place = Place::of(path);
                Ok(RunFolder { place, begun: None, checkpoint_step: None, metrics: None, lock: Some(lock) })
            }
        }
    }

    /// Whether a process is training in the folder at `path`.
    pub fn is_in_use(path: &Path) -> bool {
        let name = path.join(".lock");
        // Opening a pipe would wait for a writer.
        let lock = name.is_file().then(|| File::open(name));
        lock.is_some_and(|lock| {
            lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
        })
    }

    /// Its path; while a run writes to it, this follows a renamed folder.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Whether it was missing when it was to be written to.
    pub fn is_gone(&self) -> bool {
        self.place.is_gone()
    }

    /// Writes one of its files, at its present location.
    fn put(&mut self, name: &str, write: impl Fn(&Path) -> Result<()>) -> Result<()> {
        self.place.follow(self.checkpoint_step)?;
        let path = self.path().join(name);
        write(&path).or_else(|error| {
            // The folder may have been moved just now.
            self.place.follow(self.checkpoint_step)?;
            let now = self.path().join(name);
            if now == path {
                return Err(error);
            }
            // The first attempt could not clean up under the old name.
            formats::remove_temporary_files(self.path())?;
            write(&now)
        })
    }

    /// The step of the newest checkpoint.
    pub fn checkpoint_step(&self) -> Option<u64> {
        self.checkpoint_step
    }

    /// Writes `config.toml`.
    pub fn write_config(&mut self, config: &RunConfig) -> Result<()> {
        let text =
            toml::to_string(config).map_err(|e| Error::Settings(format!("the settings cannot be written: {e}")))?;
        self.put("config.toml", |path| atomic_write(path, text.as_bytes()))
    }

    /// Reads `config.toml`.
    pub fn read_config(&self) -> Result<RunConfig> {
        let path = self.path().join("config.toml");
        let bytes = reading::regular(&path, MOST_SETTINGS).map_err(Error::io("read", &path))?;
        let text = text::decode(&bytes).map_err(|why| Error::Settings(format!("{}: {why}", path.display())))?;
        let refuse = |line: usize, message: &str| {
            Error::Settings(format!("{}, line {line}: {}", path.display(), in_plain_words(&text::message(message))))
        };
        let config: RunConfig = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            refuse(line, error.message())
        })?;
        match config.training.keys().find(|key| !Recipe::RULES.iter().any(|(name, _)| name == key)) {
            Some(key) => {
                let line = text.lines().position(|line| line.trim_start_matches(['[', '"', ' ']).starts_with(&key[..]));
                Err(refuse(line.map_or(1, |line| line + 1), &format!("unknown field `{key}`")))
            }
            None => Ok(config),
        }
    }

    /// Reads the checkpoint and removes later rows from `metrics.jsonl`; `None` if the run was stopped before its first
    /// checkpoint.
    pub fn resume(&mut self, settings: &Settings) -> Result<Option<State>> {
        let path = self.path().join("checkpoint.safetensors");
        if !path.is_file() {
            if self.path().join("summary.json").is_file() || self.path().join("model.safetensors").is_file() {
                return Err(Error::Settings(format!(
                    "{} is missing, so this run cannot be resumed; start a new run",
                    path.display()
                )));
            }
            // The run starts again, and its rows do too.
            atomic_write(&self.path().join("metrics.jsonl"), b"")?;
            self.open_metrics()?;
            return Ok(None);
        }
        let checkpoint = formats::load_checkpoint(&path)?;
        let foreign = |what: &str| {
            Error::Model(format!(
                "{}: {what} differs from config.toml; restore the file that was changed",
                path.display()
            ))
        };
        let mut network = checkpoint.model.network;
        network.training.patience = settings.network.training.patience;
        if network != settings.network {
            return Err(foreign("the network or the way it is trained"));
        }
        if checkpoint.seed != settings.seed {
            return Err(foreign("the seed"));
        }
        let windows: Windows =
            serde_json::from_value(checkpoint.extra["windows"].clone()).map_err(|_| foreign("the windows' state"))?;
        // Checkpoints of older versions do not contain it.
        let best = checkpoint.extra.get("best").cloned().unwrap_or_default();
        let best: Option<Best> = serde_json::from_value(best).map_err(|_| foreign("the best epoch"))?;
        // Absent in a run that was never changed.
        let changes = checkpoint.extra.get("changes").cloned().unwrap_or_else(|| serde_json::json!([]));
        let changes: Vec<ChangeRow> =
            serde_json::from_value(changes).map_err(|_| foreign("what was changed in the run"))?;
        if changes.last().is_some_and(|row| row.step > checkpoint.step) {
            return Err(foreign("what was changed in the run"));
        }
        let kernels = checkpoint.extra.get("kernels").cloned().unwrap_or_else(|| serde_json::json!({}));
        let kernels: Choices = serde_json::from_value(kernels).map_err(|_| foreign("the list of kernels"))?;
        let mut tensors = checkpoint.optimizer;
        let mut take = |wanted: &str| {
            let tensor = tensors.iter_mut().find(|(name, _)| name == wanted);
            tensor.map(|(_, values)| std::mem::take(values)).unwrap_or_default()
        };
        let (optimizer, average) = (take("state"), take("average"));
        let train_seconds = self.cut_metrics(checkpoint.step, &changes)?;
        self.checkpoint_step = Some(checkpoint.step);
        self.open_metrics()?;
        Ok(Some(State {
            step: checkpoint.step,
            parameters: checkpoint.model.parameters,
            optimizer,
            average,
            windows,
            best,
            changes,
            kernels,
            train_seconds,
        }))
    }

    /// Removes rows beyond `step` and damaged lines, which are reported in the log, and adds missing rows for
    /// `changes`, because a change is in the checkpoint before its row is written. Returns the training time of the
    /// last remaining row.
    fn cut_metrics(&self, step: u64, changes: &[ChangeRow]) -> Result<f64> {
        let path = self.path().join("metrics.jsonl");
        let bytes = match rows::bytes(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let Rows { mut rows, damage } = Rows::read(&bytes);
        if let Some(told) = damage.describe() {
            let kept = if damage.loses() { self.keep_damaged(&path)? } else { String::new() };
            log::warn!("{}: {told}{kept}", text::path(&path));
        }
        rows.retain(|row| row.step <= step);
        let mut told: Vec<(u64, &str)> = rows
            .iter()
            .filter_map(|row| {
                Some((row.step, row.what.as_deref().filter(|what| row.kind == "change" && *what != NETWORK)?))
            })
            .collect();
        let mut lines: Vec<(u64, Cow<[u8]>)> = rows.iter().map(|row| (row.step, Cow::Borrowed(row.text))).collect();
        for change in changes {
            match told.iter().position(|row| *row == (change.step, &change.what)) {
                Some(place) => drop(told.swap_remove(place)),
                None => lines.push((change.step, line(&Row::Change(Cow::Borrowed(change)))?.into())),
            }
        }
        lines.sort_by_key(|(step, _)| *step);
        let kept: Vec<u8> = lines.iter().flat_map(|(_, line)| [line, &b"\n"[..]]).flatten().copied().collect();
        // Written in any case, in the decoded form.
        atomic_write(&path, &kept)?;
        let seconds = rows.iter().map(|row| row.train_seconds).chain(changes.iter().map(|row| row.train_seconds));
        Ok(seconds.fold(0.0, f64::max))
    }

    /// Copies a file of rows, because damaged lines are not written again, and says so. Never replaces an earlier copy.
    fn keep_damaged(&self, path: &Path) -> Result<String> {
        let name = |number| match number {
            1 => "metrics.damaged.jsonl".to_string(),
            _ => format!("metrics.damaged-{number}.jsonl"),
        };
        let bytes = reading::regular(path, rows::MOST_ROWS).map_err(Error::io("read", path))?;
        for name in (1..).map(name) {
            let copy = self.path().join(&name);
            // Fails if anything has the name, including a broken link.
            match OpenOptions::new().write(true).create_new(true).open(&copy) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("write", &copy)(error)),
                Ok(mut file) => file.write_all(&bytes).map_err(Error::io("write", &copy))?,
            }
            return Ok(format!("; {name} is the file as it was"));
        }
        Ok(String::new())
    }

    fn open_metrics(&mut self) -> Result<()> {
        let path = self.path().join("metrics.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        self.metrics = Some(file.map_err(Error::io("write", &path))?);
        Ok(())
    }

    fn append(&mut self, row: &Row<'_>) -> Result<()> {
        let mut line = line(row)?;
        line.push(b'\n');
        let path = self.path().join("metrics.jsonl");
        match &mut self.metrics {
            Some(file) => file.write_all(&line).map_err(Error::io("write", &path)),
            None => Ok(()),
        }
    }

    /// Appends a row of statistics.
    pub fn append_step(&mut self, row: &StepRow) -> Result<()> {
        self.append(&Row::Step(Cow::Borrowed(row)))
    }

    /// Appends the row of a whole validation pass.
    pub fn append_epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.append(&Row::Epoch(Cow::Borrowed(row)))
    }

    /// Appends the row of a change. A change named `network` records that another run follows this one, and has no
    /// effect when this one is resumed.
    pub fn append_change(&mut self, row: &ChangeRow) -> Result<()> {
        self.append(&Row::Change(Cow::Borrowed(row)))
    }

    /// Writes `checkpoint.safetensors`. `settings` may be the run's first or present ones, since their network is the
    /// same.
    pub fn save_checkpoint(&mut self, settings: &Settings, data: &Provenance, state: &State) -> Result<()> {
        self.append(&Row::Checkpoint { step: state.step, train_seconds: state.train_seconds })?;
        let windows = serde_json::to_value(&state.windows).map_err(|e| Error::Model(e.to_string()))?;
        let tensors = [("state", &state.optimizer), ("average", &state.average)].into_iter();
        let kept = tensors.filter(|(_, values)| !values.is_empty());
        let mut extra = serde_json::json!({ "windows": windows, "best": state.best });
        if !state.changes.is_empty() {
            extra["changes"] = serde_json::to_value(&state.changes).map_err(|e| Error::Model(e.to_string()))?;
        }
        if !state.kernels.is_empty() {
            extra["kernels"] = serde_json::to_value(&state.kernels).map_err(|e| Error::Model(e.to_string()))?;
        }
        let checkpoint = Checkpoint {
            model: model(settings, data, state.step, &state.parameters),
            optimizer: kept.map(|(name, values)| (name.to_string(), values.clone())).collect(),
            step: state.step,
            seed: settings.seed,
            extra,
        };
        self.put("checkpoint.safetensors", |path| formats::save_checkpoint(path, &checkpoint))?;
        self.checkpoint_step = Some(state.step);
        self.begun.take().into_iter().for_each(Begun::keep);
        Ok(())
    }

    /// Writes weights after `step` updates, or their moving average, into this file of the folder: [`MODEL`] or
    /// [`BEST`].
    pub fn save_weights(
        &mut self,
        file: &str,
        settings: &Settings,
        data: &Provenance,
        step: u64,
        weights: &[Parameters],
    ) -> Result<()> {
        self.put(file, |path| formats::save_model(path, &model(settings, data, step, weights)))
    }

    /// Writes `summary.json`.
    pub fn save_summary(&mut self, summary: &Summary) -> Result<()> {
        let text = serde_json::to_string_pretty(summary).map_err(|e| Error::Settings(e.to_string()))?;
        self.put("summary.json", |path| atomic_write(path, format!("{text}\n").as_bytes()))
    }

    /// Reads `summary.json` of a run that has ended; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Data`] if it is damaged, [`Error::Io`] if it cannot be read.
    pub fn read_summary(&self) -> Result<Option<Summary>> {
        let path = self.path().join("summary.json");
        match reading::regular(&path, MOST_SETTINGS) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path)(e)),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                let (file, run) = (path.display(), self.path().display());
                let error = text::message(error);
                Error::Data(format!("{file} is damaged ({error}); resume the run {run} to write it again"))
            }),
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.metrics = None;
            if self.place.follow(None).is_ok() {
                begun.remove(self.place.path(), self.lock.take());
            }
        }
    }
}

fn model(settings: &Settings, data: &Provenance, step: u64, weights: &[Parameters]) -> Model {
    let extra = serde_json::json!({
        "dataset": data.dataset, "classes": data.classes, "image": data.image, "step": step,
    });
    Model { network: settings.network.clone(), parameters: weights.to_vec(), extra }
}
