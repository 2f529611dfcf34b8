//! Lossless on real models: every mode writes what plain decoding writes.
//!
//! The small model carries the test in full. The pair has a short version here; the full
//! one is `cargo test --release -p card-engine --test exactness -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Duration;

use card_core::forward::{Forward, KvOp, Logits, Model};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::SamplingParams;
use card_core::scheduler::Shapes;
use card_core::types::{SequenceId, Source, SourceSet, Token};
use card_engine::selftest::{Exactness, Means, SelfTestReport};
use card_llama::{
    Cores, Kernels, LlamaModel, LoadOptions, card_kernels, check_vocabularies, on_own_thread, trim,
};
use support::{
    PROMPTS, Recorder, Setup, Spoilt, Text, ask, compare, context, contexts, cores, generate, load,
    model_file, read, self_test, start, start_keeping,
};

const SMALL: &str = "smollm2-135m.gguf";
const TARGET: &str = "qwen2.5-coder-1.5b.gguf";
const DRAFT: &str = "qwen2.5-coder-0.5b.gguf";

const PLAIN: Setup = Setup {
    mode: Mode::Plain,
    lanes: Lanes::Shared,
    shapes: Shapes::FREE,
};

/// The small model and its self-test, once for all tests.
fn small() -> (LlamaModel, SelfTestReport) {
    static SMALL_MODEL: OnceLock<(LlamaModel, SelfTestReport)> = OnceLock::new();
    let make = || {
        let model = load(SMALL, Kernels::Card);
        let report = self_test(&model);
        (model, report)
    };
    SMALL_MODEL.get_or_init(make).clone()
}

fn schedules() -> [(Mode, Lanes); 4] {
    [
        (Mode::Card, Lanes::Disjoint),
        (Mode::DraftThenVerify, Lanes::Shared),
        (Mode::Card, Lanes::Shared),
        (Mode::Auto, Lanes::Shared),
    ]
}

fn samplings() -> [SamplingParams; 2] {
    [
        SamplingParams::default(),
        SamplingParams {
            temperature: 0.8,
            top_p: 0.95,
            repeat_penalty: 1.1,
            seed: 42,
            ..Default::default()
        },
    ]
}

/// Compares modes with plain decoding; returns how many texts a near-tie changed.
fn sweep(
    model: &LlamaModel,
    draft: &dyn Fn(&Cores) -> Box<dyn Model + Send>,
    report: &SelfTestReport,
    level: Exactness,
    schedules: &[(Mode, Lanes)],
    prompts: &[&str],
    tokens: u32,
) -> usize {
    let shapes = report.shapes(level);
    let vocab = model.vocab();
    // Where logits are plain decoding's, no margin excuses another text.
    let bound = match (level, report.means()) {
        (Exactness::Exact, Means::AnyShape | Means::OneClass | Means::PlainOnly) => 0.0,
        (Exactness::Exact, Means::NearTies) | (Exactness::Fast, _) => report.margin_bound(),
    };
    // The level fixes plain decoding's forwards as well (one class may pad them).
    let plain = Setup { shapes, ..PLAIN };
    let whole = cores(Lanes::Shared).0;
    let engine = start(Box::new(context(model, &whole)), None, plain, report);
    let run_all = |engine: &card_engine::Engine| -> Vec<_> {
        let each = |p| prompts.iter().map(move |prompt| (p, *prompt));
        let all = samplings();
        all.iter()
            .flat_map(each)
            .map(|(params, prompt)| generate(engine, &vocab, prompt, params, tokens))
            .collect()
    };
    let expected = run_all(&engine);
    drop(engine);
    let mut ties = 0;
    for &(mode, lanes) in schedules {
        let setup = Setup {
            mode,
            lanes,
            shapes,
        };
        let (target_cores, draft_cores) = cores(lanes);
        let target = Box::new(context(model, &target_cores));
        let engine = start(target, Some(draft(&draft_cores)), setup, report);
        let found = run_all(&engine);
        let mut changed = 0;
        for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
            let what = format!("{level:?} {mode:?} {lanes:?}, text {i}");
            changed += usize::from(compare(&what, a, b, bound));
        }
        let accepted: usize = found.iter().map(|t| t.accepted).sum();
        let offered: usize = found.iter().map(|t| t.offered).sum();
        println!(
            "{level:?} {mode:?} {lanes:?}: {} texts, {changed} changed by a near-tie; {accepted} of \
             {offered} candidates accepted",
            found.len()
        );
        // On a lane of its own a drafter as slow as the target may never be in time.
        if mode != Mode::Auto && lanes == Lanes::Shared {
            assert!(
                offered > 0,
                "{mode:?} verified nothing, so it proved nothing"
            );
        }
        ties += changed;
    }
    ties
}

