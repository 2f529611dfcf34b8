//! Other sides that do not keep to anything, over real sockets.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use card_core::protocol::DraftInput;
use card_core::sampler::Sampling;
use card_core::types::{SequenceId, Tenant};
use card_wire::proto::{self, FromDrafter, ToDrafter, to_drafter};
use card_wire::{MOST_CONTEXT, SharedVocabulary};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::rpc::drafter_client::DrafterClient;
use crate::rpc::target_server::{Target as TargetService, TargetServer};
use crate::{Budget, ClientSecurity, Drafting, MakeLane, ServerSecurity};

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 77,
    tokens: u32::MAX,
};
const LONG: Duration = Duration::from_secs(60);

/// A drafter's machine whose lanes only listen.
struct ListeningMachine {
    address: SocketAddr,
    /// What its lanes heard.
    heard: Receiver<DraftInput>,
    /// Tokens of context its lanes have, and the most they ever had.
    cells: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

fn listening_lanes(
    cells: &Arc<AtomicU64>,
    most: &Arc<AtomicU64>,
) -> (MakeLane, Receiver<DraftInput>) {
    let (tell, heard) = channel();
    let (cells, most) = (cells.clone(), most.clone());
    let make: MakeLane = Arc::new(move |_, context, sequences| {
        let (near, mut far) = card_engine::ends(Duration::ZERO);
        let own = u64::from(context) * u64::from(sequences);
        most.fetch_max(
            cells.fetch_add(own, Ordering::SeqCst) + own,
            Ordering::SeqCst,
        );
        let (tell, cells) = (tell.clone(), cells.clone());
        std::thread::spawn(move || {
            while let Some(input) = far.inbox.recv() {
                let _ = tell.send(input);
            }
            cells.fetch_sub(own, Ordering::SeqCst);
            drop(far);
        });
        Ok(near)
    });
    (make, heard)
}

fn machine(runtime: &Runtime, budget: Arc<Budget>) -> ListeningMachine {
    let (cells, most) = (Arc::default(), Arc::default());
    let (make, heard) = listening_lanes(&cells, &most);
    let drafting = Drafting {
        vocabulary: VOCABULARY,
        make,
        budget,
    };
    let (ready, address) = channel();
    runtime.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let never = std::future::pending();
        let ready = move |a| ready.send(a).unwrap();
        crate::serve_drafter(any, drafting, ServerSecurity::open(), never, ready).await
    });
    ListeningMachine {
        address: address.recv_timeout(LONG).unwrap(),
        heard,
        cells,
        most,
    }
}

fn message(what: to_drafter::What) -> ToDrafter {
    ToDrafter { what: Some(what) }
}

fn welcome(context: u32, sequences: u32) -> ToDrafter {
    message(to_drafter::What::Welcome(proto::Welcome {
        hello: Some(card_wire::hello(VOCABULARY, "")),
        chain: 0,
        branch: 4,
        max_depth: 8,
        cache_bytes: 4096,
        context,
        sequences,
    }))
}

fn open(sequence: u64, tokens: Vec<u32>) -> ToDrafter {
    card_wire::input_out(DraftInput::Open {
        sequence: SequenceId(sequence),
        tenant: Tenant::SHARED,
        tokens,
        params: Sampling::default(),
        end: 40,
        grammar: None,
    })
}

/// Says that everything before it was looked at.
fn mark(index: u32) -> ToDrafter {
    message(to_drafter::What::Share(proto::Share { index, of: 4096 }))
}

struct Dialled {
    to: mpsc::Sender<ToDrafter>,
    from: Streaming<FromDrafter>,
}

/// A target that says what it likes.
async fn dial(address: SocketAddr, first: ToDrafter) -> Result<Dialled, Status> {
    let client = DrafterClient::connect(format!("http://{address}")).await;
    let mut client = client.map_err(|e| Status::unavailable(e.to_string()))?;
    let (to, receiver) = mpsc::channel(64);
    to.send(first).await.unwrap();
    let request = Request::new(ReceiverStream::new(receiver));
    let mut from = client.draft(request).await?.into_inner();
    from.next().await.unwrap()?;
    Ok(Dialled { to, from })
}

impl ListeningMachine {
    /// What was heard before the mark.
    fn until_mark(&self, index: u32) -> Vec<DraftInput> {
        let mut heard = Vec::new();
        loop {
            match self.heard.recv_timeout(LONG).unwrap() {
                DraftInput::Share(share) if share.index == index => return heard,
                other => heard.push(other),
            }
        }
    }
}

