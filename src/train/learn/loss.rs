//! What learning makes small.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};

/// Targets `[n, classes]` of class labels, smoothed.
pub fn targets<B: AutodiffBackend>(labels: &[i32], classes: usize, smoothing: f64, device: &B::Device) -> Tensor<B, 2> {
    let spread = (smoothing / classes as f64) as f32;
    let mut values = vec![spread; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        values[row * classes + *label as usize] += 1.0 - smoothing as f32;
    }
    Tensor::from_data(TensorData::new(values, [labels.len(), classes]), device)
}

/// Mean cross entropy of logits against targets, both `[n, classes]`.
pub fn cross_entropy<B: AutodiffBackend>(logits: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
    let [count, _] = logits.dims();
    log_softmax(logits, 1).mul(targets).sum().mul_scalar(-1.0 / count as f64)
}

/// Mean binary cross entropy of "this place was made" over the places of pictures with a known map; 0 when there are none.
///
/// # Shapes
/// Logits `[n, places, classes]`, class 0 for not made; `n` maps of `places` shares.
pub fn map_loss<B: AutodiffBackend>(logits: Tensor<B, 3>, maps: &[Option<Vec<f32>>]) -> Tensor<B, 1> {
    let [n, places, _] = logits.dims();
    let device = logits.device();
    let known = maps.iter().flatten().count().max(1);
    let weights: Vec<f32> = maps
        .iter()
        .flat_map(|map| vec![if map.is_some() { 1.0 / (known * places) as f32 } else { 0.0 }; places])
        .collect();
    let shares = maps.iter().flat_map(|map| map.clone().unwrap_or_else(|| vec![0.0; places])).collect();
    let of = |values: Vec<f32>| Tensor::<B, 2>::from_data(TensorData::new(values, [n, places]), &device);
    let (weights, shares) = (of(weights), of(shares));
    let untouched: Tensor<B, 2> = log_softmax(logits, 2).narrow(2, 0, 1).reshape([n, places]);
    // Far below what a float can tell from 1, so that a sure and wrong place still has a gradient.
    let made = untouched.clone().exp().neg().add_scalar(1.0).clamp_min(1e-6).log();
    let entropy = made.mul(shares.clone()).add(untouched.mul(shares.neg().add_scalar(1.0))).neg();
    entropy.mul(weights).sum()
}

#[cfg(test)]
mod tests {
    use burn_autodiff::Autodiff;

    use super::*;
    use crate::train::backend::Cpu;

    #[test]
    fn the_map_loss_is_cross_entropy_over_known_places_only() {
        type B = Autodiff<Cpu>;
        // Two pictures of two places: the margin for "made" is 2 and -1, then whatever it likes.
        let logits = vec![0.0f32, 2.0, 0.0, -1.0, 0.0, 50.0, 0.0, -50.0];
        let logits = Tensor::<B, 3>::from_data(TensorData::new(logits, [2, 2, 2]), &Default::default()).require_grad();
        let loss = map_loss(logits.clone(), &[Some(vec![1.0, 0.25]), None]);
        let softplus = |x: f32| (1.0 + x.exp()).ln();
        let expected = (softplus(-2.0) + 0.25 * softplus(1.0) + 0.75 * softplus(-1.0)) / 2.0;
        let found = loss.clone().into_data().convert::<f32>().iter::<f32>().sum::<f32>();
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        let gradient = logits.grad(&loss.backward()).unwrap().into_data();
        let gradient: Vec<f32> = gradient.iter::<f32>().collect();
        assert!(
            gradient[..4].iter().all(|g| g.abs() > 1e-3) && gradient[4..].iter().all(|g| *g == 0.0),
            "{gradient:?}"
        );
    }
}
