//! From measurements to a page a manager can decide on: what was measured, what a million
//! tokens cost before and after, where the break-even is, what may go wrong, what to do next.

use std::fmt::Write;

use serde_json::Value;

/// What one measurement says: speculation against plain decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Of what: a category of prompts, or live traffic.
    pub label: String,
    /// Tokens per second of plain decoding.
    pub plain: f64,
    /// With speculation.
    pub fast: f64,
    /// Median, least and most of the speed-up, if it was measured prompt by prompt.
    pub spread: Option<(f64, f64, f64)>,
    /// Answers compared with plain decoding, and how many were the same.
    pub exact: (u64, u64),
    /// Speculated answers behind it.
    pub answers: u64,
    /// Memory for candidates, in KiB.
    pub cache_kib: Option<f64>,
    /// Not measured side by side but computed from measured costs.
    pub estimate: bool,
}

impl Evidence {
    /// Times as fast as plain decoding.
    pub fn speed_up(&self) -> f64 {
        match self.spread {
            Some((median, ..)) => median,
            None => self.fast / self.plain,
        }
    }
}

/// The evidence in a `bench.json`: its auto mode, else its last entry, against plain.
///
/// # Errors
/// If it is none.
pub fn from_bench(text: &str) -> Result<Vec<Evidence>, String> {
    let bench: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let cells = bench["cells"]
        .as_array()
        .ok_or("there are no cells: this is no bench.json")?;
    let mut found = Vec::new();
    for cell in cells {
        let rows = cell["rows"].as_array().map(Vec::as_slice).unwrap_or(&[]);
        let named = |name: &str| rows.iter().find(|r| r["name"] == name);
        let (Some(plain), Some(fast)) = (named("plain"), named("auto").or(rows.last())) else {
            continue;
        };
        let speed = |r: &Value| {
            let median = r["tokens_per_second"]["median"].as_f64();
            median.filter(|s| *s > 0.0)
        };
        let (Some(slow), Some(quick)) = (speed(plain), speed(fast)) else {
            continue;
        };
        let of = |key: &str| fast["speed_up"][key].as_f64();
        let runs = fast["runs"].as_u64().unwrap_or(0);
        found.push(Evidence {
            label: cell["category"].as_str().unwrap_or("?").to_owned(),
            plain: slow,
            fast: quick,
            spread: of("median")
                .zip(of("least"))
                .zip(of("most"))
                .map(|((a, b), c)| (a, b, c)),
            exact: (runs, fast["same_text"].as_u64().unwrap_or(0)),
            answers: runs,
            cache_kib: fast["cache_kib"].as_f64(),
            estimate: false,
        });
    }
    match found.is_empty() {
        true => Err("there is no comparison with plain decoding in it".into()),
        false => Ok(found),
    }
}

/// The evidence in a server's metrics: the arms of a canary, else what plain decoding would
/// have taken by the measured cost of forwards.
///
/// # Errors
/// If there is nothing to compare yet.
pub fn from_metrics(text: &str) -> Result<Evidence, String> {
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.trim().parse::<f64>().ok())
    };
    let arm = |name: &str, arm: &str| value(&format!("card_rollout_{name}{{arm=\"{arm}\"}}"));
    let rate = |a: &str| {
        let (tokens, seconds) = (arm("tokens_total", a)?, arm("decode_seconds_total", a)?);
        (seconds > 0.0 && tokens > 0.0).then(|| tokens / seconds)
    };
    let cache_kib = value("card_cache_bytes").map(|b| b / 1024.0);
    let count = |name: &str| value(name).unwrap_or(0.0) as u64;
    if let (Some(plain), Some(fast)) = (rate("plain"), rate("speculative")) {
        return Ok(Evidence {
            label: "canary".into(),
            plain,
            fast,
            spread: None,
            exact: (
                count("card_rollout_checked_total"),
                count("card_rollout_same_total"),
            ),
            answers: arm("answers_total", "speculative").unwrap_or(0.0) as u64,
            cache_kib,
            estimate: false,
        });
    }
    let (Some(plain), Some(fast), Some(tokens)) = (
        value("card_plain_decode_seconds_total").filter(|s| *s > 0.0),
        value("card_decode_seconds_total").filter(|s| *s > 0.0),
        value("card_round_tokens_total").filter(|t| *t > 0.0),
    ) else {
        return Err("no answers were counted yet: let some requests through first".into());
    };
    Ok(Evidence {
        label: "live".into(),
        plain: tokens / plain,
        fast: tokens / fast,
        spread: None,
        exact: (0, 0),
        answers: 0,
        cache_kib,
        estimate: true,
    })
}

/// The user's own prices.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Of the machine, per hour.
    pub per_hour: f64,
    /// Of what drafting adds, per hour: another machine, or nothing.
    pub draft_per_hour: f64,
    /// Their currency.
    pub currency: String,
    /// Tokens written in a month, if known.
    pub tokens_per_month: Option<f64>,
}

