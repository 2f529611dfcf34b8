//! The paths of Anthropic's API.

use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::other_errors::{OF_GENERATION, refuses_with};
use super::schemas::Schemas;
use crate::anthropic::request::messages::{ConversationFields, MessagesBody};
use crate::anthropic::response::error::AnthropicErrorAnswer;
use crate::anthropic::response::event::StreamEvent;
use crate::anthropic::response::message::{MessageAnswer, TokenCount};

/// Adds the paths. `openai` is the schema of an error in OpenAI's shape.
pub(super) fn anthropic(paths: &mut Map<String, Value>, schemas: &mut Schemas, openai: &Value) {
    let error = schemas.told::<AnthropicErrorAnswer>();
    let messages = Operation::new(
        "createMessage",
        "Goes on with a conversation, as Anthropic's",
    )
    .body(schemas.asked::<MessagesBody>(), message_example())
    .takes_drafter()
    .answer("application/json", schemas.told::<MessageAnswer>())
    .answer(
        "text/event-stream",
        named_events(&schemas.told::<StreamEvent>()),
    );
    let messages = refuses_with(messages, &OF_GENERATION, &error, openai);
    paths.insert("/v1/messages".into(), json!({ "post": messages.value() }));
    let count = Operation::new("countMessageTokens", "Counts the tokens of a conversation")
        .body(schemas.asked::<ConversationFields>(), count_example())
        .answer("application/json", schemas.told::<TokenCount>());
    let count = refuses_with(count, &OF_GENERATION, &error, openai);
    paths.insert(
        "/v1/messages/count_tokens".into(),
        json!({ "post": count.value() }),
    );
}

/// Server-sent events that are named by their type, as OpenAPI 3.2 describes each.
fn named_events(schema: &Value) -> Value {
    json!({
        "description": "Server-sent events, each of which is this; the event is named by the \
                        type in its data.",
        "type": "object",
        "properties": {
            "event": { "type": "string" },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema,
            },
        },
        "required": ["event", "data"],
    })
}

fn message_example() -> Value {
    json!({
        "max_tokens": 8,
        "messages": [{ "role": "user", "content": "Name three fruits." }],
        "temperature": 0,
    })
}

fn count_example() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Name three fruits." }] })
}
