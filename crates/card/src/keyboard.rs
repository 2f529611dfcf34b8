//! What is typed while an answer is written: it is not shown in the answer, and waits for the next
//! prompt.

use std::io::stdin;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The modes of the terminal to go back to, while keys are held.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, keys that are typed at the terminal are not shown, and are kept for whoever
/// reads next, also over a Ctrl-C. Where standard input is no terminal it does nothing.
pub struct KeysHeld(());

impl KeysHeld {
    pub fn hold() -> Self {
        let mut before = before();
        if before.is_none() {
            *before = silence(stdin());
        }
        KeysHeld(())
    }
}

impl Drop for KeysHeld {
    fn drop(&mut self) {
        restore();
    }
}

/// Shows keys again. Called before the process ends at once, too: a terminal keeps its modes.
pub fn restore() {
    if let Some(modes) = before().take() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
    }
}

/// Has a terminal show no keys. Returns the modes before; `None` if it is no terminal.
fn silence(terminal: impl AsFd) -> Option<Termios> {
    let before = tcgetattr(&terminal).ok()?;
    let mut silent = before.clone();
    // Neither shown nor gathered into lines, and an interrupt throws nothing away.
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.remove(LocalModes::ICANON);
    silent.local_modes.insert(LocalModes::NOFLSH);
    tcsetattr(&terminal, OptionalActions::Now, &silent).ok()?;
    Some(before)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::OpenOptions;
    use std::os::unix::ffi::OsStrExt;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    #[test]
    fn keys_are_not_shown_and_an_interrupt_keeps_them_until_the_modes_are_put_back() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = OsStr::from_bytes(name.as_bytes());
        let terminal = OpenOptions::new().read(true).write(true).open(path);
        let terminal = terminal.unwrap();
        let modes = || tcgetattr(&terminal).unwrap().local_modes;
        let first = modes();
        assert!(first.contains(LocalModes::ECHO) && first.contains(LocalModes::ISIG));
        let before = silence(&terminal).unwrap();
        assert!(!modes().contains(LocalModes::ECHO) && modes().contains(LocalModes::NOFLSH));
        assert!(modes().contains(LocalModes::ISIG), "Ctrl-C ends an answer");
        tcsetattr(&terminal, OptionalActions::Now, &before).unwrap();
        assert_eq!(modes(), first);
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        assert!(silence(&file).is_none());
    }
}
