//! What a request has to pass before it costs anything: a place in a bounded line, taken by
//! its head; room for its body; a turn to be read and prepared; a slot to be generated in.
//!
//! Each is bounded in number, and each wait by the request's deadline, so that whatever
//! requests say, what they hold and what they keep busy is known beforehand:
//!
//! | what | bound | costs |
//! |---|---|---|
//! | places | generations + line | a connection and its head |
//! | bodies | [`BODY_BUDGET`] bytes in all, beside the first [`STEP`] of each | themselves |
//! | workshops | [`WORKSHOPS`] | parsing, rendering, tokenizing, compiling grammars |
//! | slots | generations at a time | KV cells, a thread |

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use card_api::ApiError;
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::connections::Busy;

/// Bytes of bodies that are held at a time, in all; at least one of the largest size.
pub const BODY_BUDGET: usize = 64 << 20;
/// Room for a body is taken in steps of this, as its bytes come; the first one is free.
const STEP: usize = 64 << 10;
/// Requests that are read and prepared at a time.
const WORKSHOPS: usize = 2;
/// What is read of a body that is not wanted, so that its sender hears why, at most that long.
const LINGER: Duration = Duration::from_secs(2);

/// Places, bodies, workshops and slots.
pub struct Admission {
    places: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    /// In KiB.
    bodies: Arc<Semaphore>,
    workshops: Arc<Semaphore>,
    parallel: usize,
    line: usize,
    max_body: usize,
    body_timeout: Duration,
    waiting: AtomicUsize,
    /// How long a generation takes by now, in milliseconds.
    usual_ms: AtomicUsize,
}

/// No time-out is longer: a clock cannot be asked for any time.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// When a request has to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// Seconds from the request's first byte until then, for the message.
    seconds: u64,
}

impl Deadline {
    /// `most` after `came`.
    pub fn new(came: Instant, most: Duration) -> Self {
        let most = most.min(LONGEST);
        Deadline {
            at: came + most,
            seconds: most.as_secs(),
        }
    }

    /// What the client hears when it has passed.
    pub fn passed(&self) -> ApiError {
        ApiError::timeout(self.seconds)
    }
}

/// A request's place, from its head to the end of its answer.
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A generation's slot.
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// A body that was read, with its share of the budget.
pub struct Received {
    /// The bytes.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// A body of an answer that holds its request's place until it is sent, but for what fits
/// the connection's buffer. An answer that nobody takes is memory, and so is counted as a
/// request that runs. At a given time it breaks off, however slowly it is taken.
pub(crate) struct Held {
    content: Content,
    _place: Place,
    end: Option<AbortHandle>,
}

enum Content {
    /// What is left of an answer that was written as a whole.
    Whole(Bytes),
    /// One that is still being written.
    Stream(Body),
}

/// A whole answer is handed out in pieces of this.
const PIECE: usize = 64 << 10;

impl Held {
    /// An answer that was written as a whole. At `until` its connection is closed.
    pub(crate) fn whole(
        json: Vec<u8>,
        place: Place,
        until: Instant,
        busy: Option<Arc<Busy>>,
    ) -> Self {
        Self::new(Content::Whole(json.into()), place, until, busy)
    }

    /// An answer that is still being written.
    pub(crate) fn stream(
        body: Body,
        place: Place,
        until: Instant,
        busy: Option<Arc<Busy>>,
    ) -> Self {
        Self::new(Content::Stream(body), place, until, busy)
    }

    fn new(content: Content, place: Place, until: Instant, busy: Option<Arc<Busy>>) -> Self {
        // A body is not asked while the connection's buffer is full, so it cannot look at the
        // time itself.
        let end = busy.map(|busy| {
            let end = async move {
                tokio::time::sleep_until(until.into()).await;
                busy.close();
            };
            tokio::spawn(end).abort_handle()
        });
        Held {
            content,
            _place: place,
            end,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            end.abort();
        }
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.content {
            Content::Whole(rest) if rest.is_empty() => Poll::Ready(None),
            Content::Whole(rest) => {
                let piece = rest.split_to(PIECE.min(rest.len()));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Content::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(rest) => rest.is_empty(),
            Content::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(rest) => SizeHint::with_exact(rest.len() as u64),
            Content::Stream(body) => body.size_hint(),
        }
    }
}

impl Admission {
    /// `parallel` generations at a time, `line` more requests, bodies of up to `max_body`
    /// bytes that have to be there within `body_timeout`.
    pub fn new(parallel: usize, line: usize, max_body: usize, body_timeout: Duration) -> Self {
        let parallel = parallel.clamp(1, 1 << 16);
        let line = line.min(1 << 16);
        let max_body = max_body.clamp(1 << 10, 1 << 30);
        Admission {
            places: Arc::new(Semaphore::new(parallel + line)),
            slots: Arc::new(Semaphore::new(parallel)),
            bodies: Arc::new(Semaphore::new(kib(BODY_BUDGET.max(max_body)) as usize)),
            workshops: Arc::new(Semaphore::new(WORKSHOPS)),
            parallel,
            line,
            max_body,
            body_timeout: body_timeout.min(LONGEST),
            waiting: AtomicUsize::new(0),
            usual_ms: AtomicUsize::new(5000),
        }
    }

