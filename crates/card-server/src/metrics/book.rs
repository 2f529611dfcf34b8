//! The metrics of a server and of all its models, as one text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};

use super::model::Metrics;
use super::server::ServerMetrics;

/// The metrics of a server's models. Those of a model begin when it is loaded for the first time,
/// and stay when it is unloaded: counters only grow.
pub(crate) struct MetricsBook {
    /// Whether the metrics of a model have its name as a label.
    labelled: bool,
    models: Mutex<BTreeMap<String, Arc<Metrics>>>,
}

impl MetricsBook {
    /// The book of a server with several models, or with one.
    pub(crate) fn new(several: bool) -> Self {
        MetricsBook {
            labelled: several,
            models: Mutex::default(),
        }
    }

    /// The metrics of the model of this name.
    ///
    /// # Errors
    /// If they cannot be made, which tests would show.
    pub(crate) fn of_model(&self, name: &str) -> Result<Arc<Metrics>, prometheus::Error> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = models.get(name) {
            return Ok(known.clone());
        }
        let made = Arc::new(Metrics::new(self.labelled.then_some(name))?);
        models.insert(name.to_owned(), made.clone());
        Ok(made)
    }

    /// All metrics as text: those of the server, and those of its models, or of the one named
    /// `only`. Of a model that was never loaded there are none.
    ///
    /// # Errors
    /// If one cannot be written, which none should.
    pub(crate) fn text(
        &self,
        server: &ServerMetrics,
        only: Option<&str>,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let models: Vec<Arc<Metrics>> = {
            let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = models
                .iter()
                .filter(|(n, _)| only.is_none_or(|o| o == n.as_str()));
            wanted.map(|(_, metrics)| metrics.clone()).collect()
        };
        let of_models = models.iter().flat_map(|metrics| metrics.families());
        let mut all: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for mut family in server.families().into_iter().chain(of_models) {
            match all.get_mut(family.name()) {
                // The same of another model: a name is explained once, with all that is told of it.
                Some(known) => known.mut_metric().extend(family.take_metric()),
                None => {
                    all.insert(family.name().to_owned(), family);
                }
            }
        }
        let all: Vec<MetricFamily> = all.into_values().collect();
        let mut text = Vec::new();
        TextEncoder::new().encode(&all, &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use card_engine::LaneTimes;

    use super::super::levels::Levels;
    use super::super::server::ServerLevels;
    use super::*;

    /// The text of a book in which these models were loaded.
    fn text(book: &MetricsBook, server: &ServerMetrics, only: Option<&str>) -> String {
        server.take_over(&ServerLevels {
            connections: 3,
            models: 1,
            uptime_s: 1.0,
        });
        String::from_utf8(book.text(server, only).unwrap()).unwrap()
    }

    fn levels(busy_s: u64) -> Levels {
        Levels {
            running: 1,
            waiting: 2,
            lanes: LaneTimes {
                target: Duration::from_secs(busy_s),
                ..LaneTimes::default()
            },
        }
    }

    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let dashboard = include_str!("../../../../deploy/grafana/card.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().unwrap().len() > 8);
        let (book, server) = (MetricsBook::new(false), ServerMetrics::new().unwrap());
        server.requests.with_label_values(&["/", "200"]).inc();
        book.of_model("a").unwrap().take_over(&levels(0));
        let text = text(&book, &server, None);
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        for name in dashboard
            .split(|c| !word(c))
            .filter(|w| w.starts_with("card_"))
        {
            assert!(
                text.contains(&format!("\n{name}")),
                "{name} is not exported"
            );
        }
    }

    #[test]
    fn every_name_is_there_once() {
        let (book, server) = (MetricsBook::new(false), ServerMetrics::new().unwrap());
        server
            .requests
            .with_label_values(&["/v1/models", "200"])
            .inc();
        book.of_model("a").unwrap().take_over(&levels(0));
        let text = text(&book, &server, None);
        assert!(text.contains("card_requests_total{path=\"/v1/models\",status=\"200\"} 1"));
        assert!(text.contains("card_candidates_accepted_total{source=\"prompt_lookup\"} 0"));
        assert!(text.contains("card_waiting 2") && text.contains("card_connections 3"));
    }

    #[test]
    fn several_models_are_told_apart_by_a_label() {
        let (book, server) = (MetricsBook::new(true), ServerMetrics::new().unwrap());
        book.of_model("a").unwrap().tokens.inc_by(5);
        book.of_model("b").unwrap().tokens.inc_by(7);
        book.of_model("a").unwrap().tokens.inc();
        let all = text(&book, &server, None);
        assert!(
            all.contains("card_generated_tokens_total{model=\"a\"} 6"),
            "{all}"
        );
        assert!(
            all.contains("card_generated_tokens_total{model=\"b\"} 7"),
            "{all}"
        );
        assert_eq!(
            all.matches("# TYPE card_generated_tokens_total ").count(),
            1
        );
        let one = text(&book, &server, Some("b"));
        assert!(
            !one.contains("model=\"a\"") && one.contains("model=\"b\""),
            "{one}"
        );
    }

    #[test]
    fn a_model_that_is_loaded_again_goes_on_counting() {
        let (book, server) = (MetricsBook::new(false), ServerMetrics::new().unwrap());
        let metrics = book.of_model("a").unwrap();
        metrics.restarted();
        metrics.take_over(&levels(10));
        // Another engine, which has been busy for longer than the first one.
        metrics.restarted();
        metrics.take_over(&levels(12));
        metrics.take_over(&levels(13));
        let text = text(&book, &server, None);
        assert!(text.contains("card_target_busy_seconds_total 23"), "{text}");
    }
}
