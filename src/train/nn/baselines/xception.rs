//! XceptionNet as used by FaceForensics++ (ondyari/FaceForensics `classification/network/`): native input 299x299 RGB,
//! mean and standard deviation 0.5. The PyTorch port pads strided pooling on both sides, which Keras does not.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::module::max_pool2d;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::{conv, linear};
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::recipe::{Decay, Recipe, Scheme, Span, Update};
use crate::train::nn::resnet::global_average;

/// Side of the authors' input.
pub const NATIVE_PX: usize = 299;

/// Training settings.
pub const RECIPE: Recipe = Recipe {
    update: Update::Adam { betas: [0.9, 0.999], weight_decay: 0.0 },
    rate: 2e-4,
    decay: Decay::NONE,
    length: Span::Epochs(15.0),
    batch: 32,
    start: Scheme::He,
    imagenet: true,
    source: "FaceForensics++'s paper, from memory; its three epochs of the classifier alone are left out",
};

/// Depthwise 3x3 directly followed by pointwise 1x1, without bias and with nothing in between.
#[derive(Module, Debug)]
pub struct Separable<B: Backend> {
    dw: Conv2d<B>,
    pw: Conv2d<B>,
}

impl<B: Backend> Separable<B> {
    fn init(channels_in: usize, channels_out: usize, device: &B::Device) -> Self {
        Separable {
            dw: conv(channels_in, channels_in, 3, 1).with_groups(channels_in).with_bias(false).init(device),
            pw: conv(channels_in, channels_out, 1, 0).with_bias(false).init(device),
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        learning_conv(&self.pw, learning_conv(&self.dw, x))
    }
}

/// Separable convolutions, each after a ReLU and before a normalisation, then pooling when strided; plus a skip of the
/// input as it was before any ReLU.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    sep: Vec<Separable<B>>,
    bn: Vec<BatchNorm<B>>,
    skip: Option<Conv2d<B>>,
    skipbn: Option<BatchNorm<B>>,
    starts_with_relu: bool,
}

impl<B: Backend> Block<B> {
    /// `channels`: of the input, then after each separable convolution. A block that changes them halves the sides.
    fn init(channels: &[usize], device: &B::Device) -> Self {
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let strided = first != last;
        let skip = || conv(first, last, 1, 0).with_stride([2, 2]).with_bias(false).init(device);
        Block {
            sep: channels.windows(2).map(|pair| Separable::init(pair[0], pair[1], device)).collect(),
            bn: channels[1..].iter().map(|channels| BatchNorm::new(*channels, device)).collect(),
            skip: strided.then(skip),
            skipbn: strided.then(|| BatchNorm::new(last, device)),
            starts_with_relu: true,
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let layers = self.sep.iter().zip(&self.bn).enumerate();
        let out = layers.fold(x.clone(), |h, (index, (sep, bn))| {
            let h = if index > 0 || self.starts_with_relu { relu(h) } else { h };
            bn.forward(sep.forward(h))
        });
        match (&self.skip, &self.skipbn) {
            (Some(skip), Some(bn)) => {
                max_pool2d(out, [3, 3], [2, 2], [1, 1], [1, 1], false).add(bn.forward(learning_conv(skip, x)))
            }
            _ => out.add(x),
        }
    }
}

/// The network; 20,811,050 parameters with two classes.
#[derive(Module, Debug)]
pub struct Xception<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm<B>,
    block1: Block<B>,
    block2: Block<B>,
    block3: Block<B>,
    block4: Block<B>,
    block5: Block<B>,
    block6: Block<B>,
    block7: Block<B>,
    block8: Block<B>,
    block9: Block<B>,
    block10: Block<B>,
    block11: Block<B>,
    block12: Block<B>,
    conv3: Separable<B>,
    bn3: BatchNorm<B>,
    conv4: Separable<B>,
    bn4: BatchNorm<B>,
    fc: Linear<B>,
}

impl<B: Backend> Xception<B> {
    /// The network for `classes` logits; squares of any side of at least 64 px.
    pub fn init(classes: usize, device: &B::Device) -> Self {
        let block = |channels: &[usize]| Block::init(channels, device);
        let middle = || block(&[728; 4]);
        Xception {
            conv1: conv(3, 32, 3, 0).with_stride([2, 2]).with_bias(false).init(device),
            bn1: BatchNorm::new(32, device),
            conv2: conv(32, 64, 3, 0).with_bias(false).init(device),
            bn2: BatchNorm::new(64, device),
            block1: Block { starts_with_relu: false, ..block(&[64, 128, 128]) },
            block2: block(&[128, 256, 256]),
            block3: block(&[256, 728, 728]),
            block4: middle(),
            block5: middle(),
            block6: middle(),
            block7: middle(),
            block8: middle(),
            block9: middle(),
            block10: middle(),
            block11: middle(),
            block12: block(&[728, 728, 1024]),
            conv3: Separable::init(1024, 1536, device),
            bn3: BatchNorm::new(1536, device),
            conv4: Separable::init(1536, 2048, device),
            bn4: BatchNorm::new(2048, device),
            fc: linear(2048, classes, device),
        }
    }

    fn blocks(&self) -> [&Block<B>; 12] {
        [
            &self.block1,
            &self.block2,
            &self.block3,
            &self.block4,
            &self.block5,
            &self.block6,
            &self.block7,
            &self.block8,
            &self.block9,
            &self.block10,
            &self.block11,
            &self.block12,
        ]
    }

    /// # Shapes
    /// `[n, 3, h, w]` on -1..1 -> `[n, classes]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = relu(self.bn1.forward(learning_conv(&self.conv1, x)));
        let x = relu(self.bn2.forward(learning_conv(&self.conv2, x)));
        let x = self.blocks().into_iter().fold(x, |x, block| block.forward(x));
        let x = relu(self.bn3.forward(self.conv3.forward(x)));
        let x = relu(self.bn4.forward(self.conv4.forward(x)));
        self.fc.forward(global_average(x))
    }
}
