//! What Prometheus reads at `/metrics`. A file counts one subject. What is counted of a model has
//! the model's name as a label where a server has several.

mod book;
mod levels;
mod llama_server;
mod model;
mod registrar;
mod rollout;
mod rounds;
mod server;

pub(crate) use book::MetricsBook;
pub(crate) use levels::Levels;
pub(crate) use llama_server::GenerationSample;
pub(crate) use model::Metrics;
pub(crate) use rollout::{ArmSample, RolloutMetrics};
pub(crate) use server::{ServerLevels, ServerMetrics};
