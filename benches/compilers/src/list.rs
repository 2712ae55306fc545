//! The distinct pipelines of a folder written by `glassnet check --dump-pipelines`.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// A dispatch of a preset's training step, as in the list.
#[derive(Deserialize)]
struct Entry {
    operation: String,
    variant: String,
    wgsl: String,
    entry: String,
    constants: BTreeMap<String, u32>,
    preset: String,
    default: bool,
}

/// A pipeline, and the presets that use it.
#[derive(Serialize, Deserialize)]
pub struct Pipeline {
    pub operation: String,
    pub variant: String,
    /// The file with the WGSL text, in the folder.
    pub wgsl: String,
    pub entry: String,
    pub constants: BTreeMap<String, u32>,
    pub presets: BTreeSet<String>,
    /// Whether one of them runs it where nothing was measured.
    pub default: bool,
}

/// Pipelines in the order of their operations and variants.
pub fn read(folder: &Path) -> Result<Vec<Pipeline>> {
    let path = folder.join("pipelines.json");
    let text = crate::read(&path)?;
    let entries: Vec<Entry> = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut pipelines: BTreeMap<_, Pipeline> = BTreeMap::new();
    for Entry { operation, variant, wgsl, entry, constants, preset, default } in entries {
        let key = (operation.clone(), wgsl.clone(), entry.clone(), constants.clone());
        let new = || Pipeline { operation, variant, wgsl, entry, constants, presets: BTreeSet::new(), default: false };
        let pipeline = pipelines.entry(key).or_insert_with(new);
        pipeline.presets.insert(preset);
        pipeline.default |= default;
    }
    Ok(pipelines.into_values().collect())
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.operation, self.variant, self.entry)?;
        for (name, value) in &self.constants {
            write!(f, " {name}={value}")?;
        }
        let presets: Vec<&str> = self.presets.iter().map(String::as_str).collect();
        write!(f, " ({})", presets.join(", "))
    }
}
