//! `card selftest`: which forwards give the same logits here, and what each costs.

use std::process::ExitCode;

use anyhow::{Result, bail};
use card_core::words::counted;
use card_engine::selftest::{Exactness, Means, SelfTestReport, StateTimes};
use card_llama::Kernels;
use card_setup::models::catalogue::Catalogue;
use card_setup::{KernelChoice, Settings, devices, kernels, loader, state_times};

use crate::args::SelftestArgs;

/// What was found of one layout of the weights.
struct Tested {
    kernels: Kernels,
    info: card_llama::ModelInfo,
    report: SelfTestReport,
    /// What its states take, if it has one per sequence.
    states: Option<StateTimes>,
}

impl Tested {
    /// Tokens a second that speculation under `exact` can reach.
    fn promise(&self) -> f64 {
        1e3 * self.report.promise(&self.report.shapes(Exactness::Exact))
    }
}

/// `card selftest`.
pub fn run(args: &SelftestArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let settings = args.model.settings();
    let layouts = layouts(&settings)?;
    let mut tested = Vec::new();
    for kernels in layouts {
        let target = loader::tested_target(&settings, catalogue, kernels)?;
        if let Some(report) = target.report {
            tested.push(Tested {
                kernels,
                info: target.model.info(),
                report,
                states: state_times(&settings, &target.model)?,
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
                    "states": t.states,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(ExitCode::SUCCESS);
    }
    let words = |t: &Tested| kernels::called(&settings, t.kernels);
    for t in &tested {
        println!("{} — {}", t.info.description, words(t));
        print_report(&t.report);
        if let Some(states) = &t.states {
            println!("  {states}");
        }
        println!();
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
    let best = tested
        .iter()
        .max_by(|a, b| a.promise().total_cmp(&b.promise()));
    if let Some(best) = best {
        println!("{}", verdict(best.report.means(), &words(best)));
    }
    Ok(ExitCode::SUCCESS)
}

/// What holds of the text with the fastest kernels, for whoever reads no table.
fn verdict(means: Means, kernels: &str) -> String {
    let holds = match means {
        Means::AnyShape => "every mode writes plain decoding's text: its logits, bit for bit",
        Means::OneClass => {
            "every mode writes plain decoding's text, one generation at a time: its logits, bit for \
             bit"
        }
        Means::NearTies => {
            "every mode writes plain decoding's text, as long as the margin above covers every near-tie"
        }
        Means::PlainOnly => "only plain decoding is known to write its text",
    };
    format!("on this machine, with {kernels}, {holds}")
}

/// The layouts of the weights to test.
fn layouts(settings: &Settings) -> Result<Vec<Kernels>> {
    let own = || kernels::own().is_some();
    Ok(match settings.kernels {
        KernelChoice::Auto if devices::target_elsewhere(settings) => vec![Kernels::Ggml],
        KernelChoice::Auto if own() => vec![Kernels::Card, Kernels::Ggml, Kernels::GgmlPlain],
        KernelChoice::Card if own() => vec![Kernels::Card],
        KernelChoice::Card => bail!("card's own kernels cannot be used here; -v says why"),
        KernelChoice::Auto | KernelChoice::Ggml => vec![Kernels::Ggml, Kernels::GgmlPlain],
    })
}

fn print_report(report: &SelfTestReport) {
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
        if report.single {
            "not tried, there is no room for them"
        } else {
            yes(report.others)
        }
    );
    let (least, most) = report.bitwise_range();
    let means = report.means();
    println!(
        "  exact: {means}{}",
        match means {
            Means::AnyShape | Means::PlainOnly => String::new(),
            Means::OneClass if least == 1 => format!(", at most {}", counted(most, "row")),
            Means::OneClass => format!(", {least} (padded) to {}", counted(most, "row")),
            Means::NearTies => format!(", below a margin of {:.4}", report.margin_bound()),
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_holds() {
        let said = verdict(Means::AnyShape, "card's kernels");
        assert_eq!(
            said,
            "on this machine, with card's kernels, every mode writes plain decoding's text: its \
             logits, bit for bit"
        );
        assert!(verdict(Means::OneClass, "").contains("one generation at a time"));
        assert!(verdict(Means::NearTies, "").contains("as long as"));
        assert!(!verdict(Means::PlainOnly, "").contains("every mode"));
    }
}
