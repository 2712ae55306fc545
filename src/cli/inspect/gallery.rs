//! `--out DIR`: a PNG for each tensor, and one page that shows them.

use super::Report;
use crate::cli::options::refuse_content;
use crate::cli::output::figure;
use glassnet::formats::atomic_write;
use glassnet::inspect::Inspection;
use glassnet::net::{Network, Shape};
use glassnet::pictures::{Image, Palette, Plate};
use glassnet::{Error, Result};
use image::{ImageFormat, RgbImage};
use std::fmt::Write;
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// A plate, drawn.
struct Picture {
    plate: Plate,
    image: Image,
}

/// Refuses a folder before anything is computed for it.
pub(super) fn check(folder: &Path, force: bool) -> Result<()> {
    refuse_content(folder, force)
}

/// Writes `LAYER.TENSOR.png` for every tensor that has a picture, and then `index.html`.
pub(super) fn write(
    folder: &Path,
    network: &Network,
    inspection: &Inspection,
    report: &Report,
    palette: Palette,
) -> Result<()> {
    let layers = network.nodes.iter().map(|node| {
        let plates = Plate::of_layer(node, &inspection.tensors, usize::MAX).into_iter();
        plates.map(|plate| Picture { image: plate.draw(palette), plate }).collect()
    });
    let layers: Vec<Vec<Picture>> = layers.collect();
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    for picture in layers.iter().flatten() {
        let path = folder.join(file_name(picture));
        atomic_write(&path, &png(picture, &path)?)?;
    }
    atomic_write(&folder.join("index.html"), page(network, report, &layers, palette).as_bytes())
}

fn file_name(picture: &Picture) -> String {
    format!("{}.png", picture.plate.name)
}

fn png(picture: &Picture, path: &Path) -> Result<Vec<u8>> {
    let drawn = &picture.image;
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

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1b1b1b; --ground: #fff; --soft: #5a5a5a; --line: #d0d0d0 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --ground: #161616; --soft: #b0b0b0; --line: #404040 }
}
body { margin: 0 auto; max-width: 70rem; padding: 1rem; font: 1rem/1.45 system-ui, sans-serif;
  color: var(--text); background: var(--ground) }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 0 } h2 span { font-weight: normal; color: var(--soft) }
section { border-top: 1px solid var(--line); padding: 1rem 0 }
figure { margin: .8rem 0 0; overflow-x: auto } figcaption { color: var(--soft); font-size: .9rem }
img { image-rendering: pixelated; max-width: none }
.bar { display: inline-block; width: 9rem; height: .8rem; vertical-align: middle; border: 1px solid var(--line) }
";

fn page(network: &Network, report: &Report, layers: &[Vec<Picture>], palette: Palette) -> String {
    let (split, index, dataset) = (report.split.name(), report.index, report.dataset.as_str());
    let title = escaped(&format!("{split} example {index} of {dataset} through {}", network.name));
    let number = report.number.map(|number| figure(f64::from(number)));
    let predictions: Vec<String> = report.predictions.iter().map(|class| class.to_string()).chain(number).collect();
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n\
         <p>Label {}, predicted {}; loss {}. Activations are this example's. Gradients are those of its loss alone, weight \
         decay left out. Each picture has one scale for all its tiles, with zero in the middle; magenta is what is not \
         finite.</p>\n",
        escaped(&report.label.name),
        escaped(&predictions.join(", ")),
        figure(f64::from(report.loss)),
    );
    for (node, pictures) in network.nodes.iter().zip(layers) {
        let Shape { height, width, channels } = node.output;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "<section>\n<h2>{} <span>{}, {height}×{width}×{channels}</span></h2>",
            escaped(&node.name),
            node.layer.kind()
        );
        pictures.iter().for_each(|picture| text += &shown(picture, palette));
        text += "</section>\n";
    }
    text + "</html>\n"
}

/// The figure of a picture.
fn shown(picture: &Picture, palette: Palette) -> String {
    let Picture { plate, image } = picture;
    let what = plate.name.rsplit('.').next().unwrap_or_default().replace('_', " ");
    let (drawn, count) = (plate.kept(), plate.tiles);
    let left_out = if drawn < count { format!("; {drawn} of {count} tiles are shown") } else { String::new() };
    let (min, max) = (figure(f64::from(plate.min)), figure(f64::from(plate.max)));
    let bar = if plate.natural { String::new() } else { bar(plate, palette) };
    let file = escaped(&file_name(picture));
    let [width, height] = [image.width, image.height];
    format!(
        "<figure>\n<img src=\"{file}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" alt=\"{what}: {}, from {min} \
         to {max}\">\n<figcaption>{what}: from {min} to {max}{bar}. A tile is {}{left_out}.</figcaption>\n</figure>\n",
        plate.tile, plate.tile
    )
}

/// The colours with the values at their ends.
fn bar(plate: &Plate, palette: Palette) -> String {
    let reach = figure(f64::from(plate.reach()));
    let stop = |share: f32| {
        let [r, g, b] = palette.color(share);
        format!("rgb({r} {g} {b})")
    };
    let stops = [-1.0, -0.5, 0.0, 0.5, 1.0].map(stop).join(", ");
    format!(" (−{reach} <span class=\"bar\" style=\"background: linear-gradient(to right, {stops})\"></span> {reach})")
}

/// For HTML text and attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
