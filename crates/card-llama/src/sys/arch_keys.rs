//! The metadata of a model file under the name of its architecture.

use std::ffi::CString;

use super::gguf::Gguf;

/// Layers, heads or numbers of a head that a model has at most. More is a damaged file.
const MOST: u64 = 1 << 20;

/// The keys of one architecture.
pub(super) struct ArchKeys<'a> {
    file: &'a Gguf,
    architecture: String,
}

impl<'a> ArchKeys<'a> {
    /// Those of a file; of one without an architecture, none are found.
    pub(super) fn of(file: &'a Gguf) -> Self {
        ArchKeys {
            file,
            architecture: file.text(c"general.architecture").unwrap_or_default(),
        }
    }

    /// The architecture's name, as llama.cpp has it.
    pub(super) fn architecture(&self) -> &str {
        &self.architecture
    }

    fn key(&self, name: &str) -> Option<CString> {
        CString::new(format!("{}.{name}", self.architecture)).ok()
    }

    /// A number; `None` if it is missing, or larger than makes sense.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let number = self.file.number(&self.key(name)?)?;
        (number <= MOST).then_some(number)
    }

    /// A number for each layer.
    pub(super) fn by_layer(&self, name: &str) -> Option<Vec<u64>> {
        let numbers = self.file.counts(&self.key(name)?)?;
        numbers.iter().all(|n| *n <= MOST).then_some(numbers)
    }

    /// Heads of attention; the most that a layer has.
    pub(super) fn heads(&self) -> u64 {
        match self.by_layer("attention.head_count") {
            Some(by_layer) => by_layer.into_iter().max().unwrap_or(1),
            None => self.number("attention.head_count").unwrap_or(1),
        }
    }

    /// Numbers of a key of one head.
    pub(super) fn key_length(&self) -> u64 {
        let length = self.number("attention.key_length");
        length.unwrap_or_else(|| self.head_width())
    }

    /// Numbers of a value of one head.
    pub(super) fn value_length(&self) -> u64 {
        let length = self.number("attention.value_length");
        length.unwrap_or_else(|| self.head_width())
    }

    /// Numbers of a head where the file does not say.
    fn head_width(&self) -> u64 {
        self.number("embedding_length").unwrap_or(0) / self.heads().max(1)
    }
}
