//! The examples of each step's batch: a new permutation of the training indices for each epoch, cut into batches.
//! Steps, counted from 0 over the whole run, may be requested in any order: a permutation depends only on (seed,
//! epoch), so a resumed run needs no state except its step number and the steps at which the batch size changed.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Cuts each epoch's permutation of `indices` into batches; the last batch of an epoch may be smaller.
#[derive(Clone, Debug)]
pub struct Sampler {
    indices: Vec<u32>,
    /// Sorted by first step; the first begins at 0.
    segments: Vec<Segment>,
    seed: u64,
    /// The permutation of the epoch requested last. Steps come in order, so it is rarely recomputed.
    order: Vec<u32>,
    order_epoch: Option<u64>,
}

/// A range of steps with one batch size.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first: u64,
    /// The position of the first step: its epoch, and the number of that epoch's examples before it.
    epoch: u64,
    offset: usize,
    batch: usize,
}

impl Segment {
    /// The number of steps that complete the epoch in which the segment begins.
    fn head(&self, examples: usize) -> u64 {
        (examples - self.offset).div_ceil(self.batch) as u64
    }

    fn place(&self, step: u64, examples: usize) -> (u64, usize) {
        let (within, head) = (step - self.first, self.head(examples));
        if within < head {
            return (self.epoch, self.offset + within as usize * self.batch);
        }
        let (later, per_epoch) = (within - head, examples.div_ceil(self.batch) as u64);
        (self.epoch + 1 + later / per_epoch, (later % per_epoch) as usize * self.batch)
    }
}

impl Sampler {
    /// A sampler of batches of `batch` out of `indices`.
    ///
    /// # Panics
    /// If `batch` is 0 or `indices` is empty.
    pub fn new(indices: Vec<u32>, batch: usize, seed: u64) -> Sampler {
        assert!(!indices.is_empty() && batch > 0, "cannot sample batches of {batch} from {} examples", indices.len());
        let segments = vec![Segment { first: 0, epoch: 0, offset: 0, batch }];
        Sampler { indices, segments, seed, order: Vec::new(), order_epoch: None }
    }

    /// Uses batches of `batch` examples from step `step` on; the epoch continues at the same position in the same
    /// permutation.
    ///
    /// # Panics
    /// If `batch` is 0, or if `step` is before an earlier change.
    pub fn change_batch(&mut self, step: u64, batch: usize) {
        assert!(batch > 0 && step >= self.last().first, "batches of {batch} from step {step} on");
        let (epoch, offset) = self.place(step);
        self.segments.retain(|segment| segment.first < step);
        self.segments.push(Segment { first: step, epoch, offset, batch });
    }

    /// The number of examples in an epoch.
    pub fn examples(&self) -> usize {
        self.indices.len()
    }

