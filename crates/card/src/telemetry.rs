//! What is logged, and where traces go.

use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, Result};
use async_trait::async_trait;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::log_writer::LogWriter;

/// Where the spans of generations are made.
const TRACED: &str = "card_server::generation";

/// Most time for a collector to take a batch of spans.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the longest answer of a collector.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Sends the last traces when it goes.
pub struct Telemetry(Option<SdkTracerProvider>);

/// Logs to standard error as `CARD_LOG` says, else `level`; traces go to the OpenTelemetry
/// collector at `otlp` (`http://host:4318`), if one is given.
pub fn install(level: &str, otlp: Option<&str>) -> Result<Telemetry> {
    let named = std::env::var("CARD_LOG").ok();
    let filter = log_filter(named.as_deref(), level);
    // Files, NO_COLOR and TERM=dumb get no colour codes; CLICOLOR_FORCE gets them anywhere.
    let colours = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let log = tracing_subscriber::fmt::layer()
        .with_writer(|| LogWriter)
        .with_ansi(colours)
        .without_time()
        .with_filter(filter);
    let provider = otlp.map(provider).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let only = Targets::new().with_target(TRACED, tracing::Level::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("card"))
            .with_filter(only)
    });
    tracing_subscriber::registry().with(log).with(traces).init();
    Ok(Telemetry(provider))
}

/// Which lines are shown: what `named` says, like `info` or `warn,card_server=debug`, else what
/// `level` says.
fn log_filter(named: Option<&str>, level: &str) -> Targets {
    let named = named.filter(|text| !text.trim().is_empty());
    let said = named.and_then(|text| text.parse().ok());
    let said = said.or_else(|| level.parse().ok());
    said.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN))
}

fn provider(url: &str) -> Result<SdkTracerProvider> {
    let endpoint = if url.contains("/v1/") {
        url.to_owned()
    } else {
        format!("{}/v1/traces", url.trim_end_matches('/'))
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new())
        .with_endpoint(endpoint);
    let exporter = exporter.build().with_context(|| {
        format!("cannot send traces to {url}; --otlp is a collector's URL, like http://host:4318")
    })?;
    let resource = Resource::builder().with_service_name("card").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_resource(resource).build())
}

/// Sends spans with the HTTP client that this program has anyway. It blocks: the exporter of batches
/// calls it on a thread of its own.
#[derive(Debug)]
struct Collector(ureq::Agent);

impl Collector {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE));
        Collector(config.build().into())
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.0.run(request.map(Vec::<u8>::from))?;
        let (parts, body) = answer.into_parts();
        let body = body.into_with_config().limit(LONGEST_ANSWER);
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn lines_are_shown_by_level_and_part_of_the_program() {
        let usual = log_filter(None, "warn");
        assert!(usual.would_enable("card", &Level::WARN));
        assert!(!usual.would_enable("card", &Level::INFO));
        for unset in ["", " ", "a=b=c"] {
            assert_eq!(log_filter(Some(unset), "warn"), usual, "{unset:?}");
        }
        let named = log_filter(Some("info,card_server=debug,llama.cpp=trace"), "warn");
        assert!(named.would_enable("card_server::generation", &Level::DEBUG));
        assert!(named.would_enable("llama.cpp", &Level::TRACE));
        assert!(named.would_enable("card", &Level::INFO));
        assert!(!named.would_enable("card", &Level::DEBUG));
    }
}
