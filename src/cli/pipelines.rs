//! `glassnet check --dump-pipelines`: writes the shaders of the presets and the list of their pipelines, for compilers
//! that run without a GPU.

use super::options::refuse_content;
use super::output::Output;
use glassnet::formats::{MadeFolders, Target};
use glassnet::kernels::{Adapter, Matrices, Precision};
use glassnet::net::{Network, PRESETS, Recipe};
use glassnet::program::{DeviceClass, Options, PipelineUse, Source, TrainingStep};
use glassnet::train::Settings;
use glassnet::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// ConvNetJS's batch, and two that fill a GPU; the help of the option names them.
const BATCH_SIZES: [usize; 3] = [20, 128, 512];

/// About as many as MNIST and CIFAR-10 have; no pipeline depends on it.
const EXAMPLES: usize = 50_000;

/// The name of the list.
const LIST: &str = "pipelines.json";

/// One pipeline of one preset's training step.
#[derive(Debug, Serialize)]
struct Entry {
    operation: &'static str,
    variant: &'static str,
    /// The file with the WGSL text.
    wgsl: String,
    entry: &'static str,
    constants: BTreeMap<&'static str, u32>,
    workgroups: [u32; 3],
    workgroup_size: [u32; 3],
    preset: &'static str,
    batch: usize,
    /// Whether it is what training runs where nothing was measured; the tuner may choose the others.
    default: bool,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(serialize_with = "super::output::path")]
    folder: &'a Path,
    batch_sizes: [usize; BATCH_SIZES.len()],
    pipelines: usize,
    shaders: usize,
}

/// Writes `VARIANT.wgsl` for every variant in use on a hardware adapter, which has the largest of the cooperative
/// matrices for `precision`; and finally the list.
pub(super) fn dump(folder: &Path, force: bool, precision: Precision, output: Output) -> Result<ExitCode> {
    refuse_content(folder, force)?;
    let of_factor = |factor| Matrices::ALL.into_iter().find(|matrices| matrices.factor == factor);
    let adapter = Adapter { matrices: precision.factor().and_then(of_factor), ..Adapter::HARDWARE };
    let earlier = listed(folder);
    let mut shaders = BTreeMap::new();
    let mut entries = Vec::new();
    for (preset, _) in PRESETS {
        for batch in BATCH_SIZES {
            for one in pipelines(preset, batch, adapter)? {
                shaders.insert(file(&one), one.variant.source);
                entries.push(entry(one, preset, batch));
            }
        }
    }
    let list = serde_json::to_string_pretty(&entries)
        .map_err(|error| Error::Settings(format!("the list of pipelines cannot be written: {error}")))?;
    // If the first file cannot be written, the new folder goes again.
    let mut made = MadeFolders::create(folder, "create the folder")?;
    let write = |name: &str, text: &str| Target::new(&folder.join(name), force)?.write(text.as_bytes());
    for (name, source) in &shaders {
        write(name, source)?;
        made.keep();
    }
    for name in earlier.iter().filter(|name| !shaders.contains_key(*name)) {
        remove(&folder.join(name))?;
    }
    write(LIST, &format!("{list}\n"))?;
    let (pipelines, shaders) = (entries.len(), shaders.len());
    let document = Document { folder, batch_sizes: BATCH_SIZES, pipelines, shaders };
    let path: PathBuf = folder.join(LIST);
    output.result(
        &document,
        format_args!("wrote {shaders} shaders and {}, a list of {pipelines} pipelines", path.display()),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The shaders that an earlier list in the folder names. Other files are not this command's.
fn listed(folder: &Path) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Listed {
        wgsl: String,
    }
    let list = Some(folder.join(LIST)).filter(|list| list.is_file()).and_then(|list| std::fs::read(list).ok());
    let list = list.and_then(|list| serde_json::from_slice::<Vec<Listed>>(&list).ok()).unwrap_or_default();
    let is_name = |name: &String| name.ends_with(".wgsl") && Path::new(name).file_name() == Some(name.as_ref());
    list.into_iter().map(|one| one.wgsl).filter(is_name).collect()
}

/// Removes a file, so that no compiler reads it; it may be gone already.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The pipelines that a preset's training step may run, lowered as in training.
fn pipelines(preset: &str, batch: usize, adapter: Adapter) -> Result<Vec<PipelineUse>> {
    let given = Recipe { batch_size: Some(batch), ..Recipe::default() };
    let settings = Settings::resolve(Network::preset(preset)?, &given)?;
    let source = Source::usual(&settings.network, EXAMPLES);
    let options = Options { class: DeviceClass::Hardware, ..settings.options(source) };
    Ok(TrainingStep::lower(&settings.network, &options)?.program.candidates(adapter))
}

fn file(one: &PipelineUse) -> String {
    format!("{}.wgsl", one.variant.name)
}

fn entry(one: PipelineUse, preset: &'static str, batch: usize) -> Entry {
    let wgsl = file(&one);
    let PipelineUse { operation, variant, entry, constants, workgroups, workgroup_size, is_default } = one;
    let (variant, default) = (variant.name, is_default);
    Entry { operation, variant, wgsl, entry, constants, workgroups, workgroup_size, preset, batch, default }
}
