//! Ctrl-C and other signals to end: they end a generation cleanly, everything else at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit status after an interrupt, as shells have it.
pub const EXIT_CODE: u8 = 130;

static LISTENING: AtomicBool = AtomicBool::new(false);
static CHANNEL: OnceLock<(Sender<()>, Receiver<()>)> = OnceLock::new();

/// Installs the handler of SIGINT, SIGTERM and SIGHUP. The last one stays ignored if it was
/// ignored when the process began: `nohup` means that it goes on when its terminal is closed.
/// (SIGINT is always taken. Shells ignore it for what they start in the background, where
/// `kill -INT` shall work nevertheless.)
pub fn install() -> Result<()> {
    let (sender, _) = CHANNEL.get_or_init(|| bounded(1));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut wanted = Vec::new();
    if !ignores(&status, SIGHUP) {
        wanted.push(SIGHUP);
    }
    wanted.extend([SIGINT, SIGTERM]);
    let mut signals = Signals::new(wanted).context("cannot catch Ctrl-C")?;
    let waiting = std::thread::Builder::new().name("card-interrupt".into());
    waiting
        .spawn(move || {
            for signal in signals.forever() {
                // Nobody listens, or somebody did not react to the first one.
                if !LISTENING.load(Ordering::SeqCst) || sender.try_send(()).is_err() {
                    // A terminal keeps its modes.
                    crate::keyboard::restore();
                    std::process::exit(128 + signal);
                }
            }
        })
        .context("cannot catch Ctrl-C")?;
    Ok(())
}

/// Whether a process ignores a signal, by its `/proc/…/status`; `false` if that does not say.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let bit = u32::try_from(signal - 1)
        .ok()
        .and_then(|n| 1u64.checked_shl(n));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
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

/// Ends with the first interrupt, and says so; a second one ends the process.
pub async fn stopped(said: &'static str) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let waiting = std::thread::Builder::new().name("card-signal".into());
    let waiting = waiting.spawn(move || {
        let _ = Listener::channel().recv();
        eprintln!("{said}");
        let _ = sender.send(());
    });
    match waiting {
        Ok(_) => {
            let _ = receiver.await;
        }
        Err(error) => {
            tracing::warn!("signals cannot be heard: {error}");
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_known_by_its_bit() {
        let status =
            |mask: &str| format!("Name:\tcard\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\n");
        assert!(ignores(&status("0000000000000001"), SIGHUP));
        assert!(!ignores(&status("0000000000001000"), SIGHUP));
        assert!(ignores(&status("0000000000004000"), SIGTERM));
        assert!(!ignores(&status("nonsense"), SIGHUP));
        assert!(!ignores("", SIGHUP));
        assert!(!ignores(&status("ffffffffffffffff"), 0));
    }
}
