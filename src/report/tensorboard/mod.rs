//! TensorBoard's event files, `tensorboard/events.out.tfevents.*` in the run folder.
//!
//! A file is a sequence of records: length, its checksum, an event, its checksum. A resumed run begins a new file with
//! an event that invalidates what earlier files have beyond its checkpoint; rows missing before the checkpoint are
//! written again from `metrics.jsonl`.

mod proto;

use super::{History, Picture};
use crate::error::{Error, Result};
use crate::kernels::statistics::Summary as Figures;
use crate::program::LayerStatistics;
use crate::reading;
use crate::train::{ChangeRow, EpochRow, MOST_ROWS, StepRow, Summary};
use prost::Message;
use proto::{Event, Image, Metadata, PluginData, SessionLog, Shape, Tensor, Value};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The folder's name in a run folder.
pub const FOLDER: &str = "tensorboard";
/// The prefix by which TensorBoard recognises event files, and the suffix of those written here.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".glassnet";

/// An event file that is being written.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
    /// Whether this file or an earlier one has pictures of the start.
    start: bool,
}

/// The contents of existing event files.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Held {
    /// The last step with figures.
    last: Option<u64>,
    /// Whether there are pictures of the start.
    start: bool,
}

impl Events {
    /// Creates a file in the folder of a run at `step`; `settings` is its `config.toml` as text. Later steps in earlier
    /// files become invalid; rows of `history` that are missing in them are written.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be created or read, or the file cannot be written.
    pub fn begin(run: &Path, step: u64, history: &History, settings: &str) -> Result<Events> {
        let folder = run.join(FOLDER);
        let earlier = files(&folder)?;
        let mut held = Held::default();
        for path in &earlier {
            held = held.and(path)?;
        }
        let written = held.last;
        let mut events = Events::create(next(&folder)?)?;
        if !earlier.is_empty() {
            // Earlier figures are kept; without any figure so far, none are.
            let from = written.map_or(0, |last| last.min(step) + 1);
            events.write(now(), from, |event| event.session_log = Some(SessionLog { status: 1 }))?;
            events.start = held.start && from > 0;
        }
        if written.is_none() {
            events.text(now(), 0, "settings", settings)?;
        }
        let lacking = |at: u64| at <= step && written.is_none_or(|last| at > last);
        events.rows(run, history, lacking)?;
        Ok(events)
    }

    /// Writes one file with all rows of a run and what `fill` adds, and replaces the files that Glassnet wrote before.
    /// These remain until the new one is complete.
    ///
    /// # Errors
    /// Those of [`Events::begin`], and what `fill` returns.
    pub fn rewrite(
        run: &Path,
        history: &History,
        settings: &str,
        fill: impl FnOnce(&mut Events) -> Result<()>,
    ) -> Result<Events> {
        let folder = run.join(FOLDER);
        let (earlier, path) = (files(&folder)?, next(&folder)?);
        // TensorBoard ignores a file with this name.
        let unfinished = folder.join(".unfinished");
        if unfinished.exists() {
            fs::remove_file(&unfinished).map_err(Error::io("remove", &unfinished))?;
        }
        let mut events = Events::create(unfinished)?;
        events.text(now(), 0, "settings", settings)?;
        events.rows(run, history, |_| true)?;
        fill(&mut events)?;
        fs::rename(&events.path, &path).map_err(Error::io("write", &path))?;
        events.path = path;
        for path in earlier {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(events)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn create(path: PathBuf) -> Result<Events> {
        let file = OpenOptions::new().create_new(true).write(true).open(&path);
        let mut events = Events { file: file.map_err(Error::io("create", &path))?, path, start: false };
        events.write(now(), 0, |event| event.file_version = Some("brain.Event:2".into()))?;
        Ok(events)
    }

    /// Writes past rows. Their times follow from the clock of training, which ended when the file of rows was last
    /// written.
    fn rows(&mut self, run: &Path, history: &History, wanted: impl Fn(u64) -> bool) -> Result<()> {
        let modified = fs::metadata(run.join("metrics.jsonl")).and_then(|file| file.modified());
        let end = modified.map_or_else(|_| now(), seconds_since_1970);
        let clocks = history.steps.iter().map(|row| row.train_seconds);
        let last = clocks.chain(history.epochs.iter().map(|row| row.train_seconds)).fold(0.0, f64::max);
        let mut epochs = history.epochs.iter().filter(|row| wanted(row.step)).peekable();
        for row in history.steps.iter().filter(|row| wanted(row.step)) {
            while let Some(epoch) = epochs.next_if(|epoch| epoch.step < row.step) {
                self.epoch_at(end - last + epoch.train_seconds, epoch)?;
            }
            self.step_at(end - last + row.train_seconds, row)?;
        }
        for row in epochs {
            self.epoch_at(end - last + row.train_seconds, row)?;
        }
        for change in history.changes.iter().filter(|change| wanted(change.step)) {
            self.change_at(end - last + change.train_seconds, change)?;
        }
        Ok(())
    }

    /// Writes a change of a setting, as text.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn change(&mut self, row: &ChangeRow) -> Result<()> {
        self.change_at(now(), row)
    }

    fn change_at(&mut self, time: f64, row: &ChangeRow) -> Result<()> {
        let ChangeRow { step, what, from, to, .. } = row;
        self.text(time, *step, "changes", &format!("{what}: {from} to {to}"))
    }

    /// Writes a row of statistics.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn step(&mut self, row: &StepRow) -> Result<()> {
        self.step_at(now(), row)
    }

