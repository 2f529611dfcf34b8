//! A server in front of the CARD engine, for OpenAI's clients and others.
//!
//! A request is admitted by its head (`admission/`), read and prepared off the threads that
//! speak HTTP (`request/`), and becomes one generation per choice (`generation/`). Each waits
//! for a slot, runs in the engine's common batch, and is followed by a thread of its own that
//! turns tokens into text. docs/serving.md is for users, docs/security.md says what is kept from
//! whom.
//!
//! From a request's first byte to its last:
//!
//! | folder or file | what |
//! |---|---|
//! | `serve/` | the server's life: it listens, keeps what was learned, ends |
//! | `connections/` | connections, their number and their time |
//! | `guard/`, `caller/` | who may ask, and who asks |
//! | `front/` | which model a request is for; what needs no model |
//! | `registry/` | several models: which are loaded, and who uses them |
//! | `routes/`, `protocols/` | the paths; a folder for each protocol |
//! | `admission/` | what a request has to pass before it costs anything |
//! | `request/` | from a body to the tasks it asks for |
//! | `generation/` | one generation: from the engine's events to text |
//! | `text/`, `grammar/` | what turns text into tokens, and what text has to be |
//! | `no_text.rs` | the engine of a server that only makes vectors |
//! | `app/` | what all requests to a model share |
//! | `metrics/`, `rollout.rs` | what is counted; a staged rollout |
//! | `explain.rs`, `web/` | the pages |
//! | `edge/` | an endpoint on a small device that passes requests on |
//! | `testing/` | the whole server without a model |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admission;
mod app;
mod caller;
mod clock;
mod config;
mod connections;
mod cryptography;
pub mod edge;
mod error;
pub mod explain;
mod front;
mod generation;
mod grammar;
mod guard;
mod headers;
mod metrics;
mod no_text;
mod protocols;
mod query;
mod registry;
mod request;
mod rollout;
mod routes;
mod serve;
mod served;
#[doc(hidden)]
pub mod testing;
mod text;

pub use caller::keys::Key;
pub use card_api::TemplateOptions;
pub use card_api::health::ExactnessAnswer;
pub use card_api::openai::response::models::LoadStage;
pub use config::{DefaultSampling, LlamaServerConfig, ModelLimits, ServerConfig};
pub use connections::ConnectionLimits;
pub use error::ServeError;
pub use headers::DRAFTER_HEADER;
pub use no_text::engine_without_text;
pub use registry::{ListedModel, ModelSource};
pub use serve::serve;
pub use served::{KeepLearned, ServedModel};
pub use text::{Embedder, Template, Tokenizer, VectorKind};
