//! What is measured of a system in one degradation, from its class probabilities. `p_fake` is 1 - p(real), whatever the
//! classes; accuracy is that of the likeliest class.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::data::{Classes, Exam};
use crate::train::data::pack::{Entry, Pack};
use crate::train::data::table::FAKE;
use crate::train::measure::eval::BINS;
use crate::train::measure::validate::Opponents;
use crate::train::metrics::{self, Bin, Scored};
use crate::train::rng::{Stream, at};

/// Draws of the bootstrap.
const ROUNDS: usize = 200;

/// A figure of scored pictures.
type Measure<'a> = &'a dyn Fn(&[Scored]) -> Option<f64>;

/// Figures of one system in one degradation. What needs both real pictures and fakes is absent where there is one only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Real pictures judged.
    pub n_real: usize,
    /// Fakes judged.
    pub n_fake: usize,
    /// Share of right classes, and its bootstrap 95 % interval.
    pub acc: f64,
    /// See `acc`.
    pub acc_ci95: Option<[f64; 2]>,
    /// Area under the ROC curve of `p_fake`, and its interval.
    pub auc: Option<f64>,
    /// See `auc`.
    pub auc_ci95: Option<[f64; 2]>,
    /// Equal error rate.
    pub eer: Option<f64>,
    /// Average precision.
    pub ap: Option<f64>,
    /// Share of fakes found at 1 % of reals flagged.
    pub tpr_at_fpr1: Option<f64>,
    /// Expected calibration error of `p_fake`.
    pub ece: Option<f64>,
    /// Brier score of `p_fake`.
    pub brier: Option<f64>,
    /// Bootstrap 95 % intervals of `eer`, `ap`, `tpr_at_fpr1`, `ece` and `brier`, by these names. Outcomes of earlier versions
    /// have none.
    #[serde(default)]
    pub ci95: BTreeMap<String, [f64; 2]>,
    /// Corners of the ROC curve of `p_fake`: share of reals flagged, share of fakes flagged. Outcomes of earlier versions
    /// have none.
    #[serde(default)]
    pub roc: Vec<(f64, f64)>,
    /// Filled bins of the reliability diagram of `p_fake`. Outcomes of earlier versions have none.
    #[serde(default)]
    pub reliability: Vec<Bin>,
    /// `confusion[truth][called]`, in the order of the classes.
    pub confusion: Vec<Vec<usize>>,
    /// Accuracy by source.
    pub acc_by_source: BTreeMap<String, f64>,
    /// Accuracy by class.
    pub acc_by_class: BTreeMap<String, f64>,
    /// AUC by source, fakes against their originals where there are some.
    pub auc_by_source: BTreeMap<String, f64>,
    /// AUC by generator: its fakes against all reals. Outcomes of earlier versions have none.
    #[serde(default)]
    pub auc_by_generator: BTreeMap<String, f64>,
    /// The source with the lowest AUC.
    pub worst_source: Option<(String, f64)>,
    /// Accuracy over groups (videos, identities), by their mean probabilities.
    pub acc_by_group: f64,
    /// AUC over groups, by their mean `p_fake`.
    pub auc_by_group: Option<f64>,
}

