//! `/slots/ID?action=…`: the text of a slot is saved, restored or forgotten.

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;
use crate::reading::bounded::Text;
use crate::reading::fields::{self, Read, fields};

/// Longest name of a file, in bytes; most file systems have no longer ones.
const NAME: usize = 200;

fields! {
    /// Which file a slot is saved to or restored from.
    struct SlotFileFields {
        /// Its name: letters, digits, `-`, `_`, `.` and spaces, and no dot at the beginning.
        #[schemars(required)]
        "filename" => filename: Text<1, NAME>,
    }
}

/// Parses the body of `/slots/ID?action=save` and `restore`: the name of the file, which can only be
/// one in the folder for such files.
///
/// # Errors
/// Says what is wrong with the name.
pub fn parse_slot_file(body: &[u8]) -> Result<String, ApiError> {
    let read: Read<SlotFileFields> = fields::parse(body)?;
    let none = || ApiError::field("filename", "`filename` must be the name of a file");
    let name = read.fields.filename.ok_or_else(none)?.0;
    let plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if name.starts_with(['.', ' ']) || !name.chars().all(plain) {
        let why = "`filename` has letters, digits, -, _, . and spaces only, and begins with a letter, \
                   a digit, - or _";
        return Err(ApiError::field("filename", why));
    }
    Ok(name)
}

/// A slot was saved.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SavedSlot {
    /// The slot.
    pub id_slot: usize,
    /// The file.
    pub filename: String,
    /// Tokens in it.
    pub n_saved: usize,
    /// Bytes of it.
    pub n_written: usize,
    /// How long that took.
    pub timings: SaveTime,
}

/// How long saving took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SaveTime {
    /// Milliseconds.
    pub save_ms: f64,
}

/// A slot was restored: its text was read again.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RestoredSlot {
    /// The slot.
    pub id_slot: usize,
    /// The file.
    pub filename: String,
    /// Tokens that were read.
    pub n_restored: usize,
    /// Bytes of the file.
    pub n_read: usize,
    /// How long that took.
    pub timings: RestoreTime,
}

/// How long restoring took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RestoreTime {
    /// Milliseconds.
    pub restore_ms: f64,
}

/// The text of a slot was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErasedSlot {
    /// The slot.
    pub id_slot: usize,
    /// Tokens that it had.
    pub n_erased: usize,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_no_other_folder() {
        let name = |text: &str| parse_slot_file(format!("{{\"filename\":{text:?}}}").as_bytes());
        for fine in ["slot1.bin", "a b-c_d.1", "Größe"] {
            assert_eq!(name(fine).unwrap(), fine);
        }
        for wrong in [
            "",
            "..",
            ".hidden",
            " a",
            "a/b",
            "../a",
            "a\\b",
            "/etc/passwd",
            "a:b",
            "a\nb",
            "a*",
        ] {
            let param = name(wrong).unwrap_err().param().map(str::to_owned);
            assert_eq!(param.as_deref(), Some("filename"), "{wrong:?}");
        }
        assert!(name(&"a".repeat(201)).is_err());
        assert!(parse_slot_file(b"{}").is_err());
    }
}
