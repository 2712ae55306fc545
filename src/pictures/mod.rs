//! Tensors as pictures: a tile for each map or filter, a colour for each value.
//!
//! A [`Plate`] holds the values; drawn, it is an [`Image`]. One scale serves all tiles of a plate, so that they compare;
//! zero is in the middle of the colours.

mod layers;
mod overlay;
mod palette;
mod plate;
mod tiles;

pub use overlay::overlay;
pub use palette::Palette;
pub use plate::Plate;
pub use tiles::{Image, MAX_SIDE};
