//! The one seam between the generic code and what computes it: CPU, WebGPU, CUDA or LibTorch; native or wasm.

#[cfg(feature = "libtorch")]
mod libtorch;

use crate::detector::{Detector, PrepareConfig, Prepared, RawScore, SelfCheck};
use crate::error::Result;
#[cfg(any(not(feature = "wgpu"), not(feature = "cuda"), all(feature = "train", not(feature = "libtorch"))))]
use crate::error::{Error, ErrorKind};
use crate::mte::MteBackend;
use crate::photo::Rgb8;
use crate::report::{ModelInfo, Report};
use crate::weights::ModelMeta;

/// The CPU in plain Rust with SIMD; the fallback everywhere.
pub type Cpu = burn_flex::Flex;
impl MteBackend for Cpu {}

/// Any GPU through WebGPU (native: Vulkan, Metal, DX12).
#[cfg(feature = "wgpu")]
pub type Gpu = burn_wgpu::Wgpu<f32, i32, u32>;
#[cfg(feature = "wgpu")]
impl MteBackend for Gpu {
    fn guided_residual(
        unit: burn::tensor::Tensor<Self, 4>,
        config: &crate::mte::GuidedFilterConfig,
    ) -> burn::tensor::Tensor<Self, 4> {
        crate::mte::kernel::residual(unit, config)
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

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU when there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU through WebGPU, software adapters included.
    Gpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// A detector on whichever device was chosen at run time.
// A program has one of these: boxing the larger variants would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum AnyDetector {
    /// On the CPU; the browser's GPU build leaves that to the other build, being large enough.
    #[cfg(not(all(feature = "wgpu", target_family = "wasm")))]
    Cpu(Detector<Cpu>),
    /// On a GPU through WebGPU.
    #[cfg(feature = "wgpu")]
    Gpu(Detector<Gpu>),
    /// On an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(Detector<Cuda>),
}

macro_rules! on_detector {
    ($self:expr, $detector:ident => $body:expr) => {
        match $self {
            #[cfg(not(all(feature = "wgpu", target_family = "wasm")))]
            AnyDetector::Cpu($detector) => $body,
            #[cfg(feature = "wgpu")]
            AnyDetector::Gpu($detector) => $body,
            #[cfg(feature = "cuda")]
            AnyDetector::Cuda($detector) => $body,
        }
    };
}

impl AnyDetector {
    /// Loads a model file onto the chosen device.
    ///
    /// # Errors
    /// `BadWeights` for an invalid model, `NoGpu` when a GPU was asked for and none is there, `Unsupported` when this
    /// build lacks the backend.
    pub async fn open(choice: DeviceChoice, model: &[u8]) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Self::open_cpu(model),
            #[cfg(feature = "wgpu")]
            DeviceChoice::Auto if find_adapter(false).await.is_some() => Self::open_gpu(model, false).await,
            DeviceChoice::Auto => Self::open_cpu(model),
            #[cfg(feature = "wgpu")]
            DeviceChoice::Gpu => Self::open_gpu(model, true).await,
            #[cfg(not(feature = "wgpu"))]
            DeviceChoice::Gpu => Err(missing("wgpu")),
            #[cfg(feature = "cuda")]
            DeviceChoice::Cuda => Ok(AnyDetector::Cuda(Detector::load(model, Default::default(), "cuda")?)),
            #[cfg(not(feature = "cuda"))]
            DeviceChoice::Cuda => Err(missing("cuda")),
        }
    }

    #[cfg(not(all(feature = "wgpu", target_family = "wasm")))]
    fn open_cpu(model: &[u8]) -> Result<Self> {
        Ok(AnyDetector::Cpu(Detector::load(model, Default::default(), CPU_NAME)?))
    }

    #[cfg(all(feature = "wgpu", target_family = "wasm"))]
    fn open_cpu(_model: &[u8]) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "expected the CPU build, found the GPU build"))
    }

    #[cfg(feature = "wgpu")]
    async fn open_gpu(model: &[u8], software: bool) -> Result<Self> {
        use crate::error::{Error, ErrorKind};
        let Some(adapter) = find_adapter(software).await else {
            return Err(Error::new(ErrorKind::NoGpu, "expected a WebGPU adapter, found none"));
        };
        let device = open_device().await;
        Ok(AnyDetector::Gpu(Detector::load(model, device, &format!("webgpu ({adapter})"))?))
    }

    /// See [`Detector::judge`].
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn judge(&self, prepared: &Prepared) -> Result<Report> {
        on_detector!(self, detector => detector.judge(prepared).await)
    }

    /// See [`Detector::score`].
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn score(&self, crops: &[Rgb8]) -> Result<Vec<RawScore>> {
        on_detector!(self, detector => detector.score(crops).await)
    }

    /// See [`Detector::self_check`].
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn self_check(&self) -> Result<SelfCheck> {
        on_detector!(self, detector => detector.self_check().await)
    }

    /// See [`Detector::residual_picture`].
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn residual_picture(&self, crop: &Rgb8, gain: f32) -> Result<Rgb8> {
        on_detector!(self, detector => detector.residual_picture(crop, gain).await)
    }

    /// See [`Detector::prepare_config`].
    pub fn prepare_config(&self) -> PrepareConfig {
        on_detector!(self, detector => detector.prepare_config())
    }

    /// See [`Detector::meta`].
    pub fn meta(&self) -> &ModelMeta {
        on_detector!(self, detector => detector.meta())
    }

    /// See [`Detector::model_info`].
    pub fn model_info(&self) -> ModelInfo {
        on_detector!(self, detector => detector.model_info())
    }

    /// See [`Detector::backend`].
    pub fn backend(&self) -> &str {
        on_detector!(self, detector => detector.backend())
    }
}

