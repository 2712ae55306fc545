//! The crops that an evaluation averages over, always in the same order.
//!
//! The centre comes first, then the corners of the range of random crops (upper left, upper right, lower left, lower
//! right), then positions spread evenly over the range by Halton's sequence. If every class may be flipped, each
//! position is followed by its mirror image; ten crops are then those of Krizhevsky, Sutskever and Hinton (2012).

use crate::error::{Error, Result};
use crate::kernels::batch::Place;
use crate::net::{Flip, Network, Recipe};

/// The first `count` crops of images of this height and width; `None` stands for the centre without mirroring.
///
/// # Errors
/// [`Error::Setting`] if `count` is 0, more than [`MAX_CROPS`](crate::net::MAX_CROPS), or more than the number of
/// different crops.
pub fn crops(network: &Network, image: [usize; 2], count: usize) -> Result<Vec<Option<Place>>> {
    check_crops(count)?;
    let name = &network.name;
    let refuse = |rule: String| Err(Error::Setting { name: "test_crops", value: count.to_string(), rule });
    if count == 1 {
        return Ok(vec![None]);
    }
    let (input, pad) = (network.input_shape(), network.augmentation.pad);
    let [y, x] = [image[0].saturating_sub(input.height), image[1].saturating_sub(input.width)].map(|s| s + 2 * pad);
    let flip = network.augmentation.flip;
    // If classes stand for numbers, only the data knows how many classes there are.
    let flips = if network.learns_numbers() { flip == Flip::ALL } else { flip.has_all(network.classes()) };
    let different = (y + 1).saturating_mul(x + 1).saturating_mul(1 + usize::from(flips));
    if different == 1 {
        return refuse(format!(
            "1 for network {name} (it uses these images whole, its [augmentation] has no pad, and not every class may be \
             flipped)"
        ));
    }
    if count > different {
        return refuse(format!(
            "at most {different} for network {name}, which has no more different crops of these images"
        ));
    }
    if y.max(x) > usize::from(Place::MOST) {
        return refuse(format!("1 for images more than {} pixels larger than the network's input", Place::MOST));
    }
    let spots = spots([y, x], count.div_ceil(1 + usize::from(flips)));
    let place = |[row, column]: [usize; 2], mirrored| Some(Place { row: row as u16, column: column as u16, mirrored });
    let sides = if flips { &[false, true][..] } else { &[false] };
    Ok(spots.into_iter().flat_map(|spot| sides.iter().map(move |side| place(spot, *side))).take(count).collect())
}

/// Checks a number of crops against the range that any network allows.
///
/// # Errors
/// [`Error::Setting`] with the range.
pub fn check_crops(count: usize) -> Result<()> {
    Recipe { test_crops: Some(count), ..Recipe::default() }.check()
}

/// `count` different corners within `spare`, which must have that many.
fn spots(spare: [usize; 2], count: usize) -> Vec<[usize; 2]> {
    let [y, x] = spare;
    let first = [[y / 2, x / 2], [0, 0], [0, x], [y, 0], [y, x]];
    let spread = (1..).map(|i| [halton(i, 2, y + 1), halton(i, 3, x + 1)]);
    let mut spots = Vec::with_capacity(count);
    for spot in first.into_iter().chain(spread) {
        if spots.len() == count {
            break;
        }
        if !spots.contains(&spot) {
            spots.push(spot);
        }
    }
    spots
}

/// The digits of `i` in this base, mirrored at the radix point, times `range`, rounded down. Two coprime bases
/// eventually reach every pair.
fn halton(i: u64, base: u64, range: usize) -> usize {
    let (mut rest, mut digits, mut scale) = (i, 0, 1);
    while rest > 0 {
        digits = digits * base + rest % base;
        scale *= base;
        rest /= base;
    }
    (u128::from(digits) * range as u128 / u128::from(scale)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Flip;

    fn network(pad: usize, flip: Flip) -> Network {
        let text = "layers = [{ type = \"input\", height = 24, width = 24, channels = 1, crop = true }, \
                    { type = \"fc\", outputs = 4 }, { type = \"softmax\" }]";
        let mut network = Network::from_toml(text, "small").expect("valid");
        (network.augmentation.pad, network.augmentation.flip) = (pad, flip);
        network
    }

    fn places(network: &Network, image: [usize; 2], count: usize) -> Vec<(u16, u16, bool)> {
        let crops = crops(network, image, count).expect("as many");
        crops.into_iter().map(|place| place.map_or((99, 99, false), |p| (p.row, p.column, p.mirrored))).collect()
    }

    #[test]
    fn the_centre_is_first_then_the_corners_then_the_rest() {
        let network = network(0, Flip::default());
        assert_eq!(places(&network, [28, 30], 1), [(99, 99, false)]);
        let corners = [(2, 3, false), (0, 0, false), (0, 6, false), (4, 0, false), (4, 6, false)];
        assert_eq!(places(&network, [28, 30], 5), corners);
        // 1/2 and 1/3, 1/4 and 2/3, 3/4 and 1/9 of the ranges 5 and 7.
        assert_eq!(places(&network, [28, 30], 8)[5..], [(2, 2, false), (1, 4, false), (3, 0, false)]);
    }

    #[test]
    fn every_crop_comes_once_where_all_are_asked_for() {
        for (pad, image) in [(0, [28, 28]), (0, [24, 33]), (2, [24, 24]), (1, [25, 27])] {
            let network = network(pad, Flip::default());
            let count = (image[0] - 24 + 2 * pad + 1) * (image[1] - 24 + 2 * pad + 1);
            let mut all = places(&network, image, count);
            all.sort();
            all.dedup();
            assert_eq!(all.len(), count, "{image:?}");
            let message = crops(&network, image, count + 1).expect_err("one too many").to_string();
            assert!(message.contains(&format!("must be at most {count} for network small")), "{message}");
        }
    }

    #[test]
    fn padding_widens_the_range_and_flips_double_it() {
        let network = network(4, Flip::ALL);
        let ten = places(&network, [24, 24], 10);
        assert_eq!(ten[..4], [(4, 4, false), (4, 4, true), (0, 0, false), (0, 0, true)]);
        assert_eq!(ten[8..], [(8, 8, false), (8, 8, true)]);
        assert_eq!(places(&network, [24, 24], 3).len(), 3);
    }

    #[test]
    fn flips_alone_make_two_and_only_where_every_class_has_them() {
        assert_eq!(places(&network(0, Flip::ALL), [24, 24], 2), [(0, 0, false), (0, 0, true)]);
        assert_eq!(places(&network(0, Flip::of(0..4)), [24, 24], 2).len(), 2);
        let message = crops(&network(0, Flip::of(0..3)), [24, 24], 2).expect_err("one only").to_string();
        assert!(message.contains("must be 1 for network small"), "{message}");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let network = network(4, Flip::ALL);
        for count in [0, 101, usize::MAX] {
            let message = crops(&network, [28, 28], count).expect_err("out of range").to_string();
            assert!(message.contains("test crops must be a whole number from 1 to 100"), "{message}");
        }
        assert_eq!(crops(&network, [28, 28], 100).expect("that many").len(), 100);
        assert!(crops(&network, [28, 40_000], 2).is_err());
        assert!(crops(&network, [28, usize::MAX / 4], 2).is_err());
    }
}
