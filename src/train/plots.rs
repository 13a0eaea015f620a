//! Pictures of an evaluation: ROC curves, reliability, and histograms of the scores, one SVG each.

use std::path::Path;

use plotters::prelude::*;

use super::checkpoint::write_atomically;
use super::eval::{BINS, Judged};
use super::metrics::{self, Scored};
use super::table::{FAKE, Row, UNKNOWN};
use crate::{Error, ErrorKind, Result};

/// Scores -> the points of a curve.
type Points = dyn Fn(&[Scored]) -> Vec<(f64, f64)>;
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
    let roc = |scored: &[Scored]| metrics::roc(scored).iter().map(|p| (p.fpr, p.tpr)).collect();
    let reliability =
        |scored: &[Scored]| metrics::reliability(scored, BINS).iter().map(|b| (b.score, b.share)).collect();
    save(folder, "roc.svg", |svg| curves(svg, ["ROC", "reals flagged", "fakes flagged"], &tiers, &roc))?;
    let names = ["reliability", "mean p_fake", "share of fakes"];
    save(folder, "reliability.svg", |svg| curves(svg, names, &tiers, &reliability))?;
    save(folder, "scores.svg", |svg| histogram(svg, &tiers))
}

fn save(folder: &Path, name: &str, paint: impl FnOnce(&mut String) -> Drawn) -> Result<()> {
    let mut svg = String::new();
    paint(&mut svg).map_err(|e| Error::new(ErrorKind::Internal, format!("cannot draw {name}: {e}")))?;
    write_atomically(&folder.join(name), svg.as_bytes())
}

fn curves(svg: &mut String, [title, across, up]: [&str; 3], tiers: &[(String, Vec<Scored>)], points: &Points) -> Drawn {
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
    for (index, (name, scored)) in tiers.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points(scored), colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
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
