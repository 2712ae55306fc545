//! Views into a run without a server: introduction, rows, status, views.

mod common;

use common::command::examples;
use common::rig::network;
use glassnet::data::{Dataset, DatasetName, Origin};
use glassnet::evaluate::evaluate;
use glassnet::exec::Device;
use glassnet::formats::FORMATS;
use glassnet::inspect::inspect;
use glassnet::look::message::{ExampleMessage, Message, Part, RunState, ShownMessage, StatusMessage};
use glassnet::look::{Introduction, Lens, PageRows, Subject, Weights, change_of_file};
use glassnet::net::Recipe;
use glassnet::train::{Change, Command, Event, Observer, Settings, train};
use pollster::block_on;
use serde_json::Value;
use std::sync::Arc;

const NET: &str = r#"
name = "small"
layers = [
    { type = "input", height = 28, width = 28, channels = 1 },
    { type = "conv", filters = 3, kernel = 5, stride = 3, activation = "relu" },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

/// An observer that updates rows and status, and requests the weights before one step.
#[derive(Default)]
struct Follower {
    rows: PageRows,
    status: StatusMessage,
    weights: Option<Weights>,
    asked: bool,
}

impl Observer for Follower {
    fn event(&mut self, event: &Event<'_>) -> glassnet::Result<()> {
        self.status.follow(event);
        match event {
            Event::Step(row) => self.rows.push(&Message::Step(row)),
            Event::Epoch(row, _) => self.rows.push(&Message::Epoch(row)),
            Event::Weights { step, weights } => {
                self.weights = Some(Weights { step: *step, parameters: Arc::new(weights.to_vec()) });
            }
            _ => {}
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        false
    }

    fn command(&mut self, step: u64) -> Option<Command> {
        (step == 6 && !std::mem::replace(&mut self.asked, true)).then_some(Command::Weights)
    }
}

fn subject() -> Subject {
    let dataset = Dataset {
        name: DatasetName::Mnist,
        train: examples(100),
        test: examples(30),
        origin: Origin::Synthetic { fallback_reason: None },
        held_out: Default::default(),
    };
    let given = Recipe { steps: Some(9), stats_every: Some(4), ..Recipe::default() };
    let settings = Settings::resolve(network(NET), &given).expect("valid");
    Subject { settings, dataset: Arc::new(dataset), trains: true }
}

fn trained(subject: &Subject) -> Follower {
    let mut follower = Follower::default();
    block_on(train(&Device::Cpu, &subject.dataset, &subject.settings, None, &mut follower)).expect("it trains");
    follower
}

#[test]
fn a_run_introduces_itself_with_its_network_and_what_can_be_asked_of_it() {
    let subject = subject();
    let introduction = Introduction {
        folder: "runs/x".into(),
        device: "cpu".into(),
        training_examples: 90,
        validation_examples: 10,
        first_step: 0,
    };
    let run = introduction.message(&subject, "1".into());
    assert_eq!((run.name.as_str(), run.image, run.classes.len()), ("small", [28, 28, 1], 10));
    assert_eq!((run.examples.train, run.examples.test), (100, 30));
    let layers: Vec<(&str, [usize; 3])> = run.layers.iter().map(|layer| (layer.kind, layer.output)).collect();
    assert_eq!(layers[..3], [("input", [28, 28, 1]), ("conv", [8, 8, 3]), ("relu", [8, 8, 3])]);
    assert!(run.controls.contains(&"learning_rate") && run.controls.contains(&"restart"));
    let over = introduction.message(&Subject { trains: false, ..subject }, "2".into());
    assert_eq!(over.controls, ["show", "classify", "snapshot"]);
}

#[test]
fn rows_and_status_follow_a_run() {
    let Follower { rows, status, weights, .. } = trained(&subject());
    let (news, last) = rows.after(0);
    let news: Vec<Value> = news.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    let told: Vec<(&str, u64)> =
        news.iter().map(|row| (row["kind"].as_str().expect("a kind"), row["step"].as_u64().expect("a step"))).collect();
    // An epoch has five steps of 20.
    assert_eq!(told, [("step", 4), ("step", 5), ("epoch", 5), ("step", 8), ("step", 9), ("epoch", 9)]);
    assert_eq!((last, rows.after(4).0.len(), rows.after(last).0.len()), (6, 2, 0));
    assert_eq!((status.state, status.step, status.end), (RunState::Testing, 9, 9));
    assert_eq!(status.loss, news[4]["classification_loss"].as_f64());
    assert!(status.examples_seen > 100 && status.train_seconds > 0.0);
    assert_eq!(weights.expect("they were asked for").step, 6);
}

#[test]
fn a_view_shows_what_an_inspection_finds_and_how_the_test_goes() {
    let subject = Arc::new(subject());
    let (settings, dataset) = (&subject.settings, &subject.dataset);
    let weights = trained(&subject).weights.expect("they were asked for");
    let mut lens = block_on(Lens::new(subject.clone())).expect("a lens");
    let shown = ShownMessage { split: Part::Train, index: 7 };
    let (view, test) = block_on(lens.view(&weights, shown)).expect("a view");
    let label = usize::from(dataset.train.labels[7]);
    assert_eq!((view.step, view.example), (6, ExampleMessage::Train { index: 7, label }));
    let found = block_on(inspect(&Device::Cpu, &settings.network, &weights.parameters, &dataset.train, 7));
    let found = found.expect("it is inspected");
    assert_eq!(view.loss, Some(found.loss));
    assert_eq!(view.top[0].score, found.scores.iter().copied().fold(0.0, f32::max));
    let layers: Vec<&str> = view.layers.iter().map(|layer| layer.layer.as_str()).collect();
    assert_eq!(layers, ["input", "conv1", "relu1", "fc1", "softmax"]);
    assert!(view.layers[1].plates.iter().any(|plate| plate.plate.name == "conv1.activation"));
    assert!(view.explanations.iter().any(|plate| plate.plate.name == "saliency"), "{:?}", view.explanations);

    // Two views have shown all 30 test examples, the first ten twice.
    assert_eq!((view.tests.len(), test.examples), (20, 20));
    let (view, test) = block_on(lens.view(&weights, shown)).expect("a view");
    assert_eq!((view.tests[0].index, test.examples), (9, 40));
    let right: Vec<bool> = (0..30).map(|index| right(&mut lens, &weights, dataset, index)).collect();
    let twice = right.iter().chain(&right[..10]).filter(|right| **right).count();
    assert_eq!(test.accuracy, twice as f64 / 40.0);
    let whole = block_on(evaluate(&Device::Cpu, &settings.network, &weights.parameters, &dataset.test, 30));
    assert_eq!(whole.expect("it is tested").correct, right.iter().filter(|right| **right).count() as u64);
}

/// Whether a test example's label comes first in its view.
fn right(lens: &mut Lens, weights: &Weights, dataset: &Dataset, index: usize) -> bool {
    let drawn = block_on(lens.classify(weights, dataset.test.image(index))).expect("it is classified");
    assert_eq!((drawn.example, drawn.loss), (ExampleMessage::Drawn, None));
    drawn.top[0].class == usize::from(dataset.test.labels[index])
}

#[test]
fn weights_go_to_a_file_and_come_back_as_a_change() {
    let subject = subject();
    let weights = trained(&subject).weights.expect("they were asked for");
    for format in FORMATS.into_iter().filter(|format| format.extension != "onnx") {
        let file = weights.to_file(&subject, format).expect("a file");
        let change = change_of_file(&file, "mine", &subject.settings.network).expect("its own weights");
        let Change::Weights { parameters, source } = change else { panic!("weights") };
        assert_eq!((parameters == *weights.parameters, source.as_str()), (true, "mine"), "{}", format.extension);
        let other = network(&NET.replace("filters = 3", "filters = 4"));
        let why = change_of_file(&file, "mine", &other).expect_err("another network");
        assert!(why.contains("belongs to another network"), "{why}");
    }
}
