//! The results of a bench, printed as a table: the figures, what the columns are, and what the
//! figures mean.

use card_bench::contest::{Contestant, Results};
use card_bench::report::{
    BenchReport, BenchRow, BoundInputs, LEGEND, TableCell, reading, text_bounds, words_against,
};
use card_core::shortfall::Shortfall;
use card_core::words::counted;

use crate::why;

/// Prints a report.
pub fn print(report: &BenchReport) {
    if let Some(emulated) = &report.emulated {
        println!("emulated devices: {emulated}");
    }
    for cell in &report.cells {
        println!("{} ({})", cell.category, counted(cell.prompts, "prompt"));
        for row in &cell.rows {
            println!("{}", line(cell, row));
        }
    }
    println!(
        "\nspeed-up over plain decoding, median (least–most), from the first token on, and over the \
         whole answer; {LEGEND}"
    );
    let mut rows = report.cells.iter().flat_map(|c| &c.rows);
    if rows.any(|r| r.of_bound.is_some()) {
        println!(
            "bound: share of what perfect information could reach, of the best without it on \
             average, and of what that reaches on these very texts (docs/bounds.md)"
        );
    }
    println!();
    for sentence in reading(report) {
        println!("{sentence}");
    }
}

/// Prints where the time of card and auto went beyond the blind bound, all texts together.
pub fn print_why(contestants: &[Contestant], results: &Results, known: &BoundInputs, tasks: usize) {
    let bounds = text_bounds(known, contestants, results, tasks);
    let bound_ms: f64 = bounds.iter().map(|b| b.blind_ms).sum();
    for (k, contestant) in contestants.iter().enumerate() {
        if !matches!(&contestant.name[..], "card" | "auto") {
            continue;
        }
        let mut shortfall = Shortfall::default();
        for samples in results {
            shortfall.merge(&samples[k].shortfall);
        }
        for line in why::table(&contestant.name, &shortfall, bound_ms) {
            println!("{line}");
        }
    }
}

/// A row of the table.
fn line(cell: &TableCell, r: &BenchRow) -> String {
    format!(
        "  {:30} {:18} whole {:18} {:6.2} tokens/s  τ {:5.2}  hits {:3.0} %  idle {:2.0}/{:2.0} %{}{}{}",
        r.name,
        r.speed_up.to_string(),
        r.answer_speed_up.to_string(),
        r.tokens_per_second.median,
        r.mean_accepted_length,
        100.0 * r.hit_rate,
        100.0 * r.target_idle,
        100.0 * r.draft_idle,
        bound(r),
        differing(r),
        against(cell, r),
    )
}

/// What speaks against the speed-up, in a word each.
fn against(cell: &TableCell, r: &BenchRow) -> String {
    let words = words_against(cell, r).into_iter();
    words.map(|word| format!("  {word}")).collect()
}

/// Shares of the bounds that were reached.
fn bound(r: &BenchRow) -> String {
    let Some((seeing, blind)) = r.of_bound.zip(r.of_blind) else {
        return String::new();
    };
    let [seeing, blind] = [seeing, blind].map(|b| 100.0 * b.median);
    let lived = r.of_lived.map_or(String::new(), |lived| {
        format!(", as it came {:.0} %", 100.0 * lived.median)
    });
    format!("  bound {seeing:.0}/{blind:.0} %{lived}")
}

/// How many texts differ from plain decoding's.
fn differing(r: &BenchRow) -> String {
    match r.same_text {
        Some(n) if n < r.runs => {
            let widest = r.left_at.iter().copied().fold(0.0, f32::max);
            let texts = counted(r.runs - n, "text");
            format!("  {texts} left plain's at margins up to {widest:.3}")
        }
        _ => String::new(),
    }
}
