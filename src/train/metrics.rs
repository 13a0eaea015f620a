//! How good scores are: AUC and its kin, calibration, bootstrap intervals. Agreement with scikit-learn is tested on golden
//! values (`tests/golden/metrics.py`).

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::train::rng::TrainRng;

/// A score and whether the picture is a fake.
pub type Scored = (f32, bool);

/// Area under the ROC curve: the chance that a fake scores higher than a real one, ties count half. `None` unless both
/// classes are there.
pub fn auc(scores: &[Scored]) -> Option<f64> {
    weighted_auc(&scores.iter().map(|(score, fake)| (*score, *fake, 1.0)).collect::<Vec<_>>())
}

/// [`auc`] with a weight for each picture, to balance sources.
pub fn weighted_auc(scores: &[(f32, bool, f64)]) -> Option<f64> {
    let total = |fake: bool| scores.iter().filter(|s| s.1 == fake).map(|s| s.2).sum::<f64>();
    let (fakes, reals) = (total(true), total(false));
    if fakes <= 0.0 || reals <= 0.0 {
        return None;
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut area) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let weight = |fake: bool| tied.iter().filter(|s| s.1 == fake).map(|s| s.2).sum::<f64>();
        area += weight(true) * (below + 0.5 * weight(false));
        below += weight(false);
    }
    Some(area / (fakes * reals))
}

/// One point of the ROC curve: flagging every score of at least `threshold`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// Scores from here on are flagged.
    pub threshold: f32,
    /// Share of reals flagged.
    pub fpr: f64,
    /// Share of fakes flagged.
    pub tpr: f64,
}

/// The ROC curve from (0, 0), threshold infinity, to (1, 1), one point for each distinct score. Empty unless both classes
/// are there.
pub fn roc(scores: &[Scored]) -> Vec<RocPoint> {
    let fakes = scores.iter().filter(|s| s.1).count() as f64;
    let reals = scores.len() as f64 - fakes;
    if fakes == 0.0 || reals == 0.0 {
        return Vec::new();
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = vec![RocPoint { threshold: f32::INFINITY, fpr: 0.0, tpr: 0.0 }];
    let (mut flagged_fakes, mut flagged_reals) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let found = tied.iter().filter(|s| s.1).count() as f64;
        flagged_fakes += found;
        flagged_reals += tied.len() as f64 - found;
        points.push(RocPoint { threshold: tied[0].0, fpr: flagged_reals / reals, tpr: flagged_fakes / fakes });
    }
    points
}

/// The corners of a ROC curve, (share of reals flagged, share of fakes flagged): the same line with fewer points.
pub fn roc_corners(points: &[RocPoint]) -> Vec<(f64, f64)> {
    let straight = |at: usize| match points.get(at.wrapping_sub(1)..at + 2) {
        Some([a, b, c]) => (a.fpr == b.fpr && b.fpr == c.fpr) || (a.tpr == b.tpr && b.tpr == c.tpr),
        _ => false,
    };
    points.iter().enumerate().filter(|(at, _)| !straight(*at)).map(|(_, point)| (point.fpr, point.tpr)).collect()
}

/// Equal error rate: where the share of missed fakes equals that of flagged reals, between points by straight lines.
pub fn eer(scores: &[Scored]) -> Option<f64> {
    let points = roc(scores);
    points.windows(2).find_map(|pair| {
        let gap = |p: &RocPoint| (1.0 - p.tpr) - p.fpr;
        let (before, after) = (gap(&pair[0]), gap(&pair[1]));
        (after <= 0.0).then(|| {
            let share = if before == after { 0.0 } else { before / (before - after) };
            pair[0].fpr + share * (pair[1].fpr - pair[0].fpr)
        })
    })
}

/// Average precision as scikit-learn defines it: the sum of precision times the gain of recall at every threshold.
pub fn average_precision(scores: &[Scored]) -> Option<f64> {
    let fakes = scores.iter().filter(|s| s.1).count() as f64;
    if fakes == 0.0 {
        return None;
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut found, mut area) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let gain = tied.iter().filter(|s| s.1).count() as f64;
        seen += tied.len() as f64;
        found += gain;
        area += found / seen * gain / fakes;
    }
    Some(area)
}

/// A 95 % interval of an AUC of so many pictures against so many others (Hanley and McNeil 1982): for figures that have no
/// sample of their own to draw from.
pub fn auc_interval(auc: f64, count: usize, others: usize) -> [f64; 2] {
    let (n, m) = (count.max(1) as f64, others.max(1) as f64);
    let (first, second) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let square = auc * auc;
    let variance = (auc * (1.0 - auc) + (n - 1.0) * (first - square) + (m - 1.0) * (second - square)) / (n * m);
    let reach = 1.96 * variance.max(0.0).sqrt();
    [(auc - reach).max(0.0), (auc + reach).min(1.0)]
}

