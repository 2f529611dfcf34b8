//! What a response tells, kept beside its bytes.

use card_api::ApiError;

/// The error that a response tells, as one of its extensions. Whoever knows at which path it was
/// asked can write it in the shape of the protocol that is spoken there.
#[derive(Clone)]
pub(crate) struct ToldError(pub(crate) ApiError);
