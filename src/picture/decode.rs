//! Bytes of a picture file -> checked, upright RGB8 pixels in sRGB. The format is told by the content, never by a name;
//! limits are checked against the declared size before a pixel is decoded. What the file says about itself is not read
//! here, except for the EXIF orientation and the colour profile.

mod animation;
mod avif;
mod canvas;
mod kinds;
mod png;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder};
#[cfg(feature = "cli")]
use image_webp::WebPDecoder;

use super::colour::Profile;
use super::{Rgb8, jpeg, jpeg_segments};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::quality;
use crate::report::{Bounds, FrameRead, Note};
pub use avif::{for_browser, from_browser};
use canvas::{Canvas, Layout};
use kinds::Format;
pub(crate) use kinds::foreign;

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Height times width, as declared by the file: what bounds the time.
    pub max_pixels: u64,
    /// Bytes that decoding may hold at once, pixels and all it needs beside them, without the file itself.
    pub max_bytes: u64,
    /// Pixels that are read as they are; JPEG and PNG files of more are read at a half, a quarter or an eighth of their size.
    pub full_pixels: u64,
}

impl Default for Limits {
    /// 108 and 200 megapixels, as telephones make them, within 420 MiB: with file and model less than 500 MB.
    fn default() -> Self {
        Limits { max_pixels: 400_000_000, max_bytes: 420 * 1024 * 1024, full_pixels: 52_000_000 }
    }
}

impl Limits {
    /// By how much a picture's sides are divided.
    fn shrink(&self, (height, width): (usize, usize)) -> usize {
        let pixels = |shrink: usize| (height.div_ceil(shrink) * width.div_ceil(shrink)) as u64;
        [1, 2, 4].into_iter().find(|&shrink| pixels(shrink) <= self.full_pixels).unwrap_or(8)
    }

    /// Checks the declared size, and the bytes that decoding will hold.
    fn check(&self, (height, width): (usize, usize), size_bytes: u64) -> Result<()> {
        let pixels = height as u64 * width as u64;
        if pixels == 0 {
            return Err(bad(format!("expected a picture with pixels, found {width} x {height}")));
        }
        if pixels > self.max_pixels {
            return Err(bad(format!(
                "expected at most {:.1} megapixels, found {:.1} ({width} x {height})",
                self.max_pixels as f64 / 1e6,
                pixels as f64 / 1e6
            )));
        }
        if size_bytes > self.max_bytes {
            return Err(bad(format!(
                "expected a picture that takes at most {} MiB to decode, found one that takes {} MiB ({width} x {height})",
                self.max_bytes >> 20,
                size_bytes.div_ceil(1 << 20)
            )));
        }
        Ok(())
    }
}

/// A decoded picture.
#[derive(Debug, Clone)]
pub struct Photo {
    /// The pixels as a viewer would show them: upright, in sRGB, transparency on white.
    pub pixels: Rgb8,
    /// `jpeg`, `png`, `webp`, `gif` or `bmp`; `avif` where a browser decoded it.
    pub format: &'static str,
    /// Estimated JPEG quality, 1..=100; absent for other formats.
    pub jpeg_quality: Option<u8>,
    /// Height of the upright picture as the file has it.
    pub height_px: u32,
    /// Its width.
    pub width_px: u32,
    /// By how much its sides were divided, which is done to very large pictures; 1 for nearly all.
    pub shrink: usize,
    /// What of the picture is there, when the file is damaged.
    pub damage: Option<Damage>,
    /// Which frame of an animation this is.
    pub frame: Option<FrameRead>,
    /// What a reader of the report should know of the file.
    pub notes: Vec<Note>,
}

/// What is there of a damaged picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Damage {
    /// The share of its rows, 0..1.
    pub present: f32,
    /// Where they are, in pixels of the upright picture as it was read.
    pub part: Bounds,
}

impl Photo {
    fn new(pixels: Rgb8, format: &'static str) -> Photo {
        Photo {
            height_px: pixels.height as u32,
            width_px: pixels.width as u32,
            pixels,
            format,
            jpeg_quality: None,
            shrink: 1,
            damage: None,
            frame: None,
            notes: Vec::new(),
        }
    }

