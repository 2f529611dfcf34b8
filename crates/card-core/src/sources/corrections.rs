//! What the target wrote after a context before, remembered across requests.
//!
//! A fixed table of (context, next token, count), set-associative like a processor's
//! cache: bounded, no allocation, and what is rarely seen makes room. Contexts of several
//! lengths are kept; the longest one that is known is believed first (prediction by
//! partial matching, Cleary & Witten 1984).
//!
//! Each tenant has contexts of its own: whose a text is goes into the hash by which a context
//! is found, so that nobody is proposed what another's requests made the target write.

use super::{Chain, LONGEST};
use crate::types::{Tenant, Token};

/// Lengths of contexts in tokens, longest first.
const ORDERS: [usize; 3] = [8, 5, 3];
/// Entries of one set.
const WAYS: usize = 8;
/// The last figure is the version of the file's form.
const MAGIC: &[u8; 8] = b"CARDCOR2";
const ENTRY_BYTES: usize = 12;
/// Magic, vocabulary and number of sets.
const HEAD_BYTES: usize = 24;
/// The checksum at the end.
const SUM_BYTES: usize = 8;
/// No table is larger.
const MOST_BYTES: usize = 1 << 30;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Entry {
    /// Part of the context's hash; which set it is in is the rest.
    check: u32,
    token: Token,
    /// 0 for an entry that is free.
    count: u16,
    order: u16,
}

/// Why a saved table cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CorrectionsError {
    /// Another kind of file, or one of an earlier version.
    #[error("it is no saved correction cache of this version")]
    Foreign,
    /// Cut short, or changed since it was saved.
    #[error("it is damaged: it is cut short, or its checksum is wrong")]
    Broken,
    /// The tokens mean something else.
    #[error("it belongs to a model with another vocabulary")]
    OtherVocabulary,
}

/// The correction cache. See the [module](self) documentation.
#[derive(Clone, Debug)]
pub struct Corrections {
    sets: Vec<[Entry; WAYS]>,
    vocabulary: u64,
    evictions: u64,
}

impl Corrections {
    /// A table of at most `bytes`, for the vocabulary with that fingerprint.
    pub fn new(bytes: usize, vocabulary: u64) -> Self {
        let sets = (bytes.min(MOST_BYTES) / size_of::<[Entry; WAYS]>()).max(1);
        // The largest power of two that fits.
        let sets = 1 << sets.ilog2();
        Corrections {
            sets: vec![[Entry::default(); WAYS]; sets],
            vocabulary,
            evictions: 0,
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.sets[..])
    }

    /// Entries that made room for others so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Learns that the target wrote the tokens of a tenant's `text` from index `from` on.
    pub fn learn(&mut self, tenant: Tenant, text: &[Token], from: usize) {
        for at in from..text.len() {
            for order in ORDERS {
                if at >= order {
                    self.count(tenant, &text[at - order..at], text[at]);
                }
            }
        }
    }

    fn count(&mut self, tenant: Tenant, context: &[Token], token: Token) {
        let (set, check) = self.place(tenant, context);
        let order = context.len() as u16;
        let set = &mut self.sets[set];
        let known = |e: &&mut Entry| {
            e.count > 0 && e.check == check && e.order == order && e.token == token
        };
        if let Some(entry) = set.iter_mut().find(known) {
            entry.count = entry.count.saturating_add(1);
            if entry.count == u16::MAX {
                for entry in set.iter_mut() {
                    entry.count = entry.count.div_ceil(2);
                }
            }
            return;
        }
        let Some(worst) = set.iter_mut().min_by_key(|e| e.count) else {
            return;
        };
        // A full set of others: what is there ages, so that the new gets its turn.
        if worst.count > 1 {
            for entry in set.iter_mut() {
                entry.count -= entry.count / 2;
            }
            return;
        }
        self.evictions += u64::from(worst.count > 0);
        *worst = Entry {
            check,
            token,
            count: 1,
            order,
        };
    }

    /// The chain most likely to follow a tenant's `text`.
    pub fn propose(&self, tenant: Tenant, text: &[Token], out: &mut Chain) {
        out.clear();
        let longest = ORDERS[0];
        let mut recent: Vec<Token> = text[text.len().saturating_sub(longest)..].to_vec();
        while out.len() < LONGEST {
            let Some((token, prob)) = self.next(tenant, &recent) else {
                return;
            };
            out.push((token, prob));
            if recent.len() == longest {
                recent.remove(0);
            }
            recent.push(token);
        }
    }

