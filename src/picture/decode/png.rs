//! PNG files, row by row: as many rows as are there, whatever becomes of the rest of the file.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, Transformations};

use super::canvas::{Canvas, Layout};
use super::kinds::Format;
use super::{Limits, Photo, bad, broken, orientation, to_srgb};
use crate::error::Result;
use crate::picture::colour::Profile;
use crate::report::{FrameRead, Note};

const SIGNATURE_BYTES: usize = 8;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo> {
    let chunks = Chunks::read(bytes);
    if chunks.apple {
        let message = "expected a PNG file as others write it, found one that Xcode changed for telephones (CgBI): save it as PNG anew";
        return Err(bad(message.into()));
    }
    // With a wrong checksum in the pixels' own chunks they are believed if the checksum inside the compressed data is right.
    let strict = chunks.wrong.is_some();
    let mut read = Attempt::run(bytes, strict, limits)?;
    if let Some(wrong) = chunks.wrong.filter(|_| !read.whole) {
        // What comes before the first wrong chunk is right; before the first of all that is no row.
        match Attempt::run(&bytes[..wrong], false, limits) {
            Ok(part) => read = Attempt { rows: part.rows.min(part.size.0 - 1), ..part },
            Err(_) => read.rows = 0,
        }
        read.whole = false;
    }
    let mut notes = read.notes;
    if read.whole && (chunks.wrong.is_some() || chunks.ancillary_wrong) {
        notes.push(Note::WrongChecksum);
    }
    if read.whole && !chunks.ended {
        notes.push(Note::NoEndMark);
    }
    let rows = if read.whole { read.size.0 } else { read.rows };
    let photo = Photo::of_canvas(read.canvas, Format::Png, rows, read.size, read.shrink);
    Ok(Photo { notes, frame: read.frame, ..photo })
}

/// What a walk over the chunks finds.
#[derive(Default)]
struct Chunks {
    apple: bool,
    /// Where the first chunk of pixels begins whose checksum is wrong.
    wrong: Option<usize>,
    /// Whether the checksum of a chunk is wrong that a picture can do without.
    ancillary_wrong: bool,
    ended: bool,
}

impl Chunks {
    fn read(bytes: &[u8]) -> Chunks {
        let mut found = Chunks::default();
        let mut at = SIGNATURE_BYTES;
        while let Some((kind, length)) = chunk(bytes, at) {
            // In two steps: in the browser a stated length alone may be all that an address can hold.
            let end = length.checked_add(12).and_then(|length| at.checked_add(length));
            let Some(end) = end.filter(|&end| end <= bytes.len()) else { break };
            let sum = crc32fast::hash(&bytes[at + 4..end - 4]);
            if bytes[end - 4..end] != sum.to_be_bytes() {
                match &kind {
                    b"IDAT" => found.wrong = found.wrong.or(Some(at)),
                    // Lower case: not critical.
                    _ if kind[0] & 0x20 != 0 => found.ancillary_wrong = true,
                    // The end mark has nothing to check.
                    b"IEND" => {}
                    _ => break,
                }
            }
            found.apple |= &kind == b"CgBI";
            at = end;
            if &kind == b"IEND" {
                found.ended = true;
                break;
            }
        }
        found
    }
}

fn chunk(bytes: &[u8], at: usize) -> Option<([u8; 4], usize)> {
    let head = bytes.get(at..)?.first_chunk::<8>()?;
    let (length, kind) = head.split_first_chunk::<4>()?;
    Some((*kind.first_chunk::<4>()?, u32::from_be_bytes(*length) as usize))
}

/// One reading of the file.
struct Attempt {
    canvas: Canvas,
    size: (usize, usize),
    shrink: usize,
    /// Rows that came.
    rows: usize,
    /// Whether all rows came, and nothing in the data contradicts them.
    whole: bool,
    frame: Option<FrameRead>,
    notes: Vec<Note>,
}

impl Attempt {
    /// Reads all rows it can. `by_content`: chunks' checksums are not looked at, but that of the data is.
    fn run(bytes: &[u8], by_content: bool, limits: &Limits) -> Result<Attempt> {
        let refused = |error| broken(Format::Png, error);
        let mut options = DecodeOptions::default();
        options.set_ignore_crc(by_content);
        options.set_ignore_adler32(!by_content);
        options.set_ignore_text_chunk(true);
        let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
        decoder.set_limits(png::Limits { bytes: usize::try_from(limits.max_bytes).unwrap_or(usize::MAX) });
        decoder.set_transformations(Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(refused)?;

        let info = reader.info();
        let size = (info.height as usize, info.width as usize);
        let interlaced = info.interlaced;
        let turned = info.exif_metadata.as_deref().and_then(orientation).unwrap_or(1);
        let frames = info.animation_control.map(|control| control.num_frames).filter(|&count| count > 1);
        let frame = frames.map(|count| FrameRead { number: 1, count });
        let (kind, depth) = reader.output_color_type();
        let layout = match kind {
            ColorType::Grayscale | ColorType::Indexed => Layout::Grey,
            ColorType::GrayscaleAlpha => Layout::GreyAlpha,
            ColorType::Rgb => Layout::Rgb,
            ColorType::Rgba => Layout::Rgba,
        };
        let grey = matches!(layout, Layout::Grey | Layout::GreyAlpha);
        // The sRGB chunk goes before a profile.
        let info = reader.info();
        let icc = info.icc_profile.as_deref().filter(|_| info.srgb.is_none());
        let mut notes = Vec::new();
        let colour = to_srgb(icc.map(|icc| Profile::read(icc, grey)), &mut notes);

        let shrink = limits.shrink(size);
        let own = (size.0.div_ceil(shrink) * size.1.div_ceil(shrink) * 3) as u64;
        let bytes_a_pixel = layout.channels() as u64 * if depth == BitDepth::Sixteen { 2 } else { 1 };
        // Interlaced rows come in no order that could be averaged on the way.
        let buffer = if interlaced { size.0 as u64 * size.1 as u64 * bytes_a_pixel } else { 0 };
        limits.check(size, own + buffer)?;

        let mut canvas = Canvas::new(layout, size, shrink, turned, colour);
        let mut narrow = vec![0; size.1 * layout.channels()];
        let mut put = |y: usize, row: &[u8]| {
            if depth == BitDepth::Sixteen {
                for (value, wide) in narrow.iter_mut().zip(row.as_chunks::<2>().0) {
                    // 257 levels of 16 bits are one of 8.
                    *value = ((u32::from(u16::from_be_bytes(*wide)) + 128) / 257) as u8;
                }
                canvas.put(y, &narrow);
            } else {
                canvas.put(y, row);
            }
        };
        let mut rows = 0;
        let mut whole = false;
        if interlaced {
            let mut data =
                vec![0; reader.output_buffer_size().ok_or_else(|| bad("expected a PNG that fits memory".into()))?];
            if reader.next_frame(&mut data).is_ok() {
                for (y, row) in data.chunks_exact(data.len() / size.0).enumerate() {
                    put(y, row);
                }
                (rows, whole) = (size.0, true);
            }
        } else {
            while let Ok(Some(row)) = reader.next_row() {
                put(rows, row.data());
                rows += 1;
                if rows == size.0 {
                    whole = true;
                    break;
                }
            }
        }
        // The checksum of the data comes behind the last row.
        if whole && by_content {
            whole = reader.finish().is_ok();
        }
        Ok(Attempt { canvas, size, shrink, rows, whole, frame, notes })
    }
}