/// [`crate::nn::resnet::ResNet18::forward_in`] as fast as the backend has it, for learning; the same values and gradients.
#[cfg(feature = "train")]
pub fn learning_trunk<B: burn::tensor::backend::Backend>(
    trunk: &crate::nn::resnet::ResNet18<B>,
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
#[cfg(feature = "train")]
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

/// What [`crate::nn::norm::BatchNorm::forward`] gives while it learns from the batch's statistics, the running ones moved,
/// where the backend has that in one piece; nothing elsewhere.
#[cfg_attr(not(feature = "libtorch"), allow(unused_variables, reason = "no other backend has it"))]
pub fn learning_norm<B: burn::tensor::backend::Backend>(
    norm: &crate::nn::norm::BatchNorm<B>,
    x: &burn::tensor::Tensor<B, 4>,
) -> Option<burn::tensor::Tensor<B, 4>> {
    #[cfg(feature = "libtorch")]
    return libtorch::norm(norm, x);
    #[cfg(not(feature = "libtorch"))]
    None
}

/// Where to train.
#[cfg(feature = "train")]
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
#[cfg(feature = "train")]
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
#[cfg(feature = "train")]
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

#[cfg(any(not(feature = "wgpu"), not(feature = "cuda"), all(feature = "train", not(feature = "libtorch"))))]
fn missing(feature: &str) -> Error {
    let message = format!("this build has no such backend; expected one built with `--features {feature}`");
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(not(target_family = "wasm"))]
const CPU_NAME: &str = "cpu";
#[cfg(all(target_family = "wasm", not(feature = "wgpu")))]
const CPU_NAME: &str = "cpu-wasm";

/// Milliseconds on a clock that never goes back.
#[cfg(not(target_family = "wasm"))]
pub fn now_ms() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
}

/// Milliseconds on a clock that never goes back.
#[cfg(target_family = "wasm")]
pub fn now_ms() -> f64 {
    use wasm_bindgen::JsCast;
    let scope = js_sys::global().unchecked_into::<web_sys::WorkerGlobalScope>();
    scope.performance().map_or(0.0, |performance| performance.now())
}

/// Name of the adapter that would be used; software adapters only when they are wanted.
#[cfg(all(feature = "wgpu", not(target_family = "wasm")))]
pub async fn find_adapter(software: bool) -> Option<String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let info = instance.request_adapter(&options).await.ok()?.get_info();
    (software || info.device_type != wgpu::DeviceType::Cpu).then_some(info.name)
}

/// The page has already asked the browser and refuses software adapters unless told otherwise.
#[cfg(all(feature = "wgpu", target_family = "wasm"))]
pub async fn find_adapter(_software: bool) -> Option<String> {
    Some("browser".to_string())
}

/// Sets up burn's default WebGPU device; natively it does so by itself.
#[cfg(all(feature = "wgpu", not(target_family = "wasm")))]
async fn open_device() -> burn_wgpu::WgpuDevice {
    burn_wgpu::WgpuDevice::default()
}

/// Sets up burn's default WebGPU device, once: a second model uses the same.
#[cfg(all(feature = "wgpu", target_family = "wasm"))]
async fn open_device() -> burn_wgpu::WgpuDevice {
    use std::sync::atomic::{AtomicBool, Ordering};
    static READY: AtomicBool = AtomicBool::new(false);
    let device = burn_wgpu::WgpuDevice::default();
    if !READY.swap(true, Ordering::Relaxed) {
        burn_wgpu::init_setup_async::<burn_wgpu::graphics::WebGpu>(&device, Default::default()).await;
    }
    device
}
