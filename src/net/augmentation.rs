//! The `[augmentation]` table of a description: how training examples are varied, so that the network never sees the
//! same example twice. Evaluation never varies anything.

use super::Shape;
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::fmt::{self, Write};

/// How each training example is varied. A random field bends it, a random affine map moves it around its centre, a
/// mirror flips it where its class allows that, and a rectangle is erased. Every figure is drawn uniformly from its
/// range for each example of each step; 0 turns that variation off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Rotation in degrees, in either direction.
    pub rotation: f64,
    /// Height and width each change by a factor from 1 - scale to 1 + scale.
    pub scale: f64,
    /// Slant of upright lines in degrees, in either direction.
    pub shear: f64,
    /// Shift in pixels, up or down and left or right; fractions are allowed.
    pub shift: f64,
    /// Displacement in pixels of each of 7 x 7 control points, up or down and left or right. The control points are a
    /// quarter of the padded image apart; cubic B-splines interpolate between them.
    pub elastic: f64,
    /// Black pixels added around the image; the input is then cropped from a random place.
    pub pad: usize,
    /// Classes whose examples are mirrored left to right, half of the time.
    pub flip: Flip,
    /// Share of examples that lose a rectangle.
    pub erase: f64,
}

/// A set of classes: `true` for all of them, `false` for none, or a list such as `[0, 1, 8]`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flip([u32; 8]);

impl Flip {
    /// Every class.
    pub const ALL: Flip = Flip([u32::MAX; 8]);

    /// The set of the given classes. Labels are bytes, so no class is above 255.
    pub fn of(classes: impl IntoIterator<Item = u8>) -> Flip {
        let mut mask = [0; 8];
        classes.into_iter().for_each(|class| mask[usize::from(class) / 32] |= 1 << (class % 32));
        Flip(mask)
    }

    /// One bit per class.
    pub fn mask(&self) -> [u32; 8] {
        self.0
    }

    /// Whether examples of every class below `classes` may be mirrored.
    pub fn has_all(&self, classes: usize) -> bool {
        *self == Flip::ALL || classes <= 256 && self.classes().filter(|class| *class < classes).count() == classes
    }

    fn classes(&self) -> impl Iterator<Item = usize> {
        let mask = self.0;
        (0..256).filter(move |class| mask[class / 32] >> (class % 32) & 1 == 1)
    }
}

/// `true`, `false` or `[0, 1, 8]`, as in a description.
impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Flip::ALL => f.write_str("true"),
            none if none == Flip::default() => f.write_str("false"),
            some => f.debug_list().entries(some.classes()).finish(),
        }
    }
}

impl fmt::Debug for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flip({self})")
    }
}

impl<'de> Deserialize<'de> for Flip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Flip, D::Error> {
        struct FlipVisitor;

        impl<'de> Visitor<'de> for FlipVisitor {
            type Value = Flip;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true for every class, false for none, or a list of class numbers from 0 to 255")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> std::result::Result<Flip, E> {
                Ok(if all { Flip::ALL } else { Flip::default() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Flip, A::Error> {
                let mut classes = Vec::new();
                while let Some(class) = list.next_element::<i64>()? {
                    let unfit = |_| de::Error::invalid_value(de::Unexpected::Signed(class), &self);
                    classes.push(u8::try_from(class).map_err(unfit)?);
                }
                Ok(Flip::of(classes))
            }
        }
        deserializer.deserialize_any(FlipVisitor)
    }
}

impl Augmentation {
    /// The largest `rotation` in degrees; the kernels' sine and cosine are exact up to here.
    pub const MAX_ROTATION: f64 = 90.0;
    /// The largest `shear` in degrees.
    pub const MAX_SHEAR: f64 = 45.0;
    /// The largest `scale`.
    pub const MAX_SCALE: f64 = 0.9;
    /// The largest input, in pixels, that `erase` accepts: the kernels' integers have 32 bits.
    pub const MAX_ERASED: usize = 1 << 25;

    /// Whether examples are left unchanged.
    pub fn is_none(&self) -> bool {
        *self == Augmentation::default()
    }

    /// Refuses figures that a network with this input and this number of classes cannot use.
    pub(super) fn check(&self, input: Shape, classes: usize) -> Result<()> {
        let refuse = |what: String| Err(Error::Network(format!("[augmentation]: {what}")));
        let size = input.height.min(input.width);
        let pixels = (size as f64, "pixels, the input's shorter side");
        let limits = [
            (Augmentation::MAX_ROTATION, "degrees"),
            (Augmentation::MAX_SCALE, "of the size"),
            (Augmentation::MAX_SHEAR, "degrees"),
            pixels,
            pixels,
            // With more padding, most crops would show more of the padding than of the image.
            ((size / 2) as f64, "pixels, half the input's shorter side"),
            (1.0, "of the examples"),
        ];
        for ((name, value), (limit, unit)) in self.entries().into_iter().zip(limits) {
            if !(0.0..=limit).contains(&value) {
                return refuse(format!("{name} is {value}; it must be from 0 (off) to {limit} {unit}"));
            }
        }
        if let Some(class) = self.flip.classes().find(|class| *class >= classes && self.flip != Flip::ALL) {
            return refuse(format!(
                "flip names class {class}, but this network has {classes} classes, 0 to {}",
                classes - 1
            ));
        }
        if self.erase > 0.0 && input.height * input.width > Augmentation::MAX_ERASED {
            let most = Augmentation::MAX_ERASED;
            return refuse(format!("erase needs an input of at most {most} pixels, got {input}; leave erase out"));
        }
        Ok(())
    }

