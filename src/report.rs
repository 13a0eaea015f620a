//! The report: what grnet says about one photo. One JSON schema (`grnet.report/1`), written by serde from these types,
//! used unchanged by the command line, the page and the extension.

pub mod evidence;
pub mod heat_map;
pub mod words;

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
    /// Why nothing could be said: present when `band` is `not_assessed`, and `unstable` when the stability check turned
    /// it into `inconclusive`.
    pub reason: Option<Reason>,
    /// All faces found, largest first.
    pub faces: Vec<Face>,
    /// What the file says about its own origin; never part of a score.
    #[serde(default)]
    pub provenance: Provenance,
    /// How it was computed; with the model and the file everything that the scores depend on.
    #[serde(default)]
    pub settings: Settings,
    /// The model that judged.
    pub model: ModelInfo,
    /// What computed it, for example `cpu-flex` or `webgpu`.
    pub backend: String,
    /// Milliseconds spent, by stage.
    pub timings_ms: Timings,
    /// When, for a report that is kept: RFC 3339, UTC. The library knows no calendar; whoever keeps the report adds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
}

/// How a report was computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The picture was taken whole as a face crop, instead of looking for faces.
    pub whole: bool,
    /// Scores were checked under gentle changes of the picture.
    pub stability: bool,
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
    /// `jpeg`, `png`, `webp`, `gif` or `bmp`, `avif` where a browser decoded it; of an unreadable file what else it is, for example `heic`, where that is known.
    pub format: Option<String>,
    /// Height in pixels after EXIF orientation; 0 when unreadable.
    pub height_px: u32,
    /// Width in pixels after EXIF orientation; 0 when unreadable.
    pub width_px: u32,
    /// The share of the picture, 0..1, that is there and can be trusted; absent when it is whole. Faces that do not lie in that
    /// part wholly are not assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<f32>,
    /// Which frame of an animation was read; absent for a still picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameRead>,
    /// The sides of a very large picture were divided by this number when it was read; absent for nearly all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk_by: Option<u32>,
    /// What else a reader should know of how the file was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// A frame of an animation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRead {
    /// Its number, counted from 1.
    pub number: u32,
    /// How many frames there are.
    pub count: u32,
}

/// How a file was read, where that is not as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// All of the picture is there, but the mark that ends the file is not.
    NoEndMark,
    /// A checksum is wrong; the picture itself fits its own.
    WrongChecksum,
    /// Colours were brought from the file's colour profile to sRGB.
    ColourProfile,
    /// The file has a colour profile that was not read; its colours were taken for sRGB.
    UnreadProfile,
    /// The file asks to be turned, but browsers show files of this format as they are stored; so it was judged.
    NotTurned,
    /// A browser decoded the picture, in a way that may move scores a little.
    BrowserDecoded,
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

/// Why nothing can be said of a photo or a face.
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
    /// The file is damaged or cut off, and the face (or all of the picture) does not lie in the part that is there.
    Damaged,
    /// The band did not survive gentle changes of the picture, so that it became `inconclusive`.
    Unstable,
    /// The picture is too unlike the face photos that the model knows, so that its score became `inconclusive`.
    Unfamiliar,
}

/// One face and what was found in it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Face {
    /// The finder's box, in pixels of the upright photo.
    #[serde(rename = "box")]
    pub bounds: Bounds,
    /// Right eye, left eye, tip of the nose, right and left corner of the mouth, as seen from the person, in pixels of
    /// the upright photo; absent where nothing was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<[[f32; 2]; 5]>,
    /// By how many degrees clockwise the head is turned in the photo, -180..=180; absent where nothing was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tilt_degrees: Option<f32>,
    /// 90, 180 or 270 where the crop was turned back by that much, counterclockwise, before judging: crop and map show
    /// the face upright. Absent for faces that are upright.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_degrees: Option<u16>,
    /// What the pixels allow to be said.
    pub quality: Quality,
    /// The band of this face.
    pub band: Band,
    /// Present when `band` is `not_assessed`, and `unstable` or `unfamiliar` when the stability check or the
    /// familiarity gate turned it into `inconclusive`.
    pub reason: Option<Reason>,
    /// Calibrated probability that the face is generated or manipulated, 0..1; absent when not assessed.
    pub p_fake: Option<f32>,
    /// What each stream alone says; absent when not assessed.
    pub votes: Option<Votes>,
    /// Probability of each class of the model, in the model's order; absent when not assessed.
    pub classes: Option<Vec<f32>>,
    /// How often untouched photos get this result; absent where nothing that was measured supports a figure.
    #[serde(default)]
    pub meaning: Option<Meaning>,
    /// Which places of the crop speak for a fake; absent when not assessed.
    #[serde(default)]
    pub map: Option<HeatMap>,
    /// The score under gentle changes; absent when that was not asked for.
    #[serde(default)]
    pub stability: Option<Stability>,
}

/// What a band means, from measurements on photos nobody had touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// Of 1,000 untouched faces, so many get this band.
    pub per_1000_untouched: u32,
    /// Whether that is a bound, to which the model's threshold was fitted, and no count for faces of this quality.
    pub at_most: bool,
}

/// A coarse map over the square crop of a face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeatMap {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Row by row: the calibrated `p_fake` that a face would get which looked everywhere like this place.
    pub values: Vec<f32>,
}

/// The score of a face under gentle changes of the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    /// One score a change, calibrated like the face's own.
    pub scores: Vec<ChangedScore>,
    /// Whether a change led out of a band that says something; the band is `inconclusive` then.
    pub flipped: bool,
}

/// A change and the score after it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangedScore {
    /// What was done to the picture.
    pub change: Change,
    /// The calibrated score after it.
    pub p_fake: f32,
}

/// A gentle change of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Encoded once more as JPEG of quality 90.
    #[serde(rename = "jpeg_90")]
    Jpeg90,
    /// Encoded once more as JPEG of quality 75.
    #[serde(rename = "jpeg_75")]
    Jpeg75,
    /// Brought to 90 % of its size.
    #[serde(rename = "scale_90")]
    Scale90,
    /// Brought to 75 % of its size.
    #[serde(rename = "scale_75")]
    Scale75,
}

/// What a file says about its own origin. It can be forged and removed by anybody; that nothing is there says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// What was found, in the order of the file.
    pub marks: Vec<Mark>,
}

/// One thing that a file says about its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What kind of statement.
    pub kind: MarkKind,
    /// What it says: a code, a name of a program or camera.
    pub value: String,
    /// Where in the file it stands.
    pub place: String,
    /// The beginning of the text that it was read from, where there is one.
    pub detail: Option<String>,
}

/// Kinds of [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A C2PA manifest is there; its signature was not validated.
    C2pa,
    /// IPTC's digital source type, a code such as `trainedAlgorithmicMedia`.
    DigitalSourceType,
    /// The text of a known generator.
    Generator,
    /// Make of the camera.
    CameraMake,
    /// Model of the camera.
    CameraModel,
    /// The program that wrote the file.
    Software,
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
