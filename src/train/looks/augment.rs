//! Geometric augmentation as in the paper (flip, rotation, random perspective) plus a jitter of the crop, as one warp so
//! that a picture is interpolated at most once; and cut-out. Drawn once per picture or pair.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::pixels;
use crate::Result;
use crate::picture::Rgb8;
use crate::train::rng::{TrainRng, between, chance};

/// How often and how strongly crops are moved. Shares are probabilities 0..1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Share mirrored left to right.
    pub flip: f32,
    /// Share turned.
    pub rotate: f32,
    /// Largest angle.
    pub rotate_degrees: f32,
    /// Share seen from another point (torchvision's random perspective).
    pub perspective: f32,
    /// How far corners may move inwards, as a share of half the side; torchvision's default is 0.5.
    pub perspective_strength: f32,
    /// Share with a jittered crop: face finders are not exact.
    pub jitter: f32,
    /// Side of the jittered crop relative to the model's own (`crop_margin`).
    pub zoom: [f32; 2],
    /// By how much height and width of the jittered crop may differ from that, each for itself, before both are stretched to the
    /// square: boxes do not keep a face's proportions either.
    pub stretch: f32,
    /// Largest move of the crop's centre as a share of its side.
    pub shift: f32,
    /// Share with one rectangle blanked out.
    pub cut_out: f32,
    /// Side of the rectangle as a share of the picture's.
    pub cut_out_side: [f32; 2],
}

impl Default for AugmentConfig {
    fn default() -> Self {
        AugmentConfig {
            flip: 0.5,
            rotate: 0.4,
            rotate_degrees: 10.0,
            perspective: 0.25,
            perspective_strength: 0.2,
            jitter: 0.5,
            zoom: [0.85, 1.1],
            stretch: 0.0,
            shift: 0.05,
            cut_out: 0.2,
            cut_out_side: [0.1, 0.35],
        }
    }
}

/// What happens to one picture or pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Moves {
    /// Mirrored left to right.
    pub flip: bool,
    /// Where the corners of the result lie in the picture, as (y, x) with the picture spanning -1..1: upper left, upper
    /// right, lower right, lower left. Absent: not warped.
    pub corners: Option<[[f32; 2]; 4]>,
    /// Side of the result in sides of an unmoved one, so that a closer crop is not enlarged.
    pub zoom: f32,
    /// The blanked rectangle (top, left, height, width as shares of the side) and its grey value.
    pub cut_out: Option<([f32; 4], u8)>,
}

/// The corners of an unmoved picture.
const CORNERS: [[f32; 2]; 4] = [[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]];

impl AugmentConfig {
    /// Draws what happens to one picture or pair.
    pub fn draw(&self, rng: &mut TrainRng) -> Moves {
        let flip = chance(rng, self.flip);
        let mut corners = CORNERS;
        let mut moved = false;
        let mut zoomed = 1.0;
        if chance(rng, self.perspective) {
            moved = true;
            for corner in &mut corners {
                for place in corner.iter_mut() {
                    *place *= 1.0 - self.perspective_strength * rng.random::<f32>();
                }
            }
        }
        if chance(rng, self.rotate) {
            moved = true;
            let (sin, cos) = between(rng, -self.rotate_degrees, self.rotate_degrees).to_radians().sin_cos();
            corners = corners.map(|[y, x]| [cos * y + sin * x, cos * x - sin * y]);
        }
        if chance(rng, self.jitter) {
            moved = true;
            let zoom = between(rng, self.zoom[0], self.zoom[1]);
            let shift = [0; 2].map(|_| 2.0 * self.shift * between(rng, -1.0, 1.0));
            // Draws nothing where nothing is wanted, so that the draws of configurations from before stay what they were.
            let sides = [0; 2].map(|_| if self.stretch > 0.0 { self.stretch * between(rng, -1.0, 1.0) } else { 0.0 });
            let sides = sides.map(|side| zoom * (1.0 + side));
            corners = corners.map(|[y, x]| [y * sides[0] + shift[0], x * sides[1] + shift[1]]);
            zoomed = zoom;
        }
        let cut_out = chance(rng, self.cut_out).then(|| {
            let [low, high] = self.cut_out_side;
            let (height, width) = (between(rng, low, high), between(rng, low, high));
            let (top, left) = (between(rng, 0.0, 1.0 - height), between(rng, 0.0, 1.0 - width));
            ([top, left, height, width], rng.random())
        });
        Moves { flip, corners: moved.then_some(corners), zoom: zoomed, cut_out }
    }
}

