//! What turns a photo of a face into something that is no photo: a drawing, a print, a filter's work. Nobody manipulated the
//! face, and no score of a network that has seen photographs alone means anything; `grnet eval --degrade pencil,...` shows
//! how many of them the familiarity gate holds back.

use serde::{Deserialize, Serialize};

use super::pixels::{self, Colour, Plane};
use crate::Result;
use crate::infer::architecture::GuidedFilterConfig;
use crate::infer::reference;
use crate::picture::Rgb8;

/// A way to disguise a photo. Lengths go by the picture's longer side, so that small and large ones look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disguise {
    /// Grey strokes on white: the luma over its own blur ("colour dodge").
    Pencil,
    /// The same in each colour.
    Crayon,
    /// Flat patches with firm edges, like oil paint (Kuwahara 1976).
    Painted,
    /// Four levels a colour.
    Posterised,
    /// Skin without pores: a wide guided filter, as beauty filters use.
    Smoothed,
    /// The negative.
    Inverted,
    /// Black dots on white, as newspapers print.
    Halftone,
}

impl Disguise {
    /// All of them.
    pub const ALL: [Disguise; 7] = [
        Disguise::Pencil,
        Disguise::Crayon,
        Disguise::Painted,
        Disguise::Posterised,
        Disguise::Smoothed,
        Disguise::Inverted,
        Disguise::Halftone,
    ];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Disguise::Pencil => "pencil",
            Disguise::Crayon => "crayon",
            Disguise::Painted => "painted",
            Disguise::Posterised => "posterised",
            Disguise::Smoothed => "smoothed",
            Disguise::Inverted => "inverted",
            Disguise::Halftone => "halftone",
        }
    }

    /// The picture in this disguise, at its own size.
    ///
    /// # Errors
    /// As [`pixels::from_planes`].
    pub fn apply(self, picture: &Rgb8) -> Result<Rgb8> {
        let longer = picture.height.max(picture.width) as f32;
        match self {
            Disguise::Pencil => dodged(&grey(picture), longer / 80.0),
            Disguise::Crayon => dodged(picture, longer / 80.0),
            Disguise::Painted => painted(picture, (longer / 100.0).round().max(2.0) as usize),
            Disguise::Posterised => Ok(each(picture, |v| ((f32::from(v) / 85.0).round() * 85.0) as u8)),
            Disguise::Smoothed => smoothed(picture, 1.0 / 40.0, 0.01, 1.0),
            Disguise::Inverted => Ok(each(picture, |v| 255 - v)),
            Disguise::Halftone => Ok(halftone(&grey(picture), (longer / 80.0).max(3.0))),
        }
    }
}

fn grey(picture: &Rgb8) -> Rgb8 {
    Colour { saturation: 0.0, ..Colour::SAME }.apply(picture)
}

fn each(picture: &Rgb8, change: impl Fn(u8) -> u8) -> Rgb8 {
    let mut out = picture.clone();
    out.data.iter_mut().for_each(|value| *value = change(*value));
    out
}

/// 255 v / blur(v): white where the picture is even, dark where it is darker than around.
fn dodged(picture: &Rgb8, sigma_px: f32) -> Result<Rgb8> {
    pixels::against_blur(picture, sigma_px, |v, b| 255.0 * v / b.max(1.0))
}

/// Every pixel becomes the mean of that one of its four quadrants whose luma varies least.
fn painted(picture: &Rgb8, reach: usize) -> Result<Rgb8> {
    let colours = pixels::planes(picture);
    let [luma, _, _] = pixels::planes(&grey(picture));
    let mut out = colours.clone();
    let reach = reach as isize;
    for row in 0..picture.height as isize {
        for column in 0..picture.width as isize {
            let quadrant = |plane: &Plane, [down, right]: [isize; 2]| {
                let places = (0..=reach).flat_map(|y| (0..=reach).map(move |x| (y * down, x * right)));
                let values = places.map(|(y, x)| plane.reflected(row + y, column + x));
                let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), v| (sum + v, squares + v * v));
                let mean = sum / ((reach + 1) * (reach + 1)) as f32;
                (mean, squares / ((reach + 1) * (reach + 1)) as f32 - mean * mean)
            };
            let variance = |sides: &[isize; 2]| quadrant(&luma, *sides).1;
            let corners = [[-1, -1], [-1, 1], [1, -1], [1, 1]];
            let evenest = corners.into_iter().min_by(|a, b| variance(a).total_cmp(&variance(b))).unwrap_or([1, 1]);
            for (target, source) in out.iter_mut().zip(&colours) {
                target.data[row as usize * picture.width + column as usize] = quadrant(source, evenest).0;
            }
        }
    }
    pixels::from_planes(&out)
}

