//! Sliding windows over the last examples, for the present loss and accuracy.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Sums over the newest batches that together contain at least `size` examples (or all, if there are fewer).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    size: u64,
    /// Examples, sum of losses, correct predictions of each batch.
    batches: VecDeque<(u64, f64, u64)>,
}

impl Window {
    /// A window over at least `size` examples.
    pub fn new(size: u64) -> Window {
        Window { size, batches: VecDeque::new() }
    }

    /// Adds a batch and drops the oldest ones that are no longer needed.
    pub fn push(&mut self, examples: u64, loss_sum: f64, correct: u64) {
        self.batches.push_back((examples, loss_sum, correct));
        while let Some(oldest) = self.batches.front()
            && self.examples() - oldest.0 >= self.size
        {
            self.batches.pop_front();
        }
    }

    /// Examples in the window.
    pub fn examples(&self) -> u64 {
        self.batches.iter().map(|b| b.0).sum()
    }

    /// Mean loss; `None` while the window is empty.
    pub fn loss(&self) -> Option<f64> {
        let examples = self.examples();
        (examples > 0).then(|| self.batches.iter().map(|b| b.1).sum::<f64>() / examples as f64)
    }

    /// Share of correct predictions; `None` while the window is empty.
    pub fn accuracy(&self) -> Option<f64> {
        let examples = self.examples();
        (examples > 0).then(|| self.batches.iter().map(|b| b.2).sum::<u64>() as f64 / examples as f64)
    }
}

/// The windows of a run: training over 1,000 examples, validation over 2,000.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    pub training: Window,
    pub validation: Window,
}

impl Default for Windows {
    fn default() -> Self {
        Windows { training: Window::new(1000), validation: Window::new(2000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_just_enough_batches() {
        let mut window = Window::new(100);
        assert_eq!((window.loss(), window.accuracy()), (None, None));
        for i in 0..10 {
            window.push(40, 40.0 * f64::from(i), 4 * i as u64);
        }
        // 7, 8, 9: two batches would be 80 examples, which are too few.
        assert_eq!(window.examples(), 120);
        assert_eq!(window.loss(), Some(8.0));
        assert_eq!(window.accuracy(), Some(0.8));
    }

    #[test]
    fn a_batch_larger_than_the_window_stands_alone() {
        let mut window = Window::new(100);
        window.push(512, 512.0, 0);
        window.push(512, 1024.0, 512);
        assert_eq!((window.examples(), window.loss(), window.accuracy()), (512, Some(2.0), Some(1.0)));
    }
}
