//! Batch normalisation with PyTorch's conventions, its training mode switchable off (frozen statistics).
//!
//! burn's own layer updates the running variance with the biased batch variance and cannot be frozen; both matter when
//! fine-tuning ImageNet trunks with small batches.

use burn::module::{Module, Param, RunningState};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::train::backend::learning_norm;

/// y = (x - mean) / sqrt(var + eps) * weight + bias, over all axes but the second.
///
/// On an autodiff backend, unless `frozen`, mean and (biased) variance are those of the batch and the running
/// statistics move by `momentum`, the variance unbiased as in PyTorch; otherwise the running statistics are used.
#[derive(Module, Debug)]
pub struct BatchNorm<B: Backend> {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
    /// Running mean, `[channels]`.
    pub running_mean: RunningState<Tensor<B, 1>>,
    /// Running variance, `[channels]`.
    pub running_var: RunningState<Tensor<B, 1>>,
    /// Added to the variance.
    pub eps: f64,
    /// Share of the batch statistics in each update of the running ones.
    pub momentum: f64,
    /// Use the running statistics even while training.
    pub frozen: bool,
}

impl<B: Backend> BatchNorm<B> {
    /// A layer for `channels` channels with PyTorch's defaults (eps 1e-5, momentum 0.1), weight 1 and bias 0.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self::with(channels, 1e-5, 0.1, device)
    }

    /// The same with other constants, for networks that come from other frameworks.
    pub fn with(channels: usize, eps: f64, momentum: f64, device: &B::Device) -> Self {
        BatchNorm {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            eps,
            momentum,
            frozen: false,
        }
    }

    /// # Shapes
    /// `[n, channels, h, w] -> [n, channels, h, w]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        if B::ad_enabled(&x.device()) && !self.frozen {
            return learning_norm(self, &x).unwrap_or_else(|| self.forward_train(x));
        }
        let (scale, shift) = self.scale_shift();
        x.mul(channelwise(scale)).add(channelwise(shift))
    }

    /// The running statistics as one affine map: `(scale, shift)`, each `[channels]`.
    pub fn scale_shift(&self) -> (Tensor<B, 1>, Tensor<B, 1>) {
        let scale = self.weight.val().div(self.running_var.value().add_scalar(self.eps).sqrt());
        let shift = self.bias.val().sub(self.running_mean.value().mul(scale.clone()));
        (scale, shift)
    }

    fn forward_train(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [n, _, h, w] = x.dims();
        let count = (n * h * w) as f64;
        let mean = batch_mean(x.clone());
        let centred = x.sub(mean.clone());
        let var = batch_mean(centred.clone().powi_scalar(2));
        // A single value has no unbiased variance; PyTorch refuses, we keep the biased one.
        let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
        update(&self.running_mean, mean.clone().detach().flatten(0, 3), self.momentum);
        update(&self.running_var, var.clone().detach().flatten(0, 3).mul_scalar(unbiased), self.momentum);
        let scale = channelwise(self.weight.val()).div(var.add_scalar(self.eps).sqrt());
        centred.mul(scale).add(channelwise(self.bias.val()))
    }
}

fn batch_mean<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.mean_dim(3).mean_dim(2).mean_dim(0)
}

fn update<B: Backend>(state: &RunningState<Tensor<B, 1>>, batch: Tensor<B, 1>, momentum: f64) {
    let old = state.value_sync();
    state.update(old.mul_scalar(1.0 - momentum).add(batch.mul_scalar(momentum)));
    // What walks over the module's parameters sees synchronised values only.
    state.value_sync();
}

fn channelwise<B: Backend>(values: Tensor<B, 1>) -> Tensor<B, 4> {
    let [channels] = values.dims();
    values.reshape([1, channels, 1, 1])
}
