//! Which tiles a layer's tensors become.

use super::palette::{Palette, Scale};
use super::tiles::{Image, Tiles};
use crate::inspect::NamedTensor;
use crate::net::{Layer, Node, Shape};

/// A tensor, drawn.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The tensor's name, as `conv1.weight_gradient`.
    pub name: String,
    /// What a tile is, as `one filter's weights for one channel; a row for each filter`.
    pub tile: &'static str,
    pub image: Image,
    /// Smallest and largest value of the whole tensor.
    pub scale: Scale,
    /// Whether colours are those of an image, and not of the scale.
    pub natural: bool,
    /// Tiles that are drawn, and tiles that there are.
    pub shown: [usize; 2],
}

/// Values in a row where a vector is drawn.
const VECTOR_COLUMNS: usize = 32;

/// Pictures of a layer's tensors, in their order; biases and statistics of batch normalisation have none.
pub fn of_layer(node: &Node, tensors: &[NamedTensor], palette: Palette) -> Vec<Picture> {
    let own = |tensor: &&NamedTensor| tensor.name.strip_prefix(&node.name).is_some_and(|rest| rest.starts_with('.'));
    tensors.iter().filter(own).filter_map(|tensor| picture(node, tensor, palette)).collect()
}

fn picture(node: &Node, tensor: &NamedTensor, palette: Palette) -> Option<Picture> {
    let scale = Scale::of(palette, &tensor.values);
    let (name, values) = (tensor.name.clone(), &tensor.values[..]);
    let what = name.rsplit('.').next().unwrap_or_default();
    let natural = matches!(node.layer, Layer::Input { .. }) && what == "activation";
    let made = |tile, (image, shown): (Image, usize), count: usize| {
        Some(Picture { name: tensor.name.clone(), tile, image, scale, natural, shown: [shown, count] })
    };
    match (what, &tensor.shape[..]) {
        ("activation" | "activation_gradient", &[height, width, channels]) if natural && channels == 3 => {
            let tiles = Tiles { count: 1, columns: None, height, width };
            made("the image", tiles.draw(|_, y, x| rgb(|c| values[(y * width + x) * 3 + c] + 0.5)), 1)
        }
        ("activation" | "activation_gradient", &[height, width, channels]) if height * width > 1 => {
            let tiles = Tiles { count: channels, columns: None, height, width };
            let at = |c: usize, y: usize, x: usize| values[(y * width + x) * channels + c];
            match natural {
                true => made("a channel of the image", tiles.draw(|c, y, x| rgb(|_| at(c, y, x) + 0.5)), channels),
                false => made("the map of one channel", tiles.draw(|c, y, x| scale.color(at(c, y, x))), channels),
            }
        }
        ("weight" | "weight_gradient", &[filters, 3, height, width]) => {
            let (tiles, reach) = (Tiles { count: filters, columns: None, height, width }, scale.reach());
            let share = |f: usize, c: usize, y: usize, x: usize| {
                0.5 + values[((f * 3 + c) * height + y) * width + x] / (2.0 * reach.max(f32::MIN_POSITIVE))
            };
            let drawn = tiles.draw(|f, y, x| rgb(|c| share(f, c, y, x)));
            made("one filter, its three channels as red, green and blue; zero is grey", drawn, filters)
        }
        ("weight" | "weight_gradient", &[filters, channels, height, width]) => {
            let count = filters * channels;
            let columns = (channels > 1).then_some(channels);
            let drawn = Tiles { count, columns, height, width }
                .draw(|tile, y, x| scale.color(values[(tile * height + y) * width + x]));
            let tile = match columns {
                Some(_) => "one filter's weights for one channel; a row for each filter",
                None => "one filter",
            };
            made(tile, drawn, count)
        }
        ("weight" | "weight_gradient", &[outputs, inputs]) => {
            let Shape { height, width, channels } = node.input;
            let maps = height * width > 1 && height * width * channels == inputs;
            let (count, columns, [height, width]) =
                if maps { (outputs * channels, channels, [height, width]) } else { (1, 1, [outputs, inputs]) };
            let tiles = Tiles { count, columns: Some(columns), height, width };
            let drawn = tiles.draw(|tile, y, x| scale.color(values[(tile * height + y) * width + x]));
            let tile = match maps {
                true => "one output's weights for one channel; a row for each output",
                false => "all weights; a row for each output",
            };
            made(tile, drawn, count)
        }
        ("activation" | "activation_gradient" | "weight" | "weight_gradient", _) => {
            let tiles = Tiles { count: values.len(), columns: Some(VECTOR_COLUMNS), height: 1, width: 1 };
            made("one value", tiles.draw(|i, _, _| scale.color(values[i])), values.len())
        }
        _ => None,
    }
}

/// A colour of shares from 0 to 1.
fn rgb(share: impl Fn(usize) -> f32) -> [u8; 3] {
    std::array::from_fn(|channel| (share(channel).clamp(0.0, 1.0) * 255.0).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Network;

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

    fn drawn(name: &str, tensor: NamedTensor) -> Picture {
        let mut pictures = of_layer(&node(COLOUR, name), &[tensor], Palette::default());
        assert_eq!(pictures.len(), 1);
        pictures.remove(0)
    }

    #[test]
    fn maps_filters_matrices_and_vectors_have_their_tiles() {
        let of = |layer: &str, tensor: NamedTensor| {
            let picture = drawn(layer, tensor);
            (picture.tile, picture.shown, picture.natural)
        };
        assert_eq!(of("input", tensor("input.activation", &[4, 5, 3])), ("the image", [1, 1], true));
        let maps = of("conv1", tensor("conv1.activation", &[4, 3, 2]));
        assert_eq!(maps, ("the map of one channel", [2, 2], false));
        assert_eq!(of("conv1", tensor("conv1.weight", &[2, 3, 1, 3])).1, [2, 2], "colour filters");
        assert_eq!(of("conv1", tensor("conv1.weight", &[2, 4, 1, 3])).1, [8, 8]);
        assert_eq!(of("fc1", tensor("fc1.weight", &[7, 24])).1, [14, 14], "a tile for each output and channel");
        assert_eq!(of("fc1", tensor("fc1.activation", &[7])), ("one value", [7, 7], false));
        let bias = of_layer(&node(COLOUR, "fc1"), &[tensor("fc1.bias", &[7])], Palette::default());
        assert!(bias.is_empty());
        let others = of_layer(&node(COLOUR, "fc1"), &[tensor("fc12.weight", &[7, 24])], Palette::default());
        assert!(others.is_empty(), "another layer's");
    }

    #[test]
    fn a_map_shows_each_value_in_its_place() {
        // [H,W,C]: the second channel's value in row 1, column 2.
        let mut values = vec![0.0; 4 * 3 * 2];
        values[(3 + 2) * 2 + 1] = 1.0;
        let tensor = NamedTensor { name: "conv1.activation".into(), shape: vec![4, 3, 2], values };
        let picture = drawn("conv1", tensor);
        // No value is larger than 16 pixels.
        let side = 16;
        let at = |tile: usize, y: usize, x: usize| {
            let (top, left) = (2 + y * side, 2 + tile * (3 * side + 2) + x * side);
            &picture.image.pixels[3 * (top * picture.image.width + left)..][..3]
        };
        assert_eq!(at(1, 1, 2), Palette::default().color(1.0));
        assert_eq!([at(0, 1, 2), at(1, 2, 1)], [&Palette::default().color(0.0)[..]; 2]);
    }
}
