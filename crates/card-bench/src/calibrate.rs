//! A page that shows what forwards cost here, and which placement of the two models follows.

use card_core::cost::CostCurve;
use card_core::protocol::Lanes;
use card_engine::placement::Placement;
use card_look::chart::{LineChart, Series, Unit};
use card_look::{Page, stacked};

/// Rows of the forward that the page compares with a forward of one row.
const ROWS: u32 = 8;

/// The page. `placements` are the ways to run the pair, the best one first; `top` is how often a
/// draft is expected to be right, from 0 to 1.
pub fn html(placements: &[Placement], top: f64) -> String {
    let mut page = Page::new("en", "card calibrate");
    for sentence in reading(placements, top) {
        page.lead(&sentence);
    }
    for placement in placements {
        page.add(&chart(placement).html());
    }
    if !placements.is_empty() {
        page.heading("What each way promises");
        page.add(&promises(placements, top));
    }
    let tables = placements.iter().map(costs).collect::<Vec<_>>();
    page.fold("All measurements", &tables.join("\n"));
    page.fold(
        "How this was measured",
        "<p>A forward of each size was timed several times for both models: alone, as when they \
         take turns, and with the other model at work, as when they run at the same time. \
         The promise is the speed of the number of candidates that is best at these costs, if the \
         drafter is right as often as its record here says. Real texts gain more or less.</p>",
    );
    page.finish()
}

/// Tokens per second of the fastest plain decoding among these ways.
fn plain(placements: &[Placement]) -> f64 {
    let first = placements.iter().filter_map(|p| p.target.first());
    first.map(|p| 1e3 / p.1).fold(0.0, f64::max)
}

/// What the costs mean: the best way, what it gives, and what rows cost.
fn reading(placements: &[Placement], top: f64) -> Vec<String> {
    let Some(best) = placements.first() else {
        return Vec::new();
    };
    let (rate, candidates) = best.promise(top);
    let (fast, plain) = (1e3 * rate, plain(placements));
    let first = if candidates == 0 || fast <= plain {
        format!("Plain decoding is the fastest here, {plain:.1} tokens/s: drafts do not pay.")
    } else {
        format!(
            "Best here: {best}. If {:.0} % of the drafts are right, that writes {fast:.1} tokens/s, \
             {:.1} times plain decoding's {plain:.1}.",
            100.0 * top,
            fast / plain
        )
    };
    let curve = CostCurve::from_points(best.target.iter().copied());
    let times = curve.ms(ROWS) / curve.ms(1);
    let second = format!(
        "A forward of the target that checks {} guesses takes {times:.1} times as long as one that \
         checks none.",
        ROWS - 1
    );
    vec![first, second]
}

/// The name of a way to run the pair.
fn title(placement: &Placement) -> String {
    let what = match placement.lanes {
        Lanes::Shared => "What a forward takes while the other model waits",
        Lanes::Disjoint => "What a forward takes while the other model works too",
    };
    format!("{what}: {placement}")
}

fn chart(placement: &Placement) -> LineChart {
    let line = |name: &str, points: &[(u32, f64)]| Series {
        name: name.into(),
        points: points.iter().map(|&(n, ms)| (f64::from(n), ms)).collect(),
    };
    LineChart {
        title: title(placement),
        x: "rows in the forward".into(),
        y: "milliseconds per forward".into(),
        unit: Unit::Number,
        log: true,
        reference: None,
        series: vec![
            line("target", &placement.target),
            line("drafter", &placement.draft),
        ],
    }
}

/// What each way gives, as a table.
fn promises(placements: &[Placement], top: f64) -> String {
    let heads = ["way", "tokens/s", "candidates a round", "plain, tokens/s"];
    let row = |p: &Placement| {
        let (rate, candidates) = p.promise(top);
        let plain = p.target.first().map_or(0.0, |first| 1e3 / first.1);
        vec![
            p.to_string(),
            format!("{:.1}", 1e3 * rate),
            candidates.to_string(),
            format!("{plain:.1}"),
        ]
    };
    stacked(&heads, &placements.iter().map(row).collect::<Vec<_>>())
}

/// The measured costs of both models, as a table.
fn costs(placement: &Placement) -> String {
    let ms = |points: &[(u32, f64)], rows: u32| {
        let found = points.iter().find(|p| p.0 == rows);
        found.map_or("–".to_owned(), |p| format!("{:.2}", p.1))
    };
    let (target, draft) = (&placement.target, &placement.draft);
    let mut sizes: Vec<u32> = target.iter().chain(draft).map(|p| p.0).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let row = |&rows: &u32| vec![rows.to_string(), ms(target, rows), ms(draft, rows)];
    let rows: Vec<Vec<String>> = sizes.iter().map(row).collect();
    let name = card_look::escape(&placement.to_string());
    let heads = ["rows", "target, ms", "drafter, ms"];
    format!("<h3>{name}</h3>{}", stacked(&heads, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(lanes: Lanes, draft_ms: f64) -> Placement {
        Placement {
            lanes,
            target_threads: 1,
            draft_threads: 1,
            target: vec![(1, 50.0), (8, 55.0), (32, 100.0)],
            draft: vec![(1, draft_ms), (8, 1.1 * draft_ms)],
        }
    }

    #[test]
    fn the_page_says_the_best_way_first() {
        let ways = [
            placement(Lanes::Disjoint, 5.0),
            placement(Lanes::Shared, 5.0),
        ];
        let page = html(&ways, 0.9);
        assert!(page.contains("Best here: together"), "{page}");
        assert!(page.contains("takes 1.1 times as long"));
        assert!(page.contains("20.0"), "plain decoding's tokens per second");
        assert!(page.matches("<figure").count() == 2 && !page.contains("NaN"));
    }

    #[test]
    fn drafts_that_cost_too_much_are_said_not_to_pay() {
        let page = html(&[placement(Lanes::Shared, 500.0)], 0.5);
        assert!(page.contains("drafts do not pay"), "{page}");
        assert!(html(&[], 0.5).contains("card calibrate"));
    }
}
