//! What is printed about a run and about a model.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use card_core::engine::Round;
use card_core::types::Source;
use card_engine::LaneTimes;
use card_engine::selftest::Report;

use crate::args::SelftestArgs;
use crate::loader;
use crate::models::catalogue::Catalogue;

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

    /// The summary in a few lines, with what the lanes had done before and what by now.
    pub fn print(&self, since: LaneTimes, lanes: LaneTimes) {
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
        if self.deferred > 0 {
            eprintln!(
                "{} near-ties were decided again by a forward of one token",
                self.deferred
            );
        } else if !self.near_ties.is_empty() && speculating {
            let closest = self.near_ties.iter().map(|t| t.1).fold(f32::MAX, f32::min);
            eprintln!(
                "{} near-ties (closest margin {closest:.4}); --exactness strict decides them as \
                 plain decoding does",
                self.near_ties.len()
            );
        }
    }
}

/// `card selftest`.
pub fn selftest(args: &SelftestArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for repack in [true, false] {
        let target = loader::selftest_target(&args.model, catalogue, repack)?;
        if let Some(profile) = target.profile {
            reports.push((repack, target.model.info(), profile.report));
        }
    }
    if args.json {
        let json: Vec<_> = reports
            .iter()
            .map(|(repack, info, report)| {
                serde_json::json!({ "repack": repack, "model": info, "report": report })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (repack, info, report) in &reports {
        println!(
            "{} — weights {}",
            info.description,
            match repack {
                true => "as loaded by default (repacked where llama.cpp can)",
                false => "not repacked",
            }
        );
        print_report(report);
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
    let (least, most) = report.bitwise_range();
    println!(
        "  strict re-decides below a margin of {:.4}; bitwise uses forwards of {least} to {most} rows{}",
        report.margin_bound(),
        match (least, most) {
            (1, 1) => ": plain decoding only",
            (1, _) => "",
            _ => " (padded)",
        }
    );
    println!(
        "  a tree's best path gets the logits of a chain: {}",
        match report.trees {
            true => "yes",
            false => "no, so strict and bitwise verify chains only",
        }
    );
    println!();
}
