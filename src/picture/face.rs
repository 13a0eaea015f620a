//! Where the faces are. A small trait, so that the finder can be replaced; first implemented by SeetaFace (`rustface`),
//! whose model file `build.rs` takes from the dependency.

use crate::error::{Error, ErrorKind, Result};
use crate::picture::Rgb8;
use crate::picture::crop;
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

/// Photos are brought down to this longer side before the search, whose time grows with the pixels. The cascade's
/// window is 40 px, so in a photo of 4000 px faces from 125 px on are found.
const SEARCH_PX: usize = 1280;

/// When nothing is found, the photo is searched once more at this longer side, continued by its mirror image on all
/// sides: the cascade needs some surroundings, which tight crops (profile pictures) lack. A face that fills the photo
/// is found at a small size as well; 240 found more of them than 200, 320 or more.
const TIGHT_PX: usize = 240;
/// Width of the mirrored border, in shorter sides of the photo.
const TIGHT_BORDER: f64 = 0.25;

/// SeetaFace's score (a sum over merged windows) from which a box counts as a face.
const MIN_SCORE: f64 = 2.0;
/// Of two boxes of which one covers more than this part of the smaller, only that with the higher score is kept: the
/// cascade likes to see a second, small face in the mouth of a large one.
const MAX_COVERED: f32 = 0.4;

impl SeetaFinder {
    /// Reads the built-in model.
    ///
    /// # Errors
    /// `Internal` when the built-in model cannot be read.
    pub fn new() -> Result<Self> {
        let model = rustface::read_model(MODEL)
            .map_err(|error| Error::caused(ErrorKind::Internal, "expected a readable built-in face model", error))?;
        let mut detector = rustface::create_detector_with_model(model);
        detector.set_score_thresh(MIN_SCORE);
        detector.set_pyramid_scale_factor(0.8);
        detector.set_slide_window_step(4, 4);
        Ok(SeetaFinder { detector })
    }

    /// Searches the photo at `longer_px` at most, with a mirrored border of `border` shorter sides.
    fn search(&mut self, photo: &Rgb8, longer_px: usize, border: f64) -> Vec<FoundFace> {
        let scale = (longer_px as f64 / photo.height.max(photo.width) as f64).min(1.0);
        let shrink = |length: usize| ((length as f64 * scale).round() as usize).max(1);
        let Ok(small) = crop::resize(photo, shrink(photo.height), shrink(photo.width)) else {
            // Only a picture without pixels cannot be resized; there is no face on it.
            return Vec::new();
        };
        let border_px = (small.height.min(small.width) as f64 * border) as usize;
        let (height, width, luma) = mirrored_luma(&small, border_px);
        // The cascade's window; on anything smaller `rustface` reads out of bounds.
        if height.min(width) < 40 {
            return Vec::new();
        }
        let found = self.detector.detect(&rustface::ImageData::new(&luma, width as u32, height as u32));
        let back = |length: f64| (length / scale) as f32;
        let faces = found.iter().map(|face| {
            let (x, y, side) = (face.bbox().x(), face.bbox().y(), f64::from(face.bbox().width()));
            let bounds = Bounds {
                x: back(f64::from(x) - border_px as f64),
                y: back(f64::from(y) - border_px as f64),
                width: back(side),
                height: back(side),
            };
            FoundFace { bounds, score: face.score() as f32 }
        });
        // Mirror images of a face lie in the border.
        faces.filter(|face| centre_inside(photo, &face.bounds)).collect()
    }
}

impl FaceFinder for SeetaFinder {
    fn find(&mut self, photo: &Rgb8) -> Vec<FoundFace> {
        let mut faces = self.search(photo, SEARCH_PX, 0.0);
        if faces.is_empty() {
            faces = self.search(photo, TIGHT_PX, TIGHT_BORDER);
        }
        let mut faces = without_duplicates(faces);
        faces.sort_by(|a, b| area(&b.bounds).total_cmp(&area(&a.bounds)));
        faces
    }
}