    fn step_at(&mut self, time: f64, row: &StepRow) -> Result<()> {
        let mut values = vec![
            scalar("loss/training", row.classification_loss),
            scalar("loss/weight_decay", row.weight_decay_loss),
            scalar("accuracy/training", row.training_accuracy),
            scalar("learning_rate", row.learning_rate),
            scalar("images_per_second", row.images_per_second),
        ];
        values.extend(row.validation_loss.map(|loss| scalar("loss/validation", loss)));
        values.extend(row.validation_accuracy.map(|share| scalar("accuracy/validation", share)));
        row.layers.iter().for_each(|layer| values.extend(of_layer(layer)));
        self.values(time, row.step, values)
    }

    /// Writes a pass over the whole validation set.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.epoch_at(now(), row)
    }

    fn epoch_at(&mut self, time: f64, row: &EpochRow) -> Result<()> {
        let values =
            [("loss/validation_whole", row.validation_loss), ("accuracy/validation_whole", row.validation_accuracy)];
        self.values(time, row.step, values.map(|(tag, value)| scalar(tag, value)).into())
    }

    /// Writes the run's test.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn test(&mut self, summary: &Summary) -> Result<()> {
        let values = [("loss/test", summary.test_loss), ("accuracy/test", summary.test_accuracy)];
        self.values(now(), summary.steps, values.map(|(tag, value)| scalar(tag, value)).into())
    }

    /// Writes pictures of layers after `step` updates; those of the start only if no earlier file has them.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn pictures<'a>(&mut self, step: u64, pictures: impl Iterator<Item = &'a Picture>) -> Result<()> {
        if step == 0 && std::mem::replace(&mut self.start, true) {
            return Ok(());
        }
        let picture = |plate: &Picture| Value {
            tag: plate.name.replacen('.', "/", 1),
            image: Some(Image {
                height: plate.size[1] as i32,
                width: plate.size[0] as i32,
                colorspace: 3,
                encoded_image_string: plate.png.clone(),
            }),
            ..Value::default()
        };
        // One event each, because readers drop very large records.
        pictures.map(picture).try_for_each(|value| self.values(now(), step, vec![value]))
    }

    fn text(&mut self, time: f64, step: u64, tag: &str, text: &str) -> Result<()> {
        // TensorBoard reads Markdown, in which four spaces preserve lines.
        let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
        let tensor = Tensor { dtype: 7, tensor_shape: Some(Shape {}), string_val: vec![lines.join("\n").into_bytes()] };
        let plugin_data = Some(PluginData { plugin_name: "text".into() });
        let metadata = Some(Metadata { plugin_data });
        let value = Value { tag: tag.into(), tensor: Some(tensor), metadata, ..Value::default() };
        self.values(time, step, vec![value])
    }

    fn values(&mut self, time: f64, step: u64, value: Vec<Value>) -> Result<()> {
        self.write(time, step, |event| event.summary = Some(proto::Summary { value }))
    }

    /// Appends one record and flushes it, so that readers see it at once.
    fn write(&mut self, time: f64, step: u64, fill: impl FnOnce(&mut Event)) -> Result<()> {
        let mut event = Event { wall_time: time, step: step as i64, ..Event::default() };
        fill(&mut event);
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io("write", &self.path))
    }
}

