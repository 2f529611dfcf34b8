//! What a million tokens cost before and after, and what that comes to: said in words, so that
//! nobody reads of a saving below nothing.

use super::advice::overall;
use super::evidence::{RoiEvidence, sound};
use super::language::Language;
use super::left_out::left_out;
use super::money::money;
use super::prices::Prices;

/// What a million tokens cost, in the currency of the prices.
#[derive(Clone, Copy)]
pub(super) struct MillionTokens {
    /// The cost of a million tokens with plain decoding.
    before: f64,
    /// The cost of a million tokens with speculation.
    after: f64,
}

/// How a cost changes, in percent of what it was.
enum CostChange {
    Less(f64),
    /// By less than half a percent.
    Same,
    More(f64),
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

    fn change(self) -> CostChange {
        let percent = 100.0 * (self.after / self.before - 1.0);
        if percent <= -0.5 {
            CostChange::Less(-percent)
        } else if percent >= 0.5 {
            CostChange::More(percent)
        } else {
            CostChange::Same
        }
    }
}

/// What the page comes to: a line of two sentences, the speed and then the cost of a million tokens,
/// unless no figure can be relied on; and a line for those that cannot.
pub(super) fn summary(
    evidence: &[RoiEvidence],
    million: Option<MillionTokens>,
    prices: &Prices,
    language: Language,
) -> Vec<String> {
    let headline = million.map(|million| {
        let speed = speed_in_words(overall(&sound(evidence)), language);
        let cost = cost_in_words(million, prices, language);
        format!("{speed}{}{cost}", language.pick(" ", ""))
    });
    let mut lines: Vec<String> = headline.into_iter().collect();
    lines.extend(left_out(evidence, language));
    lines
}

/// A sentence on the speed of an answer against plain decoding.
fn speed_in_words(speed: f64, language: Language) -> String {
    let slower = speed < 0.995;
    match language {
        Language::English if slower => {
            format!(
                "Answers are written **more slowly**: {speed:.2} times as fast as by plain decoding."
            )
        }
        Language::English => {
            format!("Answers are written **{speed:.2} times** as fast as by plain decoding.")
        }
        Language::Japanese if slower => {
            format!("回答の生成速度は通常のデコードの{speed:.2}倍で、**遅くなります**。")
        }
        Language::Japanese => format!("回答の生成速度は通常のデコードの**{speed:.2}倍**です。"),
    }
}

/// A sentence on the cost of a million tokens, before and after.
fn cost_in_words(million: MillionTokens, prices: &Prices, language: Language) -> String {
    let money = |amount: f64| money(amount, &prices.currency, language);
    let (before, after) = (money(million.before), money(million.after));
    let extra = money(million.after - million.before);
    match (million.change(), language) {
        (CostChange::Less(_), Language::English) => {
            format!("A million tokens cost **{after}** in place of {before}.")
        }
        (CostChange::Same, Language::English) => {
            format!("A million tokens cost as much as before, {after}.")
        }
        (CostChange::More(_), Language::English) => {
            format!(
                "This does not pay: a million tokens cost **{extra} more**, {after} in place of {before}."
            )
        }
        (CostChange::Less(_), Language::Japanese) => {
            format!("100万トークンあたりの費用は{before}から**{after}**に下がります。")
        }
        (CostChange::Same, Language::Japanese) => {
            format!("100万トークンあたりの費用は{after}で、変わりません。")
        }
        (CostChange::More(_), Language::Japanese) => {
            format!(
                "100万トークンあたりの費用は{before}から{after}に上がり、**{extra}の持ち出し**になります。"
            )
        }
    }
}

