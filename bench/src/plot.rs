//! SVG plots of a report: bars for throughput, curves for latency.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;

use crate::report::{Cell, Curve, Report};
use crate::shape::Shape;

const PANEL: (u32, u32) = (420, 250);
pub(crate) const BACKGROUND: RGBColor = WHITE;

/// One colour per contestant, the same in every plot.
const COLOURS: [RGBColor; 10] = [
    RGBColor(120, 120, 120),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(148, 103, 60),
    RGBColor(60, 60, 60),
    RGBColor(240, 228, 66),
];

/// Writes every plot that the report has data for.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write(report: &Report, directory: &Path) -> Result<()> {
    let named = |stream: fn(&Shape) -> bool| {
        let shapes = report.shapes().into_iter();
        shapes.filter(stream).collect::<Vec<_>>()
    };
    let streams = named(|shape| matches!(shape, Shape::Echo { .. } | Shape::OneWay { .. }));
    let connects = named(|shape| matches!(shape, Shape::Connect { .. }));
    let handshakes = named(|shape| matches!(shape, Shape::HandshakeCpu));
    bars(report, &streams, &directory.join("throughput.svg"))?;
    bars(report, &connects, &directory.join("connect.svg"))?;
    bars(report, &handshakes, &directory.join("handshake.svg"))?;
    let timed = |curve: &&Curve| matches!(curve.shape, Shape::RoundTrip { .. });
    let curves: Vec<_> = report.curves.iter().filter(timed).collect();
    latency(&curves, &directory.join("latency.svg"))
}

pub(crate) fn colour(contestant: &str) -> RGBColor {
    let all = crate::contestant::ALL.iter();
    let at = all.clone().position(|known| known.name() == contestant).unwrap_or(all.len());
    COLOURS[at % COLOURS.len()]
}

/// One panel per shape, one horizontal bar per contestant, a whisker from least to most.
fn bars(report: &Report, shapes: &[Shape], file: &Path) -> Result<()> {
    if shapes.is_empty() {
        return Ok(());
    }
    let columns = shapes.len().min(3);
    let rows = shapes.len().div_ceil(columns);
    let size = (PANEL.0 * u32::try_from(columns)?, PANEL.1 * u32::try_from(rows)?);
    let root = SVGBackend::new(file, size).into_drawing_area();
    root.fill(&BACKGROUND)?;
    for (area, &shape) in root.split_evenly((rows, columns)).iter().zip(shapes) {
        let cells: Vec<_> = report.primaries(shape).collect();
        panel(area, shape, &cells)?;
    }
    root.present().with_context(|| file.display().to_string())
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, shape: Shape, cells: &[&Cell]) -> Result<()> {
    let Some(first) = cells.first() else { return Ok(()) };
    let most = cells.iter().map(|cell| cell.max).fold(f64::MIN_POSITIVE, f64::max);
    let (scale, prefix) = if most >= 1e6 {
        (1e6, "M ")
    } else if most >= 1e4 {
        (1e3, "k ")
    } else {
        (1.0, "")
    };
    // Rows are whole numbers, counted downwards; between them there is nothing to name.
    let name = |at: &f64| {
        let cell = cells.get(at.round() as usize).filter(|_| (at - at.round()).abs() < 1e-6);
        cell.map_or(String::new(), |cell| cell.contestant.to_owned())
    };
    let bottom = cells.len() as f64 - 0.4;
    let mut chart = ChartBuilder::on(area)
        .caption(shape.to_string(), ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(110)
        .build_cartesian_2d(0.0..most * 1.05 / scale, bottom..-0.6)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .max_light_lines(1)
        .x_labels(6)
        .x_label_formatter(&|value| format!("{value}"))
        .y_labels(cells.len())
        .y_label_formatter(&name)
        .x_desc(format!("{prefix}{}", first.unit))
        .draw()?;
    for (at, cell) in cells.iter().enumerate() {
        let at = at as f64;
        let bar = [(0.0, at), (cell.median / scale, at)];
        chart.draw_series(LineSeries::new(bar, colour(cell.contestant).stroke_width(14)))?;
        let whisker = [(cell.min / scale, at), (cell.max / scale, at)];
        chart.draw_series(LineSeries::new(whisker, BLACK.stroke_width(2)))?;
    }
    Ok(())
}

/// Whole nines have a name, what lies between them has none.
fn percentile(at: &f64) -> String {
    let whole = (at - at.round()).abs() < 1e-6;
    if whole {
        format!("{:.*}", (at - 2.0).max(0.0) as usize, 100.0 - 100.0 * 0.1f64.powf(*at))
    } else {
        String::new()
    }
}

/// Draws what the series are, in the corner that they leave free.
pub(crate) fn draw_legend<'a, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Result<()> {
    let labels = &mut chart.configure_series_labels();
    let labels = labels.position(SeriesLabelPosition::UpperLeft);
    Ok(labels.background_style(BACKGROUND.mix(0.8)).border_style(BLACK).draw()?)
}

/// HDR curves: the percentile on an axis where each further nine takes as much room.
fn latency(curves: &[&Curve], file: &Path) -> Result<()> {
    if curves.is_empty() {
        return Ok(());
    }
    let nines = |curve: &&Curve| (curve.latencies.count() as f64).log10().clamp(1.0, 6.0);
    let right = curves.iter().map(nines).fold(1.0, f64::max);
    let micros =
        |curve: &Curve, at: f64| curve.latencies.quantile(1.0 - 10f64.powf(-at)) as f64 / 1e3;
    let bottom = curves.iter().map(|curve| micros(curve, 0.0)).fold(f64::MAX, f64::min);
    let top = curves.iter().map(|curve| curve.latencies.max() as f64 / 1e3).fold(1.0, f64::max);

    let root = SVGBackend::new(file, (840, 480)).into_drawing_area();
    root.fill(&BACKGROUND)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Round trip of one frame at a time", ("sans-serif", 18))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(65)
        .build_cartesian_2d(0.0..right, (bottom * 0.9..top * 1.1).log_scale())?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .x_labels(7)
        .x_label_formatter(&percentile)
        .x_desc("percentile")
        .y_desc("microseconds")
        .draw()?;
    for curve in curves {
        let style = colour(curve.contestant).stroke_width(2);
        let steps = (0..=600).map(|step| f64::from(step) / 100.0);
        let end = nines(curve);
        let line = steps.take_while(|at| *at <= end).map(|at| (at, micros(curve, at)));
        chart
            .draw_series(LineSeries::new(line, style))?
            .label(format!("{} {}", curve.contestant, curve.shape))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    draw_legend(&mut chart)?;
    root.present().with_context(|| file.display().to_string())
}
