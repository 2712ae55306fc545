//! A picture of a tensor or a map with its texts, and the phrases that these texts share.

use crate::cli::inspect::report::Gradients;
use glassnet::pictures::{Image, Palette, Plate};
use glassnet::report::html;
pub(super) use glassnet::report::html::number;

/// A picture with its texts.
pub(super) struct Figure {
    /// The name of its file, without the extension.
    pub name: String,
    pub image: Image,
    /// The text for screen readers.
    pub alt: String,
    /// The caption in HTML.
    pub caption: String,
}

impl Figure {
    pub fn file(&self) -> String {
        format!("{}.png", self.name)
    }
}

/// The figure of a layer's tensor.
pub(super) fn of_tensor(plate: &Plate, gradients: Gradients, palette: Palette) -> Figure {
    let mut what = plate.name.rsplit('.').next().unwrap_or_default().replace('_', " ");
    if what.ends_with("gradient") {
        what += &match (gradients, what.starts_with("activation")) {
            (Gradients::Batch { .. }, true) => format!(" of this example within the mean loss {gradients}"),
            _ => format!(" {gradients}"),
        };
    }
    let (kept, tiles) = (plate.kept(), plate.tiles);
    let left_out = if kept < tiles { format!("; {kept} of {tiles} tiles are shown") } else { String::new() };
    Figure {
        alt: format!("{what}: {}, {}", plate.tile, range(plate)),
        caption: format!("{what}: {}{}. A tile is {}{left_out}.", range(plate), scale(plate, palette), plate.tile),
        ..drawn(plate, palette)
    }
}

/// A plate drawn without texts.
pub(super) fn drawn(plate: &Plate, palette: Palette) -> Figure {
    let (alt, caption) = Default::default();
    Figure { name: plate.name.clone(), image: plate.draw(palette), alt, caption }
}

/// A plate's range, such as `from −1.25 to 3.5`.
pub(super) fn range(plate: &Plate) -> String {
    format!("from {} to {}", number(plate.min), number(plate.max))
}

/// The colour scale with the values at its ends.
pub(super) fn scale(plate: &Plate, palette: Palette) -> String {
    html::scale(plate, plate.reach(), palette)
}
