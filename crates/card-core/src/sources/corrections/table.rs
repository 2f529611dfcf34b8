//! The table of contexts and what came after them.

use super::super::chain::{Chain, LONGEST};
use crate::types::{Tenant, Token};

/// Lengths of contexts in tokens, longest first.
const ORDERS: [usize; 3] = [8, 5, 3];
/// Entries of one set.
pub(super) const WAYS: usize = 8;
/// No table has more bytes.
pub(super) const MOST_BYTES: usize = 1 << 30;

/// One context, one token that came after it, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ContextEntry {
    /// A part of the context's hash. The rest of the hash is the number of the set.
    pub(super) check: u32,
    pub(super) token: Token,
    /// How often the token came after the context; 0 for an entry that is free.
    pub(super) count: u16,
    /// Length of the context in tokens.
    pub(super) order: u16,
}

/// The correction cache. See the [module](super) documentation.
///
/// ```
/// use card_core::sources::Corrections;
/// use card_core::types::Tenant;
///
/// let mut corrections = Corrections::new(1 << 16, 0);
/// // The target wrote all of this text but its first token.
/// let text = [5, 1, 7, 3, 9, 2, 8, 4];
/// corrections.learn(Tenant::SHARED, &text, 1);
///
/// let mut chain = Vec::new();
/// corrections.propose(Tenant::SHARED, &[5, 1, 7], &mut chain);
/// let tokens: Vec<u32> = chain.iter().map(|proposed| proposed.0).collect();
/// assert_eq!(tokens, [3, 9, 2, 8, 4]);
///
/// // Nothing is proposed to another tenant.
/// corrections.propose(Tenant(1), &[5, 1, 7], &mut chain);
/// assert!(chain.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Corrections {
    /// The sets; their number is a power of two.
    pub(super) sets: Vec<[ContextEntry; WAYS]>,
    /// Fingerprint of the vocabulary that the tokens belong to.
    pub(super) vocabulary: u64,
    /// Entries that made room for others so far.
    pub(super) evictions: u64,
}

impl Corrections {
    /// An empty table of at most `bytes` bytes, for the vocabulary with that fingerprint.
    pub fn new(bytes: usize, vocabulary: u64) -> Self {
        let sets = (bytes.min(MOST_BYTES) / size_of::<[ContextEntry; WAYS]>()).max(1);
        // The largest power of two that fits: a hash names a set by its lowest bits.
        let sets = 1 << sets.ilog2();
        Corrections {
            sets: vec![[ContextEntry::default(); WAYS]; sets],
            vocabulary,
            evictions: 0,
        }
    }

    /// Bytes that the table takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.sets[..])
    }

    /// Entries that made room for others so far.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Learns that the target wrote the tokens of the tenant's `text` from index `from` on.
    pub fn learn(&mut self, tenant: Tenant, text: &[Token], from: usize) {
        for at in from..text.len() {
            for order in ORDERS {
                if at >= order {
                    self.count(tenant, &text[at - order..at], text[at]);
                }
            }
        }
    }

    /// Counts that `token` came after `context`.
    fn count(&mut self, tenant: Tenant, context: &[Token], token: Token) {
        let (set, check) = self.place(tenant, context);
        let order = context.len() as u16;
        let set = &mut self.sets[set];
        let known = |e: &&mut ContextEntry| {
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
        // The set is full of entries that were seen more than once. They age, so that new ones
        // get their turn.
        if worst.count > 1 {
            for entry in set.iter_mut() {
                entry.count -= entry.count / 2;
            }
            return;
        }
        self.evictions += u64::from(worst.count > 0);
        *worst = ContextEntry {
            check,
            token,
            count: 1,
            order,
        };
    }

    /// The chain that is most likely to follow the tenant's `text`: the best token, then the
    /// best one after that, and so on while a context is known.
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

    /// The set that a context belongs to, and what tells it from others there.
    fn place(&self, tenant: Tenant, context: &[Token]) -> (usize, u32) {
        // Texts of the shared tenant have no salt.
        let salt = tenant.0.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let start = 0xcbf2_9ce4_8422_2325_u64 ^ salt ^ (salt >> 32);
        let hash = context.iter().fold(start, |h, t| {
            let h = (h ^ u64::from(*t)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            h ^ (h >> 31)
        });
        ((hash as usize) & (self.sets.len() - 1), (hash >> 32) as u32)
    }
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
