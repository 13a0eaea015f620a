//! GRnet: two ResNet-18 streams, one on the picture and one on its guided residual, fused by attention (AFM).

pub mod afm;
pub mod baselines;
pub mod cam;
pub mod input;
pub mod layers;
pub mod mte;
pub mod norm;
pub mod parameters;
pub mod recipe;
pub mod residuals;
pub mod resnet;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::infer::architecture::{FEATURES, Fusion, GrNetConfig};
use afm::{attend, fuse_plain};
use resnet::{ResNet18, global_average};

/// Stages whose maps the familiarity gate looks at: the stem and `layer1`.
const EARLY_STAGES: usize = 2;
impl GrNetConfig {
    /// A network with fresh weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> GrNet<B> {
        let gamma = || Param::from_tensor(Tensor::zeros([1], device));
        GrNet {
            gamma_s: gamma(),
            gamma_r: gamma(),
            spatial: ResNet18::new(device),
            residual: ResNet18::new(device),
            fc_s: LinearConfig::new(FEATURES, self.classes).init(device),
            fc_r: LinearConfig::new(FEATURES, self.classes).init(device),
            fc: LinearConfig::new(self.fused_features(), self.classes).init(device),
        }
    }
}

/// The network's weights. What it does with them also depends on the [`GrNetConfig`] given to [`GrNet::forward`], because
/// the stream weights change from epoch to epoch and are no parameters.
#[derive(Module, Debug)]
pub struct GrNet<B: Backend> {
    /// Residual scalar of the spatial stream's attention, `[1]`.
    pub gamma_s: Param<Tensor<B, 1>>,
    /// Residual scalar of the residual stream's attention, `[1]`.
    pub gamma_r: Param<Tensor<B, 1>>,
    /// The stream that reads the picture.
    pub spatial: ResNet18<B>,
    /// The stream that reads the guided residual.
    pub residual: ResNet18<B>,
    /// The spatial stream's own head.
    pub fc_s: Linear<B>,
    /// The residual stream's own head.
    pub fc_r: Linear<B>,
    /// The classifier on the fused feature.
    pub fc: Linear<B>,
}

/// What the network says: logits of the classifier and of each stream's own head, each `[n, classes]`.
#[derive(Debug, Clone)]
pub struct GrNetOutput<B: Backend> {
    /// The classifier on the fused feature.
    pub fused: Tensor<B, 2>,
    /// The spatial stream's head.
    pub spatial: Tensor<B, 2>,
    /// The residual stream's head.
    pub residual: Tensor<B, 2>,
}

/// Feature maps of both streams; the last ones are each `[n, 512, h / 32, w / 32]`.
#[derive(Debug, Clone)]
pub struct StreamMaps<B: Backend> {
    /// Of the spatial stream.
    pub spatial: Tensor<B, 4>,
    /// Of the residual stream.
    pub residual: Tensor<B, 4>,
}

impl<B: Backend> StreamMaps<B> {
    /// Mean of each map, then standard deviation, of the spatial stream, then of the residual stream.
    ///
    /// # Shapes
    /// `[n, c, h, w] -> [n, 4 c]`
    pub fn statistics(&self) -> Tensor<B, 2> {
        let of = |map: &Tensor<B, 4>| {
            let mean = map.clone().mean_dim(3).mean_dim(2);
            let variance = map.clone().sub(mean.clone()).powi_scalar(2).mean_dim(3).mean_dim(2);
            [mean.flatten(1, 3), variance.sqrt().flatten(1, 3)]
        };
        Tensor::cat([of(&self.spatial), of(&self.residual)].into_iter().flatten().collect(), 1)
    }
}

impl<B: Backend> GrNet<B> {
    /// # Shapes
    /// `rgb` (ImageNet-normalised) and `residual` (0..1): `[n, 3, h, w]`.
    pub fn forward(&self, config: &GrNetConfig, rgb: Tensor<B, 4>, residual: Tensor<B, 4>) -> GrNetOutput<B> {
        let maps = self.maps(config, rgb, residual);
        self.heads(config, maps)
    }

