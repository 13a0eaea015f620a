//! Meso-4 and MesoInception-4 (Afchar et al. 2018; DariusAf/MesoNet `classifiers.py`): native input 256x256 RGB / 255.
//!
//! Convolution, ReLU, batch normalisation, pooling, in this order; four separate normalisations. The source ends in one
//! sigmoid unit that says "real" and learns by squared error; here there are `classes` logits and cross entropy.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::backend::Backend;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::{conv, flat, linear, max_pool};
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};

/// Side of the authors' input.
pub const NATIVE_PX: usize = 256;
/// Factor from the input's side to the last map's; the input must be a multiple of it.
pub const STRIDE_PX: usize = 32;

/// Training settings of both networks.
pub const RECIPE: Recipe = Recipe {
    update: Update::Adam { betas: [0.9, 0.999], weight_decay: 0.0 },
    rate: 1e-3,
    decay: Decay { factor: 0.1, every: Span::Steps(1000), floor: 1e-6 },
    length: Span::Steps(4000),
    batch: 75,
    start: Scheme::Glorot,
    imagenet: false,
    source: "released code: Adam 1e-3; batch and decay by the paper, from memory; length chosen as four steps of the decay",
};

/// Slope of the leaky ReLU between the fully connected layers.
const SLOPE: f64 = 0.1;

/// Keras' eps. Its momentum of 0.99 (0.01 as counted here) needs thousands of steps to forget its start, more than a
/// comparison may have; the average decides only what a judged network divides by, nothing that is learnt.
fn norm<B: Backend>(channels: usize, device: &B::Device) -> BatchNorm<B> {
    BatchNorm::with(channels, 1e-3, 0.1, device)
}

/// Inputs of the first fully connected layer.
fn features(side_px: usize) -> usize {
    16 * (side_px / STRIDE_PX).pow(2)
}

/// Convolution, ReLU, normalisation, pooling.
fn stage<B: Backend>(conv: &Conv2d<B>, bn: &BatchNorm<B>, pool: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
    max_pool(bn.forward(relu(learning_conv(conv, x))), pool)
}

/// The classifier of both networks.
fn head<B: Backend>(fc1: &Linear<B>, fc2: &Linear<B>, dropout: &Dropout, map: Tensor<B, 4>) -> Tensor<B, 2> {
    let hidden = leaky_relu(fc1.forward(dropout.forward(flat(map))), SLOPE);
    fc2.forward(dropout.forward(hidden))
}

/// Meso-4: four plain convolutions. 27,977 parameters at 256 px with one output.
#[derive(Module, Debug)]
pub struct Meso4<B: Backend> {
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
    dropout: Dropout,
}

impl<B: Backend> Meso4<B> {
    /// The network for `classes` logits and squares of `side_px`, a multiple of 32.
    pub fn init(classes: usize, side_px: usize, device: &B::Device) -> Self {
        Meso4 {
            conv1: conv(3, 8, 3, 1).init(device),
            bn1: norm(8, device),
            conv2: conv(8, 8, 5, 2).init(device),
            bn2: norm(8, device),
            conv3: conv(8, 16, 5, 2).init(device),
            bn3: norm(16, device),
            conv4: conv(16, 16, 5, 2).init(device),
            bn4: norm(16, device),
            fc1: linear(features(side_px), 16, device),
            fc2: linear(16, classes, device),
            dropout: DropoutConfig::new(0.5).init(),
        }
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..1 -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = stage(&self.conv1, &self.bn1, 2, x);
        let x = stage(&self.conv2, &self.bn2, 2, x);
        let x = stage(&self.conv3, &self.bn3, 2, x);
        let x = stage(&self.conv4, &self.bn4, 4, x);
        head(&self.fc1, &self.fc2, &self.dropout, x)
    }
}

/// Four branches side by side: 1x1; 1x1 and 3x3; the same with dilation 2; with dilation 3. ReLU after every convolution
/// (a well-known PyTorch port forgets those).
#[derive(Module, Debug)]
pub struct Inception<B: Backend> {
    b1: Conv2d<B>,
    b2a: Conv2d<B>,
    b2b: Conv2d<B>,
    b3a: Conv2d<B>,
    b3b: Conv2d<B>,
    b4a: Conv2d<B>,
    b4b: Conv2d<B>,
}

impl<B: Backend> Inception<B> {
    fn init(channels_in: usize, [a, b, c, d]: [usize; 4], device: &B::Device) -> Self {
        let narrow = |channels| conv(channels_in, channels, 1, 0).init(device);
        let dilated =
            |channels, dilation| conv(channels, channels, 3, dilation).with_dilation([dilation, dilation]).init(device);
        Inception {
            b1: narrow(a),
            b2a: narrow(b),
            b2b: dilated(b, 1),
            b3a: narrow(c),
            b3b: dilated(c, 2),
            b4a: narrow(d),
            b4b: dilated(d, 3),
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let branch =
            |narrow: &Conv2d<B>, wide: &Conv2d<B>| relu(learning_conv(wide, relu(learning_conv(narrow, x.clone()))));
        let branches = vec![
            relu(learning_conv(&self.b1, x.clone())),
            branch(&self.b2a, &self.b2b),
            branch(&self.b3a, &self.b3b),
            branch(&self.b4a, &self.b4b),
        ];
        Tensor::cat(branches, 1)
    }
}

/// MesoInception-4: the first two convolutions are inception blocks. 28,615 parameters at 256 px with one output.
#[derive(Module, Debug)]
pub struct MesoInception4<B: Backend> {
    inc1: Inception<B>,
    bn1: BatchNorm<B>,
    inc2: Inception<B>,
    bn2: BatchNorm<B>,
    conv3: Conv2d<B>,
    bn3: BatchNorm<B>,
    conv4: Conv2d<B>,
    bn4: BatchNorm<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> MesoInception4<B> {
    /// The network for `classes` logits and squares of `side_px`, a multiple of 32.
    pub fn init(classes: usize, side_px: usize, device: &B::Device) -> Self {
        MesoInception4 {
            inc1: Inception::init(3, [1, 4, 4, 2], device),
            bn1: norm(11, device),
            inc2: Inception::init(11, [2, 4, 4, 2], device),
            bn2: norm(12, device),
            conv3: conv(12, 16, 5, 2).init(device),
            bn3: norm(16, device),
            conv4: conv(16, 16, 5, 2).init(device),
            bn4: norm(16, device),
            fc1: linear(features(side_px), 16, device),
            fc2: linear(16, classes, device),
            dropout: DropoutConfig::new(0.5).init(),
        }
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..1 -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = max_pool(self.bn1.forward(self.inc1.forward(x)), 2);
        let x = max_pool(self.bn2.forward(self.inc2.forward(x)), 2);
        let x = stage(&self.conv3, &self.bn3, 2, x);
        let x = stage(&self.conv4, &self.bn4, 4, x);
        head(&self.fc1, &self.fc2, &self.dropout, x)
    }
}
