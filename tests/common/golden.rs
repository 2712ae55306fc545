//! The files in `tests/golden` with PyTorch's numbers and their networks.

use super::rig::Examples;
use glassnet::formats::layout::from_pytorch;
use glassnet::net::{Network, ParameterShape, Parameters};
use safetensors::{Dtype, SafeTensors};
use std::path::PathBuf;

/// A safetensors file of golden values.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Golden {
        let path = folder().join(format!("{name}.safetensors"));
        Golden { bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) }
    }

    /// Shape and values of a tensor of any type.
    pub fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::U8 => bytes.iter().map(|b| f64::from(*b)).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            other => panic!("{name} is {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    pub fn values(&self, name: &str) -> Vec<f64> {
        self.get(name).1
    }

    pub fn scalar(&self, name: &str) -> f64 {
        self.values(name)[0]
    }

    pub fn examples(&self) -> Examples {
        let (shape, pixels) = self.get("images");
        let pixels = pixels.into_iter().map(|v| v as u8).collect();
        let labels = self.values("labels").into_iter().map(|v| v as u32).collect();
        Examples { shape: [shape[1], shape[2], shape[3]], pixels, labels }
    }

    pub fn parameters(&self, network: &Network) -> Vec<Parameters> {
        let read = |shape: ParameterShape| {
            let layer = shape.layer;
            let single =
                |what: &str| self.values(&format!("{layer}.{what}")).into_iter().map(|v| v as f32).collect::<Vec<_>>();
            let weight = from_pytorch(&network.nodes[shape.node], &single("weight"));
            let bias = single("bias");
            let running = |what: &str| if shape.running > 0 { single(what) } else { Vec::new() };
            let (running_mean, running_variance) = (running("running_mean"), running("running_var"));
            Parameters { layer, weight, bias, running_mean, running_variance }
        };
        network.parameters().into_iter().map(read).collect()
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The network of a description.
pub fn network(name: &str) -> Network {
    Network::from_file(&folder().join(format!("{name}.toml"))).expect("a valid network")
}
