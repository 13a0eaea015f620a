//! AMTENnet (EricGzq/AMTENnet `model/AMTENnet.prototxt`): native input 128x128 BGR, raw 0..255. A residual front end,
//! AMTEN in the original and any other in Table II, before four convolutions and three fully connected layers.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::{caffe_max_pool, caffe_pooled, conv, flat, linear};
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};
use crate::train::nn::residuals::FrontEnd;

/// Side of the authors' input.
pub const NATIVE_PX: usize = 128;

/// Training settings.
pub const RECIPE: Recipe = Recipe {
    update: Update::CaffeSgd { momentum: 0.95, weight_decay: 5e-3 },
    rate: 1e-3,
    decay: Decay { factor: 0.5, every: Span::Steps(1000), floor: 0.0 },
    length: Span::Steps(18_170),
    batch: 64,
    start: Scheme::Caffe,
    imagenet: false,
    source: "released solver, on one device; normalisation averages with momentum 0.1, because Caffe's 0.001 is bias-corrected",
};

/// Convolutions, each with a ReLU behind it; the network has no other.
pub const STAGES: usize = 4;

/// Convolution, pooling, ReLU and then normalisation; no activation between the fully connected layers.
#[derive(Module, Debug)]
pub struct Backbone<B: Backend> {
    conv4: Conv2d<B>,
    bn4: BatchNorm<B>,
    conv5: Conv2d<B>,
    bn5: BatchNorm<B>,
    conv6: Conv2d<B>,
    bn6: BatchNorm<B>,
    conv7: Conv2d<B>,
    fc0: Linear<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
}

impl<B: Backend> Backbone<B> {
    /// For `channels_in` channels of residual, `classes` logits and squares of at least 32 px.
    pub fn init(channels_in: usize, classes: usize, side_px: usize, device: &B::Device) -> Self {
        let pooled = caffe_pooled(caffe_pooled(caffe_pooled(side_px) - 2) - 2);
        let last = caffe_pooled(pooled);
        Backbone {
            conv4: conv(channels_in, 24, 3, 1).init(device),
            bn4: BatchNorm::new(24, device),
            conv5: conv(24, 48, 3, 0).init(device),
            bn5: BatchNorm::new(48, device),
            conv6: conv(48, 64, 3, 0).init(device),
            bn6: BatchNorm::new(64, device),
            conv7: conv(64, 128, 1, 0).init(device),
            fc0: linear(128 * last * last, 300, device),
            fc1: linear(300, 300, device),
            fc2: linear(300, classes, device),
        }
    }

    /// # Shapes
    /// `[n, channels_in, h, w] -> [n, classes]`
    pub fn forward(&self, residual: Tensor<B, 4>) -> Tensor<B, 2> {
        self.classify((0..STAGES).fold(residual, |x, index| relu(self.stage(index, x))))
    }

    /// One stage without the ReLU at its end; every other begins with the normalisation of what that gave.
    fn stage(&self, index: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let (conv, x) = match index {
            0 => (&self.conv4, x),
            1 => (&self.conv5, self.bn4.forward(x)),
            2 => (&self.conv6, self.bn5.forward(x)),
            _ => (&self.conv7, self.bn6.forward(x)),
        };
        caffe_max_pool(learning_conv(conv, x))
    }

    fn classify(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        self.fc2.forward(self.fc1.forward(self.fc0.forward(flat(x))))
    }
}

/// A front end and the backbone; 2,023,047 parameters at 128 px with AMTEN and two classes.
#[derive(Module, Debug)]
pub struct AmtenNet<B: Backend> {
    front: FrontEnd<B>,
    net: Backbone<B>,
}

impl<B: Backend> AmtenNet<B> {
    /// The network behind `front` for `classes` logits and squares of at least 32 px.
    pub fn init(front: FrontEnd<B>, classes: usize, side_px: usize, device: &B::Device) -> Self {
        let net = Backbone::init(front.channels(), classes, side_px, device);
        AmtenNet { front, net }
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..255 -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        self.net.forward(self.front.forward(x))
    }

    /// One of [`STAGES`] without the ReLU at its end, the first with the front end before it.
    pub fn stage(&self, index: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.net.stage(index, if index == 0 { self.front.forward(x) } else { x })
    }

    /// What follows the stages: `[n, c, h, w] -> [n, classes]`.
    pub fn classify(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        self.net.classify(x)
    }

    /// The same with running statistics in normalisation, even where gradients are computed.
    pub fn frozen(mut self) -> Self {
        for norm in [&mut self.net.bn4, &mut self.net.bn5, &mut self.net.bn6] {
            norm.frozen = true;
        }
        self
    }

    /// Puts a constrained front end back on its constraint; to be called after every update.
    pub fn project(self) -> Self {
        AmtenNet { front: self.front.project(), ..self }
    }
}
