//! From values to colours.

/// Colours from the most negative value over zero to the most positive one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// Blue, white, orange: readers who do not tell red from green, or blue from green, see them apart.
    #[default]
    BlueOrange,
    /// Blue, white, red.
    BlueRed,
    /// Black, grey, white, as ConvNetJS's page has it.
    Grey,
}

/// What is no number, or infinite.
const NOT_FINITE: [u8; 3] = [255, 0, 255];

impl Palette {
    /// Every palette with the name that options use.
    pub const ALL: [(Palette, &str); 3] =
        [(Palette::BlueOrange, "blue-orange"), (Palette::BlueRed, "blue-red"), (Palette::Grey, "grey")];

    /// Equally far from each other, from -1 over 0 to 1.
    fn stops(self) -> [[u8; 3]; 5] {
        match self {
            Palette::BlueOrange => [[0, 68, 136], [120, 170, 220], [247, 247, 247], [240, 170, 90], [179, 71, 0]],
            Palette::BlueRed => [[5, 48, 120], [125, 170, 215], [247, 247, 247], [240, 150, 120], [150, 10, 30]],
            Palette::Grey => [[0, 0, 0], [64, 64, 64], [128, 128, 128], [191, 191, 191], [255, 255, 255]],
        }
    }

    /// The colour at `share`, from -1 to 1; beyond them the ends'.
    pub fn color(self, share: f32) -> [u8; 3] {
        if share.is_nan() {
            return NOT_FINITE;
        }
        let stops = self.stops();
        let place = (share.clamp(-1.0, 1.0) + 1.0) * 2.0;
        let below = (place as usize).min(stops.len() - 2);
        let (low, high, t) = (stops[below], stops[below + 1], place - below as f32);
        std::array::from_fn(|i| (f32::from(low[i]) * (1.0 - t) + f32::from(high[i]) * t).round() as u8)
    }
}

/// How a picture's values become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    palette: Palette,
    /// The smallest finite value.
    pub min: f32,
    /// The largest one.
    pub max: f32,
}

impl Scale {
    /// That of these values: zero in the middle, the largest magnitude at an end.
    pub fn of(palette: Palette, values: &[f32]) -> Scale {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        let (min, max) = if min > max { (0.0, 0.0) } else { (min, max) };
        Scale { palette, min, max }
    }

    /// The largest magnitude.
    pub fn reach(&self) -> f32 {
        self.max.abs().max(self.min.abs())
    }

    /// A value's share of the reach; NaN for what is not finite.
    pub fn share(&self, value: f32) -> f32 {
        match (value.is_finite(), self.reach()) {
            (false, _) => f32::NAN,
            (true, reach) if reach > 0.0 => value / reach,
            _ => 0.0,
        }
    }

    pub fn color(&self, value: f32) -> [u8; 3] {
        self.palette.color(self.share(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_the_middle_and_the_largest_magnitude_an_end() {
        for (palette, name) in Palette::ALL {
            let scale = Scale::of(palette, &[-2.0, 0.5, 1.0]);
            assert_eq!(scale.color(0.0), palette.color(0.0), "{name}");
            assert_eq!(scale.color(-2.0), palette.stops()[0], "{name}");
            assert_eq!(scale.color(1.0), palette.stops()[3], "{name}: half of the reach");
            assert_eq!((scale.min, scale.max, scale.reach()), (-2.0, 1.0, 2.0));
        }
    }

    #[test]
    fn what_is_not_finite_has_a_colour_of_its_own_and_does_not_stretch_the_scale() {
        let scale = Scale::of(Palette::default(), &[f32::NAN, f32::INFINITY, 3.0]);
        assert_eq!((scale.min, scale.max), (3.0, 3.0));
        assert_eq!([scale.color(f32::NAN), scale.color(f32::NEG_INFINITY)], [NOT_FINITE; 2]);
        let empty = Scale::of(Palette::default(), &[f32::NAN]);
        assert_eq!((empty.reach(), empty.color(0.0)), (0.0, Palette::default().color(0.0)));
    }

    /// By the luminance of sRGB, so that a picture printed in grey still tells large from small.
    #[test]
    fn both_ends_are_darker_than_the_middle_but_in_grey() {
        let luminance = |[r, g, b]: [u8; 3]| 0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b);
        for palette in [Palette::BlueOrange, Palette::BlueRed] {
            let [low, lower, middle, higher, high] = palette.stops().map(luminance);
            assert!(low < lower && lower < middle && middle > higher && higher > high);
        }
    }
}
