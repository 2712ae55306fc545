//! Turns a pen's path into a picture: `[x, y]` points with a pen radius become 28 x 28 grey values as in MNIST, scaled
//! into a 20 x 20 box with the aspect ratio kept, antialiased, and placed by their centre of mass on a black ground.

/// Height and width of a picture.
pub const SIDE: usize = 28;
/// Height and width of the box that the drawing fits into.
const BOX: usize = 20;

/// A point of the pen's path; `radius` is in pixels of the picture, `x` and `y` in any unit.
#[derive(Clone, Copy)]
pub struct Dab {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
}

/// Draws the strokes, each a list of dabs joined by straight capsules, with values from 0 to 1. `softness` is the width
/// in pixels of the edge's ramp from black to white.
pub fn draw(strokes: &mut [Vec<Dab>], softness: f32) -> [f32; SIDE * SIDE] {
    fit(strokes);
    let mut canvas = [0.0; BOX * BOX];
    for stroke in strokes.iter() {
        for pair in stroke.windows(2) {
            capsule(&mut canvas, pair[0], pair[1], softness);
        }
    }
    centre(&canvas)
}

/// Scales and shifts the strokes so that the ink's bounding box is centred in the 20 x 20 box and touches it.
fn fit(strokes: &mut [Vec<Dab>]) {
    let dabs = || strokes.iter().flatten();
    let margin = dabs().map(|d| d.radius).fold(0.0, f32::max);
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for d in dabs() {
        low = [low[0].min(d.x), low[1].min(d.y)];
        high = [high[0].max(d.x), high[1].max(d.y)];
    }
    let extent = (high[0] - low[0]).max(high[1] - low[1]).max(1e-3);
    let scale = (BOX as f32 - 2.0 * margin) / extent;
    let offset = |i: usize| BOX as f32 / 2.0 - (low[i] + high[i]) / 2.0 * scale;
    let (dx, dy) = (offset(0), offset(1));
    for d in strokes.iter_mut().flatten() {
        d.x = d.x * scale + dx;
        d.y = d.y * scale + dy;
    }
}

/// Inks the pixels within the pen's radius of the segment from `a` to `b`; the stronger ink remains.
fn capsule(canvas: &mut [f32; BOX * BOX], a: Dab, b: Dab, softness: f32) {
    let reach = a.radius.max(b.radius) + softness;
    let range = |p: f32, q: f32| {
        let first = (p.min(q) - reach - 0.5).max(0.0) as usize;
        let last = (p.max(q) + reach + 0.5).clamp(0.0, BOX as f32) as usize;
        first..last
    };
    let (ux, uy) = (b.x - a.x, b.y - a.y);
    let inverse = 1.0 / (ux * ux + uy * uy).max(1e-9);
    for row in range(a.y, b.y) {
        for column in range(a.x, b.x) {
            let (px, py) = (column as f32 + 0.5 - a.x, row as f32 + 0.5 - a.y);
            let t = ((px * ux + py * uy) * inverse).clamp(0.0, 1.0);
            let (dx, dy) = (px - t * ux, py - t * uy);
            let radius = a.radius + t * (b.radius - a.radius);
            let value = (0.5 + (radius - (dx * dx + dy * dy).sqrt()) / softness).clamp(0.0, 1.0);
            let pixel = &mut canvas[row * BOX + column];
            *pixel = pixel.max(value);
        }
    }
}

/// Copies the box into the picture so that its centre of mass is in the middle, to the nearest whole pixel.
fn centre(canvas: &[f32; BOX * BOX]) -> [f32; SIDE * SIDE] {
    let (mut mass, mut mx, mut my) = (1e-6, 0.0, 0.0);
    for (i, &v) in canvas.iter().enumerate() {
        mass += v;
        mx += v * ((i % BOX) as f32 + 0.5);
        my += v * ((i / BOX) as f32 + 0.5);
    }
    let room = (SIDE - BOX) as f32;
    let start = |moment: f32| (SIDE as f32 / 2.0 - moment / mass).round().clamp(0.0, room) as usize;
    let (left, top) = (start(mx), start(my));
    let mut picture = [0.0; SIDE * SIDE];
    for (row, line) in canvas.chunks(BOX).enumerate() {
        let from = (top + row) * SIDE + left;
        picture[from..from + BOX].copy_from_slice(line);
    }
    picture
}
