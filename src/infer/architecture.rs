//! What a model file says of its network: the one home of the architecture's types and constants.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Channels of the last stage, and of the pooled feature.
pub const FEATURES: usize = 512;
/// Pixels of the input between two places of the last feature map.
pub const STRIDE: usize = 32;
/// Channels of the stem and of the first stage.
pub const EARLY_CHANNELS: usize = 64;
/// Numbers that the familiarity gate looks at: mean and standard deviation of the first stage's maps, of both streams.
pub const EARLY_FEATURES: usize = 4 * EARLY_CHANNELS;
/// Channels of the four stages; each has two blocks.
pub const STAGES: [usize; 4] = [EARLY_CHANNELS, 128, 256, FEATURES];
/// Mean of the ImageNet training pictures, R G B, 0..1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of the ImageNet training pictures, R G B, 0..1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// What batch normalisation adds to the variance (PyTorch's default).
pub const NORM_EPS: f64 = 1e-5;

/// Which softmax makes the attention from the energy E = X X^T (X: channels x pixels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionForm {
    /// softmax(rowmax(E) - E), as in DANet's released code: channels unlike each other attend to each other.
    Danet,
    /// softmax(E), as printed in the paper.
    Printed,
}

/// How the two streams become one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// w_s Y_s + w_r Y_r of the attended maps, then global average pooling.
    Afm,
    /// Element-wise sum of the pooled features.
    Sum,
    /// Element-wise maximum.
    Max,
    /// Element-wise minimum.
    Min,
    /// Both features side by side; the classifier is twice as wide.
    Concat,
}

/// The architecture, as stored in a model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrNetConfig {
    /// Number of classes, at least two; class 0 is "not manipulated".
    pub classes: usize,
    /// How the streams become one.
    pub fusion: Fusion,
    /// Which attention AFM uses.
    pub attention: AttentionForm,
    /// Whether AFM keeps the input: gamma M X + X with a learned scalar per stream, instead of M X.
    pub attention_residual: bool,
    /// Weight of the spatial stream in AFM; the residual stream has `1 - w_spatial`.
    pub w_spatial: f64,
    /// The residual is multiplied by this before its stream: a fixed scale near 1 / standard deviation.
    pub residual_gain: f64,
}

impl GrNetConfig {
    /// Numbers that the classifier reads.
    pub fn fused_features(&self) -> usize {
        if self.fusion == Fusion::Concat { 2 * FEATURES } else { FEATURES }
    }
}

impl Default for GrNetConfig {
    fn default() -> Self {
        GrNetConfig {
            classes: 2,
            fusion: Fusion::Afm,
            attention: AttentionForm::Danet,
            attention_residual: true,
            w_spatial: 0.5,
            residual_gain: 1.0,
        }
    }
}

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

/// The guided filter's settings. The window is clipped at the border and divided by its true pixel count.
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
