//! The bounds themselves: places, room for bodies, workshops and slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use card_api::ApiError;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::waiting::Waiting;
use crate::clock::{LONGEST, RequestDeadline};
use crate::config::ServerConfig;

/// Bytes of bodies that are held at a time, in all; at least one of the largest size.
pub(crate) const BODY_BUDGET: usize = 64 << 20;
/// Room for a body is taken in steps of this, as its bytes come; the first one is free.
const STEP: usize = 64 << 10;
/// Bytes up to which an answer that is counted before it is made needs no room, so that few texts do
/// not wait behind lists: all such answers together are bounded by the places.
const FREE_ANSWER: usize = 256 << 10;
/// Bytes up to which an answer that is counted before it is made is a small one.
const SMALL_ANSWER: usize = 4 << 20;
/// Bytes of small answers, in all. They have room of their own: with one room for all, whoever
/// waits for a large part of it would be waited for by everybody who came later.
const SMALL_ANSWERS: usize = 64 << 20;
/// Bytes of all others.
const LARGE_ANSWERS: usize = 192 << 20;
/// Requests that are read and prepared at a time.
const WORKSHOPS: usize = 2;
/// How long the body of a refused request is read, so that its sender hears why.
const DISCARD: Duration = Duration::from_secs(2);

/// Places, bodies, workshops and slots.
pub(crate) struct Admission {
    /// Requests that may be there at a time.
    places: Arc<Semaphore>,
    /// Generations that may be at work at a time.
    slots: Arc<Semaphore>,
    /// Room for bodies and for what is made of them, in KiB.
    bodies: Arc<Semaphore>,
    /// Room for small answers that are counted before they are made, in KiB.
    small_answers: Arc<Semaphore>,
    /// Room for large ones.
    large_answers: Arc<Semaphore>,
    /// Texts that may become vectors at a time: one, as the model takes them.
    texts: Arc<Semaphore>,
    /// Requests that may be read and prepared at a time.
    workshops: Arc<Semaphore>,
    /// Slots in all.
    parallel: usize,
    /// Places beside those of requests that are generated.
    line: usize,
    /// Largest body, in bytes.
    max_body: usize,
    /// Most time for a body to arrive.
    body_timeout: Duration,
    /// Generations that wait for a slot.
    waiting: AtomicUsize,
    /// How long a generation takes by now, in milliseconds.
    usual_ms: AtomicUsize,
}

/// A request's place, from its head to the end of its answer.
pub(crate) struct AdmissionPlace {
    /// The permit of the place, and that of the room for the answer, where that was counted before.
    permits: Vec<OwnedSemaphorePermit>,
}

/// A generation's slot.
pub(crate) struct AdmissionSlot {
    _permit: OwnedSemaphorePermit,
}

/// A text's turn to become vectors.
pub(crate) struct TextTurn {
    _slot: AdmissionSlot,
    _permit: OwnedSemaphorePermit,
}

/// A body that was read, with its room in the budget.
pub(crate) struct Received {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// Their room.
    pub(crate) room: BodyRoom,
}

/// The room that a body, or what was made of it, has taken of what all bodies may take together. It
/// is given back when this is dropped.
pub(crate) struct BodyRoom {
    /// Bytes that fit, the first [`STEP`] of which are free.
    bytes: usize,
    permits: Option<OwnedSemaphorePermit>,
}

impl BodyRoom {
    /// The room that everybody has.
    pub(crate) fn new() -> Self {
        BodyRoom {
            bytes: STEP,
            permits: None,
        }
    }

    /// Takes room for `wanted` bytes; says whether there was enough. Room is not waited for:
    /// who holds some and waits for more could wait for ever.
    fn grow(&mut self, wanted: usize, budget: &Arc<Semaphore>) -> bool {
        while wanted > self.bytes {
            let Ok(more) = budget.clone().try_acquire_many_owned(kib(STEP)) else {
                return false;
            };
            match &mut self.permits {
                Some(permits) => permits.merge(more),
                None => self.permits = Some(more),
            }
            self.bytes += STEP;
        }
        true
    }
}

impl Admission {
    /// The bounds that a server was told.
    pub(crate) fn of(config: &ServerConfig) -> Self {
        Self::new(
            config.parallel,
            config.queue,
            config.max_request_bytes,
            config.body_timeout,
        )
    }

