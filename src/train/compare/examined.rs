//! The file of a compared system behind the same decoding, face finding and cropping as grnet's own, for `grnet eval`.

use super::system::{Competitor, SystemMeta, class_probabilities};
use crate::detector::{Detector, DeviceChoice, PrepareConfig, Prepared, band_of, summarise};
use crate::model::{ModelFile, ModelMeta, Thresholds, sha256_hex};
use crate::picture::crop::CROP_MARGIN;
use crate::report::{ModelInfo, Report};
use crate::train::backend::Cpu;
use crate::train::measure::examined::Examined;
use crate::{Error, ErrorKind, Result};

/// Faces that go through a compared system together.
const BATCH: usize = 16;

/// A system of the comparison on the CPU. Its scores are as the network gives them: no calibration, no familiarity, and the
/// thresholds of an uncalibrated model.
pub struct SystemDetector {
    competitor: Competitor<Cpu>,
    meta: SystemMeta,
    id: String,
}

impl SystemDetector {
    /// Loads the file of a compared system.
    ///
    /// # Errors
    /// As [`Competitor::from_bytes`].
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let (competitor, meta) = Competitor::from_bytes(bytes, &Default::default())?;
        Ok(SystemDetector { competitor, meta, id: sha256_hex(bytes) })
    }
}

impl Examined for SystemDetector {
    fn prepare_config(&self) -> PrepareConfig {
        PrepareConfig::new(self.meta.side_px, CROP_MARGIN)
    }

    fn report(&self, prepared: &Prepared) -> Result<Report> {
        let mut report = Report { model: self.model_info(), backend: "cpu".into(), ..prepared.report.clone() };
        let (faces, crops): (Vec<usize>, Vec<_>) =
            prepared.crops.iter().enumerate().filter_map(|(face, crop)| Some((face, crop.clone()?))).unzip();
        let rows = class_probabilities(&self.competitor, &crops, BATCH, &Default::default());
        for (index, row) in faces.into_iter().zip(rows) {
            let face = &mut report.faces[index];
            let p_fake = 1.0 - row[0];
            face.band = band_of(p_fake, self.thresholds());
            face.reason = None;
            face.p_fake = Some(p_fake);
            face.classes = Some(row);
        }
        summarise(&mut report);
        Ok(report)
    }

    fn model_info(&self) -> ModelInfo {
        ModelInfo { id: self.id.clone(), name: self.meta.system.clone(), input_px: self.meta.side_px as u32 }
    }

    fn thresholds(&self) -> Thresholds {
        ModelMeta::default().thresholds
    }
}

/// Opens either kind of file. Systems of the comparison are judged on the CPU whatever a GPU could do.
///
/// # Errors
/// `BadWeights` for a file of neither kind, `Unsupported` for a compared system on a GPU by name, otherwise as
/// [`Detector::open`].
pub fn open(choice: DeviceChoice, bytes: &[u8]) -> Result<Box<dyn Examined>> {
    if ModelFile::is_model(bytes) || !SystemMeta::is_in(bytes) {
        return Ok(Box::new(pollster::block_on(Detector::open(choice, bytes))?));
    }
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Box::new(SystemDetector::load(bytes)?)),
        other => {
            let message = format!("expected the device cpu for a system of the comparison, found {other:?}");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}
