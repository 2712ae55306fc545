//! Training that is changed, paused and viewed while it runs: changes take effect, impossible ones are refused, viewing
//! changes nothing, and a changed run that was stopped and resumed ends with the bits of one that was not stopped.

mod common;

use common::command::{assert_fails_with, document, examples, glassnet, write_data};
use common::rig::network;
use glassnet::data::{Dataset, DatasetName, Origin, Sampler, split};
use glassnet::exec::Device;
use glassnet::formats::load_checkpoint;
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::OPTIMIZERS;
use glassnet::net::{Network, Parameters, Recipe};
use glassnet::program::Stage;
use glassnet::train::Changeable::{BatchSize, L1Decay, L2Decay, LearningRate, Momentum};
use glassnet::train::{
    BEST, Change, ChangeRow, Command, EpochRow, Event, Length, Observer, Outcome, Progress, RunFolder, Session,
    Settings, State, StepRow, Wait, train,
};
use glassnet::{Error, Result};
use pollster::block_on;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// 225 of them for training.
const EXAMPLES: usize = 250;

const NET: &str = r#"
name = "small"
layers = [
    { type = "input", height = 28, width = 28, channels = 1 },
    { type = "max-pool", size = 4 },
    { type = "fc", outputs = 12, activation = "relu" },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

const NORMALISED: &str = r#"
name = "normalised"
layers = [
    { type = "input", height = 24, width = 24, channels = 1, crop = true },
    { type = "conv", filters = 4, kernel = 3, stride = 2 },
    { type = "batch-norm", activation = "relu" },
    { type = "dropout", rate = 0.25 },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

/// Gives commands before their steps, and records what it observes.
#[derive(Default)]
struct Script {
    commands: VecDeque<(u64, Command)>,
    /// Steps for which rows of statistics are requested.
    measured: Vec<u64>,
    asked: u64,
    pause: Duration,
    stop: bool,
    /// Steps at which it waited.
    waits: Vec<u64>,
    /// Every checkpoint, with the commands that remained at that time.
    states: Vec<(State, VecDeque<(u64, Command)>)>,
    rows: Vec<StepRow>,
    epochs: Vec<EpochRow>,
    changed: Vec<(ChangeRow, Settings)>,
    refused: Vec<(Change, String, bool)>,
    weights: Vec<(u64, Vec<Parameters>)>,
    progress: Vec<Progress>,
    /// The step at which the run stops during a pause, if any.
    stop_in_pause: Option<u64>,
    /// Whether it gives way before each step, and how often it did.
    gives_way: bool,
    turns: u64,
}

/// A future that is pending once, like one that waits for a page's own work.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Script {
    fn of(commands: &[(u64, Command)]) -> Script {
        Script { commands: commands.iter().cloned().collect(), ..Script::default() }
    }

    fn changes(changes: &[(u64, Change)]) -> Script {
        let commands = changes.iter().map(|(step, change)| (*step, Command::Change(change.clone())));
        Script { commands: commands.collect(), ..Script::default() }
    }

    /// The newest checkpoint of this step.
    fn state(&self, step: u64) -> &State {
        &self.states.iter().rfind(|(state, _)| state.step == step).expect("a checkpoint").0
    }
}

impl Observer for Script {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Checkpoint(state) => self.states.push(((*state).clone(), self.commands.clone())),
            Event::Step(row) => self.rows.push((*row).clone()),
            Event::Epoch(row, _) => self.epochs.push((*row).clone()),
            Event::Changed { row, settings, .. } => self.changed.push(((*row).clone(), (*settings).clone())),
            Event::Refused { change, why } => {
                self.refused.push(((*change).clone(), why.to_string(), matches!(why, Error::TooLarge(_))));
            }
            Event::Weights { step, weights } => self.weights.push((*step, weights.to_vec())),
            Event::Progress(progress) => self.progress.push(progress.clone()),
            _ => {}
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.stop
    }

    fn command(&mut self, step: u64) -> Option<Command> {
        self.asked = step;
        let due = self.commands.front().is_some_and(|(at, _)| *at == step);
        due.then(|| self.commands.pop_front()).flatten().map(|(_, command)| command)
    }

    fn wait(&mut self) -> Wait<'_> {
        Box::pin(async move {
            std::thread::sleep(self.pause);
            Turn(false).await;
            self.waits.push(self.asked);
            self.stop = self.stop_in_pause == Some(self.asked);
        })
    }

    fn give_way(&mut self) -> Option<Wait<'_>> {
        if !self.gives_way {
            return None;
        }
        Some(Box::pin(async move {
            Turn(false).await;
            self.turns += 1;
        }))
    }

    fn measure_next(&mut self) -> bool {
        self.measured.contains(&self.asked)
    }
}

fn data() -> Dataset {
    let origin = Origin::Synthetic { fallback_reason: None };
    Dataset {
        name: DatasetName::Mnist,
        train: examples(EXAMPLES),
        test: examples(50),
        origin,
        held_out: Default::default(),
    }
}

/// Settings of a run of this many steps with batches of 20.
fn settings(net: &str, optimizer: &str, steps: u64) -> Settings {
    resolved(net, &overrides(optimizer, Length::Steps(steps)))
}

