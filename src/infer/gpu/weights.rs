//! The network's numbers as the shaders read them, put onto the device once.

use wgpu::util::DeviceExt;

use super::device::Device;
use super::shaders::TILE_STEP;
use crate::error::{ErrorKind, Result};
use crate::infer::architecture::{AttentionForm, FEATURES, Fusion};
use crate::infer::{Conv, Linear, Network, plan};

/// A convolution of both streams.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[stream][k][channel_out / 4]`
    pub weights: wgpu::Buffer,
    /// `[stream][channel_out / 4]`
    pub bias: wgpu::Buffer,
    /// Quads of k, up to a whole number of steps.
    pub k_quads: u32,
    /// Side of the kernel.
    pub kernel: u32,
    /// Pixels between two outputs.
    pub stride: u32,
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
}

impl Weights {
    /// Packs the network and puts it onto the device.
    ///
    /// # Errors
    /// [`ErrorKind::NoGpu`] where its memory does not suffice.
    pub async fn new(device: &Device, network: &Network) -> Result<Weights> {
        device.checked(ErrorKind::NoGpu, "the network's weights", |device| upload(device, network)).await
    }
}

fn upload(device: &wgpu::Device, network: &Network) -> Weights {
    let buffer = |label: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let usage = wgpu::BufferUsages::STORAGE;
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some(label), contents: &bytes, usage })
    };
    let layer = |(spatial, residual): (&Conv, &Conv)| Layer {
        weights: buffer("weights", &[pack(spatial), pack(residual)].concat()),
        bias: buffer("bias", &[spatial.bias.as_slice(), &residual.bias].concat()),
        k_quads: k_quads(spatial) as u32,
        kernel: spatial.kernel as u32,
        stride: spatial.stride as u32,
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

fn k_quads(conv: &Conv) -> usize {
    (conv.kernel * conv.kernel * conv.channels_in.div_ceil(4)).next_multiple_of(TILE_STEP as usize)
}

/// `[k][channel_out]`, k = (tap, channel_in), channels up to a whole quad and k up to a whole step with zeros.
fn pack(conv: &Conv) -> Vec<f32> {
    let taps = conv.kernel * conv.kernel;
    let padded = conv.channels_in.next_multiple_of(4);
    let mut packed = vec![0.0; 4 * k_quads(conv) * conv.channels_out];
    for (out, of_channel) in conv.weight.chunks(conv.channels_in * taps).enumerate() {
        for (channel, of_tap) in of_channel.chunks(taps).enumerate() {
            for (tap, value) in of_tap.iter().enumerate() {
                packed[(tap * padded + channel) * conv.channels_out + out] = *value;
            }
        }
    }
    packed
}
