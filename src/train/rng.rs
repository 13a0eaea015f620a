//! Randomness by address: every draw of a run depends on (seed, stream, step, slot) alone, so that the order in which
//! threads work, and a resumed run, change nothing.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator used everywhere in training.
pub type TrainRng = ChaCha8Rng;

/// What a generator is for; different streams of one address never share draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Which pictures make a batch.
    Sampling = 1,
    /// How a fake is made from a real picture.
    Forging = 2,
    /// Augmentation and degradation.
    Looks = 3,
    /// Fixed degradations of the validation tiers.
    Validation = 4,
    /// Start values of layers without pretrained weights.
    Weights = 5,
    /// Bootstrap intervals.
    Bootstrap = 6,
    /// Dropout and noise inside a network, where burn's own generator draws.
    Noise = 7,
}

/// The generator at one address of a run.
pub fn at(seed: u64, stream: Stream, step: u64, slot: u64) -> TrainRng {
    let mut key = [0u8; 32];
    for (chunk, value) in key.chunks_exact_mut(8).zip([seed, stream as u64, step, slot]) {
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// True with probability `share`.
pub fn chance(rng: &mut TrainRng, share: f32) -> bool {
    rng.random::<f32>() < share
}

/// Uniform in `low..high`; `low` when the range is empty.
pub fn between(rng: &mut TrainRng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Log-uniform in `low..high`, both positive.
pub fn between_log(rng: &mut TrainRng, low: f32, high: f32) -> f32 {
    between(rng, low.ln(), high.ln()).exp()
}

/// Standard normal (Box-Muller).
pub fn normal(rng: &mut TrainRng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

/// One of `choices`, each as likely as the next.
///
/// # Panics
/// When `choices` is empty.
pub fn pick<'a, T>(rng: &mut TrainRng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}

/// An index drawn in proportion to non-negative `weights`; 0 when they are all zero.
pub fn pick_weighted(rng: &mut TrainRng, weights: &[f64]) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_always_gives_the_same_draws_and_neighbours_differ() {
        let draw = |seed, stream, step, slot| at(seed, stream, step, slot).random::<u64>();
        assert_eq!(draw(1, Stream::Looks, 2, 3), draw(1, Stream::Looks, 2, 3));
        let others = [
            draw(2, Stream::Looks, 2, 3),
            draw(1, Stream::Forging, 2, 3),
            draw(1, Stream::Looks, 3, 3),
            draw(1, Stream::Looks, 2, 4),
        ];
        assert!(others.iter().all(|other| *other != draw(1, Stream::Looks, 2, 3)));
    }

    #[test]
    fn weights_decide_the_shares() {
        let mut rng = at(7, Stream::Sampling, 0, 0);
        let mut counts = [0usize; 3];
        for _ in 0..4000 {
            counts[pick_weighted(&mut rng, &[1.0, 0.0, 3.0])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2850..3150).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn normal_draws_have_zero_mean_and_unit_spread() {
        let mut rng = at(7, Stream::Sampling, 0, 1);
        let draws: Vec<f32> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
