//! Which examples make up the batch of a step: a fresh permutation of the training indices per epoch, cut in batches.
//! Step s, counted from 0 over the whole run, can be asked for in any order: a permutation depends on (seed, epoch)
//! alone, so a resumed run needs no state but its step number.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Cuts per-epoch permutations of `indices` in batches; the last batch of an epoch may be smaller.
#[derive(Clone, Debug)]
pub struct Sampler {
    indices: Vec<u32>,
    batch: usize,
    seed: u64,
    /// The permutation of the epoch asked for last: steps come in order, so it is rarely made anew.
    order: Vec<u32>,
    order_epoch: Option<u64>,
}

impl Sampler {
    /// Batches of `batch` out of `indices`; panics where either is empty.
    pub fn new(indices: Vec<u32>, batch: usize, seed: u64) -> Sampler {
        assert!(!indices.is_empty() && batch > 0, "cannot sample batches of {batch} from {} examples", indices.len());
        Sampler { indices, batch, seed, order: Vec::new(), order_epoch: None }
    }

    /// Steps in which every example is seen once; the last may be a partial batch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.indices.len().div_ceil(self.batch) as u64
    }

    /// The epoch, from 0, that step `step` belongs to.
    pub fn epoch_at(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The examples of step `step`: `batch` of them, fewer in the last step of an epoch.
    pub fn batch_at(&mut self, step: u64) -> &[u32] {
        let epoch = self.epoch_at(step);
        if self.order_epoch != Some(epoch) {
            self.order.clone_from(&self.indices);
            permute(&mut self.order, self.seed, epoch);
            self.order_epoch = Some(epoch);
        }
        let first = (step % self.steps_per_epoch()) as usize * self.batch;
        // Not `first + batch`, which overflows for a batch that means "everything".
        let size = self.batch.min(self.order.len() - first);
        &self.order[first..][..size]
    }
}

/// Fisher-Yates (Knuth, TAOCP 3.4.2, algorithm P), driven by ChaCha8 keyed with (seed, stream).
/// Written out, because a library may change how it shuffles or spreads a seed, and a run must stay repeatable.
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

    #[test]
    fn the_order_is_the_same_on_every_machine_and_version() {
        let mut values: Vec<u32> = (0..10).collect();
        permute(&mut values, 42, 3);
        assert_eq!(values, [0, 1, 7, 8, 4, 2, 9, 6, 3, 5]);
    }
}
