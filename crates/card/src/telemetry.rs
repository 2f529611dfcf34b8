//! What is logged, and where traces go.

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::log_writer::LogWriter;

/// Where the spans of generations are made.
const TRACED: &str = "card_server::generation";

/// Sends the last traces when it goes.
pub struct Telemetry(Option<SdkTracerProvider>);

/// Logs to standard error as `CARD_LOG` says, else `level`; traces go to the OpenTelemetry
/// collector at `otlp` (`http://host:4318`), if one is given.
pub fn install(level: &str, otlp: Option<&str>) -> Result<Telemetry> {
    let filter = EnvFilter::try_from_env("CARD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
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

fn provider(url: &str) -> Result<SdkTracerProvider> {
    let endpoint = if url.contains("/v1/") {
        url.to_owned()
    } else {
        format!("{}/v1/traces", url.trim_end_matches('/'))
    };
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint);
    let exporter = exporter.build().with_context(|| {
        format!("cannot send traces to {url}; --otlp is a collector's URL, like http://host:4318")
    })?;
    let resource = Resource::builder().with_service_name("card").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_resource(resource).build())
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
