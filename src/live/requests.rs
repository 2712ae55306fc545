//! Requests from watchers to the board.

use super::board::{Answer, Board, Inner, Job, Seen, Waiting};
use crate::look::message::{Message, Part, ShownMessage, StatusMessage};
use crate::net::Network;
use crate::train::Change;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The most changes and pictures that may wait.
const MOST_WAITING: usize = 16;

impl Board {
    pub fn pause(&self) -> Answer {
        let mut inner = self.lock();
        inner.check_trains()?;
        inner.paused = true;
        self.signal(&inner);
        Ok("paused".into())
    }

    pub fn resume(&self) -> Answer {
        let mut inner = self.lock();
        inner.check_trains()?;
        (inner.paused, inner.steps_allowed) = (false, 0);
        self.signal(&inner);
        Ok("resumed".into())
    }

    pub fn step(&self) -> Answer {
        let mut inner = self.lock();
        inner.check_trains()?;
        // Pressed while the run is not paused, it pauses.
        let done = if inner.paused { "one step" } else { "paused; press again for a step" };
        if inner.paused {
            inner.steps_allowed = (inner.steps_allowed + 1).min(MOST_WAITING as u64);
        }
        inner.paused = true;
        self.signal(&inner);
        Ok(done.into())
    }

    /// Queues changes, all or none; the answers come when the run has made them. If the run refuses one, the changes
    /// after it are dropped.
    pub fn change(&self, changes: Vec<Change>) -> Result<Vec<oneshot::Receiver<Answer>>, String> {
        let mut inner = self.lock();
        inner.check_changes(&changes)?;
        let request = inner.new_request();
        let queue = |change| {
            let (answer, receiver) = oneshot::channel();
            inner.changes.push_back(Waiting { request, change, answer });
            receiver
        };
        let receivers = changes.into_iter().map(queue).collect();
        self.signal(&inner);
        Ok(receivers)
    }

    /// Queues one change with the receiver of its answer.
    pub fn change_for(&self, change: Change, answer: oneshot::Sender<Answer>) {
        let mut inner = self.lock();
        match inner.check_changes(std::slice::from_ref(&change)) {
            Err(why) => drop(answer.send(Err(why))),
            Ok(()) => {
                let request = inner.new_request();
                inner.changes.push_back(Waiting { request, change, answer });
                self.signal(&inner);
            }
        }
    }

    pub fn show(&self, shown: ShownMessage) -> Answer {
        let mut inner = self.lock();
        let subject = inner.subject.clone().ok_or("the run has not begun")?;
        let (part, examples) = match shown.split {
            Part::Train => ("train", subject.dataset.train.len()),
            Part::Test => ("test", subject.dataset.test.len()),
        };
        if shown.index >= examples {
            return Err(format!(
                "{part} example {} does not exist; choose one from 0 to {}",
                shown.index,
                examples - 1
            ));
        }
        (inner.status.shown, inner.view_stale) = (shown, true);
        self.wake.notify_all();
        drop(inner);
        self.notify_watchers();
        Ok("shown with the next view".into())
    }

    /// Requests a new run with the network that `text` describes.
    pub fn restart(&self, text: &str) -> Result<oneshot::Receiver<Answer>, String> {
        let (subject, resolve) = {
            let inner = self.lock();
            inner.subject.clone().zip(inner.resolve.clone()).ok_or("the run has not begun")?
        };
        if !subject.trains {
            return Err("this run can only be viewed; open the page of one that trains".into());
        }
        let network = Network::from_toml(text, "the description").map_err(|why| why.to_string())?;
        let settings = resolve(network).map_err(|why| why.to_string())?;
        let mut inner = self.lock();
        if inner.restart.is_some() || inner.restart_answer.is_some() {
            return Err("another new run is about to begin".into());
        }
        let (answer, receiver) = oneshot::channel();
        (inner.restart, inner.restart_answer) = (Some(settings), Some(answer));
        self.signal(&inner);
        Ok(receiver)
    }

    pub fn ask(&self, job: Job) -> Result<(), String> {
        let mut inner = self.lock();
        if inner.subject.is_none() {
            return Err("the run has not begun".into());
        }
        if inner.jobs.len() >= MOST_WAITING {
            return Err("too many requests are waiting; try again in a moment".into());
        }
        inner.jobs.push_back(job);
        self.wake.notify_all();
        Ok(())
    }

    /// Adds a watcher; `None` if there are already `most`.
    pub fn watch(&self, most: usize) -> Option<(Seen, watch::Receiver<()>)> {
        let mut inner = self.lock();
        if inner.connected >= most {
            return None;
        }
        inner.connected += 1;
        inner.next_watcher += 1;
        let watcher = inner.next_watcher;
        inner.watchers.push((watcher, Instant::now()));
        inner.note_watchers();
        self.wake.notify_all();
        Some((Seen { watcher, ..Seen::default() }, self.news.subscribe()))
    }

    pub fn leave(&self, watcher: u64) {
        let mut inner = self.lock();
        inner.connected = inner.connected.saturating_sub(1);
        inner.watchers.retain(|(known, _)| *known != watcher);
        inner.note_watchers();
        drop(inner);
        self.notify_watchers();
    }

    /// Records that a watcher has read something; a watcher presumed gone counts again.
    pub fn took(&self, watcher: u64) {
        let mut inner = self.lock();
        match inner.watchers.iter_mut().find(|(known, _)| *known == watcher) {
            Some(entry) => entry.1 = Instant::now(),
            None => inner.watchers.push((watcher, Instant::now())),
        }
        inner.note_watchers();
    }

    /// The messages that are new to a watcher.
    pub fn newer(&self, seen: &mut Seen) -> Vec<Arc<str>> {
        self.took(seen.watcher);
        let inner = self.lock();
        let mut news = Vec::new();
        if seen.generation != inner.generation {
            *seen = Seen { watcher: seen.watcher, generation: inner.generation, ..Seen::default() };
            news.extend(inner.run.clone());
        }
        let (rows, sequence) = inner.rows.after(seen.sequence);
        (seen.sequence, news) = (sequence, [news, rows].concat());
        if seen.views != inner.views {
            seen.views = inner.views;
            news.extend(inner.view.clone());
        }
        let known = |(status, at): &(StatusMessage, Instant)| {
            *status == inner.status && at.elapsed() < Duration::from_millis(900)
        };
        if !seen.status.as_ref().is_some_and(known) {
            news.push(Message::Status(&inner.status).to_json().into());
            seen.status = Some((inner.status.clone(), Instant::now()));
        }
        news
    }
}

impl Inner {
    fn new_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    fn check_trains(&self) -> Result<(), String> {
        match &self.subject {
            Some(subject) if !subject.trains => Err("this run can only be viewed, not changed".into()),
            Some(_) if self.status.state.is_over() => Err("the run is over".into()),
            Some(_) => Ok(()),
            None => Err("the run has not begun".into()),
        }
    }

    /// Checks in advance, as far as possible, that these changes can be made one after another.
    fn check_changes(&self, changes: &[Change]) -> Result<(), String> {
        self.check_trains()?;
        if self.changes.len() + changes.len() > MOST_WAITING {
            return Err("too many changes are waiting; try again in a moment".into());
        }
        let mut settings = self.settings.clone().ok_or("the run has not begun")?;
        for change in self.changes.iter().map(|waiting| &waiting.change).chain(changes) {
            settings = settings.changed(change).map_err(|why| why.to_string())?;
        }
        Ok(())
    }
}
