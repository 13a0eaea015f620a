//! `grnet eval`, and calibration for `grnet export`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::readable;
use crate::cli::{self, Device};
use crate::detector::{Detector, DeviceChoice};
use crate::model::{ModelFile, ModelMeta, Precision};
use crate::report::{Reason, words};
use crate::train::compare::examined;
use crate::train::data::layout::{self, Dataset, Layout};
use crate::train::data::table::Split;
use crate::train::files::write_atomically;
use crate::train::formats::export::convert;
use crate::train::looks::degrade::Tier;
use crate::train::measure::calibrate;
use crate::train::measure::card;
use crate::train::measure::eval::{By, Evaluation, Judged, changes, evaluate, fit_gate, judge};
use crate::train::measure::examined::Examined;
use crate::train::measure::ledger;
use crate::train::measure::plots;
use crate::{Error, ErrorKind, Result};

/// Options of `grnet eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Table of pictures (path,label,source,generator,group,split[,crop][,set], paths relative to it), or a data set's folder
    #[arg(long)]
    data: PathBuf,
    /// Model file, or that of a system of `grnet compare` [default: the shipped weights/grnet.safetensors]
    #[arg(long)]
    model: Option<PathBuf>,
    /// Also say how many verdicts change against this model file
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    /// List every verdict under both models, and which turned, as CSV
    #[arg(long, value_name = "CSV", requires = "against")]
    ledger: Option<PathBuf>,
    /// Which rows
    #[arg(long, value_enum, default_value_t = SplitOption::Test)]
    split: SplitOption,
    /// Only sources without training rows in the table: what users meet is none that was trained on
    #[arg(long)]
    unseen: bool,
    /// At most so many pictures of each source and label, the first in the table
    #[arg(long)]
    per_source: Option<usize>,
    /// Degradations: raw,jp60,me5,web,hard,avatar; or what is no photo any more, to see what the familiarity gate holds back:
    /// pencil,crayon,painted,posterised,smoothed,inverted,halftone
    #[arg(long, value_delimiter = ',', default_value = "raw")]
    degrade: Vec<String>,
    /// Split the figures by source,generator,family (the column `set`),face (its size)
    #[arg(long, value_delimiter = ',', default_value = "family,source")]
    by: Vec<String>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Take all pictures whole as crops
    #[arg(long)]
    cropped: bool,
    /// Write all figures as JSON (grnet.eval/1)
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the figures as the tables of a model card (Markdown)
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write ROC, reliability and histograms as SVG into this folder
    #[arg(long)]
    plots: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SplitOption {
    /// Training rows
    Train,
    /// Validation rows
    Val,
    /// Test rows
    Test,
    /// All rows
    All,
}

impl SplitOption {
    fn holds(self, split: Split) -> bool {
        match self {
            SplitOption::Train => split == Split::Train,
            SplitOption::Val => split == Split::Val,
            SplitOption::Test => split == Split::Test,
            SplitOption::All => true,
        }
    }
}

/// Runs `grnet eval`.
///
/// # Errors
/// `BadData` for a bad table, `BadUsage` for unknown names, `Io` for files.
pub fn run(args: &EvalArgs) -> Result<()> {
    let tiers = args.degrade.iter().map(|name| Tier::named(name)).collect::<Result<Vec<_>>>()?;
    let by = args.by.iter().map(|name| By::named(name)).collect::<Result<Vec<_>>>()?;
    let data = Chosen { per_source: args.per_source, unseen: args.unseen }
        .rows(&args.data, |split| args.split.holds(split))?
        .0;
    let rows = &data.rows;
    let which = args.split.to_possible_value().map_or(String::new(), |value| value.get_name().to_string());
    eprintln!(
        "{} rows (split {which}; rows of a table without splits have the one that their group draws)",
        rows.len()
    );
    let model = cli::read_model(args.model.as_deref())?;
    let other = args.against.as_deref().map(|path| cli::read_model(Some(path))).transpose()?;
    let detector = examined::open(args.device.into(), &model)?;
    let judged = judge_with_bar(&data, &*detector, &tiers, args.cropped)?;
    let evaluation = evaluate(rows, &judged, &by, detector.model_info(), detector.thresholds());
    print!("{}", evaluation.text());
    list_not_assessed(&evaluation);
    if let Some(other) = other {
        let other = examined::open(args.device.into(), &other)?;
        let name = other.model_info().name;
        let before = judge_with_bar(&data, &*other, &tiers, args.cropped)?;
        for change in changes(&judged, &before) {
            println!("{:<10} against {name}: {}", change.degrade, change.text());
        }
        if let Some(path) = &args.ledger {
            let lines = ledger::lines(rows, &judged, &before);
            print!("{}", ledger::text(&lines));
            write_atomically(path, &ledger::csv(&lines)?)?;
        }
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&evaluation)
            .map_err(|e| Error::caused(ErrorKind::Internal, "the evaluation as JSON", e))?;
        write_atomically(path, format!("{json}\n").as_bytes())?;
    }
    if let Some(path) = &args.markdown {
        write_atomically(path, card::markdown(&evaluation).as_bytes())?;
    }
    match &args.plots {
        Some(folder) => plots::draw(rows, &judged, folder),
        None => Ok(()),
    }
}

/// Which rows of the wanted splits.
struct Chosen {
    /// At most so many of each source and label, so that none outweighs the others.
    per_source: Option<usize>,
    /// Only sources without training rows.
    unseen: bool,
}

