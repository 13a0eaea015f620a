//! The bytes of a photo -> a [`Report`]: the only place where pictures, filter, network and calibration meet.
//!
//! Two halves, so that callers can overlap them: [`prepare`] decodes and finds faces on any thread, without tensors;
//! [`Detector::judge`] runs the network on the detector's device.

use std::borrow::Borrow;

use crate::clock::now_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::self_check::{self, Known, Opened, known_bytes};
pub use crate::infer::self_check::{DeviceChoice, SelfCheck, WhyNotGpu};
use crate::infer::{Engine, Network, Outputs, Units};
use crate::model::{
    AUTO_SCAN_SHARE, CalibrationBucket, LIKELY_FAKE_SHARE, ModelFile, ModelMeta, Thresholds, UntouchedOutcomes,
};
use crate::picture::crop::{self, MIN_FACE_PX};
use crate::picture::face::{FaceFinder, FoundFace};
use crate::picture::{self, Limits, Photo, Rgb8, planes, provenance, quality, stability};
use crate::report::heat_map::place_scores;
use crate::report::{
    Band, Bounds, Face, FileInfo, HeatMap, Meaning, ModelInfo, Quality, Reason, Report, SCHEMA, Settings, Timings,
    Votes,
};

/// Faces and changed copies of them judged in one pass: as many as a GPU takes in one submission.
const BATCH: usize = 16;

/// What [`prepare`] needs to know of a model.
#[derive(Debug, Clone)]
pub struct PrepareConfig {
    /// Side of the network's input in pixels.
    pub input_px: usize,
    /// Side of the crop, in sides of the face box.
    pub crop_margin: f32,
    /// Take the whole picture as the face, instead of looking for one: for data that is already cropped.
    pub whole: bool,
    /// Prepare the changed copies of each face by which [`Detector::judge`] checks whether its score is stable; the network
    /// then runs once for each of [`stability::CHANGES`] more.
    pub stability: bool,
    /// Keep each face at its own size, so that [`Detector::look_again`] can check the stability of a score that turned out to
    /// need it.
    pub keep_cuts: bool,
    /// Limits on the photo.
    pub limits: Limits,
}

impl PrepareConfig {
    /// For a network of this input: faces are looked for, nothing but the face itself is prepared, usual limits.
    pub fn new(input_px: usize, crop_margin: f32) -> Self {
        PrepareConfig {
            input_px,
            crop_margin,
            whole: false,
            stability: false,
            keep_cuts: false,
            limits: Limits::default(),
        }
    }
}

/// A photo on its way: everything that needs no tensors is done.
#[derive(Clone)]
pub struct Prepared {
    /// The report so far: file, faces and quality, nothing judged.
    pub report: Report,
    /// One crop per face at the network's size; absent for faces that are not assessed.
    pub crops: Vec<Option<Rgb8>>,
    /// For each face its crop after each of [`stability::CHANGES`]; empty where that was not asked for or failed.
    pub variants: Vec<Vec<Rgb8>>,
    /// For each face its cut-out at its own size; absent where that was not asked for and for faces that are not assessed.
    pub cuts: Vec<Option<Rgb8>>,
    /// Why the file could not be read, for the surfaces to say.
    pub failure: Option<String>,
}

/// Decodes a photo, finds its faces, assesses their quality and cuts them out. A file that cannot be decoded becomes a
/// report with the reason `unreadable`; of a damaged one those faces are judged that lie in the part that is there.
pub fn prepare(name: &str, bytes: &[u8], finder: &mut dyn FaceFinder, config: &PrepareConfig) -> Prepared {
    let started = now_ms();
    prepare_decoded(name, bytes, picture::decode_damaged(bytes, &config.limits), started, finder, config)
}

