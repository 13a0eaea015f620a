//! The network at work: unit crops in, logits and what a report needs out. Knows no photo, no model file and no report;
//! imports `error` alone.
//!
//! [`reference`](mod@reference) in plain f64 loops is the specification; the engines compute the same faster.

pub mod architecture;
pub mod cpu;
#[cfg(feature = "wgpu")]
pub mod gpu;
mod network;
pub mod plan;
pub mod reference;
pub mod self_check;

use crate::error::{Error, ErrorKind, Result};
pub use network::{Block, Conv, Linear, Network, Trunk, Values};

/// Crops of one size, 0..1, planar: `[n, 3, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Units {
    /// How many crops.
    pub n: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The values, `[n, 3, height, width]`.
    pub values: Vec<f32>,
}

impl Units {
    /// Checks that the fields agree with each other.
    ///
    /// # Errors
    /// [`ErrorKind::BadUsage`] for a side of 0 and for too few or too many values.
    pub fn validate(&self) -> Result<()> {
        let Units { n, height, width, ref values } = *self;
        if height == 0 || width == 0 || values.len() != n * 3 * height * width {
            let message =
                format!("expected crops [{n}, 3, {height}, {width}] with pixels, found {} values", values.len());
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        Ok(())
    }

    /// The planes of one crop, `[3, height, width]`.
    pub fn crop(&self, index: usize) -> &[f32] {
        let length = 3 * self.height * self.width;
        &self.values[index * length..(index + 1) * length]
    }
}

/// What the engine says of one crop.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// Logits of the classifier on the fused feature, `[classes]`.
    pub fused: Vec<f32>,
    /// Logits of the picture stream's own head.
    pub spatial: Vec<f32>,
    /// Logits of the residual stream's own head.
    pub residual: Vec<f32>,
    /// The classifier's logits for a face that looked everywhere like one place, for each place, rows from the top:
    /// `[places_height * places_width, classes]`. Their mean over the places is [`Outputs::fused`].
    pub places: Vec<f32>,
    /// Rows of places.
    pub places_height: usize,
    /// Columns of places.
    pub places_width: usize,
    /// Means of the 64 maps after the first stage, then their standard deviations: of the picture stream, then of the
    /// residual stream; `[EARLY_FEATURES]`.
    pub early: Vec<f32>,
}

/// A network on a device.
#[derive(Debug)]
pub enum Engine {
    /// On the processor.
    Cpu(Box<cpu::Engine>),
    /// On a GPU through WebGPU.
    #[cfg(feature = "wgpu")]
    Gpu(Box<gpu::Engine>),
}

impl Engine {
    /// On the processor, with the best kernels that it has.
    pub fn cpu(network: Network) -> Engine {
        Engine::Cpu(Box::new(cpu::Engine::new(network)))
    }

    /// On a GPU.
    ///
    /// # Errors
    /// [`ErrorKind::GpuLost`] for a device that fails or cannot run the network.
    #[cfg(feature = "wgpu")]
    pub async fn gpu(network: &Network, device: gpu::Device) -> Result<Engine> {
        Ok(Engine::Gpu(Box::new(gpu::Engine::new(network, device).await?)))
    }

    /// The same on the fastest GPU; a software adapter only if `software` is set.
    #[cfg(feature = "wgpu")]
    async fn on_gpu(network: &Network, software: bool) -> Result<Engine> {
        Engine::gpu(network, gpu::Device::open(software).await?).await
    }

    /// This build has none.
    #[cfg(not(feature = "wgpu"))]
    async fn on_gpu(_network: &Network, _software: bool) -> Result<Engine> {
        let message = "this build has no such engine; expected one built with `--features wgpu`";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        match self {
            Engine::Cpu(_) if cfg!(target_family = "wasm") => "cpu-wasm",
            Engine::Cpu(_) => "cpu",
            #[cfg(feature = "wgpu")]
            Engine::Gpu(engine) => engine.name(),
        }
    }

    /// What the network says of each crop.
    ///
    /// # Errors
    /// [`ErrorKind::BadUsage`] for crops that contradict themselves, [`ErrorKind::GpuLost`] for a GPU that fails and
    /// [`ErrorKind::Unsupported`] for crops that are too large for it.
    pub async fn run(&self, crops: &Units) -> Result<Vec<Outputs>> {
        crops.validate()?;
        match self {
            Engine::Cpu(engine) => Ok(engine.run(crops)),
            #[cfg(feature = "wgpu")]
            Engine::Gpu(engine) => engine.run(crops).await,
        }
    }

    /// The guided residual |I - q|, 0..1, of pictures of any size: `[n, 3, height, width]`.
    ///
    /// # Errors
    /// [`ErrorKind::BadUsage`] for pictures that contradict themselves, [`ErrorKind::GpuLost`] for a GPU that fails.
    pub async fn residual(&self, picture: &Units) -> Result<Vec<f32>> {
        picture.validate()?;
        match self {
            Engine::Cpu(engine) => Ok(engine.residual(picture)),
            #[cfg(feature = "wgpu")]
            Engine::Gpu(engine) => engine.residual(picture).await,
        }
    }
}
