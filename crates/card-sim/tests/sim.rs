//! The production core in virtual time: same text, whatever happens.

use std::sync::Arc;

use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_sim::recording::{ForcedProposals, Recorded};
use card_sim::scenario::{
    ChaosSpec, DrafterSpecs, FaultKind, FaultSpec, LinkSpec, LoadSpec, PolicySpec, TargetSpecs,
};
use card_sim::study::contest;
use card_sim::{Outcome, Recording, Scenario, builtin, simulate};

/// A large target and a small drafter on devices of their own.
fn scenario() -> Scenario {
    Scenario {
        title: "test".into(),
        source: String::new(),
        seed: 11,
        target: TargetSpecs {
            count: 1,
            forward_ms: vec![(1, 49.0), (32, 50.0)],
            price_per_hour: 4.0,
            devices: 1,
        },
        drafters: vec![DrafterSpecs {
            count: 1,
            forward_ms: vec![(1, 7.0), (4, 7.0)],
            agreement: 0.85,
            link: LinkSpec::default(),
            price_per_hour: 1.0,
            devices: 1,
        }],
        policy: PolicySpec::default(),
        load: LoadSpec {
            requests: 6,
            prompt_tokens: 20,
            output_tokens: 80,
            per_second: 0.0,
            parallel: 1,
            temperature: 0.0,
        },
        faults: Vec::new(),
        chaos: None,
        bursts: None,
        latency_bound: None,
        recording: None,
    }
}

fn run(scenario: &Scenario) -> Outcome {
    let out = simulate(scenario).expect("a sound scenario");
    assert!(out.exact(), "{}", scenario.title);
    assert!(
        out.served
            .iter()
            .all(|s| s.tokens == scenario.load.output_tokens as usize)
    );
    out
}

#[test]
fn one_seed_one_outcome() {
    let (a, b) = (run(&scenario()), run(&scenario()));
    assert_eq!((a.time, a.rounds, a.hits), (b.time, b.rounds, b.hits));
}

#[test]
fn recorded_acceptance_is_replayed() {
    let place = |rank| ForcedProposals {
        rank,
        probabilities: vec![0.8, 0.1],
    };
    let of = |ranks: &[Option<usize>], mode| {
        let answer = Recorded {
            category: "test".into(),
            places: ranks.iter().map(|&r| place(r)).collect(),
        };
        let recording = Recording::new(vec![answer]).expect("sound");
        run(&Scenario {
            recording: Some(Arc::new(recording)),
            ..scenario().with_mode(mode)
        })
    };
    let chain = |ranks: &[Option<usize>]| of(ranks, Mode::DraftThenVerify).mean_accepted_length();
    // Chains of 4: all right; right for a round of 3 and then wrong; never right.
    assert!(chain(&[Some(0)]) > 4.5);
    let sometimes = chain(&[Some(0), Some(0), Some(0), None]);
    assert!(sometimes > 2.5 && sometimes < 4.5, "{sometimes}");
    assert!(chain(&[None]) < 1.2);
    // What is second best is of use to a tree only.
    let tree = of(&[Some(0), Some(1)], Mode::Card).mean_accepted_length();
    let alone = chain(&[Some(0), Some(1)]);
    assert!(tree > 1.2 * alone, "{tree}, {alone}");
}

#[test]
fn card_beats_draft_then_verify_and_both_beat_plain_on_devices_of_their_own() {
    let of = |mode| run(&scenario().with_mode(mode)).speed();
    let (plain, dtv) = (of(Mode::Plain), of(Mode::DraftThenVerify));
    assert!(dtv > 1.5 * plain);
    assert!(of(Mode::Card) > 1.3 * dtv);
    assert!(of(Mode::Auto) > 1.3 * dtv);
}

#[test]
fn auto_is_not_slower_than_plain_whatever_the_link() {
    let plain = run(&scenario().with_mode(Mode::Plain)).speed();
    for latency_ms in [0.0, 1.0, 5.0, 20.0, 50.0, 100.0, 200.0] {
        let mut far = scenario();
        far.drafters[0].link.latency_ms = latency_ms;
        let auto = run(&far).speed();
        assert!(auto > 0.98 * plain, "{latency_ms} ms: {auto} {plain}");
    }
}

#[test]
fn in_turns_on_one_lane() {
    let mut shared = scenario();
    shared.policy.lanes = Lanes::Shared;
    let plain = run(&shared.with_mode(Mode::Plain)).speed();
    assert!(run(&shared).speed() > 1.5 * plain);
}

#[test]
fn a_second_drafter_prepares_corrections() {
    let mut two = scenario();
    // One that is mostly right needs no help.
    two.drafters[0].agreement = 0.6;
    let one = run(&two);
    two.drafters[0].count = 2;
    let both = run(&two);
    assert!(both.hit_rate() > one.hit_rate());
    assert!(both.speed() > 1.02 * one.speed());
}

#[test]
fn a_killed_drafter_costs_speed_and_comes_back() {
    let mut s = scenario();
    s.faults = vec![FaultSpec {
        at_s: 2.0,
        kind: FaultKind::DrafterCrash,
        which: 0,
        for_s: 3.0,
    }];
    let hurt = run(&s);
    assert!(hurt.time > run(&scenario()).time);
    assert!(hurt.time < run(&scenario().with_mode(Mode::Plain)).time);
    assert_eq!((hurt.faults, hurt.recoveries.len()), (1, 1));
}