fn scalar(tag: impl Into<String>, value: f64) -> Value {
    Value { tag: tag.into(), simple_value: Some(value as f32), ..Value::default() }
}

/// A layer's figures with their names.
fn of_layer(layer: &LayerStatistics) -> Vec<Value> {
    let name = &layer.layer;
    let mut values = Vec::new();
    let tensors: [(&str, &Option<Figures>); 6] = [
        ("activation", &layer.activation),
        ("activation_gradient", &layer.activation_gradient),
        ("weight", &layer.weight),
        ("weight_gradient", &layer.weight_gradient),
        ("bias", &layer.bias),
        ("bias_gradient", &layer.bias_gradient),
    ];
    for (tensor, figures) in tensors.iter().filter_map(|(tensor, figures)| Some((tensor, figures.as_ref()?))) {
        let Figures { min, max, mean, std, .. } = *figures;
        for (figure, value) in [("min", min), ("max", max), ("mean", mean), ("std", std)] {
            values.push(scalar(format!("{name}/{tensor}/{figure}"), value.into()));
        }
    }
    values.extend(layer.update_ratio.map(|ratio| scalar(format!("{name}/update_ratio"), ratio.into())));
    values.extend(layer.dead_units.map(|share| scalar(format!("{name}/dead_units"), share.into())));
    values
}

/// A record: length (8 bytes), its checksum (4), the data, its checksum (4); all little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let sums = [masked(&length), masked(data)].map(u32::to_le_bytes);
    [&length[..], &sums[0], data, &sums[1]].concat()
}

/// A CRC-32C, rotated and offset, so that the checksum of data that contains checksums remains useful.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The event files written by this program, in the order of their names; none if there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if seconds_of(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The path of a new file; creates the folder if necessary.
fn next(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    // TensorBoard reads files in the order of their names.
    let newest = files(folder)?.last().and_then(|path| seconds_of(path)).map_or(0, |seconds| seconds + 1);
    let seconds = newest.max(now() as u64);
    Ok(folder.join(format!("{PREFIX}{seconds:010}{SUFFIX}")))
}

/// The number in the name of one of this program's files.
fn seconds_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

impl Held {
    /// Adds the contents of another file, up to a record that was cut off.
    fn and(self, path: &Path) -> Result<Held> {
        let bytes = reading::regular(path, MOST_ROWS).map_err(Error::io("read", path))?;
        let (mut rest, Held { mut last, mut start }) = (&bytes[..], self);
        while let Some((data, behind)) = first_record(rest) {
            rest = behind;
            let Ok(event) = Event::decode(data) else { break };
            let step = u64::try_from(event.step).ok();
            if event.session_log.is_some() {
                last = last.min(step.and_then(|step| step.checked_sub(1)));
                start &= step != Some(0);
            } else if let Some(summary) = event.summary {
                if summary.value.iter().any(|value| value.simple_value.is_some()) {
                    last = last.max(step);
                }
                start |= step == Some(0) && summary.value.iter().any(|value| value.image.is_some());
            }
        }
        Ok(Held { last, start })
    }
}

/// A record's data and the bytes after it.
fn first_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let data = rest.get(4..)?.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let sum = rest.get(4 + data.len()..)?.first_chunk::<4>()?;
    (*sum == masked(data).to_le_bytes()).then(|| (data, &rest[8 + data.len()..]))
}

