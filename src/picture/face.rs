//! Where the faces are, and which way up. A small trait, so that the finder can be replaced; implemented by a network
//! of our own (`network`), whose weights lie in `weights/face.safetensors` and are part of the program.

mod network;

use std::borrow::Cow;

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
        self.upright(crop::crop_square(photo, &self.bounds, margin))
    }

    /// The same at `side_px`, by [`crop::crop_resized`].
    ///
    /// # Errors
    /// `BadImage` when `side_px` is 0.
    pub fn upright_input(&self, photo: &Rgb8, margin: f32, side_px: usize) -> Result<Rgb8> {
        crop::crop_resized(photo, &self.bounds, margin, side_px).map(|square| self.upright(square))
    }

    fn upright(&self, square: Rgb8) -> Rgb8 {
        (0..self.quarter_turns).fold(square, |square, _| turned_back(&square))
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
/// Twice, half a cell of the middle map apart: what the place of a face on the grid does to its box is halved by the mean.
const BORDERS_PX: [usize; 2] = [32, 40];

/// Score from which a cell speaks for a face. The lower one is enough to take part in a mean.
const MIN_SCORE: f64 = 0.75;
const MIN_PART: f64 = 0.3;
/// Of two faces of which one covers the other this far, as intersection over union or as part of the smaller one, only
/// the surer is kept.
const SAME_FACE: f64 = 0.3;
const COVERED: f64 = 0.6;
/// Cells whose boxes overlap the surest one's this far, as intersection over union, share in the mean.
const SAME_BOX: f64 = 0.5;
/// At this width and above a face is placed as exactly as the network can; below, exactness falls with the width.
const SHARP_PX: f64 = 96.0;

/// Faces that are turned, and those of which the search is not sure, are looked at once more: upright, with a box this wide
/// in the middle of a square picture of that side. For upright faces the search is at least as steady.
const LEVEL_FACE_PX: f64 = 56.0;
const LEVEL_PX: usize = 128;
/// Cosine of the tilt from which on a face counts as turned: 30 degrees.
const TURNED: f64 = 0.866;
/// Score from which on the search is sure, and that which a look must give.
const SURE_SCORE: f64 = 0.93;
const MIN_LOOK_SCORE: f64 = 0.88;
/// Score of a face that is reported. Of portraits none scored less, of faces with the mouth covered, turned by a quarter or
/// small in a group one in thirty; patterns that look like faces mostly do.
const MIN_FACE_SCORE: f64 = 0.905;

/// The surest so many are kept, and looked at once more where that is due: a picture that is nothing but small patterns like
/// faces would otherwise take minutes, and memory for a crop of each.
const MAX_FACES: usize = 256;

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

/// The photo at a size at which it was searched.
struct Searched {
    picture: Rgb8,
    /// Its pixels in one of the photo's, along x and y; rounding stretches a little, differently in both directions.
    scale: [f64; 2],
}

/// A face as an upright box and a direction.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pose {
    score: f64,
    centre: [f64; 2],
    /// Width and height of the face upright.
    size: [f64; 2],
    /// Cosine and sine of its tilt: the direction from the person's right to the left.
    right: [f64; 2],
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

    /// Cells that speak for a face in a photo brought to another size and given a grey border, in the photo's pixels.
    fn search(&self, searched: &Searched, border_px: usize) -> Vec<Candidate> {
        let maps = self.network.run(&bordered(&searched.picture, border_px));
        let back = searched.scale.map(|scale| 1.0 / scale);
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

impl Finder {
    /// The face as it is reported; absent when a second look sees none.
    fn settle(&self, searched: &[Searched], pose: Pose) -> Option<Pose> {
        let turned = pose.right[0] < TURNED;
        if !turned && pose.score >= SURE_SCORE {
            return Some(pose);
        }
        let seen = self.look(searched, &pose).filter(|seen| seen.score >= MIN_LOOK_SCORE)?;
        // The direction of the first look is that of the search; the second one's picture stands straighter.
        if turned { self.look(searched, &seen).or(Some(seen)) } else { Some(pose) }
    }

    /// Looks at a face again, upright in the middle of a small picture; absent when there is none after all.
    fn look(&self, searched: &[Searched], pose: &Pose) -> Option<Pose> {
        // The smallest picture in which the face is not enlarged, else the largest.
        let width = |searched: &Searched| pose.size[0] * searched.scale[0];
        let sharp = searched.iter().filter(|searched| width(searched) >= LEVEL_FACE_PX);
        let source = sharp.min_by(|a, b| width(a).total_cmp(&width(b)));
        let source = source.or(searched.iter().max_by(|a, b| width(a).total_cmp(&width(b))))?;
        let level = Searched { picture: levelled(source, pose), scale: [1.0; 2] };
        let middle = LEVEL_PX as f64 / 2.0;
        // In pixels of the photo for each of the level picture.
        let unit = pose.size[0] / LEVEL_FACE_PX;
        let expected = [middle, middle, LEVEL_FACE_PX, pose.size[1] / unit];
        let candidates = self.search(&level, 0);
        let near = candidates.iter().filter(|candidate| overlap(&candidate.place, &expected).0 > SAME_FACE);
        let surest = near.max_by(|a, b| a.score.total_cmp(&b.score))?;
        let seen = Pose::from(&mean(surest, &candidates));
        let [cos, sin] = pose.right;
        let back = |[x, y]: [f64; 2]| {
            let [x, y] = [(x - middle) * unit, (y - middle) * unit];
            [pose.centre[0] + x * cos - y * sin, pose.centre[1] + x * sin + y * cos]
        };
        Some(Pose {
            score: seen.score,
            centre: back(seen.centre),
            size: seen.size.map(|side| side * unit),
            right: [cos * seen.right[0] - sin * seen.right[1], sin * seen.right[0] + cos * seen.right[1]],
            points: seen.points.map(back),
        })
    }
}

impl FaceFinder for Finder {
    fn find(&mut self, photo: &Rgb8) -> Vec<FoundFace> {
        let [height, width] = [photo.height as f64, photo.width as f64];
        let pixels = height * width;
        let needed = SMALLEST_FACE_PX / f64::from(crop::MIN_FACE_PX);
        let fine = (SEARCH_PIXELS / pixels).sqrt().max(needed).min((MAX_SEARCH_PIXELS / pixels).sqrt()).min(1.0);
        let coarse = (COARSE_PX / height.max(width)).min(1.0);
        let brought = |scale: f64| {
            let shrink = |length: usize| ((length as f64 * scale).round() as usize).max(1);
            let picture = crop::resize(photo, shrink(photo.height), shrink(photo.width)).ok()?;
            let scale = [picture.width as f64 / width, picture.height as f64 / height];
            Some(Searched { picture, scale })
        };
        let (Some(fine), Some(coarse)) = (brought(fine), brought(coarse)) else {
            // Only a picture without pixels cannot be resized; there is no face on it.
            return Vec::new();
        };
        let mut candidates = self.search(&fine, 0);
        for border_px in BORDERS_PX {
            candidates.extend(self.search(&coarse, border_px));
        }
        let searched = [fine, coarse];
        let found = merge(candidates).into_iter().filter_map(|face| self.settle(&searched, Pose::from(&face)));
        let faces = without_duplicates(found.filter(|face| face.score >= MIN_FACE_SCORE).collect());
        let mut faces: Vec<FoundFace> = faces.iter().map(FoundFace::from).collect();
        faces.retain(|face| centre_inside(photo, &face.bounds));
        faces.sort_by(|a, b| area(&b.bounds).total_cmp(&area(&a.bounds)));
        faces
    }
}

/// The square of `LEVEL_PX` in which the face of `pose` stands upright; each pixel is the mean of as many places of the
/// source, on a grid, as it covers.
fn levelled(source: &Searched, pose: &Pose) -> Rgb8 {
    let step = pose.size[0] / LEVEL_FACE_PX;
    let [cos, sin] = pose.right;
    let fold = (step * source.scale[0]).ceil().clamp(1.0, 8.0) as usize;
    let mut data = Vec::with_capacity(LEVEL_PX * LEVEL_PX * 3);
    // How far every place of the grid lies from the middle of the face, in pixels of the photo.
    let offsets: Vec<f64> = (0..LEVEL_PX * fold)
        .map(|at| ((at / fold) as f64 + ((at % fold) as f64 + 0.5) / fold as f64 - LEVEL_PX as f64 / 2.0) * step)
        .collect();
    let columns: Vec<[f64; 2]> =
        offsets.iter().map(|across| [pose.centre[0] + across * cos, pose.centre[1] + across * sin]).collect();
    let count = (fold * fold) as f64;
    for rows in offsets.chunks_exact(fold) {
        for columns in columns.chunks_exact(fold) {
            let mut sum = [0.0; 3];
            for down in rows {
                for column in columns {
                    let x = (column[0] - down * sin) * source.scale[0] - 0.5;
                    let y = (column[1] + down * cos) * source.scale[1] - 0.5;
                    sum.iter_mut().zip(between(&source.picture, y, x)).for_each(|(sum, value)| *sum += value);
                }
            }
            data.extend(sum.map(|sum| (sum / count + 0.5) as u8));
        }
    }
    Rgb8 { height: LEVEL_PX, width: LEVEL_PX, data }
}

/// The picture between four pixels; grey outside.
#[inline]
fn between(picture: &Rgb8, y: f64, x: f64) -> [f64; 3] {
    let (top, left) = (floor(y), floor(x));
    let (down, right) = (y - top as f64, x - left as f64);
    let weights = [(1.0 - down) * (1.0 - right), (1.0 - down) * right, down * (1.0 - right), down * right];
    let next = |at: i64| at.saturating_add(1);
    let inside = top >= 0 && left >= 0 && next(top) < picture.height as i64 && next(left) < picture.width as i64;
    let pixels: [[f64; 3]; 4] = if inside {
        let upper = (top as usize * picture.width + left as usize) * 3;
        let pair = |at: usize| {
            let bytes: &[u8; 6] = picture.data[at..].first_chunk().expect("both pixels lie inside");
            bytes.map(f64::from)
        };
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (pair(upper), pair(upper + picture.width * 3));
        [[a, b, c], [d, e, f], [g, h, i], [j, k, l]]
    } else {
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| {
            let (y, x) = (top.saturating_add(dy), left.saturating_add(dx));
            let inside = y >= 0 && x >= 0 && y < picture.height as i64 && x < picture.width as i64;
            if inside { picture.pixel(y as usize, x as usize).map(f64::from) } else { [network::GREY.into(); 3] }
        })
    };
    let mut sum = [0.0; 3];
    for (weight, pixel) in weights.iter().zip(&pixels) {
        sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * value);
    }
    sum
}

