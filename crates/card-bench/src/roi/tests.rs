//! From evidence to advice and to a page.

#![allow(clippy::unwrap_used)]

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
    assert_eq!(advise(&evidence, &prices(0.0)), Advice::Widen);
    // 3.6 an hour at 10 tokens a second: 100 for a million.
    let page = markdown(&evidence, &prices(0.0), Language::English);
    assert!(
        page.contains("100.00 EUR → 50.00 EUR (50 % less)"),
        "{page}"
    );
    assert!(page.contains("in a month: 50.00 EUR saved"), "{page}");
    let page = markdown(&evidence, &prices(0.0), Language::Japanese);
    assert!(page.contains("100.00 EUR→50.00 EUR（50%減）"), "{page}");
    assert!(
        page.contains("1か月あたり：50.00 EURの削減になります。"),
        "{page}"
    );
}

#[test]
fn a_drafter_that_costs_more_than_it_brings_is_left_out() {
    let evidence = [from_metrics(METRICS).unwrap()];
    assert_eq!(advise(&evidence, &prices(3.6)), Advice::Widen);
    assert_eq!(advise(&evidence, &prices(3.7)), Advice::Plain);
}

#[test]
fn one_other_answer_stops_it_and_too_few_wait() {
    let other = METRICS.replace("same_total 12", "same_total 11");
    assert_eq!(
        advise(&[from_metrics(&other).unwrap()], &prices(0.0)),
        Advice::Stop
    );
    let few = METRICS.replace("80", "8");
    assert_eq!(
        advise(&[from_metrics(&few).unwrap()], &prices(0.0)),
        Advice::Wait
    );
    assert!(from_metrics("").is_err());
    assert!(from_bench("{}").is_err());
}

/// Evidence of a speed with speculation, where plain decoding writes 10 tokens a second.
fn measured(fast: f64) -> RoiEvidence {
    RoiEvidence {
        label: "japanese".into(),
        plain: 10.0,
        fast,
        spread: Some((fast / 10.0, fast / 12.0, fast / 8.0)),
        exact: (60, 60),
        answers: 60,
        cache_kib: None,
        estimate: false,
        prompts: Some(3),
        mean_accepted_length: Some(3.0),
    }
}

#[test]
fn a_rollout_that_does_not_pay_is_called_that_and_no_saving_is_below_nothing() {
    let evidence = [measured(8.0)];
    let page = markdown(&evidence, &prices(0.0), Language::English);
    for said in [
        "Answers are written **more slowly**: 0.80 times",
        "This does not pay: a million tokens cost **25.00 EUR more**, 125.00 EUR in place of 100.00 EUR.",
        "(25 % more)",
        "in a month: nothing is saved, 25.00 EUR more is spent",
        "**Stay with plain decoding**",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("-25") && !page.contains("−25"), "{page}");

    let mut yen = prices(0.0);
    yen.currency = "JPY".into();
    let page = markdown(&evidence, &yen, Language::Japanese);
    for said in [
        "通常のデコードの0.80倍で、**遅くなります**。",
        "100円から125円に上がり、**25円の持ち出し**になります。",
        "100円→125円（25%増）",
        "1か月あたり：25円の持ち出しになります。",
        "**通常のデコードの継続**",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("-25") && !page.contains("削減"), "{page}");
}

#[test]
fn a_faster_answer_that_costs_more_does_not_pay_either() {
    // Twice as fast, on machines that cost three times as much.
    let page = markdown(&[measured(20.0)], &prices(7.2), Language::English);
    assert!(page.contains("**2.00 times** as fast"), "{page}");
    assert!(page.contains("cost **50.00 EUR more**"), "{page}");
    // And on machines that cost twice as much it changes nothing.
    let page = markdown(&[measured(20.0)], &prices(3.6), Language::English);
    assert!(
        page.contains("cost as much as before, 100.00 EUR."),
        "{page}"
    );
    assert!(page.contains("in a month: as much as before"), "{page}");
    let page = markdown(&[measured(20.0)], &prices(3.6), Language::Japanese);
    assert!(page.contains("1か月あたり：費用は変わりません。"), "{page}");
}

/// Pages that say everything there is to say in Japanese.
fn japanese_pages() -> Vec<String> {
    let other = METRICS.replace("same_total 12", "same_total 11");
    let estimated = "card_plain_decode_seconds_total 2\ncard_decode_seconds_total 1\ncard_round_tokens_total 10\n";
    let all = [
        from_metrics(METRICS).unwrap(),
        from_metrics(&other).unwrap(),
        from_metrics(estimated).unwrap(),
        measured(8.0),
        from_bench(&bench(3, 5.78, 1.19)).unwrap().remove(0),
        from_bench(&bench(2, 1.7, 2.0)).unwrap().remove(0),
    ];
    let mut pages = Vec::new();
    for evidence in all {
        for drafting in [0.0, 3.6, 36.0] {
            for currency in ["EUR", "JPY"] {
                let mut prices = prices(drafting);
                prices.currency = currency.into();
                let evidence = [evidence.clone()];
                pages.push(markdown(&evidence, &prices, Language::Japanese));
            }
        }
    }
    pages
}

