//! Ctrl-C: the first asks to stop after a step, the second ends the program at once.

use super::output::note;
use glassnet::{Error, Result};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        ctrlc::set_handler(handler).map_err(|e| Error::Settings(format!("Ctrl-C cannot be handled: {e}")))?;
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
