//! Where a face lies in a crop: the 68 points of iBUG's scheme where they were found, and the outlines that masks are made
//! of. Outlines are polygons with corners (y, x) as shares of the crop's height and width.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::picture::crop::CROP_MARGIN;
use crate::train::rng::{TrainRng, between, chance, pick};
use crate::{Error, ErrorKind, Result};

/// Points of a face.
pub const POINTS: usize = 68;
/// Places are stored as whole multiples of this share of the crop's side.
const STEP: f32 = 1e-4;

/// The 68 points of a face, (y, x) as shares of the crop's side; may lie outside it. In iBUG's order: jaw 0 to 16, brows to
/// 26, nose to 35, eyes to 47, mouth.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Landmarks(pub Box<[[f32; 2]; POINTS]>);

impl Landmarks {
    /// From (y, x) places, rounded to what a pack keeps.
    pub fn new(places: [[f32; 2]; POINTS]) -> Self {
        let stored = |v: f32| f32::from(to_stored(v)) * STEP;
        Landmarks(Box::new(places.map(|place| place.map(stored))))
    }

    fn mean(&self, points: std::ops::Range<usize>) -> [f32; 2] {
        let count = points.len() as f32;
        let sum = self.0[points].iter().fold([0.0; 2], |sum, p| [sum[0] + p[0], sum[1] + p[1]]);
        sum.map(|v| v / count)
    }
}

fn to_stored(share: f32) -> i16 {
    // A cast cuts what does not fit; such a point lies three sides away.
    (share / STEP).round() as i16
}

impl fmt::Debug for Landmarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Landmarks(chin {:?}, nose {:?}, ...)", self.0[8], self.0[30])
    }
}

impl From<Landmarks> for String {
    fn from(landmarks: Landmarks) -> String {
        let bytes: Vec<u8> = landmarks.0.iter().flatten().flat_map(|v| to_stored(*v).to_le_bytes()).collect();
        STANDARD_NO_PAD.encode(bytes)
    }
}

impl TryFrom<String> for Landmarks {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let bad = || Error::new(ErrorKind::BadData, format!("expected {POINTS} points in base64, found {text}"));
        let bytes = STANDARD_NO_PAD.decode(&text).map_err(|_| bad())?;
        if bytes.len() != POINTS * 4 {
            return Err(bad());
        }
        let value = |at: usize| f32::from(i16::from_le_bytes([bytes[at], bytes[at + 1]])) * STEP;
        Ok(Landmarks(Box::new(std::array::from_fn(|point| [value(4 * point), value(4 * point + 2)]))))
    }
}

/// What is known of a face's place in a crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place<'a> {
    /// Its points, where they were found.
    pub points: Option<&'a Landmarks>,
    /// Side of the crop in sides of the face's box.
    pub margin: f32,
}

impl Default for Place<'_> {
    /// A crop as the detector cuts it, no points.
    fn default() -> Self {
        Place { points: None, margin: CROP_MARGIN }
    }
}

/// A closed line round a face or a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline(Vec<[f32; 2]>);

impl Place<'_> {
    /// An outline of the face: the convex hull of its points; with probability `partial` another hull (with the forehead,
    /// without the jaw, or of one half). Where no points are known, a drawn polygon about an ellipse, or one side of it.
    pub fn outline(&self, partial: f32, rng: &mut TrainRng) -> Outline {
        let other = chance(rng, partial);
        match self.points {
            Some(points) if other => (pick(rng, &OTHER_HULLS))(points),
            Some(points) => hull(points.0.to_vec()),
            None => drawn(CROP_MARGIN / self.margin, other, rng),
        }
    }
}

/// What a quarter of the masks covers instead of the whole face.
const OTHER_HULLS: [fn(&Landmarks) -> Outline; 4] = [with_forehead, without_jaw, upper_half, lower_half];

fn with_forehead(points: &Landmarks) -> Outline {
    let (brows, mouth) = (points.mean(17..27), points.mean(48..68));
    let up = [0, 1].map(|axis| 0.5 * (brows[axis] - mouth[axis]));
    let raised = points.0[17..27].iter().map(|p| [p[0] + up[0], p[1] + up[1]]);
    hull(points.0.iter().copied().chain(raised).collect())
}

