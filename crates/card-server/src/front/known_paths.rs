//! Which paths there are, by the OpenAPI document. A path that is not in it needs no model.

use serde_json::Value;

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
}