fn overrides(optimizer: &str, length: Length) -> Recipe {
    Recipe {
        optimizer: Some(optimizer.parse().expect("an optimizer")),
        batch_size: Some(20),
        l2_decay: Some(1e-4),
        stats_every: Some(7),
        ..length.given()
    }
}

fn resolved(net: &str, overrides: &Recipe) -> Settings {
    Settings::resolve(network(net), overrides).expect("valid settings")
}

fn run_on(device: &Device, settings: &Settings, resume: Option<State>, script: &mut Script) -> Result<Outcome> {
    block_on(train(device, &data(), settings, resume, script))
}

fn run(settings: &Settings, script: &mut Script) -> Outcome {
    run_on(&Device::Cpu, settings, None, script).expect("it trains")
}

fn devices() -> Vec<Device> {
    let gpu = common::gpu().map(Device::Gpu);
    [Some(Device::Cpu), gpu].into_iter().flatten().collect()
}

/// Everything that must be equal: all but the clock.
fn bits(state: &State) -> (u64, Vec<u32>, String) {
    let layers = state.parameters.iter().flat_map(|p| [&p.weight, &p.bias, &p.running_mean, &p.running_variance]);
    let values = layers.chain([&state.optimizer, &state.average]).flatten();
    let changes: Vec<ChangeRow> =
        state.changes.iter().map(|row| ChangeRow { train_seconds: 0.0, ..row.clone() }).collect();
    let rest = json!({ "windows": state.windows, "best": state.best, "changes": changes });
    (state.step, values.map(|v| v.to_bits()).collect(), rest.to_string())
}

/// The same without the list of changes.
fn figures(state: &State) -> (u64, Vec<u32>, String) {
    bits(&State { changes: Vec::new(), ..state.clone() })
}

/// Training examples in the order of an epoch.
fn order(settings: &Settings, epoch: u64) -> Vec<u32> {
    Sampler::new(split(&data().train).train, EXAMPLES, settings.seed).batch_at(epoch).to_vec()
}

/// Parameters, optimizer state and average after these batches with these settings, computed without the training loop.
fn by_hand(
    device: &Device,
    settings: &Settings,
    from: &State,
    batches: &[&[u32]],
    header: impl Fn(u64, Header) -> Header,
) -> [Vec<f32>; 3] {
    let data = data();
    let mut session = block_on(Session::new(device, settings, &data.train)).expect("a session");
    let mut snapshot = block_on(session.snapshot()).expect("a snapshot");
    snapshot.parameters = session.flat(&from.parameters);
    (snapshot.state, snapshot.average) = (from.optimizer.clone(), from.average.clone());
    session.restore(&snapshot).expect("it fits");
    for (step, indices) in (from.step..).zip(batches) {
        let labels: Vec<u32> = indices.iter().map(|i| u32::from(data.train.labels[*i as usize])).collect();
        let header = header(step, settings.header(step, u64::MAX, indices.len()));
        let words = session.step.input_words(header, indices, &labels);
        let stages = session.step.stages(Stage::Batch, Stage::Update);
        session.executor.begin_step(&words).expect("the step begins");
        session.executor.run(stages).expect("it runs");
        block_on(session.executor.end_step(true)).expect("it ends");
    }
    let snapshot = block_on(session.snapshot()).expect("a snapshot");
    let parameters = session.parameters(&settings.network, &snapshot.parameters);
    let layers = parameters.iter().flat_map(|p| [&p.weight, &p.bias, &p.running_mean, &p.running_variance]);
    [layers.flatten().copied().collect(), snapshot.state, snapshot.average]
}

fn assert_same(state: &State, hand: &[Vec<f32>; 3], what: &str) {
    let layers = state.parameters.iter().flat_map(|p| [&p.weight, &p.bias, &p.running_mean, &p.running_variance]);
    let parameters: Vec<f32> = layers.flatten().copied().collect();
    let words = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (found, wanted) in [&parameters, &state.optimizer, &state.average].into_iter().zip(hand) {
        assert!(words(found) == words(wanted), "{what}: not what the same steps give by hand");
    }
}

fn weights_and_biases(parameters: &[Parameters]) -> Vec<u32> {
    parameters.iter().flat_map(|p| p.weight.iter().chain(&p.bias)).map(|v| v.to_bits()).collect()
}

#[test]
fn a_learning_rate_of_0_freezes_the_weights_of_every_optimizer_and_another_thaws_them() {
    for optimizer in OPTIMIZERS.map(|optimizer| optimizer.name) {
        let mut script =
            Script::changes(&[(5, Change::Set(LearningRate, 0.0)), (15, Change::Set(LearningRate, 0.125))]);
        script.measured = vec![9, 18];
        let outcome = run(&settings(NET, optimizer, 20), &mut script);
        let [begun, frozen, thawed, end] = [script.state(0), script.state(5), script.state(15), &outcome.state]
            .map(|s| weights_and_biases(&s.parameters));
        assert!(begun != frozen && frozen == thawed && thawed != end, "{optimizer}");
        let rates: Vec<f64> = script.rows.iter().map(|row| row.learning_rate).collect();
        assert_eq!(rates, [0.0, 0.0, 0.0, 0.0, 0.125, 0.125], "{optimizer}: rows 7, 10, 12, 14, 19 and 20");
    }
}

