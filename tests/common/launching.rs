//! What runs need that are begun and stopped through the library.

use super::command::examples;
use glassnet::Result;
use glassnet::data::{Dataset, DatasetName, Origin};
use glassnet::train::{DataSource, Event, Observer};
use std::sync::Arc;

/// An observer that stops after a checkpoint at this step or later.
pub struct Stopper(pub Option<u64>, pub bool);

impl Observer for Stopper {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        if let Event::Checkpoint(state) = event {
            self.1 = self.0.is_some_and(|at| state.step >= at);
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.1
    }
}

/// A small data set in memory.
pub fn data() -> DataSource {
    DataSource::Loaded(Arc::new(Dataset {
        name: DatasetName::Mnist,
        train: examples(200),
        test: examples(40),
        origin: Origin::Synthetic { fallback_reason: None },
        held_out: Default::default(),
    }))
}
