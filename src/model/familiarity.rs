//! The familiarity gate: a detector is sure of itself on drawings, statues and screenshots too. What lies further from the
//! middle of the pictures it was calibrated on than nearly all of them do is no face photo that the model knows, and its
//! score says nothing.
//!
//! Distances are Mahalanobis' (Lee et al. 2018), in the mean and standard deviation of each map of an early stage: that is
//! where a drawing differs from a photo. Measured (docs/training-log.md): at the end of the trunks the same distance finds
//! nothing, there both look like faces; and features one by one, without their correlations, find half as much.

use serde::{Deserialize, Serialize};

/// Middle and spread of the features, as stored in a model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// The lower triangle of a matrix, row by row: it turns what is left after the mean into features that are uncorrelated
    /// and have a variance of one.
    pub whitening: Vec<f32>,
    /// Distance up to which a picture counts as familiar.
    pub limit: f32,
}

/// Share of the validation pictures that may lie outside.
pub const OUTSIDE_SHARE: f64 = 0.01;
/// Added to the diagonal of the correlation matrix: directions in which the samples hardly differ must not decide.
const RIDGE: f64 = 0.1;
/// Parts that the samples are split into to find the limit: each is measured by what was fitted on the others.
const FOLDS: usize = 5;
/// Fewer samples say nothing about a percentile.
const FEW: usize = 100;

impl Gate {
    /// Root mean square of the whitened features: about 1 for a familiar picture.
    pub fn distance(&self, features: &[f32]) -> f32 {
        let centred: Vec<f32> = features.iter().zip(&self.mean).map(|(value, middle)| value - middle).collect();
        let mut rows = self.whitening.as_slice();
        let mut sum = 0.0;
        for length in 1..=centred.len() {
            let (row, rest) = rows.split_at(length);
            sum += row.iter().zip(&centred).map(|(weight, value)| weight * value).sum::<f32>().powi(2);
            rows = rest;
        }
        (sum / centred.len().max(1) as f32).sqrt()
    }

    /// Whether the features are those of a picture such as the model knows.
    pub fn familiar(&self, features: &[f32]) -> bool {
        self.distance(features) <= self.limit
    }

    /// Fits the gate, and the limit so that [`OUTSIDE_SHARE`] of samples that it was not fitted on would lie beyond it.
    /// A sample is the features of a picture of this number; what is known of a picture is never used to judge itself in
    /// another degradation. `None` for fewer than 100 samples.
    pub fn fit(samples: &[(usize, Vec<f32>)]) -> Option<Gate> {
        if samples.len() < FEW {
            return None;
        }
        let mut distances: Vec<f32> = Vec::with_capacity(samples.len());
        for fold in 0..FOLDS {
            let (own, others): (Vec<_>, Vec<_>) = samples.iter().partition(|(picture, _)| picture % FOLDS == fold);
            if own.is_empty() || others.is_empty() {
                continue;
            }
            let gate = Gate::around(&others.iter().map(|(_, sample)| sample).collect::<Vec<_>>());
            distances.extend(own.iter().map(|(_, sample)| gate.distance(sample)));
        }
        if distances.is_empty() {
            return None;
        }
        distances.sort_by(f32::total_cmp);
        let kept = ((1.0 - OUTSIDE_SHARE) * (distances.len() - 1) as f64).ceil() as usize;
        Some(Gate {
            limit: distances[kept],
            ..Gate::around(&samples.iter().map(|(_, sample)| sample).collect::<Vec<_>>())
        })
    }

    /// Mean and whitening of samples, without a limit.
    fn around(samples: &[&Vec<f32>]) -> Gate {
        let (width, count) = (samples[0].len(), samples.len() as f64);
        let mut mean = vec![0.0f64; width];
        for sample in samples {
            mean.iter_mut().zip(*sample).for_each(|(sum, value)| *sum += f64::from(*value) / count);
        }
        let mut covariance = vec![vec![0.0f64; width]; width];
        for sample in samples {
            let centred: Vec<f64> =
                sample.iter().zip(&mean).map(|(value, middle)| f64::from(*value) - middle).collect();
            for (row, value) in covariance.iter_mut().zip(&centred) {
                row.iter_mut().zip(&centred).for_each(|(sum, other)| *sum += value * other / count);
            }
        }
        // A feature that never moves must not make the first picture that moves it infinitely strange.
        let middling = (0..width).map(|i| covariance[i][i]).sum::<f64>() / width as f64;
        let spread: Vec<f64> = (0..width).map(|i| covariance[i][i].max(1e-6 * middling.max(1e-12)).sqrt()).collect();
        for (i, row) in covariance.iter_mut().enumerate() {
            row.iter_mut().enumerate().for_each(|(j, value)| *value /= spread[i] * spread[j]);
            row[i] = 1.0 + RIDGE;
        }
        let inverse = inverted(&cholesky(&covariance));
        let whitening = inverse.iter().flat_map(|row| row.iter().zip(&spread).map(|(v, spread)| rounded(v / spread)));
        Gate { whitening: whitening.collect(), mean: mean.into_iter().map(rounded).collect(), limit: f32::INFINITY }
    }