    /// The number of steps in an epoch at the newest batch size; the last may be a partial batch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.indices.len().div_ceil(self.last().batch) as u64
    }

    fn last(&self) -> Segment {
        self.segments[self.segments.len() - 1]
    }

    /// The segment that contains step `step`.
    fn at(&self, step: u64) -> Segment {
        self.segments[self.segments.partition_point(|segment| segment.first <= step).max(1) - 1]
    }

    /// The epoch of step `step`, from 0, and the number of its examples before the step.
    pub fn place(&self, step: u64) -> (u64, usize) {
        self.at(step).place(step, self.indices.len())
    }

    /// The epoch of step `step`, from 0.
    pub fn epoch_at(&self, step: u64) -> u64 {
        self.place(step).0
    }

    /// The batch size of step `step`; the last step of an epoch may have fewer examples.
    pub fn batch_size_at(&self, step: u64) -> usize {
        self.at(step).batch
    }

    /// Whether the batch size changed at or before `step`.
    pub fn batch_changed_before(&self, step: u64) -> bool {
        self.segments.get(1).is_some_and(|segment| segment.first <= step)
    }

    /// The number of examples seen in the first `steps` steps.
    pub fn examples_seen(&self, steps: u64) -> u64 {
        let (epochs, offset) = self.place(steps);
        epochs * self.indices.len() as u64 + offset as u64
    }

    /// The sum of the batch sizes of the first `steps` steps, with partial batches counted as whole ones.
    pub fn whole_batches(&self, steps: u64) -> u64 {
        let ends = self.segments[1..].iter().map(|next| next.first).chain([u64::MAX]);
        let sizes = self
            .segments
            .iter()
            .zip(ends)
            .map(|(segment, end)| steps.min(end).saturating_sub(segment.first) * segment.batch as u64);
        sizes.sum()
    }

    /// The number of steps in the first `epochs` epochs.
    pub fn steps_of(&self, epochs: u64) -> u64 {
        let examples = self.indices.len();
        let ends = self.segments[1..].iter().map(|next| next.first).chain([u64::MAX]);
        for (segment, end) in self.segments.iter().zip(ends) {
            let Some(later) = epochs.checked_sub(segment.epoch + 1) else { return segment.first };
            let later = later.saturating_mul(examples.div_ceil(segment.batch) as u64);
            let steps = segment.first.saturating_add(segment.head(examples)).saturating_add(later);
            if steps <= end {
                return steps;
            }
        }
        u64::MAX
    }

    /// The examples of step `step`: as many as the batch size, fewer in the last step of an epoch.
    pub fn batch_at(&mut self, step: u64) -> &[u32] {
        let (epoch, first) = self.place(step);
        if self.order_epoch != Some(epoch) {
            self.order.clone_from(&self.indices);
            permute(&mut self.order, self.seed, epoch);
            self.order_epoch = Some(epoch);
        }
        // `first + batch` would overflow for a batch size that means "everything".
        let size = self.batch_size_at(step).min(self.order.len() - first);
        &self.order[first..][..size]
    }
}

