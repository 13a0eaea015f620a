//! Where the faces are, and which way up. A small trait, so that the finder can be replaced; implemented by a network
//! of our own (`network`), whose weights lie in `weights/face.safetensors` and are part of the program.

mod network;

use crate::error::Result;
use crate::picture::Rgb8;
use crate::picture::crop;
use crate::report::Bounds;
use network::{CELL, Network, STRIDES};

/// A place in a photo, x and y in pixels from the upper left corner.
pub type Point = [f32; 2];

/// A face that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundFace {
    /// Its box, in pixels of the photo; may reach over the border. Height is the face's own height, from the middle of
    /// the forehead to the chin, where the face is upright; see [`FoundFace::quarter_turns`].
    pub bounds: Bounds,
    /// How sure the finder is, 0..1; comparable only within one finder.
    pub score: f32,
    /// Right eye, left eye, tip of the nose, right and left corner of the mouth, as seen from the person.
    pub points: [Point; 5],
    /// By how many quarter turns clockwise the face is turned in the photo, to the nearest: 0 to 3.
    pub quarter_turns: u8,
    /// By how many degrees clockwise it is turned, -180..=180.
    pub tilt_degrees: f32,
}

impl FoundFace {
    /// [`FoundFace::quarter_turns`] in degrees, where there are any.
    pub fn turned_degrees(&self) -> Option<u16> {
        (self.quarter_turns > 0).then_some(90 * u16::from(self.quarter_turns))
    }

    /// [`crop::crop_square`] of the face, turned back by [`FoundFace::quarter_turns`], so that the face stands upright.
    pub fn upright_crop(&self, photo: &Rgb8, margin: f32) -> Rgb8 {
        let square = crop::crop_square(photo, &self.bounds, margin);
        (0..self.quarter_turns).fold(square, |square, _| crop::turned_back(&square))
    }
}

/// Finds faces in a photo.
pub trait FaceFinder {
    /// All faces, largest first.
    fn find(&mut self, photo: &Rgb8) -> Vec<FoundFace>;
}

/// The built-in finder: a network of 74,000 numbers, over the photo at two sizes.
pub struct Finder {
    network: Network,
}

/// Made by `tools/train_face.py`, which says where the numbers come from.
const WEIGHTS: &[u8] = include_bytes!("../../weights/face.safetensors");

/// Photos with more pixels are brought down to this many before the search, whose time grows with them ...
const SEARCH_PIXELS: f64 = 1.3e6;
/// ... but not so far that a face that is large enough to be judged gets smaller than this ...
const SMALLEST_FACE_PX: f64 = 22.0;
/// ... and not to more pixels than this, which bounds the time for pictures of any size.
const MAX_SEARCH_PIXELS: f64 = 6e6;

/// The photo is searched once more with its longer side at this length, for faces that fill it, with a grey border:
/// tight crops (profile pictures) lack the surroundings that the network has learnt to see.
const COARSE_PX: f64 = 160.0;
const BORDER_PX: usize = 32;

/// Score from which a cell speaks for a face. The lower one is enough to take part in a mean.
const MIN_SCORE: f64 = 0.6;
const MIN_PART: f64 = 0.3;
/// Of two faces of which one covers the other this far, as intersection over union or as part of the smaller one, only
/// the surer is kept.
const SAME_FACE: f64 = 0.3;
const COVERED: f64 = 0.6;
/// Cells whose boxes overlap the surest one's this far, as intersection over union, share in the mean.
const SAME_BOX: f64 = 0.5;
/// At this width and above a face is placed as exactly as the network can; below, exactness falls with the width.
const SHARP_PX: f64 = 96.0;

/// Height of a face's box in widths, where the network was not sure how a box of a face at 45 degrees would stand upright.
const USUAL_HEIGHT: f64 = 1.28;

/// One cell's opinion, in pixels of the photo.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    score: f64,
    /// What it counts in a mean.
    weight: f64,
    /// Centre, width and height.
    place: [f64; 4],
    points: [[f64; 2]; 5],
}

impl Finder {
    /// Reads the built-in network.
    ///
    /// # Errors
    /// `BadWeights` when the built-in weights cannot be read.
    pub fn new() -> Result<Self> {
        Self::with_weights(WEIGHTS)
    }

