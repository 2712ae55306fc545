//! Whole training steps of one device, round by round, for comparisons with other contestants in turns.

use super::measure::seconds_per_step;
use super::workload::{Runner, Workload};
use crate::error::Result;
use crate::exec::Device;
use crate::net::Network;
use crate::net::Recipe;
use crate::train::Settings;
use std::time::Duration;

/// A device that trains on random images.
pub struct Steps {
    runner: Runner,
}

impl Steps {
    /// Lowers the network, allocates and fills.
    ///
    /// # Errors
    /// Those of [`run`](super::run), and an error if the device cannot hold the network.
    pub async fn new(device: &Device, network: &Network, batch: usize) -> Result<Steps> {
        let workload = Workload::new(Settings::resolve(network.clone(), &Recipe::default())?);
        Ok(Steps { runner: workload.runner(device, network, batch).await? })
    }

    /// Images per second over at least `round`, with the device idle before and after. Only the last measurement
    /// counts, which is about half of the round.
    pub async fn round(&mut self, round: Duration) -> Result<f64> {
        Ok(self.runner.batch() as f64 / seconds_per_step(&mut self.runner, round).await?)
    }
}
