//! What the environment says of a hub, by the variables that other tools read too.

use std::ffi::OsString;
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
    [
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "LLAMA_ARG_OFFLINE",
    ]
    .into_iter()
    .find(|variable| says_yes(variable))
}

/// The folder of the cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, else `hub` in the hub's home.
/// Its path is absolute.
///
/// # Errors
/// If the path is none.
pub fn cache() -> Result<PathBuf, HubError> {
    let folder = cache_of(variable);
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
        usual_endpoint()?
    } else {
        named.trim().to_owned()
    };
    parse_endpoint(&text).map_err(|why| HubError::Environment {
        variable: "HF_ENDPOINT",
        why: why.to_owned(),
    })
}

/// What `HF_ENDPOINT` names, without scheme: the host, with its port, and the path where the hub
/// begins, if it has one (`mirror.test/hub`). `None` if it names nothing.
pub fn own_address() -> Option<String> {
    let named = std::env::var("HF_ENDPOINT").ok()?;
    let url = parse_endpoint(named.trim()).ok()?;
    address_of(&url)
}

fn address_of(url: &Url) -> Option<String> {
    let mut address = url.host_str()?.to_owned();
    if let Some(port) = url.port() {
        address += &format!(":{port}");
    }
    let path = url.path().trim_matches('/');
    if !path.is_empty() {
        address += &format!("/{path}");
    }
    Some(address)
}

/// A variable of the environment, if it is set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A folder that a variable names. One that is empty names none, and `~` is the user's home, as other
/// tools of the hub have it.
fn folder(read: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let named = read(name).filter(|folder| !folder.is_empty())?;
    let named = PathBuf::from(named);
    if let Ok(inside) = named.strip_prefix("~")
        && let Some(home) = read("HOME")
    {
        return Some(Path::new(&home).join(inside));
    }
    Some(named)
}

/// The folder of the cache, by the variables that `read` reads.
fn cache_of(read: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    folder(&read, "HF_HUB_CACHE")
        .or_else(|| folder(&read, "HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| home_of(&read).join("hub"))
}

/// The hub's home, where its tools keep cache and token: `HF_HOME`, else `huggingface` in the
/// folder of caches, by the variables that `read` reads.
fn home_of(read: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if let Some(home) = folder(read, "HF_HOME") {
        return home;
    }
    let caches = folder(read, "XDG_CACHE_HOME").unwrap_or_else(|| {
        let home = read("HOME").unwrap_or_else(|| "/tmp".into());
        Path::new(&home).join(".cache")
    });
    caches.join("huggingface")
}

/// The address that the crate `hf-hub` knows. The crate says it as the start of a file's address.
fn usual_endpoint() -> Result<String, HubError> {
    let unknown = |why: String| HubError::Unreachable {
        host: "its usual address".to_owned(),
        why,
    };
    // A cache in no folder: no token is looked for.
    let nowhere = hf_hub::Cache::new(PathBuf::from("/dev/null/hub"));
    let hub = hf_hub::api::sync::ApiBuilder::from_cache(nowhere).build();
    let hub = hub.map_err(|e| unknown(e.to_string()))?;
    let address = hub.model("m".to_owned()).url("f");
    let start = address.strip_suffix("/m/resolve/main/f").map(str::to_owned);
    start.ok_or_else(|| unknown("the crate hf-hub names addresses in another way".into()))
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

/// The token: `HF_TOKEN` (or `HUGGING_FACE_HUB_TOKEN`, its older name), else the file
/// `HF_TOKEN_PATH`, else the file that a login left. `None` if there is none, or
/// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set and the first two are not.
///
/// # Errors
/// If a token was named that no header carries.
pub fn token() -> Result<Option<SecretText>, HubError> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Ok(token) = std::env::var(name)
            && !token.trim().is_empty()
        {
            return checked(token, name).map(Some);
        }
    }
    if says_yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    let named = folder(&variable, "HF_TOKEN_PATH");
    let file = named.unwrap_or_else(|| home_of(&variable).join("token"));
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
    fn an_endpoint_has_a_host_and_may_have_a_path() {
        for (text, address) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000"),
            ("https://mirror.test", "mirror.test"),
            ("https://Mirror.test/hub/", "mirror.test/hub"),
            ("https://mirror.test:8443/a/b?c#d", "mirror.test:8443/a/b"),
        ] {
            let url = parse_endpoint(text).unwrap();
            assert_eq!(address_of(&url).as_deref(), Some(address), "{text}");
        }
    }

    #[test]
    fn the_usual_endpoint_is_an_encrypted_address() {
        let url = parse_endpoint(&usual_endpoint().unwrap()).unwrap();
        assert_eq!(url.scheme(), "https");
        assert_eq!(url.path(), "/");
    }

    #[test]
    fn the_cache_is_where_other_tools_have_it() {
        let of = |set: &[(&str, &str)]| {
            cache_of(|name| {
                let found = set.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        let mut set = vec![("HOME", "/home/u")];
        assert_eq!(of(&set), Path::new("/home/u/.cache/huggingface/hub"));
        set.push(("XDG_CACHE_HOME", "/caches"));
        assert_eq!(of(&set), Path::new("/caches/huggingface/hub"));
        set.push(("HF_HOME", "/hf"));
        assert_eq!(of(&set), Path::new("/hf/hub"));
        set.push(("HUGGINGFACE_HUB_CACHE", "/older"));
        assert_eq!(of(&set), Path::new("/older"));
        set.push(("HF_HUB_CACHE", "/newer"));
        assert_eq!(of(&set), Path::new("/newer"));
        assert_eq!(of(&[]), Path::new("/tmp/.cache/huggingface/hub"));
        // What is set to nothing, as in a file for containers, is not set.
        let names = ["XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"];
        let mut set: Vec<_> = names.map(|name| (name, "")).into();
        set.push(("HOME", "/home/u"));
        assert_eq!(of(&set), Path::new("/home/u/.cache/huggingface/hub"));
        let home = ("HOME", "/home/u");
        assert_eq!(
            of(&[home, ("HF_HOME", "~/hf")]),
            Path::new("/home/u/hf/hub")
        );
        assert_eq!(of(&[home, ("HF_HUB_CACHE", "~")]), Path::new("/home/u"));
        assert_eq!(of(&[home, ("HF_HUB_CACHE", "~x/y")]), Path::new("~x/y"));
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