    /// The `[augmentation]` table, or an empty string if examples are left unchanged.
    pub(super) fn to_toml(self) -> String {
        let mut lines = String::new();
        for (name, value) in self.entries() {
            // Writing to a String cannot fail.
            let _ = match name {
                _ if value == 0.0 => Ok(()),
                "pad" => writeln!(lines, "pad = {}", self.pad),
                _ => writeln!(lines, "{name} = {value:?}"),
            };
        }
        if self.flip != Flip::default() {
            let _ = writeln!(lines, "flip = {}", self.flip);
        }
        if lines.is_empty() { lines } else { format!("\n[augmentation]\n{lines}") }
    }

    /// All figures with their keys.
    fn entries(&self) -> [(&'static str, f64); 7] {
        let Augmentation { rotation, scale, shear, shift, elastic, pad, erase, flip: _ } = *self;
        [
            ("rotation", rotation),
            ("scale", scale),
            ("shear", shear),
            ("shift", shift),
            ("elastic", elastic),
            ("pad", pad as f64),
            ("erase", erase),
        ]
    }
}

/// `rotation 10°, scale 0.1`, or `none`.
impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["°", "", "°", " px", " px", " px", ""];
        let given = self.entries().into_iter().zip(units).filter(|((_, value), _)| *value != 0.0);
        let mut words: Vec<String> = given.map(|((name, value), unit)| format!("{name} {value}{unit}")).collect();
        match self.flip {
            Flip::ALL => words.push("flip".into()),
            some if some != Flip::default() => words.push(format!("flip of classes {some}")),
            _ => {}
        }
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(augmentation: Augmentation) -> String {
        augmentation.check(Shape::new(24, 20, 1), 10).expect_err("senseless").to_string()
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
            (Augmentation { pad: 11, ..base }, "pad is 11; it must be from 0 (off) to 10 pixels, half the input's"),
            (Augmentation { erase: 1.5, ..base }, "erase is 1.5; it must be from 0 (off) to 1 of the examples"),
            (Augmentation { flip: Flip::of([3, 10]), ..base }, "flip names class 10, but this network has 10 classes"),
        ] {
            assert!(message(augmentation).starts_with(&format!("[augmentation]: {expected}")));
        }
    }

    #[test]
    fn limits_themselves_are_legal() {
        let (rotation, scale, shear, shift, elastic) = (90.0, 0.9, 45.0, 20.0, 20.0);
        let (pad, flip, erase) = (10, Flip::of([0, 9]), 1.0);
        let widest = Augmentation { rotation, scale, shear, shift, elastic, pad, flip, erase };
        assert!(widest.check(Shape::new(24, 20, 1), 10).is_ok());
        let every = Augmentation { flip: Flip::ALL, ..widest };
        assert!(every.check(Shape::new(24, 20, 1), 2).is_ok());
    }

    #[test]
    fn erasing_out_of_an_image_that_is_too_large_is_refused() {
        let input = Shape::new(1 << 13, 1 << 13, 1);
        let message = Augmentation { erase: 0.5, ..Augmentation::default() }.check(input, 2).expect_err("too large");
        assert!(message.to_string().contains("at most 33554432 pixels"), "{message}");
        assert!(Augmentation { pad: 4, ..Augmentation::default() }.check(input, 2).is_ok());
    }

    #[test]
    fn only_what_varies_is_written() {
        assert_eq!(Augmentation::default().to_toml(), "");
        let some = Augmentation { rotation: 10.0, shift: 1.5, ..Augmentation::default() };
        assert_eq!(some.to_toml(), "\n[augmentation]\nrotation = 10.0\nshift = 1.5\n");
        assert_eq!(some.to_string(), "rotation 10°, shift 1.5 px");
        assert_eq!(Augmentation::default().to_string(), "none");
        let new = Augmentation { pad: 4, erase: 0.5, flip: Flip::of([8, 0, 1]), ..Augmentation::default() };
        assert_eq!(new.to_toml(), "\n[augmentation]\npad = 4\nerase = 0.5\nflip = [0, 1, 8]\n");
        assert_eq!(new.to_string(), "pad 4 px, erase 0.5, flip of classes [0, 1, 8]");
        assert_eq!(Augmentation { flip: Flip::ALL, ..Augmentation::default() }.to_string(), "flip");
    }

    #[test]
    fn a_set_has_every_class_or_some() {
        assert!(Flip::ALL.has_all(256) && Flip::ALL.has_all(1000));
        assert!(Flip::of(0..10).has_all(10) && !Flip::of(0..10).has_all(11) && !Flip::of(1..10).has_all(10));
        assert!(!Flip::default().has_all(2));
    }
}
