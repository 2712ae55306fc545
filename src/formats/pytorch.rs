//! Weights from PyTorch: the `state_dict` of a module whose layers are called as ours are, in a safetensors file
//! without a word of ours in it. What the tensors mean is for a network description to say.

use super::model::{Model, own_extra, read_parameters, tensor_names};
use super::safetensors::{self, Tensors, check_finite};
use crate::net::Network;
use crate::{Result, text};
use ::safetensors::tensor::{Dtype, TensorInfo};
use std::collections::HashSet;
use std::path::Path;

/// How to make a file that can be read.
const REMEDY: &str = "write it with safetensors.torch.save_file(model.state_dict(), FILE)";

/// What batch normalisation counts beside its statistics, and needs for nothing here: its momentum is a constant.
const BATCHES: &str = "num_batches_tracked";

/// Names that a message lists; the rest is counted.
const LISTED: usize = 6;

impl Model {
    /// Reads the weights of `network` from a safetensors file that `safetensors.torch.save_file` made of a `state_dict`:
    /// `conv1.weight` `[O,I,KH,KW]`, `conv1.bias` `[O]`, `fc1.weight` `[O,I]` with I over C, H, W,
    /// `norm1.running_mean` `[C]`, and so on for every layer with weights; nothing else. f16 and bf16 become f32 as they are, f64 is rounded. A file of our own serves
    /// too; what it says of its network is not read, but what it says of its data is kept.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be read; [`Error::Model`](crate::Error::Model): not a
    /// safetensors file, damaged, tensors that are missing, left over, of another shape or type than the network needs,
    /// or not finite.
    pub fn import_pytorch(network: Network, path: &Path) -> Result<Model> {
        Model::from_pytorch(network, &safetensors::read(path, REMEDY)?, &path.display().to_string())
    }

    /// [`Model::import_pytorch`] from the bytes of a file; `source` is its name for messages.
    ///
    /// # Errors
    /// As there, but for those of reading.
    pub fn from_pytorch(network: Network, bytes: &[u8], source: &str) -> Result<Model> {
        let tensors = Tensors::parse(bytes, source, REMEDY)?;
        check_names(&network, &tensors)?;
        let parameters = read_parameters(&network, &tensors, &|name, shape| floats(&network, &tensors, name, shape))?;
        let extra = own_extra(&tensors);
        Ok(Model { network, parameters, extra })
    }
}

/// Whether the file has exactly the tensors that the network needs. What lacks and what is left over come in one
/// message: most often they are the same tensors under other names.
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

/// The first names in backticks, and how many more there are.
fn listed(names: &[String]) -> String {
    text::listed(names.iter().map(|name| format!("`{}`", text::cut(name))), LISTED)
}

/// The values of a tensor that is there, checked and as f32.
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

/// Little-endian values as f32; none where they are of a type that holds no weights.
fn convert(info: &TensorInfo, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match info.dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|value| half::f16::from_le_bytes(*value).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|value| half::bf16::from_le_bytes(*value).to_f32()).collect(),
        _ => return None,
    })
}
