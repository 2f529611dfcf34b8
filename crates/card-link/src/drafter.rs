//! The drafter's machine: it listens for targets, or dials one.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use card_wire::proto::{self, FromDrafter, ToDrafter, to_drafter};
use card_wire::{MOST_BYTES_FROM_DRAFTER, MOST_BYTES_TO_DRAFTER};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::channel::{connect, warn_if_shown};
use crate::connection::peer;
use crate::error::{LinkError, shown};
use crate::lane::{Drafting, GrantedLane};
use crate::limits::{IN_FLIGHT, PATIENCE};
use crate::listen::{listen, server};
use crate::pump;
use crate::retry::Retry;
use crate::rpc::drafter_server::{Drafter as DraftService, DrafterServer};
use crate::rpc::target_client::TargetClient;
use crate::security::{ClientSecurity, ServerSecurity};

/// Answers the targets that dial this machine.
struct ListeningDrafter {
    drafting: Drafting,
    security: ServerSecurity,
    /// Its sender is dropped when all links shall end.
    serving: watch::Receiver<()>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DraftService for ListeningDrafter {
    type DraftStream = Answers<FromDrafter>;

    async fn draft(
        &self,
        request: Request<Streaming<ToDrafter>>,
    ) -> Result<Response<Self::DraftStream>, Status> {
        let peer = peer(&request);
        let from = peer.as_ref().map(|p| p.address);
        self.security.admit_target(&request).inspect_err(|why| {
            tracing::info!(?from, "a target is refused: {}", why.message());
        })?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no welcome came"))??;
        let welcome = expect_welcome(first).map_err(Status::invalid_argument)?;
        let theirs = welcome.hello.clone().unwrap_or_default();
        let known = card_wire::check(&theirs, self.drafting.vocabulary);
        known.map_err(Status::failed_precondition)?;
        let working = peer.map(|p| p.work());
        let lane = self.drafting.lane(welcome).await?;
        tracing::info!(?from, "drafting for a target");
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let _ = sender.send(Ok(self.drafting.hello(""))).await;
        let mut serving = self.serving.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = pump::drafter_side(lane, incoming, sender, Ok) => ended,
                _ = serving.changed() => Ok(()),
            };
            match ended {
                Ok(()) => tracing::info!(?from, "the target is not drafted for any more"),
                Err(status) => tracing::warn!(?from, "the target is gone: {}", shown(&status)),
            }
            drop(working);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn expect_welcome(message: Option<ToDrafter>) -> Result<proto::Welcome, String> {
    match message.and_then(|m| m.what) {
        Some(to_drafter::What::Welcome(welcome)) => Ok(welcome),
        _ => Err("the first message must be a welcome".into()),
    }
}

/// Drafts for every target that connects, until `shutdown` comes. `ready` hears the address.
/// Links end with it; [`Budget::ended`](crate::Budget::ended) waits for what they held.
///
/// # Errors
/// If the address or the certificates cannot be used, or everybody could connect from other
/// machines.
pub async fn serve_drafter(
    address: SocketAddr,
    drafting: Drafting,
    security: ServerSecurity,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), LinkError> {
    let mut server = server(&security)?;
    let (incoming, address) = listen(address, &security).await?;
    ready(address);
    // Dropped with this future, which ends the links.
    let (_serving, watched) = watch::channel(());
    let service = ListeningDrafter {
        drafting,
        security,
        serving: watched,
    };
    let service = DrafterServer::new(service)
        .max_decoding_message_size(MOST_BYTES_TO_DRAFTER)
        .max_encoding_message_size(MOST_BYTES_FROM_DRAFTER);
    let serving = server.add_service(service).serve_with_incoming(incoming);
    // Connections are open-ended: they are not waited for.
    tokio::select! {
        done = serving => Ok(done?),
        () = shutdown => Ok(()),
    }
}

/// Dials a target and drafts for it, again whenever the connection is lost, until `shutdown`
/// comes. With a `scope` it drafts only for requests that name it. `changed` hears whether it
/// is connected, and why not.
///
/// # Errors
/// If the target refuses when it is greeted, or the settings cannot be: the same would happen
/// again.
pub async fn attach(
    url: &str,
    drafting: Drafting,
    scope: &str,
    security: ClientSecurity,
    shutdown: impl Future<Output = ()>,
    changed: impl Fn(Result<(), &LinkError>),
) -> Result<(), LinkError> {
    card_wire::scope(scope).map_err(LinkError::Settings)?;
    warn_if_shown(url, &security);
    let work = async {
        let mut retry = Retry::new();
        loop {
            let (error, held) = match greeted(url, &drafting, scope, &security).await {
                Ok((lane, incoming, sender)) => {
                    changed(Ok(()));
                    let since = Instant::now();
                    let lost = pump::drafter_side(lane, incoming, sender, |m| m).await;
                    let error = match lost {
                        Ok(()) => LinkError::Transport("the target hung up".into()),
                        Err(status) => LinkError::lost(&status),
                    };
                    (error, Some(since.elapsed()))
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => (error, None),
            };
            changed(Err(&error));
            tokio::time::sleep(retry.pause(held)).await;
        }
    };
    tokio::select! {
        ended = work => ended,
        () = shutdown => Ok(()),
    }
}

type Greeted = (GrantedLane, Streaming<ToDrafter>, mpsc::Sender<FromDrafter>);

/// Connects to a target, and has a lane ready for it.
async fn greeted(
    url: &str,
    drafting: &Drafting,
    scope: &str,
    security: &ClientSecurity,
) -> Result<Greeted, LinkError> {
    /// Longest wait for the target's answer and its welcome.
    const WELCOME: Duration = Duration::from_secs(20);
    let mut client = TargetClient::new(connect(url, security).await?)
        .max_decoding_message_size(MOST_BYTES_TO_DRAFTER)
        .max_encoding_message_size(MOST_BYTES_FROM_DRAFTER);
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let _ = sender.send(drafting.hello(scope)).await;
    let request = security.sign(Request::new(ReceiverStream::new(receiver)))?;
    let welcomed = async {
        let mut incoming = client.attach(request).await?.into_inner();
        let first = incoming.next().await.transpose()?;
        Ok::<_, LinkError>((incoming, first))
    };
    let welcomed = tokio::time::timeout(WELCOME, welcomed).await;
    let welcomed = welcomed.map_err(|_| LinkError::Transport("no welcome came".into()))?;
    let (incoming, first) = welcomed?;
    let welcome = expect_welcome(first).map_err(LinkError::Protocol)?;
    let theirs = welcome.hello.clone().unwrap_or_default();
    card_wire::check(&theirs, drafting.vocabulary).map_err(LinkError::Refused)?;
    let lane = drafting.lane(welcome).await;
    // The target may be taken when others are done with this machine.
    let lane = lane.map_err(|status| LinkError::Transport(shown(&status)))?;
    Ok((lane, incoming, sender))
}
