//! The target's machine: it dials drafters, or listens for those that come.

use std::net::SocketAddr;
use std::pin::Pin;

use card_core::drafter::DraftPlan;
use card_engine::{Dial, DraftEnd, TargetEnd, ends};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::drafter::{connect, listen, server};
use crate::rpc::drafter_client::DrafterClient;
use crate::rpc::target_server::{Target, TargetServer};
use crate::security::{ClientSecurity, ServerSecurity};
use crate::{IN_FLIGHT, LinkError, PATIENCE, pump};
use card_wire::proto::{self, FromDrafter, ToDrafter, from_drafter};

/// What a target asks of its drafters.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Fingerprint of its vocabulary.
    pub vocabulary: u64,
    /// How to draft.
    pub plan: DraftPlan,
    /// Tokens of context.
    pub context: u32,
    /// Sequences at a time.
    pub sequences: u32,
}

impl Terms {
    fn welcome(&self) -> ToDrafter {
        card_wire::welcome(self.vocabulary, &self.plan, self.context, self.sequences)
    }
}

/// Dials the drafter at `url`, as often as the engine asks for it.
pub fn dial(url: String, terms: Terms, security: ClientSecurity, runtime: Handle) -> Dial {
    Box::new(move |end: DraftEnd| {
        let connected = runtime.block_on(dialled(&url, &terms, &security));
        let (incoming, sender) = connected.map_err(|e| e.to_string())?;
        let url = url.clone();
        runtime.spawn(async move {
            if let Err(status) = pump::target_side(end, incoming, sender, |m| m).await {
                tracing::warn!("the drafter at {url} is gone: {}", status.message());
            }
        });
        Ok(())
    })
}

type Opened = (Streaming<FromDrafter>, mpsc::Sender<ToDrafter>);

async fn dialled(url: &str, terms: &Terms, security: &ClientSecurity) -> Result<Opened, LinkError> {
    let mut client = DrafterClient::new(connect(url, security).await?);
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let _ = sender.send(terms.welcome()).await;
    let request = security.sign(Request::new(ReceiverStream::new(receiver)))?;
    let mut incoming = client.draft(request).await?.into_inner();
    let first = tokio::time::timeout(PATIENCE, incoming.next()).await;
    let first = first.map_err(|_| LinkError::Transport("no answer came".into()))?;
    let hello = expect_hello(first.transpose()?).map_err(LinkError::Protocol)?;
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
type Came = Box<dyn Fn(TargetEnd, Option<String>) -> Result<(), String> + Send + Sync>;

struct Service {
    terms: Terms,
    came: Came,
    security: ServerSecurity,
}

#[tonic::async_trait]
impl Target for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ToDrafter, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromDrafter>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.security.admit(&request)?;
        let peer = request.remote_addr();
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let hello = expect_hello(first).map_err(Status::invalid_argument)?;
        card_wire::check(&hello, self.terms.vocabulary).map_err(Status::failed_precondition)?;
        let (near, far) = ends(std::time::Duration::ZERO);
        let scope = (!hello.scope.is_empty()).then_some(hello.scope);
        (self.came)(near, scope.clone()).map_err(Status::unavailable)?;
        tracing::info!(?peer, ?scope, "a drafter has come");
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let _ = sender.send(Ok(self.terms.welcome())).await;
        tokio::spawn(async move {
            let ended = pump::target_side(far, incoming, sender, Ok).await;
            let why = ended.err().map(|s| s.message().to_owned());
            tracing::info!(?peer, ?scope, why, "a drafter has left");
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Takes in drafters that dial, until the future is dropped. `ready` hears the address.
///
/// # Errors
/// If the address or the certificates cannot be used.
pub async fn serve_targets(
    address: SocketAddr,
    terms: Terms,
    security: ServerSecurity,
    came: impl Fn(TargetEnd, Option<String>) -> Result<(), String> + Send + Sync + 'static,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), LinkError> {
    let (listener, address) = listen(address).await?;
    let mut server = server(&security)?;
    ready(address);
    let service = TargetServer::new(Service {
        terms,
        came: Box::new(came),
        security,
    });
    Ok(server
        .add_service(service)
        .serve_with_incoming(listener)
        .await?)
}