    /// A picture of `height` x `width` read at a part of its size, of which the first `rows` rows came.
    fn of_canvas(canvas: Canvas, format: Format, rows: usize, (height, width): (usize, usize), shrink: usize) -> Photo {
        let damage = Damage { present: rows as f32 / height as f32, part: canvas.part(rows / shrink) };
        let damage = (rows < height).then_some(damage);
        let (height_px, width_px) = if canvas.is_turned() { (width, height) } else { (height, width) };
        let photo = Photo::new(canvas.finish(), format.name());
        Photo { height_px: height_px as u32, width_px: width_px as u32, shrink, damage, ..photo }
    }
}

/// Decodes a JPEG, PNG, WebP, GIF or BMP file; of an animation the first frame that shows something.
///
/// # Errors
/// `BadImage` when the bytes are of no such format, broken, cut off, or larger than `limits` allow.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let photo = decode_damaged(bytes, limits)?;
    match photo.damage {
        None => Ok(photo),
        Some(Damage { present, .. }) => {
            let percent = (100.0 * present).floor();
            Err(bad(format!(
                "expected a whole {} file, found one that is damaged or cut off: {percent} % of the picture can be trusted",
                photo.format
            )))
        }
    }
}

/// The same for files that may be damaged: what is missing is grey, and [`Photo::damage`] says what is there.
///
/// # Errors
/// As [`decode`], but for damaged files of which the size is known.
pub fn decode_damaged(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let Some(format) = Format::of(bytes) else {
        let found = kinds::describe(bytes);
        return Err(bad(format!("expected a JPEG, PNG, WebP, GIF or BMP file, found {found}")));
    };
    // Decoders are fed hostile bytes, and `image` admits that some panic on them. In wasm a panic ends the worker, which
    // is then started anew.
    catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => decode_jpeg(bytes, limits),
        Format::Png => png::decode(bytes, limits),
        Format::WebP => animation::decode_webp(bytes, limits),
        Format::Gif => animation::decode_gif(bytes, limits),
        Format::Bmp => decode_bmp(bytes, limits),
    }))
    .unwrap_or_else(|_| {
        Err(bad(format!("expected a readable {} file, found one that breaks the decoder", format.name())))
    })
}

/// Whether the bytes begin like a file of a format that is read.
#[cfg(feature = "cli")]
pub(crate) fn is_read(bytes: &[u8]) -> bool {
    Format::of(bytes).is_some()
}

/// Height times width as the file declares them.
#[cfg(feature = "cli")]
pub(crate) fn declared_pixels(bytes: &[u8]) -> Option<u64> {
    let number = |at: usize, length: usize, little: bool| {
        let digits = bytes.get(at..at + length)?.iter().map(|&byte| u64::from(byte));
        let join = |value: u64, digit: u64| value << 8 | digit;
        Some(if little { digits.rev().fold(0, join) } else { digits.fold(0, join) })
    };
    match Format::of(bytes)? {
        Format::Jpeg => jpeg::Frame::read(bytes).ok().map(|frame| frame.height as u64 * frame.width as u64),
        Format::Png => Some(number(16, 4, false)? * number(20, 4, false)?),
        Format::Gif => Some(number(6, 2, true)? * number(8, 2, true)?),
        Format::WebP => {
            let (width, height) = WebPDecoder::new(Cursor::new(bytes)).ok()?.dimensions();
            Some(u64::from(width) * u64::from(height))
        }
        // A height below zero is one counted from the top.
        Format::Bmp => {
            let height = number(22, 4, true)?;
            Some(number(18, 4, true)? * height.min((1 << 32) - height))
        }
    }
}

pub(super) fn bad(message: String) -> Error {
    Error::new(ErrorKind::BadImage, message)
}

/// The error of a file that some decoder refuses.
fn broken(format: Format, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::caused(ErrorKind::BadImage, format!("expected a readable {} file", format.name()), error)
}

/// EXIF's number for how a picture is to be turned. A photo with unreadable EXIF is still a photo; viewers show it unturned.
fn orientation(exif: &[u8]) -> Option<u8> {
    Orientation::from_exif_chunk(exif).map(Orientation::to_exif)
}

