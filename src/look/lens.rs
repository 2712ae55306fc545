//! Views of a network at work, computed by a separate executor on the processor, whatever device trains.

use super::message::{
    ExampleMessage, Part, PlateMessage, PlatesMessage, ScoreMessage, ShownMessage, TestExampleMessage, TestMessage,
    ViewMessage,
};
use super::{Subject, Weights};
use crate::Result;
use crate::data::Examples;
use crate::evaluate::scores;
use crate::exec::Device;
use crate::inspect::{Inspection, Inspector, NamedTensor, top};
use crate::net::{Network, Node};
use crate::pictures::Plate;
use std::collections::VecDeque;
use std::sync::Arc;

/// The most values of a tensor in a view, and of all test images together.
const MOST_VALUES: usize = 1 << 15;
const MOST_TEST_VALUES: usize = 1 << 19;
/// The most test examples in a view, and in the window of the accuracy.
const TESTS: usize = 20;
const WINDOW: usize = 200;
/// The number of classes that a view lists for an example.
const TOP: usize = 3;

/// A view into a network on its data; one lens computes any number of views.
pub struct Lens {
    subject: Arc<Subject>,
    inspector: Inspector,
    /// The index of the next test example.
    next_test: usize,
    /// Whether the prediction for each of the last test examples was right.
    right: VecDeque<bool>,
}

impl Lens {
    /// Creates a lens for a run's network.
    ///
    /// # Errors
    /// Those of [`Inspector::new`].
    pub async fn new(subject: Arc<Subject>) -> Result<Lens> {
        let (network, examples) = (&subject.settings.network, &subject.dataset.test);
        let inspector = Inspector::new(&Device::Cpu, network, examples.shape, examples.classes).await?;
        let inspector = inspector.with_numbers(&examples.numbers);
        Ok(Lens { subject, inspector, next_test: 0, right: VecDeque::new() })
    }

    /// Runs the network on the example `shown` and on the next test examples. Returns the view, and the share of the
    /// last test examples that were predicted right.
    ///
    /// # Errors
    /// Those of [`Inspector::inspect`] and [`scores`].
    ///
    /// # Panics
    /// If there is no such example.
    pub async fn view(&mut self, weights: &Weights, shown: ShownMessage) -> Result<(ViewMessage, TestMessage)> {
        self.inspector.load(&weights.parameters)?;
        let subject = self.subject.clone();
        let examples = match shown.split {
            Part::Train => &subject.dataset.train,
            Part::Test => &subject.dataset.test,
        };
        let (index, label) = (shown.index, examples.labels[shown.index]);
        let inspection = self.inspector.inspect(examples.image(index), label).await?;
        let label = usize::from(label);
        let example = match shown.split {
            Part::Train => ExampleMessage::Train { index, label },
            Part::Test => ExampleMessage::Test { index, label },
        };
        // Scores that are not finite have no explanation, but the tensors are still shown.
        let explanations = self.explanations(examples.image(index)).await.unwrap_or_default();
        let (tests, test) = self.tests(weights).await?;
        let view = view(&subject.settings.network, &inspection, weights.step, example);
        Ok((ViewMessage { tests, explanations, ..view }, test))
    }

    /// Runs the network on a picture without a label; `pixels` have the shape of the data set's images `[H,W,C]`.
    ///
    /// # Errors
    /// Those of [`Inspector::inspect`].
    pub async fn classify(&mut self, weights: &Weights, pixels: &[u8]) -> Result<ViewMessage> {
        self.inspector.load(&weights.parameters)?;
        let inspection = self.inspector.inspect(pixels, 0).await?;
        let explanations = self.explanations(pixels).await.unwrap_or_default();
        let view = view(&self.subject.settings.network, &inspection, weights.step, ExampleMessage::Drawn);
        Ok(ViewMessage { explanations, ..view })
    }

    /// The maps that explain the answer: which pixels decide, and where the last feature maps support it.
    async fn explanations(&mut self, image: &[u8]) -> Result<Vec<PlateMessage>> {
        let (saliency, grad_cam) = self.inspector.attribution(image).await?;
        let maps = [saliency].into_iter().chain(grad_cam.map(|grad_cam| grad_cam.map));
        let plate = |map: NamedTensor| {
            let plate = Plate::of_map(&map);
            let name = plate.name.trim_start_matches("explanation.").to_string();
            PlateMessage::from(Plate { name, ..plate })
        };
        Ok(maps.map(plate).collect())
    }

