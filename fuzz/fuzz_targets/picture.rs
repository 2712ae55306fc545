//! PNG and JPEG files: what is decoded is bounded, and fits every shape that a network may take.
#![no_main]

use glassnet::data::picture;
use glassnet_fuzz::{Scratch, accepted};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::default);

fuzz_target!(|input: &[u8]| {
    let path = SCRATCH.file("picture", input);
    let Some(image) = accepted(picture::read(path.as_path()), &path.display().to_string()) else { return };
    assert!((1..=16_384).contains(&image.width()) && (1..=16_384).contains(&image.height()));
    for shape in [[28, 28, 1], [32, 32, 3], [1, 7, 3]] {
        assert_eq!(picture::fit(&image, shape).len(), shape.iter().product::<usize>());
    }
    let (grey, _) = picture::light_on_dark(&image);
    if let Some(digit) = picture::digit(&grey) {
        assert_eq!(digit.len(), picture::DIGIT_SIDE * picture::DIGIT_SIDE);
    }
});
