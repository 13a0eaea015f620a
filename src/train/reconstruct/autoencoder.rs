//! Small auto-encoders with the four ways in which decoders enlarge. What comes out looks like what went in and carries the
//! traces of its decoder (AutoGAN's idea, Zhang et al. 2019; market survey 7).
//!
//! The latent holds the picture at half its side beside what is learnt: without that, colours are what a few minutes do not
//! teach, and a detector would learn that fakes are pale. One doubling is enough for the traces of the last one.

use std::time::Instant;

use burn::module::{Initializer, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::module::avg_pool2d;
use burn::tensor::{ElementConversion, Tensor};
use rand::Rng;

use crate::picture::Rgb8;
use crate::picture::crop;
use crate::train::backend::learning_conv;
use crate::train::config::{LearnConfig, TrainConfig};
use crate::train::learn::optim::Adam;
use crate::train::looks::pixels;
use crate::train::nn::input;
use crate::train::nn::layers::conv;
use crate::train::nn::recipe::{Scheme, started};
use crate::train::rng::{Stream, TrainRng, at};
use crate::{Error, ErrorKind, Result};

/// Factor from the input's side to the latent's.
pub const STRIDE_PX: usize = 2;
/// Channels of the latent that are learnt, beside the means of red, green and blue: 12 values of a picture become 8.
const LEARNT: usize = 5;
/// Side of the windows that are learnt from.
const WINDOW_PX: usize = 64;
/// Windows a step.
const BATCH: usize = 16;

/// How a decoder doubles the side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rising {
    /// Every value four times, then a 3x3 convolution.
    Nearest,
    /// Bilinear, then a 3x3 convolution.
    Bilinear,
    /// A 4x4 transposed convolution.
    Transposed,
    /// A 3x3 convolution to four times the channels, laid side by side.
    Shuffle,
}

/// One doubling of the side, with its weights.
#[derive(Module, Debug)]
enum Up<B: Backend> {
    Nearest(Conv2d<B>),
    Bilinear(Conv2d<B>),
    Transposed(ConvTranspose2d<B>),
    Shuffle(Conv2d<B>),
}

impl<B: Backend> Up<B> {
    fn init(rising: Rising, channels_in: usize, channels_out: usize, device: &B::Device) -> Self {
        let three = |out: usize| conv(channels_in, out, 3, 1).init(device);
        match rising {
            Rising::Nearest => Up::Nearest(three(channels_out)),
            Rising::Bilinear => Up::Bilinear(three(channels_out)),
            Rising::Shuffle => Up::Shuffle(three(4 * channels_out)),
            Rising::Transposed => Up::Transposed(
                ConvTranspose2dConfig::new([channels_in, channels_out], [4, 4])
                    .with_stride([2, 2])
                    .with_padding([1, 1])
                    .with_initializer(Initializer::Zeros)
                    .init(device),
            ),
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Up::Nearest(conv) => learning_conv(conv, nearest(x)),
            Up::Bilinear(conv) => learning_conv(conv, bilinear(x)),
            Up::Transposed(conv) => conv.forward(x),
            Up::Shuffle(conv) => shuffled(learning_conv(conv, x)),
        }
    }
}

/// Every value four times: `[n, c, h, w] -> [n, c, 2 h, 2 w]`.
pub(super) fn nearest<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    let spread: Tensor<B, 6> = x.reshape([n, c, h, 1, w, 1]);
    spread.repeat_dim(3, 2).repeat_dim(5, 2).reshape([n, c, 2 * h, 2 * w])
}

/// Twice the side, bilinear between the centres of pixels: `[n, c, h, w] -> [n, c, 2 h, 2 w]`. That is [`nearest`], then
/// .25 .5 .25 along both sides, the border repeated.
fn bilinear<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    [2, 3].into_iter().fold(nearest(x), |x, axis| {
        let side = x.dims()[axis];
        let before = Tensor::cat(vec![x.clone().narrow(axis, 0, 1), x.clone().narrow(axis, 0, side - 1)], axis);
        let after = Tensor::cat(vec![x.clone().narrow(axis, 1, side - 1), x.clone().narrow(axis, side - 1, 1)], axis);
        x.mul_scalar(0.5).add(before.add(after).mul_scalar(0.25))
    })
}

