//! What a file says about its own origin: C2PA manifests, IPTC's digital source type, the text chunks of known
//! generators, EXIF make, model and software. Read strictly inside the containers' structures (JPEG segments, PNG
//! chunks, WebP chunks): the same bytes anywhere else change nothing. All of it can be forged or removed by anybody, so it
//! stands beside the score and never enters it, and its absence says nothing. C2PA signatures are not validated here.

use std::io::Read;

use crate::picture;
use crate::report::{Mark, MarkKind, Provenance};

/// At most so many bytes of one text, XMP packet or EXIF block are read, after decompression too.
const MAX_BLOCK: usize = 1 << 20;
/// All texts of a file together, after decompression: a megabyte of compressed ones holds a gigabyte.
const MAX_TEXT: usize = 8 * MAX_BLOCK;
/// XML attributes and declared namespaces of a file. The parser compares each attribute of an element with all others, and each
/// namespace with all that are in force, for every element that declares one: without a bound 50 KB take it a minute.
const MAX_ATTRIBUTES: usize = 4000;
const MAX_NAMESPACES: usize = 200;
/// A longer value is cut, in characters.
const MAX_VALUE: usize = 160;
/// More marks than this are not kept; no honest file has so many.
const MAX_MARKS: usize = 24;

const JPEG_START: &[u8] = &[0xff, 0xd8];
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";
const EXIF_START: &[u8] = b"Exif\0\0";
const XMP_START: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// UUID of a C2PA manifest store (C2PA 2.1, section 11.1.4.2).
const C2PA_UUID: [u8; 16] = *b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// Reads what the file says about itself. Never fails: what is broken or too long is passed over.
pub fn read(bytes: &[u8]) -> Provenance {
    let mut marks = Marks { found: Vec::new(), text: MAX_TEXT, attributes: MAX_ATTRIBUTES, namespaces: MAX_NAMESPACES };
    if bytes.starts_with(JPEG_START) {
        read_jpeg(bytes, &mut marks);
    } else if bytes.starts_with(PNG_START) {
        read_png(&bytes[PNG_START.len()..], &mut marks);
    } else {
        read_webp(bytes, &mut marks);
    }
    Provenance { marks: marks.found }
}

/// Collects marks; one of each kind and value.
struct Marks {
    found: Vec<Mark>,
    /// What may still be read of the file: bytes of text, XML attributes and namespaces.
    text: usize,
    attributes: usize,
    namespaces: usize,
}

impl Marks {
    fn add(&mut self, kind: MarkKind, value: &str, place: &str, detail: Option<&str>) {
        let value = clean(value);
        let known = self.found.iter().any(|mark| mark.kind == kind && mark.value == value);
        if !value.is_empty() && !known && self.found.len() < MAX_MARKS {
            self.found.push(Mark { kind, value, place: place.to_string(), detail: detail.map(clean) });
        }
    }
}

