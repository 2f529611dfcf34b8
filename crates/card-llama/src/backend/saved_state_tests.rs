//! States that are saved and gone on from, on tiny models of every kind that llama.cpp keeps states
//! of: what is decoded behind one is what was decoded without.

use card_core::forward::{Forward, KvOp, Logits, Model, ModelError, Rollback, StateName};
use card_core::types::{SequenceId, Token};

use super::context::LlamaContext;
use super::context_options::ContextOptions;
use super::cores::Cores;
use crate::tiny::zoo;

/// Recurrent alone, and hybrid; with states that llama.cpp can take back some tokens of, and without.
const MODELS: [&str; 5] = ["mamba2", "jamba", "qwen35", "lfm2", "nemotron_h"];

const PROMPT: [Token; 9] = [7, 3, 90, 11, 42, 5, 64, 23, 8];
const ANSWER: [Token; 6] = [33, 12, 71, 4, 99, 15];

fn context(label: &str, role: &'static str, in_order: bool) -> LlamaContext {
    let model = zoo::model(zoo::find(label).unwrap(), 1).unwrap();
    let options = ContextOptions {
        role,
        context: 128,
        sequences: 2,
        spare_cells: 0,
        rows: 32,
        in_order,
        cores: Cores::one_lane(2),
    };
    LlamaContext::new(&model, &options).unwrap()
}

/// Decodes tokens in one forward, of which the first `keep` join the stem. Returns the logits of all.
fn decode(
    context: &mut LlamaContext,
    sequence: u64,
    at: usize,
    tokens: &[Token],
    keep: usize,
) -> Vec<Vec<f32>> {
    let sequence = SequenceId(sequence);
    let forward = Forward::chain(sequence, at, tokens, 0);
    context.forward(&forward).unwrap();
    let logits = (0..tokens.len()).map(|i| context.row(i).to_vec()).collect();
    let tip = (at + keep) as u64;
    let commit = KvOp::Commit {
        sequence,
        tip,
        keep_descendants: false,
    };
    context.apply(commit).unwrap();
    logits
}

/// The logits behind each token of the answer, which is decoded token by token.
fn answer(context: &mut LlamaContext, sequence: u64, at: usize) -> Vec<Vec<f32>> {
    let tokens = ANSWER.iter().enumerate();
    tokens
        .flat_map(|(i, &token)| decode(context, sequence, at + i, &[token], 1))
        .collect()
}

fn save(sequence: u64, state: StateName) -> KvOp {
    let sequence = SequenceId(sequence);
    KvOp::Save { sequence, state }
}

fn resume(sequence: u64, from: u64, keep: usize, state: StateName) -> KvOp {
    KvOp::Resume {
        sequence: SequenceId(sequence),
        from: SequenceId(from),
        keep: keep as u32,
        state,
    }
}

/// Attention sums over cells that lie elsewhere, so its last bits may differ; a state is the same
/// to the last bit.
fn assert_same(label: &str, a: &[Vec<f32>], b: &[Vec<f32>]) {
    let limit = if label == "mamba2" { 0.0 } else { 5e-3 };
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most <= limit, "{label}: logits differ by {most}");
}

#[test]
fn what_follows_a_saved_state_is_what_followed_it_at_first() {
    for label in MODELS {
        for in_order in [false, true] {
            let mut context = context(label, "target", in_order);
            decode(&mut context, 1, 0, &PROMPT, PROMPT.len());
            context.apply(save(1, 1)).unwrap();
            let first = answer(&mut context, 1, PROMPT.len());
            // While the first one is there, and when it went on.
            context.apply(resume(2, 1, PROMPT.len(), 1)).unwrap();
            let second = answer(&mut context, 2, PROMPT.len());
            assert_same(label, &first, &second);
            // The cells belong to the second one, too, and the state is still saved.
            let over = KvOp::Release {
                sequence: SequenceId(1),
            };
            context.apply(over).unwrap();
            context.apply(resume(3, 2, PROMPT.len(), 1)).unwrap();
            // Another text in between changes nothing.
            decode(&mut context, 3, PROMPT.len(), &[1, 2, 3], 3);
            let over = KvOp::Release {
                sequence: SequenceId(3),
            };
            context.apply(over).unwrap();
            context.apply(resume(4, 2, PROMPT.len(), 1)).unwrap();
            assert_same(label, &first, &answer(&mut context, 4, PROMPT.len()));
        }
    }
}

#[test]
fn a_state_that_was_taken_back_can_be_saved() {
    for label in MODELS {
        let mut context = context(label, "target", false);
        let Rollback::Bounded { rows } = context.limits().rollback else {
            continue;
        };
        let at = PROMPT.len();
        let mut alone = self::context(label, "target", false);
        decode(&mut alone, 1, 0, &PROMPT, at);
        decode(&mut alone, 1, at, &[55], 1);
        let expected = answer(&mut alone, 1, at + 1);

        decode(&mut context, 1, 0, &PROMPT, at);
        let rejected = &[55, 1, 2, 3][..2.min(rows as usize) + 1];
        decode(&mut context, 1, at, rejected, 1);
        context.apply(save(1, 9)).unwrap();
        context.apply(resume(2, 1, at + 1, 9)).unwrap();
        assert_same(label, &expected, &answer(&mut context, 2, at + 1));
        // The first one goes on as well.
        assert_same(label, &expected, &answer(&mut context, 1, at + 1));
    }
}

#[test]
fn a_context_says_how_large_its_states_are_and_what_it_cannot_do() {
    // llama.cpp saves the cells of its window with the state.
    assert_eq!(context("lfm2", "target", false).state_bytes(), None);
    for label in MODELS.into_iter().filter(|label| *label != "lfm2") {
        let mut context = context(label, "target", false);
        let bytes = context.state_bytes().unwrap();
        assert!((1 << 8..1 << 24).contains(&bytes), "{label}: {bytes}");
        // The cache is as empty as a new one.
        assert!(context.apply(save(1, 1)).is_err());
        decode(&mut context, 1, 0, &PROMPT, PROMPT.len());
        context.apply(save(1, 1)).unwrap();
        context.apply(KvOp::Forget { state: 1 }).unwrap();
        let gone = context.apply(resume(2, 1, PROMPT.len(), 1)).unwrap_err();
        assert!(matches!(gone, ModelError::Failed(_)), "{gone}");
        assert!(gone.to_string().contains("not saved"), "{gone}");
        // What the cache held is not believed any more, and it can be used.
        context.reset().unwrap();
        decode(&mut context, 1, 0, &PROMPT, PROMPT.len());
    }
    assert_eq!(context("mamba2", "draft", false).state_bytes(), None);
    assert_eq!(context("llama", "target", false).state_bytes(), None);
}
