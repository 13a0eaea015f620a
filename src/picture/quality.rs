//! What the pixels of a face allow to be said: its size, its sharpness, and how strongly the file was compressed.
//! Whether that is enough is the detector's decision.

use crate::picture::crop;
use crate::picture::{self, Rgb8};
use crate::report::{Bounds, Quality};

/// Side at which sharpness is measured, so that faces of all sizes share one scale.
const SHARPNESS_PX: usize = 128;

/// Measures a face: `crop` is its square crop, `bounds` the finder's box, in pixels of the photo.
pub fn assess(crop: &Rgb8, bounds: &Bounds, jpeg_quality: Option<u8>) -> Quality {
    let face_px = bounds.width.max(bounds.height).round().max(0.0) as u32;
    Quality { face_px, jpeg_quality, sharpness: sharpness(crop) }
}

/// Variance of the Laplacian (4 neighbours, inner pixels) of the grey picture at 128 x 128, on the 0..255 scale.
pub fn sharpness(crop: &Rgb8) -> f32 {
    let Ok(small) = crop::resize(crop, SHARPNESS_PX, SHARPNESS_PX) else {
        // An Rgb8 whose public fields contradict each other has no pixels to be sharp.
        return 0.0;
    };
    let grey: Vec<f64> = small.luma().into_iter().map(f64::from).collect();
    let n = SHARPNESS_PX;
    let inner = (1..n - 1).flat_map(|y| (1..n - 1).map(move |x| y * n + x));
    let laplacian = inner.map(|i| grey[i - n] + grey[i + n] + grey[i - 1] + grey[i + 1] - 4.0 * grey[i]);
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for value in laplacian {
        count += 1.0;
        sum += value;
        squares += value * value;
    }
    let mean: f64 = sum / count;
    ((squares / count - mean * mean) as f32).max(0.0)
}

/// Luminance quantisation table of Annex K of the JPEG standard, which libjpeg scales by its quality; row by row.
#[rustfmt::skip]
const STANDARD_LUMA: [u16; 64] = [
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
];

/// Estimates the quality setting (libjpeg's scale, 1..=100) of a JPEG file from its luminance quantisation table: the
/// quality whose scaled standard table has the nearest sum. Order does not matter for a sum, so neither does zigzag.
/// `None` when there is no table, as in files that are not JPEG.
pub fn jpeg_quality(bytes: &[u8]) -> Option<u8> {
    let found: u32 = luma_table(bytes)?.iter().map(|&step| u32::from(step)).sum();
    (1..=100u8).min_by_key(|&quality| scaled_sum(quality).abs_diff(found))
}

/// Chroma subsampling of a JPEG file as `4:4:4`, `4:2:2`, `4:2:0` or, for others, the sampling factors of its first
/// component (`1x2`); `None` when the file has no frame header with three components.
pub fn jpeg_chroma(bytes: &[u8]) -> Option<String> {
    // SOF0..SOF15, without the tables (DHT, JPG, DAC) that share the range.
    let is_frame = |marker: u8| (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker);
    let frame = picture::jpeg_segments(bytes).find(|segment| is_frame(segment.marker))?;
    let (&3, &luma, &blue) = (frame.body.get(5)?, frame.body.get(7)?, frame.body.get(10)?) else { return None };
    Some(match (luma, blue) {
        (0x11, 0x11) => "4:4:4".into(),
        (0x21, 0x11) => "4:2:2".into(),
        (0x22, 0x11) => "4:2:0".into(),
        _ => format!("{}x{}", luma >> 4, luma & 0x0f),
    })
}

/// Sum of the standard table as libjpeg scales it (jcparam.c, `jpeg_quality_scaling`, baseline).
fn scaled_sum(quality: u8) -> u32 {
    let quality = u32::from(quality);
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    STANDARD_LUMA.iter().map(|&step| ((u32::from(step) * percent + 50) / 100).clamp(1, 255)).sum()
}

/// Table 0 of the quantisation segments, in file (zigzag) order.
fn luma_table(bytes: &[u8]) -> Option<[u16; 64]> {
    const DEFINE_QUANTISATION: u8 = 0xdb;
    picture::jpeg_segments(bytes)
        .filter(|segment| segment.marker == DEFINE_QUANTISATION)
        .find_map(|segment| table_zero(segment.body))
}

/// Finds table 0 in the body of a DQT segment, which may hold several, of 8 or 16 bits a step.
fn table_zero(mut body: &[u8]) -> Option<[u16; 64]> {
    while let Some((&head, rest)) = body.split_first() {
        let wide = head >> 4 != 0;
        let steps = rest.get(..if wide { 128 } else { 64 })?;
        if head & 0x0f == 0 {
            return Some(std::array::from_fn(|i| {
                if wide { u16::from_be_bytes([steps[2 * i], steps[2 * i + 1]]) } else { u16::from(steps[i]) }
            }));
        }
        body = &rest[steps.len()..];
    }
    None
}
