//! What the page is made of: files in the binary, so that it needs no other server.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use sha2::{Digest, Sha256};

use crate::explain::STYLE;
use crate::protocols::openai::error::OpenAiError;

/// What the page may load and run: files of this server. Only DOMPurify may make HTML of text,
/// where a browser knows Trusted Types.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types dompurify";

/// Paths below `/web/`, and the text of each file.
macro_rules! web {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../web/", $path)))),*]
    };
}

/// The files of the page but `style.css`, which other pages have too.
const FILES: &[(&str, &str)] = web![
    "chat.js",
    "conversations.js",
    "dialog.js",
    "loading.js",
    "markdown.js",
    "marks.js",
    "offsets.js",
    "page.css",
    "page.js",
    "paint.js",
    "panel.js",
    "rounds.js",
    "settings.js",
    "sidebar.js",
    "stream.js",
    "theme.js",
    "turn.js",
    "view.js",
    "watch.js",
    "words.js",
    "vendor/dompurify/LICENSE",
    "vendor/dompurify/purify.min.js",
    "vendor/highlight/LICENSE",
    "vendor/highlight/bash.min.js",
    "vendor/highlight/c.min.js",
    "vendor/highlight/core.min.js",
    "vendor/highlight/cpp.min.js",
    "vendor/highlight/css.min.js",
    "vendor/highlight/diff.min.js",
    "vendor/highlight/go.min.js",
    "vendor/highlight/ini.min.js",
    "vendor/highlight/java.min.js",
    "vendor/highlight/javascript.min.js",
    "vendor/highlight/json.min.js",
    "vendor/highlight/markdown.min.js",
    "vendor/highlight/python.min.js",
    "vendor/highlight/rust.min.js",
    "vendor/highlight/shell.min.js",
    "vendor/highlight/sql.min.js",
    "vendor/highlight/typescript.min.js",
    "vendor/highlight/xml.min.js",
    "vendor/highlight/yaml.min.js",
    "vendor/marked/LICENSE",
    "vendor/marked/marked.esm.js",
];

/// The page itself.
static PAGE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("index.html", include_str!("../../web/index.html")));

/// The files by their paths below `/web/`.
static ASSETS: LazyLock<HashMap<&str, Asset>> = LazyLock::new(|| {
    let style = ("style.css", STYLE);
    let all = FILES.iter().copied().chain([style]);
    all.map(|(path, text)| (path, Asset::new(path, text)))
        .collect()
});

/// A file of the page.
struct Asset {
    text: &'static str,
    content_type: &'static str,
    /// The text's hash, in quotes: whoever has this text does not load it again.
    tag: String,
}

impl Asset {
    /// The text of a path, whose ending tells its type.
    fn new(path: &str, text: &'static str) -> Self {
        let content_type = match path.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let hash = Sha256::digest(text.as_bytes());
        let hex: String = hash[..16].iter().map(|b| format!("{b:02x}")).collect();
        Asset {
            text,
            content_type,
            tag: format!("\"{hex}\""),
        }
    }

    /// The file, or 304 for a browser that has it.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let had = asked.get_all(header::IF_NONE_MATCH).iter();
        let had = had.filter_map(|value| value.to_str().ok());
        // RFC 9110, 13.1.2: tags are compared without their mark of weakness.
        let same = had
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/") == self.tag);
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            // A browser asks each time whether its copy is the newest: another version of the
            // server has other files.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "same-origin"),
        ];
        let mut response = if same {
            (StatusCode::NOT_MODIFIED, headers).into_response()
        } else {
            (headers, self.text).into_response()
        };
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// The page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    PAGE.answer(&headers)
}

/// A file of the page.
pub(super) async fn file(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, OpenAiError> {
    let Path(path) = path.map_err(|e| ApiError::invalid(e.body_text()))?;
    let asset = ASSETS
        .get(path.as_str())
        .ok_or_else(|| ApiError::not_found("the page has no such file"))?;
    Ok(asset.answer(&headers))
}
