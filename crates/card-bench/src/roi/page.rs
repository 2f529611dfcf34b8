//! What the page says, in English or Japanese; and the page as Markdown. Lines may have **bold**
//! words and `code`.

use std::fmt::Write;

use super::advice::{Advice, advise, overall};
use super::evidence::{RoiEvidence, sound};
use super::prices::Prices;
use crate::report::{Doubt, FEWEST_PROMPTS};

/// Language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
}

impl Language {
    /// The words in this language.
    pub(super) fn pick(self, english: &'static str, japanese: &'static str) -> &'static str {
        match self {
            Language::English => english,
            Language::Japanese => japanese,
        }
    }
}

/// What a million tokens cost, in the currency of the prices.
#[derive(Clone, Copy)]
pub(super) struct MillionTokens {
    /// The cost of a million tokens with plain decoding.
    before: f64,
    /// The cost of a million tokens with speculation.
    after: f64,
}

impl MillionTokens {
    /// What the evidence that can be relied on says at these prices; `None` where there is none.
    pub(super) fn of(evidence: &[RoiEvidence], prices: &Prices) -> Option<Self> {
        let sound = sound(evidence);
        let (plain, fast) = (mean(&sound, |e| e.plain), mean(&sound, |e| e.fast));
        (!sound.is_empty()).then(|| MillionTokens {
            before: prices.per_million(plain, false),
            after: prices.per_million(fast, true),
        })
    }
}

/// The page, as Markdown.
pub fn markdown(evidence: &[RoiEvidence], prices: &Prices, language: Language) -> String {
    let million = MillionTokens::of(evidence, prices);
    let mut page = format!("# {}\n\n", title(language));
    for line in summary(evidence, million, prices, language) {
        let _ = writeln!(page, "{line}\n");
    }
    let [measured, costs, risky, next] = headings(language);
    let _ = writeln!(page, "## {measured}\n");
    let _ = writeln!(
        page,
        "| {} |\n|---|---|---|---|---|---|",
        measured_heads(language).join(" | ")
    );
    for e in evidence {
        let _ = writeln!(page, "| {} |", measurement(e, language).join(" | "));
    }
    for (heading, lines) in [
        (costs, cost(million, prices, language)),
        (risky, risks(language).map(str::to_owned).to_vec()),
    ] {
        let _ = writeln!(page, "\n## {heading}\n");
        for line in lines {
            let _ = writeln!(page, "- {line}");
        }
    }
    let _ = writeln!(page, "\n## {next}\n");
    let _ = writeln!(page, "{}", next_stage(advise(evidence, prices), language));
    page
}

/// The title of the page.
pub(super) fn title(language: Language) -> &'static str {
    language.pick("CARD: what the rollout pays", "CARD:導入効果レポート")
}

/// The headings of what was measured, of costs, of risks and of the next stage.
pub(super) fn headings(language: Language) -> [&'static str; 4] {
    [
        language.pick("What was measured", "測定結果"),
        language.pick("Cost", "コスト"),
        language.pick("Risks", "リスク"),
        language.pick("Recommended next stage", "推奨する次の段階"),
    ]
}

/// What the page comes to: a sentence with the figures, unless none can be relied on, and one for
/// those that cannot.
pub(super) fn summary(
    evidence: &[RoiEvidence],
    million: Option<MillionTokens>,
    prices: &Prices,
    language: Language,
) -> Vec<String> {
    let currency = &prices.currency;
    let headline = million.map(|MillionTokens { before, after }| {
        format!(
            "{} **{:.2}×**, {} **{before:.2} → {after:.2} {currency}**.",
            language.pick(
                "Answers are written faster by a factor of",
                "回答の生成速度は通常デコード比"
            ),
            overall(&sound(evidence)),
            language.pick("a million tokens cost", "100万トークンあたりのコストは"),
        )
    });
    let mut lines: Vec<String> = headline.into_iter().collect();
    for doubt in [Doubt::Disturbed, Doubt::FewPrompts] {
        let kinds: Vec<&str> = evidence
            .iter()
            .filter(|e| e.doubt() == Some(doubt))
            .map(|e| &e.label[..])
            .collect();
        if !kinds.is_empty() {
            let kinds = kinds.join(language.pick(", ", "、"));
            lines.push(left_out(doubt, &kinds, language));
        }
    }
    lines
}

