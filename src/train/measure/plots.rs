//! Pictures of evaluations and comparisons as SVG: ROC curves, reliability, histograms of the scores, bars.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::eval::{BINS, Judged};
use crate::train::data::table::{FAKE, Row, UNKNOWN};
use crate::train::files::write_atomically;
use crate::train::metrics::{self, Scored};
use crate::{Error, ErrorKind, Result};

/// Points of the unit square.
pub type Points = Vec<(f64, f64)>;
/// A named curve.
pub type Curve = (String, Points);
/// A named value for each of several rows, where there is one.
pub type Bars<'a> = (&'a str, Vec<Option<f64>>);
/// What drawing can fail with.
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Writes `roc.svg`, `reliability.svg` and `scores.svg` into `folder`.
///
/// # Errors
/// `Io` when a file cannot be written, `Internal` when drawing fails.
pub fn draw(rows: &[Row], judged: &[Judged], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot make {}", folder.display()), e))?;
    let mut tiers: Vec<(String, Vec<Scored>)> = Vec::new();
    for one in judged.iter().filter(|j| rows[j.row].label != UNKNOWN) {
        let Some(p_fake) = one.p_fake else { continue };
        if !tiers.iter().any(|(name, _)| name == one.tier.name()) {
            tiers.push((one.tier.name().to_string(), Vec::new()));
        }
        if let Some((_, scored)) = tiers.iter_mut().find(|(name, _)| name == one.tier.name()) {
            scored.push((p_fake, rows[one.row].label == FAKE));
        }
    }
    let each = |points: &dyn Fn(&[Scored]) -> Points| -> Vec<Curve> {
        tiers.iter().map(|(name, scored)| (name.clone(), points(scored))).collect()
    };
    let rocs = each(&|scored| metrics::roc_corners(&metrics::roc(scored)));
    let reliabilities = each(&|scored| reliability_points(&metrics::reliability(scored, BINS)));
    let save = |name: &str, svg: String| write_atomically(&folder.join(name), svg.as_bytes());
    save("roc.svg", roc("ROC", &rocs)?)?;
    save("reliability.svg", reliability("reliability", &reliabilities)?)?;
    save("scores.svg", drawn("scores", |svg| histogram(svg, &tiers))?)
}

/// Points of a reliability diagram.
pub fn reliability_points(bins: &[metrics::Bin]) -> Points {
    bins.iter().map(|bin| (bin.score, bin.share)).collect()
}

/// ROC curves as SVG.
///
/// # Errors
/// `Internal` when drawing fails.
pub fn roc(title: &str, of: &[Curve]) -> Result<String> {
    drawn(title, |svg| curves(svg, [title, "reals flagged", "fakes flagged"], of))
}

/// Reliability diagrams as SVG.
///
/// # Errors
/// `Internal` when drawing fails.
pub fn reliability(title: &str, of: &[Curve]) -> Result<String> {
    drawn(title, |svg| curves(svg, [title, "mean p_fake", "share of fakes"], of))
}

fn drawn(title: &str, paint: impl FnOnce(&mut String) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    paint(&mut svg).map_err(|e| Error::new(ErrorKind::Internal, format!("cannot draw {title}: {e}")))?;
    Ok(svg)
}

fn curves(svg: &mut String, [title, across, up]: [&str; 3], of: &[Curve]) -> Drawn {
    let root = SVGBackend::with_string(svg, (520, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.configure_mesh().x_desc(across).y_desc(up).draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.3)))?;
    for (index, (name, points)) in of.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        // Lines with few points show them, and one alone would be no line at all.
        if points.len() <= BINS {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 2, colour.filled())))?;
        }
    }
    // Lower right: there neither a useful ROC curve nor a sane reliability diagram has anything.
    let labels = &mut chart.configure_series_labels();
    labels
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Bars of percentages, one below the other: for every name one bar of each series, absent where there is no value.
///
/// # Errors
/// `Internal` when drawing fails.
pub fn bars(title: &str, names: &[String], series: &[Bars]) -> Result<String> {
    drawn(title, |svg| paint_bars(svg, title, names, series))
}

