//! What `grnet eval` examines: a model of grnet as `detect` runs it, or a system of the comparison
//! ([`crate::train::compare::examined`]).

use crate::Result;
use crate::detector::{Detector, PrepareConfig, Prepared};
use crate::model::Thresholds;
use crate::report::{ModelInfo, Report};

/// Judges prepared photos.
pub trait Examined {
    /// What preparing a photo needs to know.
    fn prepare_config(&self) -> PrepareConfig;
    /// Judges the faces of a prepared photo.
    ///
    /// # Errors
    /// `GpuLost` when a device fails to answer.
    fn report(&self, prepared: &Prepared) -> Result<Report>;
    /// Which model this is.
    fn model_info(&self) -> ModelInfo;
    /// Where its bands begin.
    fn thresholds(&self) -> Thresholds;
}

impl Examined for Detector {
    fn prepare_config(&self) -> PrepareConfig {
        Detector::prepare_config(self)
    }

    fn report(&self, prepared: &Prepared) -> Result<Report> {
        pollster::block_on(self.judge(prepared))
    }

    fn model_info(&self) -> ModelInfo {
        Detector::model_info(self)
    }

    fn thresholds(&self) -> Thresholds {
        self.meta().thresholds
    }
}