/// Four channels become four pixels, as PyTorch's `PixelShuffle(2)`: `[n, 4 c, h, w] -> [n, c, 2 h, 2 w]`.
fn shuffled<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    let apart: Tensor<B, 6> = x.reshape([n, c / 4, 2, 2, h, w]);
    apart.permute([0, 1, 4, 2, 5, 3]).reshape([n, c / 4, 2 * h, 2 * w])
}

/// A picture to half its side in 8 channels, and back.
#[derive(Module, Debug)]
pub struct AutoEncoder<B: Backend> {
    encoder: Vec<Conv2d<B>>,
    decoder: Vec<Conv2d<B>>,
    up: Up<B>,
    last: Conv2d<B>,
}

impl<B: Backend> AutoEncoder<B> {
    /// A fresh network; the same seed gives the same start.
    ///
    /// # Errors
    /// As [`started`].
    pub fn init(rising: Rising, seed: u64, device: &B::Device) -> Result<Self> {
        let three = |channels_in: usize, channels_out: usize, stride: usize| -> Conv2d<B> {
            let config: Conv2dConfig = conv(channels_in, channels_out, 3, 1).with_stride([stride, stride]);
            config.init(device)
        };
        let network = AutoEncoder {
            encoder: vec![three(3, 24, 1), three(24, 32, STRIDE_PX), three(32, 32, 1), three(32, LEARNT, 1)],
            decoder: vec![three(3 + LEARNT, 32, 1), three(32, 32, 1)],
            up: Up::init(rising, 32, 24, device),
            last: three(24, 3, 1),
        };
        started(network, Scheme::He, seed)
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..1, sides even -> the same; values may lie a little outside
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let small = avg_pool2d(x.clone(), [STRIDE_PX; 2], [STRIDE_PX; 2], [0, 0], true, false);
        let (latent, hidden) = self.encoder.split_last().expect("an encoder has layers");
        let x = hidden.iter().fold(x.sub_scalar(0.5), |x, layer| relu(learning_conv(layer, x)));
        let latent = Tensor::cat(vec![small.clone().sub_scalar(0.5), learning_conv(latent, x)], 1);
        let x = self.decoder.iter().fold(latent, |x, layer| relu(learning_conv(layer, x)));
        let detail = learning_conv(&self.last, relu(self.up.forward(x)));
        bilinear(small).add(detail)
    }
}

/// How long an auto-encoder learns: until so many minutes are over, or so many steps are done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Minutes; the rate falls along them.
    pub minutes: f64,
    /// At most so many steps.
    pub steps: u64,
}

