//! The metadata of a made-up model.

use std::collections::BTreeMap;

use super::super::file::Value;

/// Keys with their values; a key is there once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ZooKeys {
    architecture: &'static str,
    values: BTreeMap<String, Value>,
}

impl ZooKeys {
    /// No keys but the one that names the architecture.
    pub(super) fn of(architecture: &'static str) -> Self {
        let mut keys = ZooKeys {
            architecture,
            values: BTreeMap::new(),
        };
        keys.common("general.architecture", architecture);
        keys
    }

    /// Sets a key of the architecture's own, like `block_count`, which is written as
    /// `llama.block_count`. It takes the place of a value that was set before.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let key = format!("{}.{key}", self.architecture);
        self.values.insert(key, value.into());
    }

    /// Sets a key that is named alike for all architectures.
    pub(super) fn common(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.into(), value.into());
    }

    /// Takes a key of the architecture's own away again.
    pub(super) fn unset(&mut self, key: &str) {
        self.values.remove(&format!("{}.{key}", self.architecture));
    }

    /// All keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }
}
