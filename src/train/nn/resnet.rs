//! The ResNet-18 trunk without its classifier, with torchvision's names and numbers. No other depth: GRnet uses this one.

use burn::module::{Initializer, Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use super::norm::BatchNorm;
use crate::infer::architecture::FEATURES;

/// Two 3x3 convolutions with a skip (He et al. 2016; torchvision `BasicBlock`).
///
/// After [`ResNet18::folded`] the convolutions carry the normalisation as weight and bias, and `bn*` are absent.
#[derive(Module, Debug)]
pub struct BasicBlock<B: Backend> {
    conv1: Conv2d<B>,
    bn1: Option<BatchNorm<B>>,
    conv2: Conv2d<B>,
    bn2: Option<BatchNorm<B>>,
    downsample: Option<(Conv2d<B>, Option<BatchNorm<B>>)>,
}

impl<B: Backend> BasicBlock<B> {
    fn new(channels_in: usize, channels_out: usize, stride: usize, device: &B::Device) -> Self {
        let reshapes = stride != 1 || channels_in != channels_out;
        BasicBlock {
            conv1: conv(channels_in, channels_out, 3, stride, device),
            bn1: Some(BatchNorm::new(channels_out, device)),
            conv2: conv(channels_out, channels_out, 3, 1, device),
            bn2: Some(BatchNorm::new(channels_out, device)),
            downsample: reshapes.then(|| {
                (conv(channels_in, channels_out, 1, stride, device), Some(BatchNorm::new(channels_out, device)))
            }),
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let skip = match &self.downsample {
            Some((conv, bn)) => conv_norm(conv, bn, x.clone()),
            None => x.clone(),
        };
        let out = relu(conv_norm(&self.conv1, &self.bn1, x));
        relu(conv_norm(&self.conv2, &self.bn2, out).add(skip))
    }

    fn norms_mut(&mut self) -> impl Iterator<Item = &mut BatchNorm<B>> {
        let downsample = self.downsample.as_mut().and_then(|(_, bn)| bn.as_mut());
        self.bn1.iter_mut().chain(&mut self.bn2).chain(downsample)
    }

    fn folded(self) -> Self {
        let (conv1, bn1) = fold(self.conv1, self.bn1);
        let (conv2, bn2) = fold(self.conv2, self.bn2);
        BasicBlock { conv1, bn1, conv2, bn2, downsample: self.downsample.map(|(conv, bn)| fold(conv, bn)) }
    }
}

/// A convolution of a trunk and what normalises it; nothing does after [`ResNet18::folded`].
#[derive(Debug, Clone, Copy)]
pub struct TrunkLayer<'a, B: Backend> {
    /// The convolution.
    pub conv: &'a Conv2d<B>,
    /// Its normalisation.
    pub bn: Option<&'a BatchNorm<B>>,
}

/// ResNet-18 up to its last feature map.
#[derive(Module, Debug)]
pub struct ResNet18<B: Backend> {
    conv1: Conv2d<B>,
    bn1: Option<BatchNorm<B>>,
    maxpool: MaxPool2d,
    layer1: Vec<BasicBlock<B>>,
    layer2: Vec<BasicBlock<B>>,
    layer3: Vec<BasicBlock<B>>,
    layer4: Vec<BasicBlock<B>>,
}

impl<B: Backend> ResNet18<B> {
    /// A trunk with He-initialised convolutions; trained weights are loaded over it by [`crate::model`].
    pub fn new(device: &B::Device) -> Self {
        Self::with_channels(3, device)
    }

    /// The same for pictures of another number of channels.
    pub fn with_channels(channels: usize, device: &B::Device) -> Self {
        let stage = |channels_in, channels_out, stride| {
            vec![
                BasicBlock::new(channels_in, channels_out, stride, device),
                BasicBlock::new(channels_out, channels_out, 1, device),
            ]
        };
        ResNet18 {
            conv1: conv(channels, 64, 7, 2, device),
            bn1: Some(BatchNorm::new(64, device)),
            maxpool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: stage(64, 64, 1),
            layer2: stage(64, 128, 2),
            layer3: stage(128, 256, 2),
            layer4: stage(256, FEATURES, 2),
        }
    }

    /// # Shapes
    /// `[n, channels, h, w] -> [n, 512, ceil(h / 32), ceil(w / 32)]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward_from(0, x)
    }

    /// The same computed in `kind`; weights, input and output stay what they are.
    pub fn forward_in(&self, kind: DType, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let given = x.dtype();
        self.forward(x.cast(kind)).cast(given)
    }

    /// The stages before `stage`: 0 nothing, 1 the stem (convolution, pooling), 2 to 4 also `layer1` to `layer3`.
    pub fn forward_until(&self, stage: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        (0..stage).fold(x, |x, index| self.stage(index, x))
    }

    /// The stages from `stage` on; `forward_from(s, forward_until(s, x))` is `forward(x)`.
    pub fn forward_from(&self, stage: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        (stage..5).fold(x, |x, index| self.stage(index, x))
    }

    fn stage(&self, index: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let blocks = match index {
            0 => return self.maxpool.forward(relu(conv_norm(&self.conv1, &self.bn1, x))),
            1 => &self.layer1,
            2 => &self.layer2,
            3 => &self.layer3,
            _ => &self.layer4,
        };
        blocks.iter().fold(x, |x, block| block.forward(x))
    }

    /// All convolutions with what normalises them: the stem, then of each block of each stage the two of 3x3 and the one of
    /// the skip, if it has one.
    pub fn layers(&self) -> Vec<TrunkLayer<'_, B>> {
        let stem = TrunkLayer { conv: &self.conv1, bn: self.bn1.as_ref() };
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let blocks = stages.into_iter().flatten().flat_map(|block| {
            let skip = block.downsample.as_ref().map(|(conv, bn)| TrunkLayer { conv, bn: bn.as_ref() });
            let [first, second] = [(&block.conv1, &block.bn1), (&block.conv2, &block.bn2)]
                .map(|(conv, bn)| TrunkLayer { conv, bn: bn.as_ref() });
            [Some(first), Some(second), skip].into_iter().flatten()
        });
        std::iter::once(stem).chain(blocks).collect()
    }

    /// Keeps the first convolution of `own` where it reads another number of channels than this trunk's.
    pub fn with_stem_if_wider(self, own: Self) -> Self {
        let same = own.conv1.weight.dims() == self.conv1.weight.dims();
        if same { self } else { ResNet18 { conv1: own.conv1, ..self } }
    }

    /// Freezes (or unfreezes) the statistics of all normalisation layers; see [`BatchNorm`].
    pub fn set_frozen_norm(&mut self, frozen: bool) {
        let blocks = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        let norms = blocks.into_iter().flatten().flat_map(|block| block.norms_mut());
        norms.chain(self.bn1.iter_mut()).for_each(|bn| bn.frozen = frozen);
    }

    /// The same function with every normalisation folded into the convolution before it: fewer passes, inference only.
    pub fn folded(self) -> Self {
        let stage = |blocks: Vec<BasicBlock<B>>| blocks.into_iter().map(BasicBlock::folded).collect();
        let (conv1, bn1) = fold(self.conv1, self.bn1);
        ResNet18 {
            conv1,
            bn1,
            maxpool: self.maxpool,
            layer1: stage(self.layer1),
            layer2: stage(self.layer2),
            layer3: stage(self.layer3),
            layer4: stage(self.layer4),
        }
    }
}

