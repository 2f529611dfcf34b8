//! Horizontal bars in groups; the name of each stands before it, its number behind it.

use super::scale::linear_ticks;
use super::svg::{Drawing, TextAnchor, figure};
use super::text::{Unit, shorten, width_of};

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Where it ends.
    pub value: f64,
    /// The least and the most of what `value` is the median of.
    pub spread: Option<(f64, f64)>,
}

/// Bars that belong together.
#[derive(Clone, Debug)]
pub struct BarGroup {
    /// The name above them; not shown if there is one group only and its name is empty.
    pub name: String,
    /// The bars. Those at the same place of each group have the same colour.
    pub bars: Vec<Bar>,
}

/// Horizontal bars in groups.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// What is shown.
    pub title: String,
    /// What the numbers are, with their unit.
    pub axis: String,
    /// How numbers are written.
    pub unit: Unit,
    /// Where the axis ends, if that does not follow from the values: 1 for shares.
    pub most: Option<f64>,
    /// A value that all are compared with, and its name: a dotted line.
    pub reference: Option<(f64, String)>,
    /// The bars.
    pub groups: Vec<BarGroup>,
}

/// Height of a bar with the space around it, in pixels.
const ROW: f64 = 22.0;
/// Height of a group's name.
const HEAD: f64 = 24.0;

/// Where the bars of a picture lie, in pixels and values.
struct BarArea {
    /// Where all bars begin.
    left: f64,
    /// Where the longest may end.
    right: f64,
    /// The value at `right`.
    most: f64,
}

impl BarArea {
    fn x(&self, value: f64) -> f64 {
        self.left + (value / self.most).clamp(0.0, 1.0) * (self.right - self.left)
    }
}

impl BarChart {
    /// The chart as a figure of a page; empty if there is nothing to show.
    pub fn html(&self) -> String {
        let mut shown = self.clone();
        for group in &mut shown.groups {
            group.bars.retain(|b| b.value.is_finite());
        }
        shown.groups.retain(|g| !g.bars.is_empty());
        if shown.groups.is_empty() {
            return String::new();
        }
        figure(&shown.title, &shown.summary(), |drawing| {
            shown.draw(drawing)
        })
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|g| &g.bars)
    }

    /// The chart in words.
    fn summary(&self) -> String {
        let group = |g: &BarGroup| {
            let bars: Vec<String> = g
                .bars
                .iter()
                .map(|b| format!("{} {}", b.name, self.unit.value(b.value)))
                .collect();
            let name = match g.name.as_str() {
                "" => String::new(),
                name => format!("{name}: "),
            };
            format!("{name}{}.", bars.join(", "))
        };
        let groups: Vec<String> = self.groups.iter().map(group).collect();
        format!("{}. {}", self.axis, groups.join(" "))
    }

    fn draw(&self, drawing: &mut Drawing) -> f64 {
        let slim = drawing.is_slim();
        let named = |b: &Bar| shorten(&b.name, if slim { 136.0 } else { 230.0 });
        let left = widest(self.bars().map(&named)) + 8.0;
        let numbers = widest(self.bars().map(|b| self.number(b, slim)));
        let ticks = self.ticks(if slim { 2.0 } else { 5.0 });
        let place = BarArea {
            left,
            right: drawing.width() - numbers - 14.0,
            most: ticks.last().copied().unwrap_or(1.0),
        };
        let top = if self.reference.is_some() { 26.0 } else { 4.0 };
        let bottom = top + self.height();
        for &tick in &ticks {
            let x = place.x(tick);
            drawing.path("tick", &format!("M{x:.1} {top:.1}V{bottom:.1}"));
            let label = self.unit.tick(tick);
            drawing.text(x, bottom + 17.0, TextAnchor::Middle, "muted", &label);
        }
        let mut y = top;
        for group in &self.groups {
            if self.has_heads() {
                drawing.text(0.0, y + 16.0, TextAnchor::Start, "group", &group.name);
                y += HEAD;
            }
            for (colour, bar) in group.bars.iter().enumerate() {
                drawing.text(left - 8.0, y + 14.0, TextAnchor::End, "", &named(bar));
                self.draw_bar(drawing, &place, colour, bar, y);
                y += ROW;
            }
            y += 8.0;
        }
        self.draw_reference(drawing, &place, top, bottom);
        let room = drawing.width() - width_of(&self.axis);
        let x = left.min(room.max(0.0));
        drawing.text(x, bottom + 38.0, TextAnchor::Start, "muted", &self.axis);
        bottom + 44.0
    }

    fn draw_bar(&self, drawing: &mut Drawing, place: &BarArea, colour: usize, bar: &Bar, y: f64) {
        let (from, to) = (place.left, place.x(bar.value));
        drawing.bar(colour, from, y + 2.0, (to - from).max(1.0), 15.0);
        if let Some((least, most)) = drawable(bar.spread) {
            let (least, most, y) = (place.x(least), place.x(most), y + 9.5);
            let d = format!(
                "M{least:.1} {y:.1}H{most:.1}m0 -3.5v7M{least:.1} {:.1}v7",
                y - 3.5
            );
            drawing.path("spread", &d);
        }
        let number = self.number(bar, drawing.is_slim());
        drawing.text(place.right + 10.0, y + 14.0, TextAnchor::Start, "", &number);
    }

    fn draw_reference(&self, drawing: &mut Drawing, place: &BarArea, top: f64, bottom: f64) {
        let Some((value, name)) = &self.reference else {
            return;
        };
        let x = place.x(*value);
        drawing.path(
            "reference",
            &format!("M{x:.1} {:.1}V{bottom:.1}", top - 4.0),
        );
        let half = width_of(name) / 2.0;
        let x = x.clamp(half, (drawing.width() - half).max(half));
        drawing.text(x, top - 10.0, TextAnchor::Middle, "muted", name);
    }

    /// What stands behind a bar.
    fn number(&self, bar: &Bar, slim: bool) -> String {
        let number = self.unit.value(bar.value);
        match drawable(bar.spread) {
            Some((least, most)) if !slim => {
                let [least, most] = [least, most].map(|v| self.unit.value(v));
                let least = least.trim_end_matches(['×', '%', ' ']);
                format!("{number} ({least}–{most})")
            }
            _ => number,
        }
    }

    fn ticks(&self, about: f64) -> Vec<f64> {
        let ends = self
            .bars()
            .map(|b| drawable(b.spread).map_or(b.value, |s| s.1.max(b.value)));
        let reference = self.reference.iter().map(|r| r.0);
        let most = ends.chain(reference).fold(0.0, f64::max);
        linear_ticks(self.most.unwrap_or(most), about)
    }

    fn has_heads(&self) -> bool {
        self.groups.len() > 1 || self.groups.iter().any(|g| !g.name.is_empty())
    }

    /// Height of all groups, in pixels.
    fn height(&self) -> f64 {
        let head = if self.has_heads() { HEAD } else { 0.0 };
        let groups = self.groups.iter();
        groups.map(|g| head + ROW * g.bars.len() as f64 + 8.0).sum()
    }
}

