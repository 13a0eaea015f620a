//! The familiarity gate: a detector is sure of itself on drawings, statues and screenshots too. What lies further from all
//! class centroids than nearly every picture of the validation split is no face photo that the model knows, and its score
//! says nothing.

use serde::{Deserialize, Serialize};

/// Centroids and spreads of the network's pooled stream features, as stored in a model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// One centroid a class, each as long as [`Gate::spread`].
    pub centroids: Vec<Vec<f32>>,
    /// Standard deviation of each feature around its class's centroid.
    pub spread: Vec<f32>,
    /// Distance up to which a picture counts as familiar.
    pub limit: f32,
}

/// Share of the validation pictures that may lie outside.
pub const OUTSIDE_SHARE: f64 = 0.01;

impl Gate {
    /// Root mean square distance to the nearest centroid, in spreads.
    pub fn distance(&self, features: &[f32]) -> f32 {
        let to = |centroid: &Vec<f32>| {
            let sum: f32 = features
                .iter()
                .zip(centroid)
                .zip(&self.spread)
                .map(|((value, middle), spread)| ((value - middle) / spread).powi(2))
                .sum();
            (sum / features.len().max(1) as f32).sqrt()
        };
        self.centroids.iter().map(to).fold(f32::INFINITY, f32::min)
    }

    /// Whether the features are those of a picture such as the model knows.
    pub fn familiar(&self, features: &[f32]) -> bool {
        self.distance(features) <= self.limit
    }

    /// Fits centroids and spreads by class, and the limit so that [`OUTSIDE_SHARE`] of the samples lie beyond it. `None`
    /// without samples of every class.
    pub fn fit(samples: &[(usize, Vec<f32>)], classes: usize) -> Option<Gate> {
        let width = samples.first()?.1.len();
        let mut centroids = vec![vec![0.0f64; width]; classes];
        let mut counts = vec![0.0f64; classes];
        for (class, features) in samples {
            counts[*class] += 1.0;
            centroids[*class].iter_mut().zip(features).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        if counts.contains(&0.0) {
            return None;
        }
        for (centroid, count) in centroids.iter_mut().zip(&counts) {
            centroid.iter_mut().for_each(|sum| *sum /= count);
        }
        let mut variance = vec![0.0f64; width];
        for (class, features) in samples {
            for ((sum, value), middle) in variance.iter_mut().zip(features).zip(&centroids[*class]) {
                *sum += (f64::from(*value) - middle).powi(2) / samples.len() as f64;
            }
        }
        // A feature that never moves must not make the first picture that moves it infinitely strange.
        let floor = 1e-3 * (variance.iter().sum::<f64>() / width as f64).sqrt().max(1e-6);
        let mut gate = Gate {
            centroids: centroids.iter().map(|centroid| centroid.iter().map(|v| round(*v)).collect()).collect(),
            spread: variance.iter().map(|v| round(v.sqrt().max(floor))).collect(),
            limit: f32::INFINITY,
        };
        let mut distances: Vec<f32> = samples.iter().map(|(_, features)| gate.distance(features)).collect();
        distances.sort_by(f32::total_cmp);
        let kept = ((1.0 - OUTSIDE_SHARE) * (distances.len() - 1) as f64).ceil() as usize;
        gate.limit = distances[kept];
        Some(gate)
    }

    /// Whether it is one for features of `width` numbers and so many classes.
    pub(crate) fn fits(&self, width: usize, classes: usize) -> bool {
        let positive = |v: &f32| v.is_finite() && *v > 0.0;
        self.centroids.len() == classes
            && self.centroids.iter().all(|c| c.len() == width && c.iter().all(|v| v.is_finite()))
            && self.spread.len() == width
            && self.spread.iter().all(positive)
            && positive(&self.limit)
    }
}

/// Four digits do: a model file is no place for noise.
fn round(value: f64) -> f32 {
    if value == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    ((value * scale).round() / scale) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clouds in four dimensions, one of which never moves.
    fn samples() -> Vec<(usize, Vec<f32>)> {
        let wave = |i: usize, k: usize| ((i * (37 * k + 11)) as f32 * 0.7).sin();
        (0..400).map(|i| (i % 2, vec![wave(i, 1) + 4.0 * (i % 2) as f32, wave(i, 2), 0.1 * wave(i, 3), 1.0])).collect()
    }

    #[test]
    fn what_is_far_from_every_class_is_unfamiliar() {
        let samples = samples();
        let gate = Gate::fit(&samples, 2).unwrap();
        let outside = samples.iter().filter(|(_, features)| !gate.familiar(features)).count();
        assert!((1..=4).contains(&outside), "{outside} of 400 for 1 %");
        assert!(gate.familiar(&[0.0, 0.0, 0.0, 1.0]) && gate.familiar(&[4.0, 0.0, 0.0, 1.0]));
        // Far along the wide axis, and a little along the narrow one.
        assert!(!gate.familiar(&[12.0, 0.0, 0.0, 1.0]) && !gate.familiar(&[0.0, 0.0, 1.0, 1.0]));
        assert!(gate.fits(4, 2) && !gate.fits(5, 2) && !gate.fits(4, 3));
    }

    #[test]
    fn a_class_without_samples_fits_nothing() {
        assert_eq!(Gate::fit(&samples(), 3), None);
        assert_eq!(Gate::fit(&[], 2), None);
    }
}
