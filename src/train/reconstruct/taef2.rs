//! TAEF2, the tiny auto-encoder of FLUX.2's latents (madebyollin/taesd), read from its two safetensors files: the decoder of
//! a family of latent diffusion models, in small.

use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};

use super::autoencoder::nearest;
use crate::model::Tensors;
use crate::{Error, ErrorKind, Result};

/// Factor from the input's side to the latent's.
pub const STRIDE_PX: usize = 8;
/// Channels of all layers but the outer ones.
const WIDTH: usize = 64;
/// Channels of the latent.
const LATENT: usize = 32;
/// Channels inside the pooling branch of a block, and its groups.
const POOLED: usize = 256;
const GROUPS: usize = 4;

/// Encoder and decoder.
#[derive(Debug)]
pub struct Taef2<B: Backend> {
    encoder: Vec<Layer<B>>,
    decoder: Vec<Layer<B>>,
}

#[derive(Debug)]
struct Conv<B: Backend> {
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    stride: usize,
}

impl<B: Backend> Conv<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let pad = self.weight.dims()[2] / 2;
        let options = ConvOptions::new([self.stride; 2], [pad; 2], [1, 1], 1);
        conv2d(x, self.weight.clone(), self.bias.clone(), options)
    }
}

/// What the blocks with `pool` add first: 1x1, GroupNorm, ReLU, 1x1.
#[derive(Debug)]
struct Pool<B: Backend> {
    wide: Conv<B>,
    scale: Tensor<B, 4>,
    shift: Tensor<B, 4>,
    narrow: Conv<B>,
}

impl<B: Backend> Pool<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.wide.forward(x);
        let [n, c, h, w] = x.dims();
        let grouped: Tensor<B, 3> = x.reshape([n, GROUPS, c / GROUPS * h * w]);
        let centred = grouped.clone().sub(grouped.mean_dim(2));
        let spread = centred.clone().powi_scalar(2).mean_dim(2).add_scalar(1e-5).sqrt();
        let x: Tensor<B, 4> = centred.div(spread).reshape([n, c, h, w]);
        self.narrow.forward(relu(x.mul(self.scale.clone()).add(self.shift.clone())))
    }
}

#[derive(Debug)]
enum Layer<B: Backend> {
    Conv(Conv<B>),
    /// relu(conv relu conv relu conv(x) + x), after `x + pool(x)` where there is one.
    Block([Conv<B>; 3], Option<Pool<B>>),
    Double,
    Relu,
    /// 3 tanh(x / 3)
    Clamp,
}

impl<B: Backend> Layer<B> {
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Layer::Conv(conv) => conv.forward(x),
            Layer::Block(convs, pool) => {
                let x = match pool {
                    Some(pool) => x.clone().add(pool.forward(x)),
                    None => x,
                };
                let [first, second, third] = convs;
                let out = third.forward(relu(second.forward(relu(first.forward(x.clone())))));
                relu(out.add(x))
            }
            Layer::Double => nearest(x),
            Layer::Relu => relu(x),
            Layer::Clamp => x.div_scalar(3.0).tanh().mul_scalar(3.0),
        }
    }
}

/// Reads layers by their place in the original's `nn.Sequential`.
struct Files<'a, B: Backend> {
    tensors: &'a Tensors,
    device: &'a B::Device,
}

impl<B: Backend> Files<'_, B> {
    fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<B, D>> {
        let values = self.tensors.get(name, &shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    fn conv(&self, name: &str, [cin, cout, kernel]: [usize; 3], stride: usize, bias: bool) -> Result<Conv<B>> {
        let bias = if bias { Some(self.tensor(&format!("{name}.bias"), [cout])?) } else { None };
        Ok(Conv { weight: self.tensor(&format!("{name}.weight"), [cout, cin, kernel, kernel])?, bias, stride })
    }

    fn block(&self, place: usize, pooled: bool) -> Result<Layer<B>> {
        let conv = |index: usize| self.conv(&format!("{place}.conv.{index}"), [WIDTH, WIDTH, 3], 1, true);
        let pool = if pooled { Some(self.pool(place)?) } else { None };
        Ok(Layer::Block([conv(0)?, conv(2)?, conv(4)?], pool))
    }

    fn pool(&self, place: usize) -> Result<Pool<B>> {
        let channelwise =
            |what: &str| Ok(self.tensor(&format!("{place}.pool.1.{what}"), [POOLED])?.reshape([1, POOLED, 1, 1]));
        Ok(Pool {
            wide: self.conv(&format!("{place}.pool.0"), [WIDTH, POOLED, 1], 1, false)?,
            scale: channelwise("weight")?,
            shift: channelwise("bias")?,
            narrow: self.conv(&format!("{place}.pool.3"), [POOLED, WIDTH, 1], 1, false)?,
        })
    }

    fn outer(&self, place: usize, channels: [usize; 2]) -> Result<Layer<B>> {
        Ok(Layer::Conv(self.conv(&place.to_string(), [channels[0], channels[1], 3], 1, true)?))
    }

    fn inner(&self, place: usize, stride: usize) -> Result<Layer<B>> {
        Ok(Layer::Conv(self.conv(&place.to_string(), [WIDTH, WIDTH, 3], stride, false)?))
    }
}

impl<B: Backend> Taef2<B> {
    /// Reads `taef2_encoder.safetensors` and `taef2_decoder.safetensors`.
    ///
    /// # Errors
    /// `BadWeights`, naming the file and the tensor that is missing or of another shape.
    pub fn parse(encoder: &[u8], decoder: &[u8], device: &B::Device) -> Result<Self> {
        let part = |name: &str, error: Error| {
            Error::caused(ErrorKind::BadWeights, format!("expected taef2_{name}.safetensors"), error)
        };
        Ok(Taef2 {
            encoder: Self::encoder(encoder, device).map_err(|e| part("encoder", e))?,
            decoder: Self::decoder(decoder, device).map_err(|e| part("decoder", e))?,
        })
    }

    fn encoder(bytes: &[u8], device: &B::Device) -> Result<Vec<Layer<B>>> {
        let file = Files::<B> { tensors: &Tensors::parse(bytes)?, device };
        let mut down = vec![file.outer(0, [3, WIDTH])?, file.block(1, false)?];
        for start in [2, 6, 10] {
            down.push(file.inner(start, 2)?);
            for place in start + 1..start + 4 {
                down.push(file.block(place, start == 10)?);
            }
        }
        down.push(file.outer(14, [WIDTH, LATENT])?);
        Ok(down)
    }

    fn decoder(bytes: &[u8], device: &B::Device) -> Result<Vec<Layer<B>>> {
        let file = Files::<B> { tensors: &Tensors::parse(bytes)?, device };
        let mut up = vec![Layer::Clamp, file.outer(1, [LATENT, WIDTH])?, Layer::Relu];
        for place in 3..6 {
            up.push(file.block(place, true)?);
        }
        for start in [7, 12, 17] {
            up.extend([Layer::Double, file.inner(start, 1)?]);
            let blocks = if start == 17 { 1 } else { 3 };
            for place in start + 1..=start + blocks {
                up.push(file.block(place, false)?);
            }
        }
        up.push(file.outer(19, [WIDTH, 3])?);
        Ok(up)
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..1, sides multiples of 8 -> the same
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.encoder.iter().chain(&self.decoder).fold(x, |x, layer| layer.forward(x)).clamp(0.0, 1.0)
    }
}
