//! Metrics against scikit-learn (`tests/golden/metrics.py`), and what no library says: thresholds, intervals, weights.
#![cfg(feature = "train")]

use grnet::train::metrics::{self, Scored};
use grnet::train::rng::{Stream, at};
use serde_json::Value;

/// Largest difference seen when this was set: 6e-9, from scores stored as f32.
const TOLERANCE: f64 = 1e-7;

fn cases() -> Vec<(Value, Vec<Scored>)> {
    let golden: Value = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap().clone();
    let read = |case: Value| {
        let labels = case["labels"].as_array().unwrap().iter().map(|label| label == 1);
        let scores = case["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap() as f32);
        let scored = scores.zip(labels).collect();
        (case, scored)
    };
    cases.into_iter().map(read).collect()
}

#[test]
fn metrics_agree_with_scikit_learn() {
    let cases = cases();
    assert!(cases.len() >= 4);
    for (case, scored) in cases {
        let found = [
            ("auc", metrics::auc(&scored)),
            ("average_precision", metrics::average_precision(&scored)),
            ("brier", metrics::brier(&scored)),
            ("accuracy", metrics::accuracy(&scored, 0.5)),
            ("eer", metrics::eer(&scored)),
            ("tpr_at_fpr1", metrics::tpr_at_fpr(&scored, 0.01)),
            ("calibration_error", metrics::calibration_error(&scored, 15)),
        ];
        for (name, value) in found {
            let (value, expected) = (value.unwrap(), case[name].as_f64().unwrap());
            assert!((value - expected).abs() <= TOLERANCE, "{} {name}: {value} for {expected}", case["name"]);
        }
        let matrix = metrics::confusion(&scored, 0.5);
        let cells = [matrix.real_as_real, matrix.real_as_fake, matrix.fake_as_real, matrix.fake_as_fake];
        let expected: Vec<usize> =
            case["confusion"].as_array().unwrap().iter().map(|cell| cell.as_u64().unwrap() as usize).collect();
        assert_eq!(cells.to_vec(), expected, "{}", case["name"]);
    }
}

#[test]
fn one_changed_label_is_noticed() {
    let (case, mut scored) = cases().remove(0);
    scored[5].1 = !scored[5].1;
    assert!((metrics::auc(&scored).unwrap() - case["auc"].as_f64().unwrap()).abs() > TOLERANCE);
}

#[test]
fn measures_that_need_both_classes_say_so() {
    let reals: Vec<Scored> = vec![(0.1, false), (0.7, false)];
    assert_eq!((metrics::auc(&reals), metrics::eer(&reals), metrics::tpr_at_fpr(&reals, 0.01)), (None, None, None));
    assert_eq!(metrics::flagged_reals(&reals, 0.5), Some(0.5));
    assert_eq!((metrics::accuracy(&[], 0.5), metrics::brier(&[])), (None, None));
}

#[test]
fn the_threshold_keeps_its_promise_and_no_lower_one_does() {
    let (_, scored) = cases().remove(1);
    for fpr in [0.0, 0.01, 0.05, 0.5, 1.0] {
        let threshold = metrics::threshold_at_fpr(&scored, fpr).unwrap();
        assert!(metrics::flagged_reals(&scored, threshold).unwrap() <= fpr + 1e-12, "{fpr}");
        let lower = scored.iter().map(|s| s.0).filter(|score| *score < threshold).reduce(f32::max);
        if let Some(lower) = lower {
            let fakes_gained = metrics::flagged_reals(&scored, lower).unwrap();
            assert!(fakes_gained > fpr || scored.iter().all(|s| s.1 || s.0 != lower), "{fpr}: {threshold} is too high");
        }
    }
}

#[test]
fn weights_count_as_repetitions() {
    let single = [(0.2, false, 1.0), (0.4, true, 2.0), (0.6, false, 3.0), (0.7, true, 1.0)];
    let repeated: Vec<Scored> = single.iter().flat_map(|(s, fake, n)| vec![(*s, *fake); *n as usize]).collect();
    let (a, b) = (metrics::weighted_auc(&single).unwrap(), metrics::auc(&repeated).unwrap());
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

#[test]
fn the_interval_holds_the_value_and_narrows_with_more_pictures() {
    let (_, scored) = cases().remove(0);
    let width = |scored: &[Scored]| {
        let [low, high] = metrics::bootstrap(scored, 300, &mut at(1, Stream::Bootstrap, 0, 0), metrics::auc).unwrap();
        let value = metrics::auc(scored).unwrap();
        assert!(low < value && value < high, "{low} {value} {high}");
        high - low
    };
    assert!(width(&scored) < width(&scored[..80]));
}
