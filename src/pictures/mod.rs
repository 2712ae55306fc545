//! Tensors as pictures: a colour for each value, a tile for each map or filter.
//!
//! One scale serves all tiles of a picture, so that they compare; zero is in the middle of the colours.

mod layers;
mod palette;
mod tiles;

pub use layers::{Picture, of_layer};
pub use palette::{Palette, Scale};
pub use tiles::{Image, MAX_SIDE};
