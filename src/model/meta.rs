//! What a model file says beside its tensors: everything that a verdict depends on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bad;
use super::familiarity::Gate;
use crate::error::Result;
use crate::infer::architecture::{EARLY_FEATURES, GrNetConfig, GuidedFilterConfig};
use crate::picture::crop::CROP_MARGIN;

/// Value of [`ModelMeta::format`].
pub const FORMAT: &str = "grnet.model/1";
/// Everything but the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMeta {
    /// Always [`FORMAT`].
    pub format: String,
    /// What the model is called, for people.
    pub name: String,
    /// Side of the square input in pixels, a multiple of 32.
    pub input_px: usize,
    /// Side of the crop, in sides of the face box.
    pub crop_margin: f32,
    /// The architecture, stream weights as trained included.
    pub network: GrNetConfig,
    /// The guided filter of the residual stream.
    pub mte: GuidedFilterConfig,
    /// Names of the classes; class 0 is "not manipulated".
    pub class_names: Vec<String>,
    /// Score -> probability, by quality.
    pub calibration: Vec<CalibrationBucket>,
    /// Where the bands begin.
    pub thresholds: Thresholds,
    /// How the bands fell on untouched faces, by quality; what was not counted is not in the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untouched: Vec<UntouchedOutcomes>,
    /// How many untouched faces are flagged, by face size, with a bound; what was not counted is not in the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub false_alarms: Vec<FalseAlarms>,
    /// What tells pictures that the model knows from others; absent: every picture counts as familiar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<Gate>,
    /// The classifier's logits on [`crate::detector::known_picture`], for the self-check at load.
    pub known_logits: Vec<f32>,
    /// How the model came about, for people: commit, data, steps, validation figures.
    pub training: BTreeMap<String, String>,
    /// Under which terms the weights may be used.
    pub licence: String,
}

/// How a raw score is turned into a probability for faces of one quality:
/// `p_fake = sigmoid(logit / temperature + bias)`. The first bucket that holds a face counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBucket {
    /// Longer side of the face box in pixels, from and to, both included.
    pub face_px: [u32; 2],
    /// Estimated JPEG quality, from and to, both included; files that are not JPEG count as 100.
    pub jpeg_quality: [u8; 2],
    /// Divides the logit.
    pub temperature: f64,
    /// Added to the logit.
    pub bias: f64,
    /// Whether faces of this quality can be judged at all; if not, they are `too_degraded`.
    pub judged: bool,
}

/// The promise about false alarms for faces of one size, counted on the validation split; sources weigh the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FalseAlarms {
    /// Longer side of the face box in pixels, from and to, both included.
    pub face_px: [u32; 2],
    /// Untouched pictures that were counted, each in several degradations.
    pub pictures: u32,
    /// Sources they come from.
    pub sources: u32,
    /// Share of them called `likely_fake`, 0..1.
    pub likely_fake: f64,
    /// At most this share of all such faces, if they are like those, is called so...
    pub at_most: f64,
    /// ...with this confidence, 0..1.
    pub confidence: f64,
}

/// How the bands fell on untouched faces of one quality, counted on the validation split; sources weigh the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UntouchedOutcomes {
    /// Longer side of the face box in pixels, from and to, both included.
    pub face_px: [u32; 2],
    /// Estimated JPEG quality, from and to, both included.
    pub jpeg_quality: [u8; 2],
    /// How many pictures were counted.
    pub faces: u32,
    /// Share of them called `likely_fake`, 0..1.
    pub likely_fake: f64,
    /// Share of them called `inconclusive`, 0..1.
    pub inconclusive: f64,
    /// Share of them called `no_signs_found`, 0..1.
    pub no_signs_found: f64,
}

/// Share of untouched validation faces of any family to which [`Thresholds::likely_fake`] is fitted, as a bound.
pub const LIKELY_FAKE_SHARE: f64 = 0.05;
/// The same for [`Thresholds::auto_scan`], of any source.
pub const AUTO_SCAN_SHARE: f64 = 0.01;

/// Band limits on the calibrated `p_fake`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// From here on `likely_fake`: at most 5 % of the untouched faces of any family in the validation split.
    pub likely_fake: f64,
    /// From here on flagged without being asked (extension): at most 1 % of the untouched faces of any source in it.
    pub auto_scan: f64,
    /// Below this `no_signs_found`; between the two `inconclusive`.
    pub no_signs: f64,
}

