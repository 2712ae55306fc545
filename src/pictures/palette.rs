//! Maps values to colours.

/// Colours from the most negative value through zero to the most positive one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// Blue, white, orange: distinguishable with any common colour blindness.
    #[default]
    BlueOrange,
    /// Blue, white, red.
    BlueRed,
    /// Black, grey, white, as on ConvNetJS's page.
    Grey,
}

/// The colour of NaN and infinite values.
const NOT_FINITE: [u8; 3] = [255, 0, 255];

impl Palette {
    pub const ALL: [Palette; 3] = [Palette::BlueOrange, Palette::BlueRed, Palette::Grey];

    /// The name used in options.
    pub fn name(self) -> &'static str {
        match self {
            Palette::BlueOrange => "blue-orange",
            Palette::BlueRed => "blue-red",
            Palette::Grey => "grey",
        }
    }

    /// Words for the colours of values below zero, at zero and above.
    pub fn words(self) -> [&'static str; 3] {
        match self {
            Palette::BlueOrange => ["blue", "white", "orange"],
            Palette::BlueRed => ["blue", "white", "red"],
            Palette::Grey => ["dark", "middle grey", "light"],
        }
    }

    /// Colours at equal distances from -1 through 0 to 1.
    fn stops(self) -> [[u8; 3]; 5] {
        match self {
            Palette::BlueOrange => [[0, 68, 136], [120, 170, 220], [247, 247, 247], [240, 170, 90], [179, 71, 0]],
            Palette::BlueRed => [[5, 48, 120], [125, 170, 215], [247, 247, 247], [240, 150, 120], [150, 10, 30]],
            Palette::Grey => [[0, 0, 0], [64, 64, 64], [128, 128, 128], [191, 191, 191], [255, 255, 255]],
        }
    }

    /// The colour at `share`, from -1 to 1; values beyond get the colour of the nearer end.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_met_and_what_is_no_number_has_a_colour_of_its_own() {
        for palette in Palette::ALL {
            let name = palette.name();
            let [low, _, middle, higher, high] = palette.stops();
            let shares = [-7.0, -1.0, 0.0, 0.5, 1.0, 7.0].map(|share| palette.color(share));
            assert_eq!(shares, [low, low, middle, higher, high, high], "{name}");
            assert_eq!(palette.color(f32::NAN), NOT_FINITE, "{name}");
        }
    }

    /// Compares sRGB luminance, so that a picture printed in grey still distinguishes large from small.
    #[test]
    fn both_ends_are_darker_than_the_middle_but_in_grey() {
        let luminance = |[r, g, b]: [u8; 3]| 0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b);
        for palette in [Palette::BlueOrange, Palette::BlueRed] {
            let [low, lower, middle, higher, high] = palette.stops().map(luminance);
            assert!(low < lower && lower < middle && middle > higher && higher > high);
        }
    }
}
