//! Fakes made on the fly from real pictures: self-blended images (Shiohara and Yamasaki 2022, re-implemented from the
//! facts in the market survey 1.5) for face swaps, and up-sampling traces (the idea of AutoGAN, Zhang et al. 2019) for
//! generators. Both look like their real twin, so that only the traces tell them apart.

use serde::{Deserialize, Serialize};

use super::detail::planes_as_fine;
use super::hull::{Outline, Place};
use super::pixels::{self, Colour, Kernel, Plane, SMOOTH_KERNELS, reflect};
use crate::Result;
use crate::picture::{Limits, Rgb8, decode, encode_jpeg};
use crate::train::rng::{TrainRng, between, between_log, chance, normal, pick};

/// How fakes are made from real pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForgeConfig {
    /// Elastic deformation of the blend mask: strength and smoothness in pixels (paper: 50 and 7).
    pub elastic: [f32; 2],
    /// Blur of the mask before what is not fully inside is dropped: least and most, as shares of the side.
    pub first_blur: [f32; 2],
    /// Blur of what is left.
    pub second_blur: [f32; 2],
    /// Blend ratios, drawn with equal chances (paper: .25 .5 .75 1 1 1).
    pub blend_ratios: Vec<f32>,
    /// Share of masks that are another hull than that of the whole face.
    pub partial: f32,
    /// Share of self-blended pairs that are JPEG files before all degradations, both alike.
    pub encode: f32,
    /// Their quality.
    pub quality: [f32; 2],
    /// Sides at which up-sampling traces are made, log-uniform: the traces must survive the network's size.
    pub trace_side_px: [f32; 2],
    /// How much of the up-sampled picture is taken.
    pub trace_strength: [f32; 2],
    /// Strength of the fine detail of an up-sampled picture, in that of its twin.
    pub trace_detail: [f32; 2],
}

impl Default for ForgeConfig {
    fn default() -> Self {
        ForgeConfig {
            elastic: [50.0, 7.0],
            first_blur: [0.004, 0.021],
            second_blur: [0.006, 0.037],
            blend_ratios: vec![0.25, 0.5, 0.75, 1.0, 1.0, 1.0],
            partial: 0.25,
            encode: 0.5,
            quality: [40.0, 100.0],
            trace_side_px: [96.0, 224.0],
            trace_strength: [0.5, 1.0],
            trace_detail: [0.9, 1.1],
        }
    }
}

/// `target` with `source` laid over it: `mask * ratio` of the source, the rest of the target. The mask is 0..1.
///
/// # Errors
/// `Internal` when the sizes differ.
pub fn blend(target: &Rgb8, source: &Rgb8, mask: &Plane, ratio: f32) -> Result<Rgb8> {
    let mut data = target.data.clone();
    for ((pixel, other), share) in data.chunks_exact_mut(3).zip(source.data.chunks_exact(3)).zip(&mask.data) {
        let share = share * ratio;
        for (value, new) in pixel.iter_mut().zip(other) {
            *value = pixels::to_byte(f32::from(*value) * (1.0 - share) + f32::from(*new) * share);
        }
    }
    Rgb8::new(target.height, target.width, data)
}

/// A soft mask over a face: its outline, elastically deformed and blurred twice. Values 0..1.
pub fn face_mask(height: usize, width: usize, outline: &Outline, config: &ForgeConfig, rng: &mut TrainRng) -> Plane {
    let places = (0..height * width).map(|index| [(index / width) as f32 + 0.5, (index % width) as f32 + 0.5]);
    let within = |[y, x]: [f32; 2]| outline.holds([y / height as f32, x / width as f32]);
    let hard = Plane { height, width, data: places.map(|place| f32::from(u8::from(within(place)))).collect() };
    let side = height.max(width) as f32;
    let bent = elastic(&hard, config.elastic[0], config.elastic[1], rng);
    let soft = bent.blurred(between(rng, config.first_blur[0], config.first_blur[1]) * side);
    // Paper: what is not fully inside after the first blur is dropped, then blurred again, so the edge lies inside the face.
    let core = Plane { data: soft.data.iter().map(|v| if *v < 0.99 { 0.0 } else { *v }).collect(), ..soft };
    let edge = core.blurred(between(rng, config.second_blur[0], config.second_blur[1]) * side);
    let peak = edge.data.iter().fold(0.0f32, |a, b| a.max(*b));
    if peak <= 0.0 {
        return edge;
    }
    Plane { data: edge.data.iter().map(|v| (v / peak).clamp(0.0, 1.0)).collect(), ..edge }
}

