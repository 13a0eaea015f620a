//! Capsule-Forensics-v2 (nii-yamagishilab, `model_big.py`): native input 300x300 RGB, ImageNet-normalised. The front of
//! VGG-19, frozen, then ten primary capsules and dynamic routing, with its own loss.
//!
//! As released, and unlike the usual capsules: squashing runs over the ten capsules, the softmax of the routing over the
//! input capsules, and agreement is element-wise. Without ImageNet weights the VGG part must learn too: `frozen` false.

use burn::module::{Module, Param};
use burn::nn::PaddingConfig1d;
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};

use crate::train::backend::learning_conv;
use crate::train::nn::layers::{conv, max_pool};
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};

/// Side of the authors' input.
pub const NATIVE_PX: usize = 300;
/// Factor from the input's side to VGG's map.
pub const STRIDE_PX: usize = 8;

/// Training settings.
pub const RECIPE: Recipe = Recipe {
    update: Update::Adam { betas: [0.9, 0.999], weight_decay: 0.0 },
    rate: 5e-4,
    decay: Decay::NONE,
    length: Span::Epochs(25.0),
    batch: 32,
    start: Scheme::Capsule,
    imagenet: true,
    source: "released training script",
};

/// Primary capsules.
const CAPSULES: usize = 10;
/// Components of a primary capsule.
const PRIMARY: usize = 8;
/// Components of an output capsule, and terms of the loss.
pub const COMPONENTS: usize = 4;
/// Rounds of the routing.
const ROUNDS: usize = 2;
/// Spread of the noise on the routing weights, and share of the predictions that are kept, while training.
const ROUTE_NOISE: f64 = 0.01;
const KEPT: f64 = 0.95;
/// Under roots, so that their gradient stays finite at 0; the release has none and can divide 0 by 0.
const TINY: f64 = 1e-12;

/// VGG-19's first eight convolutions: (channels out, pooled afterwards).
const VGG: [(usize, bool); 8] =
    [(64, false), (64, true), (128, false), (128, true), (256, false), (256, false), (256, false), (256, true)];

/// torchvision's `vgg19.features[0..18]`, third pooling included.
#[derive(Module, Debug)]
pub struct VggFront<B: Backend> {
    convs: Vec<Conv2d<B>>,
}

impl<B: Backend> VggFront<B> {
    fn init(device: &B::Device) -> Self {
        let mut channels = 3;
        let convs = VGG.map(|(out, _)| conv(std::mem::replace(&mut channels, out), out, 3, 1).init(device));
        VggFront { convs: convs.into() }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.convs.iter().zip(VGG).fold(x, |x, (conv, (_, pooled))| {
            let x = relu(learning_conv(conv, x));
            if pooled { max_pool(x, 2) } else { x }
        })
    }
}

/// One primary capsule: two convolutions, statistics over all positions, two one-dimensional convolutions over those.
#[derive(Module, Debug)]
pub struct PrimaryCapsule<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm<B>,
    conv3: Conv1d<B>,
    bn3: BatchNorm<B>,
    conv4: Conv1d<B>,
    bn4: BatchNorm<B>,
}

impl<B: Backend> PrimaryCapsule<B> {
    fn init(device: &B::Device) -> Self {
        let line = |channels_in, channels_out, kernel: usize, stride| {
            Conv1dConfig::new(channels_in, channels_out, kernel)
                .with_stride(stride)
                .with_padding(PaddingConfig1d::Explicit(kernel / 2, kernel / 2))
                .with_initializer(burn::module::Initializer::Zeros)
                .init(device)
        };
        PrimaryCapsule {
            conv1: conv(256, 64, 3, 1).init(device),
            bn1: BatchNorm::new(64, device),
            conv2: conv(64, 16, 3, 1).init(device),
            bn2: BatchNorm::new(16, device),
            conv3: line(2, PRIMARY, 5, 2),
            bn3: BatchNorm::new(PRIMARY, device),
            conv4: line(PRIMARY, 1, 3, 1),
            bn4: BatchNorm::new(1, device),
        }
    }

    /// `[n, 256, h, w] -> [n, 8]`
    fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = relu(self.bn1.forward(learning_conv(&self.conv1, map)));
        let x = statistics(relu(self.bn2.forward(learning_conv(&self.conv2, x))));
        let x = norm_line(&self.bn3, self.conv3.forward(x));
        let x = norm_line(&self.bn4, self.conv4.forward(x));
        x.flatten(1, 2)
    }
}

