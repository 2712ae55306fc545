//! Converts between the flat parameter buffer and the network's layers, and computes each block's factors.

use super::{ParameterTensors, TrainingStep};
use crate::kernels::Tensor;
use crate::kernels::optimizer::{BLOCK, FACTORS};
use crate::net::{Factors, Network, ParameterShape, Parameters};

impl TrainingStep {
    /// Splits the contents of [`TrainingStep::parameters`], or of a buffer with the same layout, into the network's
    /// layers.
    pub fn split_parameters(&self, network: &Network, flat: &[f32]) -> Vec<Parameters> {
        assert_eq!(flat.len(), self.parameters.len, "the flat parameters");
        let cut = |tensor: Tensor| &flat[self.program.root(tensor.id).1..][..tensor.len];
        let layer = |(shape, tensors): (ParameterShape, ParameterTensors)| {
            let (mean, variance) = tensors.running.map_or(Default::default(), |t| cut(t).split_at(shape.running));
            Parameters {
                layer: shape.layer,
                weight: cut(tensors.weight).to_vec(),
                bias: cut(tensors.bias).to_vec(),
                running_mean: mean.to_vec(),
                running_variance: variance.to_vec(),
            }
        };
        network.parameters().into_iter().zip(self.parameter_tensors()).map(layer).collect()
    }

    /// Joins the layers into the layout of [`TrainingStep::parameters`]; the gaps between tensors are zeros.
    pub fn join_parameters(&self, parameters: &[Parameters]) -> Vec<f32> {
        let mut flat = vec![0.0; self.parameters.len];
        let mut tensors = self.parameter_tensors();
        for layer in parameters {
            let own = tensors.next().expect("as many layers as the step has");
            let mut put = |tensor: Tensor, values: &[f32]| {
                flat[self.program.root(tensor.id).1..][..tensor.len].copy_from_slice(values);
            };
            put(own.weight, &layer.weight);
            put(own.bias, &layer.bias);
            if let Some(running) = own.running {
                put(running, &[&layer.running_mean[..], &layer.running_variance].concat());
            }
        }
        flat
    }

    /// The contents of [`Trainable::factors`](super::Trainable::factors) if weights decay by `l1` and `l2`, multiplied
    /// by their layer's factor; biases do not decay.
    pub fn block_factors(&self, l1: f32, l2: f32) -> Vec<f32> {
        let len = self.trainable.map_or(self.parameters.len, |trainable| trainable.gradients.len);
        let mut blocks = vec![0.0; FACTORS * (len / BLOCK)];
        for layer in self.parameter_tensors() {
            let Factors { rate, decay } = layer.factors;
            for (tensor, [l1, l2]) in [(layer.weight, [l1 * decay, l2 * decay]), (layer.bias, [0.0; 2])] {
                let first = self.program.root(tensor.id).1 / BLOCK;
                let blocks = blocks[FACTORS * first..].chunks_exact_mut(FACTORS);
                blocks.take(tensor.len.div_ceil(BLOCK)).for_each(|block| block.copy_from_slice(&[l1, l2, rate, 0.0]));
            }
        }
        blocks
    }

    /// The tensors of every layer with parameters, in the network's order.
    fn parameter_tensors(&self) -> impl Iterator<Item = ParameterTensors> {
        self.nodes.iter().filter_map(|node| node.parameters)
    }
}