/// Moves every place by smoothed noise of the given strength and smoothness (Simard 2003), as albumentations does:
/// uniform noise in -1..1, blurred, times the strength.
fn elastic(plane: &Plane, strength_px: f32, sigma_px: f32, rng: &mut TrainRng) -> Plane {
    let mut field = || {
        let data = (0..plane.data.len()).map(|_| between(rng, -1.0, 1.0)).collect();
        Plane { height: plane.height, width: plane.width, data }.blurred(sigma_px)
    };
    let (down, right) = (field(), field());
    let mut out = plane.clone();
    for row in 0..plane.height {
        for column in 0..plane.width {
            let index = row * plane.width + column;
            let y = row as f32 + strength_px * down.data[index];
            let x = column as f32 + strength_px * right.data[index];
            out.data[index] = plane.sample(y, x);
        }
    }
    out
}

/// A pair of a real and a self-blended picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Blended {
    /// The real one: the picture, or in half of the draws a changed copy of it.
    pub real: Rgb8,
    /// The same with another copy laid over its face.
    pub fake: Rgb8,
    /// How much of each place of the fake comes from the other copy.
    pub mask: Plane,
}

/// A self-blended image beside its real twin: of two copies of the picture one gets other statistics and the one that is laid
/// over the other moves a little, with its mask. The one below *is* the real of the pair, changed or not: beside the
/// unchanged picture its colours and its sharpness would tell it out to the border, and nobody would look for the seam.
///
/// # Errors
/// `Internal` when the picture contradicts itself.
pub fn self_blend(picture: &Rgb8, place: &Place, config: &ForgeConfig, rng: &mut TrainRng) -> Result<Blended> {
    let changed = change_statistics(picture, rng)?;
    // Paper: the change goes to the source or to the target with equal chances.
    let (source, real) = if chance(rng, 0.5) { (changed, picture.clone()) } else { (picture.clone(), changed) };
    let shift = Shift::draw(rng);
    let outline = place.outline(config.partial, rng).moved(|corner| shift.to(corner));
    let mut mask = face_mask(picture.height, picture.width, &outline, config, rng);
    let ratio = *pick(rng, &config.blend_ratios);
    let fake = blend(&real, &shift.apply(&source), &mask, ratio)?;
    mask.data.iter_mut().for_each(|v| *v *= ratio);
    if !chance(rng, config.encode) {
        return Ok(Blended { real, fake, mask });
    }
    let quality = between(rng, config.quality[0], config.quality[1]).round() as u8;
    let coded = |picture: &Rgb8| -> Result<Rgb8> {
        Ok(decode(&encode_jpeg(picture, quality, false)?, &Limits::default())?.pixels)
    };
    Ok(Blended { real: coded(&real)?, fake: coded(&fake)?, mask })
}

/// A picture whose face was brought down in resolution, blurred and put back: the only trace that FWA (Li and Lyu 2019)
/// learns.
///
/// # Errors
/// `Internal` when the picture contradicts itself.
pub fn coarse_face(picture: &Rgb8, place: &Place, rng: &mut TrainRng) -> Result<Rgb8> {
    let factor = between(rng, 0.2, 0.7);
    let small = |side: usize| ((side as f32 * factor) as usize).max(8);
    let down = pixels::resize_with(picture, small(picture.height), small(picture.width), Kernel::Box)?;
    let blurred = pixels::blur(&down, between(rng, 0.5, 1.1))?;
    let coarse = pixels::resize_with(&blurred, picture.height, picture.width, Kernel::Bilinear)?;
    let outline = place.outline(0.0, rng);
    let mask = face_mask(picture.height, picture.width, &outline, &ForgeConfig::default(), rng);
    blend(picture, &coarse, &mask, 1.0)
}