/// Takes `cost` from what is left, if there is so much.
fn afford(left: &mut usize, cost: usize) -> bool {
    let rest = left.checked_sub(cost);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

/// One line without control characters, cut to a readable length.
fn clean(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

// ---- Containers ----------------------------------------------------------------------------------------------------

fn read_jpeg(bytes: &[u8], marks: &mut Marks) {
    const APP1: u8 = 0xe1;
    const APP11: u8 = 0xeb;
    for segment in picture::jpeg_segments(bytes) {
        match segment.marker {
            APP1 => {
                if let Some(tiff) = segment.body.strip_prefix(EXIF_START) {
                    read_exif(tiff, "JPEG APP1", marks);
                } else if let Some(packet) = segment.body.strip_prefix(XMP_START) {
                    read_xmp(packet, "JPEG APP1", marks);
                }
            }
            // JPEG XT, ISO 18477-3: "JP", box instance, packet sequence number from 1 on, then the box.
            APP11 if segment.body.starts_with(b"JP") => {
                let first = segment.body.get(4..8) == Some(&[0, 0, 0, 1]);
                if first && segment.body.get(8..).is_some_and(is_c2pa_store) {
                    add_c2pa("JPEG APP11", marks);
                }
            }
            _ => {}
        }
    }
}

fn read_png(mut rest: &[u8], marks: &mut Marks) {
    let mut first = true;
    while let Some((kind, body, after)) = png_chunk(rest) {
        // A PNG file that does not begin with its header is none.
        if first && &kind != b"IHDR" {
            return;
        }
        first = false;
        match &kind {
            b"IEND" => return,
            b"caBX" if is_c2pa_store(body) => add_c2pa("PNG caBX", marks),
            b"eXIf" => read_exif(body, "PNG eXIf", marks),
            b"tEXt" | b"zTXt" | b"iTXt" => {
                let place = format!("PNG {}", String::from_utf8_lossy(&kind));
                if let Some((keyword, text)) = png_text(&kind, body, &mut marks.text) {
                    read_text(&keyword, &text, &place, marks);
                }
            }
            _ => {}
        }
        rest = after;
    }
}

/// Type, body and what follows of the chunk that `rest` begins with; nothing when it is cut off or its CRC is wrong.
fn png_chunk(rest: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let checked = rest.get(..length.checked_add(4)?)?;
    let (crc, after) = rest[checked.len()..].split_first_chunk::<4>()?;
    if crc32fast::hash(checked) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (kind, body) = checked.split_first_chunk::<4>()?;
    Some((*kind, body, after))
}

/// Keyword and text of a text chunk (PNG, section 11.3.3), of at most `left` bytes, which are taken from it.
fn png_text(kind: &[u8; 4], body: &[u8], left: &mut usize) -> Option<(String, String)> {
    let (keyword, rest) = until_zero(body)?;
    // 1 to 79 Latin-1 characters.
    if !(1..80).contains(&keyword.len()) {
        return None;
    }
    let text = match kind {
        b"tEXt" => latin1(plain(rest, left)?),
        b"zTXt" => latin1(&inflated(rest.strip_prefix(&[0])?, left)?),
        _ => {
            let (flags, rest) = rest.split_first_chunk::<2>()?;
            let (_language, rest) = until_zero(rest)?;
            let (_translated, text) = until_zero(rest)?;
            let text = match flags {
                [0, _] => plain(text, left)?.to_vec(),
                [1, 0] => inflated(text, left)?,
                _ => return None,
            };
            String::from_utf8_lossy(&text).into_owned()
        }
    };
    Some((latin1(keyword), text))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// The first [`MAX_BLOCK`] bytes of a text.
fn plain<'a>(text: &'a [u8], left: &mut usize) -> Option<&'a [u8]> {
    let text = &text[..MAX_BLOCK.min(text.len())];
    afford(left, text.len()).then_some(text)
}

/// The first [`MAX_BLOCK`] bytes of a zlib stream.
fn inflated(bytes: &[u8], left: &mut usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let most = MAX_BLOCK.min(*left) as u64;
    let whole = flate2::read::ZlibDecoder::new(bytes).take(most).read_to_end(&mut out).is_ok();
    // A stream that breaks off has cost as much.
    *left -= out.len();
    whole.then_some(out)
}

fn read_webp(bytes: &[u8], marks: &mut Marks) {
    let Some(body) = riff_body(bytes, b"WEBP") else { return };
    let mut rest = body;
    while let Some((kind, body, after)) = riff_chunk(rest) {
        match &kind {
            b"EXIF" => read_exif(body.strip_prefix(EXIF_START).unwrap_or(body), "WebP EXIF", marks),
            b"XMP " => read_xmp(body, "WebP XMP", marks),
            b"C2PA" if is_c2pa_store(body) => add_c2pa("WebP C2PA", marks),
            _ => {}
        }
        rest = after;
    }
}

/// What a RIFF file of this form holds; bytes after its stated size do not belong to it.
fn riff_body<'a>(bytes: &'a [u8], form: &[u8; 4]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.strip_prefix(b"RIFF")?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    rest.get(..length.min(rest.len()))?.strip_prefix(form)
}