    /// `parallel` generations at a time, `line` more requests, bodies of up to `max_body`
    /// bytes that have to be there within `body_timeout`.
    pub(super) fn new(
        parallel: usize,
        line: usize,
        max_body: usize,
        body_timeout: Duration,
    ) -> Self {
        let parallel = parallel.clamp(1, 1 << 16);
        let line = line.min(1 << 16);
        let max_body = max_body.clamp(1 << 10, 1 << 30);
        Admission {
            places: Arc::new(Semaphore::new(parallel + line)),
            slots: Arc::new(Semaphore::new(parallel)),
            bodies: Arc::new(Semaphore::new(kib(BODY_BUDGET.max(max_body)) as usize)),
            small_answers: Arc::new(Semaphore::new(kib(SMALL_ANSWERS) as usize)),
            large_answers: Arc::new(Semaphore::new(kib(LARGE_ANSWERS) as usize)),
            texts: Arc::new(Semaphore::new(1)),
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
    pub(crate) fn enter(&self) -> Result<AdmissionPlace, ApiError> {
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(AdmissionPlace {
                permits: vec![permit],
            }),
            Err(_) => Err(ApiError::busy(self.wait_s())),
        }
    }

    /// Reads a body whose head announced `announced` bytes. What is left of one for which there
    /// is no room stays in `body`, to be discarded.
    ///
    /// # Errors
    /// If it is too large or too slow, breaks off, or there is no room for it.
    pub(crate) async fn receive(
        &self,
        body: &mut Option<Body>,
        announced: Option<u64>,
        deadline: RequestDeadline,
    ) -> Result<Received, ApiError> {
        let most = self.max_body;
        if announced.is_some_and(|n| n > most as u64) {
            return Err(ApiError::too_large(most));
        }
        let mut room = BodyRoom::new();
        let until = deadline.at.min(Instant::now() + self.body_timeout);
        let mut stream = body.take().unwrap_or_default().into_data_stream();
        let mut bytes = Vec::new();
        loop {
            let next = tokio::time::timeout_at(until.into(), stream.next()).await;
            match next.map_err(|_| ApiError::slow_body())? {
                Some(Ok(data)) if bytes.len() + data.len() <= most => {
                    let all = bytes.len() + data.len();
                    if !room.grow(all, &self.bodies) {
                        *body = Some(Body::from_stream(stream));
                        return Err(ApiError::busy(self.wait_s()));
                    }
                    if bytes.is_empty() {
                        // A body in one piece is taken over, not copied.
                        bytes = Vec::from(data);
                    } else {
                        bytes.extend_from_slice(&data);
                    }
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
            room,
        })
    }

    /// Takes over a request that was let in by another line, with its body.
    ///
    /// # Errors
    /// If there is no place, or no room for the body.
    pub(crate) fn take_over(
        &self,
        received: Received,
    ) -> Result<(AdmissionPlace, Received), ApiError> {
        let place = self.enter()?;
        let mut room = BodyRoom::new();
        self.enlarge(&mut room, received.bytes.len())?;
        let bytes = received.bytes;
        Ok((place, Received { bytes, room }))
    }

    /// Makes the room of a body large enough for `bytes` that are made of it.
    ///
    /// # Errors
    /// If there is not so much room now, or never is.
    pub(crate) fn enlarge(&self, room: &mut BodyRoom, bytes: usize) -> Result<(), ApiError> {
        let most = BODY_BUDGET.max(self.max_body);
        if bytes > most {
            let why = format!("the request would take more than {most} bytes; send less at once");
            return Err(ApiError::invalid(why));
        }
        if room.grow(bytes, &self.bodies) {
            return Ok(());
        }
        Err(ApiError::busy(self.wait_s()))
    }

    /// Waits until there is room for an answer of so many bytes, which it has until it was taken.
    /// Whoever waits has none yet, and whoever has some gives it back when its answer was taken, or is
    /// broken off at its deadline. A small answer waits for small ones only, and one of at most
    /// [`FREE_ANSWER`] bytes for none.
    ///
    /// # Errors
    /// If there is none before `deadline`.
    pub(crate) async fn answer_room(
        &self,
        place: &mut AdmissionPlace,
        bytes: usize,
        deadline: RequestDeadline,
    ) -> Result<(), ApiError> {
        if bytes <= FREE_ANSWER {
            return Ok(());
        }
        let (answers, most) = if bytes <= SMALL_ANSWER {
            (&self.small_answers, SMALL_ANSWER)
        } else {
            (&self.large_answers, LARGE_ANSWERS)
        };
        let wanted = kib(bytes.min(most) - FREE_ANSWER);
        let room = before(deadline, answers.clone().acquire_many_owned(wanted)).await?;
        place.permits.push(room.map_err(|_| ApiError::draining())?);
        Ok(())
    }

    /// Runs what takes a while and needs memory on a thread that may, when it is its turn. A
    /// caller that goes away before that leaves nothing behind.
    ///
    /// # Errors
    /// If its turn does not come before `deadline`, or it panics.
    pub(crate) async fn prepare<T: Send + 'static>(
        &self,
        deadline: RequestDeadline,
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
    pub(crate) async fn slot(&self, deadline: RequestDeadline) -> Result<AdmissionSlot, ApiError> {
        let _waiting = match self.slots.clone().try_acquire_owned() {
            Ok(permit) => return Ok(AdmissionSlot { _permit: permit }),
            Err(_) => Waiting::begin(&self.waiting),
        };
        let slot = before(deadline, self.slots.clone().acquire_owned()).await?;
        match slot {
            Ok(permit) => Ok(AdmissionSlot { _permit: permit }),
            Err(_) => Err(ApiError::draining()),
        }
    }

    /// A text's turn to become vectors, in a slot. Turns are taken text by text, first come first
    /// served, so that a request of many texts goes on in turn with the others: none of them waits
    /// for more than one of its texts at a time.
    ///
    /// # Errors
    /// If it does not come before `deadline`.
    pub(crate) async fn text_turn(&self, deadline: RequestDeadline) -> Result<TextTurn, ApiError> {
        if Instant::now() >= deadline.at {
            return Err(deadline.passed());
        }
        let slot = self.slot(deadline).await?;
        let permit = before(deadline, self.texts.clone().acquire_owned()).await?;
        Ok(TextTurn {
            _slot: slot,
            _permit: permit.map_err(|_| ApiError::draining())?,
        })
    }

    /// Reads and drops what a sender whose request was refused is still sending, for a
    /// moment: a connection that is closed before would hide the reason from it.
    pub(crate) async fn discard(&self, body: Body) {
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
        let _ = tokio::time::timeout(DISCARD, drain).await;
    }

    /// Notes how long a generation took.
    pub(crate) fn took(&self, time: Duration) {
        let usual = self.usual_ms.load(Ordering::Relaxed);
        let time = time.as_millis().min(86_400_000) as usize;
        let usual = (usual * 9 + time) / 10;
        self.usual_ms.store(usual, Ordering::Relaxed);
    }

    /// Generations that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Generations at work.
    pub(crate) fn running(&self) -> usize {
        self.parallel - self.slots.available_permits().min(self.parallel)
    }

    /// Seconds after which a place should be free.
    fn wait_s(&self) -> u32 {
        let usual = self.usual_ms.load(Ordering::Relaxed) as f64 / 1e3;
        let rounds = 1.0 + self.line as f64 / self.parallel as f64 / 2.0;
        (usual * rounds).ceil().clamp(1.0, 120.0) as u32
    }
}

/// Bytes in KiB, as permits of a semaphore.
fn kib(bytes: usize) -> u32 {
    (bytes.div_ceil(1024)).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize)) as u32
}

