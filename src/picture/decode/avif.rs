//! AVIF pictures, which are not decoded here: a browser is asked to, where the decoders of browsers agree. What must be known of a
//! file before that, and its pixels afterwards.

use super::canvas::{Canvas, Layout};
use super::{Limits, Photo, foreign};
use crate::error::Result;
use crate::report::{FrameRead, Note};

/// The name used in reports.
const AVIF: &str = "avif";
/// What a pixel takes: four bytes each in the browser's picture, in the canvas that brings it to sRGB and in the copy of that;
/// three here.
const BYTES_A_PIXEL: u64 = 15;
/// A file that ends in so many zeros was not all fetched: AV1 has no such end.
const ZEROS: [u8; 64] = [0; 64];
/// The bit of an `av1C` box that is set for 10 and 12 bits a colour.
const HIGH_BIT_DEPTH: u8 = 0x40;

/// The media type under which a browser is to decode these bytes. None for files that are read here, and for those that browsers
/// show differently (more than 8 bits a colour, high dynamic range), that end in zeros, or are larger than `limits` allow.
pub fn for_browser(bytes: &[u8], limits: &Limits) -> Option<&'static str> {
    if foreign(bytes)?.0 != AVIF || bytes.ends_with(&ZEROS) {
        return None;
    }
    let sizes = plain_sizes(bytes)?;
    let fit = sizes.iter().all(|&size| check(size, limits).is_ok());
    (fit && !sizes.is_empty()).then_some("image/avif")
}

/// The photo that a browser made of these bytes, upright and in sRGB, of `height` x `width` pixels: `read` fills row after row
/// with R, G, B and opacity.
///
/// # Errors
/// `BadImage` when it is larger than `limits` allow.
pub fn from_browser(
    bytes: &[u8],
    (height, width): (usize, usize),
    limits: &Limits,
    mut read: impl FnMut(usize, &mut [u8]),
) -> Result<Photo> {
    check((height, width), limits)?;
    let mut canvas = Canvas::new(Layout::Rgba, (height, width), 1, 1, None);
    let mut row = vec![0; width * Layout::Rgba.channels()];
    for y in 0..height {
        read(y, &mut row);
        canvas.put(y, &row);
    }
    let frame = frames(bytes).filter(|&count| count > 1).map(|count| FrameRead { number: 1, count });
    Ok(Photo { frame, notes: vec![Note::BrowserDecoded], ..Photo::new(canvas.finish(), AVIF) })
}

fn check(size: (usize, usize), limits: &Limits) -> Result<()> {
    limits.check(size, (size.0 as u64 * size.1 as u64).saturating_mul(BYTES_A_PIXEL))
}

/// Height and width of all pictures in the file, those of its opacity and of a grid's tiles among them; none where one of them is
/// not plain.
fn plain_sizes(bytes: &[u8]) -> Option<Vec<(usize, usize)>> {
    let meta = inside(bytes, b"meta")?.get(4..)?;
    let mut sizes = Vec::new();
    for (kind, body) in boxes(inside(inside(meta, b"iprp")?, b"ipco")?) {
        match kind {
            b"ispe" => sizes.push((number(body, 8)? as usize, number(body, 4)? as usize)),
            b"av1C" if body.get(2)? & HIGH_BIT_DEPTH != 0 => return None,
            // The transfer characteristics PQ and HLG of ITU-T H.273.
            b"colr" if body.starts_with(b"nclx") && matches!(body.get(6..8)?, [0, 16 | 18]) => return None,
            _ => {}
        }
    }
    Some(sizes)
}

/// How many frames an animation has.
fn frames(bytes: &[u8]) -> Option<u32> {
    let way = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"];
    number(way.into_iter().try_fold(bytes, inside)?, 8)
}

/// The inside of the first box of a kind.
fn inside<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find(|(found, _)| *found == kind).map(|(_, body)| body)
}

