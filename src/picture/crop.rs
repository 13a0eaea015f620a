//! A face in a photo -> the network's input. The only home of the crop and normalisation constants, and of the one
//! filter by which pictures are resized for the network.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, ErrorKind, Result};
use crate::picture::Rgb8;
use crate::report::Bounds;

/// Side of the square crop as a multiple of the longer side of the face box.
pub const CROP_MARGIN: f32 = 1.3;
/// Faces whose box is smaller than this (longer side) are not judged: too few pixels carry traces.
pub const MIN_FACE_PX: u32 = 64;

/// Longest side of a crop: larger squares are brought down to it, so that a huge face box cannot ask for more memory
/// than this takes. Several times the network's input.
const MAX_CROP_PX: usize = 1024;
/// Squares up to this side are copied out of the photo as they are and resized in one step; of larger ones the whole photo
/// is brought down first, because a box may reach far over the border and a copy of all that would not fit.
const MAX_COPY_PX: f64 = 4096.0;

/// Cuts the square of `margin` x the longer side of `bounds`, round the box's centre. What lies outside the photo is
/// mirrored at its border without repeating the border pixel (`dcb|abcd|cba` has a and d once), as often as needed, so
/// the box may lie outside entirely. Squares above 1024 px come back at 1024 px.
///
/// A box that is not finite or has no extent gives [`whole_square`].
pub fn crop_square(photo: &Rgb8, bounds: &Bounds, margin: f32) -> Rgb8 {
    let Some((centre_y, centre_x, side)) = square(bounds, margin) else { return whole_square(photo) };
    if side.round() <= MAX_CROP_PX as f64 {
        return cut(photo, centre_y, centre_x, side);
    }
    if side <= MAX_COPY_PX
        && let Ok(square) = window(photo, [centre_y, centre_x], side, MAX_CROP_PX)
    {
        return square;
    }
    let scale = MAX_CROP_PX as f64 / side;
    let shrink = |length: usize| ((length as f64 * scale).round() as usize).max(1);
    match resize(photo, shrink(photo.height), shrink(photo.width)) {
        Ok(small) => cut(&small, centre_y * scale, centre_x * scale, MAX_CROP_PX as f64),
        // Only an Rgb8 whose public fields contradict each other gets here; `cut` would panic on it as well.
        Err(error) => panic!("a photo is a picture: {error}"),
    }
}

/// Centre (y, x) and side of the square of a box; absent when it is not finite or has no extent.
fn square(bounds: &Bounds, margin: f32) -> Option<(f64, f64, f64)> {
    let side = f64::from(bounds.width.max(bounds.height)) * f64::from(margin);
    let centre_x = f64::from(bounds.x) + f64::from(bounds.width) / 2.0;
    let centre_y = f64::from(bounds.y) + f64::from(bounds.height) / 2.0;
    let usable = side.is_finite() && side > 0.0 && centre_x.is_finite() && centre_y.is_finite();
    usable.then_some((centre_y, centre_x, side))
}

/// The largest centred square, for pictures that are already face crops. Above 1024 px it comes back at 1024 px.
pub fn whole_square(photo: &Rgb8) -> Rgb8 {
    crop_square(photo, &whole_bounds(photo), 1.0)
}

/// Where [`whole_square`] lies: on whole pixels, so that nothing is shifted by half of one.
pub fn whole_bounds(photo: &Rgb8) -> Bounds {
    let side = photo.height.min(photo.width);
    let [x, y] = [photo.width, photo.height].map(|length| ((length - side) / 2) as f32);
    Bounds { x, y, width: side as f32, height: side as f32 }
}

/// [`crop_square`] brought to `side_px` in one step, from where the box lies to a fraction of a pixel: a box that moves by
/// a tenth of a pixel moves the crop by a tenth, where [`crop_square`] waits for half a pixel and then moves by a whole.
///
/// # Errors
/// `BadImage` when `side_px` is 0.
pub fn crop_resized(photo: &Rgb8, bounds: &Bounds, margin: f32, side_px: usize) -> Result<Rgb8> {
    let Some((centre_y, centre_x, side)) = square(bounds, margin).filter(|(_, _, side)| *side <= MAX_COPY_PX) else {
        return resize(&crop_square(photo, bounds, margin), side_px, side_px);
    };
    window(photo, [centre_y, centre_x], side, side_px)
}

