//! `--why`: where the time of a schedule went beyond the blind bound, in lines to print.

use card_core::shortfall::{Shortfall, ShortfallPart};

/// A table of the causes for the schedule `name`. `bound_ms` is the blind bound's time of all its
/// tokens.
pub fn table(name: &str, shortfall: &Shortfall, bound_ms: f64) -> Vec<String> {
    let (ms, tokens) = (shortfall.ms(), shortfall.tokens());
    if tokens == 0 || ms <= 0.0 || bound_ms <= 0.0 {
        return vec![format!(
            "  why {name}: it wrote nothing that could be compared"
        )];
    }
    let per_token = bound_ms / tokens as f64;
    let mut lines = vec![format!(
        "  why {name}: {:.0} % of the blind bound, {:.2} ms a token where the bound has {per_token:.2}",
        100.0 * bound_ms / ms,
        ms / tokens as f64,
    )];
    let rounds: u64 = shortfall.parts().iter().map(|p| p.rounds).sum();
    let parts = shortfall.parts();
    let shown = parts.iter().filter(|p| p.ms > 0.0);
    lines.extend(shown.map(|part| line(part, rounds, ms, per_token)));
    lines
}

/// One cause: how many rounds, how many tokens in each, and which share of all time was spent
/// beyond the bound.
fn line(part: &ShortfallPart, rounds: u64, ms: f64, per_token: f64) -> String {
    let beyond = 100.0 * part.beyond_ms(per_token) / ms;
    let of_rounds = if part.rounds == 0 {
        String::new()
    } else {
        format!(
            "{:3.0} % of the rounds, {:5.2} tokens each",
            100.0 * part.rounds as f64 / rounds.max(1) as f64,
            part.tokens as f64 / part.rounds as f64,
        )
    };
    format!(
        "    {beyond:+6.1} % of the time  {:34} {of_rounds}",
        part.cause.words()
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_is_said_to_be_nothing() {
        let lines = table("auto", &Shortfall::default(), 10.0);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("nothing"), "{lines:?}");
    }

    #[test]
    fn a_cause_is_shown_with_its_share_of_the_time() {
        let part = ShortfallPart {
            cause: card_core::shortfall::ShortfallCause::Waiting,
            rounds: 0,
            tokens: 0,
            ms: 25.0,
        };
        let shown = line(&part, 4, 100.0, 7.0);
        assert!(shown.contains("+25.0 % of the time"), "{shown}");
        assert!(shown.ends_with("waited for drafts"), "{shown}");
        let rounds = ShortfallPart {
            cause: card_core::shortfall::ShortfallCause::Ended,
            rounds: 2,
            tokens: 10,
            ms: 100.0,
        };
        let shown = line(&rounds, 4, 200.0, 7.0);
        assert!(shown.contains("+15.0 %") && shown.contains("50 % of the rounds"));
        assert!(shown.contains("5.00 tokens each"), "{shown}");
    }
}