fn riff_chunk(rest: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let body = rest.get(..length)?;
    // Chunks start at even places.
    let after = rest.get(length + length % 2..).unwrap_or_default();
    Some((*kind, body, after))
}

// ---- C2PA ----------------------------------------------------------------------------------------------------------

fn add_c2pa(place: &str, marks: &mut Marks) {
    marks.add(MarkKind::C2pa, "manifest", place, None);
}

/// Whether a JUMBF superbox begins here whose description names a C2PA manifest store. Only its beginning must be there: in
/// JPEG files it goes on in the next segments.
fn is_c2pa_store(bytes: &[u8]) -> bool {
    let Some((outer, rest)) = jumbf_box(bytes, b"jumb") else { return false };
    let Some((inner, rest)) = jumbf_box(rest, b"jumd") else { return false };
    let described = rest.starts_with(&C2PA_UUID) && rest.get(17..22) == Some(b"c2pa\0");
    described && inner >= 30 && outer > inner
}

/// Length and what follows of the header of an ISO box of this type.
fn jumbf_box<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<(u64, &'a [u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let rest = rest.strip_prefix(kind)?;
    match u32::from_be_bytes(*length) {
        1 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            Some((u64::from_be_bytes(*length), rest))
        }
        length => Some((u64::from(length), rest)),
    }
}

// ---- XMP -----------------------------------------------------------------------------------------------------------

const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
const IPTC_EXT: &str = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
const XMP: &str = "http://ns.adobe.com/xap/1.0/";

/// Properties of the RDF descriptions of an XMP packet, in either of their two forms, attribute and element.
fn read_xmp(packet: &[u8], place: &str, marks: &mut Marks) {
    let Some(text) = packet.get(..packet.len().min(MAX_BLOCK)).and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
        return;
    };
    // Writers pad packets with spaces, some with zeros, which are no XML.
    let text = text.trim_start_matches('\u{feff}').trim_end_matches('\0');
    // Every attribute has a sign of equality, and every namespace this name.
    let [attributes, namespaces] = ["=", "xmlns"].map(|sign| text.matches(sign).count());
    let affordable = afford(&mut marks.text, text.len())
        && afford(&mut marks.attributes, attributes)
        && afford(&mut marks.namespaces, namespaces);
    if !affordable {
        return;
    }
    let options = roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: 20_000, ..Default::default() };
    let Ok(document) = roxmltree::Document::parse_with_options(text, options) else { return };
    let descriptions = document
        .descendants()
        .filter(|node| node.has_tag_name((RDF, "RDF")))
        .flat_map(|rdf| rdf.children().filter(|node| node.has_tag_name((RDF, "Description"))));
    for description in descriptions {
        let property = |namespace: &str, name: &str| -> Option<String> {
            if let Some(value) = description.attribute((namespace, name)) {
                return Some(value.to_string());
            }
            let element = description.children().find(|node| node.has_tag_name((namespace, name)))?;
            element.attribute((RDF, "resource")).or_else(|| element.text()).map(str::to_string)
        };
        if let Some(code) = property(IPTC_EXT, "DigitalSourceType").as_deref().and_then(source_type) {
            marks.add(MarkKind::DigitalSourceType, code, &format!("{place}, XMP"), None);
        }
        if let Some(tool) = property(XMP, "CreatorTool") {
            marks.add(MarkKind::Software, &tool, &format!("{place}, XMP"), None);
        }
    }
}

/// The code of a term of IPTC's vocabulary, for example `trainedAlgorithmicMedia`.
fn source_type(uri: &str) -> Option<&str> {
    let uri = uri.trim();
    let code = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"))?;
    let code = code.strip_prefix("cv.iptc.org/newscodes/digitalsourcetype/")?;
    let plausible = (1..64).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric());
    plausible.then_some(code)
}

// ---- EXIF ----------------------------------------------------------------------------------------------------------

