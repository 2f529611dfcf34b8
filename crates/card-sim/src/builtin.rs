//! Scenarios that come with the program.

/// (name, TOML text).
pub const SCENARIOS: [(&str, &str); 6] = [
    (
        "published-70b-1b",
        include_str!("../scenarios/published-70b-1b.toml"),
    ),
    (
        "published-bursts",
        include_str!("../scenarios/published-bursts.toml"),
    ),
    ("edge-cloud", include_str!("../scenarios/edge-cloud.toml")),
    ("fleet", include_str!("../scenarios/fleet.toml")),
    ("serve-32", include_str!("../scenarios/serve-32.toml")),
    ("serve-256", include_str!("../scenarios/serve-256.toml")),
];

/// The text of the scenario of this name.
pub fn scenario(name: &str) -> Option<&'static str> {
    SCENARIOS.iter().find(|s| s.0 == name).map(|s| s.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_make_sense() {
        for (name, text) in SCENARIOS {
            crate::scenario::Scenario::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