/// What it costs, a line for each point.
pub(super) fn cost(
    million: Option<MillionTokens>,
    prices: &Prices,
    language: Language,
) -> Vec<String> {
    let t = |english, japanese| language.pick(english, japanese);
    let colon = t(": ", "：");
    let mut lines = vec![format!(
        "{}{colon}{}",
        t(
            "price of the machine per hour",
            "サーバーの1時間あたりの費用"
        ),
        hour(prices, language),
    )];
    if let Some(million) = million {
        lines.push(format!(
            "{}{colon}{}",
            t(
                "a million tokens, before and after",
                "100万トークンあたりの費用（導入前→導入後）"
            ),
            before_and_after(million, prices, language),
        ));
    }
    lines.push(format!(
        "{}{colon}{:.2}{}",
        t("drafting pays from a speed-up of", "採算の合う高速化率"),
        prices.break_even(),
        t("×", "倍以上"),
    ));
    if let Some((million, tokens)) = million.zip(prices.tokens_per_month) {
        lines.push(format!(
            "{}{colon}{}",
            t("in a month", "1か月あたり"),
            month(million, tokens, prices, language),
        ));
    }
    lines.push(
        t(
            "This holds for one answer at a time on a machine that is kept busy: an idle machine costs the same, and with many answers at a time the speed-up is smaller (`card sim --vary load`).",
            "この試算は、サーバーが休みなく稼働し、回答を1件ずつ生成する場合のものです。待機中も費用は変わらず、同時に生成する回答が多いほど効果は小さくなります（`card sim --vary load`で確認できます）。",
        )
        .to_owned(),
    );
    lines
}

/// What an hour costs, with what drafting adds.
fn hour(prices: &Prices, language: Language) -> String {
    let money = |amount: f64| money(amount, &prices.currency, language);
    let machine = money(prices.per_hour);
    if prices.draft_per_hour <= 0.0 {
        return machine;
    }
    let drafting = money(prices.draft_per_hour);
    match language {
        Language::English => format!("{machine}, drafting adds {drafting}"),
        Language::Japanese => format!("{machine}（ほかにドラフター用として{drafting}）"),
    }
}

/// What a million tokens cost before and after, with the change in percent.
fn before_and_after(million: MillionTokens, prices: &Prices, language: Language) -> String {
    let money = |amount: f64| money(amount, &prices.currency, language);
    let (before, after) = (money(million.before), money(million.after));
    let change = match (million.change(), language) {
        (CostChange::Less(percent), Language::English) => format!("{percent:.0} % less"),
        (CostChange::Same, Language::English) => "no change".to_owned(),
        (CostChange::More(percent), Language::English) => format!("{percent:.0} % more"),
        (CostChange::Less(percent), Language::Japanese) => format!("{percent:.0}%減"),
        (CostChange::Same, Language::Japanese) => "変化なし".to_owned(),
        (CostChange::More(percent), Language::Japanese) => format!("{percent:.0}%増"),
    };
    match language {
        Language::English => format!("{before} → {after} ({change})"),
        Language::Japanese => format!("{before}→{after}（{change}）"),
    }
}

/// What a month saves, or costs beside what it cost before.
fn month(million: MillionTokens, tokens: f64, prices: &Prices, language: Language) -> String {
    let change = (million.after - million.before).abs() * tokens / 1e6;
    let amount = money(change, &prices.currency, language);
    match (million.change(), language) {
        (CostChange::Less(_), Language::English) => format!("{amount} saved"),
        (CostChange::Same, Language::English) => "as much as before".to_owned(),
        (CostChange::More(_), Language::English) => {
            format!("nothing is saved, {amount} more is spent")
        }
        (CostChange::Less(_), Language::Japanese) => format!("{amount}の削減になります。"),
        (CostChange::Same, Language::Japanese) => "費用は変わりません。".to_owned(),
        (CostChange::More(_), Language::Japanese) => format!("{amount}の持ち出しになります。"),
    }
}

/// Geometric mean of a value.
fn mean(evidence: &[RoiEvidence], of: impl Fn(&RoiEvidence) -> f64) -> f64 {
    let sum: f64 = evidence.iter().map(|e| of(e).ln()).sum();
    (sum / evidence.len().max(1) as f64).exp()
}