#[test]
fn a_change_trains_on_as_a_run_with_these_settings_would() {
    let plain = overrides("momentum", Length::Steps(30));
    let cases = [
        (Change::Set(LearningRate, 0.05), Recipe { learning_rate: Some(0.05), ..plain.clone() }),
        (Change::Set(Momentum, 0.5), Recipe { momentum: Some(0.5), ..plain.clone() }),
        (Change::Set(L1Decay, 0.01), Recipe { l1_decay: Some(0.01), ..plain.clone() }),
        (Change::Set(L2Decay, 0.25), Recipe { l2_decay: Some(0.25), ..plain.clone() }),
    ];
    let before = resolved(NET, &plain);
    for device in devices() {
        let unchanged = run_on(&device, &before, None, &mut Script::default()).expect("it trains");
        for (change, overrides) in &cases {
            let mut script = Script::changes(&[(10, change.clone())]);
            let outcome = run_on(&device, &before, None, &mut script).expect("it trains");
            let plain = State { changes: Vec::new(), ..script.state(10).clone() };
            let wanted = run_on(&device, &resolved(NET, overrides), Some(plain), &mut Script::default());
            let wanted = wanted.expect("it trains");
            assert_eq!(figures(&outcome.state), figures(&wanted.state), "{change:?} on {}", device.info());
            assert!(figures(&outcome.state) != figures(&unchanged.state), "{change:?} changes nothing");
            assert_eq!(outcome.test, wanted.test);
            assert_eq!(script.changed[0].1.changed(change).expect("it is so already"), script.changed[0].1);
        }
    }
}

#[test]
fn another_batch_size_goes_on_with_the_same_examples_state_and_average() {
    let cases = [
        (NET, "momentum", None, false),
        (NORMALISED, "adam", Some(0.9), false),
        (NORMALISED, "adadelta", None, false),
        (NET, "adam", None, true),
    ];
    for device in devices() {
        for (net, optimizer, ema, exact) in cases {
            let overrides = Recipe { ema, convnetjs_exact: Some(exact), ..overrides(optimizer, Length::Steps(12)) };
            let settings = resolved(net, &overrides);
            let mut script = Script::changes(&[(7, Change::Set(BatchSize, 32.0))]);
            let outcome = run_on(&device, &settings, None, &mut script).expect("it trains");
            let mut plain = Script { stop_in_pause: Some(7), ..Script::of(&[(7, Command::Pause)]) };
            run_on(&device, &settings, None, &mut plain).expect_err("it is stopped");
            assert_eq!(figures(script.state(7)), figures(plain.state(7)), "something was lost on the way");

            // 140 of 225 examples in 7 steps; 32, 32, 21 are left, then a new epoch.
            let (first, second) = (order(&settings, 0), order(&settings, 1));
            let batches = [&first[140..172], &first[172..204], &first[204..], &second[..32], &second[32..64]];
            let larger = settings.changed(&Change::Set(BatchSize, 32.0)).expect("it can be");
            let header = |step: u64, header: Header| {
                if !exact {
                    return header;
                }
                // ConvNetJS counts examples.
                let counted = larger.optimizer.corrections(140 + 32 * (step - 6)).map(|c| (1.0 / c) as f32);
                Header { correction1: counted[0], correction2: counted[1], ..header }
            };
            let hand = by_hand(&device, &larger, script.state(7), &batches, header);
            assert_same(&outcome.state, &hand, &format!("{optimizer} on {}", device.info()));
            assert_eq!(outcome.examples_seen, 225 + 64);
        }
    }
}

#[test]
fn loaded_weights_begin_with_a_new_optimizer() {
    for device in devices() {
        let settings = resolved(NET, &Recipe { ema: Some(0.9), ..overrides("adam", Length::Steps(16)) });
        let loaded = settings.network.initial_parameters(99);
        let change = Change::Weights { parameters: loaded.clone(), source: "other.safetensors".into() };
        let mut script = Script::changes(&[(9, change)]);
        let outcome = run_on(&device, &settings, None, &mut script).expect("it trains");
        let state = script.state(9);
        assert!(state.parameters == loaded && state.optimizer.iter().all(|v| *v == 0.0));
        let row = &script.changed[0].0;
        assert_eq!((row.step, &row.from, &row.to), (9, &Value::Null, &json!({ "source": "other.safetensors" })));

        let (first, second) = (order(&settings, 0), order(&settings, 1));
        let batches: Vec<&[u32]> = first[180..].chunks(20).chain(second[..80].chunks(20)).collect();
        let header = |step: u64, header: Header| {
            let [correction1, correction2] = settings.optimizer.corrections(step - 8).map(|c| c as f32);
            Header { correction1, correction2, ..header }
        };
        let hand = by_hand(&device, &settings, state, &batches, header);
        assert_same(&outcome.state, &hand, &format!("on {}", device.info()));

        let mut again = Script::default();
        let resumed = run_on(&device, &settings, Some(state.clone()), &mut again).expect("it goes on");
        assert_eq!(bits(&resumed.state), bits(&outcome.state));
    }
}

