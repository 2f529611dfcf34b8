//! The paths of Ollama's API.

use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::other_errors::{AT_ONCE, OF_GENERATION, refuses_with};
use super::schemas::Schemas;
use crate::ollama::request::chat::OllamaChatBody;
use crate::ollama::request::embed::{EmbedFields, EmbeddingsFields};
use crate::ollama::request::generate::GenerateBody;
use crate::ollama::request::show::ShowRequest;
use crate::ollama::response::answer::{OllamaChatAnswer, OllamaGenerateAnswer};
use crate::ollama::response::embed::{OllamaEmbed, OllamaEmbedding};
use crate::ollama::response::error::OllamaErrorAnswer;
use crate::ollama::response::models::{OllamaRunning, OllamaShow, OllamaTags, OllamaVersion};

/// Lines of JSON.
const LINES: &str = "application/x-ndjson";

/// Adds the paths. `openai` is the schema of an error in OpenAI's shape.
pub(super) fn ollama(paths: &mut Map<String, Value>, schemas: &mut Schemas, openai: &Value) {
    let error = schemas.told::<OllamaErrorAnswer>();
    let chat = Operation::new("ollamaChat", "Goes on with a conversation, as Ollama's")
        .body(schemas.asked::<OllamaChatBody>(), chat_example())
        .takes_drafter()
        .answer("application/json", schemas.told::<OllamaChatAnswer>())
        .answer(LINES, schemas.told::<OllamaChatAnswer>());
    let chat = refuses_with(chat, &OF_GENERATION, &error, openai);
    paths.insert("/api/chat".into(), json!({ "post": chat.value() }));
    let generate = Operation::new("ollamaGenerate", "Answers a prompt, as Ollama's")
        .body(schemas.asked::<GenerateBody>(), generate_example())
        .takes_drafter()
        .answer("application/json", schemas.told::<OllamaGenerateAnswer>())
        .answer(LINES, schemas.told::<OllamaGenerateAnswer>());
    let generate = refuses_with(generate, &OF_GENERATION, &error, openai);
    paths.insert("/api/generate".into(), json!({ "post": generate.value() }));
    let show = Operation::new("ollamaShow", "What a model is")
        .body(schemas.asked::<ShowRequest>(), json!({ "model": "card" }))
        .answer("application/json", schemas.told::<OllamaShow>());
    let show = refuses_with(show, &OF_GENERATION, &error, openai);
    paths.insert("/api/show".into(), json!({ "post": show.value() }));
    vectors(paths, schemas, &error, openai);
    let asked_at_once = [
        (
            "/api/version",
            "ollamaVersion",
            "Which version of Ollama's API is spoken",
            schemas.told::<OllamaVersion>(),
        ),
        (
            "/api/tags",
            "ollamaTags",
            "Which models there are",
            schemas.told::<OllamaTags>(),
        ),
        (
            "/api/ps",
            "ollamaRunning",
            "Which models are loaded",
            schemas.told::<OllamaRunning>(),
        ),
    ];
    for (path, id, summary, schema) in asked_at_once {
        let operation = Operation::new(id, summary).answer("application/json", schema);
        let operation = refuses_with(operation, &AT_ONCE, &error, openai);
        paths.insert(path.into(), json!({ "get": operation.value() }));
    }
}

/// Paths that give vectors.
fn vectors(paths: &mut Map<String, Value>, schemas: &mut Schemas, error: &Value, openai: &Value) {
    let example = json!({ "model": "card", "input": ["A text.", "Another."] });
    let embed = Operation::new("ollamaEmbed", "Vectors of texts")
        .body(schemas.asked::<EmbedFields>(), example)
        .answer("application/json", schemas.told::<OllamaEmbed>());
    let embed = refuses_with(embed, &OF_GENERATION, error, openai);
    paths.insert("/api/embed".into(), json!({ "post": embed.value() }));
    let example = json!({ "model": "card", "prompt": "A text." });
    let one = Operation::new("ollamaEmbeddings", "The vector of a text")
        .body(schemas.asked::<EmbeddingsFields>(), example)
        .answer("application/json", schemas.told::<OllamaEmbedding>());
    let one = refuses_with(one, &OF_GENERATION, error, openai);
    paths.insert("/api/embeddings".into(), json!({ "post": one.value() }));
}

fn chat_example() -> Value {
    json!({
        "messages": [{ "role": "user", "content": "Name three fruits." }],
        "options": { "num_predict": 8, "temperature": 0 },
        "stream": false,
    })
}

fn generate_example() -> Value {
    json!({
        "prompt": "Name three fruits.",
        "options": { "num_predict": 8, "temperature": 0 },
        "stream": false,
    })
}
