//! Computes views of the network while it trains, on a separate thread, so that the run only provides its weights.
//! After each view the thread rests long enough to use only a small share of the machine.

use super::board::{Answer, Board, Job, Next, Task};
use crate::data::treatment::Treatment;
use crate::look::message::Message;
use crate::look::{Lens, change_of_file};
use crate::{Error, Result};
use pollster::block_on;
use std::time::{Duration, Instant};

/// The shortest time between two views while a run trains.
const SHORTEST: Duration = Duration::from_secs(1);
/// The share of the time that views may take while a run trains.
const SHARE: f64 = 0.02;

/// A lens, with the generation of its run.
type Kept = Option<(u64, Lens)>;

/// Serves the board until it is closed.
pub(super) fn run(board: &Board) {
    let mut kept = None;
    let mut due = Instant::now();
    while let Some(next) = board.next(due) {
        let began = Instant::now();
        match next {
            Next::Job(job) => answer(board, &mut kept, job),
            Next::View => {
                let Some(task) = board.view_task() else {
                    due = began + SHORTEST;
                    continue;
                };
                let computing = Instant::now();
                if let Err(error) = look(board, &mut kept, &task) {
                    log::debug!("the live page has no pictures: {error}");
                    board.no_pictures(error.to_string());
                }
                let rest = if task.trains { computing.elapsed().div_f64(SHARE) } else { Duration::ZERO };
                due = began + rest.max(SHORTEST);
            }
        }
    }
}

fn look(board: &Board, kept: &mut Kept, task: &Task) -> Result<()> {
    let (view, test) = block_on(lens(kept, task)?.view(&task.weights, task.shown))?;
    board.set_view(task.generation, &Message::View(&view), test);
    Ok(())
}

/// The current lens, or a new one for another run.
fn lens<'a>(kept: &'a mut Kept, task: &Task) -> Result<&'a mut Lens> {
    let lens = match kept.take().filter(|(generation, _)| *generation == task.generation) {
        Some((_, lens)) => lens,
        None => block_on(Lens::new(task.subject.clone()))?,
    };
    Ok(&mut kept.insert((task.generation, lens)).1)
}

/// Carries out a watcher's request; the watcher may be gone.
fn answer(board: &Board, kept: &mut Kept, job: Job) {
    match job {
        Job::Classify(file, answer) => {
            let _ = answer.send(classify(board, kept, &file).map_err(|why| why.to_string()));
        }
        Job::Snapshot(kind, answer) => {
            let file = task(board).and_then(|Task { subject, weights, .. }| weights.to_file(&subject, kind));
            let _ = answer.send(file.map_err(|why| why.to_string()));
        }
        Job::Load(file, name, answer) => load(board, &file, &name, answer),
    }
}

fn task(board: &Board) -> Result<Task> {
    board.task().ok_or_else(|| Error::Settings("the run has not begun; try again in a moment".into()))
}

/// The view of a picture file, as JSON.
fn classify(board: &Board, kept: &mut Kept, file: &[u8]) -> Result<String> {
    let task = task(board)?;
    let dataset = &task.subject.dataset;
    if ![1, 3].contains(&dataset.test.shape[2]) {
        let channels = dataset.test.shape[2];
        return Err(Error::Data(format!(
            "the network takes images with {channels} channels, but pictures have 1 or 3"
        )));
    }
    let treatment = Treatment::of(dataset.name.as_str(), dataset.test.shape);
    let source = crate::data::Source::Bytes(file, "the picture");
    let pixels = treatment.apply(source, dataset.test.shape)?.pixels;
    let view = block_on(lens(kept, &task)?.classify(&task.weights, &pixels))?;
    Ok(Message::View(&view).to_json())
}

/// Reads weights and passes them to the run, which answers.
fn load(board: &Board, file: &[u8], name: &str, answer: tokio::sync::oneshot::Sender<Answer>) {
    let task = task(board).map_err(|why| why.to_string());
    match task.and_then(|task| change_of_file(file, name, &task.subject.settings.network)) {
        Ok(change) => board.change_for(change, answer),
        Err(why) => drop(answer.send(Err(why))),
    }
}
