//! `grnet eval`: how good a model is on labelled pictures, by degradation, source, generator and family. Every picture goes
//! the whole way that `detect` takes it; what cannot be assessed is counted and listed, never dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::calibrate::FACE_PX;
use super::examined::Examined;
use crate::detector::{self, Detector, PrepareConfig, Prepared};
use crate::model::Thresholds;
use crate::model::familiarity::Gate;
use crate::picture::face::Finder;
use crate::picture::{self, Limits, Rgb8};
use crate::report::evidence;
use crate::report::{Band, Face, ModelInfo, Quality, Reason};
use crate::train::data::table::{Crop, FAKE, REAL, Row, UNKNOWN};
use crate::train::looks::degrade::{Step, Tier, encode_jpeg, encode_webp};
use crate::train::metrics::{self, Confusion, Scored};
use crate::train::rng::{Stream, at, chance};
use crate::{Error, ErrorKind, Result};

/// Value of [`Evaluation::schema`].
pub const SCHEMA: &str = "grnet.eval/1";
/// Draws of the bootstrap.
const ROUNDS: usize = 200;
/// Pictures that are prepared together, on all cores.
const CHUNK: usize = 64;
/// A source with fewer pictures is not the worst one: chance alone would make it so.
const FEW_OF_SOURCE: usize = 20;
/// Bins of the calibration error.
pub const BINS: usize = 15;

/// By what the figures are split, besides all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The column `source`.
    Source,
    /// The column `generator`; real pictures have none.
    Generator,
    /// The column `set`: the kind of pictures that a source has.
    Family,
    /// The longer side of the face's box, in the sizes that calibration tells apart.
    Face,
}

impl By {
    /// The column of that name.
    ///
    /// # Errors
    /// `BadUsage`, listing the names.
    pub fn named(name: &str) -> Result<By> {
        match name {
            "source" => Ok(By::Source),
            "generator" => Ok(By::Generator),
            // The second is the column's name.
            "family" | "set" => Ok(By::Family),
            "face" => Ok(By::Face),
            other => {
                let message = format!("expected source, generator, family or face, found {other}");
                Err(Error::new(ErrorKind::BadUsage, message))
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            By::Source => "source",
            By::Generator => "generator",
            By::Family => "family",
            By::Face => "face",
        }
    }

    /// Which part a picture belongs to; empty for none.
    fn value(self, row: &Row, judged: &Judged) -> String {
        match self {
            By::Source => row.source.clone(),
            By::Generator => row.generator.clone(),
            By::Family => row.set.clone(),
            By::Face => judged.quality.map_or(String::new(), |quality| face_size(quality.face_px)),
        }
    }
}

/// The range of face sizes that a face belongs to, padded so that names sort by size.
fn face_size(face_px: u32) -> String {
    let [small, middle] = FACE_PX;
    match face_px {
        px if px < small => format!("  0-{:>3} px", small - 1),
        px if px < middle => format!("{small:>3}-{:>3} px", middle - 1),
        _ => format!("{middle:>3}-    px"),
    }
}

/// What the model says of one picture in one degradation.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Place of the picture in the table.
    pub row: usize,
    /// The degradation.
    pub tier: Tier,
    /// The photo's score, calibrated; absent when not assessed.
    pub p_fake: Option<f32>,
    /// The photo's band.
    pub band: Band,
    /// Why not.
    pub reason: Option<Reason>,
    /// Quality of the face that decided the score.
    pub quality: Option<Quality>,
}

/// A picture as a file after a degradation: what alternates goes by `odd`.
///
/// # Errors
/// `BadImage` when the file cannot be decoded.
pub fn degraded_file(bytes: &[u8], tier: Tier, odd: bool) -> Result<Vec<u8>> {
    let mut plan = tier.plan(odd);
    let Some(last) = plan.steps.pop() else { return Ok(bytes.to_vec()) };
    let encoding = match last {
        Step::Jpeg { .. } | Step::Webp { .. } => Some(last),
        other => {
            plan.steps.push(other);
            None
        }
    };
    let picture = plan.apply(&picture::decode(bytes, &Limits::default())?.pixels)?;
    match encoding {
        Some(Step::Jpeg { quality, full_chroma }) => encode_jpeg(&picture, quality, full_chroma),
        Some(Step::Webp { quality }) => encode_webp(&picture, quality),
        // Without loss: nothing but the named degradation happens.
        _ => evidence::png(&picture),
    }
}

