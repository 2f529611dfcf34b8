//! Where logs go: to standard error, but not into a line that somebody types.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most bytes of logs that are kept while a prompt waits; what comes later is dropped.
const MOST: usize = 64 << 10;

/// What was logged while a prompt waits; `None` while none does.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes logs to standard error, once no prompt waits.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *held() {
            Some(kept) if kept.len() + bytes.len() <= MOST => kept.extend_from_slice(bytes),
            Some(_) => {}
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// While it lives, a prompt waits and logs are kept; they are written when it goes.
pub struct LogsHeld(());

impl LogsHeld {
    pub fn hold() -> Self {
        let mut kept = held();
        if kept.is_none() {
            *kept = Some(Vec::new());
        }
        LogsHeld(())
    }
}

impl Drop for LogsHeld {
    fn drop(&mut self) {
        let kept = held().take().unwrap_or_default();
        let _ = io::stderr().write_all(&kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_wait_for_the_end_of_a_prompt_and_are_bounded() {
        let prompt = LogsHeld::hold();
        LogWriter.write_all(b"one\n").unwrap();
        assert_eq!(held().as_deref(), Some(&b"one\n"[..]));
        LogWriter.write_all(&vec![b'x'; MOST]).unwrap();
        assert_eq!(held().as_ref().map(Vec::len), Some(4));
        drop(prompt);
        assert!(held().is_none());
    }
}
