//! Weight gradients on hardware: every layer writes partial sums, and one operation adds those of all layers.

use super::layers::conv_params;
use super::lower::Options;
use super::planner::{Layout, Planner};
use super::{ALIGNMENT, ParameterTensors};
use crate::kernels::sums::{self, Entry};
use crate::kernels::{Op, Tensor};
use crate::net::Network;

/// The partial sums of every layer, in one buffer.
pub(super) struct Sums {
    partials: Tensor,
    table: Tensor,
    gradients: Tensor,
    by_node: Vec<(usize, Partial)>,
}

/// The form in which a layer writes its gradients.
enum Partial {
    /// `[splits, K+1, O]`; row K is the bias gradient.
    Joint(Tensor),
    /// The gradients of weight and bias, complete.
    Separate([Tensor; 2]),
}

const _: () = assert!(ALIGNMENT == sums::BLOCK, "every block of gradients belongs to one tensor");

impl Sums {
    /// Allocates the partial sums and the table. `gradients` is the flat buffer of all gradients.
    pub fn plan(
        planner: &mut Planner,
        network: &Network,
        options: &Options,
        parameters: &[Option<ParameterTensors>],
        gradients: Tensor,
    ) -> Sums {
        let mut layout = Layout::default();
        let mut entries = vec![Entry { first: 0, distance: 0, splits: 0, values: 0 }; gradients.len / sums::BLOCK];
        let mut places = Vec::new();
        for (node, tensors) in parameters.iter().enumerate() {
            let Some(tensors) = tensors else { continue };
            let (weight, bias) = tensors.weight_gradient.zip(tensors.bias_gradient).expect("planned with backward");
            let mut enter = |tensor: Tensor, first: usize, distance: usize, splits: usize| {
                let block = planner.buffers[tensor.id.0 as usize].parent.map_or(0, |(_, at)| at / sums::BLOCK);
                let own = Entry::of_tensor(tensor.len, first, distance, splits);
                entries[block..].iter_mut().zip(own).for_each(|(entry, own)| *entry = own);
            };
            match conv_params(&network.nodes[node], options) {
                Some(p) => {
                    let (at, distance) = (layout.place(p.partial_len()), weight.len + bias.len);
                    enter(weight, at, distance, p.splits());
                    enter(bias, at + weight.len, distance, p.splits());
                    places.push((node, vec![(at, p.partial_len())]));
                }
                None => {
                    let at = [weight, bias].map(|tensor| (layout.place(tensor.len), tensor));
                    at.iter().for_each(|(at, tensor)| enter(*tensor, *at, 0, 1));
                    places.push((node, at.iter().map(|(at, tensor)| (*at, tensor.len)).collect()));
                }
            }
        }
        let partials = planner.real("gradients.partial", layout.end.max(1));
        let table = planner.constant("gradients.table", bytemuck::cast_slice(&entries).to_vec());
        let by_node = places.into_iter().map(|(node, places)| {
            let name = format!("{}.gradient.partial", network.nodes[node].name);
            let slices: Vec<Tensor> =
                places.into_iter().map(|(at, len)| planner.slice(&name, partials, at, len)).collect();
            let partial = match slices[..] {
                [weight, bias] => Partial::Separate([weight, bias]),
                _ => Partial::Joint(slices[0]),
            };
            (node, partial)
        });
        let by_node = by_node.collect();
        Sums { partials, table, gradients, by_node }
    }

    fn partial(&self, node: usize) -> &Partial {
        &self.by_node.iter().find(|(at, _)| *at == node).expect("planned for every layer with parameters").1
    }

    /// The partial sums of a convolution.
    pub fn joint(&self, node: usize) -> Tensor {
        match self.partial(node) {
            Partial::Joint(partial) => *partial,
            Partial::Separate(_) => unreachable!("asked of convolutions"),
        }
    }

    /// The gradients of weight and bias of another layer.
    pub fn separate(&self, node: usize) -> [Tensor; 2] {
        match self.partial(node) {
            Partial::Separate(tensors) => *tensors,
            Partial::Joint(_) => unreachable!("asked of other layers"),
        }
    }

    /// The operation that adds all partial sums.
    pub fn operation(&self) -> Op {
        sums::gradients(self.partials, self.table, self.gradients)
    }
}
