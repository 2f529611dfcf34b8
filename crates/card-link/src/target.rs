//! The target's machine: it dials drafters, or listens for those that come.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use card_core::protocol::DraftPlan;
use card_engine::{Dial, DraftEnd, TargetEnd, ends};
use card_wire::proto::{self, FromDrafter, ToDrafter, from_drafter};
use card_wire::{MOST_BYTES_FROM_DRAFTER, MOST_BYTES_TO_DRAFTER, SharedVocabulary};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::channel::{connect, warn_if_shown};
use crate::connection::peer;
use crate::error::{LinkError, shown};
use crate::limits::{IN_FLIGHT, PATIENCE, READY};
use crate::listen::{listen, server};
use crate::pump;
use crate::rpc::drafter_client::DrafterClient;
use crate::rpc::target_server::{Target as TargetService, TargetServer};
use crate::scopes::Scopes;
use crate::security::{ClientSecurity, ServerSecurity};

/// What a target asks of its drafters.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The vocabulary of the target model.
    pub vocabulary: SharedVocabulary,
    /// How the target wants to be drafted for.
    pub plan: DraftPlan,
    /// The longest context of a sequence, in tokens.
    pub context: u32,
    /// The number of sequences at a time.
    pub sequences: u32,
}

impl Terms {
    fn welcome(&self) -> ToDrafter {
        card_wire::welcome(self.vocabulary, &self.plan, self.context, self.sequences)
    }
}

/// Dials the drafter at `url`, as often as the engine asks for it.
pub fn dial(url: String, terms: Terms, security: ClientSecurity, runtime: Handle) -> Dial {
    warn_if_shown(&url, &security);
    Box::new(move |end: DraftEnd| {
        let connected = runtime.block_on(dialled(&url, &terms, &security));
        let (incoming, sender) = connected.map_err(|e| e.to_string())?;
        let (url, vocabulary) = (url.clone(), terms.vocabulary);
        runtime.spawn(async move {
            let ended = pump::target_side(end, vocabulary, incoming, sender, |m| m).await;
            if let Err(status) = ended {
                tracing::warn!("the drafter at {url} is gone: {}", shown(&status));
            }
        });
        Ok(())
    })
}

type Opened = (Streaming<FromDrafter>, mpsc::Sender<ToDrafter>);

async fn dialled(url: &str, terms: &Terms, security: &ClientSecurity) -> Result<Opened, LinkError> {
    let mut client = DrafterClient::new(connect(url, security).await?)
        .max_decoding_message_size(MOST_BYTES_FROM_DRAFTER)
        .max_encoding_message_size(MOST_BYTES_TO_DRAFTER);
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let _ = sender.send(terms.welcome()).await;
    let request = security.sign(Request::new(ReceiverStream::new(receiver)))?;
    let greeted = async {
        let mut incoming = client.draft(request).await?.into_inner();
        let first = incoming.next().await.transpose()?;
        Ok::<_, LinkError>((incoming, first))
    };
    // It makes a context first.
    let greeted = tokio::time::timeout(READY, greeted).await;
    let greeted = greeted.map_err(|_| LinkError::Transport("no answer came".into()))?;
    let (incoming, first) = greeted?;
    let hello = expect_hello(first).map_err(LinkError::Protocol)?;
    card_wire::check(&hello, terms.vocabulary).map_err(LinkError::Refused)?;
    Ok((incoming, sender))
}

fn expect_hello(message: Option<FromDrafter>) -> Result<proto::Hello, String> {
    match message.and_then(|m| m.what) {
        Some(from_drafter::What::Hello(hello)) => Ok(hello),
        _ => Err("the first message must be a hello".into()),
    }
}

/// Hears of a drafter that came, and its scope.
type Came = Arc<dyn Fn(TargetEnd, Option<String>) -> Result<(), String> + Send + Sync>;

/// Answers the drafters that dial this machine.
struct ListeningTarget {
    terms: Terms,
    came: Came,
    security: ServerSecurity,
    scopes: Scopes,
    /// Its sender is dropped when all links shall end.
    serving: watch::Receiver<()>,
}

#[tonic::async_trait]
impl TargetService for ListeningTarget {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ToDrafter, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromDrafter>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = peer(&request);
        let from = peer.as_ref().map(|p| p.address);
        let refused = |why: &Status| {
            tracing::info!(?from, "a drafter is refused: {}", why.message());
        };
        let pass = self.security.admit_drafter(&request).inspect_err(refused)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let hello = expect_hello(first).map_err(Status::invalid_argument)?;
        let known = card_wire::check(&hello, self.terms.vocabulary);
        known.map_err(Status::failed_precondition)?;
        let scope = card_wire::scope(&hello.scope).map_err(Status::failed_precondition)?;
        let admitted = pass.admits(scope.as_deref());
        let admitted = admitted.map_err(Status::permission_denied);
        admitted.inspect_err(refused)?;
        let member = self.scopes.enter(scope.clone());
        let member = member.map_err(Status::resource_exhausted)?;
        let (near, far) = ends(std::time::Duration::ZERO);
        // An engine that is busy takes its time.
        let (came, of) = (self.came.clone(), scope.clone());
        let taken = tokio::task::spawn_blocking(move || came(near, of)).await;
        let taken = taken.map_err(|_| Status::internal("the engine could not be told"))?;
        taken.map_err(Status::unavailable)?;
        tracing::info!(?from, ?scope, "a drafter has come");
        let working = peer.map(|p| p.work());
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let _ = sender.send(Ok(self.terms.welcome())).await;
        let (mut serving, vocabulary) = (self.serving.clone(), self.terms.vocabulary);
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = pump::target_side(far, vocabulary, incoming, sender, Ok) => ended,
                _ = serving.changed() => Ok(()),
            };
            let why = ended.err().map(|status| shown(&status));
            tracing::info!(?from, ?scope, why, "a drafter has left");
            drop((member, working));
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Takes in drafters that dial, until the future is dropped. `ready` hears the address.
///
/// # Errors
/// If the address or the certificates cannot be used, or everybody could connect from other
/// machines.
pub async fn serve_targets(
    address: SocketAddr,
    terms: Terms,
    security: ServerSecurity,
    came: impl Fn(TargetEnd, Option<String>) -> Result<(), String> + Send + Sync + 'static,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), LinkError> {
    let mut server = server(&security)?;
    let (incoming, address) = listen(address, &security).await?;
    ready(address);
    // Dropped with this future, which ends the links.
    let (_serving, watched) = watch::channel(());
    let service = TargetServer::new(ListeningTarget {
        terms,
        came: Arc::new(came),
        security,
        scopes: Scopes::default(),
        serving: watched,
    });
    let service = service
        .max_decoding_message_size(MOST_BYTES_FROM_DRAFTER)
        .max_encoding_message_size(MOST_BYTES_TO_DRAFTER);
    Ok(server
        .add_service(service)
        .serve_with_incoming(incoming)
        .await?)
}
