//! Pictures in the page: what an example makes of a layer, and the examples themselves, as PNGs in `data:` addresses.

use crate::data::Examples;
use crate::error::{Error, Result};
use crate::inspect::{Inspection, NamedTensor};
use crate::net::Network;
use crate::pictures::{self, Palette};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Values of a picture, at least and at most, and of all pictures of a network together.
const VALUES: [usize; 2] = [400, 6_000];
const ALL_VALUES: usize = 250_000;

/// A tensor, drawn.
#[derive(Debug, Clone)]
pub struct Plate {
    /// As `conv1.weight_gradient`.
    pub name: String,
    /// Range of all values, what a tile is, what is left out.
    pub caption: String,
    pub png: Vec<u8>,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

/// The pictures of one layer, of the run's first weights and of its last ones: the same tensors in the same order.
#[derive(Debug, Clone)]
pub struct LayerPlates {
    pub layer: String,
    pub start: Vec<Plate>,
    pub end: Vec<Plate>,
}

/// Draws every layer of two inspections of the same example.
pub(super) fn plates(network: &Network, start: &Inspection, end: &Inspection) -> Result<Vec<LayerPlates>> {
    let drawn = 2 * start.tensors.iter().filter(|tensor| is_drawn(tensor)).count();
    let most = (ALL_VALUES / drawn.max(1)).clamp(VALUES[0], VALUES[1]);
    let of = |node: usize, inspection: &Inspection| of_node(network, node, &inspection.tensors, most);
    let layer = |node: usize| {
        let layer = network.nodes[node].name.clone();
        Ok(LayerPlates { layer, start: of(node, start)?, end: of(node, end)? })
    };
    (0..network.nodes.len()).map(layer).collect()
}

fn is_drawn(tensor: &NamedTensor) -> bool {
    let what = tensor.name.rsplit('.').next().unwrap_or_default();
    matches!(what, "activation" | "activation_gradient" | "weight" | "weight_gradient")
}

/// The one place that knows how tensors become pictures.
fn of_node(network: &Network, node: usize, tensors: &[NamedTensor], most: usize) -> Result<Vec<Plate>> {
    let plate = |plate: pictures::Plate| {
        let [min, max] = [plate.min, plate.max].map(|value| super::html::figure(f64::from(value)));
        let (kept, tiles) = (plate.kept(), plate.tiles);
        let left_out = if kept < tiles { format!("; {kept} of {tiles} tiles are drawn") } else { String::new() };
        let image = plate.draw(Palette::default());
        Ok(Plate {
            caption: format!("from {min} to {max}; a tile is {}{left_out}", plate.tile),
            size: [image.width, image.height],
            png: png(rgb(image.width, image.height, image.pixels)?)?,
            name: plate.name,
        })
    };
    pictures::Plate::of_layer(&network.nodes[node], tensors, most).into_iter().map(plate).collect()
}

/// The picture of an example, as large as it is.
pub(super) fn example(examples: &Examples, index: usize) -> Result<Vec<u8>> {
    let [height, width, channels] = examples.shape;
    let pixels = examples.image(index);
    match channels {
        3 => png(rgb(width, height, pixels.to_vec())?),
        _ => {
            let grey = pixels.iter().step_by(channels).copied().collect();
            let image = GrayImage::from_raw(width as u32, height as u32, grey);
            png(image.ok_or_else(no_picture)?.into())
        }
    }
}

fn rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<DynamicImage> {
    let image = RgbImage::from_raw(width as u32, height as u32, pixels);
    Ok(image.ok_or_else(no_picture)?.into())
}

fn no_picture() -> Error {
    Error::Data("an example has not as many pixels as its shape says".into())
}

fn png(image: DynamicImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let written = image.write_to(&mut bytes, ImageFormat::Png);
    written.map_err(std::io::Error::other).map_err(Error::io("draw a picture of", Path::new("the report")))?;
    Ok(bytes.into_inner())
}

/// The `data:` address of a PNG.
pub(super) fn address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
