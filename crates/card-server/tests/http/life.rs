//! The life of a server.

use std::time::Duration;

use card_server::ServeError;
use card_server::testing::TestSetup;
use serde_json::json;

use crate::client::{COMPLETIONS, Client, endless, setup};
use crate::common::{a, with};

#[tokio::test]
async fn no_time_is_too_long_for_a_clock() {
    let mut setup = setup();
    setup.config.request_timeout = Duration::MAX;
    setup.config.body_timeout = Duration::MAX;
    let client = Client::start(&setup);
    assert_eq!(client.post(COMPLETIONS, &a()).await.status, 200);
    assert_eq!(
        client
            .post("/tokenize", &json!({ "content": "a" }))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_server_whose_engine_ended_says_so_and_ends() {
    let mut client = Client::start(&TestSetup {
        break_after: Some(5),
        ..setup()
    });
    assert_eq!(client.get("/health").await.status, 200);
    let reply = client
        .post(
            COMPLETIONS,
            &with(endless(100), &json!({ "stream": false })),
        )
        .await;
    assert!(reply.status >= 500, "{reply:?}");
    let (_, message) = reply.error();
    assert!(!message.contains("synthetic breakdown"), "{message}");
    // It stays for a moment, so that probes see it.
    client
        .until("the end", |health| health["status"] == "dead")
        .await;
    assert_eq!(client.get("/health").await.status, 503);
    let reply = client.post(COMPLETIONS, &a()).await;
    assert!(reply.status >= 500, "{reply:?}");
    assert!(matches!(client.server.wait(), Err(ServeError::Engine(_))));
}