/// Largest change of a channel, 0..255 scale.
const RGB_SHIFT: f32 = 20.0;
/// Share with such a change.
const RGB_SHIFTED: f32 = 0.3;
/// Largest change of brightness and contrast, as shares.
const BRIGHTNESS_CONTRAST: f32 = 0.1;
/// By what the picture is brought down and up again.
const COARSER: [usize; 2] = [2, 4];
/// Share of the sharpening kernel beside the picture, and what the kernel's weights sum to.
const SHARPEN: ([f32; 2], [f32; 2]) = ([0.2, 0.5], [0.5, 1.0]);

/// Other statistics, as published: colours, then either coarser or sharper.
fn change_statistics(picture: &Rgb8, rng: &mut TrainRng) -> Result<Rgb8> {
    let mut colour = Colour::SAME;
    if chance(rng, RGB_SHIFTED) {
        colour.shift = std::array::from_fn(|_| RGB_SHIFT * between(rng, -1.0, 1.0));
    }
    colour.brightness = 255.0 * BRIGHTNESS_CONTRAST * between(rng, -1.0, 1.0);
    colour.contrast = 1.0 + BRIGHTNESS_CONTRAST * between(rng, -1.0, 1.0);
    let seen = colour.apply(picture);
    if chance(rng, 0.5) {
        // Down without a filter: its aliasing is the trace.
        let factor = *pick(rng, &COARSER);
        let small = |side: usize| (side / factor).max(8);
        let coarse = pixels::resize_with(&seen, small(seen.height), small(seen.width), Kernel::Nearest)?;
        return pixels::resize_with(&coarse, seen.height, seen.width, Kernel::Bilinear);
    }
    let ([weak, strong], [dark, light]) = SHARPEN;
    sharpened(&seen, between(rng, weak, strong), between(rng, dark, light))
}

/// Mixed with what a kernel of -1 around 8 + `lightness` makes of it.
fn sharpened(picture: &Rgb8, alpha: f32, lightness: f32) -> Result<Rgb8> {
    let kernel: [f32; 9] =
        std::array::from_fn(|tap| if tap == 4 { 1.0 - alpha + alpha * (8.0 + lightness) } else { -alpha });
    pixels::from_planes(&pixels::planes(picture).map(|plane| convolved(&plane, &kernel)))
}

/// How the copy on top moves (paper): up to 3 % across, 1.5 % down, scaled by up to 5 %.
struct Shift {
    /// Down and across, as shares of height and width.
    by: [f32; 2],
    scale: f32,
}

impl Shift {
    fn draw(rng: &mut TrainRng) -> Self {
        let across = 0.03 * between(rng, -1.0, 1.0);
        let down = 0.015 * between(rng, -1.0, 1.0);
        Shift { by: [down, across], scale: between(rng, 0.95, 1.0 / 0.95) }
    }

    /// Where a place goes.
    fn to(&self, place: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| (place[axis] - 0.5 - self.by[axis]) * self.scale + 0.5)
    }

    /// The moved picture.
    fn apply(&self, picture: &Rgb8) -> Rgb8 {
        let sides = [picture.height as f32, picture.width as f32];
        pixels::warped(picture, |y, x| {
            let from = |axis: usize, place: f32| {
                let middle = sides[axis] / 2.0 - 0.5;
                (place - middle) / self.scale + middle + self.by[axis] * sides[axis]
            };
            (from(0, y), from(1, x))
        })
    }
}

fn stretched(mask: &Plane, height: usize, width: usize) -> Plane {
    let mut out = Plane::filled(height, width, 0.0);
    for row in 0..height {
        for column in 0..width {
            let y = (row as f32 + 0.5) / height as f32 * mask.height as f32 - 0.5;
            let x = (column as f32 + 0.5) / width as f32 * mask.width as f32 - 0.5;
            out.data[row * width + column] = mask.sample(y, x);
        }
    }
    out
}

/// The last step of a generator's decoder, as it enlarges by two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoder {
    /// Every value four times, then a 3x3 convolution.
    NearestConv,
    /// Zeros between the values, then a 4x4 kernel: a transposed convolution, with its checkerboard.
    Transposed,
    /// Each of the four new pixels has its own 3x3 kernel.
    PixelShuffle,
    /// Bilinear, then a 3x3 convolution.
    BilinearConv,
}

