//! Class activation (Zhou et al. 2016): global average pooling and a linear classifier commute, so the classifier can be
//! asked about every place of the last feature map alone. Exact for the fused classifier, whose mean over places it is.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

use super::resnet::global_average;
use super::{GrNet, StreamMaps};
use crate::infer::architecture::{Fusion, GrNetConfig};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::backend::Cpu;
    use burn::tensor::Distribution;

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
}
