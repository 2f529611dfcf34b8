//! A request that was let in, and whose body has not been read yet.

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use card_api::ApiError;

use crate::admission::{AdmissionPlace, AnswerHold, Received};
use crate::app::App;
use crate::caller::Caller;
use crate::clock::RequestDeadline;
use crate::headers::{DRAFTER_HEADER, announced_length};

/// A request that was let in.
pub(crate) struct IncomingRequest {
    /// Who sent the request.
    pub(crate) caller: Caller,
    path: String,
    headers: HeaderMap,
    /// What is still to come of its body; `None` once it was received.
    body: Option<Body>,
}

impl IncomingRequest {
    /// A request of this caller.
    pub(crate) fn new(caller: Caller, request: Request) -> Self {
        let path = request.uri().path().to_owned();
        let (parts, body) = request.into_parts();
        IncomingRequest {
            caller,
            path,
            headers: parts.headers,
            body: Some(body),
        }
    }

    /// The drafter that is for it, if its head names one.
    pub(crate) fn drafter(&self) -> Option<String> {
        let drafter = self.headers.get(DRAFTER_HEADER)?;
        drafter.to_str().ok().map(str::to_owned)
    }

    /// Receives the body.
    ///
    /// # Errors
    /// If it is too large or too slow, breaks off, or there is no room for it.
    pub(crate) async fn receive(
        &mut self,
        app: &App,
        deadline: RequestDeadline,
    ) -> Result<Received, ApiError> {
        let announced = announced_length(&self.headers);
        let body = &mut self.body;
        app.admission.receive(body, announced, deadline).await
    }

    /// What its answer holds until it was taken.
    pub(crate) fn hold(&self, place: AdmissionPlace, deadline: RequestDeadline) -> AnswerHold {
        AnswerHold {
            place,
            deadline,
            busy: self.caller.busy.clone(),
        }
    }

    /// Refuses the request: writes down why under the name `id`, and reads the rest of its body
    /// for a moment, so that its sender hears the reason.
    pub(crate) async fn refuse(self, app: &App, id: &str, error: &ApiError) {
        app.audit.refused(id, &self.caller, &self.path, error);
        if let Some(body) = self.body {
            app.admission.discard(body).await;
        }
    }
}