const DECODERS: [Decoder; 4] =
    [Decoder::NearestConv, Decoder::Transposed, Decoder::PixelShuffle, Decoder::BilinearConv];

/// A picture with the traces of an up-sampling decoder, and its real twin at the same size: both are first brought to one
/// side, then the fake goes down and up again through random kernels, and its fine detail is brought to the twin's strength.
///
/// # Errors
/// `Internal` when the picture contradicts itself.
pub fn up_sampling_traces(picture: &Rgb8, config: &ForgeConfig, rng: &mut TrainRng) -> Result<(Rgb8, Rgb8)> {
    let [low, high] = config.trace_side_px;
    let side_px = (between_log(rng, low, high) / 4.0).round() as usize * 4;
    let small = pixels::shrink_to(picture, side_px, *pick(rng, &SMOOTH_KERNELS))?;
    // Even sides, so that twice half is the same again.
    let even = |side: usize| (side / 4 * 4).max(4);
    let twin = pixels::trimmed(&small, 0, 0, even(small.height), even(small.width))?;
    let levels = if chance(rng, 0.3) { 2 } else { 1 };
    let shrink = *pick(rng, &SMOOTH_KERNELS);
    let half = pixels::resize_with(&twin, twin.height >> levels, twin.width >> levels, shrink)?;
    let mut up = pixels::planes(&half);
    for _ in 0..levels {
        let decoder = *pick(rng, &DECODERS);
        let kernels = DecoderKernels::draw(decoder, rng);
        up = up.map(|plane| kernels.enlarge(&plane));
    }
    let strength = between(rng, config.trace_strength[0], config.trace_strength[1]);
    // What the detour lost is partly put back, as a decoder invents detail: otherwise blur alone would give it away.
    let detail = between(rng, 0.3, 0.9);
    let original = pixels::planes(&twin);
    for (plane, original) in up.iter_mut().zip(&original) {
        let loss =
            Plane { data: original.data.iter().zip(&plane.data).map(|(a, b)| a - b).collect(), ..original.clone() };
        let smooth_loss = loss.blurred(0.7);
        for (index, value) in plane.data.iter_mut().enumerate() {
            let rebuilt = *value + detail * smooth_loss.data[index];
            *value = original.data[index] * (1.0 - strength) + rebuilt * strength;
        }
    }
    let strength = between(rng, config.trace_detail[0], config.trace_detail[1]);
    Ok((planes_as_fine(&mut up, &twin, strength)?, twin))
}

/// The random weights of one [`Decoder`].
struct DecoderKernels {
    decoder: Decoder,
    /// One kernel of 3x3 (or 4x4), or one for each of the four phases.
    kernels: Vec<Vec<f32>>,
}

impl DecoderKernels {
    fn draw(decoder: Decoder, rng: &mut TrainRng) -> Self {
        let near = |base: &[f32], spread: f32, rng: &mut TrainRng| -> Vec<f32> {
            let raw: Vec<f32> = base.iter().map(|v| v + spread * normal(rng)).collect();
            let sum: f32 = raw.iter().sum();
            // Divided by their sum, so that a flat area keeps its colour; a sum near zero cannot be and is drawn away.
            if sum.abs() < 0.3 { base.to_vec() } else { raw.iter().map(|v| v / sum).collect() }
        };
        let sharpness = between(rng, 0.3, 1.2);
        let bell: Vec<f32> = (0..9)
            .map(|i| (-sharpness * ((i / 3 - 1) * (i / 3 - 1) + (i % 3 - 1) * (i % 3 - 1)) as f32).exp())
            .collect();
        let total: f32 = bell.iter().sum();
        let bell: Vec<f32> = bell.iter().map(|v| v / total).collect();
        let kernels = match decoder {
            Decoder::NearestConv | Decoder::BilinearConv => vec![near(&bell, 0.03, rng)],
            // Bilinear as a 4x4 transposed convolution has the rows .25 .75 .75 .25; noise makes phases unequal.
            Decoder::Transposed => {
                let line = [0.25f32, 0.75, 0.75, 0.25];
                let base: Vec<f32> = (0..16).map(|i| line[i / 4] * line[i % 4]).collect();
                vec![base.iter().map(|v| v + 0.025 * normal(rng)).collect()]
            }
            Decoder::PixelShuffle => (0..4)
                .map(|phase| {
                    let line = |late: bool| if late { [0.0f32, 0.75, 0.25] } else { [0.25, 0.75, 0.0] };
                    let (rows, columns) = (line(phase / 2 == 1), line(phase % 2 == 1));
                    let base: Vec<f32> = (0..9).map(|i| rows[i / 3] * columns[i % 3]).collect();
                    near(&base, 0.03, rng)
                })
                .collect(),
        };
        DecoderKernels { decoder, kernels }
    }