/// Pixels of a bar, of the gap between two names, and of the names.
const BAR_PX: u32 = 13;
const GAP_PX: u32 = 8;
const NAMES_PX: u32 = 190;

fn paint_bars(svg: &mut String, title: &str, names: &[String], series: &[Bars]) -> Drawn {
    let height = 100 + names.len() as u32 * (series.len() as u32 * BAR_PX + GAP_PX);
    let root = SVGBackend::with_string(svg, (620, height)).into_drawing_area();
    root.fill(&WHITE)?;
    // From the top down, as the names stand in a table.
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .margin_right(46)
        .margin_bottom(28)
        .x_label_area_size(24)
        .y_label_area_size(NAMES_PX)
        .build_cartesian_2d(0.0..100.0, names.len() as f64..0.0)?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().y_labels(0).draw()?;
    let font = ("sans-serif", 12).into_font();
    let write = |text: &str, at: (i32, i32), side: HPos| {
        let style = font.color(&BLACK).pos(Pos::new(side, VPos::Center));
        root.draw(&Text::new(text.to_string(), at, style))
    };
    for (row, name) in names.iter().enumerate() {
        let (x, y) = chart.plotting_area().map_coordinate(&(0.0, row as f64 + 0.5));
        write(name, (x - 6, y), HPos::Right)?;
    }
    let thickness = 0.9 / series.len().max(1) as f64;
    for (index, (label, values)) in series.iter().enumerate() {
        let colour = Palette99::pick(index).mix(0.75).filled();
        let rows = values.iter().enumerate().filter_map(|(row, value)| Some((row, (*value)?)));
        let from = |row: usize| row as f64 + 0.05 + index as f64 * thickness;
        chart.draw_series(
            rows.clone().map(|(row, value)| Rectangle::new([(0.0, from(row)), (value, from(row) + thickness)], colour)),
        )?;
        for (row, value) in rows {
            let (x, y) = chart.plotting_area().map_coordinate(&(value, from(row) + thickness / 2.0));
            write(&format!("{value:.1}"), (x + 3, y), HPos::Left)?;
        }
        // Below the axis, where there are no bars to cover.
        let (x, y) = ((NAMES_PX + 90 * index as u32) as i32, height as i32 - 18);
        root.draw(&Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour))?;
        write(label, (x + 18, y), HPos::Left)?;
    }
    root.present()?;
    Ok(())
}

/// Bars of the histogram over 0..1.
const BARS: usize = 20;

fn histogram(svg: &mut String, tiers: &[(String, Vec<Scored>)]) -> Drawn {
    let height = 200 * tiers.len().max(1) as u32;
    let root = SVGBackend::with_string(svg, (620, height)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (name, scored)) in root.split_evenly((tiers.len().max(1), 1)).iter().zip(tiers) {
        let shares = [false, true].map(|fake| {
            let own: Vec<f32> = scored.iter().filter(|s| s.1 == fake).map(|s| s.0).collect();
            let mut counts = [0.0; BARS];
            own.iter().for_each(|p| counts[((p * BARS as f32) as usize).min(BARS - 1)] += 1.0 / own.len() as f64);
            counts
        });
        let top = shares.iter().flatten().fold(0.05, |top: f64, share| top.max(*share));
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{name}: reals (blue), fakes (red)"), ("sans-serif", 14))
            .margin(6)
            .x_label_area_size(24)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..1.0, 0.0..top)?;
        chart.configure_mesh().x_desc("p_fake").draw()?;
        for (counts, colour) in shares.iter().zip([BLUE, RED]) {
            chart.draw_series(counts.iter().enumerate().map(|(bar, share)| {
                let left = bar as f64 / BARS as f64;
                Rectangle::new([(left, 0.0), (left + 1.0 / BARS as f64, *share)], colour.mix(0.4).filled())
            }))?;
        }
    }
    root.present()?;
    Ok(())
}
