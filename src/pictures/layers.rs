//! Arranges a layer's tensors as tiles.

use super::plate::{Cut, Plate};
use crate::inspect::NamedTensor;
use crate::net::{Layer, Node, Shape};

/// Values per row when a vector is drawn.
const VECTOR_COLUMNS: usize = 32;

impl Plate {
    /// Plates of a layer's tensors, in their order; biases and statistics of batch normalisation have none. Each plate
    /// has at most as many tiles as a picture can show, and at most `most` values: whole rows of tiles are left out
    /// from below, then columns from the right. If a single tile is larger than that, none is kept.
    pub fn of_layer(node: &Node, tensors: &[NamedTensor], most: usize) -> Vec<Plate> {
        let own =
            |tensor: &&NamedTensor| tensor.name.strip_prefix(&node.name).is_some_and(|rest| rest.starts_with('.'));
        tensors.iter().filter(own).filter_map(|tensor| plate(node, tensor, most)).collect()
    }

    /// The plate of a map `[h,w]`, or of one map per channel `[h,w,c]`.
    ///
    /// # Panics
    /// If the tensor has another number of dimensions.
    pub fn of_map(tensor: &NamedTensor) -> Plate {
        let (height, width, tiles, tile) = match tensor.shape[..] {
            [height, width] => (height, width, 1, "the map"),
            [height, width, 1] => (height, width, 1, "the map"),
            [height, width, channels] => (height, width, channels, "the map of one channel"),
            _ => panic!("{} is no map: {:?}", tensor.name, tensor.shape),
        };
        let cut = Cut { tile, tiles, columns: None, height, width, colours: 1, natural: false };
        Plate::cut(&tensor.name, cut, &tensor.values, usize::MAX, |[tile, y, x, _]| (y * width + x) * tiles + tile)
    }
}

fn plate(node: &Node, tensor: &NamedTensor, most: usize) -> Option<Plate> {
    let what = tensor.name.rsplit('.').next().unwrap_or_default();
    match what {
        "activation" | "activation_gradient" => Some(activation(node, tensor, what == "activation", most)),
        "weight" | "weight_gradient" => Some(weight(node, tensor, most)),
        _ => None,
    }
}

fn activation(node: &Node, tensor: &NamedTensor, values: bool, most: usize) -> Plate {
    let &[height, width, channels] = &tensor.shape[..] else { return vector(tensor, most) };
    let natural = values && matches!(node.layer, Layer::Input { .. });
    let colour = natural && channels == 3;
    if height * width == 1 && !colour {
        return vector(tensor, most);
    }
    let tile = match (natural, colour) {
        (_, true) => "the image",
        (true, false) => "a channel of the image",
        (false, false) => "the map of one channel",
    };
    let (tiles, colours) = if colour { (1, 3) } else { (channels, 1) };
    let cut = Cut { tile, tiles, columns: None, height, width, colours, natural };
    Plate::cut(&tensor.name, cut, &tensor.values, most, |[tile, y, x, colour]| {
        (y * width + x) * channels + tile + colour
    })
}

fn weight(node: &Node, tensor: &NamedTensor, most: usize) -> Plate {
    let plain = Cut { tile: "", tiles: 1, columns: None, height: 1, width: 1, colours: 1, natural: false };
    let cut = match tensor.shape[..] {
        [filters, 3, height, width] => {
            let cut = Cut { tiles: filters, height, width, colours: 3, ..plain };
            let tile = "one filter, its three channels as red, green and blue; zero is grey";
            return Plate::cut(&tensor.name, Cut { tile, ..cut }, &tensor.values, most, |[tile, y, x, colour]| {
                ((tile * 3 + colour) * height + y) * width + x
            });
        }
        [filters, 1, height, width] => Cut { tile: "one filter", tiles: filters, height, width, ..plain },
        [filters, channels, height, width] => Cut {
            tile: "one filter's weights for one channel; a row for each filter",
            tiles: filters * channels,
            columns: Some(channels),
            height,
            width,
            ..plain
        },
        [outputs, inputs] => {
            let Shape { height, width, channels } = node.input;
            if height * width > 1 && height * width * channels == inputs {
                let tile = match channels {
                    1 => "one output's weights",
                    _ => "one output's weights for one channel; a row for each output",
                };
                let columns = (channels > 1).then_some(channels);
                Cut { tile, tiles: outputs * channels, columns, height, width, ..plain }
            } else {
                let (tile, columns) = ("all weights; a row for each output", Some(1));
                Cut { tile, columns, height: outputs, width: inputs, ..plain }
            }
        }
        _ => return vector(tensor, most),
    };
    let Cut { height, width, .. } = cut;
    Plate::cut(&tensor.name, cut, &tensor.values, most, |[tile, y, x, _]| (tile * height + y) * width + x)
}