/// Judges all rows in all tiers. `base` is the folder that paths are relative to; `cropped` takes every picture whole.
/// `progress` is told (done, all).
///
/// # Errors
/// `GpuLost` when the device fails to answer.
pub fn judge(
    base: &Path,
    rows: &[Row],
    detector: &dyn Examined,
    tiers: &[Tier],
    cropped: bool,
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<Judged>> {
    let config = detector.prepare_config();
    let tasks: Vec<(usize, Tier)> = tiers.iter().flat_map(|t| (0..rows.len()).map(|row| (row, *t))).collect();
    let mut judged = Vec::with_capacity(tasks.len());
    for chunk in tasks.chunks(CHUNK) {
        let prepared = prepare_rows(base, rows, chunk, &config, cropped)?;
        for ((row, tier), prepared) in chunk.iter().zip(&prepared) {
            let report = detector.report(prepared)?;
            let decided = |face: &&Face| face.p_fake.is_some() && face.p_fake == report.p_fake;
            judged.push(Judged {
                row: *row,
                tier: *tier,
                p_fake: report.p_fake,
                band: report.band,
                reason: report.reason,
                quality: report.faces.iter().find(decided).map(|face| face.quality),
            });
        }
        progress(judged.len(), tasks.len());
    }
    Ok(judged)
}

/// Prepares rows in their tiers, on all cores.
fn prepare_rows(
    base: &Path,
    rows: &[Row],
    tasks: &[(usize, Tier)],
    config: &PrepareConfig,
    cropped: bool,
) -> Result<Vec<Prepared>> {
    let prepared = tasks.par_iter().map_init(Finder::new, |finder, (row, tier)| {
        let finder = finder.as_mut().map_err(|e| Error::new(ErrorKind::Internal, e.full_message()))?;
        let whole = cropped || rows[*row].crop == Crop::Whole;
        let config = PrepareConfig { whole, ..config.clone() };
        Ok(prepare_row(base, &rows[*row], *row, *tier, finder, &config))
    });
    prepared.collect()
}

fn prepare_row(
    base: &Path,
    row: &Row,
    index: usize,
    tier: Tier,
    finder: &mut Finder,
    config: &PrepareConfig,
) -> Prepared {
    let odd = chance(&mut at(0, Stream::Validation, tier.number(), index as u64), 0.5);
    let path = base.join(&row.path);
    let read = fs::read(&path).map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e));
    match read.and_then(|bytes| degraded_file(&bytes, tier, odd)) {
        Ok(bytes) => detector::prepare(&row.path, &bytes, finder, config),
        // What cannot be read or degraded is passed on empty and so becomes `unreadable`: scored as the untouched file it
        // would count for the degradation.
        Err(error) => {
            let empty = detector::prepare(&row.path, &[], finder, config);
            Prepared { failure: Some(error.full_message()), ..empty }
        }
    }
}

/// The familiarity gate of a model: fitted on the features of the rows' faces in all `tiers`. `None` for too few faces.
///
/// # Errors
/// `GpuLost` when the device fails to answer.
pub fn fit_gate(base: &Path, rows: &[Row], detector: &Detector, tiers: &[Tier]) -> Result<Option<Gate>> {
    let config = detector.prepare_config();
    let labelled = |row: &usize| rows[*row].label != UNKNOWN;
    let tasks: Vec<(usize, Tier)> =
        tiers.iter().flat_map(|t| (0..rows.len()).filter(labelled).map(|row| (row, *t))).collect();
    let mut samples = Vec::new();
    for chunk in tasks.chunks(CHUNK) {
        let prepared = prepare_rows(base, rows, chunk, &config, false)?;
        let faces = chunk.iter().zip(prepared);
        let (pictures, crops): (Vec<usize>, Vec<Rgb8>) =
            faces.filter_map(|((row, _), prepared)| Some((*row, prepared.crops.into_iter().flatten().next()?))).unzip();
        for (pictures, crops) in pictures.chunks(BATCH).zip(crops.chunks(BATCH)) {
            let scores = pollster::block_on(detector.score(crops))?;
            samples.extend(pictures.iter().copied().zip(scores.into_iter().map(|score| score.features)));
        }
    }
    Ok(Gate::fit(&samples))
}