/// The same for a photo that was decoded elsewhere, or not; `started` is when that began, on the clock of
/// [`now_ms`].
pub fn prepare_decoded(
    name: &str,
    bytes: &[u8],
    photo: Result<Photo>,
    started: f64,
    finder: &mut dyn FaceFinder,
    config: &PrepareConfig,
) -> Prepared {
    let mut report = Report {
        schema: SCHEMA.to_string(),
        file: FileInfo {
            name: name.to_string(),
            size_bytes: bytes.len() as u64,
            sha256: crate::model::sha256_hex(bytes),
            ..FileInfo::default()
        },
        band: Band::NotAssessed,
        p_fake: None,
        reason: Some(Reason::NoFace),
        faces: Vec::new(),
        provenance: provenance::read(bytes),
        settings: Settings { whole: config.whole, stability: config.stability },
        model: ModelInfo::default(),
        backend: String::new(),
        timings_ms: Timings::default(),
        checked_at: None,
    };
    let photo = match photo {
        Ok(photo) => photo,
        Err(error) => {
            report.reason = Some(Reason::Unreadable);
            report.file.format = picture::foreign(bytes).map(|(format, _)| format.to_string());
            report.timings_ms.total_ms = now_ms() - started;
            let (crops, variants, cuts) = (Vec::new(), Vec::new(), Vec::new());
            return Prepared { report, crops, variants, cuts, failure: Some(error.full_message()) };
        }
    };
    let decoded = now_ms();
    report.file.format = Some(photo.format.to_string());
    report.file.height_px = photo.height_px;
    report.file.width_px = photo.width_px;
    report.file.present = photo.damage.map(|damage| damage.present);
    report.file.frame = photo.frame;
    report.file.shrunk_by = (photo.shrink > 1).then_some(photo.shrink as u32);
    report.file.notes = photo.notes.clone();

    let (mut crops, mut variants, mut cuts) = (Vec::new(), Vec::new(), Vec::new());
    for (bounds, found, crop) in faces_of(&photo.pixels, finder, config) {
        let quality = quality::assess(&crop, &bounds, photo.jpeg_quality);
        let small = quality.face_px < MIN_FACE_PX;
        let missing = photo.damage.is_some_and(|damage| !lies_in(&damage.part, &bounds, &photo.pixels, config));
        let input = || match &found {
            Some(face) => face.upright_input(&photo.pixels, config.crop_margin, config.input_px),
            None => crop::resize(&crop, config.input_px, config.input_px),
        };
        let resized = if small || missing { None } else { input().ok() };
        let changed = if config.stability && resized.is_some() {
            // What cannot be changed is not checked, and the report shows no check.
            stability::variants(&crop, config.input_px).unwrap_or_default()
        } else {
            Vec::new()
        };
        cuts.push((config.keep_cuts && resized.is_some()).then_some(crop));
        crops.push(resized);
        variants.push(changed);
        report.faces.push(Face {
            bounds: scaled(&bounds, photo.shrink),
            points: found.map(|face| face.points.map(|point| point.map(|value| value * photo.shrink as f32))),
            tilt_degrees: found.map(|face| face.tilt_degrees),
            turned_degrees: found.and_then(|face| face.turned_degrees()),
            quality,
            band: Band::NotAssessed,
            reason: Some(match (missing, small) {
                (true, _) => Reason::Damaged,
                (_, true) => Reason::TooSmall,
                _ => Reason::TooDegraded,
            }),
            p_fake: None,
            votes: None,
            classes: None,
            meaning: None,
            map: None,
            stability: None,
        });
    }
    let done = now_ms();
    report.timings_ms =
        Timings { decode_ms: decoded - started, faces_ms: done - decoded, network_ms: 0.0, total_ms: done - started };
    summarise(&mut report);
    Prepared { report, crops, variants, cuts, failure: None }
}

/// Boxes, what the finder says of them, and upright crops.
fn faces_of(
    photo: &Rgb8,
    finder: &mut dyn FaceFinder,
    config: &PrepareConfig,
) -> Vec<(Bounds, Option<FoundFace>, Rgb8)> {
    if config.whole {
        return vec![(crop::whole_bounds(photo), None, crop::whole_square(photo))];
    }
    let found = finder.find(photo);
    found.into_iter().map(|face| (face.bounds, Some(face), face.upright_crop(photo, config.crop_margin))).collect()
}

