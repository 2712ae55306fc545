//! Looks into the network while it learns: a thread of its own with an executor of its own on the processor, so that the
//! run gives nothing but its weights. It rests long enough after every look to take a small share of the machine.

use super::board::{Answer, Board, Job, Next, Subject, Task, Weights};
use crate::data::Examples;
use crate::data::treatment::Treatment;
use crate::evaluate::scores;
use crate::exec::Device;
use crate::formats::{Format, Model};
use crate::inspect::{Inspection, Inspector, NamedTensor, top};
use crate::live::message::{
    ExampleMessage, Message, Part, PlateMessage, PlatesMessage, ScoreMessage, TestExampleMessage, TestMessage,
    ViewMessage,
};
use crate::net::{Network, Node, Shape};
use crate::pictures::Plate;
use crate::train::Change;
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest time between two views while a run goes on.
const SHORTEST: Duration = Duration::from_secs(1);
/// The share of the time that views may take while a run goes on.
const SHARE: f64 = 0.02;
/// Values of a tensor that come along with a view, and of all test images.
const MOST_VALUES: usize = 1 << 15;
const MOST_TEST_VALUES: usize = 1 << 19;
/// Test examples of a view, and of the window that the accuracy is over.
const TESTS: usize = 20;
const WINDOW: usize = 200;
/// Classes that are told of an example.
const TOP: usize = 3;

/// A network that can be looked into, kept from view to view.
struct Lens {
    generation: u64,
    subject: Arc<Subject>,
    inspector: Inspector,
    /// The next test example to look at.
    next_test: usize,
    /// Whether each of the last test examples was right.
    right: VecDeque<bool>,
}

/// Serves the board until it is closed.
pub(super) fn run(board: &Board) {
    let mut lens = None;
    let mut due = Instant::now();
    while let Some(next) = board.next(due) {
        let began = Instant::now();
        match next {
            Next::Job(job) => answer(board, &mut lens, job),
            Next::View => {
                let Some(task) = board.view_task() else {
                    due = began + SHORTEST;
                    continue;
                };
                let computing = Instant::now();
                if let Err(error) = look(board, &mut lens, &task) {
                    log::debug!("the live page has no pictures: {error}");
                    board.no_pictures(error.to_string());
                }
                let rest = if task.trains { computing.elapsed().div_f64(SHARE) } else { Duration::ZERO };
                due = began + rest.max(SHORTEST);
            }
        }
    }
}

fn look(board: &Board, lens: &mut Option<Lens>, task: &Task) -> Result<()> {
    let lens = Lens::for_task(lens, task)?;
    let examples = match task.shown.split {
        Part::Train => &task.subject.dataset.train,
        Part::Test => &task.subject.dataset.test,
    };
    let index = task.shown.index;
    let label = examples.labels[index];
    let inspection = pollster::block_on(lens.inspector.inspect(examples.image(index), label))?;
    let label = usize::from(label);
    let example = match task.shown.split {
        Part::Train => ExampleMessage::Train { index, label },
        Part::Test => ExampleMessage::Test { index, label },
    };
    // An answer that is not finite has no reasons, but tensors to look at.
    let explanations = lens.explanations(examples.image(index)).unwrap_or_default();
    let (tests, test) = lens.tests(&task.weights)?;
    let network = &lens.subject.settings.network;
    let view = ViewMessage { tests, explanations, ..view(network, &inspection, task.weights.step, example) };
    board.set_view(task.generation, &Message::View(&view), test);
    Ok(())
}

/// An inspection in the page's words; of a picture without a label only what does not depend on one.
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

/// Values of a layer's tensor that come along: of a large image at least one map.
fn most(node: &Node) -> usize {
    MOST_VALUES.max(3 * node.output.height * node.output.width)
}

/// The likeliest classes, or the number.
fn answers(network: &Network, scores: &[f32]) -> (Vec<ScoreMessage>, Option<f32>) {
    if network.learns_numbers() {
        return (Vec::new(), scores.first().copied());
    }
    (top(scores, TOP).into_iter().map(|(class, score)| ScoreMessage { class, score }).collect(), None)
}

