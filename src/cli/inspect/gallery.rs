//! `--out DIR`: a PNG for each tensor, and a page that shows them.

mod decides;
mod figure;
mod page;

use super::Explained;
use super::InspectArgs;
use super::report::Report;
use crate::cli::options::refuse_content;
use figure::Figure;
use glassnet::formats::Target;
use glassnet::inspect::Inspection;
use glassnet::net::Network;
use glassnet::pictures::{Image, Plate};
use glassnet::{Error, Result};
use image::{ImageFormat, RgbImage};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// Refuses an unsuitable folder before anything is computed for it.
pub(super) fn check(folder: &Path, force: bool) -> Result<()> {
    refuse_content(folder, force)
}

/// Writes `LAYER.TENSOR.png` for every tensor that has a picture, `explanation.WHAT.png` for what decides, and finally
/// `index.html`.
pub(super) fn write(
    folder: &Path,
    network: &Network,
    inspection: &Inspection,
    explained: Option<&Explained>,
    report: &Report,
    args: &InspectArgs,
) -> Result<()> {
    let palette = args.palette;
    let reasons = match explained {
        Some(Ok(explanation)) => decides::figures(explanation, &inspection.tensors[0], report, palette),
        _ => Vec::new(),
    };
    let layers = network.nodes.iter().map(|node| {
        let plates = Plate::of_layer(node, &inspection.tensors, usize::MAX);
        plates.iter().map(|plate| figure::of_tensor(plate, report.gradients, palette)).collect()
    });
    let layers: Vec<Vec<Figure>> = layers.collect();
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    for figure in reasons.iter().chain(layers.iter().flatten()) {
        let path = folder.join(figure.file());
        Target::new(&path, args.force)?.sparing([&args.model])?.write(&png(&figure.image, &path)?)?;
    }
    let page = page::page(network, report, &reasons, &layers, palette);
    Target::new(&folder.join("index.html"), args.force)?.sparing([&args.model])?.write(page.as_bytes())
}

fn png(drawn: &Image, path: &Path) -> Result<Vec<u8>> {
    let image = RgbImage::from_raw(drawn.width as u32, drawn.height as u32, drawn.pixels.clone());
    let mut bytes = Cursor::new(Vec::new());
    let written = image.map(|image| image.write_to(&mut bytes, ImageFormat::Png));
    match written {
        Some(Ok(())) => Ok(bytes.into_inner()),
        Some(Err(error)) => {
            Err(Error::Io { action: "draw", path: path.to_path_buf(), source: std::io::Error::other(error) })
        }
        None => unreachable!("a picture has three bytes for each pixel"),
    }
}
