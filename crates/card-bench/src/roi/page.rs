//! What the page says beside costs, in English or Japanese; and the page as Markdown. Lines may
//! have **bold** words and `code`. In Japanese no mark stands at the end of bold words that others
//! follow: Markdown would not see their end.

use std::fmt::Write;

use super::advice::{Advice, advise};
use super::costs::{MillionTokens, cost, summary};
use super::evidence::RoiEvidence;
use super::language::{Language, label};
use super::left_out::word;
use super::prices::Prices;

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
    language.pick("CARD: what the rollout pays", "CARD導入効果レポート")
}

/// The headings of what was measured, of costs, of risks and of the next stage.
pub(super) fn headings(language: Language) -> [&'static str; 4] {
    [
        language.pick("What was measured", "測定結果"),
        language.pick("Cost", "費用"),
        language.pick("Risks", "リスク"),
        language.pick("Recommended next stage", "推奨する次の段階"),
    ]
}

/// The heads of the table of what was measured.
pub(super) fn measured_heads(language: Language) -> [&'static str; 6] {
    [
        language.pick("prompts", "対象"),
        language.pick("plain, tokens/s", "通常のデコード（トークン/秒）"),
        language.pick("CARD, tokens/s", "CARD（トークン/秒）"),
        language.pick("speed-up (least–most)", "高速化率（最小〜最大）"),
        language.pick("same text as plain", "出力の一致"),
        language.pick("cache, KiB", "候補キャッシュ（KiB）"),
    ]
}

/// The cells of one measurement, one for each of [`measured_heads`].
pub(super) fn measurement(e: &RoiEvidence, language: Language) -> [String; 6] {
    let spread = match (e.spread, language) {
        (Some((m, l, h)), Language::English) => format!("{m:.2} ({l:.2}–{h:.2})"),
        (Some((m, l, h)), Language::Japanese) => format!("{m:.2}（{l:.2}〜{h:.2}）"),
        (None, _) => format!("{:.2}", e.speed_up()),
    };
    let note = if e.estimate {
        language.pick(" (estimated from measured costs)", "（推定）")
    } else {
        ""
    };
    let exact = match e.exact {
        (0, _) => language.pick("not checked", "未確認").to_owned(),
        (of, same) => format!("{same}/{of}"),
    };
    [
        format!("{}{note}", label(&e.label, language)),
        format!("{:.1}", e.plain),
        format!("{:.1}", e.fast),
        format!("{spread}{}", word(e, language)),
        exact,
        e.cache_kib.map_or("–".to_owned(), |k| format!("{k:.1}")),
    ]
}

/// What may go wrong, a line for each risk.
pub(super) fn risks(language: Language) -> [&'static str; 4] {
    let t = |english, japanese| language.pick(english, japanese);
    [
        t(
            "Near-ties: with `--exactness fast` a rounding difference may decide between two equally good tokens; `exact`, the default, rules that out or decides them again, whichever is cheaper here.",
            "僅差のトークン：`--exactness fast`では、ほぼ同等の2つのトークンのどちらを選ぶかが丸め誤差で変わることがあります。既定の`exact`では、これを起こさない方法と、決め直す方法のうち、この環境で負担の軽い方を使います。",
        ),
        t(
            "Memory: the draft model and its KV cache come on top of the target's.",
            "メモリー：ターゲットモデルの分に加えて、ドラフトモデルとそのKVキャッシュの分が必要です。",
        ),
        t(
            "A drafter that fails costs speed, never output; the metric is card_drafter_failures_total.",
            "ドラフターの障害：遅くなるだけで、出力は変わりません（`card_drafter_failures_total`で監視できます）。",
        ),
        t(
            "Prompts that differ from those measured gain more or less.",
            "プロンプトの違い：測定したものと種類が違えば、効果は増減します。",
        ),
    ]
}

/// The next step, in words.
pub(super) fn next_stage(advice: Advice, language: Language) -> &'static str {
    let t = |english, japanese| language.pick(english, japanese);
    match advice {
        Advice::Stop => t(
            "**Stop.** An answer was not plain decoding's. See its margin in the bench report or the audit log: with `--exactness fast`, a near-tie is expected, and `exact` goes on without; with `exact`, report a bug.",
            "**停止**：通常のデコードと異なる出力がありました。ベンチの結果か監査ログで、そのトークンのマージンを確認してください。`--exactness fast`では僅差による相違が起こりうるため、`exact`に切り替えて続けます。`exact`での相違は不具合です。報告してください。",
        ),
        Advice::Measure => t(
            "**Measure again**, on a machine that does nothing else, with at least three prompts of each kind: nothing here can be relied on.",
            "**再測定**：現在の値からは判断できません。ほかに何も動いていない環境で、種類ごとに3件以上のプロンプトを使って測定し直してください。",
        ),
        Advice::Plain => t(
            "**Stay with plain decoding** (`--mode plain`), or let `--mode auto` do so by itself: speculation does not pay here.",
            "**通常のデコードの継続**：この環境では投機的デコーディングは割に合いません。`--mode plain`で固定するか、`--mode auto`に任せてください。",
        ),
        Advice::Wait => t(
            "**Stay at this stage** until at least 50 answers were speculated and some of them checked: `card serve --canary 5%`.",
            "**現段階の維持**：投機的デコーディングによる回答が50件以上になり、その一部で出力の一致を確認できるまで、`card serve --canary 5%`を続けてください。",
        ),
        Advice::Widen => t(
            "**Widen**: 5 % → 25 % → 50 % → 100 %, each for at least a day and 50 answers, and look at this page again before each.",
            "**拡大**：5%→25%→50%→100%と広げてください。各段階を1日以上、50件以上続け、次に進む前に、このレポートをもう一度確認してください。",
        ),
    }
}
