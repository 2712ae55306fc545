//! Converts weight order between Glassnet and PyTorch: conv `[KH,KW,I,O]` <-> `[O,I,KH,KW]`, fc `[I,O]` <-> `[O,I]`.
//!
//! Glassnet's fc inputs run over the feature map's H, W, C; PyTorch flattens it as C, H, W. An fc is a convolution
//! whose kernel covers the whole map, `[H,W,C,O]` <-> `[O,C,H,W]`, so one permutation serves both.

use crate::net::{Layer, Node, Shape};

/// PyTorch's shape of a layer's weights: `[O, I, KH, KW]`, `[O, I]`, or `[C]` for batch normalisation; `None` for a
/// layer without weights.
pub fn pytorch_shape(node: &Node) -> Option<Vec<usize>> {
    let [height, width, inputs, outputs] = window(node)?;
    Some(match node.layer {
        Layer::Fc { .. } => vec![outputs, node.input.len()],
        Layer::BatchNorm { .. } => vec![outputs],
        _ => vec![outputs, inputs, height, width],
    })
}

/// Converts `weight` of `node` (or its gradient) to PyTorch's order; empty for a layer without weights.
pub fn to_pytorch(node: &Node, weight: &[f32]) -> Vec<f32> {
    window(node).map_or(Vec::new(), |dimensions| hwio_to_oihw(weight, dimensions))
}

/// Converts `weight` of `node` from PyTorch's order; empty for a layer without weights.
pub fn from_pytorch(node: &Node, weight: &[f32]) -> Vec<f32> {
    window(node).map_or(Vec::new(), |dimensions| oihw_to_hwio(weight, dimensions))
}

/// Height, width, inputs and outputs of the window of a layer's weights; `None` for a layer without weights.
fn window(node: &Node) -> Option<[usize; 4]> {
    let Shape { height, width, channels } = node.input;
    match node.layer.weight_shape(node.input)?[..] {
        [kh, kw, inputs, outputs] => Some([kh, kw, inputs, outputs]),
        [_, outputs] => Some([height, width, channels, outputs]),
        [channels] => Some([1, 1, 1, channels]),
        ref other => unreachable!("weights of {other:?}"),
    }
}

fn hwio_to_oihw(weight: &[f32], [height, width, inputs, outputs]: [usize; 4]) -> Vec<f32> {
    assert_eq!(weight.len(), height * width * inputs * outputs, "weights of [{height}, {width}, {inputs}, {outputs}]");
    let mut permuted = Vec::with_capacity(weight.len());
    for output in 0..outputs {
        for input in 0..inputs {
            permuted.extend((0..height * width).map(|place| weight[(place * inputs + input) * outputs + output]));
        }
    }
    permuted
}

fn oihw_to_hwio(weight: &[f32], [height, width, inputs, outputs]: [usize; 4]) -> Vec<f32> {
    assert_eq!(weight.len(), height * width * inputs * outputs, "weights of [{outputs}, {inputs}, {height}, {width}]");
    let mut permuted = Vec::with_capacity(weight.len());
    for place in 0..height * width {
        for input in 0..inputs {
            permuted.extend((0..outputs).map(|output| weight[(output * inputs + input) * height * width + place]));
        }
    }
    permuted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Activation;
    use crate::net::Factors;

    fn node(layer: Layer, input: Shape) -> Node {
        Node {
            name: "layer".to_string(),
            layer,
            from: 0,
            added: None,
            input,
            output: Shape::vector(1),
            bias_init: 0.0,
            factors: Factors::default(),
        }
    }

    fn conv(kernel: [usize; 2], inputs: usize, filters: usize) -> Node {
        node(
            Layer::Conv { filters, kernel, stride: [1, 1], pad: [0, 0], dilation: [1, 1], groups: 1 },
            Shape::new(9, 9, inputs),
        )
    }

    fn fc(input: Shape, outputs: usize) -> Node {
        node(Layer::Fc { outputs }, input)
    }

    /// Weights whose values encode their indices: 1234 for the first index 1, the second 2, and so on.
    fn spelled(dimensions: &[usize], spell: impl Fn(&[usize]) -> usize) -> Vec<f32> {
        let count: usize = dimensions.iter().product();
        let indices = |mut flat: usize| {
            let mut indices = vec![0; dimensions.len()];
            for (index, size) in indices.iter_mut().zip(dimensions).rev() {
                (*index, flat) = (flat % size, flat / size);
            }
            indices
        };
        (0..count).map(|flat| spell(&indices(flat)) as f32).collect()
    }

    #[test]
    fn a_convolution_by_hand() {
        // One row of two positions, two inputs, two filters; Glassnet's order is [position][input][filter].
        let ours = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let node = conv([1, 2], 2, 2);
        assert_eq!(pytorch_shape(&node), Some(vec![2, 2, 1, 2]));
        assert_eq!(to_pytorch(&node, &ours), [1.0, 5.0, 3.0, 7.0, 2.0, 6.0, 4.0, 8.0]);
    }

    #[test]
    fn a_convolution_is_indexed_as_o_i_kh_kw() {
        let ours = spelled(&[3, 2, 4, 5], |i| 1000 * i[0] + 100 * i[1] + 10 * i[2] + i[3]);
        let theirs = spelled(&[5, 4, 3, 2], |i| 1000 * i[2] + 100 * i[3] + 10 * i[1] + i[0]);
        assert_eq!(to_pytorch(&conv([3, 2], 4, 5), &ours), theirs);
    }

    #[test]
    fn an_fc_has_its_columns_in_c_h_w_order() {
        let ours = spelled(&[3, 2, 4, 5], |i| 1000 * i[0] + 100 * i[1] + 10 * i[2] + i[3]);
        let theirs = spelled(&[5, 4, 3, 2], |i| 1000 * i[2] + 100 * i[3] + 10 * i[1] + i[0]);
        let node = fc(Shape::new(3, 2, 4), 5);
        assert_eq!(pytorch_shape(&node), Some(vec![5, 24]));
        assert_eq!(to_pytorch(&node, &ours), theirs);
    }

    #[test]
    fn an_fc_after_a_vector_is_transposed() {
        let node = fc(Shape::vector(3), 2);
        assert_eq!(to_pytorch(&node, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn there_and_back_is_the_identity() {
        for node in [conv([3, 5], 4, 7), conv([1, 1], 1, 1), fc(Shape::new(4, 3, 5), 6), fc(Shape::vector(8), 3)] {
            let count: usize = pytorch_shape(&node).map_or(0, |shape| shape.iter().product());
            let weight: Vec<f32> = (0..count).map(|value| value as f32).collect();
            assert_eq!(from_pytorch(&node, &to_pytorch(&node, &weight)), weight);
        }
    }

    #[test]
    fn a_layer_without_weights_has_none() {
        let relu = node(Layer::Activation(Activation::Relu), Shape::new(2, 2, 2));
        assert_eq!((pytorch_shape(&relu), to_pytorch(&relu, &[])), (None, Vec::new()));
    }
}
