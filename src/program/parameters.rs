//! The flat parameter buffer and the network's layers: from one to the other, and how each block learns.

use super::Program;
use crate::kernels::Tensor;
use crate::kernels::optimizer::{BLOCK, FACTORS};
use crate::net::{Factors, Network, Parameters};

impl Program {
    /// Cuts the contents of [`Program::parameters`] (or of a buffer laid out like it) into the network's layers.
    pub fn split_parameters(&self, network: &Network, flat: &[f32]) -> Vec<Parameters> {
        assert_eq!(flat.len(), self.parameters.len, "the flat parameters");
        let cut = |tensor: Tensor| flat[self.root(tensor.id).1..][..tensor.len].to_vec();
        let layers = network.parameters().into_iter().zip(self.parameter_tensors());
        layers.map(|(shape, [w, b])| Parameters { layer: shape.layer, weight: cut(w), bias: cut(b) }).collect()
    }

    /// Lays the layers out as [`Program::parameters`] holds them; the gaps between tensors are zeros.
    pub fn join_parameters(&self, parameters: &[Parameters]) -> Vec<f32> {
        let mut flat = vec![0.0; self.parameters.len];
        let mut tensors = self.parameter_tensors();
        for layer in parameters {
            let [weight, bias] = tensors.next().expect("as many layers as the program has");
            for (tensor, values) in [(weight, &layer.weight), (bias, &layer.bias)] {
                flat[self.root(tensor.id).1..][..tensor.len].copy_from_slice(values);
            }
        }
        flat
    }

    /// The contents of [`Trainable::factors`](super::Trainable::factors) where weights decay by `l1` and `l2`, times their
    /// layer's factor; biases do not decay.
    pub fn block_factors(&self, l1: f32, l2: f32) -> Vec<f32> {
        let mut blocks = vec![0.0; FACTORS * (self.parameters.len / BLOCK)];
        for layer in self.nodes.iter().filter_map(|node| node.parameters) {
            let Factors { rate, decay } = layer.factors;
            for (tensor, [l1, l2]) in [(layer.weight, [l1 * decay, l2 * decay]), (layer.bias, [0.0; 2])] {
                let first = self.root(tensor.id).1 / BLOCK;
                let blocks = blocks[FACTORS * first..].chunks_exact_mut(FACTORS);
                blocks.take(tensor.len.div_ceil(BLOCK)).for_each(|block| block.copy_from_slice(&[l1, l2, rate, 0.0]));
            }
        }
        blocks
    }

    /// Weight and bias of every layer that has some, in the network's order.
    fn parameter_tensors(&self) -> impl Iterator<Item = [Tensor; 2]> {
        self.nodes.iter().filter_map(|n| n.parameters).map(|p| [p.weight, p.bias])
    }
}
