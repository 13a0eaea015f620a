//! MISLnet (Bayar and Stamm 2018; the authors' Caffe scripts, mirrored in LuminolT/constrained-conv-TIFS2018): native
//! input 256x256, the green channel alone, raw 0..255. The paper gives its baselines RGB faces, so there are three input
//! channels here, with every 5x5 slice of the first kernel constrained.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use burn::tensor::backend::Backend;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::{caffe_max_pool, caffe_mean_pool, caffe_pooled, conv, flat, linear};
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};
use crate::train::nn::residuals::constrained::{FILTERS, constrained, projected_param};

/// Side of the authors' input.
pub const NATIVE_PX: usize = 256;

/// Training settings.
pub const RECIPE: Recipe = Recipe {
    update: Update::CaffeSgd { momentum: 0.95, weight_decay: 5e-4 },
    rate: 1e-3,
    decay: Decay { factor: 0.5, every: Span::Steps(56_250), floor: 0.0 },
    length: Span::Steps(675_200),
    batch: 64,
    start: Scheme::MislNet,
    imagenet: false,
    source: "released solver; normalisation averages with momentum 0.1, because Caffe's 0.001 is bias-corrected",
};

/// The network; 550,787 parameters at 128 px with RGB and two classes.
#[derive(Module, Debug)]
pub struct MislNet<B: Backend> {
    constr: Conv2d<B>,
    conv1: Conv2d<B>,
    bn1: BatchNorm<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm<B>,
    conv3: Conv2d<B>,
    bn3: BatchNorm<B>,
    conv4: Conv2d<B>,
    bn4: BatchNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    fc3: Linear<B>,
}

impl<B: Backend> MislNet<B> {
    /// The network for `channels_in` channels (1 or 3), `classes` logits and squares of at least 64 px.
    pub fn init(channels_in: usize, classes: usize, side_px: usize, device: &B::Device) -> Self {
        let after_conv1 = (side_px - 5) / 2 + 1;
        let last = (0..4).fold(after_conv1, |side, _| caffe_pooled(side));
        MislNet {
            constr: constrained(channels_in, 0, device),
            conv1: conv(FILTERS, 96, 7, 3).with_stride([2, 2]).init(device),
            bn1: BatchNorm::new(96, device),
            conv2: conv(96, 64, 5, 2).init(device),
            bn2: BatchNorm::new(64, device),
            conv3: conv(64, 64, 5, 2).init(device),
            bn3: BatchNorm::new(64, device),
            conv4: conv(64, 128, 1, 0).init(device),
            bn4: BatchNorm::new(128, device),
            fc1: linear(128 * last * last, 200, device),
            fc2: linear(200, 200, device),
            fc3: linear(200, classes, device),
        }
    }

    /// # Shapes
    /// `[n, channels_in, h, w]` on 0..255 -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let stages = [(&self.conv1, &self.bn1), (&self.conv2, &self.bn2), (&self.conv3, &self.bn3)];
        let map = stages.into_iter().fold(learning_conv(&self.constr, x), |x, (conv, bn)| {
            caffe_max_pool(tanh(bn.forward(learning_conv(conv, x))))
        });
        let map = caffe_mean_pool(tanh(self.bn4.forward(learning_conv(&self.conv4, map))));
        let hidden = tanh(self.fc2.forward(tanh(self.fc1.forward(flat(map)))));
        self.fc3.forward(hidden)
    }

    /// Puts the first kernel back on its constraint; to be called after every update.
    pub fn project(mut self) -> Self {
        self.constr.weight = projected_param(self.constr.weight);
        self
    }
}
