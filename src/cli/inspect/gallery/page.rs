//! `index.html`: what decides, then every layer.

use super::decides;
use super::figure::{Figure, number};
use crate::cli::inspect::report::{Class, Gradients, Report};
use glassnet::net::{Network, Shape};
use glassnet::pictures::Palette;
use glassnet::report::html::{STYLE, escaped};

const OWN_STYLE: &str = "
body { max-width: 70rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 0 } h2 span { font-weight: normal; color: var(--soft) }
section { border-top: 1px solid var(--line); padding: 1rem 0 }
figure { margin: .8rem 0 0 } figure div { overflow-x: auto; line-height: 0 } figcaption { margin-top: .3rem; color: var(--soft); font-size: .9rem }
img { max-width: none }
";

/// The whole page.
pub(super) fn page(
    network: &Network,
    report: &Report,
    reasons: &[Figure],
    layers: &[Vec<Figure>],
    palette: Palette,
) -> String {
    let (split, index, dataset) = (report.split.name(), report.index, report.dataset.as_str());
    let title = escaped(&format!("{split} example {index} of {dataset} through {}", network.name));
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n<h1>{title}</h1>\n\
         {}<section>\n<h2>What decides</h2>\n{}",
        introduction(report, palette),
        decides::introduction(report),
    );
    reasons.iter().for_each(|figure| text += &shown(figure));
    text += "</section>\n";
    for (node, figures) in network.nodes.iter().zip(layers) {
        let Shape { height, width, channels } = node.output;
        let (name, kind) = (escaped(&node.name), node.layer.kind());
        text += &format!("<section>\n<h2>{name} <span>{kind}, {height}×{width}×{channels}</span></h2>\n");
        figures.iter().for_each(|figure| text += &shown(figure));
        text += "</section>\n";
    }
    text + "</html>\n"
}

/// The model, the prediction, and what all pictures have in common.
fn introduction(report: &Report, palette: Palette) -> String {
    let value = report.number.map(number);
    let predictions: Vec<String> = report.predictions.iter().map(Class::to_string).chain(value).collect();
    let gradients = match report.gradients {
        Gradients::Example { .. } => "Gradients are those of its loss alone".to_string(),
        Gradients::Batch { loss, .. } => format!(
            "Gradients are those of the mean loss {}, which is {}; each example contributes its share to that loss",
            report.gradients,
            number(loss)
        ),
    };
    format!(
        "<p>Label {}, predicted {}; loss {}. Activations are this example's. {gradients}; they exclude weight decay.</p>\n\
         <p>All tiles of a picture share one scale. Colours of the {} palette: {} is below zero, {} zero, {} above; magenta \
         marks values that are not finite.</p>\n",
        escaped(&report.label.name),
        escaped(&predictions.join(", ")),
        number(report.loss),
        palette.name(),
        palette.words()[0],
        palette.words()[1],
        palette.words()[2],
    )
}

fn shown(figure: &Figure) -> String {
    let (file, alt, caption) = (escaped(&figure.file()), escaped(&figure.alt), &figure.caption);
    let [width, height] = [figure.image.width, figure.image.height];
    format!(
        "<figure>\n<div><img src=\"{file}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" alt=\"{alt}\"></div>\n\
         <figcaption>{caption}</figcaption>\n</figure>\n"
    )
}
