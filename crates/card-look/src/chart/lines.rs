//! Lines over one thing that was varied, each with its name at its end.

use super::scale::{Scale, doubles, linear_ticks, log_ticks};
use super::svg::{Drawing, TextAnchor, colour_class, figure};
use super::text::{Unit, number, width_of, wrap};

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// The name that stands at its end.
    pub name: String,
    /// The points as (x, y), from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines over one thing that was varied. The axis of what was varied is logarithmic if its
/// values double. A line that lies on an earlier one is dashed, so that both are seen.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// What is shown.
    pub title: String,
    /// What was varied, with its unit.
    pub x: String,
    /// What the lines tell, with its unit.
    pub y: String,
    /// How values of y are written.
    pub unit: Unit,
    /// Whether the axis of y is logarithmic; else it begins at 0.
    pub log: bool,
    /// A value of y that all are compared with, and its name: a dotted line.
    pub reference: Option<(f64, String)>,
    /// The lines.
    pub series: Vec<Series>,
}

/// Room above the lines, for the title of their axis, in pixels.
const TOP: f64 = 34.0;
/// Room below them, for the ticks and the title of what was varied.
const BOTTOM: f64 = 48.0;
/// Room that a name may take in a line on a phone.
const NAME: f64 = 84.0;
/// Height of a line of text.
const TEXT: f64 = 16.0;

