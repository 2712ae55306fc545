//! The weights for views, and weights as files.

use super::Subject;
use crate::Result;
use crate::formats::{Format, Model};
use crate::net::{Network, Parameters, Shape};
use crate::train::Change;
use std::sync::Arc;

/// The weights for views.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The number of updates that produced them.
    pub step: u64,
    pub parameters: Arc<Vec<Parameters>>,
}

impl Weights {
    /// The bytes of a model file with these weights.
    ///
    /// # Errors
    /// Those of [`Format::to_bytes`].
    pub fn to_file(&self, subject: &Subject, format: &Format) -> Result<Vec<u8>> {
        let provenance = subject.dataset.provenance();
        let extra = serde_json::json!({
            "dataset": provenance.dataset, "classes": provenance.classes, "image": provenance.image, "step": self.step,
        });
        let network = subject.settings.network.clone();
        (format.to_bytes)(&Model { network, parameters: self.parameters.to_vec(), extra })
    }
}

/// The change that loads the weights of a file, a model or a ConvNetJS snapshot, into `network`.
///
/// # Errors
/// A message that says why the weights cannot be used.
pub fn change_of_file(file: &[u8], name: &str, network: &Network) -> Result<Change, String> {
    let model = model(file, name).map_err(|why| why.to_string())?;
    same_layers(&model.network, network, name)?;
    Ok(Change::Weights { parameters: model.parameters, source: name.to_string() })
}

/// Reads a model; the beginning of the file determines the format. A safetensors file begins with the length of its
/// header, a snapshot with a brace.
fn model(file: &[u8], name: &str) -> Result<Model> {
    let first = file.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') && file.get(8) != Some(&b'{') {
        Model::from_convnetjs(file, name)
    } else {
        Model::from_bytes(file, name)
    }
}

/// Checks whether weights of `other` can be used in `own`.
fn same_layers(other: &Network, own: &Network, name: &str) -> Result<(), String> {
    let layers = |network: &Network| -> Vec<(crate::net::Layer, Shape)> {
        network.nodes.iter().map(|node| (node.layer, node.output)).collect()
    };
    let (theirs, ours) = (layers(other), layers(own));
    let different = theirs.iter().zip(&ours).position(|(a, b)| a != b);
    let place = different.or((theirs.len() != ours.len()).then_some(theirs.len().min(ours.len())));
    let Some(place) = place else { return Ok(()) };
    let told = |network: &Network| match network.nodes.get(place) {
        Some(node) => format!("{} ({}) with {}", node.name, node.layer.kind(), node.output),
        None => "nothing".into(),
    };
    Err(format!(
        "{name} belongs to another network: where this one has {}, it has {}; load a snapshot of this network, or start again with the other one",
        told(own),
        told(other)
    ))
}
