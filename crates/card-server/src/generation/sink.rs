//! Where the news of a generation go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::news::News;
use crate::clock::RequestDeadline;

/// Which answers of a request have all that they are to have, though their generations go on.
#[derive(Clone)]
pub(crate) struct FullAnswers(Arc<[AtomicBool]>);

impl FullAnswers {
    /// None of so many answers.
    pub(crate) fn none_of(answers: usize) -> Self {
        FullAnswers((0..answers).map(|_| AtomicBool::new(false)).collect())
    }

    /// The answer of this number has all: its generation may end, and its slot is free.
    pub(crate) fn add(&self, index: usize) {
        if let Some(full) = self.0.get(index) {
            full.store(true, Ordering::Relaxed);
        }
    }

    fn has(&self, index: usize) -> bool {
        let full = self.0.get(index);
        full.is_some_and(|full| full.load(Ordering::Relaxed))
    }
}

/// Takes the news of one generation to the reader of its answer, who may be slow or gone.
pub(crate) struct EventSink {
    /// The number of the answer among those of the request.
    index: usize,
    sender: Sender<(usize, News)>,
    /// Answers that have all.
    full: FullAnswers,
    deadline: RequestDeadline,
    /// How long the reader may still keep the generation waiting in all, in milliseconds.
    patience_ms: AtomicU64,
}

impl EventSink {
    /// The sink of choice `index` of a request that has to be answered by `deadline`.
    pub(crate) fn new(
        index: usize,
        sender: Sender<(usize, News)>,
        full: FullAnswers,
        deadline: RequestDeadline,
        patience: Duration,
    ) -> Self {
        EventSink {
            index,
            sender,
            full,
            deadline,
            patience_ms: AtomicU64::new(patience.as_millis() as u64),
        }
    }

    /// Tells, on a thread that may wait: a reader that is behind holds its own generation
    /// back, and with it a slot; so not for long in all, and not past the deadline. Whether
    /// anybody is there is asked with [`EventSink::is_gone`].
    pub(crate) fn send(&self, news: News) {
        let Err(TrySendError::Full(news)) = self.sender.try_send((self.index, news)) else {
            return;
        };
        let began = Instant::now();
        let patience = Duration::from_millis(self.patience_ms.load(Ordering::Relaxed));
        let until = self.deadline.at.min(began + patience);
        let send = tokio::time::timeout_at(until.into(), self.sender.send(news));
        let waited = match Handle::current().block_on(send) {
            Ok(_) => began.elapsed().min(patience),
            Err(_) => patience,
        };
        let waited = waited.as_millis() as u64;
        self.patience_ms.fetch_sub(waited, Ordering::Relaxed);
    }

    /// Tells as [`EventSink::send`] does, where waiting must not block the thread.
    pub(crate) async fn tell(&self, news: News) {
        let _ = self.sender.send((self.index, news)).await;
    }

    /// Whether nobody listens any more, the answer has all, or the reader has kept the generation
    /// waiting too long.
    pub(crate) fn is_gone(&self) -> bool {
        let tired = || self.patience_ms.load(Ordering::Relaxed) == 0;
        self.sender.is_closed() || self.full.has(self.index) || tired()
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }
}