    /// The plane at twice its size.
    fn enlarge(&self, plane: &Plane) -> Plane {
        let (height, width) = (2 * plane.height, 2 * plane.width);
        let mut out = Plane::filled(height, width, 0.0);
        match self.decoder {
            Decoder::NearestConv => {
                for (index, value) in out.data.iter_mut().enumerate() {
                    *value = plane.data[index / width / 2 * plane.width + index % width / 2];
                }
                convolved(&out, &self.kernels[0])
            }
            Decoder::BilinearConv => convolved(&stretched(plane, height, width), &self.kernels[0]),
            Decoder::Transposed => {
                // Output (y, x) gathers the inputs (i, j) with y + 1 - 2 i in 0..4, the same across (padding 1).
                for (index, value) in out.data.iter_mut().enumerate() {
                    let (y, x) = ((index / width) as isize + 1, (index % width) as isize + 1);
                    for i in [y.div_euclid(2), y.div_euclid(2) - 1] {
                        for j in [x.div_euclid(2), x.div_euclid(2) - 1] {
                            let tap = (y - 2 * i) * 4 + (x - 2 * j);
                            *value += self.kernels[0][tap as usize] * plane.reflected(i, j);
                        }
                    }
                }
                out
            }
            Decoder::PixelShuffle => {
                for (index, value) in out.data.iter_mut().enumerate() {
                    let (y, x) = (index / width, index % width);
                    let kernel = &self.kernels[y % 2 * 2 + x % 2];
                    *value = around(plane, y / 2, x / 2, kernel);
                }
                out
            }
        }
    }
}

fn around(plane: &Plane, row: usize, column: usize, kernel: &[f32]) -> f32 {
    let rows = [-1, 0, 1].map(|d| reflect(row as isize + d, plane.height) * plane.width);
    let columns = [-1, 0, 1].map(|d| reflect(column as isize + d, plane.width));
    let mut sum = 0.0;
    for (index, weight) in kernel.iter().enumerate() {
        sum += weight * plane.data[rows[index / 3] + columns[index % 3]];
    }
    sum
}