/// Pictures that go through the network together.
const BATCH: usize = 16;

/// How two models differ on the same pictures in one degradation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The degradation.
    pub degrade: &'static str,
    /// Pictures that at least one of the models assessed.
    pub pictures: usize,
    /// Those of them with another band.
    pub changed: usize,
    /// Largest difference of `p_fake` where both assessed the picture.
    pub p_fake_max_abs: f32,
}

impl Change {
    /// For people.
    pub fn text(&self) -> String {
        let Change { pictures, changed, p_fake_max_abs, .. } = self;
        let share = 100.0 * *changed as f64 / *pictures as f64;
        format!("{changed} of {pictures} verdicts change ({share:.2} %), p_fake by at most {p_fake_max_abs:.4}")
    }
}

/// Compares what two models say of the same rows in the same tiers, both as [`judge`] gives it.
pub fn changes(judged: &[Judged], other: &[Judged]) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    for (a, b) in judged.iter().zip(other) {
        assert_eq!((a.row, a.tier), (b.row, b.tier), "both models judge the same pictures in the same order");
        if a.band == Band::NotAssessed && b.band == Band::NotAssessed {
            continue;
        }
        let degrade = a.tier.name();
        if found.last().is_none_or(|change| change.degrade != degrade) {
            found.push(Change { degrade, pictures: 0, changed: 0, p_fake_max_abs: 0.0 });
        }
        let change = found.last_mut().expect("one was just pushed");
        change.pictures += 1;
        change.changed += usize::from(a.band != b.band);
        let difference = a.p_fake.zip(b.p_fake).map_or(0.0, |(a, b)| (a - b).abs());
        change.p_fake_max_abs = change.p_fake_max_abs.max(difference);
    }
    found
}

/// Everything that was measured; the JSON of `grnet eval --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The model.
    pub model: ModelInfo,
    /// Its thresholds: `acc` is at `likely_fake`, `flagged_reals` at `auto_scan`.
    pub thresholds: Thresholds,
    /// The figures.
    pub rows: Vec<EvalRow>,
    /// Pictures with label -1, with their scores.
    pub unknown: Vec<Listed>,
    /// Pictures that were not assessed, with the reason.
    pub not_assessed: Vec<Listed>,
}

/// A picture that is listed by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its path in the table.
    pub path: String,
    /// The degradation.
    pub degrade: &'static str,
    /// Its score.
    pub p_fake: Option<f32>,
    /// Why it has none.
    pub reason: Option<Reason>,
}

/// Figures of one selection in one degradation. Figures that need both classes are absent where there is one only, but
/// for `auc`: it is then taken against all pictures of the other class, every source of theirs weighing the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalRow {
    /// The degradation.
    pub degrade: &'static str,
    /// `all`, `source`, `generator`, `family` or `face`.
    pub by: &'static str,
    /// Which one; `all` for all.
    pub value: String,
    /// Real pictures that were assessed.
    pub n_real: usize,
    /// Fakes that were assessed.
    pub n_fake: usize,
    /// Pictures of either class that were not.
    pub not_assessed: usize,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Whether `auc` is against pictures of other selections.
    pub auc_against_others: bool,
    /// Share of right answers at the stored threshold `likely_fake`.
    pub acc: Option<f64>,
    /// The same at one half.
    pub acc_half: Option<f64>,
    /// Equal error rate.
    pub eer: Option<f64>,
    /// Average precision.
    pub ap: Option<f64>,
    /// Share of fakes found at 1 % of reals flagged.
    pub tpr_at_fpr1: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Brier score.
    pub brier: Option<f64>,
    /// Share of reals over the stored auto-scan threshold.
    pub flagged_reals: Option<f64>,
    /// At the stored threshold `likely_fake`.
    pub confusion: Confusion,
    /// Pictures with the band `likely_fake`: untouched ones, fakes. The familiarity gate has been asked, unlike in `confusion`.
    pub called: [usize; 2],
    /// Assessed pictures of either class that the familiarity gate held back.
    pub unfamiliar: usize,
    /// AUC over groups (videos, identities), each with its mean score.
    pub auc_by_group: Option<f64>,
    /// Mean of `auc` over the sources; only in `all`.
    pub auc_mean_over_sources: Option<f64>,
    /// Lowest `auc` of a source with enough pictures (of any where none has), and which; only in `all`.
    pub auc_worst_source: Option<(String, f64)>,
    /// Mean of `auc` over the families, where the table names any; only in `all`.
    pub auc_mean_over_families: Option<f64>,
    /// Lowest `auc` of a family, and which; only in `all`.
    pub auc_worst_family: Option<(String, f64)>,
    /// The family of which most untouched pictures have the band `likely_fake`, every source weighing the same, and which share
    /// of them; only in `all`.
    pub called_worst_family: Option<(String, f64)>,
    /// Bootstrap 95 % intervals.
    pub ci95: BTreeMap<&'static str, [f64; 2]>,
}