impl Moves {
    /// Flip and warp of the middle `share` of a picture (a crop that was kept wider than the model wants it), at the picture's
    /// own resolution.
    pub fn place(&self, picture: &Rgb8, share: f32) -> Rgb8 {
        let seen = if self.flip { pixels::flipped(picture) } else { picture.clone() };
        let Some(corners) = self.corners else { return pixels::middle(&seen, share) };
        let map = homography(&corners.map(|corner| corner.map(|place| place * share)));
        // Pixel centres: -1..1 spans the whole picture, borders included.
        let (height, width) = (seen.height as f32, seen.width as f32);
        let side = |length: usize| ((length as f32 * share * self.zoom).round() as usize).max(1);
        let (to_height, to_width) = (side(seen.height), side(seen.width));
        pixels::warped_to(&seen, to_height, to_width, |row, column| {
            let (y, x) = ((row + 0.5) / to_height as f32 * 2.0 - 1.0, (column + 0.5) / to_width as f32 * 2.0 - 1.0);
            let scale = map[6] * y + map[7] * x + 1.0;
            let from_y = (map[0] * y + map[1] * x + map[2]) / scale;
            let from_x = (map[3] * y + map[4] * x + map[5]) / scale;
            ((from_y + 1.0) / 2.0 * height - 0.5, (from_x + 1.0) / 2.0 * width - 0.5)
        })
    }

    /// Cut-out, at the network's size.
    ///
    /// # Errors
    /// `Internal` when the picture contradicts itself.
    pub fn blank(&self, picture: Rgb8) -> Result<Rgb8> {
        let Some(([top, left, height, width], grey)) = self.cut_out else { return Ok(picture) };
        let mut out = picture;
        let place = |share: f32, side: usize| ((share * side as f32) as usize).min(side);
        let (first, last) = (place(top, out.height), place(top + height, out.height));
        let (from, to) = (place(left, out.width), place(left + width, out.width));
        for row in first..last {
            out.data[(row * out.width + from) * 3..(row * out.width + to) * 3].fill(grey);
        }
        Ok(out)
    }
}

