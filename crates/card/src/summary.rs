//! What is printed about a generation when it has ended.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use card_bench::counts::TokenCounts;
use card_core::scheduler::Round;
use card_core::types::SourceSet;
use card_core::words::counted;
use card_engine::LaneTimes;
use card_engine::selftest::Exactness;
use card_setup::TextGuarantee;

/// How remarks are set apart from what matters.
pub const GREY: Style = AnsiColor::BrightBlack.on_default();

/// What the words of a summary mean.
const LEGEND: &str = "mean accepted length (τ): tokens for each forward of the target, plain \
    decoding has 1; hit: the target's own token was among the cached candidates, so those below it \
    were kept; worked: share of the time";

/// Counts over one generation.
#[derive(Debug, Default)]
pub struct Summary {
    pub prompt_tokens: usize,
    /// Forwards of the target that decoded.
    pub rounds: usize,
    /// The tokens of the text that were shown, by who proposed them.
    counts: TokenCounts,
    /// Those of them that came with the forward that read the prompt.
    with_prompt: usize,
    hits: usize,
    misses: usize,
    offered: usize,
    deferred: usize,
    refused: usize,
    near_ties: Vec<(u32, f32)>,
    pub first_token: Option<Duration>,
    pub total: Duration,
    /// Time of the rounds that decoded.
    decode: Duration,
    /// The accepted candidates of the round whose tokens come next, and whether it read the prompt.
    pending: (Vec<SourceSet>, bool),
}

impl Summary {
    /// Nothing yet, for a prompt of so many tokens.
    pub fn of_prompt(prompt_tokens: usize) -> Self {
        Summary {
            prompt_tokens,
            ..Summary::default()
        }
    }

    /// Counts a round. What it wrote comes next ([`Summary::wrote`]), if it wrote something.
    pub fn add(&mut self, round: &Round) {
        self.near_ties.extend(&round.near_ties);
        self.pending = (round.accepted.clone(), round.prefill);
        if round.prefill {
            return;
        }
        self.rounds += 1;
        self.decode += round.elapsed;
        self.offered += round.offered;
        self.deferred += usize::from(round.deferred);
        self.refused += round.refused;
        match round.hit {
            Some(true) => self.hits += 1,
            Some(false) => self.misses += 1,
            None => {}
        }
    }

    /// Counts the tokens of the last round that became text.
    pub fn wrote(&mut self, tokens: usize) {
        let (accepted, with_prompt) = std::mem::take(&mut self.pending);
        self.counts.add(&TokenCounts::of_round(tokens, &accepted));
        if with_prompt {
            self.with_prompt += tokens;
        }
    }

    /// Tokens that came after the prompt was read.
    fn decoded(&self) -> usize {
        self.counts.all() - self.with_prompt
    }

    /// The most important figures in a line.
    pub fn brief(&self) -> String {
        let mut line = counted(self.counts.all(), "token");
        if self.decoded() > 0 {
            line += &format!(", {:.1} tokens/s", self.rate());
        }
        if self.offered > 0 {
            line += &format!(", {:.2} tokens a forward", self.mean_accepted_length());
        }
        line
    }

    /// Tokens per second after the first.
    fn rate(&self) -> f64 {
        self.decoded() as f64 / self.decode.as_secs_f64().max(1e-9)
    }

    fn mean_accepted_length(&self) -> f64 {
        self.decoded() as f64 / self.rounds.max(1) as f64
    }

    /// Prints the summary, with what the lanes had done before and what by now, and what holds of
    /// the text.
    pub fn print(&self, since: LaneTimes, lanes: LaneTimes, guarantee: &TextGuarantee) {
        for line in self.lines(since, lanes, guarantee) {
            eprintln!("{line}");
        }
        if self.speculated(since, lanes) {
            anstream::eprintln!("{GREY}{LEGEND}{GREY:#}");
        }
    }

    fn speculated(&self, since: LaneTimes, lanes: LaneTimes) -> bool {
        let drafted = lanes.draft_forwards > since.draft_forwards;
        (self.offered > 0 || drafted) && self.rounds > 0
    }

    fn lines(&self, since: LaneTimes, lanes: LaneTimes, guarantee: &TextGuarantee) -> Vec<String> {
        let mut lines = vec![format!(
            "{}, {:.2} tokens/s; first token after {:.0} ms ({})",
            counted(self.counts.all(), "token"),
            self.rate(),
            self.first_token.map_or(0.0, ms),
            counted(self.prompt_tokens, "prompt token")
        )];
        if self.speculated(since, lanes) {
            lines.extend(self.speculation());
        }
        lines.push(self.lanes(since, lanes));
        lines.push(guarantee.to_string());
        lines.extend(self.near_ties(guarantee));
        lines
    }

