//! Contexts of a tiny model: ids, rows, stems that are moved, and threads.

use super::*;
use crate::backend::model::LoadOptions;
use crate::tiny::Tiny;

fn model(name: &str) -> LlamaModel {
    let file = Tiny::model(name, 64).write();
    let model = LlamaModel::load(&file, &LoadOptions::default(), &mut |_| {}).unwrap();
    let _ = std::fs::remove_file(file);
    model
}

fn options(sequences: u32, in_order: bool) -> ContextOptions {
    ContextOptions {
        role: "target",
        context: 256,
        sequences,
        spare_cells: 0,
        rows: 32,
        in_order,
        cores: Cores::one_lane(2),
    }
}

/// Tokens from `at` on, which then belong to the stem. Returns the last logits.
fn read(
    context: &mut LlamaContext,
    sequence: u64,
    at: usize,
    tokens: &[u32],
) -> Result<Vec<f32>, ModelError> {
    let sequence = SequenceId(sequence);
    context.forward(&Forward::chain(sequence, at, tokens, 0))?;
    let logits = context.row(tokens.len() - 1).to_vec();
    context.apply(KvOp::Commit {
        sequence,
        tip: (at + tokens.len()) as u64,
        keep_descendants: false,
    })?;
    Ok(logits)
}

/// Sums over cells in another order differ in the last bits.
fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
}

#[test]
fn a_context_of_few_rows_has_ids_all_the_same() {
    let model = model("rows");
    for rows in [1, 2, 32] {
        let options = ContextOptions {
            rows,
            ..options(1, false)
        };
        let mut context = LlamaContext::new(&model, &options).unwrap();
        let logits = read(&mut context, 1, 0, &[1]).unwrap();
        assert_eq!(logits.len(), model.vocab().len());
    }
    for rows in [0, MOST_ROWS + 1] {
        let options = ContextOptions {
            rows,
            ..options(1, false)
        };
        assert!(LlamaContext::new(&model, &options).is_err());
    }
}

#[test]
fn as_many_sequences_run_and_are_kept_as_were_asked_for() {
    let model = model("many");
    let mut context = LlamaContext::new(&model, &options(64, false)).unwrap();
    for sequence in 0..2 * 64 {
        read(&mut context, sequence, 0, &[1, 2]).unwrap();
    }
    // And a tree of as many leaves as there may be.
    let row = |cell: u64| Row {
        sequence: SequenceId(0),
        token: 3,
        position: 2,
        cell: 100 + cell,
        parent: None,
        logits: true,
    };
    for part in 0..2 {
        let rows = (0..32).map(|i| row(32 * part + i)).collect();
        context.forward(&Forward { rows, pad_to: 0 }).unwrap();
    }
}

#[test]
fn who_runs_goes_on_when_ids_run_out() {
    let model = model("out-of-ids");
    let mut context = LlamaContext::new(&model, &options(1, false)).unwrap();
    let mut last = 0;
    let error = loop {
        match read(&mut context, last, 0, &[1]) {
            Ok(_) => last += 1,
            Err(e) => break e,
        }
    };
    let wanted = SequenceId(last);
    assert!(
        matches!(error, ModelError::Ids { sequence, .. } if sequence == wanted),
        "{error}"
    );
    read(&mut context, 0, 1, &[2]).unwrap();
    let release = KvOp::Release {
        sequence: SequenceId(1),
    };
    context.apply(release).unwrap();
    read(&mut context, last, 0, &[1]).unwrap();
}

#[test]
fn a_cache_that_was_emptied_answers_as_a_new_one() {
    let model = model("reset");
    let mut context = LlamaContext::new(&model, &options(2, true)).unwrap();
    let first = read(&mut context, 1, 0, &[5, 6, 7]).unwrap();
    read(&mut context, 2, 0, &[8, 9]).unwrap();
    context.reset_cache().unwrap();
    // What was there is not believed any more.
    assert!(read(&mut context, 1, 3, &[8]).is_err());
    assert!(read(&mut context, 2, 2, &[8]).is_err());
    let again = read(&mut context, 1, 0, &[5, 6, 7]).unwrap();
    assert!(near(&first, &again));
}

#[test]
fn stems_that_are_moved_keep_their_text_and_what_is_lost_is_not_believed() {
    let model = model("moved");
    let mut alone = LlamaContext::new(&model, &options(2, true)).unwrap();
    read(&mut alone, 1, 0, &[5, 6, 7]).unwrap();
    let expected = read(&mut alone, 1, 3, &[8]).unwrap();

    let mut context = LlamaContext::new(&model, &options(2, true)).unwrap();
    read(&mut context, 1, 0, &[5, 6, 7]).unwrap();
    for other in 2..40 {
        let tokens: Vec<u32> = (1..30).collect();
        read(&mut context, other, 0, &tokens).unwrap();
        let sequence = SequenceId(other);
        context.apply(KvOp::Release { sequence }).unwrap();
    }
    let moved = read(&mut context, 1, 3, &[8]).unwrap();
    assert!(near(&expected, &moved));

    assert!(context.llama.restore(0, b"no state at all").is_err());
    let lost = context.kv.lost(&mut context.llama, "a test").to_string();
    assert!(lost.contains("ask again"), "{lost}");
    assert!(read(&mut context, 1, 4, &[9]).is_err());
    read(&mut context, 1, 0, &[5]).unwrap();
}

#[test]
fn rows_that_cannot_be_are_errors() {
    let model = model("wrong-rows");
    let mut context = LlamaContext::new(&model, &options(1, false)).unwrap();
    for token in [97, 1 << 20, u32::MAX] {
        assert!(read(&mut context, 1, 0, &[token]).is_err(), "{token}");
    }
    assert!(read(&mut context, 1, 5, &[1]).is_err());
    assert!(read(&mut context, 1, 0, &[1; 33]).is_err());
    assert!(context.forward(&Forward::default()).is_err());
    // None of them left anything behind.
    read(&mut context, 1, 0, &[1, 2]).unwrap();
}

#[test]
fn contexts_that_come_and_go_leave_no_threads_behind() {
    let model = model("threads");
    let options = options(1, false);
    let threads = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("Threads:"))?;
        line.trim().parse::<usize>().ok()
    };
    let before = threads();
    for _ in 0..200 {
        // Made on one thread, used on another, as for each connection of a drafter.
        let mut context = LlamaContext::new(&model, &options).unwrap();
        on_own_thread(|| read(&mut context, 1, 0, &[1, 2]).map(|_| ())).unwrap();
        on_own_thread(|| read(&mut context, 1, 2, &[3]).map(|_| ())).unwrap();
    }
    // Tests beside this one have threads too, but not hundreds.
    if let (Some(before), Some(after)) = (before, threads()) {
        assert!(after < before + 100, "{before} threads, then {after}");
    }
}