/// Global average pooling: `[n, c, h, w] -> [n, c]`.
pub fn global_average<B: Backend>(map: Tensor<B, 4>) -> Tensor<B, 2> {
    map.mean_dim(3).mean_dim(2).flatten(1, 3)
}

fn conv<B: Backend>(cin: usize, cout: usize, kernel: usize, stride: usize, device: &B::Device) -> Conv2d<B> {
    let pad = kernel / 2;
    Conv2dConfig::new([cin, cout], [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: true })
        .init(device)
}

/// Weights are used in the type of `x`: a trunk fed with bf16 computes in bf16 and learns in its weights' f32.
fn conv_norm<B: Backend>(conv: &Conv2d<B>, bn: &Option<BatchNorm<B>>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let kind = x.dtype();
    let convolved = |x: Tensor<B, 4>, weight: Tensor<B, 4>, bias: Option<Tensor<B, 1>>| {
        let pad = conv.kernel_size[0] / 2;
        let options = ConvOptions::new(conv.stride, [pad, pad], conv.dilation, conv.groups);
        conv2d(x, weight.cast(kind), bias.map(|bias| bias.cast(kind)), options)
    };
    match bn {
        // Frozen, the normalisation is an affine map: it is folded into the convolution anew each time, so that training
        // passes over the (small) weights instead of the (large) maps.
        Some(bn) if bn.frozen => {
            let (scale, shift) = bn.scale_shift();
            let [channels] = scale.dims();
            let weight = conv.weight.val().mul(scale.reshape([channels, 1, 1, 1]));
            convolved(x, weight, Some(shift))
        }
        // Statistics are sums over whole maps: too much for bf16.
        Some(bn) => bn.forward(convolved(x, conv.weight.val(), None).cast(DType::F32)).cast(kind),
        // Only folding gives a convolution a bias.
        None => convolved(x, conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val())),
    }
}

fn fold<B: Backend>(mut conv: Conv2d<B>, bn: Option<BatchNorm<B>>) -> (Conv2d<B>, Option<BatchNorm<B>>) {
    if let Some(bn) = bn {
        let (scale, shift) = bn.scale_shift();
        let channels = scale.dims()[0];
        conv.weight = conv.weight.map(|weight| weight.mul(scale.reshape([channels, 1, 1, 1])));
        conv.bias = Some(Param::from_tensor(shift));
    }
    (conv, None)
}
