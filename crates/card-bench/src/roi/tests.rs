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
    assert!(page.contains("100.00 → 50.00 EUR"), "{page}");
    let page = markdown(&evidence, &prices(0.0), Language::Japanese);
    assert!(page.contains("月間削減額: 50.00 EUR"), "{page}");
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
        (Language::Japanese, "5.78 (5.78–5.78)、測定の乱れ", "再測定"),
    ] {
        let page = markdown(&evidence, &prices(0.0), language);
        // The table has the figure; nothing else is made of it.
        assert!(page.contains(measured) && page.contains(again), "{page}");
        assert!(
            !page.contains("**5.78×**") && !page.contains(" → "),
            "{page}"
        );
        assert!(html(&evidence, &prices(0.0), language).contains("5.78 (5.78–5.78)"));
    }
}

#[test]
fn two_prompts_are_no_headline_and_three_are() {
    let few = from_bench(&bench(2, 1.7, 2.0)).unwrap();
    let page = markdown(&few, &prices(0.0), Language::English);
    assert!(page.contains("fewer than 3 prompts"), "{page}");
    assert!(!page.contains("**1.70×**"), "{page}");
    let mut both = from_bench(&bench(3, 1.7, 2.0)).unwrap();
    // What all are compared with is the first row: 10 tokens a second, not 5.
    assert_eq!(both[0].plain, 10.0);
    both.extend(few);
    let page = markdown(&both, &prices(0.0), Language::English);
    assert!(
        page.contains("**1.70×**") && page.contains("Left out"),
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

#[test]
fn what_costs_more_is_no_negative_saving() {
    let seconds = "decode_seconds_total{arm=\"plain\"} ";
    let slower = METRICS.replace(&format!("{seconds}100"), &format!("{seconds}40"));
    let evidence = [from_metrics(&slower).unwrap()];
    let page = markdown(&evidence, &prices(0.0), Language::English);
    // 3.6 an hour: 40 for a million at 25 tokens a second, 50 at 20.
    assert!(page.contains("more in a month: 10.00 EUR"), "{page}");
    let page = markdown(&evidence, &prices(0.0), Language::Japanese);
    assert!(page.contains("月間増加額: 10.00 EUR"), "{page}");
}
