//! Gentle changes that a photo goes through every day, to see whether a verdict survives them: re-encoding and rescaling
//! of a face's crop. A score that falls out of its band under these rests on nothing firm.

use crate::error::Result;
use crate::picture::crop;
use crate::picture::{self, Limits, Rgb8};
use crate::report::{Band, Change, ChangedScore, Stability};

/// Every change that is tried, in the order of the report.
pub const CHANGES: [Change; 4] = [Change::Jpeg90, Change::Jpeg75, Change::Scale90, Change::Scale75];

/// The crop at the network's size after each of [`CHANGES`], applied at the crop's own size.
///
/// # Errors
/// `Internal` when a codec refuses its own work, `BadImage` for a crop without pixels.
pub fn variants(crop: &Rgb8, input_px: usize) -> Result<Vec<Rgb8>> {
    let changed = CHANGES.iter().map(|change| match change {
        Change::Jpeg90 => recompressed(crop, 90),
        Change::Jpeg75 => recompressed(crop, 75),
        Change::Scale90 => rescaled(crop, 0.9),
        Change::Scale75 => rescaled(crop, 0.75),
    });
    changed.map(|picture| crop::resize(&picture?, input_px, input_px)).collect()
}

fn recompressed(crop: &Rgb8, quality: u8) -> Result<Rgb8> {
    // With halved colour, as cameras and sites write JPEG.
    let bytes = picture::encode_jpeg(crop, quality, false)?;
    Ok(picture::decode(&bytes, &Limits::default())?.pixels)
}

fn rescaled(crop: &Rgb8, factor: f64) -> Result<Rgb8> {
    let scaled = |side: usize| ((side as f64 * factor).round() as usize).max(1);
    crop::resize(crop, scaled(crop.height), scaled(crop.width))
}

/// The outcome for a face of band `band`: `scores` are the calibrated ones after each of [`CHANGES`], and `band_of` says
/// where a score lies. A band that says something is flipped by any change that leads out of it; `inconclusive` says
/// nothing that could be flipped.
pub fn outcome(band: Band, scores: &[f32], band_of: impl Fn(f32) -> Band) -> Stability {
    let firm = matches!(band, Band::LikelyFake | Band::NoSignsFound);
    Stability {
        flipped: firm && scores.iter().any(|p_fake| band_of(*p_fake) != band),
        scores: CHANGES.iter().zip(scores).map(|(&change, &p_fake)| ChangedScore { change, p_fake }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_changes_the_face_a_little() {
        let bytes = include_bytes!("../../tests/pictures/astronaut.jpg");
        let picture = picture::decode(bytes, &Limits::default()).expect("a picture").pixels;
        let crop = crop::whole_square(&picture);
        let plain = crop::resize(&crop, 128, 128).expect("a crop");
        let variants = variants(&crop, 128).expect("variants");
        assert_eq!(variants.len(), CHANGES.len());
        for (change, variant) in CHANGES.iter().zip(&variants) {
            assert_eq!((variant.height, variant.width), (128, 128));
            let differences = plain.data.iter().zip(&variant.data).map(|(a, b)| f64::from(a.abs_diff(*b)));
            let mean = differences.sum::<f64>() / plain.data.len() as f64;
            assert!((0.05..6.0).contains(&mean), "{change:?}: mean difference {mean} of 255");
        }
    }

    #[test]
    fn scales_are_shares_of_the_side() {
        let crop = Rgb8::new(100, 200, vec![90; 100 * 200 * 3]).expect("a picture");
        let sides = |factor| rescaled(&crop, factor).map(|small| (small.width, small.height)).expect("a crop");
        assert_eq!([sides(0.9), sides(0.75)], [(180, 90), (150, 75)]);
    }

    #[test]
    fn one_score_outside_flips_a_band_that_says_something() {
        let band_of = |p: f32| if p >= 0.6 { Band::LikelyFake } else { Band::Inconclusive };
        assert!(!outcome(Band::LikelyFake, &[0.7, 0.8, 0.9, 0.6], band_of).flipped);
        let flipped = outcome(Band::LikelyFake, &[0.7, 0.8, 0.59, 0.6], band_of);
        assert!(flipped.flipped);
        assert_eq!(flipped.scores[2], ChangedScore { change: Change::Scale90, p_fake: 0.59 });
        assert!(!outcome(Band::Inconclusive, &[0.7, 0.1, 0.59, 0.6], band_of).flipped);
    }
}