#[test]
fn changes_before_the_first_step_are_as_settings_that_a_run_begins_with() {
    let changes = [
        (0, Change::Set(BatchSize, 32.0)),
        (0, Change::Set(LearningRate, 0.05)),
        (0, Change::Set(Momentum, 0.25)),
        (0, Change::Set(L2Decay, 0.01)),
        (0, Change::Set(BatchSize, 16.0)),
    ];
    let begun = Recipe {
        batch_size: Some(16),
        learning_rate: Some(0.05),
        momentum: Some(0.25),
        l2_decay: Some(0.01),
        ..overrides("nesterov", Length::Epochs(2))
    };
    let mut wanted = Script::default();
    let outcome = run(&resolved(NET, &begun), &mut wanted);
    let mut script = Script::changes(&changes);
    let changed = run(&resolved(NET, &overrides("nesterov", Length::Epochs(2))), &mut script);
    assert_eq!(figures(&changed.state), figures(&outcome.state));
    let timeless = |rows: &[EpochRow]| rows.iter().map(|r| EpochRow { train_seconds: 0.0, ..r.clone() }).collect();
    let (found, rows): (Vec<EpochRow>, Vec<EpochRow>) = (timeless(&script.epochs), timeless(&wanted.epochs));
    assert_eq!(found, rows);
    assert_eq!((script.changed.len(), changed.state.changes.len()), (5, 5));
}

#[test]
fn epochs_end_where_every_example_was_seen_whatever_the_batch_sizes() {
    // 12 steps an epoch, then 140 + 32 + 32 + 21, then 5 of 45, changed at the very end of an epoch.
    let changes =
        [(7, Change::Set(BatchSize, 32.0)), (10, Change::Set(BatchSize, 45.0)), (15, Change::Set(BatchSize, 75.0))];
    let mut script = Script::changes(&changes);
    let cosine = Recipe {
        schedule: Some("cosine".parse().expect("a schedule")),
        learning_rate: Some(0.01),
        ..overrides("sgd", Length::Epochs(4))
    };
    script.measured = (0..21).collect();
    let outcome = run(&resolved(NET, &cosine), &mut script);
    let found: Vec<_> = script.epochs.iter().map(|row| (row.step, row.epoch, row.examples_seen)).collect();
    assert_eq!(found, [(10, 1, 225), (15, 2, 450), (18, 3, 675), (21, 4, 900)]);
    assert_eq!((outcome.state.step, outcome.examples_seen, outcome.stopped_early), (21, 900, false));
    // The rate follows the share of all passes: half of them after step 15.
    let rate = |step: usize| script.rows[step].learning_rate;
    assert_eq!(script.rows.len(), 21);
    assert!((rate(15) - 0.005).abs() < 1e-12 && (rate(18) - 0.01 * 0.146_446_609).abs() < 1e-9, "{}", rate(18));
    assert!((1..21).all(|step| rate(step) < rate(step - 1)), "the rate jumps up");
    let shares = script.rows.iter().map(|row| (row.step, row.epoch));
    assert_eq!(shares.filter(|(_, epoch)| *epoch == 1).map(|(step, _)| step).collect::<Vec<_>>(), [11, 12, 13, 14, 15]);
}

#[test]
fn patience_counts_epochs_whatever_the_batch_sizes() {
    let patient = Recipe { patience: Some(2), ..overrides("sgd", Length::Epochs(50)) };
    // Nothing is learned after the first epoch.
    let changes =
        [(12, Change::Set(LearningRate, 0.0)), (14, Change::Set(BatchSize, 5.0)), (60, Change::Set(BatchSize, 100.0))];
    let mut script = Script::changes(&changes);
    let outcome = run(&resolved(NET, &patient), &mut script);
    let best = outcome.state.best.expect("an epoch ended");
    assert_eq!((best.epoch, outcome.stopped_early, script.epochs.len()), (1, true, 3));
    assert_eq!(outcome.examples_seen, 3 * 225);
}

#[test]
fn what_cannot_be_is_refused_and_the_run_goes_on_with_the_same_bits() {
    // Hundreds of gigabytes of activations at 65,535 examples.
    let deep = NET.replace("name = \"small\"", "name = \"deep\"").replace(
        "{ type = \"max-pool\", size = 4 }",
        &format!(
            "{}{{ type = \"max-pool\", size = 28 }}",
            "{ type = \"conv\", filters = 32, kernel = 1 }, ".repeat(40)
        ),
    );
    for device in devices() {
        let overrides = Recipe { batch_size: Some(3), ema: Some(0.5), ..overrides("adam", Length::Steps(6)) };
        let settings = resolved(&deep, &overrides);
        let mut plain = Script::default();
        let wanted = run_on(&device, &settings, None, &mut plain).expect("it trains");
        let foreign = Change::Weights { parameters: Vec::new(), source: "nothing".into() };
        let changes = [
            Change::Set(LearningRate, -1.0),
            Change::Set(Momentum, 0.5),
            Change::Set(BatchSize, 65535.0),
            Change::Set(BatchSize, 0.0),
            Change::Set(L1Decay, f64::NAN),
            Change::Set(L2Decay, -1.0),
            foreign,
        ];
        let mut script = Script::changes(&changes.clone().map(|change| (3, change)));
        let outcome = run_on(&device, &settings, None, &mut script).expect("it trains");
        assert_eq!(bits(&outcome.state), bits(&wanted.state), "on {}", device.info());
        let refused: Vec<String> = script.refused.iter().map(|(change, ..)| format!("{change:?}")).collect();
        assert_eq!(refused, changes.map(|change| format!("{change:?}")));
        let too_large: Vec<bool> = script.refused.iter().map(|(.., too_large)| *too_large).collect();
        assert_eq!(too_large, [false, false, true, false, false, false, false], "on {}", device.info());
        let message = &script.refused[2].1;
        assert!(
            message.contains("batch size 65535 does not fit") && message.contains("largest batch size"),
            "{message}"
        );
        // The page shows these messages, and has no options.
        assert!(script.refused.iter().all(|(_, why, _)| !why.contains("--")), "{:?}", script.refused);
        assert!(script.changed.is_empty() && outcome.state.changes.is_empty());
        assert_eq!(script.states.len(), plain.states.len(), "a refusal wrote a checkpoint");
    }
}