impl Prices {
    /// Cost of a million tokens at so many per second.
    pub fn per_million(&self, tokens_per_second: f64, drafting: bool) -> f64 {
        let extra = if drafting { self.draft_per_hour } else { 0.0 };
        (self.per_hour + extra) / 3600.0 / tokens_per_second * 1e6
    }

    /// Speed-up from which on drafting pays.
    pub fn break_even(&self) -> f64 {
        (self.per_hour + self.draft_per_hour) / self.per_hour
    }
}

/// Language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An answer was another one.
    Stop,
    /// It does not pay.
    Plain,
    /// Too little is known.
    Wait,
    /// A larger share.
    Widen,
}

/// Answers that a stage should see.
const ENOUGH: u64 = 50;

/// The next step that follows from the evidence.
pub fn next(evidence: &[Evidence], prices: &Prices) -> Next {
    let differs = evidence.iter().any(|e| e.exact.1 < e.exact.0);
    if differs {
        return Next::Stop;
    }
    if overall(evidence) < prices.break_even().max(1.0) {
        return Next::Plain;
    }
    let measured = evidence.iter().filter(|e| !e.estimate);
    let answers: u64 = measured.clone().map(|e| e.answers).sum();
    let checked: u64 = measured.map(|e| e.exact.0).sum();
    match answers >= ENOUGH && checked > 0 {
        true => Next::Widen,
        false => Next::Wait,
    }
}

/// Geometric mean of the speed-ups.
pub fn overall(evidence: &[Evidence]) -> f64 {
    let sum: f64 = evidence.iter().map(|e| e.speed_up().ln()).sum();
    (sum / evidence.len().max(1) as f64).exp()
}

/// The page, as Markdown.
pub fn markdown(evidence: &[Evidence], prices: &Prices, language: Language) -> String {
    let t = |english: &'static str, japanese: &'static str| match language {
        Language::English => english,
        Language::Japanese => japanese,
    };
    let currency = &prices.currency;
    let mut page = format!(
        "# {}\n\n",
        t("CARD: what the rollout pays", "CARD:導入効果レポート")
    );
    let speed = overall(evidence);
    let (plain, fast) = (mean(evidence, |e| e.plain), mean(evidence, |e| e.fast));
    let (before, after) = (
        prices.per_million(plain, false),
        prices.per_million(fast, true),
    );
    let _ = writeln!(
        page,
        "{} **{speed:.2}×**, {} **{before:.2} → {after:.2} {currency}**.\n",
        t(
            "Answers are written faster by a factor of",
            "回答の生成速度は通常デコード比"
        ),
        t("a million tokens cost", "100万トークンあたりのコストは"),
    );
    let _ = writeln!(page, "## {}\n", t("What was measured", "測定結果"));
    let _ = writeln!(
        page,
        "| {} | {} | {} | {} | {} | {} |\n|---|---|---|---|---|---|",
        t("prompts", "対象"),
        t("plain, tokens/s", "通常 (トークン/秒)"),
        t("CARD, tokens/s", "CARD (トークン/秒)"),
        t("speed-up (least–most)", "高速化率 (最小–最大)"),
        t("same text as plain", "通常と同一の出力"),
        t("cache, KiB", "キャッシュ (KiB)"),
    );
    for e in evidence {
        let spread = match e.spread {
            Some((m, l, h)) => format!("{m:.2} ({l:.2}–{h:.2})"),
            None => format!("{:.2}", e.speed_up()),
        };
        let note = if e.estimate {
            t(" (estimated from measured costs)", "(測定コストからの推定)")
        } else {
            ""
        };
        let exact = match e.exact {
            (0, _) => t("not checked", "未確認").to_owned(),
            (of, same) => format!("{same}/{of}"),
        };
        let cache = e.cache_kib.map_or("–".to_owned(), |k| format!("{k:.1}"));
        let _ = writeln!(
            page,
            "| {}{note} | {:.1} | {:.1} | {spread} | {exact} | {cache} |",
            e.label, e.plain, e.fast
        );
    }
    let _ = writeln!(page, "\n## {}\n", t("Cost", "コスト"));
    let _ = writeln!(
        page,
        "- {}: {:.2} {currency}{}",
        t("price of the machine per hour", "サーバー単価(1時間)"),
        prices.per_hour,
        match prices.draft_per_hour > 0.0 {
            true => format!(
                ", {} {:.2} {currency}",
                t("drafting adds", "ドラフト用の追加費用"),
                prices.draft_per_hour
            ),
            false => String::new(),
        }
    );
    let _ = writeln!(
        page,
        "- {}: {before:.2} → {after:.2} {currency} ({:+.0} %)",
        t(
            "a million tokens, before and after",
            "100万トークン(導入前→導入後)"
        ),
        100.0 * (after / before - 1.0)
    );
    let _ = writeln!(
        page,
        "- {}: {:.2}×",
        t("drafting pays from a speed-up of", "損益分岐となる高速化率"),
        prices.break_even()
    );
    if let Some(tokens) = prices.tokens_per_month {
        let _ = writeln!(
            page,
            "- {}: {:.2} {currency}",
            t("saved in a month", "月間削減額"),
            (before - after) * tokens / 1e6
        );
    }
    let _ = writeln!(
        page,
        "- {}",
        t(
            "This holds for one answer at a time on a machine that is kept busy: an idle machine costs the same, and with many answers at a time the speed-up is smaller (`card sim --vary load`).",
            "単一ストリームで稼働率の高いサーバーを前提とする。遊休時の費用は変わらず、同時リクエストが多いほど高速化率は下がる(`card sim --vary load`)。"
        )
    );
    let _ = writeln!(page, "\n## {}\n", t("Risks", "リスク"));
    for risk in [
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
    ] {
        let _ = writeln!(page, "- {risk}");
    }
    let _ = writeln!(
        page,
        "\n## {}\n",
        t("Recommended next stage", "推奨する次の段階")
    );
    let _ = writeln!(
        page,
        "{}",
        match next(evidence, prices) {
            Next::Stop => t(
                "**Stop.** An answer was not plain decoding's. See its margin in the bench report or the audit log: with `--exactness fast`, a near-tie is expected, and `exact` goes on without; with `exact`, report a bug.",
                "**停止。** 通常デコードと異なる出力があった。ベンチまたは監査ログの差(マージン)を確認し、`--exactness fast` で僅差であれば想定内なので `exact` で継続し、`exact` での相違は不具合として報告する。"
            ),
            Next::Plain => t(
                "**Stay with plain decoding** (`--mode plain`), or let `--mode auto` do so by itself: speculation does not pay here.",
                "**通常デコードを継続**(`--mode plain`、または `--mode auto` に任せる)。この環境では投機的デコードは割に合わない。"
            ),
            Next::Wait => t(
                "**Stay at this stage** until at least 50 answers were speculated and some of them checked: `card serve --canary 5%`.",
                "**現段階を維持。** 50件以上の投機的回答と一致確認が得られるまで `card serve --canary 5%` を続ける。"
            ),
            Next::Widen => t(
                "**Widen**: 5 % → 25 % → 50 % → 100 %, each for at least a day and 50 answers, and look at this page again before each.",
                "**拡大**:5 % → 25 % → 50 % → 100 %。各段階を1日以上かつ50件以上続け、次に進む前に本レポートを再確認する。"
            ),
        }
    );
    page
}

