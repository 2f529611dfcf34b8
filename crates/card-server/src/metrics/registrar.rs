//! Makes metrics and registers them.

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry,
};

/// Makes metrics in one registry. Each call fails if the registry has a metric of that name,
/// which tests would show.
pub(super) struct Registrar<'a>(pub(super) &'a Registry);

impl Registrar<'_> {
    /// A count of things.
    pub(super) fn count(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    /// A count of things by these labels.
    pub(super) fn count_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A sum that is no whole number, such as seconds.
    pub(super) fn amount(&self, name: &str, help: &str) -> Result<Counter, prometheus::Error> {
        self.registered(Counter::new(name, help)?)
    }

    /// Such a sum by these labels.
    pub(super) fn amount_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterVec, prometheus::Error> {
        self.registered(CounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A whole number that goes up and down.
    pub(super) fn level(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::new(name, help)?)
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.registered(Gauge::new(name, help)?)
    }

    /// Times, in buckets of seconds.
    pub(super) fn seconds(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(options)?)
    }

    fn registered<C: Collector + Clone + 'static>(
        &self,
        metric: C,
    ) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