/// The largest share of fakes flagged by a threshold that flags at most `fpr` of the reals.
pub fn tpr_at_fpr(scores: &[Scored], fpr: f64) -> Option<f64> {
    roc(scores).iter().filter(|p| p.fpr <= fpr).map(|p| p.tpr).max_by(f64::total_cmp)
}

/// The lowest threshold that flags at most `fpr` of the reals (scores at or above it are flagged); above the highest real
/// when even that is too many. `None` without reals.
pub fn threshold_at_fpr(scores: &[Scored], fpr: f64) -> Option<f32> {
    let mut reals: Vec<f32> = scores.iter().filter(|s| !s.1).map(|s| s.0).collect();
    reals.sort_by(|a, b| b.total_cmp(a));
    let allowed = (fpr * reals.len() as f64 + 1e-9) as usize;
    // Above the first real that must stay unflagged; all may be flagged when there is none such.
    reals.get(allowed).map(|real| real.next_up()).or(reals.last().copied())
}

/// The lowest threshold that flags at most `share` of the weight of these reals (scores at or above it are flagged); above the
/// highest where even that one weighs too much. `None` without any.
pub fn weighted_threshold(reals: &[(f32, f64)], share: f64) -> Option<f32> {
    let mut sorted = reals.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let allowed = share * sorted.iter().map(|real| real.1).sum::<f64>() + 1e-9;
    let mut flagged = 0.0;
    let mut last = None;
    for (score, weight) in sorted {
        flagged += weight;
        if flagged > allowed {
            return Some(score.next_up());
        }
        last = Some(score);
    }
    last
}

/// What share a calibration set of `count` pictures may flag so that the *next* picture like them is flagged with a
/// probability of at most `share`: the conformal quantile. Below 0 where so few pictures cannot promise that much.
pub fn conformal_share(share: f64, count: f64) -> f64 {
    share - (1.0 - share) / count
}

/// As many equally weighing pictures as these weights are worth (Kish).
pub fn effective_count(weights: impl Iterator<Item = f64>) -> f64 {
    let (sum, squares) = weights.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// The largest share that `found` of `count` do not speak against: one-sided, exact (Clopper and Pearson 1934).
pub fn upper_bound(found: usize, count: usize, confidence: f64) -> f64 {
    if found >= count {
        return 1.0;
    }
    // How likely so few would be, were `share` the truth; falls as the share rises.
    let so_few = |share: f64| {
        let mut term = count as f64 * (1.0 - share).ln();
        let mut sum = term.exp();
        for k in 0..found {
            term += ((count - k) as f64 / (k + 1) as f64).ln() + (share / (1.0 - share)).ln();
            sum += term.exp();
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0 - 1e-12);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if so_few(middle) > 1.0 - confidence { low = middle } else { high = middle }
    }
    high
}

/// Share of right answers when scores of at least `threshold` are called fake.
pub fn accuracy(scores: &[Scored], threshold: f32) -> Option<f64> {
    let right = scores.iter().filter(|(score, fake)| (*score >= threshold) == *fake).count();
    (!scores.is_empty()).then(|| right as f64 / scores.len() as f64)
}

/// Share of reals at or above `threshold`. `None` without reals.
pub fn flagged_reals(scores: &[Scored], threshold: f32) -> Option<f64> {
    let reals: Vec<f32> = scores.iter().filter(|s| !s.1).map(|s| s.0).collect();
    (!reals.is_empty()).then(|| reals.iter().filter(|s| **s >= threshold).count() as f64 / reals.len() as f64)
}

/// How often each class was called what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Fakes called fake.
    pub fake_as_fake: usize,
    /// Fakes not called fake.
    pub fake_as_real: usize,
    /// Reals called fake.
    pub real_as_fake: usize,
    /// Reals not called fake.
    pub real_as_real: usize,
}

/// The confusion matrix at a threshold.
pub fn confusion(scores: &[Scored], threshold: f32) -> Confusion {
    let mut matrix = Confusion::default();
    for (score, fake) in scores {
        *match (fake, *score >= threshold) {
            (true, true) => &mut matrix.fake_as_fake,
            (true, false) => &mut matrix.fake_as_real,
            (false, true) => &mut matrix.real_as_fake,
            (false, false) => &mut matrix.real_as_real,
        } += 1;
    }
    matrix
}

/// Expected calibration error: mean gap between score and share of fakes over `bins` equally wide bins of the score,
/// weighted by their pictures.
pub fn calibration_error(scores: &[Scored], bins: usize) -> Option<f64> {
    let total: f64 = reliability(scores, bins).iter().map(|bin| bin.count as f64 * (bin.score - bin.share).abs()).sum();
    (!scores.is_empty()).then(|| total / scores.len() as f64)
}

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Pictures in the bin.
    pub count: usize,
    /// Their mean score.
    pub score: f64,
    /// The share of fakes among them.
    pub share: f64,
}

