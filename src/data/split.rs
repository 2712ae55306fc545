//! The validation split: one fixed tenth of the training set, which all choices during training rely on. It is the same
//! tenth in every run, whatever its seed, so validation accuracies of two runs can be compared. It is stratified: each
//! class gives a tenth of its examples, at least one if it has two, and keeps at least one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::sampler::permute;
use super::{Dataset, Examples, HeldOut, Origin};
use crate::text;

/// The seed of the split. It is constant; changing it would make older results incomparable.
const SPLIT_SEED: u64 = 0x0761_a550_e75e_ed10;

/// The most classes that a notice names.
const NAMED: usize = 12;

/// Indices into the training set; the two parts together are all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Examples to train on, sorted.
    pub train: Vec<u32>,
    /// Examples to validate on, in an order in which any contiguous part is a sample of all classes.
    pub validation: Vec<u32>,
    /// Classes without a training example.
    pub absent: Vec<usize>,
    /// Classes with training examples but without a validation example: a single example, or fewer than ten if all
    /// classes are so small that a tenth of all examples is fewer than one of each.
    pub unjudged: Vec<usize>,
    /// Classes whose only example is held out. This happens only if no class has two examples and classes stand for
    /// numbers, which a network can learn from neighbouring ones.
    pub untrained: Vec<usize>,
}

/// Holds out a tenth of `examples`, rounded down, but at least one if there are two.
///
/// Each class gives a tenth by the largest-remainder method, at least one if it has two, and never its last one. If a
/// tenth of all examples is fewer than one per class, the largest classes come first. If nearly all classes have a
/// single example, fewer than a tenth are held out, possibly none.
pub fn split(examples: &Examples) -> Split {
    let count = u32::try_from(examples.len());
    assert!(count.is_ok(), "{} examples are more than a 32-bit index can tell apart", examples.len());
    let class = |index: u32| usize::from(examples.labels[index as usize]);
    let mut sizes = vec![0; examples.classes];
    examples.labels.iter().for_each(|label| sizes[usize::from(*label)] += 1);
    let tenth = (examples.len() / 10).max(usize::from(examples.len() > 1));
    let held_out = match held_out(&sizes, tenth) {
        none if none.iter().all(|count| *count == 0) && !examples.numbers.is_empty() => spread(examples, tenth),
        counts => counts,
    };

    let mut order: Vec<u32> = (0..count.unwrap_or(u32::MAX)).collect();
    permute(&mut order, SPLIT_SEED, 0);
    let mut left = held_out.clone();
    let (validation, mut train): (Vec<u32>, Vec<u32>) = order.into_iter().rev().partition(|index| {
        let left = &mut left[class(*index)];
        let holds = *left > 0;
        *left -= usize::from(holds);
        holds
    });
    train.sort_unstable();
    let classes = |holds: fn(usize, usize) -> bool| {
        let pairs = sizes.iter().zip(&held_out).enumerate();
        pairs.filter(|(_, (size, held))| holds(**size, **held)).map(|(class, _)| class).collect()
    };
    Split {
        train,
        validation,
        absent: classes(|size, _| size == 0),
        unjudged: classes(|size, held| size > 0 && held == 0),
        untrained: classes(|size, held| size > 0 && held == size),
    }
}

/// The former split of `examples`, for runs that began with it: a tenth regardless of class, both parts sorted.
fn split_at_random(examples: &Examples) -> Split {
    let mut train: Vec<u32> = (0..examples.len() as u32).collect();
    permute(&mut train, SPLIT_SEED, 0);
    let tenth = (train.len() / 10).max(usize::from(train.len() > 1));
    let mut validation = train.split_off(train.len() - tenth);
    train.sort_unstable();
    validation.sort_unstable();
    Split { train, validation, absent: Vec::new(), unjudged: Vec::new(), untrained: Vec::new() }
}

/// The number of examples of each class to hold out: `tenth` in all, as far as every class keeps one.
fn held_out(sizes: &[usize], tenth: usize) -> Vec<usize> {
    let mut held_out = vec![0; sizes.len()];
    let mut shared: Vec<usize> = (0..sizes.len()).filter(|class| sizes[*class] > 1).collect();
    shared.sort_by_key(|class| Reverse(sizes[*class]));
    shared.iter().take(tenth).for_each(|class| held_out[*class] = 1);
    let mut left = tenth - shared.len().min(tenth);
    // How much a class is below its tenth, in tenths of an example.
    let lack = |class: usize, held: usize| sizes[class] as i64 - 10 * held as i64;
    let mut most: BinaryHeap<_> = shared.iter().map(|class| (lack(*class, 1), Reverse(*class))).collect();
    while left > 0
        && let Some((_, Reverse(class))) = most.pop()
    {
        if held_out[class] + 1 < sizes[class] {
            held_out[class] += 1;
            left -= 1;
            most.push((lack(class, held_out[class]), Reverse(class)));
        }
    }
    held_out
}

