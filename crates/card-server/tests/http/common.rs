//! Bodies and users that several tests share.

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{Reply, with_keys};

/// The key of the first user.
pub const ANNA: &str = "Bearer secret-of-anna";
/// The key of the second user.
pub const BERT: &str = "Bearer secret-of-bert";

/// A server with two users.
pub fn two_keys() -> TestSetup {
    with_keys(&[("anna", "secret-of-anna"), ("bert", "secret-of-bert")])
}

/// `body` with the fields of `more`.
pub fn with(mut body: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

/// A short chat.
pub fn hello() -> Value {
    json!({ "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 4 })
}

/// A short completion.
pub fn a() -> Value {
    json!({ "prompt": "a", "max_tokens": 3 })
}

/// Refused with a reason that names a field which begins like this.
pub fn refused(reply: &Reply, field: &str, what: &str) {
    assert_eq!(reply.status, 400, "{what}: {reply:?}");
    let (param, _) = reply.error();
    assert!(param.starts_with(field), "{what}: {param:?} {reply:?}");
}
