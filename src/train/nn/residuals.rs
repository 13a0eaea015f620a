//! Residual front ends (Table II): what a picture is turned into before a network looks for traces in it. The guided
//! residual (MTE) is no part of this list, as it is computed before any network: see [`crate::train::nn::mte`] and [`Given`].
//!
//! Fixed filters are correlations with stride 1 and zero padding 2 on 0..255, their weights frozen.

pub mod amten;
pub mod constrained;
pub mod highpass;
pub mod srm;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};

use amten::Amten;
use constrained::ConstrainedConv;
use highpass::HighPass;
use srm::Srm;

/// What the weights of constrained convolutions are called: in MISLnet, and as a front end.
pub const CONSTRAINED: [&str; 2] = ["constr.weight", "front.conv.weight"];

/// Taps of a fixed filter; smaller filters stand in the middle.
pub type Taps = [[f32; 5]; 5];

/// A filter of up to 5x5 taps (odd sides) in the middle of 5x5, divided by `divisor`.
const fn centred<const R: usize, const C: usize>(rows: [[f32; C]; R], divisor: f32) -> Taps {
    let mut taps = [[0.0; 5]; 5];
    let mut r = 0;
    while r < R {
        let mut c = 0;
        while c < C {
            taps[(5 - R) / 2 + r][(5 - C) / 2 + c] = rows[r][c] / divisor;
            c += 1;
        }
        r += 1;
    }
    taps
}

/// The 5x5 filter called KV in steganalysis, divided by 12.
pub const KV: Taps = centred(
    [
        [-1.0, 2.0, -2.0, 2.0, -1.0],
        [2.0, -6.0, 8.0, -6.0, 2.0],
        [-2.0, 8.0, -12.0, 8.0, -2.0],
        [2.0, -6.0, 8.0, -6.0, 2.0],
        [-1.0, 2.0, -2.0, 2.0, -1.0],
    ],
    12.0,
);
/// The square 3x3 filter, divided by 4.
pub const SQUARE: Taps = centred([[-1.0, 2.0, -1.0], [2.0, -4.0, 2.0], [-1.0, 2.0, -1.0]], 4.0);
/// Horizontal second order, divided by 2.
pub const SECOND_ORDER: Taps = centred([[1.0, -2.0, 1.0]], 2.0);

/// A front end with whatever it learns.
#[allow(clippy::large_enum_variant, reason = "a network has one of these")]
#[derive(Module, Debug)]
pub enum FrontEnd<B: Backend> {
    /// A fixed high-pass filter on each channel.
    HighPass(HighPass),
    /// The SRM triplet.
    Srm(Srm),
    /// Constrained convolution.
    Constrained(ConstrainedConv<B>),
    /// AMTEN.
    Amten(Amten<B>),
    /// The input is a residual already.
    Given(Given),
}

/// Passes a residual on that was computed before.
#[derive(Module, Clone, Debug)]
pub struct Given;

impl<B: Backend> FrontEnd<B> {
    /// Channels of the residual.
    pub fn channels(&self) -> usize {
        match self {
            FrontEnd::Amten(_) => amten::CHANNELS,
            _ => 3,
        }
    }

    /// # Shapes
    /// `[n, 3, h, w]` on 0..255 -> `[n, channels, h, w]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            FrontEnd::HighPass(front) => front.forward(x),
            FrontEnd::Srm(front) => front.forward(x),
            FrontEnd::Constrained(front) => front.forward(x),
            FrontEnd::Amten(front) => front.forward(x),
            FrontEnd::Given(_) => x,
        }
    }

    /// Puts constrained kernels back on their constraint; to be called after every update.
    pub fn project(self) -> Self {
        match self {
            FrontEnd::Constrained(front) => FrontEnd::Constrained(front.project()),
            other => other,
        }
    }
}

/// Correlates every channel with every filter, zero padding 2: `[n, c, h, w] -> [n, c, filters, h, w]`.
fn filtered<B: Backend>(x: Tensor<B, 4>, filters: &[Taps]) -> Tensor<B, 5> {
    let [n, c, h, w] = x.dims();
    let taps: Vec<f32> = filters.iter().flatten().flatten().copied().collect();
    let weight = Tensor::from_data(TensorData::new(taps, [filters.len(), 1, 5, 5]), &x.device());
    let options = ConvOptions::new([1, 1], [2, 2], [1, 1], 1);
    conv2d(x.reshape([n * c, 1, h, w]), weight, None, options).reshape([n, c, filters.len(), h, w])
}
