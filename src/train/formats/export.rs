//! From a trained network to a model file at any precision, with the known answers that `detect` checks itself against;
//! and to ONNX.

use burn::tensor::backend::Backend;

use super::onnx::{ResidualPlace, write_onnx};
use crate::detector::known_picture;
use crate::model::{ModelFile, ModelMeta, Precision};
use crate::train::backend::Cpu;
use crate::train::nn::mte;
use crate::train::nn::parameters::{blended, write_model};
use crate::train::nn::{GrNet, input};
use crate::{Error, ErrorKind, Result};

/// Writes a model file; the known logits are those of the stored (rounded) weights.
///
/// # Errors
/// `BadWeights` when the metadata is out of range.
pub fn finish_model<B: Backend>(network: &GrNet<B>, meta: &ModelMeta, precision: Precision) -> Result<Vec<u8>> {
    let rounded = write_model(network, meta, precision)?;
    let meta = ModelMeta { known_logits: known_logits(&ModelFile::parse(&rounded)?)?, ..meta.clone() };
    write_model(network, &meta, precision)
}

/// The classifier's logits on the picture of the self-check by burn: what engines are held to must not come from one.
///
/// # Errors
/// As [`ModelFile::module`].
pub fn known_logits(file: &ModelFile) -> Result<Vec<f32>> {
    let device = Default::default();
    let unit = input::batch_unit::<Cpu>(&[known_picture(file.meta.input_px)], &device);
    let residual = mte::residual(unit.clone(), &file.meta.mte);
    let network = file.module::<Cpu>(&device)?;
    let logits = network.forward(&file.meta.network, input::normalise(unit), residual).fused;
    Ok(logits.into_data().convert::<f32>().into_vec::<f32>().expect("converted to f32"))
}

/// The same model at another precision; exporting down from f32 is what is meant.
///
/// # Errors
/// `BadWeights` when `model` is no model file.
pub fn convert(model: &[u8], precision: Precision, change: impl FnOnce(&mut ModelMeta)) -> Result<Vec<u8>> {
    let file = ModelFile::parse(model)?;
    let network = file.module::<Cpu>(&Default::default())?;
    let mut meta = file.meta.clone();
    change(&mut meta);
    finish_model(&network, &meta, precision)
}

/// The mean of two models' weights, as a file in f32 with the first one's metadata; `share` is the weight of the second. Models
/// that come from one another often do better so than either (model soups, Wortsman et al. 2022), once the statistics of
/// their normalisation are settled anew: those of the file are merely the mean, too.
///
/// # Errors
/// `BadWeights` when one is no model file or their networks differ, `BadUsage` when `share` is not in 0..=1.
pub fn mixed(first: &[u8], second: &[u8], share: f64) -> Result<Vec<u8>> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::new(ErrorKind::BadUsage, format!("expected a share in 0..=1, found {share}")));
    }
    let (first, second) = (ModelFile::parse(first)?, ModelFile::parse(second)?);
    let network = first.module::<Cpu>(&Default::default())?;
    let other = second.fill(first.meta.network.init::<Cpu>(&Default::default()))?;
    let mut meta = first.meta.clone();
    meta.network.w_spatial = meta.network.w_spatial * (1.0 - share) + second.meta.network.w_spatial * share;
    finish_model(&blended(network, &other, 1.0 - share), &meta, Precision::F32)
}

/// A model file as ONNX.
///
/// # Errors
/// `BadWeights` when `model` is no model file.
pub fn to_onnx(model: &[u8], place: ResidualPlace) -> Result<Vec<u8>> {
    let file = ModelFile::parse(model)?;
    write_onnx(file.module::<Cpu>(&Default::default())?, &file.meta, place)
}

/// The precision of that name.
///
/// # Errors
/// `BadUsage`, listing the names.
pub fn precision_named(name: &str) -> Result<Precision> {
    match name {
        "f32" => Ok(Precision::F32),
        "f16" => Ok(Precision::F16),
        "int8" => Ok(Precision::Int8),
        other => Err(Error::new(ErrorKind::BadUsage, format!("expected f32, f16 or int8, found {other}"))),
    }
}
