//! The report of a run: `report.html`, a single file that needs no network, and event files for TensorBoard.
//!
//! [`Report::make`] measures and computes what the run folder does not contain: the mistakes of the test, the time of
//! each layer, and the pictures of one example with the first and the last weights. [`Report::html`] writes the page.

pub mod axis;
pub mod curves;
mod history;
pub mod html;
mod mistakes;
mod page;
mod pictures;
pub mod tensorboard;
mod timing;

pub use history::History;
pub use mistakes::Mistake;
pub use page::updates_mark;
pub use pictures::{LayerPictures, Picture};
pub use timing::{LayerTime, LayerTimes};

use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::{Evaluation, evaluate_crops};
use crate::exec::{Device, DeviceInfo};
use crate::inspect::inspect;
use crate::net::Parameters;
use crate::train::{RunConfig, Settings, Summary};
use std::path::Path;

/// The test example whose pictures are shown.
const SHOWN: usize = 0;
/// The smallest number of test examples per batch.
const BATCH: usize = 100;

/// The run that is reported.
#[derive(Debug, Clone, Copy)]
pub struct ReportedRun<'a> {
    pub folder: &'a Path,
    pub config: &'a RunConfig,
    pub settings: &'a Settings,
    pub dataset: &'a Dataset,
    pub history: &'a History,
    /// The summary of a finished run; an unfinished run is reported as of its checkpoint.
    pub summary: Option<&'a Summary>,
    /// The number of updates that made the weights.
    pub step: u64,
    /// The weights that the test judges: the last ones, or their moving average if one is kept.
    pub weights: &'a [Parameters],
}

/// Everything that a report shows.
#[derive(Debug)]
pub struct Report<'a> {
    pub run: ReportedRun<'a>,
    /// The device of the test and the timing.
    pub device: DeviceInfo,
    pub test: Evaluation,
    /// The worst mistakes, the largest loss first.
    pub mistakes: Vec<Mistake>,
    /// `None` if the device's clock gave nothing usable.
    pub times: Option<LayerTimes>,
    pub pictures: Vec<LayerPictures>,
}

impl<'a> Report<'a> {
    /// Computes what a report shows beyond the run folder. `test` is the run's own test if it has just been made.
    ///
    /// # Errors
    /// Those of [`evaluate_crops`], [`inspect`] and [`Session::new`](crate::train::Session::new).
    pub async fn make(device: &Device, run: ReportedRun<'a>, test: Option<Evaluation>) -> Result<Report<'a>> {
        let (settings, dataset) = (run.settings, run.dataset);
        let network = &settings.network;
        let test = match test {
            Some(test) => test,
            None => {
                let (batch, crops) = (settings.batch_size.max(BATCH), settings.test_crops);
                evaluate_crops(device, network, run.weights, &dataset.test, batch, crops).await?
            }
        };
        let mistakes = mistakes::worst(device, &run, &test).await?;
        let times = timing::measure(device, settings, dataset, run.weights).await?;
        // A GPU would build every pipeline again for a single example.
        let processor = Device::Cpu;
        let first = network.initial_parameters(settings.seed);
        let start = inspect(&processor, network, &first, &dataset.test, SHOWN).await?;
        let end = inspect(&processor, network, run.weights, &dataset.test, SHOWN).await?;
        let pictures = pictures::of_layers(network, &start, &end)?;
        Ok(Report { run, device: device.info(), test, mistakes, times, pictures })
    }

    /// The page.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if a chart or a picture cannot be drawn.
    pub fn html(&self) -> Result<String> {
        page::html(self)
    }
}
