//! The state that the run, the viewer and the watchers share. Writers replace old values and readers take the newest,
//! so nobody waits for a slow watcher, and no queue grows.

use crate::Result;
use crate::formats::Format;
use crate::look::message::{
    Message, Part, RunMessage, RunState, SettingsMessage, ShownMessage, StatusMessage, TestMessage,
};
use crate::look::{PageRows, Subject, Weights};
use crate::net::{Network, Parameters};
use crate::train::{Change, Settings};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The time without reading after which a watcher no longer counts, because it may have vanished.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// The answer to a request: what was done, or why not.
pub(super) type Answer = Result<String, String>;

/// Returns the settings for training another network in place of the run, or why it cannot be trained.
pub type Resolve = dyn Fn(Network) -> Result<Settings> + Send + Sync;

/// A change that waits for its turn.
pub(super) struct Waiting {
    /// Changes of the same request have the same number.
    pub request: u64,
    pub change: Change,
    pub answer: oneshot::Sender<Answer>,
}

/// A request to the viewer.
pub(super) enum Job {
    /// A picture file to classify.
    Classify(Vec<u8>, oneshot::Sender<Answer>),
    /// The weights as a file.
    Snapshot(&'static Format, oneshot::Sender<Result<Vec<u8>, String>>),
    /// A file with weights, and its name.
    Load(Vec<u8>, String, oneshot::Sender<Answer>),
}

/// The data for the viewer's next computation.
pub(super) struct Task {
    pub subject: Arc<Subject>,
    pub generation: u64,
    pub weights: Weights,
    pub shown: ShownMessage,
    /// Whether training continues at the same time.
    pub trains: bool,
}

#[derive(Default)]
pub(super) struct Inner {
    /// Counts runs; watchers start again when it changes.
    pub generation: u64,
    pub run: Option<Arc<str>>,
    pub rows: PageRows,
    /// Counts views.
    pub views: u64,
    pub view: Option<Arc<str>>,
    pub status: StatusMessage,
    pub subject: Option<Arc<Subject>>,
    pub resolve: Option<Arc<Resolve>>,
    pub settings: Option<Settings>,
    pub weights: Option<Weights>,
    pub weights_wanted: bool,
    /// Whether the example differs from that of the last view, or the weights are final.
    pub view_stale: bool,
    pub paused: bool,
    /// Whether the next run should begin with a pause.
    pub begins_paused: bool,
    pub steps_allowed: u64,
    pub measure: bool,
    pub changes: VecDeque<Waiting>,
    /// Counts requests for changes.
    pub next_request: u64,
    /// The request whose change the run is making: its number and its waiting client.
    pub answering: Option<(u64, oneshot::Sender<Answer>)>,
    pub restart: Option<Settings>,
    pub restart_answer: Option<oneshot::Sender<Answer>>,
    pub jobs: VecDeque<Job>,
    /// Watchers with a connection, including those that read nothing.
    pub connected: usize,
    pub watchers: Vec<(u64, Instant)>,
    pub next_watcher: u64,
    pub last_watched: Option<Instant>,
    pub closed: bool,
}

/// What a watcher has already received.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub watcher: u64,
    pub generation: u64,
    pub sequence: u64,
    pub views: u64,
    pub status: Option<(StatusMessage, Instant)>,
}

pub(super) struct Board {
    inner: Mutex<Inner>,
    /// Whether the run has something to handle between two steps; avoids taking the lock.
    attention: AtomicBool,
    /// Wakes a paused run and the viewer.
    pub wake: Condvar,
    /// Wakes watchers.
    pub news: watch::Sender<()>,
}