#[test]
#[ignore = "takes ten minutes: every mode over all prompts, 128 tokens each"]
fn small_model_every_mode_in_full() {
    small_model_every_mode(&PROMPTS, 128);
}

#[test]
fn small_model_every_mode_in_short() {
    small_model_every_mode(&PROMPTS[..4], 64);
}

fn small_model_every_mode(prompts: &[&str], tokens: u32) {
    let (model, report) = small();
    // As its own drafter it would always be right; spoilt, it is wrong often enough.
    let draft = |cores: &Cores| -> Box<dyn Model + Send> {
        Box::new(Spoilt::new(context(&model, cores), 0.25))
    };
    let ties = sweep(
        &model,
        &draft,
        &report,
        Exactness::Fast,
        // As its own drafter on a lane of its own it is never ahead of itself; the pair
        // and the garbage test cover that lane.
        &schedules()[1..],
        prompts,
        tokens,
    );
    if report.margin_bound() == 0.0 {
        assert_eq!(ties, 0);
    }
}

#[test]
fn exact_on_the_small_model() {
    // Loaded first, so that all of this runs with the same attention.
    let own = small();
    let ggml = load(SMALL, Kernels::Ggml);
    let ggml_report = self_test(&ggml);
    for (model, report) in [own, (ggml, ggml_report)] {
        let draft = |cores: &Cores| -> Box<dyn Model + Send> {
            Box::new(Spoilt::new(context(&model, cores), 0.25))
        };
        let ties = sweep(
            &model,
            &draft,
            &report,
            Exactness::Exact,
            &[(Mode::Card, Lanes::Disjoint)],
            &PROMPTS[..5],
            64,
        );
        assert_eq!(ties, 0, "{}", report.means());
    }
}

#[test]
fn own_kernels_give_the_same_logits_in_every_shape_of_forward() {
    match card_kernels() {
        Ok(set) => {
            let (_, report) = small();
            assert_eq!(report.means(), Means::AnyShape, "{set}: {report:?}");
        }
        Err(why) => println!("no own kernels here: {why}"),
    }
}

/// A prompt that begins as an earlier answer ended is read from there on, and what follows is
/// what follows a fresh one.
#[test]
fn a_prefix_that_is_reused_changes_nothing() {
    let (model, report) = small();
    if report.means() != Means::AnyShape {
        println!("prefixes are not reused here: {}", report.means());
        return;
    }
    let vocab = model.vocab();
    let whole = cores(Lanes::Shared).0;
    let samplings = samplings();
    let setup = Setup {
        mode: Mode::Card,
        ..PLAIN
    };
    let fresh = start(Box::new(context(&model, &whole)), None, PLAIN, &report);
    // A context for two keeps the cells of each sequence in order.
    let target = Box::new(contexts(&model, &whole, 512, 2));
    let draft: Box<dyn Model + Send> = Box::new(Spoilt::new(contexts(&model, &whole, 512, 2), 0.3));
    let kept = start_keeping(target, Some(draft), setup, &report, 2);
    let mut reused = 0;
    for (prompt, params) in PROMPTS[..6].iter().zip(samplings.iter().cycle()) {
        let mut text = (*prompt).to_owned();
        for turn in 0..3 {
            let expected = generate(&fresh, &vocab, &text, params, 40);
            let found = generate(&kept, &vocab, &text, params, 40);
            let what = format!("turn {turn} of {prompt}");
            compare(&what, &expected, &found, 0.0);
            reused += found.reused;
            let tokens = expected.tokens.iter();
            let bytes: Vec<u8> = tokens.flat_map(|&t| vocab.piece(t, false)).collect();
            text += &String::from_utf8_lossy(&bytes);
            text += "\nAnd then? ";
        }
    }
    assert!(reused > 100, "{reused} tokens reused");
}

