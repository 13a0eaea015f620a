//! Calibration on the validation split: temperature and bias by face size and JPEG quality, and the thresholds of the
//! bands. Everything is fitted on scores of the whole way that `detect` takes a picture.

use std::collections::{BTreeMap, BTreeSet};

use super::eval::{BINS, Judged};
use super::metrics::{self, Scored, threshold_at_fpr, weighted_auc};
use super::table::{FAKE, Row, UNKNOWN};
use crate::detector::{band_of, calibrate, find_bucket};
use crate::model::{AUTO_SCAN_SHARE, CalibrationBucket, LIKELY_FAKE_SHARE, Thresholds, UntouchedOutcomes};
use crate::report::{Band, Quality};
use crate::{Error, ErrorKind, Result};

/// Limits between the face sizes of buckets, in pixels.
pub const FACE_PX: [u32; 2] = [96, 160];
/// Limit between strongly and weakly compressed.
const JPEG_QUALITY: u8 = 70;
/// A bucket with fewer pictures of a class takes the fit of all.
const FEW: usize = 40;
/// A bucket with pictures of fewer sources in a class says more about these sources than about its quality, and takes the
/// fit of all too.
const FEW_SOURCES: usize = 3;
/// Shares of fewer untouched faces than this are not written into a model: a tenth of them would be good to 6 % only.
const FEW_UNTOUCHED: u32 = 100;
/// A bucket whose AUC, every source weighing the same, is below this cannot be judged.
const JUDGED_AUC: f64 = 0.6;

/// One uncalibrated score with what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Where the picture comes from.
    pub source: String,
    /// Uncalibrated `p_fake`.
    pub p_fake: f32,
    /// Whether the picture is a fake.
    pub fake: bool,
    /// Quality of its face.
    pub quality: Quality,
}

/// The assessed, labelled pictures.
pub fn samples(rows: &[Row], judged: &[Judged]) -> Vec<Sample> {
    let labelled = judged.iter().filter(|j| rows[j.row].label != UNKNOWN);
    labelled
        .filter_map(|j| {
            let row = &rows[j.row];
            Some(Sample { source: row.source.clone(), p_fake: j.p_fake?, fake: row.label == FAKE, quality: j.quality? })
        })
        .collect()
}

/// Buckets and thresholds from uncalibrated scores. Thresholds are on the calibrated scale: at most 5 % of the reals over
/// `likely_fake`; at most 1 % of those of every source (with enough of them) over `auto_scan`, which nobody asked for; `no_signs` lies where at most 10 % of fakes are below, and not above one half.
///
/// # Errors
/// `BadData` when a class is missing.
pub fn fit(samples: &[Sample]) -> Result<(Vec<CalibrationBucket>, Thresholds)> {
    let whole = fit_line(samples).ok_or_else(|| {
        Error::new(ErrorKind::BadData, "expected assessed pictures of both classes to calibrate on, found one or none")
    })?;
    let mut buckets = Vec::new();
    let sizes = [[0, FACE_PX[0] - 1], [FACE_PX[0], FACE_PX[1] - 1], [FACE_PX[1], u32::MAX]];
    for face_px in sizes {
        for jpeg_quality in [[0, JPEG_QUALITY - 1], [JPEG_QUALITY, 100]] {
            let empty = CalibrationBucket { face_px, jpeg_quality, temperature: 1.0, bias: 0.0, judged: true };
            let inside: Vec<Sample> =
                samples.iter().filter(|s| find_bucket(&[empty], &s.quality).is_some()).cloned().collect();
            let own = if varied(&inside) { fit_line(&inside) } else { None };
            let (temperature, bias) = own.unwrap_or(whole);
            let judged = own.is_none() || balanced_auc(&inside).is_none_or(|auc| auc >= JUDGED_AUC);
            buckets.push(CalibrationBucket { temperature, bias, judged, ..empty });
        }
    }
    let mut calibrated: Vec<Scored> = Vec::new();
    let mut reals: BTreeMap<&str, Vec<Scored>> = BTreeMap::new();
    for sample in samples {
        let Some(scored) = scored(sample, &buckets) else { continue };
        calibrated.push(scored);
        if !sample.fake {
            reals.entry(&sample.source).or_default().push(scored);
        }
    }
    reals.retain(|_, scored| scored.len() >= FEW);
    let at = |scored: &Vec<Scored>, fpr: f64| threshold_at_fpr(scored, fpr).map_or(1.0, f64::from).min(1.0);
    let likely_fake = at(&calibrated, LIKELY_FAKE_SHARE);
    let by_source = reals.values().chain([&calibrated]).map(|scored| at(scored, AUTO_SCAN_SHARE));
    let auto_scan = by_source.fold(likely_fake, f64::max);
    let mut fakes: Vec<f32> = calibrated.iter().filter(|s| s.1).map(|s| s.0).collect();
    fakes.sort_by(f32::total_cmp);
    let tenth = fakes.get(fakes.len() / 10).map_or(0.5, |p| f64::from(*p));
    let no_signs = tenth.min(0.5).min(likely_fake);
    Ok((buckets, Thresholds { likely_fake, auto_scan, no_signs }))
}

