//! A thread that writes a log, so that serving never waits for a disk.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::now_ms;
use crate::config::AuditConfig;
use crate::error::{AuditError, io};
use crate::log::Log;
use crate::losses::Losses;

/// Records on their way to the disk; beyond that they are lost, and counted.
const BACKLOG: usize = 8192;
/// How often the head is written, and with it what it names made to last.
const HEAD_EVERY: Duration = Duration::from_secs(1);

/// A log that is written by a thread of its own.
///
/// Invariant: every record for which [`Audit::add`] returned `true` is written or counted in
/// `losses` before the thread ends; dropping this waits for that.
pub struct Audit {
    sender: Option<SyncSender<Value>>,
    thread: Option<JoinHandle<()>>,
    losses: Arc<Losses>,
    /// See [`AuditConfig::text`].
    pub text: bool,
}

impl Audit {
    /// Opens the log, going on with the chain that is there. `lost` is called for each record
    /// that was added and cannot be written.
    ///
    /// # Errors
    /// If another process writes the file, if it is something else, or if it was sealed with
    /// another key. Half a line at the end and a full disk are no errors.
    pub fn open(
        config: AuditConfig,
        lost: impl Fn() + Send + 'static,
    ) -> Result<Audit, AuditError> {
        let log = Log::open(&config)?;
        let losses = Arc::new(Losses::default());
        let (sender, records) = sync_channel::<Value>(BACKLOG);
        let thread = std::thread::Builder::new().name("card-audit".into());
        let told = losses.clone();
        let thread = thread.spawn(move || write(log, &records, &told, &lost));
        let thread = thread.map_err(io(&config.path))?;
        Ok(Audit {
            sender: Some(sender),
            thread: Some(thread),
            losses,
            text: config.text,
        })
    }

    /// Adds a record; `false` if it is lost, since too many are on their way or nobody writes
    /// any more. The log tells of it in a `gap` record as soon as it can.
    pub fn add(&self, record: Value) -> bool {
        let added = match &self.sender {
            Some(sender) => sender.try_send(record).is_ok(),
            None => false,
        };
        if !added {
            self.losses.count(now_ms());
        }
        added
    }
}

impl Drop for Audit {
    /// What was added is written first.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(loss) = self.losses.take() {
            tracing::error!(
                "records of the audit log that were lost, of which it cannot tell: {}",
                loss.lost
            );
        }
    }
}

/// Writes what comes until no more can come.
fn write(mut log: Log, records: &Receiver<Value>, losses: &Losses, lost: &dyn Fn()) {
    let mut failing = false;
    let mut headless = false;
    let mut kept = Instant::now();
    loop {
        match records.recv_timeout(HEAD_EVERY) {
            Ok(record) => match log.append(&record, losses) {
                Ok(()) => failing = false,
                Err(error) => {
                    losses.count(now_ms());
                    lost();
                    if !failing {
                        failing = true;
                        tracing::error!(
                            "the audit log cannot be written: {error}; serving goes on"
                        );
                    }
                }
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if kept.elapsed() >= HEAD_EVERY {
            kept = Instant::now();
            match log.keep_head() {
                Ok(()) => headless = false,
                Err(error) if !headless => {
                    headless = true;
                    tracing::error!("the head of the audit log cannot be written: {error}");
                }
                Err(_) => {}
            }
        }
    }
    if let Err(error) = log.close(losses) {
        tracing::error!("the audit log cannot be closed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::disk::tests::folder;
    use crate::verify::{Check, verify};

    /// A log whose thread takes nothing.
    fn stuck(backlog: usize) -> (Audit, Receiver<Value>) {
        let (sender, records) = sync_channel(backlog);
        let audit = Audit {
            sender: Some(sender),
            thread: None,
            losses: Arc::default(),
            text: true,
        };
        (audit, records)
    }

    #[test]
    fn what_nobody_writes_is_not_said_to_be_added_and_counts() {
        // The backlog is full.
        let (audit, records) = stuck(2);
        assert!(audit.add(json!(1)) && audit.add(json!(2)));
        assert!(!audit.add(json!(3)) && !audit.add(json!(4)));
        assert_eq!(audit.losses.take().unwrap().lost, 2);
        // The writer is dead.
        drop(records);
        assert!(!audit.add(json!(5)));
        assert_eq!(audit.losses.take().unwrap().lost, 1);
    }

    #[test]
    fn what_the_backlog_takes_not_is_a_gap_before_the_next_record() {
        let folder = folder("backlog");
        let path = folder.join("a.log");
        let config = AuditConfig {
            path: path.clone(),
            text: true,
            rotate_bytes: 1 << 20,
            key: None,
        };
        let (audit, records) = stuck(1);
        for n in 0..4 {
            assert_eq!(audit.add(json!({ "kind": "round", "n": n })), n == 0);
        }
        let losses = audit.losses.clone();
        drop(audit);
        // The drop above told of it in words only; here the thread still runs.
        for at in [3, 4, 5] {
            losses.count(at);
        }
        write(Log::open(&config).unwrap(), &records, &losses, &|| {
            panic!("lost")
        });
        let report = verify(std::slice::from_ref(&path), &Check::default()).unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        // log, open, gap, round, close: the gap follows the second.
        assert_eq!((report.records, report.gaps.len()), (5, 1));
        assert_eq!((report.gaps[0].after, report.gaps[0].lost), (2, Some(3)));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
