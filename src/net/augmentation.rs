//! The `[augmentation]` table of a description: how training examples are varied, so that none is seen twice alike.
//! Evaluation never varies anything.

use super::{MAX_DIMENSION, Shape};
use crate::{Error, Result};
use serde::Deserialize;
use std::fmt::{self, Write};

/// Limits of the random field that bends each training example and of the random affine map that it then goes through,
/// around its centre. Every figure is drawn evenly from its range for each example of each step; 0 leaves it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Degrees, either way.
    pub rotation: f64,
    /// Height and width each change by a factor from 1 - scale to 1 + scale.
    pub scale: f64,
    /// Degrees that upright lines are slanted by, either way.
    pub shear: f64,
    /// Pixels, up or down and left or right; fractions count.
    pub shift: f64,
    /// Pixels that each of 7 x 7 control points is moved by, up or down and left or right. They lie a quarter of the image
    /// apart, and cubic B-splines carry their moves to the pixels between.
    pub elastic: f64,
}

impl Augmentation {
    /// The largest `rotation` in degrees: as far as the kernels' sine and cosine are exact.
    pub const MAX_ROTATION: f64 = 90.0;
    /// The largest `shear` in degrees.
    pub const MAX_SHEAR: f64 = 45.0;
    /// The largest `scale`.
    pub const MAX_SCALE: f64 = 0.9;

    /// Whether examples stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Augmentation::default()
    }

    /// Refuses what no example can go through.
    pub(super) fn check(&self, input: Shape) -> Result<()> {
        let size = input.height.min(input.width).min(MAX_DIMENSION) as f64;
        let limits = [
            (Augmentation::MAX_ROTATION, "degrees"),
            (Augmentation::MAX_SCALE, "of the size"),
            (Augmentation::MAX_SHEAR, "degrees"),
            (size, "pixels, the input's shorter side"),
            (size, "pixels, the input's shorter side"),
        ];
        for ((name, value), (limit, unit)) in self.entries().into_iter().zip(limits) {
            if !(0.0..=limit).contains(&value) {
                let rule = format!("from 0 (off) to {limit} {unit}");
                return Err(Error::Network(format!("[augmentation]: {name} is {value}; it must be {rule}")));
            }
        }
        Ok(())
    }

    /// The `[augmentation]` table, or nothing where examples stay as they are.
    pub(super) fn to_toml(self) -> String {
        let mut lines = String::new();
        for (name, value) in self.entries() {
            if value != 0.0 {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{name} = {value:?}");
            }
        }
        if lines.is_empty() { lines } else { format!("\n[augmentation]\n{lines}") }
    }

    fn entries(&self) -> [(&'static str, f64); 5] {
        let Augmentation { rotation, scale, shear, shift, elastic } = *self;
        [("rotation", rotation), ("scale", scale), ("shear", shear), ("shift", shift), ("elastic", elastic)]
    }
}

/// `rotation 10°, scale 0.1`, or `none`.
impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["°", "", "°", " px", " px"];
        let given = self.entries().into_iter().zip(units).filter(|((_, value), _)| *value != 0.0);
        let words: Vec<String> = given.map(|((name, value), unit)| format!("{name} {value}{unit}")).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(augmentation: Augmentation) -> String {
        augmentation.check(Shape::new(24, 20, 1)).expect_err("senseless").to_string()
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        let base = Augmentation::default();
        for (augmentation, expected) in [
            (Augmentation { rotation: 91.0, ..base }, "rotation is 91; it must be from 0 (off) to 90 degrees"),
            (Augmentation { scale: 1.0, ..base }, "scale is 1; it must be from 0 (off) to 0.9 of the size"),
            (Augmentation { shear: -3.0, ..base }, "shear is -3; it must be from 0 (off) to 45 degrees"),
            (Augmentation { shear: f64::NAN, ..base }, "shear is NaN; it must be from 0 (off) to 45 degrees"),
            (Augmentation { shift: 20.5, ..base }, "shift is 20.5; it must be from 0 (off) to 20 pixels"),
            (Augmentation { elastic: -1.0, ..base }, "elastic is -1; it must be from 0 (off) to 20 pixels"),
        ] {
            assert!(message(augmentation).starts_with(&format!("[augmentation]: {expected}")));
        }
    }

    #[test]
    fn limits_themselves_are_legal() {
        let widest = Augmentation { rotation: 90.0, scale: 0.9, shear: 45.0, shift: 20.0, elastic: 20.0 };
        assert!(widest.check(Shape::new(24, 20, 1)).is_ok());
    }

    #[test]
    fn only_what_varies_is_written() {
        assert_eq!(Augmentation::default().to_toml(), "");
        let some = Augmentation { rotation: 10.0, shift: 1.5, ..Augmentation::default() };
        assert_eq!(some.to_toml(), "\n[augmentation]\nrotation = 10.0\nshift = 1.5\n");
        assert_eq!(some.to_string(), "rotation 10°, shift 1.5 px");
        assert_eq!(Augmentation::default().to_string(), "none");
    }
}