impl Board {
    pub fn new() -> Board {
        Board {
            inner: Mutex::default(),
            attention: AtomicBool::new(false),
            wake: Condvar::new(),
            news: watch::Sender::new(()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked has left only plain values behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether there are requests for the run, and wakes the run and the viewer.
    pub fn signal(&self, inner: &Inner) {
        let asked = inner.weights_wanted || inner.measure || !inner.changes.is_empty() || inner.restart.is_some();
        self.attention.store(inner.paused || asked, Ordering::Release);
        self.wake.notify_all();
    }

    pub fn notify_watchers(&self) {
        self.news.send_replace(());
    }

    // Calls by the run.

    /// Puts another run in place of the current one.
    pub fn begin(
        &self,
        message: &RunMessage,
        subject: Subject,
        resolve: Arc<Resolve>,
        weights: Option<Weights>,
        status: StatusMessage,
    ) {
        let mut inner = self.lock();
        inner.generation += 1;
        inner.run = Some(Message::Run(message).to_json().into());
        inner.rows = PageRows::default();
        inner.view = None;
        let shown = inner.status.shown;
        let most = |part| match part {
            Part::Train => subject.dataset.train.len(),
            Part::Test => subject.dataset.test.len(),
        };
        let shown = if shown.index < most(shown.split) { shown } else { ShownMessage::default() };
        inner.status = StatusMessage { shown, settings: SettingsMessage::of(&subject.settings), ..status };
        inner.settings = Some(subject.settings.clone());
        (inner.subject, inner.resolve) = (Some(Arc::new(subject)), Some(resolve));
        (inner.weights, inner.view_stale) = (weights, true);
        inner.paused = std::mem::take(&mut inner.begins_paused);
        (inner.steps_allowed, inner.measure, inner.weights_wanted, inner.answering) = (0, false, false, None);
        inner.changes.clear();
        if let Some(answer) = inner.restart_answer.take() {
            let _ = answer.send(Ok(format!("a new run goes on in {}", message.folder)));
        }
        self.signal(&inner);
        drop(inner);
        self.notify_watchers();
    }

    pub fn update_status(&self, update: impl FnOnce(&mut StatusMessage)) {
        let mut inner = self.lock();
        let before = inner.status.state;
        update(&mut inner.status);
        if inner.status.state.is_over() && inner.status.state != before {
            inner.view_stale = true;
            let refused = inner.status.message.clone().unwrap_or("the run is over".into());
            let answers: Vec<_> = inner.changes.drain(..).map(|waiting| waiting.answer).collect();
            let answers = answers.into_iter().chain(inner.answering.take().map(|(_, answer)| answer));
            answers.for_each(|answer| drop(answer.send(Err(refused.clone()))));
            self.signal(&inner);
        }
        drop(inner);
        self.notify_watchers();
    }

    pub fn push_row(&self, message: &Message<'_>) {
        self.lock().rows.push(message);
        self.notify_watchers();
    }

    pub fn set_weights(&self, step: u64, parameters: &[Parameters]) {
        let parameters = Arc::new(parameters.to_vec());
        let mut inner = self.lock();
        inner.weights = Some(Weights { step, parameters });
        inner.weights_wanted = false;
        // Progress is reported at intervals, but a pause must show its exact step.
        inner.status.step = inner.status.step.max(step);
        // No other event will announce the weights of a pause.
        inner.view_stale |= inner.paused;
        self.signal(&inner);
    }

    /// Makes the next run wait before its first step.
    pub fn pause_at_first(&self) {
        self.lock().begins_paused = true;
    }

    pub fn watchers(&self) -> usize {
        let mut inner = self.lock();
        inner.prune();
        inner.watchers.len()
    }

    /// Records why the viewer has no pictures, until it has some.
    pub fn no_pictures(&self, why: String) {
        let mut inner = self.lock();
        inner.status.no_pictures = Some(why);
        drop(inner);
        self.notify_watchers();
    }

    /// Requests a view, because the weights have changed.
    pub fn want_weights(&self) {
        let mut inner = self.lock();
        inner.weights_wanted = true;
        // In a pause, the view waits for the weights.
        inner.view_stale |= !inner.paused;
        self.signal(&inner);
    }

    /// Records the settings after a change and the end of the run, and answers the request. If the change was refused,
    /// drops the other changes of the same request.
    pub fn changed(&self, outcome: Result<(&Settings, u64, String), String>) {
        let mut inner = self.lock();
        let answer = match outcome {
            Ok((settings, end, done)) => {
                inner.settings = Some(settings.clone());
                (inner.status.settings, inner.status.end) = (SettingsMessage::of(settings), end);
                Ok(done)
            }
            Err(why) => Err(why),
        };
        if let Some((request, asker)) = inner.answering.take() {
            if answer.is_err() {
                inner.changes.retain(|waiting| waiting.request != request);
                self.signal(&inner);
            }
            let _ = asker.send(answer);
        }
        drop(inner);
        self.notify_watchers();
    }

    // Questions from the run.

    /// The next command for the run, before its next step.
    pub fn command(&self) -> Option<crate::train::Command> {
        use crate::train::Command;
        if !self.attention.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = self.lock();
        if inner.restart.is_some() {
            return None;
        }
        if let Some(Waiting { request, change, answer }) = inner.changes.pop_front() {
            inner.answering = Some((request, answer));
            self.signal(&inner);
            return Some(Command::Change(change));
        }
        if inner.weights_wanted {
            return Some(Command::Weights);
        }
        if !inner.paused {
            return None;
        }
        if inner.steps_allowed > 0 {
            inner.steps_allowed -= 1;
            inner.measure = true;
            return None;
        }
        if inner.status.state != RunState::Paused {
            inner.status.state = RunState::Paused;
            self.notify_watchers();
        }
        Some(Command::Pause)
    }

    /// Whether the next step's statistics are wanted although they are not due.
    pub fn measure_next(&self) -> bool {
        if !self.attention.load(Ordering::Acquire) {
            return false;
        }
        let mut inner = self.lock();
        let measure = std::mem::take(&mut inner.measure);
        self.signal(&inner);
        measure
    }

    /// Returns when a paused run may have something to do, or when `stop` says so.
    pub fn wait(&self, stop: &dyn Fn() -> bool) {
        let mut inner = self.lock();
        let idle = |inner: &Inner| {
            let asked = inner.weights_wanted || !inner.changes.is_empty() || inner.restart.is_some();
            inner.paused && inner.steps_allowed == 0 && !asked
        };
        while idle(&inner) && !stop() {
            inner = self.sleep(inner, Duration::from_millis(100));
        }
        if !inner.paused && inner.status.state == RunState::Paused {
            inner.status.state = RunState::Running;
            drop(inner);
            self.notify_watchers();
        }
    }

    fn sleep<'a>(&self, inner: MutexGuard<'a, Inner>, time: Duration) -> MutexGuard<'a, Inner> {
        self.wake.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether another run should replace this one.
    pub fn wants_restart(&self) -> bool {
        self.attention.load(Ordering::Acquire) && self.lock().restart.is_some()
    }

    pub fn take_restart(&self) -> Option<Settings> {
        let mut inner = self.lock();
        let restart = inner.restart.take();
        self.signal(&inner);
        restart
    }

    /// Tells the client who requested another run that it could not begin.
    pub fn refuse_restart(&self, why: String) {
        if let Some(answer) = self.lock().restart_answer.take() {
            let _ = answer.send(Err(why));
        }
    }

    /// After a run: returns when another one is requested, when nobody has watched for `patience`, or when `stop` says
    /// so.
    pub fn wait_while_watched(&self, patience: Option<Duration>, stop: &dyn Fn() -> bool) {
        let since = Instant::now();
        let mut inner = self.lock();
        while inner.restart.is_none() && !stop() {
            inner.prune();
            let last = inner.last_watched.map_or(since, |at| at.max(since));
            if patience.is_some_and(|patience| inner.watchers.is_empty() && last.elapsed() > patience) {
                return;
            }
            inner = self.sleep(inner, Duration::from_millis(200));
        }
    }

    // Calls by the viewer.

    /// Waits for a job or, once `due`, for something to view; `None` at the end.
    pub fn next(&self, due: Instant) -> Option<Next> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            if let Some(job) = inner.jobs.pop_front() {
                return Some(Next::Job(job));
            }
            inner.prune();
            let now = Instant::now();
            let resting = inner.paused || inner.status.state.is_over();
            let wanted = !inner.watchers.is_empty() && (inner.view_stale || (!resting && now >= due));
            if wanted && inner.subject.is_some() {
                return Some(Next::View);
            }
            // New watchers and requests wake it.
            let longest = Duration::from_millis(200);
            let left = if now < due { (due - now).min(longest) } else { longest };
            inner = self.sleep(inner, left);
        }
    }

