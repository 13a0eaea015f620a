//! Small picture operations that training needs and inference does not: other resampling kernels, blur, colour, warps.
//! The network's own resize lives in `input`.

use fast_image_resize as fir;
use serde::{Deserialize, Serialize};

use crate::picture::Rgb8;
use crate::{Error, ErrorKind, Result};

/// The resampling kernels that pictures meet on their way through the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// No filtering at all.
    Nearest,
    /// Area average.
    Box,
    /// Triangle.
    Bilinear,
    /// Pillow's Hamming.
    Hamming,
    /// Cubic, a = -0.5.
    CatmullRom,
    /// Softer cubic.
    Mitchell,
    /// Windowed sinc.
    Lanczos3,
}

/// All kernels that filter; `Nearest` is only drawn where its aliasing is wanted.
pub const SMOOTH_KERNELS: [Kernel; 6] =
    [Kernel::Box, Kernel::Bilinear, Kernel::Hamming, Kernel::CatmullRom, Kernel::Mitchell, Kernel::Lanczos3];

impl Kernel {
    fn algorithm(self) -> fir::ResizeAlg {
        let filter = match self {
            Kernel::Nearest => return fir::ResizeAlg::Nearest,
            Kernel::Box => fir::FilterType::Box,
            Kernel::Bilinear => fir::FilterType::Bilinear,
            Kernel::Hamming => fir::FilterType::Hamming,
            Kernel::CatmullRom => fir::FilterType::CatmullRom,
            Kernel::Mitchell => fir::FilterType::Mitchell,
            Kernel::Lanczos3 => fir::FilterType::Lanczos3,
        };
        fir::ResizeAlg::Convolution(filter)
    }
}

/// `picture` at `height` x `width`, antialiased when it shrinks (except `Nearest`).
///
/// # Errors
/// `Internal` when a side is zero or the buffer does not fit its sides.
pub fn resize_with(picture: &Rgb8, height: usize, width: usize, kernel: Kernel) -> Result<Rgb8> {
    if (height, width) == (picture.height, picture.width) {
        return Ok(picture.clone());
    }
    let failed =
        |e: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, format!("cannot resize to {height}x{width}: {e}"));
    let source =
        fir::images::ImageRef::new(picture.width as u32, picture.height as u32, &picture.data, fir::PixelType::U8x3)
            .map_err(|e| failed(&e))?;
    let mut target = fir::images::Image::new(width as u32, height as u32, fir::PixelType::U8x3);
    let options = fir::ResizeOptions::new().resize_alg(kernel.algorithm());
    fir::Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(&e))?;
    Rgb8::new(height, width, target.into_vec())
}

/// `picture` with its longer side at most `side_px`, proportions kept; never enlarged.
///
/// # Errors
/// As [`resize_with`].
pub fn shrink_to(picture: &Rgb8, side_px: usize, kernel: Kernel) -> Result<Rgb8> {
    let longer = picture.height.max(picture.width);
    if longer <= side_px {
        return Ok(picture.clone());
    }
    let scaled = |side: usize| ((side * side_px + longer / 2) / longer).max(1);
    resize_with(picture, scaled(picture.height), scaled(picture.width), kernel)
}

/// One value a pixel, rows from the top.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` values.
    pub data: Vec<f32>,
}

impl Plane {
    /// A plane of one value.
    pub fn filled(height: usize, width: usize, value: f32) -> Self {
        Plane { height, width, data: vec![value; height * width] }
    }

    /// The value at a place, which is reflected at the border.
    pub fn reflected(&self, row: isize, column: isize) -> f32 {
        self.data[reflect(row, self.height) * self.width + reflect(column, self.width)]
    }

    /// The value between pixels, bilinear, reflected at the border.
    pub fn sample(&self, y: f32, x: f32) -> f32 {
        let (row, column) = (y.floor(), x.floor());
        let (down, right) = (y - row, x - column);
        let at = |dy: isize, dx: isize| self.reflected(row as isize + dy, column as isize + dx);
        let upper = at(0, 0) * (1.0 - right) + at(0, 1) * right;
        let lower = at(1, 0) * (1.0 - right) + at(1, 1) * right;
        upper * (1.0 - down) + lower * down
    }