    /// What came of the candidates. The parts of the first line add up to all tokens.
    fn speculation(&self) -> Vec<String> {
        let counts = &self.counts;
        let verified = match self.offered {
            0 => "no candidate was verified".to_owned(),
            1 => "1 candidate was verified".to_owned(),
            n => format!("{n} candidates were verified"),
        };
        let by_sources = counts.by_sources().into_iter();
        let by_sources: Vec<String> = by_sources.map(|(who, n)| format!("{who} {n}")).collect();
        let from = match by_sources.is_empty() {
            true => String::new(),
            false => format!(" ({})", by_sources.join(", ")),
        };
        let accepted = counted(counts.accepted(), "accepted candidate");
        let mut length = format!(
            "mean accepted length {:.2} over {}",
            self.mean_accepted_length(),
            counted(self.rounds, "round")
        );
        let decisions = self.hits + self.misses;
        if decisions > 0 {
            let share = 100.0 * self.hits as f64 / decisions as f64;
            length += &format!("; {} of {decisions} a hit ({share:.0} %)", self.hits);
        }
        let mut lines = vec![
            format!(
                "{accepted}{from} + {} of the target's own; {verified}",
                counts.own()
            ),
            length,
        ];
        if self.refused > 0 {
            let refused = counted(self.refused, "proposal");
            lines.push(format!(
                "{refused} left out: the grammar refuses what they propose"
            ));
        }
        lines
    }

    /// How busy the lanes were.
    fn lanes(&self, since: LaneTimes, lanes: LaneTimes) -> String {
        let work = |now: Duration, before: Duration| {
            100.0 * (now.saturating_sub(before)).as_secs_f64() / self.total.as_secs_f64().max(1e-9)
        };
        let target = work(lanes.target, since.target);
        let overhead = lanes.overhead.saturating_sub(since.overhead);
        let forwards = (lanes.forwards - since.forwards).max(1);
        let drafter = if lanes.draft_forwards > since.draft_forwards {
            format!(", drafter worked {:.0} %", work(lanes.draft, since.draft))
        } else {
            String::new()
        };
        format!(
            "target lane worked {target:.0} %{drafter}; engine {:.3} ms per forward",
            ms(overhead) / forwards as f64
        )
    }

    fn near_ties(&self, guarantee: &TextGuarantee) -> Option<String> {
        if self.deferred > 0 {
            let was = if self.deferred == 1 { "was" } else { "were" };
            let ties = counted(self.deferred, "near-tie");
            return Some(format!(
                "{ties} {was} decided again by a forward of {}",
                if self.deferred == 1 {
                    "its own"
                } else {
                    "their own"
                }
            ));
        }
        let may_differ = guarantee.level == Exactness::Fast && self.offered > 0;
        (may_differ && !self.near_ties.is_empty()).then(|| {
            let closest = self.near_ties.iter().map(|t| t.1).fold(f32::MAX, f32::min);
            format!(
                "{} (closest margin {closest:.4}); --exactness exact decides as plain decoding does",
                counted(self.near_ties.len(), "near-tie")
            )
        })
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use card_core::types::Source;

    use super::*;

    fn guarantee(level: Exactness) -> TextGuarantee {
        TextGuarantee {
            level,
            means: None,
            kernels: "own kernels".into(),
        }
    }

    /// The first token with the prompt, then a round of three tokens and one of one.
    fn summary() -> Summary {
        let draft = SourceSet::of(Source::Draft);
        let both = draft.union(SourceSet::of(Source::PromptLookup));
        let mut summary = Summary {
            rounds: 2,
            offered: 5,
            hits: 1,
            misses: 1,
            decode: Duration::from_millis(100),
            ..Summary::of_prompt(1)
        };
        for (written, accepted, with_prompt) in [
            (1, vec![], true),
            (3, vec![draft, both], false),
            // One token behind what was accepted ended the text.
            (1, vec![draft, draft], false),
        ] {
            summary.pending = (accepted, with_prompt);
            summary.wrote(written);
        }
        summary
    }

    fn said(summary: &Summary) -> String {
        let none = LaneTimes::default();
        let lines = summary.lines(none, none, &guarantee(Exactness::Exact));
        lines.join("\n")
    }

    #[test]
    fn counts_agree_with_each_other() {
        let said = said(&summary());
        assert!(said.starts_with("5 tokens, 40.00 tokens/s;"), "{said}");
        let parts =
            "3 accepted candidates (draft 2, draft+prompt_lookup 1) + 2 of the target's own";
        assert!(said.contains(parts), "{said}");
        assert!(
            said.contains("length 2.00 over 2 rounds; 1 of 2 a hit (50 %)"),
            "{said}"
        );
        let brief = summary().brief();
        assert_eq!(brief, "5 tokens, 40.0 tokens/s, 2.00 tokens a forward");
    }

    #[test]
    fn one_is_singular() {
        let mut one = Summary {
            rounds: 1,
            offered: 1,
            deferred: 1,
            ..Summary::of_prompt(1)
        };
        one.wrote(1);
        let said = said(&one);
        for words in [
            "1 token,",
            "(1 prompt token)",
            "1 candidate was verified",
            "over 1 round",
            "1 near-tie was decided again by a forward of its own",
        ] {
            assert!(said.contains(words), "{words:?} is not in {said}");
        }
    }

    #[test]
    fn without_candidates_nothing_is_said_of_hits() {
        let mut plain = Summary::of_prompt(3);
        plain.wrote(2);
        let said = said(&plain);
        assert!(
            !said.contains("hit") && !said.contains("candidate"),
            "{said}"
        );
        assert_eq!(plain.brief().matches("forward").count(), 0);
    }
}
