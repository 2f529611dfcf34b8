//! What is guaranteed of the text here, and by which means: said at the start, in summaries and by
//! servers.

use std::fmt;

use card_engine::selftest::{Exactness, Means};

use crate::kernels;
use crate::loader::LoadedTarget;
use crate::settings::Settings;

/// How close the text is to plain decoding's, and by which means that is kept (docs/exactness.md).
#[derive(Clone, Debug, PartialEq)]
pub struct TextGuarantee {
    /// How close the text is to plain decoding's.
    pub level: Exactness,
    /// The means by which the level is kept; `None` if nothing is promised.
    pub means: Option<Means>,
    /// Whose kernels compute, in words.
    pub kernels: String,
}

impl TextGuarantee {
    /// The guarantee for the text of a target that was loaded by these settings.
    pub fn of(settings: &Settings, target: &LoadedTarget) -> Self {
        let level = settings.exactness;
        let means = match level {
            Exactness::Exact => target.report.as_ref().map(|r| r.means()),
            Exactness::Fast => None,
        };
        TextGuarantee {
            level,
            means,
            kernels: kernels::called(settings, target.kernels),
        }
    }

    /// Whether a generation may go on from a prefix that an earlier answer left. The answer was
    /// decoded token by token while a prompt is read in one go, so both have to give the same
    /// logits, or nothing is promised.
    pub fn reuses(&self) -> bool {
        self.level == Exactness::Fast || self.means == Some(Means::AnyShape)
    }
}

impl fmt::Display for TextGuarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextGuarantee {
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
    fn it_is_said_in_one_sentence() {
        let mut guarantee = TextGuarantee {
            level: Exactness::Exact,
            means: Some(Means::AnyShape),
            kernels: "own kernels, AVX-512 VNNI".into(),
        };
        assert_eq!(
            guarantee.to_string(),
            "exact: every shape of forward gives the same logits (own kernels, AVX-512 VNNI)"
        );
        assert!(guarantee.reuses());
        for means in [Means::OneClass, Means::NearTies, Means::PlainOnly] {
            guarantee.means = Some(means);
            assert!(!guarantee.reuses() && guarantee.to_string().starts_with("exact: "));
        }
        (guarantee.level, guarantee.means) = (Exactness::Fast, None);
        assert!(guarantee.reuses() && guarantee.to_string().starts_with("fast: "));
    }
}