    /// Gaussian blur, separable, cut at three sigma; sigma 0 changes nothing.
    pub fn blurred(&self, sigma_px: f32) -> Plane {
        if sigma_px <= 0.0 {
            return self.clone();
        }
        let reach = (3.0 * sigma_px).ceil().max(1.0) as isize;
        let raw: Vec<f32> = (-reach..=reach).map(|d| (-0.5 * (d as f32 / sigma_px).powi(2)).exp()).collect();
        let total: f32 = raw.iter().sum();
        let weights: Vec<f32> = raw.iter().map(|w| w / total).collect();
        self.filtered_rows(&weights, reach).transposed().filtered_rows(&weights, reach).transposed()
    }

    fn filtered_rows(&self, weights: &[f32], reach: isize) -> Plane {
        let mut out = Plane::filled(self.height, self.width, 0.0);
        let mut padded = vec![0.0; self.width + 2 * reach as usize];
        for row in 0..self.height {
            let line = &self.data[row * self.width..(row + 1) * self.width];
            for (index, value) in padded.iter_mut().enumerate() {
                *value = line[reflect(index as isize - reach, self.width)];
            }
            for (column, value) in out.data[row * self.width..(row + 1) * self.width].iter_mut().enumerate() {
                *value = weights.iter().zip(&padded[column..]).map(|(w, v)| w * v).sum();
            }
        }
        out
    }

    fn transposed(&self) -> Plane {
        let mut out = Plane::filled(self.width, self.height, 0.0);
        for row in 0..self.height {
            for column in 0..self.width {
                out.data[column * self.height + row] = self.data[row * self.width + column];
            }
        }
        out
    }
}

/// The index inside `0..side` that a mirror at the border shows at `index` (the border pixel is repeated).
pub fn reflect(index: isize, side: usize) -> usize {
    let period = 2 * side as isize;
    let place = index.rem_euclid(period);
    (if place < side as isize { place } else { period - 1 - place }) as usize
}

/// The three channels on the 0..255 scale.
pub fn planes(picture: &Rgb8) -> [Plane; 3] {
    std::array::from_fn(|channel| Plane {
        height: picture.height,
        width: picture.width,
        data: picture.data.iter().skip(channel).step_by(3).map(|v| f32::from(*v)).collect(),
    })
}

/// Back to 8 bits, rounded and clipped.
///
/// # Errors
/// `Internal` when the planes differ in size.
pub fn from_planes(planes: &[Plane; 3]) -> Result<Rgb8> {
    let [red, green, blue] = planes;
    let mut data = Vec::with_capacity(red.data.len() * 3);
    for ((r, g), b) in red.data.iter().zip(&green.data).zip(&blue.data) {
        data.extend([r, g, b].map(|v| to_byte(*v)));
    }
    Rgb8::new(red.height, red.width, data)
}

/// Rounded and clipped to 0..=255.
pub fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Gaussian blur of a picture.
///
/// # Errors
/// As [`from_planes`].
pub fn blur(picture: &Rgb8, sigma_px: f32) -> Result<Rgb8> {
    from_planes(&planes(picture).map(|plane| plane.blurred(sigma_px)))
}

/// Every value `v` set against the Gaussian blur `b` around it: `combine(v, b)`, clipped.
///
/// # Errors
/// As [`from_planes`].
pub fn against_blur(picture: &Rgb8, sigma_px: f32, combine: impl Fn(f32, f32) -> f32) -> Result<Rgb8> {
    from_planes(&planes(picture).map(|plane| {
        let around = plane.blurred(sigma_px);
        let data = plane.data.iter().zip(&around.data).map(|(v, b)| combine(*v, *b)).collect();
        Plane { data, ..plane }
    }))
}

