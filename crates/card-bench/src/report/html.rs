//! A report as one HTML page that needs nothing else.

use card_look::chart::{Bar, BarChart, BarGroup, LineChart, Series, Unit};
use card_look::{Page, stacked, terms, wide};

use super::columns::{FIRST, HEADS, LEGEND, MEANINGS, columns, name};
use super::reading::reading;
use super::table::{BenchReport, BenchRow, Sweep, TableCell};
use crate::stats::Spread;

impl BenchReport {
    /// The report as one HTML page that needs nothing else: what it means, charts, the columns
    /// that matter most, and the rest folded away.
    pub fn html(&self) -> String {
        let mut page = Page::new("en", &self.title);
        if let Some(emulated) = &self.emulated {
            let what =
                format!(" ({emulated}): tokens and acceptance are real, times are the profile's.");
            page.note("Emulated devices", &what);
        }
        for sentence in reading(self) {
            page.lead(&sentence);
        }
        match &self.sweep {
            Some(sweep) => page.add(&self.sweep_chart(sweep).html()),
            None => page.add(&self.speed_chart().html()),
        }
        for cell in &self.cells {
            page.heading(&cell.category);
            page.add(&stacked(&FIRST.map(|i| HEADS[i]), &first_columns(cell)));
        }
        page.add(&format!(
            "<p class=\"hint\">{}.</p>",
            card_look::escape(LEGEND)
        ));
        let bounds = self.bound_charts();
        if !bounds.is_empty() {
            page.fold("How much more was possible", &bounds);
        }
        page.fold("All columns", &self.all_columns());
        page.fold("How this was measured", &self.method());
        page.finish()
    }

    /// The speed-up of each contestant but the first, by category.
    fn speed_chart(&self) -> BarChart {
        BarChart {
            title: "Speed-up over plain decoding: median, with the least and the most".into(),
            axis: "times as fast as plain decoding".into(),
            unit: Unit::Times,
            most: None,
            reference: Some((1.0, "plain decoding".into())),
            groups: self.groups(|r| Some(r.speed_up)),
        }
    }

    /// What was reached of both bounds; empty where they are not known.
    fn bound_charts(&self) -> String {
        let chart = |title: &str, of: fn(&BenchRow) -> Option<Spread>| BarChart {
            title: title.into(),
            axis: "share of the highest possible speed".into(),
            unit: Unit::Share,
            most: Some(1.0),
            reference: None,
            groups: self.groups(of),
        };
        let seeing = chart("Against perfect information", |r| r.of_bound);
        let blind = chart(
            "Against the best schedule that does not know which drafts are right",
            |r| r.of_blind,
        );
        seeing.html() + &blind.html()
    }

    /// A value of each contestant but the first, which the others are compared with.
    fn groups(&self, value: impl Fn(&BenchRow) -> Option<Spread>) -> Vec<BarGroup> {
        let bar = |cell: &TableCell, row: &BenchRow| {
            let spread = value(row)?;
            Some(Bar {
                name: name(cell, row),
                value: spread.median,
                spread: Some((spread.least, spread.most)),
            })
        };
        let group = |cell: &TableCell| {
            let rows = cell.rows.iter().skip(1);
            BarGroup {
                name: cell.category.clone(),
                bars: rows.filter_map(|row| bar(cell, row)).collect(),
            }
        };
        self.cells.iter().map(group).collect()
    }

    /// The speed-ups of each category over what was varied.
    fn sweep_chart(&self, sweep: &Sweep) -> LineChart {
        let line = |cell: &TableCell| {
            let point = |r: &BenchRow| {
                let at = sweep.points.iter().find(|p| p.0 == r.name)?;
                Some((at.1, r.speed_up.median))
            };
            let mut points: Vec<(f64, f64)> = cell.rows.iter().filter_map(point).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series {
                name: cell.category.clone(),
                points,
            }
        };
        LineChart {
            title: "Speed-up over plain decoding, median".into(),
            x: sweep.x.clone(),
            y: "times as fast as plain decoding".into(),
            unit: Unit::Times,
            log: false,
            reference: Some((1.0, "plain decoding".into())),
            series: self.cells.iter().map(line).collect(),
        }
    }

    /// Every column of every category.
    fn all_columns(&self) -> String {
        let table = |cell: &TableCell| {
            let row = |r: &BenchRow| columns(cell, r).to_vec();
            let rows: Vec<Vec<String>> = cell.rows.iter().map(row).collect();
            let label = format!("{}: all columns", cell.category);
            let category = card_look::escape(&cell.category);
            format!("<h3>{category}</h3>{}", wide(&label, &HEADS, &rows))
        };
        self.cells.iter().map(table).collect::<Vec<_>>().join("\n")
    }

    /// What ran, where, and what the columns mean.
    fn method(&self) -> String {
        format!(
            "<p>All contestants answered the same prompts in one run, in turns, so that a slow minute \
             of the machine hits all of them. Figures are medians over the answers, with the least \
             and the most.</p>{}{}",
            terms(&MEANINGS),
            terms(&self.facts)
        )
    }
}

/// The cells of [`FIRST`] for each row.
fn first_columns(cell: &TableCell) -> Vec<Vec<String>> {
    let row = |r: &BenchRow| -> Vec<String> {
        let all = columns(cell, r);
        FIRST.iter().map(|&i| all[i].clone()).collect()
    };
    cell.rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::plain_row;
    use super::*;

    fn report() -> BenchReport {
        BenchReport {
            title: "a <b>".into(),
            emulated: Some("two A100s".into()),
            facts: vec![("model".into(), "x".into())],
            cells: vec![TableCell {
                category: "code".into(),
                prompts: 3,
                rows: vec![plain_row("plain"), plain_row("auto")],
            }],
            sweep: None,
        }
    }

    #[test]
    fn pages_say_what_is_emulated() {
        let report = report();
        assert!(report.html().contains("Emulated devices") && !report.html().contains("a <b>"));
        assert!(report.markdown().contains("Emulated devices"));
    }

    #[test]
    fn what_it_means_comes_first_and_the_method_is_folded_away() {
        let page = report().html();
        let at = |what: &str| {
            page.find(what)
                .unwrap_or_else(|| panic!("no {what}: {page}"))
        };
        assert!(at("class=\"lead\"") < at("<svg"));
        assert!(at("<svg") < at("class=\"stacked\""));
        assert!(at("class=\"stacked\"") < at("τ: tokens for each forward"));
        assert!(at("class=\"stacked\"") < at("<details"));
        assert!(at("<details") < at("<dt>model</dt>"));
    }

    #[test]
    fn what_was_varied_is_a_line() {
        let mut report = report();
        report.sweep = Some(Sweep {
            x: "KiB".into(),
            points: vec![("auto".into(), 8.0)],
        });
        let page = report.html();
        assert!(page.contains("KiB") && page.contains("class=\"stroke c1\""));
    }
}
