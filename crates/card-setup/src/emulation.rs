//! Emulation of devices: profiles by name or file, and whether this machine kept pace.

use std::path::Path;

use anyhow::{Context, Result};
use card_engine::emulate::EmulationProfile;

/// The profile in a file, or the built-in one of that name.
///
/// # Errors
/// If there is neither, or if it is no profile.
pub fn profile(file: &Path) -> Result<EmulationProfile> {
    let shown = file.display();
    let text = match file.to_str().and_then(built_in) {
        Some(text) if !file.exists() => text.to_owned(),
        _ => std::fs::read_to_string(file).with_context(|| {
            format!(
                "cannot read the profile {shown}; built in are: {}",
                built_in_names()
            )
        })?,
    };
    let profile: EmulationProfile =
        toml::from_str(&text).with_context(|| format!("{shown} is no emulation profile"))?;
    profile
        .check()
        .map_err(|why| anyhow::anyhow!("{shown} is no emulation profile: {why}"))?;
    Ok(profile)
}

const PROFILES: [(&str, &str); 3] = [
    ("a100-70b-1b", include_str!("../profiles/a100-70b-1b.toml")),
    ("a100-70b-8b", include_str!("../profiles/a100-70b-8b.toml")),
    (
        "edge-cloud-70b-1b",
        include_str!("../profiles/edge-cloud-70b-1b.toml"),
    ),
];

fn built_in(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|p| p.0 == name).map(|p| p.1)
}

fn built_in_names() -> String {
    PROFILES.map(|p| p.0).join(", ")
}
