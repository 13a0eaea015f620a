//! What kind of file it is, by its content: the formats that are read, and the names of those that are not, so that a person
//! learns what they have instead of which bytes were found.

use std::borrow::Cow;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
}

impl Format {
    pub(super) fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Some(Format::Png),
            _ if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => Some(Format::WebP),
            _ if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => Some(Format::Gif),
            // Reserved fields are zero; two letters alone begin many a text.
            _ if bytes.starts_with(b"BM") && bytes.get(6..10) == Some(&[0; 4]) => Some(Format::Bmp),
            _ => None,
        }
    }

    /// The name used in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "jpeg",
            Format::Png => "png",
            Format::WebP => "webp",
            Format::Gif => "gif",
            Format::Bmp => "bmp",
        }
    }
}

/// A kind of file that is not read: its name in reports, and what a person calls it.
pub(crate) type Foreign = (&'static str, &'static str);

/// Kinds told by how the file begins.
const BEGINNINGS: [(&[u8], Foreign); 36] = [
    (b"\xff\x0a", ("jxl", "a JPEG XL picture")),
    (b"\0\0\0\x0cJXL ", ("jxl", "a JPEG XL picture")),
    (b"\0\0\0\x0cjP  ", ("jp2", "a JPEG 2000 picture")),
    (b"\xff\x4f\xff\x51", ("jp2", "a JPEG 2000 picture")),
    (b"II*\0\x10\0\0\0CR", ("raw", "a raw photo (CR2)")),
    (b"IIRO", ("raw", "a raw photo (ORF)")),
    (b"IIU\0", ("raw", "a raw photo (RW2)")),
    (b"FUJIFILMCCD-RAW", ("raw", "a raw photo (RAF)")),
    (b"II*\0", ("tiff", "a TIFF picture, or a raw photo in its form")),
    (b"MM\0*", ("tiff", "a TIFF picture, or a raw photo in its form")),
    (b"II+\0", ("tiff", "a BigTIFF picture")),
    (b"MM\0+", ("tiff", "a BigTIFF picture")),
    (b"8BPS", ("psd", "a Photoshop document")),
    (b"gimp xcf", ("xcf", "a GIMP document")),
    (b"%PDF", ("pdf", "a PDF document")),
    (b"PK\x03\x04", ("zip", "a ZIP archive, or a document in its form")),
    (b"PK\x05\x06", ("zip", "an empty ZIP archive")),
    (b"Rar!", ("rar", "a RAR archive")),
    (b"7z\xbc\xaf", ("7z", "a 7z archive")),
    (b"\x1f\x8b", ("gzip", "a gzip archive")),
    (b"\x1a\x45\xdf\xa3", ("video", "a WebM or Matroska video")),
    (b"OggS", ("video", "an Ogg sound or video")),
    (b"ID3", ("sound", "an MP3 sound")),
    (b"fLaC", ("sound", "a FLAC sound")),
    (b"\0\0\x01\0", ("ico", "an icon file")),
    (b"qoif", ("qoi", "a QOI picture")),
    (b"\x76\x2f\x31\x01", ("exr", "an OpenEXR picture")),
    (b"#?RADIANCE", ("hdr", "a Radiance HDR picture")),
    (b"DDS ", ("dds", "a DDS texture")),
    (b"P5\n", ("pnm", "a PNM picture")),
    (b"P6\n", ("pnm", "a PNM picture")),
    (b"\x7fELF", ("program", "a program")),
    (b"MZ", ("program", "a program")),
    (b"SQLite format 3", ("database", "a database")),
    (b"version https://git-lfs", ("pointer", "a Git LFS pointer without the picture it stands for")),
    (b"\x89PNG\x0a\x1a\x0a", ("png", "a PNG picture whose line ends a text transfer changed")),
];

/// Which kind of file it is that is not read, where it is known.
pub(crate) fn foreign(bytes: &[u8]) -> Option<Foreign> {
    if Format::of(bytes).is_some() {
        return None;
    }
    let known = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    known.map(|&(_, kind)| kind).or_else(|| media(bytes)).or_else(|| riff(bytes)).or_else(|| text(bytes))
}

/// ISO base media files, by the brands in their first box.
fn media(bytes: &[u8]) -> Option<Foreign> {
    if bytes.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let length = usize::try_from(u32::from_be_bytes(*bytes.first_chunk::<4>()?)).ok()?.min(bytes.len());
    let brands: Vec<&[u8]> = bytes.get(8..length)?.chunks_exact(4).collect();
    let any = |names: &[&[u8; 4]]| brands.iter().any(|brand| names.iter().any(|name| brand == name));
    Some(if any(&[b"avif", b"avis"]) {
        ("avif", "an AVIF picture")
    } else if any(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        ("heic", "an HEIC photo")
    } else if any(&[b"crx "]) {
        ("raw", "a raw photo (CR3)")
    } else {
        ("video", "an MP4 or QuickTime video")
    })
}

fn riff(bytes: &[u8]) -> Option<Foreign> {
    let form = bytes.strip_prefix(b"RIFF")?.get(4..8)?;
    Some(match form {
        b"AVI " => ("video", "an AVI video"),
        b"WAVE" => ("sound", "a WAV sound"),
        _ => return None,
    })
}

/// Texts, of which servers send some in a picture's place.
fn text(bytes: &[u8]) -> Option<Foreign> {
    const LOOKED_AT: usize = 512;
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e | b'\t' | b'\n' | b'\r' | 0x80..);
    if head.is_empty() || !head.iter().all(plain) {
        return None;
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    Some(if head.contains("<svg") {
        ("svg", "an SVG drawing")
    } else if head.starts_with("<!doctype html") || head.starts_with("<html") {
        ("html", "a web page in a picture's place")
    } else {
        ("text", "a text")
    })
}

/// What was found in a picture's place, for an error's message.
pub(super) fn describe(bytes: &[u8]) -> Cow<'static, str> {
    if bytes.is_empty() {
        return "an empty file".into();
    }
    match foreign(bytes) {
        Some((code, name)) if ["heic", "avif", "jxl", "tiff", "raw", "jp2", "psd"].contains(&code) => {
            format!("{name}: save it as JPEG or PNG").into()
        }
        Some((_, name)) => name.into(),
        None if bytes.iter().all(|&byte| byte == 0) => "a file of zeros".into(),
        None => "a file of an unknown kind".into(),
    }
}
