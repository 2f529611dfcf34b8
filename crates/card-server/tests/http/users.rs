//! Users: their keys, and what one of them learns of another.

use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client};
use crate::common::{ANNA, BERT, a, two_keys};

#[tokio::test]
async fn a_key_passes_in_every_form_and_nothing_else_does() {
    let client = Client::start(&two_keys());
    let right: [(&str, &str); 6] = [
        ("authorization", ANNA),
        ("authorization", BERT),
        ("authorization", "bearer secret-of-anna"),
        ("authorization", "BEARER  secret-of-anna "),
        ("x-api-key", "secret-of-anna"),
        ("x-api-key", "secret-of-bert"),
    ];
    for header in right {
        let reply = client
            .ask("POST", COMPLETIONS, &[header], a().to_string())
            .await;
        assert_eq!(reply.status, 200, "{header:?}: {reply:?}");
    }
    let wrong: [&[(&str, &str)]; 9] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer anna")],
        &[("authorization", "Bearer secret-of-ann")],
        &[("authorization", "Bearer secret-of-anna2")],
        &[("authorization", "Basic secret-of-anna")],
        &[("x-api-key", "")],
    ];
    let paths = [
        ("POST", CHAT),
        ("POST", COMPLETIONS),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/synthetic"),
        ("GET", "/live"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("DELETE", "/v1/models"),
    ];
    for headers in wrong {
        for (method, path) in paths {
            let reply = client.ask(method, path, headers, "{").await;
            assert_eq!(reply.status, 401, "{method} {path} {headers:?}: {reply:?}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            assert!(!reply.text.contains("secret-of"), "{reply:?}");
            reply.error();
        }
    }
    // Probes and the page, which asks for a key, need none.
    for path in ["/health", "/"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn live_shows_ones_own_requests_only() {
    let client = Client::start(&two_keys());
    let mut shown = client.follow("/live", &[("authorization", BERT)]).await;
    assert_eq!(shown.next().await.unwrap()["kind"], "about");
    let asked = |id: &Value| id.as_str().unwrap().rsplit('-').next().unwrap().to_owned();
    let secret =
        json!({ "prompt": "zebra zebra", "max_tokens": 8, "prediction": { "content": "zebra" } });
    let theirs = client.post_as(ANNA, COMPLETIONS, &secret).await.json();
    let mine = client.post_as(BERT, COMPLETIONS, &a()).await.json();
    let (theirs, mine) = (asked(&theirs["id"]), asked(&mine["id"]));
    assert_ne!(theirs, mine);
    // Events come in order: what is shown until the end of Bert's is all there was before.
    loop {
        let event = shown.next().await.unwrap();
        assert_eq!(event["request"], mine.as_str(), "{event}");
        if event["kind"] == "end" {
            break;
        }
    }
    // Whoever asks sees it.
    let mut shown = client.follow("/live", &[("authorization", ANNA)]).await;
    assert_eq!(shown.next().await.unwrap()["kind"], "about");
    client.post_as(ANNA, COMPLETIONS, &secret).await;
    assert_eq!(shown.next().await.unwrap()["kind"], "begin");
}

#[tokio::test]
async fn a_user_with_many_pages_leaves_seats_for_others() {
    let client = Client::start(&two_keys());
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(client.follow("/live", &[("authorization", ANNA)]).await);
    }
    let look = async |key: &str| {
        let headers = [("authorization", key)];
        let response = client.send("GET", "/live", &headers, "").await;
        response.status().as_u16()
    };
    assert_eq!((look(ANNA).await, look(BERT).await), (429, 200));
}

#[tokio::test]
async fn what_was_read_for_one_user_tells_another_nothing() {
    let cached = async |client: &Client, key: &str, path: &str, text: &str| {
        let body = match path {
            CHAT => json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 2 }),
            _ => json!({ "prompt": text, "max_tokens": 2 }),
        };
        let reply = client.post_as(key, path, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let usage = reply.json()["usage"].clone();
        usage["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap_or(0)
    };
    for path in [CHAT, COMPLETIONS] {
        let client = Client::start(&two_keys());
        let text = "quite a long prompt that anna wrote ".repeat(4);
        assert_eq!(cached(&client, ANNA, path, &text).await, 0, "{path}");
        assert!(cached(&client, ANNA, path, &text).await > 0, "{path}");
        assert_eq!(cached(&client, BERT, path, &text).await, 0, "{path}");
        assert!(cached(&client, BERT, path, &text).await > 0, "{path}");
    }
    // Where caches are shared, nobody is told what others sent.
    let mut shared = two_keys();
    shared.config.share_caches = true;
    let client = Client::start(&shared);
    let text = "quite a long prompt that anna wrote ".repeat(4);
    for key in [ANNA, BERT, ANNA] {
        assert_eq!(cached(&client, key, COMPLETIONS, &text).await, 0);
    }
}
