//! How the vectors of a text's tokens become one vector.

use llama_cpp_sys_2 as cpp;

/// How the vectors of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They do not: the text has a vector for each of its tokens.
    None,
    /// By their mean.
    Mean,
    /// The vector of the first token stands for the text, as BERT's `[CLS]` does.
    Cls,
    /// The vector of the last token stands for the text.
    Last,
    /// The model's classification head makes a score of the text (rerankers).
    Rank,
}

impl Pooling {
    /// The kind that llama.cpp calls this; `None` for one that is not known here.
    pub(super) fn of(raw: cpp::llama_pooling_type) -> Option<Self> {
        match raw {
            cpp::LLAMA_POOLING_TYPE_NONE => Some(Pooling::None),
            cpp::LLAMA_POOLING_TYPE_MEAN => Some(Pooling::Mean),
            cpp::LLAMA_POOLING_TYPE_CLS => Some(Pooling::Cls),
            cpp::LLAMA_POOLING_TYPE_LAST => Some(Pooling::Last),
            cpp::LLAMA_POOLING_TYPE_RANK => Some(Pooling::Rank),
            _ => None,
        }
    }

    /// What llama.cpp calls it.
    pub(super) fn raw(self) -> cpp::llama_pooling_type {
        match self {
            Pooling::None => cpp::LLAMA_POOLING_TYPE_NONE,
            Pooling::Mean => cpp::LLAMA_POOLING_TYPE_MEAN,
            Pooling::Cls => cpp::LLAMA_POOLING_TYPE_CLS,
            Pooling::Last => cpp::LLAMA_POOLING_TYPE_LAST,
            Pooling::Rank => cpp::LLAMA_POOLING_TYPE_RANK,
        }
    }
}
