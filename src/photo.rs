//! Bytes of a picture file -> checked, upright RGB8 pixels. The format is told by the content, never by a name; limits
//! are checked against the declared size before a pixel is decoded. What the file says about itself is not read here,
//! except for the EXIF orientation.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbaImage};

use crate::error::{Error, ErrorKind, Result};
use crate::quality;

/// An RGB picture, 8 bits a channel, rows from the top, interleaved (HWC).
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width * 3` bytes, R G B.
    pub data: Vec<u8>,
}

impl Rgb8 {
    /// A picture from its bytes.
    ///
    /// # Errors
    /// `BadImage` when a side is 0 or `data` does not hold `height * width * 3` bytes.
    pub fn new(height: usize, width: usize, data: Vec<u8>) -> Result<Self> {
        let expected = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(3));
        if height == 0 || width == 0 || expected != Some(data.len()) {
            return Err(Error::new(
                ErrorKind::BadImage,
                format!(
                    "expected height x width x 3 bytes and no empty side, found {height} x {width} and {} bytes",
                    data.len()
                ),
            ));
        }
        Ok(Rgb8 { height, width, data })
    }

    /// R, G and B of one pixel.
    ///
    /// # Panics
    /// When `y` or `x` lies outside the picture.
    pub fn pixel(&self, y: usize, x: usize) -> [u8; 3] {
        assert!(y < self.height && x < self.width, "pixel ({y}, {x}) of a {} x {} picture", self.height, self.width);
        let start = (y * self.width + x) * 3;
        [self.data[start], self.data[start + 1], self.data[start + 2]]
    }

    /// Brightness of each pixel, 0..=255, by the BT.601 weights in whole numbers, so that every machine gets the same.
    pub fn luma(&self) -> Vec<u8> {
        // 77 + 150 + 29 = 256: white stays white, and the largest sum fits 16 bits.
        let weigh = |p: &[u8]| (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]) + 128) >> 8;
        self.data.chunks_exact(3).map(|pixel| weigh(pixel) as u8).collect()
    }
}

impl std::fmt::Debug for Rgb8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb8({} x {})", self.height, self.width)
    }
}

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

/// One segment of a JPEG file's headers.
pub(crate) struct JpegSegment<'a> {
    /// Second byte of its marker.
    pub marker: u8,
    /// What follows the length field.
    pub body: &'a [u8],
    /// Where in the file it ends.
    pub end: usize,
}

/// The segments of a JPEG file up to and including the head of its first scan; ends early where the file is broken.
pub(crate) fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = JpegSegment<'_>> {
    const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
    const START_OF_SCAN: u8 = 0xda;
    let mut at = if bytes.starts_with(&START_OF_IMAGE) { Some(2) } else { None };
    std::iter::from_fn(move || {
        // A marker is 0xff, any number of times, and its own byte.
        let start = at.take()?;
        let fill = bytes.get(start..)?.iter().take_while(|&&byte| byte == 0xff).count();
        let marker = *bytes.get(start + fill).filter(|_| fill > 0)?;
        let length_at = start + fill + 1;
        let length = bytes.get(length_at..length_at + 2)?;
        let end = length_at + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let body = bytes.get(length_at + 2..end)?;
        at = (marker != START_OF_SCAN).then_some(end);
        Some(JpegSegment { marker, body, end })
    })
}

/// Composites on white, as browsers show a transparent picture.
fn on_white(picture: RgbaImage) -> Vec<u8> {
    let blend = |value: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    picture.pixels().flat_map(|pixel| [0, 1, 2].map(|channel| blend(pixel[channel], pixel[3]))).collect()
}

/// The picture as a baseline JPEG.
///
/// # Errors
/// `Internal` when the encoder refuses, for example for a side over 65,535.
pub fn encode_jpeg(picture: &Rgb8, quality: u8, full_chroma: bool) -> Result<Vec<u8>> {
    let side = |side: usize| {
        u16::try_from(side).map_err(|e| Error::caused(ErrorKind::Internal, "expected a side JPEG can hold", e))
    };
    let (height, width) = (side(picture.height)?, side(picture.width)?);
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality.clamp(1, 100));
    encoder.set_sampling_factor(if full_chroma {
        jpeg_encoder::SamplingFactor::F_1_1
    } else {
        jpeg_encoder::SamplingFactor::F_2_2
    });
    encoder
        .encode(&picture.data, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| Error::caused(ErrorKind::Internal, "cannot encode as JPEG", e))?;
    Ok(bytes)
}
