//! A report as one HTML page that needs nothing else.

use std::fmt::Write;

use super::columns::{HEADS, columns};
use super::table::{BenchReport, BenchRow, Sweep, TableCell};
use crate::page::{PAGE_HEAD, escape};
use crate::plot::{self, Series};

impl BenchReport {
    /// The report as one HTML page that needs nothing else.
    pub fn html(&self) -> String {
        let mut page = String::from(PAGE_HEAD);
        let _ = write!(page, "<title>{0}</title><h1>{0}</h1>", escape(&self.title));
        self.facts_as_html(&mut page);
        let groups: Vec<String> = self.cells.iter().map(|c| c.category.clone()).collect();
        page.push_str(&plot::bars(
            "Speed-up, median",
            &groups,
            &self.series(|r| Some(r.speed_up.median)),
        ));
        if let Some(sweep) = &self.sweep {
            page.push_str(&self.sweep_plot(sweep));
        }
        let bounded = self.series(|r| r.of_bound.map(|b| b.median));
        if !bounded.is_empty() {
            page.push_str(&plot::bars(
                "Share of what perfect information could reach",
                &groups,
                &bounded,
            ));
            page.push_str(&plot::bars(
                "Share of the best that is possible without knowing which drafts are right",
                &groups,
                &self.series(|r| r.of_blind.map(|b| b.median)),
            ));
        }
        for cell in &self.cells {
            table(&mut page, cell);
        }
        page
    }

    fn facts_as_html(&self, page: &mut String) {
        if let Some(emulated) = &self.emulated {
            let _ = write!(
                page,
                "<p class=note><b>Emulated devices</b> ({}): tokens and acceptance are real, times are the profile's.</p>",
                escape(emulated)
            );
        }
        page.push_str("<dl>");
        for (name, value) in &self.facts {
            let _ = write!(page, "<dt>{}<dd>{}", escape(name), escape(value));
        }
        page.push_str("</dl>");
    }

    /// A value of each contestant but the first, which the others are compared with, by
    /// category.
    fn series(&self, value: impl Fn(&BenchRow) -> Option<f64>) -> Vec<Series> {
        let contestants: &[BenchRow] = match self.cells.first() {
            Some(cell) => &cell.rows,
            None => &[],
        };
        let mut all = Vec::new();
        for (k, contestant) in contestants.iter().enumerate().skip(1) {
            let points = self.cells.iter().enumerate();
            let points = points.filter_map(|(i, c)| Some((i as f64, value(&c.rows[k])?)));
            all.push(Series {
                name: contestant.name.clone(),
                points: points.collect(),
            });
        }
        all.retain(|s| !s.points.is_empty());
        all
    }

    /// The speed-ups of each category over what was varied.
    fn sweep_plot(&self, sweep: &Sweep) -> String {
        let line = |cell: &TableCell| Series {
            name: cell.category.clone(),
            points: cell
                .rows
                .iter()
                .filter_map(|r| {
                    let point = sweep.points.iter().find(|p| p.0 == r.name)?;
                    Some((point.1, r.speed_up.median))
                })
                .collect(),
        };
        let lines: Vec<Series> = self.cells.iter().map(line).collect();
        plot::lines("Speed-up, median", &sweep.x, "times plain decoding", &lines)
    }
}

fn table(page: &mut String, cell: &TableCell) {
    let _ = write!(
        page,
        "<h2>{}</h2><div class=wide><table><tr>",
        escape(&cell.category)
    );
    for head in HEADS {
        let _ = write!(page, "<th>{head}");
    }
    for row in &cell.rows {
        page.push_str("<tr>");
        for value in columns(row) {
            let _ = write!(page, "<td>{}", escape(&value));
        }
    }
    page.push_str("</table></div>");
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::plain_row;
    use super::*;

    #[test]
    fn pages_say_what_is_emulated() {
        let report = BenchReport {
            title: "a <b>".into(),
            emulated: Some("two A100s".into()),
            facts: vec![("model".into(), "x".into())],
            cells: vec![TableCell {
                category: "code".into(),
                rows: vec![plain_row("plain"), plain_row("auto")],
            }],
            sweep: None,
        };
        assert!(report.html().contains("Emulated devices") && !report.html().contains("a <b>"));
        assert!(report.markdown().contains("Emulated devices"));
    }
}
