//! `--show-cache`: each round's candidates as a tree, and what the target made of them.

use anstyle::{AnsiColor, Style};
use card_bench::counts::name_of;
use card_core::scheduler::Round;
use card_core::types::Token;
use card_core::words::counted;
use card_llama::Vocab;

const ACCEPTED: Style = AnsiColor::Green.on_default().bold();
const REJECTED: Style = AnsiColor::BrightBlack.on_default();
const HIT: Style = AnsiColor::Yellow.on_default().bold();
const MISS: Style = AnsiColor::Red.on_default().bold();

/// Prints one round.
pub fn round(number: usize, round: &Round, vocab: &Vocab) {
    let text = |token| quoted(&[token], vocab);
    anstream::println!(
        "\n{REJECTED}round {number}: {} verified in {:.1} ms{REJECTED:#}",
        counted(round.offered, "candidate"),
        round.forward.as_secs_f64() * 1e3
    );
    let mut stack: Vec<(usize, usize)> = children(round, None).map(|i| (i, 0)).collect();
    stack.reverse();
    while let Some((i, depth)) = stack.pop() {
        let node = &round.nodes[i];
        let style = if node.accepted { ACCEPTED } else { REJECTED };
        let mark = if node.accepted { "✓" } else { "✗" };
        anstream::println!(
            "  {}{style}{mark} {}{style:#} {REJECTED}{} {:.2}, reach {:.2}{REJECTED:#}",
            "  ".repeat(depth),
            text(node.token),
            name_of(node.sources),
            node.prob,
            node.reach
        );
        let below: Vec<_> = children(round, Some(i)).map(|c| (c, depth + 1)).collect();
        stack.extend(below.into_iter().rev());
    }
    let accepted = round.accepted.len().min(round.tokens.len());
    if let Some(&own) = round.tokens.get(accepted) {
        let (style, what) = match round.hit {
            Some(true) => (HIT, hit(round.survivors)),
            // Nothing was in the cache that could have been a hit.
            Some(false) if round.cached_bytes == 0 => (MISS, "nothing was proposed".into()),
            Some(false) => (MISS, "miss, the cache starts over".into()),
            None => (HIT, "the end".into()),
        };
        anstream::println!(
            "  {style}→ {}{style:#} {REJECTED}{what}{REJECTED:#}",
            text(own)
        );
    }
    if round.deferred {
        anstream::println!("  {HIT}a near-tie is decided again by itself{HIT:#}");
    }
}

/// Tokens as text in quotes.
fn quoted(tokens: &[Token], vocab: &Vocab) -> String {
    let pieces = tokens.iter().flat_map(|&token| vocab.piece(token, true));
    let bytes: Vec<u8> = pieces.collect();
    format!("{:?}", String::from_utf8_lossy(&bytes))
}

/// The target's own token was in the cache, and so many candidates below it go on.
fn hit(survivors: usize) -> String {
    let go_on = if survivors == 1 {
        "survives"
    } else {
        "survive"
    };
    format!("hit, {} {go_on}", counted(survivors, "candidate"))
}

fn children(round: &Round, parent: Option<usize>) -> impl Iterator<Item = usize> + '_ {
    let nodes = round.nodes.iter().enumerate();
    nodes
        .filter(move |(_, n)| n.parent == parent)
        .map(|(i, _)| i)
}

/// Why a round was scheduled as it was and what it wrote, in a line.
pub fn why(number: usize, round: &Round, vocab: &Vocab) -> String {
    let why = &round.why;
    let per_second = |rate: f64| 1e3 * rate;
    let foresight = why.foresight.map_or(String::new(), |next| {
        format!(
            "; {} promised {:.2} tokens for {:.0} ms, worth {:.2}",
            counted(next.steps, "more draft step"),
            next.tokens,
            next.ms,
            next.ms * why.rate
        )
    });
    let gated = if why.gated {
        "; the drafter rests, since it costs more than it brings"
    } else {
        ""
    };
    format!(
        "round {number}: {}, {} of {} verified (expected {:.2} tokens in {:.0} ms; got {} in \
         {:.0} ms){foresight}{gated}; a second is worth {:.1} tokens, {:.1} by plain decoding; wrote {}",
        counted(why.drafted, "draft step"),
        why.taken,
        counted(why.ready, "candidate"),
        why.expected,
        why.forward_ms,
        round.tokens.len(),
        round.forward.as_secs_f64() * 1e3,
        per_second(why.rate),
        per_second(why.plain),
        quoted(&round.tokens, vocab)
    )
}