/// The boxes (ISO/IEC 14496-12) of which these bytes consist, up to one that is none.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (head, length) = match number(rest, 0)? {
            0 => (8, rest.len() as u64), // up to the end
            1 => (16, u64::from(number(rest, 8)?) << 32 | u64::from(number(rest, 12)?)),
            length => (8, u64::from(length)),
        };
        let (whole, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let found = (whole.get(4..8)?.as_array()?, whole.get(head..)?);
        rest = behind;
        Some(found)
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    fn ispe(width: u32, height: u32) -> Vec<u8> {
        boxed(b"ispe", &[&[0; 4][..], &width.to_be_bytes(), &height.to_be_bytes()].concat())
    }

    /// A file with these properties, as far as it is looked at, and no picture.
    fn avif(properties: &[Vec<u8>]) -> Vec<u8> {
        let iprp = boxed(b"iprp", &boxed(b"ipco", &properties.concat()));
        let meta = boxed(b"meta", &[&[0; 4][..], &boxed(b"hdlr", &[0; 24]), &iprp].concat());
        [boxed(b"ftyp", b"avif\0\0\0\0mif1miaf"), meta, boxed(b"mdat", b"\x12\0\x0a")].concat()
    }

    fn asked(bytes: &[u8]) -> bool {
        for_browser(bytes, &Limits::default()).is_some()
    }

    const EIGHT_BITS: [u8; 4] = [0x81, 0x05, 0x0c, 0];

    #[test]
    fn a_browser_is_asked_for_plain_avif_pictures_alone() {
        let av1c = |third: u8| boxed(b"av1C", &[0x81, 0x05, third, 0]);
        let nclx = |transfer: u8| boxed(b"colr", &[&b"nclx\0\x01\0"[..], &[transfer], b"\0\x06\x80"].concat());
        let plain = avif(&[ispe(512, 512), av1c(0x0c), nclx(13)]);
        assert_eq!(for_browser(&plain, &Limits::default()), Some("image/avif"));
        assert!(!asked(&avif(&[ispe(512, 512), av1c(0x4c), nclx(13)])), "10 bits");
        assert!(!asked(&avif(&[ispe(512, 512), av1c(0x0c), nclx(16)])), "PQ");
        assert!(!asked(&avif(&[ispe(512, 512), av1c(0x0c), nclx(18)])), "HLG");
        assert!(!asked(&avif(&[av1c(0x0c)])), "no size");
        assert!(!asked(&avif(&[ispe(0, 512)])), "no pixels");
        assert!(!asked(&[&plain[..], &[0; 64]].concat()), "not all fetched");
        for start in [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"\xff\x0a", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"] {
            assert!(!asked(&[start, &plain[start.len()..]].concat()), "{start:?}");
        }
    }

    #[test]
    fn a_browser_is_not_asked_for_what_is_too_large() {
        assert!(asked(&avif(&[ispe(5_400, 5_400)])));
        assert!(!asked(&avif(&[ispe(5_500, 5_500)])));
        assert!(!asked(&avif(&[ispe(512, 512), ispe(u32::MAX, u32::MAX)])), "whichever is the picture");
    }

    #[test]
    fn cut_and_changed_heads_are_passed_over() {
        let plain = avif(&[ispe(512, 512), boxed(b"av1C", &EIGHT_BITS)]);
        for end in 0..plain.len() {
            for_browser(&plain[..end], &Limits::default());
            frames(&plain[..end]);
        }
        for at in 0..plain.len() {
            for value in [0, 1, 7, 0x7f, 0xff] {
                let mut changed = plain.clone();
                changed[at] = value;
                for_browser(&changed, &Limits::default());
                frames(&changed);
            }
        }
        // A length of 64 bits, and one that ends no box.
        assert_eq!(boxes(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x11!").count(), 1);
        assert_eq!(boxes(b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff!").count(), 0);
    }

    #[test]
    fn what_the_browser_gives_is_laid_over_white_and_said_to_be_its() {
        let stsz = boxed(b"stsz", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        let track = [b"stbl", b"minf", b"mdia", b"trak", b"moov"].iter().fold(stsz, |body, kind| boxed(kind, &body));
        let bytes = [boxed(b"ftyp", b"avis\0\0\0\0"), track].concat();
        let rows = |y: usize, row: &mut [u8]| {
            row.copy_from_slice([[9, 8, 7, 255, 1, 2, 3, 0], [4, 5, 6, 255, 0, 0, 0, 51]][y].as_slice())
        };
        let photo = from_browser(&bytes, (2, 2), &Limits::default(), rows).expect("a small picture");
        assert_eq!(photo.pixels.data, [9, 8, 7, 255, 255, 255, 4, 5, 6, 204, 204, 204]);
        assert_eq!((photo.format, photo.notes), ("avif", vec![Note::BrowserDecoded]));
        assert_eq!(photo.frame, Some(FrameRead { number: 1, count: 3 }));
        assert!(from_browser(&bytes, (5_500, 5_500), &Limits::default(), |_, _| {}).is_err());
    }
}
