//! Where the faces are. A small trait, so that the finder can be replaced; first implemented by SeetaFace (`rustface`),
//! whose model file `build.rs` takes from the dependency.

use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::photo::Rgb8;
use crate::report::Bounds;

/// A face that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundFace {
    /// Its box, in pixels of the photo; may reach over the border.
    pub bounds: Bounds,
    /// How sure the finder is; comparable only within one finder.
    pub score: f32,
}

/// Finds faces in a photo.
pub trait FaceFinder {
    /// All faces, largest first.
    fn find(&mut self, photo: &Rgb8) -> Vec<FoundFace>;
}

/// SeetaFace's funnel-structured cascade, for frontal faces.
pub struct SeetaFinder {
    detector: Box<dyn rustface::Detector>,
}

/// SeetaFace's model, from the source of the `rustface` crate (BSD 2-Clause).
const MODEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/seeta_fd_frontal_v1.0.bin"));

/// Photos are brought down to this longer side before the search: it takes time per pixel, and a face that is smaller
/// than the cascade's window then is too small to be judged.
const SEARCH_PX: usize = 960;

impl SeetaFinder {
    /// Reads the built-in model.
    ///
    /// # Errors
    /// `Internal` when the built-in model cannot be read.
    pub fn new() -> Result<Self> {
        let model = rustface::read_model(MODEL)
            .map_err(|error| Error::caused(ErrorKind::Internal, "expected a readable built-in face model", error))?;
        let mut detector = rustface::create_detector_with_model(model);
        detector.set_score_thresh(2.0);
        detector.set_pyramid_scale_factor(0.8);
        detector.set_slide_window_step(4, 4);
        Ok(SeetaFinder { detector })
    }
}

impl FaceFinder for SeetaFinder {
    fn find(&mut self, photo: &Rgb8) -> Vec<FoundFace> {
        let longer = photo.height.max(photo.width);
        let scale = (SEARCH_PX as f64 / longer as f64).min(1.0);
        let shrink = |length: usize| ((length as f64 * scale).round() as usize).max(1);
        let Ok(small) = input::resize(photo, shrink(photo.height), shrink(photo.width)) else {
            return Vec::new();
        };
        if small.height.min(small.width) < 40 {
            return Vec::new();
        }
        let luma = small.luma();
        let found = self.detector.detect(&rustface::ImageData::new(&luma, small.width as u32, small.height as u32));
        let back = |length: f64| (length / scale) as f32;
        let mut faces: Vec<FoundFace> = found
            .iter()
            .map(|face| FoundFace {
                bounds: Bounds {
                    x: back(face.bbox().x().into()),
                    y: back(face.bbox().y().into()),
                    width: back(face.bbox().width().into()),
                    height: back(face.bbox().height().into()),
                },
                score: face.score() as f32,
            })
            .collect();
        let area = |face: &FoundFace| face.bounds.width * face.bounds.height;
        faces.sort_by(|a, b| area(b).total_cmp(&area(a)));
        faces
    }
}