/// The room that the widest of these texts takes, in pixels.
fn widest(texts: impl Iterator<Item = String>) -> f64 {
    texts.map(|t| width_of(&t)).fold(0.0, f64::max)
}

/// A spread worth drawing: its ends are numbers, and differ.
fn drawable(spread: Option<(f64, f64)>) -> Option<(f64, f64)> {
    spread.filter(|s| s.0.is_finite() && s.1.is_finite() && s.0 < s.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[(&str, f64)]) -> BarChart {
        let bar = |&(name, value): &(&str, f64)| Bar {
            name: name.into(),
            value,
            spread: Some((0.9 * value, 1.1 * value)),
        };
        BarChart {
            title: "Speed-up".into(),
            axis: "times as fast as plain decoding".into(),
            unit: Unit::Times,
            most: None,
            reference: Some((1.0, "plain decoding".into())),
            groups: vec![BarGroup {
                name: "code".into(),
                bars: values.iter().map(bar).collect(),
            }],
        }
    }

    #[test]
    fn each_bar_carries_its_name_and_its_number() {
        let html = chart(&[("<card>", 1.5), ("auto", 1.7)]).html();
        for word in [
            "&lt;card&gt;",
            "auto",
            "1.70× (1.53–1.87×)",
            "plain decoding",
            "code",
        ] {
            assert!(html.contains(word), "{word}: {html}");
        }
        assert!(html.contains(
            "<desc>times as fast as plain decoding. code: &lt;card&gt; 1.50×, auto 1.70×.</desc>"
        ));
        assert!(!html.contains("NaN") && !html.contains("legend"));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let html = chart(&[("card", f64::NAN), ("auto", 1.7)]).html();
        assert!(html.contains("auto") && !html.contains("NaN") && !html.contains(">card<"));
        assert_eq!(chart(&[("card", f64::INFINITY)]).html(), "");
        assert_eq!(chart(&[]).html(), "");
    }
}
