//! GIF and WebP: the picture, or of an animation the first frame that shows something. Some begin with an empty frame, or
//! with one that fills a corner.

use std::io::Cursor;

use gif::{ColorOutput, DisposalMethod};
use image_webp::WebPDecoder;

use super::canvas::Layout;
use super::kinds::Format;
use super::{Damage, Limits, Photo, bad, broken, on_canvas, orientation, to_srgb};
use crate::error::Result;
use crate::picture::Rgb8;
use crate::picture::colour::Profile;
use crate::report::{Bounds, FrameRead, Note};

/// Frames that are looked at; what shows nothing for so long is shown as it begins.
const MAX_FRAMES: u32 = 32;
/// Smallest part of the picture that must be drawn on, in hundredths.
const DRAWN_PERCENT: u64 = 50;
/// So many zero bytes in a row are no compressed picture, but a hole in the file: of lossy coding, and of lossless coding, which
/// has short codes for large flat areas.
const HOLE_BYTES: usize = 256;
const LOSSLESS_HOLE_BYTES: usize = 4096;

/// Whether a frame of R G B A shows something: enough is drawn on, and not all in one colour.
fn shows_something(pixels: &[[u8; 4]]) -> bool {
    let drawn = pixels.iter().filter(|pixel| pixel[3] > 0).count() as u64;
    let first = pixels.iter().find(|pixel| pixel[3] > 0);
    drawn * 100 >= pixels.len() as u64 * DRAWN_PERCENT
        && pixels.iter().any(|pixel| pixel[3] > 0 && Some(pixel) != first)
}

/// A picture of this size of which nothing can be trusted.
fn nothing_of(format: Format, (height, width): (usize, usize)) -> Photo {
    let damage = Damage { present: 0.0, part: Bounds { x: 0.0, y: 0.0, width: width as f32, height: 0.0 } };
    let pixels = Rgb8 { height, width, data: vec![128; height * width * 3] };
    Photo { damage: Some(damage), ..Photo::new(pixels, format.name()) }
}

pub(super) fn decode_gif(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let refused = |error| broken(Format::Gif, error);
    let open = || {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        options.set_memory_limit(gif::MemoryLimit::Bytes(
            limits.max_bytes.try_into().unwrap_or(std::num::NonZeroU64::MAX),
        ));
        options.read_info(Cursor::new(bytes)).map_err(refused)
    };
    let mut reader = open()?;
    let screen = (usize::from(reader.height()), usize::from(reader.width()));
    let Some(first) = reader.next_frame_info().map_err(refused)? else {
        return Err(bad("expected a GIF with a picture, found none in it".into()));
    };
    // A first frame larger than the screen makes the screen larger, as in browsers.
    let size = (
        screen.0.max(usize::from(first.top) + usize::from(first.height)),
        screen.1.max(usize::from(first.left) + usize::from(first.width)),
    );
    let area = |frame: &gif::Frame<'_>| u64::from(frame.width) * u64::from(frame.height);
    // The screen, one frame, what a frame restores, and the pixels given out.
    let holds = |frame_px: u64| limits.check(size, (size.0 * size.1) as u64 * (4 + 4 + 3) + frame_px * 4);
    let mut next = Some(area(first));
    holds(area(first))?;
    let count = {
        let mut counter = open()?;
        let mut count = 0;
        while let Ok(Some(_)) = counter.next_frame_info() {
            count += 1;
        }
        count
    };

    let mut screen = vec![[0u8; 4]; size.0 * size.1];
    let mut beginning = None;
    let mut chosen = None;
    let mut number = 0;
    while let Some(frame_px) = next
        && number < MAX_FRAMES
    {
        // A later frame can state more than the screen, up to 17 GB.
        if holds(frame_px).is_err() {
            break;
        }
        number += 1;
        let mut data = vec![0; reader.buffer_size()];
        if reader.read_into_buffer(&mut data).is_err() {
            break;
        }
        let Some(frame) = reader.current_frame_info() else { break };
        let place = Place::new(frame, size);
        let before = (frame.dispose == DisposalMethod::Previous).then(|| screen.clone());
        let (dispose, wide) = (frame.dispose, usize::from(frame.width));
        for (y, row) in data.as_chunks::<4>().0.chunks_exact(wide.max(1)).enumerate().take(place.height) {
            let start = (place.top + y) * size.1 + place.left;
            for (pixel, new) in screen[start..start + place.width].iter_mut().zip(row) {
                if new[3] > 0 {
                    *pixel = *new;
                }
            }
        }
        if shows_something(&screen) {
            chosen = Some(number);
            break;
        }
        beginning.get_or_insert_with(|| screen.clone());
        match (dispose, before) {
            (DisposalMethod::Previous, Some(before)) => screen = before,
            (DisposalMethod::Background, _) => {
                for y in place.top..place.top + place.height {
                    screen[y * size.1 + place.left..][..place.width].fill([0; 4]);
                }
            }
            _ => {}
        }
        next = reader.next_frame_info().ok().flatten().map(area);
    }
    // Of an animation that shows nothing, its beginning.
    let (number, screen) = match (chosen, beginning) {
        (Some(number), _) => (number, screen),
        (None, Some(beginning)) => (1, beginning),
        (None, None) => return Ok(nothing_of(Format::Gif, size)),
    };
    let pixels = on_canvas(screen.as_flattened(), Layout::Rgba, size, None);
    let frame = (count > 1).then_some(FrameRead { number, count });
    let notes = if gif_ended(bytes) { Vec::new() } else { vec![Note::NoEndMark] };
    Ok(Photo { frame, notes, ..Photo::new(pixels, Format::Gif.name()) })
}