/// Computes all figures from judged pictures.
pub fn evaluate(rows: &[Row], judged: &[Judged], by: &[By], model: ModelInfo, thresholds: Thresholds) -> Evaluation {
    let mut tiers: Vec<Tier> = Vec::new();
    judged.iter().for_each(|j| {
        if !tiers.contains(&j.tier) {
            tiers.push(j.tier)
        }
    });
    let mut found = Vec::new();
    for tier in tiers {
        let here: Vec<&Judged> = judged.iter().filter(|j| j.tier == tier && rows[j.row].label != UNKNOWN).collect();
        let figures = Figures { rows, all: &here, thresholds, tier };
        let mut all = figures.of("all", "all", &here);
        let (sources, families) = (figures.split(By::Source), figures.split(By::Family));
        let aucs = |rows: &[EvalRow], fewest: usize| -> Vec<(String, f64)> {
            let enough = rows.iter().filter(|row| row.n_real + row.n_fake >= fewest);
            enough.filter_map(|row| Some((row.value.clone(), row.auc?))).collect()
        };
        let mean = |aucs: &[(String, f64)]| {
            (!aucs.is_empty()).then(|| aucs.iter().map(|(_, auc)| auc).sum::<f64>() / aucs.len() as f64)
        };
        let worst = |aucs: &[(String, f64)]| aucs.iter().min_by(|a, b| a.1.total_cmp(&b.1)).cloned();
        let (of_sources, of_families) = (aucs(&sources, 0), aucs(&families, 0));
        all.auc_mean_over_sources = mean(&of_sources);
        all.auc_worst_source = worst(&aucs(&sources, FEW_OF_SOURCE)).or_else(|| worst(&of_sources));
        all.auc_mean_over_families = mean(&of_families);
        all.auc_worst_family = worst(&of_families);
        all.called_worst_family = figures.called_worst_family();
        found.push(all);
        for by in by {
            found.extend(match by {
                By::Source => sources.clone(),
                By::Family => families.clone(),
                other => figures.split(*other),
            });
        }
    }
    let listed = |wanted: &dyn Fn(&Judged) -> bool| -> Vec<Listed> {
        let chosen = judged.iter().filter(|j| wanted(j));
        let list = |j: &Judged| Listed {
            path: rows[j.row].path.clone(),
            degrade: j.tier.name(),
            p_fake: j.p_fake,
            reason: j.reason,
        };
        chosen.map(list).collect()
    };
    Evaluation {
        schema: SCHEMA,
        model,
        thresholds,
        rows: found,
        unknown: listed(&|j| rows[j.row].label == UNKNOWN),
        not_assessed: listed(&|j| rows[j.row].label != UNKNOWN && j.p_fake.is_none()),
    }
}

/// Labelled pictures of one tier.
struct Figures<'a> {
    rows: &'a [Row],
    all: &'a [&'a Judged],
    thresholds: Thresholds,
    tier: Tier,
}

