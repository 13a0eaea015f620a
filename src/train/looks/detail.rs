//! Fine detail: how strong it is, and bringing that of a made picture to its original's. A maker that paints a little too
//! softly teaches a detector that soft pictures are fakes.

use super::pixels::{self, Plane};
use crate::Result;
use crate::picture::Rgb8;

/// Between these blurs (deviation in pixels) lie the bands of fine detail whose strength is made that of the original; the last
/// one is what the finest blur takes away.
const FINE_PX: [f32; 3] = [2.0, 1.0, 0.5];
/// Bands overlap a little: what was brought to its strength is a second time.
const ROUNDS: usize = 2;
/// Detail is strengthened by no more than this: what is hardly there is noise.
const MOST: f32 = 3.0;

/// `made` with the strength of its fine detail brought to `strength` times that of the original, luma and both colour
/// differences each for itself.
///
/// # Errors
/// `BadImage` when the pictures differ in size.
pub fn as_fine(made: &Rgb8, original: &Rgb8, strength: f32) -> Result<Rgb8> {
    planes_as_fine(&mut pixels::planes(made), original, strength)
}

/// [`as_fine`] before the made picture is rounded.
///
/// # Errors
/// As [`as_fine`].
pub(in crate::train) fn planes_as_fine(made: &mut [Plane; 3], original: &Rgb8, strength: f32) -> Result<Rgb8> {
    *made = opponent(made);
    for (made, original) in made.iter_mut().zip(&opponent(&pixels::planes(original))) {
        let wanted = bands(original).1.map(|band| strength.powi(2) * energy(&band));
        for _ in 0..ROUNDS {
            let (mut sum, bands) = bands(made);
            for (band, wanted) in bands.iter().zip(wanted) {
                // A flat picture has no detail that could be strengthened.
                let gain = (wanted / energy(band).max(1e-6)).sqrt().min(MOST);
                sum.data.iter_mut().zip(band).for_each(|(sum, value)| *sum += gain * value);
            }
            *made = sum;
        }
    }
    *made = rgb(made);
    pixels::from_planes(made)
}

/// Weights of R, G and B in the luma.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Luma, blue less luma, red less luma.
fn opponent([red, green, blue]: &[Plane; 3]) -> [Plane; 3] {
    let rows = red.data.iter().zip(&green.data).zip(&blue.data);
    let luma = rows.map(|((r, g), b)| LUMA[0] * r + LUMA[1] * g + LUMA[2] * b).collect();
    let luma = Plane { data: luma, ..*red };
    let less =
        |plane: &Plane| Plane { data: plane.data.iter().zip(&luma.data).map(|(v, l)| v - l).collect(), ..*plane };
    [luma.clone(), less(blue), less(red)]
}

/// Back from [`opponent`].
fn rgb([luma, blue, red]: &[Plane; 3]) -> [Plane; 3] {
    let more =
        |plane: &Plane| Plane { data: plane.data.iter().zip(&luma.data).map(|(v, l)| v + l).collect(), ..*plane };
    let (red, blue) = (more(red), more(blue));
    let rows = luma.data.iter().zip(&red.data).zip(&blue.data);
    let green = rows.map(|((l, r), b)| (l - LUMA[0] * r - LUMA[2] * b) / LUMA[1]).collect();
    [red, Plane { data: green, ..*luma }, blue]
}

/// The smooth part of a plane, and the bands of its detail.
fn bands(plane: &Plane) -> (Plane, [Vec<f32>; FINE_PX.len()]) {
    let blurred = FINE_PX.map(|sigma_px| plane.blurred(sigma_px));
    let band = |index: usize| {
        let finer = blurred.get(index + 1).unwrap_or(plane);
        finer.data.iter().zip(&blurred[index].data).map(|(fine, soft)| fine - soft).collect()
    };
    let bands = std::array::from_fn(band);
    let [smooth, ..] = blurred;
    (smooth, bands)
}

fn energy(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32
}

/// Gradient energy of `made` over that of `original`: 1 where both are equally sharp, less where the made one is softer.
/// `None` for an original without any.
pub fn ratio(made: &Rgb8, original: &Rgb8) -> Option<f64> {
    let [made, original] = [made, original].map(gradient_energy);
    (original > 0.0).then(|| made / original)
}

/// Mean squared step between neighbours of the luma, across and down.
fn gradient_energy(picture: &Rgb8) -> f64 {
    let luma = picture.luma();
    let width = picture.width;
    let square = |a: u8, b: u8| (f64::from(a) - f64::from(b)).powi(2);
    let across = luma.chunks_exact(width).flat_map(|row| row.windows(2).map(|pair| square(pair[0], pair[1])));
    let down = luma.iter().zip(luma.iter().skip(width)).map(|(a, b)| square(*a, *b));
    (across.sum::<f64>() + down.sum::<f64>()) / luma.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Stream, at, normal};

    fn noise(seed: u64) -> Rgb8 {
        let rng = &mut at(seed, Stream::Forging, 0, 0);
        Rgb8::new(48, 48, (0..48 * 48 * 3).map(|_| pixels::to_byte(128.0 + 20.0 * normal(rng))).collect()).unwrap()
    }

    #[test]
    fn a_softened_picture_gets_its_detail_back_and_a_half_strength_half_of_it() {
        let original = noise(1);
        let soft = pixels::blur(&original, 0.6).unwrap();
        assert!(ratio(&soft, &original).unwrap() < 0.5);
        let back = ratio(&as_fine(&soft, &original, 1.0).unwrap(), &original).unwrap();
        assert!((0.8..1.25).contains(&back), "{back}");
        let half = ratio(&as_fine(&soft, &original, 0.7).unwrap(), &original).unwrap();
        assert!(half < 0.7 * back, "{half} of {back}");
    }

    #[test]
    fn colours_go_back_and_forth() {
        let picture = noise(3);
        assert_eq!(pixels::from_planes(&rgb(&opponent(&pixels::planes(&picture)))).unwrap(), picture);
    }

    #[test]
    fn an_equal_picture_has_a_ratio_of_one_and_a_flat_original_none() {
        assert_eq!(ratio(&noise(2), &noise(2)), Some(1.0));
        assert_eq!(ratio(&noise(2), &Rgb8::new(48, 48, vec![9; 48 * 48 * 3]).unwrap()), None);
    }
}
