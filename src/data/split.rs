//! The validation split: one fixed tenth of the training set, on which every choice made while training rests.
//! It is the same tenth in every run, whatever its seed, so that the validation accuracies of two runs compare.

use super::sampler::permute;

/// Seed of the split; constant, and changing it makes figures from before incomparable.
const SPLIT_SEED: u64 = 0x0761_a550_e75e_ed10;

/// Indices into the training set, each list sorted; together they are all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Examples to learn from.
    pub train: Vec<u32>,
    /// Examples to judge by while training.
    pub validation: Vec<u32>,
}

/// Holds a tenth of `examples` out: rounded down, but at least one as soon as there are two.
pub fn split(examples: usize) -> Split {
    let count = u32::try_from(examples);
    assert!(count.is_ok(), "{examples} examples are more than a 32-bit index can tell apart");
    let mut train: Vec<u32> = (0..count.unwrap_or(u32::MAX)).collect();
    permute(&mut train, SPLIT_SEED, 0);
    let held_out = (examples / 10).max(usize::from(examples > 1));
    let mut validation = train.split_off(examples - held_out);
    train.sort_unstable();
    validation.sort_unstable();
    Split { train, validation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_held_out_and_nothing_is_lost() {
        let split = split(60_000);
        assert_eq!((split.train.len(), split.validation.len()), (54_000, 6_000));
        let mut all = [split.train, split.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..60_000).collect::<Vec<u32>>());
    }

    #[test]
    fn the_tenth_is_spread_over_the_whole_set() {
        let validation = split(60_000).validation;
        for tenth in 0..10 {
            let inside = validation.iter().filter(|&&index| index / 6_000 == tenth).count();
            // 600 expected with a standard deviation of 22: five of them either way.
            assert!((490..710).contains(&inside), "{inside} in tenth {tenth}");
        }
    }

    #[test]
    fn the_tenth_never_changes() {
        assert_eq!(split(60_000).validation[..5], [3, 14, 24, 33, 46]);
    }

    #[test]
    fn tiny_sets_keep_an_example_on_either_side() {
        assert_eq!((split(2).train.len(), split(2).validation.len()), (1, 1));
        assert_eq!((split(1).train.len(), split(1).validation.len()), (1, 0));
        assert_eq!(split(0).train.len(), 0);
    }
}