/// Mean and unbiased standard deviation over all positions: `[n, c, h, w] -> [n, 2, c]`.
pub fn statistics<B: Backend>(map: Tensor<B, 4>) -> Tensor<B, 3> {
    let x: Tensor<B, 3> = map.flatten(2, 3);
    let std = x.clone().var(2).add_scalar(TINY).sqrt();
    Tensor::cat(vec![x.mean_dim(2), std], 2).swap_dims(1, 2)
}

/// Batch normalisation of `[n, c, length]`.
fn norm_line<B: Backend>(bn: &BatchNorm<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    bn.forward(x.unsqueeze_dim(3)).flatten(2, 3)
}

/// v |v| / (1 + |v|^2), the norm taken along `dim`.
pub fn squash<B: Backend, const D: usize>(v: Tensor<B, D>, dim: usize) -> Tensor<B, D> {
    let square = v.clone().powi_scalar(2).sum_dim(dim);
    let factor = square.clone().add_scalar(TINY).sqrt().div(square.add_scalar(1.0));
    v.mul(factor)
}

/// Dynamic routing.
///
/// # Shapes
/// Routing weights `[classes, 10, 4, 8]`, squashed primary capsules `[n, 10, 8]` -> `[n, 4, classes]`.
pub fn route<B: Backend>(weights: Tensor<B, 4>, primary: Tensor<B, 3>) -> Tensor<B, 3> {
    let learning = B::ad_enabled(&primary.device());
    let [n, capsules, components] = primary.dims();
    let [classes, ..] = weights.dims();
    let weights = if learning {
        let noise = weights.random_like(Distribution::Normal(0.0, ROUTE_NOISE));
        weights.add(noise)
    } else {
        weights
    };
    let primary: Tensor<B, 5> = primary.reshape([n, 1, capsules, 1, components]);
    let prior: Tensor<B, 4> = weights.unsqueeze_dim::<5>(0).mul(primary).sum_dim(4).squeeze_dim(4);
    let prior = if learning {
        // Not scaled by 1 / 0.95, as released.
        let kept = prior.random_like(Distribution::Bernoulli(KEPT));
        prior.mul(kept)
    } else {
        prior
    };
    let mut agreement = prior.zeros_like();
    let mut out = None;
    for round in 0..ROUNDS {
        let coupled = softmax(agreement.clone(), 2).mul(prior.clone()).sum_dim(2);
        let squashed = squash(coupled, 3);
        if round + 1 < ROUNDS {
            agreement = agreement.add(prior.clone().mul(squashed.clone()));
        }
        out = Some(squashed);
    }
    let out = out.expect("there is at least one round");
    out.reshape([n, classes, COMPONENTS]).swap_dims(1, 2)
}

/// Class probabilities: the mean over the components of their softmax over the classes, `[n, 4, classes] -> [n, classes]`.
pub fn probabilities<B: Backend>(z: Tensor<B, 3>) -> Tensor<B, 2> {
    softmax(z, 2).mean_dim(1).squeeze_dim(1)
}

/// The network; 3,896,638 parameters with two classes, 2,325,568 of them VGG's.
#[derive(Module, Debug)]
pub struct Capsule<B: Backend> {
    vgg: VggFront<B>,
    caps: Vec<PrimaryCapsule<B>>,
    route: Param<Tensor<B, 4>>,
}

impl<B: Backend> Capsule<B> {
    /// The network for `classes` classes; squares of any side of at least 16 px. `frozen`: VGG does not learn.
    pub fn init(classes: usize, frozen: bool, device: &B::Device) -> Self {
        let vgg = VggFront::init(device);
        Capsule {
            vgg: if frozen { vgg.no_grad() } else { vgg },
            caps: (0..CAPSULES).map(|_| PrimaryCapsule::init(device)).collect(),
            route: Param::from_tensor(Tensor::zeros([classes, CAPSULES, COMPONENTS, PRIMARY], device)),
        }
    }

    /// The output capsules: their loss is the sum over the components of the cross entropy of `z[:, i, :]`.
    ///
    /// # Shapes
    /// `[n, 3, h, w]`, ImageNet-normalised -> `[n, 4, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 3> {
        let map = self.vgg.forward(x);
        let capsules = self.caps.iter().map(|capsule| capsule.forward(map.clone())).collect();
        route(self.route.val(), squash(Tensor::stack::<3>(capsules, 1), 1))
    }
}
