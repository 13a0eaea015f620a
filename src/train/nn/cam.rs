//! Class activation (Zhou et al. 2016): global average pooling and a linear classifier commute, so the classifier can be
//! asked about every place of the last feature map alone. Exact for the fused classifier, whose mean over places it is.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

use super::afm::Fusion;
use super::resnet::global_average;
use super::{GrNet, GrNetConfig, StreamMaps};

impl<B: Backend> GrNet<B> {
    /// The classifier's logits for a face that looked everywhere like one place, for each place, rows from the top. Their
    /// mean over the places is the classifier's answer.
    ///
    /// # Shapes
    /// `[n, 512, h, w]` of both streams `-> [n, h * w, classes]`
    pub fn place_logits(&self, config: &GrNetConfig, maps: StreamMaps<B>) -> Tensor<B, 3> {
        let places: Tensor<B, 3> = self.fused_map(config, maps).flatten(2, 3);
        self.fc.forward(places.swap_dims(1, 2))
    }

    /// The map whose average is [`GrNet::fused_feature`], `[n, 512, h, w]` (1024 for concatenation).
    fn fused_map(&self, config: &GrNetConfig, maps: StreamMaps<B>) -> Tensor<B, 4> {
        let StreamMaps { spatial, residual } = match config.fusion {
            Fusion::Afm => self.attended(config, maps),
            _ => maps,
        };
        // Which stream's average is taken, channel by channel.
        let choose = |spatial_wins: fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2, Bool>| {
            let wins = spatial_wins(global_average(spatial.clone()), global_average(residual.clone())).float();
            let [n, channels] = wins.dims();
            let wins = wins.reshape([n, channels, 1, 1]);
            residual.clone() + (spatial.clone() - residual.clone()) * wins
        };
        match config.fusion {
            Fusion::Afm | Fusion::Sum => spatial + residual,
            Fusion::Max => choose(Tensor::greater_equal),
            Fusion::Min => choose(Tensor::lower_equal),
            Fusion::Concat => Tensor::cat(vec![spatial, residual], 1),
        }
    }
}

/// How strongly each place speaks for "fake", as a raw `p_fake` from 0 to 1: from the logits of one face's places
/// (`[places * classes]`) and its classifier's logits. With more than two classes the classes beside the first count
/// as much as they do in the classifier's answer.
pub fn place_scores(places: &[f32], logits: &[f32]) -> Vec<f32> {
    let top = logits[1..].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits[1..].iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = shares.iter().sum();
    // log(p_fake / p_real) of the whole face, to which the places' margins average.
    let whole = top + sum.ln() - logits[0];
    let margin = |classes: &[f32]| {
        let fake: f32 =
            classes[1..].iter().zip(&logits[1..]).zip(&shares).map(|((at, all), share)| (at - all) * share / sum).sum();
        whole + fake - (classes[0] - logits[0])
    };
    places.chunks(logits.len()).map(|classes| 1.0 / (1.0 + (-margin(classes)).exp())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::backend::Cpu;
    use burn::tensor::{Distribution, TensorData};

    fn values<const D: usize>(tensor: Tensor<Cpu, D>) -> Vec<f32> {
        tensor.into_data().into_vec().expect("f32 values")
    }

    #[test]
    fn places_average_to_the_classifier_for_every_fusion() {
        let device = Default::default();
        for fusion in [Fusion::Afm, Fusion::Sum, Fusion::Max, Fusion::Min, Fusion::Concat] {
            let config = GrNetConfig { fusion, classes: 3, w_spatial: 0.3, ..Default::default() };
            let mut network = config.init::<Cpu>(&device);
            network.gamma_s = network.gamma_s.map(|gamma| gamma.add_scalar(0.7));
            let map = || Tensor::<Cpu, 4>::random([2, 512, 2, 3], Distribution::Uniform(0.0, 1.0), &device);
            let maps = StreamMaps { spatial: map(), residual: map() };
            let whole = values(network.heads(&config, maps.clone()).fused);
            let places = network.place_logits(&config, maps);
            assert_eq!(places.dims(), [2, 6, 3]);
            let mean = values(places.clone().mean_dim(1));
            for (a, b) in mean.iter().zip(&whole) {
                assert!((a - b).abs() < 1e-4, "{fusion:?}: places {mean:?}, classifier {whole:?}");
            }
            let spread = values(places.clone().max_dim(1) - places.min_dim(1));
            assert!(spread.iter().all(|v| *v > 1e-4), "places that all say the same prove nothing: {spread:?}");
        }
    }

    #[test]
    fn scores_of_places_average_to_the_logit_of_p_fake() {
        let places = [0.5, 1.0, -2.0, /**/ 0.1, -1.0, 3.0, /**/ -0.6, 0.3, 0.2];
        let logits: Vec<f32> = (0..3).map(|c| places.iter().skip(c).step_by(3).sum::<f32>() / 3.0).collect();
        let probabilities = values(burn::tensor::activation::softmax(
            Tensor::<Cpu, 2>::from_data(TensorData::new(logits.clone(), [1, 3]), &Default::default()),
            1,
        ));
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let scores = place_scores(&places, &logits);
        assert_eq!(scores.len(), 3);
        let mean = scores.iter().map(|p| logit(*p)).sum::<f32>() / 3.0;
        assert!((mean - logit(1.0 - probabilities[0])).abs() < 1e-4, "{scores:?} {probabilities:?}");
    }
}