/// The filled bins of a reliability diagram. A bin holds scores in (low, high], the first also 0.
pub fn reliability(scores: &[Scored], bins: usize) -> Vec<Bin> {
    let mut sums = vec![(0usize, 0.0f64, 0usize); bins];
    for (score, fake) in scores {
        let place = ((f64::from(*score) * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        sums[place].0 += 1;
        sums[place].1 += f64::from(*score);
        sums[place].2 += usize::from(*fake);
    }
    let filled = sums.into_iter().filter(|(count, ..)| *count > 0);
    filled
        .map(|(count, score, fakes)| Bin { count, score: score / count as f64, share: fakes as f64 / count as f64 })
        .collect()
}

/// Mean squared distance of the score from the truth.
pub fn brier(scores: &[Scored]) -> Option<f64> {
    let sum: f64 = scores.iter().map(|(s, fake)| (f64::from(*s) - f64::from(u8::from(*fake))).powi(2)).sum();
    (!scores.is_empty()).then(|| sum / scores.len() as f64)
}

/// The 2.5th and 97.5th percentile of `measure` over `rounds` draws with replacement, by class, so that no draw loses one.
pub fn bootstrap(
    scores: &[Scored],
    rounds: usize,
    rng: &mut TrainRng,
    measure: impl Fn(&[Scored]) -> Option<f64>,
) -> Option<[f64; 2]> {
    let classes: [Vec<Scored>; 2] = [false, true].map(|fake| scores.iter().copied().filter(|s| s.1 == fake).collect());
    let mut found: Vec<f64> = (0..rounds)
        .filter_map(|_| {
            let mut drawn = Vec::with_capacity(scores.len());
            for class in &classes {
                drawn.extend((0..class.len()).map(|_| class[rng.random_range(0..class.len())]));
            }
            measure(&drawn)
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found[((share * (found.len() - 1) as f64).round() as usize).min(found.len() - 1)];
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_bound_is_that_of_the_tables() {
        // None of 59 is the textbook's 5 % at 95 %; 3 of 100 is 7.57 %.
        assert!((upper_bound(0, 59, 0.95) - 0.0495).abs() < 1e-4);
        assert!((upper_bound(3, 100, 0.95) - 0.0757).abs() < 1e-4);
        assert_eq!(upper_bound(5, 5, 0.95), 1.0);
    }

    #[test]
    fn a_weighted_threshold_flags_no_more_than_its_share() {
        let reals = [(0.9, 1.0), (0.8, 3.0), (0.3, 6.0)];
        assert_eq!(weighted_threshold(&reals, 0.05), Some(0.9f32.next_up()));
        assert_eq!(weighted_threshold(&reals, 0.1), Some(0.8f32.next_up()));
        assert_eq!(weighted_threshold(&reals, 0.4), Some(0.3f32.next_up()));
        assert_eq!(weighted_threshold(&reals, 1.0), Some(0.3));
        assert_eq!(weighted_threshold(&[], 0.1), None);
        // With equal weights it is the plain one.
        let plain: Vec<Scored> = (0..50).map(|i| ((i * 7 % 50) as f32, false)).collect();
        let weighted: Vec<(f32, f64)> = plain.iter().map(|s| (s.0, 1.0)).collect();
        assert_eq!(weighted_threshold(&weighted, 0.05), threshold_at_fpr(&plain, 0.05));
    }

    #[test]
    fn the_conformal_share_keeps_its_promise_for_the_next_picture() {
        // The largest of n may be flagged as soon as one in n + 1 is allowed.
        assert!(conformal_share(0.05, 18.0) < 0.0);
        assert!((conformal_share(0.05, 19.0)).abs() < 1e-12);
        assert!((conformal_share(0.05, 39.0) - 1.0 / 39.0).abs() < 1e-12);
        assert!((effective_count([1.0; 7].into_iter()) - 7.0).abs() < 1e-12);
        assert!((effective_count([1.0, 1.0, 0.0].into_iter()) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn an_interval_narrows_with_pictures_and_stays_in_bounds() {
        // Hanley and McNeil's own example: 0.893 of 58 against 51 has a standard error of 0.032.
        let [low, high] = auc_interval(0.893, 51, 58);
        assert!(((high - low) / 2.0 / 1.96 - 0.032).abs() < 0.002, "{low} {high}");
        assert!(auc_interval(0.9, 400, 400)[0] > auc_interval(0.9, 40, 40)[0]);
        assert_eq!(auc_interval(1.0, 10, 10), [1.0, 1.0]);
    }
}
