//! Weights from PyTorch: the `state_dict` of a module whose layers have the names that Glassnet gives them, in a
//! safetensors file without Glassnet's metadata. A network description gives the tensors their meaning.

use super::model::{Model, own_extra, read_parameters, tensor_names};
use super::safetensors::{self, Tensors, check_finite};
use crate::net::Network;
use crate::{Result, text};
use ::safetensors::tensor::{Dtype, TensorInfo};
use std::collections::HashSet;
use std::path::Path;

/// How to make a readable file.
const REMEDY: &str = "write it with safetensors.torch.save_file(model.state_dict(), FILE)";

/// A counter of PyTorch's batch normalisation, which is not needed here because its momentum is constant.
const BATCHES: &str = "num_batches_tracked";

/// The most names in a message.
const LISTED: usize = 6;

impl Model {
    /// Reads the weights of `network` from a safetensors file that `safetensors.torch.save_file` made of a
    /// `state_dict`: `conv1.weight` `[O,I,KH,KW]`, `conv1.bias` `[O]`, `fc1.weight` `[O,I]` with I over C, H, W,
    /// `norm1.running_mean` `[C]`, and so on for every layer with weights, and no other tensors. f16 and bf16 are
    /// converted to f32 exactly, f64 is rounded. A file written by Glassnet is also accepted; its network is ignored,
    /// but its record of data is kept.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the file cannot be read; [`Error::Model`](crate::Error::Model) if it is not a
    /// safetensors file, is damaged, or has tensors that are missing, surplus, not finite, or of another shape or type
    /// than the network needs.
    pub fn import_pytorch(network: Network, path: &Path) -> Result<Model> {
        Model::from_pytorch(network, &safetensors::read(path, REMEDY)?, &path.display().to_string())
    }

    /// Does the same as [`Model::import_pytorch`] with the bytes of a file; `source` is its name for messages.
    ///
    /// # Errors
    /// Those of [`Model::import_pytorch`], except for reading.
    pub fn from_pytorch(network: Network, bytes: &[u8], source: &str) -> Result<Model> {
        let tensors = Tensors::parse(bytes, source, REMEDY)?;
        check_names(&network, &tensors)?;
        let parameters = read_parameters(&network, &tensors, &|name, shape| floats(&network, &tensors, name, shape))?;
        let extra = own_extra(&tensors);
        Ok(Model { network, parameters, extra })
    }
}

/// Checks that the file has exactly the tensors that the network needs. One message lists both missing and surplus
/// ones, because they are usually the same tensors under other names.
fn check_names(network: &Network, tensors: &Tensors) -> Result<()> {
    let layers: Vec<String> = network.parameters().into_iter().map(|shape| shape.layer).collect();
    let needed = tensor_names(network);
    let counters: Vec<String> = layers.iter().map(|layer| format!("{layer}.{BATCHES}")).collect();
    let found: Vec<String> = tensors.names().into_iter().filter(|name| !counters.contains(name)).collect();
    let without = |names: &[String], others: &[String]| {
        let others: HashSet<&String> = others.iter().collect();
        names.iter().filter(|name| !others.contains(name)).cloned().collect::<Vec<_>>()
    };
    let (missing, left) = (without(&needed, &found), without(&found, &needed));
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("{} missing", listed(&missing)));
    }
    if !left.is_empty() {
        faults.push(format!("{} left over", listed(&left)));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(tensors.refuse(&format!(
        "these tensors are not those of network {}: {}; each of its layers with weights ({}) must be a module of that \
         name with a `weight` and a `bias` (and for batch-norm running statistics), and no other module may have tensors",
        network.name,
        faults.join(", "),
        layers.join(", ")
    )))
}

/// The first names in backticks, and the number of others.
fn listed(names: &[String]) -> String {
    text::listed(names.iter().map(|name| format!("`{}`", text::cut(name))), LISTED)
}

/// The checked values of an existing tensor as f32.
fn floats(network: &Network, tensors: &Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let info = tensors.info(name)?;
    if info.shape != shape {
        let (got, network) = (text::cut(format_args!("{:?}", info.shape)), &network.name);
        return Err(tensors.refuse(&format!(
            "tensor `{name}` has shape {got}, network {network} needs {shape:?}; the module and the description must \
             agree"
        )));
    }
    let values = convert(info, tensors.bytes(name, info)?).ok_or_else(|| {
        tensors.refuse(&format!(
            "tensor `{name}` is {:?}; F32, F64, F16 and BF16 are read, so convert the module with model.float() first",
            info.dtype
        ))
    })?;
    check_finite(name, &values).map_err(|why| tensors.refuse(&why))?;
    Ok(values)
}

/// Converts little-endian values to f32; `None` if their type cannot hold weights.
fn convert(info: &TensorInfo, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match info.dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|value| half::f16::from_le_bytes(*value).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|value| half::bf16::from_le_bytes(*value).to_f32()).collect(),
        _ => return None,
    })
}
