//! Constrained convolution (Bayar and Stamm 2018; released as `training_mislnet.py`): a predictor of every pixel by its
//! neighbours. The centre tap is -1 and the other 24 taps sum to 1; the authors project before every solver step, outside
//! the gradient. Here that happens after every update, so that whatever is evaluated or saved is on the constraint.
//!
//! For RGB every (filter, input channel) slice is projected by itself, as public ports do.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::train::backend::learning_conv;
use crate::train::nn::layers::conv;

/// Filters of the front end.
pub const FILTERS: usize = 3;
/// Side of a filter.
const SIDE: usize = 5;
/// Place of the centre among the taps.
const CENTRE: usize = SIDE * SIDE / 2;

/// Three constrained 5x5 filters without bias, zero padding 2 (MISLnet itself uses none: [`constrained`]).
#[derive(Module, Debug)]
pub struct ConstrainedConv<B: Backend> {
    /// The filters, `[3, 3, 5, 5]`.
    pub conv: Conv2d<B>,
}

impl<B: Backend> ConstrainedConv<B> {
    /// The front end for RGB.
    pub fn init(device: &B::Device) -> Self {
        ConstrainedConv { conv: constrained(3, 2, device) }
    }

    /// # Shapes
    /// `[n, 3, h, w] -> [n, 3, h, w]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        learning_conv(&self.conv, x)
    }

    /// Back on the constraint.
    pub fn project(mut self) -> Self {
        self.conv.weight = projected_param(self.conv.weight);
        self
    }
}

/// The bare convolution, `pad` zeros at the border.
pub fn constrained<B: Backend>(channels_in: usize, pad: usize, device: &B::Device) -> Conv2d<B> {
    conv(channels_in, FILTERS, SIDE, pad).with_bias(false).init(device)
}

/// [`projected`] for a parameter that goes on learning.
pub fn projected_param<B: Backend>(param: Param<Tensor<B, 4>>) -> Param<Tensor<B, 4>> {
    param.map(|weight| {
        let learns = weight.is_require_grad();
        projected(weight.detach()).detach().set_require_grad(learns)
    })
}

/// Centre -1, the 24 other taps of every 5x5 slice scaled to sum 1: `[out, in, 5, 5] -> [out, in, 5, 5]`.
pub fn projected<B: Backend>(weight: Tensor<B, 4>) -> Tensor<B, 4> {
    let [filters, channels, ..] = weight.dims();
    let mut centre = [0f32; SIDE * SIDE];
    centre[CENTRE] = 1.0;
    let centre = Tensor::<B, 4>::from_data(TensorData::new(centre.to_vec(), [1, 1, SIDE, SIDE]), &weight.device());
    let others = weight.mul(centre.clone().neg().add_scalar(1.0));
    let sums = others.clone().reshape([filters, channels, SIDE * SIDE, 1]).sum_dim(2);
    others.div(sums).sub(centre)
}
