//! What mask, bias and penalties make of the logits.

use super::bias::Bias;
use super::settings::SamplingParams;
use crate::constraint::allows;
use crate::types::Token;

/// Working memory of adjusting logits: nothing is allocated per token.
#[derive(Clone, Debug, Default)]
pub(super) struct Adjuster {
    logits: Vec<f32>,
    /// Each token of the penalty window, and how often it is there behind the prompt, or with the
    /// prompt where that counts.
    counts: Vec<(Token, u32)>,
}

impl Adjuster {
    /// The logits after mask, bias and penalties; the model's own ones if there are none of
    /// these.
    pub(super) fn adjust<'a>(
        &'a mut self,
        params: &SamplingParams,
        logits: &'a [f32],
        allowed: Option<&[u32]>,
        history: &[Token],
    ) -> &'a [f32] {
        if allowed.is_none() && params.logit_bias.is_empty() && !params.has_penalties() {
            return logits;
        }
        self.mask(logits, allowed);
        if params.has_penalties() {
            self.penalize(params, history);
        }
        for (token, bias) in params.logit_bias.iter() {
            if let Some(logit) = self.logits.get_mut(token as usize) {
                match bias {
                    Bias::Ban => *logit = f32::NEG_INFINITY,
                    Bias::Add(shift) => *logit += shift.get(),
                }
            }
        }
        &self.logits
    }

    /// Copies the logits, those of tokens that the mask does not allow as −∞.
    fn mask(&mut self, logits: &[f32], allowed: Option<&[u32]>) {
        self.logits.clear();
        let Some(mask) = allowed else {
            self.logits.extend_from_slice(logits);
            return;
        };
        let masked = logits.iter().enumerate().map(|(token, &logit)| {
            if allows(mask, token as Token) {
                logit
            } else {
                f32::NEG_INFINITY
            }
        });
        self.logits.extend(masked);
    }

    /// Lowers the logits of tokens in the window at the end of `history`.
    fn penalize(&mut self, params: &SamplingParams, history: &[Token]) {
        let generated_from = params.generated_from as usize;
        let window = history.len().saturating_sub(params.penalty_window as usize);
        let start = if params.repeat_penalty == 1.0 {
            // Without a repeat penalty only generated tokens count.
            window.max(generated_from.min(history.len()))
        } else {
            window
        };
        let recent = history.iter().enumerate().skip(start);
        self.counts.clear();
        self.counts
            .extend(recent.map(|(at, &token)| (token, u32::from(at >= generated_from))));
        self.counts.sort_unstable();
        self.counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        for &(token, count) in &self.counts {
            let Some(logit) = self.logits.get_mut(token as usize) else {
                continue;
            };
            if *logit > 0.0 {
                *logit /= params.repeat_penalty;
            } else {
                *logit *= params.repeat_penalty;
            }
            if count > 0 {
                *logit -= count as f32 * params.frequency_penalty + params.presence_penalty;
            }
        }
    }
}

/// How many times further than a logit its adjusted value may move: a repeat penalty
/// multiplies logits.
pub(super) fn stretch(params: &SamplingParams, history: &[Token]) -> f64 {
    let repeat = f64::from(params.repeat_penalty);
    if params.penalty_window == 0 || history.is_empty() {
        1.0
    } else {
        repeat.max(1.0 / repeat)
    }
}