/// `f64::floor`, which is a call where the processor is not known to have an instruction for it. What is too large becomes
/// the largest that fits.
#[inline]
fn floor(value: f64) -> i64 {
    let whole = value as i64;
    if whole as f64 > value { whole.saturating_sub(1) } else { whole }
}

/// The picture turned by a quarter, counterclockwise.
fn turned_back(picture: &Rgb8) -> Rgb8 {
    let (height, width) = (picture.width, picture.height);
    let mut data = Vec::with_capacity(picture.data.len());
    for y in 0..height {
        for x in 0..width {
            data.extend_from_slice(&picture.pixel(x, picture.width - 1 - y));
        }
    }
    Rgb8 { height, width, data }
}

/// The picture with a grey border.
fn bordered(picture: &Rgb8, border_px: usize) -> Cow<'_, Rgb8> {
    if border_px == 0 {
        return Cow::Borrowed(picture);
    }
    let (height, width) = (picture.height + 2 * border_px, picture.width + 2 * border_px);
    let mut data = vec![network::GREY as u8; height * width * 3];
    let inner = data.chunks_exact_mut(width * 3).skip(border_px);
    for (target, source) in inner.zip(picture.data.chunks_exact(picture.width * 3)) {
        target[border_px * 3..][..source.len()].copy_from_slice(source);
    }
    Cow::Owned(Rgb8 { height, width, data })
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-value))
}

