//! SVG plots of how cost grows: a line per contestant, the number that grows from left to right.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::plot::{Area, BACKGROUND, colour, draw_legend};
use crate::report::{Metric, Report};
use crate::shape::Shape;

const PANEL: (u32, u32) = (480, 320);

/// What one panel shows.
struct Panel {
    title: &'static str,
    /// What grows.
    grows: &'static str,
    unit: &'static str,
    metric: Metric,
    /// How many of the unit one of the metric's is.
    scale: f64,
    /// The number that grows and the shards of the server, for the shapes that belong here.
    place: fn(Shape) -> Option<(usize, usize)>,
}

const PANELS: [Panel; 6] = [
    Panel {
        title: "Frames per second",
        grows: "links, window 16 each",
        unit: "M frames/s",
        metric: Metric::Throughput,
        scale: 1e-6,
        place: links,
    },
    Panel {
        title: "CPU per frame, server",
        grows: "links, window 16 each",
        unit: "ns/frame",
        metric: Metric::CpuServer,
        scale: 1.0,
        place: links,
    },
    Panel {
        title: "Connections per second",
        grows: "connections at once",
        unit: "k connects/s",
        metric: Metric::Throughput,
        scale: 1e-3,
        place: connects,
    },
    Panel {
        title: "CPU per connection, server",
        grows: "connections at once",
        unit: "us/connect",
        metric: Metric::CpuServer,
        scale: 1e-3,
        place: connects,
    },
    Panel {
        title: "Resident memory, server",
        grows: "idle links",
        unit: "MiB",
        metric: Metric::Memory,
        scale: 1.0 / (1 << 20) as f64,
        place: idle,
    },
    Panel {
        title: "CPU at rest, server",
        grows: "idle links",
        unit: "% of a core",
        metric: Metric::IdleCpu,
        scale: 1.0,
        place: idle,
    },
];

fn links(shape: Shape) -> Option<(usize, usize)> {
    match shape {
        Shape::Echo { links, shards, .. } => Some((links, shards)),
        _ => None,
    }
}

fn connects(shape: Shape) -> Option<(usize, usize)> {
    shape.at_once().map(|at_once| (at_once, 1))
}

fn idle(shape: Shape) -> Option<(usize, usize)> {
    match shape {
        Shape::Idle { links, shards } => Some((links, shards)),
        _ => None,
    }
}

/// Writes `scale.svg`.
///
/// # Errors
///
/// If it cannot be written.
pub fn write(report: &Report, directory: &Path) -> Result<()> {
    let file = directory.join("scale.svg");
    let (rows, columns) = (PANELS.len().div_ceil(2), 2);
    let size = (PANEL.0 * columns as u32, PANEL.1 * u32::try_from(rows)?);
    let root = SVGBackend::new(&file, size).into_drawing_area();
    root.fill(&BACKGROUND)?;
    for (area, panel) in root.split_evenly((rows, columns)).iter().zip(&PANELS) {
        panel.draw(area, &panel.lines(report))?;
    }
    root.present().with_context(|| file.display().to_string())
}

/// One contestant on so many shards.
struct Line {
    contestant: &'static str,
    shards: usize,
    /// The number that grows, then median, least and most.
    points: Vec<(f64, [f64; 3])>,
}

impl Panel {
    fn lines(&self, report: &Report) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for cell in report.cells.iter().filter(|cell| cell.metric == self.metric) {
            let Some((number, shards)) = (self.place)(cell.shape) else { continue };
            let values = [cell.median, cell.min, cell.max].map(|value| value * self.scale);
            let point = (axis(number as f64), values);
            let own =
                |line: &&mut Line| line.contestant == cell.contestant && line.shards == shards;
            match lines.iter_mut().find(own) {
                Some(line) => line.points.push(point),
                None => {
                    lines.push(Line { contestant: cell.contestant, shards, points: vec![point] })
                }
            }
        }
        lines
    }

    fn draw(&self, area: &Area<'_>, lines: &[Line]) -> Result<()> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
        let top = points().map(|(_, [.., most])| *most).fold(f64::MIN_POSITIVE, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..right * 1.03, 0.0..top * 1.25)?;
        chart
            .configure_mesh()
            .max_light_lines(1)
            .x_labels(10)
            .x_label_formatter(&|x| number(*x))
            .x_desc(self.grows)
            .y_desc(self.unit)
            .draw()?;
        for line in lines {
            // More shards are the same contestant, drawn thinner.
            let style = colour(line.contestant).stroke_width(if line.shards == 1 { 3 } else { 1 });
            let medians = line.points.iter().map(|(x, [median, ..])| (*x, *median));
            let name = match line.shards {
                1 => line.contestant.to_owned(),
                shards => format!("{}, {shards} shards", line.contestant),
            };
            chart
                .draw_series(LineSeries::new(medians, style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
            for &(x, [_, least, most]) in &line.points {
                let whisker = [(x, least), (x, most)];
                chart.draw_series(LineSeries::new(whisker, BLACK.stroke_width(1)))?;
            }
        }
        draw_legend(&mut chart)
    }
}

/// Where a number is on an axis on which each doubling takes as much room, and nothing is at 0.
fn axis(number: f64) -> f64 {
    (number + 1.0).log2()
}

/// The number at a whole place of the axis.
fn number(at: f64) -> String {
    let whole = (at - at.round()).abs() < 1e-6;
    if whole { format!("{}", at.exp2() - 1.0) } else { String::new() }
}
