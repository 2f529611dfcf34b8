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
