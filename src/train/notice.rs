//! What there is to say while a run is prepared.

use super::ChangeRow;
use crate::data::{self, DatasetName};
use crate::text;
use std::fmt;

/// Something that whoever starts a run may want to know; `Display` says it in words.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The data set is being found, downloaded, drawn or read.
    Data(data::Progress),
    /// What was found in a folder of pictures, or is left out.
    Pictures(String),
    /// These pictures are in colour, and the network takes grey.
    ColoursDropped { pictures: usize, of: usize, network: String },
    /// The built-in `dataset` stands in for one that cannot be had.
    StandIn { dataset: DatasetName, reason: String },
    /// The automatic choice of a device fell on the processor, for this reason.
    OnProcessor(String),
    /// `summary.json` is damaged, and will be written anew.
    SummaryDamaged(String),
    /// The run began on this device: on another one it does not go on with the same bits.
    OtherDevice { executor: String, name: String },
    /// These changes, made while the run went on, are made again.
    ChangesHold(Vec<ChangeRow>),
    /// The run keeps the validation set of an earlier version.
    HeldOutAtRandom,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Data(progress) => progress.fmt(f),
            Notice::Pictures(what) | Notice::SummaryDamaged(what) => f.write_str(what),
            Notice::ColoursDropped { pictures, of, network } => write!(
                f,
                "{pictures} of {of} pictures are in colour, but network {network} takes grey: their colour is dropped; \
                 choose a network with 3 input channels to keep it"
            ),
            Notice::StandIn { dataset, reason } => {
                write!(f, "synthetic {} stand in for {}: {reason}", dataset.drawn(), stood_in_for(*dataset))
            }
            Notice::OnProcessor(reason) => write!(f, "computing on the cpu: {reason}"),
            Notice::OtherDevice { executor, name } => write!(
                f,
                "this run began on {} ({}): on another device it goes on, but not with the same bits",
                text::cut(name),
                text::cut(executor)
            ),
            Notice::ChangesHold(changes) => match &changes[..] {
                [] => Ok(()),
                [change] => write!(f, "a change made during the run holds again: {change}"),
                [first, .., last] => write!(
                    f,
                    "{} changes made during the run hold again, from {first} to {last}; metrics.jsonl has all of them",
                    changes.len()
                ),
            },
            Notice::HeldOutAtRandom => {
                f.write_str("this run began with a tenth held out at random, as earlier versions did, and keeps it")
            }
        }
    }
}

/// The published data set that a built-in one stands in for.
pub fn stood_in_for(dataset: DatasetName) -> &'static str {
    if dataset == DatasetName::SyntheticPictures { "CIFAR-10" } else { "MNIST" }
}