#[test]
fn a_batch_is_no_larger_than_the_training_set() {
    let settings = resolved(NET, &overrides("adam", Length::Steps(4)));
    // The tenth that validates is not trained on.
    let most = split(&data().train).train.len();
    assert!(most < EXAMPLES);
    let changes = [most + 1, most].map(|size| Change::Set(BatchSize, size as f64));
    let mut script = Script::changes(&changes.map(|change| (2, change)));
    run_on(&Device::Cpu, &settings, None, &mut script).expect("it trains");
    let message = &script.refused.iter().map(|(_, why, _)| why.as_str()).collect::<Vec<_>>()[..];
    let wanted = format!("batch size {} exceeds the training set's {most} examples", most + 1);
    assert!(matches!(message, [one] if one.contains(&wanted)), "{message:?}");
    assert_eq!(script.changed.len(), 1);
}

#[test]
fn pauses_single_steps_and_looks_change_nothing() {
    for device in devices() {
        let settings = resolved(NORMALISED, &Recipe { ema: Some(0.9), ..overrides("adam", Length::Epochs(2)) });
        let mut plain = Script::default();
        let wanted = run_on(&device, &settings, None, &mut plain).expect("it trains");
        // Two pauses at a step, one step, another, then on; a look between two steps; a pause at an epoch's end.
        let commands =
            [0, 4, 4, 5, 6, 12].map(|step| (step, Command::Pause)).into_iter().chain([(13, Command::Weights)]);
        let mut commands: Vec<_> = commands.collect();
        commands.insert(3, (4, Command::Weights));
        let mut script = Script::of(&commands);
        script.measured = vec![4, 5];
        let outcome = run_on(&device, &settings, None, &mut script).expect("it trains");
        assert_eq!(bits(&outcome.state), bits(&wanted.state), "on {}", device.info());
        assert_eq!(script.waits, [0, 4, 4, 5, 6, 12]);
        assert_eq!(script.weights.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 4, 4, 5, 6, 12, 13]);
        assert_eq!(script.states.len(), plain.states.len());
        let steps = |script: &Script| script.rows.iter().map(|row| row.step).collect::<Vec<_>>();
        assert_eq!((steps(&plain), steps(&script)), (vec![7, 12, 14, 21, 24], vec![5, 6, 7, 12, 14, 21, 24]));
        // Views use the same weights as validation: the average.
        assert!(script.weights[0].1 == settings.network.initial_parameters(settings.seed));
        let average = |step: u64| &script.weights.iter().find(|(at, _)| *at == step).expect("a look").1;
        let state = plain.state(12);
        assert!(average(12) != &state.parameters && state.average.contains(&average(12)[0].weight[0]));
        for (row, plain) in script.rows.iter().filter(|row| row.step > 6).zip(&plain.rows) {
            assert_eq!(
                (row.validation_loss, row.classification_loss),
                (plain.validation_loss, plain.classification_loss)
            );
        }
    }
}

#[test]
fn a_run_that_gives_way_before_each_step_ends_with_the_same_bits() {
    let settings = settings(NET, "adam", 20);
    let wanted = run(&settings, &mut Script::default());
    let mut script = Script { gives_way: true, ..Script::of(&[(5, Command::Pause)]) };
    let outcome = run(&settings, &mut script);
    assert_eq!(bits(&outcome.state), bits(&wanted.state));
    assert_eq!((script.turns, script.waits), (20, vec![5]));
}

#[test]
fn pauses_are_no_training_time() {
    let settings = settings(NORMALISED, "sgd", 600);
    let commands = [(5, Command::Pause), (200, Command::Pause), (201, Command::Pause), (400, Command::Pause)];
    let mut script = Script { pause: Duration::from_millis(1500), ..Script::of(&commands) };
    script.measured = vec![5, 200, 201, 400];
    let begin = Instant::now();
    let outcome = run(&settings, &mut script);
    let (wall, trained) = (begin.elapsed().as_secs_f64(), outcome.state.train_seconds);
    assert_eq!(script.waits.len(), 4);
    assert!(wall >= 6.0 && trained <= wall - 6.0, "{trained} s of training in {wall} s");
    assert!((outcome.images_per_second * trained / outcome.examples_seen as f64 - 1.0).abs() < 1e-6);
    let mut before = (0, 0.0);
    for row in &script.rows {
        let (examples, seconds) = (row.examples_seen - before.0, row.train_seconds - before.1);
        assert!((row.images_per_second * seconds / examples as f64 - 1.0).abs() < 1e-3, "row {}", row.step);
        before = (row.examples_seen, row.train_seconds);
    }
    // Progress intervals are disjoint parts of the training time.
    let seen = |step: u64| step / 12 * 225 + step % 12 * 20;
    let steps = [0].into_iter().chain(script.progress.iter().map(|p| p.step));
    let intervals = script.progress.iter().zip(steps).map(|(p, before)| {
        let examples = seen(p.step) - seen(before);
        examples as f64 / p.images_per_second
    });
    let shown: f64 = intervals.sum();
    assert!(shown > 0.0 && shown <= trained + 1e-6, "{shown} s between events of progress, {trained} s of training");
}

