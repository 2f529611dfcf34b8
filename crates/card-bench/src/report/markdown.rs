//! A report as Markdown.

use std::fmt::Write;

use super::columns::{HEADS, MEANINGS, columns};
use super::reading::reading;
use super::table::{BenchReport, TableCell};

impl BenchReport {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", self.title);
        if let Some(emulated) = &self.emulated {
            let _ = writeln!(
                out,
                "**Emulated devices** ({emulated}): tokens and acceptance are real, times are the profile's.\n"
            );
        }
        for sentence in reading(self) {
            let _ = writeln!(out, "{sentence}\n");
        }
        for (name, value) in &self.facts {
            let _ = writeln!(out, "- {name}: {value}");
        }
        out.push_str("\nMedian (least–most) over the prompts; speed-up is against plain decoding of the same prompt in the same run, from the first token on; over the whole answer, the time to the first token counts too.\n");
        for cell in &self.cells {
            table(&mut out, cell);
        }
        out.push_str("\n## What the columns mean\n\n");
        for (name, meaning) in MEANINGS {
            let _ = writeln!(out, "- **{name}**: {meaning}");
        }
        out
    }
}

fn table(out: &mut String, cell: &TableCell) {
    let _ = write!(
        out,
        "\n## {}\n\n| {} |\n{}|\n",
        cell.category,
        HEADS.join(" | ").trim_start(),
        "|---".repeat(HEADS.len())
    );
    for row in &cell.rows {
        let [name, values @ ..] = columns(cell, row);
        let _ = writeln!(out, "| {name} | {} |", values.join(" | "));
    }
}