/// One candidate a face: the mean of all that mean the same, weighted so that none comes or goes with a jump.
fn merge(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut surest: Vec<&Candidate> = Vec::new();
    for candidate in candidates.iter().take_while(|candidate| candidate.score >= MIN_SCORE) {
        if surest.len() == MAX_FACES {
            break;
        }
        let known = |other: &&Candidate| {
            let (union, smaller) = overlap(&other.place, &candidate.place);
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
        let near = (overlap(&surest.place, &candidate.place).0 - SAME_BOX).max(0.0);
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

/// What two boxes (centre, width, height) share: of their union, and of the smaller one.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> (f64, f64) {
    let shared = |axis: usize| {
        let low = |of: &[f64; 4]| of[axis] - of[axis + 2] / 2.0;
        let high = |of: &[f64; 4]| of[axis] + of[axis + 2] / 2.0;
        (high(a).min(high(b)) - low(a).max(low(b))).max(0.0)
    };
    let both = shared(0) * shared(1);
    let (area_a, area_b) = (a[2] * a[3], b[2] * b[3]);
    (both / (area_a + area_b - both), both / area_a.min(area_b))
}

/// Keeps the surest of faces that the second look has brought together.
fn without_duplicates(mut faces: Vec<Pose>) -> Vec<Pose> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    let place = |pose: &Pose| [pose.centre[0], pose.centre[1], pose.size[0], pose.size[1]];
    let mut kept: Vec<Pose> = Vec::new();
    for face in faces {
        if !kept.iter().any(|other| overlap(&place(other), &place(&face)).0 > SAME_FACE) {
            kept.push(face);
        }
    }
    kept
}

impl From<&Candidate> for Pose {
    fn from(candidate: &Candidate) -> Pose {
        let points = candidate.points;
        let middle = |a: usize, b: usize, axis: usize| (points[a][axis] + points[b][axis]) / 2.0;
        let down = [0, 1].map(|axis| middle(3, 4, axis) - middle(0, 1, axis));
        // From the person's right to the left: by the eyes, and by the line from the eyes to the mouth turned by a
        // right angle, which is longer on faces seen from the side.
        let right = [points[1][0] - points[0][0] + down[1], points[1][1] - points[0][1] - down[0]];
        let length = (right[0] * right[0] + right[1] * right[1]).sqrt();
        let right = if length > 0.0 { right.map(|part| part / length) } else { [1.0, 0.0] };
        let [x, y, width, height] = candidate.place;
        Pose { score: candidate.score, centre: [x, y], size: upright_size(width, height, right), right, points }
    }
}

impl From<&Pose> for FoundFace {
    fn from(pose: &Pose) -> FoundFace {
        let [x, y] = pose.right;
        let quarter_turns: u8 = match (x.abs() >= y.abs(), x > 0.0, y > 0.0) {
            (true, true, _) => 0,
            (false, _, true) => 1,
            (true, false, _) => 2,
            (false, _, false) => 3,
        };
        let [width, height] = pose.size;
        let [width, height] = if quarter_turns.is_multiple_of(2) { [width, height] } else { [height, width] };
        FoundFace {
            bounds: Bounds {
                x: (pose.centre[0] - width / 2.0) as f32,
                y: (pose.centre[1] - height / 2.0) as f32,
                width: width as f32,
                height: height as f32,
            },
            score: pose.score as f32,
            points: pose.points.map(|point| point.map(|value| value as f32)),
            quarter_turns,
            tilt_degrees: libm::atan2(y, x).to_degrees() as f32,
        }
    }
}

/// Width and height that the face would have upright. The network gives, for a face of width w and height h at angle t,
/// `sqrt((w cos t)^2 + (h sin t)^2)` and `sqrt((w sin t)^2 + (h cos t)^2)`, so the sum of squares stays and the
/// difference is `(h^2 - w^2) cos 2t`; near 45 degrees, where that says nothing, [`USUAL_HEIGHT`] comes in.
fn upright_size(width: f64, height: f64, [cos, sin]: [f64; 2]) -> [f64; 2] {
    let sum = width * width + height * height;
    let double = cos * cos - sin * sin;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(x: f64, y: f64, side: f64, score: f64) -> Candidate {
        Candidate { score, weight: score, place: [x, y, side, side], points: [[x, y]; 5] }
    }

    #[test]
    fn the_surer_of_two_faces_that_cover_each_other_is_kept() {
        let (large, mouth, neighbour) =
            (candidate(50.0, 50.0, 100.0, 0.9), candidate(50.0, 80.0, 40.0, 0.8), candidate(150.0, 50.0, 100.0, 0.85));
        let faces = merge(vec![mouth, neighbour, large]);
        assert_eq!(faces.iter().map(|face| face.score).collect::<Vec<_>>(), [0.9, 0.85]);
        assert_eq!(merge(vec![candidate(50.0, 50.0, 100.0, MIN_SCORE - 0.01)]), []);
    }

    #[test]
    fn of_more_faces_than_anybody_looks_at_the_surest_are_kept() {
        let many = (0..2 * MAX_FACES).map(|at| candidate(100.0 * at as f64, 50.0, 40.0, 0.8 + 1e-4 * at as f64));
        let kept = merge(many.collect());
        assert_eq!(kept.len(), MAX_FACES);
        assert_eq!(kept[0].place[0], 100.0 * (2 * MAX_FACES - 1) as f64);
    }

    #[test]
    fn a_face_is_the_weighted_mean_of_its_cells() {
        let cells = vec![candidate(100.0, 60.0, 40.0, 0.9), candidate(104.0, 60.0, 40.0, 0.45)];
        let [face] = merge(cells).try_into().expect("one face");
        // Overlaps 1 and 36 / 44, less a half, times the weights: 0.45 and 0.1432.
        let share = 0.45 * (36.0 / 44.0 - 0.5) / (0.9 * 0.5 + 0.45 * (36.0 / 44.0 - 0.5));
        assert!((face.place[0] - (100.0 + 4.0 * share)).abs() < 1e-9, "{face:?}");
    }

    #[test]
    fn the_upright_size_undoes_what_turning_does_to_a_box() {
        for degrees in [0.0, 17.0, 45.0, 90.0, 130.0, 180.0, 270.0f64] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            // A usual face, because at 45 degrees only that is known.
            let (width, height) = (100.0, 100.0 * USUAL_HEIGHT);
            let across = ((width * cos).powi(2) + (height * sin).powi(2)).sqrt();
            let down = ((width * sin).powi(2) + (height * cos).powi(2)).sqrt();
            let found = upright_size(across, down, [cos, sin]);
            assert!((found[0] - width).abs() < 1e-9 && (found[1] - height).abs() < 1e-9, "{degrees}: {found:?}");
        }
        let odd = upright_size(100.0, 90.0, [1.0, 0.0]);
        assert!((odd[0] - 100.0).abs() < 1e-9 && (odd[1] - 90.0).abs() < 1e-9, "upright boxes stay: {odd:?}");
    }

    #[test]
    fn a_quarter_turn_back_brings_the_right_column_to_the_top() {
        let picture = Rgb8 { height: 2, width: 3, data: (0..6).flat_map(|i| [i; 3]).collect() };
        let turned = turned_back(&picture);
        assert_eq!((turned.height, turned.width), (3, 2));
        assert_eq!(turned.data.iter().step_by(3).copied().collect::<Vec<_>>(), [2, 5, 1, 4, 0, 3]);
        let whole = (0..4).fold(picture.clone(), |picture, _| turned_back(&picture));
        assert!(whole == picture, "four quarters are a whole turn");
    }

    /// [`levelled`] as it is defined, place by place.
    fn slow_levelled(source: &Searched, pose: &Pose) -> Rgb8 {
        let step = pose.size[0] / LEVEL_FACE_PX;
        let [cos, sin] = pose.right;
        let fold = (step * source.scale[0]).ceil().clamp(1.0, 8.0) as usize;
        let pixel = |y: i64, x: i64| {
            let inside =
                (0..source.picture.height as i64).contains(&y) && (0..source.picture.width as i64).contains(&x);
            if inside { source.picture.pixel(y as usize, x as usize).map(f64::from) } else { [network::GREY.into(); 3] }
        };
        let mut data = Vec::new();
        for at in 0..LEVEL_PX * LEVEL_PX {
            let mut sum = [0.0; 3];
            for part in 0..fold * fold {
                let offset = |index: usize, part: usize| {
                    (index as f64 + (part as f64 + 0.5) / fold as f64 - LEVEL_PX as f64 / 2.0) * step
                };
                let (across, down) = (offset(at % LEVEL_PX, part % fold), offset(at / LEVEL_PX, part / fold));
                let x = (pose.centre[0] + across * cos - down * sin) * source.scale[0] - 0.5;
                let y = (pose.centre[1] + across * sin + down * cos) * source.scale[1] - 0.5;
                let (top, left) = (y.floor(), x.floor());
                let (lower, right) = (y - top, x - left);
                let near = |dy: i64, dx: i64| pixel(top as i64 + dy, left as i64 + dx);
                for (channel, sum) in sum.iter_mut().enumerate() {
                    let mut value = (1.0 - lower) * (1.0 - right) * near(0, 0)[channel];
                    value += (1.0 - lower) * right * near(0, 1)[channel];
                    value += lower * (1.0 - right) * near(1, 0)[channel];
                    value += lower * right * near(1, 1)[channel];
                    *sum += value;
                }
            }
            data.extend(sum.map(|sum| (sum / (fold * fold) as f64 + 0.5) as u8));
        }
        Rgb8 { height: LEVEL_PX, width: LEVEL_PX, data }
    }

    #[test]
    fn a_face_is_levelled_as_plain_loops_level_it() {
        let data = (0..90 * 120 * 3).map(|at: usize| (at * at % 251) as u8).collect();
        let source = Searched { picture: Rgb8 { height: 90, width: 120, data }, scale: [0.7, 0.71] };
        for (degrees, centre, width) in
            [(0.0, [80.0, 60.0], 40.0), (33.0, [70.3, 55.1], 170.0), (200.0, [5.0, 120.0], 90.0)]
        {
            let (sin, cos) = f64::to_radians(degrees).sin_cos();
            let size = [width, width * USUAL_HEIGHT];
            let pose = Pose { score: 0.9, centre, size, right: [cos, sin], points: [[0.0; 2]; 5] };
            assert!(levelled(&source, &pose) == slow_levelled(&source, &pose), "{degrees} degrees");
            let moved = Pose { centre: [centre[0] + 0.1, centre[1]], ..pose };
            assert!(levelled(&source, &moved) != slow_levelled(&source, &pose), "a tenth of a pixel is seen");
        }
    }

    #[test]
    fn points_between_pixels_are_their_mean_and_grey_outside() {
        let picture = Rgb8 { height: 1, width: 2, data: vec![0, 0, 0, 200, 100, 50] };
        assert_eq!(between(&picture, 0.0, 0.5), [100.0, 50.0, 25.0]);
        assert_eq!(between(&picture, -1.0, 0.0), [f64::from(network::GREY); 3]);
    }
}