#[test]
fn a_run_can_be_stopped_in_a_pause_and_goes_on_from_there() {
    let settings = settings(NET, "adadelta", 20);
    let wanted = run(&settings, &mut Script::default());
    let mut script = Script { stop_in_pause: Some(8), ..Script::of(&[(6, Command::Pause), (8, Command::Pause)]) };
    let stopped = run_on(&Device::Cpu, &settings, None, &mut script).expect_err("it is stopped");
    assert!(matches!(stopped, Error::Interrupted), "{stopped}");
    let state = script.state(8).clone();
    let resumed = run_on(&Device::Cpu, &settings, Some(state), &mut Script::default()).expect("it goes on");
    assert_eq!(bits(&resumed.state), bits(&wanted.state));
}

/// Changes of all kinds, several at one step, in the middle and at the end of an epoch, and a return to an earlier
/// batch size.
fn many_changes(network: &Network) -> Vec<(u64, Change)> {
    let loaded = || network.initial_parameters(7);
    vec![
        (3, Change::Set(LearningRate, 0.02)),
        (7, Change::Set(BatchSize, 32.0)),
        (7, Change::Set(L2Decay, 0.01)),
        (7, Change::Set(BatchSize, 9.0)),
        (17, Change::Set(BatchSize, 25.0)),
        (17, Change::Set(L1Decay, 0.001)),
        (20, Change::Weights { parameters: loaded(), source: "a file".into() }),
        (20, Change::Set(LearningRate, 0.001)),
        (24, Change::Set(BatchSize, 20.0)),
        (30, Change::Set(LearningRate, 0.0)),
        (34, Change::Set(LearningRate, 0.005)),
    ]
}

#[test]
fn a_changed_run_that_was_killed_anywhere_ends_with_the_same_bits() {
    let cases = [(NET, "nesterov", None), (NORMALISED, "adam", Some(0.9))];
    for device in devices() {
        for (net, optimizer, ema) in cases {
            let overrides = Recipe {
                ema,
                checkpoint_every: Some(4),
                schedule: Some("one-cycle".parse().expect("a schedule")),
                ..overrides(optimizer, Length::Epochs(4))
            };
            let settings = resolved(net, &overrides);
            let mut changes = many_changes(&settings.network);
            if optimizer == "nesterov" {
                changes.insert(5, (17, Change::Set(Momentum, 0.5)));
            }
            let mut script = Script::changes(&changes);
            let whole = run_on(&device, &settings, None, &mut script).expect("it trains");
            assert_eq!(script.changed.len(), changes.len(), "{:?}", script.refused);
            assert!(script.commands.is_empty() && whole.examples_seen == 900);
            let now = &script.changed[changes.len() - 1].1;
            assert_eq!((now.batch_size, now.optimizer.learning_rate()), (20, 0.005));
            let rows: Vec<ChangeRow> = script.changed.iter().map(|(row, _)| row.clone()).collect();
            assert_eq!(rows, whole.state.changes);
            assert!(rows.iter().map(|row| row.step).eq(changes.iter().map(|(step, _)| *step)));
            for (state, commands) in script.states {
                let (step, made) = (state.step, state.changes.len());
                let mut rest = Script { commands, ..Script::default() };
                let resumed = run_on(&device, &settings, Some(state), &mut rest).expect("it goes on");
                assert_eq!(bits(&resumed.state), bits(&whole.state), "step {step}, {made} changes, {}", device.info());
                assert_eq!(resumed.test, whole.test);
            }
        }
    }
}

#[test]
fn an_explosion_after_a_change_is_explained_with_the_settings_that_it_came_about_with() {
    for device in devices() {
        let settings = settings(NET, "sgd", 100);
        let mut script = Script::changes(&[(6, Change::Set(BatchSize, 10.0)), (9, Change::Set(LearningRate, 1e20))]);
        let error = run_on(&device, &settings, None, &mut script).expect_err("it explodes");
        let Error::NonFinite { step, .. } = &error else { panic!("{error}") };
        assert!((11..=13).contains(step), "{error}");
        // A change that arrives when weights are already infinite but no loss has shown it yet.
        let changes = [
            (9, Change::Set(L1Decay, 100.0)),
            (9, Change::Set(LearningRate, 3e38)),
            (10, Change::Set(LearningRate, 0.0)),
        ];
        let mut script = Script::changes(&changes);
        let later = run_on(&device, &settings, None, &mut script).expect_err("it explodes");
        assert!(matches!(&later, Error::NonFinite { step: 10, tensor, .. } if tensor == "weight"), "{later}");
        assert_eq!(script.states.last().map(|(state, _)| state.step), Some(9), "a checkpoint that is not finite");
    }
}