fn read_exif(tiff: &[u8], place: &str, marks: &mut Marks) {
    if tiff.len() > MAX_BLOCK {
        return;
    }
    let Ok(fields) = exif::Reader::new().read_raw(tiff.to_vec()) else { return };
    let ascii = |tag: exif::Tag| match &fields.get_field(tag, exif::In::PRIMARY)?.value {
        exif::Value::Ascii(lines) => lines.first().map(|line| String::from_utf8_lossy(line).into_owned()),
        _ => None,
    };
    let place = if place.ends_with("EXIF") || place.ends_with("eXIf") { place } else { &format!("{place}, EXIF") };
    let plain = [
        (MarkKind::CameraMake, exif::Tag::Make),
        (MarkKind::CameraModel, exif::Tag::Model),
        (MarkKind::Software, exif::Tag::Software),
    ];
    for (kind, tag) in plain {
        let Some(value) = ascii(tag) else { continue };
        // ComfyUI puts its graphs into these two when it writes WebP files.
        let graph = value.split_once(':').filter(|(key, graph)| generator(key, graph).is_some());
        match graph {
            Some((key, graph)) => read_text(key, graph, place, marks),
            None => marks.add(kind, &value, place, None),
        }
    }
    if let Some(field) = fields.get_field(exif::Tag::UserComment, exif::In::PRIMARY)
        && let exif::Value::Undefined(bytes, _) = &field.value
    {
        // The Stable Diffusion web interfaces put their parameters here in files that are not PNG.
        let text = comment(bytes).into_iter().find(|text| generator("parameters", text).is_some());
        if let Some(text) = text {
            read_text("parameters", &text, place, marks);
        }
    }
}

/// The readings of a user comment: its first 8 bytes name the character set; writers disagree on the byte order of UTF-16.
fn comment(bytes: &[u8]) -> Vec<String> {
    let Some((charset, text)) = bytes.split_first_chunk::<8>() else { return Vec::new() };
    if charset != b"UNICODE\0" {
        return vec![String::from_utf8_lossy(text).into_owned()];
    }
    let units = |convert: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = text.chunks_exact(2).map(|pair| convert([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    vec![units(u16::from_be_bytes), units(u16::from_le_bytes)]
}

// ---- Texts of generators -------------------------------------------------------------------------------------------

fn read_text(keyword: &str, text: &str, place: &str, marks: &mut Marks) {
    if keyword == "XML:com.adobe.xmp" {
        read_xmp(text.as_bytes(), place, marks);
    } else if let Some(name) = generator(keyword, text) {
        marks.add(MarkKind::Generator, name, &format!("{place}, `{keyword}`"), Some(text));
    } else if keyword == "Software" {
        marks.add(MarkKind::Software, text, place, None);
    }
}

/// The generator that writes such a text under such a keyword. The text must have the shape that it writes: a keyword as
/// plain as `prompt` alone says nothing.
fn generator(keyword: &str, text: &str) -> Option<&'static str> {
    let json = || serde_json::from_str::<serde_json::Value>(text.trim_matches(['\0', ' ', '\n'])).ok();
    match keyword {
        "parameters" if text.contains("Steps: ") && (text.contains("Sampler: ") || text.contains("Seed: ")) => {
            Some("Stable Diffusion WebUI")
        }
        "parameters" if json()?.get("sui_image_params").is_some() => Some("SwarmUI"),
        "parameters" if json()?.get("base_model").is_some() => Some("Fooocus"),
        "prompt" if json()?.as_object()?.values().any(|node| node.get("class_type").is_some()) => Some("ComfyUI"),
        "workflow" if json()?.get("nodes")?.is_array() => Some("ComfyUI"),
        "invokeai_metadata" | "invokeai_graph" | "sd-metadata" if json()?.is_object() => Some("InvokeAI"),
        "Software" if text.trim() == "NovelAI" => Some("NovelAI"),
        "Description" if text.contains("Job ID: ") && text.contains("--") => Some("Midjourney"),
        _ => None,
    }
}