#[test]
fn a_drafter_of_garbage_changes_nothing() {
    let (model, report) = small();
    let draft = |cores: &Cores| -> Box<dyn Model + Send> {
        Box::new(Spoilt::new(context(&model, cores), 1.0))
    };
    let schedules = schedules();
    sweep(
        &model,
        &draft,
        &report,
        Exactness::Fast,
        &schedules,
        &PROMPTS[..2],
        48,
    );
}

#[test]
fn a_draft_forward_that_takes_too_long_is_given_up() {
    let (model, report) = small();
    let (whole, _) = cores(Lanes::Shared);
    let params = SamplingParams::default();
    let setup = Setup {
        mode: Mode::Card,
        ..PLAIN
    };
    let text = |patience: Option<Duration>| {
        let target = Box::new(context(&model, &whole));
        let mut draft = context(&model, &whole);
        if let Some(patience) = patience {
            draft.give_up_after(patience);
        }
        let draft: Box<dyn Model + Send> = Box::new(draft);
        let engine = start(target, Some(draft), setup, &report);
        let text = generate(&engine, &model.vocab(), PROMPTS[0], &params, 32);
        (text, engine.lane_times().drafter_failures)
    };
    let (expected, _) = text(None);
    for (patience, failures) in [(Duration::ZERO, 1), (Duration::from_secs(600), 0)] {
        let (found, failed) = text(Some(patience));
        compare("patience", &expected, &found, report.margin_bound());
        assert_eq!(failed, failures, "{patience:?}");
    }
}

#[test]
fn of_two_drafters_the_better_one_is_asked() {
    let (model, report) = small();
    let params = SamplingParams::default();
    for lanes in [Lanes::Shared, Lanes::Disjoint] {
        let (target_cores, draft_cores) = cores(lanes);
        let spoilt = |share: f32| -> Box<dyn Model + Send> {
            Box::new(Spoilt::new(context(&model, &draft_cores), share))
        };
        let setup = Setup {
            mode: Mode::Card,
            lanes,
            shapes: Shapes::FREE,
        };
        let target = Box::new(context(&model, &target_cores));
        let plain = start(target, None, PLAIN, &report);
        let target = Box::new(context(&model, &target_cores));
        let engine = start(target, [spoilt(1.0), spoilt(0.1)], setup, &report);
        let mut sources = SourceSet::default();
        for prompt in &PROMPTS[..3] {
            let expected = generate(&plain, &model.vocab(), prompt, &params, 48);
            let found = generate(&engine, &model.vocab(), prompt, &params, 48);
            let what = format!("two drafters, {lanes:?}, {prompt}");
            compare(&what, &expected, &found, report.margin_bound());
            sources = sources.union(found.sources);
        }
        assert!(!sources.contains(Source::Draft), "garbage was accepted");
        // On lanes of their own a drafter as slow as the target may never be in time.
        if lanes == Lanes::Shared {
            assert!(
                sources.contains(Source::Draft2),
                "the good one was not asked"
            );
        }
    }
}