    /// The most frequent token after the longest known context at the end of `recent`.
    fn next(&self, tenant: Tenant, recent: &[Token]) -> Option<(Token, f32)> {
        ORDERS.into_iter().find_map(|order| {
            let context = &recent[recent.len().checked_sub(order)?..];
            let (set, check) = self.place(tenant, context);
            let order = order as u16;
            let known = self.sets[set]
                .iter()
                .filter(|e| e.count > 0 && e.check == check && e.order == order);
            let all: f32 = known.clone().map(|e| f32::from(e.count)).sum();
            let best = known.max_by_key(|e| (e.count, std::cmp::Reverse(e.token)))?;
            // Longer contexts are surer, and so is what was seen more than once.
            let doubt = 0.6 + 1.2 / f32::from(order);
            Some((best.token, f32::from(best.count) / (all + doubt)))
        })
    }

    fn place(&self, tenant: Tenant, context: &[Token]) -> (usize, u32) {
        // What is everybody's has no salt.
        let salt = tenant.0.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let start = 0xcbf2_9ce4_8422_2325_u64 ^ salt ^ (salt >> 32);
        let hash = context.iter().fold(start, |h, t| {
            let h = (h ^ u64::from(*t)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            h ^ (h >> 31)
        });
        ((hash as usize) & (self.sets.len() - 1), (hash >> 32) as u32)
    }

    /// The table as bytes, to be kept.
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

    /// A table that was kept.
    ///
    /// # Errors
    /// If the bytes are no table, one that was changed, or one of another vocabulary.
    pub fn from_bytes(bytes: &[u8], vocabulary: u64) -> Result<Self, CorrectionsError> {
        if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(CorrectionsError::Foreign);
        }
        let split = bytes.len().checked_sub(SUM_BYTES);
        let (table, sum) = split
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(CorrectionsError::Broken)?;
        let word = |bytes: Option<&[u8]>| {
            let bytes = bytes.and_then(|b| b.try_into().ok());
            bytes
                .map(u64::from_le_bytes)
                .ok_or(CorrectionsError::Broken)
        };
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
        let entry = |b: &[u8]| Entry {
            check: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            token: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
            count: u16::from_le_bytes([b[8], b[9]]),
            order: u16::from_le_bytes([b[10], b[11]]),
        };
        let set = |b: &[u8]| {
            let mut set = [Entry::default(); WAYS];
            for (e, b) in set.iter_mut().zip(b.chunks_exact(ENTRY_BYTES)) {
                *e = entry(b);
            }
            set
        };
        Ok(Corrections {
            sets: body.chunks_exact(WAYS * ENTRY_BYTES).map(set).collect(),
            vocabulary,
            evictions: 0,
        })
    }
}

/// FNV-1a (Fowler, Noll & Vo): finds what a disk or a hand did, not an enemy, who may as well
/// write another file.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Tenant = Tenant::SHARED;
    const TEXT: [Token; 12] = [5, 1, 7, 3, 9, 2, 8, 4, 6, 11, 13, 12];

    #[test]
    fn proposes_what_it_saw_and_is_surer_the_second_time() {
        let mut c = Corrections::new(1 << 16, 1);
        let mut out = Vec::new();
        c.propose(US, &TEXT[..4], &mut out);
        assert!(out.is_empty());
        c.learn(US, &TEXT, 1);
        c.propose(US, &TEXT[..4], &mut out);
        assert_eq!(out.iter().map(|c| c.0).collect::<Vec<_>>(), TEXT[4..]);
        let once = out[0].1;
        c.learn(US, &TEXT, 1);
        c.propose(US, &TEXT[..4], &mut out);
        assert!(out[0].1 > once);
    }

    #[test]
    fn is_bounded_and_forgets_the_rare() {
        let mut c = Corrections::new(2000, 1);
        let bytes = c.bytes();
        assert!(bytes <= 2000);
        for _ in 0..20 {
            c.learn(US, &TEXT, 1);
        }
        for i in 0..3000 {
            c.learn(US, &[i, i + 1, i * 7, i * 3], 3);
        }
        assert_eq!(c.bytes(), bytes);
        assert!(c.evictions() > 0);
    }

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

    #[test]
    fn what_one_tenant_made_the_target_write_is_proposed_to_no_other() {
        let mut c = Corrections::new(1 << 16, 1);
        let tenants = [US, Tenant(1), Tenant(2), Tenant(u64::MAX)];
        let mut out = Vec::new();
        for own in tenants {
            // A text of its own, behind a context that all share.
            let mut c = c.clone();
            c.learn(own, &TEXT, 1);
            for other in tenants {
                c.propose(other, &TEXT[..8], &mut out);
                assert_eq!(out.is_empty(), other != own, "{own:?} {other:?}");
            }
        }
        for (i, own) in (0..).zip(tenants) {
            let text = [5, 1, 7, 3, 9, 2, 8, 4, 100 + i];
            c.learn(own, &text, 8);
        }
        for (i, own) in (0..).zip(tenants) {
            c.propose(own, &TEXT[..8], &mut out);
            assert_eq!(out.first().map(|o| o.0), Some(100 + i));
        }
    }
}
