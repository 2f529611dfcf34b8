//! Ctrl-C: ends a generation cleanly, everything else at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, bounded};

/// Exit status after an interrupt, as shells have it.
pub const EXIT_CODE: u8 = 130;

static LISTENING: AtomicBool = AtomicBool::new(false);
static CHANNEL: OnceLock<(Sender<()>, Receiver<()>)> = OnceLock::new();

/// Installs the handler of SIGINT and SIGTERM.
pub fn install() -> Result<()> {
    let (sender, _) = CHANNEL.get_or_init(|| bounded(1));
    ctrlc::set_handler(move || {
        // Nobody listens, or somebody did not react to the first one.
        if !LISTENING.load(Ordering::SeqCst) || sender.try_send(()).is_err() {
            std::process::exit(EXIT_CODE.into());
        }
    })
    .context("cannot catch Ctrl-C")
}

/// While it lives, an interrupt arrives in [`Listener::channel`] in place of ending the
/// process; a second one that nobody took ends it.
pub struct Listener(());

impl Listener {
    pub fn new() -> Self {
        while Self::channel().try_recv().is_ok() {}
        LISTENING.store(true, Ordering::SeqCst);
        Listener(())
    }

    pub fn channel() -> &'static Receiver<()> {
        &CHANNEL.get_or_init(|| bounded(1)).1
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        LISTENING.store(false, Ordering::SeqCst);
    }
}
