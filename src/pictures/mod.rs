//! Tensors as pictures: a tile for each map or filter, a colour for each value.
//!
//! A [`Plate`] holds the values; drawn, it becomes an [`Image`]. All tiles of a plate share one scale, so they can be
//! compared; zero is the middle colour.

mod layers;
mod overlay;
mod palette;
mod plate;
mod tiles;

pub use overlay::overlay;
pub use palette::Palette;
pub use plate::Plate;
pub use tiles::{Image, MAX_SIDE};
