//! The network on a GPU, as WebGPU compute shaders: the same natively and in the browser. Crops go up, one submission runs
//! the guided residual, both trunks, the attention and the classifiers, and one buffer comes back.

mod device;
mod passes;
mod pipelines;
pub mod shaders;
mod weights;

use std::sync::{Mutex, PoisonError};

use super::architecture::GuidedFilterConfig;
use super::plan::Plan;
use super::{Block, Conv, Network, Outputs, Trunk, Units, cpu};
use crate::error::Result;
pub use device::Device;
use passes::{Layout, Parts, Passes, residual_bytes};
use pipelines::Pipelines;
use weights::Weights;

/// Crops of one submission at most: a photo with its faces and their variants.
const BATCH: usize = 16;
/// Sizes whose buffers are kept.
const KEPT: usize = 2;

/// A network on a GPU.
#[derive(Debug)]
pub struct Engine {
    device: Device,
    name: String,
    pipelines: Pipelines,
    weights: Weights,
    mte: GuidedFilterConfig,
    gain: f32,
    /// For the shapes of its layers alone.
    trunk: Trunk,
    /// Made for the sizes seen last, the newest at the end; what is in use is not here.
    passes: Mutex<Vec<Passes>>,
}

impl Engine {
    /// Compiles the shaders and puts the weights onto the device.
    ///
    /// # Errors
    /// [`crate::ErrorKind::GpuLost`] for a device that fails, refuses a shader or lacks memory: it is there, but of no use.
    pub async fn new(network: &Network, device: Device) -> Result<Engine> {
        let pipelines = Pipelines::new(&device, network.mte.mode).await?;
        let weights = Weights::new(&device, network, pipelines.conv_f16.is_some()).await?;
        Ok(Engine {
            name: format!("webgpu ({})", device.name()),
            device,
            pipelines,
            weights,
            mte: network.mte.clone(),
            gain: network.config.residual_gain as f32,
            trunk: shapes(&network.spatial),
            passes: Mutex::default(),
        })
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the convolutions' weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.layers.iter().map(|layer| layer.weights.size()).sum()
    }

    /// What the network says of each crop.
    ///
    /// # Errors
    /// [`crate::ErrorKind::GpuLost`] if the GPU fails or does not answer, [`crate::ErrorKind::Unsupported`] for crops that
    /// are too large for it.
    pub async fn run(&self, crops: &Units) -> Result<Vec<Outputs>> {
        let plan = Plan::new(&self.trunk, crops.height, crops.width);
        let parts =
            Parts { pipelines: &self.pipelines, weights: &self.weights, mte: &self.mte, gain: self.gain, plan: &plan };
        let of_one = parts.largest_buffer([1, crops.height, crops.width]).max(1);
        let batch = BATCH.min((self.device.max_buffer() / of_one) as usize).max(1);
        let layout = parts.layout();
        let mut outputs = Vec::with_capacity(crops.n);
        for values in crops.values.chunks(batch * 3 * crops.height * crops.width) {
            let size = [values.len() / (3 * crops.height * crops.width), crops.height, crops.width];
            let passes = match self.kept(size) {
                Some(passes) => passes,
                None => Passes::network(&self.device, &parts, size).await?,
            };
            let values = self.answer(&passes, values).await?;
            self.keep(passes);
            outputs.extend(values.chunks(layout.stride()).map(|values| output(&layout, values)));
        }
        Ok(outputs)
    }

    /// The guided residual |I - q| of each picture; on the processor where a picture exceeds the device's buffers.
    ///
    /// # Errors
    /// [`crate::ErrorKind::GpuLost`] if the GPU fails or does not answer.
    pub async fn residual(&self, pictures: &Units) -> Result<Vec<f32>> {
        let size = [1, pictures.height, pictures.width];
        if residual_bytes(&self.mte, size) > self.device.max_buffer() {
            return Ok(cpu::guided_residual(&self.mte, pictures));
        }
        let passes = Passes::residual(&self.device, &self.pipelines, &self.mte, size).await?;
        let mut residual = Vec::with_capacity(pictures.values.len());
        for index in 0..pictures.n {
            let pixels = self.answer(&passes, pictures.crop(index)).await?;
            residual.extend((0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(4)));
        }
        Ok(residual)
    }

    async fn answer(&self, passes: &Passes, values: &[f32]) -> Result<Vec<f32>> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.device.write(&passes.picture, &bytes);
        self.device.answer(&passes.staging, |encoder| passes.encode(encoder)).await
    }

    /// Takes the passes of a size, so that nobody else runs them meanwhile.
    fn kept(&self, size: [usize; 3]) -> Option<Passes> {
        let mut kept = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().position(|passes| passes.size == size).map(|index| kept.remove(index))
    }

    fn keep(&self, passes: Passes) {
        let mut kept = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(passes);
        if kept.len() > KEPT {
            kept.remove(0);
        }
    }
}

/// A trunk without its numbers.
fn shapes(trunk: &Trunk) -> Trunk {
    let conv = |conv: &Conv| Conv { weight: Vec::new().into(), bias: Vec::new(), ..*conv };
    let block = |Block { first, second, skip }: &Block| Block {
        first: conv(first),
        second: conv(second),
        skip: skip.as_ref().map(conv),
    };
    Trunk { stem: conv(&trunk.stem), blocks: trunk.blocks.iter().map(block).collect() }
}

fn output(layout: &Layout, values: &[f32]) -> Outputs {
    let classes = layout.classes;
    let logits = |row: usize| values[row * classes..][..classes].to_vec();
    Outputs {
        fused: logits(0),
        spatial: logits(1),
        residual: logits(2),
        places: values[layout.places_start()..layout.early_start()].to_vec(),
        places_height: layout.places[0],
        places_width: layout.places[1],
        early: values[layout.early_start()..].to_vec(),
    }
}