/// The square of `side` round a point (y, x), neither of them on whole pixels, brought to `side_px`.
fn window(photo: &Rgb8, [centre_y, centre_x]: [f64; 2], side: f64, side_px: usize) -> Result<Rgb8> {
    let (top, left) = (centre_y - side / 2.0, centre_x - side / 2.0);
    // What the filter reaches beyond the square belongs to it as well.
    let reach = (2.0 * side / side_px.max(1) as f64).max(2.0).ceil();
    let (first_y, first_x) = (top.floor() - reach, left.floor() - reach);
    let count = (side + 2.0 * reach).ceil() as usize + 1;
    let around = copy(photo, first_y as i64, first_x as i64, count);
    resample(&around, Some([left - first_x, top - first_y, side]), side_px, side_px)
}

fn cut(photo: &Rgb8, centre_y: f64, centre_x: f64, side: f64) -> Rgb8 {
    let first = |centre: f64| (centre - side / 2.0).round() as i64;
    copy(photo, first(centre_y), first(centre_x), (side.round() as usize).max(1))
}

/// Copies a square, pixel by pixel, through one table of columns and one of rows.
fn copy(photo: &Rgb8, first_y: i64, first_x: i64, side_px: usize) -> Rgb8 {
    let columns = mirrored_indices(first_x, side_px, photo.width);
    let mut data = Vec::with_capacity(side_px * side_px * 3);
    for y in mirrored_indices(first_y, side_px, photo.height) {
        let row = &photo.data[y * photo.width * 3..(y + 1) * photo.width * 3];
        for &x in &columns {
            data.extend_from_slice(&row[x * 3..x * 3 + 3]);
        }
    }
    Rgb8 { height: side_px, width: side_px, data }
}

/// Where `count` positions from `first` on fall inside `0..length`, mirrored at both borders.
pub(crate) fn mirrored_indices(first: i64, count: usize, length: usize) -> Vec<usize> {
    (0..count as i64).map(|offset| mirror(first.saturating_add(offset), length)).collect()
}

/// The index inside `0..length` that a mirror at both borders shows at `index`; border pixels are not repeated.
fn mirror(index: i64, length: usize) -> usize {
    let last = length as i64 - 1;
    if last == 0 {
        return 0;
    }
    let folded = index.rem_euclid(2 * last);
    (if folded > last { 2 * last - folded } else { folded }) as usize
}

/// Resizes with the one filter that the network sees: Catmull-Rom, widened when shrinking (antialiased). It is chosen
/// over Lanczos because its weights are polynomials: no `sin`, hence the same bytes on every machine and in wasm.
///
/// # Errors
/// `BadImage` when a side asked for is 0, or the picture's fields contradict each other.
pub fn resize(picture: &Rgb8, height: usize, width: usize) -> Result<Rgb8> {
    if (height, width) == (picture.height, picture.width) {
        return Ok(picture.clone());
    }
    resample(picture, None, height, width)
}

/// [`resize`], of the whole picture or of the square [left, top, side] in it, which need not lie on whole pixels.
fn resample(picture: &Rgb8, square: Option<[f64; 3]>, height: usize, width: usize) -> Result<Rgb8> {
    let side = |length: usize| u32::try_from(length).ok().filter(|&length| length > 0);
    let fail = |cause: String| {
        let message = format!("expected a resizable picture, found {picture:?} to {height} x {width}");
        Error::caused(ErrorKind::BadImage, message, cause)
    };
    let (Some(to_height), Some(to_width)) = (side(height), side(width)) else {
        return Err(fail("a side is 0 or too long".into()));
    };
    let (Some(from_height), Some(from_width)) = (side(picture.height), side(picture.width)) else {
        return Err(fail("a side is 0 or too long".into()));
    };
    let source = ImageRef::new(from_width, from_height, &picture.data, PixelType::U8x3)
        .map_err(|error| fail(error.to_string()))?;
    let mut target = Image::new(to_width, to_height, PixelType::U8x3);
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    if let Some([left, top, side]) = square {
        options = options.crop(left, top, side, side);
    }
    Resizer::new().resize(&source, &mut target, &options).map_err(|error| fail(error.to_string()))?;
    Rgb8::new(height, width, target.into_vec())
}
