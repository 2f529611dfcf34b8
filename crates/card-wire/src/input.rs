//! What a target says: sent, and taken in.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use card_core::protocol::{DraftInput, DraftShare};
use card_core::types::{SequenceId, Tenant, TextMark};

use crate::limits::MOST_SEQUENCES;
use crate::proto::{self, to_drafter};
use crate::refusal::Refusal;
use crate::sampling::{sampling_in, sampling_out};
use crate::vocabulary::SharedVocabulary;

/// Drafters that share one tree.
const MOST_SHARES: u32 = 4096;

/// A number that stands for a tenant: a drafter learns which sequences are of the same tenant,
/// and not which tenant that is.
fn pseudonym(tenant: Tenant) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    if tenant == Tenant::SHARED {
        return tenant.0;
    }
    KEY.get_or_init(RandomState::new).hash_one(tenant.0).max(1)
}

/// What a drafter is told.
pub fn input_out(input: DraftInput) -> proto::ToDrafter {
    use to_drafter::What;
    let what = match input {
        DraftInput::Open {
            sequence,
            tenant,
            tokens,
            params,
            end,
            // Grammars stay in the process: a drafter elsewhere goes without.
            grammar: _,
        } => What::Open(proto::Open {
            sequence: sequence.0,
            tokens,
            end,
            sampling: Some(sampling_out(&params)),
            tenant: pseudonym(tenant),
        }),
        DraftInput::Commit {
            sequence,
            from,
            tokens,
        } => What::Commit(proto::Commit {
            sequence: sequence.0,
            from,
            tokens,
        }),
        DraftInput::Close { sequence } => What::Close(proto::Close {
            sequence: sequence.0,
        }),
        DraftInput::Forget { tenant, text } => What::Forget(proto::Forget {
            tenant: pseudonym(tenant),
            tokens: text.tokens,
            hash: text.hash,
        }),
        DraftInput::Share(share) => What::Share(proto::Share {
            index: share.index,
            of: share.of,
        }),
    };
    proto::ToDrafter { what: Some(what) }
}

/// Checks the messages of one target against what it was granted.
///
/// Invariants: `open` has at most `sequences` entries, and the length of each is between 1 and
/// `context`.
#[derive(Clone, Debug)]
pub struct Intake {
    vocabulary: SharedVocabulary,
    /// Most tokens of a sequence.
    context: u32,
    /// Most sequences at a time.
    sequences: usize,
    /// The length in tokens of each open sequence, by its id.
    open: BTreeMap<u64, usize>,
}

impl Intake {
    /// An intake for a target that was granted so many sequences of that length.
    pub fn new(vocabulary: SharedVocabulary, context: u32, sequences: u32) -> Self {
        Intake {
            vocabulary,
            context,
            // A sequence may be opened before the one whose place it takes is closed.
            sequences: 2 * sequences.clamp(1, MOST_SEQUENCES) as usize,
            open: BTreeMap::new(),
        }
    }

    /// Takes a message; `None` if it is about a sequence that was not taken.
    ///
    /// # Errors
    /// Says why it makes no sense.
    pub fn take(&mut self, message: proto::ToDrafter) -> Result<Option<DraftInput>, Refusal> {
        use to_drafter::What;
        match message.what {
            Some(What::Open(open)) => self.open(open).map(Some).map_err(Refusal::Message),
            Some(What::Commit(commit)) => self.commit(commit).map_err(Refusal::Message),
            Some(What::Close(close)) => Ok(self.close(close.sequence)),
            Some(What::Forget(forget)) => Ok(Some(forgotten(&forget))),
            Some(What::Share(share)) => shared(share).map(Some).map_err(Refusal::Message),
            Some(What::Welcome(_)) => Err(Refusal::Link("a second welcome".into())),
            None => Err(Refusal::Link("an unknown message".into())),
        }
    }

    fn open(&mut self, open: proto::Open) -> Result<DraftInput, String> {
        let id = open.sequence;
        if self.open.contains_key(&id) {
            return Err(format!("sequence {id} is open already"));
        }
        if self.open.len() >= self.sequences {
            return Err(format!(
                "no more sequences were granted than are open: {}",
                self.open.len()
            ));
        }
        let length = open.tokens.len();
        if length == 0 || length > self.context as usize {
            return Err(format!(
                "sequence {id} has {length} tokens; there is room for {}",
                self.context
            ));
        }
        if let Some(token) = self.vocabulary.foreign(&open.tokens) {
            return Err(format!("sequence {id} has the unknown token {token}"));
        }
        let sampling = open.sampling.ok_or("a sequence without settings")?;
        let params = sampling_in(sampling).map_err(|why| format!("sequence {id}: {why}"))?;
        self.open.insert(id, length);
        Ok(DraftInput::Open {
            sequence: SequenceId(id),
            tenant: Tenant(open.tenant),
            tokens: open.tokens,
            params,
            end: open.end,
            grammar: None,
        })
    }

    fn commit(&mut self, commit: proto::Commit) -> Result<Option<DraftInput>, String> {
        let id = commit.sequence;
        let Some(length) = self.open.get_mut(&id) else {
            return Ok(None);
        };
        let from = commit.from as usize;
        if from > *length {
            return Err(format!(
                "sequence {id} goes on at {from}, after {length} tokens"
            ));
        }
        let grown = from + commit.tokens.len();
        if grown > self.context as usize {
            // There is no more room for it: nobody waits for drafts of it here.
            return Ok(self.close(id));
        }
        if let Some(token) = self.vocabulary.foreign(&commit.tokens) {
            return Err(format!("sequence {id} has the unknown token {token}"));
        }
        *length = grown.max(*length);
        Ok(Some(DraftInput::Commit {
            sequence: SequenceId(id),
            from: commit.from,
            tokens: commit.tokens,
        }))
    }

    fn close(&mut self, id: u64) -> Option<DraftInput> {
        self.open.remove(&id)?;
        Some(DraftInput::Close {
            sequence: SequenceId(id),
        })
    }
}

/// Whatever it names: who has no such text has nothing to forget.
fn forgotten(forget: &proto::Forget) -> DraftInput {
    DraftInput::Forget {
        tenant: Tenant(forget.tenant),
        text: TextMark {
            tokens: forget.tokens,
            hash: forget.hash,
        },
    }
}

fn shared(share: proto::Share) -> Result<DraftInput, String> {
    let proto::Share { index, of } = share;
    if index >= of || of > MOST_SHARES {
        return Err(format!("part {index} of {of}"));
    }
    Ok(DraftInput::Share(DraftShare { index, of }))
}
