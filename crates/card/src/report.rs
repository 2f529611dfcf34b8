//! What is printed about a run and about a model.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use card_core::engine::Round;
use card_core::types::Source;
use card_engine::LaneTimes;
use card_engine::selftest::{Exactness, Means, Report};
use card_llama::Kernels;

use crate::args::{KernelsArg, SelftestArgs};
use crate::devices;
use crate::holds::Holds;
use crate::kernels;
use crate::loader;
use card_setup::models::catalogue::Catalogue;

/// Counts over one generation.
#[derive(Debug, Default)]
pub struct Summary {
    pub prompt_tokens: usize,
    pub tokens: usize,
    pub rounds: usize,
    hits: usize,
    misses: usize,
    offered: usize,
    accepted: [usize; Source::ALL.len()],
    accepted_in_all: usize,
    deferred: usize,
    near_ties: Vec<(u32, f32)>,
    pub first_token: Option<Duration>,
    pub total: Duration,
    decode: Duration,
    decode_tokens: usize,
}

impl Summary {
    /// Nothing yet, for a prompt of so many tokens.
    pub fn of_prompt(prompt_tokens: usize) -> Self {
        Summary {
            prompt_tokens,
            ..Summary::default()
        }
    }

    /// Counts a round.
    pub fn add(&mut self, round: &Round) {
        self.near_ties.extend(&round.near_ties);
        if round.prefill {
            return;
        }
        self.rounds += 1;
        self.decode += round.elapsed;
        self.decode_tokens += round.tokens.len();
        self.offered += round.offered;
        self.deferred += usize::from(round.deferred);
        match round.hit {
            Some(true) => self.hits += 1,
            Some(false) => self.misses += 1,
            None => {}
        }
        for sources in &round.accepted {
            self.accepted_in_all += 1;
            for source in sources.iter() {
                self.accepted[source.index()] += 1;
            }
        }
    }

    /// The summary in a few lines, with what the lanes had done before and what by now, and
    /// what holds of the text.
    pub fn print(&self, since: LaneTimes, lanes: LaneTimes, holds: &Holds) {
        let drafting = lanes.draft_forwards > since.draft_forwards;
        let speculating = self.offered > 0 || drafting;
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let rate = self.decode_tokens as f64 / self.decode.as_secs_f64().max(1e-9);
        eprintln!(
            "{} tokens, {rate:.2} tokens/s; first token after {:.0} ms ({} prompt tokens)",
            self.tokens,
            self.first_token.map_or(0.0, ms),
            self.prompt_tokens
        );
        let work = |now: Duration, before: Duration| {
            100.0 * (now.saturating_sub(before)).as_secs_f64() / self.total.as_secs_f64().max(1e-9)
        };
        let target = work(lanes.target, since.target);
        let draft = work(lanes.draft, since.draft);
        let overhead = lanes.overhead.saturating_sub(since.overhead);
        let forwards = (lanes.forwards - since.forwards).max(1);
        if speculating && self.rounds > 0 {
            let decisions = (self.hits + self.misses).max(1);
            eprintln!(
                "mean accepted length {:.2} over {} rounds; hit rate {:.0} %; verified {} candidates",
                self.decode_tokens as f64 / self.rounds as f64,
                self.rounds,
                100.0 * self.hits as f64 / decisions as f64,
                self.offered
            );
            let by_source: Vec<String> = Source::ALL
                .into_iter()
                .filter(|s| self.accepted[s.index()] > 0)
                .map(|s| format!("{} {}", s.name(), self.accepted[s.index()]))
                .collect();
            eprintln!(
                "accepted {} of {}{}",
                self.accepted_in_all,
                self.offered,
                match by_source.is_empty() {
                    true => String::new(),
                    false => format!(" (by source: {})", by_source.join(", ")),
                }
            );
        }
        eprintln!(
            "target lane worked {target:.0} %{}; engine {:.3} ms per forward",
            match drafting {
                true => format!(", drafter worked {draft:.0} %"),
                false => String::new(),
            },
            ms(overhead) / forwards as f64
        );
        eprintln!("{holds}");
        if self.deferred > 0 {
            eprintln!(
                "{} near-ties were decided again by a forward of their own",
                self.deferred
            );
        } else if holds.level == Exactness::Fast && !self.near_ties.is_empty() && speculating {
            let closest = self.near_ties.iter().map(|t| t.1).fold(f32::MAX, f32::min);
            eprintln!(
                "{} near-ties (closest margin {closest:.4}); --exactness exact decides them as \
                 plain decoding does",
                self.near_ties.len()
            );
        }
    }
}