fn now() -> f64 {
    seconds_since_1970(SystemTime::now())
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum of nine digits is published with CRC-32C; the mask is TensorFlow's.
    #[test]
    fn checksums_are_masked() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    fn epoch(step: u64) -> EpochRow {
        EpochRow {
            step,
            epoch: 1,
            examples_seen: step,
            validation_loss: 0.5,
            validation_accuracy: 0.25,
            averaged: false,
            train_seconds: step as f64,
        }
    }

    fn steps_of(path: &Path) -> Vec<(i64, bool)> {
        let bytes = fs::read(path).expect("the file");
        let (mut rest, mut steps) = (&bytes[..], Vec::new());
        while let Some((data, behind)) = first_record(rest) {
            let event = Event::decode(data).expect("an event");
            let figures = event.summary.iter().flat_map(|s| &s.value).any(|v| v.simple_value.is_some());
            if figures || event.session_log.is_some() {
                steps.push((event.step, event.session_log.is_some()));
            }
            rest = behind;
        }
        assert!(rest.is_empty());
        steps
    }

    #[test]
    fn a_run_that_goes_on_makes_what_came_after_its_checkpoint_void_and_fills_gaps() {
        let run = tempfile::tempdir().expect("a folder");
        let none = History::default();
        let mut first = Events::begin(run.path(), 0, &none, "a = 1").expect("begins");
        for step in [2, 4, 6] {
            first.epoch(&epoch(step)).expect("written");
        }
        assert_eq!(steps_of(first.path()), [(2, false), (4, false), (6, false)]);
        // The run was killed after 6 and resumed from 5: step 6 is invalid.
        let history = History { epochs: [2, 4].map(epoch).into(), ..History::default() };
        let second = Events::begin(run.path(), 5, &history, "a = 1").expect("begins");
        assert_eq!(steps_of(second.path()), [(6, true)]);
        assert!(second.path() > first.path());
        // Resumed from 10, after a session that wrote no events.
        let history = History { epochs: [2, 4, 6, 8, 10].map(epoch).into(), ..History::default() };
        let third = Events::begin(run.path(), 10, &history, "a = 1").expect("begins");
        assert_eq!(steps_of(third.path()), [(6, true), (6, false), (8, false), (10, false)]);
        // Written again: one file with everything.
        let again = Events::rewrite(run.path(), &history, "a = 1", |_| Ok(())).expect("begins");
        assert_eq!(files(&run.path().join(FOLDER)).expect("a list"), [again.path()]);
        let all = [2, 4, 6, 8, 10].map(|step| (step, false));
        assert_eq!(steps_of(again.path()), all);
        // A failure leaves the files unchanged.
        let fails = |_: &mut Events| Err(Error::Data("no picture".into()));
        Events::rewrite(run.path(), &History::default(), "a = 1", fails).expect_err("it fails");
        assert_eq!(files(&run.path().join(FOLDER)).expect("a list"), [again.path()]);
        assert_eq!(steps_of(again.path()), all);
    }

    #[test]
    fn pictures_of_the_start_are_written_once_in_a_run() {
        let run = tempfile::tempdir().expect("a folder");
        let plate = Picture {
            name: "a.weight".into(),
            caption: String::new(),
            scale: String::new(),
            png: vec![1],
            size: [1, 1],
        };
        let images = |path: &Path| {
            let bytes = fs::read(path).expect("the file");
            let (mut rest, mut steps) = (&bytes[..], Vec::new());
            while let Some((data, behind)) = first_record(rest) {
                let event = Event::decode(data).expect("an event");
                let images = event.summary.iter().flat_map(|s| &s.value).filter(|v| v.image.is_some()).count();
                steps.extend(std::iter::repeat_n(event.step, images));
                rest = behind;
            }
            steps
        };
        let session = |from: u64, to: u64| {
            let mut events = Events::begin(run.path(), from, &History::default(), "").expect("begins");
            events.epoch(&epoch(to)).expect("written");
            for step in [0, to] {
                events.pictures(step, std::iter::once(&plate)).expect("written");
            }
            images(events.path())
        };
        assert_eq!(session(0, 4), [0, 4]);
        assert_eq!(session(4, 8), [8]);
        assert_eq!(session(8, 9), [9]);
    }

    #[test]
    fn a_record_that_was_cut_ends_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut events = Events::begin(folder.path(), 0, &History::default(), "").expect("begins");
        events.epoch(&epoch(3)).expect("written");
        events.epoch(&epoch(7)).expect("written");
        let bytes = fs::read(events.path()).expect("the file");
        assert_eq!(Held::default().and(events.path()).expect("read").last, Some(7));
        fs::write(events.path(), &bytes[..bytes.len() - 1]).expect("written");
        assert_eq!(Held::default().and(events.path()).expect("read").last, Some(3));
    }
}
