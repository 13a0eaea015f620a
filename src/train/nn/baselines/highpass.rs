//! HighPass (Mo, Chen and Luo 2018), a re-implementation from the description: no code was released. Known are the input
//! (256x256x3), a fixed high-pass filter, three groups of convolution, leaky ReLU and pooling, and fully connected layers
//! of 1024 and 512. Chosen here: widths 32/64/128, slope 0.2, the filter on every channel, and dropout before the fully
//! connected layers, whose first holds nearly all of the 34 million weights.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::leaky_relu;
use burn::tensor::backend::Backend;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::{conv, flat, linear, max_pool};
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};
use crate::train::nn::residuals::highpass::{HighPass, Kernel};

/// Side of the authors' input.
pub const NATIVE_PX: usize = 256;
/// Factor from the input's side to the last map's.
pub const STRIDE_PX: usize = 8;

/// Training settings.
pub const RECIPE: Recipe = Recipe {
    update: Update::Adam { betas: [0.9, 0.999], weight_decay: 0.0 },
    rate: 1e-4,
    decay: Decay::NONE,
    length: Span::Epochs(10.0),
    batch: 64,
    start: Scheme::Glorot,
    imagenet: false,
    source: "chosen: the authors' settings are not known",
};

const SLOPE: f64 = 0.2;

/// The network; 34,174,530 parameters at 128 px with two classes.
#[derive(Module, Debug)]
pub struct HighPassNet<B: Backend> {
    filter: HighPass,
    conv1: Conv2d<B>,
    conv2: Conv2d<B>,
    conv3: Conv2d<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    fc3: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> HighPassNet<B> {
    /// The network for `classes` logits and squares of `side_px`, a multiple of 8.
    pub fn init(classes: usize, side_px: usize, kernel: Kernel, device: &B::Device) -> Self {
        HighPassNet {
            filter: HighPass { kernel },
            conv1: conv(3, 32, 3, 1).init(device),
            conv2: conv(32, 64, 3, 1).init(device),
            conv3: conv(64, 128, 3, 1).init(device),
            fc1: linear(128 * (side_px / STRIDE_PX).pow(2), 1024, device),
            fc2: linear(1024, 512, device),
            fc3: linear(512, classes, device),
            dropout: DropoutConfig::new(0.5).init(),
        }
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..1 -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let convs = [&self.conv1, &self.conv2, &self.conv3];
        let map = convs
            .into_iter()
            .fold(self.filter.forward(x), |x, conv| max_pool(leaky_relu(learning_conv(conv, x), SLOPE), 2));
        let hidden = [&self.fc1, &self.fc2]
            .into_iter()
            .fold(flat(map), |x, fc| leaky_relu(fc.forward(self.dropout.forward(x)), SLOPE));
        self.fc3.forward(hidden)
    }
}