impl Figures {
    /// Measures `rows` of class probabilities, in the order of the exam.
    pub fn of(exam: &Exam, pack: &Pack, rows: &[Vec<f32>], classes: &Classes) -> Self {
        let entries: Vec<&Entry> = exam.rows.iter().map(|row| &pack.entries()[*row]).collect();
        let p_fake: Vec<f32> = rows.iter().map(|row| 1.0 - row[0]).collect();
        let scored: Vec<Scored> = p_fake.iter().zip(&entries).map(|(p, entry)| (*p, entry.label == FAKE)).collect();
        let n_fake = scored.iter().filter(|s| s.1).count();
        let both = n_fake > 0 && n_fake < scored.len();
        let right: Vec<Scored> =
            rows.iter().zip(&exam.truth).zip(&scored).map(|((row, truth), s)| (hit(row, *truth), s.1)).collect();
        let mut confusion = vec![vec![0; classes.names.len()]; classes.names.len()];
        rows.iter().zip(&exam.truth).for_each(|(row, truth)| confusion[*truth][argmax(row)] += 1);
        let hits = || right.iter().map(|s| f64::from(s.0));
        let judged: Vec<(&Entry, f32)> = entries.iter().copied().zip(p_fake.iter().copied()).collect();
        let auc_by_source = Opponents::new(pack.entries(), exam.split).auc_by_source(&judged);
        let fakes_of = |maker: &str| -> Vec<Scored> {
            judged
                .iter()
                .filter(|(e, _)| e.label != FAKE || e.maker() == maker)
                .map(|(e, p)| (*p, e.label == FAKE))
                .collect()
        };
        let makers: BTreeSet<&str> = entries.iter().filter(|e| e.label == FAKE).map(|e| e.maker()).collect();
        let auc_by_generator =
            makers.into_iter().filter_map(|maker| Some((maker.to_string(), metrics::auc(&fakes_of(maker))?))).collect();
        let interval = |scored: &[Scored], measure: Measure| {
            metrics::bootstrap(scored, ROUNDS, &mut at(0, Stream::Bootstrap, 0, scored.len() as u64), measure)
        };
        let measures: [(&str, Measure); 5] = [
            ("eer", &metrics::eer),
            ("ap", &metrics::average_precision),
            ("tpr_at_fpr1", &|scored| metrics::tpr_at_fpr(scored, 0.01)),
            ("ece", &|scored| metrics::calibration_error(scored, BINS)),
            ("brier", &metrics::brier),
        ];
        let ci95 = measures
            .into_iter()
            .filter(|_| both)
            .filter_map(|(name, measure)| Some((name.to_string(), interval(&scored, measure)?)))
            .collect();
        let groups = Groups::of(&entries, rows, &exam.truth);
        Figures {
            n_real: scored.len() - n_fake,
            n_fake,
            acc: hits().sum::<f64>() / right.len() as f64,
            acc_ci95: interval(&right, &mean),
            auc: metrics::auc(&scored),
            auc_ci95: if both { interval(&scored, &metrics::auc) } else { None },
            eer: metrics::eer(&scored),
            ap: if both { metrics::average_precision(&scored) } else { None },
            tpr_at_fpr1: metrics::tpr_at_fpr(&scored, 0.01),
            ece: metrics::calibration_error(&scored, BINS),
            brier: metrics::brier(&scored),
            ci95,
            roc: metrics::roc_corners(&metrics::roc(&scored)),
            reliability: metrics::reliability(&scored, BINS),
            confusion,
            acc_by_source: means(entries.iter().map(|entry| entry.source.as_str()).zip(hits())),
            acc_by_class: means(exam.truth.iter().map(|truth| classes.names[*truth].as_str()).zip(hits())),
            worst_source: auc_by_source.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(s, auc)| (s.clone(), *auc)),
            auc_by_source,
            auc_by_generator,
            acc_by_group: groups.accuracy(),
            auc_by_group: metrics::auc(&groups.scored()),
        }
    }
}

fn mean(scored: &[Scored]) -> Option<f64> {
    (!scored.is_empty()).then(|| scored.iter().map(|s| f64::from(s.0)).sum::<f64>() / scored.len() as f64)
}

/// The likeliest class; the first of several.
pub fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

fn hit(row: &[f32], truth: usize) -> f32 {
    f32::from(u8::from(argmax(row) == truth))
}

fn means<'a>(values: impl Iterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, value) in values {
        let (sum, count) = sums.entry(name).or_default();
        *sum += value;
        *count += 1.0;
    }
    sums.into_iter().map(|(name, (sum, count))| (name.to_string(), sum / count)).collect()
}

/// Mean probabilities of the pictures of one group and class.
struct Groups(BTreeMap<(String, usize), Vec<f32>>);

impl Groups {
    fn of(entries: &[&Entry], rows: &[Vec<f32>], truth: &[usize]) -> Self {
        let mut sums: BTreeMap<(String, usize), (Vec<f32>, f32)> = BTreeMap::new();
        for ((entry, row), truth) in entries.iter().zip(rows).zip(truth) {
            let (sum, count) = sums.entry((entry.group.clone(), *truth)).or_insert_with(|| (vec![0.0; row.len()], 0.0));
            sum.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
            *count += 1.0;
        }
        let mean = |(sum, count): (Vec<f32>, f32)| sum.into_iter().map(|p| p / count).collect();
        Groups(sums.into_iter().map(|(key, sums)| (key, mean(sums))).collect())
    }

    fn accuracy(&self) -> f64 {
        let right = self.0.iter().filter(|((_, truth), row)| argmax(row) == *truth).count();
        right as f64 / self.0.len() as f64
    }

    fn scored(&self) -> Vec<Scored> {
        self.0.iter().map(|((_, truth), row)| (1.0 - row[0], *truth > 0)).collect()
    }
}
