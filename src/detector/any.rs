//! A detector on whichever device was chosen at run time.

use super::{Detector, PrepareConfig, Prepared, RawScore, SelfCheck};
use crate::error::Result;
#[cfg(all(feature = "wgpu", target_family = "wasm"))]
use crate::error::{Error, ErrorKind};
use crate::model::ModelMeta;
use crate::picture::Rgb8;
use crate::report::{ModelInfo, Report};
use crate::train::backend::Cpu;
#[cfg(feature = "cuda")]
use crate::train::backend::Cuda;
#[cfg(feature = "wgpu")]
use crate::train::backend::Gpu;
#[cfg(any(not(feature = "wgpu"), not(feature = "cuda")))]
use crate::train::backend::missing;

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

#[cfg(not(target_family = "wasm"))]
const CPU_NAME: &str = "cpu";
#[cfg(all(target_family = "wasm", not(feature = "wgpu")))]
const CPU_NAME: &str = "cpu-wasm";

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