/// The number of examples of each class to hold out if each class has one example and stands for a number: `tenth` of
/// them, evenly spaced in the order of the numbers, without the smallest and the largest if there are three.
fn spread(examples: &Examples, tenth: usize) -> Vec<usize> {
    let mut classes: Vec<usize> = examples.labels.iter().map(|label| usize::from(*label)).collect();
    classes.sort_by(|a, b| examples.number(*a).total_cmp(&examples.number(*b)));
    let mut held_out = vec![0; examples.classes];
    (0..tenth).for_each(|i| held_out[classes[(2 * i + 1) * classes.len() / (2 * tenth)]] = 1);
    held_out
}

impl Dataset {
    /// This data set with the former random split, which ignored a validation set of its own.
    pub fn held_out_at_random(mut self) -> Dataset {
        if let Origin::Images { division, validation, .. } = &mut self.origin {
            self.train.labels.truncate(self.train.labels.len() - *validation);
            self.train.pixels.truncate(self.train.labels.len() * self.train.shape.iter().product::<usize>());
            (division.validation, *validation) = (None, 0);
        }
        self.held_out = HeldOut::AtRandom;
        self
    }

    /// The examples that are held out for validation: the data set's own validation set, else a tenth as described by
    /// [`HeldOut`].
    pub fn split(&self) -> Split {
        let (all, own) = (self.train.len() as u32, self.own_validation() as u32);
        match (own, self.held_out) {
            (0, HeldOut::ByClass) => return split(&self.train),
            (0, HeldOut::AtRandom) => return split_at_random(&self.train),
            _ => {}
        }
        let mut validation: Vec<u32> = (all - own..all).collect();
        permute(&mut validation, SPLIT_SEED, 0);
        let train = (0..all - own).collect();
        Split { train, validation, absent: Vec::new(), unjudged: Vec::new(), untrained: Vec::new() }
    }
}

impl Split {
    /// Notices for the user about classes that are too small, one sentence each.
    pub fn notices(&self, dataset: &Dataset) -> Vec<String> {
        let names = dataset.class_names();
        let mut sizes = vec![0usize; dataset.train.classes];
        dataset.train.labels.iter().for_each(|label| sizes[usize::from(*label)] += 1);
        let list = |classes: &[usize], counted: bool| {
            let name = |class: &usize| match (names.get(*class), counted) {
                (Some(name), true) => format!("{name} ({})", sizes[*class]),
                (Some(name), false) => name.clone(),
                (None, _) => format!("class {class}"),
            };
            text::listed(classes.iter().map(name), NAMED)
        };
        let mut notices = Vec::new();
        if !self.absent.is_empty() {
            notices.push(format!(
                "the training set has no example of {}, so the network cannot learn it; add examples",
                list(&self.absent, false)
            ));
        }
        if !self.unjudged.is_empty() {
            notices.push(format!(
                "too few training examples to hold one out for validation: {}; these classes are not validated; \
                 add examples of them",
                list(&self.unjudged, true)
            ));
        }
        if !self.untrained.is_empty() {
            notices.push(format!(
                "no number has two training examples, so these are held out for validation and not trained on: {}",
                list(&self.untrained, false)
            ));
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetName, Division};

    fn examples(labels: Vec<u8>) -> Examples {
        let classes = labels.iter().max().map_or(0, |label| usize::from(*label) + 1);
        Examples { shape: [1, 1, 1], classes, pixels: vec![0; labels.len()], labels, numbers: vec![] }
    }

    /// Examples sorted by class, as a folder of pictures is read.
    fn of(sizes: &[usize]) -> Examples {
        let labels = sizes.iter().enumerate().flat_map(|(class, size)| vec![class as u8; *size]).collect();
        Examples { classes: sizes.len(), ..examples(labels) }
    }

    /// The number of examples of each class that are held out, after checking that none is lost.
    fn held(sizes: &[usize]) -> Vec<usize> {
        let examples = of(sizes);
        let parts = split(&examples);
        let mut all = [&parts.train[..], &parts.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..examples.len() as u32).collect::<Vec<u32>>());
        let mut held = vec![0; sizes.len()];
        parts.validation.iter().for_each(|index| held[usize::from(examples.labels[*index as usize])] += 1);
        let unjudged: Vec<usize> = (0..sizes.len()).filter(|class| sizes[*class] > 0 && held[*class] == 0).collect();
        assert_eq!(parts.unjudged, unjudged);
        held
    }