    /// Predictions for the next test examples, and the share of the last ones that were right.
    async fn tests(&mut self, weights: &Weights) -> Result<(Vec<TestExampleMessage>, TestMessage)> {
        let (network, all) = (&self.subject.settings.network, &self.subject.dataset.test);
        let size: usize = all.shape.iter().product();
        let count = (MOST_TEST_VALUES / size.max(1)).clamp(1, TESTS).min(all.len());
        let indices: Vec<usize> = (0..count).map(|i| (self.next_test + i) % all.len()).collect();
        self.next_test = (self.next_test + count) % all.len().max(1);
        let pixels = indices.iter().flat_map(|i| all.image(*i)).copied().collect();
        let labels = indices.iter().map(|i| all.labels[*i]).collect();
        let batch = Examples { pixels, labels, numbers: all.numbers.clone(), ..*all };
        let scores = scores(&Device::Cpu, network, &weights.parameters, &batch, count.max(1), 1).await?;
        let mut tests = Vec::with_capacity(count);
        for (index, scores) in indices.into_iter().zip(&scores) {
            let label = usize::from(all.labels[index]);
            let (top, number) = answers(network, scores);
            let right = match number {
                Some(number) => nearest(all, number) == label,
                None => top.first().is_some_and(|first| first.class == label),
            };
            self.right.push_back(right);
            let image = all.image(index);
            tests.push(TestExampleMessage { index, label, image: picture(network, image, all.shape), top, number });
        }
        // The newest first.
        tests.reverse();
        while self.right.len() > WINDOW {
            self.right.pop_front();
        }
        let right = self.right.iter().filter(|right| **right).count();
        let accuracy = right as f64 / self.right.len().max(1) as f64;
        Ok((tests, TestMessage { accuracy, examples: self.right.len() }))
    }
}

/// An image of the data set, drawn as the output of the input layer.
fn picture(network: &Network, image: &[u8], shape: [usize; 3]) -> PlateMessage {
    let input = &network.nodes[0];
    let values = image.iter().map(|byte| f32::from(*byte) / 255.0 - 0.5).collect();
    let tensor = NamedTensor { name: format!("{}.activation", input.name), shape: shape.to_vec(), values };
    PlateMessage::from(Plate::of_layer(input, &[tensor], usize::MAX).swap_remove(0))
}

/// The class whose number is nearest.
fn nearest(examples: &Examples, number: f32) -> usize {
    let distance = |class: &usize| (examples.number(*class) - number).abs();
    (0..examples.classes).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
}

/// An inspection as a message for a page. For a picture without a label, it only has what does not depend on a label.
fn view(network: &Network, inspection: &Inspection, step: u64, example: ExampleMessage) -> ViewMessage {
    let labelled = example != ExampleMessage::Drawn;
    let kept = |plate: &Plate| labelled || plate.name.ends_with(".activation");
    let plates = |node| {
        let plates = Plate::of_layer(node, &inspection.tensors, most(node));
        plates.into_iter().filter(kept).map(PlateMessage::from).collect()
    };
    let layers = network.nodes.iter().map(|node| PlatesMessage { layer: node.name.clone(), plates: plates(node) });
    let (top, number) = answers(network, &inspection.scores);
    ViewMessage {
        step,
        example,
        loss: labelled.then_some(inspection.loss),
        top,
        number,
        layers: layers.collect(),
        explanations: Vec::new(),
        tests: Vec::new(),
    }
}

/// The most values of a layer's tensor in a view; for a large image, enough for at least one map.
fn most(node: &Node) -> usize {
    MOST_VALUES.max(3 * node.output.height * node.output.width)
}

/// The most likely classes, or the predicted number.
fn answers(network: &Network, scores: &[f32]) -> (Vec<ScoreMessage>, Option<f32>) {
    if network.learns_numbers() {
        return (Vec::new(), scores.first().copied());
    }
    (top(scores, TOP).into_iter().map(|(class, score)| ScoreMessage { class, score }).collect(), None)
}
