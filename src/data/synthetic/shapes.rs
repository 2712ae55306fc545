//! Synthetic coloured pictures (32 x 32 x 3, 10 classes): one shape, its class, on a ground of another colour.
//! Position, size, tilt, both colours, a gradient of the ground's brightness and noise are drawn for each picture.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::{hash, normal};

/// Height and width of a picture.
pub const SIDE: usize = 32;

/// Classes in the order of their labels.
pub const NAMES: [&str; 10] =
    ["disc", "ring", "square", "diamond", "triangle", "cross", "star", "bar", "pillar", "crescent"];

/// The least difference of the two colours, summed over the three channels, that makes every shape visible.
const CONTRAST: i32 = 180;

/// The signed distance of a point from a shape's outline, negative inside, in units of the shape's radius; y points
/// down. Only its sign and its slope at the outline matter.
fn distance(shape: u8, x: f32, y: f32) -> f32 {
    let (radius, ax, ay) = (x.hypot(y), x.abs(), y.abs());
    match shape {
        0 => radius - 0.95,
        1 => (radius - 0.75).abs() - 0.22,
        2 => ax.max(ay) - 0.8,
        3 => (ax + ay - 1.1) * std::f32::consts::FRAC_1_SQRT_2,
        // Corners at (0, -1) and (±0.9, 0.6).
        4 => (y - 0.6).max(0.872 * ax - 0.490 * (y + 1.0)),
        5 => (ax.min(ay) - 0.26).max(ax.max(ay) - 0.95),
        6 => radius - 0.62 + 0.38 * (5.0 * y.atan2(x) + std::f32::consts::FRAC_PI_2).sin(),
        7 => (ax - 1.0).max(ay - 0.33),
        8 => (ax - 0.33).max(ay - 1.0),
        _ => (radius - 0.95).max(0.8 - (x - 0.5).hypot(y)),
    }
}

/// Draws one picture of class `label` into `32*32*3` bytes.
pub fn draw(label: u8, rng: &mut ChaCha8Rng, picture: &mut [u8]) {
    let side = SIDE as f32;
    let radius = rng.random_range(6.0f32..13.0);
    let mut centre = || rng.random_range(radius + 1.0..side - radius - 1.0);
    let (centre_x, centre_y) = (centre(), centre());
    let (sin, cos) = (0.12 * normal(rng)).sin_cos();
    let ground: [u8; 3] = rng.random();
    let ink = loop {
        let ink: [u8; 3] = rng.random();
        let apart: i32 = (0..3).map(|c| (i32::from(ink[c]) - i32::from(ground[c])).abs()).sum();
        if apart >= CONTRAST {
            break ink;
        }
    };
    let (slope_x, slope_y) = (normal(rng), normal(rng));
    let grain = rng.random_range(0.0f32..12.0);
    let phase = rng.random_range(0..1u32 << 16);
    for (index, pixel) in picture.chunks_exact_mut(3).enumerate() {
        let (x, y) = ((index % SIDE) as f32 + 0.5, (index / SIDE) as f32 + 0.5);
        let (dx, dy) = ((x - centre_x) / radius, (y - centre_y) / radius);
        let outside = distance(label, cos * dx + sin * dy, cos * dy - sin * dx) * radius;
        let cover = (0.5 - outside).clamp(0.0, 1.0);
        let light = slope_x * (x - side / 2.0) + slope_y * (y - side / 2.0);
        for (channel, value) in pixel.iter_mut().enumerate() {
            let (ground, ink) = (f32::from(ground[channel]) + light, f32::from(ink[channel]));
            let noise = grain * hash(phase.wrapping_add((3 * index + channel) as u32));
            // `as` saturates at 0 and 255.
            *value = (ground + cover * (ink - ground) + noise) as u8;
        }
    }
}