/// Why the figures of some measurements are no part of the headline, and what to do.
fn left_out(doubt: Doubt, kinds: &str, language: Language) -> String {
    let few = FEWEST_PROMPTS;
    match (doubt, language) {
        (Doubt::FewPrompts, Language::English) => format!(
            "**Left out: {kinds}**, of which fewer than {few} prompts were measured. Run `card \
             bench` with more (`--prompts`)."
        ),
        (Doubt::FewPrompts, Language::Japanese) => format!(
            "**集計から除外：{kinds}**。測定したプロンプトが{few}件未満のため。`card bench --prompts` で件数を増やして再測定する。"
        ),
        (_, Language::English) => format!(
            "**Left out: {kinds}**, whose speed-up is above the tokens per forward, so it is not \
             from speculation: something disturbed plain decoding. Measure again on a quiet machine."
        ),
        (_, Language::Japanese) => format!(
            "**集計から除外：{kinds}**。高速化率が1推論あたりのトークン数を上回っており、投機的デコードの効果ではない（通常デコードの測定が他の負荷で乱れた）。負荷のない環境で再測定する。"
        ),
    }
}

/// The heads of the table of what was measured.
pub(super) fn measured_heads(language: Language) -> [&'static str; 6] {
    [
        language.pick("prompts", "対象"),
        language.pick("plain, tokens/s", "通常 (トークン/秒)"),
        language.pick("CARD, tokens/s", "CARD (トークン/秒)"),
        language.pick("speed-up (least–most)", "高速化率 (最小–最大)"),
        language.pick("same text as plain", "通常と同一の出力"),
        language.pick("cache, KiB", "キャッシュ (KiB)"),
    ]
}

/// The cells of one measurement, one for each of [`measured_heads`].
pub(super) fn measurement(e: &RoiEvidence, language: Language) -> [String; 6] {
    let mut spread = match e.spread {
        Some((m, l, h)) => format!("{m:.2} ({l:.2}–{h:.2})"),
        None => format!("{:.2}", e.speed_up()),
    };
    match e.doubt() {
        None => {}
        Some(Doubt::FewPrompts) => spread += language.pick(", few prompts", "、件数不足"),
        Some(_) => spread += language.pick(", disturbed", "、測定の乱れ"),
    }
    let note = if e.estimate {
        language.pick(" (estimated from measured costs)", "(測定コストからの推定)")
    } else {
        ""
    };
    let exact = match e.exact {
        (0, _) => language.pick("not checked", "未確認").to_owned(),
        (of, same) => format!("{same}/{of}"),
    };
    [
        format!("{}{note}", e.label),
        format!("{:.1}", e.plain),
        format!("{:.1}", e.fast),
        spread,
        exact,
        e.cache_kib.map_or("–".to_owned(), |k| format!("{k:.1}")),
    ]
}

/// What it costs, a line for each point.
pub(super) fn cost(
    million: Option<MillionTokens>,
    prices: &Prices,
    language: Language,
) -> Vec<String> {
    let t = |english, japanese| language.pick(english, japanese);
    let currency = &prices.currency;
    let drafting = if prices.draft_per_hour > 0.0 {
        format!(
            ", {} {:.2} {currency}",
            t("drafting adds", "ドラフト用の追加費用"),
            prices.draft_per_hour
        )
    } else {
        String::new()
    };
    let mut lines = vec![format!(
        "{}: {:.2} {currency}{drafting}",
        t("price of the machine per hour", "サーバー単価(1時間)"),
        prices.per_hour,
    )];
    if let Some(MillionTokens { before, after }) = million {
        lines.push(format!(
            "{}: {before:.2} → {after:.2} {currency} ({:+.0} %)",
            t(
                "a million tokens, before and after",
                "100万トークン(導入前→導入後)"
            ),
            100.0 * (after / before - 1.0)
        ));
    }
    lines.push(format!(
        "{}: {:.2}×",
        t("drafting pays from a speed-up of", "損益分岐となる高速化率"),
        prices.break_even()
    ));
    lines.extend(in_a_month(million, prices, language));
    lines.push(
        t(
            "This holds for one answer at a time on a machine that is kept busy: an idle machine costs the same, and with many answers at a time the speed-up is smaller (`card sim --vary load`).",
            "単一ストリームで稼働率の高いサーバーを前提とする。遊休時の費用は変わらず、同時リクエストが多いほど高速化率は下がる(`card sim --vary load`)。",
        )
        .to_owned(),
    );
    lines
}

