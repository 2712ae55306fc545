//! Notices while a run is prepared.

use super::ChangeRow;
use crate::data::{self, DatasetName};
use crate::exec::Device;
use crate::exec::gpu::Tuned;
use crate::kernels::Precision;
use crate::program::Lost;
use crate::text;
use std::fmt;

/// Information for the user who starts a run; `Display` gives the text of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The data set is being found, downloaded, drawn or read.
    Data(data::Progress),
    /// Facts about a folder of pictures, such as files that are left out.
    Pictures(String),
    /// Some pictures are in colour, but the network has grey input.
    ColoursDropped { pictures: usize, of: usize, network: String },
    /// The built-in `dataset` replaces one that cannot be obtained.
    StandIn { dataset: DatasetName, reason: String },
    /// The automatic choice of a device chose the processor, for this reason.
    OnProcessor(String),
    /// The automatic choice of a device chose this adapter, because others before it were refused.
    OnAdapter { name: String, reason: String },
    /// `summary.json` is damaged, and will be written again.
    SummaryDamaged(String),
    /// The run began on this device; it continues on another one, with results that differ in their last bits.
    OtherDevice { executor: String, name: String },
    /// The run has one precision and continues in another.
    OtherPrecision { of_run: Precision, now: Precision },
    /// The number of products of a training step that are computed by cooperative matrices, of all.
    Products { precision: Precision, by_matrices: usize, all: usize },
    /// Changes that were made while the run trained; they apply again.
    ChangesHold(Vec<ChangeRow>),
    /// The run keeps the validation set of an earlier version.
    HeldOutAtRandom,
    /// Kernels were chosen for the run by their times.
    Tuned(Tuned),
    /// Kernels that the resumed run has recorded, and this device or version cannot use.
    KernelsLost(Vec<Lost>),
    /// `config.toml` has other kernels than the checkpoint was computed with.
    OtherKernels,
}

impl Notice {
    /// The notice about a device that was chosen automatically, and the reason.
    pub fn automatic(device: &Device, reason: String) -> Notice {
        match device {
            Device::Gpu(gpu) => Notice::OnAdapter { name: gpu.info().name.clone(), reason },
            _ => Notice::OnProcessor(reason),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Data(progress) => progress.fmt(f),
            Notice::Pictures(what) | Notice::SummaryDamaged(what) => f.write_str(what),
            Notice::ColoursDropped { pictures, of, network } => write!(
                f,
                "{pictures} of {of} pictures are in colour, but network {network} has grey input, so their colour is dropped; \
                 choose a network with 3 input channels to keep it"
            ),
            Notice::StandIn { dataset, reason } => {
                write!(f, "synthetic {} stand in for {}: {reason}", dataset.drawn(), stood_in_for(*dataset))
            }
            Notice::OnProcessor(reason) => write!(f, "computing on the cpu: {reason}"),
            Notice::OnAdapter { name, reason } => write!(f, "computing on {}: {reason}", text::cut(name)),
            Notice::OtherDevice { executor, name } => write!(
                f,
                "this run began on {} ({}); it continues on another device, but not with the same bits",
                text::cut(name),
                text::cut(executor)
            ),
            Notice::OtherPrecision { of_run, now } => write!(
                f,
                "WARNING: this run computed in precision {of_run} and continues in {now}, so its results differ from those \
                 of a run in one precision"
            ),
            Notice::Products { precision, by_matrices: 0, .. } => write!(
                f,
                "WARNING: no product of this network is computed in {precision}; layers with fewer than 8 inputs or \
                 outputs, numbers of them that are no multiples of 4, groups, and kernels that the tuner chose are in f32"
            ),
            Notice::Products { precision, by_matrices, all } => {
                write!(f, "{by_matrices} of {all} products of a step are computed in {precision}, the others in f32")
            }
            Notice::ChangesHold(changes) => match &changes[..] {
                [] => Ok(()),
                [change] => write!(f, "a change made during the run applies again: {change}"),
                [first, .., last] => write!(
                    f,
                    "{} changes made during the run apply again, from {first} to {last}; metrics.jsonl has all of them",
                    changes.len()
                ),
            },
            Notice::HeldOutAtRandom => {
                f.write_str("this run holds out a random tenth for validation, as earlier versions did, and keeps it")
            }
            Notice::Tuned(tuned) => tuned.fmt(f),
            Notice::KernelsLost(lost) => {
                let mut shown: Vec<String> = lost.iter().take(SHOWN).map(explain).collect();
                if lost.len() > SHOWN {
                    shown.push(format!("and {} more", lost.len() - SHOWN));
                }
                write!(
                    f,
                    "WARNING: {} of the kernels in config.toml cannot be used on this device or in this version: {}; the \
                     run continues, but its bits may differ",
                    lost.len(),
                    shown.join(", ")
                )
            }
            Notice::OtherKernels => f.write_str(
                "WARNING: the kernels in config.toml differ from those in the checkpoint; the run continues with those in \
                 config.toml, but its bits may differ",
            ),
        }
    }
}

/// The number of lost kernels that a message explains.
const SHOWN: usize = 3;

fn explain(Lost { names, recorded, used }: &Lost) -> String {
    let (recorded, names) = (text::cut(recorded), text::cut(names.join(", ")));
    match used {
        Some(used) => format!("{used} replaces {recorded} for {names}"),
        None => format!("{recorded} is for a {names} in a shape that this run does not have"),
    }
}

/// The published data set that a built-in one replaces.
pub fn stood_in_for(dataset: DatasetName) -> &'static str {
    if dataset == DatasetName::SyntheticPictures { "CIFAR-10" } else { "MNIST" }
}
