//! What holds for all settings and logits, and for margins.

use proptest::prelude::*;

use super::bias::{Bias, LogitBias};
use super::decide::Sampler;
use super::logprob::Logprob;
use super::settings::{Sampling, SamplingParams};
use crate::types::Token;

fn checked(params: SamplingParams) -> Sampling {
    params.checked().unwrap()
}

#[test]
fn a_decision_at_the_cut_of_a_filter_has_no_margin() {
    let mut s = Sampler::default();
    let mut margin = |logits: &[f32], f: fn(&mut SamplingParams)| {
        let mut params = SamplingParams {
            temperature: 0.7,
            ..Default::default()
        };
        f(&mut params);
        let choice = s.choose(&checked(params), logits, None, &[], 5);
        choice.margin
    };
    // Two tied logits, of which one is kept.
    assert_eq!(margin(&[2.0, 2.0, 0.0], |p| p.top_k = 1), 0.0);
    assert!(margin(&[2.0, 2.0, 0.0], |p| p.min_p = 1.0) < 1e-6);
    // The first has just the share that is kept.
    let half = |p: &mut SamplingParams| p.top_p = 0.5;
    assert!(margin(&[2.0, 2.0], half) < 1e-6);
    // Nothing is near.
    let clear = [9.0, 1.0, 0.0];
    let others: [fn(&mut SamplingParams); 3] =
        [|p| p.top_k = 1, |p| p.min_p = 0.9, |p| p.top_p = 0.5];
    for other in others {
        assert!(margin(&clear, other) > 4.0);
    }
}

/// Logits as they come, close together, and at the ends of what there is.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let odd = prop_oneof![
        Just(f32::NEG_INFINITY),
        Just(f32::INFINITY),
        Just(f32::NAN),
        Just(f32::MAX),
        Just(f32::MIN),
        Just(0.0),
        Just(1e-40),
    ];
    let logit = prop_oneof![8 => -30f32..30.0, 2 => -1e38f32..1e38, 1 => odd];
    prop::collection::vec(logit, 1..40)
}

