//! What a machine costs, and a token on it.

/// The user's own prices.
#[derive(Clone, Debug)]
pub struct Prices {
    /// The price of the machine per hour.
    pub per_hour: f64,
    /// The price per hour of what drafting adds: another machine, or nothing.
    pub draft_per_hour: f64,
    /// The currency of both prices.
    pub currency: String,
    /// Tokens written in a month, if known.
    pub tokens_per_month: Option<f64>,
}

impl Prices {
    /// The cost of a million tokens at so many per second.
    pub fn per_million(&self, tokens_per_second: f64, drafting: bool) -> f64 {
        let extra = if drafting { self.draft_per_hour } else { 0.0 };
        (self.per_hour + extra) / 3600.0 / tokens_per_second * 1e6
    }

    /// The speed-up from which on drafting pays.
    pub fn break_even(&self) -> f64 {
        (self.per_hour + self.draft_per_hour) / self.per_hour
    }
}