    /// Whether it is one for `width` features.
    pub(crate) fn fits(&self, width: usize) -> bool {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        self.mean.len() == width
            && self.whitening.len() == width * (width + 1) / 2
            && finite(&self.mean)
            && finite(&self.whitening)
            && self.limit.is_finite()
            && self.limit > 0.0
    }
}

/// The lower triangular L with L Lᵀ = `matrix`, which must be positive definite.
fn cholesky(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut lower = vec![vec![0.0f64; matrix.len()]; matrix.len()];
    for i in 0..matrix.len() {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            lower[i][j] = if i == j { (matrix[i][i] - known).sqrt() } else { (matrix[i][j] - known) / lower[j][j] };
        }
    }
    lower
}

/// The inverse of a lower triangular matrix: its rows up to the diagonal.
fn inverted(lower: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut inverse: Vec<Vec<f64>> = Vec::with_capacity(lower.len());
    for (i, row) in lower.iter().enumerate() {
        let entry = |j: usize| {
            let known: f64 = (j..i).map(|k| row[k] * inverse[k][j]).sum();
            (f64::from(u8::from(i == j)) - known) / row[i]
        };
        let entries = (0..=i).map(entry).collect();
        inverse.push(entries);
    }
    inverse
}

/// Three digits do: a model file is no place for noise.
fn rounded(value: f64) -> f32 {
    if value == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powf(2.0 - value.abs().log10().floor());
    ((value * scale).round() / scale) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cloud in four dimensions: the second follows the first, the last never moves.
    fn samples() -> Vec<(usize, Vec<f32>)> {
        let wave = |i: usize, k: usize| ((i * (37 * k + 11)) as f32 * 0.7).sin();
        (0..400).map(|i| (i, vec![wave(i, 1), 3.0 * wave(i, 1) + 0.3 * wave(i, 2), 0.1 * wave(i, 3), 1.0])).collect()
    }

    #[test]
    fn what_is_far_from_the_samples_is_unfamiliar() {
        let samples = samples();
        let gate = Gate::fit(&samples).unwrap();
        let outside = samples.iter().filter(|(_, features)| !gate.familiar(features)).count();
        assert!((1..=4).contains(&outside), "{outside} of 400 for 1 %");
        let mean = samples.iter().map(|(_, features)| gate.distance(features).powi(2)).sum::<f32>() / 400.0;
        assert!((0.3..1.1).contains(&mean), "mean square distance {mean}");
        assert!(gate.familiar(&[0.0, 0.0, 0.0, 1.0]) && gate.familiar(&[0.7, 2.1, 0.0, 1.0]));
        // Far along an axis; each feature usual, but not together; a feature that never moved.
        for strange in [[5.0, 15.0, 0.0, 1.0], [0.9, -2.7, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0]] {
            assert!(!gate.familiar(&strange), "{strange:?}: {}", gate.distance(&strange));
        }
        assert!(gate.fits(4) && !gate.fits(5));
    }

    #[test]
    fn whitening_undoes_the_covariance() {
        let matrix = vec![vec![4.0, 2.0, 0.4], vec![2.0, 3.0, 0.5], vec![0.4, 0.5, 1.0]];
        let w = inverted(&cholesky(&matrix));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        for (i, row) in w.iter().enumerate() {
            let along: Vec<f64> = (0..3).map(|l| (0..=i).map(|k| row[k] * matrix[k][l]).sum()).collect();
            for (j, other) in w.iter().enumerate() {
                let value = dot(other, &along);
                assert!((value - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j}: {value}");
            }
        }
    }

    #[test]
    fn few_samples_fit_nothing() {
        assert_eq!(Gate::fit(&samples()[..99]), None);
        assert_eq!(Gate::fit(&[]), None);
    }
}
