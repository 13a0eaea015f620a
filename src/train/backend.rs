//! The one seam between the generic code and what computes it: CPU, WebGPU, CUDA or LibTorch; native or wasm.

#[cfg(feature = "libtorch")]
mod libtorch;

use crate::error::Result;
#[cfg(any(not(feature = "train-gpu"), not(feature = "cuda"), not(feature = "libtorch")))]
use crate::error::{Error, ErrorKind};
use crate::train::nn::mte::MteBackend;

/// The CPU in plain Rust with SIMD; the fallback everywhere.
pub type Cpu = burn_flex::Flex;
impl MteBackend for Cpu {}

/// Any GPU through WebGPU (native: Vulkan, Metal, DX12).
#[cfg(feature = "train-gpu")]
pub type Gpu = burn_wgpu::Wgpu<f32, i32, u32>;
#[cfg(feature = "train-gpu")]
impl MteBackend for Gpu {
    fn guided_residual(
        unit: burn::tensor::Tensor<Self, 4>,
        config: &crate::infer::architecture::GuidedFilterConfig,
    ) -> burn::tensor::Tensor<Self, 4> {
        crate::train::nn::mte::kernel::residual(unit, config)
    }
}

/// An NVIDIA GPU through CUDA.
#[cfg(feature = "cuda")]
pub type Cuda = burn_cuda::Cuda<f32, i32>;
#[cfg(feature = "cuda")]
impl MteBackend for Cuda {}

/// LibTorch on the CPU, for training.
#[cfg(feature = "libtorch")]
pub type LibTorch = burn_tch::LibTorch<f32>;
#[cfg(feature = "libtorch")]
impl MteBackend for LibTorch {}

/// [`crate::train::nn::resnet::ResNet18::forward_in`] as fast as the backend has it, for learning; the same values and gradients.
pub fn learning_trunk<B: burn::tensor::backend::Backend>(
    trunk: &crate::train::nn::resnet::ResNet18<B>,
    kind: burn::tensor::DType,
    x: burn::tensor::Tensor<B, 4>,
) -> burn::tensor::Tensor<B, 4> {
    #[cfg(feature = "libtorch")]
    if let Some(out) = libtorch::trunk(trunk, kind, &x) {
        return out;
    }
    trunk.forward_in(kind, x)
}

/// [`burn::nn::conv::Conv2d::forward`] as fast as the backend has it, for learning; the same values and gradients.
pub fn learning_conv<B: burn::tensor::backend::Backend>(
    conv: &burn::nn::conv::Conv2d<B>,
    x: burn::tensor::Tensor<B, 4>,
) -> burn::tensor::Tensor<B, 4> {
    #[cfg(feature = "libtorch")]
    if let Some(out) = libtorch::conv(conv, &x) {
        return out;
    }
    conv.forward(x)
}

/// What [`crate::train::nn::norm::BatchNorm::forward`] gives while it learns from the batch's statistics, the running ones moved,
/// where the backend has that in one piece; nothing elsewhere.
#[cfg_attr(not(feature = "libtorch"), allow(unused_variables, reason = "no other backend has it"))]
pub fn learning_norm<B: burn::tensor::backend::Backend>(
    norm: &crate::train::nn::norm::BatchNorm<B>,
    x: &burn::tensor::Tensor<B, 4>,
) -> Option<burn::tensor::Tensor<B, 4>> {
    #[cfg(feature = "libtorch")]
    return libtorch::norm(norm, x);
    #[cfg(not(feature = "libtorch"))]
    None
}

/// Where to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainDevice {
    /// Plain Rust on the CPU; repeats exactly.
    Cpu,
    /// LibTorch on the CPU, several times as fast.
    Libtorch,
    /// A GPU through WebGPU.
    Gpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// Work that learns, on whichever backend is chosen at run time; for [`train_on`].
pub trait TrainJob {
    /// What it gives.
    type Out;

    /// Does the work.
    ///
    /// # Errors
    /// Whatever the work fails with.
    fn run<B: burn::tensor::backend::AutodiffBackend>(self, device: &B::Device) -> Result<Self::Out>;
}

/// Runs a job on the chosen device.
///
/// # Errors
/// `Unsupported` when this build lacks the backend, otherwise the job's own.
pub fn train_on<J: TrainJob>(choice: TrainDevice, job: J) -> Result<J::Out> {
    use burn_autodiff::Autodiff;
    match choice {
        TrainDevice::Cpu => job.run::<Autodiff<Cpu>>(&Default::default()),
        #[cfg(feature = "libtorch")]
        TrainDevice::Libtorch => job.run::<Autodiff<LibTorch>>(&Default::default()),
        #[cfg(not(feature = "libtorch"))]
        TrainDevice::Libtorch => Err(missing("libtorch")),
        #[cfg(feature = "train-gpu")]
        TrainDevice::Gpu => job.run::<Autodiff<Gpu>>(&Default::default()),
        #[cfg(not(feature = "train-gpu"))]
        TrainDevice::Gpu => Err(missing("train-gpu")),
        #[cfg(feature = "cuda")]
        TrainDevice::Cuda => job.run::<Autodiff<Cuda>>(&Default::default()),
        #[cfg(not(feature = "cuda"))]
        TrainDevice::Cuda => Err(missing("cuda")),
    }
}

#[cfg(any(not(feature = "train-gpu"), not(feature = "cuda"), not(feature = "libtorch")))]
fn missing(feature: &str) -> Error {
    let message = format!("this build has no such backend; expected one built with `--features {feature}`");
    Error::new(ErrorKind::Unsupported, message)
}