/// Smoothed between its edges, by a guided filter with a radius of `radius` of the longer side and `eps` (0..1 scale);
/// `strength` of the smoothed picture and the rest of the given one are mixed.
///
/// # Errors
/// As [`pixels::from_planes`].
pub fn smoothed(picture: &Rgb8, radius: f32, eps: f64, strength: f32) -> Result<Rgb8> {
    let unit: Vec<f64> =
        pixels::planes(picture).iter().flat_map(|p| p.data.iter().map(|v| f64::from(*v) / 255.0)).collect();
    let radius_px = (picture.height.max(picture.width) as f32 * radius).round().max(3.0) as usize;
    let config = GuidedFilterConfig { radius_px, eps, ..Default::default() };
    let filtered = reference::filter(&unit, picture.height, picture.width, &config);
    let area = picture.height * picture.width;
    pixels::from_planes(&std::array::from_fn(|channel| Plane {
        height: picture.height,
        width: picture.width,
        data: (channel * area..(channel + 1) * area)
            .map(|at| 255.0 * (strength * filtered[at] as f32 + (1.0 - strength) * unit[at] as f32))
            .collect(),
    }))
}

/// Dots of a screen at 45 degrees, the larger the darker.
fn halftone(grey: &Rgb8, period_px: f32) -> Rgb8 {
    let mut out = grey.clone();
    let turn = std::f32::consts::TAU / period_px * std::f32::consts::FRAC_1_SQRT_2;
    for (index, pixel) in out.data.chunks_exact_mut(3).enumerate() {
        let (row, column) = ((index / grey.width) as f32, (index % grey.width) as f32);
        let screen = ((row + column) * turn).cos() + ((row - column) * turn).cos();
        let ink = f32::from(pixel[0]) < 127.5 + 63.75 * screen;
        pixel.fill(if ink { 0 } else { 255 });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left half dark, right half light, with a fine grain in it.
    fn picture() -> Rgb8 {
        let value = |index: usize| (if index % 64 < 32 { 60 } else { 180 }) + (index * 37 % 9) as u8;
        Rgb8::new(64, 64, (0..64 * 64).flat_map(|index| [value(index), value(index) + 20, value(index) / 2]).collect())
            .unwrap()
    }

    fn at(picture: &Rgb8, row: usize, column: usize) -> [u8; 3] {
        picture.data[(row * picture.width + column) * 3..][..3].try_into().unwrap()
    }

    fn spread(picture: &Rgb8, columns: std::ops::Range<usize>) -> f64 {
        let values: Vec<f64> =
            (8..56).flat_map(|row| columns.clone().map(move |c| f64::from(at(picture, row, c)[1]))).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn drawings_are_white_but_for_the_edges() {
        let photo = picture();
        for disguise in [Disguise::Pencil, Disguise::Crayon] {
            let drawn = disguise.apply(&photo).unwrap();
            assert!(at(&drawn, 30, 10)[1] > 225 && at(&drawn, 30, 50)[1] > 225, "{disguise:?}");
            assert!(at(&drawn, 30, 31)[1] < 200, "{disguise:?}: the dark side of the edge");
        }
        let pencil = Disguise::Pencil.apply(&photo).unwrap();
        assert!(pencil.data.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]));
    }

    #[test]
    fn paint_and_smoothing_take_the_grain_and_leave_the_edge() {
        let photo = picture();
        for disguise in [Disguise::Painted, Disguise::Smoothed] {
            let seen = disguise.apply(&photo).unwrap();
            assert!(spread(&seen, 8..24) < 0.6 * spread(&photo, 8..24), "{disguise:?}");
            assert!(at(&seen, 30, 36)[1] > at(&seen, 30, 27)[1] + 80, "{disguise:?}");
        }
    }

    #[test]
    fn posters_have_four_levels_prints_two_and_a_negative_comes_back() {
        let photo = picture();
        let poster = Disguise::Posterised.apply(&photo).unwrap();
        assert!(poster.data.iter().all(|v| v % 85 == 0) && poster != photo);
        let print = Disguise::Halftone.apply(&photo).unwrap();
        assert!(print.data.iter().all(|v| [0, 255].contains(v)));
        // Dark ground takes more ink than light ground.
        let ink = |columns: std::ops::Range<usize>| {
            (0..64)
                .flat_map(|r| columns.clone().map(move |c| (r, c)))
                .filter(|(r, c)| at(&print, *r, *c)[0] == 0)
                .count()
        };
        assert!(ink(0..32) > 2 * ink(32..64), "{} and {}", ink(0..32), ink(32..64));
        assert!(Disguise::Inverted.apply(&Disguise::Inverted.apply(&photo).unwrap()).unwrap() == photo);
    }
}