/// Writes a run folder as the program does, and gives commands like a script.
struct Writer {
    script: Script,
    folder: RunFolder,
    settings: Settings,
    stop_at: Option<u64>,
    /// The point before which it is killed: the checkpoint or the row of this change, counted from 0.
    killed_before: Option<(&'static str, usize)>,
}

impl Observer for Writer {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        let data = data();
        let killed = |what: &str, change: usize| match self.killed_before == Some((what, change)) {
            true => Err(Error::Device("killed".into())),
            false => Ok(()),
        };
        match event {
            Event::Step(row) => self.folder.append_step(row)?,
            Event::Epoch(row, _) => self.folder.append_epoch(row)?,
            Event::Best { step, weights } => {
                self.folder.save_weights(BEST, &self.settings, &data.provenance(), *step, weights)?;
            }
            Event::Checkpoint(state) => {
                let changed = state.changes.len() > self.script.changed.len();
                killed("checkpoint", if changed { state.changes.len() - 1 } else { usize::MAX })?;
                self.folder.save_checkpoint(&self.settings, &data.provenance(), state)?;
            }
            Event::Changed { row, .. } => {
                killed("row", self.script.changed.len())?;
                self.folder.append_change(row)?;
            }
            _ => {}
        }
        self.script.event(event)
    }

    fn should_stop(&self) -> bool {
        self.stop_at.is_some_and(|at| self.script.asked + 1 >= at)
    }

    fn command(&mut self, step: u64) -> Option<Command> {
        self.script.command(step)
    }
}

const STEPS: &str = "40";

/// A folder whose run the program began, for `STEPS` steps, and that was then changed until it was stopped or killed.
fn changed_folder(place: &Path, stop_at: Option<u64>, killed_before: Option<(&'static str, usize)>) -> Error {
    let (data_folder, net) = (place.join("data"), place.join("small.toml"));
    if !data_folder.exists() {
        fs::create_dir(&data_folder).expect("a folder");
        write_data(&data_folder, EXAMPLES, 50);
        fs::write(&net, NET).expect("a description");
    }
    let run = place.join("run");
    let mut command = glassnet(&["train", "--device", "cpu", "--dataset", "mnist", "--optimizer", "momentum"]);
    command.args(["--stats-every", "5", "--checkpoint-every", "8", "--steps", "2", "--data-dir"]).arg(&data_folder);
    command.arg("--net").arg(&net).arg("--out").arg(&run).assert().success();
    for name in ["model.safetensors", "summary.json", "best.safetensors"] {
        fs::remove_file(run.join(name)).expect("a file of a run");
    }
    let config = fs::read_to_string(run.join("config.toml")).expect("the settings");
    assert!(config.contains("steps = 2\n"), "{config}");
    fs::write(run.join("config.toml"), config.replace("steps = 2\n", &format!("steps = {STEPS}\n"))).expect("longer");

    let mut folder = RunFolder::open(&run).expect("a run");
    let settings = folder.read_config().and_then(|config| config.settings()).expect("its settings");
    let state = folder.resume(&settings).expect("a checkpoint");
    let changes = [
        (10, Change::Set(LearningRate, 0.05)),
        (13, Change::Set(BatchSize, 7.0)),
        (13, Change::Set(Momentum, 0.1 + 0.2)),
        (20, Change::Set(L2Decay, 0.01)),
    ];
    let script = Script::changes(&changes);
    let mut writer = Writer { script, folder, settings: settings.clone(), stop_at, killed_before };
    block_on(train(&Device::Cpu, &data(), &settings, state, &mut writer)).expect_err("it is stopped")
}

fn resume(place: &Path) -> assert_cmd::Command {
    let mut command = glassnet(&["train", "--resume"]);
    command.arg(place.join("run"));
    command
}

fn metrics(place: &Path) -> Vec<Value> {
    let text = fs::read_to_string(place.join("run/metrics.jsonl")).expect("rows");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// Rows of changes without their clock.
fn change_rows(place: &Path) -> Vec<Value> {
    let mut rows = metrics(place);
    rows.retain(|row| row["kind"] == "change");
    rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| {
        assert!(row.remove("train_seconds").is_some_and(|seconds| seconds.is_f64()));
    });
    rows
}

fn expected_rows() -> Value {
    json!([
        { "kind": "change", "step": 10, "what": "learning_rate", "from": 0.01, "to": 0.05 },
        { "kind": "change", "step": 13, "what": "batch_size", "from": 20, "to": 7 },
        { "kind": "change", "step": 13, "what": "momentum", "from": 0.9, "to": 0.1 + 0.2 },
        { "kind": "change", "step": 20, "what": "l2_decay", "from": 0.0, "to": 0.01 },
    ])
}

/// The model of the uninterrupted run.
fn whole_model(place: &Path) -> Vec<u8> {
    let stopped = changed_folder(place, Some(21), None);
    assert!(matches!(stopped, Error::Interrupted), "{stopped}");
    resume(place).assert().success();
    fs::read(place.join("run/model.safetensors")).expect("the model")
}

#[test]
fn the_program_goes_on_with_a_changed_run() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    let config_now = || fs::read_to_string(place.join("run/config.toml")).expect("the settings");
    let stopped = changed_folder(place, Some(25), None);
    assert!(matches!(stopped, Error::Interrupted), "{stopped}");
    let config = config_now();
    let resumed = resume(place).assert().success();
    let (out, err) = (&resumed.get_output().stdout, &resumed.get_output().stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(err.contains("4 changes made during the run apply again"), "{err}");
    assert!(err.contains("the learning rate from 0.01 to 0.05 at step 10"), "{err}");
    assert!(out.contains("momentum at learning rate 0.05") && out.contains("batch 7, "), "{out}");
    assert_eq!(Value::from(change_rows(place)), expected_rows());
    let now = config_now();
    assert!(now.contains("batch_size = 20\n") && now.lines().count() == config.lines().count(), "{now}");
    let summary: Value =
        serde_json::from_slice(&fs::read(place.join("run/summary.json")).expect("a summary")).expect("JSON");
    // 11 batches of 20 and one of 5, an epoch; one of 20; then batches of 7.
    assert_eq!((&summary["changes"], &summary["steps"]), (&json!(4), &json!(40)));
    assert_eq!(summary["examples_seen"], 225 + 20 + 27 * 7);

    let model = fs::read(place.join("run/model.safetensors")).expect("the model");
    let again = resume(place).assert().success();
    assert!(String::from_utf8_lossy(&again.get_output().stderr).contains("is finished"));
    // 245 examples after 13 steps; 205 are left of the second epoch, 30 batches of 7.
    let mut longer = resume(place);
    assert_eq!(document(longer.args(["--epochs", "2"]))["steps"], 43);
    let other = tempfile::tempdir().expect("a folder");
    assert!(whole_model(other.path()) == model, "another stop gives another model");
}

#[test]
fn a_kill_around_a_change_leaves_a_run_that_goes_on_with_it_or_without() {
    let place = tempfile::tempdir().expect("a folder");
    let whole = whole_model(place.path());
    for (change, made) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        // Killed before its checkpoint, the change was never made.
        let place = tempfile::tempdir().expect("a folder");
        changed_folder(place.path(), None, Some(("checkpoint", change)));
        resume(place.path()).assert().success();
        let rows = change_rows(place.path());
        assert_eq!(rows, expected_rows().as_array().expect("rows")[..made - 1]);

        // Killed after its checkpoint, the change holds although no row records it.
        let place = tempfile::tempdir().expect("a folder");
        changed_folder(place.path(), None, Some(("row", change)));
        assert_eq!(change_rows(place.path()).len(), made - 1);
        resume(place.path()).assert().success();
        assert_eq!(change_rows(place.path()), expected_rows().as_array().expect("rows")[..made]);
        let model = fs::read(place.path().join("run/model.safetensors")).expect("the model");
        assert_eq!(model == whole, made == 4, "{made} changes");
    }
}

