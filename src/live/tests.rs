//! The board between a run and its watchers, without a server.

use super::board::{Board, Job, Resolve, Seen};
use crate::data::{Dataset, DatasetName, Examples, Origin};
use crate::look::message::{Message, Part, RunState, SettingsMessage, ShownMessage, StatusMessage, TestMessage};
use crate::look::{Introduction, Subject};
use crate::net::{Network, Recipe};
use crate::train::Changeable::{BatchSize, L2Decay, LearningRate, Momentum};
use crate::train::{Change, Command, EpochRow, Settings};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

fn settings() -> Settings {
    let optimizer = Some("momentum".parse().expect("an optimizer"));
    let given = Recipe { optimizer, ..Recipe::default() };
    Settings::resolve(Network::preset("convnetjs-mnist").expect("a preset"), &given).expect("valid")
}

fn subject(trains: bool) -> Subject {
    let part = |count: usize| Examples {
        shape: [28, 28, 1],
        classes: 10,
        pixels: vec![0; count * 784],
        labels: vec![3; count],
        numbers: Vec::new(),
    };
    let origin = Origin::Synthetic { fallback_reason: None };
    let dataset =
        Dataset { name: DatasetName::Synthetic, train: part(5), test: part(2), origin, held_out: Default::default() };
    Subject { settings: settings(), dataset: Arc::new(dataset), trains }
}

/// A board with a running training.
fn running() -> Board {
    begun(true)
}

fn begun(trains: bool) -> Board {
    let board = Board::new();
    begin(&board, trains);
    board.update_status(|status| status.state = RunState::Running);
    board
}

fn begin(board: &Board, trains: bool) {
    let subject = subject(trains);
    let introduction = Introduction {
        folder: "runs/x".into(),
        device: "cpu".into(),
        training_examples: 4,
        validation_examples: 1,
        first_step: 0,
    };
    let id = format!("run {}", board.lock().generation);
    let message = introduction.message(&subject, id);
    let resolve: Arc<Resolve> = Arc::new(|network| Settings::resolve(network, &Recipe::default()));
    board.begin(&message, subject, resolve, None, StatusMessage::default());
}

fn news(board: &Board, seen: &mut Seen) -> Vec<Value> {
    board.newer(seen).iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

fn kinds(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["kind"].as_str().expect("a kind")).collect()
}

fn epoch(step: u64) -> EpochRow {
    EpochRow {
        step,
        epoch: 1,
        examples_seen: step,
        validation_loss: f64::NAN,
        validation_accuracy: 0.5,
        averaged: false,
        train_seconds: 0.0,
    }
}

#[test]
fn a_run_that_nobody_asks_anything_of_is_told_nothing() {
    let board = running();
    assert!(board.command().is_none() && !board.measure_next());
}

#[test]
fn a_paused_run_makes_one_step_and_measures_it() {
    let board = running();
    board.pause().expect("it runs");
    assert_eq!([board.command(), board.command()], [Some(Command::Pause), Some(Command::Pause)]);
    board.step().expect("it is paused");
    board.wait(&|| false);
    assert_eq!(board.command(), None, "one step");
    assert!(board.measure_next() && !board.measure_next());
    assert_eq!(board.command(), Some(Command::Pause));
    board.resume().expect("it is paused");
    board.wait(&|| false);
    assert_eq!((board.command(), board.measure_next()), (None, false));
}

#[test]
fn a_pause_ends_where_the_run_should_stop() {
    let board = running();
    board.pause().expect("it runs");
    board.wait(&|| true);
    assert_eq!(board.command(), Some(Command::Pause));
}