/// A change of colours: `((v - 128) * contrast + 128 + brightness) + shift` per channel, then saturation around the luma.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Colour {
    /// Added to all channels, 0..255 scale.
    pub brightness: f32,
    /// Factor around mid grey.
    pub contrast: f32,
    /// Factor around the luma; 0 is grey.
    pub saturation: f32,
    /// Added per channel, 0..255 scale.
    pub shift: [f32; 3],
}

impl Colour {
    /// Changes nothing.
    pub const SAME: Colour = Colour { brightness: 0.0, contrast: 1.0, saturation: 1.0, shift: [0.0; 3] };

    /// The picture with these colours.
    pub fn apply(&self, picture: &Rgb8) -> Rgb8 {
        let mut out = picture.clone();
        for pixel in out.data.chunks_exact_mut(3) {
            let mut rgb = [0.0; 3];
            for (channel, value) in rgb.iter_mut().enumerate() {
                let base = (f32::from(pixel[channel]) - 128.0) * self.contrast + 128.0;
                *value = base + self.brightness + self.shift[channel];
            }
            let luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
            for (channel, value) in rgb.iter().enumerate() {
                pixel[channel] = to_byte(luma + (value - luma) * self.saturation);
            }
        }
        out
    }
}

/// The picture mirrored left to right.
pub fn flipped(picture: &Rgb8) -> Rgb8 {
    let mut out = picture.clone();
    for row in out.data.chunks_exact_mut(picture.width * 3) {
        for column in 0..picture.width / 2 {
            for channel in 0..3 {
                row.swap(column * 3 + channel, (picture.width - 1 - column) * 3 + channel);
            }
        }
    }
    out
}

/// The picture seen through `source`, which maps a place of the result (y, x in pixels) to one of the input; bilinear,
/// reflected at the border.
pub fn warped(picture: &Rgb8, source: impl Fn(f32, f32) -> (f32, f32)) -> Rgb8 {
    warped_to(picture, picture.height, picture.width, source)
}

/// [`warped`] to another size.
pub fn warped_to(picture: &Rgb8, to_height: usize, to_width: usize, source: impl Fn(f32, f32) -> (f32, f32)) -> Rgb8 {
    let mut out = Rgb8 { height: to_height, width: to_width, data: vec![0; to_height * to_width * 3] };
    let (height, width) = (picture.height, picture.width);
    for row in 0..to_height {
        for column in 0..to_width {
            let (y, x) = source(row as f32, column as f32);
            let (top, left) = (y.floor(), x.floor());
            let (down, right) = (y - top, x - left);
            let rows = [reflect(top as isize, height), reflect(top as isize + 1, height)];
            let columns = [reflect(left as isize, width), reflect(left as isize + 1, width)];
            for channel in 0..3 {
                let at = |r: usize, c: usize| f32::from(picture.data[(rows[r] * width + columns[c]) * 3 + channel]);
                let upper = at(0, 0) * (1.0 - right) + at(0, 1) * right;
                let lower = at(1, 0) * (1.0 - right) + at(1, 1) * right;
                out.data[(row * to_width + column) * 3 + channel] = to_byte(upper * (1.0 - down) + lower * down);
            }
        }
    }
    out
}

/// The middle of a picture, `share` of its sides; above 1 the picture is continued by its mirror image.
pub fn middle(picture: &Rgb8, share: f32) -> Rgb8 {
    let side = |length: usize| ((length as f32 * share).round() as usize).max(1);
    let (height, width) = (side(picture.height), side(picture.width));
    if (height, width) == (picture.height, picture.width) {
        return picture.clone();
    }
    let first = |part: usize, length: usize| (length as isize - part as isize).div_euclid(2);
    let (top, left) = (first(height, picture.height), first(width, picture.width));
    let mut data = Vec::with_capacity(height * width * 3);
    for row in 0..height as isize {
        let from = reflect(top + row, picture.height) * picture.width;
        for column in 0..width as isize {
            let start = (from + reflect(left + column, picture.width)) * 3;
            data.extend_from_slice(&picture.data[start..start + 3]);
        }
    }
    Rgb8 { height, width, data }
}

