//! The SRM triplet as in the released network of Zhou et al. 2018 (RGB-N): KV / 12, square / 4, second order / 2, each
//! summed over R, G and B: three channels in all, not nine, and no truncation.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{KV, SECOND_ORDER, SQUARE, Taps, filtered};

/// The three filters, in the released network's order.
pub const TRIPLET: [Taps; 3] = [KV, SQUARE, SECOND_ORDER];

/// The fixed triplet.
#[derive(Module, Clone, Debug)]
pub struct Srm;

impl Srm {
    /// # Shapes
    /// `[n, c, h, w] -> [n, 3, h, w]`, on any scale.
    pub fn forward<B: Backend>(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [n, _, h, w] = x.dims();
        filtered(x, &TRIPLET).sum_dim(1).reshape([n, 3, h, w])
    }
}
