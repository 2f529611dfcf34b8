//! Plots as SVG text, for one self-contained page.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// A line or a group of bars.
#[derive(Clone, Debug)]
pub struct Series {
    /// The name that the legend shows.
    pub name: String,
    /// The points as (x, y); for bars, x is the index of the group.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (860, 380);
/// Told apart by people who do not see every colour (Okabe & Ito 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 120),
];

fn top(series: &[Series]) -> f64 {
    let values = series.iter().flat_map(|s| s.points.iter().map(|p| p.1));
    // Room for the legend above them.
    1.5 * values.fold(1.0, f64::max)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The drawing, or a word in its place: a report shall not fail for want of a plot.
fn page_part(draw: impl FnOnce(&mut String) -> Drawn) -> String {
    let mut svg = String::new();
    let drawn = draw(&mut svg);
    drawn.map_or_else(|e| format!("<p>no plot: {e}</p>"), |()| svg)
}

/// The legend, and the end of the drawing.
fn finish<'a, 'b: 'a>(root: &Area, chart: &mut Chart<'a, 'b>) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Grouped bars, a line at 1 (plain decoding).
pub fn bars(title: &str, groups: &[String], series: &[Series]) -> String {
    page_part(|svg| draw_bars(title, groups, series, svg))
}

fn draw_bars(title: &str, groups: &[String], series: &[Series], svg: &mut String) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let width = groups.len().max(1) as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(46)
        .build_cartesian_2d(0.0..width, 0.0..top(series))?;
    let name = |x: &f64| {
        let middle = (x.fract() - 0.5).abs() < 1e-6;
        let group = groups.get(x.floor() as usize).filter(|_| middle);
        group.cloned().unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * groups.len() + 1)
        .x_label_formatter(&name)
        .y_desc("times plain decoding")
        .draw()?;
    let each = 0.8 / series.len().max(1) as f64;
    for (i, s) in series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let bar = |&(group, value): &(f64, f64)| {
            let left = group + 0.1 + each * i as f64;
            Rectangle::new([(left, 0.0), (left + each * 0.92, value)], colour.filled())
        };
        chart
            .draw_series(s.points.iter().map(bar))?
            .label(s.name.clone())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart.draw_series(LineSeries::new([(0.0, 1.0), (width, 1.0)], BLACK))?;
    finish(&root, &mut chart)
}

/// Lines with dots.
pub fn lines(title: &str, x: &str, y: &str, series: &[Series]) -> String {
    page_part(|svg| draw_lines(title, x, y, series, svg))
}

fn draw_lines(title: &str, x: &str, y: &str, series: &[Series], svg: &mut String) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let xs = series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
    let right = 1.05 * xs.fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right, 0.0..top(series))?;
    chart.configure_mesh().x_desc(x).y_desc(y).draw()?;
    for (i, s) in series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        chart
            .draw_series(
                LineSeries::new(s.points.iter().copied(), colour.stroke_width(2)).point_size(3),
            )?
            .label(s.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    finish(&root, &mut chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_whole_svg_documents() {
        let series = [Series {
            name: "auto".into(),
            points: vec![(0.0, 1.4), (1.0, 2.0)],
        }];
        let groups = ["code".to_owned(), "edit".to_owned()];
        for svg in [bars("t", &groups, &series), lines("t", "x", "y", &series)] {
            assert!(
                svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
                "{svg}"
            );
            assert!(svg.contains("auto"));
        }
    }
}
