//! The table as bytes, and back: with a version, the vocabulary and a checksum.

use super::table::{ContextEntry, Corrections, MOST_BYTES, WAYS};

/// The first bytes of a file. The last figure is the version of the file's form.
const MAGIC: &[u8; 8] = b"CARDCOR2";
/// Bytes of one entry.
const ENTRY_BYTES: usize = 12;
/// Bytes before the entries: magic, vocabulary and number of sets.
const HEAD_BYTES: usize = 24;
/// Bytes of the checksum at the end.
const SUM_BYTES: usize = 8;

/// Why a saved table cannot be used.
///
/// ```
/// use card_core::sources::{Corrections, CorrectionsError};
///
/// let saved = Corrections::new(1 << 16, 42).to_bytes();
/// assert!(Corrections::from_bytes(&saved, 42).is_ok());
/// // In another vocabulary the same tokens mean something else.
/// let other = Corrections::from_bytes(&saved, 43);
/// assert!(matches!(other, Err(CorrectionsError::OtherVocabulary)));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CorrectionsError {
    /// It is another kind of file, or one of an earlier version.
    #[error("it is no saved correction cache of this version")]
    Foreign,
    /// It was cut short, or changed since it was saved.
    #[error("it is damaged: it is cut short, or its checksum is wrong")]
    Broken,
    /// Its tokens mean something else.
    #[error("it belongs to a model with another vocabulary")]
    OtherVocabulary,
}

impl Corrections {
    /// The table as bytes, to be saved.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.bytes() + SUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.vocabulary.to_le_bytes());
        bytes.extend_from_slice(&(self.sets.len() as u64).to_le_bytes());
        for e in self.sets.iter().flatten() {
            bytes.extend_from_slice(&e.check.to_le_bytes());
            bytes.extend_from_slice(&e.token.to_le_bytes());
            bytes.extend_from_slice(&e.count.to_le_bytes());
            bytes.extend_from_slice(&e.order.to_le_bytes());
        }
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// A table that was saved.
    ///
    /// # Errors
    /// If the bytes are no table, a table that was changed, or one of another vocabulary.
    pub fn from_bytes(bytes: &[u8], vocabulary: u64) -> Result<Self, CorrectionsError> {
        if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(CorrectionsError::Foreign);
        }
        let split = bytes.len().checked_sub(SUM_BYTES);
        let (table, sum) = split
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(CorrectionsError::Broken)?;
        if word(Some(sum))? != checksum(table) {
            return Err(CorrectionsError::Broken);
        }
        if word(table.get(8..16))? != vocabulary {
            return Err(CorrectionsError::OtherVocabulary);
        }
        let sets = word(table.get(16..HEAD_BYTES))?;
        let body = table.get(HEAD_BYTES..).unwrap_or_default();
        let whole = sets.checked_mul((WAYS * ENTRY_BYTES) as u64) == Some(body.len() as u64);
        if !whole || !sets.is_power_of_two() || body.len() > MOST_BYTES {
            return Err(CorrectionsError::Broken);
        }
        Ok(Corrections {
            sets: body.chunks_exact(WAYS * ENTRY_BYTES).map(set).collect(),
            vocabulary,
            evictions: 0,
        })
    }
}

/// Eight bytes as a number.
fn word(bytes: Option<&[u8]>) -> Result<u64, CorrectionsError> {
    let bytes = bytes.and_then(|b| b.try_into().ok());
    bytes
        .map(u64::from_le_bytes)
        .ok_or(CorrectionsError::Broken)
}

/// The entries of one set.
fn set(bytes: &[u8]) -> [ContextEntry; WAYS] {
    let mut set = [ContextEntry::default(); WAYS];
    for (e, b) in set.iter_mut().zip(bytes.chunks_exact(ENTRY_BYTES)) {
        *e = entry(b);
    }
    set
}

/// One entry, of [`ENTRY_BYTES`] bytes.
fn entry(b: &[u8]) -> ContextEntry {
    ContextEntry {
        check: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        token: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        count: u16::from_le_bytes([b[8], b[9]]),
        order: u16::from_le_bytes([b[10], b[11]]),
    }
}

/// FNV-1a (Fowler, Noll & Vo). It finds damage by accident. It is no protection against an
/// attacker, who could as well write another file.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Tenant, Token};

    const US: Tenant = Tenant::SHARED;
    const TEXT: [Token; 12] = [5, 1, 7, 3, 9, 2, 8, 4, 6, 11, 13, 12];

    #[test]
    fn is_kept_and_checked() {
        let mut c = Corrections::new(4096, 77);
        c.learn(US, &TEXT, 1);
        let bytes = c.to_bytes();
        let again = Corrections::from_bytes(&bytes, 77).unwrap();
        assert_eq!(again.sets, c.sets);
        let error = |b: &[u8], v| Corrections::from_bytes(b, v).unwrap_err();
        assert_eq!(error(&bytes, 78), CorrectionsError::OtherVocabulary);
        assert_eq!(
            error(&bytes[..bytes.len() - 1], 77),
            CorrectionsError::Broken
        );
        assert_eq!(error(b"hello", 77), CorrectionsError::Foreign);
        assert_eq!(error(&[], 77), CorrectionsError::Foreign);
        assert_eq!(error(&MAGIC[..], 77), CorrectionsError::Broken);
    }

    #[test]
    fn a_file_that_was_changed_anywhere_is_refused() {
        let mut c = Corrections::new(400, 77);
        c.learn(US, &TEXT, 1);
        let bytes = c.to_bytes();
        for at in 0..bytes.len() {
            for bit in [0, 7] {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Corrections::from_bytes(&changed, 77).is_err(), "byte {at}");
            }
            assert!(Corrections::from_bytes(&bytes[..at], 77).is_err());
        }
        let mut old = bytes.clone();
        old[7] = b'1';
        let error = Corrections::from_bytes(&old, 77).unwrap_err();
        assert_eq!(error, CorrectionsError::Foreign);
    }
}
