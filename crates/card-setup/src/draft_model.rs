//! A draft model as the target sees it: one that speaks the target's vocabulary, or one that is
//! translated.

use std::sync::Arc;

use anyhow::Result;
use card_core::forward::Model;
use card_core::translation::{TokenMap, Translated, TranslationError, VocabularyCoverage};
use card_core::types::Token;
use card_llama::{
    Cores, LlamaContext, LlamaError, LlamaModel, ModelInfo, Vocab, check_vocabularies,
};

use crate::contexts::llama_contexts;

/// Share of a typical text's tokens that a draft model of another vocabulary has to have itself.
/// A proposal has to be one token of the target, so with fewer than one token in ten at most one
/// proposal in ten can be right, and a round gains less than what verifying one more row costs.
const LEAST_TYPICAL: f32 = 0.1;
/// Most draft tokens that the context of a draft model of another vocabulary has for each of the
/// target's. What does not fit is not drafted.
const MOST_STRETCH: f64 = 4.0;
/// Draft tokens beside those of a typical text. Texts differ, and some are read as more pieces.
const SPARE: f64 = 1.1;

/// A draft model, and how its tokens become the target's.
#[derive(Clone)]
pub struct DraftModel {
    /// The model.
    pub llama: LlamaModel,
    /// The map between its tokens and the target's; `None` if they are the same.
    map: Option<Arc<TokenMap>>,
    /// How the vocabularies differ, in words; empty if they do not.
    differs: String,
}

impl DraftModel {
    /// The target as its own draft model.
    pub fn itself(target: &LlamaModel) -> Self {
        DraftModel {
            llama: target.clone(),
            map: None,
            differs: String::new(),
        }
    }

    /// A model that drafts for a target of this vocabulary.
    ///
    /// # Errors
    /// If its vocabulary is another one of which nearly nothing could be proposed.
    pub fn new(target: &Vocab, llama: LlamaModel) -> Result<Self> {
        let differs = match check_vocabularies(target, &llama.vocab()) {
            Ok(()) => String::new(),
            Err(LlamaError::Vocabulary(how)) => how,
            Err(other) => return Err(other.into()),
        };
        let map = if differs.is_empty() {
            None
        } else {
            Some(Arc::new(translate(target, &llama.vocab(), &differs)?))
        };
        Ok(DraftModel {
            llama,
            map,
            differs,
        })
    }

    /// Facts about the model.
    pub fn info(&self) -> ModelInfo {
        self.llama.info()
    }

    /// Whether its vocabulary is another one than the target's.
    pub fn is_translated(&self) -> bool {
        self.map.is_some()
    }

    /// How its vocabulary differs from the target's, and how much of the target's it can propose,
    /// as one line; `None` if they are the same.
    pub fn told(&self) -> Option<String> {
        let coverage = self.map.as_ref()?.coverage();
        Some(format!(
            "the draft model has another vocabulary ({}), so its proposals are translated: it has \
             {:.0} % of a typical text's tokens too, and reads {:.2} of its own for each",
            self.differs,
            100.0 * coverage.typical_exact,
            coverage.pieces_per_token
        ))
    }

    /// The tokens of a text as the model takes them: the target's.
    ///
    /// # Errors
    /// If the text cannot be tokenized.
    pub fn tokenize(&self, target: &Vocab, text: &str) -> Result<Vec<Token>, LlamaError> {
        if self.is_translated() {
            target.tokenize(text, false)
        } else {
            self.llama.vocab().tokenize(text, false)
        }
    }

    /// A context for several sequences of `context` tokens of the target.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn contexts(
        &self,
        context: u32,
        sequences: u32,
        cores: &Cores,
    ) -> Result<LlamaContext, LlamaError> {
        let context = self.own_context(context);
        llama_contexts(&self.llama, "draft", context, sequences, cores)
    }

    /// `context` of this model, as a model of the target's vocabulary.
    ///
    /// # Errors
    /// If the context is another model's.
    pub fn translated(
        &self,
        context: Box<dyn Model + Send>,
    ) -> Result<Box<dyn Model + Send>, TranslationError> {
        let Some(map) = &self.map else {
            return Ok(context);
        };
        Ok(Box::new(Translated::new(context, map.clone())?))
    }

    /// A context for one sequence, as a model of the target's vocabulary.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn model(&self, context: u32, cores: &Cores) -> Result<Box<dyn Model + Send>> {
        let made = self.contexts(context, 1, cores)?;
        Ok(self.translated(Box::new(made))?)
    }

    /// Its tokens for a text of `context` tokens of the target.
    pub fn own_context(&self, context: u32) -> u32 {
        match &self.map {
            None => context,
            Some(map) => stretched(context, map.coverage()),
        }
    }

    /// What measurements of the model depend on beside the model, as the end of a key: the
    /// vocabulary that it is translated to.
    pub fn key(&self, target: &Vocab) -> String {
        if self.is_translated() {
            format!(", translated for {:016x}", target.fingerprint())
        } else {
            String::new()
        }
    }
}

/// The map between two vocabularies that differ, if it is of any use.
fn translate(target: &Vocab, draft: &Vocab, differs: &str) -> Result<TokenMap, LlamaError> {
    let useless = |why: String| LlamaError::Vocabulary(format!("{differs}, and {why}"));
    let map = target
        .for_translation()
        .and_then(|target| TokenMap::new(&target, &draft.for_translation()?))
        .map_err(|why| useless(why.to_string()))?;
    let has = map.coverage().typical_exact;
    if has < LEAST_TYPICAL {
        return Err(useless(format!(
            "it has only {:.0} % of the tokens that a typical text of the target has",
            100.0 * has
        )));
    }
    Ok(map)
}

/// Draft tokens for a text of `context` tokens of the target.
fn stretched(context: u32, coverage: &VocabularyCoverage) -> u32 {
    let pieces = f64::from(coverage.pieces_per_token).max(1.0);
    let pieces = (pieces * SPARE).min(MOST_STRETCH);
    // A float that is too large becomes the largest number there is.
    (f64::from(context) * pieces).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_model_with_longer_texts_gets_a_longer_context() {
        let coverage = |pieces_per_token| VocabularyCoverage {
            tokens: 100,
            exact: 50,
            spelled: 50,
            typical_exact: 0.8,
            pieces_per_token,
        };
        assert_eq!(stretched(1000, &coverage(1.5)), 1650);
        assert_eq!(stretched(1000, &coverage(100.0)), 4000);
        assert_eq!(stretched(u32::MAX, &coverage(2.0)), u32::MAX);
        assert!(stretched(1000, &coverage(0.0)) >= 1000);
    }
}