fn vector(tensor: &NamedTensor, most: usize) -> Plate {
    let (tiles, columns) = (tensor.values.len(), Some(VECTOR_COLUMNS));
    let cut = Cut { tile: "one value", tiles, columns, height: 1, width: 1, colours: 1, natural: false };
    Plate::cut(&tensor.name, cut, &tensor.values, most, |[tile, ..]| tile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Network;
    use crate::pictures::Palette;

    fn node(toml: &str, name: &str) -> Node {
        let network = Network::from_toml(toml, "test").expect("a network");
        network.nodes.into_iter().find(|node| node.name == name).expect("the layer")
    }

    const COLOUR: &str = r#"layers = [{ type = "input", height = 4, width = 5, channels = 3 },
        { type = "conv", filters = 2, kernel = [1, 3] }, { type = "fc", outputs = 7 }, { type = "softmax" }]"#;

    fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| i as f32 / count as f32 - 0.5).collect();
        NamedTensor { name: name.to_string(), shape: shape.to_vec(), values }
    }

    fn cut(name: &str, tensor: NamedTensor) -> Plate {
        let mut plates = Plate::of_layer(&node(COLOUR, name), &[tensor], usize::MAX);
        assert_eq!(plates.len(), 1);
        plates.remove(0)
    }

    #[test]
    fn maps_filters_matrices_and_vectors_have_their_tiles() {
        let of = |layer: &str, tensor: NamedTensor| {
            let plate = cut(layer, tensor);
            (plate.tile, [plate.kept(), plate.tiles], plate.natural)
        };
        assert_eq!(of("input", tensor("input.activation", &[4, 5, 3])), ("the image", [1, 1], true));
        let maps = of("conv1", tensor("conv1.activation", &[4, 3, 2]));
        assert_eq!(maps, ("the map of one channel", [2, 2], false));
        assert_eq!(of("conv1", tensor("conv1.weight", &[2, 3, 1, 3])).1, [2, 2], "colour filters");
        assert_eq!(of("conv1", tensor("conv1.weight", &[2, 4, 1, 3])).1, [8, 8]);
        assert_eq!(of("fc1", tensor("fc1.weight", &[7, 24])).1, [14, 14], "a tile for each output and channel");
        assert_eq!(of("fc1", tensor("fc1.activation", &[7])), ("one value", [7, 7], false));
        let bias = Plate::of_layer(&node(COLOUR, "fc1"), &[tensor("fc1.bias", &[7])], usize::MAX);
        assert!(bias.is_empty());
        let others = Plate::of_layer(&node(COLOUR, "fc1"), &[tensor("fc12.weight", &[7, 24])], usize::MAX);
        assert!(others.is_empty(), "another layer's");
    }

    #[test]
    fn outputs_that_see_one_channel_lie_in_a_square() {
        let toml = r#"layers = [{ type = "input", height = 4, width = 5, channels = 1 }, { type = "fc", outputs = 9 },
            { type = "softmax" }]"#;
        let plates = Plate::of_layer(&node(toml, "fc1"), &[tensor("fc1.weight", &[9, 20])], usize::MAX);
        assert_eq!((plates[0].columns, plates[0].kept(), plates[0].tile), (3, 9, "one output's weights"));
    }

    #[test]
    fn a_map_shows_each_value_in_its_place() {
        // [H,W,C]: the second channel's value in row 1, column 2.
        let mut values = vec![0.0; 4 * 3 * 2];
        values[(3 + 2) * 2 + 1] = 1.0;
        let tensor = NamedTensor { name: "conv1.activation".into(), shape: vec![4, 3, 2], values };
        let plate = cut("conv1", tensor);
        assert_eq!(plate.values[12 + 3 + 2], 1.0);
        let image = plate.draw(Palette::default());
        // Values are drawn at most 16 pixels large.
        let side = 16;
        let at = |tile: usize, y: usize, x: usize| {
            let (top, left) = (2 + y * side, 2 + tile * (3 * side + 2) + x * side);
            &image.pixels[3 * (top * image.width + left)..][..3]
        };
        assert_eq!(at(1, 1, 2), Palette::default().color(1.0));
        assert_eq!([at(0, 1, 2), at(1, 2, 1)], [&Palette::default().color(0.0)[..]; 2]);
    }
}