/// Whether a character is of Japanese text: kana, kanji, a full-width mark.
fn japanese(c: char) -> bool {
    matches!(c, '\u{3001}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ff01}'..='\u{ff5e}')
}

#[test]
fn japanese_has_no_half_width_mark_or_space_beside_it() {
    for page in japanese_pages() {
        let cells = page.lines().flat_map(|line| line.split('|'));
        for text in cells.map(|cell| cell.trim_matches(|c: char| "#- ".contains(c))) {
            let characters: Vec<char> = text.chars().collect();
            for pair in characters.windows(2) {
                let [a, b] = pair else { continue };
                let half = |c: &char| " ,.:;!?()[]".contains(*c);
                let wrong = japanese(*a) && half(b) || half(a) && japanese(*b);
                assert!(!wrong, "{a}{b}: {text}");
            }
        }
    }
}

#[test]
fn japanese_sentences_are_polite() {
    for page in japanese_pages() {
        for line in page.lines().filter(|line| line.contains('。')) {
            // What follows the last full stop is no sentence.
            let sentences: Vec<&str> = line.split('。').collect();
            for sentence in &sentences[..sentences.len() - 1] {
                let sentence = sentence.trim_end_matches(['*', '）']);
                let polite = ["です", "ます", "ません", "ました", "ください"];
                assert!(polite.iter().any(|end| sentence.ends_with(end)), "{line}");
            }
        }
    }
}

/// A bench.json of one kind of text.
fn bench(prompts: u64, speed_up: f64, tokens_per_forward: f64) -> String {
    let row = |name: &str, speed: f64| {
        serde_json::json!({
            "name": name, "runs": 6, "same_text": 6, "cache_kib": 2.0,
            "tokens_per_second": { "median": 10.0 * speed },
            "speed_up": { "median": speed, "least": speed, "most": speed },
            "mean_accepted_length": tokens_per_forward,
        })
    };
    let rows = [
        row("plain, 1 thread", 1.0),
        row("plain", 0.5),
        row("auto", speed_up),
    ];
    let cell = serde_json::json!({ "category": "code", "prompts": prompts, "rows": rows });
    serde_json::json!({ "cells": [cell] }).to_string()
}

#[test]
fn a_speed_up_that_cannot_be_is_no_headline() {
    let evidence = from_bench(&bench(3, 5.78, 1.19)).unwrap();
    assert_eq!(advise(&evidence, &prices(0.0)), Advice::Measure);
    for (language, measured, again) in [
        (
            Language::English,
            "5.78 (5.78–5.78), disturbed",
            "quiet machine",
        ),
        (
            Language::Japanese,
            "5.78（5.78〜5.78）、測定の乱れ",
            "**再測定**",
        ),
    ] {
        let page = markdown(&evidence, &prices(0.0), language);
        // The table has the figure; nothing else is made of it.
        assert!(page.contains(measured) && page.contains(again), "{page}");
        assert_eq!(page.matches("5.78").count(), 3, "{page}");
        assert!(!page.contains('→'), "{page}");
        assert!(html(&evidence, &prices(0.0), language).contains(again.trim_matches('*')));
    }
}

#[test]
fn two_prompts_are_no_headline_and_three_are() {
    let few = from_bench(&bench(2, 1.7, 2.0)).unwrap();
    let page = markdown(&few, &prices(0.0), Language::English);
    assert!(page.contains("fewer than 3 prompts"), "{page}");
    assert!(!page.contains("**1.70 times**"), "{page}");
    let mut both = from_bench(&bench(3, 1.7, 2.0)).unwrap();
    // What all are compared with is the first row: 10 tokens a second, not 5.
    assert_eq!(both[0].plain, 10.0);
    both.extend(few);
    let page = markdown(&both, &prices(0.0), Language::English);
    assert!(
        page.contains("**1.70 times**") && page.contains("Left out"),
        "{page}"
    );
}

#[test]
fn live_figures_that_cannot_be_are_known_by_the_tokens_of_a_round() {
    let live = "card_rounds_total 100\ncard_round_tokens_total 119\n\
        card_plain_decode_seconds_total 60\ncard_decode_seconds_total 10\n";
    let found = from_metrics(live).unwrap();
    assert_eq!(found.mean_accepted_length, Some(1.19));
    assert_eq!(advise(&[found], &prices(0.0)), Advice::Measure);
}
