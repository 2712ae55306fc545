//! The test examples with the largest errors.

use super::ReportedRun;
use crate::data::Examples;
use crate::error::Result;
use crate::evaluate::{Evaluation, scores};
use crate::exec::Device;
use crate::inspect::top;

/// The most examples to show.
const MOST: usize = 24;
/// The number of classes to list for each example.
const TOP: usize = 3;

/// A test example that was classified wrongly, or whose number was missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// Its index in the test set, from 0.
    pub index: usize,
    pub label: usize,
    pub prediction: usize,
    /// The network's loss for the example.
    pub loss: f64,
    /// The classes with the largest scores; empty if the network predicts a number.
    pub top: Vec<(usize, f32)>,
    /// The predicted number, if the network predicts one.
    pub number: Option<f32>,
}

/// Indices of the wrong examples by loss, the largest first. If the network learns numbers, all examples count, since
/// each has some error.
fn by_loss(examples: &Examples, test: &Evaluation, numbers: bool) -> Vec<usize> {
    let wrong = |i: &usize| numbers || u32::from(examples.labels[*i]) != test.predictions[*i];
    let mut indices: Vec<usize> = (0..examples.len()).filter(wrong).collect();
    indices.sort_by(|a, b| test.losses[*b].total_cmp(&test.losses[*a]));
    indices
}

/// The worst examples of a test, the largest loss first; their scores are computed again.
pub(super) async fn worst(device: &Device, run: &ReportedRun<'_>, test: &Evaluation) -> Result<Vec<Mistake>> {
    let (network, examples) = (&run.settings.network, &run.dataset.test);
    let numbers = network.learns_numbers();
    let mut indices = by_loss(examples, test, numbers);
    indices.truncate(MOST);
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let chosen = Examples {
        pixels: indices.iter().flat_map(|i| examples.image(*i)).copied().collect(),
        labels: indices.iter().map(|i| examples.labels[*i]).collect(),
        numbers: examples.numbers.clone(),
        ..*examples
    };
    let scores = scores(device, network, run.weights, &chosen, MOST, run.settings.test_crops).await?;
    let mistake = |(index, scores): (&usize, Vec<f32>)| Mistake {
        index: *index,
        label: usize::from(examples.labels[*index]),
        prediction: test.predictions[*index] as usize,
        loss: test.losses[*index],
        top: if numbers { Vec::new() } else { top(&scores, TOP) },
        number: scores.first().copied().filter(|_| numbers),
    };
    Ok(indices.iter().zip(scores).map(mistake).collect())
}