/// Where the lines of a picture lie: the edges in pixels, and both axes.
struct LineArea {
    left: f64,
    right: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl LineArea {
    fn x(&self, value: f64) -> f64 {
        // Marks at the ends are not cut.
        let (left, right) = (self.left + 8.0, self.right - 8.0);
        left + self.x.at(value) * (right - left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.at(value) * (self.bottom - TOP)
    }
}

impl LineChart {
    /// The chart as a figure of a page; empty if there is nothing to show.
    pub fn html(&self) -> String {
        let mut shown = self.clone();
        for line in &mut shown.series {
            let real = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
            line.points.retain(|p| real(p) && (p.1 > 0.0 || !self.log));
        }
        shown.series.retain(|s| !s.points.is_empty());
        if shown.series.is_empty() {
            return String::new();
        }
        figure(&shown.title, &shown.summary(), |drawing| {
            shown.draw(drawing)
        })
    }

    /// The chart in words: where each line begins and ends.
    fn summary(&self) -> String {
        let at = |p: &(f64, f64)| format!("{} at {}", self.unit.tick(p.1), number(p.0));
        let line = |s: &Series| match &s.points[..] {
            [first, .., last] => format!("{}: from {} to {}.", s.name, at(first), at(last)),
            points => format!("{}: {}.", s.name, points.iter().map(at).collect::<String>()),
        };
        let lines: Vec<String> = self.series.iter().map(line).collect();
        format!("{}, over {}. {}", self.y, self.x, lines.join(" "))
    }

    fn values(&self, of: fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let points = self.series.iter().flat_map(|s| &s.points);
        points.map(of).collect()
    }

    fn draw(&self, drawing: &mut Drawing) -> f64 {
        let names: Vec<Vec<String>> = self
            .series
            .iter()
            .map(|s| wrap(&s.name, if drawing.is_slim() { NAME } else { 2.0 * NAME }))
            .collect();
        let widest = names
            .iter()
            .flatten()
            .map(|n| width_of(n))
            .fold(0.0, f64::max);
        let right = drawing.width() - widest - 16.0;
        let lines: usize = names.iter().map(Vec::len).sum();
        let height = if drawing.is_slim() { 270.0 } else { 330.0 };
        let height = f64::max(height, TOP + BOTTOM + TEXT * lines as f64);
        let area = self.y_axis(drawing, right, height - BOTTOM);
        self.x_axis(drawing, &area, height);
        if let Some((value, name)) = &self.reference {
            let y = area.y(*value);
            drawing.path("reference", &format!("M{:.1} {y:.1}H{right:.1}", area.left));
            drawing.text(area.left + 8.0, y - 6.0, TextAnchor::Start, "muted", name);
        }
        for (k, line) in self.series.iter().enumerate() {
            let earlier = &self.series[..k];
            let hiding = earlier.iter().any(|other| same_place(&area, line, other));
            draw_line(drawing, &area, k, line, hiding);
        }
        self.draw_names(drawing, &area, &names);
        height
    }

    /// Draws the axis of y, and says where everything lies.
    fn y_axis(&self, drawing: &mut Drawing, right: f64, bottom: f64) -> LineArea {
        let mut values = self.values(|p| p.1);
        values.extend(self.reference.iter().map(|r| r.0));
        let most = values.iter().copied().fold(0.0, f64::max);
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let (ticks, y) = if self.log {
            let ends = [least / 1.2, most * 1.2];
            (log_ticks(ends[0], ends[1]), Scale::log(&ends))
        } else {
            let ticks = linear_ticks(most, 4.0);
            let end = ticks.last().copied().unwrap_or(most);
            (ticks, Scale::linear(0.0, end))
        };
        let xs = self.values(|p| p.0);
        let least_x = xs.iter().copied().fold(f64::MAX, f64::min);
        let most_x = xs.iter().copied().fold(f64::MIN, f64::max);
        let widths = ticks.iter().map(|t| width_of(&self.unit.tick(*t)));
        let area = LineArea {
            left: widths.fold(0.0, f64::max) + 10.0,
            right,
            bottom,
            x: if doubles(&xs) {
                Scale::log(&xs)
            } else {
                Scale::linear(least_x, most_x)
            },
            y,
        };
        drawing.text(0.0, 14.0, TextAnchor::Start, "muted", &self.y);
        for tick in ticks {
            let (y, label) = (area.y(tick), self.unit.tick(tick));
            drawing.path("tick", &format!("M{:.1} {y:.1}H{right:.1}", area.left));
            drawing.text(area.left - 6.0, y + 4.5, TextAnchor::End, "muted", &label);
        }
        area
    }

    /// Draws the axis of what was varied: a tick at each value, a number where there is room.
    fn x_axis(&self, drawing: &mut Drawing, area: &LineArea, height: f64) {
        let (left, right, bottom) = (area.left, area.right, area.bottom);
        drawing.path("base", &format!("M{left:.1} {bottom:.1}H{right:.1}"));
        let mut values = self.values(|p| p.0);
        values.sort_by(f64::total_cmp);
        values.dedup();
        for &value in &values {
            drawing.path("base", &format!("M{:.1} {bottom:.1}v4", area.x(value)));
        }
        for value in with_room(&values, area) {
            let label = number(value);
            drawing.text(
                area.x(value),
                bottom + 19.0,
                TextAnchor::Middle,
                "muted",
                &label,
            );
        }
        if let Some(gap) = area.x.gap() {
            // Two strokes through the axis: between 0 and the first value it has no measure.
            let x = left + 8.0 + gap * (right - left - 16.0) - 5.0;
            drawing.path(
                "base",
                &format!("M{x:.1} {:.1}l4 -8m2 8l4 -8", bottom + 4.0),
            );
        }
        let half = width_of(&self.x) / 2.0;
        let middle = f64::midpoint(left, right).clamp(half, (drawing.width() - half).max(half));
        drawing.text(middle, height - 6.0, TextAnchor::Middle, "muted", &self.x);
    }

    /// Writes the names at the ends of the lines, moved apart where they would overlap.
    fn draw_names(&self, drawing: &mut Drawing, area: &LineArea, names: &[Vec<String>]) {
        let ends: Vec<(f64, f64)> = self
            .series
            .iter()
            .filter_map(|s| s.points.last())
            .map(|p| (area.x(p.0), area.y(p.1)))
            .collect();
        let wanted: Vec<(f64, f64)> = ends
            .iter()
            .zip(names)
            .map(|(end, name)| (end.1, TEXT * name.len() as f64))
            .collect();
        let tops = apart(&wanted, TOP - 8.0, area.bottom + 12.0);
        for (k, top) in tops.into_iter().enumerate() {
            let ((x, y), middle) = (ends[k], top + wanted[k].1 / 2.0);
            if (middle - y).abs() > 5.0 || x < area.right - 9.0 {
                let to = area.right + 4.0;
                drawing.path(
                    "leader",
                    &format!("M{:.1} {y:.1}L{to:.1} {middle:.1}", x + 5.0),
                );
            }
            for (i, part) in names[k].iter().enumerate() {
                let y = top + 12.5 + TEXT * i as f64;
                drawing.text(area.right + 7.0, y, TextAnchor::Start, "", part);
            }
        }
    }
}

/// Draws a line with a mark at each point; dashed and without marks if it lies on another.
fn draw_line(drawing: &mut Drawing, area: &LineArea, k: usize, line: &Series, hiding: bool) {
    let mut d = String::new();
    for (i, &(x, y)) in line.points.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        d += &format!("{command}{:.1} {:.1}", area.x(x), area.y(y));
    }
    let dashed = if hiding { " hiding" } else { "" };
    drawing.path(&format!("stroke {}{dashed}", colour_class(k)), &d);
    if !hiding {
        for &(x, y) in &line.points {
            drawing.mark(k, area.x(x), area.y(y));
        }
    }
}

/// Whether two lines cannot be told apart: at all their points, less than 3 pixels lie between.
fn same_place(area: &LineArea, a: &Series, b: &Series) -> bool {
    let near = |p: &(f64, f64), q: &(f64, f64)| {
        (area.x(p.0) - area.x(q.0)).abs() < 3.0 && (area.y(p.1) - area.y(q.1)).abs() < 3.0
    };
    a.points.len() == b.points.len() && a.points.iter().zip(&b.points).all(|(p, q)| near(p, q))
}

/// The values whose numbers do not overlap; the last one is always among them.
fn with_room(sorted: &[f64], area: &LineArea) -> Vec<f64> {
    let half = |v: f64| width_of(&number(v)) / 2.0;
    let clear = |a: f64, b: f64| area.x(b) - half(b) - area.x(a) - half(a) >= 6.0;
    let mut kept: Vec<f64> = Vec::new();
    for (i, &value) in sorted.iter().enumerate() {
        let last = i + 1 == sorted.len();
        while last && kept.last().is_some_and(|&k| !clear(k, value)) {
            kept.pop();
        }
        if kept.last().is_none_or(|&k| clear(k, value)) {
            kept.push(value);
        }
    }
    kept
}

/// The upper edges of texts whose middles are wanted at `.0` and whose heights are `.1`, moved
/// apart so that none overlap between `from` and `to`.
fn apart(wanted: &[(f64, f64)], from: f64, to: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].0.total_cmp(&wanted[*b].0));
    let mut tops = vec![0.0; wanted.len()];
    let mut free = from;
    for &i in &order {
        let (middle, height) = wanted[i];
        tops[i] = f64::max(middle - height / 2.0, free);
        free = tops[i] + height;
    }
    let mut end = to;
    for &i in order.iter().rev() {
        tops[i] = f64::min(tops[i], end - wanted[i].1);
        end = tops[i];
    }
    tops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: &[(&str, &[(f64, f64)])]) -> LineChart {
        let line = |&(name, points): &(&str, &[(f64, f64)])| Series {
            name: name.into(),
            points: points.to_vec(),
        };
        LineChart {
            title: "Speed-up".into(),
            x: "ms of latency, one way".into(),
            y: "times as fast as plain decoding".into(),
            unit: Unit::Times,
            log: false,
            reference: Some((1.0, "plain decoding".into())),
            series: lines.iter().map(line).collect(),
        }
    }

    #[test]
    fn a_line_that_hides_another_is_dashed_and_both_are_named() {
        let points = [(0.0, 5.0), (1.0, 4.9), (20.0, 3.0), (200.0, 1.2)];
        let lower = points.map(|(x, y)| (x, y / 2.0));
        let html = chart(&[("card", &points), ("auto", &points)]).html();
        assert!(html.contains("stroke c2 hiding") && !html.contains("stroke c1 hiding"));
        assert!(html.contains(">card<") && html.contains(">auto<"));
        assert!(
            html.contains("card: from 5× at 0 to 1.2× at 200."),
            "{html}"
        );
        let html = chart(&[("card", &points), ("auto", &lower)]).html();
        assert!(!html.contains("hiding"));
    }

    #[test]
    fn a_point_alone_and_no_point_are_no_trouble() {
        for log in [false, true] {
            let mut one = chart(&[("card", &[(8.0, 2.0)])]);
            one.log = log;
            let html = one.html();
            assert!(html.contains(">card<") && !html.contains("NaN"), "{html}");
        }
        assert_eq!(chart(&[("card", &[])]).html(), "");
        assert_eq!(chart(&[("card", &[(1.0, f64::NAN)])]).html(), "");
    }

    #[test]
    fn names_do_not_overlap() {
        let wanted = [(100.0, 16.0), (101.0, 16.0), (290.0, 32.0), (295.0, 16.0)];
        let tops = apart(&wanted, 20.0, 300.0);
        let mut places: Vec<(f64, f64)> = tops.iter().zip(wanted).map(|(t, w)| (*t, w.1)).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in places.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0 + 1e-9, "{places:?}");
        }
        assert!(places.iter().all(|p| p.0 >= 20.0 && p.0 + p.1 <= 300.0));
    }
}
