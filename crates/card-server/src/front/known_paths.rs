//! Which paths there are, by the OpenAPI document. A path that is not in it needs no model.

use serde_json::Value;

/// Most bytes of a path for which another one is guessed.
const LONGEST_GUESSED: usize = 128;

/// A path of the document.
struct KnownPath {
    /// As it stands there, with names of parameters: `/v1/models/{name}`.
    pattern: String,
    /// The methods it takes, in capital letters.
    methods: Vec<String>,
}

/// The paths of the document.
pub(crate) struct KnownPaths(Vec<KnownPath>);

impl KnownPaths {
    /// Those of this document.
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let known = |(pattern, methods): (&String, &Value)| KnownPath {
            pattern: pattern.clone(),
            methods: in_place(document, methods)
                .as_object()
                .into_iter()
                .flat_map(|all| all.keys())
                .map(|method| method.to_ascii_uppercase())
                .collect(),
        };
        KnownPaths(paths.map(known).collect())
    }

    /// The path of the document that this one is.
    pub(crate) fn pattern(&self, path: &str) -> Option<&str> {
        self.find(path).map(|known| known.pattern.as_str())
    }

    /// Whether there is such a path, and it takes the method.
    pub(crate) fn takes(&self, method: &str, path: &str) -> bool {
        self.find(path)
            .is_some_and(|known| known.methods.iter().any(|m| m == method))
    }

    /// The path of the document that was likely meant, with a method that it takes, like
    /// `POST /v1/chat/completions`: one that is spelled almost like this path, else one that it
    /// ends with, else one that is spelled like it for the most part. Nothing of the path itself is
    /// in the answer.
    pub(crate) fn nearest(&self, method: &str, path: &str) -> Option<String> {
        if path.len() > LONGEST_GUESSED {
            return None;
        }
        let path = path.to_ascii_lowercase();
        let path = path.trim_end_matches('/');
        let takes = |known: &KnownPath| known.methods.iter().any(|m| m == method);
        let whole = self.0.iter().filter(|known| !known.pattern.contains('{'));
        let far = |known: &KnownPath| slips(path.as_bytes(), known.pattern.as_bytes());
        let spelled = whole.clone().map(|known| (far(known), known));
        let spelled = spelled.min_by_key(|(slips, known)| (*slips, !takes(known)));
        let within = |most: usize| {
            spelled
                .filter(|(slips, _)| *slips <= most)
                .map(|near| near.1)
        };
        let end = whole.filter(|known| path.ends_with(known.pattern.as_str()));
        let end = end.max_by_key(|known| known.pattern.len());
        let nearest = within(2).or(end).or_else(|| within(path.len() / 4))?;
        let first = nearest.methods.first()?.as_str();
        let method = if takes(nearest) { method } else { first };
        Some(format!("{method} {}", nearest.pattern))
    }

    /// The path of the document; one without `/v1` may be there with it.
    fn find(&self, path: &str) -> Option<&KnownPath> {
        let listed = |path: &str| {
            let exact = self.0.iter().find(|known| known.pattern == path);
            exact.or_else(|| self.0.iter().find(|known| fits(&known.pattern, path)))
        };
        listed(path).or_else(|| listed(&format!("/v1{path}")))
    }
}

/// What stands at a path of the document; another name of a path refers to that path.
fn in_place<'a>(document: &'a Value, methods: &'a Value) -> &'a Value {
    let path = methods["$ref"].as_str().and_then(|at| at.strip_prefix('#'));
    let referred = path.and_then(|pointer| document.pointer(pointer));
    referred.unwrap_or(methods)
}

/// How many letters have to be put in, left out or changed for one text to become the other.
fn slips(one: &[u8], other: &[u8]) -> usize {
    // Of the beginnings of `other`, from the beginning of `one` that was looked at.
    let mut line: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut before = line[0];
        line[0] = i + 1;
        for (j, wanted) in other.iter().enumerate() {
            let changed = before + usize::from(letter != wanted);
            before = line[j + 1];
            line[j + 1] = changed.min(before + 1).min(line[j] + 1);
        }
    }
    line[other.len()]
}

/// Whether a path is one of a pattern, in which a part in braces stands for any one part.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut parts, mut asked) = (pattern.split('/'), path.split('/'));
    loop {
        match (parts.next(), asked.next()) {
            (None, None) => return true,
            (Some(part), Some(said)) if part.starts_with('{') && !said.is_empty() => {}
            (Some(part), Some(said)) if part == said => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_with_its_methods() {
        let known = KnownPaths::of(&card_api::document::document("card", "1"));
        assert!(known.takes("POST", "/v1/chat/completions"));
        assert!(!known.takes("GET", "/v1/chat/completions"));
        assert!(!known.takes("POST", "/v1/nothing"));
        assert_eq!(known.pattern("/v1/models/a"), Some("/v1/models/{name}"));
        assert_eq!(known.pattern("/v1/models"), Some("/v1/models"));
        assert!(known.takes("POST", "/responses"));
        // Another name of a path takes what that takes.
        assert!(known.takes("POST", "/chat/completions"));
        assert!(known.takes("GET", "/models") && known.takes("GET", "/v1/health"));
        assert!(!known.takes("GET", "/chat/completions"));
        for unknown in ["/v1/models/a/b", "/v1/models/", "/nothing", ""] {
            assert_eq!(known.pattern(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_path_that_was_likely_meant_is_found() {
        let known = KnownPaths::of(&card_api::document::document("card", "1"));
        let post = |path: &str| known.nearest("POST", path);
        for (path, meant) in [
            ("/v1/chat/completion", "POST /v1/chat/completions"),
            ("/v1/chat/completions/", "POST /v1/chat/completions"),
            ("/V1/Chat/Completions", "POST /v1/chat/completions"),
            ("/v1/v1/chat/completions", "POST /v1/chat/completions"),
            ("//v1/chat/completions", "POST /v1/chat/completions"),
            (
                "/openai/deployments/a/chat/completions",
                "POST /chat/completions",
            ),
            ("/chat/completion", "POST /chat/completions"),
            ("/v1/embedding", "POST /v1/embeddings"),
            ("/v1/message", "POST /v1/messages"),
            ("/v1/model", "GET /v1/models"),
            ("/v1/generate", "POST /api/generate"),
            ("/v1/tokenize", "POST /tokenize"),
        ] {
            assert_eq!(post(path).as_deref(), Some(meant), "{path}");
        }
        assert_eq!(
            known.nearest("GET", "/v1/health/").as_deref(),
            Some("GET /v1/health")
        );
        let long = format!("/{}/v1/chat/completions", "a".repeat(200));
        for other in [
            "/nothing",
            "/",
            "",
            "/v1",
            "/v1/audio/speech",
            "/é",
            long.as_str(),
        ] {
            assert_eq!(post(other), None, "{other}");
        }
    }

    #[test]
    fn slips_are_counted() {
        for (one, other, slips_between) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("/v1/model", "/v1/models", 1),
        ] {
            assert_eq!(slips(one.as_bytes(), other.as_bytes()), slips_between);
        }
    }
}
