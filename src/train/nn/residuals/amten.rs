//! AMTEN (adaptive manipulation trace extraction network; `AMTENnet.prototxt` of its authors): an unconstrained learned
//! predictor, all convolutions 3x3 with padding 1 and no activation anywhere. 909 parameters.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::train::backend::learning_conv;
use crate::train::nn::layers::conv;

/// Channels of what it extracts.
pub const CHANNELS: usize = 12;

/// The extractor.
#[derive(Module, Debug)]
pub struct Amten<B: Backend> {
    conv1: Conv2d<B>,
    conv2_1: Conv2d<B>,
    conv2_2: Conv2d<B>,
    conv3_1: Conv2d<B>,
    conv3_2: Conv2d<B>,
}

impl<B: Backend> Amten<B> {
    /// The extractor for RGB.
    pub fn init(device: &B::Device) -> Self {
        let same = |channels| conv(channels, channels, 3, 1);
        Amten {
            // The prototxt freezes this bias at 0.
            conv1: same(3).with_bias(false).init(device),
            conv2_1: same(3).init(device),
            conv2_2: same(3).init(device),
            conv3_1: same(6).init(device),
            conv3_2: same(6).init(device),
        }
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..255 -> `[n, 12, h, w]`; newer branches come first.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let traces = learning_conv(&self.conv1, x.clone()).sub(x);
        let deeper = learning_conv(&self.conv2_2, learning_conv(&self.conv2_1, traces.clone()));
        let reused = Tensor::cat(vec![deeper, traces], 1);
        let deepest = learning_conv(&self.conv3_2, learning_conv(&self.conv3_1, reused.clone()));
        Tensor::cat(vec![deepest, reused], 1)
    }
}
