//! Handles Ctrl-C, hangups and termination requests: the first stops the run after the current step, the second ends
//! the program at once. A signal that the program was started to ignore, as with `nohup`, stays ignored.

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

/// Tells whether to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Whether stopping loses nothing.
    idle: Arc<AtomicBool>,
}

impl Interrupt {
    /// Handles Ctrl-C from now on; `what_follows` says in the note what happens before the program stops.
    ///
    /// # Errors
    /// [`Error::Settings`] if the system does not allow it.
    pub fn handle(what_follows: &'static str) -> Result<Interrupt> {
        let interrupt = Interrupt::default();
        let Interrupt { asked, idle } = interrupt.clone();
        let handler = move || {
            if asked.swap(true, Ordering::SeqCst) {
                process::exit(130);
            }
            if !idle.load(Ordering::SeqCst) {
                note(format_args!(
                    "stopping after this step; {what_follows} first (press Ctrl-C again to end at once)"
                ));
            }
        };
        on_signal(handler).map_err(|e| Error::Settings(format!("Ctrl-C cannot be handled: {e}")))?;
        Ok(interrupt)
    }

    /// Whether Ctrl-C was pressed.
    pub fn stops(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Declares that nothing remains to be saved on Ctrl-C.
    pub fn nothing_to_save(&self) {
        self.idle.store(true, Ordering::SeqCst);
    }

    pub fn something_to_save(&self) {
        self.idle.store(false, Ordering::SeqCst);
    }
}

/// Calls `handler` in a separate thread for each signal that ends a program.
#[cfg(unix)]
fn on_signal(handler: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut heard = [SIGINT, SIGTERM, SIGHUP].to_vec();
    heard.retain(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heard)?;
    thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(|_| handler())).map(drop)
}

/// Whether the program was started with a signal ignored, by `nohup` or as a shell's background job.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, sigaction changes nothing; if it returns 0, it has filled `now`.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(windows)]
fn on_signal(handler: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(handler)
}