impl Lens {
    /// The one that is there, or another where the network is another, with the newest weights.
    fn for_task<'a>(slot: &'a mut Option<Lens>, task: &Task) -> Result<&'a mut Lens> {
        let fitting = slot.take().filter(|lens| lens.generation == task.generation);
        let lens = match fitting {
            Some(lens) => lens,
            None => {
                let (subject, examples) = (task.subject.clone(), &task.subject.dataset.test);
                let network = &subject.settings.network;
                let inspector = Inspector::new(&Device::Cpu, network, examples.shape, examples.classes);
                let inspector = pollster::block_on(inspector)?.with_numbers(&examples.numbers);
                let (generation, next_test, right) = (task.generation, 0, VecDeque::new());
                Lens { generation, subject, inspector, next_test, right }
            }
        };
        let lens = slot.insert(lens);
        lens.inspector.load(&task.weights.parameters)?;
        Ok(lens)
    }

    /// Which pixels decide, and where the last feature maps speak for the answer.
    fn explanations(&mut self, image: &[u8]) -> Result<Vec<PlateMessage>> {
        let (saliency, grad_cam) = pollster::block_on(self.inspector.attribution(image))?;
        let maps = [saliency].into_iter().chain(grad_cam.map(|grad_cam| grad_cam.map));
        let plate = |map: NamedTensor| {
            let plate = Plate::of_map(&map);
            let name = plate.name.trim_start_matches("explanation.").to_string();
            PlateMessage::from(Plate { name, ..plate })
        };
        Ok(maps.map(plate).collect())
    }

    /// The next test examples, and the share of the last ones that were right.
    fn tests(&mut self, weights: &Weights) -> Result<(Vec<TestExampleMessage>, TestMessage)> {
        let (network, all) = (&self.subject.settings.network, &self.subject.dataset.test);
        let size: usize = all.shape.iter().product();
        let count = (MOST_TEST_VALUES / size.max(1)).clamp(1, TESTS).min(all.len());
        let indices: Vec<usize> = (0..count).map(|i| (self.next_test + i) % all.len()).collect();
        self.next_test = (self.next_test + count) % all.len().max(1);
        let pixels = indices.iter().flat_map(|i| all.image(*i)).copied().collect();
        let labels = indices.iter().map(|i| all.labels[*i]).collect();
        let batch = Examples { pixels, labels, numbers: all.numbers.clone(), ..*all };
        let scores = pollster::block_on(scores(&Device::Cpu, network, &weights.parameters, &batch, count.max(1), 1))?;
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

/// An image of the data set, drawn as what the input layer gives.
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

/// Does what a watcher asked for. Whoever asked may be gone.
fn answer(board: &Board, lens: &mut Option<Lens>, job: Job) {
    match job {
        Job::Classify(file, answer) => {
            let _ = answer.send(classify(board, lens, &file).map_err(|why| why.to_string()));
        }
        Job::Snapshot(kind, answer) => {
            let _ = answer.send(snapshot(board, kind).map_err(|why| why.to_string()));
        }
        Job::Load(file, name, answer) => load(board, &file, &name, answer),
    }
}

fn task(board: &Board) -> Result<Task> {
    board.task().ok_or_else(|| Error::Settings("the run has not begun: try again in a moment".into()))
}

/// A view of a picture's file, as JSON.
fn classify(board: &Board, lens: &mut Option<Lens>, file: &[u8]) -> Result<String> {
    let task = task(board)?;
    let dataset = &task.subject.dataset;
    let network = &task.subject.settings.network;
    if ![1, 3].contains(&dataset.test.shape[2]) {
        let channels = dataset.test.shape[2];
        return Err(Error::Data(format!(
            "the network takes images with {channels} channels, and pictures have 1 or 3"
        )));
    }
    let treatment = Treatment::of(dataset.name.as_str(), dataset.test.shape);
    let source = crate::data::Source::Bytes(file, "the picture");
    let pixels = treatment.apply(source, dataset.test.shape)?.pixels;
    let lens = Lens::for_task(lens, &task)?;
    let inspection = pollster::block_on(lens.inspector.inspect(&pixels, 0))?;
    let explanations = lens.explanations(&pixels).unwrap_or_default();
    let view = view(network, &inspection, task.weights.step, ExampleMessage::Drawn);
    Ok(Message::View(&ViewMessage { explanations, ..view }).to_json())
}

/// The newest weights as a file.
fn snapshot(board: &Board, format: &Format) -> Result<Vec<u8>> {
    let Task { subject, weights, .. } = task(board)?;
    let provenance = subject.dataset.provenance();
    let extra = serde_json::json!({
        "dataset": provenance.dataset, "classes": provenance.classes, "image": provenance.image, "step": weights.step,
    });
    let network = subject.settings.network.clone();
    let model = Model { network, parameters: weights.parameters.to_vec(), extra };
    (format.to_bytes)(&model)
}

/// Reads weights and hands them to the run, which answers.
fn load(board: &Board, file: &[u8], name: &str, answer: tokio::sync::oneshot::Sender<Answer>) {
    let read = || -> Result<Change, String> {
        let own = task(board).map_err(|why| why.to_string())?.subject.settings.network.clone();
        let model = model(file, name).map_err(|why| why.to_string())?;
        same_layers(&model.network, &own, name)?;
        Ok(Change::Weights { parameters: model.parameters, source: name.to_string() })
    };
    match read() {
        Ok(change) => board.change_for(change, answer),
        Err(why) => drop(answer.send(Err(why))),
    }
}

/// By what the file begins with: a safetensors file with the length of its header, a snapshot with a brace.
fn model(file: &[u8], name: &str) -> Result<Model> {
    let first = file.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') && file.get(8) != Some(&b'{') {
        Model::from_convnetjs(file, name)
    } else {
        Model::from_bytes(file, name)
    }
}

/// Whether weights of `other` can be used in `own`.
fn same_layers(other: &Network, own: &Network, name: &str) -> Result<(), String> {
    let layers = |network: &Network| -> Vec<(crate::net::Layer, Shape)> {
        network.nodes.iter().map(|node| (node.layer, node.output)).collect()
    };
    let (theirs, ours) = (layers(other), layers(own));
    let different = theirs.iter().zip(&ours).position(|(a, b)| a != b);
    let place = different.or((theirs.len() != ours.len()).then_some(theirs.len().min(ours.len())));
    let Some(place) = place else { return Ok(()) };
    let told = |network: &Network| match network.nodes.get(place) {
        Some(node) => format!("{} ({}) with {}", node.name, node.layer.kind(), node.output),
        None => "nothing".into(),
    };
    Err(format!(
        "{name} is of another network: where this one has {}, it has {}; load a snapshot of this network, or start anew with the other one",
        told(own),
        told(other)
    ))
}