/// Whether all that is cut out for a face is there in a damaged picture.
fn lies_in(part: &Bounds, face: &Bounds, photo: &Rgb8, config: &PrepareConfig) -> bool {
    let side = if config.whole { face.width } else { face.width.max(face.height) * config.crop_margin };
    let inside = |start: f32, length: f32, part_start: f32, part_length: f32, picture: usize| {
        let centre = start + length / 2.0;
        // What reaches over the picture is filled in for every photo.
        let (from, to) = ((centre - side / 2.0).max(0.0), (centre + side / 2.0).min(picture as f32));
        from >= part_start && to <= part_start + part_length
    };
    inside(face.x, face.width, part.x, part.width, photo.width)
        && inside(face.y, face.height, part.y, part.height, photo.height)
}

/// A box of a picture read at a part of its size, in pixels of the file.
fn scaled(bounds: &Bounds, shrink: usize) -> Bounds {
    let [x, y, width, height] = [bounds.x, bounds.y, bounds.width, bounds.height].map(|value| value * shrink as f32);
    Bounds { x, y, width, height }
}

/// The photo's band is that of its worst face; the order of the bands from best to worst is fixed here.
/// A file that could not be read stays unreadable.
pub(crate) fn summarise(report: &mut Report) {
    if report.reason == Some(Reason::Unreadable) {
        return;
    }
    let severity = |band: Band| match band {
        Band::NotAssessed => 0,
        Band::NoSignsFound => 1,
        Band::Inconclusive => 2,
        Band::LikelyFake => 3,
    };
    report.band =
        report.faces.iter().map(|face| face.band).max_by_key(|band| severity(*band)).unwrap_or(Band::NotAssessed);
    report.p_fake = report.faces.iter().filter_map(|face| face.p_fake).reduce(f32::max);
    report.reason = match (report.band, report.faces.first()) {
        (Band::NotAssessed, Some(largest)) => largest.reason,
        // Where a part is missing, nobody knows what was there.
        (Band::NotAssessed, None) if report.file.present.is_some() => Some(Reason::Damaged),
        (Band::NotAssessed, None) => Some(Reason::NoFace),
        (Band::Inconclusive, _) => {
            // Of several faces that decide the photo's band, one that says something keeps the reason away.
            let deciding = || report.faces.iter().filter(|face| face.band == Band::Inconclusive);
            deciding().all(|face| face.reason.is_some()).then(|| deciding().find_map(|face| face.reason)).flatten()
        }
        _ => None,
    };
}

/// A model on a device.
#[derive(Debug)]
pub struct Detector {
    engine: Engine,
    meta: ModelMeta,
    id: String,
    checked: Option<SelfCheck>,
    why_not_gpu: Option<(WhyNotGpu, String)>,
}

impl Detector {
    /// Loads a model file onto the chosen device, and checks that this one computes rightly.
    ///
    /// # Errors
    /// `BadWeights` for an invalid model, otherwise as [`self_check::open`].
    pub async fn open(choice: DeviceChoice, model: &[u8]) -> Result<Self> {
        Self::of(choice, ModelFile::parse(model)?).await
    }

    /// The same for a parsed file.
    ///
    /// # Errors
    /// As [`Detector::open`].
    pub async fn of(choice: DeviceChoice, file: ModelFile) -> Result<Self> {
        let (network, meta, id) = file.into_network()?;
        let Opened { engine, check, why_not_gpu } = self_check::open(network, choice, known(&meta)).await?;
        Ok(Detector { engine, meta, id, checked: Some(check), why_not_gpu })
    }

    /// Loads a model file onto the CPU, unchecked.
    ///
    /// # Errors
    /// `BadWeights` when the file is not a valid model.
    pub fn on_cpu(model: &[u8]) -> Result<Self> {
        Self::on(ModelFile::parse(model)?, |network| Ok(Engine::cpu(network)))
    }

    /// Loads a parsed file onto the engine that is made for it, unchecked.
    ///
    /// # Errors
    /// `BadWeights` when the file is not a valid model; that of `engine`.
    pub fn on(file: ModelFile, engine: impl FnOnce(Network) -> Result<Engine>) -> Result<Self> {
        let (network, meta, id) = file.into_network()?;
        Ok(Detector { engine: engine(network)?, meta, id, checked: None, why_not_gpu: None })
    }