fn mean(evidence: &[Evidence], of: impl Fn(&Evidence) -> f64) -> f64 {
    let sum: f64 = evidence.iter().map(|e| of(e).ln()).sum();
    (sum / evidence.len().max(1) as f64).exp()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const METRICS: &str = "\
card_rollout_answers_total{arm=\"speculative\"} 80
card_rollout_tokens_total{arm=\"speculative\"} 4000
card_rollout_tokens_total{arm=\"plain\"} 1000
card_rollout_decode_seconds_total{arm=\"speculative\"} 200
card_rollout_decode_seconds_total{arm=\"plain\"} 100
card_rollout_checked_total 12
card_rollout_same_total 12
card_cache_bytes 2048
";

    fn prices(draft_per_hour: f64) -> Prices {
        Prices {
            per_hour: 3.6,
            draft_per_hour,
            currency: "EUR".into(),
            tokens_per_month: Some(1e6),
        }
    }

    #[test]
    fn a_canary_that_pays_is_widened() {
        let found = from_metrics(METRICS).unwrap();
        assert_eq!((found.plain, found.fast), (10.0, 20.0));
        assert_eq!((found.exact, found.answers), ((12, 12), 80));
        let evidence = [found];
        assert_eq!(next(&evidence, &prices(0.0)), Next::Widen);
        // 3.6 an hour at 10 tokens a second: 100 for a million.
        let page = markdown(&evidence, &prices(0.0), Language::English);
        assert!(page.contains("100.00 → 50.00 EUR"), "{page}");
        let page = markdown(&evidence, &prices(0.0), Language::Japanese);
        assert!(page.contains("月間削減額: 50.00 EUR"), "{page}");
    }

    #[test]
    fn a_drafter_that_costs_more_than_it_brings_is_left_out() {
        let evidence = [from_metrics(METRICS).unwrap()];
        assert_eq!(next(&evidence, &prices(3.6)), Next::Widen);
        assert_eq!(next(&evidence, &prices(3.7)), Next::Plain);
    }

    #[test]
    fn one_other_answer_stops_it_and_too_few_wait() {
        let other = METRICS.replace("same_total 12", "same_total 11");
        assert_eq!(
            next(&[from_metrics(&other).unwrap()], &prices(0.0)),
            Next::Stop
        );
        let few = METRICS.replace("80", "8");
        assert_eq!(
            next(&[from_metrics(&few).unwrap()], &prices(0.0)),
            Next::Wait
        );
        assert!(from_metrics("").is_err());
        assert!(from_bench("{}").is_err());
    }
}
