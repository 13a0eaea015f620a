//! `metrics.jsonl` -> `curves.svg`: losses above, validation figures below, against the step.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::Value;

use crate::train::files::write_atomically;
use crate::{Error, ErrorKind, Result};

/// A named line of (step, value) points.
type Series = (String, Vec<(f64, f64)>);

/// Draws the curves of a run. A run without lines yet gives no picture.
///
/// # Errors
/// `Io` when a file cannot be read or written, `Internal` when drawing fails.
pub fn draw(metrics: &Path, picture: &Path) -> Result<()> {
    let text = std::fs::read_to_string(metrics)
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", metrics.display()), e))?;
    // A killed process may leave half a line at the end; the others count.
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let series = |kind: &str, key: &str| -> Series {
        let of_kind = lines.iter().filter(|line| line["kind"] == kind);
        let points = of_kind.filter_map(|line| Some((line["step"].as_f64()?, line[key].as_f64()?))).collect();
        (key.replace('_', " "), points)
    };
    let losses = ["loss_fused", "loss_spatial", "loss_residual"].map(|key| series("step", key));
    let figures = ["worst_tier", "worst_source", "spatial", "residual"].map(|key| series("validation", key));
    if losses.iter().chain(&figures).all(|(_, points)| points.is_empty()) {
        return Ok(());
    }
    let mut svg = String::new();
    paint(&mut svg, &losses, &figures)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot draw the curves: {e}")))?;
    write_atomically(picture, svg.as_bytes())
}

fn paint(
    svg: &mut String,
    losses: &[Series],
    figures: &[Series],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (900, 700)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(350);
    chart(&upper, "training losses", losses)?;
    chart(&lower, "validation AUC", figures)?;
    root.present()?;
    Ok(())
}

fn chart(
    area: &DrawingArea<SVGBackend, Shift>,
    title: &str,
    series: &[Series],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let points = || series.iter().flat_map(|(_, points)| points);
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let (low, high) = points().fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(p.1), high.max(p.1)));
    let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
    let margin = 0.05 * (high - low);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, low - margin..high + margin)?;
    chart.configure_mesh().x_desc("step").draw()?;
    for (index, (name, points)) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}
