//! Ctrl-C, a hangup and a request to end: the first asks to stop after a step, the second ends the program at once. A
//! signal that the program was started to ignore, as `nohup` has it ignore hangups, stays ignored.

use super::output::note;
use glassnet::{Error, Result};
#[cfg(unix)]
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
#[cfg(unix)]
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::thread;

/// Whether to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Nothing is lost by stopping.
    idle: Arc<AtomicBool>,
}

impl Interrupt {
    /// Handles Ctrl-C from now on; the note says that `what_follows` first.
    ///
    /// # Errors
    /// [`Error::Settings`] where the system does not let it.
    pub fn handle(what_follows: &'static str) -> Result<Interrupt> {
        let interrupt = Interrupt::default();
        let Interrupt { asked, idle } = interrupt.clone();
        let handler = move || {
            if asked.swap(true, Ordering::SeqCst) {
                process::exit(130);
            }
            if !idle.load(Ordering::SeqCst) {
                note(format_args!("stopping after this step; {what_follows} first (Ctrl-C again ends at once)"));
            }
        };
        on_signal(handler).map_err(|e| Error::Settings(format!("Ctrl-C cannot be handled: {e}")))?;
        Ok(interrupt)
    }

    /// Whether Ctrl-C was pressed.
    pub fn stops(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on nothing follows Ctrl-C.
    pub fn nothing_to_save(&self) {
        self.idle.store(true, Ordering::SeqCst);
    }

    pub fn something_to_save(&self) {
        self.idle.store(false, Ordering::SeqCst);
    }
}

/// Calls `handler` at each of the signals that end a program, on a thread of its own.
#[cfg(unix)]
fn on_signal(handler: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut heard = [SIGINT, SIGTERM, SIGHUP].to_vec();
    heard.retain(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heard)?;
    thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(|_| handler())).map(drop)
}

/// Whether the program was started with a signal ignored: by `nohup`, or by a shell that runs it in the background.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, sigaction changes nothing; where it returns 0 it has filled `now`.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(windows)]
fn on_signal(handler: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(handler)
}
