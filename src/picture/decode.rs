//! Bytes of a picture file -> checked, upright RGB8 pixels. The format is told by the content, never by a name; limits
//! are checked against the declared size before a pixel is decoded. What the file says about itself is not read here,
//! except for the EXIF orientation.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbaImage};

use super::{Rgb8, jpeg_segments};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::quality;

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Height times width, as declared by the file.
    pub max_pixels: u64,
    /// Bytes of the decoded pixels in the file's own form (16-bit RGBA takes 8 a pixel). While decoding, about twice as
    /// much is in use.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 100 megapixels and 512 MiB: every camera of today, and small enough for a browser tab.
    fn default() -> Self {
        Limits { max_pixels: 100_000_000, max_bytes: 512 * 1024 * 1024 }
    }
}

/// A decoded picture.
#[derive(Debug, Clone)]
pub struct Photo {
    /// The pixels as a viewer would show them: upright, transparency on white. Colour profiles are not applied.
    pub pixels: Rgb8,
    /// `jpeg`, `png`, `webp`, `gif` or `bmp`.
    pub format: &'static str,
    /// Estimated JPEG quality, 1..=100; absent for other formats.
    pub jpeg_quality: Option<u8>,
}

/// Decodes a JPEG, PNG, WebP, GIF or BMP file; of an animation the first frame.
///
/// # Errors
/// `BadImage` when the bytes are of no such format, broken, cut off, or larger than `limits` allow.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let (format, name) = sniff(bytes)?;
    // Decoders are fed hostile bytes, and `image` admits that some panic on them. In wasm a panic ends the worker, which
    // is then started anew.
    let pixels = catch_unwind(AssertUnwindSafe(|| decode_as(bytes, format, name, limits)))
        .unwrap_or_else(|_| Err(bad(format!("expected a readable {name} file, found one that breaks the decoder"))))?;
    let jpeg_quality = if format == ImageFormat::Jpeg { quality::jpeg_quality(bytes) } else { None };
    Ok(Photo { pixels, format: name, jpeg_quality })
}

fn bad(message: String) -> Error {
    Error::new(ErrorKind::BadImage, message)
}

/// The format by the file's first bytes, with the name used in reports.
fn sniff(bytes: &[u8]) -> Result<(ImageFormat, &'static str)> {
    let format = image::guess_format(bytes).ok();
    match format {
        Some(ImageFormat::Jpeg) => Ok((ImageFormat::Jpeg, "jpeg")),
        Some(ImageFormat::Png) => Ok((ImageFormat::Png, "png")),
        Some(ImageFormat::WebP) => Ok((ImageFormat::WebP, "webp")),
        Some(ImageFormat::Gif) => Ok((ImageFormat::Gif, "gif")),
        Some(ImageFormat::Bmp) => Ok((ImageFormat::Bmp, "bmp")),
        other => {
            let found = match other {
                _ if bytes.is_empty() => "an empty file".to_string(),
                Some(format) => format!("{format:?}"),
                None => format!("a file that starts with {:02x?}", &bytes[..bytes.len().min(8)]),
            };
            Err(bad(format!("expected a JPEG, PNG, WebP, GIF or BMP file, found {found}")))
        }
    }
}

fn decode_as(bytes: &[u8], format: ImageFormat, name: &str, limits: &Limits) -> Result<Rgb8> {
    let broken = |error| Error::caused(ErrorKind::BadImage, format!("expected a readable {name} file"), error);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder_limits = image::Limits::no_limits();
    // Decoders count their scratch memory too; the picture itself is checked below, with a clearer message.
    decoder_limits.max_alloc = Some(limits.max_bytes.saturating_mul(2));
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    check_limits(decoder.dimensions(), decoder.total_bytes(), limits)?;
    if format == ImageFormat::Jpeg {
        check_jpeg_end(bytes)?;
    }
    // A photo with unreadable EXIF is still a photo; viewers show it unturned.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let data =
        if picture.color().has_alpha() { on_white(picture.into_rgba8()) } else { picture.into_rgb8().into_raw() };
    Rgb8::new(height, width, data)
}

fn check_limits((width, height): (u32, u32), size_bytes: u64, limits: &Limits) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(bad(format!("expected a picture with pixels, found {width} x {height}")));
    }
    if pixels > limits.max_pixels {
        return Err(bad(format!(
            "expected at most {:.1} megapixels, found {:.1} ({width} x {height})",
            limits.max_pixels as f64 / 1e6,
            pixels as f64 / 1e6
        )));
    }
    if size_bytes > limits.max_bytes {
        return Err(bad(format!(
            "expected at most {} MiB of pixels, found {} MiB ({width} x {height})",
            limits.max_bytes >> 20,
            size_bytes.div_ceil(1 << 20)
        )));
    }
    Ok(())
}

/// A cut-off JPEG decodes to a picture whose rest is grey; judging that would be judging what is not there.
fn check_jpeg_end(bytes: &[u8]) -> Result<()> {
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    // Thumbnails in the headers have ends of their own.
    let headers = jpeg_segments(bytes).last().map_or(0, |segment| segment.end);
    if bytes[headers..].windows(2).any(|pair| pair == END_OF_IMAGE) {
        return Ok(());
    }
    Err(bad(format!(
        "expected an end-of-image marker, found the end of the file after {} bytes: it is cut off",
        bytes.len()
    )))
}

/// Composites on white, as browsers show a transparent picture.
fn on_white(picture: RgbaImage) -> Vec<u8> {
    let blend = |value: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    picture.pixels().flat_map(|pixel| [0, 1, 2].map(|channel| blend(pixel[channel], pixel[3]))).collect()
}