/// A drafter with an output layer for common tokens only sees every token all the same, and
/// proposes rare ones once it read them.
#[test]
fn a_trimmed_drafter_speaks_the_whole_vocabulary() {
    const COMMON: usize = 2048;
    let file = model_file(SMALL);
    let copy = std::env::temp_dir().join(format!("card-trimmed-{}.gguf", std::process::id()));
    trim(&file, &copy, &file, COMMON).unwrap();
    let (model, report) = small();
    let trimmed = LlamaModel::load(&copy, &LoadOptions::default(), &mut |_| {}).unwrap();
    assert!(trimmed.info().bytes < model.info().bytes);
    assert!(check_vocabularies(&model.vocab(), &trimmed.vocab()).is_ok());

    let text = "The photosynthesis of chloroplasts; 日本の首都. The photosynthesis of";
    let tokens = model.vocab().tokenize(text, false).unwrap();
    let common = model.vocab().common(COMMON);
    let rare = |t: &Token| common.binary_search(t).is_err();
    assert!(tokens.iter().any(rare));
    let (whole, draft_cores) = cores(Lanes::Shared);
    let (of_whole, of_trimmed) = on_own_thread(|| {
        let rows = |model: &LlamaModel| {
            let mut context = context(model, &whole);
            let mut rows = Vec::new();
            for (at, token) in tokens.iter().enumerate() {
                let forward = Forward::chain(SequenceId(1), at, &[*token], 0);
                context.forward(&forward).unwrap();
                rows.push(context.row(0).to_vec());
                let tip = at as u64 + 1;
                let commit = KvOp::Commit {
                    sequence: SequenceId(1),
                    tip,
                    keep_descendants: false,
                };
                context.apply(commit).unwrap();
            }
            rows
        };
        (rows(&model), rows(&trimmed))
    });
    for (at, (whole, trimmed)) in of_whole.iter().zip(&of_trimmed).enumerate() {
        assert_eq!(whole.len(), trimmed.len());
        for (token, (a, b)) in whole.iter().zip(trimmed).enumerate() {
            let token = token as Token;
            if rare(&token) && !tokens[..=at].contains(&token) {
                assert_eq!(*b, f32::NEG_INFINITY, "token {token} at {at}");
            } else {
                // The kernels round what goes into the output layer, for the common ones.
                assert!((a - b).abs() < 0.5, "token {token} at {at}: {a} and {b}");
            }
        }
    }

    let setup = Setup {
        mode: Mode::Card,
        lanes: Lanes::Shared,
        shapes: Shapes::FREE,
    };
    let plain = start(Box::new(context(&model, &whole)), None, PLAIN, &report);
    let draft: Box<dyn Model + Send> = Box::new(context(&trimmed, &draft_cores));
    let engine = start(
        Box::new(context(&model, &whole)),
        Some(draft),
        setup,
        &report,
    );
    for prompt in &PROMPTS[..3] {
        let params = SamplingParams::default();
        let expected = generate(&plain, &model.vocab(), prompt, &params, 48);
        let found = generate(&engine, &model.vocab(), prompt, &params, 48);
        compare("trimmed", &expected, &found, report.margin_bound());
        assert!(found.accepted > 10, "{prompt}: {} accepted", found.accepted);
    }
    std::fs::remove_file(&copy).unwrap();
}

/// Sequences come and go, their KV cells are moved now and then, and each writes what it
/// writes alone.
#[test]
fn the_same_alone_and_among_others() {
    let (model, report) = small();
    let vocab = model.vocab();
    let whole = cores(Lanes::Shared).0;
    let samplings = samplings();
    let all: Vec<_> = (0..18)
        .map(|i| (PROMPTS[i], &samplings[i % 2], 30 + 7 * (i as u32 % 4)))
        .collect();
    let engine = start(Box::new(context(&model, &whole)), None, PLAIN, &report);
    let alone: Vec<_> = all
        .iter()
        .map(|&(prompt, params, tokens)| generate(&engine, &vocab, prompt, params, tokens))
        .collect();
    drop(engine);
    // Little room, so that cells are moved often.
    let target = Box::new(contexts(&model, &whole, 160, 3));
    let draft: Box<dyn Model + Send> = Box::new(Spoilt::new(contexts(&model, &whole, 160, 3), 0.3));
    let setup = Setup {
        mode: Mode::Card,
        ..PLAIN
    };
    let engine = start(target, Some(draft), setup, &report);
    let mut running = VecDeque::new();
    let mut offered = 0;
    let mut finish = |(i, stream)| {
        let (prompt, _, _) = all[i];
        let text: Text = read(&stream, &vocab, prompt);
        offered += text.offered;
        let what = format!("text {i} among others");
        compare(&what, &alone[i], &text, report.margin_bound());
    };
    for (i, &(prompt, params, tokens)) in all.iter().enumerate() {
        if running.len() == 3 {
            finish(running.pop_front().unwrap());
        }
        running.push_back((i, ask(&engine, &vocab, prompt, params, tokens)));
    }
    running.into_iter().for_each(&mut finish);
    assert!(offered > 0);
}