    /// What [`prepare`] needs to know of this model.
    pub fn prepare_config(&self) -> PrepareConfig {
        PrepareConfig::new(self.meta.input_px, self.meta.crop_margin)
    }

    /// The model's metadata.
    pub fn meta(&self) -> &ModelMeta {
        &self.meta
    }

    /// The name that reports carry for what computed them.
    pub fn backend(&self) -> &str {
        self.engine.name()
    }

    /// Whether a GPU computes.
    pub fn is_on_gpu(&self) -> bool {
        !matches!(self.engine, Engine::Cpu(_))
    }

    /// What the check at [`Detector::open`] found.
    pub fn checked(&self) -> Option<&SelfCheck> {
        self.checked.as_ref()
    }

    /// Why the CPU computes although a GPU was wanted, and in words what that one did.
    pub fn why_not_gpu(&self) -> Option<(WhyNotGpu, &str)> {
        self.why_not_gpu.as_ref().map(|(why, message)| (*why, message.as_str()))
    }

    /// Which model this is.
    pub fn model_info(&self) -> ModelInfo {
        ModelInfo { id: self.id.clone(), name: self.meta.name.clone(), input_px: self.meta.input_px as u32 }
    }

    /// Judges the faces of a prepared photo.
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn judge(&self, prepared: &Prepared) -> Result<Report> {
        let started = now_ms();
        let mut report = prepared.report.clone();
        report.model = self.model_info();
        report.backend = self.backend().to_string();
        let judged: Vec<(usize, &Rgb8)> = prepared
            .crops
            .iter()
            .enumerate()
            .filter_map(|(index, crop)| crop.as_ref().map(|crop| (index, crop)))
            .filter(|(index, _)| self.bucket(&report.faces[*index].quality).is_some_and(|bucket| bucket.judged))
            .collect();
        let variants = judged.iter().flat_map(|(index, _)| prepared.variants[*index].iter().map(|crop| (*index, crop)));
        let pictures: Vec<(usize, &Rgb8)> = judged.iter().copied().chain(variants).collect();
        let mut raw = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(BATCH) {
            let crops: Vec<&Rgb8> = batch.iter().map(|(_, crop)| *crop).collect();
            raw.extend(self.score(&crops).await?);
        }
        let changed = raw.split_off(judged.len());
        let changed: Vec<(usize, RawScore)> =
            pictures[judged.len()..].iter().map(|(index, _)| *index).zip(changed).collect();
        for ((index, _), raw) in judged.iter().zip(raw) {
            let own = changed.iter().filter(|(face, _)| face == index).map(|(_, raw)| raw.p_fake());
            self.fill(&mut report.faces[*index], raw, &own.collect::<Vec<f32>>());
        }
        summarise(&mut report);
        report.timings_ms.network_ms = now_ms() - started;
        report.timings_ms.total_ms += report.timings_ms.network_ms;
        Ok(report)
    }

    /// What gentle changes do to the faces of a photo whose `report` was made without them: the same as if they had been asked
    /// for at once, without decoding, finding faces or judging a second time. `prepared` must have kept its cuts.
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn look_again(&self, prepared: &Prepared, report: &Report) -> Result<Report> {
        let started = now_ms();
        let mut report = report.clone();
        report.settings.stability = true;
        for (face, cut) in report.faces.iter_mut().zip(&prepared.cuts) {
            let (Some(p_fake), Some(cut), Some(bucket)) = (face.p_fake, cut, self.bucket(&face.quality)) else {
                continue;
            };
            // What cannot be changed is not checked, and the report shows no check.
            let Ok(changed) = stability::variants(cut, self.meta.input_px) else { continue };
            let scores: Vec<f32> = self.score(&changed).await?.iter().map(RawScore::p_fake).collect();
            self.hold(face, band_of(p_fake, self.meta.thresholds), &scores, bucket);
        }
        summarise(&mut report);
        let took_ms = now_ms() - started;
        report.timings_ms.network_ms += took_ms;
        report.timings_ms.total_ms += took_ms;
        Ok(report)
    }

