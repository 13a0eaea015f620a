//! Manipulation trace extractor (MTE): the guided residual |I - q|, q the self-guided filter of He et al. (paper, eq. 1-8;
//! specs: baselines 3.5).
//!
//! Three implementations held together by tests: [`reference`](mod@reference) in f64 is the specification, [`tensor`]
//! runs on any backend and in training, `kernel` binds the hand-written WGSL on WebGPU. All cost O(1) per pixel in the
//! radius. The window is clipped at the border and divided by its true pixel count.

#[cfg(feature = "wgpu")]
pub mod kernel;
pub mod reference;
pub mod tensor;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What guides a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuideMode {
    /// Each channel guides itself, with its scalar variance (the paper's formulas).
    #[serde(rename = "self")]
    PerChannel,
    /// All three channels guide each one, with their 3x3 covariance (He et al., section 3.4).
    Colour,
}

/// The guided filter's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuidedFilterConfig {
    /// Window radius: the window is (2 r + 1) x (2 r + 1) pixels.
    pub radius_px: usize,
    /// Regulariser in squared intensity on the 0..1 scale.
    pub eps: f64,
    /// What guides a channel.
    pub mode: GuideMode,
}

impl Default for GuidedFilterConfig {
    fn default() -> Self {
        GuidedFilterConfig { radius_px: 2, eps: 0.01, mode: GuideMode::PerChannel }
    }
}

impl GuidedFilterConfig {
    /// Checks the ranges that every implementation relies on.
    ///
    /// # Errors
    /// [`ErrorKind::BadUsage`] for a radius outside 1..=1024 or an eps that is not positive and finite.
    pub fn validate(&self) -> Result<()> {
        if !(1..=1024).contains(&self.radius_px) {
            let message = format!("expected a filter radius of 1 to 1024 px, found {}", self.radius_px);
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            let message = format!("expected a filter eps above 0 (squared 0..1 intensity), found {}", self.eps);
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        Ok(())
    }
}

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