fn decode_jpeg(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let frame = jpeg::Frame::read(bytes)?;
    let size = (frame.height, frame.width);
    let shrink = limits.shrink(size);
    let (height, width) = frame.size(shrink);
    limits.check(size, (height * width * 3) as u64 + frame.scratch_bytes())?;

    let metadata = JpegMetadata::read(bytes);
    let (layout, profile) = match frame.channels() {
        1 => (Layout::Grey, metadata.icc.map(|icc| Profile::read(&icc, true))),
        3 => (Layout::Rgb, metadata.icc.map(|icc| Profile::read(&icc, false))),
        _ => (Layout::Cmyk, metadata.icc.map(|icc| Profile::read_inks(&icc))),
    };
    let mut notes = Vec::new();
    let colour = to_srgb(profile, &mut notes);
    let mut canvas = Canvas::new(layout, (height, width), 1, metadata.orientation, colour);
    let outcome = frame.decode(bytes, shrink, &mut |y, row| canvas.put(y, row))?;
    if !outcome.ended && outcome.rows == frame.height {
        notes.push(Note::NoEndMark);
    }
    let photo = Photo::of_canvas(canvas, Format::Jpeg, outcome.rows, size, shrink);
    Ok(Photo { jpeg_quality: quality::jpeg_quality(bytes), notes, ..photo })
}

/// The transform that a profile asks for; notes what a reader should know of it.
fn to_srgb(profile: Option<Profile>, notes: &mut Vec<Note>) -> Option<super::colour::ToSrgb> {
    match profile {
        None | Some(Profile::Srgb) => None,
        Some(Profile::Other(transform)) => {
            notes.push(Note::ColourProfile);
            Some(transform)
        }
        Some(Profile::Unread) => {
            notes.push(Note::UnreadProfile);
            None
        }
    }
}

struct JpegMetadata {
    orientation: u8,
    icc: Option<Vec<u8>>,
}

impl JpegMetadata {
    fn read(bytes: &[u8]) -> JpegMetadata {
        let (mut turned, mut parts) = (None, Vec::new());
        for segment in jpeg_segments(bytes) {
            match segment.marker {
                // Of several EXIF blocks the first one counts, as in browsers.
                0xe1 if turned.is_none() => {
                    turned = segment.body.strip_prefix(b"Exif\0\0").map(|tiff| orientation(tiff).unwrap_or(1));
                }
                0xe2 => {
                    // A profile may take several segments, numbered from 1 on.
                    if let Some([number, _, part @ ..]) = segment.body.strip_prefix(b"ICC_PROFILE\0") {
                        parts.push((*number, part));
                    }
                }
                _ => {}
            }
        }
        parts.sort_by_key(|(number, _)| *number);
        let icc = parts.iter().flat_map(|(_, part)| part.iter().copied()).collect::<Vec<u8>>();
        JpegMetadata { orientation: turned.unwrap_or(1), icc: (!icc.is_empty()).then_some(icc) }
    }
}

fn decode_bmp(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let decoder =
        image::codecs::bmp::BmpDecoder::new(Cursor::new(bytes)).map_err(|error| broken(Format::Bmp, error))?;
    let (width, height) = decoder.dimensions();
    let size = (height as usize, width as usize);
    limits.check(size, decoder.total_bytes() + size.0 as u64 * size.1 as u64 * 3)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| broken(Format::Bmp, error))?;
    let alpha = picture.color().has_alpha();
    let (layout, data) = if alpha {
        (Layout::Rgba, picture.into_rgba8().into_raw())
    } else {
        (Layout::Rgb, picture.into_rgb8().into_raw())
    };
    Ok(Photo::new(on_canvas(&data, layout, size, None), Format::Bmp.name()))
}

/// Pixels that are all there, upright already.
fn on_canvas(data: &[u8], layout: Layout, size: (usize, usize), colour: Option<super::colour::ToSrgb>) -> Rgb8 {
    let mut canvas = Canvas::new(layout, size, 1, 1, colour);
    for (y, row) in data.chunks_exact(size.1 * layout.channels()).enumerate() {
        canvas.put(y, row);
    }
    canvas.finish()
}