/// How the bands fall on the untouched faces of each judged bucket; a bucket with fewer than [`FEW_UNTOUCHED`] of them
/// supports no figure and is left out.
pub fn untouched_outcomes(
    samples: &[Sample],
    buckets: &[CalibrationBucket],
    thresholds: Thresholds,
) -> Vec<UntouchedOutcomes> {
    let counted = buckets.iter().filter(|bucket| bucket.judged).map(|bucket| {
        let inside = samples.iter().filter(|s| !s.fake && find_bucket(buckets, &s.quality) == Some(bucket));
        let bands: Vec<Band> = inside.map(|s| band_of(calibrate(s.p_fake, bucket), thresholds)).collect();
        let share =
            |band: Band| bands.iter().filter(|found| **found == band).count() as f64 / bands.len().max(1) as f64;
        UntouchedOutcomes {
            face_px: bucket.face_px,
            jpeg_quality: bucket.jpeg_quality,
            faces: bands.len() as u32,
            likely_fake: share(Band::LikelyFake),
            inconclusive: share(Band::Inconclusive),
            no_signs_found: share(Band::NoSignsFound),
        }
    });
    counted.filter(|outcomes| outcomes.faces >= FEW_UNTOUCHED).collect()
}

/// Expected calibration error of samples in the judged buckets: how far scores lie from the share of fakes among them.
pub fn remaining_error(samples: &[Sample], buckets: &[CalibrationBucket]) -> Option<f64> {
    let judged: Vec<Scored> = samples.iter().filter_map(|sample| scored(sample, buckets)).collect();
    metrics::calibration_error(&judged, BINS)
}

/// A sample's calibrated score; none in a bucket that is not judged.
fn scored(sample: &Sample, buckets: &[CalibrationBucket]) -> Option<Scored> {
    let bucket = find_bucket(buckets, &sample.quality).filter(|bucket| bucket.judged)?;
    Some((calibrate(sample.p_fake, bucket), sample.fake))
}

/// Whether both classes have enough pictures of enough sources.
fn varied(samples: &[Sample]) -> bool {
    [false, true].into_iter().all(|fake| {
        let own = samples.iter().filter(|s| s.fake == fake);
        let sources: BTreeSet<&str> = own.clone().map(|s| s.source.as_str()).collect();
        own.count() >= FEW && sources.len() >= FEW_SOURCES
    })
}