    /// Uncalibrated scores of crops that are already at the network's size.
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer, or answers with what is no number; `BadWeights` where the CPU does: the
    /// network's own numbers then leave those that there are.
    pub async fn score<P: Borrow<Rgb8>>(&self, crops: &[P]) -> Result<Vec<RawScore>> {
        let outputs = self.engine.run(&units(crops)).await?;
        let scores: Vec<RawScore> = outputs.into_iter().map(RawScore::from).collect();
        if scores.iter().all(RawScore::is_finite) {
            return Ok(scores);
        }
        let kind = if self.is_on_gpu() { ErrorKind::GpuLost } else { ErrorKind::BadWeights };
        Err(Error::new(kind, format!("expected scores that are numbers, found others ({})", self.backend())))
    }

    /// Writes what was found of a face; `changed` are its raw scores after each of [`stability::CHANGES`], or none.
    fn fill(&self, face: &mut Face, raw: RawScore, changed: &[f32]) {
        let Some(bucket) = self.bucket(&face.quality) else { return };
        let p_fake = calibrate(raw.p_fake(), bucket);
        let familiar = self.meta.familiarity.as_ref().is_none_or(|gate| gate.familiar(&raw.features));
        let values = raw.map.values.iter().map(|p| calibrate(*p, bucket)).collect();
        face.band = band_of(p_fake, self.meta.thresholds);
        face.reason = None;
        face.p_fake = Some(p_fake);
        face.votes = Some(raw.votes);
        face.classes = Some(raw.classes);
        face.map = Some(HeatMap { values, ..raw.map });
        face.meaning = meaning(&self.meta, &face.quality, p_fake);
        if !changed.is_empty() {
            self.hold(face, face.band, changed, bucket);
        }
        // Last: whatever the score does, it says nothing of a picture such as this.
        if !familiar {
            face.band = Band::Inconclusive;
            face.reason = Some(Reason::Unfamiliar);
            face.meaning = None;
        }
    }

    /// Writes whether a face's `band` holds under gentle changes; `changed` are its raw scores after each of them.
    fn hold(&self, face: &mut Face, band: Band, changed: &[f32], bucket: &CalibrationBucket) {
        // The face's own calibration for all: one ruler, so that only the network's answers are compared.
        let scores: Vec<f32> = changed.iter().map(|p| calibrate(*p, bucket)).collect();
        let checked = stability::outcome(band, &scores, |p| band_of(p, self.meta.thresholds));
        // An unfamiliar picture stays one, whatever its score does.
        if checked.flipped && face.reason != Some(Reason::Unfamiliar) {
            face.band = Band::Inconclusive;
            face.reason = Some(Reason::Unstable);
            // Counted were bands without this check.
            face.meaning = None;
        }
        face.stability = Some(checked);
    }

    fn bucket(&self, quality: &Quality) -> Option<&CalibrationBucket> {
        find_bucket(&self.meta.calibration, quality)
    }

    /// The guided residual of a crop, amplified for the eye: `gain` times, clipped at white.
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn residual_picture(&self, crop: &Rgb8, gain: f32) -> Result<Rgb8> {
        let residual = self.engine.residual(&units(std::slice::from_ref(crop))).await?;
        Ok(amplified(&residual, crop.height, crop.width, gain))
    }

    /// Runs filter and network on a known picture and compares with known answers: a GPU can be silently wrong.
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer; a wrong answer is `ok: false`, no error.
    pub async fn self_check(&self) -> Result<SelfCheck> {
        self_check::check(&self.engine, known(&self.meta)).await
    }

    /// The classifier's logits on [`known_picture`].
    ///
    /// # Errors
    /// `GpuLost` when the device fails to answer.
    pub async fn known_logits(&self) -> Result<Vec<f32>> {
        self_check::known_logits(&self.engine, self.meta.input_px).await
    }
}

