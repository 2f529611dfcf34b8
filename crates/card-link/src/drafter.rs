//! The drafter's machine: it listens for targets, or dials one.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use card_core::backoff::Backoff;
use card_core::drafter::DraftPlan;
use card_engine::TargetEnd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::rpc::drafter_server::{Drafter, DrafterServer};
use crate::rpc::target_client::TargetClient;
use crate::security::{ClientSecurity, ServerSecurity};
use crate::{IN_FLIGHT, KEEPALIVE, KEEPALIVE_TIMEOUT, LinkError, PATIENCE, pump};
use card_wire::proto::{self, FromDrafter, ToDrafter, from_drafter, to_drafter};

/// Starts a lane for a target: its plan, its context, and the sequences it runs at a time.
pub type MakeLane = Arc<dyn Fn(&DraftPlan, u32, u32) -> Result<TargetEnd, String> + Send + Sync>;

struct Service {
    vocabulary: u64,
    make: MakeLane,
    security: ServerSecurity,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Drafter for Service {
    type DraftStream = Answers<FromDrafter>;

    async fn draft(
        &self,
        request: Request<Streaming<ToDrafter>>,
    ) -> Result<Response<Self::DraftStream>, Status> {
        self.security.admit(&request)?;
        let peer = request.remote_addr();
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no welcome came"))??;
        let welcome = expect_welcome(first).map_err(Status::invalid_argument)?;
        let theirs = welcome.hello.clone().unwrap_or_default();
        card_wire::check(&theirs, self.vocabulary).map_err(Status::failed_precondition)?;
        let end = make_lane(self.make.clone(), welcome).await?;
        tracing::info!(?peer, "drafting for a target");
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let hello = card_wire::hello(self.vocabulary, "");
        let hello = FromDrafter {
            what: Some(from_drafter::What::Hello(hello)),
        };
        let _ = sender.send(Ok(hello)).await;
        tokio::spawn(async move {
            let ended = pump::drafter_side(end, incoming, sender, Ok).await;
            match ended {
                Ok(()) => tracing::info!(?peer, "the target hung up"),
                Err(status) => tracing::warn!(?peer, "the target is gone: {}", status.message()),
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn make_lane(make: MakeLane, welcome: proto::Welcome) -> Result<TargetEnd, Status> {
    let made = tokio::task::spawn_blocking(move || {
        let plan = card_wire::plan(&welcome);
        make(&plan, welcome.context, welcome.sequences.clamp(1, 64))
    });
    let made = made.await.map_err(|e| Status::internal(e.to_string()))?;
    made.map_err(Status::resource_exhausted)
}

fn expect_welcome(message: Option<ToDrafter>) -> Result<proto::Welcome, String> {
    match message.and_then(|m| m.what) {
        Some(to_drafter::What::Welcome(welcome)) => Ok(welcome),
        _ => Err("the first message must be a welcome".into()),
    }
}

/// Drafts for every target that connects, until `shutdown` comes. `ready` hears the address.
///
/// # Errors
/// If the address or the certificates cannot be used.
pub async fn serve_drafter(
    address: SocketAddr,
    vocabulary: u64,
    make: MakeLane,
    security: ServerSecurity,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), LinkError> {
    let (listener, address) = listen(address).await?;
    let mut server = server(&security)?;
    ready(address);
    let service = DrafterServer::new(Service {
        vocabulary,
        make,
        security,
    });
    let serving = server.add_service(service).serve_with_incoming(listener);
    // Connections are open-ended: they are not waited for.
    tokio::select! {
        done = serving => Ok(done?),
        () = shutdown => Ok(()),
    }
}

pub(crate) async fn listen(
    address: SocketAddr,
) -> Result<(TcpListenerStream, SocketAddr), LinkError> {
    let fail = |e: std::io::Error| LinkError::Transport(format!("cannot listen on {address}: {e}"));
    let listener = tokio::net::TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((TcpListenerStream::new(listener), address))
}

pub(crate) fn server(security: &ServerSecurity) -> Result<Server, LinkError> {
    let mut server = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(tls) = security.tls()? {
        server = server.tls_config(tls)?;
    }
    Ok(server)
}

pub(crate) async fn connect(url: &str, security: &ClientSecurity) -> Result<Channel, LinkError> {
    let bad = || LinkError::Address(url.to_owned());
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| bad())?;
    let scheme = endpoint.uri().scheme_str().map(str::to_owned);
    let mut endpoint = endpoint
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match scheme.as_deref() {
        Some("https") => endpoint = endpoint.tls_config(security.tls()?)?,
        Some("http") => {}
        _ => return Err(bad()),
    }
    endpoint
        .connect()
        .await
        .map_err(|e| match LinkError::from(e) {
            LinkError::Transport(why) => LinkError::Transport(format!("cannot reach {url}: {why}")),
            other => other,
        })
}

/// Dials a target and drafts for it, again whenever the connection is lost, until `shutdown`
/// comes. With a `scope` it drafts only for requests that name it. `changed` hears whether it
/// is connected, and why not.
///
/// # Errors
/// If the target refuses: the same would happen again.
pub async fn attach(
    url: &str,
    vocabulary: u64,
    scope: &str,
    make: MakeLane,
    security: ClientSecurity,
    shutdown: impl Future<Output = ()>,
    changed: impl Fn(Result<(), &LinkError>),
) -> Result<(), LinkError> {
    let work = async {
        let mut pause = Backoff::DRAFTER;
        loop {
            let connected = || {
                changed(Ok(()));
            };
            let make = make.clone();
            let ended = attached(url, vocabulary, scope, make, &security, connected).await;
            match ended {
                Ok(()) => pause.reset(),
                Err(error @ (LinkError::Transport(_) | LinkError::Protocol(_))) => {
                    changed(Err(&error));
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause.fail()).await;
        }
    };
    tokio::select! {
        ended = work => ended,
        () = shutdown => Ok(()),
    }
}

/// One connection, to its end.
async fn attached(
    url: &str,
    vocabulary: u64,
    scope: &str,
    make: MakeLane,
    security: &ClientSecurity,
    connected: impl FnOnce(),
) -> Result<(), LinkError> {
    let mut client = TargetClient::new(connect(url, security).await?);
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let hello = FromDrafter {
        what: Some(from_drafter::What::Hello(card_wire::hello(
            vocabulary, scope,
        ))),
    };
    let _ = sender.send(hello).await;
    let request = security.sign(Request::new(ReceiverStream::new(receiver)))?;
    let mut incoming = client.attach(request).await?.into_inner();
    let first = tokio::time::timeout(PATIENCE, incoming.next()).await;
    let first = first.map_err(|_| LinkError::Transport("no welcome came".into()))?;
    let welcome = expect_welcome(first.transpose()?).map_err(LinkError::Protocol)?;
    let theirs = welcome.hello.clone().unwrap_or_default();
    card_wire::check(&theirs, vocabulary).map_err(LinkError::Refused)?;
    let end = make_lane(make, welcome).await?;
    connected();
    Ok(pump::drafter_side(end, incoming, sender, |m| m).await?)
}
