//! What the environment says of a hub, by the variables that other tools read too.

use std::path::{Path, PathBuf};

use url::Url;

use super::error::HubError;
use crate::secret::SecretText;

/// Bytes of the longest file of a token.
const LONGEST_TOKEN: u64 = 4096;

/// Whether a variable says yes: 1, true, yes or on.
fn says_yes(variable: &str) -> bool {
    let value = std::env::var(variable).unwrap_or_default();
    is_yes(&value)
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "yes", "on"]
        .iter()
        .any(|yes| yes.eq_ignore_ascii_case(value.trim()))
}

/// Which variable says that nothing is to be fetched; `None` if none does.
pub fn offline() -> Option<&'static str> {
    ["HF_HUB_OFFLINE", "LLAMA_ARG_OFFLINE"]
        .into_iter()
        .find(|variable| says_yes(variable))
}

/// The folder of the cache, by `HF_HUB_CACHE`, `HF_HOME` and so on. Its path is absolute.
///
/// # Errors
/// If the path is none.
pub fn cache() -> Result<PathBuf, HubError> {
    let folder = hf_hub::resolve_cache_dir();
    std::path::absolute(&folder).map_err(|e| HubError::Environment {
        variable: "HF_HUB_CACHE or HF_HOME",
        why: format!("is no path of a folder: {e}"),
    })
}

/// The address of the hub: `HF_ENDPOINT`, else the one that the crate `hf-hub` knows.
///
/// # Errors
/// If `HF_ENDPOINT` is no address of the web.
pub fn endpoint() -> Result<Url, HubError> {
    let named = std::env::var("HF_ENDPOINT").unwrap_or_default();
    let text = if named.trim().is_empty() {
        let client = hf_hub::HFClient::builder().build();
        client.map(|c| c.endpoint().to_owned()).map_err(|e| {
            let why = e.to_string();
            let host = "its usual address".to_owned();
            HubError::Unreachable { host, why }
        })?
    } else {
        named.trim().to_owned()
    };
    parse_endpoint(&text).map_err(|why| HubError::Environment {
        variable: "HF_ENDPOINT",
        why: why.to_owned(),
    })
}

fn parse_endpoint(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text).map_err(|_| "it is no address like https://HOST")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it is no address like https://HOST");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user or a password; tokens go into HF_TOKEN");
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// The token: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else the file that a login left. `None`
/// if there is none, or `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set and `HF_TOKEN` is not.
///
/// # Errors
/// If a token was named that no header carries.
pub fn token() -> Result<Option<SecretText>, HubError> {
    if let Ok(token) = std::env::var("HF_TOKEN")
        && !token.trim().is_empty()
    {
        return checked(token, "HF_TOKEN").map(Some);
    }
    if says_yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    let named = std::env::var_os("HF_TOKEN_PATH").filter(|path| !path.is_empty());
    let file = named.map_or_else(|| hf_hub::hf_home().join("token"), PathBuf::from);
    match read_token(&file) {
        Some(token) => checked(token, "HF_TOKEN_PATH").map(Some),
        None => Ok(None),
    }
}

fn read_token(file: &Path) -> Option<String> {
    let known = std::fs::metadata(file).ok()?;
    let fits = known.is_file() && known.len() <= LONGEST_TOKEN;
    let text = fits.then(|| std::fs::read_to_string(file).ok())??;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn checked(token: String, variable: &'static str) -> Result<SecretText, HubError> {
    let token = SecretText::new(token.trim().to_owned());
    match crate::secret::check(variable, &token) {
        Ok(()) => Ok(token),
        Err(_) => Err(HubError::Environment {
            variable,
            why: "the token has blanks or letters that no header carries".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_of_the_web() {
        for good in ["http://127.0.0.1:8000", "https://mirror.test/hub/"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "mirror.test", "file:///etc", "ftp://x", "https://u:p@x"] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn yes_is_said_in_several_ways() {
        for yes in ["1", "true", "YES", " on "] {
            assert!(is_yes(yes), "{yes}");
        }
        for no in ["", "0", "false", "off", "2"] {
            assert!(!is_yes(no), "{no}");
        }
    }
}