#[test]
fn targets_together_get_what_the_machine_has_and_give_it_back() {
    let runtime = Runtime::new().unwrap();
    let budget = Budget::new(4, 1000, 200);
    let machine = machine(&runtime, budget.clone());
    for (context, sequences) in [(u32::MAX, u32::MAX), (64, 1), (1, 3), (200, 5)] {
        let mut here = Vec::new();
        for _ in 0..20 {
            match runtime.block_on(dial(machine.address, welcome(context, sequences))) {
                Ok(link) => here.push(link),
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
            }
        }
        assert!((1..=4).contains(&here.len()), "{}", here.len());
        assert!(machine.most.load(Ordering::SeqCst) <= 1000);
        drop(here);
        // Whatever they were granted is there for the next ones again.
        runtime.block_on(budget.ended(LONG));
        assert_eq!(machine.cells.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn one_odd_message_ends_nothing_and_a_broken_protocol_ends_that_link_only() {
    let runtime = Runtime::new().unwrap();
    let machine = machine(&runtime, Budget::new(4, 10_000, 200));
    let (mut one, two) = runtime.block_on(async {
        let one = dial(machine.address, welcome(100, 2)).await.unwrap();
        let two = dial(machine.address, welcome(100, 2)).await.unwrap();
        let mut nonsense = open(1, vec![1]);
        if let Some(to_drafter::What::Open(open)) = &mut nonsense.what {
            open.sampling.as_mut().unwrap().temperature = f32::NAN;
        }
        one.to.send(nonsense).await.unwrap();
        for id in 2..1000 {
            one.to.send(open(id, vec![1])).await.unwrap();
        }
        one.to.send(mark(1)).await.unwrap();
        (one, two)
    });
    let opened = machine.until_mark(1);
    assert_eq!(opened.len(), 4, "{opened:?}");
    runtime.block_on(async {
        one.to.send(ToDrafter { what: None }).await.unwrap();
        // What was left out is answered with nothing: a drafter that has no room for a sequence
        // is not one that hangs.
        let mut answers = 0;
        while let Some(Ok(_)) = tokio::time::timeout(LONG, one.from.next()).await.unwrap() {
            answers += 1;
        }
        assert!(answers > 0);
        two.to.send(mark(2)).await.unwrap();
    });
    assert!(machine.until_mark(2).is_empty());
}

#[test]
fn a_large_open_arrives_and_one_that_is_too_large_ends_that_link_only() {
    let runtime = Runtime::new().unwrap();
    let context = MOST_CONTEXT;
    let machine = machine(&runtime, Budget::new(2, 2 * u64::from(context), context));
    let (mut one, two) = runtime.block_on(async {
        let one = dial(machine.address, welcome(context, 1)).await.unwrap();
        let two = dial(machine.address, welcome(context, 1)).await.unwrap();
        // Five bytes a token, more than tonic takes by itself.
        let long = vec![u32::MAX - 1; context as usize];
        one.to.send(open(1, long)).await.unwrap();
        one.to.send(mark(1)).await.unwrap();
        (one, two)
    });
    match &machine.until_mark(1)[..] {
        [DraftInput::Open { tokens, .. }] => assert_eq!(tokens.len(), context as usize),
        other => panic!("{} messages", other.len()),
    }
    runtime.block_on(async {
        let longer = vec![u32::MAX - 1; context as usize + (context / 8) as usize];
        one.to.send(open(2, longer)).await.unwrap();
        let end = tokio::time::timeout(LONG, one.from.next()).await.unwrap();
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        two.to.send(mark(2)).await.unwrap();
    });
    assert!(machine.until_mark(2).is_empty());
}

/// A target whose first link breaks in a way of its own; the second is sound.
struct Moody {
    came: Arc<AtomicUsize>,
    /// What the first one that comes gets.
    first: Mutex<Option<Result<Vec<ToDrafter>, Status>>>,
}

#[tonic::async_trait]
impl TargetService for Moody {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ToDrafter, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromDrafter>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        request.into_inner().message().await?;
        self.came.fetch_add(1, Ordering::SeqCst);
        let first = self.first.lock().unwrap().take();
        let messages = match first {
            Some(first) => first?,
            None => vec![welcome(100, 1)],
        };
        let messages: Vec<Result<ToDrafter, Status>> = messages.into_iter().map(Ok).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }
}

fn attaches_again(first: Result<Vec<ToDrafter>, Status>) {
    let runtime = Runtime::new().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let moody = Moody {
        came: came.clone(),
        first: Mutex::new(Some(first)),
    };
    let (cells, most) = (Arc::default(), Arc::default());
    let (make, _heard) = listening_lanes(&cells, &most);
    let drafting = Drafting {
        vocabulary: VOCABULARY,
        make,
        budget: Budget::new(1, 1000, 100),
    };
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(TargetServer::new(moody));
        tokio::spawn(server.serve_with_incoming(incoming));
        let twice = async {
            while came.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let security = ClientSecurity::default();
        let attached = crate::attach(&url, drafting, "mine", security, twice, |_| {});
        let ended = tokio::time::timeout(LONG, attached).await;
        ended
            .expect("it did not come back")
            .expect("it ended for good");
    });
}

#[test]
fn a_drafter_that_attached_comes_back_however_its_link_ended() {
    let broken = vec![welcome(100, 1), welcome(100, 1)];
    let unknown = vec![welcome(100, 1), ToDrafter { what: None }];
    std::thread::scope(|scope| {
        for first in [
            Ok(broken),
            Ok(unknown),
            Ok(vec![welcome(100, 1)]),
            Ok(Vec::new()),
            Err(Status::invalid_argument("odd")),
            Err(Status::unavailable("not now")),
            Err(Status::internal("broken")),
            Err(Status::resource_exhausted("full")),
        ] {
            scope.spawn(move || attaches_again(first));
        }
    });
}