impl Figures<'_> {
    fn split(&self, by: By) -> Vec<EvalRow> {
        let mut parts: BTreeMap<String, Vec<&Judged>> = BTreeMap::new();
        for judged in self.all {
            let value = by.value(&self.rows[judged.row], judged);
            if !value.is_empty() {
                parts.entry(value).or_default().push(judged);
            }
        }
        parts.into_iter().map(|(value, part)| self.of(by.name(), &value, &part)).collect()
    }

    fn of(&self, by: &'static str, value: &str, part: &[&Judged]) -> EvalRow {
        let scored: Vec<Scored> = self.scored(part);
        let n_fake = scored.iter().filter(|s| s.1).count();
        let n_real = scored.len() - n_fake;
        let against_others = by != "all" && (n_real == 0) != (n_fake == 0);
        let auc = if against_others { self.auc_against_others(part) } else { metrics::auc(&scored) };
        let (likely, auto) = (self.thresholds.likely_fake as f32, self.thresholds.auto_scan as f32);
        let both = n_real > 0 && n_fake > 0;
        let mut ci95 = BTreeMap::new();
        let mut interval = |name: &'static str, measure: &dyn Fn(&[Scored]) -> Option<f64>| {
            let rng = &mut at(0, Stream::Bootstrap, self.tier.number(), scored.len() as u64);
            if let Some(range) = metrics::bootstrap(&scored, ROUNDS, rng, measure) {
                ci95.insert(name, range);
            }
        };
        if both {
            interval("auc", &metrics::auc);
            interval("eer", &metrics::eer);
            interval("tpr_at_fpr1", &|s| metrics::tpr_at_fpr(s, 0.01));
        }
        interval("acc", &|s| metrics::accuracy(s, likely));
        interval("flagged_reals", &|s| metrics::flagged_reals(s, auto));
        if let Some(auc) = auc.filter(|_| against_others) {
            let others = self.all.iter().filter(|j| j.p_fake.is_some()).count() - scored.len();
            ci95.insert("auc", metrics::auc_interval(auc, scored.len(), others));
        }
        EvalRow {
            degrade: self.tier.name(),
            by,
            value: value.to_string(),
            n_real,
            n_fake,
            not_assessed: part.iter().filter(|j| j.p_fake.is_none()).count(),
            auc,
            auc_against_others: against_others,
            acc: metrics::accuracy(&scored, likely),
            acc_half: metrics::accuracy(&scored, 0.5),
            eer: metrics::eer(&scored),
            ap: if both { metrics::average_precision(&scored) } else { None },
            tpr_at_fpr1: metrics::tpr_at_fpr(&scored, 0.01),
            ece: metrics::calibration_error(&scored, BINS),
            brier: metrics::brier(&scored),
            flagged_reals: metrics::flagged_reals(&scored, auto),
            confusion: metrics::confusion(&scored, likely),
            called: [REAL, FAKE].map(|label| {
                part.iter().filter(|j| j.band == Band::LikelyFake && self.rows[j.row].label == label).count()
            }),
            unfamiliar: part.iter().filter(|j| j.reason == Some(Reason::Unfamiliar)).count(),
            auc_by_group: self.auc_by_group(part),
            auc_mean_over_sources: None,
            auc_worst_source: None,
            auc_mean_over_families: None,
            auc_worst_family: None,
            called_worst_family: None,
            ci95,
        }
    }

    fn scored(&self, part: &[&Judged]) -> Vec<Scored> {
        part.iter().filter_map(|j| Some((j.p_fake?, self.rows[j.row].label == FAKE))).collect()
    }

    fn auc_against_others(&self, part: &[&Judged]) -> Option<f64> {
        let own = self.rows[part.first()?.row].label;
        let others: Vec<&Judged> = self.all.iter().filter(|j| self.rows[j.row].label != own).copied().collect();
        let mut weighted = self.by_source(part);
        weighted.extend(self.by_source(&others));
        let weighted: Vec<(f32, bool, f64)> =
            weighted.into_iter().map(|(j, weight)| (j.p_fake.unwrap_or(0.0), self.is_fake(j), weight)).collect();
        metrics::weighted_auc(&weighted)
    }

    fn is_fake(&self, judged: &Judged) -> bool {
        self.rows[judged.row].label == FAKE
    }

    /// The assessed ones with weights that are one in sum for every source.
    fn by_source<'j>(&self, part: &[&'j Judged]) -> Vec<(&'j Judged, f64)> {
        let assessed: Vec<&Judged> = part.iter().filter(|j| j.p_fake.is_some()).copied().collect();
        let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
        assessed.iter().for_each(|j| *counts.entry(&self.rows[j.row].source).or_default() += 1.0);
        assessed.into_iter().map(|j| (j, 1.0 / counts[self.rows[j.row].source.as_str()])).collect()
    }

    fn called_worst_family(&self) -> Option<(String, f64)> {
        let mut families: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
        for judged in self.all.iter().filter(|j| self.rows[j.row].label == REAL) {
            families.entry(&self.rows[judged.row].set).or_default().push(judged);
        }
        families.remove("");
        let share = |(family, part): (&str, Vec<&Judged>)| {
            let weighted = self.by_source(&part);
            let called = weighted.iter().filter(|(j, _)| j.band == Band::LikelyFake).map(|(_, weight)| weight);
            let (called, all) = (called.sum::<f64>(), weighted.iter().map(|(_, weight)| weight).sum::<f64>());
            (all > 0.0).then(|| (family.to_string(), called / all))
        };
        families.into_iter().filter_map(share).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn auc_by_group(&self, part: &[&Judged]) -> Option<f64> {
        let mut groups: BTreeMap<(&str, i8), (f32, f32)> = BTreeMap::new();
        for judged in part {
            let row = &self.rows[judged.row];
            if let Some(p_fake) = judged.p_fake {
                let (sum, count) = groups.entry((&row.group, row.label)).or_default();
                *sum += p_fake;
                *count += 1.0;
            }
        }
        metrics::auc(
            &groups.into_iter().map(|((_, label), (sum, count))| (sum / count, label == FAKE)).collect::<Vec<_>>(),
        )
    }
}