/// What a model file knows of its answers.
fn known(meta: &ModelMeta) -> Known<'_> {
    Known { mte: &meta.mte, side_px: meta.input_px, logits: &meta.known_logits }
}

/// Crops of one size, as the engine takes them.
fn units<P: Borrow<Rgb8>>(crops: &[P]) -> Units {
    let (height, width) = crops.first().map_or((0, 0), |crop| (crop.borrow().height, crop.borrow().width));
    Units { n: crops.len(), height, width, values: planes(crops) }
}

/// A residual `[3, height, width]` for the eye: `gain` times, white where it is above 1.
pub fn amplified(residual: &[f32], height: usize, width: usize, gain: f32) -> Rgb8 {
    let area = height * width;
    let value = |index: usize| residual[index % 3 * area + index / 3] * gain * 255.0;
    let data = (0..3 * area).map(|index| value(index).round().clamp(0.0, 255.0) as u8).collect();
    Rgb8 { height, width, data }
}

/// What the network says of one crop, before calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct RawScore {
    /// Probability of each class.
    pub classes: Vec<f32>,
    /// `p_fake` of each stream's head.
    pub votes: Votes,
    /// The classifier's `p_fake` for a face that looked everywhere like one place.
    pub map: HeatMap,
    /// What the familiarity gate looks at; see [`Outputs::early`].
    pub features: Vec<f32>,
}

impl RawScore {
    /// One minus the probability of class 0.
    pub fn p_fake(&self) -> f32 {
        1.0 - self.classes[0]
    }

    /// Whether all that a verdict is made of are numbers.
    fn is_finite(&self) -> bool {
        let votes = [self.votes.spatial, self.votes.residual];
        let all = self.classes.iter().chain(&votes).chain(&self.map.values).chain(&self.features);
        all.copied().all(f32::is_finite)
    }
}

impl From<Outputs> for RawScore {
    fn from(outputs: Outputs) -> Self {
        let p_fake = |logits: &[f32]| 1.0 - softmax(logits)[0];
        RawScore {
            classes: softmax(&outputs.fused),
            votes: Votes { spatial: p_fake(&outputs.spatial), residual: p_fake(&outputs.residual) },
            map: HeatMap {
                height: outputs.places_height as u32,
                width: outputs.places_width as u32,
                values: place_scores(&outputs.places, &outputs.fused),
            },
            features: outputs.early,
        }
    }
}

/// Logits -> probabilities.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// The bucket that a face of this quality falls into.
pub fn find_bucket<'a>(buckets: &'a [CalibrationBucket], quality: &Quality) -> Option<&'a CalibrationBucket> {
    buckets.iter().find(|bucket| holds(bucket.face_px, bucket.jpeg_quality, quality))
}

/// Whether a face of this quality lies in both ranges; files that are not JPEG count as 100.
fn holds(face_px: [u32; 2], jpeg_quality: [u8; 2], quality: &Quality) -> bool {
    (face_px[0]..=face_px[1]).contains(&quality.face_px)
        && (jpeg_quality[0]..=jpeg_quality[1]).contains(&quality.jpeg_quality.unwrap_or(100))
}

/// Raw `p_fake` -> calibrated `p_fake`: sigmoid(logit / temperature + bias).
pub fn calibrate(p_fake: f32, bucket: &CalibrationBucket) -> f32 {
    // f32 probabilities saturate; beyond 1e-7 there is nothing to tell apart.
    let p = f64::from(p_fake).clamp(1e-7, 1.0 - 1e-7);
    let logit = (p / (1.0 - p)).ln() / bucket.temperature + bucket.bias;
    (1.0 / (1.0 + (-logit).exp())) as f32
}

/// The band of a calibrated score.
pub fn band_of(p_fake: f32, thresholds: Thresholds) -> Band {
    let p_fake = f64::from(p_fake);
    if p_fake >= thresholds.likely_fake {
        Band::LikelyFake
    } else if p_fake < thresholds.no_signs {
        Band::NoSignsFound
    } else {
        Band::Inconclusive
    }
}