/// AUC with every source weighing the same.
fn balanced_auc(samples: &[Sample]) -> Option<f64> {
    let mut counts: BTreeMap<(&str, bool), f64> = BTreeMap::new();
    samples.iter().for_each(|s| *counts.entry((&s.source, s.fake)).or_default() += 1.0);
    let weighted: Vec<(f32, bool, f64)> =
        samples.iter().map(|s| (s.p_fake, s.fake, 1.0 / counts[&(s.source.as_str(), s.fake)])).collect();
    weighted_auc(&weighted)
}

/// Temperature and bias that make the log loss smallest, by Newton's method on logit -> a logit + b. `None` unless both
/// classes are there.
fn fit_line(samples: &[Sample]) -> Option<(f64, f64)> {
    if samples.iter().all(|s| s.fake) || samples.iter().all(|s| !s.fake) {
        return None;
    }
    let logit = |p: f32| {
        let p = f64::from(p).clamp(1e-7, 1.0 - 1e-7);
        (p / (1.0 - p)).ln()
    };
    let points: Vec<(f64, f64)> = samples.iter().map(|s| (logit(s.p_fake), f64::from(u8::from(s.fake)))).collect();
    let (mut slope, mut shift) = (1.0f64, 0.0f64);
    for _ in 0..50 {
        // A weak pull to slope 1 keeps separable data finite.
        let pull = 1e-3 * points.len() as f64;
        let (mut g_slope, mut g_shift) = (pull * (slope - 1.0), 0.0);
        let (mut h_ss, mut h_st, mut h_tt) = (pull, 0.0, 1e-9);
        for (x, target) in &points {
            let p = 1.0 / (1.0 + (-(slope * x + shift)).exp());
            let (error, weight) = (p - target, p * (1.0 - p));
            g_slope += error * x;
            g_shift += error;
            h_ss += weight * x * x;
            h_st += weight * x;
            h_tt += weight;
        }
        let determinant = h_ss * h_tt - h_st * h_st;
        if determinant.abs() < 1e-12 {
            break;
        }
        let (d_slope, d_shift) =
            ((h_tt * g_slope - h_st * g_shift) / determinant, (h_ss * g_shift - h_st * g_slope) / determinant);
        // Long steps are cut: far from the optimum Newton overshoots.
        slope -= d_slope.clamp(-1.0, 1.0);
        shift -= d_shift.clamp(-1.0, 1.0);
        if d_slope.abs().max(d_shift.abs()) < 1e-9 {
            break;
        }
    }
    // A stream that answers the wrong way round is flattened, never turned.
    Some((1.0 / slope.max(0.05), shift))
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::train::metrics::{calibration_error, flagged_reals};
    use crate::train::rng::{Stream, at, normal};

    /// Scores whose true logit is `2 z - 1` while the model says `z`.
    fn drawn(count: usize, seed: u64) -> Vec<Sample> {
        let mut rng = at(seed, Stream::Bootstrap, 1, 0);
        (0..count)
            .map(|index| {
                let z = 2.0 * normal(&mut rng);
                let truth = 1.0 / (1.0 + (-(2.0 * z - 1.0)).exp());
                let quality = Quality {
                    face_px: rng.random_range(64..400),
                    jpeg_quality: Some(rng.random_range(30..100)),
                    sharpness: 0.0,
                };
                let source = format!("s{}", index % 4);
                Sample { source, p_fake: 1.0 / (1.0 + (-z).exp()), fake: rng.random::<f32>() < truth, quality }
            })
            .collect()
    }

    fn calibrated(samples: &[Sample], buckets: &[CalibrationBucket]) -> Vec<Scored> {
        samples.iter().map(|s| (calibrate(s.p_fake, find_bucket(buckets, &s.quality).unwrap()), s.fake)).collect()
    }

    #[test]
    fn the_fit_finds_slope_and_shift() {
        let (temperature, bias) = fit_line(&drawn(20_000, 1)).unwrap();
        assert!((temperature - 0.5).abs() < 0.03 && (bias + 1.0).abs() < 0.08, "{temperature} {bias}");
    }

    #[test]
    fn calibration_helps_on_other_data_and_thresholds_keep_their_promise() {
        let (train, test) = (drawn(8000, 2), drawn(8000, 3));
        let (buckets, thresholds) = fit(&train).unwrap();
        assert_eq!(buckets.len(), 6);
        let before: Vec<Scored> = test.iter().map(|s| (s.p_fake, s.fake)).collect();
        let after = calibrated(&test, &buckets);
        let error = |scored: &[Scored]| calibration_error(scored, 15).unwrap();
        assert!(error(&after) < 0.03 && error(&before) > 0.06, "{} {}", error(&before), error(&after));
        assert_eq!(remaining_error(&test, &buckets), Some(error(&after)));
        let own = calibrated(&train, &buckets);
        assert!(flagged_reals(&own, thresholds.auto_scan as f32).unwrap() <= 0.0101);
        assert!(flagged_reals(&own, thresholds.likely_fake as f32).unwrap() <= 0.0501);
        for source in ["s0", "s1", "s2", "s3"] {
            let own: Vec<Sample> = train.iter().filter(|s| s.source == source).cloned().collect();
            let own = calibrated(&own, &buckets);
            assert!(flagged_reals(&own, thresholds.auto_scan as f32).unwrap() <= 0.0101, "{source}");
        }
        assert!(thresholds.no_signs <= thresholds.likely_fake && thresholds.likely_fake <= thresholds.auto_scan);
    }

    #[test]
    fn a_bucket_without_signal_is_not_judged_and_one_of_few_sources_takes_the_fit_of_all() {
        let small = |s: &Sample| s.quality.face_px < FACE_PX[0];
        let mut samples = drawn(8000, 5);
        let plain = fit(&samples).unwrap().0;
        assert!(plain.iter().all(|bucket| bucket.judged));
        // Small faces say nothing: their labels are dealt out by place.
        samples.iter_mut().enumerate().filter(|(_, s)| small(s)).for_each(|(index, s)| s.fake = index % 8 < 4);
        let buckets = fit(&samples).unwrap().0;
        assert!(buckets.iter().all(|bucket| bucket.judged == (bucket.face_px[0] != 0)), "{buckets:?}");
        samples.iter_mut().filter(|s| small(s)).for_each(|s| s.source = "one".into());
        let buckets = fit(&samples).unwrap().0;
        assert!(
            buckets[0].judged && (buckets[0].temperature, buckets[0].bias) == (buckets[1].temperature, buckets[1].bias)
        );
    }

    #[test]
    fn outcomes_are_counted_on_untouched_faces_alone_and_left_out_where_they_are_few() {
        let samples = drawn(8000, 6);
        let (buckets, thresholds) = fit(&samples).unwrap();
        let outcomes = untouched_outcomes(&samples, &buckets, thresholds);
        assert_eq!(outcomes.len(), 6);
        let untouched = samples.iter().filter(|s| !s.fake).count();
        assert_eq!(outcomes.iter().map(|o| o.faces as usize).sum::<usize>(), untouched);
        let shares = |o: &UntouchedOutcomes| o.likely_fake + o.inconclusive + o.no_signs_found;
        assert!(outcomes.iter().all(|o| (shares(o) - 1.0).abs() < 1e-9), "{outcomes:?}");
        // Over all buckets the bound is kept to which the threshold was fitted.
        let flagged: f64 = outcomes.iter().map(|o| o.likely_fake * f64::from(o.faces)).sum();
        assert!((0.03..=0.0501).contains(&(flagged / untouched as f64)), "{flagged} of {untouched}");
        assert_eq!(untouched_outcomes(&samples[..300], &buckets, thresholds), []);
    }

    #[test]
    fn one_class_cannot_be_calibrated_on() {
        let reals: Vec<Sample> = drawn(100, 4).into_iter().map(|s| Sample { fake: false, ..s }).collect();
        assert_eq!(fit(&reals).unwrap_err().kind(), ErrorKind::BadData);
    }
}