/// What `what` gives, or that the deadline passed before.
async fn before<T>(
    deadline: RequestDeadline,
    what: impl Future<Output = T>,
) -> Result<T, ApiError> {
    let waited = tokio::time::timeout_at(deadline.at.into(), what).await;
    waited.map_err(|_| deadline.passed())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use card_api::openai::response::error::error_body;

    use super::*;

    fn admission(parallel: usize, line: usize) -> Admission {
        Admission::new(parallel, line, 1 << 20, Duration::from_secs(10))
    }

    fn soon() -> RequestDeadline {
        RequestDeadline::new(Instant::now(), Duration::from_secs(60))
    }

    fn now() -> RequestDeadline {
        RequestDeadline::new(Instant::now(), Duration::ZERO)
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
        let mut refused = large();
        let more = admission.receive(&mut refused, None, soon()).await;
        assert_eq!(more.err().unwrap().status, 429);
        assert!(refused.is_some(), "its rest is still to be discarded");
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
    async fn a_request_that_changes_its_line_leaves_nothing_behind() {
        let new = || Admission::new(1, 0, BODY_BUDGET, Duration::from_secs(10));
        let (front, line) = (new(), new());
        let large = || Some(Body::from(vec![b' '; BODY_BUDGET]));
        let first = front.receive(&mut large(), None, soon()).await.unwrap();
        let full = front.receive(&mut large(), None, soon()).await;
        assert_eq!(full.err().unwrap().status, 429);
        let (place, first) = line.take_over(first).unwrap();
        assert_eq!(first.bytes.len(), BODY_BUDGET);
        let second = front.receive(&mut large(), None, soon()).await.unwrap();
        // The other line has one place, and room for one such body.
        assert_eq!(line.take_over(second).err().unwrap().status, 429);
        drop(place);
        let third = front.receive(&mut large(), None, soon()).await.unwrap();
        assert_eq!(line.take_over(third).err().unwrap().status, 429);
        drop(first);
        assert!(line.enter().is_ok());
    }

    #[tokio::test]
    async fn what_is_made_of_bodies_has_room_among_them() {
        let admission = admission(1, 1);
        let (mut one, mut other) = (BodyRoom::new(), BodyRoom::new());
        admission.enlarge(&mut one, BODY_BUDGET / 2).unwrap();
        let full = admission.enlarge(&mut other, BODY_BUDGET);
        assert_eq!(full.unwrap_err().status, 429);
        drop(one);
        admission.enlarge(&mut other, BODY_BUDGET).unwrap();
        let never = admission.enlarge(&mut other, BODY_BUDGET + 1);
        assert_eq!(never.unwrap_err().status, 400);
        let mut large = Some(Body::from(vec![b' '; 1 << 20]));
        let body = admission.receive(&mut large, None, soon()).await;
        assert_eq!(body.err().unwrap().status, 429);
    }

    #[tokio::test]
    async fn answers_wait_for_room_and_small_ones_need_none() {
        let admission = admission(1, 4);
        let mut places = [(); 4].map(|()| Some(admission.enter().unwrap()));
        let [first, second, third, fourth] = &mut places;
        let large = LARGE_ANSWERS / 2 + FREE_ANSWER;
        let room = admission.answer_room(first.as_mut().unwrap(), large + 1, soon());
        room.await.unwrap();
        let late = admission.answer_room(second.as_mut().unwrap(), large, now());
        assert_eq!(late.await.unwrap_err().status, 504);
        // An answer that was taken gives its room to who waits.
        let waiting = admission.answer_room(second.as_mut().unwrap(), usize::MAX, soon());
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        // Small ones do not wait behind it, and one that is a little larger than a small one does.
        let (third, fourth) = (third.as_mut().unwrap(), fourth.as_mut().unwrap());
        for bytes in [FREE_ANSWER + 1, SMALL_ANSWER, SMALL_ANSWER] {
            let small = admission.answer_room(third, bytes, now());
            small.await.unwrap();
        }
        let late = admission.answer_room(fourth, SMALL_ANSWER + 1, now());
        assert_eq!(late.await.unwrap_err().status, 504);
        // One of few texts waits for nobody, however many lists there are.
        let mut lists = true;
        while lists {
            let list = admission.answer_room(third, SMALL_ANSWER, now());
            lists = list.await.is_ok();
        }
        let free = admission.answer_room(fourth, FREE_ANSWER, now());
        free.await.unwrap();
        *first = None;
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn texts_of_a_long_list_go_on_in_turn_with_others() {
        let admission = admission(4, 0);
        let long = admission.text_turn(soon()).await.unwrap();
        let short = admission.text_turn(soon());
        tokio::pin!(short);
        assert!(futures_util::poll!(short.as_mut()).is_pending());
        // The next text of the list comes after the other one, which came before it.
        drop(long);
        let next = admission.text_turn(soon());
        tokio::pin!(next);
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        drop(short.await.unwrap());
        next.await.unwrap();
        let late = admission.text_turn(now()).await;
        assert_eq!(late.err().unwrap().status, 504);
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_panic_in_preparing_is_an_error_and_frees_the_workshop() {
        let admission = admission(1, 1);
        for _ in 0..2 * WORKSHOPS {
            let failed = admission.prepare(soon(), || panic!("secret")).await;
            let failed: Result<(), ApiError> = failed;
            let failed = failed.unwrap_err();
            assert_eq!(failed.status, 500);
            assert!(!error_body(&failed).to_string().contains("secret"));
        }
        assert_eq!(admission.prepare(soon(), || 5).await.unwrap(), 5);
    }
}