impl Default for ModelMeta {
    /// An untrained binary model, uncalibrated.
    fn default() -> Self {
        ModelMeta {
            format: FORMAT.to_string(),
            name: "untrained".to_string(),
            input_px: 128,
            crop_margin: CROP_MARGIN,
            network: GrNetConfig::default(),
            mte: GuidedFilterConfig::default(),
            class_names: vec!["unmanipulated".to_string(), "fake".to_string()],
            calibration: vec![CalibrationBucket {
                face_px: [0, u32::MAX],
                jpeg_quality: [0, 100],
                temperature: 1.0,
                bias: 0.0,
                judged: true,
            }],
            thresholds: Thresholds { likely_fake: 0.9, auto_scan: 0.97, no_signs: 0.5 },
            untouched: Vec::new(),
            false_alarms: Vec::new(),
            familiarity: None,
            known_logits: Vec::new(),
            training: BTreeMap::new(),
            licence: "CC-BY-NC-4.0".to_string(),
        }
    }
}

impl ModelMeta {
    /// Whether scores were fitted to measurements; an untrained or freshly trained model's were not.
    pub fn is_calibrated(&self) -> bool {
        self.calibration.iter().any(|bucket| bucket.temperature != 1.0 || bucket.bias != 0.0)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let check = |good: bool, what: &str, found: String| {
            if good { Ok(()) } else { Err(bad(format!("model metadata: expected {what}, found {found}"))) }
        };
        check(self.format == FORMAT, &format!("format {FORMAT}"), self.format.clone())?;
        let px = self.input_px;
        check(
            px.is_multiple_of(32) && (64..=512).contains(&px),
            "input_px as a multiple of 32 in 64..=512",
            px.to_string(),
        )?;
        let margin = self.crop_margin;
        check((1.0..=3.0).contains(&margin), "crop_margin in 1..=3", margin.to_string())?;
        let classes = self.network.classes;
        check((2..=64).contains(&classes), "2 to 64 classes", classes.to_string())?;
        if let Some(gate) = &self.familiarity {
            let expected = format!("a familiarity gate for {EARLY_FEATURES} features with a positive limit");
            check(gate.fits(EARLY_FEATURES), &expected, "another".into())?;
        }
        let names = self.class_names.len();
        check(names == classes, &format!("{classes} class names"), names.to_string())?;
        let w = self.network.w_spatial;
        check((0.0..=1.0).contains(&w), "w_spatial in 0..=1", w.to_string())?;
        let gain = self.network.residual_gain;
        check(gain.is_finite() && gain > 0.0, "residual_gain above 0", gain.to_string())?;
        self.mte.validate().map_err(|error| bad(format!("model metadata: {error}")))?;
        check(!self.calibration.is_empty(), "a calibration bucket", "none".to_string())?;
        for bucket in &self.calibration {
            let good = bucket.temperature.is_finite() && bucket.temperature > 0.0 && bucket.bias.is_finite();
            check(good, "a finite bias and a temperature above 0", format!("{bucket:?}"))?;
        }
        for outcomes in &self.untouched {
            let shares = [outcomes.likely_fake, outcomes.inconclusive, outcomes.no_signs_found];
            let good = shares.iter().all(|share| (0.0..=1.0).contains(share)) && shares.iter().sum::<f64>() < 1.001;
            check(good, "shares of untouched faces that add up to one", format!("{outcomes:?}"))?;
        }
        for alarms in &self.false_alarms {
            let shares = [alarms.likely_fake, alarms.at_most, alarms.confidence];
            let good = shares.iter().all(|share| (0.0..=1.0).contains(share)) && alarms.likely_fake <= alarms.at_most;
            check(good, "a share of false alarms and a bound above it", format!("{alarms:?}"))?;
        }
        let t = self.thresholds;
        let ordered = 0.0 <= t.no_signs && t.no_signs <= t.likely_fake && t.likely_fake <= t.auto_scan;
        check(ordered && t.auto_scan <= 1.0, "0 <= no_signs <= likely_fake <= auto_scan <= 1", format!("{t:?}"))
    }
}
