//! Latency against load, as SVG.

use super::report::Measurement;
use crate::error::{Error, Result};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (900, 720);
const FONT: &str = "sans-serif";

/// A line: its name, colour, and points of rate and milliseconds.
type Line = (&'static str, RGBColor, Vec<(f64, f64)>);

/// Draws TTFT above TPOT, median and 99th percentile, over the rates of `results`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn draw(results: &[Measurement], path: &Path) -> Result<()> {
    let mut text = String::new();
    paint(results, &mut text).expect("a string takes all that is drawn");
    std::fs::write(path, text).map_err(Error::io(path, "cannot write"))
}

type Fault<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn paint<'a>(results: &[Measurement], text: &'a mut String) -> std::result::Result<(), Fault<'a>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((2, 1));
    for (panel, name) in panels.iter().zip(["TTFT", "TPOT"]) {
        panel_of(panel, name, &lines(results, name))?;
    }
    root.present()
}

/// The median and the 99th percentile of a figure.
fn lines(results: &[Measurement], name: &str) -> [Line; 2] {
    let points = |p99: bool| {
        let point = |result: &Measurement| {
            let metrics = &result.metrics;
            let summary = if name == "TTFT" { metrics.ttft_ms } else { metrics.tpot_ms };
            let value = if p99 { summary.p99 } else { summary.p50 };
            // Without a rate, as of a trace, what was served is the load.
            Some((result.rate.unwrap_or(metrics.requests_per_s), value?))
        };
        let mut points: Vec<(f64, f64)> = results.iter().filter_map(point).collect();
        points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    [("p50", RGBColor(31, 119, 180), points(false)), ("p99", RGBColor(214, 39, 40), points(true))]
}

fn panel_of<'a>(
    panel: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    name: &str,
    lines: &[Line],
) -> std::result::Result<(), Fault<'a>> {
    let all = || lines.iter().flat_map(|line| &line.2);
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{name} against load"), (FONT, 24))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..most(|p| p.0), 0.0..most(|p| p.1))?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .x_desc("requests a second")
        .y_desc("milliseconds")
        .label_style((FONT, 17))
        .axis_desc_style((FONT, 18))
        .draw()?;
    for (label, colour, points) in lines {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*label)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(2))
            });
        chart.draw_series(PointSeries::of_element(
            points.iter().copied(),
            4,
            colour.filled(),
            &|at, size, style| Circle::new(at, size, style),
        ))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(RGBColor(160, 160, 160))
        .label_font((FONT, 17))
        .draw()
}