    /// The newest weights, with the subject of the view. A running training is asked for weights and given a second.
    pub fn task(&self) -> Option<Task> {
        let mut inner = self.lock();
        let asked = Instant::now();
        let goes_on = |inner: &Inner| {
            let trains = inner.subject.as_ref().is_some_and(|subject| subject.trains);
            trains && !inner.paused && inner.status.state == RunState::Running
        };
        if goes_on(&inner) {
            inner.weights_wanted = true;
            self.signal(&inner);
            while inner.weights_wanted && goes_on(&inner) && asked.elapsed() < Duration::from_secs(1) {
                inner = self.sleep(inner, Duration::from_millis(50));
            }
        }
        let trains = goes_on(&inner);
        Some(Task {
            subject: inner.subject.clone()?,
            generation: inner.generation,
            weights: inner.weights.clone()?,
            shown: inner.status.shown,
            trains,
        })
    }

    /// The task of the view that is due. Later changes make another view due.
    pub fn view_task(&self) -> Option<Task> {
        self.lock().view_stale = false;
        self.task()
    }

    /// Publishes a view, unless another run has begun since.
    pub fn set_view(&self, generation: u64, message: &Message<'_>, test: TestMessage) {
        let json = message.to_json();
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        inner.views += 1;
        inner.view = Some(json.into());
        inner.status.test = (test.examples > 0).then_some(test);
        inner.status.no_pictures = None;
        drop(inner);
        self.notify_watchers();
    }

    /// Ends the viewer.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }
}

/// The viewer's next action.
pub(super) enum Next {
    Job(Job),
    View,
}

impl Inner {
    /// Forgets watchers that have read nothing for a long time.
    pub fn prune(&mut self) {
        self.watchers.retain(|(_, at)| at.elapsed() < GONE_AFTER);
        self.note_watchers();
    }

    pub fn note_watchers(&mut self) {
        self.status.watchers = self.watchers.len();
        if !self.watchers.is_empty() {
            self.last_watched = Some(Instant::now());
        }
    }
}
