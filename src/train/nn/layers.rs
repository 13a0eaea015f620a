//! Layers as the compared networks' sources have them. Weights are zero until [`super::recipe::Scheme`] or a file gives
//! them: no draw depends on burn's one generator for the whole process.

use burn::module::Initializer;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::{avg_pool2d, max_pool2d};

/// A square convolution with stride 1 and a bias.
pub fn conv(channels_in: usize, channels_out: usize, kernel: usize, pad: usize) -> Conv2dConfig {
    Conv2dConfig::new([channels_in, channels_out], [kernel, kernel])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_initializer(Initializer::Zeros)
}

/// A fully connected layer with a bias.
pub fn linear<B: Backend>(inputs: usize, outputs: usize, device: &B::Device) -> Linear<B> {
    LinearConfig::new(inputs, outputs).with_initializer(Initializer::Zeros).init(device)
}

/// Maximum over `side` x `side` windows that touch and do not overlap; what is left over at the border is dropped.
pub fn max_pool<B: Backend>(x: Tensor<B, 4>, side: usize) -> Tensor<B, 4> {
    max_pool2d(x, [side, side], [side, side], [0, 0], [1, 1], false)
}

/// Maximum over 3x3 windows, stride 2, with Caffe's rounding up: the last window may hang over the border.
pub fn caffe_max_pool<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    max_pool2d(x, [3, 3], [2, 2], [0, 0], [1, 1], true)
}

/// Mean over 3x3 windows, stride 2, with Caffe's rounding up; what hangs over the border does not count.
pub fn caffe_mean_pool<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    avg_pool2d(x, [3, 3], [2, 2], [0, 0], false, true)
}

/// The side after [`caffe_max_pool`] or [`caffe_mean_pool`]; `side_px` is at least 3.
pub fn caffe_pooled(side_px: usize) -> usize {
    (side_px - 3).div_ceil(2) + 1
}

/// Flat features in the order channel, row, column: `[n, c, h, w] -> [n, c h w]`.
pub fn flat<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 2> {
    x.flatten(1, 3)
}
