//! Multi-task (Nguyen et al. 2019, a Y-shaped auto-encoder; nii-yamagishilab/ClassNSeg): native input 256x256,
//! ImageNet-normalised.
//!
//! The encoder's 128 maps are two halves, one for real pictures and one for fakes: the half with the larger mean absolute
//! activation is the answer. While learning, the half that the label excludes is set to zero, and from what is left one
//! branch tells made pixels from others and another paints the picture again. The layer list agrees with the published
//! parameter counts (148,200 and 156,749); no released weights were at hand to compare outputs with.

use burn::module::{Initializer, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, relu, softmax, tanh};
use burn::tensor::backend::Backend;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::conv;
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};

/// Side of the authors' input.
pub const NATIVE_PX: usize = 256;
/// Factor from the input's side to the latent's; the input must be a multiple of it.
pub const STRIDE_PX: usize = 16;
/// Maps of each half of the latent.
const HALF: usize = 64;

/// Training settings.
pub const RECIPE: Recipe = Recipe {
    update: Update::Adam { betas: [0.9, 0.999], weight_decay: 5e-4 },
    rate: 1e-3,
    decay: Decay::NONE,
    length: Span::Epochs(100.0),
    batch: 64,
    start: Scheme::MultiTask,
    imagenet: false,
    source: "released code: Adam 1e-3, weight decay 5e-4, batch 64, 100 epochs; its eps of 1e-7 is 1e-8 here",
};

/// A 3x3 convolution with a normalisation after it.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    conv: Conv2d<B>,
    bn: BatchNorm<B>,
}

impl<B: Backend> Block<B> {
    fn init(channels_in: usize, channels_out: usize, stride: usize, device: &B::Device) -> Self {
        let config: Conv2dConfig = conv(channels_in, channels_out, 3, 1).with_stride([stride, stride]);
        Block { conv: config.init(device), bn: BatchNorm::new(channels_out, device) }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        relu(self.bn.forward(learning_conv(&self.conv, x)))
    }
}

/// Fewer channels by a convolution, then twice the side by a transposed one.
#[derive(Module, Debug)]
struct Rise<B: Backend> {
    block: Block<B>,
    up: ConvTranspose2d<B>,
    bn: BatchNorm<B>,
}

impl<B: Backend> Rise<B> {
    fn init(channels_in: usize, channels_out: usize, device: &B::Device) -> Self {
        let up = ConvTranspose2dConfig::new([channels_out, channels_out], [3, 3])
            .with_stride([2, 2])
            .with_padding([1, 1])
            .with_padding_out([1, 1])
            .with_initializer(Initializer::Zeros);
        let block = Block::init(channels_in, channels_out, 1, device);
        Rise { block, up: up.init(device), bn: BatchNorm::new(channels_out, device) }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        relu(self.bn.forward(self.up.forward(self.block.forward(x))))
    }
}

/// One branch of the decoder.
#[derive(Module, Debug)]
struct Branch<B: Backend> {
    rises: Vec<Rise<B>>,
    last: Conv2d<B>,
}

impl<B: Backend> Branch<B> {
    fn init(channels_out: usize, device: &B::Device) -> Self {
        let rises = vec![Rise::init(32, 16, device), Rise::init(16, 8, device)];
        Branch { rises, last: conv(8, channels_out, 3, 1).init(device) }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        learning_conv(&self.last, self.rises.iter().fold(x, |x, rise| rise.forward(x)))
    }
}

/// The network; 304,949 parameters.
#[derive(Module, Debug)]
pub struct MultiTask<B: Backend> {
    encoder: Vec<Block<B>>,
    shared: Vec<Rise<B>>,
    segmenter: Branch<B>,
    painter: Branch<B>,
}

/// What the decoder makes of a latent.
#[derive(Debug, Clone)]
pub struct Decoded<B: Backend> {
    /// Probabilities of "not made" and "made" for every pixel, `[n, 2, h, w]`.
    pub segmentation: Tensor<B, 4>,
    /// The picture again, -1..1, `[n, 3, h, w]`.
    pub picture: Tensor<B, 4>,
}

impl<B: Backend> MultiTask<B> {
    /// The network; its input's side must be a multiple of 16.
    pub fn init(device: &B::Device) -> Self {
        let plan = [
            (3, 8, 1),
            (8, 8, 2),
            (8, 16, 1),
            (16, 16, 2),
            (16, 32, 1),
            (32, 32, 2),
            (32, 64, 1),
            (64, 64, 2),
            (64, 128, 1),
        ];
        MultiTask {
            encoder: plan.map(|(cin, cout, stride)| Block::init(cin, cout, stride, device)).into(),
            shared: vec![Rise::init(2 * HALF, 64, device), Rise::init(64, 32, device)],
            segmenter: Branch::init(2, device),
            painter: Branch::init(3, device),
        }
    }

    /// # Shapes
    /// `[n, 3, h, w]`, ImageNet-normalised -> `[n, 128, h / 16, w / 16]`
    pub fn encode(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.encoder.iter().fold(x, |x, block| block.forward(x))
    }

    /// # Shapes
    /// `[n, 128, h / 16, w / 16] -> [n, 2, h, w]` and `[n, 3, h, w]`
    pub fn decode(&self, latent: Tensor<B, 4>) -> Decoded<B> {
        let map = self.shared.iter().fold(latent, |x, rise| rise.forward(x));
        let segmentation = softmax(self.segmenter.forward(map.clone()), 1);
        Decoded { segmentation, picture: tanh(self.painter.forward(map)) }
    }

    /// Mean absolute activation of the half for real pictures and of that for fakes; the larger one is the answer.
    ///
    /// # Shapes
    /// `[n, 3, h, w]`, ImageNet-normalised -> `[n, 2]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        activations(self.encode(x))
    }

    /// The authors' loss, `[1]`: activations against the labels, segmentation (cross entropy of what is already a softmax,
    /// as released) and reconstruction, all with weight 1. Every pixel of a fake counts as made: masks are not known here.
    ///
    /// # Shapes
    /// `x` as in [`MultiTask::forward`]; `targets` `[n, 2]`.
    pub fn loss(&self, x: Tensor<B, 4>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
        let [n, _, h, w] = x.dims();
        let latent = self.encode(x.clone());
        let activation = activations(latent.clone()).sub(targets.clone()).abs().sum().div_scalar(n as f64);
        let kept = targets.clone().reshape([n, 2, 1, 1]).repeat_dim(2, HALF).reshape([n, 2 * HALF, 1, 1]);
        let Decoded { segmentation, picture } = self.decode(latent.mul(kept));
        let truth = targets.reshape([n, 2, 1, 1]);
        let entropy = log_softmax(segmentation, 1).mul(truth).sum().mul_scalar(-1.0 / (n * h * w) as f64);
        activation.add(entropy).add(picture.sub(x).powi_scalar(2).mean())
    }
}

fn activations<B: Backend>(latent: Tensor<B, 4>) -> Tensor<B, 2> {
    let [n, channels, h, w] = latent.dims();
    latent.abs().reshape([n, 2, channels / 2 * h * w]).mean_dim(2).flatten(1, 2)
}