fn convolved(plane: &Plane, kernel: &[f32]) -> Plane {
    let mut out = plane.clone();
    for (index, value) in out.data.iter_mut().enumerate() {
        *value = around(plane, index / plane.width, index % plane.width, kernel);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::looks::detail::ratio;
    use crate::train::looks::hull::tests::schematic;
    use crate::train::looks::ring::tests::textured;
    use crate::train::rng::{Stream, at};

    fn picture(side: usize) -> Rgb8 {
        let value = |i: usize| {
            let (row, column) = (i / 3 / side, i / 3 % side);
            128.0 + 60.0 * ((row as f32) * 0.21 + i as f32 % 3.0).sin() + 40.0 * ((column * row) as f32 * 0.013).cos()
        };
        Rgb8::new(side, side, (0..side * side * 3).map(|i| value(i) as u8).collect()).unwrap()
    }

    fn difference(a: &Rgb8, b: &Rgb8) -> f64 {
        a.data.iter().zip(&b.data).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum::<f64>()
            / a.data.len() as f64
    }

    #[test]
    fn masks_are_soft_lie_in_the_face_and_differ_from_draw_to_draw() {
        let config = ForgeConfig::default();
        let mut areas = Vec::new();
        for slot in 0..20 {
            let rng = &mut at(2, Stream::Forging, 0, slot);
            let outline = Place::default().outline(config.partial, rng);
            let mask = face_mask(96, 96, &outline, &config, rng);
            assert!(mask.data.iter().all(|v| (0.0..=1.0).contains(v)));
            let corners = [0, 95, 95 * 96, 96 * 96 - 1];
            assert!(corners.iter().all(|index| mask.data[*index] < 0.02), "draw {slot} reaches a corner");
            areas.push(mask.data.iter().sum::<f32>() / mask.data.len() as f32);
        }
        assert!(areas.iter().filter(|area| **area > 0.02).count() >= 18, "{areas:?}");
        assert!(areas.iter().all(|area| *area < 0.6), "{areas:?}");
        assert!(areas.iter().any(|area| (area - areas[0]).abs() > 0.02), "{areas:?}");
    }

    #[test]
    fn blending_nothing_changes_nothing_and_blending_all_gives_the_source() {
        let (target, source) = (picture(32), Rgb8::new(32, 32, vec![7; 32 * 32 * 3]).unwrap());
        let full = Plane::filled(32, 32, 1.0);
        assert!(blend(&target, &source, &full, 0.0).unwrap() == target);
        assert!(blend(&target, &source, &full, 1.0).unwrap() == source);
    }

    #[test]
    fn a_blend_differs_only_inside_its_mask() {
        let (target, source) = (picture(32), Rgb8::new(32, 32, vec![7; 32 * 32 * 3]).unwrap());
        let mut mask = Plane::filled(32, 32, 0.0);
        mask.data[5 * 32 + 9] = 0.5;
        let seen = blend(&target, &source, &mask, 1.0).unwrap();
        let changed: Vec<usize> =
            (0..32 * 32).filter(|i| seen.data[i * 3..i * 3 + 3] != target.data[i * 3..i * 3 + 3]).collect();
        assert_eq!(changed, [5 * 32 + 9]);
    }

    #[test]
    fn a_coarse_face_loses_detail_in_the_middle_only() {
        for slot in 0..6 {
            let seen = coarse_face(&picture(96), &Place::default(), &mut at(5, Stream::Forging, 0, slot)).unwrap();
            let detail = |picture: &Rgb8, rows: std::ops::Range<usize>| -> f64 {
                let step = |i: usize| (f64::from(picture.data[i]) - f64::from(picture.data[i + 3])).abs();
                rows.map(|row| (40..56).map(|column| step((row * 96 + column) * 3)).sum::<f64>()).sum()
            };
            assert!(detail(&seen, 44..56) < 0.9 * detail(&picture(96), 44..56), "draw {slot}");
            assert_eq!(seen.data[..96 * 3], picture(96).data[..96 * 3], "draw {slot} reaches the border");
        }
    }

    #[test]
    fn self_blends_stay_close_and_are_never_the_picture_itself() {
        let config = ForgeConfig::default();
        for slot in 0..12 {
            let rng = &mut at(3, Stream::Forging, 0, slot);
            let Blended { real, fake, mask } = self_blend(&picture(96), &Place::default(), &config, rng).unwrap();
            assert!(mask.data.iter().all(|v| (0.0..=1.0).contains(v)));
            let changed = difference(&fake, &real);
            assert!(changed > 0.01 && changed < 40.0, "draw {slot}: {changed}");
        }
    }

    #[test]
    fn the_real_of_a_self_blended_pair_is_what_lies_below_and_half_of_them_are_changed() {
        let config = ForgeConfig { encode: 0.0, ..ForgeConfig::default() };
        let mut changed = 0;
        for slot in 0..40 {
            let rng = &mut at(6, Stream::Forging, 0, slot);
            let Blended { real, fake, mask } = self_blend(&picture(64), &Place::default(), &config, rng).unwrap();
            for (index, share) in mask.data.iter().enumerate() {
                let same = real.data[3 * index..3 * index + 3] == fake.data[3 * index..3 * index + 3];
                assert!(*share > 0.0 || same, "draw {slot} differs at {index}, outside its mask");
            }
            changed += usize::from(real != picture(64));
        }
        assert!((10..=30).contains(&changed), "{changed} of 40 targets are changed");
    }

    #[test]
    fn a_mask_lies_where_the_points_are() {
        let points = schematic([0.35, 0.6], 0.3);
        let place = Place { points: Some(&points), margin: 2.0 };
        let config = ForgeConfig { encode: 0.0, blend_ratios: vec![1.0], ..ForgeConfig::default() };
        let mut middle = [0.0f32; 2];
        for slot in 0..12 {
            let mask = self_blend(&picture(96), &place, &config, &mut at(8, Stream::Forging, 0, slot)).unwrap().mask;
            let all = mask.data.iter().sum::<f32>().max(1e-6);
            for (index, share) in mask.data.iter().enumerate() {
                middle[0] += share / all * (index / 96) as f32 / 96.0 / 12.0;
                middle[1] += share / all * (index % 96) as f32 / 96.0 / 12.0;
            }
        }
        assert!((middle[0] - 0.37).abs() < 0.06 && (middle[1] - 0.6).abs() < 0.04, "{middle:?}");
    }

    #[test]
    fn a_moved_place_is_where_the_moved_picture_shows_it() {
        let shift = Shift { by: [0.1, -0.2], scale: 1.05 };
        let mut spot = Rgb8::new(60, 60, vec![0; 60 * 60 * 3]).unwrap();
        spot.data[(33 * 60 + 21) * 3..][..3].fill(255);
        let seen = shift.apply(&spot);
        let brightest = (0..60 * 60).max_by_key(|index| seen.data[index * 3]).unwrap();
        let [y, x] = shift.to([33.5 / 60.0, 21.5 / 60.0]);
        let found = [(brightest / 60) as f32 + 0.5, (brightest % 60) as f32 + 0.5];
        assert!((found[0] - 60.0 * y).abs() < 0.7 && (found[1] - 60.0 * x).abs() < 0.7, "{found:?} for {y} {x}");
    }

    #[test]
    fn up_sampled_pictures_are_as_sharp_as_their_twins() {
        let config = ForgeConfig::default();
        let mut ratios: Vec<f64> = (0..24)
            .map(|slot| {
                let rng = &mut at(9, Stream::Forging, 0, slot);
                let (fake, twin) = up_sampling_traces(&textured(144, slot), &config, rng).unwrap();
                ratio(&fake, &twin).unwrap()
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let softer = ratios.iter().filter(|ratio| **ratio < 1.0).count();
        assert!((0.85..1.15).contains(&ratios[12]), "{ratios:?}");
        assert!((4..=20).contains(&softer), "{softer} of 24 are softer than their twins: {ratios:?}");
    }

    #[test]
    fn traces_keep_size_and_flat_areas_but_change_texture() {
        let config = ForgeConfig::default();
        let flat = Rgb8::new(128, 128, vec![90; 128 * 128 * 3]).unwrap();
        for slot in 0..12 {
            let (fake, twin) =
                up_sampling_traces(&picture(128), &config, &mut at(4, Stream::Forging, 0, slot)).unwrap();
            assert_eq!((fake.height, fake.width), (twin.height, twin.width));
            let changed = difference(&fake, &twin);
            assert!(changed > 0.05 && changed < 30.0, "draw {slot}: {changed}");
            let (fake, twin) = up_sampling_traces(&flat, &config, &mut at(4, Stream::Forging, 0, slot)).unwrap();
            // A transposed convolution with unequal phases leaves its checkerboard even on a flat area.
            assert!(difference(&fake, &twin) < 12.0, "draw {slot}: {}", difference(&fake, &twin));
        }
    }

    #[test]
    fn without_noise_each_decoder_keeps_a_flat_plane() {
        let bilinear = |decoder| match decoder {
            Decoder::Transposed => {
                let line = [0.25f32, 0.75, 0.75, 0.25];
                vec![(0..16).map(|i| line[i / 4] * line[i % 4]).collect::<Vec<f32>>()]
            }
            _ => vec![vec![1.0 / 9.0; 9]; 4],
        };
        for decoder in DECODERS {
            let up = DecoderKernels { decoder, kernels: bilinear(decoder) }.enlarge(&Plane::filled(6, 5, 50.0));
            assert_eq!((up.height, up.width), (12, 10));
            assert!(up.data.iter().all(|v| (v - 50.0).abs() < 1e-3), "{decoder:?}");
        }
    }

    #[test]
    fn the_same_address_forges_the_same() {
        let config = ForgeConfig::default();
        let make = |slot| {
            self_blend(&picture(64), &Place::default(), &config, &mut at(5, Stream::Forging, 1, slot)).unwrap().fake
        };
        assert!(make(0) == make(0));
        assert!(make(0) != make(1));
    }
}
