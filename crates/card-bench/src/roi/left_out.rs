//! Measurements that are no part of the figures of a page: why, and what to do. They stay in its
//! table, each with a word.

use super::evidence::RoiEvidence;
use super::language::{Language, label};
use crate::report::{Doubt, FEWEST_PROMPTS};

/// A line for each reason why measurements are left out.
pub(super) fn left_out(evidence: &[RoiEvidence], language: Language) -> Vec<String> {
    let line = |doubt: Doubt| {
        let doubted = evidence.iter().filter(|e| e.doubt() == Some(doubt));
        let kinds: Vec<&str> = doubted.map(|e| label(&e.label, language)).collect();
        let listed = kinds.join(language.pick(", ", "、"));
        (!kinds.is_empty()).then(|| why(doubt, &listed, language))
    };
    let lines = [Doubt::Disturbed, Doubt::FewPrompts].into_iter();
    lines.filter_map(line).collect()
}

/// Why these kinds of text are left out.
fn why(doubt: Doubt, kinds: &str, language: Language) -> String {
    let few = FEWEST_PROMPTS;
    match (doubt, language) {
        (Doubt::FewPrompts, Language::English) => format!(
            "**Left out: {kinds}**, of which fewer than {few} prompts were measured. Run `card bench` \
             with more (`--prompts`)."
        ),
        (Doubt::FewPrompts, Language::Japanese) => format!(
            "**{kinds}**は集計から除いています。測定したプロンプトが{few}件に満たないためです。`card bench --prompts`で件数を増やし、測定し直してください。"
        ),
        (_, Language::English) => format!(
            "**Left out: {kinds}**, whose speed-up is above the tokens per forward, so it is not \
             from speculation: something disturbed plain decoding. Measure again on a quiet machine."
        ),
        (_, Language::Japanese) => format!(
            "**{kinds}**は集計から除いています。高速化率がフォワード1回あたりのトークン数を上回っており、投機的デコーディングの効果ではないためです。通常のデコードの測定が、ほかの負荷で乱れています。ほかに何も動いていない環境で測定し直してください。"
        ),
    }
}

/// The word beside a speed-up in the table; empty where nothing speaks against it.
pub(super) fn word(e: &RoiEvidence, language: Language) -> &'static str {
    match e.doubt() {
        None => "",
        Some(Doubt::FewPrompts) => language.pick(", few prompts", "、件数不足"),
        Some(_) => language.pick(", disturbed", "、測定の乱れ"),
    }
}