/// Whether the file has its end mark; zeros may follow it.
fn gif_ended(bytes: &[u8]) -> bool {
    bytes.iter().rev().find(|&&byte| byte != 0) == Some(&b';')
}

/// Where on the screen a frame is drawn; what reaches over the screen is not.
struct Place {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Place {
    fn new(frame: &gif::Frame<'_>, (height, width): (usize, usize)) -> Place {
        let (top, left) = (usize::from(frame.top).min(height), usize::from(frame.left).min(width));
        let (high, wide) = (usize::from(frame.height), usize::from(frame.width));
        Place { top, left, height: high.min(height - top), width: wide.min(width - left) }
    }
}

pub(super) fn decode_webp(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let refused = |error| broken(Format::WebP, error);
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    let size = (height as usize, width as usize);
    let layout = if decoder.has_alpha() { Layout::Rgba } else { Layout::Rgb };
    // What the decoder gives, about as much inside it, and the pixels given out.
    limits.check(size, (size.0 * size.1) as u64 * (2 * layout.channels() as u64 + 3))?;
    decoder.set_memory_limit(usize::try_from(limits.max_bytes).unwrap_or(usize::MAX));

    let chunks = WebpChunks::read(bytes);
    let mut notes = Vec::new();
    let profile = decoder.icc_profile().ok().flatten().map(|icc| Profile::read(&icc, false));
    let colour = to_srgb(profile, &mut notes);
    // Browsers show WebP files as they are stored, and box and picture are to agree.
    if decoder.exif_metadata().ok().flatten().as_deref().and_then(orientation).is_some_and(|turned| turned > 1) {
        notes.push(Note::NotTurned);
    }
    let mut data = vec![0; size.0 * size.1 * layout.channels()];
    let mut frame = None;
    if decoder.is_animated() && decoder.num_frames() > 1 {
        let count = decoder.num_frames();
        let mut beginning = None;
        let mut chosen = None;
        for number in 1..=count.min(MAX_FRAMES) {
            if chunks.hole_from_frame <= number as usize || decoder.read_frame(&mut data).is_err() {
                break;
            }
            let drawn = match layout {
                Layout::Rgba => shows_something(data.as_chunks().0),
                // Nothing tells which pixels a frame drew, but its own size.
                _ => chunks.drawn_percent(number as usize, size) >= DRAWN_PERCENT && !all_equal(data.as_chunks().0),
            };
            if drawn {
                chosen = Some(number);
                break;
            }
            beginning.get_or_insert_with(|| data.clone());
        }
        match (chosen, beginning) {
            (Some(number), _) => frame = Some(FrameRead { number, count }),
            (None, Some(beginning)) => {
                data = beginning;
                frame = Some(FrameRead { number: 1, count });
            }
            (None, None) => return Ok(nothing_of(Format::WebP, size)),
        }
    } else if chunks.cut || chunks.hole_from_frame <= 1 || decoder.read_image(&mut data).is_err() {
        return Ok(nothing_of(Format::WebP, size));
    }
    if chunks.short {
        notes.push(Note::NoEndMark);
    }
    let pixels = on_canvas(&data, layout, size, colour);
    Ok(Photo { frame, notes, ..Photo::new(pixels, Format::WebP.name()) })
}

fn all_equal(pixels: &[[u8; 3]]) -> bool {
    pixels.windows(2).all(|pair| pair[0] == pair[1])
}

/// What a walk over the chunks of a WebP file finds.
struct WebpChunks {
    /// Whether a chunk of pixels is cut off.
    cut: bool,
    /// Whether the file is shorter than it says.
    short: bool,
    /// The first frame, counted from 1, whose data has a hole; a still picture is frame 1.
    hole_from_frame: usize,
    /// Pixels of each frame of an animation; more than a `usize` of the browser holds, if a file says so.
    frames: Vec<u64>,
}

impl WebpChunks {
    fn read(bytes: &[u8]) -> WebpChunks {
        let declared = bytes.get(4..8).and_then(|four| four.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four));
        let end = bytes.len().min((declared as usize).saturating_add(8));
        let mut found = WebpChunks {
            cut: false,
            short: (bytes.len() as u64) < u64::from(declared) + 8,
            hole_from_frame: usize::MAX,
            frames: Vec::new(),
        };
        let mut at = 12;
        while let Some(head) = bytes.get(at..end).and_then(|rest| rest.first_chunk::<8>()) {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let stop = (at + 8).saturating_add(length);
            let body = &bytes[at + 8..stop.min(bytes.len())];
            let kind = &head[..4];
            if [b"VP8 ", b"VP8L", b"ANMF"].iter().any(|known| known.as_slice() == kind) {
                found.cut |= stop > bytes.len();
                if kind == b"ANMF" {
                    let three = |at: usize| {
                        body.get(at..at + 3)
                            .map_or(0, |b| u64::from(b[0]) | u64::from(b[1]) << 8 | u64::from(b[2]) << 16)
                    };
                    found.frames.push((three(6) + 1) * (three(9) + 1));
                }
                let lossy = kind == b"VP8 " || body.get(16..20) == Some(b"VP8 ");
                let limit = if lossy { HOLE_BYTES } else { LOSSLESS_HOLE_BYTES };
                let hole = body.chunk_by(|a, b| a == b).any(|run| run[0] == 0 && run.len() >= limit);
                if hole || stop > bytes.len() {
                    found.hole_from_frame = found.hole_from_frame.min(found.frames.len().max(1));
                }
            }
            at = stop.saturating_add(length % 2);
        }
        found
    }

    /// The share of the canvas that the largest frame so far fills.
    fn drawn_percent(&self, number: usize, (height, width): (usize, usize)) -> u64 {
        let largest = self.frames.iter().take(number).copied().max().unwrap_or(0);
        largest * 100 / (height as u64 * width as u64).max(1)
    }
}
