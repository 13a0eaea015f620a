//! The network's numbers as the shaders read them, put onto the device once.

use super::device::{Device, filled};
use super::shaders::TILE_STEP;
use crate::error::{ErrorKind, Result};
use crate::infer::architecture::{AttentionForm, FEATURES, Fusion};
use crate::infer::{Conv, Linear, Network, Values, plan};

/// A convolution of both streams.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[stream][k][channel_out]`
    pub weights: wgpu::Buffer,
    /// Whether they are half numbers.
    pub f16: bool,
    /// `[stream][unit, bias][channel_out]`
    pub affine: wgpu::Buffer,
    /// How the kernel is walked over.
    pub taps: Taps,
    /// Pixels between two outputs.
    pub stride: u32,
}

/// How a kernel is walked over: runs of quads, one after the other in the maps that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taps {
    /// Rows of runs.
    pub height: u32,
    /// Runs in a row.
    pub width: u32,
    /// Rows of zeros above.
    pub pad_y: u32,
    /// Columns of zeros to the left that are not in memory.
    pub pad_x: u32,
    /// Quads of a run, a multiple of [`TILE_STEP`].
    pub quads: u32,
}

impl Taps {
    fn of(conv: &Conv) -> Taps {
        let (kernel, channel_quads) = (conv.kernel as u32, (conv.channels_in / 4) as u32);
        if conv.channels_in < 4 {
            return Taps { height: kernel, width: 1, pad_y: kernel / 2, pad_x: 0, quads: row_quads(conv) };
        }
        Taps { height: kernel, width: kernel, pad_y: kernel / 2, pad_x: kernel / 2, quads: channel_quads }
    }
}

/// Quads that the stem reads of a row for one pixel: each holds the channels of one pixel.
fn row_quads(stem: &Conv) -> u32 {
    (stem.kernel as u32).next_multiple_of(TILE_STEP)
}

/// Pixels of zeros to the left and to the right of what the stem reads, so that every run lies in memory.
fn stem_margins(stem: &Conv) -> [usize; 2] {
    let left = stem.kernel / 2;
    [left, row_quads(stem) as usize - 1 - left]
}

/// How AFM attends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    /// What E is multiplied by.
    pub sign: f32,
    /// What M X is multiplied by, of both streams.
    pub scale: [f32; 2],
    /// What X is multiplied by.
    pub keep: f32,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Weights {
    /// In the order of [`plan::layers`].
    pub layers: Vec<Layer>,
    /// Absent for the plain fusions.
    pub attention: Option<Attention>,
    /// `[matrix][class][channel / 4]`: fused for both streams, spatial, residual.
    pub heads: wgpu::Buffer,
    /// `[fused, spatial, residual][class]`
    pub heads_bias: wgpu::Buffer,
    /// Which stream counts in a channel; see `heads.wgsl`.
    pub choice: u32,
    /// How many classes.
    pub classes: u32,
    /// Pixels of zeros to the left and to the right of what the stem reads.
    pub margins: [usize; 2],
}

impl Weights {
    /// Packs the network and puts it onto the device; `f16`: whether there are shaders for half numbers.
    ///
    /// # Errors
    /// [`ErrorKind::GpuLost`] where its memory does not suffice.
    pub async fn new(device: &Device, network: &Network, f16: bool) -> Result<Weights> {
        device
            .checked(ErrorKind::GpuLost, "the network's weights", |device, queue| upload(device, queue, network, f16))
            .await
    }
}

