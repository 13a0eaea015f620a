//! Pixels -> the bytes of a picture file.

use super::Rgb8;
use crate::error::{Error, ErrorKind, Result};

/// The picture as a baseline JPEG.
///
/// # Errors
/// `Internal` when the encoder refuses, for example for a side over 65,535.
pub fn encode_jpeg(picture: &Rgb8, quality: u8, full_chroma: bool) -> Result<Vec<u8>> {
    let side = |side: usize| {
        u16::try_from(side).map_err(|e| Error::caused(ErrorKind::Internal, "expected a side JPEG can hold", e))
    };
    let (height, width) = (side(picture.height)?, side(picture.width)?);
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality.clamp(1, 100));
    encoder.set_sampling_factor(if full_chroma {
        jpeg_encoder::SamplingFactor::F_1_1
    } else {
        jpeg_encoder::SamplingFactor::F_2_2
    });
    encoder
        .encode(&picture.data, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| Error::caused(ErrorKind::Internal, "cannot encode as JPEG", e))?;
    Ok(bytes)
}
