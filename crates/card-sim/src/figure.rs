//! A figure of each schedule: as lines over what was varied, as bars, and as rows of a table.

use card_look::chart::{Bar, BarChart, BarGroup, LineChart, Series, Unit};

use crate::study::{StudyEntry, StudyPoint, Vary};

/// What a chart shows of schedules.
pub(crate) struct Figure {
    /// The title of the chart.
    pub(crate) title: &'static str,
    /// What the numbers are, with their unit.
    pub(crate) axis: &'static str,
    /// How the numbers are written.
    pub(crate) unit: Unit,
    /// A value that all are compared with, and its name.
    pub(crate) reference: Option<(f64, &'static str)>,
}

impl Figure {
    /// A line for each of these schedules, of which `value` says what it has at a point, if anything.
    pub(crate) fn lines(
        &self,
        vary: Vary,
        points: &[StudyPoint],
        schedules: &[&str],
        value: impl Fn(&StudyPoint, &str) -> Option<f64>,
    ) -> LineChart {
        let at = |name: &str, p: &StudyPoint| Some((p.x?, value(p, name)?));
        let line = |name: &&str| Series {
            name: (*name).to_owned(),
            points: points.iter().filter_map(|p| at(name, p)).collect(),
        };
        LineChart {
            title: self.title.into(),
            x: vary.unit().into(),
            y: self.axis.into(),
            unit: self.unit,
            log: false,
            reference: self.named_reference(),
            series: schedules.iter().map(line).collect(),
        }
    }

    /// A bar for each schedule and its value.
    pub(crate) fn bars(&self, values: impl Iterator<Item = (String, f64)>) -> BarChart {
        let bar = |(name, value)| Bar {
            name,
            value,
            spread: None,
        };
        BarChart {
            title: self.title.into(),
            axis: self.axis.into(),
            unit: self.unit,
            most: None,
            reference: self.named_reference(),
            groups: vec![BarGroup {
                name: String::new(),
                bars: values.map(bar).collect(),
            }],
        }
    }

    fn named_reference(&self) -> Option<(f64, String)> {
        self.reference.map(|(value, name)| (value, name.to_owned()))
    }
}

/// The rows of a table: the cells of each schedule at each value of what was varied, behind that
/// value if anything was.
pub(crate) fn rows(
    points: &[StudyPoint],
    cells: impl Fn(&StudyPoint, &StudyEntry) -> Vec<String>,
) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for point in points {
        for entry in &point.entries {
            let mut row = cells(point, entry);
            if let Some(x) = point.x {
                row.insert(0, x.to_string());
            }
            rows.push(row);
        }
    }
    rows
}