fn temperatures() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0f32),
        Just(f32::MIN_POSITIVE),
        Just(1e-45),
        Just(1e-38),
        Just(100.0),
        (-38f32..2.0).prop_map(|e| 10f32.powf(e)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_setting_and_no_logits_give_what_is_no_number(
        logits in logits(),
        temperature in temperatures(),
        (top_k, top_p, min_p) in (0u32..9, 1e-6f32..=1.0, 0f32..=1.0),
        (repeat, frequency) in (1e-38f32..100.0, -100f32..=100.0),
        bans in prop::collection::vec((0u32..40, any::<bool>()), 0..40),
        seed in any::<u64>(),
    ) {
        let bias = |(token, ban): (Token, bool)| match ban {
            true => (token, Bias::Ban),
            false => (token, Bias::add(-1e4).unwrap()),
        };
        let params = checked(SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty: repeat,
            frequency_penalty: frequency,
            logit_bias: LogitBias::new(bans.into_iter().map(bias)).unwrap(),
            seed,
            ..Default::default()
        });
        let mut s = Sampler::default();
        let history = [0, 1, 2, 2, 99];
        let choice = s.choose(&params, &logits, None, &history, 5);
        prop_assert!((choice.token as usize) < logits.len());
        prop_assert!(choice.margin >= 0.0, "{}", choice.margin);
        let mut out = Vec::new();
        s.propose(&params, &logits, &history, 5, 6, &mut out);
        let sum: f32 = out.iter().map(|p| p.1.get()).sum();
        prop_assert!(out.is_empty() || sum > 0.0);
        prop_assert!(sum < 1.001, "{sum}");
        prop_assert!(out.is_sorted_by(|a, b| a.1 >= b.1));
        // A token that is banned is neither chosen nor proposed, if there is another.
        prop_assert!(out.iter().all(|p| logits[p.0 as usize] > f32::NEG_INFINITY));
        if let Some(best) = out.first() {
            prop_assert_eq!(best.0, choice.token);
        }
        let logprob = Logprob::of(&logits, choice.token, 3);
        let all = logprob.top.iter().map(|t| t.1).chain([logprob.logprob]);
        prop_assert!(all.into_iter().all(|l| l.is_finite() && l <= 0.0));
    }

    #[test]
    fn within_half_the_margin_the_same_token_is_chosen(
        // Steps of a tenth, and a little more or less: close to ties and to every cut.
        steps in prop::collection::vec((-20i32..20, -3i32..=3), 2..12),
        temperature in prop_oneof![Just(0.0f32), 0.01f32..0.2, 0.2f32..3.0],
        top_k in prop_oneof![Just(0u32), 1u32..6],
        top_p in prop_oneof![Just(1.0f32), 0.05f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.01f32..=1.0],
        repeat in prop_oneof![Just(1.0f32), 0.5f32..2.0],
        seed in any::<u64>(),
        moves in prop::collection::vec(prop::collection::vec(any::<u8>(), 12), 24),
    ) {
        let params = checked(SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty: repeat,
            seed,
            ..Default::default()
        });
        let logit = |&(tenths, little): &(i32, i32)| 0.1 * tenths as f32 + 0.003 * little as f32;
        let logits: Vec<f32> = steps.iter().map(logit).collect();
        let history = [0, 1, 1];
        let mut s = Sampler::default();
        let choice = s.choose(&params, &logits, None, &history, 3);
        // Greedily without a second token there is no end to it.
        let margin = choice.margin.min(8.0);
        // Below this the rounding of the moved logits counts.
        if margin < 2e-3 {
            return Ok(());
        }
        for (i, signs) in moves.iter().enumerate() {
            // All the way up or down, which is the worst, and somewhere in between.
            let part = |sign: u8| match i % 2 {
                0 => if sign.is_multiple_of(2) { 1.0 } else { -1.0 },
                _ => f32::from(sign) / 127.5 - 1.0,
            };
            let moved: Vec<f32> = logits
                .iter()
                .zip(signs)
                .map(|(l, &sign)| l + 0.499 * margin * part(sign))
                .collect();
            let again = s.choose(&params, &moved, None, &history, 3);
            prop_assert_eq!(
                choice.token, again.token,
                "margin {} of {:?}, moved to {:?}", margin, logits, moved
            );
        }
        // The chosen one down and all others up, and one other alone up.
        for up in 0..=logits.len() {
            let part = |t: usize| match (t == choice.token as usize, up) {
                (true, _) => -1.0,
                (false, 0) => 1.0,
                (false, up) => if t + 1 == up { 1.0 } else { -1.0 },
            };
            let moved: Vec<f32> = logits
                .iter()
                .enumerate()
                .map(|(t, l)| l + 0.499 * margin * part(t))
                .collect();
            let again = s.choose(&params, &moved, None, &history, 3);
            prop_assert_eq!(choice.token, again.token, "{} up of {:?}", up, logits);
        }
    }

    #[test]
    fn looking_less_far_changes_no_choice_and_no_smaller_margin(
        steps in prop::collection::vec(-20i32..20, 2..12),
        temperature in 0.01f32..3.0,
        top_k in prop_oneof![Just(0u32), 1u32..6],
        top_p in prop_oneof![Just(1.0f32), 0.05f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.01f32..=1.0],
        look in 0.01f32..2.0,
        seed in any::<u64>(),
    ) {
        let params = checked(SamplingParams {
            temperature, top_k, top_p, min_p, seed, ..Default::default()
        });
        let logits: Vec<f32> = steps.iter().map(|s| 0.1 * *s as f32).collect();
        let far = Sampler::default().choose(&params, &logits, None, &[], 3);
        let near = Sampler::looking_up_to(look).choose(&params, &logits, None, &[], 3);
        prop_assert_eq!(far.token, near.token);
        let expected = far.margin.min(look);
        prop_assert!((near.margin - expected).abs() < 1e-3, "{} {}", near.margin, expected);
    }
}