#[test]
fn changes_come_in_their_order_and_are_answered_when_they_are_made() {
    let board = running();
    let mut answers =
        board.change(vec![Change::Set(LearningRate, 0.0), Change::Set(L2Decay, 0.5)]).expect("both are valid");
    assert_eq!(board.command(), Some(Command::Change(Change::Set(LearningRate, 0.0))));
    assert!(answers[0].try_recv().is_err(), "not yet");
    let after = settings().changed(&Change::Set(LearningRate, 0.0)).expect("valid");
    board.changed(Ok((&after, 30, "learning rate changed".into())));
    assert_eq!(answers[0].try_recv().expect("now"), Ok("learning rate changed".into()));
    let mut seen = Seen::default();
    let status = news(&board, &mut seen).pop().expect("a status");
    assert_eq!(status["settings"], serde_json::to_value(SettingsMessage::of(&after)).expect("JSON"));
    assert_eq!(status["end"], 30);
    assert_eq!(board.command(), Some(Command::Change(Change::Set(L2Decay, 0.5))));
    board.changed(Err("the device has no room".into()));
    assert_eq!(answers[1].try_recv().expect("now"), Err("the device has no room".into()));
    assert_eq!(board.command(), None);
}

#[test]
fn where_the_run_refuses_a_change_the_rest_of_the_request_is_not_made() {
    let board = running();
    let mut first =
        board.change(vec![Change::Set(BatchSize, 64.0), Change::Set(LearningRate, 0.5)]).expect("both are valid");
    let mut second = board.change(vec![Change::Set(L2Decay, 0.5)]).expect("valid");
    assert_eq!(board.command(), Some(Command::Change(Change::Set(BatchSize, 64.0))));
    board.changed(Err("the device has no room".into()));
    assert!(first[0].try_recv().expect("now").is_err() && first[1].try_recv().is_err(), "no answer comes any more");
    assert_eq!(board.command(), Some(Command::Change(Change::Set(L2Decay, 0.5))), "another request");
    board.changed(Ok((&settings(), 30, "L2 decay changed".into())));
    assert!(second[0].try_recv().expect("now").is_ok());
    assert_eq!(board.command(), None);
}

#[test]
fn a_view_that_is_due_comes_whatever_else_is_asked_for() {
    let board = begun(false);
    board.set_weights(7, &settings().network.initial_parameters(1));
    let _watcher = board.watch(1).expect("the first watcher");
    board.update_status(|status| status.state = RunState::Ended);
    board.view_task().expect("weights are there");
    assert!(!board.lock().view_stale);
    board.show(ShownMessage { split: Part::Train, index: 4 }).expect("it is there");
    // As for a picture to classify.
    board.task().expect("weights are there");
    assert!(board.lock().view_stale, "a view is due");
    assert_eq!(board.view_task().expect("weights are there").shown.index, 4);
}

#[test]
fn of_loaded_weights_there_is_a_view_at_once() {
    let board = running();
    board.set_weights(7, &settings().network.initial_parameters(1));
    let _watcher = board.watch(1).expect("the first watcher");
    board.pause().expect("it runs");
    board.view_task().expect("weights are there");
    board.resume().expect("it is paused");
    board.want_weights();
    assert!(board.lock().view_stale, "a view is due");
}

#[test]
fn what_cannot_be_is_refused_before_the_run_hears_of_it_and_nothing_of_it_is_done() {
    let board = running();
    let why = board.change(vec![Change::Set(LearningRate, 0.1), Change::Set(Momentum, 1.5)]).expect_err("momentum 1.5");
    assert!(why.contains("momentum"), "{why}");
    assert_eq!(board.command(), None);
    let many = (0..17).map(|_| Change::Set(LearningRate, 0.1)).collect();
    assert!(board.change(many).expect_err("too many").contains("are waiting"));
    assert!(board.show(ShownMessage { split: Part::Test, index: 2 }).expect_err("two").contains("from 0 to 1"));
    assert!(board.restart("layers = 3").is_err());
    assert_eq!(board.command(), None);
}

#[test]
fn a_run_that_is_over_or_only_looked_at_cannot_be_changed() {
    let board = running();
    board.pause().expect("it runs");
    let mut waiting = board.change(vec![Change::Set(LearningRate, 0.1)]).expect("valid");
    board.update_status(|status| status.state = RunState::Testing);
    assert_eq!(waiting[0].try_recv().expect("answered"), Err("the run is over".into()));
    assert!(board.pause().is_err() && board.step().is_err() && board.resume().is_err());
    let looked_at = begun(false);
    assert!(looked_at.pause().expect_err("only looked at").contains("only be viewed"));
    assert!(looked_at.restart(&settings().network.to_toml()).is_err());
    looked_at.show(ShownMessage { split: Part::Train, index: 4 }).expect("looking is all right");
}