/// Brightness of the photo with `border_px` of its mirror image on all sides: height, width, values.
fn mirrored_luma(photo: &Rgb8, border_px: usize) -> (usize, usize, Vec<u8>) {
    let luma = photo.luma();
    if border_px == 0 {
        return (photo.height, photo.width, luma);
    }
    let rows = crop::mirrored_indices(-(border_px as i64), photo.height + 2 * border_px, photo.height);
    let columns = crop::mirrored_indices(-(border_px as i64), photo.width + 2 * border_px, photo.width);
    let luma = &luma;
    let values = rows.iter().flat_map(|y| columns.iter().map(move |x| luma[y * photo.width + x])).collect();
    (rows.len(), columns.len(), values)
}

fn centre_inside(photo: &Rgb8, bounds: &Bounds) -> bool {
    let (x, y) = (bounds.x + bounds.width / 2.0, bounds.y + bounds.height / 2.0);
    (0.0..photo.width as f32).contains(&x) && (0.0..photo.height as f32).contains(&y)
}

fn area(bounds: &Bounds) -> f32 {
    bounds.width * bounds.height
}

/// Keeps the surest of faces that cover each other.
fn without_duplicates(mut faces: Vec<FoundFace>) -> Vec<FoundFace> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<FoundFace> = Vec::new();
    for face in faces {
        if !kept.iter().any(|other| covered(&face.bounds, &other.bounds) > MAX_COVERED) {
            kept.push(face);
        }
    }
    kept
}

/// The part of the smaller box that both share, 0..1.
fn covered(a: &Bounds, b: &Bounds) -> f32 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    width.max(0.0) * height.max(0.0) / area(a).min(area(b)).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32, side: f32, score: f32) -> FoundFace {
        FoundFace { bounds: Bounds { x, y, width: side, height: side }, score }
    }

    #[test]
    fn a_box_inside_a_surer_one_is_dropped() {
        let (large, mouth, neighbour) =
            (face(0.0, 0.0, 100.0, 30.0), face(30.0, 60.0, 40.0, 3.0), face(90.0, 0.0, 100.0, 5.0));
        assert_eq!(without_duplicates(vec![mouth, large, neighbour]), [large, neighbour]);
    }

    #[test]
    fn the_surer_of_two_is_kept_though_it_is_smaller() {
        let (large, small) = (face(0.0, 0.0, 100.0, 3.0), face(20.0, 20.0, 70.0, 30.0));
        assert_eq!(without_duplicates(vec![large, small]), [small]);
    }

    #[test]
    fn the_mirrored_border_finds_a_face_that_the_crop_cuts() {
        let bytes = include_bytes!("../../tests/pictures/astronaut.jpg");
        let portrait = crate::picture::decode(bytes, &Default::default()).expect("the portrait decodes").pixels;
        // From the eyebrows to the chin: the whole face takes 96 px.
        let cut = Bounds { x: 175.0, y: 73.0, width: 84.0, height: 84.0 };
        let tight = crop::crop_square(&portrait, &cut, 1.0);
        let mut finder = SeetaFinder::new().expect("the built-in model");
        assert_eq!(finder.search(&tight, SEARCH_PX, 0.0), []);
        let faces = finder.find(&tight);
        assert_eq!(faces.len(), 1, "{faces:?}");
        assert!(centre_inside(&tight, &faces[0].bounds) && faces[0].bounds.width > 84.0, "{faces:?}");
    }

    #[test]
    fn the_mirrored_border_continues_the_photo() {
        let photo = Rgb8 { height: 2, width: 3, data: (0..18).map(|i| (i / 3 * 40) as u8).collect() };
        let (height, width, values) = mirrored_luma(&photo, 1);
        assert_eq!((height, width), (4, 5));
        assert_eq!(values[..5], [160, 120, 160, 200, 160], "the second row stands above the first");
        assert_eq!(values[5..10], [40, 0, 40, 80, 40]);
    }
}
