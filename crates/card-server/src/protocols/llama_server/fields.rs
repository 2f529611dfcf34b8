//! `response_fields`: an answer cut down to the fields that are wanted.

use serde_json::{Map, Value};

/// The fields of these names; `a/b` is the field `b` of `a`, under that name. What is not there
/// is left out. Without names, all of them.
pub(super) fn wanted(all: Map<String, Value>, names: &[String]) -> Map<String, Value> {
    if names.is_empty() {
        return all;
    }
    let found = names.iter().filter_map(|name| {
        let (first, rest) = name.split_once('/').unwrap_or((name.as_str(), ""));
        let mut value = all.get(first)?;
        for step in rest.split('/').filter(|step| !step.is_empty()) {
            value = value.get(step)?;
        }
        Some((name.clone(), value.clone()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_by_their_path() {
        let all = || match json!({ "a": 1, "b": { "c": { "d": 2 } } }) {
            Value::Object(all) => all,
            _ => Map::new(),
        };
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let cut = wanted(all(), &names(&["a", "b/c/d", "x", "a/b"]));
        assert_eq!(Value::Object(cut), json!({ "a": 1, "b/c/d": 2 }));
        assert_eq!(wanted(all(), &[]), all());
    }
}