/// What is saved in a month, or spent more.
fn in_a_month(
    million: Option<MillionTokens>,
    prices: &Prices,
    language: Language,
) -> Option<String> {
    let (MillionTokens { before, after }, tokens) = million.zip(prices.tokens_per_month)?;
    let saved = (before - after) * tokens / 1e6;
    let what = match saved < 0.0 {
        true => language.pick("more in a month", "月間増加額"),
        false => language.pick("saved in a month", "月間削減額"),
    };
    Some(format!("{what}: {:.2} {}", saved.abs(), prices.currency))
}

/// What may go wrong, a line for each risk.
pub(super) fn risks(language: Language) -> [&'static str; 4] {
    let t = |english, japanese| language.pick(english, japanese);
    [
        t(
            "Near-ties: with `--exactness fast` a rounding difference may decide between two equally good tokens; `exact`, the default, rules that out or decides them again, whichever is cheaper here.",
            "僅差のトークン:`--exactness fast` では丸め誤差で選択が変わることがある。既定の `exact` は、環境に応じてそれを排除するか再判定する。",
        ),
        t(
            "Memory: the draft model and its KV cache come on top of the target's.",
            "メモリ:ドラフトモデルとそのKVキャッシュの分が追加で必要。",
        ),
        t(
            "A drafter that fails costs speed, never output; the metric is card_drafter_failures_total.",
            "ドラフターの障害は速度にのみ影響し、出力は変わらない(card_drafter_failures_total で監視)。",
        ),
        t(
            "Prompts that differ from those measured gain more or less.",
            "測定と異なる種類のプロンプトでは効果が増減する。",
        ),
    ]
}

/// The next step, in words.
pub(super) fn next_stage(advice: Advice, language: Language) -> &'static str {
    let t = |english, japanese| language.pick(english, japanese);
    match advice {
        Advice::Stop => t(
            "**Stop.** An answer was not plain decoding's. See its margin in the bench report or the audit log: with `--exactness fast`, a near-tie is expected, and `exact` goes on without; with `exact`, report a bug.",
            "**停止。** 通常デコードと異なる出力があった。ベンチまたは監査ログの差(マージン)を確認し、`--exactness fast` で僅差であれば想定内なので `exact` で継続し、`exact` での相違は不具合として報告する。",
        ),
        Advice::Measure => t(
            "**Measure again**, on a machine that does nothing else, with at least three prompts of each kind: nothing here can be relied on.",
            "**再測定。** 他の負荷のない環境で、種類ごとに3件以上のプロンプトを用いて測定し直す。現在の値からは判断できない。",
        ),
        Advice::Plain => t(
            "**Stay with plain decoding** (`--mode plain`), or let `--mode auto` do so by itself: speculation does not pay here.",
            "**通常デコードを継続**(`--mode plain`、または `--mode auto` に任せる)。この環境では投機的デコードは割に合わない。",
        ),
        Advice::Wait => t(
            "**Stay at this stage** until at least 50 answers were speculated and some of them checked: `card serve --canary 5%`.",
            "**現段階を維持。** 50件以上の投機的回答と一致確認が得られるまで `card serve --canary 5%` を続ける。",
        ),
        Advice::Widen => t(
            "**Widen**: 5 % → 25 % → 50 % → 100 %, each for at least a day and 50 answers, and look at this page again before each.",
            "**拡大**:5 % → 25 % → 50 % → 100 %。各段階を1日以上かつ50件以上続け、次に進む前に本レポートを再確認する。",
        ),
    }
}

/// Geometric mean of a value.
fn mean(evidence: &[RoiEvidence], of: impl Fn(&RoiEvidence) -> f64) -> f64 {
    let sum: f64 = evidence.iter().map(|e| of(e).ln()).sum();
    (sum / evidence.len().max(1) as f64).exp()
}