    /// A finder with other weights, as `tools/train_face.py` writes them.
    ///
    /// # Errors
    /// `BadWeights` naming what is wrong with them.
    pub fn with_weights(bytes: &[u8]) -> Result<Self> {
        Ok(Finder { network: Network::read(bytes)? })
    }

    /// Cells of the photo at `scale` with a grey border that speak for a face.
    fn search(&self, photo: &Rgb8, scale: f64, border_px: usize) -> Vec<Candidate> {
        let shrink = |length: usize| ((length as f64 * scale).round() as usize).max(1);
        let Ok(small) = crop::resize(photo, shrink(photo.height), shrink(photo.width)) else {
            // Only a picture without pixels cannot be resized; there is no face on it.
            return Vec::new();
        };
        // Rounding stretches a little, differently in both directions.
        let back = [photo.width as f64 / small.width as f64, photo.height as f64 / small.height as f64];
        let maps = self.network.run(&bordered(&small, border_px));
        let mut found = Vec::new();
        for (map, stride) in maps.iter().zip(STRIDES) {
            for (cell, values) in map.values.chunks_exact(CELL).enumerate() {
                let values: [f64; CELL] = std::array::from_fn(|at| f64::from(values[at]));
                let score = (sigmoid(values[0]) * sigmoid(values[1])).sqrt();
                if score < MIN_PART {
                    continue;
                }
                let corner = [(cell % map.width * stride) as f64, (cell / map.width * stride) as f64];
                // The network counts in indices of pixels, whose centres lie half a pixel further.
                let place = |axis: usize, offset: f64| {
                    (corner[axis] + offset * stride as f64 + 0.5 - border_px as f64) * back[axis]
                };
                let [width, height] = [4, 5].map(|at| libm::exp(values[at]) * stride as f64);
                found.push(Candidate {
                    score,
                    weight: ((score - MIN_PART) * width.min(SHARP_PX)).powi(2),
                    place: [place(0, values[2]), place(1, values[3]), width * back[0], height * back[1]],
                    points: std::array::from_fn(|point| {
                        [place(0, values[6 + 2 * point]), place(1, values[7 + 2 * point])]
                    }),
                });
            }
        }
        found
    }
}

impl FaceFinder for Finder {
    fn find(&mut self, photo: &Rgb8) -> Vec<FoundFace> {
        let [height, width] = [photo.height as f64, photo.width as f64];
        let pixels = height * width;
        let needed = SMALLEST_FACE_PX / f64::from(crop::MIN_FACE_PX);
        let fine = (SEARCH_PIXELS / pixels).sqrt().max(needed).min((MAX_SEARCH_PIXELS / pixels).sqrt()).min(1.0);
        let coarse = (COARSE_PX / height.max(width)).min(1.0);
        let mut candidates = self.search(photo, fine, 0);
        candidates.extend(self.search(photo, coarse, BORDER_PX));
        let mut faces: Vec<FoundFace> = merge(candidates).iter().map(FoundFace::from).collect();
        faces.retain(|face| centre_inside(photo, &face.bounds));
        faces.sort_by(|a, b| area(&b.bounds).total_cmp(&area(&a.bounds)));
        faces
    }
}

/// The picture with a grey border.
fn bordered(picture: &Rgb8, border_px: usize) -> Rgb8 {
    if border_px == 0 {
        return picture.clone();
    }
    let (height, width) = (picture.height + 2 * border_px, picture.width + 2 * border_px);
    let mut data = vec![network::GREY as u8; height * width * 3];
    let inner = data.chunks_exact_mut(width * 3).skip(border_px);
    for (target, source) in inner.zip(picture.data.chunks_exact(picture.width * 3)) {
        target[border_px * 3..][..source.len()].copy_from_slice(source);
    }
    Rgb8 { height, width, data }
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-value))
}

/// One candidate a face: the mean of all that mean the same, weighted so that none comes or goes with a jump.
fn merge(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut surest: Vec<&Candidate> = Vec::new();
    for candidate in candidates.iter().take_while(|candidate| candidate.score >= MIN_SCORE) {
        let known = |other: &&Candidate| {
            let (union, smaller) = overlap(other, candidate);
            union > SAME_FACE || smaller > COVERED
        };
        if !surest.iter().any(known) {
            surest.push(candidate);
        }
    }
    surest.iter().map(|surest| mean(surest, &candidates)).collect()
}