/// What was found of one layout of the weights.
struct Tested {
    kernels: Kernels,
    info: card_llama::ModelInfo,
    report: Report,
}

impl Tested {
    /// Tokens a second that speculation under `exact` can reach.
    fn promise(&self) -> f64 {
        1e3 * self.report.promise(&self.report.shapes(Exactness::Exact))
    }
}

/// `card selftest`.
pub fn selftest(args: &SelftestArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let own = || kernels::own().is_some();
    let layouts = match args.model.kernels {
        KernelsArg::Auto if devices::target_elsewhere(&args.model) => vec![Kernels::Ggml],
        KernelsArg::Auto if own() => vec![Kernels::Card, Kernels::Ggml, Kernels::GgmlPlain],
        KernelsArg::Card if own() => vec![Kernels::Card],
        KernelsArg::Card => bail!("card's own kernels cannot be used here; -v says why"),
        KernelsArg::Auto | KernelsArg::Ggml => vec![Kernels::Ggml, Kernels::GgmlPlain],
    };
    let mut tested = Vec::new();
    for kernels in layouts {
        let target = loader::selftest_target(&args.model, catalogue, kernels)?;
        if let Some(profile) = target.profile {
            tested.push(Tested {
                kernels,
                info: target.model.info(),
                report: profile.report,
            });
        }
    }
    if args.json {
        let json: Vec<_> = tested
            .iter()
            .map(|t| {
                serde_json::json!({
                    "kernels": t.kernels,
                    "means": t.report.means(),
                    "model": t.info,
                    "report": t.report,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(ExitCode::SUCCESS);
    }
    let words = |t: &Tested| kernels::called(&args.model, t.kernels);
    for t in &tested {
        println!("{} — {}", t.info.description, words(t));
        print_report(&t.report);
    }
    println!("tokens/s with 4 of 5 candidates right, if the text has to be plain decoding's:");
    for t in &tested {
        println!(
            "  {:38} {:7.1}  {}",
            words(t),
            t.promise(),
            t.report.means()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(report: &Report) {
    println!("  rows  class  ms/forward  max. difference  margin shift  flips");
    for s in &report.sizes {
        println!(
            "  {:4}  {:>5}  {:10.2}  {:15.4}  {:12.4}  {}",
            s.rows,
            if s.class > 1000 {
                "-".into()
            } else {
                s.class.to_string()
            },
            s.ms,
            s.max_diff,
            s.margin_shift,
            match s.flips {
                0 => "none".into(),
                n => format!("{n}, margin up to {:.3}", s.flip_margin),
            }
        );
    }
    let yes = |found: bool| if found { "yes" } else { "no" };
    println!(
        "  the same logits for a tree's best path as in a chain: {}; for a prompt however it is \
         read: {}; among other sequences: {}",
        yes(report.trees),
        yes(report.prompts),
        match report.single {
            true => "not tried, there is no room for them",
            false => yes(report.others),
        }
    );
    let (least, most) = report.bitwise_range();
    let means = report.means();
    println!(
        "  exact: {means}{}",
        match means {
            Means::AnyShape => String::new(),
            Means::OneClass if least == 1 => format!(", at most {most} rows"),
            Means::OneClass => format!(", {least} (padded) to {most} rows"),
            Means::NearTies => format!(", below a margin of {:.4}", report.margin_bound()),
        }
    );
    println!();
}
