//! The section on what decides: saliency, Grad-CAM, occlusion.

use super::figure::{Figure, drawn, number, range, scale};
use crate::cli::inspect::report::{Class, Reasons, Report};
use glassnet::inspect::{Explanation, NamedTensor};
use glassnet::pictures::{Image, Palette, Plate, overlay};
use glassnet::report::html::escaped;

/// The introduction: what is explained.
pub(super) fn introduction(report: &Report) -> String {
    match &report.explanation {
        Some(Reasons::Told { logit, grad_cam, .. }) => {
            let logit = number(*logit);
            let missing = match grad_cam {
                Some(_) => "",
                None => " There is no Grad-CAM, because no layer of this network convolves more than one pixel.",
            };
            match judges(report) {
                true => format!("<p>These maps explain {}, whose logit is {logit}.{missing}</p>\n", subject(report)),
                false => format!("<p>These maps explain {}, which is {logit}.{missing}</p>\n", subject(report)),
            }
        }
        Some(Reasons::NotTold { reason }) => format!("<p>Not available: {}.</p>\n", escaped(reason)),
        None => String::new(),
    }
}

/// Whether a class is explained; otherwise a number is.
fn judges(report: &Report) -> bool {
    matches!(report.explanation, Some(Reasons::Told { winner: Some(_), .. }))
}

/// The network's output whose gradient is computed.
fn output(report: &Report) -> &'static str {
    if judges(report) { "logit" } else { "value" }
}

/// The subject of the explanation, in words.
fn subject(report: &Report) -> String {
    match &report.explanation {
        Some(Reasons::Told { winner: Some(class), .. }) => format!("the winning class {}", escaped(&class.to_string())),
        _ => "the number that the network predicts".to_string(),
    }
}

/// The maps, each alone and over the image.
pub(super) fn figures(
    explanation: &Explanation,
    image: &NamedTensor,
    report: &Report,
    palette: Palette,
) -> Vec<Figure> {
    let mut figures = vec![saliency(explanation, report, palette)];
    if let Some(grad_cam) = &explanation.grad_cam {
        let layer = escaped(&grad_cam.layer);
        let source = source("Selvaraju et al. 2017", "1610.02391");
        let plate = Plate::of_map(&grad_cam.map);
        let what = format!(
            "Grad-CAM: where the maps of {layer} support it: the sum of the maps, each weighted by the mean gradient of its \
             {} over that map; 0 where they oppose it{}",
            output(report),
            if plate.max > 0.0 { "" } else { ", which is the case everywhere here" }
        );
        figures.extend(pair("Grad-CAM", &what, &source, &plate, over(image, &grad_cam.enlarged, palette), palette));
    }
    let occlusion = &explanation.occlusion;
    let score = match &report.explanation {
        Some(Reasons::Told { winner: Some(Class { probability: Some(_), .. }), .. }) => "probability",
        Some(Reasons::Told { winner: Some(_), .. }) => "score",
        _ => "value",
    };
    let what = format!(
        "Occlusion: the change of its {score} when a square of {size}×{size} pixels in the image's mean colour hides that part, \
         at steps of {stride} pixels; below zero, {falls} without the part",
        falls = if judges(report) { "the network is less sure" } else { "the number falls" },
        size = occlusion.size,
        stride = occlusion.stride
    );
    let source = source("Zeiler and Fergus 2014", "1311.2901");
    let plate = Plate::of_map(&occlusion.map);
    figures.extend(pair("Occlusion", &what, &source, &plate, over(image, &occlusion.enlarged, palette), palette));
    figures
}

fn saliency(explanation: &Explanation, report: &Report, palette: Palette) -> Figure {
    let plate = Plate::of_map(&explanation.saliency);
    let output = output(report);
    let what = format!("Saliency: the gradient of its {output} with respect to each pixel of the input");
    let source = source("Simonyan, Vedaldi and Zisserman 2014", "1312.6034");
    let (range, scale) = (range(&plate), scale(&plate, palette));
    let tile = if plate.tiles > 1 { format!(" A tile is {}.", plate.tile) } else { String::new() };
    Figure {
        alt: format!("Saliency: {}, {range}", plate.tile),
        caption: format!("{what}; {range}{scale}.{tile} {source}"),
        ..drawn(&plate, palette)
    }
}

/// A map over the image: the name of its file, and the picture.
fn over(image: &NamedTensor, map: &NamedTensor, palette: Palette) -> (String, Image) {
    let name = map.name.replace("enlarged", "over_image");
    (name, overlay(image, map, palette))
}

/// A map alone, then over the image.
fn pair(
    title: &str,
    what: &str,
    source: &str,
    plate: &Plate,
    (name, image): (String, Image),
    palette: Palette,
) -> [Figure; 2] {
    let (range, scale) = (range(plate), scale(plate, palette));
    let map = Figure {
        alt: format!("{title}: the map, {range}"),
        caption: format!("{what}; {range}{scale}. {source}"),
        ..drawn(plate, palette)
    };
    let over = Figure {
        name,
        image,
        alt: format!("{title} over the image, {range}"),
        caption: format!("The same over the image, which is unchanged where the map is zero; {range}{scale}."),
    };
    [map, over]
}

fn source(authors: &str, number: &str) -> String {
    format!("<a href=\"https://arxiv.org/abs/{number}\">{authors}</a>.")
}