/// Learns to paint windows of the pictures that `draw` gives again; `progress` is told (share, loss) after every step.
///
/// # Errors
/// Those of `draw`; `Cancelled` when `progress` says stop (false).
pub fn learn<B: AutodiffBackend>(
    rising: Rising,
    seed: u64,
    length: Length,
    draw: &mut dyn FnMut(&mut TrainRng) -> Result<Rgb8>,
    progress: &mut dyn FnMut(f64, f32) -> bool,
    device: &B::Device,
) -> Result<AutoEncoder<B>> {
    let mut network = AutoEncoder::<B>::init(rising, seed, device)?;
    let mut adam = Adam::default();
    let learn = LearnConfig { rate: 2e-3, warm_up_steps: 20, weight_decay: 0.0, ..LearnConfig::default() };
    let config = TrainConfig { learn, ..TrainConfig::default() };
    let began = Instant::now();
    for step in 0..length.steps {
        let gone = (began.elapsed().as_secs_f64() / 60.0 / length.minutes).max(step as f64 / length.steps as f64);
        if gone >= 1.0 {
            break;
        }
        let rng = &mut at(seed, Stream::Forging, step, rising as u64);
        let windows = (0..BATCH).map(|_| draw(rng).and_then(|crop| window(&crop, rng))).collect::<Result<Vec<_>>>()?;
        let target = input::batch_unit::<B>(&windows, device);
        let loss = difference(network.forward(target.clone()), target);
        let gradients = loss.backward();
        network = adam.step::<B, _>(network, &gradients, config.rate(step, gone), &config.learn).0;
        let loss = loss.into_scalar().elem::<f32>();
        if !loss.is_finite() {
            let message = format!("an auto-encoder's loss is {loss} at step {step}: learning failed");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if !progress(gone, loss) {
            return Err(Error::new(ErrorKind::Cancelled, "stopped while an auto-encoder learnt"));
        }
    }
    Ok(network)
}

/// Mean absolute difference of pixels and of their steps to the next one along both sides: the steps keep edges sharp.
fn difference<B: Backend>(made: Tensor<B, 4>, wanted: Tensor<B, 4>) -> Tensor<B, 1> {
    let off = made.sub(wanted);
    [2, 3].into_iter().fold(off.clone().abs().mean(), |sum, axis| {
        let side = off.dims()[axis];
        let step = off.clone().narrow(axis, 1, side - 1).sub(off.clone().narrow(axis, 0, side - 1));
        sum.add(step.abs().mean())
    })
}

/// A window at a random place; what is smaller is enlarged to it.
fn window(crop: &Rgb8, rng: &mut TrainRng) -> Result<Rgb8> {
    if crop.height.min(crop.width) <= WINDOW_PX {
        return crop::resize(crop, WINDOW_PX, WINDOW_PX);
    }
    let (top, left) = (rng.random_range(0..=crop.height - WINDOW_PX), rng.random_range(0..=crop.width - WINDOW_PX));
    pixels::trimmed(crop, top, left, WINDOW_PX, WINDOW_PX)
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::train::backend::Cpu;

    fn plane(values: &[f32], shape: [usize; 4]) -> Tensor<Cpu, 4> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Default::default())
    }

    fn values(x: Tensor<Cpu, 4>) -> Vec<f32> {
        x.into_data().into_vec().unwrap()
    }

    #[test]
    fn the_ways_to_enlarge_are_those_of_their_names() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let four_times = values(nearest(plane(&x, [1, 1, 2, 2])));
        assert_eq!(four_times, [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
        let line = values(bilinear(plane(&[0.0, 4.0], [1, 1, 1, 2])));
        assert_eq!(line, [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
        let two_of_each: Vec<f32> = (1..=8).map(|v| v as f32).collect();
        let side_by_side = values(shuffled(plane(&two_of_each, [1, 4, 1, 2])));
        assert_eq!(side_by_side, [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0]);
    }

    #[test]
    fn every_auto_encoder_learns_to_paint_a_picture_again() {
        use burn_autodiff::Autodiff;
        let tone = |i: usize| (128.0 + 90.0 * ((i / 3 % 96) as f32 * 0.1).sin() + (i % 3) as f32 * 10.0) as u8;
        let picture = Rgb8::new(96, 96, (0..96 * 96 * 3).map(tone).collect()).unwrap();
        for rising in [Rising::Nearest, Rising::Bilinear, Rising::Transposed, Rising::Shuffle] {
            let mut losses = Vec::new();
            let length = Length { minutes: 1e6, steps: 5 };
            let network = learn::<Autodiff<Cpu>>(
                rising,
                3,
                length,
                &mut |_| Ok(picture.clone()),
                &mut |_, loss| {
                    losses.push(loss);
                    true
                },
                &Default::default(),
            )
            .unwrap();
            assert!(losses[4] < 0.9 * losses[0], "{rising:?}: {losses:?}");
            let x = input::batch_unit(std::slice::from_ref(&picture), &Default::default());
            assert_eq!(network.forward(x).dims(), [1, 3, 96, 96], "{rising:?}");
        }
    }
}
