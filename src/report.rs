//! The report: what grnet says about one photo. One JSON schema (`grnet.report/1`), written by serde from these types,
//! used unchanged by the command line, the page and the extension.

use serde::{Deserialize, Serialize};

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "grnet.report/1";

/// Everything that grnet says about one photo.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The file that was read.
    pub file: FileInfo,
    /// The band of the photo: that of its worst face; `not_assessed` when no face could be judged.
    pub band: Band,
    /// The highest `p_fake` over the judged faces; absent when none was judged.
    pub p_fake: Option<f32>,
    /// Why nothing could be said; present exactly when `band` is `not_assessed`.
    pub reason: Option<Reason>,
    /// All faces found, largest first.
    pub faces: Vec<Face>,
    /// The model that judged.
    pub model: ModelInfo,
    /// What computed it, for example `cpu-flex` or `webgpu`.
    pub backend: String,
    /// Milliseconds spent, by stage.
    pub timings_ms: Timings,
}

/// The file as it was read, not as it was shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct FileInfo {
    /// Path or file name as given by the caller.
    pub name: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the file's bytes, lower-case hexadecimal.
    pub sha256: String,
    /// `jpeg`, `png`, `webp`, `gif` or `bmp`; absent when unreadable.
    pub format: Option<String>,
    /// Height in pixels after EXIF orientation; 0 when unreadable.
    pub height_px: u32,
    /// Width in pixels after EXIF orientation; 0 when unreadable.
    pub width_px: u32,
}

/// The four answers, and no others. Finding no traces is no proof of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Traces of generation or manipulation, above the model's threshold.
    LikelyFake,
    /// The score supports no statement.
    Inconclusive,
    /// No traces found; this is not a proof.
    NoSignsFound,
    /// Nothing was judged; the reason says why.
    NotAssessed,
}

/// Why a photo or a face was not assessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No face was found.
    NoFace,
    /// The face has fewer pixels than the model can judge.
    TooSmall,
    /// Too blurred or too strongly compressed.
    TooDegraded,
    /// The file could not be decoded; [`Report`]s of such files carry no faces.
    Unreadable,
}

/// One face and what was found in it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Face {
    /// The finder's box, in pixels of the upright photo.
    #[serde(rename = "box")]
    pub bounds: Bounds,
    /// What the pixels allow to be said.
    pub quality: Quality,
    /// The band of this face.
    pub band: Band,
    /// Present exactly when `band` is `not_assessed`.
    pub reason: Option<Reason>,
    /// Calibrated probability that the face is generated or manipulated, 0..1; absent when not assessed.
    pub p_fake: Option<f32>,
    /// What each stream alone says; absent when not assessed.
    pub votes: Option<Votes>,
    /// Probability of each class of the model, in the model's order; absent when not assessed.
    pub classes: Option<Vec<f32>>,
}

/// A rectangle in pixels of the upright photo; may reach over its border.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub struct Bounds {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// What the pixels of a face allow to be said.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq)]
pub struct Quality {
    /// Longer side of the face box in pixels.
    pub face_px: u32,
    /// Estimated JPEG quality (1..=100) from the file's quantisation tables; absent for files that are not JPEG.
    pub jpeg_quality: Option<u8>,
    /// Sharpness: variance of the Laplacian of the grey face at the network's size, on the 0..255 scale.
    pub sharpness: f32,
}

/// `p_fake` of each stream's own head, uncalibrated.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub struct Votes {
    /// The stream that reads the picture.
    pub spatial: f32,
    /// The stream that reads the guided residual.
    pub residual: f32,
}

/// Which model file judged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct ModelInfo {
    /// SHA-256 of the model file, lower-case hexadecimal.
    pub id: String,
    /// Its name, as stored in its metadata.
    pub name: String,
    /// Side of the network's input in pixels.
    pub input_px: u32,
}

/// Milliseconds spent on one photo.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq)]
pub struct Timings {
    /// Decoding.
    pub decode_ms: f64,
    /// Finding faces.
    pub faces_ms: f64,
    /// Cropping, the residual and both streams, over all faces.
    pub network_ms: f64,
    /// Everything.
    pub total_ms: f64,
}