#[test]
fn damaged_rows_are_no_hindrance_and_changes_are_told_again() {
    let whole = tempfile::tempdir().expect("a folder");
    let whole = whole_model(whole.path());
    let network = r#"{"kind":"change","step":24,"train_seconds":0.5,"what":"network","from":"a","to":"b"}"#;
    type Damage<'a> = (&'a str, &'a dyn Fn(Vec<u8>) -> Vec<u8>);
    let damages: [Damage<'_>; 5] = [
        ("gone", &|_| Vec::new()),
        ("no text", &|_| vec![0xff, 0xfe, b'\n', 0]),
        ("half", &|bytes| bytes[..bytes.len() / 2].to_vec()),
        ("odd clock", &|_| b"{\"kind\":\"step\",\"step\":1,\"train_seconds\":-1e300}\n".to_vec()),
        ("of another run", &|bytes| [&bytes[..], network.as_bytes(), b"\n"].concat()),
    ];
    for (name, damage) in damages {
        let place = tempfile::tempdir().expect("a folder");
        changed_folder(place.path(), Some(25), None);
        let path = place.path().join("run/metrics.jsonl");
        fs::write(&path, damage(fs::read(&path).expect("rows"))).expect("damaged rows");
        let resumed = resume(place.path()).assert().success();
        assert!(!String::from_utf8_lossy(&resumed.get_output().stderr).contains("panicked"), "{name}");
        assert!(fs::read(place.path().join("run/model.safetensors")).expect("the model") == whole, "{name}");
        let mut rows = change_rows(place.path());
        assert_eq!(rows.iter().filter(|row| row["what"] == "network").count(), usize::from(name == "of another run"));
        rows.retain(|row| row["what"] != "network");
        assert_eq!(Value::from(rows), expected_rows(), "{name}");
    }
}

#[test]
fn changes_that_no_run_has_are_refused_on_resuming() {
    let place = tempfile::tempdir().expect("a folder");
    changed_folder(place.path(), Some(25), None);
    let path = place.path().join("run/checkpoint.safetensors");
    let whole = load_checkpoint(&path).expect("a checkpoint");
    let edits: [(&str, Value); 4] = [
        ("/changes/1/to", json!("many")),
        ("/changes/2/what", json!("colour")),
        ("/changes/0/step", json!(19)),
        ("/changes/3/step", json!(1000)),
    ];
    for (pointer, value) in edits {
        let mut checkpoint = whole.clone();
        *checkpoint.extra.pointer_mut(pointer).expect("it is there") = value;
        glassnet::formats::save_checkpoint(&path, &checkpoint).expect("a checkpoint");
        let message = if pointer.ends_with("3/step") { "what was changed in the run" } else { "cannot be repeated" };
        assert_fails_with(&mut resume(place.path()), &[message]);
    }
}