/// How often untouched faces get the band of this score: as counted for faces of this quality where the model file has a
/// count, else for `likely_fake` the bound to which its threshold was fitted, else nothing.
pub fn meaning(meta: &ModelMeta, quality: &Quality, p_fake: f32) -> Option<Meaning> {
    let like_this = |counted: &&UntouchedOutcomes| holds(counted.face_px, counted.jpeg_quality, quality);
    let band = band_of(p_fake, meta.thresholds);
    let per_1000 = |share: f64| (share * 1000.0).round() as u32;
    if let Some(counted) = meta.untouched.iter().find(like_this) {
        let share = match band {
            Band::LikelyFake => counted.likely_fake,
            Band::Inconclusive => counted.inconclusive,
            Band::NoSignsFound => counted.no_signs_found,
            Band::NotAssessed => return None,
        };
        return Some(Meaning { per_1000_untouched: per_1000(share), at_most: false });
    }
    if !meta.is_calibrated() || band != Band::LikelyFake {
        return None;
    }
    let share = if f64::from(p_fake) >= meta.thresholds.auto_scan { AUTO_SCAN_SHARE } else { LIKELY_FAKE_SHARE };
    Some(Meaning { per_1000_untouched: per_1000(share), at_most: true })
}

/// The picture of the self-check.
pub fn known_picture(side: usize) -> Rgb8 {
    Rgb8 { height: side, width: side, data: known_bytes(side) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(face_px: u32) -> Quality {
        Quality { face_px, jpeg_quality: None, sharpness: 0.0 }
    }

    /// A model whose calibration was fitted, with counts for faces of 100 px and more.
    fn fitted() -> ModelMeta {
        let mut meta = ModelMeta::default();
        meta.calibration[0].temperature = 2.0;
        meta.thresholds = Thresholds { no_signs: 0.2, likely_fake: 0.6, auto_scan: 0.9 };
        meta.untouched = vec![UntouchedOutcomes {
            face_px: [100, u32::MAX],
            jpeg_quality: [70, 100],
            faces: 500,
            likely_fake: 0.04,
            inconclusive: 0.36,
            no_signs_found: 0.6,
        }];
        meta
    }

    #[test]
    fn a_meaning_is_counted_where_it_was_counted() {
        let meta = fitted();
        let found = |p_fake| meaning(&meta, &quality(100), p_fake);
        let counted = |count| Some(Meaning { per_1000_untouched: count, at_most: false });
        assert_eq!([found(0.95), found(0.6), found(0.3), found(0.1)], [40, 40, 360, 600].map(counted));
    }

    #[test]
    fn elsewhere_it_is_the_bound_of_the_threshold_or_nothing() {
        let meta = fitted();
        let found = |p_fake| meaning(&meta, &quality(99), p_fake);
        let bound = |count| Some(Meaning { per_1000_untouched: count, at_most: true });
        assert_eq!([found(0.95), found(0.6), found(0.3), found(0.1)], [bound(10), bound(50), None, None]);
        // Thresholds that nothing was fitted to bound nothing.
        assert_eq!(meaning(&ModelMeta::default(), &quality(300), 0.99), None);
    }

    #[test]
    fn the_reason_of_the_photo_is_that_of_its_deciding_faces() {
        let bytes = include_bytes!("../tests/pictures/astronaut.jpg");
        let config = PrepareConfig { whole: true, ..PrepareConfig::new(64, 1.3) };
        let mut finder = crate::picture::face::Finder::new().expect("the built-in model");
        let mut report = prepare("a", bytes, &mut finder, &config).report;
        let face = |band, reason| Face { band, reason, ..report.faces[0].clone() };
        let unstable = face(Band::Inconclusive, Some(Reason::Unstable));
        let unsure = face(Band::Inconclusive, None);
        let flagged = face(Band::LikelyFake, None);
        for (faces, reason) in [
            (vec![unstable.clone(), face(Band::NoSignsFound, None)], Some(Reason::Unstable)),
            (vec![unstable.clone(), unsure], None),
            (vec![unstable, flagged], None),
        ] {
            report.faces = faces;
            summarise(&mut report);
            assert_eq!(report.reason, reason);
        }
    }
}