    /// A place in the line, at once or not at all.
    ///
    /// # Errors
    /// If there is none.
    pub fn enter(&self) -> Result<Place, ApiError> {
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit }),
            Err(_) => Err(ApiError::busy(self.wait_s())),
        }
    }

    /// Reads a body whose head announced `announced` bytes.
    ///
    /// # Errors
    /// If it is too large or too slow, breaks off, or there is no room for it.
    pub async fn receive(
        &self,
        body: &mut Option<Body>,
        announced: Option<u64>,
        deadline: Deadline,
    ) -> Result<Received, ApiError> {
        let most = self.max_body;
        if announced.is_some_and(|n| n > most as u64) {
            return Err(ApiError::too_large(most));
        }
        let (mut room, mut taken): (Option<OwnedSemaphorePermit>, usize) = (None, STEP);
        let until = deadline.at.min(Instant::now() + self.body_timeout);
        let mut stream = body.take().unwrap_or_default().into_data_stream();
        let mut bytes = Vec::new();
        loop {
            let next = tokio::time::timeout_at(until.into(), stream.next()).await;
            match next.map_err(|_| ApiError::slow_body())? {
                Some(Ok(data)) if bytes.len() + data.len() <= most => {
                    while bytes.len() + data.len() > taken {
                        // Not waited for: who holds some and waits for more could wait for ever.
                        let more = self.bodies.clone().try_acquire_many_owned(kib(STEP));
                        let more = more.map_err(|_| ApiError::busy(self.wait_s()))?;
                        match &mut room {
                            Some(room) => room.merge(more),
                            None => room = Some(more),
                        }
                        taken += STEP;
                    }
                    bytes.extend_from_slice(&data);
                }
                Some(Ok(_)) => {
                    *body = Some(Body::from_stream(stream));
                    return Err(ApiError::too_large(most));
                }
                Some(Err(_)) => return Err(ApiError::invalid("the body broke off")),
                None => break,
            }
        }
        Ok(Received {
            bytes: bytes.into(),
            _room: room,
        })
    }

    /// Runs what takes a while and needs memory on a thread that may, when it is its turn. A
    /// caller that goes away before that leaves nothing behind.
    ///
    /// # Errors
    /// If its turn does not come before `deadline`, or it panics.
    pub async fn prepare<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = before(deadline, self.workshops.clone().acquire_owned()).await?;
        let turn = turn.map_err(|_| ApiError::draining())?;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!("preparing a request failed: {error}");
            ApiError::internal("the request could not be prepared")
        })
    }

    /// A slot to generate in, first come first served.
    ///
    /// # Errors
    /// If there is none before `deadline`.
    pub async fn slot(&self, deadline: Deadline) -> Result<Slot, ApiError> {
        let _waiting = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => return Ok(Slot { _permit: permit }),
            Err(_) => Waiting::begin(&self.waiting),
        };
        let slot = before(deadline, self.slots.clone().acquire_owned()).await?;
        match slot {
            Ok(permit) => Ok(Slot { _permit: permit }),
            Err(_) => Err(ApiError::draining()),
        }
    }

    /// Reads and drops what a sender whose request was refused is still sending, for a
    /// moment: a connection that is closed before would hide the reason from it.
    pub async fn discard(&self, body: Body) {
        let most = self.max_body;
        let drain = async {
            let (mut stream, mut read) = (body.into_data_stream(), 0);
            while let Some(Ok(data)) = stream.next().await {
                read += data.len();
                if read > most {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Notes how long a generation took.
    pub fn took(&self, time: Duration) {
        let usual = self.usual_ms.load(Ordering::Relaxed);
        let time = time.as_millis().min(86_400_000) as usize;
        let usual = (usual * 9 + time) / 10;
        self.usual_ms.store(usual, Ordering::Relaxed);
    }

    /// Generations that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Generations at work.
    pub fn running(&self) -> usize {
        self.parallel - self.slots.available_permits().min(self.parallel)
    }

    /// Seconds after which a place should be free.
    fn wait_s(&self) -> u32 {
        let usual = self.usual_ms.load(Ordering::Relaxed) as f64 / 1e3;
        let rounds = 1.0 + self.line as f64 / self.parallel as f64 / 2.0;
        (usual * rounds).ceil().clamp(1.0, 120.0) as u32
    }
}

fn kib(bytes: usize) -> u32 {
    (bytes.div_ceil(1024)).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize)) as u32
}

async fn before<T>(deadline: Deadline, what: impl Future<Output = T>) -> Result<T, ApiError> {
    let waited = tokio::time::timeout_at(deadline.at.into(), what).await;
    waited.map_err(|_| deadline.passed())
}

/// A wait that is counted, and not any more in any case.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn admission(parallel: usize, line: usize) -> Admission {
        Admission::new(parallel, line, 1 << 20, Duration::from_secs(10))
    }

    fn soon() -> Deadline {
        Deadline::new(Instant::now(), Duration::from_secs(60))
    }

    fn now() -> Deadline {
        Deadline::new(Instant::now(), Duration::ZERO)
    }

    #[tokio::test]
    async fn first_come_first_served_and_the_line_ends() {
        let admission = admission(1, 1);
        let (_a, _b) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert_eq!(admission.enter().err().unwrap().status, 429);
        let first = admission.slot(soon()).await.unwrap();
        assert_eq!(admission.running(), 1);
        let second = admission.slot(soon());
        tokio::pin!(second);
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert_eq!(admission.waiting(), 1);
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((admission.waiting(), admission.running()), (0, 1));
        drop(second);
        assert_eq!(admission.running(), 0);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_line() {
        let admission = admission(1, 1);
        let _first = admission.slot(soon()).await.unwrap();
        {
            let second = admission.slot(soon());
            tokio::pin!(second);
            assert!(futures_util::poll!(second.as_mut()).is_pending());
        }
        assert_eq!(admission.waiting(), 0);
        let late = admission.slot(now()).await;
        assert_eq!(late.err().unwrap().status, 504);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_in_size_in_time_and_in_all() {
        let admission = Admission::new(1, 1, BODY_BUDGET, Duration::from_secs(10));
        let never = || {
            Some(Body::from_stream(futures_util::stream::pending::<
                Result<Bytes, std::io::Error>,
            >()))
        };
        let mut body = Some(Body::from("abc"));
        let got = admission.receive(&mut body, Some(3), soon()).await.unwrap();
        assert_eq!(&got.bytes[..], b"abc");
        let large = admission
            .receive(&mut Some(Body::empty()), Some(1 << 40), soon())
            .await;
        assert_eq!(large.err().unwrap().status, 413);
        // What is announced takes no room; what came does, and beyond that it is 429.
        let mut idle = [never(), never(), never()];
        let [first, second, third] = &mut idle;
        let waiting = [first, second, third]
            .map(|body| admission.receive(body, Some(BODY_BUDGET as u64), soon()));
        let waiting = waiting.map(Box::pin);
        for mut body in waiting {
            assert!(futures_util::poll!(body.as_mut()).is_pending());
        }
        drop(got);
        let large = || Some(Body::from(vec![b' '; BODY_BUDGET]));
        let all = admission.receive(&mut large(), None, soon()).await.unwrap();
        let more = admission.receive(&mut large(), None, soon()).await;
        assert_eq!(more.err().unwrap().status, 429);
        // A small one needs none.
        let small = admission
            .receive(&mut Some(Body::from("y")), Some(1), soon())
            .await;
        assert!(small.is_ok());
        drop(all);
        assert!(admission.receive(&mut large(), None, soon()).await.is_ok());
        // The clock of this test goes ahead from here.
        let slow = admission.receive(&mut never(), Some(3), soon()).await;
        assert_eq!(slow.err().unwrap().status, 408);
    }

    #[tokio::test]
    async fn an_answer_holds_its_place_until_it_was_taken() {
        let admission = admission(1, 0);
        let until = Instant::now() + Duration::from_secs(60);
        let place = admission.enter().unwrap();
        let whole = Held::whole(vec![b'x'; 2 * PIECE + 1], place, until, None);
        assert_eq!(
            hyper::body::Body::size_hint(&whole).exact(),
            Some(2 * PIECE as u64 + 1)
        );
        let mut taken = Body::new(whole).into_data_stream();
        let mut sizes = Vec::new();
        while let Some(piece) = taken.next().await {
            assert!(admission.enter().is_err());
            sizes.push(piece.unwrap().len());
        }
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        drop(taken);
        assert!(admission.enter().is_ok());
    }

    #[tokio::test]
    async fn a_panic_in_preparing_is_an_error_and_frees_the_workshop() {
        let admission = admission(1, 1);
        for _ in 0..2 * WORKSHOPS {
            let failed = admission.prepare(soon(), || panic!("secret")).await;
            let failed: Result<(), ApiError> = failed;
            let failed = failed.unwrap_err();
            assert_eq!(failed.status, 500);
            assert!(!failed.body().to_string().contains("secret"));
        }
        assert_eq!(admission.prepare(soon(), || 5).await.unwrap(), 5);
    }
}
