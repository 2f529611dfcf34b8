//! The target's machine: it dials drafters, or listens for those that come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use card_core::drafter::DraftPlan;
use card_engine::{Dial, DraftEnd, TargetEnd, ends};
use card_wire::proto::{self, FromDrafter, ToDrafter, from_drafter};
use card_wire::{MOST_BYTES_FROM_DRAFTER, MOST_BYTES_TO_DRAFTER, Vocabulary};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::channel::{connect, warn_if_shown};
use crate::listen::{listen, peer, server};
use crate::rpc::drafter_client::DrafterClient;
use crate::rpc::target_server::{Target, TargetServer};
use crate::security::{ClientSecurity, ServerSecurity};
use crate::{IN_FLIGHT, LinkError, PATIENCE, READY, pump, shown};

/// What a target asks of its drafters.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Of its model.
    pub vocabulary: Vocabulary,
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

/// Drafters of one scope at a time. One whose connection was lost may still be counted.
const PER_SCOPE: usize = 8;

/// Drafters that came, by scope.
#[derive(Clone, Debug, Default)]
struct Scopes(Arc<Mutex<HashMap<Option<String>, usize>>>);

/// One of them; it leaves when this is dropped.
#[derive(Debug)]
struct Place {
    scopes: Scopes,
    scope: Option<String>,
}

impl Scopes {
    fn enter(&self, scope: Option<String>) -> Result<Place, String> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(scope.clone()).or_default();
        if *count >= PER_SCOPE {
            return Err(format!(
                "{PER_SCOPE} drafters of this scope are here already"
            ));
        }
        *count += 1;
        drop(counts);
        Ok(Place {
            scopes: self.clone(),
            scope,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.scopes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.scope) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.scope);
            }
        }
    }
}

/// Hears of a drafter that came, and its scope.
type Came = Arc<dyn Fn(TargetEnd, Option<String>) -> Result<(), String> + Send + Sync>;

struct Service {
    terms: Terms,
    came: Came,
    security: ServerSecurity,
    scopes: Scopes,
    /// Its other end is dropped when links shall end.
    serving: watch::Receiver<()>,
}

#[tonic::async_trait]
impl Target for Service {
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
        let place = self.scopes.enter(scope.clone());
        let place = place.map_err(Status::resource_exhausted)?;
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
            drop((place, working));
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
    let service = TargetServer::new(Service {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_a_bounded_number_of_drafters_and_forgets_those_that_left() {
        let scopes = Scopes::default();
        for scope in [None, Some("laptop".to_owned())] {
            let mut here: Vec<Place> = (0..PER_SCOPE)
                .map(|_| scopes.enter(scope.clone()).unwrap())
                .collect();
            assert!(scopes.enter(scope.clone()).is_err());
            here.pop();
            assert!(scopes.enter(scope.clone()).is_ok());
        }
        assert!(scopes.0.lock().unwrap().is_empty());
    }
}
