//! The flat parameter buffer and the network's layers: from one to the other, and which blocks decay.

use super::Program;
use crate::kernels::Tensor;
use crate::kernels::optimizer::BLOCK;
use crate::net::{Network, Parameters};

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

    /// The contents of [`Trainable::decay`](super::Trainable::decay): (l1, l2) for blocks of weights, zeros for biases.
    pub fn decay_blocks(&self, l1: f32, l2: f32) -> Vec<f32> {
        let mut blocks = vec![0.0; 2 * (self.parameters.len / BLOCK)];
        for [weight, _] in self.parameter_tensors() {
            let first = self.root(weight.id).1 / BLOCK;
            for block in blocks[2 * first..].chunks_exact_mut(2).take(weight.len.div_ceil(BLOCK)) {
                block.copy_from_slice(&[l1, l2]);
            }
        }
        blocks
    }

    /// Weight and bias of every layer that has some, in the network's order.
    fn parameter_tensors(&self) -> impl Iterator<Item = [Tensor; 2]> {
        self.nodes.iter().filter_map(|n| n.parameters).map(|p| [p.weight, p.bias])
    }
}
