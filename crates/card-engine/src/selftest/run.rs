//! The self-test: which sizes are tried behind which heads, and what comes of it.

use std::collections::BTreeMap;

use card_core::forward::{KvOp, Model, ModelError};
use card_core::types::Token;

use super::compare::{agree, compare, fingerprint};
use super::measure::{Behind, PROMPT, STEM, Shape, decode, prefill, read_head};
use super::probes::{
    OTHERS, PIECES, TREES, among_others, check_padding, in_pieces, in_trees, leave_others,
};
use super::report::{SelfTestReport, SizeReport};

/// Sizes that are tried.
pub const SIZES: [usize; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32];
/// Tokens decoded before the comparison starts: few, as in a short chat, and more than
/// the 512 from which on llama.cpp splits the attention of a single row.
pub const HEADS: [usize; 2] = [8, 560];

/// Runs the self-test on `passage` (at least 32 tokens) behind each of the `heads`, which
/// are the passage over and over. A head that does not fit the context is left out. The
/// model's KV cache must be free for it, and is free again afterwards. `progress` hears
/// (done, all) in forwards.
///
/// # Errors
/// If the passage is too short or the model fails.
pub fn run(
    model: &mut dyn Model,
    passage: &[Token],
    heads: &[usize],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SelfTestReport, ModelError> {
    examine(model, passage, heads, true, progress)
}

/// What forwards cost, in a short context, and their classes there: for those who make no
/// promise about bits. Prompts in pieces and other sequences are not tried, and count as
/// giving other logits.
///
/// # Errors
/// As [`run`].
pub fn costs(
    model: &mut dyn Model,
    passage: &[Token],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SelfTestReport, ModelError> {
    examine(model, passage, &HEADS[..1], false, progress)
}

/// The self-test of a model; other sequences and prompts in pieces are tried if `everything` is.
fn examine(
    model: &mut dyn Model,
    passage: &[Token],
    heads: &[usize],
    everything: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SelfTestReport, ModelError> {
    let limits = model.limits();
    let sizes: Vec<usize> = SIZES.into_iter().filter(|&n| n <= limits.rows).collect();
    let largest = sizes.last().copied().unwrap_or(1);
    if passage.len() < largest {
        return Err(ModelError::Failed(format!(
            "the self-test needs {largest} tokens"
        )));
    }
    let room = (limits.context as usize).saturating_sub(passage.len());
    let fitting = heads.iter().copied().filter(|&h| h > 0 && h <= room);
    let heads: Vec<usize> = fitting.collect();
    let chain_only = !limits.rollback.is_free();
    let all = forwards(passage.len(), &sizes, heads.len(), everything, chain_only);
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done, all);
    };
    let longest = heads.iter().copied().max();
    let mut whole: Option<SelfTestReport> = None;
    for head in heads {
        let tried = Tried {
            others: everything,
            // Prompts in pieces are tried behind the longest head only: reading a prompt row by row
            // takes long.
            prompts: everything && Some(head) == longest,
            // A model that verifies chains only never decodes a tree.
            trees: !chain_only,
        };
        let head: Vec<Token> = passage.iter().copied().cycle().take(head).collect();
        let text = Behind {
            head: &head,
            passage,
        };
        let report = behind(model, text, &sizes, tried, &mut step)?;
        whole = Some(match whole {
            None => report,
            Some(earlier) => earlier.and(&report),
        });
    }
    let too_small = || ModelError::Failed("the context is too small for the self-test".into());
    let mut whole = whole.ok_or_else(too_small)?;
    whole.prompts &= everything;
    // Nothing is known of others where none were tried.
    whole.others &= everything && !whole.single;
    whole.single &= everything;
    whole.prefill = prefill(model, passage, largest)?;
    Ok(whole)
}

/// Forwards of a self-test behind so many heads.
fn forwards(
    passage: usize,
    sizes: &[usize],
    heads: usize,
    everything: bool,
    chain_only: bool,
) -> u64 {
    let chains = sizes.iter().map(|&n| passage / n);
    let trees = TREES.iter().filter(|_| !chain_only);
    let trees = trees.map(|&n| passage / (n / 2));
    let mut all = chains.chain(trees).sum::<usize>() * heads;
    if everything {
        let others = OTHERS.iter().map(|&(own, _)| passage / own);
        all += others.sum::<usize>() * heads;
        all += 1 + PIECES.iter().map(|n| PROMPT.div_ceil(*n)).sum::<usize>();
    }
    all as u64
}

/// What is tried behind a head, beside sizes and trees.
#[derive(Clone, Copy)]
struct Tried {
    /// Other sequences in the same forwards.
    others: bool,
    /// Prompts that are read in pieces.
    prompts: bool,
    /// Trees.
    trees: bool,
}

/// The self-test behind one head.
fn behind(
    model: &mut dyn Model,
    text: Behind<'_>,
    sizes: &[usize],
    tried: Tried,
    step: &mut dyn FnMut(),
) -> Result<SelfTestReport, ModelError> {
    read_head(model, text.head)?;
    let chains = Chains::decode(model, text, sizes, step)?;
    let mut report = SelfTestReport {
        sizes: chains.sizes,
        positions: text.passage.len(),
        trees: true,
        prompts: true,
        others: true,
        single: true,
        prefill: None,
        spread: chains.spread,
        coarse: false,
    };
    let passes = chains.passes;
    for size in &mut report.sizes {
        if tried.trees && TREES.contains(&size.rows) {
            let chain = &passes[&size.rows];
            report.trees &= in_trees(model, text, size, chain, &chains.reference, step)?;
        }
    }
    if tried.others {
        report.single = model.limits().cells < text.head.len() + 2 * text.passage.len();
        if let (Some(alone), false) = (passes.get(&1), report.single) {
            match among_others(model, text, alone, step) {
                Ok(same) => report.others = same,
                // A model that keeps a state for each sequence id has ids for as many sequences
                // as may run, and that is one.
                Err(ModelError::Ids { .. }) => {
                    report.single = true;
                    leave_others(model, text.head.len())?;
                }
                Err(error) => return Err(error),
            }
        }
    }
    if tried.prompts {
        report.prompts = in_pieces(model, text, step)?;
    }
    let report = check_padding(model, text, report, &passes)?;
    model.apply(KvOp::Release { sequence: STEM })?;
    Ok(report)
}

/// The passage decoded as a chain, in forwards of each size.
struct Chains {
    /// What each size did, smallest first.
    sizes: Vec<SizeReport>,
    /// Fingerprints of each position's logits, by size.
    passes: BTreeMap<usize, Vec<u64>>,
    /// The logits of each position in forwards of one row.
    reference: Vec<Vec<f32>>,
    /// How far the times of forwards of one row lie apart.
    spread: Option<f64>,
}

impl Chains {
    /// Decodes the passage in forwards of each size. Sizes whose logits are the same bit for bit,
    /// wherever both have some, are of one class.
    fn decode(
        model: &mut dyn Model,
        text: Behind<'_>,
        sizes: &[usize],
        step: &mut dyn FnMut(),
    ) -> Result<Self, ModelError> {
        let mut chains = Chains {
            sizes: Vec::new(),
            passes: BTreeMap::new(),
            reference: Vec::new(),
            spread: None,
        };
        for &rows in sizes {
            let mut size = SizeReport::new(rows);
            let mut hashes = Vec::new();
            let reference = &mut chains.reference;
            let times = decode(model, text, Shape::chain(rows), step, &mut |logits| {
                hashes.push(fingerprint(logits));
                match rows {
                    1 => reference.push(logits.to_vec()),
                    _ => compare(&mut size, &reference[hashes.len() - 1], logits),
                }
            })?;
            size.ms = times.median;
            if rows == 1 {
                chains.spread = times.spread;
            }
            let mut passes = chains.passes.iter();
            if let Some((&class, _)) = passes.find(|(_, earlier)| agree(earlier, &hashes)) {
                size.class = class;
            }
            chains.sizes.push(size);
            chains.passes.insert(rows, hashes);
        }
        Ok(chains)
    }
}
