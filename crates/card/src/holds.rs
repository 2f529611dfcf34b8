//! What holds of the text here, and by what: said at the start, in summaries and by servers.

use std::fmt;

use card_engine::selftest::{Exactness, Means};

use crate::args::ModelArgs;
use crate::kernels;
use crate::loader::{Target, level};

/// What holds of the text, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Holds {
    pub level: Exactness,
    /// By what means; `None` if nothing is promised.
    pub means: Option<Means>,
    /// Whose kernels compute.
    pub kernels: String,
}

impl Holds {
    /// Of a target that was loaded for `args`.
    pub fn of(args: &ModelArgs, target: &Target) -> Self {
        let level = level(args.exactness);
        let report = target.profile.as_ref().map(|p| &p.report);
        Holds {
            level,
            means: match level {
                Exactness::Exact => report.map(|r| r.means()),
                Exactness::Fast => None,
            },
            kernels: kernels::called(args, target.kernels),
        }
    }

    /// Whether a prefix that an earlier answer left may be gone on from: it was decoded token
    /// by token, a prompt is read in one go.
    pub fn reuses(&self) -> bool {
        self.level == Exactness::Fast || self.means == Some(Means::AnyShape)
    }

    /// The same as a server says it.
    pub fn told(&self) -> card_server::Exactness {
        card_server::Exactness {
            level: self.level.to_string(),
            means: self.means.map(|m| m.name().to_owned()),
            kernels: self.kernels.clone(),
            words: self.to_string(),
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holds {
            level,
            means,
            kernels,
        } = self;
        match means {
            Some(means) => write!(f, "{level}: {means} ({kernels})"),
            None => write!(
                f,
                "{level}: near-ties may come out otherwise than in plain decoding ({kernels})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_in_one_sentence_and_in_parts() {
        let mut holds = Holds {
            level: Exactness::Exact,
            means: Some(Means::AnyShape),
            kernels: "own kernels, AVX-512 VNNI".into(),
        };
        assert_eq!(
            holds.to_string(),
            "exact: every shape of forward gives the same logits (own kernels, AVX-512 VNNI)"
        );
        assert!(holds.reuses());
        let told = holds.told();
        assert_eq!(told.level, "exact");
        assert_eq!(told.means.as_deref(), Some("any-shape"));
        assert_eq!(told.words, holds.to_string());
        for means in [Means::OneClass, Means::NearTies] {
            holds.means = Some(means);
            assert!(!holds.reuses() && holds.to_string().starts_with("exact: "));
        }
        (holds.level, holds.means) = (Exactness::Fast, None);
        assert!(holds.reuses() && holds.to_string().starts_with("fast: "));
        assert_eq!(holds.told().means, None);
    }
}