#[test]
fn a_restart_stops_the_run_and_is_answered_by_the_next_one() {
    let board = running();
    board.pause().expect("it runs");
    let mut answer = board.restart(&settings().network.to_toml()).expect("valid");
    assert!(board.wants_restart() && board.restart(&settings().network.to_toml()).is_err());
    board.wait(&|| false);
    assert!(board.take_restart().is_some() && !board.wants_restart());
    begin(&board, true);
    assert_eq!(answer.try_recv().expect("answered"), Ok("a new run goes on in runs/x".into()));
    assert_eq!(board.command(), None, "the new run is not paused");
}

#[test]
fn a_watcher_gets_the_run_first_and_then_what_is_new() {
    let board = running();
    board.push_row(&Message::Epoch(&epoch(1)));
    let (mut seen, _) = board.watch(1).expect("the first watcher");
    let first = news(&board, &mut seen);
    assert_eq!(kinds(&first), ["run", "epoch", "status"]);
    assert_eq!((&first[1]["validation_loss"], &first[2]["watchers"]), (&Value::Null, &Value::from(1)));
    assert_eq!(news(&board, &mut seen), Vec::<Value>::new(), "nothing is new");
    board.push_row(&Message::Epoch(&epoch(2)));
    board.push_row(&Message::Epoch(&epoch(3)));
    let steps: Vec<Value> = news(&board, &mut seen).iter().map(|row| row["step"].clone()).collect();
    assert_eq!(steps, [2, 3]);
    begin(&board, true);
    let again = news(&board, &mut seen);
    assert_eq!(kinds(&again), ["run", "status"], "the rows of the run before are gone");
    assert_ne!(again[0]["id"], first[0]["id"]);
}

#[test]
fn watchers_are_few_and_make_room_when_they_leave() {
    let board = running();
    let (seen, _) = board.watch(1).expect("the first watcher");
    assert!(board.watch(1).is_none());
    board.leave(seen.watcher);
    assert!(board.watch(1).is_some());
}

#[test]
fn a_view_of_a_run_that_is_gone_is_not_shown() {
    let board = running();
    board.set_weights(7, &settings().network.initial_parameters(1));
    board.update_status(|status| status.state = RunState::Ended);
    let task = board.task().expect("weights are there");
    assert_eq!(task.weights.step, 7);
    let test = TestMessage { accuracy: 0.5, examples: 20 };
    begin(&board, true);
    let mut seen = Seen::default();
    board.set_view(task.generation, &Message::Epoch(&epoch(1)), test);
    assert_eq!(kinds(&news(&board, &mut seen)), ["run", "status"]);
    board.set_view(task.generation + 1, &Message::Epoch(&epoch(1)), test);
    assert_eq!(kinds(&news(&board, &mut seen)), ["epoch", "status"]);
}

#[test]
fn pictures_that_wait_are_bounded() {
    let board = running();
    let ask = || board.ask(Job::Classify(Vec::new(), tokio::sync::oneshot::channel().0));
    (0..16).for_each(|_| ask().expect("there is room"));
    assert!(ask().expect_err("there is none").contains("try again"));
}

#[test]
fn the_page_of_a_run_that_is_over_waits_for_nobody() {
    let board = begun(true);
    board.update_status(|status| status.state = RunState::Ended);
    // Returns: nobody watches.
    board.wait_while_watched(Some(Duration::ZERO), &|| false);
    let (_watcher, _) = board.watch(1).expect("a watcher");
    let calls = std::cell::Cell::new(0);
    board.wait_while_watched(Some(Duration::ZERO), &|| {
        calls.set(calls.get() + 1);
        calls.get() > 3
    });
    assert_eq!(calls.get(), 4, "it waits for the watcher, until it is told to stop");
}
