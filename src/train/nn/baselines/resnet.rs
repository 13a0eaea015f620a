//! ResNet-18 alone, on the picture or behind a residual front end: what a front end is worth to the trunk GRnet uses.
//! Front ends read 0..255 as in their sources; the trunk gets their output divided by 255.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::infer::architecture::FEATURES;
use crate::train::backend::learning_trunk;
use crate::train::nn::layers::linear;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};
use crate::train::nn::residuals::FrontEnd;
use crate::train::nn::resnet::{ResNet18, global_average};

/// Side of GRnet's input on FaceForensics++ and HFF.
pub const NATIVE_PX: usize = 128;

/// Training settings, those of GRnet.
pub const RECIPE: Recipe = Recipe {
    update: Update::Adam { betas: [0.9, 0.999], weight_decay: 0.0 },
    rate: 5e-4,
    decay: Decay { factor: 0.9, every: Span::Epochs(1.0), floor: 0.0 },
    length: Span::Epochs(20.0),
    batch: 32,
    start: Scheme::He,
    imagenet: true,
    source: "GRnet's paper: Adam 5e-4 with exponential decay; betas, factor, batch and length chosen",
};

/// Training settings of the FWA-style detector (Li and Lyu 2019; danmohaha/CVPRW2019_Face_Artifacts): it sees no fakes, only
/// real pictures and the same with the face brought down in resolution, blurred and put back.
pub const FWA_RECIPE: Recipe = Recipe {
    update: Update::CaffeSgd { momentum: 0.0, weight_decay: 0.0 },
    rate: 1e-3,
    decay: Decay { factor: 0.95, every: Span::Epochs(1.0), floor: 0.0 },
    length: Span::Epochs(20.0),
    batch: 64,
    start: Scheme::He,
    imagenet: true,
    source: "released code: plain SGD 1e-3, batch 64, 20 epochs, decay 0.95 (its step is not given: an epoch). Chosen: \
             ResNet-18 for ResNet-50, ImageNet normalisation, a drawn face region for landmarks, one crop for ten",
};
/// Side of FWA's input.
pub const FWA_PX: usize = 224;

/// A trunk, its classifier and perhaps a front end.
#[derive(Module, Debug)]
pub struct ResNet<B: Backend> {
    front: Option<FrontEnd<B>>,
    /// The trunk; its first convolution is as wide as the front end.
    pub trunk: ResNet18<B>,
    fc: Linear<B>,
}

impl<B: Backend> ResNet<B> {
    /// The network for `classes` logits.
    pub fn init(front: Option<FrontEnd<B>>, classes: usize, device: &B::Device) -> Self {
        let channels = front.as_ref().map_or(3, FrontEnd::channels);
        let trunk = ResNet18::with_channels(channels, device);
        ResNet { front, trunk, fc: linear(FEATURES, classes, device) }
    }

    /// # Shapes
    /// `[n, 3, h, w]`, ImageNet-normalised, or on 0..255 when there is a front end -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = match &self.front {
            Some(front) => front.forward(x).div_scalar(255.0),
            None => x,
        };
        self.fc.forward(global_average(learning_trunk(&self.trunk, DType::F32, x)))
    }

    /// The same function with normalisations folded into convolutions; for judging.
    pub fn folded(self) -> Self {
        ResNet { trunk: self.trunk.folded(), ..self }
    }

    /// Puts a constrained front end back on its constraint; to be called after every update.
    pub fn project(self) -> Self {
        ResNet { front: self.front.map(FrontEnd::project), ..self }
    }
}