    #[test]
    fn every_class_gives_its_tenth_and_all_of_them_exactly_a_tenth() {
        // MNIST's training set. By hand: the tenths, rounded down, sum to 5,996; the four largest remainders get one
        // each: 0.9 of class 9, 0.8 of 2 and of 6, 0.5 of 7.
        let mnist = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
        assert_eq!(held(&mnist), [592, 674, 596, 613, 584, 542, 592, 627, 585, 595]);
        assert_eq!(held(&mnist).iter().sum::<usize>(), 6000);
        assert_eq!(held(&[5000; 10]), [500; 10]);
        assert_eq!(held(&[15, 15, 15, 15]), [2, 2, 1, 1]);
    }

    #[test]
    fn a_small_class_beside_a_large_one_is_on_both_sides() {
        assert_eq!(held(&[95, 5]), [9, 1]);
        assert_eq!(held(&[98, 2]), [9, 1]);
        assert_eq!(held(&[9990, 3, 7]), [998, 1, 1]);
    }

    #[test]
    fn a_class_with_one_example_is_trained() {
        assert_eq!(held(&[99, 1]), [10, 0]);
        assert_eq!(held(&[1, 1, 2]), [0, 0, 1]);
        assert_eq!(held(&[1; 30]), [0; 30]);
        // Three tenths of an example are missing, because no other class can give them.
        assert_eq!(held(&[&[2, 2][..], &[1; 36]].concat()), [&[1, 1][..], &[0; 36]].concat());
    }

    #[test]
    fn classes_below_ten_share_the_tenth_and_the_rest_is_named() {
        assert_eq!(held(&[5, 6, 5, 6, 5]), [0, 1, 0, 1, 0]);
        assert_eq!(held(&[9; 3]), [1, 1, 0]);
        assert_eq!((held(&[2]), held(&[1]), held(&[])), (vec![1], vec![0], vec![]));
    }

    #[test]
    fn the_order_of_validation_mixes_the_classes() {
        let examples = of(&[1000, 1000, 1000]);
        for part in split(&examples).validation.chunks(50) {
            let first = part.iter().filter(|index| examples.labels[**index as usize] == 0).count();
            // Expected: 17 with a standard deviation of 3.3; the range is four of them either way.
            assert!((4..30).contains(&first), "{first} of 50");
        }
    }

    #[test]
    fn the_tenth_is_spread_over_the_whole_set() {
        let validation = split(&examples((0..60_000).map(|i| (i % 10) as u8).collect())).validation;
        for tenth in 0..10 {
            let inside = validation.iter().filter(|&&index| index / 6_000 == tenth).count();
            // Expected: 600 with a standard deviation of 22; the range is five of them either way.
            assert!((490..710).contains(&inside), "{inside} in tenth {tenth}");
        }
    }

    #[test]
    fn the_tenth_never_changes() {
        let mut validation = split(&examples((0..60_000).map(|i| (i % 10) as u8).collect())).validation;
        validation.sort_unstable();
        assert_eq!(validation[..5], [3, 14, 24, 33, 46]);
    }

    #[test]
    fn the_former_tenth_is_kept_for_runs_that_began_with_it() {
        let labels = (0..60_000).map(|i| (i % 10) as u8).collect();
        let (train, origin) = (examples(labels), Origin::Synthetic { fallback_reason: None });
        let dataset =
            Dataset { name: DatasetName::Mnist, test: train.clone(), train, origin, held_out: HeldOut::ByClass };
        let by_class = dataset.split();
        let former = dataset.held_out_at_random().split();
        assert_eq!((former.train.len(), &former.validation[..5]), (54_000, &[3, 14, 24, 33, 46][..]));
        assert!(former.validation.is_sorted() && former.train != by_class.train);
    }

    #[test]
    fn numbers_with_one_example_each_are_held_out_between_their_neighbours() {
        let mut examples = of(&[1; 20]);
        assert!(split(&examples).validation.is_empty());
        // Numbers decrease as classes increase.
        examples.numbers = (0..20).map(|class| -(class as f32)).collect();
        assert_eq!(split(&examples).untrained, [4, 14]);
        let two = Examples { numbers: vec![0.5, 2.0], ..of(&[1, 1]) };
        assert_eq!((split(&two).train, split(&two).validation), (vec![0], vec![1]));
    }

    #[test]
    fn small_classes_are_named() {
        let train = Examples { classes: 4, ..of(&[20, 1, 1]) };
        let classes = ["ant", "bee", "cat", "dog"].map(String::from).to_vec();
        let origin = Origin::Images { folder: "f".into(), division: Division::default(), classes, validation: 0 };
        let dataset =
            Dataset { name: DatasetName::Images, test: train.clone(), train, origin, held_out: HeldOut::ByClass };
        let notices = split(&dataset.train).notices(&dataset);
        assert!(notices[0].contains("no example of dog,"), "{notices:?}");
        assert!(notices[1].contains("for validation: bee (1), cat (1);"), "{notices:?}");
        let whole = Dataset { train: of(&[20, 20, 20, 20]), ..dataset };
        assert!(split(&whole.train).notices(&whole).is_empty());
    }
}