fn mean(surest: &Candidate, candidates: &[Candidate]) -> Candidate {
    let mut sum = Candidate { score: surest.score, weight: 0.0, place: [0.0; 4], points: [[0.0; 2]; 5] };
    for candidate in candidates {
        let near = (overlap(surest, candidate).0 - SAME_BOX).max(0.0);
        let weight = candidate.weight * near;
        sum.weight += weight;
        sum.place.iter_mut().zip(candidate.place).for_each(|(sum, value)| *sum += weight * value);
        sum.points.as_flattened_mut().iter_mut().zip(candidate.points.as_flattened()).for_each(|(sum, value)| {
            *sum += weight * value;
        });
    }
    // The surest cell overlaps itself, and its score is above that of weight 0.
    sum.place.iter_mut().chain(sum.points.as_flattened_mut()).for_each(|value| *value /= sum.weight);
    sum
}

/// What two boxes share: of their union, and of the smaller one.
fn overlap(a: &Candidate, b: &Candidate) -> (f64, f64) {
    let shared = |axis: usize| {
        let low = |of: &Candidate| of.place[axis] - of.place[axis + 2] / 2.0;
        let high = |of: &Candidate| of.place[axis] + of.place[axis + 2] / 2.0;
        (high(a).min(high(b)) - low(a).max(low(b))).max(0.0)
    };
    let both = shared(0) * shared(1);
    let (area_a, area_b) = (a.place[2] * a.place[3], b.place[2] * b.place[3]);
    (both / (area_a + area_b - both), both / area_a.min(area_b))
}

impl From<&Candidate> for FoundFace {
    fn from(candidate: &Candidate) -> FoundFace {
        let points = candidate.points;
        let middle = |a: usize, b: usize, axis: usize| (points[a][axis] + points[b][axis]) / 2.0;
        let down = [0, 1].map(|axis| middle(3, 4, axis) - middle(0, 1, axis));
        // From the person's right to the left: by the eyes, and by the line from the eyes to the mouth turned by a
        // right angle, which is longer on faces seen from the side.
        let [x, y] = [points[1][0] - points[0][0] + down[1], points[1][1] - points[0][1] - down[0]];
        let quarter_turns: u8 = match (x.abs() >= y.abs(), x > 0.0, y > 0.0) {
            (true, true, _) => 0,
            (false, _, true) => 1,
            (true, false, _) => 2,
            (false, _, false) => 3,
        };
        let [width, height] = upright_size(candidate.place[2], candidate.place[3], x, y);
        let [across_px, down_px] = if quarter_turns.is_multiple_of(2) { [width, height] } else { [height, width] };
        FoundFace {
            bounds: Bounds {
                x: (candidate.place[0] - across_px / 2.0) as f32,
                y: (candidate.place[1] - down_px / 2.0) as f32,
                width: across_px as f32,
                height: down_px as f32,
            },
            score: candidate.score as f32,
            points: points.map(|point| point.map(|value| value as f32)),
            quarter_turns,
            tilt_degrees: libm::atan2(y, x).to_degrees() as f32,
        }
    }
}

/// Width and height that the face would have upright. The network gives, for a face of width w and height h at angle t,
/// `sqrt((w cos t)^2 + (h sin t)^2)` and `sqrt((w sin t)^2 + (h cos t)^2)`, so the sum of squares stays and the
/// difference is `(h^2 - w^2) cos 2t`; near 45 degrees, where that says nothing, [`USUAL_HEIGHT`] comes in.
fn upright_size(width: f64, height: f64, x: f64, y: f64) -> [f64; 2] {
    let sum = width * width + height * height;
    let length = (x * x + y * y).max(f64::MIN_POSITIVE);
    let double = (x * x - y * y) / length;
    let square = USUAL_HEIGHT * USUAL_HEIGHT;
    let usual = sum * (square - 1.0) / (square + 1.0);
    let difference = double * (height * height - width * width) + (1.0 - double * double) * usual;
    [((sum - difference) / 2.0).max(0.0).sqrt(), ((sum + difference) / 2.0).max(0.0).sqrt()]
}

fn centre_inside(photo: &Rgb8, bounds: &Bounds) -> bool {
    let (x, y) = (bounds.x + bounds.width / 2.0, bounds.y + bounds.height / 2.0);
    (0.0..photo.width as f32).contains(&x) && (0.0..photo.height as f32).contains(&y)
}

fn area(bounds: &Bounds) -> f32 {
    bounds.width * bounds.height
}