fn without_jaw(points: &Landmarks) -> Outline {
    hull(points.0[17..].to_vec())
}

fn upper_half(points: &Landmarks) -> Outline {
    let jaw = [points.0[0], points.0[1], points.0[15], points.0[16]];
    hull(points.0[17..30].iter().chain(&points.0[36..48]).chain(&jaw).copied().collect())
}

fn lower_half(points: &Landmarks) -> Outline {
    hull(points.0[2..15].iter().chain(&points.0[29..36]).chain(&points.0[48..]).copied().collect())
}

/// The convex hull (Andrew's monotone chain).
fn hull(mut points: Vec<[f32; 2]>) -> Outline {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let turn = |a: [f32; 2], b: [f32; 2], c: [f32; 2]| (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    let chain = |points: &mut dyn Iterator<Item = [f32; 2]>| {
        let mut line: Vec<[f32; 2]> = Vec::new();
        for point in points {
            while line.len() >= 2 && turn(line[line.len() - 2], line[line.len() - 1], point) <= 0.0 {
                line.pop();
            }
            line.push(point);
        }
        // Its end is the other chain's start.
        line.pop();
        line
    };
    let mut outline = chain(&mut points.iter().copied());
    outline.extend(chain(&mut points.iter().rev().copied()));
    Outline(outline)
}

/// A polygon about an ellipse where a face usually lies, `scale` times as large as in a crop of the usual margin; one side of
/// it alone where asked for.
fn drawn(scale: f32, part: bool, rng: &mut TrainRng) -> Outline {
    let centre = [0.5 + scale * (0.02 + 0.04 * between(rng, -1.0, 1.0)), 0.5 + scale * 0.03 * between(rng, -1.0, 1.0)];
    let radii = [scale * between(rng, 0.28, 0.42), scale * between(rng, 0.22, 0.34)];
    let count = rng.random_range(8..16);
    let start = between(rng, 0.0, std::f32::consts::TAU);
    let corners = (0..count).map(|index| {
        let angle = start + std::f32::consts::TAU * index as f32 / count as f32;
        let reach = between(rng, 0.85, 1.1);
        let (sin, cos) = angle.sin_cos();
        [centre[0] + radii[0] * reach * sin, centre[1] + radii[1] * reach * cos]
    });
    let outline = Outline(corners.collect());
    if !part {
        return outline;
    }
    let (sin, cos) = (std::f32::consts::FRAC_PI_2 * rng.random_range(0..4) as f32).sin_cos();
    let offset = scale * between(rng, -0.08, 0.05);
    outline.cut(|[y, x]| (y - centre[0]) * sin + (x - centre[1]) * cos - offset)
}

impl Outline {
    /// With every corner moved.
    pub fn moved(&self, to: impl Fn([f32; 2]) -> [f32; 2]) -> Outline {
        Outline(self.0.iter().map(|corner| to(*corner)).collect())
    }

    /// The part on one side of a line: where `above` is positive.
    fn cut(&self, above: impl Fn([f32; 2]) -> f32) -> Outline {
        let mut kept = Vec::new();
        let mut last = self.0[self.0.len() - 1];
        for corner in &self.0 {
            let (before, here) = (above(last), above(*corner));
            if (before > 0.0) != (here > 0.0) {
                let share = before / (before - here);
                kept.push([0, 1].map(|axis| last[axis] + share * (corner[axis] - last[axis])));
            }
            if here > 0.0 {
                kept.push(*corner);
            }
            last = *corner;
        }
        Outline(kept)
    }

    /// Whether a place (y, x) lies inside (even-odd rule).
    pub fn holds(&self, [y, x]: [f32; 2]) -> bool {
        let Some(mut last) = self.0.last() else { return false };
        let mut within = false;
        for corner in &self.0 {
            let crosses = (corner[0] > y) != (last[0] > y);
            if crosses && x < (last[1] - corner[1]) * (y - corner[0]) / (last[0] - corner[0]) + corner[1] {
                within = !within;
            }
            last = corner;
        }
        within
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::train::rng::{Stream, at};

    /// A schematic face: every group of points on an arc of its own, `centre` and `unit` as shares of the side.
    pub(crate) fn schematic(centre: [f32; 2], unit: f32) -> Landmarks {
        let arc = |index: usize, count: usize, from: f32, to: f32, radii: [f32; 2], at: [f32; 2]| {
            let angle = from + (to - from) * index as f32 / (count - 1).max(1) as f32;
            [centre[0] + unit * (at[0] + radii[0] * angle.sin()), centre[1] + unit * (at[1] - radii[1] * angle.cos())]
        };
        let turn = std::f32::consts::TAU;
        Landmarks::new(std::array::from_fn(|point| match point {
            0..17 => arc(point, 17, 0.0, turn / 2.0, [0.55, 0.5], [0.0, 0.0]),
            17..27 => arc(point - 17, 10, 0.0, -turn / 2.0, [0.05, 0.35], [-0.3, 0.0]),
            27..36 => [centre[0] + unit * (-0.15 + 0.04 * (point - 27) as f32), centre[1]],
            36..42 => arc(point - 36, 6, 0.0, turn, [0.04, 0.08], [-0.15, -0.2]),
            42..48 => arc(point - 42, 6, 0.0, turn, [0.04, 0.08], [-0.15, 0.2]),
            _ => arc(point - 48, 20, 0.0, turn, [0.07, 0.18], [0.3, 0.0]),
        }))
    }

    fn area(outline: &Outline) -> f32 {
        let inside = (0..100 * 100).filter(|i| outline.holds([(i / 100) as f32 / 100.0, (i % 100) as f32 / 100.0]));
        inside.count() as f32 / 1e4
    }

    #[test]
    fn points_survive_being_kept_and_anything_else_is_refused() {
        let points = schematic([0.5, 0.45], 0.6);
        let text = String::from(points.clone());
        assert_eq!(Landmarks::try_from(text.clone()).unwrap(), points);
        for wrong in ["", "AAAA", &text[1..], "not base64!"] {
            assert_eq!(Landmarks::try_from(wrong.to_string()).unwrap_err().kind(), ErrorKind::BadData, "{wrong}");
        }
    }

    #[test]
    fn a_hull_holds_all_its_points_and_no_place_far_away() {
        let points = schematic([0.5, 0.5], 0.6);
        let outline = hull(points.0.to_vec());
        let middle = points.mean(0..POINTS);
        for point in points.0.iter() {
            // A little towards the middle, since corners lie on the line itself.
            assert!(outline.holds([0, 1].map(|axis| point[axis] + 0.02 * (middle[axis] - point[axis]))), "{point:?}");
        }
        assert!(!outline.holds([0.05, 0.05]) && !outline.holds([0.95, 0.5]));
        assert_eq!(outline.0.len(), hull(outline.0.clone()).0.len(), "the hull of a hull is the same");
    }

    #[test]
    fn a_quarter_of_the_outlines_is_another_hull() {
        let points = schematic([0.5, 0.5], 0.6);
        let place = Place { points: Some(&points), margin: 1.6 };
        let whole = hull(points.0.to_vec());
        let rng = &mut at(1, Stream::Forging, 0, 0);
        let draws: Vec<Outline> = (0..800).map(|_| place.outline(0.25, rng)).collect();
        let other = draws.iter().filter(|outline| **outline != whole).count();
        assert!((150..250).contains(&other), "{other}");
        let [forehead, no_jaw, upper, lower] = OTHER_HULLS.map(|hull| area(&hull(&points)));
        let all = area(&whole);
        assert!(forehead > 1.1 * all && no_jaw < 0.8 * all && upper < 0.7 * all && lower < 0.8 * all && lower > 0.1);
    }

    #[test]
    fn a_drawn_outline_shrinks_with_the_margin_and_its_part_is_smaller() {
        let mean = |margin: f32, partial: f32| {
            let rng = &mut at(2, Stream::Forging, 0, 0);
            let place = Place { points: None, margin };
            (0..60).map(|_| area(&place.outline(partial, rng))).sum::<f32>() / 60.0
        };
        let (usual, wide, part) = (mean(CROP_MARGIN, 0.0), mean(2.0 * CROP_MARGIN, 0.0), mean(CROP_MARGIN, 1.0));
        assert!((wide / usual - 0.25).abs() < 0.03, "{wide} of {usual}");
        assert!((0.3..0.75).contains(&(part / usual)), "{part} of {usual}");
    }
}
