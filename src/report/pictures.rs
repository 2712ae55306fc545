//! Pictures in the page: an example's tensors in each layer and the examples themselves, as PNGs in `data:` addresses.

use super::html::{number, scale};
use crate::data::Examples;
use crate::error::{Error, Result};
use crate::inspect::{Inspection, NamedTensor};
use crate::net::{Network, Node};
use crate::pictures::{self, Palette};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, GrayImage, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// The least and the most values of a picture; the most also limits all pictures of a network together.
const VALUES: [usize; 2] = [400, 6_000];
const ALL_VALUES: usize = 250_000;
/// The same limits for activations and their gradients, which are whole maps.
const MAPS: [usize; 2] = [400, 60_000];
const ALL_MAPS: usize = 1_500_000;

/// A drawn tensor.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The tensor's name, such as `conv1.weight_gradient`.
    pub name: String,
    /// The range of all values, the meaning of a tile, and what is left out.
    pub caption: String,
    /// The colour scale with the values at its ends, in HTML.
    pub scale: String,
    pub png: Vec<u8>,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

/// The pictures of one layer, with the run's first and last weights: the same tensors in the same order.
#[derive(Debug, Clone)]
pub struct LayerPictures {
    pub layer: String,
    pub start: Vec<Picture>,
    pub end: Vec<Picture>,
}

/// Draws every layer of two inspections of the same example.
pub(super) fn of_layers(network: &Network, start: &Inspection, end: &Inspection) -> Result<Vec<LayerPictures>> {
    let count = |maps: bool| 2 * start.tensors.iter().filter(|t| is_drawn(t) && is_map(t) == maps).count();
    let most = |all: usize, [least, most]: [usize; 2], count: usize| (all / count.max(1)).clamp(least, most);
    let (maps, others) = (most(ALL_MAPS, MAPS, count(true)), most(ALL_VALUES, VALUES, count(false)));
    let cut = |node: &Node, inspection: &Inspection| -> Vec<pictures::Plate> {
        let of = |tensor: &NamedTensor| {
            let most = if is_map(tensor) { maps } else { others };
            pictures::Plate::of_layer(node, std::slice::from_ref(tensor), most)
        };
        inspection.tensors.iter().flat_map(of).collect()
    };
    let layer = |node: &Node| {
        let (start, end) = (cut(node, start), cut(node, end));
        let reaches = start.iter().zip(&end).map(|(a, b)| match is_gradient(&a.name) {
            true => [a.reach(), b.reach()],
            false => [a.reach().max(b.reach()); 2],
        });
        let reaches: Vec<[f32; 2]> = reaches.collect();
        let drawn = |plates: Vec<pictures::Plate>, which: usize| {
            plates.into_iter().zip(&reaches).map(|(plate, reach)| drawn(plate, reach[which])).collect::<Result<_>>()
        };
        Ok(LayerPictures { layer: node.name.clone(), start: drawn(start, 0)?, end: drawn(end, 1)? })
    };
    network.nodes.iter().map(layer).collect()
}

fn kind(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn is_drawn(tensor: &NamedTensor) -> bool {
    matches!(kind(&tensor.name), "activation" | "activation_gradient" | "weight" | "weight_gradient")
}

fn is_map(tensor: &NamedTensor) -> bool {
    matches!(kind(&tensor.name), "activation" | "activation_gradient")
}

fn is_gradient(name: &str) -> bool {
    kind(name).ends_with("gradient")
}

/// Draws a plate; `reach` is the value at the colours' ends.
fn drawn(plate: pictures::Plate, reach: f32) -> Result<Picture> {
    let [min, max] = [plate.min, plate.max].map(number);
    let (kept, tiles) = (plate.kept(), plate.tiles);
    let left_out = if kept < tiles { format!("; {kept} of {tiles} tiles are drawn") } else { String::new() };
    let palette = Palette::default();
    let image = plate.draw_with_reach(palette, reach);
    Ok(Picture {
        caption: format!("from {min} to {max}; a tile is {}{left_out}", plate.tile),
        scale: scale(&plate, reach, palette),
        size: [image.width, image.height],
        png: png(rgb(image.width, image.height, image.pixels)?)?,
        name: plate.name,
    })
}

/// The picture of an example at its own size.
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
    Error::Data("an example's number of pixels does not match its shape".into())
}

fn png(image: DynamicImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    // A value is a square of pixels, so most rows repeat the one above.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Up);
    let written = image.write_with_encoder(encoder);
    written.map_err(std::io::Error::other).map_err(Error::io("draw a picture of", Path::new("the report")))?;
    Ok(bytes.into_inner())
}

/// The `data:` address of a PNG.
pub(super) fn address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