/// The eight numbers `a` of the map y' = (a0 y + a1 x + a2) / (a6 y + a7 x + 1), x' = (a3 y + a4 x + a5) / (...) that takes
/// the corners of -1..1 to `corners`.
fn homography(corners: &[[f32; 2]; 4]) -> [f32; 8] {
    let mut system = [[0.0f64; 9]; 8];
    for (index, ([y, x], [to_y, to_x])) in CORNERS.iter().zip(corners).enumerate() {
        let [y, x, to_y, to_x] = [y, x, to_y, to_x].map(|v| f64::from(*v));
        system[2 * index] = [y, x, 1.0, 0.0, 0.0, 0.0, -y * to_y, -x * to_y, to_y];
        system[2 * index + 1] = [0.0, 0.0, 0.0, y, x, 1.0, -y * to_x, -x * to_x, to_x];
    }
    for column in 0..8 {
        let pivot = (column..8).max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()));
        system.swap(column, pivot.unwrap_or(column));
        let lead = system[column];
        for (row, line) in system.iter_mut().enumerate() {
            if row != column {
                let factor = line[column] / lead[column];
                line.iter_mut().zip(lead).for_each(|(value, other)| *value -= factor * other);
            }
        }
    }
    std::array::from_fn(|index| (system[index][8] / system[index][index]) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Stream, at};

    fn picture() -> Rgb8 {
        Rgb8::new(32, 32, (0..32 * 32 * 3).map(|i| (i * 13 % 241) as u8).collect()).unwrap()
    }

    fn still() -> Moves {
        Moves { flip: false, corners: None, zoom: 1.0, cut_out: None }
    }

    #[test]
    fn the_map_takes_corners_to_corners() {
        let corners = [[-0.9, -0.8], [-1.0, 0.7], [0.85, 0.95], [1.1, -1.0]];
        let map = homography(&corners);
        for ([y, x], [to_y, to_x]) in CORNERS.into_iter().zip(corners) {
            let scale = map[6] * y + map[7] * x + 1.0;
            let found = [(map[0] * y + map[1] * x + map[2]) / scale, (map[3] * y + map[4] * x + map[5]) / scale];
            assert!((found[0] - to_y).abs() < 1e-5 && (found[1] - to_x).abs() < 1e-5, "{found:?}");
        }
    }

    #[test]
    fn unmoved_corners_change_nothing() {
        let moves = Moves { corners: Some(CORNERS), ..still() };
        assert!(moves.place(&picture(), 1.0) == picture());
        assert!(still().place(&picture(), 1.0) == picture());
    }

    #[test]
    fn a_quarter_turn_moves_the_upper_left_pixel() {
        // The result's corners lie one further round in the picture.
        let turned = [[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]];
        let seen = Moves { corners: Some(turned), ..still() }.place(&picture(), 1.0);
        assert_eq!(seen.pixel(0, 0), picture().pixel(0, 31));
        assert_eq!(seen.pixel(31, 31), picture().pixel(31, 0));
    }

    #[test]
    fn cut_out_blanks_only_its_rectangle() {
        let moves = Moves { cut_out: Some(([0.25, 0.5, 0.25, 0.25], 9)), ..still() };
        let seen = moves.blank(picture()).unwrap();
        for row in 0..32 {
            for column in 0..32 {
                let inside = (8..16).contains(&row) && (16..24).contains(&column);
                let expected = if inside { [9; 3] } else { picture().pixel(row, column) };
                assert_eq!(seen.pixel(row, column), expected, "{row},{column}");
            }
        }
    }

    #[test]
    fn a_closer_look_at_a_wide_crop_keeps_its_resolution() {
        // The middle half of a wide crop, then nine tenths of that: 14 px, one pixel of the crop each.
        let corners = CORNERS.map(|corner| corner.map(|place| 0.875 * place));
        let seen = Moves { corners: Some(corners), zoom: 0.875, ..still() }.place(&picture(), 0.5);
        assert_eq!((seen.height, seen.width), (14, 14));
        assert_eq!((seen.pixel(0, 0), seen.pixel(13, 5)), (picture().pixel(9, 9), picture().pixel(22, 14)));
        assert_eq!(still().place(&picture(), 0.5).pixel(0, 0), picture().pixel(8, 8));
    }

    #[test]
    fn margins_are_drawn_as_widely_as_asked_for() {
        let config = AugmentConfig { jitter: 1.0, zoom: [0.72, 1.09], stretch: 0.1, ..Default::default() };
        let zooms: Vec<f32> = (0..400).map(|slot| config.draw(&mut at(1, Stream::Looks, 5, slot)).zoom * 1.6).collect();
        let (least, most) = zooms.iter().fold((9.0f32, 0.0f32), |(low, high), z| (low.min(*z), high.max(*z)));
        assert!((1.15..1.17).contains(&least) && (1.72..1.75).contains(&most), "{least} {most}");
    }

    #[test]
    fn draws_repeat_by_address() {
        let config = AugmentConfig { rotate: 1.0, ..Default::default() };
        let draw = |slot| config.draw(&mut at(1, Stream::Looks, 4, slot));
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
        assert!(draw(0).place(&picture(), 1.0) != picture());
    }
}