impl Evaluation {
    /// The figures as a text table.
    pub fn text(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
        let mut text = format!(
            "{:<10} {:<9} {:<18} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>6} {:>8} {:>8}\n",
            "degrade",
            "by",
            "value",
            "reals",
            "fakes",
            "n/a",
            "auc",
            "acc",
            "acc.5",
            "eer",
            "ap",
            "tpr@1%",
            "ece",
            "brier",
            "flagged",
            "gate"
        );
        for row in &self.rows {
            text += &format!(
                "{:<10} {:<9} {:<18} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>6} {:>8} {:>8}\n",
                row.degrade,
                row.by,
                row.value,
                row.n_real,
                row.n_fake,
                row.not_assessed,
                number(row.auc) + if row.auc_against_others { "*" } else { "" },
                number(row.acc),
                number(row.acc_half),
                number(row.eer),
                number(row.ap),
                number(row.tpr_at_fpr1),
                number(row.ece),
                number(row.brier),
                number(row.flagged_reals),
                row.unfamiliar,
            );
            if let (Some(mean), Some((source, worst))) = (row.auc_mean_over_sources, &row.auc_worst_source) {
                text += &format!("{:<10} auc over sources: mean {mean:.3}, worst {worst:.3} ({source})\n", row.degrade);
            }
            if let (Some(mean), Some((family, worst))) = (row.auc_mean_over_families, &row.auc_worst_family) {
                text +=
                    &format!("{:<10} auc over families: mean {mean:.3}, worst {worst:.3} ({family})\n", row.degrade);
            }
            if let Some((family, share)) = &row.called_worst_family {
                let share = 100.0 * share;
                text += &format!("{:<10} untouched called likely_fake: worst {share:.1} % ({family})\n", row.degrade);
            }
        }
        text + "acc: at the stored threshold; acc.5: at 0.5; flagged: reals over the auto-scan threshold; n/a: not assessed; \
                gate: held back as unfamiliar; *: one class only, against the other class of all sources\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::table::parse_table;
    use crate::train::measure::card;

    fn rows() -> Vec<Row> {
        let table = "path,label,source,generator,group,split,set\n\
            a1,0,film,,v1,test,x\na2,0,film,,v1,test,x\nb1,0,photo,,p1,test,y\n\
            c1,1,swap,dfdc,v1,test,x\nc2,1,swap,dfdc,v2,test,x\nd1,1,gan,stylegan,g1,test,y\n\
            u1,-1,web,,w1,test,y\nn1,1,gan,stylegan,g2,test,y\n";
        parse_table(table.as_bytes(), "table").unwrap()
    }

    fn judged(scores: &[Option<f32>]) -> Vec<Judged> {
        let one = |(row, p_fake): (usize, &Option<f32>)| Judged {
            row,
            tier: Tier::Raw,
            p_fake: *p_fake,
            band: p_fake.map_or(Band::NotAssessed, |p| if p >= 0.7 { Band::LikelyFake } else { Band::Inconclusive }),
            reason: p_fake.is_none().then_some(Reason::NoFace),
            quality: None,
        };
        scores.iter().enumerate().map(one).collect()
    }

    fn evaluation() -> Evaluation {
        let scores = [0.1, 0.3, 0.6, 0.5, 0.9, 0.8, 0.99].map(Some).into_iter().chain([None]).collect::<Vec<_>>();
        let thresholds = Thresholds { likely_fake: 0.7, auto_scan: 0.95, no_signs: 0.2 };
        let by = [By::Source, By::Generator, By::Family];
        evaluate(&rows(), &judged(&scores), &by, ModelInfo::default(), thresholds)
    }

    fn row<'a>(evaluation: &'a Evaluation, by: &str, value: &str) -> &'a EvalRow {
        evaluation.rows.iter().find(|row| row.by == by && row.value == value).unwrap()
    }

    #[test]
    fn another_band_is_a_change_and_another_score_within_it_is_none() {
        let ours = judged(&[Some(0.1), Some(0.3), Some(0.9), None, None]);
        let theirs = judged(&[Some(0.1), Some(0.5), Some(0.6), Some(0.2), None]);
        let [change] = &changes(&ours, &theirs)[..] else { panic!("one degradation") };
        assert_eq!((change.degrade, change.pictures, change.changed), ("raw", 4, 2));
        assert!((change.p_fake_max_abs - 0.3).abs() < 1e-6);
        assert_eq!(change.text(), "2 of 4 verdicts change (50.00 %), p_fake by at most 0.3000");
        assert_eq!(changes(&ours, &ours)[0].changed, 0);
    }

    #[test]
    fn all_pictures_are_counted_once_and_unknown_ones_never() {
        let evaluation = evaluation();
        let all = row(&evaluation, "all", "all");
        assert_eq!((all.n_real, all.n_fake, all.not_assessed), (3, 3, 1));
        // Pairs: .5 beats .1 and .3, .9 and .8 beat all: 8 of 9.
        assert!((all.auc.unwrap() - 8.0 / 9.0).abs() < 1e-9);
        assert_eq!((all.acc, all.acc_half), (Some(5.0 / 6.0), Some(5.0 / 6.0)));
        assert_eq!(all.flagged_reals, Some(0.0));
        // Groups: v1 real .2, p1 .6 against v1 fake .5, v2 .9, g1 .8.
        assert!((all.auc_by_group.unwrap() - 5.0 / 6.0).abs() < 1e-9);
        assert_eq!(evaluation.unknown.len(), 1);
        assert_eq!(evaluation.unknown[0].p_fake, Some(0.99));
        assert_eq!((evaluation.not_assessed.len(), evaluation.not_assessed[0].path.as_str()), (1, "n1"));
    }

    #[test]
    fn what_the_gate_held_back_is_counted_and_keeps_its_score() {
        let mut judged = judged(&[Some(0.1), Some(0.3), Some(0.9)]);
        judged[2].band = Band::Inconclusive;
        judged[2].reason = Some(Reason::Unfamiliar);
        let thresholds = Thresholds { likely_fake: 0.7, auto_scan: 0.95, no_signs: 0.2 };
        let evaluation = evaluate(&rows(), &judged, &[], ModelInfo::default(), thresholds);
        let all = row(&evaluation, "all", "all");
        assert_eq!((all.unfamiliar, all.n_real + all.n_fake, all.called), (1, 3, [0, 0]));
        assert!(card::markdown(&evaluation).contains("| held back as unfamiliar | 33.3 % |"));
    }

    #[test]
    fn a_source_of_one_class_is_set_against_all_sources_of_the_other() {
        let evaluation = evaluation();
        let swap = row(&evaluation, "source", "swap");
        assert!(swap.auc_against_others && swap.n_real == 0);
        // Each real source weighs one half: .5 beats film (1/2), not photo; .9 beats both.
        assert!((swap.auc.unwrap() - 0.75).abs() < 1e-9);
        assert_eq!((swap.eer, swap.ap, swap.flagged_reals), (None, None, None));
        let (source, worst) = row(&evaluation, "all", "all").auc_worst_source.clone().unwrap();
        assert_eq!(source, "photo");
        assert!((worst - 0.75).abs() < 1e-9, "{worst}");
        let all = row(&evaluation, "all", "all");
        // Family x: 1, y: the untouched .6 lies below .8 alone.
        assert_eq!((all.auc_mean_over_families, all.auc_worst_family.clone()), (Some(1.0), Some(("x".into(), 1.0))));
        assert_eq!(all.called_worst_family, Some(("y".into(), 0.0)));
        let set = row(&evaluation, "family", "x");
        assert!(!set.auc_against_others);
        assert_eq!((set.n_real, set.n_fake, set.auc), (2, 2, Some(1.0)));
    }

    #[test]
    fn the_card_has_a_table_for_each_way_and_a_column_for_each_degradation() {
        let card = card::markdown(&evaluation());
        let lines: Vec<&str> = card.lines().collect();
        assert!(lines.contains(&"| AUC by source | raw |"), "{card}");
        assert!(lines.contains(&"| AUC, worst source | 0.750 (photo) |"), "{card}");
        // Of the three fakes that were judged .9 and .8 are over .7, of the untouched none.
        assert!(lines.contains(&"| fakes called `likely_fake` | 66.7 % |"), "{card}");
        assert!(lines.contains(&"| gan (fake) | 100 % |") && lines.contains(&"| film (untouched) | 0 % |"), "{card}");
        assert!(!card.contains("gan (untouched)"), "{card}");
    }

    #[test]
    fn the_json_names_what_the_schema_names() {
        let json: serde_json::Value = serde_json::to_value(evaluation()).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        for key in
            ["degrade", "by", "value", "n_real", "n_fake", "not_assessed", "auc", "acc", "eer", "ap", "tpr_at_fpr1"]
        {
            assert!(!json["rows"][0][key].is_null(), "{key}");
        }
        for key in ["ece", "brier", "flagged_reals", "ci95"] {
            assert!(!json["rows"][0][key].is_null(), "{key}");
        }
        let text = evaluation().text();
        assert!(text.contains("auc over sources: mean") && text.lines().count() > 8, "{text}");
    }

    #[test]
    fn a_degradation_that_fails_is_not_assessed_and_not_scored_as_the_untouched_file() {
        let folder = std::env::temp_dir().join(format!("grnet-eval-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // A part of it is there, which is told of the file itself; there is no whole picture to be made smaller.
        let photo = include_bytes!("../../../tests/pictures/astronaut.jpg");
        fs::write(folder.join("a1"), &photo[..photo.len() / 2]).unwrap();
        let config = PrepareConfig { whole: true, ..PrepareConfig::new(64, 1.3) };
        let prepare = |tier| prepare_row(&folder, &rows()[0], 0, tier, &mut Finder::new().unwrap(), &config);
        assert_eq!(prepare(Tier::Raw).report.reason, Some(Reason::Damaged));
        let failed = prepare(Tier::Jp60);
        assert_eq!((failed.crops.len(), failed.report.reason), (0, Some(Reason::Unreadable)));
        assert!(failed.failure.is_some());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn degraded_files_are_files_again() {
        let data = (0..300 * 240 * 3).map(|i| (i % 253) as u8).collect();
        let picture = crate::picture::Rgb8::new(300, 240, data).unwrap();
        let file = encode_jpeg(&picture, 90, false).unwrap();
        let read = |tier, odd| picture::decode(&degraded_file(&file, tier, odd).unwrap(), &Limits::default()).unwrap();
        assert_eq!(degraded_file(&file, Tier::Raw, false).unwrap(), file);
        let hard = read(Tier::Hard, false);
        assert_eq!((hard.format, hard.jpeg_quality, hard.pixels.height), ("jpeg", Some(40), 300));
        let avatar = read(Tier::Avatar, true);
        assert_eq!((avatar.format, avatar.pixels.height, avatar.pixels.width), ("webp", 200, 160));
        assert_eq!(read(Tier::Me5, false).format, "png");
        assert!(degraded_file(b"nothing", Tier::Web, false).is_err());
    }
}