/// The Fisher-Yates shuffle (Knuth, TAOCP 3.4.2, algorithm P), driven by ChaCha8 keyed with (seed, stream). It is
/// written out here because a library may change how it shuffles or expands a seed, and runs must be repeatable.
pub(super) fn permute(values: &mut [u32], seed: u64, stream: u64) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&stream.to_le_bytes());
    let mut random = ChaCha8Rng::from_seed(key);
    for last in (1..values.len()).rev() {
        // The high half of a 64x64-bit product is uniform to within 2^-32 for up to 2^32 values.
        let pick = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
        values.swap(last, pick as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(sampler: &mut Sampler, epoch: u64) -> Vec<u32> {
        let steps = sampler.steps_per_epoch();
        (epoch * steps..(epoch + 1) * steps).flat_map(|step| sampler.batch_at(step).to_vec()).collect()
    }

    #[test]
    fn an_epoch_shows_every_example_once() {
        let indices: Vec<u32> = (0..103).map(|index| index * 3).collect();
        let mut sampler = Sampler::new(indices.clone(), 10, 1);
        for number in 0..3 {
            let mut seen = epoch(&mut sampler, number);
            assert_ne!(seen, indices, "epoch {number} is not shuffled");
            seen.sort_unstable();
            assert_eq!(seen, indices);
        }
    }

    #[test]
    fn the_last_batch_of_an_epoch_is_partial() {
        let mut sampler = Sampler::new((0..103).collect(), 10, 1);
        assert_eq!(sampler.steps_per_epoch(), 11);
        assert_eq!(sampler.batch_at(9).len(), 10);
        assert_eq!(sampler.batch_at(10).len(), 3);
        assert_eq!(sampler.batch_at(11).len(), 10);
        assert_eq!((sampler.epoch_at(10), sampler.epoch_at(11)), (0, 1));
    }

    #[test]
    fn steps_can_be_asked_for_in_any_order() {
        let mut forward = Sampler::new((0..50).collect(), 7, 5);
        let batches: Vec<Vec<u32>> = (0..30).map(|step| forward.batch_at(step).to_vec()).collect();
        let mut backward = Sampler::new((0..50).collect(), 7, 5);
        for step in (0..30).rev() {
            assert_eq!(backward.batch_at(step), batches[step as usize]);
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let mut one = Sampler::new((0..100).collect(), 10, 1);
        let mut two = Sampler::new((0..100).collect(), 10, 2);
        assert_ne!(epoch(&mut one, 0), epoch(&mut one, 1));
        assert_ne!(epoch(&mut one, 0), epoch(&mut two, 0));
    }

    #[test]
    fn a_batch_larger_than_the_set_is_the_set() {
        let mut sampler = Sampler::new(vec![4, 5, 6], usize::MAX, 0);
        assert_eq!(sampler.steps_per_epoch(), 1);
        assert_eq!(sampler.batch_at(u64::MAX).len(), 3);
    }

    /// A sampler of 103 examples: 4 batches of 10, 2 of 25, a last one of 13; then epochs of 25, 25, 25, 25, 3.
    fn changed() -> Sampler {
        let mut sampler = Sampler::new((0..103).collect(), 10, 1);
        sampler.change_batch(4, 25);
        sampler
    }

    #[test]
    fn another_batch_size_goes_on_at_the_same_place() {
        let (mut plain, mut sampler) = (Sampler::new((0..103).collect(), 10, 1), changed());
        let first = epoch(&mut plain, 0);
        let sizes: Vec<usize> = (0..12).map(|step| sampler.batch_at(step).len()).collect();
        assert_eq!(sizes, [10, 10, 10, 10, 25, 25, 13, 25, 25, 25, 25, 3]);
        assert_eq!((0..7).flat_map(|step| sampler.batch_at(step).to_vec()).collect::<Vec<_>>(), first);
        let second = epoch(&mut plain, 1);
        assert_eq!((7..12).flat_map(|step| sampler.batch_at(step).to_vec()).collect::<Vec<_>>(), second);
        assert_eq!([3, 4, 6, 7, 11, 12].map(|step| sampler.epoch_at(step)), [0, 0, 0, 1, 1, 2]);
        assert_eq!([0, 4, 5, 7, 8, 12].map(|steps| sampler.examples_seen(steps)), [0, 40, 65, 103, 128, 206]);
        assert_eq!([0, 1, 2, 3].map(|epochs| sampler.steps_of(epochs)), [0, 7, 12, 17]);
        assert_eq!([0, 3, 4, 7].map(|steps| sampler.whole_batches(steps)), [0, 30, 40, 115]);
    }

    #[test]
    fn a_change_at_an_epochs_end_or_twice_at_a_step_makes_no_step_of_its_own() {
        let mut sampler = Sampler::new((0..103).collect(), 10, 1);
        sampler.change_batch(11, 7);
        sampler.change_batch(11, 50);
        assert_eq!([10, 11, 13, 14].map(|step| sampler.batch_at(step).len()), [3, 50, 3, 50]);
        assert_eq!([1, 2, 3].map(|epochs| sampler.steps_of(epochs)), [11, 14, 17]);
        let mut early = Sampler::new((0..103).collect(), 10, 1);
        early.change_batch(0, 50);
        let mut other = Sampler::new((0..103).collect(), 50, 1);
        assert!((0..9).all(|step| early.batch_at(step) == other.batch_at(step)));
    }

    #[test]
    fn many_changes_show_every_example_once_an_epoch() {
        let mut sampler = Sampler::new((0..103).collect(), 10, 1);
        for (step, batch) in [(1, 3), (5, 30), (6, 1), (9, 103), (10, 4), (40, 20)] {
            sampler.change_batch(step, batch);
        }
        let end = sampler.steps_of(4);
        assert_eq!(sampler.place(end), (4, 0));
        let mut seen: Vec<(u64, u32)> = (0..end)
            .flat_map(|step| {
                let epoch = sampler.epoch_at(step);
                sampler.batch_at(step).iter().map(|index| (epoch, *index)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(seen.len(), 4 * 103);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4 * 103);
        for epochs in 1..4 {
            let steps = sampler.steps_of(epochs);
            assert_eq!((sampler.place(steps), sampler.epoch_at(steps - 1)), ((epochs, 0), epochs - 1));
        }
    }

    #[test]
    fn the_order_is_the_same_on_every_machine_and_version() {
        let mut values: Vec<u32> = (0..10).collect();
        permute(&mut values, 42, 3);
        assert_eq!(values, [0, 1, 7, 8, 4, 2, 9, 6, 3, 5]);
    }
}
