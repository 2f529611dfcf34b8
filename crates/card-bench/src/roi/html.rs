//! The page as HTML: what to do comes first, what the words mean last.

use card_look::chart::{Bar, BarChart, BarGroup, Unit};
use card_look::{Page, escape, stacked};

use super::advice::advise;
use super::costs::{MillionTokens, cost, summary};
use super::evidence::RoiEvidence;
use super::language::{Language, label};
use super::page::{headings, measured_heads, measurement, next_stage, risks, title};
use super::prices::Prices;

/// The page as HTML that needs nothing else.
pub fn html(evidence: &[RoiEvidence], prices: &Prices, language: Language) -> String {
    let million = MillionTokens::of(evidence, prices);
    let mut page = Page::new(language.pick("en", "ja"), title(language));
    for line in summary(evidence, million, prices, language) {
        page.add(&format!("<p class=\"lead\">{}</p>", inline(&line)));
    }
    let [measured, costs, risky, next] = headings(language);
    let advice = next_stage(advise(evidence, prices), language);
    page.add(&format!(
        "<div class=\"panel\"><h2>{}</h2><p>{}</p></div>",
        escape(next),
        inline(advice)
    ));
    page.add(&chart(evidence, language).html());
    page.heading(measured);
    let cells: Vec<Vec<String>> = evidence
        .iter()
        .map(|e| measurement(e, language).to_vec())
        .collect();
    page.add(&stacked(&measured_heads(language), &cells));
    page.heading(costs);
    page.add(&list(&cost(million, prices, language)));
    page.heading(risky);
    page.add(&list(&risks(language)));
    let words = language.pick("What the words mean", "用語と測定方法");
    page.fold(words, &list(&meanings(language)));
    page.finish()
}

/// Tokens per second of plain decoding and of CARD, for each measurement.
fn chart(evidence: &[RoiEvidence], language: Language) -> BarChart {
    let bar = |name: &str, value: f64| Bar {
        name: name.into(),
        value,
        spread: None,
    };
    let plain = language.pick("plain decoding", "通常のデコード");
    let group = |e: &RoiEvidence| BarGroup {
        name: label(&e.label, language).to_owned(),
        bars: vec![bar(plain, e.plain), bar("CARD", e.fast)],
    };
    BarChart {
        title: language
            .pick("Speed of one answer", "回答1件の生成速度")
            .into(),
        axis: language.pick("tokens per second", "トークン/秒").into(),
        unit: Unit::Number,
        most: None,
        reference: None,
        groups: evidence.iter().map(group).collect(),
    }
}

/// What the words of the table mean, and how its figures come about.
fn meanings(language: Language) -> [&'static str; 4] {
    let t = |english, japanese| language.pick(english, japanese);
    [
        t(
            "**Plain**: the model writes a token at a time. **CARD**: candidates are drafted ahead, and the model checks several at a time; the text is the same.",
            "**通常のデコード**：モデルが1トークンずつ生成します。**CARD**：候補を先に用意し、モデルが複数をまとめて検証します。出力は同じです。",
        ),
        t(
            "**Speed-up**: time per token of plain decoding over CARD's on the same prompt; the median of the prompts, with the least and the most.",
            "**高速化率**：同じプロンプトについて、通常のデコードでの1トークンあたりの時間をCARDでの時間で割った値です。全プロンプトの中央値と、最小〜最大を示します。",
        ),
        t(
            "**Same text**: how many answers were compared with plain decoding's, and were the same token for token.",
            "**出力の一致**：トークン単位で一致した回答の件数を、通常のデコードと比較した回答の件数とともに示します（一致/比較）。",
        ),
        t(
            "**Estimated**: plain decoding was not measured beside it, but computed from the measured cost of forwards.",
            "**推定**：通常のデコードを並べて測定したのではなく、フォワードの所要時間の実測値から計算した値です。",
        ),
    ]
}

/// Lines as a list.
fn list<L: AsRef<str>>(lines: &[L]) -> String {
    let items = lines
        .iter()
        .map(|l| format!("<li>{}</li>", inline(l.as_ref())));
    format!("<ul>{}</ul>", items.collect::<Vec<_>>().join(""))
}

/// A line with its bold words and its code as HTML.
fn inline(line: &str) -> String {
    let mut out = String::new();
    for (i, part) in escape(line).split("**").enumerate() {
        let code = part.split('`').enumerate();
        let code: Vec<String> = code
            .map(|(j, p)| match j % 2 {
                1 => format!("<code>{p}</code>"),
                _ => p.to_owned(),
            })
            .collect();
        let code = code.join("");
        out += &match i % 2 {
            1 => format!("<b>{code}</b>"),
            _ => code,
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bold_and_code_are_marked_and_the_rest_is_text() {
        assert_eq!(
            inline("**Stay** at `--mode <x>`"),
            "<b>Stay</b> at <code>--mode &lt;x&gt;</code>"
        );
    }

    #[test]
    fn the_advice_stands_before_what_was_measured_in_both_languages() {
        let evidence = [RoiEvidence {
            label: "<code>".into(),
            plain: 10.0,
            fast: 17.0,
            spread: Some((1.7, 1.5, 1.9)),
            exact: (60, 60),
            answers: 60,
            cache_kib: Some(2.0),
            estimate: false,
            prompts: Some(3),
            mean_accepted_length: Some(2.0),
        }];
        let prices = Prices {
            per_hour: 3.6,
            draft_per_hour: 0.0,
            currency: "<EUR>".into(),
            tokens_per_month: None,
        };
        for (language, tag) in [
            (Language::English, "\"en\""),
            (Language::Japanese, "\"ja\""),
        ] {
            let page = html(&evidence, &prices, language);
            assert!(page.contains(&format!("<html lang={tag}>")));
            let [measured, _, _, next] = headings(language);
            let at = |what: &str| page.find(&format!("<h2>{what}</h2>"));
            assert!(at(next).is_some() && at(next) < at(measured), "{page}");
            assert!(page.contains("<svg") && !page.contains("<EUR>"));
            assert!(page.contains("&lt;code&gt;"));
        }
    }
}