/// The part of a picture inside the given borders.
///
/// # Errors
/// `Internal` when nothing is left.
pub fn trimmed(picture: &Rgb8, top: usize, left: usize, height: usize, width: usize) -> Result<Rgb8> {
    if height == 0 || width == 0 || top + height > picture.height || left + width > picture.width {
        let message = format!(
            "expected a part inside {}x{}, found {height}x{width} at {top},{left}",
            picture.height, picture.width
        );
        return Err(Error::new(ErrorKind::Internal, message));
    }
    let mut data = Vec::with_capacity(height * width * 3);
    for row in top..top + height {
        let start = (row * picture.width + left) * 3;
        data.extend_from_slice(&picture.data[start..start + width * 3]);
    }
    Rgb8::new(height, width, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(height: usize, width: usize) -> Rgb8 {
        let data = (0..height * width * 3).map(|i| (i * 7 % 251) as u8).collect();
        Rgb8::new(height, width, data).unwrap()
    }

    #[test]
    fn reflection_repeats_the_border() {
        let seen: Vec<usize> = (-3..6).map(|i| reflect(i, 3)).collect();
        assert_eq!(seen, [2, 1, 0, 0, 1, 2, 2, 1, 0]);
    }

    #[test]
    fn planes_go_back_and_forth() {
        let picture = ramp(5, 4);
        assert!(from_planes(&planes(&picture)).unwrap() == picture);
    }

    #[test]
    fn flipping_twice_changes_nothing_and_once_does() {
        let picture = ramp(3, 5);
        assert!(flipped(&picture) != picture);
        assert!(flipped(&flipped(&picture)) == picture);
    }

    #[test]
    fn the_identity_warp_changes_nothing_and_a_shift_moves_pixels() {
        let picture = ramp(6, 6);
        assert!(warped(&picture, |y, x| (y, x)) == picture);
        let moved = warped(&picture, |y, x| (y, x + 1.0));
        assert_eq!(moved.data[..3], picture.data[3..6]);
    }

    #[test]
    fn blur_keeps_a_constant_and_the_mean_of_a_spot() {
        let grey = Plane::filled(9, 9, 40.0);
        assert!(grey.blurred(1.5).data.iter().all(|v| (v - 40.0).abs() < 1e-3));
        let mut spot = Plane::filled(15, 15, 0.0);
        spot.data[7 * 15 + 7] = 100.0;
        let soft = spot.blurred(1.0);
        assert!((soft.data.iter().sum::<f32>() - 100.0).abs() < 1e-2);
        assert!(soft.data[7 * 15 + 7] < 20.0);
    }

    #[test]
    fn same_colours_change_nothing_and_zero_saturation_is_grey() {
        let picture = ramp(4, 4);
        assert!(Colour::SAME.apply(&picture) == picture);
        let grey = Colour { saturation: 0.0, ..Colour::SAME }.apply(&picture);
        assert!(grey.data.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]));
    }

    #[test]
    fn shrinking_keeps_proportions_and_never_enlarges() {
        let picture = ramp(40, 20);
        let small = shrink_to(&picture, 20, Kernel::Lanczos3).unwrap();
        assert_eq!((small.height, small.width), (20, 10));
        assert!(shrink_to(&picture, 100, Kernel::Box).unwrap() == picture);
    }

    #[test]
    fn the_middle_is_cut_and_continued_by_a_mirror() {
        let picture = ramp(8, 8);
        assert!(middle(&picture, 1.0) == picture);
        let half = middle(&picture, 0.5);
        assert_eq!((half.height, half.width), (4, 4));
        assert_eq!(half.pixel(0, 0), picture.pixel(2, 2));
        let wide = middle(&picture, 1.5);
        assert_eq!((wide.pixel(2, 2), wide.pixel(1, 3)), (picture.pixel(0, 0), picture.pixel(0, 1)));
    }

    #[test]
    fn trimming_outside_is_refused() {
        let picture = ramp(4, 4);
        assert_eq!(trimmed(&picture, 1, 1, 2, 3).unwrap().data[..3], picture.data[15..18]);
        assert!(trimmed(&picture, 3, 0, 2, 2).is_err());
    }
}