fn upload(device: &wgpu::Device, queue: &wgpu::Queue, network: &Network, f16: bool) -> Weights {
    let stored = |label: &str, bytes: Vec<u8>| filled(device, queue, label, wgpu::BufferUsages::STORAGE, &bytes);
    let buffer = |label: &str, values: &[f32]| stored(label, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    let layer = |(spatial, residual): (&Conv, &Conv)| {
        let [(spatial_weights, spatial_units), (residual_weights, residual_units)] = [spatial, residual].map(pack);
        let weights = [spatial_weights, residual_weights].concat();
        // Whole numbers of up to 127, exact as half numbers; others would be rounded.
        let f16 = f16 && [spatial, residual].iter().all(|conv| matches!(conv.weight, Values::Levels { .. }));
        Layer {
            weights: if f16 {
                stored("weights", weights.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect())
            } else {
                buffer("weights", &weights)
            },
            f16,
            affine: buffer(
                "units and bias",
                &[&spatial_units, &spatial.bias, &residual_units, &residual.bias].map(Vec::as_slice).concat(),
            ),
            taps: Taps::of(spatial),
            stride: spatial.stride as u32,
        }
    };
    let layers = plan::layers(&network.spatial).into_iter().zip(plan::layers(&network.residual)).map(layer).collect();
    let config = &network.config;
    let attention = (config.fusion == Fusion::Afm).then(|| Attention {
        sign: match config.attention {
            AttentionForm::Danet => -1.0,
            AttentionForm::Printed => 1.0,
        },
        scale: if config.attention_residual { [network.gamma_s, network.gamma_r] } else { [1.0, 1.0] },
        keep: if config.attention_residual { 1.0 } else { 0.0 },
    });
    let [for_spatial, for_residual] = fused(network);
    let biases = [&network.fc, &network.fc_s, &network.fc_r].map(|head| head.bias.as_slice());
    Weights {
        layers,
        attention,
        heads: buffer(
            "heads",
            &[&for_spatial, &for_residual, &network.fc_s.weight, &network.fc_r.weight].map(Vec::as_slice).concat(),
        ),
        heads_bias: buffer("bias of the heads", &biases.concat()),
        choice: match config.fusion {
            Fusion::Max => 1,
            Fusion::Min => 2,
            Fusion::Afm | Fusion::Sum | Fusion::Concat => 0,
        },
        classes: config.classes as u32,
        margins: stem_margins(&network.spatial.stem),
    }
}

/// The fused classifier's matrix for each stream, `[classes, FEATURES]`: AFM's stream weights are in them.
fn fused(network: &Network) -> [Vec<f32>; 2] {
    let Linear { weight, .. } = &network.fc;
    let scaled = |by: f64| weight.iter().map(|value| (f64::from(*value) * by) as f32).collect();
    let half = |second: usize| {
        weight.chunks(2 * FEATURES).flat_map(|row| row[second * FEATURES..][..FEATURES].to_vec()).collect()
    };
    match network.config.fusion {
        Fusion::Afm => [scaled(network.config.w_spatial), scaled(1.0 - network.config.w_spatial)],
        Fusion::Concat => [half(0), half(1)],
        Fusion::Sum | Fusion::Max | Fusion::Min => [weight.clone(), weight.clone()],
    }
}

/// `[k][channel_out]`, k as [`Taps`] walk, zeros beyond the kernel; and the unit of each channel.
///
/// # Panics
/// If the convolution reads neither less than four channels nor whole steps, or does not write whole quads; no trunk has one.
fn pack(conv: &Conv) -> (Vec<f32>, Vec<f32>) {
    let taps = Taps::of(conv);
    assert!(taps.quads.is_multiple_of(TILE_STEP) && conv.channels_out.is_multiple_of(4), "channels fill whole steps");
    let (kernel, run) = (conv.kernel, 4 * taps.quads as usize);
    let mut packed = vec![0.0; (taps.height * taps.width) as usize * run * conv.channels_out];
    let (numbers, units) = match &conv.weight {
        Values::Levels { levels, units } => (levels.iter().copied().map(f32::from).collect(), units.clone()),
        Values::Plain(values) => (values.clone(), vec![1.0; conv.channels_out]),
    };
    for (out, of_channel) in numbers.chunks(conv.channels_in * kernel * kernel).enumerate() {
        for (at, value) in of_channel.iter().enumerate() {
            let (channel, tap) = (at / (kernel * kernel), at % (kernel * kernel));
            let k = if taps.width == 1 && kernel != 1 {
                tap / kernel * run + 4 * (tap % kernel) + channel
            } else {
                tap * run + channel
            };
            packed[k * conv.channels_out + out] = *value;
        }
    }
    (packed, units)
}
