//! Manipulation trace extractor (MTE): the guided residual |I - q|, q the self-guided filter of He et al. (paper, eq. 1-8;
//! specs: baselines 3.5).
//!
//! Three implementations held together by tests: [`crate::infer::reference`] in f64 is the specification, [`tensor`]
//! runs on any backend and in training, `kernel` binds the hand-written WGSL on WebGPU. All cost O(1) per pixel in the
//! radius. The window is clipped at the border and divided by its true pixel count.

#[cfg(feature = "train-gpu")]
pub mod kernel;
pub mod tensor;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::infer::architecture::GuidedFilterConfig;

/// A backend that knows its fastest implementation of the guided residual.
pub trait MteBackend: Backend {
    /// |I - q| on the 0..1 scale, `[n, 3, h, w] -> [n, 3, h, w]`.
    fn guided_residual(unit: Tensor<Self, 4>, config: &GuidedFilterConfig) -> Tensor<Self, 4> {
        tensor::residual(unit, config)
    }
}

/// |I - q| by the backend's fastest implementation.
///
/// # Shapes
/// `unit`, on the 0..1 scale: `[n, 3, h, w] -> [n, 3, h, w]`.
pub fn residual<B: MteBackend>(unit: Tensor<B, 4>, config: &GuidedFilterConfig) -> Tensor<B, 4> {
    B::guided_residual(unit, config)
}