    /// The trunks alone; the same shapes as [`GrNet::forward`].
    pub fn maps(&self, config: &GrNetConfig, rgb: Tensor<B, 4>, residual: Tensor<B, 4>) -> StreamMaps<B> {
        self.maps_by(ResNet18::forward, config, rgb, residual)
    }

    /// The same with `trunk` for the pass through either trunk.
    pub fn maps_by(
        &self,
        trunk: impl Fn(&ResNet18<B>, Tensor<B, 4>) -> Tensor<B, 4>,
        config: &GrNetConfig,
        rgb: Tensor<B, 4>,
        residual: Tensor<B, 4>,
    ) -> StreamMaps<B> {
        StreamMaps {
            spatial: trunk(&self.spatial, rgb),
            residual: trunk(&self.residual, residual.mul_scalar(config.residual_gain)),
        }
    }

    /// The maps of the first two stages, and those of [`GrNet::maps`].
    ///
    /// # Shapes
    /// As [`GrNet::forward`] `-> [n, 64, h / 4, w / 4]` and `[n, 512, h / 32, w / 32]` of both streams.
    pub fn early_and_last_maps(
        &self,
        config: &GrNetConfig,
        rgb: Tensor<B, 4>,
        residual: Tensor<B, 4>,
    ) -> [StreamMaps<B>; 2] {
        let spatial = self.spatial.forward_until(EARLY_STAGES, rgb);
        let residual = self.residual.forward_until(EARLY_STAGES, residual.mul_scalar(config.residual_gain));
        let last = StreamMaps {
            spatial: self.spatial.forward_from(EARLY_STAGES, spatial.clone()),
            residual: self.residual.forward_from(EARLY_STAGES, residual.clone()),
        };
        [StreamMaps { spatial, residual }, last]
    }

    /// Everything after the trunks.
    pub fn heads(&self, config: &GrNetConfig, maps: StreamMaps<B>) -> GrNetOutput<B> {
        GrNetOutput {
            spatial: self.fc_s.forward(global_average(maps.spatial.clone())),
            residual: self.fc_r.forward(global_average(maps.residual.clone())),
            fused: self.fc.forward(self.fused_feature(config, maps)),
        }
    }

    /// The fused feature, `[n, 512]` (`[n, 1024]` for concatenation).
    pub fn fused_feature(&self, config: &GrNetConfig, maps: StreamMaps<B>) -> Tensor<B, 2> {
        if config.fusion != Fusion::Afm {
            return fuse_plain(config.fusion, maps.spatial, maps.residual);
        }
        let StreamMaps { spatial, residual } = self.attended(config, maps);
        fuse_plain(Fusion::Afm, spatial, residual)
    }

    /// Both streams' maps after attention and weighting, as AFM adds them.
    fn attended(&self, config: &GrNetConfig, maps: StreamMaps<B>) -> StreamMaps<B> {
        let gamma = |param: &Param<Tensor<B, 1>>| config.attention_residual.then(|| param.val());
        let (spatial, residual) = (gamma(&self.gamma_s), gamma(&self.gamma_r));
        StreamMaps {
            spatial: attend(maps.spatial, config.attention, spatial).mul_scalar(config.w_spatial),
            residual: attend(maps.residual, config.attention, residual).mul_scalar(1.0 - config.w_spatial),
        }
    }

    /// Freezes (or unfreezes) the normalisation statistics of both streams.
    pub fn set_frozen_norm(&mut self, frozen: bool) {
        self.spatial.set_frozen_norm(frozen);
        self.residual.set_frozen_norm(frozen);
    }

    /// The same function with normalisations folded into convolutions; for inference.
    pub fn folded(self) -> Self {
        GrNet { spatial: self.spatial.folded(), residual: self.residual.folded(), ..self }
    }
}