impl Chosen {
    /// The rows, and the sources of the table that have training rows.
    fn rows(&self, path: &Path, wanted: impl Fn(Split) -> bool) -> Result<(Dataset, BTreeSet<String>)> {
        let mut data = layout::read(path, Layout::Auto)?;
        let seen = calibrate::seen_sources(&data.rows);
        data.rows.retain(|row| wanted(row.split) && !(self.unseen && seen.contains(&row.source)));
        let mut taken: BTreeMap<(String, i8), usize> = BTreeMap::new();
        data.rows.retain(|row| {
            let count = taken.entry((row.source.clone(), row.label)).or_default();
            *count += 1;
            self.per_source.is_none_or(|most| *count <= most)
        });
        if data.rows.is_empty() {
            let what =
                if self.unseen { "rows of that split and sources without training rows" } else { "rows of that split" };
            let message = format!("{}: expected {what}, found none", path.display());
            return Err(Error::new(ErrorKind::BadData, message));
        }
        Ok((data, seen))
    }
}

fn judge_with_bar(data: &Dataset, detector: &dyn Examined, tiers: &[Tier], cropped: bool) -> Result<Vec<Judged>> {
    let bar = ProgressBar::new(0);
    bar.set_style(cli::bar_style("judging {wide_bar} {pos}/{len} {per_sec}, {eta} left"));
    let judged = judge(&data.base, &data.rows, detector, tiers, cropped, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let judged = judged?;
    readable(data, judged.iter().all(|one| one.reason == Some(Reason::Unreadable)))?;
    Ok(judged)
}

/// Unlabelled pictures with their scores, and those without; long lists are left to the JSON.
fn list_not_assessed(evaluation: &Evaluation) {
    const SHOWN: usize = 20;
    for listed in evaluation.unknown.iter().take(SHOWN) {
        let score = listed.p_fake.map_or("not assessed".into(), |p| format!("{p:.3}"));
        println!("unlabelled  {:<10} {score}  {}", listed.degrade, listed.path);
    }
    for listed in evaluation.not_assessed.iter().take(SHOWN) {
        let reason = listed.reason.map_or("no reason known", words::reason);
        eprintln!("not assessed  {:<10} {reason}  {}", listed.degrade, listed.path);
    }
    let hidden = evaluation.unknown.len().saturating_sub(SHOWN) + evaluation.not_assessed.len().saturating_sub(SHOWN);
    if hidden > 0 {
        eprintln!("and {hidden} more; --json lists all");
    }
}

/// Degradations that calibration sees.
const CALIBRATION_TIERS: [Tier; 4] = [Tier::Raw, Tier::Web, Tier::Hard, Tier::Avatar];

/// Fits calibration and thresholds of a model on the validation rows of a table, at most `per_source` of each source and
/// label; returns the changed metadata.
///
/// # Errors
/// `BadData` when the table has no assessed validation pictures of both classes.
pub fn calibrated(model: &[u8], table: &Path, per_source: usize) -> Result<ModelMeta> {
    let chosen = Chosen { per_source: Some(per_source), unseen: false };
    let (data, seen) = chosen.rows(table, |split| split == Split::Val)?;
    let plain = convert(model, Precision::F32, |meta| meta.calibration = ModelMeta::default().calibration)?;
    let detector = pollster::block_on(Detector::open(DeviceChoice::Cpu, &plain))?;
    let judged = judge_with_bar(&data, &detector, &CALIBRATION_TIERS, false)?;
    let samples = calibrate::samples(&data.rows, &judged, &seen);
    // Degraded pictures are familiar ones: the smallest and the most compressed, beside those that are neither.
    let familiarity = fit_gate(&data.base, &data.rows, &detector, &[Tier::Raw, Tier::Hard, Tier::Avatar])?;
    let (calibration, thresholds) = calibrate::fit(&samples)?;
    let untouched = calibrate::untouched_outcomes(&samples, &calibration, thresholds);
    let false_alarms = calibrate::false_alarms(&samples)?;
    for bucket in &calibration {
        eprintln!(
            "faces of {:?} px, JPEG quality {:?}: temperature {:.3}, bias {:.3}{}",
            bucket.face_px,
            bucket.jpeg_quality,
            bucket.temperature,
            bucket.bias,
            if bucket.judged { "" } else { ", not judged" }
        );
    }
    eprintln!(
        "thresholds: likely_fake from {:.3}, automatic flags from {:.4}, no_signs_found below {:.3}",
        thresholds.likely_fake, thresholds.auto_scan, thresholds.no_signs
    );
    for alarms in &false_alarms {
        eprintln!(
            "untouched faces of {:?} px called likely_fake where their sources had no say: {:.1} % of {} pictures of {} sources; at most {:.1} % with {:.0} % confidence",
            alarms.face_px,
            100.0 * alarms.likely_fake,
            alarms.pictures,
            alarms.sources,
            100.0 * alarms.at_most,
            100.0 * alarms.confidence
        );
    }
    if let Some(error) = calibrate::remaining_error(&samples, &calibration) {
        eprintln!("calibration error on these {} faces: {error:.4}", samples.len());
    }
    Ok(ModelMeta { calibration, thresholds, familiarity, untouched, false_alarms, ..ModelFile::parse(model)?.meta })
}
