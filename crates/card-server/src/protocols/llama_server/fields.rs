//! `response_fields`: an answer cut down to the fields that are wanted.

use std::io;

use serde_json::Value;

/// Which fields of an answer are wanted.
#[derive(Debug)]
pub(super) enum WantedFields {
    /// All of them.
    All,
    /// These, each once.
    These(Vec<FieldPath>),
}

/// The path of a field: `a/b` is the field `b` of `a`. No step of it is empty.
#[derive(Debug, PartialEq)]
pub(super) struct FieldPath(String);

impl FieldPath {
    /// The path of this name; a name with an empty step, like `a/`, names nothing.
    fn new(name: &str) -> Option<Self> {
        let whole = name.split('/').all(|step| !step.is_empty());
        whole.then(|| FieldPath(name.to_owned()))
    }

    /// The name under which an answer has the field.
    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// The field of the answer in which it is, or which it is.
    pub(super) fn first(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// What the path leads to from the value of its first step.
    pub(super) fn within<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let mut found = value;
        for step in self.0.split('/').skip(1) {
            found = found.get(step)?;
        }
        Some(found)
    }
}

impl WantedFields {
    /// The fields of these names, or all of them where there are no names.
    pub(super) fn new(names: &[String]) -> Self {
        if names.is_empty() {
            return WantedFields::All;
        }
        let mut paths: Vec<FieldPath> = Vec::with_capacity(names.len());
        for path in names.iter().filter_map(|name| FieldPath::new(name)) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        WantedFields::These(paths)
    }

    /// Whether the field of this name is wanted as a whole.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            WantedFields::All => true,
            WantedFields::These(paths) => paths.iter().any(|path| path.name() == name),
        }
    }

    /// Whether all that is wanted of the field of this name takes at most so many bytes of JSON.
    pub(super) fn fit(&self, field: &str, value: &Value, most: usize) -> bool {
        let mut counted = CountedBytes { left: most };
        let mut fits = |value: &Value| serde_json::to_writer(&mut counted, value).is_ok();
        match self {
            WantedFields::All => fits(value),
            WantedFields::These(paths) => {
                let mut paths = paths.iter().filter(|path| path.first() == field);
                paths.all(|path| path.within(value).is_none_or(&mut fits))
            }
        }
    }
}

/// Counts what is written and keeps nothing of it; an error where it is too much.
struct CountedBytes {
    left: usize,
}

impl io::Write for CountedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or_else(|| io::Error::other("too many bytes"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(names: &[&str]) -> WantedFields {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        WantedFields::new(&names)
    }

    fn paths(names: &[&str]) -> Vec<String> {
        match wanted(names) {
            WantedFields::All => Vec::new(),
            WantedFields::These(paths) => paths.iter().map(|p| p.name().to_owned()).collect(),
        }
    }

    #[test]
    fn fields_are_found_by_their_path() {
        let path = |name: &str| FieldPath(name.to_owned());
        let value = json!({ "c": { "d": 2 }, "": 3 });
        assert_eq!(path("b/c/d").first(), "b");
        assert_eq!(path("b/c/d").within(&value), Some(&json!(2)));
        assert_eq!(path("b").within(&value), Some(&value));
        assert_eq!(path("b/x").within(&value), None);
        assert_eq!(path("b/c/d/e").within(&value), None);
    }

    #[test]
    fn a_field_is_wanted_once_and_a_name_with_an_empty_step_is_none() {
        let names = [
            "a", "prompt/", "prompt//", "/prompt", "", "b//c", "a", "b/c",
        ];
        assert_eq!(paths(&names), ["a", "b/c"]);
        assert!(!wanted(&["prompt/"]).has("prompt"));
        assert!(wanted(&["prompt"]).has("prompt") && wanted(&[]).has("prompt"));
        // Names of nothing do not mean everything.
        assert!(matches!(wanted(&["/"]), WantedFields::These(paths) if paths.is_empty()));
    }

    #[test]
    fn what_is_wanted_of_a_field_is_measured_together() {
        let value = json!({ "a": { "b": "x".repeat(98) } });
        let fit = |names: &[&str], most: usize| wanted(names).fit("s", &value, most);
        assert!(fit(&["s/a/b"], 100) && !fit(&["s/a/b"], 99));
        assert!(fit(&["s/a/b", "other/a/b", "s/x"], 100));
        assert!(!fit(&["s/a/b", "s/a"], 200));
        assert!(!fit(&[], 100) && fit(&[], 200));
    }
}