/// Exactness, proven on logits: each decision of a speculative run saw the very logits that
/// plain decoding saw there.
fn logits_are_plain_decodings(
    model: &LlamaModel,
    draft: &LlamaModel,
    report: &SelfTestReport,
    tokens: u32,
) {
    let shapes = report.shapes(Exactness::Exact);
    println!("{}: {:?} rows", report.means(), report.bitwise_range());
    if report.means() == Means::NearTies {
        // Only the decisions are plain decoding's there, which `sweep` looks at.
        return;
    }
    let params = SamplingParams::default();
    let whole = cores(Lanes::Shared).0;
    for prompt in &PROMPTS[4..7] {
        let (target, plain) = Recorder::new(context(model, &whole));
        let engine = start(Box::new(target), None, Setup { shapes, ..PLAIN }, report);
        let expected = generate(&engine, &model.vocab(), prompt, &params, tokens);
        drop(engine);
        let (target, fast) = Recorder::new(context(model, &whole));
        let setup = Setup {
            mode: Mode::Card,
            lanes: Lanes::Shared,
            shapes,
        };
        let drafter: Box<dyn Model + Send> = Box::new(Spoilt::new(context(draft, &whole), 0.2));
        let engine = start(Box::new(target), Some(drafter), setup, report);
        let found = generate(&engine, &model.vocab(), prompt, &params, tokens);
        drop(engine);
        assert_eq!(expected.tokens, found.tokens);
        let (plain, fast) = (plain.lock().unwrap(), fast.lock().unwrap());
        assert_eq!(plain.len(), tokens as usize);
        assert_eq!(*plain, *fast, "logits differ");
        assert!(found.accepted > 0);
    }
}

#[test]
fn logits_of_the_small_model_are_plain_decodings() {
    let (model, report) = small();
    logits_are_plain_decodings(&model, &model, &report, 48);
}

/// The target as `card --exactness exact` has it: with the own kernels, or where there are
/// none with ggml's, repacked or not, whichever promises more.
fn exact_target() -> (LlamaModel, SelfTestReport) {
    let of = |kernels: Kernels| {
        let model = load(TARGET, kernels);
        let report = self_test(&model);
        (model, report)
    };
    if card_kernels().is_ok() {
        return of(Kernels::Card);
    }
    let promise = |r: &SelfTestReport| r.promise(&r.shapes(Exactness::Exact));
    let (repacked, report) = of(Kernels::Ggml);
    // Two copies of the weights may not fit.
    drop(repacked);
    let (plain, plain_report) = of(Kernels::GgmlPlain);
    if promise(&plain_report) > promise(&report) {
        return (plain, plain_report);
    }
    drop(plain);
    (load(TARGET, Kernels::Ggml), report)
}

#[test]
fn pair_in_short() {
    let (model, report) = exact_target();
    let drafter = load(DRAFT, Kernels::Ggml);
    let draft = |cores: &Cores| -> Box<dyn Model + Send> { Box::new(context(&drafter, cores)) };
    for level in [Exactness::Fast, Exactness::Exact] {
        sweep(
            &model,
            &draft,
            &report,
            level,
            &[(Mode::Card, Lanes::Disjoint), (Mode::Auto, Lanes::Shared)],
            &PROMPTS[5..6],
            24,
        );
    }
    logits_are_plain_decodings(&model, &drafter, &report, 16);
}

#[test]
#[ignore = "takes an hour on a small machine: the pair over 20 prompts of 128 tokens"]
fn pair_in_full() {
    let (model, report) = exact_target();
    println!("{}, bound {:.4}", report.means(), report.margin_bound());
    let drafter = load(DRAFT, Kernels::Ggml);
    let draft = |cores: &Cores| -> Box<dyn Model + Send> { Box::new(context(&drafter, cores)) };
    let all = schedules();
    let ties = sweep(
        &model,
        &draft,
        &report,
        Exactness::Fast,
        &all,
        &PROMPTS,
        128,
    );
    println!("{ties} texts changed by near-ties");
    let ties = sweep(
        &model,
        &draft,
        &report,
        Exactness::Exact,
        &[(Mode::Card, Lanes::Shared)],
        &PROMPTS,
        128,
    );
    assert_eq!(ties, 0);
}