#[test]
fn a_target_that_dies_loses_no_token() {
    let mut s = scenario();
    s.target.count = 2;
    s.load.requests = 12;
    s.load.parallel = 3;
    s.faults = vec![FaultSpec {
        at_s: 1.5,
        kind: FaultKind::TargetCrash,
        which: 0,
        for_s: 2.0,
    }];
    run(&s);
}

#[test]
fn a_thousand_worlds_with_faults_write_plain_decodings_text() {
    let chaos = |seed: u64| {
        let mut s = scenario();
        s.seed = seed;
        s.title = format!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        s.target.count = rng.usize(1..4);
        s.drafters[0].count = rng.usize(1..5);
        // Not a new fit for each seed.
        s.drafters[0].agreement = 1.0;
        s.drafters[0].link = LinkSpec {
            latency_ms: rng.f64() * 200.0,
            jitter_ms: rng.f64() * 100.0,
            loss: rng.f64() * 0.2,
        };
        s.load.requests = rng.usize(1..8);
        s.load.output_tokens = rng.u32(5..40);
        s.load.parallel = rng.usize(1..4);
        s.load.temperature = rng.f32();
        s.load.per_second = [0.0, 2.0][rng.usize(..2)];
        s.policy.mode = [Mode::Auto, Mode::Card, Mode::DraftThenVerify][rng.usize(..3)];
        s.chaos = Some(ChaosSpec {
            every_s: 0.3 + rng.f64(),
            lasts_s: 0.2 + 2.0 * rng.f64(),
            targets: rng.bool(),
        });
        s
    };
    let mut faults = 0;
    for seed in 0..1000 {
        faults += run(&chaos(seed)).faults;
    }
    assert!(faults > 1000, "{faults}");
}

#[test]
fn what_makes_no_sense_is_told() {
    let mut s = scenario();
    s.drafters[0].agreement = 2.0;
    assert!(simulate(&s).unwrap_err().to_string().contains("agreement"));
    let mut s = scenario();
    s.load.temperature = f32::NAN;
    let error = simulate(&s).unwrap_err().to_string();
    assert!(error.contains("temperature"), "{error}");
    let error = Scenario::parse("title = 3").unwrap_err().to_string();
    assert!(error.contains("title"), "{error}");
}

/// A scenario that comes with the program, with so many requests of so many tokens.
fn built_in(name: &str, requests: usize, tokens: u32) -> Scenario {
    let text = builtin::scenario(name).expect("built in");
    let mut scenario = Scenario::parse(text).expect("sound");
    scenario.load.requests = requests;
    scenario.load.output_tokens = tokens;
    scenario.draw_bursts().expect("sound");
    scenario
}

#[test]
fn where_drafts_are_right_in_runs_a_wide_drafter_is_faster() {
    let mut wide = built_in("published-bursts", 8, 128);
    let of_wide = run(&wide);
    // The same device, whose forwards take no more than 16 rows.
    wide.drafters[0].forward_ms.truncate(2);
    let of_narrow = run(&wide);
    assert!(
        of_wide.throughput() > 1.02 * of_narrow.throughput(),
        "{} {}",
        of_wide.throughput(),
        of_narrow.throughput()
    );
}

#[test]
fn the_target_hardly_waits_for_a_drafter_that_goes_on_meanwhile() {
    let out = run(&built_in("published-bursts", 8, 128));
    let plain = run(&built_in("published-bursts", 8, 128).with_mode(Mode::Plain));
    assert!(out.target_idle() < 0.1, "{}", out.target_idle());
    assert!(out.speed() > 3.0 * plain.speed());
}

#[test]
fn every_millisecond_of_a_text_has_a_cause() {
    let scenario = built_in("published-bursts", 4, 96);
    let out = run(&scenario);
    let shortfall = out.shortfall;
    // The first token of each answer comes with the prompt.
    assert_eq!(shortfall.tokens(), 4 * 95);
    let decoding = |s: &card_sim::Served| s.done.saturating_sub(s.first).as_secs_f64();
    let ms: f64 = out.served.iter().map(|s| 1e3 * decoding(s)).sum();
    assert!((shortfall.ms() - ms).abs() < 1.0, "{} {ms}", shortfall.ms());
    let rounds: u64 = shortfall.parts().iter().map(|p| p.rounds).sum();
    assert_eq!(rounds, out.parts);
}

#[test]
fn under_load_goodput_is_compared_on_as_many_devices() {
    let mut scenario = built_in("serve-32", 60, 40);
    scenario.load.parallel = 8;
    // Arrivals that the targets of plain decoding just cannot keep up with.
    scenario.load.per_second = 30.0;
    let bound = scenario.latency_bound.expect("it has one");
    let entries = contest(&scenario, &mut || ()).expect("sound");
    assert!(entries.iter().all(|e| e.outcome.exact()));
    let goodput = |name: &str| {
        let entry = entries.iter().find(|e| e.name.starts_with(name));
        entry.expect("took part").outcome.goodput(&bound)
    };
    assert!(goodput("auto") > goodput("plain"));
    assert!(goodput("auto") > 0.95 * goodput("draft-then-verify"));
    let targets = |i: usize| entries[i].outcome.targets;
    assert_eq!((targets(0), targets(entries.len() - 2)), (5, 4));
}
